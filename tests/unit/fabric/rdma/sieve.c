/*
 * Which entry goes first.
 */
#include "engine/fabric/rdma/sieve.h"

#include <check.h>

#include "tests/support/suite.h"

#define ENTRIES 8

static struct sieve sieve;
static struct sieve_entry entries[ENTRIES];

static void set_up(void)
{
	sieve = (struct sieve){.count = 0};
	for (int i = 0; i < ENTRIES; i++) {
		entries[i] = (struct sieve_entry){.kept = false};
		sieve_insert(&sieve, &entries[i]);
	}
}

static int evict(void)
{
	struct sieve_entry *victim = sieve_victim(&sieve);

	sieve_remove(&sieve, victim);
	return (int)(victim - entries);
}

START_TEST(unused_ones_go_in_the_order_in_which_they_came)
{
	for (int i = 0; i < ENTRIES; i++)
		ck_assert_int_eq(evict(), i);
	ck_assert_ptr_null(sieve_victim(&sieve));
	ck_assert_uint_eq(sieve.count, 0);
}
END_TEST

START_TEST(used_ones_stay_for_a_round)
{
	sieve_use(&entries[0]);
	sieve_use(&entries[2]);
	ck_assert_int_eq(evict(), 1);
	ck_assert_int_eq(evict(), 3);
	/* The hand goes on from there; what it passed has lost its bit. */
	for (int i = 4; i < ENTRIES; i++)
		ck_assert_int_eq(evict(), i);
	ck_assert_int_eq(evict(), 0);
	ck_assert_int_eq(evict(), 2);
}
END_TEST

START_TEST(when_all_are_used_the_oldest_goes)
{
	for (int i = 0; i < ENTRIES; i++)
		sieve_use(&entries[i]);
	ck_assert_int_eq(evict(), 0);
}
END_TEST

START_TEST(the_hand_survives_a_removal)
{
	sieve_use(&entries[0]);
	ck_assert_ptr_eq(sieve_victim(&sieve), &entries[1]);
	sieve_remove(&sieve, &entries[1]);
	sieve_remove(&sieve, &entries[1]);
	ck_assert_int_eq(evict(), 2);
	sieve_remove(&sieve, &entries[ENTRIES - 1]);
	sieve_insert(&sieve, &entries[1]);
	ck_assert_int_eq(evict(), 3);
	ck_assert_uint_eq(sieve.count, ENTRIES - 3);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rdma sieve");
	TCase *tcase = tcase_create("sieve");

	tcase_add_checked_fixture(tcase, set_up, NULL);
	tcase_add_test(tcase, unused_ones_go_in_the_order_in_which_they_came);
	tcase_add_test(tcase, used_ones_stay_for_a_round);
	tcase_add_test(tcase, when_all_are_used_the_oldest_goes);
	tcase_add_test(tcase, the_hand_survives_a_removal);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
