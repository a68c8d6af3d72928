/* The client against an HTTP server that answers what the test says. */
#include "engine/etcd/etcd.h"

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/etcd/follow.h"
#include "tests/support/suite.h"

#define REQUEST_MAX 32
#define ROWS(a)	    ((int)(sizeof(a) / sizeof((a)[0])))

/* A server: each connection gets the next answers, in order; the last one again and again. */
struct fake {
	int listen;
	char address[NET_TEXT_SIZE];
	pthread_t thread;
	const char *answers[8]; /* "200 BODY"; "HTTP...": sent as it is, then hung up; "": none */
	_Atomic int requests;
	_Atomic bool ending;
	char heard[REQUEST_MAX][1024];
};

static const char *answer_of(const struct fake *fake, int number)
{
	int last = 0;

	while (last < 7 && fake->answers[last + 1])
		last++;
	return fake->answers[number < last ? number : last];
}

/* Read one request whole.  False: the client hung up. */
static bool hear(struct fake *fake, int fd, char *text, size_t size)
{
	size_t got = 0;

	while (!fake->ending) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		if (poll(&poll_fd, 1, 20) < 1)
			continue;
		ssize_t n = recv(fd, text + got, size - 1 - got, 0);
		if (n <= 0)
			return false;
		got += (size_t)n;
		text[got] = '\0';
		const char *body = strstr(text, "\r\n\r\n");
		const char *length = strstr(text, "Content-Length: ");
		if (body && length && strlen(body + 4) >= strtoul(length + 16, NULL, 10))
			return true;
	}
	return false;
}

/* False: hang up. */
static bool say(int fd, const char *answer)
{
	char text[512];

	if (!answer[0])
		return true;
	if (strncmp(answer, "HTTP", 4) == 0)
		snprintf(text, sizeof(text), "%s", answer);
	else
		snprintf(text, sizeof(text), "HTTP/1.1 %.3s So\r\nContent-Length: %zu\r\n\r\n%s",
			 answer, strlen(answer + 4), answer + 4);
	return send(fd, text, strlen(text), MSG_NOSIGNAL) > 0 && answer[0] != 'H';
}

static void serve(struct fake *fake, int fd)
{
	char text[8192] = "";

	while (hear(fake, fd, text, sizeof(text))) {
		int number = fake->requests;
		const char *answer = answer_of(fake, number);
		if (number < REQUEST_MAX)
			snprintf(fake->heard[number], sizeof(fake->heard[0]), "%s", text);
		fake->requests++;
		if (!say(fd, answer))
			break;
		text[0] = '\0';
	}
	close(fd);
}

static void *fake_run(void *context)
{
	struct fake *fake = context;

	while (!fake->ending) {
		struct pollfd poll_fd = {.fd = fake->listen, .events = POLLIN};
		int fd;
		if (poll(&poll_fd, 1, 20) == 1 && net_accept(fake->listen, &fd) == MC_OK)
			serve(fake, fd);
	}
	return NULL;
}

static void fake_start(struct fake *fake)
{
	struct net_address address;

	log_set_level("error");
	ck_assert_int_eq(net_parse("127.0.0.1:0", &address), MC_OK);
	ck_assert_int_eq(net_listen(&address, &fake->listen), MC_OK);
	ck_assert_int_eq(net_bound(fake->listen, &address), MC_OK);
	net_format(&address, fake->address);
	ck_assert_int_eq(pthread_create(&fake->thread, NULL, fake_run, fake), 0);
}

static void fake_end(struct fake *fake)
{
	fake->ending = true;
	pthread_join(fake->thread, NULL);
	close(fake->listen);
}

static struct etcd *open_sharing(const char *endpoints, uint32_t timeout_ms,
				 _Atomic uint32_t *failing)
{
	struct etcd_config config = {
		.endpoints = endpoints, .timeout_ms = timeout_ms, .failing = failing};
	struct etcd *etcd = NULL;

	ck_assert_int_eq(etcd_open(&config, &etcd), MC_OK);
	return etcd;
}

static struct etcd *open_to(const char *endpoints, uint32_t timeout_ms)
{
	return open_sharing(endpoints, timeout_ms, NULL);
}

#define HEADER	 "\"header\":{\"cluster_id\":\"14841639068965178418\",\"revision\":\"7\"}"
#define OK_EMPTY "200 {" HEADER "}"

static enum mc_status get(struct etcd *etcd)
{
	struct writer value;

	writer_init(&value);
	enum mc_status status = etcd_get_wait(etcd, ETCD_TEXT("k"), &value);
	writer_fini(&value);
	return status;
}

/* What a status line and a body come to. */
static const struct {
	const char *answer;
	enum mc_status status;
} answers[] = {
	{"200 ", MC_PROTOCOL},
	{"200 {}", MC_PROTOCOL},
	{"200 null", MC_PROTOCOL},
	{"200 <html>hi</html>", MC_PROTOCOL},
	{"200 {\"header\":5", MC_PROTOCOL},
	{"200 {\"header\":{}}", MC_NOT_FOUND},
	{"200 {\"header\":{},\"kvs\":5}", MC_PROTOCOL},
	{"200 {\"header\":{},\"kvs\":[{}]}", MC_PROTOCOL},
	{"200 {\"header\":{},\"kvs\":[{\"key\":\"!!!\"}"
	 "]}",
	 MC_PROTOCOL},
	{"200 {\"header\":{},\"kvs\":[{\"key\":\"aw==\""
	 "}]}",
	 MC_OK},
	{"200 {\"header\":{\"revision\":\"x1\"}}", MC_PROTOCOL},
	{"404 not found", MC_PROTOCOL},
	{"429 "
	 "{\"error\":\"etcdserver: mvcc: database space exceeded\", \"code\": 8 }",
	 MC_NO_SPACE},
	{"403 "
	 "{\"error\":\"etcdserver: permission denied\",\"code\":7   }",
	 MC_PERMISSION},
	{"400 "
	 "{\"error\":\"etcdserver: request is too large\", \"code\":3    }",
	 MC_TOO_BIG},
	{"400 "
	 "{\"error\":\"etcdserver: mvcc: required revision has been compacted\",\"code\":11}",
	 MC_STALE},
};

START_TEST(an_answer_is_what_it_says)
{
	struct fake fake = {.answers = {answers[_i].answer}};

	fake_start(&fake);
	log_set_level("error");
	struct etcd *etcd = open_to(fake.address, 500);
	ck_assert_int_eq(get(etcd), answers[_i].status);
	etcd_close(etcd);
	fake_end(&fake);
}
END_TEST

START_TEST(half_an_answer_is_none)
{
	struct fake fake = {.answers = {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"}};

	fake_start(&fake);
	struct etcd *etcd = open_to(fake.address, 400);
	ck_assert_int_eq(get(etcd), MC_TIMEOUT);
	ck_assert_int_gt(fake.requests, 1);
	etcd_close(etcd);
	fake_end(&fake);
}
END_TEST

START_TEST(where_nobody_listens_nothing_happened)
{
	struct etcd *etcd = open_to("127.0.0.1:1,127.0.0.1:2", 200);
	uint64_t begun = clock_ns();

	ck_assert_int_eq(get(etcd), MC_UNREACHABLE);
	ck_assert_uint_lt(clock_ns() - begun, 2000000000u);
	etcd_close(etcd);
}
END_TEST

START_TEST(the_next_endpoint_is_asked)
{
	struct fake fake = {.answers = {OK_EMPTY}};
	char endpoints[256];

	fake_start(&fake);
	snprintf(endpoints, sizeof(endpoints), "127.0.0.1:1,http://%s/", fake.address);
	struct etcd *etcd = open_to(endpoints, 2000);
	ck_assert_int_eq(get(etcd), MC_NOT_FOUND);
	ck_assert_int_eq(fake.requests, 1);
	etcd_close(etcd);
	fake_end(&fake);
}
END_TEST

START_TEST(a_stalled_endpoint_is_left)
{
	struct fake stalled = {.answers = {""}};
	struct fake fake = {.answers = {OK_EMPTY}};
	char endpoints[256];

	fake_start(&stalled);
	fake_start(&fake);
	snprintf(endpoints, sizeof(endpoints), "%s,%s", stalled.address, fake.address);
	struct etcd *etcd = open_to(endpoints, 1000);
	ck_assert_int_eq(get(etcd), MC_NOT_FOUND);
	ck_assert_int_eq(stalled.requests, 1);
	etcd_close(etcd);
	fake_end(&fake);
	fake_end(&stalled);
}
END_TEST

START_TEST(what_one_client_found_out_others_that_share_it_need_not)
{
	struct fake stalled = {.answers = {""}};
	struct fake fake = {.answers = {OK_EMPTY}};
	_Atomic uint32_t failing = 0;
	char endpoints[256];

	fake_start(&stalled);
	fake_start(&fake);
	snprintf(endpoints, sizeof(endpoints), "%s,%s", stalled.address, fake.address);
	struct etcd *first = open_sharing(endpoints, 1000, &failing);
	struct etcd *second = open_sharing(endpoints, 1000, &failing);
	ck_assert_int_eq(get(first), MC_NOT_FOUND);
	etcd_close(first); /* the server hears one connection at a time */
	ck_assert_int_eq(get(second), MC_NOT_FOUND);
	ck_assert_int_eq(stalled.requests, 1);
	ck_assert_int_eq(fake.requests, 2);
	ck_assert_uint_eq(failing, 1);
	etcd_close(second);
	fake_end(&fake);
	fake_end(&stalled);
}
END_TEST

START_TEST(where_all_failed_they_are_asked_all_the_same)
{
	struct fake fake = {.answers = {OK_EMPTY}};
	_Atomic uint32_t failing = 3;
	char endpoints[256];

	fake_start(&fake);
	snprintf(endpoints, sizeof(endpoints), "127.0.0.1:1,%s", fake.address);
	struct etcd *etcd = open_sharing(endpoints, 2000, &failing);
	ck_assert_int_eq(get(etcd), MC_NOT_FOUND);
	ck_assert_uint_eq(failing, 1);
	etcd_close(etcd);
	fake_end(&fake);
}
END_TEST

static void txn_send(struct etcd *etcd, bool repeatable, struct etcd_waiter *waiter)
{
	struct etcd_txn txn;

	etcd_waiter_init(waiter);
	etcd_txn_begin(&txn);
	etcd_txn_compare_created(&txn, ETCD_TEXT("a"), 5);
	etcd_txn_then(&txn);
	etcd_txn_put(&txn, ETCD_TEXT("a"), ETCD_TEXT("1"), 9);
	etcd_txn_delete(&txn, ETCD_TEXT("b"));
	etcd_txn_else(&txn);
	etcd_txn_get(&txn, ETCD_TEXT("a"));
	etcd_txn_send(etcd, &txn, repeatable, 0, etcd_waiter_done, waiter);
}

START_TEST(a_transaction_that_may_have_happened_is_repeated_only_if_it_may_be)
{
	/* The first answer breaks off: it is unknown whether anything happened. */
	struct fake fake = {
		.answers = {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9", OK_EMPTY}};
	struct etcd_waiter waiter;
	bool repeatable = _i;

	fake_start(&fake);
	struct etcd *etcd = open_to(fake.address, 1000);
	txn_send(etcd, repeatable, &waiter);
	struct etcd_reply *reply = etcd_waiter_wait(&waiter);
	ck_assert_int_eq(reply->status, repeatable ? MC_OK : MC_TIMEOUT);
	ck_assert_int_eq(fake.requests, repeatable ? 2 : 1);
	ck_assert_ptr_nonnull(strstr(fake.heard[0], "POST /v3/kv/txn HTTP/1.1\r\n"));
	ck_assert_str_eq(
		strstr(fake.heard[0], "\r\n\r\n") + 4,
		"{\"compare\":[{\"key\":\"YQ==\",\"result\":\"EQUAL\",\"target\":\"CREATE\","
		"\"create_revision\":\"5\"}],"
		"\"success\":[{\"request_put\":{\"key\":\"YQ==\",\"value\":\"MQ==\","
		"\"lease\":\"9\"}},{\"request_delete_range\":{\"key\":\"Yg==\"}}],"
		"\"failure\":[{\"request_range\":{\"key\":\"YQ==\"}}]}");
	etcd_reply_free(reply);
	etcd_close(etcd);
	fake_end(&fake);
}
END_TEST

START_TEST(too_many_operations_are_not_sent)
{
	struct etcd *etcd = open_to("127.0.0.1:1", 100);
	struct etcd_waiter waiter;
	struct etcd_txn txn;

	etcd_waiter_init(&waiter);
	etcd_txn_begin(&txn);
	etcd_txn_then(&txn);
	for (unsigned i = 0; i <= ETCD_OPERATION_MAX; i++)
		etcd_txn_get(&txn, ETCD_TEXT("a"));
	etcd_txn_send(etcd, &txn, true, 0, etcd_waiter_done, &waiter);
	struct etcd_reply *reply = etcd_waiter_wait(&waiter);
	ck_assert_int_eq(reply->status, MC_TOO_BIG);
	etcd_reply_free(reply);
	etcd_close(etcd);
}
END_TEST

#define TOKEN_1 "200 {\"token\":\"T1\"}"
#define TOKEN_2 "200 {\"token\":\"T2\"}"
#define NO_TOKEN                                                                                   \
	"401 "                                                                                     \
	"{\"error\":\"etcdserver: invalid auth token\",\"code\":16   }"

static struct etcd *open_as(const char *endpoints, const char *user, const char *password)
{
	struct etcd_config config = {
		.endpoints = endpoints, .user = user, .password = password, .timeout_ms = 1000};
	struct etcd *etcd = NULL;

	ck_assert_int_eq(etcd_open(&config, &etcd), MC_OK);
	return etcd;
}

START_TEST(a_refused_token_is_renewed)
{
	struct fake fake = {.answers = {TOKEN_1, NO_TOKEN, TOKEN_2, OK_EMPTY}};

	fake_start(&fake);
	struct etcd *etcd = open_as(fake.address, "me", "secret");
	ck_assert_int_eq(get(etcd), MC_NOT_FOUND);
	ck_assert_int_eq(fake.requests, 4);
	ck_assert_ptr_nonnull(strstr(fake.heard[0], "{\"name\":\"me\",\"password\":\"secret\"}"));
	ck_assert_ptr_nonnull(strstr(fake.heard[1], "\r\nAuthorization: T1\r\n"));
	ck_assert_ptr_nonnull(strstr(fake.heard[3], "\r\nAuthorization: T2\r\n"));
	etcd_close(etcd);
	fake_end(&fake);
}
END_TEST

START_TEST(a_token_refused_again_and_again_is_no_access)
{
	struct fake fake = {.answers = {TOKEN_1, NO_TOKEN, TOKEN_2, NO_TOKEN}};

	fake_start(&fake);
	struct etcd *etcd = open_as(fake.address, "me", "secret");
	ck_assert_int_eq(get(etcd), MC_ACCESS);
	etcd_close(etcd);
	fake_end(&fake);
}
END_TEST

static const char *const bad_endpoints[] = {
	"",	   ",",		"host",	    "host:",	"host:0",     "host:65536",
	"host:1x", "http://",	"host:1,",  ",host:1",	"host:1/a",   "user@host:1",
	"ho st:1", "ftp://h:1", "host:1#a", "host:1?a", "http://:1/x"};

START_TEST(endpoints_that_are_none_are_refused)
{
	struct etcd_config config = {.endpoints = bad_endpoints[_i]};
	struct etcd *etcd = NULL;

	log_open("/dev/null");
	ck_assert_int_eq(etcd_open(&config, &etcd), MC_INVALID);
}
END_TEST

START_TEST(close_cancels_what_waits)
{
	struct fake fake = {.answers = {""}};
	struct etcd_range range = {.key = ETCD_TEXT("k")};
	struct etcd_waiter waiters[20];

	fake_start(&fake);
	struct etcd *etcd = open_to(fake.address, 60000);
	for (int i = 0; i < 20; i++) {
		etcd_waiter_init(&waiters[i]);
		etcd_range(etcd, &range, 0, etcd_waiter_done, &waiters[i]);
	}
	usleep(50000);
	etcd_close(etcd);
	for (int i = 0; i < 20; i++) {
		struct etcd_reply *reply = etcd_waiter_wait(&waiters[i]);
		ck_assert_int_eq(reply->status, MC_CANCELLED);
		etcd_reply_free(reply);
	}
	fake_end(&fake);
}
END_TEST

START_TEST(a_follower_lives_through_garbage)
{
	struct fake fake = {
		.answers = {
			OK_EMPTY, "HTTP/1.1 200 OK\r\n\r\n{\"result\":[]}\nnonsense\n",
			"HTTP/1.1 200 OK\r\n\r\n{\"result\":{\"header\":{\"cluster_id\":\"x\"}}}\n",
			"HTTP/1.1 200 OK\r\n\r\n{\"result\":{" HEADER ",\"events\":[5]}}\n",
			"HTTP/1.1 200 OK\r\n\r\n"}};
	static const struct etcd_follow_events none = {0};
	struct etcd_config config = {.timeout_ms = 300};
	struct etcd_follower *follower = NULL;

	fake_start(&fake);
	log_open("/dev/null");
	config.endpoints = fake.address;
	ck_assert_int_eq(etcd_follow(&config, ETCD_TEXT("p"), &none, NULL, &follower), MC_OK);
	for (int i = 0; i < 500 && fake.requests < 6; i++)
		usleep(10000);
	ck_assert_int_ge(fake.requests, 6);
	etcd_unfollow(follower);
	fake_end(&fake);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("etcd client");
	TCase *tc = tcase_create("client");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, an_answer_is_what_it_says, 0, ROWS(answers));
	tcase_add_test(tc, half_an_answer_is_none);
	tcase_add_test(tc, where_nobody_listens_nothing_happened);
	tcase_add_test(tc, the_next_endpoint_is_asked);
	tcase_add_test(tc, a_stalled_endpoint_is_left);
	tcase_add_test(tc, what_one_client_found_out_others_that_share_it_need_not);
	tcase_add_test(tc, where_all_failed_they_are_asked_all_the_same);
	tcase_add_loop_test(tc, a_transaction_that_may_have_happened_is_repeated_only_if_it_may_be,
			    0, 2);
	tcase_add_test(tc, too_many_operations_are_not_sent);
	tcase_add_test(tc, a_refused_token_is_renewed);
	tcase_add_test(tc, a_token_refused_again_and_again_is_no_access);
	tcase_add_loop_test(tc, endpoints_that_are_none_are_refused, 0, ROWS(bad_endpoints));
	tcase_add_test(tc, close_cancels_what_waits);
	tcase_add_test(tc, a_follower_lives_through_garbage);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
