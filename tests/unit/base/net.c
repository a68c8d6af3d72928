/* Addresses, listeners and connections. */
#include <check.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/net.h"
#include "tests/support/suite.h"

START_TEST(an_address_is_written_as_it_was_read)
{
	static const char *const texts[] = {"127.0.0.1:80", "0.0.0.0:0", "[::1]:65535",
					    "[fe80::1:2]:1", "@name"};
	struct net_address address;
	char text[NET_TEXT_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		ck_assert_int_eq(net_parse(texts[i], &address), MC_OK);
		net_format(&address, text);
		ck_assert_str_eq(text, texts[i]);
	}
	ck_assert_int_eq(net_parse("*:7", &address), MC_OK);
	ck_assert(net_is_any(&address));
	ck_assert_uint_eq(net_port(&address), 7);
}
END_TEST

START_TEST(what_is_no_address_is_invalid)
{
	static const char *const texts[] = {"",
					    "1",
					    ":",
					    "1.2.3.4",
					    "1.2.3.4:",
					    "a:b",
					    "::1:80",
					    "[::1]",
					    "[::1:80",
					    "[]:80x",
					    "1.2.3.4:65536",
					    "1.2.3.4:-1",
					    "1.2.3.4: 1",
					    "host.invalid:80",
					    "@"};
	struct net_address address;
	char long_name[300];

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		ck_assert_int_eq(net_parse(texts[i], &address), MC_INVALID);
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	ck_assert_int_eq(net_parse(long_name, &address), MC_INVALID);
	long_name[0] = '@';
	ck_assert_int_eq(net_parse(long_name, &address), MC_INVALID);
}
END_TEST

static void assert_congestion(const char *wanted)
{
	CLEANUP_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char name[32] = "";
	socklen_t size = sizeof(name) - 1;

	ck_assert_int_ge(fd, 0);
	net_tune(fd);
	ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size), 0);
	if (wanted)
		ck_assert_str_eq(name, wanted);
	else
		ck_assert(strncmp(name, "bbr", 3) != 0);
}

/* Every kernel has reno, for every user; cubic is there too where there is bbr. */
START_TEST(the_congestion_control_is_not_bbr_unless_it_is_asked_for)
{
	unsetenv("MC_TCP_CONGESTION");
	if (geteuid() == 0)
		assert_congestion(NULL);
	setenv("MC_TCP_CONGESTION", "reno", 1);
	assert_congestion("reno");
	unsetenv("MC_TCP_CONGESTION");
}
END_TEST

START_TEST(a_name_is_looked_up_where_waiting_is_allowed)
{
	struct net_address address;

	ck_assert_int_eq(net_parse("localhost:80", &address), MC_INVALID);
	ck_assert_int_eq(net_resolve("localhost:80", &address), MC_OK);
	ck_assert_uint_eq(net_port(&address), 80);
}
END_TEST

static void check_connects(const char *text)
{
	struct net_address address;
	int listen_fd, near, far;
	char byte = 0;

	ck_assert_int_eq(net_parse(text, &address), MC_OK);
	ck_assert_int_eq(net_listen(&address, &listen_fd), MC_OK);
	ck_assert_int_eq(net_bound(listen_fd, &address), MC_OK);
	ck_assert_int_eq(net_accept(listen_fd, &far), MC_AGAIN);
	ck_assert_int_eq(net_connect(&address, 1000, &near), MC_OK);
	ck_assert_int_eq(net_accept(listen_fd, &far), MC_OK);
	ck_assert_int_eq(write(far, "x", 1), 1);
	ck_assert_int_eq(read(near, &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
	close(near);
	close(far);
	close(listen_fd);
	ck_assert_int_eq(net_connect(&address, 1000, &near), MC_UNREACHABLE);
}

START_TEST(a_listener_is_reached_until_it_closes)
{
	char name[NET_NAME_SIZE], text[NET_TEXT_SIZE];

	check_connects("127.0.0.1:0");
	net_random_name(name);
	snprintf(text, sizeof(text), "@test-%s", name);
	check_connects(text);
	if (access("/proc/net/if_inet6", F_OK) == 0)
		check_connects("[::1]:0");
}
END_TEST

START_TEST(a_port_is_drawn_from_the_range_until_none_is_free)
{
	struct net_address address;
	char host[32]; /* an address of this process alone, whatever else runs here */
	int fds[3], fd;

	snprintf(host, sizeof(host), "127.77.%d.%d", getpid() >> 8 & 255, getpid() & 255);
	ck_assert_int_eq(net_listen_range(host, 42010, 42009, &fd), MC_INVALID);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(net_listen_range(host, 42010, 42012, &fds[i]), MC_OK);
		ck_assert_int_eq(net_bound(fds[i], &address), MC_OK);
		ck_assert_uint_ge(net_port(&address), 42010);
		ck_assert_uint_le(net_port(&address), 42012);
	}
	ck_assert_int_eq(net_listen_range(host, 42010, 42012, &fd), MC_BUSY);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	ck_assert_int_eq(net_listen_range("127.0.0.1", 0, 0, &fd), MC_OK);
	close(fd);
}
END_TEST

START_TEST(a_host_has_an_id_and_an_address_to_announce)
{
	char one[NET_HOST_SIZE], two[NET_HOST_SIZE];

	ck_assert_int_eq(net_host_id(one), MC_OK);
	ck_assert_int_eq(net_host_id(two), MC_OK);
	ck_assert_str_eq(one, two);
	net_announce_host("127.0.0.5", one);
	ck_assert_str_eq(one, "127.0.0.5");
	net_announce_host("0.0.0.0", one);
	ck_assert_str_ne(one, "0.0.0.0");
	ck_assert_str_ne(one, "");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("net");
	TCase *tc = tcase_create("net");

	tcase_add_test(tc, an_address_is_written_as_it_was_read);
	tcase_add_test(tc, what_is_no_address_is_invalid);
	tcase_add_test(tc, the_congestion_control_is_not_bbr_unless_it_is_asked_for);
	tcase_add_test(tc, a_name_is_looked_up_where_waiting_is_allowed);
	tcase_add_test(tc, a_listener_is_reached_until_it_closes);
	tcase_add_test(tc, a_port_is_drawn_from_the_range_until_none_is_free);
	tcase_add_test(tc, a_host_has_an_id_and_an_address_to_announce);
	suite_add_tcase(s, tc);
	return suite_run(s);
}
