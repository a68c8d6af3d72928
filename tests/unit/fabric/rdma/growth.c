/*
 * Ten thousand failures of each kind: memory, descriptors, queue pairs, regions and
 * slices are what they were (pair_free() counts the last three).
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/suite.h"
#include "tests/unit/fabric/rdma/pair.h"

/* A sanitizer keeps what was freed, so memory tells nothing there. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FAILURES 500u
#else
#define FAILURES 10000u
#endif
#define MANY	 200u
#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static void set_up(void)
{
	/* What is provoked here is logged; that is not what is looked at. */
	ck_assert(log_open("/dev/null"));
	fake_reset(1);
}

/* The port is bound, and nobody listens there. */
static int listen_taken(struct pair *pair)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, size), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	ck_assert_int_gt(asprintf(&pair->to.desc->endpoints[0], "rdma:127.0.0.1:%u",
				  ntohs(address.sin_port)),
			 0);
	return fd;
}

static long open_descriptors(void)
{
	long count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* What has failed is gone: the one connection of a transfer that goes well is left. */
static bool settled(void *context)
{
	struct pair *pair = context;

	return transfer_one(pair, FABRIC_READ, 0, 64) == MC_OK &&
	       counters_of(&pair->from).connections == 2 && counters_of(&pair->to).connections == 2;
}

struct usage {
	size_t memory;
	long descriptors;
	uint64_t regions;
	uint32_t ids; /* of librdmacm */
};

static struct usage usage_now(struct pair *pair)
{
	wait_for(settled, pair);
	return (struct usage){mallinfo2().uordblks, open_descriptors(),
			      counters_of(&pair->from).regions, fake_cm_counts().ids};
}

static bool fits(struct usage now, struct usage before)
{
	return now.regions == before.regions && now.ids == before.ids &&
	       now.descriptors <= before.descriptors && now.memory <= before.memory + (64u << 10);
}

/* What a failure leaves behind may go a moment after it, in another thread. */
static void check_usage(struct pair *pair, struct usage before)
{
	uint64_t until = clock_ns() + PAIR_PATIENCE;
	struct usage now;

	while (!fits(now = usage_now(pair), before) && clock_ns() < until)
		poll(NULL, 0, 1);
	ck_assert_uint_eq(counters_of(&pair->from).slices, 0);
	ck_assert_uint_eq(now.regions, before.regions);
	ck_assert_uint_eq(now.ids, before.ids);
	ck_assert_int_le(now.descriptors, before.descriptors);
	ck_assert_uint_le(now.memory, before.memory + (64u << 10));
}

static void fail_with_a_stale_key(struct pair *pair)
{
	uint32_t right = pair->to.desc->buffers[0].rkey[0];

	pair->to.desc->buffers[0].rkey[0] = 60000;
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_ACCESS);
	pair->to.desc->buffers[0].rkey[0] = right;
}

static void fail_on_the_way(struct pair *pair)
{
	fake_fail_work(IBV_WC_RETRY_EXC_ERR, 0, 1);
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_UNREACHABLE);
}

static void fail_to_connect(struct pair *pair)
{
	fake_fail(FAKE_CREATE_QP, 0, 1, ENOMEM);
	(void)transfer_one(pair, FABRIC_READ, 0, 64);
	fake_fail_work(IBV_WC_RETRY_EXC_ERR, 0, 1);
	(void)transfer_one(pair, FABRIC_READ, 0, 64);
	fake_fail_work(IBV_WC_SUCCESS, 0, 0);
}

/* Somebody else than the pair's, as its descriptor says now; back to the pair's. */
static struct fabric_peer *meet(struct pair *pair)
{
	struct fabric_peer *usual = pair->peer;

	ck_assert_int_eq(ops->connect(pair->from.fabric, pair->to.desc, &pair->peer), MC_OK);
	return usual;
}

static void part(struct pair *pair, struct fabric_peer *usual)
{
	ops->disconnect(pair->peer);
	pair->peer = usual;
}

static void fail_because_the_peer_refuses(struct pair *pair)
{
	snprintf(pair->to.desc->name, sizeof(pair->to.desc->name), "somebody");
	struct fabric_peer *usual = meet(pair);
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_UNREACHABLE);
	part(pair, usual);
	snprintf(pair->to.desc->name, sizeof(pair->to.desc->name), "to");
}

/* Where nobody listens: the port is the test's own, and taken by nobody else. */
static void fail_because_nobody_is_there(struct pair *pair)
{
	char *right = pair->to.desc->endpoints[0];
	int fd = listen_taken(pair);
	struct fabric_peer *usual = meet(pair);

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_UNREACHABLE);
	part(pair, usual);
	close(fd);
	free(pair->to.desc->endpoints[0]);
	pair->to.desc->endpoints[0] = right;
}

static void fail_while_librdmacm_connects(struct pair *pair)
{
	fake_cm_replace(RDMA_CM_EVENT_CONNECT_RESPONSE, RDMA_CM_EVENT_REJECTED, 1);
	struct fabric_peer *usual = meet(pair);
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_UNREACHABLE);
	part(pair, usual);
}

static void fail_to_register(struct pair *pair)
{
	struct fabric_region region = {pair->from.memory, 4096, "cpu:0", FABRIC_REMOTE_READ};
	const void *key;

	fake_fail(FAKE_REG_MR, 0, 1, ENOMEM);
	ck_assert_int_eq(ops->register_region(pair->from.fabric, &region, NULL, &key),
			 MC_NO_MEMORY);
}

static void fail_before_it_is_connected(struct pair *pair)
{
	struct fabric_peer *usual = meet(pair);

	for (uint32_t i = 0; i < MANY; i++)
		transfer_init(pair, i, FABRIC_READ, 0, 64);
	transfer_start(pair, 0, MANY);
	for (uint32_t i = 0; i < MANY; i++)
		ops->cancel(pair->peer, &pair->transfers[i].slice);
	transfer_wait(pair, 0, MANY);
	part(pair, usual);
}

static void fail_in_time(struct pair *pair)
{
	ck_assert_int_eq(transfer_retried(pair), MC_OK);
	fake_hold(true);
	for (uint32_t i = 0; i < MANY; i++)
		transfer_init(pair, i, FABRIC_READ, 0, 64)->deadline_ns = clock_ns() + 1000000;
	transfer_start(pair, 0, MANY);
	transfer_wait(pair, 0, MANY);
	for (uint32_t i = 0; i < MANY; i++)
		ck_assert_int_eq(pair->transfers[i].status, MC_TIMEOUT);
	fake_hold(false);
}

static const struct {
	void (*provoke)(struct pair *pair);
	uint32_t each; /* failures a call */
} kinds[] = {
	{fail_with_a_stale_key, 1},
	{fail_on_the_way, 1},
	{fail_to_connect, 1},
	{fail_because_the_peer_refuses, 1},
	{fail_because_nobody_is_there, 1},
	{fail_while_librdmacm_connects, 1},
	{fail_to_register, 1},
	{fail_before_it_is_connected, MANY},
	{fail_in_time, MANY},
};

static void fail_often(struct pair *pair, int kind, uint32_t failures)
{
	for (uint32_t i = 0; i < failures; i += kinds[kind].each)
		kinds[kind].provoke(pair);
}

START_TEST(ten_thousand_failures_leave_nothing)
{
	struct pair *pair = pair_new(NULL);

	fail_often(pair, _i, 1000);
	struct usage before = usage_now(pair);
	fail_often(pair, _i, FAILURES);
	check_usage(pair, before);
	pair_free(pair);
}
END_TEST

/* What a device may say of work, one of each kind that is told apart. */
static const enum ibv_wc_status work_kinds[] = {
	IBV_WC_LOC_PROT_ERR, IBV_WC_WR_FLUSH_ERR, IBV_WC_REM_ACCESS_ERR,
	IBV_WC_REM_OP_ERR,   IBV_WC_BAD_RESP_ERR, IBV_WC_RNR_RETRY_EXC_ERR,
};

static void fail_work(struct pair *pair, enum ibv_wc_status kind, uint32_t failures)
{
	for (uint32_t i = 0; i < failures; i++) {
		fake_fail_work(kind, 0, 1);
		ck_assert_int_ne(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
		fake_fail_work(IBV_WC_SUCCESS, 0, 0);
	}
}

START_TEST(ten_thousand_failures_of_work_leave_nothing)
{
	struct pair *pair = pair_new(NULL);

	fail_work(pair, work_kinds[_i], 1000);
	struct usage before = usage_now(pair);
	fail_work(pair, work_kinds[_i], FAILURES);
	check_usage(pair, before);
	pair_free(pair);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("growth");
	TCase *tc = tcase_create("failures");

	tcase_set_timeout(tc, 600);
	tcase_add_checked_fixture(tc, set_up, NULL);
	tcase_add_loop_test(tc, ten_thousand_failures_leave_nothing, 0, COUNT(kinds));
	tcase_add_loop_test(tc, ten_thousand_failures_of_work_leave_nothing, 0, COUNT(work_kinds));
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
