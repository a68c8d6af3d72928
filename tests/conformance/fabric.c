/*
 * What engine/fabric/fabric.h promises, of every row of the table.  A row whose
 * device this machine lacks is skipped, and says so.
 */
#include <check.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/fabric/fabric.h"
#include "engine/metadata/segment_desc.h"
#include "tests/support/fabric_world.h"
#include "tests/support/suite.h"

/* --- right ------------------------------------------------------------------------- */

static const uint32_t lengths[] = {1,	 8,	   64,		 4095,	  4096,	   4097,
				   8191, 64 * KIB, 64 * KIB + 1, MIB - 1, 4 * MIB, 16 * MIB - 1};

START_TEST(what_is_read_is_what_is_there)
{
	struct world world;

	if (!world_open(&world, _i, BOTH))
		return;
	world_pattern(world.far.view, SIZE, 1);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		uint64_t near = i % 2, far = SIZE - lengths[i];
		memset(world.near.memory, 0xee, SIZE);
		ck_assert_int_eq(world_move(&world, FABRIC_READ, near, far, lengths[i]), MC_OK);
		ck_assert_mem_eq(world.near.memory + near, world.far.view + far, lengths[i]);
		if (near)
			ck_assert_uint_eq(world.near.memory[0], 0xee);
		if (near + lengths[i] < SIZE)
			ck_assert_uint_eq(world.near.memory[near + lengths[i]], 0xee);
	}
	world_close(&world);
}
END_TEST

START_TEST(what_was_written_is_there_when_it_is_done)
{
	struct world world;

	if (!world_open(&world, _i, BOTH))
		return;
	world_pattern(world.near.memory, SIZE, 2);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		uint64_t near = SIZE - lengths[i], far = i % 2;
		memset(world.far.view, 0xee, SIZE);
		ck_assert_int_eq(world_move(&world, FABRIC_WRITE, near, far, lengths[i]), MC_OK);
		ck_assert_mem_eq(world.far.view + far, world.near.memory + near, lengths[i]);
		if (far)
			ck_assert_uint_eq(world.far.view[0], 0xee);
		if (far + lengths[i] < SIZE)
			ck_assert_uint_eq(world.far.view[far + lengths[i]], 0xee);
	}
	world_close(&world);
}
END_TEST

START_TEST(thousands_of_slices_in_flight_all_end_once)
{
	struct world world;
	enum { COUNT = 4096, LENGTH = 4096 };
	struct moving *movings = calloc(COUNT, sizeof(*movings));

	if (!world_open(&world, _i, BOTH)) {
		free(movings);
		return;
	}
	world_pattern(world.far.view, SIZE / 2, 3);
	world_pattern(world.near.memory + SIZE / 2, SIZE / 2, 4);
	/* Half are read, half are written, into halves that do not meet. */
	for (uint32_t i = 0; i < COUNT; i++)
		moving_prepare(&world, &movings[i], i < COUNT / 2 ? FABRIC_READ : FABRIC_WRITE,
			       (uint64_t)i * LENGTH, (uint64_t)i * LENGTH, LENGTH);
	moving_submit(&world, movings, COUNT);
	moving_wait(&world, movings, COUNT);
	for (uint32_t i = 0; i < COUNT; i++)
		ck_assert_int_eq(movings[i].status, MC_OK);
	ck_assert_mem_eq(world.near.memory, world.far.view, SIZE);
	free(movings);
	world_close(&world);
}
END_TEST

START_TEST(random_slices_of_all_sizes_move_right)
{
	struct world world;
	enum { COUNT = 256 };
	static struct moving movings[COUNT];
	unsigned seed = (unsigned)time(NULL);

	if (!world_open(&world, _i, BOTH))
		return;
	fprintf(stderr, "seed %u\n", seed);
	world_pattern(world.far.view, SIZE, seed);
	for (int round = 0; round < 4; round++) {
		uint64_t at = 0;
		uint32_t count = 0;
		memset(world.near.memory, 0, SIZE);
		while (count < COUNT && at < SIZE) {
			uint32_t length =
				1 + (uint32_t)rand_r(&seed) % (count % 8 ? 20000 : 500000);
			length = length > SIZE - at ? (uint32_t)(SIZE - at) : length;
			moving_prepare(&world, &movings[count++], FABRIC_READ, at, at, length);
			at += length;
		}
		moving_submit(&world, movings, count);
		moving_wait(&world, movings, count);
		ck_assert_mem_eq(world.near.memory, world.far.view, at);
	}
	world_close(&world);
}
END_TEST

START_TEST(it_works_over_ipv6_too)
{
	struct world world;

	if (!world_open_at(&world, _i, BOTH, "::1"))
		return;
	world_pattern(world.far.view, MIB, 5);
	ck_assert_int_eq(world_move(&world, FABRIC_READ, 0, 0, MIB), MC_OK);
	ck_assert_mem_eq(world.near.memory, world.far.view, MIB);
	world_close(&world);
}
END_TEST

START_TEST(without_a_waiter_the_fabrics_own_thread_ends_slices)
{
	struct world world;
	struct moving moving;

	if (!world_open(&world, _i, BOTH))
		return;
	for (int i = 0; i < 20; i++) {
		moving_prepare(&world, &moving, i % 2 ? FABRIC_READ : FABRIC_WRITE, 0, 0, 100000);
		moving_submit(&world, &moving, 1);
		for (int ms = 0; atomic_load(&moving.ended) == 0 && ms < 5000; ms++)
			usleep(1000);
		ck_assert_int_eq(atomic_load(&moving.ended), 1);
		ck_assert_int_eq(moving.status, MC_OK);
	}
	world_close(&world);
}
END_TEST

struct crowd {
	struct world *world;
	unsigned index;
};

static void *one_of_the_crowd(void *argument)
{
	struct crowd *crowd = argument;
	uint64_t at = (uint64_t)crowd->index * MIB;
	struct moving movings[8];

	for (int round = 0; round < 50; round++) {
		for (uint32_t i = 0; i < 8; i++)
			moving_prepare(crowd->world, &movings[i],
				       round % 2 ? FABRIC_READ : FABRIC_WRITE, at + i * 64 * KIB,
				       at + i * 64 * KIB, 64 * KIB - i);
		moving_submit(crowd->world, movings, 8);
		moving_wait(crowd->world, movings, 8);
		for (uint32_t i = 0; i < 8; i++)
			ck_assert_int_eq(movings[i].status, MC_OK);
	}
	return NULL;
}

START_TEST(many_threads_may_submit_and_wait_at_once)
{
	struct world world;
	pthread_t threads[8];
	struct crowd crowds[8];

	if (!world_open(&world, _i, BOTH))
		return;
	for (unsigned i = 0; i < 8; i++) {
		crowds[i] = (struct crowd){&world, i};
		ck_assert_int_eq(pthread_create(&threads[i], NULL, one_of_the_crowd, &crowds[i]),
				 0);
	}
	for (unsigned i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	world_close(&world);
}
END_TEST

/* --- refused ------------------------------------------------------------------------ */

START_TEST(memory_is_out_of_reach_without_its_key_bounds_and_rights)
{
	struct world world;
	struct moving moving;

	if (!world_open(&world, _i, FABRIC_REMOTE_READ))
		return;
	memset(world.far.view, 0x11, SIZE);
	/* What it may, then what it may not. */
	ck_assert_int_eq(world_move(&world, FABRIC_READ, 0, 0, 4096), MC_OK);
	ck_assert_int_eq(world_move(&world, FABRIC_WRITE, 0, 0, 4096), MC_ACCESS);
	ck_assert_int_eq(world_move(&world, FABRIC_WRITE, 0, 0, MIB), MC_ACCESS);
	ck_assert_uint_eq(world.far.view[0], 0x11);
	moving_prepare(&world, &moving, FABRIC_READ, 0, SIZE - 100, 101);
	ck_assert_int_eq(world_move_one(&world, &moving), MC_ACCESS);
	moving_prepare(&world, &moving, FABRIC_READ, 0, 0, 100);
	moving.slice.remote = UINT64_MAX - 50;
	ck_assert_int_eq(world_move_one(&world, &moving), MC_ACCESS);
	struct segment_buffer wrong = world.desc->buffers[0];
	uint32_t keys[SEGMENT_DEVICE_MAX] = {0xdead};
	wrong.key ^= 1;
	wrong.rkey = keys;
	moving_prepare(&world, &moving, FABRIC_READ, 0, 0, 100);
	moving.slice.buffer = &wrong;
	ck_assert_int_eq(world_move_one(&world, &moving), MC_ACCESS);
	/* And others go on. */
	ck_assert_int_eq(world_move(&world, FABRIC_READ, 0, 0, MIB), MC_OK);
	world_close(&world);
}
END_TEST

START_TEST(what_was_unregistered_is_out_of_reach)
{
	struct world world;
	struct segment_desc *other;
	const void *key;

	if (!world_open(&world, _i, BOTH))
		return;
	ck_assert_int_eq(world_move(&world, FABRIC_READ, 0, 0, 4096), MC_OK);
	world.far.ops->unregister_region(world.far.fabric, world.far.key);
	ck_assert_int_eq(world_move(&world, FABRIC_READ, 0, 0, 4096), MC_ACCESS);
	/* The same memory has another key now. */
	other = world_describe(&world.far, "far", world.far.memory, SIZE, BOTH, &key);
	ck_assert_int_eq(world_move(&world, FABRIC_READ, 0, 0, 4096), MC_ACCESS);
	segment_desc_unref(world.desc);
	world.desc = other;
	world.far.key = key;
	ck_assert_int_eq(world_move(&world, FABRIC_READ, 0, 0, 4096), MC_OK);
	world_close(&world);
}
END_TEST

START_TEST(a_segment_of_another_kind_is_not_connected_to)
{
	struct world world;
	struct segment_desc *desc;
	struct fabric_peer *peer;

	if (!world_open(&world, _i, BOTH))
		return;
	ck_assert_int_eq(segment_desc_new(SEGMENT_TCP, "other", &desc), MC_OK);
	ck_assert_int_eq(segment_desc_add_endpoint(desc, "carrier-pigeon:10.0.0.1"), MC_OK);
	ck_assert_int_eq(world.near.ops->connect(world.near.fabric, desc, &peer), MC_NOT_SUPPORTED);
	segment_desc_unref(desc);
	world_close(&world);
}
END_TEST

/* --- ends ----------------------------------------------------------------------------- */

START_TEST(a_peer_is_left_with_slices_in_flight)
{
	struct world world;
	static struct moving movings[64];

	if (!world_open(&world, _i, BOTH))
		return;
	for (int round = 0; round < 10; round++) {
		for (uint32_t i = 0; i < 64; i++)
			moving_prepare(&world, &movings[i], i % 2 ? FABRIC_READ : FABRIC_WRITE,
				       i * 256 * KIB, i * 256 * KIB, 256 * KIB);
		moving_submit(&world, movings, 64);
		world.near.ops->disconnect(world.peer);
		for (uint32_t i = 0; i < 64; i++) {
			ck_assert_int_eq(atomic_load(&movings[i].ended), 1);
			ck_assert(movings[i].status == MC_CANCELLED || movings[i].status == MC_OK);
		}
		ck_assert_int_eq(
			world.near.ops->connect(world.near.fabric, world.desc, &world.peer), MC_OK);
	}
	ck_assert_int_eq(world_move(&world, FABRIC_READ, 0, 0, MIB), MC_OK);
	world_close(&world);
}
END_TEST

START_TEST(cancelled_slices_end_once_and_others_go_on)
{
	struct world world;
	static struct moving movings[64];

	if (!world_open(&world, _i, BOTH))
		return;
	world_pattern(world.far.view, SIZE, 6);
	for (int round = 0; round < 20; round++) {
		memset(world.near.memory, 0, SIZE);
		for (uint32_t i = 0; i < 64; i++)
			moving_prepare(&world, &movings[i], FABRIC_READ, i * 256 * KIB,
				       i * 256 * KIB, 256 * KIB);
		moving_submit(&world, movings, 64);
		for (uint32_t i = 0; i < 64; i += 3)
			world.near.ops->cancel(world.peer, &movings[i].slice);
		moving_wait(&world, movings, 64);
		for (uint32_t i = 0; i < 64; i++) {
			if (i % 3 != 0)
				ck_assert_int_eq(movings[i].status, MC_OK);
			else
				ck_assert_msg(movings[i].status == MC_OK ||
						      movings[i].status == MC_CANCELLED,
					      "%s", mc_status_text(movings[i].status));
			if (movings[i].status == MC_OK)
				ck_assert_mem_eq(world.near.memory + i * 256 * KIB,
						 world.far.view + i * 256 * KIB, 256 * KIB);
		}
		/* One that has ended may be cancelled; nothing happens. */
		world.near.ops->cancel(world.peer, &movings[0].slice);
		ck_assert_int_eq(atomic_load(&movings[0].ended), 1);
	}
	world_close(&world);
}
END_TEST

/* --- other processes ------------------------------------------------------------------- */

/* A lender in a process of its own, known as a peer. */
struct acquaintance {
	pid_t child;
	struct card *card;
	struct segment_desc *desc;
	struct fabric_peer *peer;
};

/* False: this machine has no such fabric. */
static bool acquaintance_open(struct world *world, int row, struct acquaintance *other)
{
	other->card = calloc(1, sizeof(*other->card));
	other->child = lender_start(row, other->card);
	if (other->child == 0 || !world_open(world, row, BOTH)) {
		free(other->card);
		return false;
	}
	ck_assert_int_eq(segment_desc_parse(other->card->text, other->card->size, &other->desc),
			 MC_OK);
	ck_assert_int_eq(world->near.ops->connect(world->near.fabric, other->desc, &other->peer),
			 MC_OK);
	return true;
}

static void acquaintance_close(struct world *world, struct acquaintance *other)
{
	world->near.ops->disconnect(other->peer);
	if (other->child > 0)
		lender_end(other->child);
	segment_desc_unref(other->desc);
	free(other->card);
	world_close(world);
}

static void acquaintance_stop(const struct acquaintance *other)
{
	kill(other->child, SIGSTOP);
	ck_assert_int_eq(waitpid(other->child, NULL, WUNTRACED), other->child);
}

START_TEST(a_killed_peer_ends_its_own_slices_only)
{
	struct world world;
	static struct moving doomed[48], fine[8];
	struct acquaintance other;

	if (!acquaintance_open(&world, _i, &other))
		return;
	lender_prepare(&world, &doomed[0], other.card, other.desc, 0, MIB);
	lender_submit(&world, other.peer, doomed, 1);
	moving_wait(&world, doomed, 1);
	ck_assert_int_eq(doomed[0].status, MC_OK);
	for (uint32_t i = 0; i < 8; i++)
		moving_prepare(&world, &fine[i], FABRIC_READ, 12 * MIB + i * 256 * KIB,
			       i * 256 * KIB, 256 * KIB);
	for (uint32_t i = 0; i < 48; i++)
		lender_prepare(&world, &doomed[i], other.card, other.desc, i * 256 * KIB,
			       256 * KIB);
	kill(other.child, SIGSTOP);
	lender_submit(&world, other.peer, doomed, 48);
	moving_submit(&world, fine, 8);
	lender_end(other.child);
	other.child = 0;
	moving_wait(&world, fine, 8);
	moving_wait(&world, doomed, 48);
	for (uint32_t i = 0; i < 8; i++)
		ck_assert_int_eq(fine[i].status, MC_OK);
	/* What was on its way may have come; where it goes by the kernel it may be all. */
	for (uint32_t i = 0; i < 48; i++)
		ck_assert(doomed[i].status == MC_UNREACHABLE || doomed[i].status == MC_OK);
	/* Nobody is there any more. */
	lender_prepare(&world, &doomed[0], other.card, other.desc, 0, 4096);
	lender_submit(&world, other.peer, doomed, 1);
	moving_wait(&world, doomed, 1);
	ck_assert_int_eq(doomed[0].status, MC_UNREACHABLE);
	acquaintance_close(&world, &other);
}
END_TEST

/* As a child does that has not come to its exec() yet, or for a moment who reads /proc/PID/fd. */
static pid_t share_descriptors(void)
{
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		for (;;)
			pause();
	}
	return child;
}

START_TEST(a_killed_peer_is_gone_though_others_have_its_connections)
{
	struct world world;
	static struct moving moving;
	struct acquaintance other;

	if (!acquaintance_open(&world, _i, &other))
		return;
	lender_prepare(&world, &moving, other.card, other.desc, 0, MIB);
	lender_submit(&world, other.peer, &moving, 1);
	moving_wait(&world, &moving, 1);
	ck_assert_int_eq(moving.status, MC_OK);
	pid_t child = share_descriptors();
	lender_end(other.child);
	other.child = 0;
	lender_prepare(&world, &moving, other.card, other.desc, 0, 4096);
	lender_submit(&world, other.peer, &moving, 1);
	moving_wait(&world, &moving, 1);
	ck_assert_int_eq(moving.status, MC_UNREACHABLE);
	for (uint32_t i = 0; i < 200; i++) {
		ck_assert_int_eq(world_move(&world, FABRIC_READ, 0, 0, 4096), MC_OK);
		usleep(500);
	}
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	acquaintance_close(&world, &other);
}
END_TEST

START_TEST(slices_to_a_stopped_peer_time_out_or_are_cancelled)
{
	struct world world;
	static struct moving movings[4];
	struct acquaintance other;

	if (!acquaintance_open(&world, _i, &other))
		return;
	acquaintance_stop(&other);
	for (uint32_t i = 0; i < 4; i++)
		lender_prepare(&world, &movings[i], other.card, other.desc, i * 2 * MIB, 2 * MIB);
	movings[0].slice.deadline_ns = clock_ns() + 100000000;
	movings[1].slice.deadline_ns = clock_ns() + 300000000;
	uint64_t begin_ns = clock_ns();
	lender_submit(&world, other.peer, movings, 4);
	world.near.ops->cancel(other.peer, &movings[2].slice);
	world.near.ops->cancel(other.peer, &movings[3].slice);
	moving_wait(&world, movings, 4);
	ck_assert_uint_lt(clock_ns() - begin_ns, 5000000000ull);
	/* Through the kernel, a stopped process can be read as well. */
	if (movings[0].status != MC_OK) {
		ck_assert_int_eq(movings[0].status, MC_TIMEOUT);
		ck_assert_int_eq(movings[1].status, MC_TIMEOUT);
		ck_assert_int_eq(movings[2].status, MC_CANCELLED);
		ck_assert_int_eq(movings[3].status, MC_CANCELLED);
	}
	/* It comes back. */
	kill(other.child, SIGCONT);
	lender_prepare(&world, &movings[0], other.card, other.desc, 0, MIB);
	lender_submit(&world, other.peer, movings, 1);
	moving_wait(&world, movings, 1);
	ck_assert_int_eq(movings[0].status, MC_OK);
	acquaintance_close(&world, &other);
}
END_TEST

/* What was asked for and is not wanted any more takes room until the peer has answered. */
START_TEST(cancelled_slices_take_no_room_from_others)
{
	enum { COUNT = 1000, ROUNDS = 10 };
	struct world world;
	static struct moving movings[COUNT];
	struct fabric_slice *slices[COUNT];
	struct acquaintance other;

	if (!acquaintance_open(&world, _i, &other))
		return;
	lender_prepare(&world, &movings[0], other.card, other.desc, 0, 64);
	lender_submit(&world, other.peer, movings, 1);
	moving_wait(&world, movings, 1);
	acquaintance_stop(&other);
	for (int round = 0; round < ROUNDS; round++) {
		uint32_t taken = 0;
		for (uint32_t i = 0; i < COUNT; i++) {
			lender_prepare(&world, &movings[i], other.card, other.desc, i * 64, 64);
			slices[i] = &movings[i].slice;
		}
		ck_assert_int_eq(world.near.ops->submit(other.peer, slices, COUNT, &taken), MC_OK);
		/* Nothing else is in flight: no end would tell of room. */
		ck_assert_uint_gt(taken, 0);
		for (uint32_t i = 0; i < taken; i++)
			world.near.ops->cancel(other.peer, slices[i]);
		moving_wait(&world, movings, taken);
	}
	kill(other.child, SIGCONT);
	lender_prepare(&world, &movings[0], other.card, other.desc, 0, MIB);
	lender_submit(&world, other.peer, movings, 1);
	moving_wait(&world, movings, 1);
	ck_assert_int_eq(movings[0].status, MC_OK);
	acquaintance_close(&world, &other);
}
END_TEST

/* --- nothing is left ---------------------------------------------------------------------- */

static int open_fd_count(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

START_TEST(a_thousand_peers_that_come_and_go_leave_nothing)
{
	struct world world;
	int before = 0;

	if (!world_open(&world, _i, BOTH))
		return;
	for (int i = 0; i < 1000; i++) {
		world.near.ops->disconnect(world.peer);
		ck_assert_int_eq(
			world.near.ops->connect(world.near.fabric, world.desc, &world.peer), MC_OK);
		ck_assert_int_eq(world_move(&world, FABRIC_READ, 0, 0, 64), MC_OK);
		if (i == 100)
			before = open_fd_count();
	}
	for (int i = 0; i < 100 && open_fd_count() > before; i++)
		usleep(10000);
	ck_assert_int_le(open_fd_count(), before);
	world_close(&world);
}
END_TEST

START_TEST(a_hundred_peers_cost_nothing_while_idle)
{
	struct world world;
	struct fabric_peer *peers[100];
	struct fabric_peer *own;
	struct timespec before, after;

	if (!world_open(&world, _i, BOTH))
		return;
	own = world.peer;
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(world.near.ops->connect(world.near.fabric, world.desc, &peers[i]),
				 MC_OK);
		world.peer = peers[i];
		ck_assert_int_eq(world_move(&world, FABRIC_READ, 0, 0, 64), MC_OK);
	}
	world.peer = own;
	usleep(300000);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	usleep(1000000);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	uint64_t used_ns = (uint64_t)(after.tv_sec - before.tv_sec) * 1000000000u +
			   (uint64_t)after.tv_nsec - (uint64_t)before.tv_nsec;
	/* Who polls takes all of it.  An emulated processor is charged what its host takes. */
	ck_assert_uint_lt(used_ns, 100000000);
	for (int i = 0; i < 100; i++)
		world.near.ops->disconnect(peers[i]);
	world_close(&world);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("fabric");
	TCase *right = tcase_create("right");
	TCase *refused = tcase_create("refused");
	TCase *ends = tcase_create("ends");

	tcase_set_timeout(right, 120);
	tcase_set_timeout(refused, 60);
	tcase_set_timeout(ends, 120);
	tcase_add_loop_test(right, what_is_read_is_what_is_there, 0, WORLD_ROWS);
	tcase_add_loop_test(right, what_was_written_is_there_when_it_is_done, 0, WORLD_ROWS);
	tcase_add_loop_test(right, thousands_of_slices_in_flight_all_end_once, 0, WORLD_ROWS);
	tcase_add_loop_test(right, random_slices_of_all_sizes_move_right, 0, WORLD_ROWS);
	tcase_add_loop_test(right, it_works_over_ipv6_too, 0, WORLD_ROWS);
	tcase_add_loop_test(right, without_a_waiter_the_fabrics_own_thread_ends_slices, 0,
			    WORLD_ROWS);
	tcase_add_loop_test(right, many_threads_may_submit_and_wait_at_once, 0, WORLD_ROWS);
	tcase_add_loop_test(refused, memory_is_out_of_reach_without_its_key_bounds_and_rights, 0,
			    WORLD_ROWS);
	tcase_add_loop_test(refused, what_was_unregistered_is_out_of_reach, 0, WORLD_ROWS);
	tcase_add_loop_test(refused, a_segment_of_another_kind_is_not_connected_to, 0, WORLD_ROWS);
	tcase_add_loop_test(ends, a_peer_is_left_with_slices_in_flight, 0, WORLD_ROWS);
	tcase_add_loop_test(ends, cancelled_slices_end_once_and_others_go_on, 0, WORLD_ROWS);
	tcase_add_loop_test(ends, a_killed_peer_ends_its_own_slices_only, 0, WORLD_ROWS);
	tcase_add_loop_test(ends, a_killed_peer_is_gone_though_others_have_its_connections, 0,
			    WORLD_ROWS);
	tcase_add_loop_test(ends, cancelled_slices_take_no_room_from_others, 0, WORLD_ROWS);
	tcase_add_loop_test(ends, slices_to_a_stopped_peer_time_out_or_are_cancelled, 0,
			    WORLD_ROWS);
	tcase_add_loop_test(ends, a_thousand_peers_that_come_and_go_leave_nothing, 0, WORLD_ROWS);
	tcase_add_loop_test(ends, a_hundred_peers_cost_nothing_while_idle, 0, WORLD_ROWS);
	suite_add_tcase(s, right);
	suite_add_tcase(s, refused);
	suite_add_tcase(s, ends);
	return s;
}

int main(void)
{
	log_set_level("error");
	return suite_run(suite());
}
