/* The HTTP server in trouble: a process without descriptors. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/base/cleanup.h"
#include "engine/base/net.h"
#include "engine/http/http.h"
#include "tests/support/scarcity.h"
#include "tests/support/suite.h"

static struct http *http;

static void handle(void *context, struct http_request *request)
{
	(void)context;
	http_reply_text(request, 200, "heard");
}

static void setup(void)
{
	struct http_config config = {.listen = "127.0.0.1:0", .handle = handle};

	ck_assert_int_eq(http_open(&config, &http), MC_OK);
}

static void teardown(void)
{
	http_close(http);
}

static int connect_to_it(void)
{
	struct net_address address;
	int fd;

	ck_assert_int_eq(net_parse(http_address(http), &address), MC_OK);
	ck_assert_int_eq(net_connect(&address, 1000, &fd), MC_OK);
	return fd;
}

/* Ask, and read to the end. */
static void assert_answers(int fd)
{
	static const char question[] = "GET / HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n";
	char answer[1024] = "";
	size_t size = 0;
	ssize_t got;

	ck_assert_int_eq(send(fd, question, strlen(question), MSG_NOSIGNAL),
			 (ssize_t)strlen(question));
	while ((got = recv(fd, answer + size, sizeof(answer) - 1 - size, 0)) > 0)
		size += (size_t)got;
	ck_assert_ptr_nonnull(strstr(answer, " 200 "));
	ck_assert_ptr_nonnull(strstr(answer, "heard"));
}

/* With nobody connected nothing would end and give a descriptor back. */
START_TEST(who_is_out_of_descriptors_waits_and_takes_who_waited)
{
	CLEANUP_FD int log = catch_log();
	rlim_t before = leave_one_descriptor();
	CLEANUP_FD int fd = connect_to_it();

	assert_waits_for_descriptors(log);
	allow_descriptors(before);
	assert_answers(fd);
	CLEANUP_FD int next = connect_to_it();
	assert_answers(next);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("http/server");
	TCase *tcase = tcase_create("trouble");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, who_is_out_of_descriptors_waits_and_takes_who_waited);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
