/* The journal as a file: its bytes, its torn tails, its damage. */
#include "master/journal_file.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "tests/support/suite.h"

static char directory[64];
static char path[96];
static const struct journal_ops *ops = &journal_file_ops;
static uint64_t last_seen;
static int visits;
static enum journal_sync sync_policy;
static bool sync_fails;

/* In place of the library's: a device fails when a test says so, and is never waited for. */
int fdatasync(int fd)
{
	(void)fd;
	if (!sync_fails)
		return 0;
	errno = EIO;
	return -1;
}

static void setup(void)
{
	strcpy(directory, "/tmp/mooncake-journal-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/deep/er/j", directory);
	log_open("/dev/null");
}

static void teardown(void)
{
	char command[160];

	snprintf(command, sizeof(command), "rm -rf %s", directory);
	ck_assert_int_eq(system(command), 0);
}

static enum mc_status visit(void *context, enum record_kind kind, const uint8_t *key,
			    size_t key_size, const uint8_t *value, size_t value_size)
{
	(void)context;
	(void)kind;
	(void)key;
	(void)key_size;
	visits++;
	if (value && value_size == 8)
		last_seen = load_u64(value);
	return MC_OK;
}

static enum mc_status open_load(struct journal **journal, struct journal_loaded *loaded)
{
	struct journal_config config = {.path = path, .sync = sync_policy, .fresh = true};

	visits = 0;
	last_seen = 0;
	enum mc_status status = ops->open(&config, journal);
	if (status == MC_OK) {
		status = ops->load(*journal, visit, NULL, loaded);
		if (status != MC_OK)
			ops->close(*journal);
	}
	return status;
}

/* A journal with groups of two records: object 1 and 2 get the group's number. */
static void make(int groups)
{
	struct journal_loaded loaded;
	struct journal *journal;
	uint8_t key[8];
	uint8_t value[8];

	ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
	for (int group = 1; group <= groups; group++) {
		store_u64(value, (uint64_t)group);
		for (uint64_t id = 1; id <= 2; id++) {
			store_u64(key, id);
			ops->put(journal, RECORD_OBJECT, key, 8, value, 8);
		}
		ck_assert_int_eq(ops->flush(journal), MC_OK);
	}
	ops->close(journal);
}

static size_t file_size(void)
{
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	return (size_t)st.st_size;
}

#define MARK	 (JOURNAL_RECORD_SIZE + JOURNAL_MARK_SIZE)
#define RECORD	 (JOURNAL_RECORD_SIZE + 16)
#define GROUP(n) (JOURNAL_HEADER_SIZE + MARK + (size_t)(n)*2 * RECORD)

START_TEST(the_bytes_are_these)
{
	static const uint8_t golden[] = {
		/* header */
		'M', 'C', 'J', 'O', 'U', 'R', 'N', 'L', 1, 0, 0, 0, 0xa7, 0x89, 0x77, 0xb4,
		/* put of object 0x0102 with value "v", the last of its group */
		0, 0, 0, 0, 1, 0, 0, 0, 1, 4, 8, 1, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 'v'};
	uint8_t key[8];
	struct writer w;
	struct journal_record record = {.type = JOURNAL_PUT,
					.kind = RECORD_OBJECT,
					.last = true,
					.key = key,
					.key_size = 8,
					.value = (const uint8_t *)"v",
					.value_size = 1};

	store_u64(key, 0x0102);
	writer_init(&w);
	journal_header_encode(writer_reserve(&w, JOURNAL_HEADER_SIZE));
	journal_record_put(&w, &record);
	ck_assert_uint_eq(w.size, sizeof(golden));
	ck_assert_mem_eq(w.data, golden, 16);
	ck_assert_mem_eq(w.data + 20, golden + 20, sizeof(golden) - 20);
	ck_assert_uint_eq(load_u32(w.data + 16), 0xcf605f36);
	writer_fini(&w);
}
END_TEST

START_TEST(a_torn_tail_is_cut_off_at_any_byte)
{
	struct journal_loaded loaded;
	struct journal *journal;

	make(4);
	for (size_t size = GROUP(4); size > GROUP(3); size--) {
		ck_assert_int_eq(truncate(path, (off_t)size), 0);
		ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
		ck_assert_uint_eq(last_seen, size == GROUP(4) ? 4 : 3);
		ck_assert_int_eq(visits, size == GROUP(4) ? 8 : 6);
		ck_assert_int_eq(loaded.incomplete, size != GROUP(4));
		ops->close(journal);
		unlink(path);
		make(4);
	}
}
END_TEST

START_TEST(a_torn_tail_is_gone_the_next_time)
{
	struct journal_loaded loaded;
	struct journal *journal;

	make(4);
	ck_assert_int_eq(truncate(path, (off_t)GROUP(4) - 3), 0);
	ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
	ops->close(journal);
	ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
	ck_assert_uint_eq(last_seen, 3);
	ck_assert(!loaded.incomplete);
	ops->close(journal);
}
END_TEST

static void flip(size_t offset)
{
	uint8_t byte;
	int fd = open(path, O_RDWR);

	ck_assert_int_eq(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= 0x40;
	ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)offset), 1);
	close(fd);
}

START_TEST(damage_before_the_tail_is_refused_and_left_alone)
{
	struct journal_loaded loaded;
	struct journal *journal;

	make(3);
	size_t size = file_size();
	for (size_t offset = 0; offset < GROUP(2); offset++) {
		flip(offset);
		ck_assert_int_eq(open_load(&journal, &loaded), MC_IO);
		ck_assert_int_eq(visits, 0);
		ck_assert_uint_eq(file_size(), size);
		flip(offset);
	}
	ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
	ops->close(journal);
}
END_TEST

START_TEST(a_group_of_which_a_part_is_there_does_not_count)
{
	struct journal_loaded loaded;
	struct journal *journal;

	make(2);
	ck_assert_int_eq(truncate(path, (off_t)(GROUP(1) + RECORD)), 0);
	ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
	ck_assert_int_eq(visits, 2);
	ck_assert_uint_eq(last_seen, 1);
	ops->close(journal);
}
END_TEST

START_TEST(a_second_master_is_kept_out)
{
	struct journal_loaded loaded;
	struct journal *journal;
	struct journal *second;

	ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
	ck_assert_int_eq(open_load(&second, &loaded), MC_BUSY);
	/* Also after the file was replaced by a smaller one. */
	ck_assert_int_eq(ops->snapshot_begin(journal), MC_OK);
	ck_assert_int_eq(ops->snapshot_end(journal, true), MC_OK);
	ck_assert_int_eq(open_load(&second, &loaded), MC_BUSY);
	ops->close(journal);
	ck_assert_int_eq(open_load(&second, &loaded), MC_OK);
	ops->close(second);
}
END_TEST

START_TEST(what_is_no_journal_is_refused)
{
	struct journal_loaded loaded;
	struct journal *journal;
	struct journal_config config = {.path = path};

	ck_assert_int_eq(ops->open(&config, &journal), MC_NOT_FOUND);
	make(0);
	int fd = open(path, O_WRONLY | O_TRUNC);
	ck_assert_int_eq(write(fd, "some other file\n", 16), 16);
	close(fd);
	ck_assert_int_eq(open_load(&journal, &loaded), MC_IO);
	ck_assert_uint_eq(file_size(), 16);
	config.path = directory;
	ck_assert_int_eq(ops->open(&config, &journal), MC_IS_DIRECTORY);
	config.path = "";
	ck_assert_int_eq(ops->open(&config, &journal), MC_INVALID);
}
END_TEST

/* As if the machine had been started anew since the last mark. */
static void other_boot(size_t mark_offset)
{
	uint8_t bytes[MARK];
	struct journal_record record;
	struct journal_mark mark;
	struct writer w;
	int fd = open(path, O_RDWR);

	ck_assert_int_eq(pread(fd, bytes, MARK, (off_t)mark_offset), MARK);
	ck_assert(journal_record_get(bytes, MARK, &record));
	journal_mark_get(&record, &mark);
	mark.boot[0] ^= 1;
	writer_init(&w);
	journal_mark_put(&w, &mark);
	ck_assert_int_eq(pwrite(fd, w.data, MARK, (off_t)mark_offset), MARK);
	writer_fini(&w);
	close(fd);
}

START_TEST(a_machine_that_lost_unsynced_writes_is_told_from_damage)
{
	struct journal_loaded loaded;
	struct journal *journal;

	make(3);
	/* Without the mark of the close: the machine went down. */
	ck_assert_int_eq(truncate(path, (off_t)GROUP(3)), 0);
	other_boot(JOURNAL_HEADER_SIZE);
	flip(GROUP(1) + 20);
	ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
	ck_assert_uint_eq(last_seen, 1);
	ck_assert(loaded.incomplete);
	ops->close(journal);
	/* That close was clean and synced: nothing is missing after another start. */
	other_boot(file_size() - MARK);
	ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
	ck_assert(!loaded.incomplete);
	ops->close(journal);
}
END_TEST

static void put_one(struct journal *journal, uint64_t id, uint64_t number)
{
	uint8_t key[8];
	uint8_t value[8];

	store_u64(key, id);
	store_u64(value, number);
	ops->put(journal, RECORD_OBJECT, key, 8, value, 8);
}

static void snapshot_one(struct journal *journal, uint64_t id, uint64_t number)
{
	uint8_t key[8];
	uint8_t value[8];

	store_u64(key, id);
	store_u64(value, number);
	ck_assert_int_eq(ops->snapshot_put(journal, RECORD_OBJECT, key, 8, value, 8), MC_OK);
}

#define WIDE	    200u /* records of a group that is wider than a page */
#define WIDE_SECTOR (GROUP(2) / JOURNAL_SECTOR_SIZE)

/* Two groups and a wide one, each synced before the next; its mark is left out. */
static size_t make_wide(bool anew)
{
	struct journal_loaded loaded;
	struct journal *journal;

	sync_policy = JOURNAL_SYNC_ALWAYS;
	unlink(path);
	make(2);
	ck_assert_int_eq(truncate(path, (off_t)GROUP(2)), 0);
	if (anew)
		other_boot(JOURNAL_HEADER_SIZE);
	int fd = open(path, O_WRONLY | O_APPEND);
	struct writer w;
	writer_init(&w);
	for (uint64_t id = 1; id <= WIDE; id++) {
		uint8_t bytes[8];
		struct journal_record record = {.type = JOURNAL_PUT,
						.kind = RECORD_OBJECT,
						.last = id == WIDE,
						.key = bytes,
						.key_size = 8,
						.value = bytes,
						.value_size = 8};
		store_u64(bytes, id | 1ull << 63);
		journal_record_put(&w, &record);
	}
	ck_assert_int_eq(write(fd, w.data, w.size), (ssize_t)w.size);
	writer_fini(&w);
	close(fd);
	/* As it is, it is whole. */
	ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
	ck_assert_int_eq(visits, 4 + WIDE);
	ck_assert(!loaded.incomplete);
	size_t size = GROUP(2) + WIDE * RECORD;
	int end = open(path, O_WRONLY);
	ops->close(journal);
	ck_assert_int_eq(ftruncate(end, (off_t)size), 0);
	close(end);
	return size;
}

/* A sector of the file was never written, as far as it is of the last group. */
static void leave_out(size_t sector, size_t size)
{
	static const uint8_t zeros[JOURNAL_SECTOR_SIZE];
	size_t from = sector * sizeof(zeros) < GROUP(2) ? GROUP(2) : sector * sizeof(zeros);
	size_t to = (sector + 1) * sizeof(zeros) < size ? (sector + 1) * sizeof(zeros) : size;
	int fd = open(path, O_WRONLY);

	ck_assert_int_eq(pwrite(fd, zeros, to - from, (off_t)from), (ssize_t)(to - from));
	close(fd);
}

static void assert_wide_is_cut_off(void)
{
	struct journal_loaded loaded;
	struct journal *journal;

	ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
	ck_assert_int_eq(visits, 4);
	ck_assert_uint_eq(last_seen, 2);
	ck_assert(loaded.incomplete);
	ops->close(journal);
	ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
	ck_assert(!loaded.incomplete);
	ops->close(journal);
}

START_TEST(a_torn_group_is_a_tail_whatever_of_its_sectors_is_there)
{
	size_t sectors = (make_wide(true) + JOURNAL_SECTOR_SIZE - 1) / JOURNAL_SECTOR_SIZE;

	for (size_t first = WIDE_SECTOR; first < sectors; first++) {
		for (size_t second = first; second < sectors; second++) {
			size_t size = make_wide(true);
			leave_out(first, size);
			leave_out(second, size);
			assert_wide_is_cut_off();
		}
	}
}
END_TEST

static void assert_is_refused(void)
{
	struct journal_loaded loaded;
	struct journal *journal;
	size_t size = file_size();

	ck_assert_int_eq(open_load(&journal, &loaded), MC_IO);
	ck_assert_uint_eq(file_size(), size);
}

START_TEST(what_no_crash_explains_is_no_torn_group)
{
	struct journal_loaded loaded;
	struct journal *journal;

	/* The machine has not been down. */
	size_t size = make_wide(false);
	leave_out(WIDE_SECTOR + 2, size);
	assert_is_refused();
	/* All of it was written, and then changed. */
	size = make_wide(true);
	flip(GROUP(2) + 100 * RECORD + 3);
	assert_is_refused();
	/* In a group before the last: also in its last record. */
	for (size_t offset = GROUP(1); offset < GROUP(2); offset++) {
		size = make_wide(true);
		flip(offset);
		assert_is_refused();
	}
	/* It was on disk before the mark that follows was written. */
	size = make_wide(true);
	ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
	ops->close(journal);
	other_boot(size);
	other_boot(size + MARK);
	leave_out(WIDE_SECTOR + 2, size);
	assert_is_refused();
}
END_TEST

START_TEST(a_sync_that_failed_is_not_made_good_by_the_next)
{
	struct journal_loaded loaded;
	struct journal *journal;

	sync_policy = JOURNAL_SYNC_ALWAYS;
	ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
	put_one(journal, 1, 1);
	ck_assert_int_eq(ops->flush(journal), MC_OK);
	ck_assert(!ops->snapshot_due(journal, UINT32_MAX));
	put_one(journal, 1, 2);
	sync_fails = true;
	ck_assert_int_eq(ops->flush(journal), MC_IO);
	sync_fails = false;
	ck_assert_int_eq(ops->flush(journal), MC_IO);
	/* Another file is as good as new. */
	ck_assert(ops->snapshot_due(journal, UINT32_MAX));
	ck_assert_int_eq(ops->snapshot_begin(journal), MC_OK);
	snapshot_one(journal, 1, 2);
	ck_assert_int_eq(ops->snapshot_end(journal, true), MC_OK);
	ck_assert(!ops->snapshot_due(journal, UINT32_MAX));
	ck_assert_int_eq(ops->flush(journal), MC_OK);
	ops->close(journal);
	ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
	ck_assert_uint_eq(last_seen, 2);
	ops->close(journal);
}
END_TEST

/* Of one change a part is in the snapshot: what it did before comes from the group. */
START_TEST(a_group_that_could_not_be_written_goes_along_with_a_snapshot)
{
	struct rlimit limit = {.rlim_max = RLIM_INFINITY};
	struct journal_loaded loaded;
	struct journal *journal;

	make(100);
	ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
	ck_assert_int_eq(ops->snapshot_begin(journal), MC_OK);
	snapshot_one(journal, 1, 100);
	signal(SIGXFSZ, SIG_IGN);
	limit.rlim_cur = file_size();
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	put_one(journal, 1, 101);
	put_one(journal, 2, 102);
	ck_assert_int_ne(ops->flush(journal), MC_OK);
	snapshot_one(journal, 2, 102);
	ck_assert_int_eq(ops->snapshot_end(journal, true), MC_OK);
	limit.rlim_cur = RLIM_INFINITY;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ops->close(journal);
	ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
	ck_assert_int_eq(visits, 4);
	ck_assert_uint_eq(last_seen, 102);
	ops->close(journal);
}
END_TEST

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_MEMORY false
#else
#define OWN_MEMORY true
#endif

/* Take what memory there is, as a list. */
static void *memory_take(void)
{
	struct rlimit none = {.rlim_cur = 1, .rlim_max = RLIM_INFINITY};
	void **all = NULL;

	ck_assert_int_eq(setrlimit(RLIMIT_AS, &none), 0);
	for (size_t size = 1u << 20; size >= sizeof(void *); size /= 2) {
		for (void **more = malloc(size); more; more = malloc(size)) {
			*more = all;
			all = more;
		}
	}
	return all;
}

static void memory_give_back(void *memory)
{
	struct rlimit all = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};

	while (memory) {
		void *next = *(void **)memory;
		free(memory);
		memory = next;
	}
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &all), 0);
}

START_TEST(a_record_for_which_there_was_no_memory_is_not_said_to_be_written)
{
	struct journal_loaded loaded;
	struct journal *journal;

	if (!OWN_MEMORY) {
		printf("left out: memory can't be made short under a sanitizer\n");
		return;
	}
	ck_assert_int_eq(open_load(&journal, &loaded), MC_OK);
	void *memory = memory_take();
	put_one(journal, 1, 1);
	memory_give_back(memory);
	ck_assert_int_eq(ops->flush(journal), MC_NO_MEMORY);
	put_one(journal, 1, 2);
	ck_assert_int_eq(ops->flush(journal), MC_NO_MEMORY);
	ops->close(journal);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("journal_file");
	TCase *tc = tcase_create("journal_file");

	tcase_set_timeout(tc, 20); /* a journal that is in use is waited for */
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_bytes_are_these);
	tcase_add_test(tc, a_torn_tail_is_cut_off_at_any_byte);
	tcase_add_test(tc, a_torn_tail_is_gone_the_next_time);
	tcase_add_test(tc, damage_before_the_tail_is_refused_and_left_alone);
	tcase_add_test(tc, a_group_of_which_a_part_is_there_does_not_count);
	tcase_add_test(tc, a_second_master_is_kept_out);
	tcase_add_test(tc, what_is_no_journal_is_refused);
	tcase_add_test(tc, a_machine_that_lost_unsynced_writes_is_told_from_damage);
	tcase_add_test(tc, a_torn_group_is_a_tail_whatever_of_its_sectors_is_there);
	tcase_add_test(tc, what_no_crash_explains_is_no_torn_group);
	tcase_add_test(tc, a_sync_that_failed_is_not_made_good_by_the_next);
	tcase_add_test(tc, a_group_that_could_not_be_written_goes_along_with_a_snapshot);
	tcase_add_test(tc, a_record_for_which_there_was_no_memory_is_not_said_to_be_written);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
