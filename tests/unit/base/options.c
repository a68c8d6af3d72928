#include "engine/base/options.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/suite.h"

struct settings {
	char *listen;
	char *sync;
	uint64_t segment_size;
	uint32_t count;
	bool passthrough;
	bool foreground;
	uint32_t ttl_ms;
	int others;
};

#define AT(field) offsetof(struct settings, field)
static const struct option_row rows[] = {
	{"listen", 'l', OPTION_STRING, "0.0.0.0:1", .help = "Where.", .offset = AT(listen)},
	{"sync", 0, OPTION_STRING, "never", .choices = "never|interval|always", .help = "When.",
	 .offset = AT(sync)},
	{"segment", 0, OPTION_SIZE, "16g", .min = 1 << 20, .max = 1ull << 44, .help = "Lent.",
	 .offset = AT(segment_size)},
	{"count", 'n', OPTION_UINT, NULL, .max = 10, .help = "How many.", .offset = AT(count)},
	{"passthrough", 0, OPTION_BOOL, "on", .help = "Pass.", .offset = AT(passthrough)},
	{"foreground", 'f', OPTION_BOOL, NULL, .help = "Stay.", .offset = AT(foreground)},
	{"ttl-ms", 0, OPTION_DURATION, "5000", .min = 100, .max = 3600000, .help = "Silence.",
	 .offset = AT(ttl_ms)},
	{NULL},
};

static struct settings settings;
static struct options options;

static void setup(void)
{
	memset(&settings, 0, sizeof(settings));
	options_init(&options, rows, &settings);
}

static void teardown(void)
{
	options_fini(&options);
}

START_TEST(defaults_come_from_the_rows)
{
	ck_assert_str_eq(settings.listen, "0.0.0.0:1");
	ck_assert_uint_eq(settings.segment_size, 16ull << 30);
	ck_assert(settings.passthrough);
	ck_assert_uint_eq(settings.ttl_ms, 5000);
	ck_assert(!options_given(&options, "listen"));
}
END_TEST

START_TEST(a_command_line_mixes_both_styles_and_keeps_the_rest)
{
	char *argv[] = {"p",
			"one",
			"--listen=a:2",
			"--ttl-ms",
			"7s",
			"-fn3",
			"-o",
			"segment=2m,passthrough=off",
			"--",
			"--two",
			NULL};
	int left;

	ck_assert_int_eq(options_parse(&options, 10, argv, &left), MC_OK);
	ck_assert_int_eq(left, 2);
	ck_assert_str_eq(argv[1], "one");
	ck_assert_str_eq(argv[2], "--two");
	ck_assert_str_eq(settings.listen, "a:2");
	ck_assert_uint_eq(settings.ttl_ms, 7000);
	ck_assert_uint_eq(settings.count, 3);
	ck_assert_uint_eq(settings.segment_size, 2 << 20);
	ck_assert(settings.foreground && !settings.passthrough);
	ck_assert(options_given(&options, "listen"));
}
END_TEST

static const struct {
	const char *list;
	const char *says;
} refused[] = {
	{"nothing=1", "there is no option nothing"},
	{"segment=12x", "must be a size"},
	{"segment=99999999999999999999", "must be a size"},
	{"segment=18446744073709551615k", "must be a size"},
	{"segment=1k", "must be 1048576 to"},
	{"count=11", "must be 0 to 10"},
	{"count=-1", "must be a number"},
	{"count=", "must be a number"},
	{"count", "needs a value"},
	{"sync=some", "one of never|interval|always"},
	{"sync=", "one of"},
	{"passthrough=maybe", "on or off"},
	{"ttl-ms=5y", "must be a time"},
};

START_TEST(a_bad_list_is_refused_with_a_sentence)
{
	ck_assert_int_eq(options_parse_list(&options, refused[_i].list), MC_INVALID);
	ck_assert_msg(strstr(options.error, refused[_i].says) != NULL, "%s", options.error);
}
END_TEST

static bool count_other(void *target, const char *name, const char *value)
{
	((struct settings *)target)->others++;
	return strcmp(name, "nodev") == 0 && !value;
}

START_TEST(a_list_takes_escapes_and_asks_about_foreign_names)
{
	options.other = count_other;
	ck_assert_int_eq(options_parse_list(&options, "nodev,,listen=a\\,b=c,count=2"), MC_OK);
	ck_assert_str_eq(settings.listen, "a,b=c");
	ck_assert_uint_eq(settings.count, 2);
	ck_assert_int_eq(settings.others, 1);
	ck_assert_int_eq(options_parse_list(&options, "strange"), MC_INVALID);
}
END_TEST

START_TEST(a_last_option_without_its_value_is_refused)
{
	char *argv[] = {"p", "--listen", NULL};
	char *letters[] = {"p", "-o", NULL};
	int left;

	ck_assert_int_eq(options_parse(&options, 2, argv, &left), MC_INVALID);
	ck_assert_int_eq(options_parse(&options, 2, letters, &left), MC_INVALID);
}
END_TEST

START_TEST(the_help_says_default_and_range)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	options_help(rows, false, out);
	fclose(out);
	ck_assert_ptr_nonnull(strstr(text, "-l, --listen TEXT"));
	ck_assert_ptr_nonnull(strstr(text, "Default 16g, 1m to 16t."));
	ck_assert_ptr_nonnull(strstr(text, "Default never, one of never|interval|always."));
	ck_assert_ptr_nonnull(strstr(text, "Default 5000, 100 ms to 3600000 ms."));
	free(text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("options");
	TCase *tc = tcase_create("options");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, defaults_come_from_the_rows);
	tcase_add_test(tc, a_command_line_mixes_both_styles_and_keeps_the_rest);
	tcase_add_loop_test(tc, a_bad_list_is_refused_with_a_sentence, 0,
			    sizeof(refused) / sizeof(refused[0]));
	tcase_add_test(tc, a_list_takes_escapes_and_asks_about_foreign_names);
	tcase_add_test(tc, a_last_option_without_its_value_is_refused);
	tcase_add_test(tc, the_help_says_default_and_range);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
