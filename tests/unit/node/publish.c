/* Put and get between two nodes: what is published is seen whole, once, everywhere. */
#include "tests/unit/node/cluster.h"

static const size_t sizes[] = {0, 1, 4096, 100001, (3 << 20) + 5};
static const char *const transports[] = {"tcp", "shm"};

START_TEST(what_one_node_writes_another_reads)
{
	const char *transport = transports[_i / ROWS(sizes)];
	size_t size = sizes[_i % ROWS(sizes)];
	struct node *reader = cluster_start(&(struct cluster_node){.transport = transport});
	struct object *object;

	put(a, "key", size, 1);
	ck_assert_int_eq(lookup(reader, "key", &object), MC_OK);
	ck_assert_uint_eq(object->attr.size, size);
	ck_assert_uint_eq(object->attr.mode, S_IFREG | 0644);
	ck_assert_uint_eq(object->attr.uid, 7);
	ck_assert_uint_eq(object->attr.gid, 8);
	ck_assert_uint_eq(object->attr.nlink, 1);
	cluster_forget(reader, object);
	assert_reads(reader, "key", size, 1);
	bool tcp = strcmp(transport, "tcp") == 0;
	ck_assert_uint_eq(counted(reader, COUNTER_PULLS_TCP), tcp ? 1 : 0);
	ck_assert_uint_eq(counted(reader, COUNTER_PULLS_SHM), tcp ? 0 : 1);
	ck_assert_uint_eq(counted(reader, COUNTER_PULL_BYTES), tcp ? size : 0);
	ck_assert_uint_eq(counted(reader, COUNTER_PULL_FAILURES), 0);
	/* A copy that was pulled serves the next; a loan is taken again. */
	assert_reads(reader, "key", size, 1);
	ck_assert_uint_eq(counted(reader, COUNTER_PULLS_TCP), tcp ? 1 : 0);
	node_close(reader, true);
}
END_TEST

START_TEST(a_local_get_asks_nobody)
{
	put(a, "key", 4096, 1);
	uint64_t calls = stat_of_node(a, "rpc_total");

	assert_reads(a, "key", 4096, 1);
	ck_assert_uint_eq(stat_of_node(a, "rpc_total"), calls);
	ck_assert_uint_eq(counted(a, COUNTER_PULLS_TCP) + counted(a, COUNTER_PULLS_SHM), 0);
}
END_TEST

START_TEST(a_put_is_one_request)
{
	ck_assert_int_eq(look(a, "warm"), MC_NOT_FOUND); /* and the root is granted */
	uint64_t calls = stat_of_node(a, "rpc_total");

	ck_assert_int_eq(look(a, "key"), MC_NOT_FOUND);
	put(a, "key", 4096, 1);
	ck_assert_uint_eq(stat_of_node(a, "rpc_total"), calls + 1);
	ck_assert_uint_eq(stat_of_node(a, "rpc_publish"), 1);
}
END_TEST

START_TEST(a_draft_is_known_to_its_node_only)
{
	struct object *draft = create(a, "key");

	write_bytes(a, draft, 100, 1);
	ck_assert_int_eq(look(a, "key"), MC_OK);
	ck_assert_int_eq(look(b, "key"), MC_NOT_FOUND);
	ck_assert_int_eq(flush(a, draft), MC_OK);
	ck_assert_int_eq(look(b, "key"), MC_OK);
	node_release(a, draft, true);
	cluster_forget(a, draft);
}
END_TEST

static void rewrite(struct node *node, const char *name, size_t size, unsigned number)
{
	struct object *object;

	EVENTUALLY(stat_of_node(node, "tcp_holds") == 0); /* else a draft stands in for it */
	ck_assert_int_eq(lookup(node, name, &object), MC_OK);
	ck_assert_int_eq(open_object(node, object, NODE_OPEN_WRITE), MC_OK);
	write_bytes(node, object, size, number);
	ck_assert_int_eq(flush(node, object), MC_OK);
	node_release(node, object, true);
	cluster_forget(node, object);
}

static int made_ahead(struct node *node)
{
	int fd;

	ck_assert_int_eq(pool_draft(node_pool(node), &fd), MC_OK);
	pool_mark(node_pool(node), 0, fd);
	return fd;
}

START_TEST(a_draft_made_ahead_becomes_the_object)
{
	int fd = made_ahead(a);
	struct object *object;
	struct stat ahead, st;

	ck_assert_int_eq(fstat(fd, &ahead), 0);
	ck_assert_int_eq(create_from(a, "key", &fd, &object), MC_OK);
	write_bytes(a, object, 100, 1);
	ck_assert_int_eq(flush(a, object), MC_OK);
	ck_assert_int_eq(pool_stat(node_pool(a), object->attr.id, -1, &st), MC_OK);
	ck_assert_uint_eq(st.st_ino, ahead.st_ino);
	node_release(a, object, true);
	cluster_forget(a, object);
	assert_reads(a, "key", 100, 1);
	assert_reads(b, "key", 100, 1);
}
END_TEST

START_TEST(a_draft_made_ahead_goes_where_the_name_is_taken)
{
	int fd = made_ahead(a), again;
	struct object *object;

	put(a, "key", 100, 1);
	ck_assert_int_eq(pool_open_again(node_pool(a), fd, &again), MC_OK);
	ck_assert(!pool_unwritten_file(again));
	ck_assert_int_eq(create_from(a, "key", &fd, &object), MC_EXISTS);
	ck_assert(pool_unwritten_file(again));
	close(again);
	cluster_forget(a, object);
	assert_reads(a, "key", 100, 1);
}
END_TEST

START_TEST(a_second_flush_without_a_change_publishes_nothing)
{
	struct object *object = create(a, "key");

	write_bytes(a, object, 100, 1);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(flush(a, object), MC_OK);
	node_release(a, object, true);
	ck_assert_uint_eq(counted(a, COUNTER_PUBLISHES), 1);
	ck_assert_uint_eq(stat_of_node(a, "rpc_publish"), 1);
	cluster_forget(a, object);
}
END_TEST

START_TEST(a_flush_after_a_change_publishes_the_next_version)
{
	struct object *object = create(a, "key");

	write_bytes(a, object, 100, 1);
	ck_assert_int_eq(flush(a, object), MC_OK);
	assert_reads(b, "key", 100, 1);
	uint64_t version = object->attr.version, id = object->attr.id;
	write_bytes(a, object, 200, 2);
	ck_assert_int_eq(flush(a, object), MC_OK);
	node_release(a, object, true);
	ck_assert_uint_eq(counted(a, COUNTER_PUBLISHES), 2);
	ck_assert_uint_gt(object->attr.version, version);
	ck_assert_uint_eq(object->attr.id, id);
	EVENTUALLY(counted(b, COUNTER_INVALIDATIONS) > 0);
	assert_reads(b, "key", 200, 2);
	cluster_forget(a, object);
}
END_TEST

START_TEST(a_release_publishes_what_no_flush_saw)
{
	struct object *object = create(a, "key");

	write_bytes(a, object, 100, 1);
	node_release(a, object, true);
	EVENTUALLY(look(b, "key") == MC_OK);
	assert_reads(b, "key", 100, 1);
	cluster_forget(a, object);
}
END_TEST

START_TEST(a_staging_name_is_published_by_its_rename)
{
	struct object *object = create(a, "key.tmp");

	write_bytes(a, object, 100, 1);
	ck_assert_int_eq(flush(a, object), MC_OK);
	ck_assert_uint_eq(counted(a, COUNTER_PUBLISHES), 0);
	ck_assert_int_eq(look(b, "key.tmp"), MC_NOT_FOUND);
	ck_assert_int_eq(rename_name(a, "key.tmp", "key", false), MC_OK);
	ck_assert_uint_eq(counted(a, COUNTER_PUBLISHES), 1);
	assert_reads(b, "key", 100, 1);
	ck_assert_int_eq(look(a, "key.tmp"), MC_NOT_FOUND);
	node_release(a, object, true);
	cluster_forget(a, object);
}
END_TEST

START_TEST(a_draft_whose_publication_was_refused_can_be_published)
{
	struct object *object = create(a, "key.tmp");

	put(b, "key", 100, 1);
	write_bytes(a, object, 200, 2);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(rename_name(a, "key.tmp", "key", true), MC_EXISTS);
	ck_assert_int_eq(rename_name(a, "key.tmp", "other", true), MC_OK);
	node_release(a, object, true);
	cluster_forget(a, object);
	assert_reads(b, "key", 100, 1);
	assert_reads(b, "other", 200, 2);
}
END_TEST

START_TEST(whoever_holds_the_old_bytes_keeps_them)
{
	struct object *old, *draft;

	put(a, "key", 1000, 1);
	ck_assert_int_eq(lookup(b, "key", &old), MC_OK);
	ck_assert_int_eq(open_object(b, old, 0), MC_OK);
	/* What O_TRUNC does: a draft behind the name, that this thread finds. */
	ck_assert_int_eq(lookup(a, "key", &draft), MC_OK);
	ck_assert_int_eq(open_object(a, draft, NODE_OPEN_WRITE | NODE_OPEN_TRUNCATE), MC_STALE);
	cluster_forget(a, draft);
	ck_assert_int_eq(lookup(a, "key", &draft), MC_OK);
	ck_assert(!object_is(draft, OBJECT_PUBLISHED));
	ck_assert_int_eq(open_object(a, draft, NODE_OPEN_WRITE | NODE_OPEN_TRUNCATE), MC_OK);
	write_bytes(a, draft, 500, 2);
	assert_reads(b, "key", 1000, 1);
	ck_assert_int_eq(flush(a, draft), MC_OK);
	node_release(a, draft, true);
	cluster_forget(a, draft);

	ck_assert(holds_bytes(b, old, 1000, 1));
	EVENTUALLY(size_of(b, "key") == 500);
	ck_assert_uint_gt(counted(b, COUNTER_INVALIDATIONS), 0);
	assert_reads(b, "key", 500, 2);
	ck_assert(holds_bytes(b, old, 1000, 1));
	node_release(b, old, false);
	cluster_forget(b, old);
}
END_TEST

START_TEST(one_of_two_exclusive_creates_wins)
{
	struct object *first, *second;

	ck_assert_int_eq(create_in(a, MC_ROOT_ID, "key", true, &first), MC_OK);
	ck_assert_int_eq(create_in(b, MC_ROOT_ID, "key", true, &second), MC_EXISTS);
	ck_assert_ptr_null(second);
	/* The loser may try again when the winner gave up. */
	ck_assert_int_eq(unlink_name(a, "key"), MC_OK);
	node_release(a, first, true);
	cluster_forget(a, first);
	EVENTUALLY(create_in(b, MC_ROOT_ID, "key", true, &second) == MC_OK);
	node_release(b, second, true);
	cluster_forget(b, second);
}
END_TEST

START_TEST(an_immutable_node_keeps_the_first)
{
	struct node *c = cluster_start(&(struct cluster_node){.immutable = true});
	struct object *object;

	put(a, "key", 100, 1);
	ck_assert_int_eq(try_put(c, "key", 100, 2), MC_EXISTS);
	assert_reads(b, "key", 100, 1);
	ck_assert_int_eq(lookup(c, "key", &object), MC_OK);
	ck_assert_int_eq(open_object(c, object, NODE_OPEN_WRITE), MC_EXISTS);
	cluster_forget(c, object);
	/* A rename onto it succeeds and keeps it. */
	object = create(c, "new.tmp");
	write_bytes(c, object, 100, 3);
	ck_assert_int_eq(rename_name(c, "new.tmp", "key", false), MC_OK);
	node_release(c, object, true);
	cluster_forget(c, object);
	assert_reads(c, "key", 100, 1);
	node_close(c, true);
}
END_TEST

/* The file that it writes to is another than the one that it lends; it has a record too. */
START_TEST(an_owner_that_opens_what_it_lends_loses_nothing)
{
	struct object *lent, *own;
	uint8_t record[8192];
	size_t size = sizeof(record);

	put(a, "key", 1000, 1);
	ck_assert_int_eq(lookup(b, "key", &lent), MC_OK);
	ck_assert_int_eq(open_object(b, lent, 0), MC_OK);
	ck_assert_uint_eq(counted(b, COUNTER_PULLS_SHM), 1);
	ck_assert_int_eq(lookup(a, "key", &own), MC_OK);
	own = open_copy(a, "key", own);
	write_bytes(a, own, 1000, 2);
	ck_assert(holds_bytes(b, lent, 1000, 1));
	ck_assert_int_eq(flush(a, own), MC_OK);
	ck_assert_int_eq(pool_read_record(node_pool(a), own->attr.id, record, &size), MC_OK);
	ck_assert_uint_gt(size, 0);
	node_release(a, own, true);
	node_release(b, lent, false);
	cluster_forget(a, own);
	cluster_forget(b, lent);
}
END_TEST

/* The kernel forgets what it was sent away from, before or after it looks again. */
START_TEST(a_writer_finds_its_draft_when_the_kernel_forgot_what_it_replaces)
{
	struct object *original, *draft;

	put(a, "key", 1000, 1);
	ck_assert_int_eq(lookup(b, "key", &original), MC_OK);
	ck_assert_int_eq(open_object(b, original, NODE_OPEN_WRITE | NODE_OPEN_TRUNCATE), MC_STALE);
	node_lock(b);
	node_forget_locked(b, original);
	node_unlock(b);
	cluster_forget(b, original);
	ck_assert_int_eq(lookup(b, "key", &draft), MC_OK);
	ck_assert_int_eq(open_object(b, draft, NODE_OPEN_WRITE | NODE_OPEN_TRUNCATE), MC_OK);
	write_bytes(b, draft, 500, 2);
	ck_assert_int_eq(flush(b, draft), MC_OK);
	node_release(b, draft, true);
	cluster_forget(b, draft);
	EVENTUALLY(size_of(a, "key") == 500);
	assert_reads(a, "key", 500, 2);
	assert_reads(b, "key", 500, 2);
}
END_TEST

/* Of an object larger than the pool that is nearly all hole, while a peer reads it. */
START_TEST(a_copy_of_a_sparse_object_is_sparse)
{
	struct object *object, *lent, *copy;
	struct stat st;
	int fd;

	object = create(a, "key");
	write_bytes(a, object, 100, 1);
	ck_assert_int_eq(node_descriptor(a, object, true, &fd), MC_OK);
	ck_assert_int_eq(pwrite(fd, "end", 3, 1 << 30), 3);
	ck_assert_int_eq(ftruncate(fd, 2l << 30), 0);
	close(fd);
	ck_assert_int_eq(flush(a, object), MC_OK);
	node_release(a, object, true);
	ck_assert_int_eq(lookup(b, "key", &lent), MC_OK);
	ck_assert_int_eq(open_object(b, lent, 0), MC_OK);
	copy = open_copy(a, "key", object);
	ck_assert_int_eq(node_descriptor(a, copy, false, &fd), MC_OK);
	char end[4] = "";
	ck_assert_int_eq(pread(fd, end, 3, 1 << 30), 3);
	ck_assert_str_eq(end, "end");
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, 2l << 30);
	ck_assert_int_lt(st.st_blocks * 512, 1 << 20);
	close(fd);
	node_release(a, copy, true);
	node_release(b, lent, false);
	cluster_forget(a, copy);
	cluster_forget(b, lent);
}
END_TEST

/* Another node has changed the object in place; this one's copy goes in a moment. */
START_TEST(what_is_written_to_a_copy_that_goes_is_not_lost)
{
	struct node *c = cluster_start(&(struct cluster_node){.transport = "tcp"});
	struct object *copy;

	put(a, "key", 100, 1);
	assert_reads(c, "key", 100, 1);
	ck_assert_int_eq(lookup(c, "key", &copy), MC_OK);
	rewrite(a, "key", 100, 2);
	EVENTUALLY(counted(c, COUNTER_DROPS) == 1);
	ck_assert_int_eq(open_object(c, copy, NODE_OPEN_WRITE), MC_OK);
	usleep(600000); /* longer than it is kept otherwise */
	write_bytes(c, copy, 100, 3);
	ck_assert_int_eq(flush(c, copy), MC_OK);
	node_release(c, copy, true);
	cluster_forget(c, copy);
	assert_reads(b, "key", 100, 3);
	assert_reads(c, "key", 100, 3);
	node_close(c, true);
}
END_TEST

START_TEST(a_copy_that_was_open_when_it_was_dropped_goes_when_it_is_closed)
{
	struct node *c = cluster_start(&(struct cluster_node){.transport = "tcp"});
	struct object *copy;

	put(a, "key", 100, 1);
	assert_reads(c, "key", 100, 1);
	ck_assert_int_eq(lookup(c, "key", &copy), MC_OK);
	ck_assert_int_eq(open_object(c, copy, NODE_OPEN_WRITE), MC_OK);
	rewrite(a, "key", 100, 2);
	EVENTUALLY(counted(c, COUNTER_DROPS) == 1);
	ck_assert(holds_bytes(c, copy, 100, 1));
	node_release(c, copy, true);
	cluster_forget(c, copy);
	EVENTUALLY(stat_of_node(c, "objects_local") == 0);
	assert_reads(c, "key", 100, 2);
	node_close(c, true);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, what_one_node_writes_another_reads, 0,
			    ROWS(sizes) * ROWS(transports));
	tcase_add_test(tc, a_local_get_asks_nobody);
	tcase_add_test(tc, a_put_is_one_request);
	tcase_add_test(tc, a_draft_is_known_to_its_node_only);
	tcase_add_test(tc, a_draft_made_ahead_becomes_the_object);
	tcase_add_test(tc, a_draft_made_ahead_goes_where_the_name_is_taken);
	tcase_add_test(tc, a_second_flush_without_a_change_publishes_nothing);
	tcase_add_test(tc, a_flush_after_a_change_publishes_the_next_version);
	tcase_add_test(tc, a_release_publishes_what_no_flush_saw);
	tcase_add_test(tc, a_staging_name_is_published_by_its_rename);
	tcase_add_test(tc, a_draft_whose_publication_was_refused_can_be_published);
	tcase_add_test(tc, whoever_holds_the_old_bytes_keeps_them);
	tcase_add_test(tc, one_of_two_exclusive_creates_wins);
	tcase_add_test(tc, an_immutable_node_keeps_the_first);
	tcase_add_test(tc, an_owner_that_opens_what_it_lends_loses_nothing);
	tcase_add_test(tc, a_writer_finds_its_draft_when_the_kernel_forgot_what_it_replaces);
	tcase_add_test(tc, a_copy_of_a_sparse_object_is_sparse);
	tcase_add_test(tc, what_is_written_to_a_copy_that_goes_is_not_lost);
	tcase_add_test(tc, a_copy_that_was_open_when_it_was_dropped_goes_when_it_is_closed);
}

int main(void)
{
	return cluster_run("publish", add);
}
