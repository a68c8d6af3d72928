/*
 * The messages by which two ends connect: byte for byte, and what is refused.
 */
#include "engine/fabric/rdma/handshake.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/suite.h"

static const char golden[] =
	"{\"local_nic_path\":\"10.0.0.1:15001@mlx5_0\",\"peer_nic_path\":\"node2@mlx5_1\","
	"\"qp_num\":[7,16777215],\"reply_msg\":\"\","
	"\"local_gid\":\"00:00:00:00:00:00:00:00:00:00:ff:ff:0a:00:00:01\",\"local_lid\":3,"
	"\"mtu\":4096,\"psn\":65536,\"rd_atomic\":16,\"cm_port\":4711}";

static struct handshake example(void)
{
	return (struct handshake){
		.local_path = "10.0.0.1:15001@mlx5_0",
		.peer_path = "node2@mlx5_1",
		.gid = {[10] = 0xff, [11] = 0xff, 10, 0, 0, 1},
		.lid = 3,
		.mtu = 4096,
		.psn = 65536,
		.rd_atomic = 16,
		.cm_port = 4711,
		.qp_count = 2,
		.qp_num = {7, 0xffffff},
	};
}

START_TEST(it_is_printed_as_mooncake_prints_it)
{
	struct handshake handshake = example();
	uint8_t *bytes;
	size_t size;

	ck_assert_int_eq(handshake_print(&handshake, &bytes, &size), MC_OK);
	ck_assert_uint_eq(size, 8 + strlen(golden));
	ck_assert_uint_eq(bytes[0], strlen(golden) & 0xff);
	ck_assert_uint_eq(bytes[1], strlen(golden) >> 8);
	ck_assert_mem_eq(bytes + 2, "\0\0\0\0\0\0", 6);
	ck_assert_mem_eq(bytes + 8, golden, strlen(golden));
	free(bytes);
}
END_TEST

START_TEST(what_was_printed_is_read_back)
{
	struct handshake expected = example();
	struct handshake handshake;

	ck_assert_int_eq(handshake_parse(golden, strlen(golden), &handshake), MC_OK);
	ck_assert_mem_eq(&handshake, &expected, sizeof(expected));
	ck_assert_str_eq(handshake_device(handshake.peer_path), "mlx5_1");
}
END_TEST

START_TEST(a_refusal_needs_no_queue_pairs)
{
	static const char text[] =
		"{\"local_nic_path\":\"a@b\",\"peer_nic_path\":\"c@d\",\"reply_msg\":\"no\"}";
	struct handshake handshake;

	ck_assert_int_eq(handshake_parse(text, strlen(text), &handshake), MC_OK);
	ck_assert_str_eq(handshake.reply, "no");
}
END_TEST

START_TEST(who_knows_no_librdmacm_has_no_port_of_it)
{
	struct handshake handshake;
	char text[sizeof(golden)];

	snprintf(text, sizeof(text), "%.*s}", (int)(strstr(golden, ",\"cm_port") - golden), golden);
	ck_assert_int_eq(handshake_parse(text, strlen(text), &handshake), MC_OK);
	ck_assert_uint_eq(handshake.cm_port, 0);
}
END_TEST

/* In the golden text, this in place of that makes it invalid. */
static const char *const spoiled[][2] = {
	{"{\"local", "[\"local"},
	{"10.0.0.1:15001@mlx5_0", "10.0.0.1:15001mlx5_0"},
	{"node2@mlx5_1", "node2@"},
	{"node2@mlx5_1", "@mlx5_1"},
	{"[7,16777215]", "[]"},
	{"[7,16777215]", "[7,16777216]"},
	{"[7,16777215]", "[7,-1]"},
	{"[7,16777215]", "[7,1.5]"},
	{"[7,16777215]", "7"},
	{"[7,16777215]", "[\"7\"]"},
	{"\"reply_msg\":\"\",", ""},
	{"ff:ff:0a:00:00:01", "00:00:00:00:00:00"},
	{"ff:ff:0a:00:00:01", "ff:ff:0a:00:00"},
	{"\"local_lid\":3", "\"local_lid\":65536"},
	{"\"mtu\":4096", "\"mtu\":4000"},
	{"\"mtu\":4096", "\"mtu\":8192"},
	{"\"mtu\":4096", "\"mtu\":null"},
	{"\"psn\":65536", "\"psn\":16777216"},
	{"\"rd_atomic\":16", "\"rd_atomic\":0"},
	{"\"rd_atomic\":16", "\"rd_atomic\":1e999"},
	{"\"cm_port\":4711", "\"cm_port\":65536"},
	{"\"cm_port\":4711", "\"cm_port\":\"4711\""},
};

START_TEST(what_breaks_a_rule_is_refused)
{
	struct handshake handshake;
	char text[1024];
	const char *at = strstr(golden, spoiled[_i][0]);

	ck_assert_ptr_nonnull(at);
	int size = snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - golden), golden,
			    spoiled[_i][1], at + strlen(spoiled[_i][0]));
	ck_assert_int_eq(handshake_parse(text, (size_t)size, &handshake), MC_PROTOCOL);
}
END_TEST

START_TEST(random_damage_is_survived)
{
	const char *given = getenv("SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	char text[sizeof(golden)];

	printf("seed %u\n", seed);
	srandom(seed);
	for (int i = 0; i < 20000; i++) {
		struct handshake handshake;
		size_t size = strlen(golden) - (size_t)random() % 3;
		memcpy(text, golden, sizeof(golden));
		for (int k = 0; k < 1 + i % 4; k++)
			text[(size_t)random() % size] = (char)random();
		if (handshake_parse(text, size, &handshake) == MC_OK && handshake.reply[0] == '\0')
			ck_assert_uint_le(handshake.qp_count, HANDSHAKE_QP_MAX);
	}
}
END_TEST

START_TEST(too_many_queue_pairs_or_bytes_are_refused)
{
	struct handshake handshake = example();
	uint8_t *bytes;
	size_t size;

	handshake.qp_count = HANDSHAKE_QP_MAX;
	ck_assert_int_eq(handshake_print(&handshake, &bytes, &size), MC_OK);
	ck_assert_int_eq(handshake_parse((char *)bytes + 8, size - 8, &handshake), MC_OK);
	/* One more in the same place. */
	char *text = malloc(size + 2);
	char *at = strstr(memcpy(text, bytes + 8, size - 8), "[") + 1;
	memmove(at + 2, at, (size_t)(text + size - 8 - at));
	memcpy(at, "1,", 2);
	ck_assert_int_eq(handshake_parse(text, size - 6, &handshake), MC_PROTOCOL);
	ck_assert_int_eq(handshake_parse(text, HANDSHAKE_SIZE_MAX + 1, &handshake), MC_PROTOCOL);
	free(text);
	free(bytes);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rdma handshake");
	TCase *tcase = tcase_create("handshake");

	tcase_add_test(tcase, it_is_printed_as_mooncake_prints_it);
	tcase_add_test(tcase, what_was_printed_is_read_back);
	tcase_add_test(tcase, who_knows_no_librdmacm_has_no_port_of_it);
	tcase_add_test(tcase, a_refusal_needs_no_queue_pairs);
	tcase_add_loop_test(tcase, what_breaks_a_rule_is_refused, 0,
			    sizeof(spoiled) / sizeof(spoiled[0]));
	tcase_add_test(tcase, random_damage_is_survived);
	tcase_add_test(tcase, too_many_queue_pairs_or_bytes_are_refused);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
