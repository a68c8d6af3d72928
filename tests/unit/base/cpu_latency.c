/*
 * What is asked of the kernel while there is work, and after it: a file stands for the
 * device and keeps each limit that is written to it.
 */
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/cpu_latency.h"
#include "tests/support/suite.h"

#define LIMIT_MAX 64u
#define WAIT_MS	  10000u
#define TICK_MS	  10u /* of the kernel's clock, at most */

static char device[] = "/tmp/cpu-latency-XXXXXX";
static struct cpu_latency *latency;

static void setup(void)
{
	int fd = mkstemp(device);

	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(cpu_latency_open(device, 7, &latency), MC_OK);
}

static void teardown(void)
{
	cpu_latency_close(latency);
	unlink(device);
}

/* All that was asked of the kernel so far. */
static size_t limits(int32_t *list)
{
	int fd = open(device, O_RDONLY);
	ssize_t size = read(fd, list, LIMIT_MAX * sizeof(*list));

	close(fd);
	ck_assert_int_ge(size, 0);
	return (size_t)size / sizeof(*list);
}

static size_t wait_limits(size_t count, int32_t *list)
{
	uint64_t until_ms = clock_ms() + WAIT_MS;
	size_t found;

	while ((found = limits(list)) < count && clock_ms() < until_ms)
		usleep(1000);
	return found;
}

START_TEST(nothing_is_asked_for_before_there_is_work)
{
	int32_t list[LIMIT_MAX];

	usleep(2 * CPU_LATENCY_HOLD_MS * 1000);
	ck_assert_uint_eq(limits(list), 0);
}
END_TEST

START_TEST(work_is_told_to_the_kernel_at_once_and_its_end_after_a_while)
{
	int32_t list[LIMIT_MAX];

	uint64_t begin_ms = clock_ms();
	cpu_latency_busy(latency);
	ck_assert_uint_ge(limits(list), 1);
	ck_assert_int_eq(list[0], 7);
	ck_assert_uint_eq(wait_limits(2, list), 2);
	ck_assert_int_lt(list[1], 0);
	ck_assert_uint_ge(clock_ms() - begin_ms + TICK_MS, CPU_LATENCY_HOLD_MS);
}
END_TEST

static void *work_thread(void *context)
{
	uint64_t until_ms = clock_ms() + 4 * CPU_LATENCY_HOLD_MS;

	(void)context;
	while (clock_ms() < until_ms)
		cpu_latency_busy(latency);
	return NULL;
}

/* Once, unless the machine stops all four threads for so long that it looks like a rest. */
START_TEST(work_that_goes_on_is_not_told_again)
{
	pthread_t threads[4];
	int32_t list[LIMIT_MAX];

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, work_thread, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_ge(limits(list), 1);
	ck_assert_uint_lt(limits(list), LIMIT_MAX / 4);
}
END_TEST

START_TEST(work_after_a_rest_is_told_again)
{
	int32_t list[LIMIT_MAX];

	for (size_t i = 0; i < 3; i++) {
		cpu_latency_busy(latency);
		ck_assert_uint_eq(wait_limits(2 * i + 2, list), 2 * i + 2);
		ck_assert_int_eq(list[2 * i], 7);
		ck_assert_int_lt(list[2 * i + 1], 0);
	}
}
END_TEST

START_TEST(the_limit_is_taken_back_at_the_end)
{
	int32_t list[LIMIT_MAX];

	cpu_latency_busy(latency);
	cpu_latency_close(latency);
	latency = NULL;
	ck_assert_uint_eq(limits(list), 2);
	ck_assert_int_eq(list[0], 7);
	ck_assert_int_lt(list[1], 0);
	cpu_latency_busy(latency); /* NULL is nobody's */
}
END_TEST

START_TEST(a_device_that_is_not_there_is_an_error)
{
	struct cpu_latency *none = NULL;

	ck_assert_int_eq(cpu_latency_open("/dev/null/none", 0, &none), MC_NOT_SUPPORTED);
	ck_assert_ptr_null(none);
}
END_TEST

static const struct {
	const char *text;
	bool sound;
	uint32_t us;
} texts[] = {
	{"0", true, 0},
	{"25", true, 25},
	{"1000000", true, 1000000},
	{"1000001", false, 0},
	{"", false, 0},
	{"-1", false, 0},
	{"+1", false, 0},
	{"2us", false, 0},
	{" 2", false, 0},
	{"anything", false, 0},
	{"any", true, CPU_LATENCY_ANY},
	{"99999999999999999999", false, 0},
};

START_TEST(texts_are_microseconds_or_words)
{
	uint32_t us = 4711;

	ck_assert_int_eq(cpu_latency_read(texts[_i].text, &us), texts[_i].sound);
	ck_assert_uint_eq(us, texts[_i].sound ? texts[_i].us : 4711);
}
END_TEST

START_TEST(auto_is_what_the_machine_gains_from)
{
	uint32_t us = 4711;

	ck_assert(cpu_latency_read("auto", &us));
	ck_assert_uint_eq(us, cpu_latency_auto());
	ck_assert(us == 0 || us == CPU_LATENCY_ANY);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base/cpu_latency");
	TCase *device_case = tcase_create("device");
	TCase *text_case = tcase_create("text");

	tcase_add_checked_fixture(device_case, setup, teardown);
	tcase_add_test(device_case, nothing_is_asked_for_before_there_is_work);
	tcase_add_test(device_case, work_is_told_to_the_kernel_at_once_and_its_end_after_a_while);
	tcase_add_test(device_case, work_that_goes_on_is_not_told_again);
	tcase_add_test(device_case, work_after_a_rest_is_told_again);
	tcase_add_test(device_case, the_limit_is_taken_back_at_the_end);
	tcase_add_test(device_case, a_device_that_is_not_there_is_an_error);
	tcase_add_loop_test(text_case, texts_are_microseconds_or_words, 0, ARRAY_SIZE(texts));
	tcase_add_test(text_case, auto_is_what_the_machine_gains_from);
	suite_add_tcase(suite, device_case);
	suite_add_tcase(suite, text_case);
	return suite_run(suite);
}
