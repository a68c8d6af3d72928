/* The public interface between two engines, over TCP and a store in memory. */
#include <check.h>
#include <dirent.h>
#include <malloc.h>
#include <mooncake/engine.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "tests/support/suite.h"
#include "tests/unit/engine/move.h"

#define SIZE (8u << 20)

static struct mc_engine_config config_of(const char *metadata, const char *name)
{
	return (struct mc_engine_config){
		.metadata = metadata,
		.name = name,
		.listen = "127.0.0.1",
		.announce = "127.0.0.1",
		.protocols = "tcp",
	};
}

static struct mc_engine *open_named(const char *name)
{
	struct mc_engine_config config = config_of("memory://api", name);
	struct mc_engine *engine;

	ck_assert_int_eq(mc_engine_open(&config, &engine), MC_OK);
	return engine;
}

static uint8_t *map_file(int fd)
{
	void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	ck_assert_ptr_ne(memory, MAP_FAILED);
	return memory;
}

/*
 * The view is the same memory for the test.  That bytes which came over a socket have
 * come before what the test does next is nothing that a race detector can see.
 */
static uint8_t *map(uint8_t **view)
{
	int fd = memfd_create("api", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, SIZE), 0);
	uint8_t *memory = map_file(fd);
	if (view)
		*view = map_file(fd);
	close(fd);
	return memory;
}

struct pair {
	struct mc_engine *near, *far;
	uint8_t *here, *there, *view;
	mc_segment_id segment;
};

static void pair_open(struct pair *pair)
{
	pair->near = open_named("near");
	pair->far = open_named("far");
	pair->here = map(NULL);
	pair->there = map(&pair->view);
	for (size_t i = 0; i < SIZE; i++)
		pair->view[i] = (uint8_t)(i * 2654435761u >> 7);
	ck_assert_int_eq(mc_engine_register(pair->near, pair->here, SIZE, "*", MC_REGION_LOCAL),
			 MC_OK);
	ck_assert_int_eq(mc_engine_register(pair->far, pair->there, SIZE, "*", MC_REGION_DEFAULT),
			 MC_OK);
	ck_assert_int_eq(mc_segment_open(pair->near, "far", 0, &pair->segment), MC_OK);
}

static void pair_close(struct pair *pair)
{
	mc_engine_close(pair->near);
	mc_engine_close(pair->far);
	munmap(pair->here, SIZE);
	munmap(pair->there, SIZE);
	munmap(pair->view, SIZE);
}

START_TEST(memory_of_another_engine_is_read_and_written)
{
	struct pair pair;
	struct mc_segment_buffer buffer;
	size_t count = 1;
	mc_segment_id again;

	pair_open(&pair);
	ck_assert_int_eq(mc_segment_buffers(pair.near, pair.segment, &buffer, &count), MC_OK);
	ck_assert_uint_eq(count, 1);
	ck_assert_uint_eq(buffer.address, (uint64_t)(uintptr_t)pair.there);
	ck_assert_int_eq(move(pair.near, MC_READ, pair.here, pair.segment, pair.there, SIZE),
			 MC_OK);
	ck_assert_mem_eq(pair.here, pair.view, SIZE);
	memset(pair.here, 0x77, SIZE);
	ck_assert_int_eq(move(pair.near, MC_WRITE, pair.here, pair.segment, pair.there, SIZE),
			 MC_OK);
	ck_assert_mem_eq(pair.here, pair.view, SIZE);
	ck_assert_int_eq(mc_segment_open(pair.near, "far", MC_SEGMENT_NO_CACHE, &again), MC_OK);
	ck_assert_uint_eq(again, pair.segment);
	ck_assert_int_eq(mc_segment_close(pair.near, again), MC_OK);
	ck_assert_int_eq(mc_segment_close(pair.near, again), MC_OK);
	ck_assert_int_eq(mc_segment_close(pair.near, again), MC_NOT_FOUND);
	ck_assert_int_eq(mc_segment_open(pair.near, "nobody", 0, &again), MC_NOT_FOUND);
	ck_assert_int_eq(mc_segment_open(pair.near, "near", 0, &again), MC_OK);
	ck_assert_uint_eq(again, MC_SEGMENT_LOCAL);
	pair_close(&pair);
}
END_TEST

START_TEST(a_stale_descriptor_is_fetched_anew)
{
	struct pair pair;
	uint8_t *more = map(NULL);

	pair_open(&pair);
	ck_assert_int_eq(move(pair.near, MC_READ, pair.here, pair.segment, pair.there, 64), MC_OK);
	/* Another key for the same memory: the owner refuses the old one. */
	ck_assert_int_eq(mc_engine_unregister(pair.far, pair.there), MC_OK);
	ck_assert_int_eq(mc_engine_register(pair.far, pair.there, SIZE, "*", MC_REGION_DEFAULT),
			 MC_OK);
	ck_assert_int_eq(move(pair.near, MC_READ, pair.here, pair.segment, pair.there, SIZE),
			 MC_OK);
	/* An address that the old one did not know. */
	usleep(30000);
	ck_assert_int_eq(mc_engine_register(pair.far, more, SIZE, "*", MC_REGION_DEFAULT), MC_OK);
	ck_assert_int_eq(move(pair.near, MC_READ, pair.here, pair.segment, more, SIZE), MC_OK);
	/* And one that is gone for good. */
	ck_assert_int_eq(mc_engine_unregister(pair.far, more), MC_OK);
	ck_assert_int_eq(move(pair.near, MC_READ, pair.here, pair.segment, more, 64), MC_ACCESS);
	usleep(30000);
	ck_assert_int_eq(move(pair.near, MC_READ, pair.here, pair.segment, more, 64), MC_ACCESS);
	ck_assert_int_eq(mc_engine_register(pair.far, more, SIZE, "*", MC_REGION_REMOTE_READ),
			 MC_OK);
	usleep(30000);
	ck_assert_int_eq(move(pair.near, MC_READ, pair.here, pair.segment, more, 64), MC_OK);
	ck_assert_int_eq(move(pair.near, MC_WRITE, pair.here, pair.segment, more, 64), MC_ACCESS);
	pair_close(&pair);
	munmap(more, SIZE);
}
END_TEST

START_TEST(a_peer_that_restarted_is_found_again)
{
	struct pair pair;

	pair_open(&pair);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(
			move(pair.near, MC_READ, pair.here, pair.segment, pair.there, SIZE), MC_OK);
		mc_engine_close(pair.far);
		pair.far = open_named("far");
		ck_assert_int_eq(
			mc_engine_register(pair.far, pair.there, SIZE, "*", MC_REGION_DEFAULT),
			MC_OK);
		usleep(25000);
	}
	pair_close(&pair);
}
END_TEST

START_TEST(a_dead_segment_fails_its_own_tasks_only)
{
	struct pair pair;
	struct mc_engine *third = open_named("third");
	struct mc_engine_stats stats;
	mc_segment_id other;
	uint8_t *theirs = map(NULL);

	pair_open(&pair);
	ck_assert_int_eq(mc_engine_register(third, theirs, SIZE, "*", MC_REGION_DEFAULT), MC_OK);
	ck_assert_int_eq(mc_segment_open(pair.near, "third", 0, &other), MC_OK);
	ck_assert_int_eq(move(pair.near, MC_READ, pair.here, other, theirs, 64), MC_OK);
	mc_engine_close(third);
	ck_assert_int_eq(move(pair.near, MC_READ, pair.here, other, theirs, SIZE), MC_UNREACHABLE);
	ck_assert_int_eq(move(pair.near, MC_READ, pair.here, pair.segment, pair.there, SIZE),
			 MC_OK);
	mc_engine_stats(pair.near, &stats);
	ck_assert_uint_eq(stats.tasks_failed, 1);
	ck_assert_uint_eq(stats.tasks, 0);
	ck_assert_uint_eq(stats.slices, 0);
	pair_close(&pair);
	munmap(theirs, SIZE);
}
END_TEST

START_TEST(names_are_unique_among_the_living)
{
	struct mc_engine_config config = config_of("memory://api", "one");
	struct mc_engine *first = open_named("one"), *second;

	ck_assert_int_eq(mc_engine_open(&config, &second), MC_EXISTS);
	mc_engine_close(first);
	ck_assert_int_eq(mc_engine_open(&config, &second), MC_OK);
	mc_engine_close(second);
}
END_TEST

START_TEST(peers_find_each_other_without_a_store)
{
	struct mc_engine_config config = config_of("P2PHANDSHAKE", NULL);
	struct mc_engine *near, *far;
	uint8_t *view, *here = map(NULL), *there = map(&view);
	mc_segment_id segment;

	ck_assert_int_eq(mc_engine_open(&config, &near), MC_OK);
	ck_assert_int_eq(mc_engine_open(&config, &far), MC_OK);
	memset(view, 3, SIZE);
	ck_assert_int_eq(mc_engine_register(near, here, SIZE, "*", MC_REGION_LOCAL), MC_OK);
	ck_assert_int_eq(mc_engine_register(far, there, SIZE, "*", MC_REGION_DEFAULT), MC_OK);
	ck_assert_str_eq(mc_engine_name(far), mc_engine_address(far));
	ck_assert_int_eq(mc_segment_open(near, mc_engine_name(far), 0, &segment), MC_OK);
	ck_assert_int_eq(move(near, MC_READ, here, segment, there, SIZE), MC_OK);
	ck_assert_mem_eq(here, view, SIZE);
	mc_engine_close(near);
	mc_engine_close(far);
	munmap(here, SIZE);
	munmap(there, SIZE);
	munmap(view, SIZE);
}
END_TEST

START_TEST(a_configuration_that_makes_no_sense_is_refused)
{
	struct mc_engine *engine;
	struct mc_engine_config config = config_of("memory://api", "");

	ck_assert_int_eq(mc_engine_open(&config, &engine), MC_INVALID);
	config = config_of(NULL, "a");
	ck_assert_int_eq(mc_engine_open(&config, &engine), MC_INVALID);
	config = config_of("memory://api", "a");
	config.protocols = "pigeon";
	ck_assert_int_eq(mc_engine_open(&config, &engine), MC_INVALID);
	config = config_of("memory://api", "a");
	config.port_first = 70;
	config.port_last = 60;
	ck_assert_int_eq(mc_engine_open(&config, &engine), MC_INVALID);
	static const char *const matrices[] = {"{", "[]", "{\"cpu:0\":[[\"mlx5_0\"]]}", "mlx5_0"};
	for (size_t i = 0; i < ARRAY_SIZE(matrices); i++) {
		config = config_of("memory://api", "a");
		config.priority = matrices[i];
		ck_assert_int_eq(mc_engine_open(&config, &engine), MC_INVALID);
	}
	config.priority = "{\"cpu:0\":[[\"mlx5_0\"],[]]}";
	ck_assert_int_eq(mc_engine_open(&config, &engine), MC_OK);
	mc_engine_close(engine);
	config = config_of("pigeon://api", "a");
	ck_assert_int_eq(mc_engine_open(&config, &engine), MC_NOT_SUPPORTED);
	config = config_of("http://127.0.0.1:1/metadata", "a");
	ck_assert_int_eq(mc_engine_open(&config, &engine), MC_UNREACHABLE);
	mc_engine_close(NULL);
}
END_TEST

/* Whoever is not an engine does no harm. */
START_TEST(garbage_ends_its_own_connection_only)
{
	struct pair pair;
	struct net_address address;
	unsigned seed = 1;
	uint8_t garbage[4096];

	pair_open(&pair);
	ck_assert_int_eq(net_parse(mc_engine_address(pair.far), &address), MC_OK);
	for (int i = 0; i < 100; i++) {
		int fd;
		char byte;
		ck_assert_int_eq(net_connect(&address, 5000, &fd), MC_OK);
		for (size_t j = 0; j < sizeof(garbage); j++)
			garbage[j] = (uint8_t)rand_r(&seed);
		if (i % 2)
			memcpy(garbage, "MCfabric\1\0\1\0\0\0\0", 16);
		size_t size = 1 + (size_t)i * 40;
		if (send(fd, garbage, size, MSG_NOSIGNAL) > 60 && i % 2 == 0)
			ck_assert_int_le(recv(fd, &byte, 1, 0), 0);
		close(fd);
		ck_assert_int_eq(
			move(pair.near, MC_READ, pair.here, pair.segment, pair.there, 4096), MC_OK);
	}
	pair_close(&pair);
}
END_TEST

START_TEST(who_says_nothing_is_shown_out)
{
	struct mc_engine *engine = open_named("quiet");
	struct net_address address;
	struct timeval limit = {.tv_sec = 10};
	char byte;
	int fd;

	ck_assert_int_eq(net_parse(mc_engine_address(engine), &address), MC_OK);
	ck_assert_int_eq(net_connect(&address, 5000, &fd), MC_OK);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	uint64_t begin_ns = clock_ns();
	ck_assert_int_eq(recv(fd, &byte, 1, 0), 0);
	ck_assert_uint_gt(clock_ns() - begin_ns, 4000000000);
	close(fd);
	mc_engine_close(engine);
}
END_TEST

/* --- nothing is left ----------------------------------------------------------------- */

enum kind { DEAD, REFUSED, CANCELLED, LATE, KINDS };

static int open_fd_count(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static size_t memory_used(void)
{
	return mallinfo2().uordblks;
}

/* A hundred transfers that fail, or are ended, in one batch. */
static void fail_hundred(struct pair *pair, enum kind kind, mc_segment_id segment,
			 const uint8_t *remote)
{
	enum { COUNT = 100, LENGTH = 65536 };
	struct mc_request requests[COUNT];
	struct mc_batch *batch;

	for (size_t i = 0; i < COUNT; i++)
		requests[i] = (struct mc_request){i % 2 ? MC_READ : MC_WRITE,
						  pair->here + i * LENGTH, segment,
						  (uint64_t)(uintptr_t)remote + i * LENGTH, LENGTH};
	ck_assert_int_eq(mc_batch_new(pair->near, COUNT, &batch), MC_OK);
	if (kind == LATE)
		mc_batch_deadline(batch, 0);
	ck_assert_int_eq(mc_batch_submit(batch, requests, COUNT), MC_OK);
	if (kind == CANCELLED)
		mc_batch_cancel(batch);
	enum mc_status status = mc_batch_wait(batch, 20000);
	static const enum mc_status expected[] = {MC_UNREACHABLE, MC_ACCESS, MC_CANCELLED,
						  MC_TIMEOUT};
	/* What was fast enough is done in spite of all. */
	ck_assert(status == expected[kind] || (kind >= CANCELLED && status == MC_OK));
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
}

START_TEST(ten_thousand_failed_transfers_leave_nothing)
{
	struct pair pair;
	struct mc_engine_stats stats;
	mc_segment_id other;
	uint8_t *theirs = map(NULL), *guarded = map(NULL);
	int fds = open_fd_count();

	setenv("MC_RETRY_CNT", "2", 1);
	struct mc_engine *third = open_named("third");
	pair_open(&pair);
	ck_assert_int_eq(mc_engine_register(third, theirs, SIZE, "*", MC_REGION_DEFAULT), MC_OK);
	ck_assert_int_eq(mc_engine_register(pair.far, guarded, SIZE, "*", MC_REGION_REMOTE_READ),
			 MC_OK);
	ck_assert_int_eq(mc_segment_sync(pair.near, NULL), MC_OK);
	ck_assert_int_eq(mc_segment_open(pair.near, "third", 0, &other), MC_OK);
	ck_assert_int_eq(move(pair.near, MC_READ, pair.here, other, theirs, 64), MC_OK);
	mc_engine_close(third);
	for (int i = 0; i < 10; i++)
		fail_hundred(&pair, (enum kind)_i, _i == DEAD ? other : pair.segment,
			     _i == DEAD	     ? theirs
			     : _i == REFUSED ? guarded
					     : pair.there);
	size_t used = memory_used();
	for (int i = 0; i < 100; i++)
		fail_hundred(&pair, (enum kind)_i, _i == DEAD ? other : pair.segment,
			     _i == DEAD	     ? theirs
			     : _i == REFUSED ? guarded
					     : pair.there);
	/* A connection more or less may be open on either side. */
	ck_assert_uint_le(memory_used(), used + (1u << 20));
	mc_engine_stats(pair.near, &stats);
	ck_assert_uint_eq(stats.slices, 0);
	ck_assert_uint_eq(stats.tasks, 0);
	ck_assert_int_eq(move(pair.near, MC_READ, pair.here, pair.segment, pair.there, SIZE),
			 MC_OK);
	ck_assert_int_le(open_fd_count(), fds + 50);
	pair_close(&pair);
	ck_assert_int_eq(open_fd_count(), fds);
	munmap(theirs, SIZE);
	munmap(guarded, SIZE);
}
END_TEST

/* The signals that a thread of this process blocks. */
static uint64_t blocked_by(const char *thread)
{
	char path[64], line[256];
	uint64_t blocked = 0;

	snprintf(path, sizeof(path), "/proc/self/task/%.20s/status", thread);
	FILE *in = fopen(path, "re");
	ck_assert_ptr_nonnull(in);
	while (fgets(line, sizeof(line), in)) {
		if (strncmp(line, "SigBlk:", 7) == 0)
			blocked = strtoull(line + 7, NULL, 16);
	}
	fclose(in);
	return blocked;
}

START_TEST(signals_are_left_to_the_programs_own_threads)
{
	struct mc_engine_config config = {
		.metadata = "P2PHANDSHAKE", .listen = "127.0.0.1", .notifications = true};
	struct mc_engine *engine;
	const struct dirent *entry;
	int threads = 0;

	ck_assert_int_eq(mc_engine_open(&config, &engine), MC_OK);
	ck_assert_int_eq(mc_engine_notify(engine, MC_SEGMENT_LOCAL, "who", "what", 10000), MC_OK);
	DIR *folder = opendir("/proc/self/task");
	ck_assert_ptr_nonnull(folder);
	while ((entry = readdir(folder))) {
		if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid())
			continue;
		uint64_t blocked = blocked_by(entry->d_name);
		ck_assert(blocked & 1ull << (SIGTERM - 1) && blocked & 1ull << (SIGUSR1 - 1));
		threads++;
	}
	closedir(folder);
	ck_assert_int_ge(threads, 5);
	sigset_t ours;
	ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, NULL, &ours), 0);
	ck_assert_int_eq(sigismember(&ours, SIGTERM), 0);
	mc_engine_close(engine);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("engine");
	TCase *tc = tcase_create("api");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, memory_of_another_engine_is_read_and_written);
	tcase_add_test(tc, a_stale_descriptor_is_fetched_anew);
	tcase_add_test(tc, a_peer_that_restarted_is_found_again);
	tcase_add_test(tc, a_dead_segment_fails_its_own_tasks_only);
	tcase_add_test(tc, names_are_unique_among_the_living);
	tcase_add_test(tc, peers_find_each_other_without_a_store);
	tcase_add_test(tc, a_configuration_that_makes_no_sense_is_refused);
	tcase_add_test(tc, garbage_ends_its_own_connection_only);
	tcase_add_test(tc, who_says_nothing_is_shown_out);
	tcase_add_test(tc, signals_are_left_to_the_programs_own_threads);
	tcase_add_loop_test(tc, ten_thousand_failed_transfers_leave_nothing, 0, KINDS);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	log_set_level("error");
	return suite_run(suite());
}
