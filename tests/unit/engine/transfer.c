/* Batches over a fabric that does what the test says. */
#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "tests/support/suite.h"
#include "tests/unit/engine/fake.h"

#define SIZE	  (4u << 20)
#define PIECE_MAX (2u << 20)

struct world {
	struct mc_engine *near, *far;
	uint8_t *here, *there;
	mc_segment_id segment;
};

static uint8_t *map(void)
{
	void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(memory, MAP_FAILED);
	return memory;
}

static struct mc_engine *open_named(const char *name)
{
	struct mc_engine_config config = {.metadata = "memory://transfer", .name = name};
	struct mc_engine *engine;

	ck_assert_int_eq(engine_open(&config, fake_table, &engine), MC_OK);
	return engine;
}

static void world_open_with(struct world *world, uint64_t region_max)
{
	memset(&fake_rules, 0, sizeof(fake_rules));
	atomic_store(&fake_rules.region_max, region_max);
	world->near = open_named("near");
	world->far = open_named("far");
	world->here = map();
	world->there = map();
	for (uint32_t i = 0; i < SIZE; i++)
		world->there[i] = (uint8_t)(i * 2654435761u >> 11);
	ck_assert_int_eq(
		mc_engine_register(world->near, world->here, SIZE, "cpu:0", MC_REGION_LOCAL),
		MC_OK);
	ck_assert_int_eq(
		mc_engine_register(world->far, world->there, SIZE, "cpu:0", MC_REGION_DEFAULT),
		MC_OK);
	ck_assert_int_eq(mc_segment_open(world->near, "far", 0, &world->segment), MC_OK);
}

static void world_open(struct world *world)
{
	world_open_with(world, 0);
}

static void assert_nothing_left(struct mc_engine *engine)
{
	struct mc_engine_stats stats;

	mc_engine_stats(engine, &stats);
	ck_assert_uint_eq(stats.batches, 0);
	ck_assert_uint_eq(stats.tasks, 0);
	ck_assert_uint_eq(stats.slices, 0);
}

static void world_close(struct world *world)
{
	assert_nothing_left(world->near);
	ck_assert_int_eq(mc_segment_close(world->near, world->segment), MC_OK);
	mc_engine_close(world->near);
	mc_engine_close(world->far);
	munmap(world->here, SIZE);
	munmap(world->there, SIZE);
}

static struct mc_request request(const struct world *world, enum mc_opcode opcode, uint64_t at,
				 uint64_t length)
{
	return (struct mc_request){opcode, world->here + at, world->segment,
				   (uint64_t)(uintptr_t)world->there + at, length};
}

static struct mc_batch *batch_of(const struct world *world, size_t tasks)
{
	struct mc_batch *batch;

	ck_assert_int_eq(mc_batch_new(world->near, tasks, &batch), MC_OK);
	return batch;
}

static struct mc_task_status status_of(struct mc_batch *batch, size_t task)
{
	struct mc_task_status status;

	ck_assert_int_eq(mc_batch_status(batch, task, &status), MC_OK);
	return status;
}

static enum mc_status move(struct world *world, enum mc_opcode opcode, uint64_t at, uint64_t length)
{
	struct mc_request one = request(world, opcode, at, length);
	struct mc_batch *batch = batch_of(world, 1);
	enum mc_status status = mc_batch_submit(batch, &one, 1);

	if (!status)
		status = mc_batch_wait(batch, 20000);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	return status;
}

/* --- right ----------------------------------------------------------------------- */

START_TEST(requests_of_any_size_are_moved_whole)
{
	static const uint64_t lengths[] = {1, 8, 65535, 65536, 65537, 1 << 20, SIZE};
	struct world world;

	world_open(&world);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		memset(world.here, 0, SIZE);
		ck_assert_int_eq(move(&world, MC_READ, SIZE - lengths[i], lengths[i]), MC_OK);
		ck_assert_mem_eq(world.here + SIZE - lengths[i], world.there + SIZE - lengths[i],
				 lengths[i]);
	}
	memset(world.here, 0x5a, SIZE);
	ck_assert_int_eq(move(&world, MC_WRITE, 100, 1 << 20), MC_OK);
	ck_assert_mem_eq(world.there + 100, world.here + 100, 1 << 20);
	world_close(&world);
}
END_TEST

START_TEST(regions_and_buffers_side_by_side_are_one_range)
{
	struct world world;
	size_t half = SIZE / 2 + 12345;

	world_open(&world);
	ck_assert_int_eq(mc_engine_unregister(world.near, world.here), MC_OK);
	ck_assert_int_eq(mc_engine_register(world.near, world.here, 777, "cpu:0", 0), MC_OK);
	ck_assert_int_eq(mc_engine_register(world.near, world.here + 777, SIZE - 777, "cpu:1", 0),
			 MC_OK);
	ck_assert_int_eq(mc_engine_unregister(world.far, world.there), MC_OK);
	struct mc_region parts[] = {{world.there, half}, {world.there + half, SIZE - half}};
	ck_assert_int_eq(mc_engine_register_batch(world.far, parts, 2, "cpu:0", MC_REGION_DEFAULT),
			 MC_OK);
	ck_assert_int_eq(mc_segment_sync(world.near, "far"), MC_OK);
	ck_assert_int_eq(move(&world, MC_READ, 0, SIZE), MC_OK);
	ck_assert_mem_eq(world.here, world.there, SIZE);
	world_close(&world);
}
END_TEST

START_TEST(memory_beyond_a_devices_limit_is_registered_in_pieces)
{
	struct world world;
	struct mc_engine_stats stats;

	world_open_with(&world, PIECE_MAX);
	mc_engine_stats(world.near, &stats);
	ck_assert_uint_ge(stats.regions, SIZE / PIECE_MAX);
	ck_assert_int_eq(move(&world, MC_READ, 0, SIZE), MC_OK);
	ck_assert_mem_eq(world.here, world.there, SIZE);
	uint8_t *second = world.here + PIECE_MAX - (uintptr_t)world.here % PIECE_MAX;
	ck_assert_int_eq(mc_engine_unregister(world.near, second), MC_NOT_FOUND);
	ck_assert_int_eq(mc_engine_unregister(world.near, world.here), MC_OK);
	mc_engine_stats(world.near, &stats);
	ck_assert_uint_eq(stats.regions, 0);
	ck_assert_int_eq(move(&world, MC_READ, 0, 100), MC_INVALID);
	world_close(&world);
}
END_TEST

START_TEST(pieces_end_on_huge_pages_wherever_the_memory_begins)
{
	struct world world;
	struct mc_segment_buffer pieces[4];
	size_t count = ARRAY_SIZE(pieces);

	world_open_with(&world, PIECE_MAX);
	uint8_t *huge = world.there + PIECE_MAX - (uintptr_t)world.there % PIECE_MAX;
	ck_assert_int_eq(mc_engine_unregister(world.far, world.there), MC_OK);
	ck_assert_int_eq(mc_engine_register(world.far, huge - 4096, PIECE_MAX + 4096, "cpu:0",
					    MC_REGION_DEFAULT),
			 MC_OK);
	ck_assert_int_eq(mc_segment_sync(world.near, "far"), MC_OK);
	ck_assert_int_eq(mc_segment_buffers(world.near, world.segment, pieces, &count), MC_OK);
	ck_assert_uint_eq(count, 2);
	ck_assert_uint_eq(pieces[0].length, 4096);
	ck_assert_uint_eq(pieces[1].address, (uintptr_t)huge);
	ck_assert_uint_eq(pieces[1].length, PIECE_MAX);
	world_close(&world);
}
END_TEST

START_TEST(slices_are_spread_over_paths)
{
	struct world world;

	world_open(&world);
	ck_assert_int_eq(move(&world, MC_READ, 0, SIZE), MC_OK);
	for (size_t i = 0; i < FAKE_PATHS; i++)
		ck_assert_uint_ge(atomic_load(&fake_rules.tries[i]), SIZE / 65536 / FAKE_PATHS);
	world_close(&world);
}
END_TEST

START_TEST(tasks_tell_their_state_and_bytes)
{
	struct world world;
	struct mc_request requests[3];
	struct mc_task_status status;

	world_open(&world);
	struct mc_batch *batch = batch_of(&world, 4);
	for (size_t i = 0; i < 3; i++)
		requests[i] = request(&world, MC_READ, i * 100000, 100000);
	ck_assert_int_eq(status_of(batch, 0).state, MC_TASK_WAITING);
	ck_assert_int_eq(mc_batch_status(batch, 4, &status), MC_INVALID);
	atomic_store(&fake_rules.stuck, true);
	ck_assert_int_eq(mc_batch_submit(batch, requests, 3), MC_OK);
	ck_assert_int_eq(status_of(batch, 2).state, MC_TASK_PENDING);
	ck_assert_int_eq(mc_batch_wait(batch, 20), MC_TIMEOUT);
	ck_assert_int_eq(mc_batch_free(batch), MC_BUSY);
	ck_assert_int_eq(mc_segment_close(world.near, world.segment), MC_BUSY);
	ck_assert_int_eq(mc_engine_unregister(world.near, world.here), MC_BUSY);
	mc_batch_summary(batch, &status);
	ck_assert_int_eq(status.state, MC_TASK_PENDING);
	atomic_store(&fake_rules.stuck, false);
	ck_assert_int_eq(mc_batch_wait(batch, 20000), MC_OK);
	mc_batch_summary(batch, &status);
	ck_assert_int_eq(status.state, MC_TASK_COMPLETED);
	ck_assert_uint_eq(status.bytes, 300000);
	ck_assert_int_eq(status_of(batch, 1).state, MC_TASK_COMPLETED);
	ck_assert_uint_eq(status_of(batch, 1).bytes, 100000);
	ck_assert_int_eq(status_of(batch, 3).state, MC_TASK_WAITING);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	world_close(&world);
}
END_TEST

START_TEST(a_batch_is_filled_bit_by_bit_and_no_further)
{
	struct world world;

	world_open(&world);
	struct mc_batch *batch = batch_of(&world, 3);
	struct mc_request two[2] = {request(&world, MC_READ, 0, 10),
				    request(&world, MC_READ, 10, 10)};
	ck_assert_int_eq(mc_batch_submit(batch, two, 2), MC_OK);
	ck_assert_int_eq(mc_batch_submit(batch, two, 2), MC_TOO_BIG);
	ck_assert_int_eq(mc_batch_submit(batch, two, 1), MC_OK);
	ck_assert_int_eq(mc_batch_submit(batch, two, 1), MC_TOO_BIG);
	ck_assert_int_eq(mc_batch_submit(batch, two, 0), MC_OK);
	ck_assert_int_eq(mc_batch_wait(batch, 20000), MC_OK);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	ck_assert_int_eq(mc_batch_new(world.near, 0, &batch), MC_INVALID);
	ck_assert_int_eq(mc_batch_new(world.near, MC_BATCH_TASKS_MAX + 1, &batch), MC_INVALID);
	world_close(&world);
}
END_TEST

START_TEST(the_local_segment_is_copied_within)
{
	struct world world;

	world_open(&world);
	struct mc_request one = {MC_READ, world.there, MC_SEGMENT_LOCAL,
				 (uint64_t)(uintptr_t)world.there + 65536, 65536};
	struct mc_batch *batch;
	ck_assert_int_eq(mc_batch_new(world.far, 2, &batch), MC_OK);
	ck_assert_int_eq(mc_batch_submit(batch, &one, 1), MC_OK);
	ck_assert_int_eq(mc_batch_wait(batch, 0), MC_OK);
	ck_assert_mem_eq(world.there, world.there + 65536, 65536);
	one.remote = (uint64_t)(uintptr_t)world.here;
	ck_assert_int_eq(mc_batch_submit(batch, &one, 1), MC_ACCESS);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	world_close(&world);
}
END_TEST

START_TEST(what_finds_no_room_goes_on_later)
{
	struct world world;

	world_open(&world);
	atomic_store(&fake_rules.room, 3);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(move(&world, MC_READ, 0, SIZE), MC_OK);
	ck_assert_mem_eq(world.here, world.there, SIZE);
	world_close(&world);
}
END_TEST

START_TEST(more_slices_than_the_pool_has_are_moved)
{
	struct world world;

	setenv("MC_SLICE_SIZE", "64", 1);
	world_open(&world);
	struct mc_batch *batch = batch_of(&world, 4);
	struct mc_request requests[4];
	for (size_t i = 0; i < 4; i++)
		requests[i] = request(&world, MC_READ, 0, SIZE);
	atomic_store(&fake_rules.stuck, true);
	ck_assert_int_eq(mc_batch_submit(batch, requests, 4), MC_OK);
	atomic_store(&fake_rules.stuck, false);
	ck_assert_int_eq(mc_batch_wait(batch, 30000), MC_OK);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	ck_assert_mem_eq(world.here, world.there, SIZE);
	world_close(&world);
}
END_TEST

/* --- refused ----------------------------------------------------------------------- */

START_TEST(wrong_requests_are_refused_and_nothing_of_their_call_begins)
{
	struct world world;
	struct mc_engine_stats stats;

	world_open(&world);
	struct mc_batch *batch = batch_of(&world, 8);
	struct mc_request right = request(&world, MC_READ, 0, 100);
	struct mc_request wrong[5] = {right, right, right, right, right};
	wrong[0].local = &stats;
	wrong[1].segment = 77;
	wrong[2].remote = 4096;
	wrong[3].length = UINT64_MAX;
	wrong[4].remote += SIZE - 99;
	const enum mc_status expected[] = {MC_INVALID, MC_NOT_FOUND, MC_ACCESS, MC_INVALID,
					   MC_ACCESS};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct mc_request pair[] = {right, wrong[i]};
		ck_assert_int_eq(mc_batch_submit(batch, pair, 2), expected[i]);
	}
	mc_engine_stats(world.near, &stats);
	ck_assert_uint_eq(stats.tasks, 0);
	ck_assert_int_eq(mc_batch_wait(batch, 0), MC_OK);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	ck_assert_int_eq(mc_engine_unregister(world.near, world.here), MC_OK);
	world_close(&world);
}
END_TEST

START_TEST(the_processor_copies_nothing_of_a_gpu)
{
	struct world world;

	world_open(&world);
	struct mc_request one = request(&world, MC_READ, 0, 4096);
	ck_assert_int_eq(mc_engine_unregister(world.near, world.here), MC_OK);
	ck_assert_int_eq(mc_engine_register(world.near, world.here, SIZE, "cuda:0", 0),
			 MC_NOT_SUPPORTED);
	atomic_store(&fake_rules.reaches_gpus, true);
	ck_assert_int_eq(mc_engine_register(world.near, world.here, SIZE / 2, "cuda:0", 0), MC_OK);
	ck_assert_int_eq(
		mc_engine_register(world.near, world.here + SIZE / 2, SIZE / 2, "cpu:0", 0), MC_OK);
	ck_assert_int_eq(move(&world, MC_READ, 0, SIZE), MC_OK);
	struct mc_batch *batch = batch_of(&world, 1);
	one.segment = MC_SEGMENT_LOCAL;
	one.remote = (uint64_t)(uintptr_t)world.here + SIZE / 2;
	ck_assert_int_eq(mc_batch_submit(batch, &one, 1), MC_NOT_SUPPORTED);
	one.local = world.here + SIZE / 2 - 1;
	ck_assert_int_eq(mc_batch_submit(batch, &one, 1), MC_NOT_SUPPORTED);
	one.local = world.here + SIZE / 2;
	ck_assert_int_eq(mc_batch_submit(batch, &one, 1), MC_OK);
	ck_assert_int_eq(mc_batch_wait(batch, 20000), MC_OK);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	world_close(&world);
}
END_TEST

START_TEST(registrations_do_not_overlap)
{
	struct world world;

	world_open(&world);
	struct mc_engine *near = world.near;
	ck_assert_int_eq(mc_engine_register(near, world.here, 1, "*", 0), MC_EXISTS);
	ck_assert_int_eq(mc_engine_register(near, world.here + SIZE - 1, 2, "*", 0), MC_EXISTS);
	ck_assert_int_eq(mc_engine_register(near, world.here - 1, 2, "*", 0), MC_EXISTS);
	ck_assert_int_eq(mc_engine_register(near, world.here - 1, SIZE + 2, "*", 0), MC_EXISTS);
	ck_assert_int_eq(mc_engine_register(near, NULL, 1, "*", 0), MC_INVALID);
	ck_assert_int_eq(mc_engine_register(near, world.there, 0, "*", 0), MC_INVALID);
	ck_assert_int_eq(mc_engine_register(near, world.there, 1, "*", 1u << 9), MC_INVALID);
	ck_assert_int_eq(mc_engine_unregister(near, world.here + 1), MC_NOT_FOUND);
	/* All or none. */
	struct mc_region some[] = {{world.there, 10}, {world.there + 5, 10}};
	ck_assert_int_eq(mc_engine_register_batch(near, some, 2, "*", 0), MC_EXISTS);
	some[1].memory = world.there + 10;
	ck_assert_int_eq(mc_engine_register_batch(near, some, 2, "*", 0), MC_OK);
	void *starts[] = {world.there, world.there + 11};
	ck_assert_int_eq(mc_engine_unregister_batch(near, starts, 2), MC_NOT_FOUND);
	starts[1] = world.there + 10;
	ck_assert_int_eq(mc_engine_unregister_batch(near, starts, 2), MC_OK);
	world_close(&world);
}
END_TEST

/* --- failing ------------------------------------------------------------------------- */

static void set_failure(enum mc_status status, unsigned paths, int count)
{
	atomic_store(&fake_rules.failure, (int)status);
	atomic_store(&fake_rules.fail_count, count);
	atomic_store(&fake_rules.fail_paths, paths);
}

START_TEST(a_path_that_fails_is_left_for_another)
{
	struct world world;
	struct mc_engine_stats stats;

	world_open(&world);
	set_failure(MC_UNREACHABLE, 1, -1);
	ck_assert_int_eq(move(&world, MC_READ, 0, SIZE), MC_OK);
	ck_assert_mem_eq(world.here, world.there, SIZE);
	ck_assert_uint_gt(atomic_load(&fake_rules.tries[1]), 0);
	mc_engine_stats(world.near, &stats);
	ck_assert_uint_ge(stats.slices_retried, SIZE / 65536 / FAKE_PATHS);
	ck_assert_uint_eq(stats.bytes_read, SIZE);
	world_close(&world);
}
END_TEST

static const enum mc_status failures[] = {MC_UNREACHABLE, MC_ACCESS, MC_IO, MC_TIMEOUT,
					  MC_PROTOCOL};

START_TEST(what_fails_everywhere_fails_the_task_and_says_why)
{
	struct world world;

	world_open(&world);
	set_failure(failures[_i], 7, -1);
	struct mc_batch *batch = batch_of(&world, 2);
	struct mc_request both[] = {request(&world, MC_READ, 0, 4096),
				    request(&world, MC_WRITE, 0, 200000)};
	ck_assert_int_eq(mc_batch_submit(batch, both, 2), MC_OK);
	ck_assert_int_eq(mc_batch_wait(batch, 20000), failures[_i]);
	for (size_t i = 0; i < 2; i++) {
		ck_assert_int_eq(status_of(batch, i).status, failures[_i]);
		ck_assert_int_eq(status_of(batch, i).state,
				 failures[_i] == MC_TIMEOUT ? MC_TASK_TIMEOUT : MC_TASK_FAILED);
	}
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	/* And when it works again, it works. */
	set_failure(MC_OK, 0, 0);
	ck_assert_int_eq(move(&world, MC_READ, 0, 4096), MC_OK);
	world_close(&world);
}
END_TEST

START_TEST(a_fabric_that_takes_nothing_fails_the_task)
{
	struct world world;

	world_open(&world);
	atomic_store(&fake_rules.refuse, MC_UNREACHABLE);
	ck_assert_int_eq(move(&world, MC_READ, 0, SIZE), MC_UNREACHABLE);
	atomic_store(&fake_rules.refuse, MC_OK);
	ck_assert_int_eq(move(&world, MC_READ, 0, SIZE), MC_OK);
	world_close(&world);
}
END_TEST

START_TEST(cancelled_tasks_end_soon_and_say_so)
{
	struct world world;

	world_open(&world);
	for (unsigned room = 0; room < 8; room += 7) {
		atomic_store(&fake_rules.room, room);
		atomic_store(&fake_rules.stuck, true);
		struct mc_batch *batch = batch_of(&world, 2);
		struct mc_request both[] = {request(&world, MC_READ, 0, SIZE),
					    request(&world, MC_WRITE, 0, SIZE)};
		ck_assert_int_eq(mc_batch_submit(batch, both, 2), MC_OK);
		mc_batch_cancel(batch);
		ck_assert_int_eq(mc_batch_wait(batch, 20000), MC_CANCELLED);
		ck_assert_int_eq(status_of(batch, 0).state, MC_TASK_CANCELLED);
		ck_assert_int_eq(status_of(batch, 1).state, MC_TASK_CANCELLED);
		mc_batch_cancel(batch);
		ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	}
	world_close(&world);
}
END_TEST

START_TEST(a_batch_that_was_cancelled_begins_nothing_more)
{
	struct world world;
	struct mc_engine_stats stats;

	world_open(&world);
	struct mc_batch *batch = batch_of(&world, 3);
	struct mc_request one = request(&world, MC_READ, 0, 4096);
	/* Nothing is under way, so nothing is cancelled. */
	mc_batch_cancel(batch);
	ck_assert_int_eq(mc_batch_submit(batch, &one, 1), MC_OK);
	ck_assert_int_eq(mc_batch_wait(batch, 20000), MC_OK);
	atomic_store(&fake_rules.stuck, true);
	ck_assert_int_eq(mc_batch_submit(batch, &one, 1), MC_OK);
	mc_batch_cancel(batch);
	ck_assert_int_eq(mc_batch_wait(batch, 20000), MC_CANCELLED);
	atomic_store(&fake_rules.stuck, false);
	ck_assert_int_eq(mc_batch_submit(batch, &one, 1), MC_OK);
	ck_assert_int_eq(mc_batch_wait(batch, 20000), MC_CANCELLED);
	ck_assert_int_eq(status_of(batch, 0).state, MC_TASK_COMPLETED);
	ck_assert_int_eq(status_of(batch, 2).state, MC_TASK_CANCELLED);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	mc_engine_stats(world.near, &stats);
	ck_assert_uint_eq(stats.bytes_read, 4096);
	world_close(&world);
}
END_TEST

START_TEST(who_waits_for_slices_has_those_of_a_cancelled_batch)
{
	struct world world;

	setenv("MC_SLICE_SIZE", "64", 1);
	world_open(&world);
	struct mc_request all = request(&world, MC_READ, 0, SIZE), one = all;
	struct mc_batch *large = batch_of(&world, 1), *small = batch_of(&world, 1);
	one.length = 4096;
	ck_assert_uint_eq(SIZE / 64, SLICES_MAX);
	atomic_store(&fake_rules.stuck, true);
	ck_assert_int_eq(mc_batch_submit(large, &all, 1), MC_OK);
	ck_assert_int_eq(mc_batch_submit(small, &one, 1), MC_OK);
	mc_batch_cancel(large);
	ck_assert_int_eq(mc_batch_wait(large, 20000), MC_CANCELLED);
	atomic_store(&fake_rules.stuck, false);
	ck_assert_int_eq(mc_batch_wait(small, 20000), MC_OK);
	ck_assert_int_eq(mc_batch_free(large), MC_OK);
	ck_assert_int_eq(mc_batch_free(small), MC_OK);
	world_close(&world);
}
END_TEST

START_TEST(a_deadline_ends_what_has_not_ended)
{
	struct world world;

	world_open(&world);
	atomic_store(&fake_rules.stuck, true);
	for (int before = 0; before < 2; before++) {
		struct mc_batch *batch = batch_of(&world, 1);
		struct mc_request one = request(&world, MC_READ, 0, SIZE);
		uint64_t begin_ns = clock_ns();
		if (before)
			mc_batch_deadline(batch, 50);
		ck_assert_int_eq(mc_batch_submit(batch, &one, 1), MC_OK);
		if (!before)
			mc_batch_deadline(batch, 50);
		ck_assert_int_eq(mc_batch_wait(batch, 20000), MC_TIMEOUT);
		ck_assert_int_eq(status_of(batch, 0).state, MC_TASK_TIMEOUT);
		ck_assert_int_eq(status_of(batch, 0).status, MC_TIMEOUT);
		ck_assert_uint_ge(clock_ns() - begin_ns, 50000000);
		ck_assert_uint_lt(clock_ns() - begin_ns, 2000000000);
		ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	}
	world_close(&world);
}
END_TEST

START_TEST(what_is_submitted_after_the_deadline_does_not_begin)
{
	struct world world;
	struct mc_engine_stats stats;

	world_open(&world);
	struct mc_batch *batch = batch_of(&world, 2);
	struct mc_request one = request(&world, MC_READ, 0, 4096), within = one;
	within.segment = MC_SEGMENT_LOCAL;
	within.remote = (uint64_t)(uintptr_t)world.here + 4096;
	memset(world.here + 4096, 1, 4096);
	mc_batch_deadline(batch, 0);
	usleep(1000);
	ck_assert_int_eq(mc_batch_submit(batch, &within, 1), MC_OK);
	ck_assert_int_eq(mc_batch_submit(batch, &one, 1), MC_OK);
	ck_assert_int_eq(mc_batch_wait(batch, 20000), MC_TIMEOUT);
	for (size_t i = 0; i < 2; i++)
		ck_assert_int_eq(status_of(batch, i).state, MC_TASK_TIMEOUT);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	ck_assert_uint_eq(world.here[0], 0);
	mc_engine_stats(world.near, &stats);
	ck_assert_uint_eq(stats.bytes_read, 0);
	world_close(&world);
}
END_TEST

/* The next batch may be in the same memory. */
START_TEST(nothing_of_a_batch_is_in_the_next_one)
{
	struct world world;
	struct mc_task_status all;

	world_open(&world);
	for (size_t size = 1; size < 200; size++) {
		struct mc_batch *batch = batch_of(&world, size);
		struct mc_request one = request(&world, MC_READ, 0, 4096);
		mc_batch_deadline(batch, 0);
		usleep(100);
		ck_assert_int_eq(mc_batch_submit(batch, &one, 1), MC_OK);
		ck_assert_int_eq(mc_batch_wait(batch, 20000), MC_TIMEOUT);
		ck_assert_int_eq(mc_batch_free(batch), MC_OK);
		batch = batch_of(&world, size);
		mc_batch_summary(batch, &all);
		ck_assert_int_eq(all.state, MC_TASK_WAITING);
		ck_assert_int_eq(status_of(batch, size - 1).state, MC_TASK_WAITING);
		for (size_t i = 0; i < size; i++) {
			one = request(&world, MC_READ, i * 4096, 4096);
			ck_assert_int_eq(mc_batch_submit(batch, &one, 1), MC_OK);
		}
		ck_assert_int_eq(mc_batch_submit(batch, &one, 1), MC_TOO_BIG);
		ck_assert_int_eq(mc_batch_wait(batch, 20000), MC_OK);
		mc_batch_summary(batch, &all);
		ck_assert_int_eq(all.state, MC_TASK_COMPLETED);
		ck_assert_uint_eq(all.bytes, size * 4096);
		ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	}
	world_close(&world);
}
END_TEST

START_TEST(a_cancelled_batch_is_not_tried_again)
{
	struct world world;

	world_open(&world);
	set_failure(MC_UNREACHABLE, 7, -1);
	for (int i = 0; i < 200; i++) {
		struct mc_batch *batch = batch_of(&world, 1);
		struct mc_request one = request(&world, MC_READ, 0, 1 << 20);
		ck_assert_int_eq(mc_batch_submit(batch, &one, 1), MC_OK);
		mc_batch_cancel(batch);
		enum mc_status status = mc_batch_wait(batch, 20000);
		ck_assert(status == MC_CANCELLED || status == MC_UNREACHABLE);
		ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	}
	world_close(&world);
}
END_TEST

/* --- many ------------------------------------------------------------------------------ */

static int open_fd_count(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void fail_many(struct world *world, unsigned kind, unsigned count)
{
	enum { EACH = 100 };
	static struct mc_request requests[EACH];

	for (unsigned i = 0; i < count; i += EACH) {
		struct mc_batch *batch = batch_of(world, EACH);
		for (unsigned j = 0; j < EACH; j++)
			requests[j] = request(world, j % 2 ? MC_READ : MC_WRITE, j * 256, 256);
		if (kind == ARRAY_SIZE(failures))
			requests[EACH - 1].remote = 1;
		ck_assert_int_eq(mc_batch_submit(batch, requests, EACH),
				 kind == ARRAY_SIZE(failures) ? MC_ACCESS : MC_OK);
		if (kind > ARRAY_SIZE(failures))
			mc_batch_cancel(batch);
		(void)!mc_batch_wait(batch, 20000);
		ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	}
}

START_TEST(ten_thousand_failed_transfers_leave_nothing)
{
	struct world world;

	setenv("MC_RETRY_CNT", "2", 1);
	world_open(&world);
	for (unsigned kind = 0; kind < ARRAY_SIZE(failures) + 2; kind++) {
		bool fails = kind < ARRAY_SIZE(failures);
		set_failure(fails ? failures[kind] : MC_OK, fails ? 7 : 0, -1);
		atomic_store(&fake_rules.stuck, kind > ARRAY_SIZE(failures));
		fail_many(&world, kind, 1000);
		size_t used = mallinfo2().uordblks;
		int fds = open_fd_count();
		fail_many(&world, kind, 10000);
		assert_nothing_left(world.near);
		ck_assert_uint_le(mallinfo2().uordblks, used + 65536);
		ck_assert_int_le(open_fd_count(), fds);
	}
	world_close(&world);
}
END_TEST

struct crowd {
	struct world *world;
	unsigned index;
};

static void *one_of_the_crowd(void *context)
{
	struct crowd *crowd = context;
	struct world *world = crowd->world;
	uint64_t at = (uint64_t)crowd->index * (SIZE / 8);

	for (int round = 0; round < 60; round++) {
		struct mc_batch *batch = batch_of(world, 2);
		struct mc_request both[] = {request(world, MC_READ, at, SIZE / 16),
					    request(world, MC_WRITE, at + SIZE / 16, SIZE / 16)};
		ck_assert_int_eq(mc_batch_submit(batch, both, 2), MC_OK);
		if (round % 7 == 6)
			mc_batch_cancel(batch);
		(void)!mc_batch_wait(batch, 20000);
		ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	}
	return NULL;
}

/* Memory comes and goes meanwhile. */
static void *registrar(void *context)
{
	struct world *world = context;
	static uint8_t memory[64][4096];

	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < 64; i++)
			ck_assert_int_eq(mc_engine_register(world->near, memory[i], 4096, "cpu:0",
							    MC_REGION_DEFAULT | MC_REGION_QUIET),
					 MC_OK);
		for (size_t i = 0; i < 64; i++)
			ck_assert_int_eq(mc_engine_unregister(world->near, memory[i]), MC_OK);
	}
	return NULL;
}

START_TEST(many_threads_transfer_while_memory_comes_and_goes)
{
	struct world world;
	struct crowd crowds[8];
	pthread_t threads[9];

	world_open(&world);
	atomic_store(&fake_rules.room, 16);
	set_failure(MC_UNREACHABLE, 1, 500);
	for (unsigned i = 0; i < 8; i++) {
		crowds[i] = (struct crowd){&world, i};
		ck_assert_int_eq(pthread_create(&threads[i], NULL, one_of_the_crowd, &crowds[i]),
				 0);
	}
	ck_assert_int_eq(pthread_create(&threads[8], NULL, registrar, &world), 0);
	for (unsigned i = 0; i < 9; i++)
		pthread_join(threads[i], NULL);
	world_close(&world);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("transfer");
	TCase *right = tcase_create("right");
	TCase *failing = tcase_create("failing");

	tcase_set_timeout(right, 60);
	tcase_set_timeout(failing, 120);
	tcase_add_test(right, requests_of_any_size_are_moved_whole);
	tcase_add_test(right, regions_and_buffers_side_by_side_are_one_range);
	tcase_add_test(right, memory_beyond_a_devices_limit_is_registered_in_pieces);
	tcase_add_test(right, pieces_end_on_huge_pages_wherever_the_memory_begins);
	tcase_add_test(right, slices_are_spread_over_paths);
	tcase_add_test(right, tasks_tell_their_state_and_bytes);
	tcase_add_test(right, a_batch_is_filled_bit_by_bit_and_no_further);
	tcase_add_test(right, the_local_segment_is_copied_within);
	tcase_add_test(right, what_finds_no_room_goes_on_later);
	tcase_add_test(right, more_slices_than_the_pool_has_are_moved);
	tcase_add_test(right, wrong_requests_are_refused_and_nothing_of_their_call_begins);
	tcase_add_test(right, the_processor_copies_nothing_of_a_gpu);
	tcase_add_test(right, registrations_do_not_overlap);
	tcase_add_test(failing, a_path_that_fails_is_left_for_another);
	tcase_add_loop_test(failing, what_fails_everywhere_fails_the_task_and_says_why, 0,
			    (int)ARRAY_SIZE(failures));
	tcase_add_test(failing, a_fabric_that_takes_nothing_fails_the_task);
	tcase_add_test(failing, cancelled_tasks_end_soon_and_say_so);
	tcase_add_test(failing, a_batch_that_was_cancelled_begins_nothing_more);
	tcase_add_test(failing, who_waits_for_slices_has_those_of_a_cancelled_batch);
	tcase_add_test(failing, a_deadline_ends_what_has_not_ended);
	tcase_add_test(failing, what_is_submitted_after_the_deadline_does_not_begin);
	tcase_add_test(failing, nothing_of_a_batch_is_in_the_next_one);
	tcase_add_test(failing, a_cancelled_batch_is_not_tried_again);
	tcase_add_test(failing, ten_thousand_failed_transfers_leave_nothing);
	tcase_add_test(failing, many_threads_transfer_while_memory_comes_and_goes);
	suite_add_tcase(s, right);
	suite_add_tcase(s, failing);
	return s;
}

int main(void)
{
	log_set_level("error");
	return suite_run(suite());
}
