/* Names between two nodes: removed, moved, listed, granted and recalled. */
#include "tests/unit/node/cluster.h"

/* -- unlink -- */

START_TEST(a_removed_name_is_gone_everywhere)
{
	put(a, "key", 1000, 1);
	assert_reads(b, "key", 1000, 1);
	ck_assert_int_eq(unlink_name(b, "key"), MC_OK);
	ck_assert_int_eq(look(b, "key"), MC_NOT_FOUND);
	EVENTUALLY(look(a, "key") == MC_NOT_FOUND);
	EVENTUALLY(stat_of_node(a, "objects_local") == 0);
	EVENTUALLY(stat_of_node(b, "objects_local") == 0);
}
END_TEST

START_TEST(what_is_open_outlives_its_name)
{
	struct object *object;

	put(a, "key", 1000, 1);
	ck_assert_int_eq(lookup(b, "key", &object), MC_OK);
	ck_assert_int_eq(open_object(b, object, 0), MC_OK);
	ck_assert_int_eq(unlink_name(a, "key"), MC_OK);
	EVENTUALLY(look(b, "key") == MC_NOT_FOUND);
	ck_assert(holds_bytes(b, object, 1000, 1));
	node_release(b, object, false);
	cluster_forget(b, object);
}
END_TEST

START_TEST(a_removed_draft_asks_nobody)
{
	struct object *object = create(a, "key");
	uint64_t calls = stat_of_node(a, "rpc_total");

	ck_assert_int_eq(unlink_name(a, "key"), MC_OK);
	ck_assert_uint_eq(stat_of_node(a, "rpc_total"), calls);
	write_bytes(a, object, 100, 1); /* its descriptor works on */
	ck_assert_int_eq(flush(a, object), MC_OK);
	node_release(a, object, true);
	cluster_forget(a, object);
	ck_assert_int_eq(look(b, "key"), MC_NOT_FOUND);
	ck_assert_uint_eq(counted(a, COUNTER_PUBLISHES), 0);
}
END_TEST

START_TEST(a_name_that_is_not_there_is_not_removed)
{
	ck_assert_int_eq(unlink_name(a, "key"), MC_NOT_FOUND);
	make_directory_in(a, MC_ROOT_ID, "dir");
	ck_assert_int_eq(unlink_name(a, "dir"), MC_IS_DIRECTORY);
	EVENTUALLY(look(b, "dir") == MC_OK);
	ck_assert_int_eq(unlink_name(b, "dir"), MC_IS_DIRECTORY);
}
END_TEST

START_TEST(a_name_is_free_again)
{
	put(a, "key", 1000, 1);
	ck_assert_int_eq(unlink_name(a, "key"), MC_OK);
	put(b, "key", 500, 2);
	EVENTUALLY(look(a, "key") == MC_OK);
	assert_reads(a, "key", 500, 2);
}
END_TEST

/* -- rename -- */

START_TEST(a_renamed_object_has_its_new_name_everywhere)
{
	struct object *object, *moved;

	put(a, "old", 1000, 1);
	ck_assert_int_eq(lookup(b, "old", &object), MC_OK);
	ck_assert_int_eq(rename_name(b, "old", "new", false), MC_OK);
	ck_assert_int_eq(look(b, "old"), MC_NOT_FOUND);
	EVENTUALLY(look(a, "old") == MC_NOT_FOUND);
	assert_reads(a, "new", 1000, 1);
	ck_assert_int_eq(lookup(b, "new", &moved), MC_OK);
	ck_assert_ptr_eq(moved, object); /* the inode number survives */
	cluster_forget(b, moved);
	cluster_forget(b, object);
}
END_TEST

START_TEST(a_rename_replaces_what_was_there)
{
	put(a, "one", 1000, 1);
	put(b, "two", 500, 2);
	EVENTUALLY(look(a, "two") == MC_OK);
	ck_assert_int_eq(rename_name(a, "one", "two", false), MC_OK);
	assert_reads(a, "two", 1000, 1);
	EVENTUALLY(stat_of_node(b, "objects_local") == 0);
	assert_reads(b, "two", 1000, 1);
	ck_assert_int_eq(look(b, "one"), MC_NOT_FOUND);
}
END_TEST

START_TEST(a_rename_that_may_not_replace_leaves_both)
{
	put(a, "one", 1000, 1);
	put(a, "two", 500, 2);
	ck_assert_int_eq(rename_name(a, "one", "two", true), MC_EXISTS);
	assert_reads(b, "one", 1000, 1);
	assert_reads(b, "two", 500, 2);
	ck_assert_int_eq(rename_name(a, "none", "two", false), MC_STALE);
}
END_TEST

START_TEST(a_draft_moves_between_staging_names_without_the_master)
{
	struct object *object = create(a, "one.tmp");
	uint64_t calls = stat_of_node(a, "rpc_total");

	ck_assert_int_eq(rename_name(a, "one.tmp", "two.tmp", false), MC_OK);
	ck_assert_uint_eq(stat_of_node(a, "rpc_total"), calls);
	ck_assert_int_eq(look(a, "two.tmp"), MC_OK);
	node_release(a, object, true);
	cluster_forget(a, object);
}
END_TEST

/* -- what may be concluded -- */

START_TEST(with_a_grant_a_second_create_asks_nothing)
{
	ck_assert_int_eq(look(a, "one"), MC_NOT_FOUND); /* asked, and the root is granted */
	uint64_t asked = stat_of_node(a, "rpc_lookup");

	put(a, "one", 100, 1);
	ck_assert_int_eq(look(a, "two"), MC_NOT_FOUND);
	put(a, "two", 100, 2);
	ck_assert_int_eq(look(a, "three"), MC_NOT_FOUND);
	ck_assert_uint_eq(stat_of_node(a, "rpc_lookup"), asked);
	ck_assert_uint_eq(counted(a, COUNTER_LOOKUP_ABSENT), 2);
}
END_TEST

START_TEST(a_made_directory_is_granted)
{
	struct object *object;
	uint64_t directory = make_directory_in(a, MC_ROOT_ID, "dir");

	ck_assert_int_eq(lookup_in(a, directory, "name", &object), MC_NOT_FOUND);
	ck_assert_uint_eq(stat_of_node(a, "rpc_lookup"), 0);
}
END_TEST

START_TEST(anothers_create_takes_the_grant_back)
{
	ck_assert_int_eq(look(a, "key"), MC_NOT_FOUND);
	ck_assert_int_eq(look(a, "key"), MC_NOT_FOUND);
	ck_assert_uint_eq(counted(a, COUNTER_LOOKUP_ABSENT), 1);

	put(b, "key", 100, 1);

	ck_assert_uint_eq(counted(a, COUNTER_RECALLS), 1);
	ck_assert_int_eq(look(a, "key"), MC_OK); /* as soon as the put has returned */
	ck_assert_uint_eq(counted(a, COUNTER_LOOKUP_ABSENT), 1);
}
END_TEST

START_TEST(what_came_before_the_grant_is_found)
{
	put(a, "key", 100, 1);
	struct node *c = cluster_start(&(struct cluster_node){0});

	ck_assert_int_eq(look(a, "none"), MC_NOT_FOUND);
	ck_assert_int_eq(look(c, "none"), MC_NOT_FOUND);
	ck_assert_int_eq(look(c, "key"), MC_OK);
	ck_assert_int_eq(look(a, "key"), MC_OK);
	node_close(c, true);
}
END_TEST

/* -- directories -- */

struct listed {
	int count;
	char names[16][16];
};

static bool note(void *context, const struct mc_entry *entry, const char *name, uint64_t cursor)
{
	struct listed *listed = context;

	(void)entry;
	(void)cursor;
	ck_assert_int_lt(listed->count, 16);
	snprintf(listed->names[listed->count++], sizeof(listed->names[0]), "%s", name);
	return true;
}

static bool has_name(const struct listed *listed, const char *name)
{
	for (int i = 0; i < listed->count; i++) {
		if (strcmp(listed->names[i], name) == 0)
			return true;
	}
	return false;
}

START_TEST(a_list_has_what_is_published_and_our_own_drafts)
{
	struct listed listed = {0};
	struct node_list list = {
		.directory = MC_ROOT_ID, .count_max = 100, .add = note, .context = &listed};
	struct turn turn;

	put(a, "of-a", 100, 1);
	put(b, "of-b", 100, 1);
	make_directory_in(b, MC_ROOT_ID, "dir");
	struct object *ours = create(a, "ours.tmp"), *theirs = create(b, "theirs.tmp");
	turn_init(&turn, a);
	node_list(a, &list, turn_done, &turn);
	ck_assert_int_eq(turn_end(&turn, NULL), MC_OK);
	ck_assert_int_eq(listed.count, 4);
	ck_assert(has_name(&listed, "of-a") && has_name(&listed, "of-b"));
	ck_assert(has_name(&listed, "dir") && has_name(&listed, "ours.tmp"));
	node_release(a, ours, true);
	node_release(b, theirs, true);
	cluster_forget(a, ours);
	cluster_forget(b, theirs);
}
END_TEST

static enum mc_status remove_directory(struct node *node, const char *name)
{
	struct turn turn;

	turn_init(&turn, node);
	node_rmdir(node, MC_ROOT_ID, name, turn_done, &turn);
	return turn_end(&turn, NULL);
}

START_TEST(a_directory_goes_when_it_is_empty)
{
	struct object *draft;
	uint64_t directory = make_directory_in(a, MC_ROOT_ID, "dir");

	ck_assert_int_eq(create_in(a, directory, "key.tmp", false, &draft), MC_OK);
	ck_assert_int_eq(remove_directory(a, "dir"), MC_NOT_EMPTY); /* of a draft */
	struct turn turn;
	turn_init(&turn, a);
	node_unlink(a, directory, "key.tmp", turn_done, &turn);
	ck_assert_int_eq(turn_end(&turn, NULL), MC_OK);
	node_release(a, draft, true);
	cluster_forget(a, draft);
	ck_assert_int_eq(look(b, "dir"), MC_OK);
	ck_assert_int_eq(remove_directory(a, "dir"), MC_OK);
	ck_assert_int_eq(look(a, "dir"), MC_NOT_FOUND);
	EVENTUALLY(look(b, "dir") == MC_NOT_FOUND);
	put(a, "key", 100, 1);
	ck_assert_int_eq(remove_directory(a, "key"), MC_NOT_DIRECTORY);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, a_removed_name_is_gone_everywhere);
	tcase_add_test(tc, what_is_open_outlives_its_name);
	tcase_add_test(tc, a_removed_draft_asks_nobody);
	tcase_add_test(tc, a_name_that_is_not_there_is_not_removed);
	tcase_add_test(tc, a_name_is_free_again);
	tcase_add_test(tc, a_renamed_object_has_its_new_name_everywhere);
	tcase_add_test(tc, a_rename_replaces_what_was_there);
	tcase_add_test(tc, a_rename_that_may_not_replace_leaves_both);
	tcase_add_test(tc, a_draft_moves_between_staging_names_without_the_master);
	tcase_add_test(tc, with_a_grant_a_second_create_asks_nothing);
	tcase_add_test(tc, a_made_directory_is_granted);
	tcase_add_test(tc, anothers_create_takes_the_grant_back);
	tcase_add_test(tc, what_came_before_the_grant_is_found);
	tcase_add_test(tc, a_list_has_what_is_published_and_our_own_drafts);
	tcase_add_test(tc, a_directory_goes_when_it_is_empty);
}

int main(void)
{
	return cluster_run("name", add);
}
