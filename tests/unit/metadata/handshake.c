/* Frames that no honest peer sends, and peers that are slow, to a listener. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "engine/base/buffer.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/metadata/handshake.h"
#include "tests/support/scarcity.h"
#include "tests/support/suite.h"

static struct handshake *handshake;
static char asked[64];
static enum handshake_type asked_type;

static enum mc_status answer(void *context, enum handshake_type type, const char *request,
			     size_t size, char **reply)
{
	(void)context;
	ck_assert_uint_eq(strlen(request), size);
	size_t kept = size < sizeof(asked) ? size : sizeof(asked) - 1;
	memcpy(asked, request, kept);
	asked[kept] = '\0';
	asked_type = type;
	if (strcmp(request, "{\"none\":1}") == 0)
		return MC_NOT_FOUND;
	*reply = strdup("{\"name\":\"me\"}");
	return MC_OK;
}

static void setup(void)
{
	struct handshake_config config = {.listen_host = "127.0.0.1", .answer = answer};

	log_set_level("error");
	ck_assert_int_eq(handshake_open(&config, &handshake), MC_OK);
	ck_assert_int_eq(handshake_start(handshake), MC_OK);
}

static void teardown(void)
{
	handshake_close(handshake);
}

static int connect_to_it(void)
{
	struct net_address address;
	struct timeval timeout = {.tv_sec = 5};
	int fd;

	ck_assert_int_eq(net_parse(handshake_address(handshake), &address), MC_OK);
	ck_assert_int_eq(net_connect(&address, 1000, &fd), MC_OK);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	return fd;
}

/* What comes back until the end. */
static size_t talk(const void *bytes, size_t size, uint8_t *reply, size_t reply_size)
{
	CLEANUP_FD int fd = connect_to_it();
	size_t got = 0;
	ssize_t n = 0;

	if (size)
		ck_assert_int_eq(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
	while (got < reply_size && (n = recv(fd, reply + got, reply_size - got, 0)) > 0)
		got += (size_t)n;
	return got;
}

START_TEST(a_question_is_answered_byte_for_byte)
{
	static const uint8_t request[] = "\x03\0\0\0\0\0\0\0\x01{}";
	static const uint8_t wanted[] = "\x0e\0\0\0\0\0\0\0\x01{\"name\":\"me\"}";
	uint8_t reply[100];

	ck_assert_uint_eq(talk(request, sizeof(request) - 1, reply, sizeof(reply)),
			  sizeof(wanted) - 1);
	ck_assert_mem_eq(reply, wanted, sizeof(wanted) - 1);
	ck_assert_str_eq(asked, "{}");
	ck_assert_int_eq(asked_type, HANDSHAKE_METADATA);
}
END_TEST

START_TEST(a_frame_without_a_type_asks_to_connect)
{
	static const uint8_t request[] = "\x02\0\0\0\0\0\0\0{}";
	uint8_t reply[100];

	ck_assert_uint_gt(talk(request, sizeof(request) - 1, reply, sizeof(reply)), 8);
	ck_assert_uint_eq(reply[8], HANDSHAKE_CONNECTION);
	ck_assert_str_eq(asked, "{}");
	ck_assert_int_eq(asked_type, HANDSHAKE_CONNECTION);
}
END_TEST

START_TEST(a_notification_is_a_type_of_its_own)
{
	static const uint8_t request[] = "\x03\0\0\0\0\0\0\0\x02{}";
	static const uint8_t wanted[] = "\x0e\0\0\0\0\0\0\0\x02{\"name\":\"me\"}";
	uint8_t reply[100];

	ck_assert_uint_eq(talk(request, sizeof(request) - 1, reply, sizeof(reply)),
			  sizeof(wanted) - 1);
	ck_assert_mem_eq(reply, wanted, sizeof(wanted) - 1);
	ck_assert_str_eq(asked, "{}");
	ck_assert_int_eq(asked_type, HANDSHAKE_NOTIFY);
}
END_TEST

static void ask_well(void)
{
	CLEANUP_FREE char *reply = NULL;
	const char *address = handshake_address(handshake);

	ck_assert_int_eq(handshake_ask(address, HANDSHAKE_METADATA, "{\"x\":1}", 1000, &reply),
			 MC_OK);
	ck_assert_str_eq(reply, "{\"name\":\"me\"}");
	ck_assert_str_eq(asked, "{\"x\":1}");
}

START_TEST(one_asks_and_the_other_answers)
{
	ask_well();
}
END_TEST

START_TEST(who_is_out_of_descriptors_waits_and_takes_who_waited)
{
	static const uint8_t request[] = "\x03\0\0\0\0\0\0\0\x01{}";
	CLEANUP_FD int log = catch_log();
	rlim_t before = leave_one_descriptor();
	CLEANUP_FD int fd = connect_to_it();
	char byte;

	assert_waits_for_descriptors(log);
	allow_descriptors(before);
	ck_assert_int_eq(send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL),
			 (ssize_t)sizeof(request) - 1);
	ck_assert_int_eq(recv(fd, &byte, 1, 0), 1);
	ask_well();
}
END_TEST

START_TEST(who_has_no_answer_says_nothing)
{
	char *reply = NULL;

	ck_assert_int_eq(handshake_ask(handshake_address(handshake), HANDSHAKE_METADATA,
				       "{\"none\":1}", 1000, &reply),
			 MC_NOT_FOUND);
	ck_assert_ptr_null(reply);
}
END_TEST

START_TEST(bad_frames_end_their_connection)
{
	static const struct {
		const char *bytes;
		size_t size;
	} frames[] = {
		{"\0\0\0\0\0\0\0\0", 8},
		{"\x01\0\x10\0\0\0\0\0", 8}, /* a byte more than there may be */
		{"\xff\xff\xff\xff\xff\xff\xff\xff", 8},
		{"\0\0\0\0\0\0\0\x80", 8},
		{"GET / HTTP/1.1\r\n\r\n", 18},
	};
	uint8_t reply[16];

	ck_assert_uint_eq(talk(frames[_i].bytes, frames[_i].size, reply, sizeof(reply)), 0);
	ask_well();
}
END_TEST

START_TEST(those_who_say_nothing_keep_nobody_waiting)
{
	int idle[HANDSHAKE_PEER_MAX / 2];

	for (size_t i = 0; i < ARRAY_SIZE(idle); i++) {
		idle[i] = connect_to_it();
		ck_assert_int_eq(send(idle[i], "\x03\0\0", 3, MSG_NOSIGNAL), 3);
	}
	uint64_t before_ns = clock_ns();
	ask_well();
	ck_assert_uint_lt(clock_ns() - before_ns, 500000000);
	for (size_t i = 0; i < ARRAY_SIZE(idle); i++)
		close(idle[i]);
}
END_TEST

START_TEST(random_bytes_are_survived)
{
	unsigned seed = (unsigned)clock_ns();
	uint8_t bytes[64];
	uint8_t reply[64];

	printf("seed %u\n", seed);
	for (int round = 0; round < 300; round++) {
		CLEANUP_FD int fd = connect_to_it();
		size_t size = (size_t)rand_r(&seed) % sizeof(bytes);
		for (size_t i = 0; i < size; i++)
			bytes[i] = (uint8_t)rand_r(&seed);
		/* Lengths that are allowed are the likely ones. */
		if (size > 8)
			memset(bytes + 1, 0, 7);
		ck_assert_int_eq(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
		shutdown(fd, SHUT_WR);
		while (recv(fd, reply, sizeof(reply), 0) > 0)
			continue;
	}
	ask_well();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("metadata/handshake");
	TCase *tcase = tcase_create("handshake");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_question_is_answered_byte_for_byte);
	tcase_add_test(tcase, a_frame_without_a_type_asks_to_connect);
	tcase_add_test(tcase, a_notification_is_a_type_of_its_own);
	tcase_add_test(tcase, one_asks_and_the_other_answers);
	tcase_add_test(tcase, who_has_no_answer_says_nothing);
	tcase_add_test(tcase, who_is_out_of_descriptors_waits_and_takes_who_waited);
	tcase_add_loop_test(tcase, bad_frames_end_their_connection, 0, 5);
	tcase_add_test(tcase, those_who_say_nothing_keep_nobody_waiting);
	tcase_add_test(tcase, random_bytes_are_survived);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
