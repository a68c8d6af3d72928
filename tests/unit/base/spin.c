/*
 * Whether to look again before sleeping: what found soon goes on, what is vain rests.
 */
#include <check.h>
#include <stdlib.h>

#include "engine/base/spin.h"
#include "tests/support/suite.h"

#define STEP_NS 100u

static uint64_t now_ns;

/* Look every 100 ns; found after so long.  False: it rests and does not look at all. */
static bool spin_once(struct spin *spin, uint64_t found_after_ns)
{
	bool found = false;

	if (!spin_begin(spin, now_ns))
		return false;
	uint64_t begin_ns = now_ns;
	do {
		now_ns += STEP_NS;
		found = now_ns - begin_ns >= found_after_ns;
	} while (spin_on(spin, found, now_ns));
	return true;
}

static void setup(void)
{
	now_ns = 1000000000;
}

START_TEST(what_comes_soon_is_looked_for_for_ever)
{
	struct spin spin = {0};

	for (int i = 0; i < 1000; i++)
		ck_assert(spin_once(&spin, SPIN_NS / 2));
}
END_TEST

START_TEST(a_spin_ends_after_its_time)
{
	struct spin spin = {0};
	uint64_t begin_ns = now_ns;

	ck_assert(spin_once(&spin, UINT64_MAX));
	ck_assert_uint_eq(now_ns - begin_ns, SPIN_NS);
}
END_TEST

START_TEST(what_is_vain_rests)
{
	struct spin spin = {0};

	for (unsigned i = 0; i < SPIN_VAIN_MAX; i++)
		ck_assert(spin_once(&spin, UINT64_MAX));
	ck_assert(!spin_once(&spin, 0));
	now_ns += SPIN_REST_NS;
	ck_assert(spin_once(&spin, 0));
}
END_TEST

START_TEST(one_found_makes_up_for_one_in_vain)
{
	struct spin spin = {0};

	for (unsigned i = 0; i < 100; i++) {
		ck_assert(spin_once(&spin, UINT64_MAX));
		ck_assert(spin_once(&spin, STEP_NS));
	}
}
END_TEST

START_TEST(what_mostly_is_vain_rests)
{
	struct spin spin = {0};
	unsigned spins = 0;

	while (spin_once(&spin, spins % 3 == 0 ? STEP_NS : UINT64_MAX))
		ck_assert_uint_lt(++spins, 100);
}
END_TEST

START_TEST(who_lost_the_processor_rests_though_it_found_something)
{
	struct spin spin = {0};

	ck_assert(spin_begin(&spin, now_ns));
	now_ns += SPIN_JUMP_NS;
	ck_assert(!spin_on(&spin, true, now_ns));
	ck_assert(!spin_begin(&spin, now_ns));
}
END_TEST

START_TEST(what_never_comes_costs_less_than_one_percent)
{
	struct spin spin = {0};
	uint64_t begin_ns = now_ns, spun_ns = 0;

	while (now_ns - begin_ns < 1000000000) {
		uint64_t before_ns = now_ns;
		(void)spin_once(&spin, UINT64_MAX);
		spun_ns += now_ns - before_ns;
		now_ns += STEP_NS;
	}
	ck_assert_uint_lt(spun_ns, (now_ns - begin_ns) / 100);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base/spin");
	TCase *tcase = tcase_create("spin");

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, what_comes_soon_is_looked_for_for_ever);
	tcase_add_test(tcase, a_spin_ends_after_its_time);
	tcase_add_test(tcase, what_is_vain_rests);
	tcase_add_test(tcase, one_found_makes_up_for_one_in_vain);
	tcase_add_test(tcase, what_mostly_is_vain_rests);
	tcase_add_test(tcase, who_lost_the_processor_rests_though_it_found_something);
	tcase_add_test(tcase, what_never_comes_costs_less_than_one_percent);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
