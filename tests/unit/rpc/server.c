/* What a server keeps for those who do not read, or never read all. */
#include "engine/rpc/server.h"

#include <pthread.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tests/support/suite.h"

#define ANSWER_SIZE (1u << 20)
#define ASKED_COUNT 200u

static struct server *server;
static pthread_t thread;
static int peer;
static unsigned answered; /* atomic */
static bool ended;	  /* atomic */
static struct connection *opened_one;
static uint8_t bytes[ANSWER_SIZE];

static bool opened(void *context, struct connection *connection)
{
	(void)context;
	__atomic_store_n(&opened_one, connection, __ATOMIC_RELEASE);
	return true;
}

static void request(void *context, struct connection *connection, const struct frame *frame,
		    const uint8_t *body)
{
	(void)context;
	(void)frame;
	(void)body;
	put_bytes(connection_out(connection), bytes, sizeof(bytes));
	connection_wrote(connection);
	__atomic_add_fetch(&answered, 1, __ATOMIC_RELAXED);
}

static void turn(void *context, unsigned loop_number)
{
	(void)context;
	(void)loop_number;
}

static void closed(void *context, struct connection *connection)
{
	(void)context;
	connection_free(connection);
	__atomic_store_n(&ended, true, __ATOMIC_RELEASE);
}

static const struct server_ops ops = {
	.opened = opened, .request = request, .turn = turn, .closed = closed};

static void *run(void *context)
{
	(void)context;
	server_run(server, 0);
	return NULL;
}

static void setup(void)
{
	struct server_config config = {.socket = "auto",
				       .auto_name = "mooncake-test-server",
				       .loop_count = 1,
				       .ops = &ops};
	struct net_address address;

	log_open("/dev/null");
	opened_one = NULL;
	answered = 0;
	ended = false;
	ck_assert_int_eq(server_open(&config, &server), MC_OK);
	ck_assert_int_eq(pthread_create(&thread, NULL, run, NULL), 0);
	ck_assert_int_eq(net_resolve(server_socket(server), &address), MC_OK);
	ck_assert_int_eq(net_connect(&address, 3000, &peer), MC_OK);
	while (!__atomic_load_n(&opened_one, __ATOMIC_ACQUIRE))
		usleep(1000);
}

static void teardown(void)
{
	close(peer);
	server_stop(server);
	pthread_join(thread, NULL);
	server_close(server);
}

/* All requests come in one turn. */
START_TEST(who_asks_much_at_once_and_reads_nothing_is_closed_amid_it)
{
	static uint8_t frames[ASKED_COUNT * MC_FRAME_HEADER_SIZE];
	struct frame frame = {.kind = MC_FRAME_REQUEST, .verb = MC_VERB_STATS};

	for (size_t i = 0; i < ASKED_COUNT; i++)
		frame_encode(frames + i * MC_FRAME_HEADER_SIZE, &frame);
	ck_assert_int_eq(send(peer, frames, sizeof(frames), 0), sizeof(frames));
	while (!__atomic_load_n(&ended, __ATOMIC_ACQUIRE))
		usleep(1000);
	ck_assert_uint_ge(answered, SERVER_OUT_SIZE_MAX / ANSWER_SIZE);
	ck_assert_uint_le(answered, SERVER_OUT_SIZE_MAX / ANSWER_SIZE + 8);
}
END_TEST

/* There is always something left: he is a little behind. */
START_TEST(what_has_been_read_is_not_kept)
{
	static uint8_t read[ANSWER_SIZE];
	size_t behind = 0;

	for (unsigned i = 0; i < ASKED_COUNT; i++) {
		connection_send(opened_one, bytes, sizeof(bytes));
		behind += sizeof(bytes);
		while (behind > 4 * sizeof(bytes)) {
			ssize_t got = recv(peer, read, sizeof(read), 0);
			ck_assert_int_gt(got, 0);
			behind -= (size_t)got;
		}
	}
	WITH_LOCK(&opened_one->lock);
	ck_assert_uint_le(opened_one->out.capacity, 32 * sizeof(bytes));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("server");
	TCase *tc = tcase_create("server");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, who_asks_much_at_once_and_reads_nothing_is_closed_amid_it);
	tcase_add_test(tc, what_has_been_read_is_not_kept);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
