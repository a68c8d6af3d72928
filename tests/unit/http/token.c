/* Which files hold a token, and which headers carry it. */
#include "engine/http/token.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tests/support/suite.h"

#define WORD "0123456789abcdef"

static char path[64];

static void setup(void)
{
	log_set_level("error");
	strcpy(path, "/tmp/mooncake-token-XXXXXX");
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
}

static void teardown(void)
{
	unlink(path);
}

static void write_file(const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	fclose(file);
	ck_assert_int_eq(chmod(path, mode), 0);
}

static char longest[TOKEN_SIZE_MAX + 2];

START_TEST(the_first_line_is_the_token)
{
	static const struct {
		const char *text;
		const char *token;
	} files[] = {
		{WORD, WORD},
		{WORD "\n", WORD},
		{WORD "\r\nmore", WORD},
		{"~!#$%^&*()_+{}|:<>?", "~!#$%^&*()_+{}|:<>?"},
	};
	struct token token;

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		write_file(files[i].text, 0600);
		ck_assert_int_eq(token_read(path, &token), MC_OK);
		ck_assert_str_eq(token.text, files[i].token);
	}
	memset(longest, 'x', TOKEN_SIZE_MAX);
	write_file(longest, 0400);
	ck_assert_int_eq(token_read(path, &token), MC_OK);
	ck_assert_str_eq(token.text, longest);
}
END_TEST

START_TEST(what_is_no_token_is_refused)
{
	static const char *const texts[] = {
		"",
		"\n",
		"0123456789abcde",
		"0123456789abcdef ",
		"0123456789abcdef more",
		"0123456789abcdef\x7f",
		"0123456789abcdef\xc3\xa9",
		" 0123456789abcdef",
	};
	struct token token = {"before"};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		write_file(texts[i], 0600);
		ck_assert_int_eq(token_read(path, &token), MC_INVALID);
	}
	memset(longest, 'x', TOKEN_SIZE_MAX + 1);
	write_file(longest, 0600);
	ck_assert_int_eq(token_read(path, &token), MC_INVALID);
	ck_assert_str_eq(token.text, "before");
}
END_TEST

START_TEST(a_file_that_others_may_touch_is_refused)
{
	static const mode_t modes[] = {0640, 0604, 0620, 0601, 0666, 0777};
	struct token token;

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		write_file(WORD, modes[i]);
		ck_assert_int_eq(token_read(path, &token), MC_ACCESS);
	}
	ck_assert_int_eq(token_read("/tmp", &token), MC_ACCESS);
	ck_assert_int_eq(token_read("/tmp/no/such/file", &token), MC_NOT_FOUND);
}
END_TEST

START_TEST(only_the_whole_token_fits)
{
	static const char *const wrong[] = {
		"",
		"Bearer",
		"Bearer ",
		"Bearer " WORD "0",
		"Bearer 0123456789abcde",
		"Bearer 0123456789abcdeF",
		WORD,
		"Basic " WORD,
		"Bearer  " WORD,
	};
	const struct token token = {WORD};
	const struct token none = {""};

	ck_assert(token_fits(&token, "Bearer " WORD));
	ck_assert(token_fits(&token, "bearer " WORD));
	ck_assert(!token_fits(&token, NULL));
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		ck_assert(!token_fits(&token, wrong[i]));
	ck_assert(!token_fits(&none, "Bearer "));
	ck_assert(!token_fits(&none, ""));
	ck_assert(!token_fits(&none, NULL));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("http/token");
	TCase *tcase = tcase_create("token");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, the_first_line_is_the_token);
	tcase_add_test(tcase, what_is_no_token_is_refused);
	tcase_add_test(tcase, a_file_that_others_may_touch_is_refused);
	tcase_add_test(tcase, only_the_whole_token_fits);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
