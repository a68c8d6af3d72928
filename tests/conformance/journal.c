/* What every journal promises; the rows are journal_table. */
#include "master/journal.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/buffer.h"
#include "engine/base/log.h"

#define OBJECT_MAX 16

static char directory[64];
static char path[96];

/* What a load yields: the value of each object, "" for none. */
static char values[OBJECT_MAX][256];
static int visits;

static void setup(void)
{
	strcpy(directory, "/tmp/mooncake-journal-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/j", directory);
	log_set_level("error");
}

static void teardown(void)
{
	unlink(path);
	rmdir(directory);
}

static enum mc_status visit(void *context, enum record_kind kind, const uint8_t *key,
			    size_t key_size, const uint8_t *value, size_t value_size)
{
	(void)context;
	visits++;
	ck_assert_int_eq(kind, RECORD_OBJECT);
	ck_assert_uint_eq(key_size, 8);
	char *at = values[load_u64(key) % OBJECT_MAX];
	at[0] = '\0';
	if (value) {
		ck_assert_uint_lt(value_size, 256);
		memcpy(at, value, value_size);
		at[value_size] = '\0';
	}
	return MC_OK;
}

static struct journal *open_and_load(const struct journal_ops *ops, bool *empty)
{
	struct journal_config config = {.path = ops->durable ? path : "", .fresh = true};
	struct journal_loaded loaded;
	struct journal *journal = NULL;

	memset(values, 0, sizeof(values));
	visits = 0;
	ck_assert_int_eq(ops->open(&config, &journal), MC_OK);
	ck_assert_int_eq(ops->load(journal, visit, NULL, &loaded), MC_OK);
	if (empty)
		*empty = loaded.empty;
	return journal;
}

static void put(struct journal *journal, uint64_t id, const char *value)
{
	uint8_t key[8];

	store_u64(key, id);
	if (value)
		journal->ops->put(journal, RECORD_OBJECT, key, 8, (const uint8_t *)value,
				  strlen(value));
	else
		journal->ops->remove(journal, RECORD_OBJECT, key, 8);
}

START_TEST(a_new_one_is_empty)
{
	const struct journal_ops *ops = journal_table[_i];
	bool empty = false;

	ops->close(open_and_load(ops, &empty));
	ck_assert(empty);
	ck_assert_int_eq(visits, 0);
}
END_TEST

START_TEST(the_last_word_on_a_key_counts)
{
	const struct journal_ops *ops = journal_table[_i];
	struct journal *journal = open_and_load(ops, NULL);
	struct journal_counters counters;

	put(journal, 1, "one");
	put(journal, 2, "two");
	ck_assert_int_eq(ops->flush(journal), MC_OK);
	put(journal, 1, "uno");
	put(journal, 2, NULL);
	put(journal, 3, "");
	ck_assert_int_eq(ops->flush(journal), MC_OK);
	ck_assert_int_eq(ops->flush(journal), MC_OK);
	ops->counters(journal, &counters);
	ck_assert_uint_eq(counters.records, 5);
	ops->close(journal);
	bool empty;
	journal = open_and_load(ops, &empty);
	ck_assert_int_eq(empty, !ops->durable);
	ck_assert_str_eq(values[1], ops->durable ? "uno" : "");
	ck_assert_str_eq(values[2], "");
	ops->close(journal);
}
END_TEST

START_TEST(what_was_not_flushed_is_not_there)
{
	const struct journal_ops *ops = journal_table[_i];
	struct journal *journal = open_and_load(ops, NULL);

	put(journal, 1, "one");
	ck_assert_int_eq(ops->flush(journal), MC_OK);
	put(journal, 1, "half");
	put(journal, 2, "half");
	ops->close(journal);
	journal = open_and_load(ops, NULL);
	ck_assert_str_eq(values[1], ops->durable ? "one" : "");
	ck_assert_str_eq(values[2], "");
	ops->close(journal);
}
END_TEST

START_TEST(groups_go_on_while_a_snapshot_is_made)
{
	const struct journal_ops *ops = journal_table[_i];
	struct journal *journal = open_and_load(ops, NULL);
	struct journal_counters counters;
	uint8_t key[8] = {0};

	for (int i = 0; i < 100; i++) {
		put(journal, 1, "garbage");
		put(journal, 2, "garbage");
		ck_assert_int_eq(ops->flush(journal), MC_OK);
	}
	ck_assert_int_eq(ops->snapshot_begin(journal), MC_OK);
	/* 1 is in the snapshot and changes after; 2 goes before the snapshot gets there. */
	store_u64(key, 1);
	ck_assert_int_eq(
		ops->snapshot_put(journal, RECORD_OBJECT, key, 8, (const uint8_t *)"old", 3),
		MC_OK);
	put(journal, 1, "new");
	put(journal, 2, NULL);
	put(journal, 3, "three");
	ck_assert_int_eq(ops->flush(journal), MC_OK);
	ck_assert_int_eq(ops->snapshot_end(journal, true), MC_OK);
	put(journal, 4, "four");
	ck_assert_int_eq(ops->flush(journal), MC_OK);
	ops->counters(journal, &counters);
	ck_assert_uint_eq(counters.compactions, 1);
	ops->close(journal);
	journal = open_and_load(ops, NULL);
	ck_assert_int_eq(visits, ops->durable ? 5 : 0);
	ck_assert_str_eq(values[1], ops->durable ? "new" : "");
	ck_assert_str_eq(values[2], "");
	ck_assert_str_eq(values[3], ops->durable ? "three" : "");
	ck_assert_str_eq(values[4], ops->durable ? "four" : "");
	ops->close(journal);
}
END_TEST

START_TEST(a_snapshot_given_up_changes_nothing)
{
	const struct journal_ops *ops = journal_table[_i];
	struct journal *journal = open_and_load(ops, NULL);

	put(journal, 1, "one");
	ck_assert_int_eq(ops->flush(journal), MC_OK);
	ck_assert_int_eq(ops->snapshot_begin(journal), MC_OK);
	put(journal, 2, "two");
	ck_assert_int_eq(ops->flush(journal), MC_OK);
	ck_assert_int_eq(ops->snapshot_end(journal, false), MC_OK);
	ops->close(journal);
	journal = open_and_load(ops, NULL);
	ck_assert_str_eq(values[1], ops->durable ? "one" : "");
	ck_assert_str_eq(values[2], ops->durable ? "two" : "");
	ops->close(journal);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("journal");
	TCase *tc = tcase_create("journal");
	int rows = 0;

	while (journal_table[rows])
		rows++;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, a_new_one_is_empty, 0, rows);
	tcase_add_loop_test(tc, the_last_word_on_a_key_counts, 0, rows);
	tcase_add_loop_test(tc, what_was_not_flushed_is_not_there, 0, rows);
	tcase_add_loop_test(tc, groups_go_on_while_a_snapshot_is_made, 0, rows);
	tcase_add_loop_test(tc, a_snapshot_given_up_changes_nothing, 0, rows);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
