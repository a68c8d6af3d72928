/*
 * Queue pairs that librdmacm connects (a fake one): whichever call fails, whatever
 * event comes, slices end with a status that says what to do, it works again
 * afterwards, and no id, channel or event is left (pair_free() counts).  Where one
 * end can't, connections are made by the handshake alone.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#include "tests/support/suite.h"
#include "tests/unit/fabric/rdma/pair.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define QPS_EACH     2u

static void set_up(void)
{
	/* What is provoked here is logged; that is not what is looked at. */
	ck_assert(log_open("/dev/null"));
	fake_reset(1);
}

static void tear_down(void)
{
	unsetenv("MC_CONNECT_TIMEOUT_MS");
}

static void check_made(const struct pair *pair, uint64_t all, uint64_t by_cm)
{
	ck_assert_uint_eq(counters_of(&pair->from).connects, all);
	ck_assert_uint_eq(counters_of(&pair->from).connects_cm, by_cm);
}

/* Disconnect, and connect again. */
static void connect_again(struct pair *pair)
{
	ops->disconnect(pair->peer);
	ck_assert_int_eq(ops->connect(pair->from.fabric, pair->to.desc, &pair->peer), MC_OK);
	ck_assert_int_eq(transfer_retried(pair), MC_OK);
}

/* --- both ends can ------------------------------------------------------------------- */

static const union ibv_gid addresses[] = {
	{.raw = {[10] = 0xff, [11] = 0xff, 192, 168, 7, 1}},
	{.raw = {0x20, 0x01, 0x0d, 0xb8, [15] = 9}},
};

START_TEST(every_queue_pair_is_connected_at_its_gids_address)
{
	fake_device(0)->gids[0].gid = addresses[_i];
	struct pair *pair = pair_new(NULL);

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 4096), MC_OK);
	check_made(pair, 1, 1);
	ck_assert_uint_eq(fake_cm_called(FAKE_CM_CONNECT), QPS_EACH);
	/* An id a queue pair at either end, and two listeners. */
	ck_assert_uint_eq(fake_cm_counts().ids, 2 * QPS_EACH + 2);
	pair_free(pair);
}
END_TEST

static const struct {
	struct fake_cm_way way;
	const char *variable, *value;
	struct fake_cm_way got;
} ways[] = {
	/* The port's MTU is 1024, the default timeout 14. */
	{{IBV_MTU_4096, 18, 0, 0}, NULL, NULL, {IBV_MTU_1024, 14, 0, 0}},
	{{IBV_MTU_512, 9, 3, 106}, NULL, NULL, {IBV_MTU_512, 9, 3, 106}},
	{{IBV_MTU_512, 9, 3, 106}, "MC_MTU", "256", {IBV_MTU_256, 9, 3, 106}},
	{{IBV_MTU_512, 9, 3, 106}, "MC_IB_TIMEOUT", "7", {IBV_MTU_512, 7, 3, 106}},
	{{IBV_MTU_512, 9, 3, 106}, "MC_IB_SL", "5", {IBV_MTU_512, 9, 5, 106}},
	{{IBV_MTU_512, 9, 3, 106}, "MC_IB_TC", "98", {IBV_MTU_512, 9, 3, 98}},
};

START_TEST(the_way_that_was_found_is_taken_within_the_configured_bounds)
{
	const struct fake_cm_way *got = &ways[_i].got;

	*fake_cm_way() = ways[_i].way;
	if (ways[_i].variable)
		setenv(ways[_i].variable, ways[_i].value, 1);
	struct pair *pair = pair_new(NULL);
	if (ways[_i].variable)
		unsetenv(ways[_i].variable);
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 4096), MC_OK);
	check_made(pair, 1, 1);
	struct ibv_qp_attr last = fake_counts().last;
	ck_assert_int_eq(last.path_mtu, got->mtu);
	ck_assert_uint_eq(last.timeout, got->timeout);
	ck_assert_uint_eq(last.ah_attr.sl, got->service_level);
	ck_assert_uint_eq(last.ah_attr.grh.traffic_class, got->traffic_class);
	/* Not the other index of the same address. */
	ck_assert_uint_eq(last.ah_attr.grh.sgid_index, 0);
	pair_free(pair);
}
END_TEST

/* --- what fails ------------------------------------------------------------------------- */

/* While a connection of two queue pairs is made. */
static const struct {
	enum fake_cm_call call;
	uint32_t after;
} connect_calls[] = {
	{FAKE_CM_CREATE_ID, 0},	   {FAKE_CM_CREATE_ID, 1},     {FAKE_CM_RESOLVE_ADDR, 0},
	{FAKE_CM_RESOLVE_ADDR, 1}, {FAKE_CM_RESOLVE_ROUTE, 0}, {FAKE_CM_RESOLVE_ROUTE, 1},
	{FAKE_CM_CONNECT, 0},	   {FAKE_CM_CONNECT, 1},       {FAKE_CM_ACCEPT, 0},
	{FAKE_CM_ACCEPT, 1},	   {FAKE_CM_ESTABLISH, 0},     {FAKE_CM_ESTABLISH, 1},
	{FAKE_CM_INIT_QP_ATTR, 0}, {FAKE_CM_INIT_QP_ATTR, 1},  {FAKE_CM_INIT_QP_ATTR, 2},
	{FAKE_CM_INIT_QP_ATTR, 3}, {FAKE_CM_INIT_QP_ATTR, 4},  {FAKE_CM_INIT_QP_ATTR, 5},
	{FAKE_CM_INIT_QP_ATTR, 6}, {FAKE_CM_INIT_QP_ATTR, 7},
};

/* The first connection fails; then by the handshake alone, the next by librdmacm again. */
static void check_made_without(struct pair *pair)
{
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 4096), MC_UNREACHABLE);
	ck_assert_int_eq(transfer_retried(pair), MC_OK);
	check_made(pair, 1, 0);
	connect_again(pair);
	check_made(pair, 2, 1);
}

START_TEST(a_connection_of_which_a_call_fails_is_made_without_librdmacm)
{
	struct pair *pair = pair_new(NULL);

	fake_cm_fail(connect_calls[_i].call, connect_calls[_i].after, 1, ENOMEM);
	check_made_without(pair);
	pair_free(pair);
}
END_TEST

START_TEST(an_id_that_does_not_end_well_is_gone_all_the_same)
{
	struct pair *pair = pair_new(NULL);

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	fake_cm_fail(FAKE_CM_DESTROY_ID, 0, 3, EIO);
	pair_free(pair);
}
END_TEST

static const struct {
	enum rdma_cm_event_type expected;
	int given;
} steps[] = {
	{RDMA_CM_EVENT_ADDR_RESOLVED, RDMA_CM_EVENT_ADDR_ERROR},
	{RDMA_CM_EVENT_ADDR_RESOLVED, RDMA_CM_EVENT_DEVICE_REMOVAL},
	{RDMA_CM_EVENT_ROUTE_RESOLVED, RDMA_CM_EVENT_ROUTE_ERROR},
	{RDMA_CM_EVENT_CONNECT_RESPONSE, RDMA_CM_EVENT_REJECTED},
	{RDMA_CM_EVENT_CONNECT_RESPONSE, RDMA_CM_EVENT_UNREACHABLE},
	{RDMA_CM_EVENT_CONNECT_RESPONSE, RDMA_CM_EVENT_CONNECT_ERROR},
};

START_TEST(a_connection_of_which_a_step_fails_is_made_without_librdmacm)
{
	struct pair *pair = pair_new(NULL);

	fake_cm_replace(steps[_i].expected, steps[_i].given, 1);
	check_made_without(pair);
	pair_free(pair);
}
END_TEST

static const enum rdma_cm_event_type awaited[] = {
	RDMA_CM_EVENT_ADDR_RESOLVED, RDMA_CM_EVENT_ROUTE_RESOLVED, RDMA_CM_EVENT_CONNECT_REQUEST,
	RDMA_CM_EVENT_CONNECT_RESPONSE};

START_TEST(what_got_lost_is_asked_for_again)
{
	/* A quarter of it is waited for the first answer. */
	setenv("MC_CONNECT_TIMEOUT_MS", "8000", 1);
	struct pair *pair = pair_new(NULL);

	fake_cm_replace(awaited[_i], FAKE_CM_SILENCE, 1);
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 4096), MC_OK);
	check_made(pair, 1, 1);
	/* Two listeners, and one of the queue pairs at least twice. */
	ck_assert_uint_gt(fake_cm_called(FAKE_CM_CREATE_ID), 2 + QPS_EACH);
	ck_assert_uint_eq(fake_cm_counts().ids, 2 + 2 * QPS_EACH);
	pair_free(pair);
}
END_TEST

START_TEST(a_peer_that_never_hears_is_given_up)
{
	setenv("MC_CONNECT_TIMEOUT_MS", "300", 1);
	struct pair *pair = pair_new(NULL);

	fake_cm_replace(awaited[_i], FAKE_CM_SILENCE, 1000000);
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 4096), MC_UNREACHABLE);
	fake_cm_replace(awaited[_i], FAKE_CM_SILENCE, 0);
	ck_assert_int_eq(transfer_retried(pair), MC_OK);
	pair_free(pair);
}
END_TEST

START_TEST(who_answered_needs_to_hear_no_more)
{
	setenv("MC_CONNECT_TIMEOUT_MS", "2000", 1);
	struct pair *pair = pair_new(NULL);

	fake_cm_replace(RDMA_CM_EVENT_ESTABLISHED, FAKE_CM_SILENCE, QPS_EACH);
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	poll(NULL, 0, 2300);
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	check_made(pair, 1, 1);
	pair_free(pair);
}
END_TEST

static const struct {
	enum rdma_cm_event_type type;
	bool ends;
} later[] = {
	{RDMA_CM_EVENT_DISCONNECTED, true},	{RDMA_CM_EVENT_ADDR_CHANGE, true},
	{RDMA_CM_EVENT_DEVICE_REMOVAL, true},	{RDMA_CM_EVENT_TIMEWAIT_EXIT, false},
	{RDMA_CM_EVENT_MULTICAST_ERROR, false},
};

static bool path_is_down(void *context)
{
	struct pair *pair = context;

	return counters_of(&pair->from).connections == 0;
}

START_TEST(a_connection_ends_by_the_events_that_end_it)
{
	struct pair *pair = pair_new(NULL);

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	fake_cm_raise(false, later[_i].type);
	if (later[_i].ends)
		wait_for(path_is_down, pair);
	ck_assert_int_eq(transfer_retried(pair), MC_OK);
	check_made(pair, later[_i].ends ? 2 : 1, later[_i].ends ? 2 : 1);
	pair_free(pair);
}
END_TEST

/* --- one end can't ----------------------------------------------------------------------- */

static const enum fake_cm_call listen_calls[] = {FAKE_CM_CREATE_CHANNEL, FAKE_CM_CREATE_ID,
						 FAKE_CM_BIND_ADDR, FAKE_CM_LISTEN};

START_TEST(where_one_end_can_not_listen_the_handshake_is_enough)
{
	struct pair *pair;

	/* The first call is of the side that connects, the second of the other. */
	fake_cm_fail(listen_calls[_i / 2], (uint32_t)_i % 2, 1, ENODEV);
	pair = pair_new(NULL);
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 4096), MC_OK);
	check_made(pair, 1, 0);
	ck_assert_uint_eq(fake_cm_called(FAKE_CM_CONNECT), 0);
	pair_free(pair);
}
END_TEST

START_TEST(it_can_be_turned_off)
{
	setenv("MC_RDMA_CM", "0", 1);
	struct pair *pair = pair_new(NULL);

	unsetenv("MC_RDMA_CM");
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 4096), MC_OK);
	check_made(pair, 1, 0);
	ck_assert_uint_eq(fake_cm_called(FAKE_CM_CREATE_CHANNEL), 0);
	pair_free(pair);
}
END_TEST

START_TEST(an_address_of_another_device_is_not_listened_at)
{
	fake_reset(2);
	/* Both have it; the first one is found by it. */
	fake_device(1)->gids[0].gid = fake_device(0)->gids[0].gid;
	struct pair *pair = pair_new("{\"cpu:0\":[[\"fake1\"],[\"fake0\"]]}");

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 4096), MC_OK);
	check_made(pair, 1, 0);
	pair_free(pair);
}
END_TEST

START_TEST(infiniband_is_connected_by_the_handshake)
{
	fake_infiniband(0, 7);
	struct pair *pair = pair_new(NULL);

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 4096), MC_OK);
	check_made(pair, 1, 0);
	pair_free(pair);
}
END_TEST

static bool nobody_listens(void *context)
{
	(void)context;
	return fake_cm_counts().ids == 0;
}

static bool both_listen(void *context)
{
	(void)context;
	return fake_cm_counts().ids == 2;
}

static const enum rdma_cm_event_type listener_ends[] = {RDMA_CM_EVENT_DEVICE_REMOVAL,
							RDMA_CM_EVENT_ADDR_CHANGE};

START_TEST(a_listener_that_goes_is_made_again_with_the_port)
{
	struct pair *pair = pair_new(NULL);

	fake_cm_raise(true, listener_ends[_i]);
	wait_for(nobody_listens, NULL);
	connect_again(pair);
	check_made(pair, 1, 0);
	ops->disconnect(pair->peer);
	pair->peer = NULL;
	fake_event(0, IBV_EVENT_PORT_ACTIVE);
	wait_for(both_listen, NULL);
	ck_assert_int_eq(ops->connect(pair->from.fabric, pair->to.desc, &pair->peer), MC_OK);
	ck_assert_int_eq(transfer_retried(pair), MC_OK);
	check_made(pair, 2, 1);
	pair_free(pair);
}
END_TEST

START_TEST(a_gid_that_changed_is_listened_at)
{
	struct pair *pair = pair_new(NULL);
	uint32_t before = fake_cm_called(FAKE_CM_LISTEN);

	fake_device(0)->gids[0].gid = fake_mapped_gid(77);
	fake_event(0, IBV_EVENT_GID_CHANGE);
	for (uint64_t until = clock_ns() + PAIR_PATIENCE;
	     fake_cm_called(FAKE_CM_LISTEN) < before + 2 && clock_ns() < until;)
		poll(NULL, 0, 1);
	ck_assert_int_eq(transfer_retried(pair), MC_OK);
	check_made(pair, 1, 1);
	pair_free(pair);
}
END_TEST

/* --- strangers ---------------------------------------------------------------------------- */

/* The next event of a channel that is not this one. */
static enum rdma_cm_event_type next_event(struct rdma_event_channel *channel)
{
	struct rdma_cm_event *event;
	enum rdma_cm_event_type type;

	ck_assert_int_eq(rdmacm_fake.get_event(channel, &event), 0);
	type = event->event;
	ck_assert_int_eq(rdmacm_fake.ack_event(event), 0);
	return type;
}

static const struct {
	uint8_t data[12];
	uint8_t size;
} strange[] = {
	{"", 0},
	{"MCC1", 4},
	{"XXXX\1\0\0\0\1\0\0\0", 12},
	{"MCC1\1\0\0\0\1\0\0\0", 12},
	{"MCC1\377\377\377\377\377\377\377\377", 12},
};

START_TEST(who_was_not_told_what_to_ask_for_is_rejected)
{
	struct pair *pair = pair_new(NULL);
	struct rdma_event_channel *channel = rdmacm_fake.create_channel();
	struct rdma_cm_id *id;
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000001)};
	struct sockaddr_in to = from;

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	to.sin_port = htons(fake_cm_port());
	ck_assert_int_eq(rdmacm_fake.create_id(channel, &id, NULL, RDMA_PS_TCP), 0);
	ck_assert_int_eq(rdmacm_fake.resolve_addr(id, (struct sockaddr *)&from,
						  (struct sockaddr *)&to, 1000),
			 0);
	ck_assert_int_eq(next_event(channel), RDMA_CM_EVENT_ADDR_RESOLVED);
	struct rdma_conn_param param = {.private_data = strange[_i].data,
					.private_data_len = strange[_i].size};
	ck_assert_int_eq(rdmacm_fake.connect(id, &param), 0);
	ck_assert_int_eq(next_event(channel), RDMA_CM_EVENT_REJECTED);
	rdmacm_fake.destroy_id(id);
	rdmacm_fake.destroy_channel(channel);
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	check_made(pair, 1, 1);
	pair_free(pair);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rdma cm");
	TCase *tcase = tcase_create("cm");

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, every_queue_pair_is_connected_at_its_gids_address, 0,
			    COUNT(addresses));
	tcase_add_loop_test(tcase, the_way_that_was_found_is_taken_within_the_configured_bounds, 0,
			    COUNT(ways));
	tcase_add_loop_test(tcase, a_connection_of_which_a_call_fails_is_made_without_librdmacm, 0,
			    COUNT(connect_calls));
	tcase_add_test(tcase, an_id_that_does_not_end_well_is_gone_all_the_same);
	tcase_add_loop_test(tcase, a_connection_of_which_a_step_fails_is_made_without_librdmacm, 0,
			    COUNT(steps));
	tcase_add_loop_test(tcase, what_got_lost_is_asked_for_again, 0, COUNT(awaited));
	tcase_add_loop_test(tcase, a_peer_that_never_hears_is_given_up, 0, COUNT(awaited));
	tcase_add_test(tcase, who_answered_needs_to_hear_no_more);
	tcase_add_loop_test(tcase, a_connection_ends_by_the_events_that_end_it, 0, COUNT(later));
	tcase_add_loop_test(tcase, where_one_end_can_not_listen_the_handshake_is_enough, 0,
			    2 * COUNT(listen_calls));
	tcase_add_test(tcase, it_can_be_turned_off);
	tcase_add_test(tcase, an_address_of_another_device_is_not_listened_at);
	tcase_add_test(tcase, infiniband_is_connected_by_the_handshake);
	tcase_add_loop_test(tcase, a_listener_that_goes_is_made_again_with_the_port, 0,
			    COUNT(listener_ends));
	tcase_add_test(tcase, a_gid_that_changed_is_listened_at);
	tcase_add_loop_test(tcase, who_was_not_told_what_to_ask_for_is_rejected, 0, COUNT(strange));
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
