/* tools/mooncake/format.h: numbers, times and names as people read them */
#include <check.h>
#include <stdlib.h>

/* The program is no library: its file is a part of this test. */
/* NOLINTBEGIN(bugprone-suspicious-include) */
#include "tests/support/suite.h"
#include "tools/mooncake/format.c"
/* NOLINTEND(bugprone-suspicious-include) */

static char text[FORMAT_SIZE];

static const struct {
	uint64_t bytes;
	const char *text;
} sizes[] = {
	{0, "0 B"},
	{1023, "1023 B"},
	{1024, "1.0 KiB"},
	{12345, "12.1 KiB"},
	{1048524, "1023.9 KiB"},
	{1048525, "1.0 MiB"}, /* never 1024.0 KiB */
	{1u << 20, "1.0 MiB"},
	{UINT64_MAX, "16.0 EiB"},
};

START_TEST(a_size_has_one_decimal_and_the_unit_that_fits)
{
	ck_assert_str_eq(format_size(sizes[_i].bytes, text), sizes[_i].text);
}
END_TEST

static const struct {
	struct mc_time time;
	bool exact;
	const char *text;
} times[] = {
	{{0, 0}, false, "1970-01-01T00:00:00Z"},
	{{1767225599, 5}, true, "2025-12-31T23:59:59.000000005Z"},
	{{-1, 999999999}, false, "1969-12-31T23:59:59Z"},
	{{1ll << 33, 0}, false, "2242-03-16T12:56:32Z"},
	{{INT64_MAX, 0}, true, "@9223372036854775807"},
};

START_TEST(a_time_is_iso_in_utc)
{
	ck_assert_str_eq(format_time(times[_i].time, times[_i].exact, text), times[_i].text);
}
END_TEST

static const struct {
	uint32_t mode;
	const char *text;
} modes[] = {
	{0100644, "-rw-r--r--"}, {0041777, "drwxrwxrwt"}, {0104755, "-rwsr-xr-x"},
	{0102644, "-rw-r-Sr--"}, {0100000, "----------"},
};

START_TEST(a_mode_reads_as_in_ls)
{
	ck_assert_str_eq(format_mode(modes[_i].mode, text), modes[_i].text);
}
END_TEST

START_TEST(control_bytes_of_a_name_are_written_out)
{
	char *shown = format_name("a\nb\x1b[2J\x7f\xc3\xa9\xff", 11);

	ck_assert_str_eq(shown, "a\\nb\\x1b[2J\\x7f\xc3\xa9\xff");
	free(shown);
}
END_TEST

START_TEST(durations_and_shares_are_short)
{
	ck_assert_str_eq(format_duration(59, text), "59 s");
	ck_assert_str_eq(format_duration(200, text), "3 min 20 s");
	ck_assert_str_eq(format_duration(7500, text), "2 h 05 min");
	ck_assert_str_eq(format_share(1, 2, text), "50 %");
	ck_assert_str_eq(format_share(0, 0, text), "-");
}
END_TEST

START_TEST(endpoints_keep_what_someone_could_type)
{
	const char *endpoints[] = {"shm:0123/abcd", "tcp:10.0.0.1:5"};
	char *shown = format_endpoints(endpoints, 2, ", ");

	ck_assert_str_eq(shown, "shm, tcp:10.0.0.1:5");
	free(shown);
	shown = format_endpoints(endpoints, 0, ", ");
	ck_assert_str_eq(shown, "");
	free(shown);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tools/format");
	TCase *tcase = tcase_create("format");

	suite_add_tcase(suite, tcase);
	tcase_add_loop_test(tcase, a_size_has_one_decimal_and_the_unit_that_fits, 0,
			    sizeof(sizes) / sizeof(sizes[0]));
	tcase_add_loop_test(tcase, a_time_is_iso_in_utc, 0, sizeof(times) / sizeof(times[0]));
	tcase_add_loop_test(tcase, a_mode_reads_as_in_ls, 0, sizeof(modes) / sizeof(modes[0]));
	tcase_add_test(tcase, control_bytes_of_a_name_are_written_out);
	tcase_add_test(tcase, durations_and_shares_are_short);
	tcase_add_test(tcase, endpoints_keep_what_someone_could_type);
	return suite_run(suite);
}
