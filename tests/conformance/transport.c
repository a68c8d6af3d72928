/*
 * Every transport keeps the promises of engine/transport/transport.h: one
 * suite, run over each row of the table.  What strangers do to it:
 * transport_strangers.c.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "tests/support/suite.h"
#include "tests/support/transport_world.h"

#define LATE_MS 30000u /* what ends by a deadline of its own has ended by then */

/* --- what is right ----------------------------------------------------------- */

static const uint64_t sizes[] = {0,	  1,	       4095, 4096,	  65536,   65537,
				 MIB / 2, MIB / 2 + 1, MIB,  5 * MIB + 1, 70 * MIB};

START_TEST(objects_of_every_size_arrive_whole)
{
	struct world world;

	world_init(&world, _i);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct getting getting;
		uint64_t id = fake_add(&world.fake, (int)i, sizes[i]);
		getting_init(&getting, world.puller, id, VERSION, 5000);
		getting_start(&getting, world.endpoint);
		ck_assert_int_eq(getting_wait(&getting), MC_OK);
		ck_assert_int_eq(getting.begun + getting.lent, 1);
		getting_check(&getting, &world.fake);
		getting_fini(&getting);
	}
	world_wait_until_nothing_is_held(&world);
	ck_assert_uint_eq(world_counters(world.puller).pulls_done, ARRAY_SIZE(sizes));
	world_fini(&world);
}
END_TEST

START_TEST(memory_that_maps_no_file_is_filled_too)
{
	struct world world;
	struct getting getting;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 5 * MIB + 1);
	getting_init(&getting, world.puller, id, VERSION, 5000);
	getting.target = TARGET_MEMORY;
	getting_start(&getting, world.endpoint);
	ck_assert_int_eq(getting_wait(&getting), MC_OK);
	getting_check(&getting, &world.fake);
	getting_fini(&getting);
	world_fini(&world);
}
END_TEST

START_TEST(an_object_with_holes_arrives_and_fills_none)
{
	struct world world;
	struct getting getting;
	struct stat before, after;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 5 * MIB + 1);
	struct fake_object *object = &world.fake.objects[id - ID_FIRST];
	ck_assert_int_eq(
		fallocate(object->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB, 2 * MIB), 0);
	ck_assert_int_eq(fstat(object->fd, &before), 0);
	getting_init(&getting, world.puller, id, VERSION, 5000);
	getting_start(&getting, world.endpoint);
	ck_assert_int_eq(getting_wait(&getting), MC_OK);
	ck_assert_int_eq(fstat(object->fd, &after), 0);
	ck_assert_int_eq(after.st_blocks, before.st_blocks);
	getting_check(&getting, &world.fake);
	getting_fini(&getting);
	world_fini(&world);
}
END_TEST

static const struct {
	enum target target;
	int error;
} refusals[] = {{TARGET_REFUSES, EPERM}, {TARGET_FULL, ENOSPC}};

/* How many connections large pulls come over, once none is added any more. */
static uint64_t connections_of(struct world *world, uint64_t id)
{
	uint64_t before, after = 0;

	do {
		before = after;
		ck_assert_int_eq(world_get(world, id, VERSION, 5000), MC_OK);
		usleep(20000);
		after = world_counters(world->puller).connections;
	} while (after != before);
	return after;
}

START_TEST(a_target_that_takes_no_bytes_ends_its_own_pull_only)
{
	struct world world;

	world_init(&world, _i);
	/* Nothing is written where files are lent, and to the map where it is read one-sided. */
	bool writes = world_pull_flag(world.ops) == 0;
	uint64_t id = fake_add(&world.fake, 0, 9 * MIB);
	uint64_t connections = connections_of(&world, id);
	for (size_t i = 0; writes && i < ARRAY_SIZE(refusals); i++) {
		struct getting refused, other;
		getting_init(&refused, world.puller, id, VERSION, 5000);
		getting_init(&other, world.puller, id, VERSION, 5000);
		refused.target = refusals[i].target;
		getting_start(&other, world.endpoint);
		getting_start(&refused, world.endpoint);
		enum mc_status status = getting_wait(&refused);
		ck_assert_int_eq(status, mc_status_from_errno(refusals[i].error));
		ck_assert_int_eq(getting_wait(&other), MC_OK);
		getting_check(&other, &world.fake);
		getting_fini(&refused);
		getting_fini(&other);
		ck_assert_int_eq(world_get(&world, id, VERSION, 5000), MC_OK);
		ck_assert_uint_eq(world_counters(world.puller).connections, connections);
	}
	world_fini(&world);
}
END_TEST

START_TEST(objects_arrive_over_ipv6_and_over_any_address)
{
	static const char *const hosts[] = {"0.0.0.0", "::1"};

	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		struct world world;
		if (i == 1 && access("/proc/net/if_inet6", F_OK) < 0) {
			puts("SKIP: this machine has no IPv6");
			continue;
		}
		world_init_at(&world, _i, hosts[i]);
		ck_assert_int_eq(world_get(&world, fake_add(&world.fake, 0, 100000), 0, 5000),
				 MC_OK);
		world_fini(&world);
	}
}
END_TEST

START_TEST(a_missing_object_is_not_found)
{
	struct world world;

	world_init(&world, _i);
	ck_assert_int_eq(world_get(&world, ID_MISSING, 0, 5000), MC_NOT_FOUND);
	world_fini(&world);
}
END_TEST

START_TEST(another_version_is_stale_and_zero_takes_what_there_is)
{
	struct world world;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 5000);
	ck_assert_int_eq(world_get(&world, id, VERSION + 1, 5000), MC_STALE);
	ck_assert_int_eq(world_get(&world, id, 0, 5000), MC_OK);
	ck_assert_int_eq(world_get(&world, id, VERSION, 5000), MC_OK);
	world_fini(&world);
}
END_TEST

START_TEST(an_object_that_is_being_written_is_asked_for_again)
{
	struct world world;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 5000);
	atomic_store(&world.fake.again, 5);
	ck_assert_int_eq(world_get(&world, id, VERSION, 5000), MC_OK);
	atomic_store(&world.fake.again, 1 << 20);
	uint64_t begin_ms = clock_ms();
	ck_assert_int_eq(world_get(&world, id, 0, 300), MC_TIMEOUT);
	ck_assert_uint_ge(clock_ms() - begin_ms, 290);
	ck_assert_uint_le(clock_ms() - begin_ms, LATE_MS);
	world_fini(&world);
}
END_TEST

/* A race detector makes a thread's time ten times longer: deadlines of the transports' own pass. */
#ifdef __SANITIZE_THREAD__
#define AT_ONCE 8
#else
#define AT_ONCE 64
#endif

START_TEST(many_pulls_at_once_all_arrive)
{
	struct world world;
	static struct getting gettings[AT_ONCE];

	world_init(&world, _i);
	for (int i = 0; i < 8; i++)
		fake_add(&world.fake, i, (uint64_t)i * 700001);
	for (int i = 0; i < AT_ONCE; i++) {
		getting_init(&gettings[i], world.puller, ID_FIRST + (uint64_t)(i % 8), 0, 20000);
		getting_start(&gettings[i], world.endpoint);
	}
	for (int i = 0; i < AT_ONCE; i++) {
		ck_assert_int_eq(getting_wait(&gettings[i]), MC_OK);
		getting_check(&gettings[i], &world.fake);
	}
	for (int i = 0; i < AT_ONCE; i++)
		getting_fini(&gettings[i]);
	world_wait_until_nothing_is_held(&world);
	world_fini(&world);
}
END_TEST

START_TEST(what_the_sink_refuses_comes_back)
{
	struct world world;
	struct getting getting;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 3 * MIB);
	getting_init(&getting, world.puller, id, 0, 5000);
	getting.refuse = MC_NO_SPACE;
	getting_start(&getting, world.endpoint);
	ck_assert_int_eq(getting_wait(&getting), MC_NO_SPACE);
	getting_fini(&getting);
	/* The connection is still good for the next. */
	ck_assert_int_eq(world_get(&world, id, 0, 5000), MC_OK);
	world_wait_until_nothing_is_held(&world);
	world_fini(&world);
}
END_TEST

START_TEST(a_cancelled_pull_ends_and_the_next_goes_on)
{
	struct world world;
	struct getting getting;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 70 * MIB);
	getting_init(&getting, world.puller, id, 0, 5000);
	getting.slow_us = 20000;
	getting_start(&getting, world.endpoint);
	world.ops->cancel(world.puller, &getting.pull);
	enum mc_status status = getting_wait(&getting);
	ck_assert(status == MC_CANCELLED || (status == MC_OK && getting.lent));
	/* After the end it means nothing. */
	world.ops->cancel(world.puller, &getting.pull);
	getting_fini(&getting);
	ck_assert_int_eq(world_get(&world, id, 0, 5000), MC_OK);
	world_wait_until_nothing_is_held(&world);
	world_fini(&world);
}
END_TEST

START_TEST(closing_ends_what_is_on_its_way)
{
	struct world world;
	struct getting getting;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 70 * MIB);
	atomic_store(&world.fake.again, 1 << 20);
	getting_init(&getting, world.puller, id, 0, 5000);
	getting_start(&getting, world.endpoint);
	world.ops->close(world.puller);
	ck_assert(getting.ended);
	ck_assert_int_eq(getting.status, MC_CANCELLED);
	getting_fini(&getting);
	world.puller = world_transport(world.ops, "127.0.0.1", &world.fake.source);
	world_fini(&world);
}
END_TEST

START_TEST(a_wanted_range_comes_before_the_rest)
{
	struct world world;
	struct getting getting;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 70 * MIB);
	getting_init(&getting, world.puller, id, 0, 5000);
	getting.slow_us = 1000;
	getting.wanted = 69 * MIB;
	getting_start(&getting, world.endpoint);
	getting_wait_begun(&getting);
	world.ops->want(world.puller, &getting.pull, 69 * MIB, 1000);
	ck_assert_int_eq(getting_wait(&getting), MC_OK);
	getting_check(&getting, &world.fake);
	ck_assert_uint_lt(getting.first_wanted, 40 * MIB);
	getting_fini(&getting);
	world_fini(&world);
}
END_TEST

START_TEST(one_version_is_held_for_a_pull_in_many_requests)
{
	struct world world;
	struct getting getting;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 70 * MIB);
	getting_init(&getting, world.puller, id, 0, 5000);
	getting.slow_us = 200;
	getting_start(&getting, world.endpoint);
	getting_wait_begun(&getting);
	/* From now on the source knows another version only. */
	atomic_store(&world.fake.version, VERSION + 1);
	ck_assert_int_eq(getting_wait(&getting), MC_OK);
	getting_check(&getting, &world.fake);
	ck_assert_int_eq(atomic_load(&world.fake.holds_made), 1);
	getting_fini(&getting);
	world_fini(&world);
}
END_TEST

START_TEST(what_is_lent_is_held_until_it_is_given_back)
{
	struct world world;
	struct getting getting;

	world_init(&world, _i);
	if (world.ops->give_back) {
		uint64_t id = fake_add(&world.fake, 0, 10000);
		getting_init(&getting, world.puller, id, 0, 5000);
		getting_start(&getting, world.endpoint);
		ck_assert_int_eq(getting_wait(&getting), MC_OK);
		ck_assert_uint_eq(world_counters(world.owner).holds, 1);
		usleep(1500000);
		ck_assert_uint_eq(world_counters(world.owner).holds, 1);
		/* Only for reading, whatever the owner's own descriptor can do. */
		ck_assert_int_eq(fcntl(getting.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
		getting_give_back(&getting);
		world_wait_until_nothing_is_held(&world);
		getting_fini(&getting);
	}
	world_fini(&world);
}
END_TEST

START_TEST(who_lets_go_takes_nothing_from_another)
{
	struct world world;
	struct getting first, second;
	bool lends = world_ops(_i)->give_back != NULL;

	world_init(&world, _i);
	/* Where bytes are sent nothing is lent. */
	if (world_pull_flag(world.ops) == 0) {
		world_fini(&world);
		return;
	}
	uint64_t id = fake_add(&world.fake, 0, 20 * MIB);
	getting_init(&first, world.puller, id, 0, 5000);
	getting_init(&second, world.puller, id, 0, 5000);
	/* Read in pieces, of which the last is asked for long after the first pull has ended. */
	second.slow_us = 700000;
	getting_start(&second, world.endpoint);
	getting_start(&first, world.endpoint);
	ck_assert_int_eq(getting_wait(&first), MC_OK);
	getting_give_back(&first);
	ck_assert_int_eq(getting_wait(&second), MC_OK);
	getting_check(&second, &world.fake);
	if (lends) {
		usleep(1500000);
		ck_assert_uint_eq(world_counters(world.owner).holds, 1);
	}
	getting_fini(&first);
	getting_fini(&second);
	world_wait_until_nothing_is_held(&world);
	world_fini(&world);
}
END_TEST

START_TEST(a_wrong_endpoint_is_refused)
{
	struct world world;
	struct getting getting;
	static const char *const wrong[] = {
		"",	      "x",    "tcp:",  "tcp:1.2.3.4", "tcp:1.2.3.4:99999",
		"tcp:name:1", "shm:", "shm:a", "shm:a/",
	};

	world_init(&world, _i);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		ck_assert_uint_eq(world.ops->score(world.puller, wrong[i]), 0);
		getting_init(&getting, world.puller, 1, 0, 1000);
		getting_start(&getting, wrong[i]);
		enum mc_status status = getting_wait(&getting);
		ck_assert(status == MC_INVALID || status == MC_UNREACHABLE);
		getting_fini(&getting);
	}
	ck_assert_uint_gt(world.ops->score(world.puller, world.endpoint), 0);
	world_fini(&world);
}
END_TEST

/* --- peers that fail ---------------------------------------------------------- */

/* An owner in another process, with objects of 0: 1 MiB and 1: 70 MiB. */
static pid_t owner_process(int row, char endpoint[MC_ENDPOINT_SIZE], int again)
{
	int pipes[2];

	ck_assert_int_eq(pipe(pipes), 0);
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		static struct fake_source fake;
		const struct transport_ops *ops = world_ops(row);
		char text[MC_ENDPOINT_SIZE] = "";
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fake_init(&fake);
		fake_add(&fake, 0, MIB);
		fake_add(&fake, 1, 70 * MIB);
		atomic_store(&fake.again, again);
		ops->endpoint(world_transport(ops, "127.0.0.1", &fake.source), text);
		if (write(pipes[1], text, sizeof(text)) != sizeof(text))
			_exit(1);
		for (;;)
			pause();
	}
	ck_assert_int_eq(read(pipes[0], endpoint, MC_ENDPOINT_SIZE), MC_ENDPOINT_SIZE);
	close(pipes[0]);
	close(pipes[1]);
	return child;
}

static void end_process(pid_t child)
{
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
}

START_TEST(a_killed_peer_ends_its_own_pulls_only)
{
	struct world world;
	struct getting doomed[4], other;
	char endpoint[MC_ENDPOINT_SIZE];
	/* Where descriptors are passed a pull is over at once: keep it waiting. */
	bool lends = world_ops(_i)->give_back != NULL;
	pid_t child = owner_process(_i, endpoint, lends ? 1 << 20 : 0);

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 70 * MIB);
	for (int i = 0; i < 4; i++) {
		getting_init(&doomed[i], world.puller, ID_FIRST + 1, 0, 10000);
		doomed[i].slow_us = 3000;
		getting_start(&doomed[i], endpoint);
	}
	getting_init(&other, world.puller, id, 0, 10000);
	getting_start(&other, world.endpoint);
	usleep(50000);
	uint64_t begin_ms = clock_ms();
	end_process(child);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(getting_wait(&doomed[i]), MC_UNREACHABLE);
		getting_fini(&doomed[i]);
	}
	/* Much less than a step; it takes what was in the socket already. */
	ck_assert_uint_le(clock_ms() - begin_ms, LATE_MS);
	ck_assert_int_eq(getting_wait(&other), MC_OK);
	getting_fini(&other);
	/* And nobody answers there any more. */
	strcpy(world.endpoint, endpoint);
	ck_assert_int_eq(world_get(&world, ID_FIRST, 0, 10000), MC_UNREACHABLE);
	world_fini(&world);
}
END_TEST

START_TEST(a_stopped_peer_times_out_and_may_come_back)
{
	struct world world;
	pid_t child;

	char endpoint[MC_ENDPOINT_SIZE];
	child = owner_process(_i, endpoint, 0);
	world_init(&world, _i);
	strcpy(world.endpoint, endpoint);
	ck_assert_int_eq(world_get(&world, ID_FIRST, 0, 5000), MC_OK);
	kill(child, SIGSTOP);
	ck_assert_int_eq(waitpid(child, NULL, WUNTRACED), child);
	uint64_t begin_ms = clock_ms();
	ck_assert_int_eq(world_get(&world, ID_FIRST, 0, 200), MC_TIMEOUT);
	ck_assert_int_eq(world_get(&world, ID_FIRST, 0, 200), MC_TIMEOUT);
	ck_assert_uint_ge(clock_ms() - begin_ms, 390);
	ck_assert_uint_le(clock_ms() - begin_ms, LATE_MS);
	kill(child, SIGCONT);
	ck_assert_int_eq(world_get(&world, ID_FIRST, 0, 5000), MC_OK);
	world_fini(&world);
	end_process(child);
}
END_TEST

START_TEST(a_peer_that_restarted_is_found_again)
{
	struct world world;
	char endpoint[MC_ENDPOINT_SIZE];

	world_init(&world, _i);
	fake_add(&world.fake, 0, 100000);
	ck_assert_int_eq(world_get(&world, ID_FIRST, 0, 5000), MC_OK);
	world.ops->close(world.owner);
	struct transport_config config = {.listen_host = "127.0.0.1", .source = &world.fake.source};
	const char *colon = strrchr(world.endpoint, ':');
	if (world_pull_flag(world.ops) == 0)
		config.port_first = config.port_last = (uint16_t)atoi(colon + 1);
	ck_assert_int_eq(world.ops->open(&config, &world.owner), MC_OK);
	world.ops->endpoint(world.owner, endpoint);
	if (world_pull_flag(world.ops) == 0)
		ck_assert_str_eq(endpoint, world.endpoint);
	strcpy(world.endpoint, endpoint);
	ck_assert_int_eq(world_get(&world, ID_FIRST, 0, 5000), MC_OK);
	world_fini(&world);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("transport");
	TCase *right = tcase_create("right");
	TCase *failing = tcase_create("failing peers");

	tcase_set_timeout(right, 60);
	tcase_set_timeout(failing, 60);
	tcase_add_loop_test(right, objects_of_every_size_arrive_whole, 0, TRANSPORTS);
	tcase_add_loop_test(right, memory_that_maps_no_file_is_filled_too, 0, TRANSPORTS);
	tcase_add_loop_test(right, an_object_with_holes_arrives_and_fills_none, 0, TRANSPORTS);
	tcase_add_loop_test(right, a_target_that_takes_no_bytes_ends_its_own_pull_only, 0,
			    TRANSPORTS);
	tcase_add_loop_test(right, objects_arrive_over_ipv6_and_over_any_address, 0, TRANSPORTS);
	tcase_add_loop_test(right, a_missing_object_is_not_found, 0, TRANSPORTS);
	tcase_add_loop_test(right, another_version_is_stale_and_zero_takes_what_there_is, 0,
			    TRANSPORTS);
	tcase_add_loop_test(right, an_object_that_is_being_written_is_asked_for_again, 0,
			    TRANSPORTS);
	tcase_add_loop_test(right, many_pulls_at_once_all_arrive, 0, TRANSPORTS);
	tcase_add_loop_test(right, what_the_sink_refuses_comes_back, 0, TRANSPORTS);
	tcase_add_loop_test(right, a_cancelled_pull_ends_and_the_next_goes_on, 0, TRANSPORTS);
	tcase_add_loop_test(right, closing_ends_what_is_on_its_way, 0, TRANSPORTS);
	tcase_add_loop_test(right, a_wanted_range_comes_before_the_rest, 0, TRANSPORTS);
	tcase_add_loop_test(right, one_version_is_held_for_a_pull_in_many_requests, 0, TRANSPORTS);
	tcase_add_loop_test(right, what_is_lent_is_held_until_it_is_given_back, 0, TRANSPORTS);
	tcase_add_loop_test(right, who_lets_go_takes_nothing_from_another, 0, TRANSPORTS);
	tcase_add_loop_test(right, a_wrong_endpoint_is_refused, 0, TRANSPORTS);
	tcase_add_loop_test(failing, a_killed_peer_ends_its_own_pulls_only, 0, TRANSPORTS);
	tcase_add_loop_test(failing, a_stopped_peer_times_out_and_may_come_back, 0, TRANSPORTS);
	tcase_add_loop_test(failing, a_peer_that_restarted_is_found_again, 0, TRANSPORTS);
	suite_add_tcase(s, right);
	suite_add_tcase(s, failing);
	return s;
}

int main(void)
{
	log_set_level("error");
	return suite_run(suite());
}
