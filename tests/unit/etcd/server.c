/* The client against the real etcd. */
#include "tests/support/etcd.h"

#include <pthread.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/etcd/follow.h"
#include "tests/support/suite.h"

#define PATIENT_MS 60000u /* for megabytes, on a machine with much other work */

static struct etcd_server server;
static struct etcd *etcd;

static void setup(void)
{
	log_set_level("error");
	server = (struct etcd_server){0};
	etcd_server_start(&server);
	ck_assert_int_eq(etcd_open(&(struct etcd_config){.endpoints = server.client}, &etcd),
			 MC_OK);
}

static void teardown(void)
{
	etcd_close(etcd);
	etcd_server_end(&server);
}

/* The answer to a request that is made by a statement which names `waiter`. */
#define ASK(statement)                                                                             \
	({                                                                                         \
		struct etcd_waiter waiter;                                                         \
		etcd_waiter_init(&waiter);                                                         \
		statement;                                                                         \
		etcd_waiter_wait(&waiter);                                                         \
	})

static struct etcd_reply *range(const char *key, const char *end, uint32_t limit, int64_t revision)
{
	struct etcd_range asked = {
		.key = ETCD_TEXT(key), .end = ETCD_TEXT(end), .limit = limit, .revision = revision};

	return ASK(etcd_range(etcd, &asked, 0, etcd_waiter_done, &waiter));
}

static void put(const char *key, const char *value)
{
	ck_assert_int_eq(etcd_put_wait(etcd, ETCD_TEXT(key), ETCD_TEXT(value)), MC_OK);
}

/* Run a command of etcdctl. */
static void etcdctl(const char *arguments)
{
	char command[512];

	snprintf(command, sizeof(command),
		 "ETCDCTL_API=3 etcdctl --endpoints=%s %s >/dev/null 2>&1", server.client,
		 arguments);
	ck_assert_msg(system(command) == 0, "%s", command);
}

START_TEST(what_was_put_is_got_until_deleted)
{
	static const uint8_t bytes[] = {0, 1, 0xff, '"', '\\', 0};
	struct etcd_bytes key = {"k\0\xfe", 3};
	struct writer value;

	writer_init(&value);
	ck_assert_int_eq(etcd_get_wait(etcd, key, &value), MC_NOT_FOUND);
	ck_assert_int_eq(etcd_put_wait(etcd, key, (struct etcd_bytes){bytes, sizeof(bytes)}),
			 MC_OK);
	ck_assert_int_eq(etcd_get_wait(etcd, key, &value), MC_OK);
	ck_assert_uint_eq(value.size, sizeof(bytes));
	ck_assert_mem_eq(value.data, bytes, sizeof(bytes));
	ck_assert_int_eq(etcd_delete_wait(etcd, key), MC_OK);
	ck_assert_int_eq(etcd_get_wait(etcd, key, &value), MC_NOT_FOUND);
	writer_fini(&value);
}
END_TEST

START_TEST(a_range_comes_in_pages)
{
	for (int i = 0; i < 5; i++)
		put((const char[]){'p', (char)('a' + i), 0}, "v");
	struct etcd_reply *reply = range("p", "q", 3, 0);
	ck_assert_int_eq(reply->status, MC_OK);
	ck_assert_uint_eq(reply->pair_count, 3);
	ck_assert_int_eq(reply->count, 5);
	ck_assert(reply->more);
	ck_assert_uint_eq(reply->pairs[2].key.size, 2);
	ck_assert_mem_eq(reply->pairs[2].key.data, "pc", 2);
	ck_assert_int_gt(reply->pairs[2].mod_revision, 0);
	etcd_reply_free(reply);
	reply = range("pd", "q", 3, 0);
	ck_assert_uint_eq(reply->pair_count, 2);
	ck_assert(!reply->more);
	etcd_reply_free(reply);
}
END_TEST

START_TEST(a_transaction_does_one_branch_or_the_other)
{
	for (int i = 0; i < 2; i++) {
		struct etcd_txn txn;
		etcd_txn_begin(&txn);
		etcd_txn_compare_created(&txn, ETCD_TEXT("leader"), 0);
		etcd_txn_then(&txn);
		etcd_txn_put(&txn, ETCD_TEXT("leader"), ETCD_TEXT("me"), 0);
		etcd_txn_else(&txn);
		etcd_txn_get(&txn, ETCD_TEXT("leader"));
		struct etcd_reply *reply =
			ASK(etcd_txn_send(etcd, &txn, false, 0, etcd_waiter_done, &waiter));
		ck_assert_int_eq(reply->status, MC_OK);
		ck_assert_int_eq(reply->succeeded, i == 0);
		ck_assert_uint_eq(reply->pair_count, (size_t)i);
		if (i == 1)
			ck_assert_mem_eq(reply->pairs[0].value.data, "me", 2);
		etcd_reply_free(reply);
	}
}
END_TEST

START_TEST(a_full_transaction_is_taken_and_a_larger_one_refused)
{
	CLEANUP_FREE char *large = calloc(1, 15000);
	struct etcd_txn txn;

	for (int i = 0; i < 2; i++) {
		etcd_txn_begin(&txn);
		etcd_txn_compare_value(&txn, ETCD_TEXT("none"), ETCD_TEXT("x"));
		etcd_txn_then(&txn);
		etcd_txn_else(&txn);
		for (unsigned k = 0; k < ETCD_OPERATION_MAX; k++) {
			char key[16];
			snprintf(key, sizeof(key), "k%u", k);
			etcd_txn_put(&txn, ETCD_TEXT(key),
				     (struct etcd_bytes){large, i ? 15000 : 10000}, 0);
		}
		struct etcd_reply *reply =
			ASK(etcd_txn_send(etcd, &txn, true, PATIENT_MS, etcd_waiter_done, &waiter));
		ck_assert_int_eq(reply->status, i ? MC_TOO_BIG : MC_OK);
		etcd_reply_free(reply);
	}
}
END_TEST

START_TEST(a_lease_lives_while_it_is_kept_alive)
{
	struct etcd_reply *reply = ASK(etcd_lease_grant(etcd, 5, 0, etcd_waiter_done, &waiter));
	ck_assert_int_eq(reply->status, MC_OK);
	ck_assert_int_eq(reply->ttl_s, 5);
	int64_t lease = reply->lease;
	etcd_reply_free(reply);
	reply = ASK(etcd_put(etcd, ETCD_TEXT("l"), ETCD_TEXT("v"), lease, 0, etcd_waiter_done,
			     &waiter));
	ck_assert_int_eq(reply->status, MC_OK);
	etcd_reply_free(reply);
	reply = ASK(etcd_lease_keepalive(etcd, lease, 0, etcd_waiter_done, &waiter));
	ck_assert_int_eq(reply->status, MC_OK);
	ck_assert_int_eq(reply->ttl_s, 5);
	etcd_reply_free(reply);
	reply = ASK(etcd_lease_revoke(etcd, lease, 0, etcd_waiter_done, &waiter));
	ck_assert_int_eq(reply->status, MC_OK);
	etcd_reply_free(reply);
	reply = range("l", "", 0, 0);
	ck_assert_uint_eq(reply->pair_count, 0);
	etcd_reply_free(reply);
	/* 200, and no TTL. */
	reply = ASK(etcd_lease_keepalive(etcd, lease, 0, etcd_waiter_done, &waiter));
	ck_assert_int_eq(reply->status, MC_OK);
	ck_assert_int_eq(reply->ttl_s, 0);
	etcd_reply_free(reply);
	reply = ASK(etcd_put(etcd, ETCD_TEXT("l"), ETCD_TEXT("v"), lease, 0, etcd_waiter_done,
			     &waiter));
	ck_assert_int_eq(reply->status, MC_NOT_FOUND);
	etcd_reply_free(reply);
}
END_TEST

START_TEST(a_compacted_revision_is_stale)
{
	put("a", "1");
	put("a", "2");
	put("a", "3");
	etcdctl("compact 3");
	struct etcd_reply *reply = range("a", "", 0, 2);
	ck_assert_int_eq(reply->status, MC_STALE);
	etcd_reply_free(reply);
}
END_TEST

/* -- following -- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t change;
	int begins;
	int settled;
	int puts;
	char log[8192]; /* "+key=value " and "-key=before " */
} told = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER};

#define TOLD_WAIT(condition)                                                                       \
	do {                                                                                       \
		struct timespec until_;                                                            \
		clock_gettime(CLOCK_REALTIME, &until_);                                            \
		until_.tv_sec += 60;                                                               \
		pthread_mutex_lock(&told.lock);                                                    \
		int late_ = 0;                                                                     \
		while (!(condition) && !late_)                                                     \
			late_ = pthread_cond_timedwait(&told.change, &told.lock, &until_);         \
		bool holds_ = (condition);                                                         \
		pthread_mutex_unlock(&told.lock);                                                  \
		ck_assert_msg(holds_, "never: " #condition ": %s", told.log);                      \
	} while (0)

static void on_begin(void *context, int64_t expected)
{
	(void)context;
	(void)expected;
	WITH_LOCK(&told.lock);
	told.begins++;
	told.puts = 0;
	told.log[0] = '\0';
}

static void note(char sign, const struct etcd_pair *pair)
{
	WITH_LOCK(&told.lock);
	size_t size = strlen(told.log);
	snprintf(told.log + size, sizeof(told.log) - size, "%c%.*s=%.*s ", sign,
		 (int)pair->key.size, (const char *)pair->key.data, (int)pair->value.size,
		 (const char *)pair->value.data);
	pthread_cond_signal(&told.change);
}

static void on_put(void *context, const struct etcd_pair *pair)
{
	(void)context;
	told.puts++;
	note('+', pair);
}

static void on_removed(void *context, const struct etcd_pair *before)
{
	(void)context;
	note('-', before);
}

static void on_settled(void *context, int64_t revision)
{
	(void)context;
	(void)revision;
	WITH_LOCK(&told.lock);
	told.settled++;
	pthread_cond_signal(&told.change);
}

static const struct etcd_follow_events follow_events = {
	.begin = on_begin,
	.put = on_put,
	.removed = on_removed,
	.settled = on_settled,
};

static struct etcd_follower *follow(void)
{
	struct etcd_config config = {.endpoints = server.client};
	struct etcd_follower *follower = NULL;

	told.begins = told.settled = 0;
	told.log[0] = '\0';
	ck_assert_int_eq(etcd_follow(&config, ETCD_TEXT("f/"), &follow_events, NULL, &follower),
			 MC_OK);
	return follower;
}

START_TEST(a_follower_sees_what_is_there_and_what_changes)
{
	put("e", "not under the prefix");
	put("f/1", "one");
	put("f/2", "two");
	put("g", "nor is this");
	struct etcd_follower *follower = follow();
	TOLD_WAIT(told.settled == 1);
	ck_assert_str_eq(told.log, "+f/1=one +f/2=two ");
	put("f/3", "three");
	put("f0", "no");
	ck_assert_int_eq(etcd_delete_wait(etcd, ETCD_TEXT("f/1")), MC_OK);
	TOLD_WAIT(strcmp(told.log, "+f/1=one +f/2=two +f/3=three -f/1=one ") == 0);
	etcd_unfollow(follower);
}
END_TEST

START_TEST(many_pages_and_a_watch_tell_each_pair_once)
{
	for (int page = 0; page < 21; page++) {
		struct etcd_txn txn;
		etcd_txn_begin(&txn);
		etcd_txn_then(&txn);
		for (int i = 0; i < 100; i++) {
			char key[16];
			snprintf(key, sizeof(key), "f/%02d%02d", page, i);
			etcd_txn_put(&txn, ETCD_TEXT(key), ETCD_TEXT(""), 0);
		}
		etcd_reply_free(ASK(etcd_txn_send(etcd, &txn, true, 0, etcd_waiter_done, &waiter)));
	}
	struct etcd_follower *follower = follow();
	TOLD_WAIT(told.settled == 1);
	/* 2100 entries of "+f/0000= " are beyond the log; its beginning is in order. */
	ck_assert_int_eq(strncmp(told.log, "+f/0000= +f/0001= ", 18), 0);
	ck_assert_int_eq(told.puts, 2100);
	etcd_unfollow(follower);
}
END_TEST

START_TEST(pages_beyond_an_answer_come_as_smaller_ones)
{
	enum { COUNT = ETCD_ANSWER_SIZE_MAX / (5u << 18) + 1 };
	const size_t size = 1u << 20;
	CLEANUP_FREE char *large = malloc(size);

	memset(large, 'x', size);
	for (int i = 0; i < COUNT; i++) {
		char key[16];
		snprintf(key, sizeof(key), "f/%03d", i);
		ck_assert_int_eq(
			etcd_put_wait(etcd, ETCD_TEXT(key), (struct etcd_bytes){large, size}),
			MC_OK);
	}
	struct etcd_follower *follower = follow();
	TOLD_WAIT(told.settled == 1);
	ck_assert_int_eq(told.puts, COUNT);
	etcd_unfollow(follower);
}
END_TEST

START_TEST(a_follower_goes_on_where_it_was_after_a_restart)
{
	put("f/1", "one");
	struct etcd_follower *follower = follow();
	TOLD_WAIT(told.settled == 1);
	etcd_server_kill(&server);
	etcd_server_spawn(&server);
	put("f/2", "two");
	TOLD_WAIT(strcmp(told.log, "+f/1=one +f/2=two ") == 0);
	ck_assert_int_eq(told.begins, 1);
	etcd_unfollow(follower);
}
END_TEST

#define AWAY_TXNS 50
#define AWAY_KEYS 3

/* A follower that is busy while much happens. */
static struct {
	bool busy;
	bool seen[AWAY_TXNS][AWAY_KEYS];
	unsigned count;
} away;

static void on_put_away(void *context, const struct etcd_pair *pair)
{
	const char *key = pair->key.data;

	(void)context;
	WITH_LOCK(&told.lock);
	while (away.busy)
		pthread_cond_wait(&told.change, &told.lock);
	bool *seen = &away.seen[(key[2] - '0') * 10 + key[3] - '0'][key[4] - '0'];
	away.count += !*seen;
	*seen = true;
	pthread_cond_broadcast(&told.change);
}

static void away_set(bool busy)
{
	WITH_LOCK(&told.lock);
	away.busy = busy;
	pthread_cond_broadcast(&told.change);
}

/* All of it is larger than a message may be, and revisions are cut in two. */
START_TEST(a_follower_that_was_away_hears_of_all_in_pieces)
{
	static const struct etcd_follow_events events = {.put = on_put_away, .settled = on_settled};
	static char value[400 << 10];
	const struct etcd_bytes large = {value, sizeof(value)};
	struct etcd_config config = {.endpoints = server.client};
	struct etcd_follower *follower = NULL;

	ck_assert_uint_gt(AWAY_TXNS * AWAY_KEYS * (sizeof(value) / 3 * 4), ETCD_FRAME_SIZE_MAX);
	ck_assert_int_eq(etcd_follow(&config, ETCD_TEXT("f/"), &events, NULL, &follower), MC_OK);
	TOLD_WAIT(told.settled == 1);
	away_set(true);
	for (unsigned i = 0; i < AWAY_TXNS; i++) {
		struct etcd_txn txn;
		etcd_txn_begin(&txn);
		etcd_txn_then(&txn);
		for (unsigned k = 0; k < AWAY_KEYS; k++) {
			char key[16];
			snprintf(key, sizeof(key), "f/%02u%u", i, k);
			etcd_txn_put(&txn, ETCD_TEXT(key), large, 0);
		}
		etcd_reply_free(ASK(etcd_txn_send(etcd, &txn, true, 0, etcd_waiter_done, &waiter)));
	}
	etcd_follow_again(follower);
	away_set(false);
	TOLD_WAIT(away.count == AWAY_TXNS * AWAY_KEYS);
	etcd_unfollow(follower);
}
END_TEST

START_TEST(a_follower_begins_anew_after_a_compaction)
{
	put("f/1", "one");
	struct etcd_follower *follower = follow();
	TOLD_WAIT(told.settled == 1);
	/* Its watch stands still meanwhile, and what it missed is compacted. */
	log_set_level("error");
	kill(server.pid, SIGSTOP);
	etcd_follow_again(follower);
	usleep(200000);
	kill(server.pid, SIGCONT);
	for (int i = 0; i < 10; i++)
		put("f/2", "two");
	etcdctl("compact 8");
	etcd_follow_again(follower);
	TOLD_WAIT(strstr(told.log, "+f/2=two ") != NULL);
	put("f/3", "three");
	TOLD_WAIT(strstr(told.log, "+f/3=three ") != NULL);
	etcd_unfollow(follower);
}
END_TEST

START_TEST(a_follower_begins_anew_in_a_store_that_was_wiped)
{
	put("f/1", "one");
	put("f/1", "uno");
	struct etcd_follower *follower = follow();
	TOLD_WAIT(told.settled == 1);
	etcd_server_kill(&server);
	etcd_server_wipe(&server);
	etcd_server_spawn(&server);
	put("f/9", "new");
	TOLD_WAIT(told.begins == 2 && strcmp(told.log, "+f/9=new ") == 0);
	etcd_unfollow(follower);
}
END_TEST

/* -- trust and room -- */

START_TEST(a_user_with_a_password_gets_in)
{
	struct etcd_config config = {.endpoints = server.client, .user = "root", .password = "pw"};
	struct etcd *as;

	put("a", "1");
	etcdctl("user add root:pw");
	etcdctl("auth enable");
	ck_assert_int_eq(etcd_put_wait(etcd, ETCD_TEXT("a"), ETCD_TEXT("2")), MC_ACCESS);
	ck_assert_int_eq(etcd_open(&config, &as), MC_OK);
	ck_assert_int_eq(etcd_put_wait(as, ETCD_TEXT("a"), ETCD_TEXT("2")), MC_OK);
	/* Tokens are forgotten by a restart. */
	etcd_server_kill(&server);
	etcd_server_spawn(&server);
	ck_assert_int_eq(etcd_put_wait(as, ETCD_TEXT("a"), ETCD_TEXT("3")), MC_OK);
	etcd_close(as);
	log_open("/dev/null");
	config.password = "wrong";
	ck_assert_int_eq(etcd_open(&config, &as), MC_OK);
	ck_assert_int_eq(etcd_put_wait(as, ETCD_TEXT("a"), ETCD_TEXT("2")), MC_ACCESS);
	etcd_close(as);
}
END_TEST

START_TEST(a_user_that_nobody_asks_for_does_no_harm)
{
	struct etcd_config config = {.endpoints = server.client, .user = "root", .password = "pw"};
	struct etcd *as;

	ck_assert_int_eq(etcd_open(&config, &as), MC_OK);
	ck_assert_int_eq(etcd_put_wait(as, ETCD_TEXT("a"), ETCD_TEXT("2")), MC_OK);
	etcd_close(as);
}
END_TEST

START_TEST(a_full_store_is_no_space_until_there_is_room)
{
	CLEANUP_FREE char *large = calloc(1, 1 << 20);
	enum mc_status status = MC_OK;

	etcd_server_kill(&server);
	server.flags[0] = "--quota-backend-bytes=16777216";
	etcd_server_spawn(&server);
	for (int i = 0; i < 40 && status == MC_OK; i++)
		status = etcd_put_wait(etcd, ETCD_TEXT("large"),
				       (struct etcd_bytes){large, 1 << 20});
	ck_assert_int_eq(status, MC_NO_SPACE);
	struct etcd_reply *reply = range("large", "", 0, 0);
	ck_assert_int_eq(reply->status, MC_OK);
	int64_t revision = reply->revision;
	etcd_reply_free(reply);
	char command[64];
	snprintf(command, sizeof(command), "compact %ld", (long)revision);
	etcdctl(command);
	etcdctl("defrag");
	etcdctl("alarm disarm");
	put("small", "1");
}
END_TEST

static void make_certificates(const char *folder)
{
	char command[1024];

	snprintf(command, sizeof(command),
		 "cd '%s' && exec >/dev/null 2>&1 && "
		 "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
		 "-subj /CN=ca -keyout ca.key -out ca.pem && "
		 "for n in server client; do openssl req -newkey ec -pkeyopt "
		 "ec_paramgen_curve:P-256 -nodes -subj /CN=$n -keyout $n.key -out $n.csr && "
		 "echo 'subjectAltName=IP:127.0.0.1' > $n.ext && "
		 "openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 "
		 "-extfile $n.ext -out $n.pem || exit 1; done",
		 folder);
	ck_assert_msg(system(command) == 0, "openssl fails");
}

START_TEST(a_client_with_a_certificate_gets_in)
{
	char paths[6][160];
	static const char *const names[] = {"ca.pem", "client.pem", "client.key",
					    "ca.pem", "server.pem", "server.key"};
	static const char *const flags[] = {
		"", "", "", "--trusted-ca-file=", "--cert-file=", "--key-file="};
	struct etcd *as;

	etcd_server_kill(&server);
	make_certificates(server.folder);
	for (int i = 0; i < 6; i++)
		snprintf(paths[i], sizeof(paths[i]), "%s%s/%s", flags[i], server.folder, names[i]);
	strcpy(server.scheme, "https");
	for (int i = 0; i < 3; i++)
		server.flags[i] = paths[3 + i];
	server.flags[3] = "--client-cert-auth";
	etcd_server_spawn(&server);
	struct etcd_config config = {.endpoints = server.client,
				     .ca = paths[0],
				     .certificate = paths[1],
				     .key = paths[2]};
	etcd_server_wait(&config);
	ck_assert_int_eq(etcd_open(&config, &as), MC_OK);
	ck_assert_int_eq(etcd_put_wait(as, ETCD_TEXT("a"), ETCD_TEXT("2")), MC_OK);
	etcd_close(as);
	/* Without a certificate, and with a CA that does not know the server's. */
	config =
		(struct etcd_config){.endpoints = server.client, .ca = paths[0], .timeout_ms = 500};
	ck_assert_int_eq(etcd_open(&config, &as), MC_OK);
	ck_assert_int_ne(etcd_put_wait(as, ETCD_TEXT("a"), ETCD_TEXT("2")), MC_OK);
	etcd_close(as);
	config.ca = paths[1];
	ck_assert_int_eq(etcd_open(&config, &as), MC_OK);
	ck_assert_int_eq(etcd_put_wait(as, ETCD_TEXT("a"), ETCD_TEXT("2")), MC_ACCESS);
	etcd_close(as);
}
END_TEST

int main(void)
{
	if (!etcd_installed())
		return ETCD_TEST_SKIP;
	Suite *suite = suite_create("etcd server");
	TCase *tc = tcase_create("server");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 90);
	tcase_add_test(tc, what_was_put_is_got_until_deleted);
	tcase_add_test(tc, a_range_comes_in_pages);
	tcase_add_test(tc, a_transaction_does_one_branch_or_the_other);
	tcase_add_test(tc, a_full_transaction_is_taken_and_a_larger_one_refused);
	tcase_add_test(tc, a_lease_lives_while_it_is_kept_alive);
	tcase_add_test(tc, a_compacted_revision_is_stale);
	tcase_add_test(tc, a_follower_sees_what_is_there_and_what_changes);
	tcase_add_test(tc, many_pages_and_a_watch_tell_each_pair_once);
	tcase_add_test(tc, pages_beyond_an_answer_come_as_smaller_ones);
	tcase_add_test(tc, a_follower_goes_on_where_it_was_after_a_restart);
	tcase_add_test(tc, a_follower_that_was_away_hears_of_all_in_pieces);
	tcase_add_test(tc, a_follower_begins_anew_after_a_compaction);
	tcase_add_test(tc, a_follower_begins_anew_in_a_store_that_was_wiped);
	tcase_add_test(tc, a_user_with_a_password_gets_in);
	tcase_add_test(tc, a_user_that_nobody_asks_for_does_no_harm);
	tcase_add_test(tc, a_full_store_is_no_space_until_there_is_room);
	tcase_add_test(tc, a_client_with_a_certificate_gets_in);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
