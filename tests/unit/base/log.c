/*
 * The log: one whole line a call, the level decides, errno stays.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tests/support/suite.h"

static char path[64];
static char content[1 << 20];

static void open_log(void)
{
	snprintf(path, sizeof(path), "/tmp/mooncake-log.XXXXXX");
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert(log_open(path));
}

static void remove_log(void)
{
	unlink(path);
}

/* Read the whole log into content; return how many lines it has. */
static int read_log(void)
{
	FILE *file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	size_t size = fread(content, 1, sizeof(content) - 1, file);
	ck_assert(feof(file));
	fclose(file);
	content[size] = '\0';
	int lines = 0;
	for (const char *at = content; (at = strchr(at, '\n')) != NULL; at++)
		lines++;
	return lines;
}

START_TEST(a_line_has_time_level_thread_and_text)
{
	regex_t form;

	ck_assert_int_eq(
		regcomp(&form,
			"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z "
			"warn  \\[[0-9]+\\] pool is full used=7\n$",
			REG_EXTENDED | REG_NOSUB),
		0);
	log_warn("pool is full used=%d", 7);
	ck_assert_int_eq(read_log(), 1);
	ck_assert_int_eq(regexec(&form, content, 0, NULL, 0), 0);
	regfree(&form);
}
END_TEST

START_TEST(only_lines_up_to_the_level_are_written)
{
	static const char *const names[] = {"error", "warn", "info", "debug", "trace"};

	ck_assert(log_set_level(names[_i]));
	log_error("a");
	log_warn("b");
	log_info("c");
	log_debug("d");
	log_trace("e");
	ck_assert_int_eq(read_log(), _i + 1);
}
END_TEST

START_TEST(an_unknown_level_changes_nothing)
{
	ck_assert(log_set_level("warn"));
	ck_assert(!log_set_level("loud"));
	ck_assert(!log_set_level(""));
	ck_assert_int_eq(log_level_now, LOG_LEVEL_WARN);
}
END_TEST

START_TEST(a_path_that_cannot_be_written_is_refused)
{
	ck_assert(!log_open("/proc/no/such/folder/log"));
	log_info("still here");
	ck_assert_int_eq(read_log(), 1);
}
END_TEST

START_TEST(a_line_leaves_errno_alone)
{
	errno = EXFULL;
	log_info("x");
	ck_assert_int_eq(errno, EXFULL);
}
END_TEST

START_TEST(a_line_that_is_too_long_is_cut_and_still_ends)
{
	char *text = malloc(10000);

	ck_assert_ptr_nonnull(text);
	memset(text, 'x', 9999);
	text[9999] = '\0';
	log_info("%s", text);
	log_info("next");
	ck_assert_int_eq(read_log(), 2);
	ck_assert_ptr_nonnull(strstr(content, "xxx\n"));
	free(text);
}
END_TEST

enum { THREAD_COUNT = 8, LINE_COUNT = 200 };

static void *write_lines(void *argument)
{
	for (int i = 0; i < LINE_COUNT; i++)
		log_info("begin thread=%p line=%d end", argument, i);
	return NULL;
}

START_TEST(lines_of_many_threads_stay_whole)
{
	pthread_t threads[THREAD_COUNT];
	int whole = 0;

	for (int i = 0; i < THREAD_COUNT; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, write_lines, path + i), 0);
	for (int i = 0; i < THREAD_COUNT; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(read_log(), THREAD_COUNT * LINE_COUNT);
	for (char *line = strtok(content, "\n"); line; line = strtok(NULL, "\n"))
		whole += strstr(line, " begin ") && strcmp(line + strlen(line) - 4, " end") == 0;
	ck_assert_int_eq(whole, THREAD_COUNT * LINE_COUNT);
}
END_TEST

START_TEST(a_kept_promise_says_nothing)
{
	MUST(1 + 1 == 2);
	ck_assert_int_eq(read_log(), 0);
}
END_TEST

START_TEST(a_broken_promise_aborts)
{
	MUST(_i < 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base/log");
	TCase *tcase = tcase_create("log");

	tcase_add_checked_fixture(tcase, open_log, remove_log);
	tcase_add_test(tcase, a_line_has_time_level_thread_and_text);
	tcase_add_loop_test(tcase, only_lines_up_to_the_level_are_written, 0, 5);
	tcase_add_test(tcase, an_unknown_level_changes_nothing);
	tcase_add_test(tcase, a_path_that_cannot_be_written_is_refused);
	tcase_add_test(tcase, a_line_leaves_errno_alone);
	tcase_add_test(tcase, a_line_that_is_too_long_is_cut_and_still_ends);
	tcase_add_test(tcase, lines_of_many_threads_stay_whole);
	tcase_add_test(tcase, a_kept_promise_says_nothing);
	suite_add_tcase(suite, tcase);

	TCase *abort_case = tcase_create("abort");
	tcase_add_test_raise_signal(abort_case, a_broken_promise_aborts, SIGABRT);
	suite_add_tcase(suite, abort_case);

	return suite_run(suite);
}
