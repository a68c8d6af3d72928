/*
 * Slices to and from files, on ext4, on tmpfs, and on whatever
 * MOONCAKE_NVMEOF_FILES names (paths with a colon between them: namespaces, in a
 * virtual machine), which is overwritten.
 */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/fabric/nvmeof/nvmeof.h"
#include "engine/metadata/segment_desc.h"
#include "tests/support/suite.h"

#define FILES	     3u
#define MEMORY_SIZE  (16u << 20)
#define DEADLINE_NS  45000000000ull /* a virtual machine may be slow */
#define SEED	     7u
#define THREAD_COUNT 4u

static const uint64_t lengths[FILES] = {1u << 20, 300000, 3u << 20};

/* Where the files are: a row a folder, or the paths of the environment. */
static const char *const folders[] = {".", "/dev/shm"};

static char folder[PATH_MAX];
static const char *given; /* MOONCAKE_NVMEOF_FILES, for whole blocks only */
static struct fabric *fabric;
static struct fabric_peer *peer;
static struct segment_desc *desc;
static uint8_t *memory;
static const void *key;
static uint64_t segment_length;

/* -- what the tests stand on -- */

static struct segment_buffer *add_file(struct segment_desc *to, const char *host, const char *path,
				       uint64_t length)
{
	struct segment_buffer *buffer;

	ck_assert_int_eq(segment_desc_add_buffer(to, "", &buffer), MC_OK);
	buffer->length = length;
	buffer->file_path = strdup(path);
	if (host)
		ck_assert_int_eq(segment_buffer_add_path(buffer, host, path), MC_OK);
	return buffer;
}

static void make_file(const char *path, uint64_t length)
{
	int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)length), 0);
	close(fd);
}

static struct segment_desc *describe_folder(void)
{
	struct segment_desc *made;
	char path[PATH_MAX + 16];

	ck_assert_int_eq(segment_desc_new(SEGMENT_NVMEOF, "server", &made), MC_OK);
	for (unsigned i = 0; i < FILES; i++) {
		(void)snprintf(path, sizeof(path), "%s/%u", folder, i);
		make_file(path, lengths[i]);
		add_file(made, "tester", path, lengths[i]);
		segment_length += lengths[i];
	}
	return made;
}

static struct segment_desc *describe_given(void)
{
	struct segment_desc *made;
	char *paths = strdup(given), *rest = NULL;

	ck_assert_int_eq(segment_desc_new(SEGMENT_NVMEOF, "server", &made), MC_OK);
	for (char *path = strtok_r(paths, ":", &rest); path; path = strtok_r(NULL, ":", &rest)) {
		add_file(made, "tester", path, 4u << 20);
		segment_length += 4u << 20;
	}
	free(paths);
	return made;
}

static struct fabric *open_fabric(const char *name)
{
	struct fabric *opened = NULL;
	struct fabric_config config = {.name = name};

	ck_assert_int_eq(fabric_nvmeof_ops.open(&config, &opened), MC_OK);
	return opened;
}

static void fill(uint8_t *bytes, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)rand_r(&seed);
}

static void begin(int row)
{
	segment_length = 0;
	(void)snprintf(folder, sizeof(folder), "%s/mooncake-nvmeof.XXXXXX", folders[row]);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	desc = given ? describe_given() : describe_folder();
	fabric = open_fabric("tester:1234");
	memory =
		mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(memory, MAP_FAILED);
	struct fabric_region region = {memory, MEMORY_SIZE, "*", 0};
	struct segment_buffer buffer = {0};
	ck_assert_int_eq(fabric->ops->register_region(fabric, &region, &buffer, &key), MC_OK);
	ck_assert_int_eq(fabric->ops->connect(fabric, desc, &peer), MC_OK);
}

static void remove_folder(void)
{
	char path[2 * PATH_MAX];
	DIR *entries = opendir(folder);
	struct dirent *entry;

	while ((entry = readdir(entries))) {
		(void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		(void)unlink(path);
	}
	closedir(entries);
	ck_assert_int_eq(rmdir(folder), 0);
}

static void end(void)
{
	struct fabric_counters counters;

	if (peer)
		fabric->ops->disconnect(peer);
	fabric->ops->unregister_region(fabric, key);
	fabric->ops->counters(fabric, &counters);
	ck_assert_uint_eq(counters.slices, 0);
	ck_assert_uint_eq(counters.regions, 0);
	ck_assert_uint_eq(counters.peers, 0);
	ck_assert_uint_eq(counters.connections, 0);
	fabric->ops->close(fabric);
	munmap(memory, MEMORY_SIZE);
	segment_desc_unref(desc);
	remove_folder();
}

struct job {
	struct fabric_slice slice;
	atomic_int left; /* 1 until it has ended */
	enum mc_status status;
};

static void job_done(struct fabric_slice *slice, enum mc_status status)
{
	struct job *job = (struct job *)slice;

	job->status = status;
	ck_assert_int_eq(atomic_fetch_sub(&job->left, 1), 1);
}

static void job_init(struct job *job, enum fabric_opcode opcode, void *local, uint64_t remote,
		     uint32_t length)
{
	*job = (struct job){.slice = {.opcode = opcode,
				      .local = local,
				      .remote = remote,
				      .length = length,
				      .key = key,
				      .done = job_done}};
	atomic_store(&job->left, 1);
}

static void submit(struct job *jobs, uint32_t count)
{
	for (uint32_t i = 0; i < count;) {
		struct fabric_slice *slices[64];
		uint32_t taken, some = count - i < 64 ? count - i : 64;
		for (uint32_t j = 0; j < some; j++)
			slices[j] = &jobs[i + j].slice;
		ck_assert_int_eq(fabric->ops->submit(peer, slices, some, &taken), MC_OK);
		i += taken;
		if (taken == 0)
			fabric->ops->progress(fabric, 1000000);
	}
}

static void wait_all(struct job *jobs, uint32_t count, bool help)
{
	uint64_t give_up = clock_ns() + DEADLINE_NS;

	for (uint32_t i = 0; i < count; i++) {
		while (atomic_load(&jobs[i].left)) {
			ck_assert_uint_lt(clock_ns(), give_up);
			/* Longer than any test may take: no end must be missed. */
			if (help)
				fabric->ops->progress(fabric, 2 * DEADLINE_NS);
			else
				nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
		}
	}
}

static enum mc_status move(enum fabric_opcode opcode, void *local, uint64_t remote, uint32_t length)
{
	struct job job;

	job_init(&job, opcode, local, remote, length);
	submit(&job, 1);
	wait_all(&job, 1, true);
	return job.status;
}

/* -- the tests -- */

START_TEST(what_is_written_is_read_across_the_files)
{
	begin(_i);
	uint32_t length = (uint32_t)segment_length;
	uint8_t *back = memory + (8u << 20);
	fill(memory, length, SEED);
	ck_assert_int_eq(move(FABRIC_WRITE, memory, 0, length), MC_OK);
	ck_assert_int_eq(move(FABRIC_READ, back, 0, length), MC_OK);
	ck_assert_mem_eq(memory, back, length);
	struct fabric_counters counters;
	fabric->ops->counters(fabric, &counters);
	ck_assert_uint_eq(counters.bytes_read, length);
	ck_assert_uint_eq(counters.bytes_written, length);
	ck_assert_uint_eq(counters.slices_done, 2);
	end();
}
END_TEST

START_TEST(any_offset_length_and_address_will_do)
{
	unsigned seed = SEED;
	uint32_t unit = given ? 4096 : 1;

	begin(_i);
	uint8_t *shadow = calloc(1, segment_length);
	ck_assert_int_eq(move(FABRIC_WRITE, shadow, 0, (uint32_t)segment_length), MC_OK);
	/* A virtual machine is a hundred times slower. */
	for (int round = 0; round < (given ? 50 : 150); round++) {
		bool reads = rand_r(&seed) % 2;
		uint32_t step = reads ? 1 : unit;
		uint64_t at = (uint64_t)rand_r(&seed) % segment_length / step * step;
		uint64_t left = segment_length - at;
		uint32_t most = rand_r(&seed) % 3 ? 9000 : 700000;
		uint32_t length = (uint32_t)rand_r(&seed) % most / step * step;
		uint8_t *local = memory + (unsigned)rand_r(&seed) % 5000;
		length = length < left ? length : (uint32_t)left;
		fill(local, length, (unsigned)round);
		ck_assert_int_eq(move(reads ? FABRIC_READ : FABRIC_WRITE, local, at, length),
				 MC_OK);
		if (reads)
			ck_assert_mem_eq(local, shadow + at, length);
		else
			memcpy(shadow + at, local, length);
	}
	ck_assert_int_eq(move(FABRIC_READ, memory, 0, (uint32_t)segment_length), MC_OK);
	ck_assert_mem_eq(memory, shadow, segment_length);
	free(shadow);
	end();
}
END_TEST

START_TEST(neighbours_in_a_block_keep_each_others_bytes)
{
	enum { COUNT = 100, SIZE = 900 };
	struct job *jobs = calloc(COUNT, sizeof(*jobs));

	begin(_i);
	if (!given) {
		fill(memory, COUNT * SIZE, SEED);
		for (unsigned i = 0; i < COUNT; i++)
			job_init(&jobs[i], FABRIC_WRITE, memory + i * SIZE, 17 + i * SIZE, SIZE);
		submit(jobs, COUNT);
		wait_all(jobs, COUNT, true);
		for (unsigned i = 0; i < COUNT; i++)
			ck_assert_int_eq(jobs[i].status, MC_OK);
		ck_assert_int_eq(move(FABRIC_READ, memory + (1u << 20), 17, COUNT * SIZE), MC_OK);
		ck_assert_mem_eq(memory, memory + (1u << 20), COUNT * SIZE);
	}
	free(jobs);
	end();
}
END_TEST

START_TEST(a_part_of_a_block_of_a_namespace_is_not_written)
{
	begin(_i);
	if (given) {
		uint8_t *back = memory + 4096;
		memset(memory, 1, 4096);
		ck_assert_int_eq(move(FABRIC_WRITE, memory, 0, 4096), MC_OK);
		memset(memory, 2, 4096);
		ck_assert_int_eq(move(FABRIC_WRITE, memory, 0, 100), MC_INVALID);
		ck_assert_int_eq(move(FABRIC_WRITE, memory, 100, 4096), MC_INVALID);
		ck_assert_int_eq(move(FABRIC_READ, back, 0, 4096), MC_OK);
		for (unsigned i = 0; i < 4096; i++)
			ck_assert_uint_eq(back[i], 1);
	}
	end();
}
END_TEST

START_TEST(more_slices_than_fit_all_end_with_no_caller_helping)
{
	enum { COUNT = 3000 };
	struct job *jobs = calloc(COUNT, sizeof(*jobs));

	begin(_i);
	fill(memory, 4096, SEED);
	ck_assert_int_eq(move(FABRIC_WRITE, memory, 4096, 4096), MC_OK);
	for (unsigned i = 0; i < COUNT; i++)
		job_init(&jobs[i], FABRIC_READ, memory + 4096 + i * 4096, 4096, 4096);
	submit(jobs, COUNT);
	wait_all(jobs, COUNT, false);
	for (unsigned i = 0; i < COUNT; i++) {
		ck_assert_int_eq(jobs[i].status, MC_OK);
		ck_assert_mem_eq(memory, memory + 4096 + i * 4096, 4096);
	}
	free(jobs);
	end();
}
END_TEST

static void *one_of_many(void *argument)
{
	unsigned number = (unsigned)(uintptr_t)argument;
	uint8_t *local = memory + number * (2u << 20);

	for (unsigned round = 0; round < 40; round++) {
		uint64_t remote = number * 65536u;
		fill(local, 65536, round);
		ck_assert_int_eq(move(FABRIC_WRITE, local, remote, 65536), MC_OK);
		ck_assert_int_eq(move(FABRIC_READ, local + (1u << 20), remote, 65536), MC_OK);
		ck_assert_mem_eq(local, local + (1u << 20), 65536);
	}
	return NULL;
}

START_TEST(threads_share_the_fabric)
{
	pthread_t threads[THREAD_COUNT];

	begin(_i);
	for (unsigned i = 0; i < THREAD_COUNT; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, one_of_many, (void *)(uintptr_t)i), 0);
	for (unsigned i = 0; i < THREAD_COUNT; i++)
		pthread_join(threads[i], NULL);
	end();
}
END_TEST

static atomic_bool looking;

static void *look_all_the_time(void *argument)
{
	(void)argument;
	while (atomic_load(&looking))
		fabric->ops->progress(fabric, 0);
	return NULL;
}

START_TEST(a_waiter_hears_of_what_another_thread_took)
{
	pthread_t thread;

	begin(_i);
	atomic_store(&looking, true);
	ck_assert_int_eq(pthread_create(&thread, NULL, look_all_the_time, NULL), 0);
	for (unsigned round = 0; round < 500; round++)
		ck_assert_int_eq(move(FABRIC_READ, memory, 0, 4096), MC_OK);
	atomic_store(&looking, false);
	pthread_join(thread, NULL);
	end();
}
END_TEST

START_TEST(beyond_the_segment_there_is_no_access)
{
	begin(_i);
	ck_assert_int_eq(move(FABRIC_READ, memory, segment_length, 1), MC_ACCESS);
	ck_assert_int_eq(move(FABRIC_WRITE, memory, segment_length - 4096, 8192), MC_ACCESS);
	ck_assert_int_eq(move(FABRIC_READ, memory, UINT64_MAX - 10, 4096), MC_ACCESS);
	ck_assert_int_eq(move(FABRIC_READ, memory, segment_length, 0), MC_OK);
	ck_assert_int_eq(move(FABRIC_READ, memory, segment_length - 4096, 4096), MC_OK);
	end();
}
END_TEST

START_TEST(a_cancelled_slice_ends_once)
{
	enum { COUNT = 600 };
	struct job *jobs = calloc(COUNT, sizeof(*jobs));

	begin(_i);
	for (unsigned i = 0; i < COUNT; i++)
		job_init(&jobs[i], FABRIC_READ, memory, i % 100, 1u << 20);
	submit(jobs, COUNT);
	for (unsigned i = 0; i < COUNT; i++)
		fabric->ops->cancel(peer, &jobs[i].slice);
	wait_all(jobs, COUNT, true);
	unsigned cancelled = 0;
	for (unsigned i = 0; i < COUNT; i++) {
		ck_assert(jobs[i].status == MC_OK || jobs[i].status == MC_CANCELLED);
		cancelled += jobs[i].status == MC_CANCELLED;
	}
	ck_assert_uint_gt(cancelled, 0);
	ck_assert_int_eq(move(FABRIC_READ, memory, 0, 4096), MC_OK);
	free(jobs);
	end();
}
END_TEST

START_TEST(a_deadline_ends_what_still_waits)
{
	enum { COUNT = 600 };
	struct job *jobs = calloc(COUNT, sizeof(*jobs));

	begin(_i);
	uint64_t deadline_ns = clock_ns() + 1000000;
	for (unsigned i = 0; i < COUNT; i++) {
		job_init(&jobs[i], FABRIC_READ, memory, i % 100, 3u << 20);
		jobs[i].slice.deadline_ns = deadline_ns;
	}
	submit(jobs, COUNT);
	wait_all(jobs, COUNT, false);
	unsigned late = 0;
	for (unsigned i = 0; i < COUNT; i++) {
		ck_assert(jobs[i].status == MC_OK || jobs[i].status == MC_TIMEOUT);
		late += jobs[i].status == MC_TIMEOUT;
	}
	ck_assert_uint_gt(late, 0);
	free(jobs);
	end();
}
END_TEST

START_TEST(disconnect_ends_what_is_in_flight)
{
	enum { COUNT = 500 };
	struct job *jobs = calloc(COUNT, sizeof(*jobs));

	begin(_i);
	for (unsigned i = 0; i < COUNT; i++)
		job_init(&jobs[i], FABRIC_READ, memory, 0, 1u << 20);
	submit(jobs, COUNT);
	fabric->ops->disconnect(peer);
	peer = NULL;
	for (unsigned i = 0; i < COUNT; i++) {
		ck_assert_int_eq(atomic_load(&jobs[i].left), 0);
		ck_assert(jobs[i].status == MC_OK || jobs[i].status == MC_CANCELLED);
	}
	free(jobs);
	end();
}
END_TEST

/* -- files that are not as described -- */

static void connect_to(struct segment_desc *other)
{
	fabric->ops->disconnect(peer);
	ck_assert_int_eq(fabric->ops->connect(fabric, other, &peer), MC_OK);
	segment_desc_unref(other);
}

START_TEST(a_file_that_is_missing_is_found_when_it_comes)
{
	struct segment_desc *other;
	char path[PATH_MAX + 16];

	begin(_i);
	(void)snprintf(path, sizeof(path), "%s/late", folder);
	ck_assert_int_eq(segment_desc_new(SEGMENT_NVMEOF, "server", &other), MC_OK);
	add_file(other, "tester", path, 8192);
	connect_to(other);
	ck_assert_int_eq(move(FABRIC_READ, memory, 0, 4096), MC_UNREACHABLE);
	make_file(path, 8192);
	ck_assert_int_eq(move(FABRIC_READ, memory, 0, 4096), MC_UNREACHABLE);
	nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 50000000}, NULL);
	ck_assert_int_eq(move(FABRIC_READ, memory, 0, 4096), MC_OK);
	end();
}
END_TEST

START_TEST(a_file_that_is_too_short_is_an_error)
{
	struct segment_desc *other;
	char path[PATH_MAX + 16];

	begin(_i);
	(void)snprintf(path, sizeof(path), "%s/short", folder);
	make_file(path, 10000);
	ck_assert_int_eq(segment_desc_new(SEGMENT_NVMEOF, "server", &other), MC_OK);
	add_file(other, "tester", path, 65536);
	connect_to(other);
	ck_assert_int_eq(move(FABRIC_READ, memory, 0, 10000), MC_OK);
	ck_assert_int_eq(move(FABRIC_READ, memory, 0, 10001), MC_IO);
	ck_assert_int_eq(move(FABRIC_READ, memory, 4096, 16384), MC_IO);
	ck_assert_int_eq(move(FABRIC_READ, memory, 16384, 4096), MC_IO);
	end();
}
END_TEST

START_TEST(what_may_not_be_written_is_only_read)
{
	struct segment_desc *other;
	char path[PATH_MAX + 16];

	begin(_i);
	(void)snprintf(path, sizeof(path), "%s/sealed", folder);
	make_file(path, 8192);
	ck_assert_int_eq(chmod(path, 0444), 0);
	ck_assert_int_eq(chmod(folder, 0755), 0);
	ck_assert_int_eq(segment_desc_new(SEGMENT_NVMEOF, "server", &other), MC_OK);
	add_file(other, "tester", path, 8192);
	connect_to(other);
	/* Root may write anything. */
	bool root = geteuid() == 0;
	ck_assert(!root || seteuid(65534) == 0);
	ck_assert_int_eq(move(FABRIC_READ, memory, 0, 8192), MC_OK);
	ck_assert_int_eq(move(FABRIC_WRITE, memory, 0, 4096), MC_ACCESS);
	ck_assert(!root || seteuid(0) == 0);
	end();
}
END_TEST

START_TEST(a_file_that_was_replaced_is_opened_anew_after_an_error)
{
	struct segment_desc *other;
	char path[PATH_MAX + 16];

	begin(_i);
	(void)snprintf(path, sizeof(path), "%s/changing", folder);
	make_file(path, 4096);
	ck_assert_int_eq(segment_desc_new(SEGMENT_NVMEOF, "server", &other), MC_OK);
	add_file(other, "tester", path, 65536);
	connect_to(other);
	ck_assert_int_eq(move(FABRIC_READ, memory, 0, 8192), MC_IO);
	ck_assert_int_eq(unlink(path), 0);
	make_file(path, 65536);
	ck_assert_int_eq(move(FABRIC_READ, memory, 0, 8192), MC_OK);
	end();
}
END_TEST

static void read_until(enum mc_status wanted)
{
	uint64_t give_up = clock_ns() + 4 * DEADLINE_NS;

	while (move(FABRIC_READ, memory, 0, 1u << 20) != wanted) {
		ck_assert_uint_lt(clock_ns(), give_up);
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
}

/* For tests/vm, which takes the namespace away meanwhile, and brings it back. */
START_TEST(a_namespace_that_goes_ends_its_slices)
{
	begin(_i);
	read_until(MC_OK);
	read_until(MC_UNREACHABLE);
	printf("gone\n");
	read_until(MC_OK);
	end();
}
END_TEST

START_TEST(the_path_is_found_by_the_name_of_the_host)
{
	struct segment_desc *other;
	char path[PATH_MAX + 16], host[HOST_NAME_MAX + 1] = "";

	begin(_i);
	ck_assert_int_eq(gethostname(host, sizeof(host) - 1), 0);
	(void)snprintf(path, sizeof(path), "%s/here", folder);
	make_file(path, 4096);
	/* Ours has no path of its own; the host's has; a stranger's does not help. */
	ck_assert_int_eq(segment_desc_new(SEGMENT_NVMEOF, "server", &other), MC_OK);
	add_file(other, host, path, 4096);
	add_file(other, "stranger", path, 4096);
	connect_to(other);
	ck_assert_int_eq(move(FABRIC_READ, memory, 0, 4096), MC_OK);
	ck_assert_int_eq(move(FABRIC_READ, memory, 4096, 4096), MC_UNREACHABLE);
	/* On the server itself the file is where it says. */
	ck_assert_int_eq(segment_desc_new(SEGMENT_NVMEOF, "tester:1234", &other), MC_OK);
	add_file(other, NULL, path, 4096);
	connect_to(other);
	ck_assert_int_eq(move(FABRIC_READ, memory, 0, 4096), MC_OK);
	end();
}
END_TEST

START_TEST(only_its_own_descriptors_are_taken)
{
	struct segment_desc *other;
	struct fabric_peer *none;

	begin(_i);
	ck_assert_int_eq(segment_desc_new(SEGMENT_TCP, "server", &other), MC_OK);
	ck_assert_int_eq(fabric->ops->connect(fabric, other, &none), MC_NOT_SUPPORTED);
	segment_desc_unref(other);
	ck_assert_uint_eq(fabric->ops->paths(peer, key, NULL), 1);
	end();
}
END_TEST

/* KiB that the kernel has pinned for this process. */
static unsigned long pinned_kib(void)
{
	unsigned long kib = 0;
	char line[256];
	FILE *status = fopen("/proc/self/status", "re");

	ck_assert_ptr_nonnull(status);
	while (fgets(line, sizeof(line), status)) {
		if (strncmp(line, "VmPin:", 6) == 0)
			kib = strtoul(line + 6, NULL, 10);
	}
	(void)fclose(status);
	return kib;
}

START_TEST(memory_is_pinned_once_it_is_used)
{
	begin(_i);
	ck_assert_uint_eq(pinned_kib(), 0);
	uint64_t give_up = clock_ns() + DEADLINE_NS;
	while (pinned_kib() < MEMORY_SIZE / 1024) {
		ck_assert_uint_lt(clock_ns(), give_up);
		ck_assert_int_eq(move(FABRIC_READ, memory, 0, 4096), MC_OK);
	}
	fill(memory, 8192, SEED);
	ck_assert_int_eq(move(FABRIC_WRITE, memory, 0, 8192), MC_OK);
	ck_assert_int_eq(move(FABRIC_READ, memory + 8192, 0, 8192), MC_OK);
	ck_assert_mem_eq(memory, memory + 8192, 8192);
	end();
	ck_assert_uint_eq(pinned_kib(), 0);
}
END_TEST

START_TEST(memory_that_is_not_registered_will_do)
{
	begin(_i);
	uint8_t *loose = aligned_alloc(4096, 65536);
	ck_assert_ptr_nonnull(loose);
	fill(loose, 65536, SEED);
	const void *registered = key;
	key = NULL;
	ck_assert_int_eq(move(FABRIC_WRITE, loose, 0, 65536), MC_OK);
	key = registered;
	ck_assert_int_eq(move(FABRIC_READ, memory, 0, 65536), MC_OK);
	ck_assert_mem_eq(memory, loose, 65536);
	free(loose);
	end();
}
END_TEST

static Suite *make_suite(int rows)
{
	Suite *suite = suite_create("nvmeof");
	TCase *bytes = tcase_create("bytes"), *ends = tcase_create("ends");

	tcase_set_timeout(bytes, 100);
	tcase_add_loop_test(bytes, what_is_written_is_read_across_the_files, 0, rows);
	tcase_add_loop_test(bytes, any_offset_length_and_address_will_do, 0, rows);
	tcase_add_loop_test(bytes, neighbours_in_a_block_keep_each_others_bytes, 0, rows);
	tcase_add_loop_test(bytes, a_part_of_a_block_of_a_namespace_is_not_written, 0, rows);
	tcase_add_loop_test(bytes, threads_share_the_fabric, 0, rows);
	tcase_add_loop_test(bytes, a_waiter_hears_of_what_another_thread_took, 0, rows);
	tcase_add_loop_test(bytes, memory_is_pinned_once_it_is_used, 0, rows);
	tcase_add_loop_test(bytes, memory_that_is_not_registered_will_do, 0, rows);
	suite_add_tcase(suite, bytes);

	tcase_set_timeout(ends, 100);
	tcase_add_loop_test(ends, more_slices_than_fit_all_end_with_no_caller_helping, 0, rows);
	tcase_add_loop_test(ends, beyond_the_segment_there_is_no_access, 0, rows);
	tcase_add_loop_test(ends, a_cancelled_slice_ends_once, 0, rows);
	tcase_add_loop_test(ends, a_deadline_ends_what_still_waits, 0, rows);
	tcase_add_loop_test(ends, disconnect_ends_what_is_in_flight, 0, rows);
	tcase_add_loop_test(ends, a_file_that_is_missing_is_found_when_it_comes, 0, rows);
	tcase_add_loop_test(ends, a_file_that_is_too_short_is_an_error, 0, rows);
	tcase_add_loop_test(ends, what_may_not_be_written_is_only_read, 0, rows);
	tcase_add_loop_test(ends, a_file_that_was_replaced_is_opened_anew_after_an_error, 0, rows);
	tcase_add_loop_test(ends, the_path_is_found_by_the_name_of_the_host, 0, rows);
	tcase_add_loop_test(ends, only_its_own_descriptors_are_taken, 0, rows);
	suite_add_tcase(suite, ends);

	const char *chosen = getenv("CK_RUN_CASE");
	if (chosen && strcmp(chosen, "gone") == 0) {
		TCase *gone = tcase_create("gone");
		tcase_set_timeout(gone, 120);
		tcase_add_loop_test(gone, a_namespace_that_goes_ends_its_slices, 0, rows);
		suite_add_tcase(suite, gone);
	}
	return suite;
}

static bool available(void)
{
	struct fabric *opened;

	if (fabric_nvmeof_ops.open(&(struct fabric_config){.name = "tester"}, &opened) != MC_OK)
		return false;
	fabric_nvmeof_ops.close(opened);
	return true;
}

int main(void)
{
	if (!available()) {
		printf("SKIPPED: this kernel lends no io_uring\n");
		return 77;
	}
	given = getenv("MOONCAKE_NVMEOF_FILES");
	return suite_run(make_suite(given ? 1 : (int)(sizeof(folders) / sizeof(folders[0]))));
}
