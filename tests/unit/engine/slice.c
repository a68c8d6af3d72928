/* The pool of slices, where its promises are hard to see from outside. */
#include <check.h>
#include <string.h>

#include "engine/batch.h"
#include "engine/segment.h"
#include "engine/slice.h"
#include "tests/support/suite.h"

static struct slice_pool pool;
static struct mc_batch batch;

/* More slices than there were when the search began, given back while it goes on. */
static void take_and_give_many(struct fabric_peer *peer, struct fabric_slice *slice)
{
	enum { MANY = 2 * SLICE_CHUNK_SIZE };
	static struct slice *many[MANY];

	(void)peer, (void)slice;
	ck_assert_uint_eq(slices_take(&pool, &batch, many, MANY), MANY);
	for (size_t i = 0; i < MANY; i++)
		slice_give(&pool, many[i]);
}

START_TEST(what_ends_while_the_pool_grows_is_free_after_a_cancel)
{
	static const struct fabric_ops ops = {.cancel = take_and_give_many};
	struct fabric fabric = {&ops};
	struct fabric_peer peer = {&fabric};
	struct channel channel = {.peer = &peer};
	struct target target = {.channel = &channel, .references = 2};
	struct slice *first;

	slice_pool_init(&pool);
	ck_assert_uint_eq(slices_take(&pool, &batch, &first, 1), 1);
	first->target = &target;
	slices_cancel(&pool, &batch);
	slice_give(&pool, first);
	ck_assert_uint_eq(slices_used(&pool), 0);
	slice_pool_fini(&pool);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("slice");
	TCase *tcase = tcase_create("all");

	tcase_add_test(tcase, what_ends_while_the_pool_grows_is_free_after_a_cancel);
	suite_add_tcase(s, tcase);
	return suite_run(s);
}
