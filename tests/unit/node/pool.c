/* The files that hold a node's objects: on a plain directory, without privilege. */
#include "engine/node/pool.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "tests/support/suite.h"
#include "tests/unit/node/place.h"

#define SIZE (64ull << 20)

static char path[128];
static struct pool *pool;

static enum mc_status pool_at(const char *where, uint64_t size, struct pool **out)
{
	struct pool_config config = {.path = where, .size = size};

	return pool_open(&config, out);
}

static void setup(void)
{
	log_set_level("error");
	place_new(path);
	ck_assert_int_eq(pool_at(path, SIZE, &pool), MC_OK);
}

static void teardown(void)
{
	pool_destroy(pool);
}

static void reopen(void)
{
	pool_close(pool);
	ck_assert_int_eq(pool_at(path, SIZE, &pool), MC_OK);
}

static int draft(void)
{
	int fd;

	ck_assert_int_eq(pool_draft(pool, &fd), MC_OK);
	return fd;
}

/* A committed object with some bytes and a record. */
static void put(uint64_t id, const char *bytes, const char *record)
{
	int fd = draft();

	ck_assert_int_eq(write(fd, bytes, strlen(bytes)), (ssize_t)strlen(bytes));
	ck_assert_int_eq(pool_record(pool, fd, record, strlen(record)), MC_OK);
	ck_assert_int_eq(pool_commit(pool, fd, id), MC_OK);
	close(fd);
}

static int object(uint64_t id, int flags)
{
	int fd;

	ck_assert_int_eq(pool_object(pool, id, flags, &fd), MC_OK);
	return fd;
}

static struct stat stat_of(uint64_t id, int fd)
{
	struct stat st;

	ck_assert_int_eq(pool_stat(pool, id, fd, &st), MC_OK);
	return st;
}

/* A path inside the pool. */
static const char *inside(const char *name)
{
	static char text[256];

	snprintf(text, sizeof(text), "%s/%s", path, name);
	return text;
}

/* -- opening -- */

START_TEST(a_pool_is_made_for_its_owner_only)
{
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert(S_ISDIR(st.st_mode));
	ck_assert_uint_eq(st.st_mode & 0777, 0700);
	ck_assert_int_eq(stat(inside("objects"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0700);
	ck_assert_str_eq(pool_path(pool), path);
	ck_assert_str_eq(pool_kind(pool), "directory");
}
END_TEST

START_TEST(a_second_daemon_finds_the_pool_busy)
{
	struct pool *second = NULL;

	ck_assert_int_eq(pool_at(path, SIZE, &second), MC_BUSY);
	ck_assert_ptr_null(second);
	/* Not even the refused one took the lock away. */
	ck_assert_int_eq(pool_at(path, SIZE, &second), MC_BUSY);
	reopen();
}
END_TEST

START_TEST(a_pool_without_size_is_refused)
{
	struct pool *other = NULL;
	char where[128];

	place_new(where);
	ck_assert_int_eq(pool_at(where, 0, &other), MC_INVALID);
	ck_assert_ptr_null(other);
	ck_assert_int_ne(access(where, F_OK), 0);
}
END_TEST

START_TEST(a_path_that_is_a_file_is_refused)
{
	struct pool *other = NULL;

	close(open(inside("file"), O_CREAT | O_WRONLY, 0600));
	ck_assert_int_ne(pool_at(inside("file"), SIZE, &other), MC_OK);
	ck_assert_int_ne(pool_at(inside("no/such"), SIZE, &other), MC_OK);
	ck_assert_ptr_null(other);
	unlink(inside("file"));
}
END_TEST

START_TEST(the_uuid_stays)
{
	uint8_t uuid[16], zero[16] = {0};

	memcpy(uuid, pool_uuid(pool), sizeof(uuid));
	ck_assert_mem_ne(uuid, zero, sizeof(uuid));
	reopen();
	ck_assert_mem_eq(pool_uuid(pool), uuid, sizeof(uuid));
}
END_TEST

START_TEST(every_pool_has_its_own_uuid)
{
	struct pool *other;
	char where[128];

	place_new(where);
	ck_assert_int_eq(pool_at(where, SIZE, &other), MC_OK);
	ck_assert_mem_ne(pool_uuid(other), pool_uuid(pool), 16);
	pool_destroy(other);
}
END_TEST

START_TEST(a_damaged_uuid_is_an_error)
{
	struct pool *other = NULL;

	pool_close(pool);
	ck_assert_int_eq(truncate(inside("uuid"), 7), 0);
	ck_assert_int_eq(pool_at(path, SIZE, &other), MC_IO);
	ck_assert_int_eq(unlink(inside("uuid")), 0);
	ck_assert_int_eq(pool_at(path, SIZE, &pool), MC_OK);
}
END_TEST

START_TEST(a_destroyed_pool_holds_nothing)
{
	put(5, "bytes", "record");
	pool_destroy(pool);
	ck_assert_int_eq(pool_at(path, SIZE, &pool), MC_OK);
	int fd;
	ck_assert_int_eq(pool_object(pool, 5, O_RDONLY, &fd), MC_NOT_FOUND);
}
END_TEST

/* -- drafts and objects -- */

START_TEST(a_draft_has_no_name)
{
	int fd = draft();
	struct stat st = stat_of(0, fd);

	ck_assert_uint_eq(st.st_nlink, 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
}
END_TEST

START_TEST(a_committed_draft_is_an_object)
{
	char bytes[16] = "";
	put(0xabcdef, "bytes", "record");

	int fd = object(0xabcdef, O_RDONLY);
	ck_assert_int_eq(read(fd, bytes, sizeof(bytes)), 5);
	ck_assert_str_eq(bytes, "bytes");
	ck_assert_int_eq(access(inside("objects/0000000000abcdef"), F_OK), 0);
	close(fd);
}
END_TEST

START_TEST(an_object_outlives_the_pool)
{
	char record[16] = "";
	size_t size = sizeof(record);

	put(UINT64_MAX, "bytes", "record");
	reopen();
	close(object(UINT64_MAX, O_RDONLY));
	ck_assert_int_eq(pool_read_record(pool, UINT64_MAX, record, &size), MC_OK);
	ck_assert_uint_eq(size, 6);
	ck_assert_mem_eq(record, "record", 6);
}
END_TEST

START_TEST(an_id_is_committed_once)
{
	char bytes[16] = "";
	put(5, "first", "record");
	int fd = draft();

	ck_assert_int_eq(write(fd, "second", 6), 6);
	ck_assert_int_eq(pool_commit(pool, fd, 5), MC_EXISTS);
	close(fd);
	fd = object(5, O_RDONLY);
	ck_assert_int_eq(read(fd, bytes, sizeof(bytes)), 5);
	ck_assert_str_eq(bytes, "first");
	close(fd);
}
END_TEST

START_TEST(what_is_withdrawn_can_be_committed_again)
{
	char bytes[16] = "";
	int fd = draft(), again;

	ck_assert_int_eq(write(fd, "bytes", 5), 5);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(pool_commit(pool, fd, 5), MC_OK);
		ck_assert_uint_eq(stat_of(5, -1).st_nlink, 1);
		pool_withdraw(pool, 5);
		ck_assert_int_eq(pool_object(pool, 5, O_RDONLY, &again), MC_NOT_FOUND);
	}
	ck_assert_int_eq(pread(fd, bytes, sizeof(bytes), 0), 5);
	ck_assert_str_eq(bytes, "bytes");
	pool_forget(pool, 5);
	ck_assert_uint_eq(stat_of(5, fd).st_nlink, 0);
	pool_forget(pool, 5); /* what is gone may be forgotten again */
	close(fd);
}
END_TEST

START_TEST(what_is_withdrawn_does_not_take_the_place_of_another)
{
	int fd = draft();

	ck_assert_int_eq(pool_commit(pool, fd, 5), MC_OK);
	pool_withdraw(pool, 5);
	put(5, "other", "record");
	ck_assert_int_eq(pool_commit(pool, fd, 5), MC_EXISTS);
	close(fd);
}
END_TEST

START_TEST(what_is_withdrawn_is_gone_when_the_daemon_is)
{
	int fd = draft();

	ck_assert_int_eq(pool_commit(pool, fd, 5), MC_OK);
	pool_withdraw(pool, 5);
	reopen();
	ck_assert_uint_eq(stat_of(5, fd).st_nlink, 0);
	close(fd);
}
END_TEST

START_TEST(a_removed_object_stays_with_who_has_it_open)
{
	char bytes[16] = "";
	put(5, "bytes", "record");
	int fd = object(5, O_RDONLY);
	int again;

	pool_remove(pool, 5);
	ck_assert_int_eq(pool_object(pool, 5, O_RDONLY, &again), MC_NOT_FOUND);
	ck_assert_int_eq(read(fd, bytes, sizeof(bytes)), 5);
	ck_assert_str_eq(bytes, "bytes");
	close(fd);
	pool_remove(pool, 5); /* what is gone may be removed again */
}
END_TEST

START_TEST(what_was_never_there_is_not_found)
{
	char record[16];
	size_t size = sizeof(record);
	struct stat st;
	int fd = -7;

	ck_assert_int_eq(pool_object(pool, 9, O_RDWR, &fd), MC_NOT_FOUND);
	ck_assert_int_eq(fd, -7);
	ck_assert_int_eq(pool_stat(pool, 9, -1, &st), MC_NOT_FOUND);
	ck_assert_int_eq(pool_read_record(pool, 9, record, &size), MC_NOT_FOUND);
	ck_assert_int_eq(pool_record_id(pool, 9, "r", 1), MC_NOT_FOUND);
}
END_TEST

START_TEST(a_record_is_written_anew)
{
	char record[32] = "";
	size_t size = sizeof(record);

	put(5, "bytes", "a longer record");
	ck_assert_int_eq(pool_record_id(pool, 5, "short", 5), MC_OK);
	ck_assert_int_eq(pool_read_record(pool, 5, record, &size), MC_OK);
	ck_assert_uint_eq(size, 5);
	ck_assert_mem_eq(record, "short", 5);
}
END_TEST

START_TEST(a_record_of_the_largest_size_fits)
{
	static char record[8192], back[8192];
	size_t size = sizeof(back);

	memset(record, 'r', sizeof(record));
	put(5, "bytes", "record");
	ck_assert_int_eq(pool_record_id(pool, 5, record, 4197), MC_OK);
	ck_assert_int_eq(pool_read_record(pool, 5, back, &size), MC_OK);
	ck_assert_uint_eq(size, 4197);
	ck_assert_mem_eq(back, record, 4197);
	size = 4196;
	ck_assert_int_eq(pool_read_record(pool, 5, back, &size), MC_IO); /* no room for it */
}
END_TEST

START_TEST(a_link_in_place_of_an_object_is_not_followed)
{
	int fd;

	ck_assert_int_eq(symlink("../uuid", inside("objects/0000000000000005")), 0);
	ck_assert_int_ne(pool_object(pool, 5, O_RDONLY, &fd), MC_OK);
}
END_TEST

/* -- scan -- */

struct seen {
	int count;
	int with_record;
	uint64_t ids;
	uint64_t bytes;
	char last[64];
};

static void see(void *context, const struct pool_found *found)
{
	struct seen *seen = context;

	seen->count++;
	seen->with_record += found->record != NULL;
	seen->ids += found->id;
	seen->bytes += found->size;
	snprintf(seen->last, sizeof(seen->last), "%s", found->name);
	if (found->record)
		ck_assert_mem_eq(found->record, "record", 6);
}

static struct seen scan(void)
{
	struct seen seen = {0};

	ck_assert_int_eq(pool_scan(pool, see, &seen), MC_OK);
	return seen;
}

START_TEST(an_empty_pool_has_nothing_to_scan)
{
	ck_assert_int_eq(scan().count, 0);
}
END_TEST

START_TEST(a_scan_finds_each_object_with_its_record)
{
	put(5, "bytes", "record1");
	put(6, "more bytes", "record22");
	close(draft()); /* leaves nothing */
	reopen();
	struct seen seen = scan();

	ck_assert_int_eq(seen.count, 2);
	ck_assert_int_eq(seen.with_record, 2);
	ck_assert_uint_eq(seen.ids, 11);
	ck_assert_uint_eq(seen.bytes, 15);
	ck_assert_int_eq(scan().count, 2); /* again from the start */
}
END_TEST

START_TEST(a_file_without_a_record_is_found_without_one)
{
	close(open(inside("objects/0000000000000007"), O_CREAT | O_WRONLY, 0600));
	struct seen seen = scan();

	ck_assert_int_eq(seen.count, 1);
	ck_assert_int_eq(seen.with_record, 0);
	ck_assert_uint_eq(seen.ids, 7);
}
END_TEST

static const char *const foreign[] = {
	"objects/readme",	    "objects/7",
	"objects/000000000000000g", "objects/00000000000000AB", /* upper case: not what we write */
	"objects/0x00000000000007", "objects/ 000000000000007",
	"objects/-000000000000007", "objects/00000000000000077",
	"objects/.hidden",	    "objects/\xff\xfe",
};

START_TEST(a_foreign_name_is_found_without_a_record)
{
	close(open(inside(foreign[_i]), O_CREAT | O_WRONLY, 0600));
	struct seen seen = scan();

	ck_assert_int_eq(seen.count, 1);
	ck_assert_int_eq(seen.with_record, 0);
	ck_assert_str_eq(seen.last, foreign[_i] + strlen("objects/"));
	/* It leaves when it is told to, and the next scan is clean. */
	pool_set_aside(pool, seen.last);
	ck_assert_int_eq(scan().count, 0);
	char aside[128];
	snprintf(aside, sizeof(aside), "aside/%s", foreign[_i] + strlen("objects/"));
	ck_assert_int_eq(access(inside(aside), F_OK), 0);
}
END_TEST

static void make_directory(const char *where)
{
	ck_assert_int_eq(mkdir(where, 0700), 0);
}

static void make_fifo(const char *where)
{
	ck_assert_int_eq(mkfifo(where, 0600), 0);
}

static void make_symlink(const char *where)
{
	ck_assert_int_eq(symlink("/etc/hostname", where), 0);
}

static void (*const odd_kinds[])(const char *where) = {make_directory, make_fifo, make_symlink};

START_TEST(what_is_no_file_is_foreign)
{
	odd_kinds[_i](inside("objects/0000000000000007"));
	struct seen seen = scan(); /* and nobody waits for a writer of the pipe */

	ck_assert_int_eq(seen.count, 1);
	ck_assert_int_eq(seen.with_record, 0);
	pool_set_aside(pool, seen.last);
	ck_assert_int_eq(scan().count, 0);
}
END_TEST

START_TEST(what_is_set_aside_is_not_served)
{
	int fd;

	put(5, "bytes", "record");
	pool_set_aside(pool, "0000000000000005");
	ck_assert_int_eq(pool_object(pool, 5, O_RDONLY, &fd), MC_NOT_FOUND);
	ck_assert_int_eq(access(inside("aside/0000000000000005"), F_OK), 0);
	/* Its id is free again. */
	put(5, "other bytes", "record");
	close(object(5, O_RDONLY));
}
END_TEST

/* -- marks -- */

static bool marked(uint64_t id, int fd)
{
	struct stat st = stat_of(id, fd);

	return pool_marked(&st);
}

START_TEST(a_mark_stands_until_a_write)
{
	int fd = draft();

	ck_assert(!marked(0, fd));
	pool_mark(pool, 0, fd);
	ck_assert(marked(0, fd));
	ck_assert_int_eq(pread(fd, &(char){0}, 1, 0), 0);
	ck_assert(marked(0, fd));
	ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
	ck_assert(!marked(0, fd));
	close(fd);
}
END_TEST

START_TEST(a_mark_on_a_committed_object_needs_no_descriptor)
{
	put(5, "bytes", "record");
	pool_mark(pool, 5, -1);
	ck_assert(marked(5, -1));
	int fd = object(5, O_RDWR);
	ck_assert(marked(5, -1)); /* opening is no write */
	ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
	ck_assert(!marked(5, -1));
	close(fd);
}
END_TEST

START_TEST(a_mark_says_whether_the_record_tells_of_what_was_written)
{
	struct stat st;

	put(5, "bytes", "record");
	pool_mark_unrecorded(pool, 5);
	st = stat_of(5, -1);
	ck_assert(pool_marked(&st) && !pool_recorded(&st));
	ck_assert(pool_rest(pool, 5, 1));
	st = stat_of(5, -1);
	ck_assert(pool_recorded(&st) && pool_rests(&st, 5, 1));
}
END_TEST

START_TEST(truncation_takes_the_mark)
{
	int fd = draft();

	pool_mark(pool, 0, fd);
	ck_assert_int_eq(ftruncate(fd, 4096), 0);
	ck_assert(!marked(0, fd));
	close(fd);
}
END_TEST

/* Only the fault counts: a page that the map has read before is stored to without one. */
START_TEST(a_first_store_through_a_map_takes_the_mark)
{
	int fd = draft();

	ck_assert_int_eq(ftruncate(fd, 8192), 0);
	pool_mark(pool, 0, fd);
	volatile char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne((void *)map, MAP_FAILED);
	ck_assert(marked(0, fd));
	map[4096] = 1;
	ck_assert(!marked(0, fd));
	munmap((void *)map, 8192);
	close(fd);
}
END_TEST

/* -- who has it open -- */

START_TEST(nobody_uses_what_nobody_opened)
{
	put(5, "bytes", "record");
	ck_assert(pool_unused(pool, 5));
	ck_assert(pool_unwritten(pool, 5));
}
END_TEST

START_TEST(a_reader_uses_but_does_not_write)
{
	put(5, "bytes", "record");
	int fd = object(5, O_RDONLY);

	ck_assert(!pool_unused(pool, 5));
	ck_assert(pool_unwritten(pool, 5));
	close(fd);
	ck_assert(pool_unused(pool, 5));
}
END_TEST

START_TEST(a_writer_uses_and_writes)
{
	put(5, "bytes", "record");
	int fd = object(5, O_RDWR);

	ck_assert(!pool_unused(pool, 5));
	ck_assert(!pool_unwritten(pool, 5));
	close(fd);
	ck_assert(pool_unused(pool, 5));
	ck_assert(pool_unwritten(pool, 5));
}
END_TEST

static const struct {
	int flags;
	int protection;
	int kind;
	bool written;
} maps[] = {
	{O_RDONLY, PROT_READ, MAP_SHARED, false},
	{O_RDONLY, PROT_READ, MAP_PRIVATE, false},
	{O_RDONLY, PROT_READ | PROT_WRITE, MAP_PRIVATE, false},
	{O_RDWR, PROT_READ | PROT_WRITE, MAP_SHARED, true},
};

START_TEST(a_map_counts_when_its_descriptor_is_closed)
{
	put(5, "bytes", "record");
	int fd = object(5, maps[_i].flags);
	void *map = mmap(NULL, 4096, maps[_i].protection, maps[_i].kind, fd, 0);

	ck_assert_ptr_ne(map, MAP_FAILED);
	close(fd);
	ck_assert(!pool_unused(pool, 5));
	ck_assert_int_eq(pool_unwritten(pool, 5), !maps[_i].written);
	munmap(map, 4096);
	ck_assert(pool_unused(pool, 5));
	ck_assert(pool_unwritten(pool, 5));
}
END_TEST

START_TEST(another_process_counts)
{
	int go[2], ready[2];
	char byte = 0;

	put(5, "bytes", "record");
	ck_assert_int_eq(pipe2(go, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	pid_t child = fork();
	if (child == 0) {
		int fd;
		if (pool_object(pool, 5, O_RDONLY, &fd) || write(ready[1], &byte, 1) != 1 ||
		    read(go[0], &byte, 1) != 1)
			_exit(1);
		_exit(0);
	}
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	bool used = !pool_unused(pool, 5);
	ck_assert_int_eq(write(go[1], &byte, 1), 1);
	int status;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert(used);
	ck_assert(pool_unused(pool, 5));
}
END_TEST

START_TEST(what_is_gone_is_not_unused)
{
	ck_assert(!pool_unused(pool, 77));
	ck_assert(!pool_unwritten(pool, 77));
}
END_TEST

/* -- space -- */

START_TEST(a_directory_counts_what_it_is_told)
{
	struct pool_space space;

	pool_space(pool, &space);
	ck_assert_uint_eq(space.capacity, SIZE);
	ck_assert_uint_eq(space.used, 0);
	ck_assert_uint_le(space.free, SIZE);
	pool_account(pool, 1 << 20);
	pool_account(pool, 1 << 20);
	pool_account(pool, -(1 << 19));
	pool_space(pool, &space);
	ck_assert_uint_eq(space.used, 3 << 19);
	ck_assert_uint_le(space.free, SIZE - space.used);
}
END_TEST

START_TEST(a_full_directory_has_nothing_free)
{
	struct pool_space space;

	pool_account(pool, (int64_t)SIZE + 4096);
	pool_space(pool, &space);
	ck_assert_uint_eq(space.free, 0);
	pool_account(pool, -2 * (int64_t)SIZE);
	pool_space(pool, &space);
	ck_assert_uint_eq(space.used, 0); /* never below nothing */
}
END_TEST

START_TEST(a_size_is_cut_to_whole_pages)
{
	struct pool_space space;
	struct pool *other;
	char where[128];

	place_new(where);
	ck_assert_int_eq(pool_at(where, 10000, &other), MC_OK);
	pool_space(other, &space);
	ck_assert_uint_eq(space.capacity, 8192);
	pool_destroy(other);
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

int main(void)
{
	Suite *suite = suite_create("pool");
	TCase *tc = tcase_create("pool");

	tcase_set_timeout(tc, 20); /* a pool that is in use is waited for */
	tcase_add_unchecked_fixture(tc, place_make, place_remove);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_pool_is_made_for_its_owner_only);
	tcase_add_test(tc, a_second_daemon_finds_the_pool_busy);
	tcase_add_test(tc, a_pool_without_size_is_refused);
	tcase_add_test(tc, a_path_that_is_a_file_is_refused);
	tcase_add_test(tc, the_uuid_stays);
	tcase_add_test(tc, every_pool_has_its_own_uuid);
	tcase_add_test(tc, a_damaged_uuid_is_an_error);
	tcase_add_test(tc, a_destroyed_pool_holds_nothing);
	tcase_add_test(tc, a_draft_has_no_name);
	tcase_add_test(tc, a_committed_draft_is_an_object);
	tcase_add_test(tc, an_object_outlives_the_pool);
	tcase_add_test(tc, an_id_is_committed_once);
	tcase_add_test(tc, what_is_withdrawn_can_be_committed_again);
	tcase_add_test(tc, what_is_withdrawn_does_not_take_the_place_of_another);
	tcase_add_test(tc, what_is_withdrawn_is_gone_when_the_daemon_is);
	tcase_add_test(tc, a_removed_object_stays_with_who_has_it_open);
	tcase_add_test(tc, what_was_never_there_is_not_found);
	tcase_add_test(tc, a_record_is_written_anew);
	tcase_add_test(tc, a_record_of_the_largest_size_fits);
	tcase_add_test(tc, a_link_in_place_of_an_object_is_not_followed);
	tcase_add_test(tc, an_empty_pool_has_nothing_to_scan);
	tcase_add_test(tc, a_scan_finds_each_object_with_its_record);
	tcase_add_test(tc, a_file_without_a_record_is_found_without_one);
	tcase_add_loop_test(tc, a_foreign_name_is_found_without_a_record, 0, ROWS(foreign));
	tcase_add_loop_test(tc, what_is_no_file_is_foreign, 0, ROWS(odd_kinds));
	tcase_add_test(tc, what_is_set_aside_is_not_served);
	tcase_add_test(tc, a_mark_stands_until_a_write);
	tcase_add_test(tc, a_mark_on_a_committed_object_needs_no_descriptor);
	tcase_add_test(tc, a_mark_says_whether_the_record_tells_of_what_was_written);
	tcase_add_test(tc, truncation_takes_the_mark);
	tcase_add_test(tc, a_first_store_through_a_map_takes_the_mark);
	tcase_add_test(tc, nobody_uses_what_nobody_opened);
	tcase_add_test(tc, a_reader_uses_but_does_not_write);
	tcase_add_test(tc, a_writer_uses_and_writes);
	tcase_add_loop_test(tc, a_map_counts_when_its_descriptor_is_closed, 0, ROWS(maps));
	tcase_add_test(tc, another_process_counts);
	tcase_add_test(tc, what_is_gone_is_not_unused);
	tcase_add_test(tc, a_directory_counts_what_it_is_told);
	tcase_add_test(tc, a_full_directory_has_nothing_free);
	tcase_add_test(tc, a_size_is_cut_to_whole_pages);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
