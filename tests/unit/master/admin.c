/* HTTP requests beside frames: the sanitizers watch what the threads share. */
#include "master/admin.h"

#include <check.h>
#include <mooncake/master.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/net.h"
#include "tests/support/suite.h"
#include "tests/unit/master/raw.h"

#define THREAD_COUNT 6
#define ROUND_COUNT  20

static struct mc_master *master;
static _Atomic bool stopping;

static struct mc_master_config config = {
	.listen = "127.0.0.1:0", .journal = "memory", .fresh = true, .http = "auto"};

static void setup(void)
{
	log_set_level("error");
	stopping = false;
	ck_assert_int_eq(mc_master_start(&config, &master), MC_OK);
}

static void teardown(void)
{
	mc_master_stop(master);
}

/* The code of one request on a connection of its own; 0: there was no answer. */
static int ask(const char *address, const char *method, const char *path, char *reply, size_t size)
{
	struct timeval timeout = {.tv_sec = 10};
	struct net_address peer;
	char request[512];
	CLEANUP_FD int fd = -1;
	size_t got = 0;
	ssize_t n;
	int code = 0;

	ck_assert_int_eq(net_parse(address, &peer), MC_OK);
	if (net_connect(&peer, 5000, &fd) != MC_OK)
		return 0;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	int length =
		snprintf(request, sizeof(request),
			 "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, path);
	if (send(fd, request, (size_t)length, MSG_NOSIGNAL) != length)
		return 0;
	while (got < size - 1 && (n = recv(fd, reply + got, size - 1 - got, 0)) > 0)
		got += (size_t)n;
	reply[got] = '\0';
	return sscanf(reply, "HTTP/1.1 %d ", &code) == 1 ? code : 0;
}

START_TEST(every_path_answers_as_it_should)
{
	static const struct {
		const char *method, *path;
		int code;
		const char *text;
	} rows[] = {
		{"GET", "/health", 200, "{\"status\":\"ok\""},
		{"GET", "/metrics", 200, "mooncake_master_objects 0\n"},
		{"GET", "/api/leader", 200, "\"epoch\":1"},
		{"GET", "/api/nodes", 200, "{\"nodes\":[]}"},
		{"GET", "/api/objects", 200, "{\"objects\":[]}"},
		{"GET", "/api/objects?limit=0", 400, "limit must be a number from 1 on"},
		{"GET", "/api/objects?cursor=x", 400, "makes no sense"},
		{"GET", "/metadata?key=a", 404, "metadata not found"},
		{"DELETE", "/metadata?key=a", 200, "metadata deleted"},
		{"GET", "/metadata", 400, "key is missing"},
		{"POST", "/metadata?key=a", 405, ""},
		{"PUT", "/health", 405, ""},
		{"BREW", "/health", 405, ""},
		{"GET", "/", 404, ""},
		{"GET", "/healthy", 404, ""},
	};
	static char reply[65536];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		ck_assert_int_eq(ask(mc_master_http(master), rows[i].method, rows[i].path, reply,
				     sizeof(reply)),
				 rows[i].code);
		ck_assert_msg(strstr(reply, rows[i].text) != NULL, "%s: %s", rows[i].path, reply);
	}
}
END_TEST

static const char *const paths[] = {"/health",	     "/metrics",     "/api/leader",
				    "/api/nodes",    "/api/objects", "/metadata?key=a",
				    "/metadata?key="};

static void *ask_all(void *context)
{
	const char *address = context;
	char *reply = malloc(65536);

	ck_assert_ptr_nonnull(reply);
	for (int i = 0; i < ROUND_COUNT || stopping; i++) {
		int code = ask(address, "GET", paths[(size_t)i % ARRAY_SIZE(paths)], reply, 65536);
		if (stopping && code == 0)
			break;
		ck_assert(code == 200 || code == 404 || code == 400 || (stopping && code == 503));
	}
	free(reply);
	return NULL;
}

START_TEST(many_ask_while_nodes_work)
{
	pthread_t threads[THREAD_COUNT];
	struct raw raw;

	for (size_t i = 0; i < THREAD_COUNT; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, ask_all, (void *)mc_master_http(master)),
			0);
	for (int i = 0; i < 50; i++) {
		raw_connect(&raw, mc_master_address(master));
		raw_hello(&raw, MC_ROLE_NODE, "n", (uint8_t)i);
		raw_close(&raw);
	}
	for (size_t i = 0; i < THREAD_COUNT; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

START_TEST(a_master_stops_while_it_is_asked)
{
	pthread_t threads[THREAD_COUNT];
	char address[NET_TEXT_SIZE];

	snprintf(address, sizeof(address), "%s", mc_master_http(master));
	stopping = true;
	for (size_t i = 0; i < THREAD_COUNT; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_all, address), 0);
	usleep(50000);
	mc_master_stop(master);
	for (size_t i = 0; i < THREAD_COUNT; i++)
		pthread_join(threads[i], NULL);
	stopping = false;
	ck_assert_int_eq(mc_master_start(&config, &master), MC_OK);
}
END_TEST

START_TEST(without_http_there_is_none)
{
	struct mc_master_config quiet = config;
	struct mc_master *other;

	quiet.http = NULL;
	ck_assert_int_eq(mc_master_start(&quiet, &other), MC_OK);
	ck_assert_str_eq(mc_master_http(other), "");
	mc_master_stop(other);
}
END_TEST

START_TEST(an_address_that_is_taken_is_said_to_be_so)
{
	struct mc_master_config same = config;
	struct mc_master *other = NULL;

	same.http = mc_master_http(master);
	log_open("/dev/null");
	ck_assert_int_eq(mc_master_start(&same, &other), MC_BUSY);
	ck_assert_ptr_null(other);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("master/admin");
	TCase *tcase = tcase_create("admin");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, every_path_answers_as_it_should);
	tcase_add_test(tcase, many_ask_while_nodes_work);
	tcase_add_test(tcase, a_master_stops_while_it_is_asked);
	tcase_add_test(tcase, without_http_there_is_none);
	tcase_add_test(tcase, an_address_that_is_taken_is_said_to_be_so);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
