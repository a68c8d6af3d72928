/* Files made ahead for pulls: what they are, what they count as, and when they go. */
#include "engine/node/stock.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>

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
	while (spare() == 0)
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
	tcase_add_test(tc, a_pull_goes_into_a_file_made_ahead);
	tcase_add_test(tc, it_goes_before_anything_is_evicted);
}

int main(void)
{
	return cluster_run("stock", add);
}
