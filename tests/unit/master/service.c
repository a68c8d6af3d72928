/* Every verb over a real socket. */
#include "tests/unit/master/raw.h"

static struct mc_master *master;
static struct raw a;
static struct raw b;

static void setup(void)
{
	master = raw_master("memory", 60000);
	raw_node(&a, mc_master_address(master), 1);
	raw_node(&b, mc_master_socket(master), 2);
}

static void teardown(void)
{
	raw_close(&a);
	raw_close(&b);
	mc_master_stop(master);
}

START_TEST(hello_gives_sessions_nodes_and_ids_of_their_own)
{
	ck_assert_uint_ne(a.session, b.session);
	ck_assert_uint_ne(a.node, b.node);
	ck_assert_uint_eq(a.cluster, b.cluster);
	ck_assert_uint_ge(b.next_id > a.next_id ? b.next_id - a.next_id : a.next_id - b.next_id,
			  1 << 20);
	ck_assert(raw_push(&a, MC_VERB_NODES));
	uint64_t first = a.next_id;
	ck_assert_int_eq(raw_call(&a, MC_VERB_GRANT_IDS), MC_OK);
	ck_assert_uint_ge(get_u64(&a.in), first + (1 << 20));
}
END_TEST

START_TEST(a_published_name_is_found_by_everyone)
{
	uint64_t id = raw_put(&a, MC_ROOT_ID, "key");
	struct raw_found found = raw_lookup(&b, MC_ROOT_ID, "key");

	ck_assert_int_eq(found.status, MC_OK);
	ck_assert_uint_eq(found.entry.attr.id, id);
	ck_assert_uint_eq(found.entry.attr.size, 4096);
	ck_assert_uint_eq(found.entry.replica_count, 1);
	ck_assert_uint_eq(found.entry.replicas[0].node, a.node);
	ck_assert_int_eq(raw_lookup(&b, MC_ROOT_ID, "no").status, MC_NOT_FOUND);
	ck_assert_int_eq(raw_lookup(&b, id, "no").status, MC_NOT_DIRECTORY);
	ck_assert_int_eq(raw_lookup(&b, 77, "no").status, MC_NOT_FOUND);
}
END_TEST

START_TEST(a_publication_again_is_the_same_answer)
{
	struct mc_attr first = raw_attr(a.next_id++, 100, 10);
	struct mc_attr again = first;

	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "key", MC_PUBLISH_EXCLUSIVE, &first), MC_OK);
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "key", MC_PUBLISH_EXCLUSIVE, &again), MC_OK);
	ck_assert_uint_eq(first.version, again.version);
	/* Also where the version that was recorded is not the one that was offered. */
	struct mc_attr other = raw_attr(b.next_id++, 50, 20);
	struct mc_attr other_again = other;
	ck_assert_int_eq(raw_publish(&b, MC_ROOT_ID, "key", 0, &other), MC_OK);
	ck_assert_uint_eq(other.version, 101);
	ck_assert_int_eq(raw_publish(&b, MC_ROOT_ID, "key", 0, &other_again), MC_OK);
	ck_assert_uint_eq(other_again.version, 101);
}
END_TEST

START_TEST(publishing_over_a_name_replaces_drops_and_invalidates)
{
	uint64_t old = raw_put(&a, MC_ROOT_ID, "key");
	struct mc_attr attr = raw_attr(b.next_id++, 200, 10);

	ck_assert_int_eq(raw_publish(&b, MC_ROOT_ID, "key", MC_PUBLISH_EXCLUSIVE, &attr),
			 MC_EXISTS);
	ck_assert_int_eq(raw_publish(&b, MC_ROOT_ID, "key", 0, &attr), MC_OK);
	ck_assert(raw_push(&a, MC_VERB_INVALIDATE));
	ck_assert_uint_eq(get_u16(&a.in), 1);
	ck_assert_uint_eq(get_u8(&a.in), MC_INVALIDATE_NAME);
	ck_assert_uint_eq(get_u64(&a.in), MC_ROOT_ID);
	ck_assert_uint_eq(get_u64(&a.in), old);
	ck_assert(raw_push(&a, MC_VERB_DROP));
	ck_assert_uint_eq(get_u16(&a.in), 1);
	ck_assert_uint_eq(get_u64(&a.in), old);
	ck_assert_uint_eq(get_u64(&a.in), 100);
	struct raw_found found = raw_lookup(&a, MC_ROOT_ID, "key");
	ck_assert_uint_eq(found.entry.attr.id, attr.id);
	ck_assert_uint_eq(found.entry.replicas[0].node, b.node);
	ck_assert_uint_eq(raw_stat_value(&a, "objects"), 1);
}
END_TEST

START_TEST(a_new_version_drops_the_replicas_of_the_old)
{
	struct mc_attr attr = raw_attr(a.next_id++, 100, 10);

	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "key", 0, &attr), MC_OK);
	put_u16(&b.out, 2);
	for (int i = 0; i < 2; i++) {
		put_u8(&b.out, 0);
		put_u64(&b.out, attr.id);
		put_u64(&b.out, 100 + (uint64_t)i);
		put_u8(&b.out, MC_REPLICA_CACHE);
	}
	ck_assert_int_eq(raw_call(&b, MC_VERB_REPLICA), MC_OK);
	ck_assert_uint_eq(get_u16(&b.in), 2);
	ck_assert_int_eq(get_status(&b.in), MC_OK);
	ck_assert_uint_eq(get_u8(&b.in), 0);
	ck_assert_int_eq(get_status(&b.in), MC_STALE);
	ck_assert_uint_eq(raw_lookup(&a, MC_ROOT_ID, "key").entry.replica_count, 2);
	attr.version = 300;
	attr.size = 11;
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "key", 0, &attr), MC_OK);
	ck_assert_uint_eq(attr.version, 300);
	ck_assert(raw_push(&b, MC_VERB_DROP));
	get_u16(&b.in);
	ck_assert_uint_eq(get_u64(&b.in), attr.id);
	ck_assert_uint_eq(get_u64(&b.in), 100);
	ck_assert_uint_eq(raw_lookup(&a, MC_ROOT_ID, "key").entry.replica_count, 1);
}
END_TEST

static void replica_drop(struct raw *raw, uint64_t id, uint64_t version)
{
	put_u16(&raw->out, 1);
	put_u8(&raw->out, 1);
	put_u64(&raw->out, id);
	put_u64(&raw->out, version);
	put_u8(&raw->out, MC_REPLICA_PRIMARY);
	ck_assert_int_eq(raw_call(raw, MC_VERB_REPLICA), MC_OK);
	get_u16(&raw->in);
	ck_assert_int_eq(get_status(&raw->in), MC_OK);
}

START_TEST(the_last_replica_takes_the_name_with_it)
{
	uint64_t id = raw_put(&a, MC_ROOT_ID, "key");

	replica_drop(&b, id, 100);
	ck_assert_uint_eq(get_u8(&b.in), 0);
	ck_assert_int_eq(raw_lookup(&a, MC_ROOT_ID, "key").status, MC_OK);
	replica_drop(&a, id, 100);
	ck_assert_uint_eq(get_u8(&a.in), 1);
	ck_assert(raw_push(&b, MC_VERB_INVALIDATE));
	ck_assert_int_eq(raw_lookup(&a, MC_ROOT_ID, "key").status, MC_NOT_FOUND);
}
END_TEST

START_TEST(removing_tells_the_holder_and_everyone)
{
	raw_put(&a, MC_ROOT_ID, "key");
	ck_assert_int_eq(raw_remove(&b, MC_ROOT_ID, "key"), MC_OK);
	ck_assert_int_eq(raw_remove(&b, MC_ROOT_ID, "key"), MC_NOT_FOUND);
	ck_assert(raw_push(&a, MC_VERB_INVALIDATE));
	ck_assert(raw_push(&a, MC_VERB_DROP));
	raw_mkdir(&a, MC_ROOT_ID, "dir");
	ck_assert_int_eq(raw_remove(&a, MC_ROOT_ID, "dir"), MC_IS_DIRECTORY);
}
END_TEST

/* More than one frame takes, of names as long as they can be. */
START_TEST(everyone_hears_of_all_names_that_go_at_once)
{
	enum { BATCHES = 65, ALL = BATCHES * MC_BATCH_MAX };
	char name[MC_NAME_MAX + 1];
	unsigned heard = 0;

	memset(name, 'n', MC_NAME_MAX);
	name[MC_NAME_MAX] = '\0';
	for (unsigned i = 0; i < ALL; i++) {
		struct mc_attr attr = raw_attr(a.next_id++, 100, 4096);
		if (i % MC_BATCH_MAX == 0)
			put_u16(&a.out, MC_BATCH_MAX);
		name[snprintf(name, 8, "%06u", i)] = 'n';
		raw_name(&a, MC_ROOT_ID, name);
		put_u32(&a.out, 0);
		put_attr(&a.out, &attr);
		if ((i + 1) % MC_BATCH_MAX == 0)
			ck_assert_int_eq(raw_call(&a, MC_VERB_PUBLISH), MC_OK);
	}
	/* The node comes back with an empty pool. */
	raw_close(&a);
	raw_node(&a, mc_master_address(master), 1);
	ck_assert_int_eq(raw_call(&a, MC_VERB_ANNOUNCED), MC_OK);
	ck_assert_uint_eq(get_u64(&a.in), ALL);
	while (heard < ALL) {
		ck_assert(raw_push(&b, MC_VERB_INVALIDATE));
		heard += get_u16(&b.in);
	}
	ck_assert_uint_eq(heard, ALL);
	ck_assert_int_eq(raw_call(&b, MC_VERB_STATFS), MC_OK);
}
END_TEST

START_TEST(directories_are_made_counted_and_removed)
{
	uint64_t dir = raw_mkdir(&a, MC_ROOT_ID, "dir");
	struct mc_attr before = raw_stat(&a, "");

	ck_assert_uint_eq(before.nlink, 3);
	ck_assert_int_eq(raw_mkdir_id(&b, MC_ROOT_ID, "dir", b.next_id++, NULL), MC_EXISTS);
	ck_assert_int_eq(raw_mkdir_id(&a, dir, "dir", dir, NULL), MC_INVALID);
	raw_put(&a, dir, "key");
	ck_assert_int_eq(raw_rmdir(&a, MC_ROOT_ID, "dir"), MC_NOT_EMPTY);
	ck_assert_int_eq(raw_rmdir(&a, dir, "key"), MC_NOT_DIRECTORY);
	ck_assert_int_eq(raw_remove(&a, dir, "key"), MC_OK);
	ck_assert_int_eq(raw_rmdir(&a, MC_ROOT_ID, "dir"), MC_OK);
	ck_assert_int_eq(raw_rmdir(&a, MC_ROOT_ID, "dir"), MC_NOT_FOUND);
	ck_assert_uint_eq(raw_stat(&a, "").nlink, 2);
}
END_TEST

static int64_t ns(struct mc_time time)
{
	return time.s * 1000000000 + time.ns;
}

START_TEST(times_of_a_directory_move_with_its_names_only)
{
	uint64_t dir = raw_mkdir(&a, MC_ROOT_ID, "dir");
	int64_t made = ns(raw_stat(&a, "dir").mtime);
	struct mc_attr attr = raw_attr(a.next_id++, 1, 1);

	usleep(2000);
	ck_assert_int_eq(raw_publish(&a, dir, "key", 0, &attr), MC_OK);
	int64_t published = ns(raw_stat(&a, "dir").mtime);
	ck_assert_int_gt(published, made);
	usleep(2000);
	attr.version = 2;
	ck_assert_int_eq(raw_publish(&a, dir, "key", 0, &attr), MC_OK);
	ck_assert_int_eq(raw_remove(&a, dir, "no"), MC_NOT_FOUND);
	ck_assert_int_eq(ns(raw_stat(&a, "dir").mtime), published);
	ck_assert_int_eq(raw_rename(&a, dir, "key", MC_ROOT_ID, "key", 0), MC_OK);
	int64_t renamed = ns(raw_stat(&a, "dir").mtime);
	ck_assert_int_gt(renamed, published);
	ck_assert_int_eq(ns(raw_stat(&a, "").mtime), renamed);
	ck_assert_int_eq(ns(raw_stat(&a, "key").ctime), renamed);
	ck_assert_int_eq(ns(raw_stat(&a, "key").mtime), ns((struct mc_time){1000, 1}));
}
END_TEST

START_TEST(renames_obey_what_stands_at_the_new_name)
{
	uint64_t dir = raw_mkdir(&a, MC_ROOT_ID, "dir");
	uint64_t sub = raw_mkdir(&a, dir, "sub");
	uint64_t id = raw_put(&a, MC_ROOT_ID, "key");
	uint64_t other = raw_put(&b, MC_ROOT_ID, "other");

	raw_mkdir(&a, MC_ROOT_ID, "empty");
	ck_assert_int_eq(raw_rename(&a, 1, "no", 1, "x", 0), MC_NOT_FOUND);
	ck_assert_int_eq(raw_rename(&a, 1, "key", 1, "key", 0), MC_OK);
	ck_assert_int_eq(raw_rename(&a, 1, "key", 1, "dir", 0), MC_IS_DIRECTORY);
	ck_assert_int_eq(raw_rename(&a, 1, "dir", 1, "key", 0), MC_NOT_DIRECTORY);
	ck_assert_int_eq(raw_rename(&a, 1, "empty", 1, "dir", 0), MC_NOT_EMPTY);
	ck_assert_int_eq(raw_rename(&a, 1, "dir", sub, "below", 0), MC_INVALID);
	ck_assert_int_eq(raw_rename(&a, 1, "dir", dir, "self", 0), MC_INVALID);
	ck_assert_int_eq(raw_rename(&a, 1, "key", 1, "other", MC_RENAME_NOREPLACE), MC_EXISTS);
	ck_assert_int_eq(raw_rename(&a, 1, "key", 1, "other", 0), MC_OK);
	ck_assert_uint_eq(raw_lookup(&b, 1, "other").entry.attr.id, id);
	ck_assert(raw_push(&b, MC_VERB_DROP));
	get_u16(&b.in);
	ck_assert_uint_eq(get_u64(&b.in), other);
	ck_assert_int_eq(raw_rename(&a, 1, "dir", 1, "empty", 0), MC_OK);
	ck_assert_uint_eq(raw_lookup(&b, dir, "sub").entry.attr.id, sub);
	ck_assert_uint_eq(raw_stat(&a, "empty/sub").id, sub);
	ck_assert_uint_eq(raw_stat(&a, "").nlink, 3);
	put_u64(&a.out, sub);
	ck_assert_int_eq(raw_call(&a, MC_VERB_PATH), MC_OK);
	size_t size;
	const char *path = get_string(&a.in, &size);
	ck_assert_uint_eq(size, 9);
	ck_assert_mem_eq(path, "empty/sub", 9);
}
END_TEST

static uint16_t list(struct raw *raw, uint64_t dir, uint64_t *cursor, uint32_t max, bool *end,
		     char names[][256])
{
	put_u64(&raw->out, dir);
	put_u64(&raw->out, *cursor);
	put_u32(&raw->out, max);
	ck_assert_int_eq(raw_call(raw, MC_VERB_LIST), MC_OK);
	*end = get_u8(&raw->in);
	uint16_t count = get_u16(&raw->in);
	for (uint16_t i = 0; i < count; i++) {
		struct mc_entry entry;
		*cursor = get_u64(&raw->in);
		get_text(&raw->in, names[i], 256);
		get_entry(&raw->in, &entry);
	}
	ck_assert(reader_done(&raw->in));
	return count;
}

START_TEST(a_listing_goes_on_under_change)
{
	uint64_t dir = raw_mkdir(&a, MC_ROOT_ID, "dir");
	char names[100][256];
	uint64_t cursor = 0;
	bool end;

	for (int i = 0; i < 100; i++) {
		char name[8];
		snprintf(name, sizeof(name), "n%02d", i);
		raw_put(&a, dir, name);
	}
	ck_assert_uint_eq(list(&b, dir, &cursor, 10, &end, names), 10);
	ck_assert(!end);
	ck_assert_str_eq(names[9], "n09");
	/* What the cursor stands on goes, and most of the rest. */
	for (int i = 5; i < 95; i++) {
		char name[8];
		snprintf(name, sizeof(name), "n%02d", i);
		ck_assert_int_eq(raw_remove(&a, dir, name), MC_OK);
	}
	raw_put(&a, dir, "new");
	ck_assert_uint_eq(list(&b, dir, &cursor, 100, &end, names), 6);
	ck_assert(end);
	ck_assert_str_eq(names[0], "n95");
	ck_assert_str_eq(names[5], "new");
}
END_TEST

START_TEST(a_path_brings_its_directories)
{
	struct mc_attr attr = raw_attr(a.next_id++, 1, 1);

	raw_publish_write(&a, 1, "x/y/key", 0, &attr);
	ck_assert_int_eq(raw_call(&a, MC_VERB_PUBLISH), MC_PROTOCOL);
	ck_assert_int_eq(raw_publish(&a, 1, "x/y/key", MC_PUBLISH_PARENTS, &attr), MC_OK);
	ck_assert_uint_eq(raw_stat(&b, "x/y/key").id, attr.id);
	ck_assert_uint_eq(raw_stat(&b, "x").nlink, 3);
	struct mc_attr below = raw_attr(a.next_id++, 1, 1);
	ck_assert_int_eq(raw_publish(&a, 1, "x/y/key/z", MC_PUBLISH_PARENTS, &below),
			 MC_NOT_DIRECTORY);
}
END_TEST

START_TEST(attributes_are_set_by_mask)
{
	struct mc_attr attr = {.id = raw_put(&a, MC_ROOT_ID, "key"),
			       .mode = S_IFDIR | 0600,
			       .uid = 5,
			       .mtime = {1ll << 40, 999999999}};
	struct mc_attr before = raw_stat(&a, "key");

	put_u64(&b.out, attr.id);
	put_u32(&b.out, MC_SET_MODE | MC_SET_MTIME);
	put_attr(&b.out, &attr);
	ck_assert_int_eq(raw_call(&b, MC_VERB_SETATTR), MC_OK);
	struct mc_attr after = raw_stat(&a, "key");
	ck_assert_uint_eq(after.mode, S_IFREG | 0600);
	ck_assert_uint_eq(after.uid, before.uid);
	ck_assert_int_eq(after.mtime.s, 1ll << 40);
	ck_assert_int_gt(ns(after.ctime), ns(before.ctime));
	ck_assert(raw_push(&a, MC_VERB_INVALIDATE));
	get_u16(&a.in);
	ck_assert_uint_eq(get_u8(&a.in), MC_INVALIDATE_ATTR);
}
END_TEST

static enum mc_status setxattr(struct raw *raw, uint64_t id, const char *name, const char *value,
			       uint32_t flags)
{
	put_u64(&raw->out, id);
	put_string(&raw->out, name, strlen(name));
	put_u32(&raw->out, flags);
	put_string(&raw->out, value, strlen(value));
	return raw_call(raw, MC_VERB_SETXATTR);
}

START_TEST(extended_attributes_follow_their_flags)
{
	uint64_t id = raw_put(&a, MC_ROOT_ID, "key");
	char text[256];

	ck_assert_int_eq(setxattr(&a, id, "user.a", "1", 2), MC_NO_DATA);
	ck_assert_int_eq(setxattr(&a, id, "user.a", "1", 1), MC_OK);
	ck_assert_int_eq(setxattr(&a, id, "user.a", "2", 1), MC_EXISTS);
	ck_assert_int_eq(setxattr(&a, id, "user.b", "", 0), MC_OK);
	ck_assert_int_eq(setxattr(&a, id, "user.a", "3", 2), MC_OK);
	ck_assert_uint_eq(raw_stat(&b, "key").flags, MC_ATTR_XATTRS);
	put_u64(&b.out, id);
	ck_assert_int_eq(raw_call(&b, MC_VERB_GETXATTRS), MC_OK);
	ck_assert_uint_eq(get_u16(&b.in), 2);
	get_text(&b.in, text, sizeof(text));
	ck_assert_str_eq(text, "user.b");
	get_text(&b.in, text, sizeof(text));
	get_text(&b.in, text, sizeof(text));
	get_text(&b.in, text, sizeof(text));
	ck_assert_str_eq(text, "3");
	for (int i = 0; i < 2; i++) {
		put_u64(&b.out, id);
		put_string(&b.out, i ? "user.b" : "user.a", 6);
		ck_assert_int_eq(raw_call(&b, MC_VERB_REMOVEXATTR), MC_OK);
	}
	ck_assert_uint_eq(raw_stat(&b, "key").flags, 0);
	put_u64(&b.out, id);
	put_string(&b.out, "user.b", 6);
	ck_assert_int_eq(raw_call(&b, MC_VERB_REMOVEXATTR), MC_NO_DATA);
}
END_TEST

static enum mc_status reserve(struct raw *raw, enum mc_verb verb, const char *name, uint64_t id)
{
	raw_name(raw, MC_ROOT_ID, name);
	put_u64(&raw->out, id);
	return raw_call(raw, verb);
}

START_TEST(a_reserved_name_has_one_owner)
{
	struct mc_attr mine = raw_attr(a.next_id++, 1, 1);
	struct mc_attr theirs = raw_attr(b.next_id++, 1, 1);

	ck_assert_int_eq(reserve(&a, MC_VERB_RESERVE, "key", mine.id), MC_OK);
	ck_assert_int_eq(reserve(&a, MC_VERB_RESERVE, "key", mine.id), MC_OK);
	ck_assert_int_eq(reserve(&b, MC_VERB_RESERVE, "key", theirs.id), MC_EXISTS);
	ck_assert_int_eq(raw_publish(&b, 1, "key", MC_PUBLISH_EXCLUSIVE, &theirs), MC_EXISTS);
	ck_assert_int_eq(raw_mkdir_id(&b, 1, "key", b.next_id++, NULL), MC_EXISTS);
	ck_assert_int_eq(raw_publish(&a, 1, "key", MC_PUBLISH_EXCLUSIVE, &mine), MC_OK);
	ck_assert_int_eq(reserve(&b, MC_VERB_RESERVE, "key", theirs.id), MC_EXISTS);
	ck_assert_int_eq(raw_remove(&a, 1, "key"), MC_OK);
	ck_assert_int_eq(reserve(&b, MC_VERB_RESERVE, "key", theirs.id), MC_OK);
	ck_assert_int_eq(reserve(&b, MC_VERB_UNRESERVE, "key", theirs.id), MC_OK);
	ck_assert_int_eq(reserve(&a, MC_VERB_RESERVE, "key", 9), MC_OK);
	/* Without EXCLUSIVE it is broken. */
	ck_assert_int_eq(raw_publish(&b, 1, "key", 0, &theirs), MC_OK);
	ck_assert_uint_eq(raw_stat_value(&a, "reservations"), 0);
}
END_TEST

START_TEST(a_reservation_ends_with_its_session)
{
	struct raw c;

	raw_node(&c, mc_master_socket(master), 3);
	ck_assert_int_eq(reserve(&c, MC_VERB_RESERVE, "key", 9), MC_OK);
	ck_assert_int_eq(reserve(&a, MC_VERB_RESERVE, "key", 10), MC_EXISTS);
	raw_close(&c);
	usleep(200000);
	ck_assert_int_eq(reserve(&a, MC_VERB_RESERVE, "key", 10), MC_OK);
}
END_TEST

START_TEST(statfs_sums_the_nodes)
{
	put_u64(&a.out, 1000);
	put_u64(&a.out, 100);
	put_u64(&a.out, 1);
	ck_assert_int_eq(raw_call(&a, MC_VERB_HEARTBEAT), MC_OK);
	ck_assert_int_eq(raw_call(&b, MC_VERB_STATFS), MC_OK);
	ck_assert_uint_eq(get_u64(&b.in), (1u << 30) + 1000);
	ck_assert_uint_eq(get_u64(&b.in), 100);
	ck_assert_uint_eq(get_u64(&b.in), 0);
	ck_assert_uint_eq(get_u64(&b.in), 1);
	ck_assert_uint_eq(get_u32(&b.in), 2);
	ck_assert_int_eq(raw_call(&b, MC_VERB_NODES), MC_OK);
	ck_assert_uint_eq(get_u32(&b.in), 2);
	for (int i = 0; i < 2; i++) {
		struct mc_node node;
		get_node(&b.in, &node);
		ck_assert(node.alive);
		ck_assert_str_eq(node.endpoints[0], "tcp:127.0.0.1:1");
	}
	ck_assert(reader_done(&b.in));
}
END_TEST

START_TEST(a_client_looks_but_publishes_nothing)
{
	struct mc_attr attr = raw_attr(5000, 1, 1);
	struct raw c;

	raw_connect(&c, mc_master_socket(master));
	raw_hello(&c, MC_ROLE_CLIENT, "cli", 0);
	ck_assert_uint_eq(c.node, 0);
	raw_put(&a, 1, "key");
	ck_assert_int_eq(raw_lookup(&c, 1, "key").status, MC_OK);
	ck_assert(!raw_lookup(&c, 1, "no").granted);
	ck_assert_int_eq(raw_publish(&c, 1, "mine", 0, &attr), MC_PERMISSION);
	raw_close(&c);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, hello_gives_sessions_nodes_and_ids_of_their_own);
	tcase_add_test(tc, a_published_name_is_found_by_everyone);
	tcase_add_test(tc, a_publication_again_is_the_same_answer);
	tcase_add_test(tc, publishing_over_a_name_replaces_drops_and_invalidates);
	tcase_add_test(tc, a_new_version_drops_the_replicas_of_the_old);
	tcase_add_test(tc, the_last_replica_takes_the_name_with_it);
	tcase_add_test(tc, removing_tells_the_holder_and_everyone);
	tcase_add_test(tc, everyone_hears_of_all_names_that_go_at_once);
	tcase_add_test(tc, directories_are_made_counted_and_removed);
	tcase_add_test(tc, times_of_a_directory_move_with_its_names_only);
	tcase_add_test(tc, renames_obey_what_stands_at_the_new_name);
	tcase_add_test(tc, a_listing_goes_on_under_change);
	tcase_add_test(tc, a_path_brings_its_directories);
	tcase_add_test(tc, attributes_are_set_by_mask);
	tcase_add_test(tc, extended_attributes_follow_their_flags);
	tcase_add_test(tc, a_reserved_name_has_one_owner);
	tcase_add_test(tc, a_reservation_ends_with_its_session);
	tcase_add_test(tc, statfs_sums_the_nodes);
	tcase_add_test(tc, a_client_looks_but_publishes_nothing);
}

int main(void)
{
	return raw_run("service", add, setup, teardown);
}
