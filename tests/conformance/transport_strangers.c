/*
 * Whatever a stranger sends to a transport's endpoint ends its own connection
 * only: one suite, run over each row of the table.
 */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/rpc/wire.h"
#include "engine/transport/owner.h"
#include "tests/support/suite.h"
#include "tests/support/transport_world.h"
#include "tests/support/vanish.h"

static int open_fd_count(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 3;
}

static int raw_connect(const struct world *world)
{
	struct net_address address;
	char text[NET_TEXT_SIZE];
	int fd;

	if (!world->ops->give_back)
		snprintf(text, sizeof(text), "%s", strchr(world->endpoint, ':') + 1);
	else
		snprintf(text, sizeof(text), "@mooncake-%s", strrchr(world->endpoint, '/') + 1);
	ck_assert_int_eq(net_parse(text, &address), MC_OK);
	ck_assert_int_eq(net_connect(&address, 5000, &fd), MC_OK);
	struct timeval limit = {.tv_sec = 10};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

static void send_all(int fd, const void *bytes, size_t size)
{
	ck_assert_int_eq(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
}

static size_t pull_frame(uint8_t *bytes, uint32_t flag, uint64_t id, uint64_t offset,
			 uint32_t length)
{
	struct frame frame = {.kind = MC_FRAME_REQUEST, .verb = MC_VERB_PULL, .size = 32};
	struct writer w;

	frame_encode(bytes, &frame);
	writer_init_fixed(&w, bytes + MC_FRAME_HEADER_SIZE, 32);
	put_u64(&w, id);
	put_u64(&w, 0);
	put_u64(&w, offset);
	put_u32(&w, length);
	put_u32(&w, flag);
	return MC_FRAME_HEADER_SIZE + 32;
}

/* The header of the next reply, whose body is passed over. */
static struct frame read_reply(int fd)
{
	uint8_t header[MC_FRAME_HEADER_SIZE];
	struct frame frame;

	ck_assert_int_eq(recv(fd, header, sizeof(header), MSG_WAITALL), sizeof(header));
	ck_assert_int_eq(frame_decode(header, &frame), MC_OK);
	if (frame.size) {
		void *body = malloc(frame.size);
		ck_assert_int_eq(recv(fd, body, frame.size, MSG_WAITALL), frame.size);
		free(body);
	}
	return frame;
}

static size_t release_frame(uint8_t *bytes, uint64_t id, uint64_t version)
{
	struct frame frame = {.kind = MC_FRAME_PUSH, .verb = MC_VERB_RELEASE, .size = 16};
	struct writer w;

	frame_encode(bytes, &frame);
	writer_init_fixed(&w, bytes + MC_FRAME_HEADER_SIZE, 16);
	put_u64(&w, id);
	put_u64(&w, version);
	return MC_FRAME_HEADER_SIZE + 16;
}

START_TEST(garbage_closes_its_own_connection_only)
{
	struct world world;
	uint8_t garbage[4096];

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, MIB);
	for (unsigned seed = 1; seed <= 50; seed++) {
		char byte;
		int fd = raw_connect(&world);
		world_pattern(garbage, sizeof(garbage), seed);
		if (send(fd, garbage, 1 + seed * 80, MSG_NOSIGNAL) > 24)
			ck_assert_int_le(recv(fd, &byte, 1, 0), 0);
		close(fd);
		ck_assert_int_eq(world_get(&world, id, 0, 5000), MC_OK);
	}
	world_fini(&world);
}
END_TEST

START_TEST(a_truncated_request_is_no_request)
{
	struct world world;
	uint8_t bytes[64];

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, MIB);
	size_t size = pull_frame(bytes, world_pull_flag(world.ops), id, 0, 0);
	for (size_t cut = 1; cut < size; cut++) {
		int fd = raw_connect(&world);
		send_all(fd, bytes, cut);
		close(fd);
	}
	/* In two pieces it is one. */
	int fd = raw_connect(&world);
	send_all(fd, bytes, 30);
	usleep(20000);
	send_all(fd, bytes + 30, size - 30);
	ck_assert_int_eq(read_reply(fd).status, MC_OK);
	close(fd);
	ck_assert_int_eq(world_get(&world, id, 0, 5000), MC_OK);
	world_wait_until_nothing_is_held(&world);
	world_fini(&world);
}
END_TEST

START_TEST(a_wrong_request_is_answered_and_the_connection_goes_on)
{
	struct world world;
	uint8_t bytes[64], body[70000] = {0};
	struct frame frame = {
		.kind = MC_FRAME_REQUEST, .verb = MC_VERB_LOOKUP, .size = sizeof(body)};

	world_init(&world, _i);
	uint32_t flag = world_pull_flag(world.ops);
	uint64_t id = fake_add(&world.fake, 0, 1000);
	int fd = raw_connect(&world);
	/* Another verb, with a body; a PULL of the wrong size; one beyond the limit. */
	frame_encode(bytes, &frame);
	send_all(fd, bytes, MC_FRAME_HEADER_SIZE);
	send_all(fd, body, sizeof(body));
	ck_assert_int_eq(read_reply(fd).status, MC_PROTOCOL);
	frame.verb = MC_VERB_PULL;
	frame.size = 3;
	frame_encode(bytes, &frame);
	send_all(fd, bytes, MC_FRAME_HEADER_SIZE + 3);
	ck_assert_int_eq(read_reply(fd).status, MC_PROTOCOL);
	send_all(fd, bytes, pull_frame(bytes, flag, id, 0, UINT32_MAX));
	ck_assert_int_eq(read_reply(fd).status, MC_PROTOCOL);
	send_all(fd, bytes, pull_frame(bytes, flag ? 0 : MC_PULL_DESCRIPTOR, id, 0, 0));
	ck_assert_int_eq(read_reply(fd).status, MC_NOT_SUPPORTED);
	if (!flag) {
		send_all(fd, bytes, pull_frame(bytes, flag, id, UINT64_MAX, 1));
		ck_assert_int_eq(read_reply(fd).status, MC_INVALID);
	}
	send_all(fd, bytes, pull_frame(bytes, flag, id, 0, 0));
	ck_assert_int_eq(read_reply(fd).status, MC_OK);
	close(fd);
	world_wait_until_nothing_is_held(&world);
	world_fini(&world);
}
END_TEST

START_TEST(an_oversized_frame_closes_the_connection)
{
	struct world world;
	uint8_t bytes[MC_FRAME_HEADER_SIZE];
	struct frame frame = {.kind = MC_FRAME_REQUEST, .verb = MC_VERB_PULL, .size = UINT32_MAX};
	char byte;

	world_init(&world, _i);
	int fd = raw_connect(&world);
	frame_encode(bytes, &frame);
	send_all(fd, bytes, sizeof(bytes));
	ck_assert_int_le(recv(fd, &byte, 1, 0), 0);
	close(fd);
	world_fini(&world);
}
END_TEST

START_TEST(a_thousand_failed_visits_leak_nothing)
{
	struct world world;
	uint8_t bytes[64];

	world_init(&world, _i);
	uint32_t flag = world_pull_flag(world.ops);
	uint64_t id = fake_add(&world.fake, 0, 3 * MIB);
	ck_assert_int_eq(world_get(&world, id, 0, 5000), MC_OK);
	usleep(100000);
	int before = open_fd_count();
	for (int i = 0; i < 1000; i++) {
		int fd = raw_connect(&world);
		send_all(fd, bytes, pull_frame(bytes, flag, id, 0, flag ? 0 : 1 << 20));
		close(fd);
		ck_assert_int_eq(world_get(&world, ID_MISSING, 0, 5000), MC_NOT_FOUND);
		ck_assert_int_eq(world_get(&world, id, VERSION + 1, 5000), MC_STALE);
		if (i % 20 == 0)
			ck_assert_int_eq(world_get(&world, id, 0, 5000), MC_OK);
	}
	world_wait_until_nothing_is_held(&world);
	for (int i = 0; i < 100 && open_fd_count() > before; i++)
		usleep(10000);
	ck_assert_int_le(open_fd_count(), before);
	world_fini(&world);
}
END_TEST

START_TEST(of_what_a_visitor_let_go_little_is_kept)
{
	struct world world;
	uint8_t bytes[64];

	world_init(&world, _i);
	uint32_t flag = world_pull_flag(world.ops);
	uint64_t id = fake_add(&world.fake, 0, 4096);
	int fd = raw_connect(&world);
	for (uint64_t version = 1; version <= 3ull * OWNER_KEPT_MAX; version++) {
		atomic_store(&world.fake.version, version);
		send_all(fd, bytes, pull_frame(bytes, flag, id, 0, 4096));
		ck_assert_int_eq(read_reply(fd).status, MC_OK);
		send_all(fd, bytes, release_frame(bytes, id, version));
		ck_assert_uint_le(world_counters(world.owner).holds, OWNER_KEPT_MAX);
	}
	close(fd);
	world_wait_until_nothing_is_held(&world);
	world_fini(&world);
}
END_TEST

START_TEST(a_visitor_whose_machine_is_gone_holds_nothing_for_long)
{
	struct world world;
	uint8_t bytes[64];

	world_init(&world, _i);
	uint32_t flag = world_pull_flag(world.ops);
	uint64_t id = fake_add(&world.fake, 0, MIB);
	int fd = raw_connect(&world);
	send_all(fd, bytes, pull_frame(bytes, flag, id, 0, 0));
	ck_assert_int_eq(read_reply(fd).status, MC_OK);
	ck_assert_uint_eq(world_counters(world.owner).holds, 1);
	/* Between processes of one host there is no such thing. */
	bool vanishes = !world.ops->give_back && vanish_when_closed(fd);
	close(fd);
	for (int i = 0; i < 300 && vanishes && world_counters(world.owner).holds > 0; i++)
		usleep(100000);
	world_wait_until_nothing_is_held(&world);
	world_fini(&world);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("transport strangers");
	TCase *strange = tcase_create("strangers");

	tcase_set_timeout(strange, 240);
	tcase_add_loop_test(strange, garbage_closes_its_own_connection_only, 0, TRANSPORTS);
	tcase_add_loop_test(strange, a_truncated_request_is_no_request, 0, TRANSPORTS);
	tcase_add_loop_test(strange, a_wrong_request_is_answered_and_the_connection_goes_on, 0,
			    TRANSPORTS);
	tcase_add_loop_test(strange, an_oversized_frame_closes_the_connection, 0, TRANSPORTS);
	tcase_add_loop_test(strange, a_thousand_failed_visits_leak_nothing, 0, TRANSPORTS);
	tcase_add_loop_test(strange, of_what_a_visitor_let_go_little_is_kept, 0, TRANSPORTS);
	/* The last two rows are two of these, attended to. */
	tcase_add_loop_test(strange, a_visitor_whose_machine_is_gone_holds_nothing_for_long, 0,
			    TRANSPORTS - 2);
	suite_add_tcase(s, strange);
	return s;
}

int main(void)
{
	log_set_level("error");
	return suite_run(suite());
}
