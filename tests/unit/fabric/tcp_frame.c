/* The bytes of the TCP fabric, and what is refused of them. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/buffer.h"
#include "engine/base/cleanup.h"
#include "engine/base/crc32c.h"
#include "engine/fabric/fabric.h"
#include "engine/fabric/tcp/frame.h"
#include "tests/support/suite.h"

static const struct tcp_request request = {
	.opcode = FABRIC_WRITE,
	.length = 0x00030201,
	.number = 0x1817161514131211,
	.address = 0x2827262524232221,
	.key = 0x3837363534333231,
};

static const uint8_t request_bytes[TCP_REQUEST_SIZE] = {
	0x01, 0x00, 0x00, 0x00, 0x01, 0x02, 0x03, 0x00, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16,
	0x17, 0x18, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x31, 0x32, 0x33, 0x34,
	0x35, 0x36, 0x37, 0x38, 0x00, 0x00, 0x00, 0x00, 0xde, 0x63, 0x4c, 0x01,
};

static const struct tcp_reply reply = {
	.opcode = FABRIC_READ,
	.status = MC_OK,
	.number = 0x1817161514131211,
	.length = 0x00030201,
};

static const uint8_t reply_bytes[TCP_REPLY_SIZE] = {
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x11, 0x12, 0x13, 0x14,
	0x15, 0x16, 0x17, 0x18, 0x01, 0x02, 0x03, 0x00, 0x0d, 0x65, 0x42, 0x33,
};

START_TEST(frames_have_the_bytes_of_the_specification)
{
	uint8_t bytes[TCP_REQUEST_SIZE];
	struct tcp_request request_read;
	struct tcp_reply reply_read;

	tcp_request_encode(bytes, &request);
	ck_assert_mem_eq(bytes, request_bytes, sizeof(request_bytes));
	ck_assert_int_eq(tcp_request_decode(bytes, &request_read), MC_OK);
	ck_assert_uint_eq(request_read.opcode, request.opcode);
	ck_assert_uint_eq(request_read.length, request.length);
	ck_assert_uint_eq(request_read.number, request.number);
	ck_assert_uint_eq(request_read.address, request.address);
	ck_assert_uint_eq(request_read.key, request.key);
	tcp_reply_encode(bytes, &reply);
	ck_assert_mem_eq(bytes, reply_bytes, sizeof(reply_bytes));
	ck_assert_int_eq(tcp_reply_decode(bytes, &reply_read), MC_OK);
	ck_assert_int_eq(reply_read.status, reply.status);
	ck_assert_uint_eq(reply_read.number, reply.number);
	ck_assert_uint_eq(reply_read.length, reply.length);
}
END_TEST

START_TEST(greetings_have_the_bytes_of_the_specification)
{
	static const uint8_t hello[] = {'M', 'C', 'f', 'a', 'b', 'r', 'i', 'c',
					1,   0,	  3,   0,   0,	 0,   0,   0};
	static const uint8_t welcome[] = {'M', 'C', 'f', 'a', 'b',  'r',  'i',	'c',
					  1,   0,   0,	 0,   0xa1, 0xff, 0xff, 0xff};
	uint8_t bytes[TCP_HELLO_SIZE];
	struct tcp_hello hello_read;
	struct tcp_welcome welcome_read;

	tcp_hello_encode(bytes, &(struct tcp_hello){1, 3});
	ck_assert_mem_eq(bytes, hello, sizeof(hello));
	ck_assert_int_eq(tcp_hello_decode(bytes, &hello_read), MC_OK);
	ck_assert_uint_eq(hello_read.highest, 3);
	tcp_welcome_encode(bytes, &(struct tcp_welcome){1, MC_NOT_SUPPORTED});
	ck_assert_mem_eq(bytes, welcome, sizeof(welcome));
	ck_assert_int_eq(tcp_welcome_decode(bytes, &welcome_read), MC_OK);
	ck_assert_int_eq(welcome_read.status, MC_NOT_SUPPORTED);
}
END_TEST

START_TEST(any_flipped_bit_of_a_head_is_noticed)
{
	uint8_t bytes[TCP_REQUEST_SIZE];
	struct tcp_request request_read;
	struct tcp_reply reply_read;

	for (size_t bit = 0; bit < sizeof(request_bytes) * 8; bit++) {
		memcpy(bytes, request_bytes, sizeof(request_bytes));
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_int_eq(tcp_request_decode(bytes, &request_read), MC_PROTOCOL);
	}
	for (size_t bit = 0; bit < sizeof(reply_bytes) * 8; bit++) {
		memcpy(bytes, reply_bytes, sizeof(reply_bytes));
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_int_eq(tcp_reply_decode(bytes, &reply_read), MC_PROTOCOL);
	}
}
END_TEST

/* With a right checksum, so that the other rules are what refuses it. */
static enum mc_status decode_request(struct tcp_request wrong)
{
	uint8_t bytes[TCP_REQUEST_SIZE];
	struct tcp_request read;

	tcp_request_encode(bytes, &wrong);
	return tcp_request_decode(bytes, &read);
}

static enum mc_status decode_reply(struct tcp_reply wrong)
{
	uint8_t bytes[TCP_REPLY_SIZE];
	struct tcp_reply read;

	tcp_reply_encode(bytes, &wrong);
	return tcp_reply_decode(bytes, &read);
}

START_TEST(what_breaks_a_rule_is_refused)
{
	struct tcp_request ask = request;
	struct tcp_reply answer = reply;

	ask.length = 0;
	ck_assert_int_eq(decode_request(ask), MC_PROTOCOL);
	ask.length = TCP_LENGTH_MAX + 1;
	ck_assert_int_eq(decode_request(ask), MC_PROTOCOL);
	ask.length = TCP_LENGTH_MAX;
	ck_assert_int_eq(decode_request(ask), MC_OK);
	ask.opcode = 2;
	ck_assert_int_eq(decode_request(ask), MC_PROTOCOL);
	answer.status = MC_ACCESS;
	ck_assert_int_eq(decode_reply(answer), MC_PROTOCOL);
	answer.length = 0;
	ck_assert_int_eq(decode_reply(answer), MC_OK);
	answer.status = (enum mc_status)5;
	ck_assert_int_eq(decode_reply(answer), MC_PROTOCOL);
	answer = reply;
	answer.opcode = FABRIC_WRITE;
	ck_assert_int_eq(decode_reply(answer), MC_PROTOCOL);
}
END_TEST

START_TEST(the_highest_version_that_both_speak_is_chosen)
{
	ck_assert_int_eq(tcp_negotiate(&(struct tcp_hello){1, 1}).status, MC_OK);
	ck_assert_int_eq(tcp_negotiate(&(struct tcp_hello){0, 9}).status, MC_OK);
	ck_assert_uint_eq(tcp_negotiate(&(struct tcp_hello){0, 9}).version, TCP_VERSION);
	ck_assert_int_eq(tcp_negotiate(&(struct tcp_hello){2, 9}).status, MC_NOT_SUPPORTED);
}
END_TEST

START_TEST(random_bytes_never_decode_to_what_breaks_a_rule)
{
	unsigned seed = (unsigned)time(NULL);
	uint8_t bytes[TCP_REQUEST_SIZE];
	struct tcp_request ask;
	struct tcp_reply answer;
	struct tcp_hello hello;

	fprintf(stderr, "seed %u\n", seed);
	for (int round = 0; round < 300000; round++) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)(rand_r(&seed) % 7 ? 0 : rand_r(&seed));
		(void)!tcp_hello_decode(bytes, &hello);
		store_u32(bytes + 20, crc32c(0, bytes, 20));
		if (tcp_reply_decode(bytes, &answer) == MC_OK)
			ck_assert(answer.length <= TCP_LENGTH_MAX && answer.status <= 0 &&
				  (answer.length == 0 || answer.status == 0));
		store_u32(bytes + 36, crc32c(0, bytes, 36));
		if (tcp_request_decode(bytes, &ask) == MC_OK)
			ck_assert(ask.length > 0 && ask.length <= TCP_LENGTH_MAX && ask.opcode < 2);
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("tcp_frame");
	TCase *tc = tcase_create("frames");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, frames_have_the_bytes_of_the_specification);
	tcase_add_test(tc, greetings_have_the_bytes_of_the_specification);
	tcase_add_test(tc, any_flipped_bit_of_a_head_is_noticed);
	tcase_add_test(tc, what_breaks_a_rule_is_refused);
	tcase_add_test(tc, the_highest_version_that_both_speak_is_chosen);
	tcase_add_test(tc, random_bytes_never_decode_to_what_breaks_a_rule);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return suite_run(suite());
}
