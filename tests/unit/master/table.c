/* A table that grows and is cleaned up again and again while others look. */
#include "master/table.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "engine/base/clock.h"
#include "master/grace.h"
#include "tests/support/suite.h"

#define READER_COUNT 2
#define STAY_COUNT   5
#define CHURN_COUNT  9 /* few, so that the table is made anew every dozen of inserts */

static struct grace grace;
static struct table table;
static _Atomic uint64_t stay[STAY_COUNT];
/* Another number each time one is put in, also while a reader that has not
 * left yet compares it: no reader looks for these. */
static _Atomic uint64_t churn[CHURN_COUNT];
static atomic_bool over;
static atomic_uint_fast64_t finds, misses;

static uint64_t number_hash(const struct table *of, const void *item)
{
	(void)of;
	return table_mix(*(const _Atomic uint64_t *)item);
}

static bool number_equal(const void *item, const void *key)
{
	return *(const _Atomic uint64_t *)item == *(const uint64_t *)key;
}

static void setup(void)
{
	grace_init(&grace);
	grace.reader_count = READER_COUNT;
	ck_assert(table_init(&table, number_hash, 0, &grace));
	for (uint64_t i = 0; i < STAY_COUNT; i++) {
		stay[i] = i;
		ck_assert(table_insert(&table, number_hash(&table, &stay[i]), &stay[i]));
	}
	over = false;
	finds = misses = 0;
}

static void teardown(void)
{
	table_fini(&table);
	grace_fini(&grace);
}

static void *reader(void *context)
{
	unsigned number = *(unsigned *)context;

	for (uint64_t turn = 0; !atomic_load_explicit(&over, memory_order_relaxed); turn++) {
		uint64_t key = turn % STAY_COUNT;
		grace_enter(&grace, number);
		const void *found = table_find(&table, table_mix(key), number_equal, &key);
		grace_leave(&grace, number);
		if (found != &stay[key])
			atomic_fetch_add(&misses, 1);
	}
	return NULL;
}

START_TEST(what_is_there_all_along_is_found)
{
	pthread_t threads[READER_COUNT];
	unsigned numbers[READER_COUNT];
	const char *given = getenv("MOONCAKE_READERS_MS");
	uint64_t end_ns = clock_ns() + (given ? strtoull(given, NULL, 10) : 2000) * 1000000;

	for (unsigned i = 0; i < READER_COUNT; i++) {
		numbers[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, reader, &numbers[i]), 0);
	}
	for (size_t turn = 0; turn % 1024 || clock_ns() < end_ns; turn++) {
		_Atomic uint64_t *item = &churn[turn % CHURN_COUNT];
		bool remove = turn / CHURN_COUNT % 2;
		if (!remove)
			*item = 1000 + turn;
		uint64_t hash = number_hash(&table, item);
		if (remove)
			table_remove(&table, hash, item);
		else
			ck_assert(table_insert(&table, hash, item));
		grace_collect(&grace);
	}
	over = true;
	for (int i = 0; i < READER_COUNT; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_gt(table.growths, 100);
	ck_assert_uint_eq(misses, 0);
}
END_TEST

START_TEST(what_a_reader_may_hold_is_not_freed)
{
	grace_enter(&grace, 0);
	grace_free(&grace, malloc(1));
	for (int i = 0; i < 10; i++)
		grace_collect(&grace);
	ck_assert_uint_eq(grace.fresh.count + grace.waiting.count, 1);
	/* One who came later does not keep it. */
	grace_leave(&grace, 0);
	grace_enter(&grace, 1);
	grace_collect(&grace);
	ck_assert_uint_eq(grace.fresh.count + grace.waiting.count, 0);
	grace_leave(&grace, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("table");
	TCase *tc = tcase_create("table");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_is_there_all_along_is_found);
	tcase_add_test(tc, what_a_reader_may_hold_is_not_freed);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
