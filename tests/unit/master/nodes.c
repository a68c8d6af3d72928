/* Nodes that go silent, leave, return and announce. */
#include "tests/unit/master/own_clock.h"

#define TTL_MS OWN_CLOCK_TTL_MS

static struct mc_master *master;
static struct raw watcher; /* a client */

static void setup(void)
{
	master = own_clock_master();
	raw_connect(&watcher, mc_master_socket(master));
	raw_hello(&watcher, MC_ROLE_CLIENT, "watcher", 0);
}

static void teardown(void)
{
	raw_close(&watcher);
	mc_master_stop(master);
}

/* Let time pass while these stay in touch. */
static void pass(uint64_t ms, struct raw *one)
{
	for (uint64_t passed = 0; passed < ms; passed += TTL_MS / 10) {
		own_clock_pass(TTL_MS / 10);
		own_clock_beat(&watcher);
		if (one)
			own_clock_beat(one);
	}
}

static enum mc_status seen(const char *name)
{
	return raw_lookup(&watcher, MC_ROOT_ID, name).status;
}

/* Beyond the ttl; the master looks for silence now and then. */
static void seen_no_more(const char *name, struct raw *one)
{
	pass(TTL_MS, one);
	while (seen(name) == MC_OK) {
		usleep(1000);
		pass(TTL_MS / 10, one);
	}
	ck_assert_int_eq(seen(name), MC_NOT_FOUND);
}

static enum mc_status announce_attr(struct raw *raw, const char *path, const struct mc_attr *tell,
				    struct mc_attr *attr)
{
	struct mc_attr said;

	put_u16(&raw->out, 1);
	put_string(&raw->out, path, strlen(path));
	put_u8(&raw->out, MC_REPLICA_PRIMARY);
	put_attr(&raw->out, tell);
	ck_assert_int_eq(raw_call(raw, MC_VERB_ANNOUNCE), MC_OK);
	ck_assert_uint_eq(get_u16(&raw->in), 1);
	enum mc_status status = get_status(&raw->in);
	if (status == MC_OK) {
		get_u64(&raw->in);
		get_attr(&raw->in, attr ? attr : &said);
	}
	ck_assert(reader_done(&raw->in));
	return status;
}

static enum mc_status announce(struct raw *raw, const char *path, uint64_t id, uint64_t version,
			       struct mc_attr *attr)
{
	struct mc_attr tell = raw_attr(id, version, 4096);

	return announce_attr(raw, path, &tell, attr);
}

static uint64_t announced(struct raw *raw)
{
	ck_assert_int_eq(raw_call(raw, MC_VERB_ANNOUNCED), MC_OK);
	return get_u64(&raw->in);
}

START_TEST(a_lost_node_hides_its_objects_until_it_announces_them)
{
	struct raw node;

	raw_node(&node, mc_master_socket(master), 1);
	uint32_t number = node.node;
	uint64_t id = raw_put(&node, MC_ROOT_ID, "key");
	raw_put(&node, MC_ROOT_ID, "other");
	raw_close(&node);
	/* Within the ttl it is only away. */
	ck_assert_int_eq(seen("key"), MC_OK);
	seen_no_more("key", NULL);
	ck_assert_uint_eq(raw_stat_value(&watcher, "nodes"), 0);
	ck_assert_uint_eq(raw_stat_value(&watcher, "objects"), 2);
	raw_node(&node, mc_master_socket(master), 1);
	ck_assert_uint_eq(node.node, number);
	ck_assert_int_eq(seen("key"), MC_NOT_FOUND);
	ck_assert_int_eq(announce(&node, "key", id, 100, NULL), MC_OK);
	ck_assert_int_eq(seen("key"), MC_OK);
	ck_assert_int_eq(seen("other"), MC_NOT_FOUND);
	ck_assert_uint_eq(announced(&node), 1);
	ck_assert_uint_eq(raw_stat_value(&watcher, "objects"), 1);
	raw_close(&node);
}
END_TEST

static uint64_t capacity(void)
{
	ck_assert_int_eq(raw_call(&watcher, MC_VERB_STATFS), MC_OK);
	return get_u64(&watcher.in);
}

START_TEST(a_silent_node_is_lost)
{
	struct raw node;

	raw_node(&node, mc_master_socket(master), 1);
	raw_put(&node, MC_ROOT_ID, "key");
	pass(TTL_MS / 2, &node);
	pass(TTL_MS * 2, &node);
	ck_assert_int_eq(seen("key"), MC_OK);
	ck_assert_uint_eq(capacity(), 1); /* of its last heartbeat */
	seen_no_more("key", NULL);
	ck_assert_uint_eq(capacity(), 0);
	raw_close(&node);
	raw_node(&node, mc_master_socket(master), 1);
	ck_assert_uint_gt(capacity(), 1);
	raw_close(&node);
}
END_TEST

START_TEST(everyone_hears_of_nodes_that_come_and_go)
{
	struct raw node;

	ck_assert(raw_push(&watcher, MC_VERB_NODES));
	ck_assert_uint_eq(get_u32(&watcher.in), 0);
	raw_node(&node, mc_master_socket(master), 1);
	ck_assert(raw_push(&watcher, MC_VERB_NODES));
	ck_assert_uint_eq(get_u32(&watcher.in), 1);
	raw_close(&node);
	struct mc_node heard = {.alive = true};
	while (heard.alive) {
		while (watcher.push_count == 0) {
			usleep(1000);
			pass(TTL_MS / 10, NULL);
		}
		ck_assert(raw_push(&watcher, MC_VERB_NODES));
		ck_assert_uint_eq(get_u32(&watcher.in), 1);
		get_node(&watcher.in, &heard);
		ck_assert(reader_done(&watcher.in));
	}
}
END_TEST

START_TEST(a_short_absence_hides_nothing)
{
	struct raw node;

	raw_node(&node, mc_master_socket(master), 1);
	uint64_t id = raw_put(&node, MC_ROOT_ID, "key");
	raw_put(&node, MC_ROOT_ID, "gone");
	for (int i = 0; i < 20; i++) {
		/* The next session may begin before the end of this one is seen. */
		raw_close(&node);
		raw_node(&node, mc_master_socket(master), 1);
		ck_assert_int_eq(seen("key"), MC_OK);
		/* Told in this round: it need not be announced. */
		raw_put(&node, MC_ROOT_ID, "late");
	}
	ck_assert_int_eq(announce(&node, "key", id, 100, NULL), MC_OK);
	ck_assert_int_eq(seen("gone"), MC_OK);
	ck_assert_uint_eq(announced(&node), 1);
	ck_assert_int_eq(seen("key"), MC_OK);
	ck_assert_int_eq(seen("late"), MC_OK);
	ck_assert_int_eq(seen("gone"), MC_NOT_FOUND);
	raw_close(&node);
}
END_TEST

START_TEST(what_was_removed_meanwhile_is_not_taken_back)
{
	struct raw node;
	struct raw other;

	raw_node(&node, mc_master_socket(master), 1);
	raw_node(&other, mc_master_socket(master), 2);
	uint64_t removed = raw_put(&node, MC_ROOT_ID, "removed");
	uint64_t replaced = raw_put(&node, MC_ROOT_ID, "replaced");
	uint64_t renamed = raw_put(&node, MC_ROOT_ID, "renamed");
	uint64_t dir = raw_mkdir(&node, MC_ROOT_ID, "dir");
	uint64_t below = raw_put(&node, dir, "below");
	struct mc_attr attr = raw_attr(other.next_id++, 500, 1);
	ck_assert_int_eq(raw_rename(&node, MC_ROOT_ID, "renamed", dir, "now", 0), MC_OK);
	raw_close(&node);
	ck_assert_int_eq(raw_remove(&other, MC_ROOT_ID, "removed"), MC_OK);
	ck_assert_int_eq(raw_publish(&other, MC_ROOT_ID, "replaced", 0, &attr), MC_OK);
	ck_assert_int_eq(raw_remove(&other, dir, "below"), MC_OK);
	raw_node(&node, mc_master_socket(master), 1);
	ck_assert_int_eq(announce(&node, "removed", removed, 100, NULL), MC_NOT_FOUND);
	ck_assert_int_eq(announce(&node, "replaced", replaced, 100, NULL), MC_NOT_FOUND);
	ck_assert_int_eq(announce(&node, "dir/below", below, 100, NULL), MC_NOT_FOUND);
	ck_assert_int_eq(announce(&node, "renamed", renamed, 99, NULL), MC_NOT_FOUND);
	ck_assert_int_eq(announce(&node, "renamed", renamed, 100, NULL), MC_OK);
	ck_assert_uint_eq(announced(&node), 0);
	ck_assert_int_eq(raw_lookup(&node, dir, "now").status, MC_OK);
	raw_close(&node);
	raw_close(&other);
}
END_TEST

START_TEST(what_the_master_never_heard_of_is_adopted)
{
	struct raw node;
	struct raw other;
	struct mc_attr attr;

	raw_node(&node, mc_master_socket(master), 1);
	raw_node(&other, mc_master_socket(master), 2);
	ck_assert_int_eq(announce(&node, "a/b/key", 77, 50, &attr), MC_OK);
	ck_assert_uint_eq(attr.id, 77);
	ck_assert_uint_eq(raw_stat(&watcher, "a/b/key").version, 50);
	/* Two of one name: the newer one is it. */
	ck_assert_int_eq(announce(&other, "a/b/key", 78, 49, &attr), MC_NOT_FOUND);
	ck_assert_int_eq(announce(&other, "a/b/key", 78, 60, &attr), MC_OK);
	ck_assert_uint_eq(raw_stat(&watcher, "a/b/key").id, 78);
	/* A copy of the same object is a second replica. */
	ck_assert_int_eq(announce(&node, "a/b/key", 78, 60, &attr), MC_OK);
	ck_assert_uint_eq(raw_stat_value(&watcher, "objects"), 1);
	ck_assert_int_eq(announce(&node, "a/b", 79, 60, &attr), MC_NOT_FOUND);
	raw_close(&node);
	raw_close(&other);
}
END_TEST

START_TEST(a_hidden_name_can_be_taken_or_cleared_away)
{
	struct raw node;
	struct raw other;

	raw_node(&node, mc_master_socket(master), 1);
	raw_node(&other, mc_master_socket(master), 2);
	uint64_t dir = raw_mkdir(&node, MC_ROOT_ID, "dir");
	uint64_t old = raw_put(&node, MC_ROOT_ID, "key");
	uint64_t below = raw_put(&node, dir, "below");
	raw_put(&node, MC_ROOT_ID, "name");
	uint64_t away = raw_put(&node, MC_ROOT_ID, "away");
	raw_close(&node);
	seen_no_more("key", &other);
	ck_assert_int_eq(raw_remove(&other, MC_ROOT_ID, "away"), MC_OK);
	ck_assert_int_eq(raw_remove(&other, MC_ROOT_ID, "away"), MC_NOT_FOUND);
	struct mc_attr attr = raw_attr(other.next_id++, 1, 1);
	ck_assert_int_eq(raw_publish(&other, MC_ROOT_ID, "key", MC_PUBLISH_EXCLUSIVE, &attr),
			 MC_OK);
	ck_assert_uint_eq(attr.version, 101);
	raw_mkdir(&other, MC_ROOT_ID, "name");
	ck_assert_int_eq(raw_rmdir(&other, MC_ROOT_ID, "dir"), MC_OK);
	raw_node(&node, mc_master_socket(master), 1);
	ck_assert_int_eq(announce(&node, "key", old, 100, NULL), MC_NOT_FOUND);
	ck_assert_int_eq(announce(&node, "away", away, 100, NULL), MC_NOT_FOUND);
	ck_assert_int_eq(announce(&node, "dir/below", below, 100, NULL), MC_NOT_FOUND);
	raw_close(&node);
	raw_close(&other);
}
END_TEST

/* A put in doubt that may replace nothing: the master has it, or it never gets it. */
START_TEST(what_is_only_asked_for_is_not_adopted)
{
	struct raw node;

	raw_node(&node, mc_master_socket(master), 1);
	uint64_t id = raw_put(&node, MC_ROOT_ID, "key");
	struct mc_attr tell = raw_attr(id, 100, 4096);
	tell.mode = 0;
	ck_assert_int_eq(announce_attr(&node, "key", &tell, NULL), MC_OK);
	ck_assert_uint_eq(raw_stat(&watcher, "key").mode, S_IFREG | 0644);
	/* Nor is a version that the master does not have. */
	tell.version = 101;
	ck_assert_int_eq(announce_attr(&node, "key", &tell, NULL), MC_NOT_FOUND);
	ck_assert_uint_eq(raw_stat(&watcher, "key").mode, S_IFREG | 0644);
	ck_assert_uint_eq(raw_stat(&watcher, "key").version, 100);
	tell.id = 77;
	ck_assert_int_eq(announce_attr(&node, "other", &tell, NULL), MC_NOT_FOUND);
	ck_assert_int_eq(seen("other"), MC_NOT_FOUND);
	raw_close(&node);
}
END_TEST

START_TEST(an_object_never_becomes_a_directory)
{
	struct raw node;

	raw_node(&node, mc_master_socket(master), 1);
	struct mc_attr tell = raw_attr(raw_put(&node, MC_ROOT_ID, "key"), 101, 4096);
	tell.mode = S_IFDIR | 0755;
	ck_assert_int_eq(announce_attr(&node, "key", &tell, NULL), MC_NOT_FOUND);
	ck_assert_uint_eq(raw_stat(&watcher, "key").mode, S_IFREG | 0644);
	raw_close(&node);
}
END_TEST

/* As after a clock that was set back; the node has not read the answer that said so. */
START_TEST(what_was_recorded_under_a_raised_version_is_known)
{
	struct mc_attr attr;
	struct raw node;

	raw_node(&node, mc_master_socket(master), 1);
	raw_put(&node, MC_ROOT_ID, "key");
	attr = raw_attr(node.next_id++, 50, 4096);
	ck_assert_int_eq(raw_publish(&node, MC_ROOT_ID, "key", 0, &attr), MC_OK);
	ck_assert_uint_eq(attr.version, 101);
	ck_assert_int_eq(announce(&node, "key", attr.id, 50, &attr), MC_OK);
	ck_assert_uint_eq(attr.version, 101);
	ck_assert_int_eq(announce(&node, "key", attr.id, 49, NULL), MC_NOT_FOUND);
	raw_close(&node);
}
END_TEST

/* What lies in the first one must not be done after its node was told that it was not. */
START_TEST(the_next_session_of_a_node_ends_the_one_before)
{
	struct raw before;
	struct raw next;

	raw_node(&before, mc_master_socket(master), 1);
	raw_node(&next, mc_master_socket(master), 1);
	while (raw_receive(&before)) /* what was on its way */
		;
	char byte;
	ck_assert_int_eq(recv(before.fd, &byte, 1, 0), 0);
	raw_put(&next, MC_ROOT_ID, "key");
	ck_assert_int_eq(seen("key"), MC_OK);
	raw_close(&before);
	raw_close(&next);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, what_is_only_asked_for_is_not_adopted);
	tcase_add_test(tc, an_object_never_becomes_a_directory);
	tcase_add_test(tc, what_was_recorded_under_a_raised_version_is_known);
	tcase_add_test(tc, the_next_session_of_a_node_ends_the_one_before);
	tcase_add_test(tc, a_lost_node_hides_its_objects_until_it_announces_them);
	tcase_add_test(tc, a_silent_node_is_lost);
	tcase_add_test(tc, everyone_hears_of_nodes_that_come_and_go);
	tcase_add_test(tc, a_short_absence_hides_nothing);
	tcase_add_test(tc, what_was_removed_meanwhile_is_not_taken_back);
	tcase_add_test(tc, what_the_master_never_heard_of_is_adopted);
	tcase_add_test(tc, a_hidden_name_can_be_taken_or_cleared_away);
}

int main(void)
{
	return raw_run("nodes", add, setup, teardown);
}
