/* Where memory is cut by the node of its pages: what a test says of them, and the kernel. */
#include "engine/pages.h"

#include <check.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "tests/support/suite.h"

#define PAGE  4096ull
#define PAGES 4096ull
#define BASE  ((uint8_t *)(16ull << 30)) /* nobody looks at it */

static int node_of[PAGES]; /* what is told of them */
static size_t asked;

static bool ask_table(void **pages, size_t count, int *nodes)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t at = (uint64_t)((uint8_t *)pages[i] - BASE);
		ck_assert_uint_eq(at % PAGE, 0);
		ck_assert_uint_lt(at / PAGE, PAGES);
		nodes[i] = node_of[at / PAGE];
	}
	asked += count;
	return true;
}

static bool ask_nobody(void **pages, size_t count, int *nodes)
{
	(void)pages, (void)count, (void)nodes;
	return false;
}

static void put(uint64_t first, uint64_t end, int node)
{
	for (uint64_t i = first; i < end; i++)
		node_of[i] = node;
}

static void set_up(void)
{
	put(0, PAGES, 0);
	asked = 0;
}

static struct pages_run runs[PAGES_RUNS_MAX];

START_TEST(memory_of_one_node_is_one_run_and_few_pages_are_looked_at)
{
	ck_assert_uint_eq(pages_runs(ask_table, BASE, PAGES * PAGE, runs), 1);
	ck_assert_uint_eq(runs[0].length, PAGES * PAGE);
	ck_assert_int_eq(runs[0].node, 0);
	ck_assert_uint_le(asked, PAGES / 512 * 8);
}
END_TEST

START_TEST(it_is_cut_at_the_very_page_where_the_node_changes)
{
	static const uint64_t borders[] = {16, 17, 511, 512, 513, 1000, PAGES - 16};
	uint64_t border = borders[_i];

	put(border, PAGES, 1);
	ck_assert_uint_eq(pages_runs(ask_table, BASE, PAGES * PAGE, runs), 2);
	ck_assert_uint_eq(runs[0].length, border * PAGE);
	ck_assert_int_eq(runs[0].node, 0);
	ck_assert_uint_eq(runs[1].length, (PAGES - border) * PAGE);
	ck_assert_int_eq(runs[1].node, 1);
}
END_TEST

START_TEST(memory_may_begin_and_end_within_a_page)
{
	put(100, PAGES, 3);
	ck_assert_uint_eq(pages_runs(ask_table, BASE + 5 * PAGE + 100, 200 * PAGE, runs), 2);
	ck_assert_uint_eq(runs[0].length, 95 * PAGE - 100);
	ck_assert_uint_eq(runs[1].length, 105 * PAGE + 100);
	ck_assert_int_eq(runs[1].node, 3);
	ck_assert_uint_eq(pages_runs(ask_table, BASE + 7, 1, runs), 1);
	ck_assert_uint_eq(runs[0].length, 1);
}
END_TEST

START_TEST(pages_that_are_not_there_belong_to_the_run_around_them)
{
	put(0, 700, -2);
	put(700, 2000, 1);
	put(2000, 3000, -2);
	put(3000, PAGES, 2);
	ck_assert_uint_eq(pages_runs(ask_table, BASE, PAGES * PAGE, runs), 2);
	ck_assert_int_eq(runs[0].node, 1);
	ck_assert_uint_ge(runs[0].length, 2000 * PAGE);
	ck_assert_uint_le(runs[0].length, 3000 * PAGE);
	ck_assert_int_eq(runs[1].node, 2);
	ck_assert_uint_eq(runs[0].length + runs[1].length, PAGES * PAGE);
	put(0, PAGES, -14);
	ck_assert_uint_eq(pages_runs(ask_table, BASE, PAGES * PAGE, runs), 1);
	ck_assert_int_eq(runs[0].node, -1);
}
END_TEST

static void assert_whole(uint32_t count)
{
	ck_assert_uint_eq(count, 1);
	ck_assert_uint_eq(runs[0].length, PAGES * PAGE);
	ck_assert_int_eq(runs[0].node, -1);
}

START_TEST(interleaved_memory_is_not_cut)
{
	static const struct {
		uint64_t pages;
		int nodes;
	} rows[] = {{1, 2}, {1, 3}, {1, 4}, {1, 8}, {4, 2}, {32, 2}};

	for (uint64_t i = 0; i < PAGES; i++)
		node_of[i] = (int)(i / rows[_i].pages) % rows[_i].nodes;
	assert_whole(pages_runs(ask_table, BASE, PAGES * PAGE, runs));
}
END_TEST

START_TEST(what_the_kernel_does_not_tell_is_one_run_of_no_node)
{
	assert_whole(pages_runs(ask_nobody, BASE, PAGES * PAGE, runs));
}
END_TEST

/* Where a sandbox forbids the call it says so, and then there is nothing to see. */
START_TEST(the_kernel_tells_of_pages_that_were_touched)
{
	uint64_t size = _i ? 80u << 20 : 3 * PAGE;
	uint8_t *memory =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *page = memory + size / 2 / PAGE * PAGE;
	unsigned char there;
	int node;

	ck_assert_ptr_ne(memory, MAP_FAILED);
	pages_touch(memory + 100, size - 200);
	for (uint64_t at = 0; at < size; at += PAGE) {
		ck_assert_int_eq(mincore(memory + at, PAGE, &there), 0);
		ck_assert_int_eq(there & 1, 1);
	}
	if (pages_ask_kernel(&page, 1, &node)) {
		ck_assert_int_ge(node, 0);
		uint32_t count = pages_runs(pages_ask_kernel, memory + 100, size - 200, runs);
		ck_assert_uint_ge(count, 1);
		uint64_t sum = 0;
		for (uint32_t i = 0; i < count; i++)
			sum += runs[i].length;
		ck_assert_uint_eq(sum, size - 200);
	}
	munmap(memory, size);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine");
	TCase *tc = tcase_create("pages");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, set_up, NULL);
	tcase_add_test(tc, memory_of_one_node_is_one_run_and_few_pages_are_looked_at);
	tcase_add_loop_test(tc, it_is_cut_at_the_very_page_where_the_node_changes, 0, 7);
	tcase_add_test(tc, memory_may_begin_and_end_within_a_page);
	tcase_add_test(tc, pages_that_are_not_there_belong_to_the_run_around_them);
	tcase_add_loop_test(tc, interleaved_memory_is_not_cut, 0, 6);
	tcase_add_test(tc, what_the_kernel_does_not_tell_is_one_run_of_no_node);
	tcase_add_loop_test(tc, the_kernel_tells_of_pages_that_were_touched, 0, 2);
	suite_add_tcase(s, tc);
	return suite_run(s);
}
