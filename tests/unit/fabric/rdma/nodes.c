/* Engines whose memory lies on two NUMA nodes, each with a NIC of its own (fake ones). */
#include <check.h>
#include <mooncake/engine.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/log.h"
#include "engine/engine.h"
#include "engine/fabric/rdma/rdma.h"
#include "tests/support/fake_verbs.h"
#include "tests/support/suite.h"

#define SIZE	 (4ull << 20)
#define BORDER	 (1ull << 20) /* from here on it is on node 1 */
#define PRIORITY "{\"cpu:0\":[[\"fake0\"],[\"fake1\"]],\"cpu:1\":[[\"fake1\"],[\"fake0\"]]}"

static struct fabric_ops fake_ops;
static const struct fabric_ops *const fabrics[] = {&fake_ops, NULL};

static enum mc_status open_fake(const struct fabric_config *config, struct fabric **fabric)
{
	return rdma_open(&verbs_fake, &fake_ops, config, fabric);
}

static uint8_t *here, *there;

/* Of either memory the first BORDER bytes are on node 0, unless all are interleaved. */
static bool interleaved;

static bool ask_test(void **pages, size_t count, int *nodes)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t *page = pages[i];
		uint64_t at =
			(uint64_t)(page - (page >= here && page < here + SIZE ? here : there));
		nodes[i] = interleaved ? (int)(at / 4096 % 2) : at >= BORDER;
	}
	return true;
}

static struct mc_engine *open_named(const char *name)
{
	struct mc_engine_config config = {.metadata = "memory://nodes",
					  .name = name,
					  .listen = "127.0.0.1",
					  .announce = "127.0.0.1",
					  .priority = PRIORITY,
					  .notifications = true};
	struct mc_engine *engine;

	ck_assert_int_eq(engine_open(&config, fabrics, &engine), MC_OK);
	engine->ask_pages = ask_test;
	return engine;
}

static struct mc_engine *near, *far;
static mc_segment_id segment;

static void set_up(void)
{
	log_set_level("error");
	fake_reset(2);
	interleaved = false;
	fake_ops = fabric_rdma_ops;
	fake_ops.open = open_fake;
	here = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	there = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert(here != MAP_FAILED && there != MAP_FAILED);
	near = open_named("near");
	far = open_named("far");
}

static void tear_down(void)
{
	mc_engine_close(near);
	mc_engine_close(far);
	munmap(here, SIZE);
	munmap(there, SIZE);
}

static void lend(const char *location)
{
	ck_assert_int_eq(mc_engine_register(far, there, SIZE, location, MC_REGION_DEFAULT), MC_OK);
	ck_assert_int_eq(mc_engine_register(near, here, SIZE, location, MC_REGION_LOCAL), MC_OK);
	ck_assert_int_eq(mc_segment_open(near, "far", 0, &segment), MC_OK);
}

/* The descriptor as peers have it. */
static const struct segment_desc *desc(void)
{
	return near->segments.table[segment]->target->desc;
}

static void assert_buffer(uint32_t index, const char *name, uint64_t first, uint64_t length)
{
	const struct segment_buffer *buffer = &desc()->buffers[index];

	ck_assert_str_eq(buffer->name, name);
	ck_assert_uint_eq(buffer->addr, (uintptr_t)there + first);
	ck_assert_uint_eq(buffer->length, length);
	ck_assert_uint_ne(buffer->rkey[0], 0);
	ck_assert_uint_ne(buffer->rkey[1], 0);
}

static void read_all(void)
{
	struct mc_request request = {MC_READ, here, segment, (uintptr_t)there, SIZE};
	struct mc_batch *batch;

	for (uint64_t i = 0; i < SIZE; i++)
		there[i] = (uint8_t)(i * 2654435761u >> 9);
	ck_assert_int_eq(mc_batch_new(near, 1, &batch), MC_OK);
	ck_assert_int_eq(mc_batch_submit(batch, &request, 1), MC_OK);
	ck_assert_int_eq(mc_batch_wait(batch, 20000), MC_OK);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	ck_assert_mem_eq(here, there, SIZE);
}

START_TEST(the_descriptor_lists_a_buffer_a_node_and_each_goes_by_its_own_nic)
{
	lend("*");
	ck_assert_uint_eq(desc()->buffer_count, 2);
	assert_buffer(0, "cpu:0", 0, BORDER);
	assert_buffer(1, "cpu:1", BORDER, SIZE - BORDER);
	read_all();
	struct fake_counts counts = fake_counts();
	ck_assert_uint_eq(counts.moved[0][0], BORDER);
	ck_assert_uint_eq(counts.moved[1][1], SIZE - BORDER);
	/* One registration, whatever it was made of. */
	ck_assert_int_eq(mc_engine_unregister(far, there + BORDER), MC_NOT_FOUND);
	ck_assert_int_eq(mc_engine_unregister(far, there), MC_OK);
	ck_assert_int_eq(mc_segment_sync(near, NULL), MC_OK);
	ck_assert_uint_eq(desc()->buffer_count, 0);
}
END_TEST

START_TEST(what_is_to_stay_whole_is_one_buffer_near_to_every_nic)
{
	lend(NULL);
	ck_assert_uint_eq(desc()->buffer_count, 1);
	assert_buffer(0, "*", 0, SIZE);
	read_all();
	struct fake_counts counts = fake_counts();
	ck_assert_uint_gt(counts.moved[0][0], 0);
	ck_assert_uint_gt(counts.moved[1][1], 0);
}
END_TEST

START_TEST(interleaved_memory_is_one_buffer_too)
{
	interleaved = true;
	lend("*");
	ck_assert_uint_eq(desc()->buffer_count, 1);
	assert_buffer(0, "*", 0, SIZE);
	read_all();
}
END_TEST

START_TEST(a_location_that_is_given_is_believed)
{
	lend("cpu:1");
	ck_assert_uint_eq(desc()->buffer_count, 1);
	assert_buffer(0, "cpu:1", 0, SIZE);
	read_all();
	ck_assert_uint_eq(fake_counts().moved[1][1], SIZE);
}
END_TEST

START_TEST(pieces_that_a_device_refuses_leave_nothing)
{
	uint32_t before = fake_counts().mrs;

	fake_fail(FAKE_REG_MR, 3, 1, ENOMEM);
	ck_assert_int_eq(mc_engine_register(far, there, SIZE, "*", MC_REGION_DEFAULT),
			 MC_NO_MEMORY);
	ck_assert_uint_eq(fake_counts().mrs, before);
	ck_assert_int_eq(mc_engine_register(far, there, SIZE, "*", MC_REGION_DEFAULT), MC_OK);
	ck_assert_uint_eq(fake_counts().mrs, before + 4);
	ck_assert_int_eq(mc_engine_register(far, there + SIZE - 1, 1, "*", MC_REGION_DEFAULT),
			 MC_EXISTS);
	ck_assert_int_eq(mc_engine_register(far, NULL, SIZE, "*", MC_REGION_DEFAULT), MC_INVALID);
	ck_assert_int_eq(mc_engine_register(far, there, 0, "*", MC_REGION_DEFAULT), MC_INVALID);
}
END_TEST

/* Over both NICs, and the word of it over neither. */
START_TEST(who_was_notified_sees_what_was_written)
{
	struct mc_notification *list;
	struct mc_batch *batch;
	size_t count;

	lend("*");
	for (int round = 1; round <= 100; round++) {
		struct mc_request request = {MC_WRITE, here, segment, (uintptr_t)there, SIZE};
		memset(here, round, SIZE);
		ck_assert_int_eq(mc_batch_new(near, 2, &batch), MC_OK);
		ck_assert_int_eq(mc_batch_submit_notify(batch, &request, 1, segment, "near", ""),
				 MC_OK);
		ck_assert_int_eq(mc_engine_notifications(far, 20000, &list, &count), MC_OK);
		ck_assert_uint_eq(count, 1);
		free(list);
		ck_assert_mem_eq(here, there, SIZE);
		ck_assert_int_eq(mc_batch_wait(batch, 20000), MC_OK);
		ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rdma");
	TCase *tc = tcase_create("nodes");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, the_descriptor_lists_a_buffer_a_node_and_each_goes_by_its_own_nic);
	tcase_add_test(tc, what_is_to_stay_whole_is_one_buffer_near_to_every_nic);
	tcase_add_test(tc, interleaved_memory_is_one_buffer_too);
	tcase_add_test(tc, a_location_that_is_given_is_believed);
	tcase_add_test(tc, pieces_that_a_device_refuses_leave_nothing);
	tcase_add_test(tc, who_was_notified_sees_what_was_written);
	suite_add_tcase(s, tc);
	return suite_run(s);
}
