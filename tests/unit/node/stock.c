/* Files made ahead for pulls: what they are, what they count as, and when they go. */
#include "engine/node/stock.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "tests/unit/node/cluster.h"

#define MIB  (1ull << 20)
#define POOL (64 * MIB) /* of which the stock takes 2 MiB at most */
#define SIZE (MIB - 100)
#define FULL (2 * MIB) /* two files of it, in pages */

static char path[128];
static struct pool *pool;
static struct stock *stock;

static void open_stock(bool mount, uint64_t room)
{
	struct pool_config config = {.path = path, .size = POOL, .mount = mount};

	ck_assert_int_eq(pool_open(&config, &pool), MC_OK);
	ck_assert_int_eq(stock_start(pool, room, &stock), MC_OK);
}

static void begin(bool mount, uint64_t room)
{
	place_new(path);
	open_stock(mount, room);
}

static void end(void)
{
	stock_stop(stock);
	pool_destroy(pool);
}

static struct pool_space space_of(struct pool *of)
{
	struct pool_space space;

	pool_space(of, &space);
	return space;
}

static uint64_t spare(void)
{
	return space_of(pool).spare;
}

/* Whether statfs can tell: the pool is a tmpfs of its own. */
static bool private_pool(void)
{
	bool private = strncmp(pool_kind(pool), "private", 7) == 0;

	if (!private)
		printf("skipped: no privilege to mount a tmpfs\n");
	return private;
}

static void ask(uint64_t size)
{
	struct stock_file file;

	ck_assert(!stock_take(stock, size, &file));
	stock_fill(stock);
}

static void found(void *context, const struct pool_found *file)
{
	(void)file;
	++*(unsigned *)context;
}

static unsigned scanned(void)
{
	unsigned count = 0;

	ck_assert_int_eq(pool_scan(pool, found, &count), MC_OK);
	return count;
}

START_TEST(a_file_is_made_of_the_size_that_was_asked_for)
{
	struct stock_file file;
	struct stat st;

	begin(false, 0);
	ask(SIZE);
	EVENTUALLY(stock_take(stock, SIZE, &file));
	ck_assert_uint_eq(file.size, SIZE);
	ck_assert_int_eq(fstat(file.fd, &st), 0);
	ck_assert_int_eq(st.st_size, SIZE);
	ck_assert_int_eq(st.st_nlink, 0);
	ck_assert_int_eq(st.st_blocks, (SIZE + 4095) / 4096 * 8);
	for (uint64_t i = 0; i < SIZE; i++)
		ck_assert_uint_eq(((uint8_t *)file.memory)[i], 0);
	ck_assert_int_eq(munmap(file.memory, file.size), 0);
	close(file.fd);
	end();
}
END_TEST

START_TEST(there_is_none_of_another_size)
{
	struct stock_file file;

	begin(false, 0);
	ask(SIZE);
	EVENTUALLY(spare() > 0);
	ck_assert(!stock_take(stock, SIZE + 1, &file));
	ck_assert(!stock_take(stock, SIZE - 1, &file));
	end();
}
END_TEST

START_TEST(two_sizes_share_the_stock)
{
	struct stock_file files[2];

	begin(false, 0);
	ask(SIZE);
	EVENTUALLY(spare() == FULL);
	ask(SIZE - 4096);
	EVENTUALLY(stock_take(stock, SIZE - 4096, &files[0]));
	EVENTUALLY(stock_take(stock, SIZE, &files[1]));
	for (int i = 0; i < 2; i++) {
		munmap(files[i].memory, files[i].size);
		close(files[i].fd);
	}
	end();
}
END_TEST

START_TEST(sizes_that_nobody_pulls_any_more_go)
{
	struct stock_file file;

	begin(false, 0);
	ask(SIZE);
	EVENTUALLY(spare() > 0);
	ask(SIZE - 4096);
	ask(SIZE - 8192);
	EVENTUALLY(stock_take(stock, SIZE - 8192, &file));
	munmap(file.memory, file.size);
	close(file.fd);
	ck_assert(!stock_take(stock, SIZE, &file)); /* none was left then */
	end();
}
END_TEST

static const uint64_t refused[] = {0, 1, STOCK_OBJECT_MIN - 1, MIB + 1, 4 * MIB};

START_TEST(nothing_is_made_of_what_is_too_small_or_too_large)
{
	begin(false, 0);
	ask(refused[_i]);
	usleep(50000);
	ck_assert_uint_eq(spare(), 0);
	end();
}
END_TEST

START_TEST(nothing_is_made_where_room_is_short)
{
	begin(false, POOL - SIZE + 1);
	ask(SIZE);
	usleep(50000);
	ck_assert_uint_eq(spare(), 0);
	end();
}
END_TEST

START_TEST(what_is_made_ahead_counts_as_free)
{
	begin(true, 0);
	if (private_pool()) {
		struct pool_space before = space_of(pool);
		struct statfs fs;
		ask(SIZE);
		EVENTUALLY(spare() == FULL);
		struct pool_space after = space_of(pool);
		EVENTUALLY(statfs(path, &fs) == 0 &&
			   (fs.f_blocks - fs.f_bfree) * 4096 >= before.used + after.spare);
		after = space_of(pool);
		ck_assert_uint_eq(after.used, before.used);
		ck_assert_uint_eq(after.free, before.free);
		stock_drop(stock);
		EVENTUALLY(spare() == 0);
		EVENTUALLY(statfs(path, &fs) == 0 &&
			   (fs.f_blocks - fs.f_bfree) * 4096 == before.used);
	}
	end();
}
END_TEST

START_TEST(nothing_is_made_for_a_while_after_a_drop)
{
	begin(false, 0);
	ask(SIZE);
	EVENTUALLY(spare() > 0);
	uint64_t rest_ns = clock_ns();
	stock_drop(stock);
	EVENTUALLY(spare() == 0); /* one that was in the making goes when it is made */
	stock_fill(stock);
	usleep(100000);
	bool made = spare() > 0;
	ck_assert(!made || clock_ns() - rest_ns > 900000000);
	end();
}
END_TEST

START_TEST(a_scan_finds_nothing_of_it)
{
	begin(false, 0);
	ask(SIZE);
	EVENTUALLY(spare() > 0);
	ck_assert_uint_eq(scanned(), 0);
	end();
}
END_TEST

static void die_with_a_stock(void)
{
	open_stock(true, 0);
	ask(SIZE);
	/* Where others have work for so long it dies without one. */
	for (int i = 0; i < CLUSTER_WAIT_S * 1000 && spare() == 0; i++)
		usleep(1000);
	raise(SIGKILL);
}

START_TEST(a_crash_leaves_nothing)
{
	int status;

	place_new(path);
	pid_t child = fork();
	if (child == 0)
		die_with_a_stock();
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status));
	open_stock(true, 0);
	ck_assert_uint_eq(scanned(), 0);
	if (private_pool())
		ck_assert_uint_lt(space_of(pool).used, SIZE);
	end();
}
END_TEST

/* -- files of objects that leave -- */

#define ID 77u

/* An object of that size in the pool; what it holds is its id. */
static void object_put(uint64_t id, uint64_t size)
{
	CLEANUP_FREE uint8_t *bytes = malloc(size);
	int fd;

	memset(bytes, (int)id, size);
	ck_assert_int_eq(pool_draft(pool, &fd), MC_OK);
	ck_assert_int_eq(pwrite(fd, bytes, size, 0), (ssize_t)size);
	ck_assert_int_eq(pool_commit(pool, fd, id), MC_OK);
	close(fd);
}

static bool object_there(uint64_t id)
{
	int fd;

	if (pool_object(pool, id, O_RDONLY, &fd))
		return false;
	close(fd);
	return true;
}

/* Drafts with a name. */
static unsigned names_in(const char *pool_directory)
{
	char drafts[MC_PATH_MAX + 16];
	unsigned count = 0;

	snprintf(drafts, sizeof(drafts), "%s/drafts", pool_directory);
	DIR *dir = opendir(drafts);
	ck_assert_ptr_nonnull(dir);
	for (const struct dirent *entry; (entry = readdir(dir));)
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

/* This size is pulled, but none of it is made. */
static void want_only(uint64_t size)
{
	struct stock_file file;

	ck_assert(!stock_take(stock, size, &file));
}

START_TEST(the_file_of_an_object_that_leaves_becomes_another_ones)
{
	struct stock_file file;
	struct stat st;

	begin(false, 0);
	want_only(SIZE);
	object_put(ID, SIZE);
	stock_reclaim(stock, ID, SIZE);
	ck_assert(!object_there(ID));
	ck_assert_uint_eq(scanned(), 0);
	ck_assert_uint_eq(spare(), FULL / 2);
	ck_assert(stock_take(stock, SIZE, &file));
	ck_assert_uint_eq(spare(), 0);
	ck_assert_uint_eq(file.from, ID);
	ck_assert_uint_eq(((uint8_t *)file.memory)[SIZE - 1], ID);
	memset(file.memory, 'n', SIZE);
	ck_assert_int_eq(stock_name(stock, &file, ID + 1), MC_OK);
	ck_assert(object_there(ID + 1));
	ck_assert_uint_eq(names_in(path), 0);
	ck_assert_int_eq(pool_stat(pool, ID + 1, -1, &st), MC_OK);
	ck_assert_int_eq(st.st_size, SIZE);
	ck_assert_int_eq(st.st_nlink, 1);
	munmap(file.memory, file.size);
	close(file.fd);
	end();
}
END_TEST

START_TEST(a_name_that_is_taken_stays_who_it_is)
{
	struct stock_file file;

	begin(false, 0);
	want_only(SIZE);
	object_put(ID, SIZE);
	object_put(ID + 1, 1000);
	stock_reclaim(stock, ID, SIZE);
	ck_assert(stock_take(stock, SIZE, &file));
	ck_assert_int_eq(stock_name(stock, &file, ID + 1), MC_EXISTS);
	stock_forget(stock, &file);
	ck_assert_uint_eq(names_in(path), 0);
	munmap(file.memory, file.size);
	close(file.fd);
	end();
}
END_TEST

enum use { USE_READ, USE_WRITE, USE_MAP };

START_TEST(a_file_that_somebody_has_open_stays_theirs)
{
	uint8_t byte;
	int fd;

	begin(false, 0);
	want_only(SIZE);
	object_put(ID, SIZE);
	ck_assert_int_eq(pool_object(pool, ID, _i == USE_READ ? O_RDONLY : O_RDWR, &fd), MC_OK);
	uint8_t *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	if (_i == USE_MAP)
		close(fd);
	else
		munmap(map, SIZE);
	stock_reclaim(stock, ID, SIZE);
	ck_assert(!object_there(ID));
	ck_assert_uint_eq(spare(), 0);
	ck_assert_uint_eq(names_in(path), 0);
	if (_i == USE_MAP) {
		ck_assert_uint_eq(map[SIZE - 1], ID);
		munmap(map, SIZE);
	} else {
		ck_assert_int_eq(pread(fd, &byte, 1, SIZE - 1), 1);
		ck_assert_uint_eq(byte, ID);
		close(fd);
	}
	end();
}
END_TEST

START_TEST(a_file_with_holes_or_of_another_size_goes)
{
	int fd;

	begin(false, 0);
	want_only(SIZE);
	object_put(ID, SIZE);
	ck_assert_int_eq(pool_object(pool, ID, O_RDWR, &fd), MC_OK);
	ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 65536), 0);
	close(fd);
	stock_reclaim(stock, ID, SIZE);
	object_put(ID + 1, SIZE - 4096);
	stock_reclaim(stock, ID + 1, SIZE); /* as somebody has it in mind */
	object_put(ID + 2, SIZE - 4096);
	stock_reclaim(stock, ID + 2, SIZE - 4096); /* which nobody pulls */
	for (uint64_t id = ID; id < ID + 3; id++)
		ck_assert(!object_there(id));
	ck_assert_uint_eq(spare(), 0);
	ck_assert_uint_eq(names_in(path), 0);
	end();
}
END_TEST

START_TEST(an_eighth_of_the_pool_is_kept_and_goes_when_it_must)
{
	begin(false, 0);
	want_only(SIZE);
	for (uint64_t id = ID; id < ID + 12; id++)
		object_put(id, SIZE);
	for (uint64_t id = ID; id < ID + 12; id++)
		stock_reclaim(stock, id, SIZE);
	ck_assert_uint_eq(spare(), POOL / 8);
	ck_assert_uint_eq(names_in(path), 8);
	stock_drop(stock);
	ck_assert_uint_eq(spare(), 0);
	ck_assert_uint_eq(names_in(path), 0);
	object_put(ID, SIZE);
	stock_reclaim(stock, ID, SIZE); /* within the rest after it */
	ck_assert(!object_there(ID));
	ck_assert_uint_eq(names_in(path), 0);
	end();
}
END_TEST

START_TEST(none_is_kept_where_room_is_short)
{
	begin(true, POOL - FULL);
	if (private_pool()) {
		want_only(SIZE);
		for (uint64_t id = ID; id < ID + 6; id++)
			object_put(id, SIZE);
		stock_reclaim(stock, ID, SIZE);
		ck_assert(!object_there(ID));
		ck_assert_uint_eq(spare(), 0);
	}
	end();
}
END_TEST

static void die_with_what_was_kept(void)
{
	open_stock(true, 0);
	want_only(SIZE);
	object_put(ID, SIZE);
	stock_reclaim(stock, ID, SIZE);
	raise(names_in(path) == 1 ? SIGKILL : SIGABRT);
}

START_TEST(a_crash_leaves_nothing_of_what_was_kept)
{
	int status;

	place_new(path);
	pid_t child = fork();
	if (child == 0)
		die_with_what_was_kept();
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	open_stock(true, 0);
	ck_assert_uint_eq(scanned(), 0);
	ck_assert_uint_eq(names_in(path), 0);
	if (private_pool())
		ck_assert_uint_lt(space_of(pool).used, SIZE);
	end();
}
END_TEST

/* -- in a node -- */

/* Pull a few, so that the size is known, and wait until some are made. */
static struct node *stocked_node(void)
{
	struct node *node = cluster_start(&(struct cluster_node){.transport = "tcp", .size = POOL});
	char name[32];

	for (unsigned i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "first%u", i);
		put(a, name, SIZE, i);
		assert_reads(node, name, SIZE, i);
	}
	EVENTUALLY(space_of(node_pool(node)).spare == FULL);
	return node;
}

START_TEST(a_pull_goes_into_a_file_made_ahead)
{
	struct node *node = stocked_node();
	uint64_t before = counted(node, COUNTER_PULLS_STOCKED);
	char name[32];

	/* The last of them may still be in the making. */
	for (unsigned i = 0; counted(node, COUNTER_PULLS_STOCKED) == before; i++) {
		snprintf(name, sizeof(name), "key%u", i);
		put(a, name, SIZE, i);
		assert_reads(node, name, SIZE, i);
		ck_assert_uint_lt(i, 20);
	}
	node_close(node, true);
}
END_TEST

START_TEST(it_goes_before_anything_is_evicted)
{
	struct node *node = stocked_node();
	char name[32];

	for (unsigned i = 0; counted(node, COUNTER_EVICTIONS) == 0; i++) {
		snprintf(name, sizeof(name), "more%u", i);
		put(node, name, MIB, i);
		ck_assert_uint_lt(i, POOL / MIB);
	}
	/* One in the making is seen until its pages are there. */
	EVENTUALLY(space_of(node_pool(node)).spare == 0);
	ck_assert_uint_eq(counted(node, COUNTER_NO_SPACE), 0);
	node_close(node, true);
}
END_TEST

/* Put through a, with a hole of zeros in it. */
static void put_with_hole(const char *name, uint64_t hole, uint64_t hole_size)
{
	struct object *object = create(a, name);
	int fd;

	ck_assert_int_eq(node_descriptor(a, object, true, &fd), MC_OK);
	write_bytes(a, object, SIZE, 9);
	ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)hole,
				   (off_t)hole_size),
			 0);
	ck_assert_int_eq(flush(a, object), MC_OK);
	close(fd);
	node_release(a, object, true);
	cluster_forget(a, object);
}

/* How it is got: its bytes over TCP, or copied from the owner's file for a writer. */
static const struct {
	const char *transport;
	uint32_t flags;
} ways[] = {{"tcp", 0}, {"auto", NODE_OPEN_WRITE}};

START_TEST(nothing_of_the_object_before_shows_through_a_hole)
{
	enum { HOLE = 256 << 10, HOLE_SIZE = 128 << 10 };
	struct node *node = cluster_start(
		&(struct cluster_node){.transport = ways[_i].transport, .size = POOL});
	struct object *object;
	static uint8_t bytes[SIZE];
	unsigned kept, i = 0;
	char name[32];
	int fd;

	do { /* until what had a hole went into the file of one that had none */
		ck_assert_uint_lt(++i, 20);
		snprintf(name, sizeof(name), "full%u", i);
		put(a, name, SIZE, 3);
		ck_assert_int_eq(lookup(node, name, &object), MC_OK);
		ck_assert_int_eq(open_object(node, object, ways[_i].flags), MC_OK);
		node_release(node, object, ways[_i].flags != 0);
		cluster_forget(node, object);
		ck_assert_int_eq(unlink_name(a, name), MC_OK);
		EVENTUALLY((kept = names_in(pool_path(node_pool(node)))) > 0);
		snprintf(name, sizeof(name), "holed%u", i);
		put_with_hole(name, HOLE, HOLE_SIZE);
		ck_assert_int_eq(lookup(node, name, &object), MC_OK);
		ck_assert_int_eq(open_object(node, object, ways[_i].flags), MC_OK);
		ck_assert_int_eq(node_descriptor(node, object, false, &fd), MC_OK);
		ck_assert_int_eq(pread(fd, bytes, SIZE, 0), SIZE);
		close(fd);
		for (unsigned at = HOLE; at < HOLE + HOLE_SIZE; at++)
			if (bytes[at])
				ck_abort_msg("old bytes at %u", at);
		node_release(node, object, ways[_i].flags != 0);
		cluster_forget(node, object);
	} while (names_in(pool_path(node_pool(node))) == kept);
	node_close(node, true);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, a_file_is_made_of_the_size_that_was_asked_for);
	tcase_add_test(tc, there_is_none_of_another_size);
	tcase_add_test(tc, two_sizes_share_the_stock);
	tcase_add_test(tc, sizes_that_nobody_pulls_any_more_go);
	tcase_add_loop_test(tc, nothing_is_made_of_what_is_too_small_or_too_large, 0,
			    ROWS(refused));
	tcase_add_test(tc, nothing_is_made_where_room_is_short);
	tcase_add_test(tc, what_is_made_ahead_counts_as_free);
	tcase_add_test(tc, nothing_is_made_for_a_while_after_a_drop);
	tcase_add_test(tc, a_scan_finds_nothing_of_it);
	tcase_add_test(tc, a_crash_leaves_nothing);
	tcase_add_test(tc, the_file_of_an_object_that_leaves_becomes_another_ones);
	tcase_add_test(tc, a_name_that_is_taken_stays_who_it_is);
	tcase_add_loop_test(tc, a_file_that_somebody_has_open_stays_theirs, USE_READ, USE_MAP + 1);
	tcase_add_test(tc, a_file_with_holes_or_of_another_size_goes);
	tcase_add_test(tc, an_eighth_of_the_pool_is_kept_and_goes_when_it_must);
	tcase_add_test(tc, none_is_kept_where_room_is_short);
	tcase_add_test(tc, a_crash_leaves_nothing_of_what_was_kept);
	tcase_add_loop_test(tc, nothing_of_the_object_before_shows_through_a_hole, 0, ROWS(ways));
	tcase_add_test(tc, a_pull_goes_into_a_file_made_ahead);
	tcase_add_test(tc, it_goes_before_anything_is_evicted);
}

int main(void)
{
	return cluster_run("stock", add);
}
