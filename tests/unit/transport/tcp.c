/* The TCP puller against owners that lie: each row is one lie, on one connection after another. */
#include <check.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/crc32c.h"
#include "engine/base/log.h"
#include "engine/rpc/wire.h"
#include "tests/support/suite.h"
#include "tests/unit/transport/played.h"

#define STEP_MS	   300u
#define FIXED_SIZE (MC_ATTR_WIRE_SIZE + 16u)

enum lie {
	LIE_NONE,
	LIE_CRC_ONCE,
	LIE_CRC_ALWAYS,
	LIE_ID,
	LIE_VERSION,
	LIE_OFFSET,
	LIE_LENGTH,
	LIE_BODY_SIZE,
	LIE_SHORT_BODY,
	LIE_HUGE_OBJECT,
	LIE_REQUEST_ID,
	LIE_VERB,
	LIE_MAGIC,
	LIE_KIND,
	LIE_OVERSIZED,
	LIE_CUT_HEAD,
	LIE_CUT_BYTES,
	LIE_NOTHING,
	LIE_REFUSAL_WITH_BODY,
	LIE_UNKNOWN_STATUS,
	LIE_DRIP,
};

static const struct {
	enum lie lie;
	enum mc_status expected;
} rows[] = {
	{LIE_NONE, MC_OK},
	{LIE_CRC_ONCE, MC_OK},
	{LIE_CRC_ALWAYS, MC_IO},
	{LIE_ID, MC_PROTOCOL},
	{LIE_VERSION, MC_PROTOCOL},
	{LIE_OFFSET, MC_PROTOCOL},
	{LIE_LENGTH, MC_PROTOCOL},
	{LIE_BODY_SIZE, MC_PROTOCOL},
	{LIE_SHORT_BODY, MC_PROTOCOL},
	{LIE_HUGE_OBJECT, MC_PROTOCOL},
	{LIE_REQUEST_ID, MC_PROTOCOL},
	{LIE_VERB, MC_PROTOCOL},
	{LIE_MAGIC, MC_PROTOCOL},
	{LIE_KIND, MC_PROTOCOL},
	{LIE_OVERSIZED, MC_PROTOCOL},
	{LIE_CUT_HEAD, MC_UNREACHABLE},
	{LIE_CUT_BYTES, MC_UNREACHABLE},
	{LIE_NOTHING, MC_TIMEOUT},
	{LIE_REFUSAL_WITH_BODY, MC_NOT_FOUND},
	{LIE_UNKNOWN_STATUS, MC_PROTOCOL},
	{LIE_DRIP, MC_OK},
};

struct liar {
	int listen_fd;
	enum lie lie;
	int replies;
	pthread_t thread;
};

static size_t make_reply(struct liar *liar, uint64_t request_id, uint8_t *bytes)
{
	enum lie lie = liar->lie;
	struct frame frame = {.kind = lie == LIE_KIND ? MC_FRAME_PUSH : MC_FRAME_REPLY,
			      .verb = lie == LIE_VERB ? MC_VERB_LOOKUP : MC_VERB_PULL,
			      .size = FIXED_SIZE + SIZE,
			      .request_id = request_id + (lie == LIE_REQUEST_ID)};
	struct mc_attr attr = {.id = ID + (lie == LIE_ID),
			       .version = VERSION + (lie == LIE_VERSION),
			       .size = lie == LIE_HUGE_OBJECT ? UINT64_MAX : SIZE,
			       .mode = S_IFREG};
	uint8_t *data = bytes + MC_FRAME_HEADER_SIZE + FIXED_SIZE;
	struct writer w;

	memset(data, 'd', SIZE);
	uint32_t crc = crc32c(0, data, SIZE);
	if (lie == LIE_CRC_ALWAYS || (lie == LIE_CRC_ONCE && liar->replies == 0))
		data[1000] ^= 1;
	if (lie == LIE_BODY_SIZE)
		frame.size++;
	if (lie == LIE_SHORT_BODY)
		frame.size = 10;
	if (lie == LIE_OVERSIZED)
		frame.size = MC_BODY_SIZE_MAX + 1;
	if (lie == LIE_REFUSAL_WITH_BODY) {
		frame.size = 500;
		frame.status = MC_NOT_FOUND;
	}
	if (lie == LIE_UNKNOWN_STATUS) {
		frame.size = 0;
		frame.status = (enum mc_status)12345;
	}
	frame_encode(bytes, &frame);
	if (lie == LIE_MAGIC)
		bytes[0] ^= 0xff;
	writer_init_fixed(&w, bytes + MC_FRAME_HEADER_SIZE, FIXED_SIZE);
	put_attr(&w, &attr);
	put_u64(&w, lie == LIE_OFFSET);
	put_u32(&w, SIZE - (lie == LIE_LENGTH));
	put_u32(&w, crc);
	liar->replies++;
	if (lie == LIE_CUT_HEAD)
		return 60;
	if (lie == LIE_CUT_BYTES)
		return MC_FRAME_HEADER_SIZE + FIXED_SIZE + SIZE / 2;
	if (lie == LIE_NOTHING)
		return 0;
	return MC_FRAME_HEADER_SIZE + frame.size;
}

/* No lie: little by little, longer than a step takes, and never silent for so long. */
static ssize_t drip(int fd, const uint8_t *bytes, size_t size)
{
	size_t part = size / 5 + 1;

	for (; size > part; bytes += part, size -= part) {
		if (send(fd, bytes, part, MSG_NOSIGNAL) < 0)
			return -1;
		usleep(STEP_MS / 2 * 1000);
	}
	return send(fd, bytes, size, MSG_NOSIGNAL);
}

static void serve(struct liar *liar, int fd)
{
	static uint8_t bytes[MC_BODY_SIZE_MAX];
	uint8_t request[MC_FRAME_HEADER_SIZE + 32];
	struct frame frame;

	while (recv(fd, request, sizeof(request), MSG_WAITALL) == sizeof(request)) {
		ck_assert_int_eq(frame_decode(request, &frame), MC_OK);
		size_t size = make_reply(liar, frame.request_id, bytes);
		if (size > MC_FRAME_HEADER_SIZE + FIXED_SIZE + SIZE + 1)
			size = MC_FRAME_HEADER_SIZE;
		ssize_t sent = liar->lie == LIE_DRIP ? drip(fd, bytes, size)
						     : send(fd, bytes, size, MSG_NOSIGNAL);
		if (sent < 0)
			return;
		if (liar->lie == LIE_CUT_HEAD || liar->lie == LIE_CUT_BYTES)
			return;
	}
}

static void *lie(void *argument)
{
	struct liar *liar = argument;
	int fd;

	while ((fd = accept(liar->listen_fd, NULL, NULL)) >= 0) {
		serve(liar, fd);
		close(fd);
	}
	return NULL;
}

START_TEST(a_lie_costs_the_pull_and_nothing_else)
{
	struct getting getting;
	struct liar liar = {.lie = rows[_i].lie};
	struct transport_counters counters;
	struct transport *transport;
	char endpoint[MC_ENDPOINT_SIZE];

	liar.listen_fd = played_listen("tcp", endpoint);
	ck_assert_int_eq(pthread_create(&liar.thread, NULL, lie, &liar), 0);
	played_open(&transport_tcp_ops, &transport);

	getting_init(&getting, STEP_MS);
	transport_tcp_ops.pull(transport, endpoint, &getting.pull);

	ck_assert_int_eq(getting_wait(&getting), rows[_i].expected);
	transport_tcp_ops.counters(transport, &counters);
	if (getting.status == MC_OK) {
		for (size_t i = 0; i < SIZE; i++)
			ck_assert_int_eq(getting.memory[i], 'd');
	}
	ck_assert_uint_eq(counters.checksum_errors, liar.lie == LIE_CRC_ONCE	 ? 1
						    : liar.lie == LIE_CRC_ALWAYS ? 2
										 : 0);
	transport_tcp_ops.close(transport);
	shutdown(liar.listen_fd, SHUT_RDWR);
	pthread_join(liar.thread, NULL);
	close(liar.listen_fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tcp");
	TCase *tc = tcase_create("lies");

	log_set_level("error");
	tcase_set_timeout(tc, 20);
	tcase_add_loop_test(tc, a_lie_costs_the_pull_and_nothing_else, 0, ARRAY_SIZE(rows));
	suite_add_tcase(s, tc);
	return suite_run(s);
}
