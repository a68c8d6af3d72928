/*
 * Whatever fails behind the fabric -- any call, any event, any work -- slices end
 * with a status that says what to do, it works again when the cause is gone, and
 * nothing stays behind (pair_free() counts).
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/buffer.h"
#include "engine/base/cleanup.h"
#include "engine/base/net.h"
#include "tests/support/scarcity.h"
#include "tests/support/suite.h"
#include "tests/support/vanish.h"
#include "tests/unit/fabric/rdma/pair.h"

static void set_up(void)
{
	/* What is provoked here is logged; that is not what is looked at. */
	ck_assert(log_open("/dev/null"));
	setenv("MC_CONNECT_TIMEOUT_MS", "300", 1);
	fake_reset(1);
}

static void set_up_handshake(void)
{
	set_up();
	setenv("MC_RDMA_CM", "0", 1);
}

static void tear_down(void)
{
	unsetenv("MC_RDMA_CM");
	unsetenv("MC_CONNECT_TIMEOUT_MS");
}

/* --- calls that fail ------------------------------------------------------------- */

static const enum fake_call open_calls[] = {
	FAKE_GET_DEVICE_LIST, FAKE_OPEN_DEVICE,		FAKE_QUERY_DEVICE, FAKE_QUERY_PORT,
	FAKE_ALLOC_PD,	      FAKE_CREATE_COMP_CHANNEL, FAKE_CREATE_CQ,
};

START_TEST(open_without_a_device_that_works_says_so)
{
	struct side side;

	fake_fail(open_calls[_i], 0, 1000, EIO);
	ck_assert_int_eq(side_open(&side, "side", NULL), MC_NOT_SUPPORTED);
	fake_fail(open_calls[_i], 0, 0, 0);
	ck_assert_uint_eq(fake_counts().contexts, 0);
	ck_assert_uint_eq(fake_counts().cqs, 0);
	pair_free(pair_new(NULL));
}
END_TEST

START_TEST(open_goes_on_with_the_devices_that_work)
{
	struct side side;
	struct segment_desc *desc;

	fake_reset(2);
	fake_fail(open_calls[_i], 0, 1, EIO);
	ck_assert_int_eq(side_open(&side, "side", NULL), MC_OK);
	ck_assert_int_eq(segment_desc_new(SEGMENT_RDMA, "side", &desc), MC_OK);
	ck_assert_int_eq(ops->describe(side.fabric, desc), MC_OK);
	ck_assert_uint_eq(desc->device_count, 1);
	ck_assert_str_eq(desc->devices[0].name, "fake1");
	segment_desc_unref(desc);
	ops->close(side.fabric);
}
END_TEST

START_TEST(only_the_devices_that_are_named_are_opened)
{
	struct side side;

	fake_reset(3);
	setenv("MC_TE_FILTERS", "fake9, fake2,fake", 1);
	ck_assert_int_eq(side_open(&side, "side", NULL), MC_OK);
	unsetenv("MC_TE_FILTERS");
	ck_assert_uint_eq(fake_counts().contexts, 1);
	ops->close(side.fabric);
}
END_TEST

START_TEST(a_region_that_one_device_refuses_is_not_registered)
{
	static const struct {
		int error;
		enum mc_status status;
	} cases[] = {{ENOMEM, MC_NO_MEMORY}, {EINVAL, MC_IO}};
	fake_reset(2);
	struct pair *pair = pair_new(NULL);
	uint32_t before = fake_counts().mrs;
	const void *key;
	struct fabric_region region = {pair->from.memory, PAIR_MEMORY, "*", FABRIC_REMOTE_READ};

	fake_fail(FAKE_REG_MR, 1, 1, cases[_i].error);
	ck_assert_int_eq(ops->register_region(pair->from.fabric, &region, NULL, &key),
			 cases[_i].status);
	ck_assert_uint_eq(fake_counts().mrs, before);
	ck_assert_uint_eq(counters_of(&pair->from).regions, 1);
	pair_free(pair);
}
END_TEST

START_TEST(memory_that_is_read_only_can_be_sent)
{
	struct pair *pair = pair_new(NULL);
	const void *key;
	struct fabric_region region = {pair->from.memory, PAIR_MEMORY, "*", FABRIC_REMOTE_READ};

	fake_fail(FAKE_REG_MR, 0, 1, EFAULT);
	ck_assert_int_eq(ops->register_region(pair->from.fabric, &region, NULL, &key), MC_OK);
	ck_assert_int_eq(fake_counts().last_access & IBV_ACCESS_LOCAL_WRITE, 0);
	ops->unregister_region(pair->from.fabric, key);
	pair_free(pair);
}
END_TEST

START_TEST(gpu_memory_without_cuda_is_refused)
{
	struct pair *pair = pair_new(NULL);
	const void *key;
	struct fabric_region region = {pair->from.memory, 4096, "cuda:0", FABRIC_REMOTE_READ};

	ck_assert_int_eq(ops->register_region(pair->from.fabric, &region, NULL, &key),
			 MC_NOT_SUPPORTED);
	pair_free(pair);
}
END_TEST

/* Each time a connection is made these are called: 2 queue pairs a side, 3 changes each. */
static const struct {
	enum fake_call call;
	uint32_t after;
} connect_calls[] = {
	{FAKE_CREATE_QP, 0}, {FAKE_CREATE_QP, 1}, {FAKE_CREATE_QP, 2},	{FAKE_CREATE_QP, 3},
	{FAKE_MODIFY_QP, 0}, {FAKE_MODIFY_QP, 1}, {FAKE_MODIFY_QP, 2},	{FAKE_MODIFY_QP, 3},
	{FAKE_MODIFY_QP, 4}, {FAKE_MODIFY_QP, 5}, {FAKE_MODIFY_QP, 6},	{FAKE_MODIFY_QP, 7},
	{FAKE_MODIFY_QP, 8}, {FAKE_MODIFY_QP, 9}, {FAKE_MODIFY_QP, 10}, {FAKE_MODIFY_QP, 11},
	{FAKE_POST_SEND, 0}, {FAKE_POST_SEND, 1},
};

START_TEST(a_connection_that_fails_is_made_again)
{
	struct pair *pair = pair_new(NULL);

	fake_fail(connect_calls[_i].call, connect_calls[_i].after, 1, ENOMEM);
	enum mc_status status = transfer_one(pair, FABRIC_READ, 0, 4096);
	/* With two queue pairs the one that failed may not be the slice's. */
	ck_assert(status == MC_UNREACHABLE || connect_calls[_i].call == FAKE_POST_SEND);
	ck_assert_int_eq(transfer_retried(pair), MC_OK);
	pair_free(pair);
}
END_TEST

START_TEST(a_device_that_takes_nothing_inline_is_used_without)
{
	struct pair *pair = pair_new(NULL);

	fake_fail(FAKE_CREATE_QP, 0, 1, EINVAL);
	ck_assert_int_eq(transfer_one(pair, FABRIC_WRITE, 0, 8), MC_OK);
	pair_free(pair);
}
END_TEST

static const enum fake_call end_calls[] = {FAKE_DESTROY_QP, FAKE_DEREG_MR, FAKE_REQ_NOTIFY_CQ,
					   FAKE_POLL_CQ};

START_TEST(calls_that_fail_at_the_end_hold_nothing_up)
{
	struct pair *pair = pair_new(NULL);

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 4096), MC_OK);
	fake_fail(end_calls[_i], 0, 2, EBUSY);
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 4096), MC_OK);
	pair_free(pair);
}
END_TEST

/* --- work that fails ------------------------------------------------------------------ */

static const struct {
	enum ibv_wc_status wc;
	enum mc_status status;
} work_cases[] = {
	{IBV_WC_LOC_LEN_ERR, MC_IO},
	{IBV_WC_LOC_QP_OP_ERR, MC_IO},
	{IBV_WC_LOC_PROT_ERR, MC_IO},
	{IBV_WC_WR_FLUSH_ERR, MC_UNREACHABLE},
	{IBV_WC_BAD_RESP_ERR, MC_PROTOCOL},
	{IBV_WC_LOC_ACCESS_ERR, MC_IO},
	{IBV_WC_REM_INV_REQ_ERR, MC_ACCESS},
	{IBV_WC_REM_ACCESS_ERR, MC_ACCESS},
	{IBV_WC_REM_OP_ERR, MC_UNREACHABLE},
	{IBV_WC_RETRY_EXC_ERR, MC_UNREACHABLE},
	{IBV_WC_RNR_RETRY_EXC_ERR, MC_UNREACHABLE},
	{IBV_WC_REM_ABORT_ERR, MC_UNREACHABLE},
	{IBV_WC_FATAL_ERR, MC_UNREACHABLE},
	{IBV_WC_RESP_TIMEOUT_ERR, MC_UNREACHABLE},
	{IBV_WC_GENERAL_ERR, MC_IO},
	{(enum ibv_wc_status)99, MC_IO},
};

START_TEST(work_that_fails_ends_its_slice_and_no_other_for_good)
{
	struct pair *pair = pair_new(NULL);
	uint32_t failed = 0;

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	fake_fail_work(work_cases[_i].wc, 10, 1);
	for (uint32_t i = 0; i < 32; i++)
		transfer_init(pair, i, FABRIC_READ, i * 4096, 4096);
	transfer_start(pair, 0, 32);
	transfer_wait(pair, 0, 32);
	for (uint32_t i = 0; i < 32; i++) {
		enum mc_status status = pair->transfers[i].status;
		if (status == MC_OK)
			ck_assert_mem_eq(pair->from.memory + i * 4096, pair->to.memory + i * 4096,
					 4096);
		else
			ck_assert(status == MC_UNREACHABLE || failed++ == 0);
		if (i == 10)
			ck_assert_int_eq(status, work_cases[_i].status);
	}
	ck_assert_int_eq(transfer_retried(pair), MC_OK);
	pair_free(pair);
}
END_TEST

START_TEST(a_device_that_stops_gives_the_slices_up_in_time)
{
	struct pair *pair = pair_new(NULL);

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	fake_freeze(true);
	transfer_init(pair, 1, FABRIC_READ, 0, 4096);
	transfer_start(pair, 1, 1);
	fake_event(0, IBV_EVENT_DEVICE_FATAL);
	transfer_wait(pair, 1, 1);
	ck_assert_int_eq(pair->transfers[1].status, MC_UNREACHABLE);
	fake_freeze(false);
	pair_free(pair);
}
END_TEST

/* --- events ------------------------------------------------------------------------------ */

static const enum ibv_event_type events[] = {
	IBV_EVENT_CQ_ERR,
	IBV_EVENT_QP_FATAL,
	IBV_EVENT_QP_REQ_ERR,
	IBV_EVENT_QP_ACCESS_ERR,
	IBV_EVENT_COMM_EST,
	IBV_EVENT_SQ_DRAINED,
	IBV_EVENT_PATH_MIG,
	IBV_EVENT_PATH_MIG_ERR,
	IBV_EVENT_DEVICE_FATAL,
	IBV_EVENT_PORT_ACTIVE,
	IBV_EVENT_PORT_ERR,
	IBV_EVENT_LID_CHANGE,
	IBV_EVENT_PKEY_CHANGE,
	IBV_EVENT_SM_CHANGE,
	IBV_EVENT_SRQ_ERR,
	IBV_EVENT_SRQ_LIMIT_REACHED,
	IBV_EVENT_QP_LAST_WQE_REACHED,
	IBV_EVENT_CLIENT_REREGISTER,
	IBV_EVENT_GID_CHANGE,
	IBV_EVENT_WQ_FATAL,
};

START_TEST(after_any_event_transfers_work_again)
{
	struct pair *pair = pair_new(NULL);

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	for (uint32_t i = 0; i < 64; i++)
		transfer_init(pair, i, FABRIC_READ, i * 4096, 4096);
	fake_hold(true);
	transfer_start(pair, 0, 64);
	fake_event(0, events[_i]);
	poll(NULL, 0, 5);
	fake_hold(false);
	transfer_wait(pair, 0, 64);
	for (uint32_t i = 0; i < 64; i++)
		ck_assert(pair->transfers[i].status == MC_OK ||
			  pair->transfers[i].status == MC_UNREACHABLE);
	ck_assert_int_eq(transfer_retried(pair), MC_OK);
	pair_free(pair);
}
END_TEST

static bool one_path(void *context)
{
	struct pair *pair = context;

	return ops->paths(pair->peer, pair->from.key, &pair->to.desc->buffers[0]) == 1;
}

static bool two_paths(void *context)
{
	struct pair *pair = context;

	return ops->paths(pair->peer, pair->from.key, &pair->to.desc->buffers[0]) == 2;
}

START_TEST(a_link_that_goes_takes_its_paths_out_until_it_is_proved)
{
	fake_reset(2);
	struct pair *pair = pair_new(NULL);

	for (uint32_t i = 0; i < 2; i++)
		transfer_init(pair, i, FABRIC_READ, i * 64, 64);
	transfer_start(pair, 0, 2);
	transfer_wait(pair, 0, 2);
	ck_assert(two_paths(pair));
	fake_link(0, false);
	wait_for(one_path, pair);
	/* What goes on goes over the other one, all of it. */
	for (uint32_t i = 0; i < 64; i++)
		transfer_init(pair, i, FABRIC_READ, i * 4096, 4096);
	transfer_start(pair, 0, 64);
	transfer_wait(pair, 0, 64);
	for (uint32_t i = 0; i < 64; i++)
		ck_assert_int_eq(pair->transfers[i].status, MC_OK);
	fake_link(0, true);
	wait_for(two_paths, pair);
	pair_free(pair);
}
END_TEST

START_TEST(failures_while_a_link_is_away_do_not_keep_its_path_out)
{
	fake_reset(2);
	struct pair *pair = pair_new(NULL);

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	fake_link(0, false);
	fake_link(1, false);
	for (uint64_t until = clock_ns() + 1000000000ull; clock_ns() < until;)
		(void)transfer_one(pair, FABRIC_READ, 0, 64);
	fake_link(1, true);
	ck_assert_int_eq(transfer_retried(pair), MC_OK);
	fake_link(0, true);
	uint64_t began = clock_ns();
	wait_for(two_paths, pair);
	ck_assert_uint_lt(clock_ns() - began, 3000000000ull);
	pair_free(pair);
}
END_TEST

START_TEST(far_devices_stand_in_for_near_ones)
{
	fake_reset(2);
	struct pair *pair = pair_new("{\"cpu:0\":[[\"fake0\"],[\"fake1\"]]}");

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	fake_link(0, false);
	ck_assert_int_eq(transfer_retried(pair), MC_OK);
	ck_assert_uint_eq(counters_of(&pair->from).slices, 0);
	pair_free(pair);
}
END_TEST

START_TEST(a_gid_that_changed_is_noticed)
{
	struct pair *pair = pair_new(NULL);

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	fake_device(0)->gids[0].gid = fake_mapped_gid(77);
	fake_event(0, IBV_EVENT_GID_CHANGE);
	/* The peer's descriptor has the old one: the handshake says what it is now. */
	poll(NULL, 0, 50);
	ck_assert_int_eq(transfer_retried(pair), MC_OK);
	pair_free(pair);
}
END_TEST

START_TEST(a_lid_that_changed_is_noticed)
{
	fake_infiniband(0, 7);
	struct pair *pair = pair_new(NULL);

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	ck_assert_uint_eq(fake_counts().last.ah_attr.dlid, 7);
	fake_infiniband(0, 9);
	fake_event(0, IBV_EVENT_LID_CHANGE);
	poll(NULL, 0, 50);
	ck_assert_int_eq(transfer_retried(pair), MC_OK);
	ck_assert_uint_eq(fake_counts().last.ah_attr.dlid, 9);
	pair_free(pair);
}
END_TEST

/* --- peers that go and come -------------------------------------------------------------- */

START_TEST(a_peer_that_restarts_is_connected_to_again)
{
	struct pair *pair = pair_new(NULL);
	struct fabric_config config = {.name = "to", .listen_host = "127.0.0.1"};

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	const char *colon = strrchr(pair->to.desc->endpoints[0], ':');
	config.port_first = config.port_last = (uint16_t)atoi(colon + 1);
	ops->unregister_region(pair->to.fabric, pair->to.key);
	ops->close(pair->to.fabric);
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_UNREACHABLE);
	ck_assert_int_eq(rdma_open(&verbs_fake, ops, &config, &pair->to.fabric), MC_OK);
	struct fabric_region region = {pair->to.memory, PAIR_MEMORY, "cpu:0", FABRIC_REMOTE_READ};
	/* Its key is another one now: the one that we have is refused, not the path. */
	struct segment_buffer now = pair->to.desc->buffers[0];
	uint32_t rkey[1], lkey[1];
	now.rkey = rkey;
	now.lkey = lkey;
	ck_assert_int_eq(ops->register_region(pair->to.fabric, &region, &now, &pair->to.key),
			 MC_OK);
	ck_assert_int_eq(transfer_retried(pair), MC_ACCESS);
	pair->to.desc->buffers[0].rkey[0] = rkey[0];
	ck_assert_int_eq(transfer_retried(pair), MC_OK);
	pair_free(pair);
}
END_TEST

START_TEST(a_peer_of_another_name_is_refused)
{
	struct pair *pair = pair_new(NULL);
	struct fabric_peer *peer = pair->peer;

	snprintf(pair->to.desc->name, sizeof(pair->to.desc->name), "somebody");
	ck_assert_int_eq(ops->connect(pair->from.fabric, pair->to.desc, &pair->peer), MC_OK);
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_UNREACHABLE);
	ops->disconnect(pair->peer);
	pair->peer = peer;
	pair_free(pair);
}
END_TEST

/* A listener that takes connections and says nothing, or this. */
static int listen_silent(struct pair *pair)
{
	struct net_address address;
	char text[NET_TEXT_SIZE];
	int fd;

	ck_assert_int_eq(net_parse("127.0.0.1:0", &address), MC_OK);
	ck_assert_int_eq(net_listen(&address, &fd), MC_OK);
	ck_assert_int_eq(net_bound(fd, &address), MC_OK);
	net_format(&address, text);
	free(pair->to.desc->endpoints[0]);
	ck_assert_int_gt(asprintf(&pair->to.desc->endpoints[0], "rdma:%s", text), 0);
	return fd;
}

START_TEST(a_peer_that_never_answers_is_given_up)
{
	struct pair *pair = pair_new(NULL);
	struct fabric_peer *peer = pair->peer;
	int fd = listen_silent(pair);

	ck_assert_int_eq(ops->connect(pair->from.fabric, pair->to.desc, &pair->peer), MC_OK);
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_UNREACHABLE);
	ops->disconnect(pair->peer);
	close(fd);
	pair->peer = peer;
	pair_free(pair);
}
END_TEST

START_TEST(deadline_and_cancel_end_what_waits_for_a_connection)
{
	struct pair *pair = pair_new(NULL);
	struct fabric_peer *peer = pair->peer;
	int fd = listen_silent(pair);

	ck_assert_int_eq(ops->connect(pair->from.fabric, pair->to.desc, &pair->peer), MC_OK);
	transfer_init(pair, 0, FABRIC_READ, 0, 64)->deadline_ns = clock_ns() + 20000000;
	transfer_init(pair, 1, FABRIC_READ, 0, 64);
	transfer_start(pair, 0, 2);
	ops->cancel(pair->peer, &pair->transfers[1].slice);
	transfer_wait(pair, 0, 2);
	ck_assert_int_eq(pair->transfers[0].status, MC_TIMEOUT);
	ck_assert_int_eq(pair->transfers[1].status, MC_CANCELLED);
	ops->disconnect(pair->peer);
	close(fd);
	pair->peer = peer;
	pair_free(pair);
}
END_TEST

START_TEST(a_deadline_ends_what_is_posted)
{
	struct pair *pair = pair_new(NULL);

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	fake_hold(true);
	transfer_init(pair, 0, FABRIC_READ, 0, 64)->deadline_ns = clock_ns() + 20000000;
	transfer_start(pair, 0, 1);
	transfer_wait(pair, 0, 1);
	ck_assert_int_eq(pair->transfers[0].status, MC_TIMEOUT);
	fake_hold(false);
	ck_assert_int_eq(transfer_retried(pair), MC_OK);
	pair_free(pair);
}
END_TEST

static const char *const strange[] = {
	"",
	"x",
	"\1\0\0\0\0\0\0\0{",
	"\2\0\0\0\0\0\0\0{}",
	"\377\377\377\377\377\377\377\377",
	"\0\0\0\0\0\0\0\0",
	"\5\0\0\0\0\0\0\0[1,2]",
	"GET / HTTP/1.1\r\n\r\n",
};
static const size_t strange_sizes[] = {0, 1, 9, 10, 8, 8, 13, 18};

START_TEST(strangers_are_not_listened_to)
{
	struct pair *pair = pair_new(NULL);
	struct net_address address;
	char byte;
	int fd;

	ck_assert_int_eq(net_parse(pair->to.desc->endpoints[0] + strlen("rdma:"), &address), MC_OK);
	ck_assert_int_eq(net_connect(&address, 1000, &fd), MC_OK);
	if (strange_sizes[_i])
		ck_assert_int_eq(write(fd, strange[_i], strange_sizes[_i]),
				 (ssize_t)strange_sizes[_i]);
	/* It is closed: at once, or when the time for a handshake is over. */
	ck_assert_int_le(read(fd, &byte, 1), 0);
	close(fd);
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	pair_free(pair);
}
END_TEST

START_TEST(who_is_out_of_descriptors_waits_and_takes_who_waited)
{
	struct pair *pair = pair_new(NULL);
	struct net_address address;
	char byte;
	int fd;

	ck_assert_int_eq(net_parse(pair->to.desc->endpoints[0] + strlen("rdma:"), &address), MC_OK);
	int log = catch_log();
	rlim_t before = leave_one_descriptor();
	ck_assert_int_eq(net_connect(&address, 1000, &fd), MC_OK);
	assert_waits_for_descriptors(log);
	allow_descriptors(before);
	/* It is heard, and talks nonsense. */
	ck_assert_int_eq(write(fd, "GET / HTTP/1.1\r\n\r\n", 18), 18);
	ck_assert_int_le(read(fd, &byte, 1), 0);
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	close(fd);
	close(log);
	pair_free(pair);
}
END_TEST

/* Our end of the connection to the other fabric. */
static int handshake_socket(const struct pair *pair)
{
	struct net_address address, peer;

	ck_assert_int_eq(net_parse(pair->to.desc->endpoints[0] + strlen("rdma:"), &address), MC_OK);
	for (int fd = 0; fd < 1024; fd++) {
		peer.size = sizeof(peer.storage);
		if (getpeername(fd, (struct sockaddr *)&peer.storage, &peer.size) == 0 &&
		    net_port(&peer) == net_port(&address))
			return fd;
	}
	ck_abort_msg("there is no connection");
	return -1;
}

START_TEST(a_peer_whose_machine_is_gone_keeps_no_queue_pairs)
{
	struct pair *pair = pair_new(NULL);
	uint64_t until = clock_ns() + 3 * PAIR_PATIENCE;

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	bool vanishes = vanish_when_closed(handshake_socket(pair));
	ops->disconnect(STEAL(pair->peer));
	while (vanishes && !side_unconnected(&pair->to) && clock_ns() < until)
		poll(NULL, 0, 100);
	pair_free(pair);
}
END_TEST

/* --- at rest --------------------------------------------------------------------------- */

#define MANY_PEERS 100u

/* What the log says of paths: lines, and the counts in them. */
struct said {
	uint32_t lines, paths;
};

static struct said read_said(const char *log, const char *about)
{
	struct said said = {0, 0};
	char line[1024];
	FILE *in = fopen(log, "re");

	ck_assert_ptr_nonnull(in);
	while (fgets(line, sizeof(line), in)) {
		const char *count = strstr(line, about);
		if (!count)
			continue;
		said.lines++;
		said.paths += (uint32_t)strtoul(count + strlen(about), NULL, 10);
	}
	fclose(in);
	return said;
}

static bool all_are_said(void *log)
{
	return read_said(log, "rdma paths down count=").paths >= MANY_PEERS;
}

START_TEST(paths_that_fail_together_are_a_line_a_second)
{
	char log[] = "/tmp/rdma_trouble_XXXXXX";
	int fd = mkstemp(log);
	struct pair *pair = pair_new(NULL);
	struct fabric_peer *usual = pair->peer, *peers[MANY_PEERS];

	ck_assert(fd >= 0 && log_open(log));
	for (uint32_t i = 0; i < MANY_PEERS; i++)
		ck_assert_int_eq(ops->connect(pair->from.fabric, pair->to.desc, &peers[i]), MC_OK);
	uint64_t start = clock_ns();
	fake_fail_work(IBV_WC_RETRY_EXC_ERR, 0, MANY_PEERS);
	for (uint32_t i = 0; i < MANY_PEERS; i++) {
		pair->peer = peers[i];
		ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_UNREACHABLE);
	}
	wait_for(all_are_said, log);
	struct said down = read_said(log, "rdma paths down count=");
	ck_assert_uint_eq(down.paths, MANY_PEERS);
	struct said failed = read_said(log, "rdma work failed count=");
	ck_assert_uint_eq(failed.paths, MANY_PEERS);
	uint64_t seconds = (clock_ns() - start) / 1000000000u;
	ck_assert_uint_le(down.lines, seconds + 1);
	ck_assert_uint_le(failed.lines, seconds + 1);
	for (uint32_t i = 0; i < MANY_PEERS; i++)
		ops->disconnect(peers[i]);
	pair->peer = usual;
	pair_free(pair);
	close(fd);
	unlink(log);
}
END_TEST

/* What was not said yet when a fabric is closed is said then. */
START_TEST(a_path_that_failed_last_is_not_kept_quiet)
{
	char log[] = "/tmp/rdma_trouble_XXXXXX";
	int fd = mkstemp(log);
	struct pair *pair = pair_new(NULL);

	ck_assert(fd >= 0 && log_open(log));
	fake_fail_work(IBV_WC_RETRY_EXC_ERR, 0, 1);
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_UNREACHABLE);
	pair_free(pair);
	ck_assert_uint_eq(read_said(log, "rdma paths down count=").paths, 1);
	close(fd);
	unlink(log);
}
END_TEST

START_TEST(an_idle_fabric_costs_nothing)
{
	struct pair *pair = pair_new(NULL);
	struct fabric_peer *first = pair->peer;
	struct fabric_peer *peers[100];
	struct rusage before, after;

	for (uint32_t i = 0; i < 100; i++) {
		ck_assert_int_eq(ops->connect(pair->from.fabric, pair->to.desc, &peers[i]), MC_OK);
		pair->peer = peers[i];
		ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	}
	poll(NULL, 0, 200);
	getrusage(RUSAGE_SELF, &before);
	poll(NULL, 0, 2000);
	getrusage(RUSAGE_SELF, &after);
	double used = (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec) +
		      (double)(after.ru_stime.tv_sec - before.ru_stime.tv_sec) +
		      (double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec +
			       after.ru_stime.tv_usec - before.ru_stime.tv_usec) /
			      1e6;
	printf("an idle fabric with 100 peers, and its peer: %.2f%% of a core\n", used / 2 * 100);
	/* Both ends are in this process. */
	ck_assert(used < 2 * 2 * 0.01);
	for (uint32_t i = 0; i < 100; i++)
		ops->disconnect(peers[i]);
	pair->peer = first;
	pair_free(pair);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static TCase *failing_case(void)
{
	TCase *tcase = tcase_create("failing");

	tcase_add_loop_test(tcase, open_without_a_device_that_works_says_so, 0, COUNT(open_calls));
	tcase_add_loop_test(tcase, open_goes_on_with_the_devices_that_work, 1, COUNT(open_calls));
	tcase_add_test(tcase, only_the_devices_that_are_named_are_opened);
	tcase_add_loop_test(tcase, a_region_that_one_device_refuses_is_not_registered, 0, 2);
	tcase_add_test(tcase, memory_that_is_read_only_can_be_sent);
	tcase_add_test(tcase, gpu_memory_without_cuda_is_refused);
	tcase_add_loop_test(tcase, a_connection_that_fails_is_made_again, 0, COUNT(connect_calls));
	tcase_add_test(tcase, a_device_that_takes_nothing_inline_is_used_without);
	tcase_add_loop_test(tcase, calls_that_fail_at_the_end_hold_nothing_up, 0, COUNT(end_calls));
	tcase_add_loop_test(tcase, work_that_fails_ends_its_slice_and_no_other_for_good, 0,
			    COUNT(work_cases));
	tcase_add_test(tcase, a_device_that_stops_gives_the_slices_up_in_time);
	tcase_add_loop_test(tcase, after_any_event_transfers_work_again, 0, COUNT(events));
	tcase_add_test(tcase, a_link_that_goes_takes_its_paths_out_until_it_is_proved);
	tcase_add_test(tcase, failures_while_a_link_is_away_do_not_keep_its_path_out);
	tcase_add_test(tcase, far_devices_stand_in_for_near_ones);
	tcase_add_test(tcase, a_gid_that_changed_is_noticed);
	tcase_add_test(tcase, a_lid_that_changed_is_noticed);
	return tcase;
}

static TCase *peers_case(void)
{
	TCase *tcase = tcase_create("peers");

	tcase_add_test(tcase, a_peer_that_restarts_is_connected_to_again);
	tcase_add_test(tcase, a_peer_of_another_name_is_refused);
	tcase_add_test(tcase, a_peer_that_never_answers_is_given_up);
	tcase_add_test(tcase, deadline_and_cancel_end_what_waits_for_a_connection);
	tcase_add_test(tcase, a_deadline_ends_what_is_posted);
	tcase_add_loop_test(tcase, strangers_are_not_listened_to, 0, COUNT(strange));
	tcase_add_test(tcase, who_is_out_of_descriptors_waits_and_takes_who_waited);
	tcase_add_test(tcase, paths_that_fail_together_are_a_line_a_second);
	tcase_add_test(tcase, a_path_that_failed_last_is_not_kept_quiet);
	tcase_add_test(tcase, a_peer_whose_machine_is_gone_keeps_no_queue_pairs);
	tcase_add_test(tcase, an_idle_fabric_costs_nothing);
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("rdma trouble");
	/* Queue pairs connected by librdmacm, and by the handshake alone. */
	TCase *tcases[] = {failing_case(), peers_case(), failing_case(), peers_case()};

	for (int i = 0; i < COUNT(tcases); i++) {
		tcase_set_timeout(tcases[i], 120);
		tcase_add_checked_fixture(tcases[i], i < 2 ? set_up : set_up_handshake, tear_down);
		suite_add_tcase(suite, tcases[i]);
	}
	return suite_run(suite);
}
