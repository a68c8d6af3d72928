/* A journal looked into from outside: what stands, what is removed, what is broken. */
#include <mooncake/journal.h>

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "master/journal_file.h"
#include "master/record.h"
#include "tests/support/suite.h"

#define ID 100u /* of the first object */

static struct mc_master *tables;
static char path[64];
static char name[80]; /* "file:PATH" */

/* -- a journal, written as a master does -- */

static void setup(void)
{
	struct journal_config config = {.fresh = true};
	struct journal_loaded loaded;

	log_open("/dev/null");
	snprintf(path, sizeof(path), "/tmp/audit-%d", getpid());
	snprintf(name, sizeof(name), "file:%s", path);
	tables = calloc(1, sizeof(*tables));
	ck_assert_int_eq(catalog_init(&tables->catalog), MC_OK);
	ck_assert_int_eq(nodes_init(&tables->nodes), MC_OK);
	ck_assert_int_eq(ledger_init(&tables->ledger), MC_OK);
	writer_init(&tables->record);
	tables->epoch = 7;
	tables->id_next = 1000;
	ck_assert_int_eq(journal_open(name, "never", config, &tables->journal), MC_OK);
	ck_assert_int_eq(tables->journal->ops->load(tables->journal, record_load, tables, &loaded),
			 MC_OK);
}

static void journal_end(void)
{
	if (tables->journal)
		tables->journal->ops->close(tables->journal);
	tables->journal = NULL;
}

static void teardown(void)
{
	journal_end();
	unlink(path);
	catalog_fini(&tables->catalog);
	nodes_fini(&tables->nodes);
	ledger_fini(&tables->ledger);
	writer_fini(&tables->record);
	free(tables);
}

static struct entry *entry_make(uint64_t id, const char *entry_name, uint32_t mode)
{
	struct mc_attr attr = {.id = id, .version = id, .size = 4096, .mode = mode, .nlink = 1};
	struct entry *entry;

	ck_assert_int_eq(catalog_add(&tables->catalog, tables->catalog.root->directory, entry_name,
				     strlen(entry_name), &attr, &entry),
			 MC_OK);
	return entry;
}

static void entry_write(const struct entry *entry)
{
	ck_assert_int_eq(record_entry(tables, entry, false), MC_OK);
}

static void node_write(void)
{
	static const uint8_t uuid[16] = {1, 2, 3};
	struct node *node;

	ck_assert_int_eq(nodes_get(&tables->nodes, uuid, &node), MC_OK);
	strcpy(node->public.name, "alpha");
	ck_assert_int_eq(record_node(tables, node, false), MC_OK);
}

/* Meta, the root, a node, and objects "o0", "o1" … with a replica there; then another epoch. */
static void cluster_write(unsigned objects)
{
	ck_assert_int_eq(record_meta(tables, false), MC_OK);
	entry_write(tables->catalog.root);
	node_write();
	for (unsigned i = 0; i < objects; i++) {
		char object[16];
		snprintf(object, sizeof(object), "o%u", i);
		struct entry *entry = entry_make(ID + i, object, S_IFREG | 0644);
		entry->replica_count = 1;
		entry_write(entry);
	}
	ck_assert_int_eq(tables->journal->ops->flush(tables->journal), MC_OK);
}

static struct mc_journal_found audited(enum mc_status status)
{
	struct mc_journal_found found;

	ck_assert_int_eq(mc_journal_read(name, NULL, NULL, &found), status);
	return found;
}

static off_t size_of(void)
{
	struct stat attr;

	ck_assert_int_eq(stat(path, &attr), 0);
	return attr.st_size;
}

static void flip(off_t at)
{
	uint8_t byte;
	int fd = open(path, O_RDWR);

	ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
	byte ^= 0x40;
	ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

/* -- sound -- */

START_TEST(what_stands_is_counted)
{
	cluster_write(3);
	struct mc_journal_found found = audited(MC_OK); /* while it is open elsewhere */
	ck_assert_uint_eq(found.objects, 3);
	ck_assert_uint_eq(found.directories, 1);
	ck_assert_uint_eq(found.nodes, 1);
	ck_assert_uint_eq(found.epoch, 7);
	ck_assert_uint_eq(found.records, 6);
	ck_assert_uint_eq(found.bytes, (uint64_t)size_of());
	ck_assert_uint_eq(found.tail + found.orphans + found.strays + found.removals, 0);
	ck_assert_str_eq(found.damage, "");
}
END_TEST

START_TEST(a_path_alone_names_a_file)
{
	struct mc_journal_found found;

	cluster_write(1);
	ck_assert_int_eq(mc_journal_read(path, NULL, NULL, &found), MC_OK);
	ck_assert_uint_eq(found.objects, 1);
}
END_TEST

START_TEST(what_is_removed_does_not_stand)
{
	cluster_write(3);
	record_gone(tables, ID + 1, false);
	ck_assert_int_eq(tables->journal->ops->flush(tables->journal), MC_OK);
	struct mc_journal_found found = audited(MC_OK);
	ck_assert_uint_eq(found.objects, 2);
	ck_assert_uint_eq(found.removals, 1);
}
END_TEST

START_TEST(a_replica_at_no_node_is_a_stray)
{
	cluster_write(1);
	struct entry *entry = entry_make(ID + 50, "stray", S_IFREG | 0644);
	entry->replica_count = 1;
	entry->replicas[0] = 5;
	entry_write(entry);
	ck_assert_int_eq(tables->journal->ops->flush(tables->journal), MC_OK);
	ck_assert_uint_eq(audited(MC_OK).strays, 1);
}
END_TEST

START_TEST(an_entry_without_its_directory_is_an_orphan)
{
	struct entry *child;
	struct mc_attr attr = {.id = ID + 61, .version = 1, .mode = S_IFREG | 0644, .nlink = 1};

	cluster_write(1);
	struct entry *directory = entry_make(ID + 60, "gone", S_IFDIR | 0755);
	ck_assert_int_eq(
		catalog_add(&tables->catalog, directory->directory, "child", 5, &attr, &child),
		MC_OK);
	entry_write(child);
	ck_assert_int_eq(tables->journal->ops->flush(tables->journal), MC_OK);
	struct mc_journal_found found = audited(MC_OK);
	ck_assert_uint_eq(found.orphans, 1);
	ck_assert_uint_eq(found.objects, 1);
}
END_TEST

/* -- told line by line -- */

struct told {
	char text[4096];
	size_t size;
	unsigned lines;
	unsigned lines_max;
};

static bool keep(void *context, const struct mc_journal_line *line)
{
	struct told *told = context;

	told->size += (size_t)snprintf(told->text + told->size, sizeof(told->text) - told->size,
				       "%.*s %s%.*s\n", (int)line->key_size, line->key,
				       line->removed ? "removed" : "", (int)line->value_size,
				       line->removed ? "" : line->value);
	return ++told->lines < told->lines_max;
}

START_TEST(each_record_is_a_line)
{
	struct told told = {.lines_max = 100};
	struct mc_journal_found found;

	cluster_write(1);
	record_gone(tables, ID, false);
	ck_assert_int_eq(tables->journal->ops->flush(tables->journal), MC_OK);
	ck_assert_int_eq(mc_journal_read(name, keep, &told, &found), MC_OK);
	ck_assert_uint_eq(told.lines, 5);
	ck_assert_msg(strncmp(told.text, "config meta ", 12) == 0, "%s", told.text);
	ck_assert_ptr_nonnull(strstr(told.text, "\nobjects/0/ directory id=1 "));
	ck_assert_ptr_nonnull(strstr(told.text, "\nnodes/0102030000"));
	ck_assert_ptr_nonnull(strstr(told.text, " node id=1 name=alpha"));
	ck_assert_ptr_nonnull(strstr(told.text, "\nobjects/1/o0 object "));
	ck_assert_ptr_nonnull(strstr(told.text, " replicas=1\n"));
	ck_assert_ptr_nonnull(strstr(told.text, "\nids/64 removed\n"));
}
END_TEST

START_TEST(who_listens_can_end_it)
{
	struct told told = {.lines_max = 2};
	struct mc_journal_found found;

	cluster_write(5);
	ck_assert_int_eq(mc_journal_read(name, keep, &told, &found), MC_OK);
	ck_assert_uint_eq(told.lines, 2);
}
END_TEST

/* -- broken -- */

START_TEST(a_torn_end_is_no_damage)
{
	cluster_write(3);
	off_t whole = size_of();
	record_gone(tables, ID, false);
	ck_assert_int_eq(tables->journal->ops->flush(tables->journal), MC_OK);
	ck_assert_int_eq(truncate(path, size_of() - 1), 0);
	struct mc_journal_found found = audited(MC_OK);
	ck_assert_uint_eq(found.tail, (uint64_t)(size_of() - whole));
	ck_assert_uint_eq(found.objects, 3);
}
END_TEST

START_TEST(a_broken_record_before_whole_ones_is_damage)
{
	cluster_write(3);
	off_t at = size_of();
	entry_write(entry_make(ID + 10, "later", S_IFREG | 0644));
	ck_assert_int_eq(tables->journal->ops->flush(tables->journal), MC_OK);
	entry_write(entry_make(ID + 11, "last", S_IFREG | 0644));
	ck_assert_int_eq(tables->journal->ops->flush(tables->journal), MC_OK);
	flip(at + 20);
	struct mc_journal_found found = audited(MC_IO);
	char where[32];
	snprintf(where, sizeof(where), "at byte %lld ", (long long)at);
	ck_assert_msg(strstr(found.damage, where) != NULL, "%s", found.damage);
	ck_assert_uint_eq(found.records, 6);
}
END_TEST

START_TEST(a_whole_record_that_makes_no_sense_is_damage)
{
	uint8_t key[8] = {9};

	cluster_write(1);
	tables->journal->ops->put(tables->journal, RECORD_OBJECT, key, sizeof(key), key,
				  sizeof(key));
	ck_assert_int_eq(tables->journal->ops->flush(tables->journal), MC_OK);
	struct mc_journal_found found = audited(MC_IO);
	ck_assert_msg(strstr(found.damage, "makes no sense") != NULL, "%s", found.damage);
}
END_TEST

START_TEST(two_entries_of_one_name_are_damage)
{
	cluster_write(1);
	struct entry *twin = entry_make(ID + 20, "o", S_IFREG | 0644);
	entry_write(twin);
	twin->id = ID + 21;
	entry_write(twin);
	twin->id = ID + 20;
	ck_assert_int_eq(tables->journal->ops->flush(tables->journal), MC_OK);
	ck_assert_str_eq(audited(MC_IO).damage, "two entries have one name");
}
END_TEST

START_TEST(what_is_no_journal_is_told_apart)
{
	struct mc_journal_found found;

	ck_assert_int_eq(mc_journal_read("/proc/self/none", NULL, NULL, &found), MC_NOT_FOUND);
	ck_assert_int_eq(mc_journal_read("/tmp", NULL, NULL, &found), MC_INVALID);
	ck_assert_int_eq(mc_journal_read("etcd://127.0.0.1:1/a/b", NULL, NULL, &found), MC_INVALID);
	cluster_write(1);
	flip(3);
	ck_assert_str_eq(audited(MC_IO).damage,
			 "it does not begin as a journal of this version does");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("audit");
	TCase *tc = tcase_create("audit");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_stands_is_counted);
	tcase_add_test(tc, a_path_alone_names_a_file);
	tcase_add_test(tc, what_is_removed_does_not_stand);
	tcase_add_test(tc, a_replica_at_no_node_is_a_stray);
	tcase_add_test(tc, an_entry_without_its_directory_is_an_orphan);
	tcase_add_test(tc, each_record_is_a_line);
	tcase_add_test(tc, who_listens_can_end_it);
	tcase_add_test(tc, a_torn_end_is_no_damage);
	tcase_add_test(tc, a_broken_record_before_whole_ones_is_damage);
	tcase_add_test(tc, a_whole_record_that_makes_no_sense_is_damage);
	tcase_add_test(tc, two_entries_of_one_name_are_damage);
	tcase_add_test(tc, what_is_no_journal_is_told_apart);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
