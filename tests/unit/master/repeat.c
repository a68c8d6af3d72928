/*
 * Changes that are asked for twice because the first answer was lost, while
 * others go on; by another connection, and by another master of the same journal.
 */
#include "tests/support/suite.h"
#include "tests/unit/master/raw.h"

#include "master/ledger.h"
#include "tests/support/etcd.h"

enum { AGAIN_CONNECTED, AGAIN_STARTED, AGAIN_COUNT };

static struct mc_master *master;
static struct raw a;
static struct raw b;
static char directory[64];
static char journal[96];
static struct etcd_server server;

/* Whether the master says welcome; one that does not lead hangs up. */
static bool leads(void)
{
	struct frame frame = {.verb = MC_VERB_HELLO, .request_id = 1};
	struct raw raw;

	raw_connect(&raw, mc_master_socket(master));
	size_t begin = frame_begin(&raw.out);
	raw_hello_write(&raw, MC_ROLE_CLIENT, "asks", 9);
	frame_finish(&raw.out, begin, &frame);
	bool sent = send(raw.fd, raw.out.data, raw.out.size, MSG_NOSIGNAL) > 0;
	bool welcome = sent && raw_receive(&raw) && raw.frame.status == MC_OK;
	raw_close(&raw);
	return welcome;
}

static void start(void)
{
	struct mc_master_config config = {.listen = "127.0.0.1:0",
					  .socket = "auto",
					  .journal = journal,
					  .heartbeat_ms = 20,
					  .ttl_ms = 60000,
					  .etcd = {.lease_s = 2},
					  .fresh = true};

	if (!server.pid) {
		master = raw_master(journal, 60000);
		return;
	}
	log_set_level("error");
	ck_assert_int_eq(mc_master_start(&config, &master), MC_OK);
	for (int i = 0; !leads(); i++) {
		ck_assert_msg(i < 3000, "it never leads");
		usleep(10000);
	}
}

static void nodes_connect(void)
{
	raw_node(&a, mc_master_socket(master), 1);
	raw_node(&b, mc_master_socket(master), 2);
}

static void setup(void)
{
	strcpy(directory, "/tmp/mooncake-repeat-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(journal, sizeof(journal), "file:%s/j", directory);
	start();
	nodes_connect();
}

static void setup_etcd(void)
{
	log_open("/dev/null");
	etcd_server_start(&server);
	snprintf(journal, sizeof(journal), "etcd://%s", server.client);
	start();
	nodes_connect();
}

static void end(void)
{
	raw_close(&a);
	raw_close(&b);
	mc_master_stop(master);
}

static void teardown_etcd(void)
{
	end();
	etcd_server_end(&server);
}

static void teardown(void)
{
	char command[96];

	end();
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	ck_assert_int_eq(system(command), 0);
}

/* The next request of `a` is the one that had this id, sent again over a new connection. */
static void repeat(uint64_t request, int how)
{
	uint64_t a_next = a.next_id, b_next = b.next_id;

	raw_close(&a);
	if (how == AGAIN_STARTED) {
		raw_close(&b);
		mc_master_stop(master);
		start();
		raw_node(&b, mc_master_socket(master), 2);
		b.next_id = b_next;
	}
	raw_node(&a, mc_master_socket(master), 1);
	a.next_id = a_next;
	a.request_id = request - 1;
	a.age_s = 3;
}

/* Where an object is, also while no node shows it. */
static void is_at(uint64_t id, const char *path)
{
	char text[256];

	put_u64(&b.out, id);
	enum mc_status status = raw_call(&b, MC_VERB_PATH);
	ck_assert_int_eq(status, path ? MC_OK : MC_NOT_FOUND);
	if (status == MC_OK) {
		get_text(&b.in, text, sizeof(text));
		ck_assert_str_eq(text, path);
	}
}

START_TEST(a_put_again_does_not_bring_back_what_was_removed)
{
	struct mc_attr first = raw_attr(a.next_id++, 100, 10), again = first;

	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "x", 0, &first), MC_OK);
	uint64_t request = a.request_id;
	ck_assert_int_eq(raw_remove(&b, MC_ROOT_ID, "x"), MC_OK);
	repeat(request, _i);
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "x", 0, &again), MC_OK);
	ck_assert_uint_eq(again.id, first.id);
	ck_assert_uint_eq(again.nlink, 0);
	is_at(first.id, NULL);
}
END_TEST

/* What a map left is a later version of what another object has replaced meanwhile. */
START_TEST(what_a_map_left_does_not_take_a_name_back)
{
	struct mc_attr first = raw_attr(a.next_id++, 100, 10), left = first;

	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "x", 0, &first), MC_OK);
	uint64_t next = raw_put(&a, MC_ROOT_ID, "x");
	left.version = first.version + 1000;
	repeat(a.request_id + 1, _i);
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "x", MC_PUBLISH_STANDING, &left), MC_OK);
	ck_assert_uint_eq(left.nlink, 0);
	is_at(first.id, NULL);
	is_at(next, "x");
	/* Somebody who wrote to it and closed it put it anew. */
	left.nlink = 1;
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "x", 0, &left), MC_OK);
	ck_assert_uint_eq(left.nlink, 1);
	is_at(first.id, "x");
}
END_TEST

START_TEST(a_put_again_does_not_replace_what_came_after)
{
	struct mc_attr first = raw_attr(a.next_id++, 100, 10), again = first;

	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "x", 0, &first), MC_OK);
	uint64_t request = a.request_id;
	uint64_t next = raw_put(&b, MC_ROOT_ID, "x");
	repeat(request, _i);
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "x", 0, &again), MC_OK);
	ck_assert_uint_eq(again.nlink, 0);
	is_at(first.id, NULL);
	is_at(next, "x");
}
END_TEST

/* In place; whether the first time was done before the newer one came can't be told any more. */
START_TEST(a_change_again_does_not_undo_a_newer_one)
{
	struct mc_attr mine = raw_attr(a.next_id++, 100, 10), newer = mine, newest = mine;

	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "x", 0, &mine), MC_OK);
	mine.version = newer.version = 200;
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "x", 0, &mine), MC_OK);
	uint64_t request = a.request_id;
	newer.version = 300;
	ck_assert_int_eq(raw_publish(&b, MC_ROOT_ID, "x", 0, &newer), MC_OK);
	repeat(request, _i);
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "x", 0, &mine), MC_TIMEOUT);
	/* Who asks for the first time changes what there is: that of b. */
	newest.version = 250;
	ck_assert_int_eq(raw_publish(&b, MC_ROOT_ID, "x", 0, &newest), MC_OK);
	ck_assert_uint_eq(newest.version, 301);
}
END_TEST

START_TEST(a_newer_version_of_what_is_gone_is_published)
{
	struct mc_attr attr = raw_attr(a.next_id++, 100, 10);

	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "x", 0, &attr), MC_OK);
	ck_assert_int_eq(raw_remove(&b, MC_ROOT_ID, "x"), MC_OK);
	repeat(a.request_id + 1, _i);
	attr.version = 101;
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "x", 0, &attr), MC_OK);
	is_at(attr.id, "x");
}
END_TEST

START_TEST(a_remove_again_leaves_what_came_after)
{
	uint64_t first = raw_put(&b, MC_ROOT_ID, "x"), gone;

	ck_assert_int_eq(raw_remove_id(&a, MC_ROOT_ID, "x", &gone), MC_OK);
	ck_assert_uint_eq(gone, first);
	uint64_t request = a.request_id;
	uint64_t next = raw_put(&b, MC_ROOT_ID, "x");
	repeat(request, _i);
	ck_assert_int_eq(raw_remove_id(&a, MC_ROOT_ID, "x", &gone), MC_OK);
	ck_assert_uint_eq(gone, first);
	is_at(first, NULL);
	is_at(next, "x");
	/* Another request is another removal. */
	ck_assert_int_eq(raw_remove(&a, MC_ROOT_ID, "x"), MC_OK);
	is_at(next, NULL);
}
END_TEST

START_TEST(each_item_of_a_batch_is_remembered_by_itself)
{
	uint64_t next[2] = {0};
	uint64_t x = raw_put(&b, MC_ROOT_ID, "x");
	uint64_t y = 0;
	uint64_t z = raw_put(&b, MC_ROOT_ID, "z");

	for (int round = 0; round < 2; round++) {
		put_u16(&a.out, 3);
		raw_name(&a, MC_ROOT_ID, "x");
		raw_name(&a, MC_ROOT_ID, "y");
		raw_name(&a, MC_ROOT_ID, "z");
		ck_assert_int_eq(raw_call(&a, MC_VERB_REMOVE), MC_OK);
		ck_assert_uint_eq(get_u16(&a.in), 3);
		ck_assert_int_eq(get_status(&a.in), MC_OK);
		ck_assert_uint_eq(get_u64(&a.in), x);
		/* Not done the first time: done now. */
		ck_assert_int_eq(get_status(&a.in), round ? MC_OK : MC_NOT_FOUND);
		if (round)
			ck_assert_uint_eq(get_u64(&a.in), y);
		ck_assert_int_eq(get_status(&a.in), MC_OK);
		ck_assert_uint_eq(get_u64(&a.in), z);
		if (round)
			break;
		next[0] = raw_put(&b, MC_ROOT_ID, "x");
		y = raw_put(&b, MC_ROOT_ID, "y");
		next[1] = raw_put(&b, MC_ROOT_ID, "z");
		repeat(a.request_id, _i);
	}
	is_at(next[0], "x");
	is_at(next[1], "z");
}
END_TEST

START_TEST(a_rename_again_leaves_what_came_after)
{
	uint64_t moved = raw_put(&b, MC_ROOT_ID, "from");
	struct mc_attr attr;

	ck_assert_int_eq(raw_rename(&a, MC_ROOT_ID, "from", MC_ROOT_ID, "to", 0), MC_OK);
	uint64_t request = a.request_id;
	uint64_t next = raw_put(&b, MC_ROOT_ID, "from");
	repeat(request, _i);
	ck_assert_int_eq(raw_rename(&a, MC_ROOT_ID, "from", MC_ROOT_ID, "to", 0), MC_OK);
	get_attr(&a.in, &attr);
	ck_assert_uint_eq(attr.id, moved);
	is_at(moved, "to");
	is_at(next, "from");
	/* What moved has moved on: the answer names nothing. */
	ck_assert_int_eq(raw_rename(&b, MC_ROOT_ID, "to", MC_ROOT_ID, "on", 0), MC_OK);
	repeat(request, _i);
	ck_assert_int_eq(raw_rename(&a, MC_ROOT_ID, "from", MC_ROOT_ID, "to", 0), MC_OK);
	get_attr(&a.in, &attr);
	ck_assert_uint_eq(attr.id, 0);
	is_at(moved, "on");
	is_at(next, "from");
}
END_TEST

START_TEST(a_put_again_finds_that_a_rename_replaced_it)
{
	struct mc_attr first = raw_attr(a.next_id++, 100, 10), again = first;

	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "x", 0, &first), MC_OK);
	uint64_t request = a.request_id;
	uint64_t next = raw_put(&b, MC_ROOT_ID, "new");
	ck_assert_int_eq(raw_rename(&b, MC_ROOT_ID, "new", MC_ROOT_ID, "x", 0), MC_OK);
	repeat(request, _i);
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "x", 0, &again), MC_OK);
	ck_assert_uint_eq(again.nlink, 0);
	is_at(next, "x");
}
END_TEST

START_TEST(directories_are_made_and_removed_once)
{
	uint64_t id = a.next_id++;

	ck_assert_int_eq(raw_mkdir_id(&a, MC_ROOT_ID, "d", id, NULL), MC_OK);
	uint64_t request = a.request_id;
	ck_assert_int_eq(raw_rmdir(&b, MC_ROOT_ID, "d"), MC_OK);
	repeat(request, _i);
	ck_assert_int_eq(raw_mkdir_id(&a, MC_ROOT_ID, "d", id, NULL), MC_OK);
	is_at(id, NULL);
	ck_assert(raw_push(&a, MC_VERB_INVALIDATE)); /* its name is not there any more */

	a.age_s = 0;
	raw_mkdir(&b, MC_ROOT_ID, "e");
	ck_assert_int_eq(raw_rmdir(&a, MC_ROOT_ID, "e"), MC_OK);
	request = a.request_id;
	uint64_t next = raw_mkdir(&b, MC_ROOT_ID, "e");
	repeat(request, _i);
	ck_assert_int_eq(raw_rmdir(&a, MC_ROOT_ID, "e"), MC_OK);
	is_at(next, "e");
}
END_TEST

START_TEST(what_was_not_done_is_done_when_asked_again)
{
	struct mc_attr attr = raw_attr(a.next_id++, 100, 10);

	ck_assert_int_eq(raw_remove(&a, MC_ROOT_ID, "x"), MC_NOT_FOUND);
	uint64_t request = a.request_id;
	repeat(request, _i);
	uint64_t next = raw_put(&b, MC_ROOT_ID, "x");
	ck_assert_int_eq(raw_remove(&a, MC_ROOT_ID, "x"), MC_OK);
	is_at(next, NULL);
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "x", 0, &attr), MC_OK);
	is_at(attr.id, "x");
}
END_TEST

#define BATCH 1024

/* Publish, and remove again, a batch of names. */
static void come_and_go(void)
{
	char name[16];

	put_u16(&b.out, BATCH);
	for (int i = 0; i < BATCH; i++) {
		struct mc_attr attr = raw_attr(b.next_id++, 100, 1);
		snprintf(name, sizeof(name), "n%d", i);
		raw_name(&b, MC_ROOT_ID, name);
		put_u32(&b.out, 0);
		put_attr(&b.out, &attr);
	}
	ck_assert_int_eq(raw_call(&b, MC_VERB_PUBLISH), MC_OK);
	put_u16(&b.out, BATCH);
	for (int i = 0; i < BATCH; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		raw_name(&b, MC_ROOT_ID, name);
	}
	ck_assert_int_eq(raw_call(&b, MC_VERB_REMOVE), MC_OK);
}

START_TEST(what_is_forgotten_is_said_to_be_unknown)
{
	struct mc_attr attr = raw_attr(a.next_id++, 100, 10), fresh = attr;

	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "x", 0, &attr), MC_OK);
	uint64_t request = a.request_id;
	ck_assert_int_eq(raw_remove(&b, MC_ROOT_ID, "x"), MC_OK);
	for (uint32_t i = 0; i < LEDGER_COUNT / BATCH; i++)
		come_and_go();
	uint64_t there = raw_put(&b, MC_ROOT_ID, "x");
	repeat(request, _i);
	a.age_s = UINT16_MAX;
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "x", 0, &attr), MC_TIMEOUT);
	ck_assert_int_eq(raw_remove(&a, MC_ROOT_ID, "x"), MC_TIMEOUT);
	ck_assert_int_eq(raw_rename(&a, MC_ROOT_ID, "x", MC_ROOT_ID, "y", 0), MC_TIMEOUT);
	is_at(there, "x");
	/* What is asked for the first time is done, and so is what can't have been done. */
	a.age_s = 0;
	fresh.id = a.next_id++;
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "z", 0, &fresh), MC_OK);
	ck_assert_int_eq(raw_remove(&a, MC_ROOT_ID, "x"), MC_OK);
	is_at(there, NULL);
}
END_TEST

/* -- a deed stands with what it did -- */

#define BETWEEN_COUNT 200 /* puts: more than one transaction takes */

/* What a frame of `a` is made of goes behind those that are to be sent at once. */
static void frame_add(struct writer *frames, enum mc_verb verb)
{
	struct frame frame = {.verb = (uint16_t)verb, .request_id = ++a.request_id};
	size_t begin = frame_begin(frames);

	put_bytes(frames, a.out.data, a.out.size);
	frame_finish(frames, begin, &frame);
	writer_reset(&a.out);
}

static void publish_add(struct writer *frames, uint64_t id, uint64_t version)
{
	struct mc_attr attr = raw_attr(id, version, 10);

	raw_publish_write(&a, MC_ROOT_ID, "x", 0, &attr);
	frame_add(frames, MC_VERB_PUBLISH);
}

static void between_add(struct writer *frames)
{
	char name[16];

	put_u16(&a.out, BETWEEN_COUNT);
	for (int i = 0; i < BETWEEN_COUNT; i++) {
		struct mc_attr attr = raw_attr(a.next_id++, 100, 10);
		snprintf(name, sizeof(name), "between-%d", i);
		raw_name(&a, MC_ROOT_ID, name);
		put_u32(&a.out, 0);
		put_attr(&a.out, &attr);
	}
	frame_add(frames, MC_VERB_PUBLISH);
}

/* What comes of x, which has this id, in one turn. */
static void removed_and_put(struct writer *frames, uint64_t id)
{
	(void)id;
	put_u16(&a.out, 1);
	raw_name(&a, MC_ROOT_ID, "x");
	frame_add(frames, MC_VERB_REMOVE);
	between_add(frames);
	publish_add(frames, a.next_id++, 100);
}

static void changed_and_removed(struct writer *frames, uint64_t id)
{
	publish_add(frames, id, 200);
	between_add(frames);
	put_u16(&a.out, 1);
	raw_name(&a, MC_ROOT_ID, "x");
	frame_add(frames, MC_VERB_REMOVE);
}

static void changed_and_replaced(struct writer *frames, uint64_t id)
{
	publish_add(frames, id, 200);
	between_add(frames);
	publish_add(frames, a.next_id++, 100);
}

static void changed_and_renamed(struct writer *frames, uint64_t id)
{
	publish_add(frames, id, 200);
	between_add(frames);
	raw_name(&a, MC_ROOT_ID, "x");
	raw_name(&a, MC_ROOT_ID, "y");
	put_u32(&a.out, 0);
	frame_add(frames, MC_VERB_RENAME);
}

static void (*const becomings[])(struct writer *frames, uint64_t id) = {
	removed_and_put, changed_and_removed, changed_and_replaced, changed_and_renamed};

/* The revisions of the first key that begins so, as it stood at one, or (0) stands now. */
struct revisions {
	int64_t created; /* 0: there is no such key */
	int64_t changed;
};

static struct revisions revisions_of(const char *key, int64_t at)
{
	struct etcd_config config = {.endpoints = server.client};
	struct etcd_range range = {.key = ETCD_TEXT(key), .revision = at, .limit = 1};
	struct revisions found = {0};
	struct etcd_waiter waiter;
	struct writer end;
	struct etcd *etcd;

	writer_init(&end);
	etcd_prefix_end(range.key, &end);
	range.end = (struct etcd_bytes){end.data, end.size};
	ck_assert_int_eq(etcd_open(&config, &etcd), MC_OK);
	etcd_waiter_init(&waiter);
	etcd_range(etcd, &range, 0, etcd_waiter_done, &waiter);
	struct etcd_reply *reply = etcd_waiter_wait(&waiter);
	ck_assert_int_eq(reply->status, MC_OK);
	if (reply->pair_count > 0)
		found = (struct revisions){reply->pairs[0].create_revision,
					   reply->pairs[0].mod_revision};
	etcd_reply_free(reply);
	etcd_close(etcd);
	writer_fini(&end);
	return found;
}

static struct revisions await_key(const char *key)
{
	struct revisions found = {0};

	for (int i = 0; i < 3000 && !found.created; i++) {
		found = revisions_of(key, 0);
		if (!found.created)
			usleep(10000);
	}
	ck_assert_msg(found.created > 0, "never in etcd: %s", key);
	return found;
}

#define PLACE_X "/mooncake/default/objects/1/x"

/*
 * At the revision of etcd in which a deed comes up, what it says has happened, and not
 * before: whatever transaction a crash leaves out, the ledger is true.
 */
START_TEST(a_deed_and_what_it_did_are_in_one_transaction)
{
	struct writer frames;

	uint64_t id = raw_put(&a, MC_ROOT_ID, "x");
	await_key(PLACE_X);
	writer_init(&frames);
	becomings[_i](&frames, id);
	raw_write(&a, frames.data, frames.size);
	writer_fini(&frames);
	int64_t done = await_key("/mooncake/default/deeds/").created;
	struct revisions before = revisions_of(PLACE_X, done - 1),
			 then = revisions_of(PLACE_X, done);
	ck_assert_int_ne(before.created, 0);
	ck_assert_msg(!then.created || then.changed == done,
		      "the deed is of revision %ld, its place changed last in %ld", (long)done,
		      (long)then.changed);
}
END_TEST

static void add(TCase *tc, int first)
{
	const TTest *const tests[] = {
		a_put_again_does_not_bring_back_what_was_removed,
		a_put_again_does_not_replace_what_came_after,
		what_a_map_left_does_not_take_a_name_back,
		a_change_again_does_not_undo_a_newer_one,
		a_newer_version_of_what_is_gone_is_published,
		a_remove_again_leaves_what_came_after,
		each_item_of_a_batch_is_remembered_by_itself,
		a_rename_again_leaves_what_came_after,
		a_put_again_finds_that_a_rename_replaced_it,
		directories_are_made_and_removed_once,
		what_was_not_done_is_done_when_asked_again,
	};

	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_loop_test(tc, tests[i], first, AGAIN_COUNT);
}

int main(void)
{
	Suite *suite = suite_create("repeat");
	TCase *file = tcase_create("file");
	TCase *etcd = tcase_create("etcd");

	tcase_set_timeout(file, 120);
	tcase_add_checked_fixture(file, setup, teardown);
	add(file, AGAIN_CONNECTED);
	tcase_add_loop_test(file, what_is_forgotten_is_said_to_be_unknown, 0, AGAIN_COUNT);
	suite_add_tcase(suite, file);
	tcase_set_timeout(etcd, 120);
	tcase_add_checked_fixture(etcd, setup_etcd, teardown_etcd);
	add(etcd, AGAIN_STARTED);
	tcase_add_loop_test(etcd, a_deed_and_what_it_did_are_in_one_transaction, 0,
			    sizeof(becomings) / sizeof(becomings[0]));
	if (etcd_installed())
		suite_add_tcase(suite, etcd);
	return suite_run(suite);
}
