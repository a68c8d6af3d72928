/* The journal in etcd when etcd, or another master, is in the way. */
#include "tests/support/etcd.h"

#include <mooncake/master.h>
#include <time.h>

#include "engine/base/buffer.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "master/journal.h"
#include "tests/support/suite.h"

#define WAIT_MS	 20000
#define NAME_MAX 64

static struct etcd_server server;
static struct mc_etcd_config said;
static const struct journal_ops *const ops = &journal_etcd_ops;

static void setup(void)
{
	log_open("/dev/null");
	server = (struct etcd_server){0};
	said = (struct mc_etcd_config){.lease_s = 2};
	etcd_server_start(&server);
}

static void teardown(void)
{
	etcd_server_end(&server);
}

/* What was read: the text of each name. */
static char texts[NAME_MAX][32];

static enum mc_status visit(void *context, enum record_kind kind, const uint8_t *key,
			    size_t key_size, const uint8_t *value, size_t value_size)
{
	struct reader r;
	size_t size;

	(void)context;
	(void)key;
	(void)key_size;
	if (kind != RECORD_OBJECT || !value)
		return MC_OK;
	reader_init(&r, value, value_size);
	(void)get_u8(&r);
	(void)get_u64(&r);
	(void)get_u64(&r);
	const char *name = get_string(&r, &size);
	ck_assert_uint_eq(size, 3);
	char *text = texts[(name[1] - '0') * 10 + name[2] - '0'];
	(void)get_u64(&r);
	size = r.size - r.offset;
	memcpy(text, r.data + r.offset, size);
	text[size] = '\0';
	return MC_OK;
}

static struct journal *journal_new(void)
{
	char endpoint[80];
	struct journal_config config = {.path = endpoint, .etcd = &said};
	struct journal *journal = NULL;

	snprintf(endpoint, sizeof(endpoint), "//%s", server.client);
	ck_assert_int_eq(ops->open(&config, &journal), MC_OK);
	ops->announce(journal, "127.0.0.1:1");
	return journal;
}

static struct journal *lead(void)
{
	struct journal *journal = journal_new();
	struct journal_loaded loaded;

	memset(texts, 0, sizeof(texts));
	ck_assert_int_eq(ops->load(journal, visit, NULL, &loaded), MC_OK);
	return journal;
}

static void name_of(unsigned number, char name[8])
{
	snprintf(name, 8, "n%02u", number % 100);
}

static void put_kind(struct journal *journal, enum record_kind kind, unsigned number,
		     const char *text)
{
	struct writer w;
	uint8_t key[8];
	char name[8];

	name_of(number, name);
	if (!text) {
		ops->vacate(journal, kind == RECORD_DIRECTORY, false, 1, name, 3);
		return;
	}
	writer_init(&w);
	put_u8(&w, 1);
	put_u64(&w, 1);
	put_u64(&w, 1);
	put_string(&w, name, 3);
	put_u64(&w, number);
	put_bytes(&w, text, strlen(text));
	store_u64(key, number);
	ops->put(journal, kind, key, 8, w.data, w.size);
	writer_fini(&w);
}

static void put(struct journal *journal, unsigned number, const char *text)
{
	put_kind(journal, RECORD_OBJECT, number, text);
}

static void put_one(struct journal *journal, unsigned number, const char *text)
{
	put(journal, number, text);
	ck_assert_int_eq(ops->flush(journal), MC_OK);
}

/* Turn as a master does until a condition holds. */
#define WAIT(journal, condition)                                                                   \
	do {                                                                                       \
		uint64_t until_ = clock_ns() + WAIT_MS * 1000000ull;                               \
		while (!(condition)) {                                                             \
			ck_assert_msg(clock_ns() < until_, "never: " #condition);                  \
			ops->tick(journal, clock_ns() / 1000000);                                  \
			usleep(5000);                                                              \
		}                                                                                  \
	} while (0)

#define STORED(journal) (ops->stored(journal) == ops->group(journal) - 1)

START_TEST(the_last_word_is_in_etcd_whatever_the_order)
{
	char model[NAME_MAX][32] = {0};
	unsigned seed = (unsigned)time(NULL);
	struct journal *journal = lead();

	printf("seed %u\n", seed);
	srand(seed);
	for (int i = 0; i < 5000; i++) {
		unsigned number = (unsigned)rand() % NAME_MAX;
		bool gone = rand() % 4 == 0;
		snprintf(model[number], sizeof(model[0]), "text %d", i);
		if (gone)
			model[number][0] = '\0';
		put(journal, number, gone ? NULL : model[number]);
		if (rand() % 10 == 0)
			ck_assert_int_eq(ops->flush(journal), MC_OK);
	}
	ck_assert_int_eq(ops->flush(journal), MC_OK);
	WAIT(journal, STORED(journal));
	ops->close(journal);
	ops->close(lead());
	for (int i = 0; i < NAME_MAX; i++)
		ck_assert_str_eq(texts[i], model[i]);
}
END_TEST

/* When a key was written last. */
static int64_t revision_of(const char *key)
{
	struct etcd_config config = {.endpoints = server.client};
	struct etcd_range range = {.key = ETCD_TEXT(key)};
	struct etcd_waiter waiter;
	struct etcd *etcd;

	ck_assert_int_eq(etcd_open(&config, &etcd), MC_OK);
	etcd_waiter_init(&waiter);
	etcd_range(etcd, &range, 0, etcd_waiter_done, &waiter);
	struct etcd_reply *reply = etcd_waiter_wait(&waiter);
	ck_assert_int_eq(reply->status, MC_OK);
	ck_assert_uint_eq(reply->pair_count, 1);
	int64_t revision = reply->pairs[0].mod_revision;
	etcd_reply_free(reply);
	etcd_close(etcd);
	return revision;
}

/* The record of a directory may come late, but not its first one. */
START_TEST(a_new_directory_in_the_place_of_a_removed_one_is_there_before_what_is_in_it)
{
	struct journal *journal = lead();

	put_kind(journal, RECORD_DIRECTORY, 1, "old");
	ck_assert_int_eq(ops->flush(journal), MC_OK);
	WAIT(journal, STORED(journal));
	etcd_server_pause(&server);
	put_kind(journal, RECORD_DIRECTORY, 1, NULL);
	ck_assert_int_eq(ops->flush(journal), MC_OK);
	put_kind(journal, RECORD_DIRECTORY, 1, "new");
	ck_assert_int_eq(ops->flush(journal), MC_OK);
	put_one(journal, 2, "in it");
	kill(server.pid, SIGCONT);
	WAIT(journal, STORED(journal));
	ops->close(journal);
	ck_assert_int_le(revision_of("/mooncake/default/objects/1/n01"),
			 revision_of("/mooncake/default/objects/1/n02"));
}
END_TEST

/* The last leader has said that it ended in order. */
static bool closed(void)
{
	struct etcd_config config = {.endpoints = server.client};
	struct writer value;
	struct etcd *etcd;

	writer_init(&value);
	ck_assert_int_eq(etcd_open(&config, &etcd), MC_OK);
	ck_assert_int_eq(etcd_get_wait(etcd, ETCD_TEXT("/mooncake/default/journal"), &value),
			 MC_OK);
	etcd_close(etcd);
	bool is = value.size > 6 && memcmp(value.data, "closed", 6) == 0;
	writer_fini(&value);
	return is;
}

START_TEST(who_steps_down_says_so_when_all_is_there)
{
	CLEANUP_FREE char *large = calloc(1, 100001);
	struct journal *journal = lead();
	char key[64];

	memset(large, 'x', 100000);
	WAIT(journal, STORED(journal));
	etcd_server_pause(&server);
	for (unsigned i = 1; i <= 6; i++)
		put_one(journal, i, large);
	ops->resign(journal);
	kill(server.pid, SIGCONT);
	WAIT(journal, ops->ready(journal) == MC_STALE);
	/* On a machine that is too slow it did not get to say it. */
	for (unsigned i = 1; closed() && i <= 6; i++) {
		snprintf(key, sizeof(key), "/mooncake/default/objects/1/n%02u", i);
		ck_assert_int_gt(revision_of("/mooncake/default/journal"), revision_of(key));
	}
	ops->close(journal);
}
END_TEST

START_TEST(answers_wait_for_etcd_only_if_they_must)
{
	said.ack_sync = _i;
	struct journal *journal = lead();

	WAIT(journal, STORED(journal));
	etcd_server_pause(&server);
	uint64_t group = ops->group(journal);
	put_one(journal, 1, "one");
	ck_assert_uint_eq(ops->group(journal), group + 1);
	usleep(100000);
	ck_assert_uint_lt(ops->stored(journal), group);
	ck_assert(said.ack_sync ? ops->answerable(journal) < group
				: ops->answerable(journal) >= group);
	kill(server.pid, SIGCONT);
	WAIT(journal, ops->answerable(journal) >= group && ops->stored(journal) >= group);
	ops->close(journal);
}
END_TEST

START_TEST(a_full_queue_refuses_changes_until_etcd_is_back)
{
	said.lease_s = 30;
	said.queue_size = 65536;
	struct journal *journal = lead();

	WAIT(journal, STORED(journal));
	ck_assert_int_eq(ops->ready(journal), MC_OK);
	etcd_server_pause(&server);
	for (unsigned i = 0; i < 2000; i++)
		put_one(journal, i, "some text that takes room");
	/* Back-pressure at once, refusal when nothing moves. */
	ck_assert_uint_lt(ops->answerable(journal), ops->group(journal) - 1);
	WAIT(journal, ops->ready(journal) == MC_READ_ONLY);
	kill(server.pid, SIGCONT);
	WAIT(journal, ops->ready(journal) == MC_OK);
	WAIT(journal, STORED(journal));
	ops->close(journal);
}
END_TEST

START_TEST(a_leader_that_cannot_renew_refuses_changes_and_comes_back)
{
	struct journal *journal = lead();

	put_one(journal, 1, "before");
	WAIT(journal, STORED(journal));
	etcd_server_kill(&server);
	WAIT(journal, ops->ready(journal) == MC_READ_ONLY);
	put_one(journal, 1, "while it was away");
	etcd_server_spawn(&server);
	/* Nobody can have been elected without etcd, and a restart renews leases. */
	WAIT(journal, ops->ready(journal) == MC_OK);
	WAIT(journal, STORED(journal));
	ops->close(journal);
	ops->close(lead());
	ck_assert_str_eq(texts[1], "while it was away");
}
END_TEST

START_TEST(a_master_in_a_long_turn_keeps_its_lease)
{
	struct journal *journal = lead();

	WAIT(journal, STORED(journal));
	sleep(5); /* without a tick: more than two leases */
	ck_assert_int_eq(ops->ready(journal), MC_OK);
	put_one(journal, 1, "one");
	WAIT(journal, STORED(journal));
	ops->close(journal);
}
END_TEST

static void etcdctl(const char *arguments)
{
	char command[512];

	snprintf(command, sizeof(command),
		 "export ENDPOINT=%s; ETCDCTL_API=3 etcdctl --endpoints=$ENDPOINT %s >/dev/null "
		 "2>&1",
		 server.client, arguments);
	ck_assert_msg(system(command) == 0, "%s", command);
}

START_TEST(nothing_of_an_old_leader_is_taken)
{
	struct journal *old = lead();

	put_one(old, 1, "old");
	WAIT(old, STORED(old));
	/* Its key goes, as when its lease ended while it was stopped. */
	etcdctl("del /mooncake/default/leader");
	struct journal *journal = lead();
	ck_assert_str_eq(texts[1], "old");
	put_one(journal, 1, "new");
	put_one(old, 1, "late");
	put_one(old, 2, "late");
	WAIT(old, ops->ready(old) == MC_STALE);
	WAIT(journal, STORED(journal));
	ops->close(old);
	ck_assert_int_eq(ops->ready(journal), MC_OK);
	ops->close(journal);
	ops->close(lead());
	ck_assert_str_eq(texts[1], "new");
	ck_assert_str_eq(texts[2], "");
}
END_TEST

START_TEST(a_standby_follows_and_takes_over_at_once_after_an_orderly_end)
{
	struct journal *leader = lead();
	struct journal *standby = journal_new();
	const struct journal_reader reader = {.visit = visit};
	struct journal_loaded loaded;

	put_one(leader, 1, "one");
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(ops->follow(standby, &reader, &loaded), MC_AGAIN);
		ops->tick(leader, 0);
		usleep(5000);
	}
	ck_assert_str_eq(texts[1], "one");
	put_one(leader, 1, "uno");
	put_one(leader, 2, "dos");
	uint64_t begun = clock_ns();
	ops->close(leader);
	while (ops->follow(standby, &reader, &loaded) == MC_AGAIN)
		usleep(1000);
	ck_assert_uint_lt((clock_ns() - begun) / 1000000, 1500);
	ck_assert(!loaded.empty && !loaded.incomplete);
	ck_assert_str_eq(texts[1], "uno");
	ck_assert_str_eq(texts[2], "dos");
	ops->close(standby);
}
END_TEST

START_TEST(a_wiped_etcd_ends_the_lead)
{
	struct journal *journal = lead();
	const struct journal_reader reader = {.visit = visit};
	struct journal_loaded loaded;

	put_one(journal, 1, "one");
	WAIT(journal, STORED(journal));
	etcd_server_kill(&server);
	etcd_server_wipe(&server);
	etcd_server_spawn(&server);
	put_one(journal, 2, "two");
	WAIT(journal, ops->ready(journal) == MC_STALE);
	enum mc_status status;
	WAIT(journal, (status = ops->follow(journal, &reader, &loaded)) != MC_AGAIN);
	ck_assert_int_eq(status, MC_OK);
	ck_assert(loaded.empty);
	ops->close(journal);
}
END_TEST

/* A server that is soon full. */
static void server_small(void)
{
	etcd_server_kill(&server);
	server.flags[0] = "--quota-backend-bytes=16777216";
	etcd_server_spawn(&server);
}

/* Until it raises its alarm. */
static void server_fill(void)
{
	CLEANUP_FREE char *large = calloc(1, 1 << 20);
	struct etcd *etcd;

	ck_assert_int_eq(etcd_open(&(struct etcd_config){.endpoints = server.client}, &etcd),
			 MC_OK);
	while (etcd_put_wait(etcd, ETCD_TEXT("large"), (struct etcd_bytes){large, 1 << 20}) ==
	       MC_OK)
		;
	etcd_close(etcd);
}

static void server_make_room(void)
{
	etcdctl("del large");
	etcdctl("compact $(ETCDCTL_API=3 etcdctl --endpoints=$ENDPOINT get x -w fields | "
		"sed -n 's/.*Revision\" : //p')");
	etcdctl("defrag");
	etcdctl("alarm disarm");
}

START_TEST(a_full_etcd_is_waited_for)
{
	said.lease_s = 30;
	said.ack_sync = true;
	server_small();
	struct journal *journal = lead();
	server_fill();
	put_one(journal, 1, "one");
	WAIT(journal, ops->ready(journal) == MC_READ_ONLY);
	server_make_room();
	WAIT(journal, ops->ready(journal) == MC_OK && STORED(journal));
	ops->close(journal);
}
END_TEST

START_TEST(a_standby_that_could_not_be_elected_tries_again)
{
	const struct journal_reader reader = {.visit = visit};
	struct journal_loaded loaded;

	server_small();
	struct journal *leader = lead();
	struct journal *standby = journal_new();
	WAIT(leader, STORED(leader));
	server_fill();
	etcdctl("del /mooncake/default/leader");
	/* Nobody is granted a lease while it is full. */
	for (int i = 0; i < 200; i++) {
		ck_assert_int_eq(ops->follow(standby, &reader, &loaded), MC_AGAIN);
		usleep(5000);
	}
	server_make_room();
	WAIT(leader, ops->follow(standby, &reader, &loaded) == MC_OK);
	ops->close(leader);
	ops->close(standby);
}
END_TEST

START_TEST(objects_can_be_left_out)
{
	struct journal_loaded loaded;

	said.without_objects = true;
	struct journal *journal = lead();
	put_one(journal, 1, "one");
	WAIT(journal, STORED(journal));
	ops->close(journal);
	said.without_objects = false;
	memset(texts, 0, sizeof(texts));
	journal = journal_new();
	ck_assert_int_eq(ops->load(journal, visit, NULL, &loaded), MC_OK);
	ck_assert_str_eq(texts[1], "");
	ck_assert(loaded.incomplete);
	ops->close(journal);
}
END_TEST

static const struct {
	const char *path;
	struct mc_etcd_config said;
} bad[] = {
	{"", {0}},
	{"/tmp/x", {0}},
	{"//", {0}},
	{"//host", {0}},
	{"//host:1", {.cluster = "a/b"}},
	{"//host:1", {.cluster = "a b"}},
	{"//host:1", {.password_file = "/nonexistent"}},
	{"//host:1", {.address = "not an address:1"}},
	{"//host:1", {.address = "host:port"}},
};

START_TEST(a_config_that_makes_no_sense_is_refused)
{
	struct journal_config config = {.path = bad[_i].path, .etcd = &bad[_i].said};
	struct journal *journal = NULL;

	log_open("/dev/null");
	ck_assert_int_eq(ops->open(&config, &journal), MC_INVALID);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("journal_etcd");
	TCase *config = tcase_create("config");
	TCase *tc = tcase_create("journal");
	bool installed = etcd_installed();

	tcase_add_loop_test(config, a_config_that_makes_no_sense_is_refused, 0,
			    (int)(sizeof(bad) / sizeof(bad[0])));
	suite_add_tcase(suite, config);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, the_last_word_is_in_etcd_whatever_the_order);
	tcase_add_test(tc,
		       a_new_directory_in_the_place_of_a_removed_one_is_there_before_what_is_in_it);
	tcase_add_test(tc, who_steps_down_says_so_when_all_is_there);
	tcase_add_loop_test(tc, answers_wait_for_etcd_only_if_they_must, 0, 2);
	tcase_add_test(tc, a_full_queue_refuses_changes_until_etcd_is_back);
	tcase_add_test(tc, a_leader_that_cannot_renew_refuses_changes_and_comes_back);
	tcase_add_test(tc, a_master_in_a_long_turn_keeps_its_lease);
	tcase_add_test(tc, nothing_of_an_old_leader_is_taken);
	tcase_add_test(tc, a_standby_follows_and_takes_over_at_once_after_an_orderly_end);
	tcase_add_test(tc, a_wiped_etcd_ends_the_lead);
	tcase_add_test(tc, a_full_etcd_is_waited_for);
	tcase_add_test(tc, a_standby_that_could_not_be_elected_tries_again);
	tcase_add_test(tc, objects_can_be_left_out);
	if (installed)
		suite_add_tcase(suite, tc);
	return suite_run(suite);
}
