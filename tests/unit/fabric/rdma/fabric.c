/*
 * Slices over fake NICs: what is moved, how it is posted, and that neither queue
 * is ever asked for more than it has.
 */
#include "tests/support/suite.h"
#include "tests/unit/fabric/rdma/pair.h"

#define QPS_EACH 2u

static void set_up(void)
{
	log_set_level("error");
	fake_reset(1);
}

static void tear_down(void)
{
	unsetenv("MC_MAX_WR");
	unsetenv("MC_MAX_CQE_PER_CTX");
	unsetenv("MC_NUM_QP_PER_EP");
	unsetenv("MC_MAX_EP_PER_CTX");
	unsetenv("MC_NUM_CQ_PER_CTX");
}

START_TEST(a_read_brings_the_peers_bytes)
{
	struct pair *pair = pair_new(NULL);

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 4096, 65536), MC_OK);
	ck_assert_mem_eq(pair->from.memory + 4096, pair->to.memory + 4096, 65536);
	ck_assert_uint_eq(counters_of(&pair->from).bytes_read, 65536);
	ck_assert_uint_eq(counters_of(&pair->from).connections, QPS_EACH);
	pair_free(pair);
}
END_TEST

START_TEST(a_write_takes_ours_there)
{
	static const uint32_t sizes[] = {1, 64, 65, 4096, 65536};
	struct pair *pair = pair_new(NULL);

	memset(pair->from.memory, 0x5a, PAIR_MEMORY);
	ck_assert_int_eq(transfer_one(pair, FABRIC_WRITE, 123, sizes[_i]), MC_OK);
	ck_assert_mem_eq(pair->from.memory + 123, pair->to.memory + 123, sizes[_i]);
	ck_assert_int_ne(pair->to.memory[123 + sizes[_i]], 0x5a);
	pair_free(pair);
}
END_TEST

START_TEST(slices_go_out_in_chains_with_few_completions)
{
	struct pair *pair = pair_new(NULL);

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 8), MC_OK);
	struct fake_counts before = fake_counts();
	for (uint32_t i = 0; i < 128; i++)
		transfer_init(pair, i, FABRIC_READ, i * 4096, 4096);
	transfer_start(pair, 0, 128);
	transfer_wait(pair, 0, 128);
	struct fake_counts after = fake_counts();
	ck_assert_mem_eq(pair->from.memory, pair->to.memory, 128 * 4096);
	ck_assert_uint_eq(after.posted - before.posted, 128);
	ck_assert_uint_le(after.doorbells - before.doorbells, 2);
	ck_assert_uint_le(after.signalled - before.signalled, 4);
	pair_free(pair);
}
END_TEST

START_TEST(neither_queue_overruns_however_small)
{
	static const char *const depths[][2] = {
		{"2", "16"}, {"4", "16"}, {"256", "16"}, {"3", "64"}};

	setenv("MC_MAX_WR", depths[_i][0], 1);
	setenv("MC_MAX_CQE_PER_CTX", depths[_i][1], 1);
	struct pair *pair = pair_new(NULL);
	for (uint32_t round = 0; round < 4; round++) {
		for (uint32_t i = 0; i < 1024; i++)
			transfer_init(pair, i, round & 1 ? FABRIC_WRITE : FABRIC_READ, i * 512,
				      512);
		/* With some of them failing, each makes a completion. */
		if (round >= 2)
			fake_fail_work(IBV_WC_REM_ACCESS_ERR, 100, 1);
		transfer_start(pair, 0, 1024);
		transfer_wait(pair, 0, 1024);
	}
	pair_free(pair);
}
END_TEST

START_TEST(submit_takes_what_has_room_while_work_is_kept_back)
{
	setenv("MC_MAX_WR", "8", 1);
	struct pair *pair = pair_new(NULL);
	struct fabric_slice *slices[64];
	uint32_t taken, more;

	fake_hold(true);
	for (uint32_t i = 0; i < 64; i++)
		slices[i] = transfer_init(pair, i, FABRIC_READ, i * 64, 64);
	ck_assert_int_eq(ops->submit(pair->peer, slices, 64, &taken), MC_OK);
	ck_assert_uint_ge(taken, 2 * 8);
	ck_assert_uint_lt(taken, 64);
	ck_assert_int_eq(ops->submit(pair->peer, slices + taken, 64 - taken, &more), MC_OK);
	ck_assert_uint_le(more, 2);
	fake_hold(false);
	transfer_wait(pair, 0, taken + more);
	pair_free(pair);
}
END_TEST

START_TEST(the_completion_queue_has_room_when_everything_is_flushed)
{
	setenv("MC_MAX_CQE_PER_CTX", "32", 1);
	setenv("MC_NUM_QP_PER_EP", "4", 1);
	struct pair *pair = pair_new(NULL);
	struct fabric_slice *slices[256];
	uint32_t taken;

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	fake_hold(true);
	for (uint32_t i = 0; i < 256; i++)
		slices[i] = transfer_init(pair, i, FABRIC_READ, i * 64, 64);
	ck_assert_int_eq(ops->submit(pair->peer, slices, 256, &taken), MC_OK);
	/* Work that fails makes a completion each, whether it asked for one or not. */
	fake_fail_work(IBV_WC_RETRY_EXC_ERR, 0, 256);
	fake_hold(false);
	transfer_wait(pair, 0, taken);
	fake_fail_work(IBV_WC_SUCCESS, 0, 0);
	pair_free(pair);
}
END_TEST

START_TEST(stale_keys_and_wrong_addresses_are_refused)
{
	struct pair *pair = pair_new(NULL);
	struct segment_buffer other = pair->to.desc->buffers[0];
	uint32_t rkey = 12345;

	other.rkey = &rkey;
	transfer_init(pair, 0, FABRIC_READ, 0, 64)->buffer = &other;
	transfer_start(pair, 0, 1);
	transfer_wait(pair, 0, 1);
	ck_assert_int_eq(pair->transfers[0].status, MC_ACCESS);
	transfer_init(pair, 0, FABRIC_WRITE, 0, 64)->remote += PAIR_MEMORY;
	transfer_start(pair, 0, 1);
	transfer_wait(pair, 0, 1);
	ck_assert_int_eq(pair->transfers[0].status, MC_ACCESS);
	/* The path is not at fault. */
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	pair_free(pair);
}
END_TEST

START_TEST(what_a_region_does_not_allow_is_refused)
{
	struct pair *pair = pair_new(NULL);
	struct segment_buffer other = pair->to.desc->buffers[0];
	uint32_t rkey[1], lkey[1];
	const void *key;
	struct fabric_region region = {pair->to.memory, 4096, "*", FABRIC_REMOTE_READ};

	other.rkey = rkey;
	other.lkey = lkey;
	ck_assert_int_eq(ops->register_region(pair->to.fabric, &region, &other, &key), MC_OK);
	ck_assert_int_eq(fake_counts().last_access &
				 (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ),
			 IBV_ACCESS_REMOTE_READ);
	ck_assert_int_ne(fake_counts().last_access & IBV_ACCESS_RELAXED_ORDERING, 0);
	transfer_init(pair, 0, FABRIC_READ, 0, 64)->buffer = &other;
	transfer_start(pair, 0, 1);
	transfer_wait(pair, 0, 1);
	ck_assert_int_eq(pair->transfers[0].status, MC_OK);
	transfer_init(pair, 0, FABRIC_WRITE, 0, 64)->buffer = &other;
	transfer_start(pair, 0, 1);
	transfer_wait(pair, 0, 1);
	ck_assert_int_eq(pair->transfers[0].status, MC_ACCESS);
	ops->unregister_region(pair->to.fabric, key);
	transfer_init(pair, 0, FABRIC_READ, 0, 64)->buffer = &other;
	transfer_start(pair, 0, 1);
	transfer_wait(pair, 0, 1);
	ck_assert_int_eq(pair->transfers[0].status, MC_ACCESS);
	pair_free(pair);
}
END_TEST

START_TEST(near_devices_share_the_slices)
{
	fake_reset(3);
	struct pair *pair = pair_new("{\"cpu:0\":[[\"fake0\",\"fake1\"],[\"fake2\"]]}");

	ck_assert_uint_eq(ops->paths(pair->peer, pair->from.key, &pair->to.desc->buffers[0]), 2);
	for (uint32_t i = 0; i < 64; i++)
		transfer_init(pair, i, FABRIC_READ, i * 4096, 4096);
	transfer_start(pair, 0, 64);
	transfer_wait(pair, 0, 64);
	ck_assert_mem_eq(pair->from.memory, pair->to.memory, 64 * 4096);
	/* Two pairs of devices are connected, the far one is not. */
	ck_assert_uint_eq(counters_of(&pair->from).connections, 2 * QPS_EACH);
	pair_free(pair);
}
END_TEST

START_TEST(the_store_of_endpoints_is_bounded)
{
	setenv("MC_MAX_EP_PER_CTX", "4", 1);
	struct pair *pair = pair_new(NULL);
	struct fabric_peer *first = pair->peer;
	struct fabric_peer *peers[32];

	for (uint32_t i = 0; i < 32; i++) {
		ck_assert_int_eq(ops->connect(pair->from.fabric, pair->to.desc, &peers[i]), MC_OK);
		pair->peer = peers[i];
		ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 4096), MC_OK);
		/* One more may be on its way out. */
		ck_assert_uint_le(counters_of(&pair->from).connections, 6 * QPS_EACH);
	}
	/* One that was evicted connects again. */
	pair->peer = peers[0];
	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 4096), MC_OK);
	for (uint32_t i = 0; i < 32; i++)
		ops->disconnect(peers[i]);
	pair->peer = first;
	pair_free(pair);
}
END_TEST

START_TEST(a_thousand_connects_leave_nothing)
{
	struct pair *pair = pair_new(NULL);

	for (uint32_t i = 0; i < 1000; i++) {
		ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
		ops->disconnect(pair->peer);
		ck_assert_uint_eq(counters_of(&pair->from).connections, 0);
		ck_assert_int_eq(ops->connect(pair->from.fabric, pair->to.desc, &pair->peer),
				 MC_OK);
	}
	ck_assert_uint_eq(counters_of(&pair->from).connects, 1000);
	pair_free(pair);
}
END_TEST

START_TEST(disconnect_ends_what_is_in_flight)
{
	struct pair *pair = pair_new(NULL);

	ck_assert_int_eq(transfer_one(pair, FABRIC_READ, 0, 64), MC_OK);
	fake_hold(true);
	for (uint32_t i = 0; i < 16; i++)
		transfer_init(pair, i, FABRIC_READ, i * 64, 64);
	transfer_start(pair, 0, 16);
	ops->disconnect(pair->peer);
	pair->peer = NULL;
	for (uint32_t i = 0; i < 16; i++) {
		ck_assert_int_eq(atomic_load(&pair->transfers[i].ended), 1);
		ck_assert_int_eq(pair->transfers[i].status, MC_CANCELLED);
	}
	fake_hold(false);
	pair_free(pair);
}
END_TEST

START_TEST(slices_end_without_anybody_making_progress)
{
	struct pair *pair = pair_new(NULL);
	uint64_t until = clock_ns() + PAIR_PATIENCE;

	for (uint32_t i = 0; i < 100; i++) {
		transfer_init(pair, i, FABRIC_READ, 0, 64);
		transfer_start(pair, i, 1);
		while (!atomic_load(&pair->transfers[i].ended) && clock_ns() < until)
			sched_yield();
		ck_assert_int_eq(pair->transfers[i].status, MC_OK);
	}
	pair_free(pair);
}
END_TEST

START_TEST(several_completion_queues_share_the_queue_pairs)
{
	setenv("MC_NUM_CQ_PER_CTX", "3", 1);
	setenv("MC_NUM_QP_PER_EP", "3", 1);
	struct pair *pair = pair_new(NULL);

	for (uint32_t i = 0; i < 256; i++)
		transfer_init(pair, i, FABRIC_READ, i * 4096, 4096);
	transfer_start(pair, 0, 256);
	transfer_wait(pair, 0, 256);
	ck_assert_mem_eq(pair->from.memory, pair->to.memory, PAIR_MEMORY);
	pair_free(pair);
}
END_TEST

START_TEST(a_descriptor_of_another_protocol_is_not_for_us)
{
	struct pair *pair = pair_new(NULL);
	struct segment_desc *desc;
	struct fabric_peer *peer;

	ck_assert_int_eq(segment_desc_new(SEGMENT_TCP, "other", &desc), MC_OK);
	ck_assert_int_eq(ops->connect(pair->from.fabric, desc, &peer), MC_NOT_SUPPORTED);
	segment_desc_unref(desc);
	pair_free(pair);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rdma fabric");
	TCase *tcase = tcase_create("slices");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, a_read_brings_the_peers_bytes);
	tcase_add_loop_test(tcase, a_write_takes_ours_there, 0, 5);
	tcase_add_test(tcase, slices_go_out_in_chains_with_few_completions);
	tcase_add_loop_test(tcase, neither_queue_overruns_however_small, 0, 4);
	tcase_add_test(tcase, the_completion_queue_has_room_when_everything_is_flushed);
	tcase_add_test(tcase, submit_takes_what_has_room_while_work_is_kept_back);
	tcase_add_test(tcase, stale_keys_and_wrong_addresses_are_refused);
	tcase_add_test(tcase, what_a_region_does_not_allow_is_refused);
	tcase_add_test(tcase, near_devices_share_the_slices);
	tcase_add_test(tcase, the_store_of_endpoints_is_bounded);
	tcase_add_test(tcase, a_thousand_connects_leave_nothing);
	tcase_add_test(tcase, disconnect_ends_what_is_in_flight);
	tcase_add_test(tcase, slices_end_without_anybody_making_progress);
	tcase_add_test(tcase, several_completion_queues_share_the_queue_pairs);
	tcase_add_test(tcase, a_descriptor_of_another_protocol_is_not_for_us);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
