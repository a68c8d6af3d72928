/* Which node takes a copy, and what the policies of prefixes say of it. */
#include "master/placement.h"

#include "tests/unit/master/fleet.h"

static uint64_t seed = 7;

static struct node *choose(const uint16_t *held, uint32_t count, uint64_t size,
			   const struct mc_placement *placement)
{
	struct placement_wish wish = {.size = size,
				      .held = held,
				      .held_count = count,
				      .placement = placement,
				      .random = &seed};
	bool later;

	struct node *node = placement_choose(&m->nodes, &wish, &later);
	ck_assert(!later);
	return node;
}

START_TEST(a_copy_goes_to_another_host_while_there_is_one)
{
	struct node *a = node_new(1, "h1");
	struct node *same = node_new(2, "h1");
	struct node *other = node_new(3, "h2");
	uint16_t held[] = {(uint16_t)node_index(a)};

	for (int i = 0; i < 100; i++)
		ck_assert_ptr_eq(choose(held, 1, MIB, NULL), other);
	other->public.draining = true;
	ck_assert_ptr_eq(choose(held, 1, MIB, NULL), same);
	same->public.alive = false;
	ck_assert_ptr_null(choose(held, 1, MIB, NULL));
}
END_TEST

START_TEST(a_copy_goes_only_where_it_can_fit)
{
	struct node *a = node_new(1, "h1");
	struct node *b = node_new(2, "h2");
	uint16_t held[] = {(uint16_t)node_index(a)};

	ck_assert_ptr_null(choose(held, 1, 1024 * MIB, NULL));
	b->public.capacity = 2048 * MIB;
	ck_assert_ptr_eq(choose(held, 1, 1024 * MIB, NULL), b);
}
END_TEST

START_TEST(preferred_nodes_come_first_in_their_order)
{
	struct mc_placement placement = {.preferred_count = 2, .preferred = {"n3", "n2"}};

	for (uint8_t i = 1; i <= 4; i++)
		node_new(i, "h");
	ck_assert_str_eq(choose(NULL, 0, 1, &placement)->public.name, "n3");
	m->nodes.table[2].public.alive = false;
	ck_assert_str_eq(choose(NULL, 0, 1, &placement)->public.name, "n2");
}
END_TEST

START_TEST(of_two_that_are_drawn_by_free_memory_the_freer_takes_it)
{
	int counts[3] = {0};

	for (uint8_t i = 0; i < 3; i++)
		node_new(i + 1u, "h")->public.used = (1024 - 100 * (i + 1u) * (i + 1u)) * MIB;
	for (int i = 0; i < 10000; i++)
		counts[node_index(choose(NULL, 0, 1, NULL))]++;
	/* Free are 1 : 4 : 9 of 14.  The largest of two draws: 1, 24 and 171 of 196. */
	ck_assert_int_lt(abs(counts[0] - 51), 30);
	ck_assert_int_lt(abs(counts[1] - 1224), 150);
	ck_assert_int_lt(abs(counts[2] - 8724), 150);
}
END_TEST

START_TEST(the_longest_prefix_that_says_something_counts_field_by_field)
{
	struct mc_placement all = {.replicas = 2, .pin = MC_PIN_ON};
	struct mc_placement inner = {.replicas = 3, .ack = 2};
	struct mc_placement said;

	ck_assert_int_eq(policies_set(&m->policies, "a", 1, &all), MC_OK);
	ck_assert_int_eq(policies_set(&m->policies, "a/b", 3, &inner), MC_OK);
	const struct policy *policy = policies_of(&m->policies, "a/b/c", 5, &said);
	ck_assert_uint_eq(policy->prefix_size, 3);
	ck_assert_uint_eq(said.replicas, 3);
	ck_assert_uint_eq(said.ack, 2);
	ck_assert_uint_eq(said.pin, MC_PIN_ON);
	policies_of(&m->policies, "a/bc", 4, &said);
	ck_assert_uint_eq(said.replicas, 2);
	ck_assert_ptr_null(policies_of(&m->policies, "ab", 2, &said));
	ck_assert_uint_eq(said.replicas, 0);
	/* What is not said again stays. */
	struct mc_placement more = {.ack = 1};
	ck_assert_int_eq(policies_set(&m->policies, "a", 1, &more), MC_OK);
	policies_of(&m->policies, "a", 1, &said);
	ck_assert_uint_eq(said.replicas, 2);
	ck_assert_uint_eq(said.ack, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("placement");
	TCase *tc = tcase_create("placement");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_copy_goes_to_another_host_while_there_is_one);
	tcase_add_test(tc, a_copy_goes_only_where_it_can_fit);
	tcase_add_test(tc, preferred_nodes_come_first_in_their_order);
	tcase_add_test(tc, of_two_that_are_drawn_by_free_memory_the_freer_takes_it);
	tcase_add_test(tc, the_longest_prefix_that_says_something_counts_field_by_field);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
