/* Stores that can't be reached, are slow, or answer nonsense. */
#include <arpa/inet.h>
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/metadata/metadata.h"
#include "tests/support/suite.h"

static int listener = -1;
static uint16_t port;

/* What the server says to whoever connects, before it closes; NULL: nothing, ever. */
struct saying {
	const char *answer;
	enum mc_status get;
	enum mc_status put;
};

static const struct saying sayings[] = {
	{"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n", MC_IO, MC_IO},
	{"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", MC_ACCESS, MC_ACCESS},
	{"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", MC_NOT_FOUND, MC_IO},
	{"HTTP/1.1 301 Moved\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n", MC_IO,
	 MC_IO},
	{"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", MC_IO, MC_IO},
	{"HTTP/1.1 507 Full\r\nContent-Length: 0\r\n\r\n", MC_NO_SPACE, MC_NO_SPACE},
	{"garbage\r\n\r\n", MC_IO, MC_IO},
	{"", MC_IO, MC_IO},
	{NULL, MC_TIMEOUT, MC_TIMEOUT},
};

static void listen_somewhere(void)
{
	struct net_address address;

	log_set_level("error");
	ck_assert_int_eq(net_parse("127.0.0.1:0", &address), MC_OK);
	ck_assert_int_eq(net_listen(&address, &listener), MC_OK);
	ck_assert_int_eq(net_bound(listener, &address), MC_OK);
	port = net_port(&address);
}

static void close_listener(void)
{
	close(listener);
}

static void *answer_one(void *context)
{
	const char *answer = context;
	char request[4096];

	int fd = -1;
	while (net_accept(listener, &fd) != MC_OK)
		usleep(1000);
	usleep(20000);
	ck_assert_int_gt(recv(fd, request, sizeof(request), 0), 0);
	ck_assert_int_ge(send(fd, answer, strlen(answer), MSG_NOSIGNAL), 0);
	close(fd);
	return NULL;
}

static struct metadata *open_http(uint32_t timeout_ms)
{
	char url[64];
	struct metadata *metadata = NULL;

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/metadata", port);
	struct metadata_config config = {.url = url, .timeout_ms = timeout_ms};
	ck_assert_int_eq(metadata_open(&config, &metadata), MC_OK);
	return metadata;
}

static void with_answer(const char *answer, pthread_t *thread)
{
	if (answer)
		ck_assert_int_eq(pthread_create(thread, NULL, answer_one, (void *)answer), 0);
}

START_TEST(every_answer_of_a_server_has_its_status)
{
	const struct saying *saying = &sayings[_i];
	struct metadata *metadata = open_http(saying->answer ? 3000 : 200);
	char *text = NULL;
	pthread_t thread = 0;

	with_answer(saying->answer, &thread);
	uint64_t before_ns = clock_ns();
	ck_assert_int_eq(metadata_get(metadata, "k", &text), saying->get);
	ck_assert_ptr_null(text);
	ck_assert_uint_lt(clock_ns() - before_ns, 2500000000);
	if (saying->answer)
		pthread_join(thread, NULL);
	with_answer(saying->answer, &thread);
	ck_assert_int_eq(metadata_put(metadata, "k", "x"), saying->put);
	if (saying->answer)
		pthread_join(thread, NULL);
	metadata_close(metadata);
}
END_TEST

START_TEST(an_answer_without_end_is_cut)
{
	struct metadata *metadata = open_http(3000);
	size_t size = METADATA_VALUE_SIZE_MAX + 100000u;
	CLEANUP_FREE char *answer = malloc(size + 1);
	char *text = NULL;
	pthread_t thread = 0;

	int head = sprintf(answer, "HTTP/1.1 200 OK\r\n\r\n");
	memset(answer + head, 'x', size - (size_t)head);
	answer[size] = '\0';
	with_answer(answer, &thread);
	ck_assert_int_eq(metadata_get(metadata, "k", &text), MC_TOO_BIG);
	ck_assert_ptr_null(text);
	pthread_join(thread, NULL);
	metadata_close(metadata);
}
END_TEST

START_TEST(nobody_at_the_address_is_unreachable)
{
	struct metadata *metadata = open_http(1000);
	struct metadata *peer = NULL;
	struct metadata_config config = {.url = "P2PHANDSHAKE", .listen_host = "127.0.0.1"};
	char key[64];
	char *text;

	close(listener);
	listener = -1;
	ck_assert_int_eq(metadata_get(metadata, "k", &text), MC_UNREACHABLE);
	ck_assert_int_eq(metadata_put(metadata, "k", "x"), MC_UNREACHABLE);
	ck_assert_int_eq(metadata_remove(metadata, "k"), MC_UNREACHABLE);
	metadata_close(metadata);
	ck_assert_int_eq(metadata_open(&config, &peer), MC_OK);
	snprintf(key, sizeof(key), "mooncake/ram/127.0.0.1:%u", port);
	ck_assert_int_eq(metadata_get(peer, key, &text), MC_UNREACHABLE);
	metadata_close(peer);
}
END_TEST

START_TEST(a_peer_that_says_nothing_is_a_timeout)
{
	struct metadata_config config = {
		.url = "P2PHANDSHAKE", .listen_host = "127.0.0.1", .timeout_ms = 200};
	struct metadata *peer = NULL;
	char key[64];
	char *text;

	ck_assert_int_eq(metadata_open(&config, &peer), MC_OK);
	snprintf(key, sizeof(key), "mooncake/ram/127.0.0.1:%u", port);
	uint64_t before_ns = clock_ns();
	ck_assert_int_eq(metadata_get(peer, key, &text), MC_TIMEOUT);
	ck_assert_uint_lt(clock_ns() - before_ns, 2000000000);
	metadata_close(peer);
}
END_TEST

START_TEST(a_url_of_no_store_is_refused)
{
	static const char *const urls[] = {"",	   "redis://x", "ftp://x", "file:///etc",
					   "HTTP", "p2p"};
	struct metadata *metadata = NULL;
	struct metadata_config config = {.url = urls[_i]};

	ck_assert_int_eq(metadata_open(&config, &metadata), MC_NOT_SUPPORTED);
	ck_assert_ptr_null(metadata);
}
END_TEST

START_TEST(the_address_of_a_peer_is_its_name)
{
	struct metadata_config config = {.url = "P2PHANDSHAKE", .listen_host = "127.0.0.1"};
	struct metadata *metadata = NULL;
	char *text;

	ck_assert_int_eq(metadata_open(&config, &metadata), MC_OK);
	ck_assert_int_eq(metadata_get(metadata, "mooncake/rpc_meta/10.0.0.1:15001", &text), MC_OK);
	ck_assert_str_eq(text, "{\"ip_or_host_name\":\"10.0.0.1\",\"rpc_port\":15001}\n");
	free(text);
	ck_assert_int_eq(metadata_get(metadata, "mooncake/rpc_meta/[::1]:15001", &text), MC_OK);
	ck_assert_str_eq(text, "{\"ip_or_host_name\":\"::1\",\"rpc_port\":15001}\n");
	free(text);
	ck_assert_int_eq(metadata_get(metadata, "mooncake/rpc_meta/x:0", &text), MC_NOT_FOUND);
	ck_assert_int_eq(metadata_get(metadata, "mooncake/rpc_meta/x:65536", &text), MC_NOT_FOUND);
	metadata_close(metadata);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("metadata/trouble");
	TCase *tcase = tcase_create("trouble");

	tcase_add_checked_fixture(tcase, listen_somewhere, close_listener);
	tcase_add_loop_test(tcase, every_answer_of_a_server_has_its_status, 0,
			    (int)ARRAY_SIZE(sayings));
	tcase_add_test(tcase, an_answer_without_end_is_cut);
	tcase_add_test(tcase, nobody_at_the_address_is_unreachable);
	tcase_add_test(tcase, a_peer_that_says_nothing_is_a_timeout);
	tcase_add_loop_test(tcase, a_url_of_no_store_is_refused, 0, 6);
	tcase_add_test(tcase, the_address_of_a_peer_is_its_name);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
