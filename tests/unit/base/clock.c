/*
 * The two clocks: one never runs back, the other is the machine's.
 */
#include <check.h>
#include <time.h>

#include "engine/base/clock.h"
#include "tests/support/suite.h"

START_TEST(the_monotonic_clock_never_runs_back)
{
	uint64_t before = clock_ns();

	for (int i = 0; i < 100000; i++) {
		uint64_t now = clock_ns();
		ck_assert_uint_ge(now, before);
		before = now;
	}
}
END_TEST

START_TEST(the_monotonic_clock_counts_nanoseconds)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	uint64_t before = clock_ns();

	ck_assert_int_eq(nanosleep(&pause, NULL), 0);
	uint64_t passed_ns = clock_ns() - before;
	ck_assert_uint_ge(passed_ns, 20000000);
	ck_assert_uint_lt(passed_ns, 20000000000);
}
END_TEST

START_TEST(the_real_clock_is_the_machines)
{
	time_t before = time(NULL);
	struct mc_time now = clock_real();
	uint64_t now_ns = clock_real_ns();
	time_t after = time(NULL);

	ck_assert_int_ge(now.s, before);
	ck_assert_int_le(now.s, after + 1);
	ck_assert_uint_lt(now.ns, 1000000000);
	ck_assert_uint_ge(now_ns / 1000000000, (uint64_t)before);
	ck_assert_uint_le(now_ns / 1000000000, (uint64_t)after + 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base/clock");
	TCase *tcase = tcase_create("clock");

	tcase_add_test(tcase, the_monotonic_clock_never_runs_back);
	tcase_add_test(tcase, the_monotonic_clock_counts_nanoseconds);
	tcase_add_test(tcase, the_real_clock_is_the_machines);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
