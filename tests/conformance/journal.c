/*
 * What every journal promises; the rows are journal_table.  The one in etcd runs
 * against an etcd of the test's own, and is left out, loudly, without one.
 */
#include "master/journal.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/buffer.h"
#include "engine/base/log.h"
#include "tests/support/etcd.h"
#include "tests/support/suite.h"

#define OBJECT_MAX 16

static char directory[64];
static char path[96];

/* What a load yields: the value of each object, "" for none. */
static char values[OBJECT_MAX][256];
static int visits;

static struct etcd_server server;
static bool with_etcd;

static void setup(void)
{
	server = (struct etcd_server){0};
	strcpy(directory, "/tmp/mooncake-journal-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/j", directory);
	log_set_level("error");
}

static void teardown(void)
{
	etcd_server_end(&server);
	unlink(path);
	rmdir(directory);
}

/* Each object stands in the root under a name of its own, and has its text behind that. */
static const char *name_of(uint64_t id, size_t *size)
{
	static char name[8];

	*size = (size_t)snprintf(name, sizeof(name), "n%02u", (unsigned)id % 100);
	return name;
}

#define HEAD_SIZE (1 + 8 + 8 + 2 + 3 + 8)

static void value_write(struct writer *w, uint64_t id, const char *text)
{
	size_t size;
	const char *name = name_of(id, &size);

	put_u8(w, 1);
	put_u64(w, 1);
	put_u64(w, id);
	put_string(w, name, size);
	put_u64(w, id);
	put_bytes(w, text, strlen(text));
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
		ck_assert_uint_ge(value_size, HEAD_SIZE);
		memcpy(at, value + HEAD_SIZE, value_size - HEAD_SIZE);
		at[value_size - HEAD_SIZE] = '\0';
	}
	return MC_OK;
}

static struct journal *open_and_load(const struct journal_ops *ops, bool *empty)
{
	struct journal_config config = {.path = ops->durable ? path : "", .fresh = true};
	struct journal_loaded loaded;
	char endpoint[80];

	if (ops == &journal_etcd_ops) {
		if (!server.pid)
			etcd_server_start(&server);
		snprintf(endpoint, sizeof(endpoint), "//%s", server.client);
		config.path = endpoint;
	}
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
	struct writer w;
	uint8_t key[8];
	size_t size;

	store_u64(key, id);
	if (value) {
		writer_init(&w);
		value_write(&w, id, value);
		journal->ops->put(journal, RECORD_OBJECT, key, 8, w.data, w.size);
		writer_fini(&w);
		return;
	}
	const char *name = name_of(id, &size);
	if (journal->ops->vacate)
		journal->ops->vacate(journal, false, false, 1, name, size);
	journal->ops->remove(journal, RECORD_OBJECT, key, 8);
}

/* The row of a loop test; NULL: it can't run here. */
static const struct journal_ops *row(int i)
{
	const struct journal_ops *ops = journal_table[i];

	return ops != &journal_etcd_ops || with_etcd ? ops : NULL;
}

START_TEST(a_new_one_is_empty)
{
	const struct journal_ops *ops = row(_i);
	bool empty = false;

	if (!ops)
		return;
	ops->close(open_and_load(ops, &empty));
	ck_assert(empty);
	ck_assert_int_eq(visits, 0);
}
END_TEST

START_TEST(the_last_word_on_a_key_counts)
{
	const struct journal_ops *ops = row(_i);
	if (!ops)
		return;
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
	const struct journal_ops *ops = row(_i);
	if (!ops)
		return;
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
	const struct journal_ops *ops = row(_i);
	if (!ops || !ops->snapshot_begin)
		return;
	struct journal *journal = open_and_load(ops, NULL);
	struct journal_counters counters;
	uint8_t key[8] = {0};
	struct writer w;

	for (int i = 0; i < 100; i++) {
		put(journal, 1, "garbage");
		put(journal, 2, "garbage");
		ck_assert_int_eq(ops->flush(journal), MC_OK);
	}
	ck_assert_int_eq(ops->snapshot_begin(journal), MC_OK);
	/* 1 is in the snapshot and changes after; 2 goes before the snapshot gets there. */
	store_u64(key, 1);
	writer_init(&w);
	value_write(&w, 1, "old");
	ck_assert_int_eq(ops->snapshot_put(journal, RECORD_OBJECT, key, 8, w.data, w.size), MC_OK);
	writer_fini(&w);
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
	const struct journal_ops *ops = row(_i);
	if (!ops || !ops->snapshot_begin)
		return;
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
	with_etcd = etcd_installed();
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, a_new_one_is_empty, 0, rows);
	tcase_add_loop_test(tc, the_last_word_on_a_key_counts, 0, rows);
	tcase_add_loop_test(tc, what_was_not_flushed_is_not_there, 0, rows);
	tcase_add_loop_test(tc, groups_go_on_while_a_snapshot_is_made, 0, rows);
	tcase_add_loop_test(tc, a_snapshot_given_up_changes_nothing, 0, rows);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
