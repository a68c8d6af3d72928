/* The order in which chunks are asked for. */
#include <check.h>
#include <stdlib.h>

#include "engine/transport/span.h"
#include "tests/support/suite.h"

static uint64_t next(struct span *span)
{
	uint64_t chunk;

	ck_assert(span_take(span, &chunk));
	return chunk;
}

START_TEST(chunks_come_in_order_once)
{
	struct span span;
	uint64_t chunk;

	span_init(&span, 1, 4);
	ck_assert_uint_eq(next(&span), 1);
	ck_assert_uint_eq(next(&span), 2);
	ck_assert_uint_eq(next(&span), 3);
	ck_assert(!span_take(&span, &chunk));
	span_init(&span, 1, 1);
	ck_assert(!span_take(&span, &chunk));
	span_init(&span, 1, 0);
	ck_assert(!span_take(&span, &chunk));
}
END_TEST

START_TEST(what_is_wanted_comes_first_and_the_rest_follows)
{
	static const uint64_t order[] = {5, 6, 0, 1, 2, 3, 4, 7, 8, 9};
	struct span span;

	span_init(&span, 0, 10);
	span_want(&span, 5, 7);
	for (size_t i = 0; i < 10; i++)
		ck_assert_uint_eq(next(&span), order[i]);
}
END_TEST

START_TEST(what_was_taken_is_not_wanted_again)
{
	struct span span;
	uint64_t chunk;

	span_init(&span, 0, 3);
	ck_assert_uint_eq(next(&span), 0);
	span_want(&span, 0, 2);
	ck_assert_uint_eq(next(&span), 1);
	ck_assert_uint_eq(next(&span), 2);
	ck_assert(!span_take(&span, &chunk));
}
END_TEST

START_TEST(what_is_returned_is_next)
{
	struct span span;

	span_init(&span, 0, 3);
	ck_assert_uint_eq(next(&span), 0);
	ck_assert(span_return(&span, 0));
	ck_assert_uint_eq(next(&span), 0);
	ck_assert_uint_eq(next(&span), 1);
}
END_TEST

START_TEST(any_wishes_keep_every_chunk_exactly_once)
{
	unsigned seed = (unsigned)_i + 1;
	struct span span;
	uint8_t seen[1000] = {0};
	uint64_t chunk, count = 0;

	span_init(&span, 0, 1000);
	for (;;) {
		uint64_t begin = (uint64_t)rand_r(&seed) % 1100;
		span_want(&span, begin, begin + (uint64_t)rand_r(&seed) % 50);
		ck_assert_uint_le(span.count, SPAN_RANGES_MAX);
		if (!span_take(&span, &chunk))
			break;
		ck_assert_uint_lt(chunk, 1000);
		ck_assert_msg(!seen[chunk], "chunk %lu twice, seed %d", chunk, _i + 1);
		seen[chunk] = 1;
		count++;
	}
	ck_assert_uint_eq(count, 1000);
}
END_TEST

START_TEST(the_largest_object_takes_no_more_room)
{
	struct span span;

	span_init(&span, 1, 1ull << 41);
	span_want(&span, (1ull << 41) - 1, UINT64_MAX);
	ck_assert_uint_eq(next(&span), (1ull << 41) - 1);
	ck_assert_uint_eq(next(&span), 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("span");
	TCase *tc = tcase_create("span");

	tcase_add_test(tc, chunks_come_in_order_once);
	tcase_add_test(tc, what_is_wanted_comes_first_and_the_rest_follows);
	tcase_add_test(tc, what_was_taken_is_not_wanted_again);
	tcase_add_test(tc, what_is_returned_is_next);
	tcase_add_loop_test(tc, any_wishes_keep_every_chunk_exactly_once, 0, 20);
	tcase_add_test(tc, the_largest_object_takes_no_more_room);
	suite_add_tcase(s, tc);
	return suite_run(s);
}
