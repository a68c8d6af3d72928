/*
 * Ten thousand failed transfers of each kind to and from files: memory, mappings,
 * descriptors, regions and slices are what they were.
 */
#include <check.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/fabric/nvmeof/nvmeof.h"
#include "engine/metadata/segment_desc.h"
#include "tests/support/suite.h"
#include "tests/support/usage.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FAILURES 500u
#else
#define FAILURES 10000u
#endif
#define WARM_UP	 300u
#define MANY	 100u
#define LENGTH	 4096u
#define BIG	 (1u << 20)
#define MEMORY	 (4u << 20)
#define PATIENCE 60000000000ull /* ns */

struct job {
	struct fabric_slice slice;
	atomic_int ended;
	enum mc_status status;
};

static char folder[] = "./mooncake-growth.XXXXXX";
static char path[PATH_MAX];
static struct fabric *fabric;
static struct fabric_peer *fine; /* a file that is as described */
static struct fabric_peer *peer; /* the one that fails */
static uint8_t *memory;
static const void *key;
static struct job jobs[MANY];

/* --- a segment of one file ------------------------------------------------------------- */

static void make_file(uint64_t length)
{
	int fd = open(path, O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)length), 0);
	close(fd);
}

static struct fabric_peer *meet(const char *file, uint64_t length)
{
	struct segment_desc *desc;
	struct segment_buffer *buffer;
	struct fabric_peer *made;

	ck_assert_int_eq(segment_desc_new(SEGMENT_NVMEOF, "server", &desc), MC_OK);
	ck_assert_int_eq(segment_desc_add_buffer(desc, "", &buffer), MC_OK);
	buffer->length = length;
	buffer->file_path = strdup(file);
	ck_assert_int_eq(segment_buffer_add_path(buffer, "tester", file), MC_OK);
	ck_assert_int_eq(fabric->ops->connect(fabric, desc, &made), MC_OK);
	segment_desc_unref(desc);
	return made;
}

static void job_done(struct fabric_slice *slice, enum mc_status status)
{
	struct job *job = container_of(slice, struct job, slice);

	job->status = status;
	atomic_fetch_add(&job->ended, 1);
}

static void begin(struct fabric_peer *to, uint32_t count, enum fabric_opcode opcode,
		  uint64_t remote, uint32_t length, uint64_t deadline_ns)
{
	struct fabric_slice *slices[MANY];

	for (uint32_t i = 0; i < count; i++) {
		jobs[i] = (struct job){.slice = {.opcode = opcode,
						 .local = memory,
						 .remote = remote,
						 .length = length,
						 .key = key,
						 .deadline_ns = deadline_ns,
						 .done = job_done}};
		slices[i] = &jobs[i].slice;
	}
	for (uint32_t done = 0, taken; done < count; done += taken) {
		ck_assert_int_eq(fabric->ops->submit(to, slices + done, count - done, &taken),
				 MC_OK);
		if (taken == 0)
			fabric->ops->progress(fabric, 1000000);
	}
}

static void wait_all(uint32_t count)
{
	uint64_t until = clock_ns() + PATIENCE;

	for (uint32_t i = 0; i < count; i++) {
		while (!atomic_load(&jobs[i].ended)) {
			ck_assert_uint_lt(clock_ns(), until);
			fabric->ops->progress(fabric, 100000000);
		}
	}
}

/* How many ended so; the others did well. */
static uint32_t failed_with(uint32_t count, enum mc_status status)
{
	uint32_t failed = 0;

	for (uint32_t i = 0; i < count; i++) {
		ck_assert_int_eq(atomic_load(&jobs[i].ended), 1);
		ck_assert(jobs[i].status == MC_OK || jobs[i].status == status);
		failed += jobs[i].status == status;
	}
	return failed;
}

static uint32_t fail_all(enum fabric_opcode opcode, uint64_t remote, enum mc_status status)
{
	begin(peer, MANY, opcode, remote, LENGTH, 0);
	wait_all(MANY);
	ck_assert_uint_eq(failed_with(MANY, status), MANY);
	return MANY;
}

/* --- failures ----------------------------------------------------------------------------- */

static uint32_t fail_beyond_the_end(void)
{
	peer = meet(path, BIG);
	fail_all(FABRIC_READ, BIG, MC_ACCESS);
	fabric->ops->disconnect(peer);
	return MANY;
}

static uint32_t fail_without_a_file(void)
{
	peer = meet("/nowhere/at/all", BIG);
	fail_all(FABRIC_WRITE, 0, MC_UNREACHABLE);
	fabric->ops->disconnect(peer);
	return MANY;
}

static uint32_t fail_without_a_path(void)
{
	peer = meet("/", BIG);
	begin(peer, 1, FABRIC_READ, 0, LENGTH, 0);
	wait_all(1);
	ck_assert_int_ne(jobs[0].status, MC_OK);
	fabric->ops->disconnect(peer);
	return 1;
}

/* It is cut off while it is open, is opened anew after each error, and is whole again. */
static uint32_t fail_in_a_truncated_file(void)
{
	peer = meet(path, BIG);
	begin(peer, 1, FABRIC_READ, BIG / 2, LENGTH, 0);
	wait_all(1);
	ck_assert_int_eq(jobs[0].status, MC_OK);
	ck_assert_int_eq(truncate(path, LENGTH), 0);
	fail_all(FABRIC_READ, BIG / 2, MC_IO);
	make_file(BIG);
	begin(peer, 1, FABRIC_READ, BIG / 2, LENGTH, 0);
	wait_all(1);
	ck_assert_int_eq(jobs[0].status, MC_OK);
	fabric->ops->disconnect(peer);
	return MANY;
}

/* It is removed when an error has it opened anew. */
static uint32_t fail_in_a_removed_file(void)
{
	peer = meet(path, BIG);
	ck_assert_int_eq(truncate(path, LENGTH), 0);
	begin(peer, 1, FABRIC_READ, BIG / 2, LENGTH, 0);
	wait_all(1);
	ck_assert_int_eq(jobs[0].status, MC_IO);
	ck_assert_int_eq(unlink(path), 0);
	fail_all(FABRIC_READ, 0, MC_UNREACHABLE);
	fabric->ops->disconnect(peer);
	make_file(BIG);
	return MANY;
}

/* The kernel's own EIO: what is not mapped can't be read there. */
static uint32_t fail_with_an_io_error(void)
{
	peer = meet("/proc/self/mem", BIG);
	fail_all(FABRIC_READ, 0, MC_IO);
	fabric->ops->disconnect(peer);
	return MANY;
}

static uint32_t fail_to_write_what_is_read_only(void)
{
	bool root = geteuid() == 0;

	ck_assert_int_eq(chmod(path, 0444), 0);
	peer = meet(path, BIG);
	/* Root may write anything. */
	ck_assert(!root || seteuid(65534) == 0);
	fail_all(FABRIC_WRITE, 0, MC_ACCESS);
	ck_assert(!root || seteuid(0) == 0);
	fabric->ops->disconnect(peer);
	return MANY;
}

static uint32_t fail_in_time(void)
{
	peer = meet(path, BIG);
	begin(peer, MANY, FABRIC_READ, 0, BIG, 1);
	wait_all(MANY);
	fabric->ops->disconnect(peer);
	return failed_with(MANY, MC_TIMEOUT);
}

static uint32_t fail_when_cancelled(void)
{
	peer = meet(path, BIG);
	begin(peer, MANY, FABRIC_READ, 0, BIG, 0);
	for (uint32_t i = MANY; i-- > 0;)
		fabric->ops->cancel(peer, &jobs[i].slice);
	wait_all(MANY);
	fabric->ops->disconnect(peer);
	return failed_with(MANY, MC_CANCELLED);
}

static uint32_t fail_when_disconnected(void)
{
	peer = meet(path, BIG);
	begin(peer, MANY, FABRIC_READ, 0, BIG, 0);
	fabric->ops->disconnect(peer);
	return failed_with(MANY, MC_CANCELLED);
}

static const struct {
	const char *name;
	uint32_t (*provoke)(void); /* how many failed */
} kinds[] = {
	{"beyond the end", fail_beyond_the_end},
	{"no file", fail_without_a_file},
	{"no file but a folder", fail_without_a_path},
	{"truncated", fail_in_a_truncated_file},
	{"removed", fail_in_a_removed_file},
	{"EIO", fail_with_an_io_error},
	{"read only", fail_to_write_what_is_read_only},
	{"deadline", fail_in_time},
	{"cancelled", fail_when_cancelled},
	{"disconnected", fail_when_disconnected},
};

/* --- what is left of them -------------------------------------------------------------------- */

static void set_up(void)
{
	struct fabric_config config = {.name = "tester"};
	struct segment_buffer buffer = {0};
	char own[PATH_MAX];

	/* What is provoked here is logged; that is not what is looked at. */
	ck_assert(log_open("/dev/null"));
	usage_share_heap();
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chmod(folder, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/file", folder);
	(void)snprintf(own, sizeof(own), "%s/fine", folder);
	make_file(BIG);
	ck_assert_int_eq(link(path, own), 0);
	ck_assert_int_eq(unlink(path), 0);
	make_file(BIG);
	ck_assert_int_eq(fabric_nvmeof_ops.open(&config, &fabric), MC_OK);
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(memory, MAP_FAILED);
	struct fabric_region region = {memory, MEMORY, "*", 0};
	ck_assert_int_eq(fabric->ops->register_region(fabric, &region, &buffer, &key), MC_OK);
	fine = meet(own, BIG);
}

static void tear_down(void)
{
	struct fabric_counters counters;
	char own[PATH_MAX];

	fabric->ops->disconnect(fine);
	fabric->ops->unregister_region(fabric, key);
	fabric->ops->counters(fabric, &counters);
	ck_assert_uint_eq(counters.slices, 0);
	ck_assert_uint_eq(counters.regions, 0);
	ck_assert_uint_eq(counters.peers, 0);
	ck_assert_uint_eq(counters.connections, 0);
	fabric->ops->close(fabric);
	munmap(memory, MEMORY);
	(void)snprintf(own, sizeof(own), "%s/fine", folder);
	ck_assert_int_eq(unlink(own), 0);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(rmdir(folder), 0);
}

static void do_well(void)
{
	begin(fine, 1, FABRIC_READ, 0, LENGTH, 0);
	wait_all(1);
	ck_assert_int_eq(jobs[0].status, MC_OK);
}

static bool is_as_before(const struct usage *before)
{
	struct fabric_counters counters;

	do_well();
	fabric->ops->counters(fabric, &counters);
	struct usage now = usage_now();
	return counters.slices == 0 && counters.regions == 1 && counters.peers == 1 &&
	       counters.connections == 1 && usage_fits(&now, before);
}

static void fail_often(int kind, uint32_t failures)
{
	uint64_t until = clock_ns() + 5 * PATIENCE;

	for (uint32_t done = 0; done < failures;) {
		done += kinds[kind].provoke();
		ck_assert_uint_lt(clock_ns(), until);
	}
}

START_TEST(ten_thousand_failures_leave_nothing)
{
	fail_often(_i, WARM_UP);
	do_well();
	struct usage before = usage_settled();
	fail_often(_i, FAILURES);
	uint64_t until = clock_ns() + PATIENCE;
	while (!is_as_before(&before)) {
		if (clock_ns() > until) {
			struct usage now = usage_now();
			usage_print("before", &before);
			usage_print("after", &now);
			ck_abort_msg("something is left of failures: %s", kinds[_i].name);
		}
		usleep(1000);
	}
}
END_TEST

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
	Suite *s = suite_create("nvmeof growth");
	TCase *tc = tcase_create("failures");
	tcase_set_timeout(tc, 600);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_loop_test(tc, ten_thousand_failures_leave_nothing, 0, (int)ARRAY_SIZE(kinds));
	suite_add_tcase(s, tc);
	return suite_run(s);
}
