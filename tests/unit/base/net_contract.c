/*
 * Addresses are read and written alike; sockets listen, connect and fail with
 * the status that the header promises.
 */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/base/cleanup.h"
#include "engine/base/net.h"
#include "tests/support/suite.h"

/* An abstract name that no other test has. */
static void unique_address(struct net_address *address)
{
	char text[NET_TEXT_SIZE] = "@test-";

	net_random_name(text + strlen(text));
	ck_assert_int_eq(net_parse(text, address), MC_OK);
}

static void listener_address(int fd, struct net_address *address)
{
	ck_assert_int_eq(net_bound(fd, address), MC_OK);
}

static const struct {
	const char *text;
	const char *written; /* NULL: as it was read */
	uint16_t port;
	bool any;
} good[] = {
	{"127.0.0.1:50051", NULL, 50051, false}, {"0.0.0.0:0", NULL, 0, true},
	{":80", "0.0.0.0:80", 80, true},	 {"*:65535", "0.0.0.0:65535", 65535, true},
	{"[::1]:80", NULL, 80, false},		 {"[::]:81", NULL, 81, true},
	{"@mooncake-master-1", NULL, 0, false},	 {"@a:b", NULL, 0, false},
};

START_TEST(an_address_is_written_as_it_is_read)
{
	struct net_address address;
	char text[NET_TEXT_SIZE];

	ck_assert_int_eq(net_parse(good[_i].text, &address), MC_OK);
	net_format(&address, text);
	ck_assert_str_eq(text, good[_i].written ? good[_i].written : good[_i].text);
	ck_assert_uint_eq(net_port(&address), good[_i].port);
	ck_assert_int_eq(net_is_any(&address), good[_i].any);
}
END_TEST

static const char *const bad[] = {
	"",
	"localhost",
	"127.0.0.1",
	"127.0.0.1:",
	"127.0.0.1:65536",
	"127.0.0.1:-1",
	"1.2.3.4:x",
	"1.2.3.4:80x",
	"1.2.3.4.5:80",
	"localhost:80",
	"::1:80",
	"[::1:80",
	"[::g]:80",
	"@",
	"1.2.3.4: 80",
	"127.0.0.1:+80",
	"[::1]80:",
};

START_TEST(what_is_no_address_is_invalid)
{
	struct net_address address;

	ck_assert_int_eq(net_parse(bad[_i], &address), MC_INVALID);
}
END_TEST

START_TEST(an_address_longer_than_any_is_invalid)
{
	struct net_address address;
	char text[2000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	text[0] = '@';
	ck_assert_int_eq(net_parse(text, &address), MC_INVALID);
	memcpy(text, "xxxx", 4);
	memcpy(text + sizeof(text) - 4, ":80", 4);
	ck_assert_int_eq(net_resolve(text, &address), MC_INVALID);
}
END_TEST

START_TEST(the_longest_abstract_name_is_written_whole)
{
	struct net_address address;
	char text[NET_TEXT_SIZE], written[NET_TEXT_SIZE];

	memset(text, 'n', sizeof(text));
	text[0] = '@';
	text[108] = '\0';
	ck_assert_int_eq(net_parse(text, &address), MC_OK);
	net_format(&address, written);
	ck_assert_str_eq(written, text);
}
END_TEST

START_TEST(a_name_is_looked_up_only_when_asked)
{
	struct net_address address;

	ck_assert_int_eq(net_resolve("localhost:7", &address), MC_OK);
	ck_assert_uint_eq(net_port(&address), 7);
	ck_assert_int_eq(net_resolve_host("127.0.0.1", 9, &address), MC_OK);
	ck_assert_uint_eq(net_port(&address), 9);
}
END_TEST

/* Send one byte each way between two ends. */
static void exchange(int one, int other)
{
	char byte = 0;

	ck_assert_int_eq(send(one, "a", 1, 0), 1);
	ck_assert_int_eq(recv(other, &byte, 1, MSG_WAITALL), 1);
	ck_assert_int_eq(byte, 'a');
	ck_assert_int_eq(send(other, "b", 1, 0), 1);
	ck_assert_int_eq(recv(one, &byte, 1, MSG_WAITALL), 1);
	ck_assert_int_eq(byte, 'b');
}

START_TEST(a_listener_is_connected_to)
{
	struct net_address address;
	CLEANUP_FD int listener = -1;
	CLEANUP_FD int client = -1;
	CLEANUP_FD int server = -1;

	if (_i == 0)
		unique_address(&address);
	else
		ck_assert_int_eq(net_parse("127.0.0.1:0", &address), MC_OK);
	ck_assert_int_eq(net_listen(&address, &listener), MC_OK);
	ck_assert_int_eq(net_accept(listener, &server), MC_AGAIN);
	listener_address(listener, &address);
	ck_assert_int_eq(net_connect(&address, 5000, &client), MC_OK);
	ck_assert_int_eq(net_accept(listener, &server), MC_OK);
	ck_assert_int_eq(fcntl(client, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_ne(fcntl(server, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_ne(fcntl(server, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_eq(fcntl(server, F_SETFL, 0), 0);
	exchange(client, server);
	ck_assert_int_eq(net_peer_trusted(server), _i == 0);
}
END_TEST

START_TEST(a_connection_can_be_finished_later)
{
	struct net_address address;
	CLEANUP_FD int listener = -1;
	CLEANUP_FD int client = -1;

	unique_address(&address);
	ck_assert_int_eq(net_listen(&address, &listener), MC_OK);
	ck_assert_int_eq(net_connect_start(&address, &client), MC_OK);
	ck_assert_int_eq(net_connect_finish(client), MC_OK);
}
END_TEST

START_TEST(an_address_in_use_is_busy)
{
	struct net_address address;
	CLEANUP_FD int first = -1;
	int second = -1;

	if (_i == 0)
		unique_address(&address);
	else
		ck_assert_int_eq(net_parse("127.0.0.1:0", &address), MC_OK);
	ck_assert_int_eq(net_listen(&address, &first), MC_OK);
	listener_address(first, &address);
	ck_assert_int_eq(net_listen(&address, &second), MC_BUSY);
	ck_assert_int_eq(second, -1);
}
END_TEST

START_TEST(nobody_there_is_unreachable)
{
	struct net_address address;
	int client = -1;

	if (_i == 0) {
		unique_address(&address);
	} else {
		/* A port that was free a moment ago. */
		CLEANUP_FD int listener = -1;
		ck_assert_int_eq(net_listen_range("127.0.0.1", 0, 0, &listener), MC_OK);
		listener_address(listener, &address);
	}
	ck_assert_int_eq(net_connect(&address, 5000, &client), MC_UNREACHABLE);
	ck_assert_int_eq(client, -1);
}
END_TEST

START_TEST(a_foreign_address_cannot_be_listened_on)
{
	struct net_address address;
	int fd = -1;

	ck_assert_int_eq(net_parse("192.0.2.1:0", &address), MC_OK);
	ck_assert_int_eq(net_listen(&address, &fd), MC_INVALID);
}
END_TEST

START_TEST(a_range_gives_each_of_its_ports_once)
{
	enum { PORT_COUNT = 4 };
	struct net_address address;
	int fds[PORT_COUNT + 1];
	uint16_t first = 0;

	/* Find a place where all of the range is free: the kernel's own pick, upwards. */
	for (int tries = 0; tries < 50 && first == 0; tries++) {
		CLEANUP_FD int probe = -1;
		ck_assert_int_eq(net_listen_range("127.0.0.1", 0, 0, &probe), MC_OK);
		listener_address(probe, &address);
		first = net_port(&address) < UINT16_MAX - PORT_COUNT ? net_port(&address) : 0;
	}
	int made = 0;
	while (made <= PORT_COUNT &&
	       net_listen_range("127.0.0.1", first, (uint16_t)(first + PORT_COUNT - 1),
				&fds[made]) == MC_OK) {
		listener_address(fds[made++], &address);
		ck_assert_uint_ge(net_port(&address), first);
		ck_assert_uint_lt(net_port(&address), (uint32_t)first + PORT_COUNT);
	}
	/* Others on this machine may hold some of them, none is given twice. */
	ck_assert_int_ge(made, 1);
	ck_assert_int_le(made, PORT_COUNT);
	for (int i = 0; i < made; i++)
		close(fds[i]);
}
END_TEST

START_TEST(a_range_that_runs_backwards_is_invalid)
{
	int fd = -1;

	ck_assert_int_eq(net_listen_range("127.0.0.1", 9001, 9000, &fd), MC_INVALID);
	ck_assert_int_eq(net_listen_range("127.0.0.1", 0, 9000, &fd), MC_INVALID);
}
END_TEST

START_TEST(a_host_that_was_named_is_announced)
{
	char host[NET_HOST_SIZE];

	net_announce_host("127.0.0.7", host);
	ck_assert_str_eq(host, "127.0.0.7");
	net_announce_host("0.0.0.0", host);
	ck_assert_str_ne(host, "0.0.0.0");
	ck_assert_str_ne(host, "");
}
END_TEST

START_TEST(a_host_has_one_id)
{
	char first[NET_HOST_SIZE], second[NET_HOST_SIZE];

	ck_assert_int_eq(net_host_id(first), MC_OK);
	ck_assert_int_eq(net_host_id(second), MC_OK);
	ck_assert_str_eq(first, second);
	ck_assert_uint_gt(strlen(first), 36);
}
END_TEST

START_TEST(random_names_differ)
{
	char first[NET_NAME_SIZE], second[NET_NAME_SIZE];

	net_random_name(first);
	net_random_name(second);
	ck_assert_uint_eq(strspn(first, "0123456789abcdef"), NET_NAME_SIZE - 1);
	ck_assert_str_ne(first, second);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base/net_contract");
	TCase *address = tcase_create("address");
	TCase *socket_case = tcase_create("socket");

	tcase_add_loop_test(address, an_address_is_written_as_it_is_read, 0, ARRAY_SIZE(good));
	tcase_add_loop_test(address, what_is_no_address_is_invalid, 0, ARRAY_SIZE(bad));
	tcase_add_test(address, an_address_longer_than_any_is_invalid);
	tcase_add_test(address, the_longest_abstract_name_is_written_whole);
	tcase_add_test(address, a_name_is_looked_up_only_when_asked);
	tcase_add_test(address, a_host_that_was_named_is_announced);
	tcase_add_test(address, a_host_has_one_id);
	tcase_add_test(address, random_names_differ);
	tcase_add_loop_test(socket_case, a_listener_is_connected_to, 0, 2);
	tcase_add_test(socket_case, a_connection_can_be_finished_later);
	tcase_add_loop_test(socket_case, an_address_in_use_is_busy, 0, 2);
	tcase_add_loop_test(socket_case, nobody_there_is_unreachable, 0, 2);
	tcase_add_test(socket_case, a_foreign_address_cannot_be_listened_on);
	tcase_add_test(socket_case, a_range_gives_each_of_its_ports_once);
	tcase_add_test(socket_case, a_range_that_runs_backwards_is_invalid);
	suite_add_tcase(suite, address);
	suite_add_tcase(suite, socket_case);
	return suite_run(suite);
}
