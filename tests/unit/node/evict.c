/* A pool that fills up: what goes first, what never goes, and what is told. */
#include "tests/unit/node/cluster.h"

#define MIB   ((size_t)1 << 20)
#define SMALL (16 * MIB) /* of which an eighth is kept free */

static struct node *small;

static void start_small(const char *transport)
{
	small = cluster_start(&(struct cluster_node){.size = SMALL, .transport = transport});
}

static void end_small(void)
{
	node_close(small, true);
}

static uint64_t used(struct node *node)
{
	struct pool_space space;

	pool_space(node_pool(node), &space);
	return space.used;
}

static void put_many(const char *prefix, int count)
{
	char name[32];

	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s%d", prefix, i);
		put(small, name, MIB, (unsigned)i);
		ck_assert_uint_le(used(small), SMALL);
	}
}

START_TEST(a_full_pool_evicts_for_what_is_put)
{
	int there = 0;
	char name[32];

	start_small(NULL);
	put_many("key", 40);
	ck_assert_uint_ge(counted(small, COUNTER_EVICTIONS), 40 - 16);
	ck_assert_uint_eq(counted(small, COUNTER_EVICTION_BYTES),
			  counted(small, COUNTER_EVICTIONS) * MIB);
	for (int i = 0; i < 40; i++) { /* whole, or not there */
		snprintf(name, sizeof(name), "key%d", i);
		if (look(b, name) == MC_OK) {
			assert_reads(b, name, MIB, (unsigned)i);
			there++;
		}
	}
	ck_assert_int_ge(there, 8);
	ck_assert_int_eq(look(b, "key39"), MC_OK);
	end_small();
}
END_TEST

START_TEST(an_evicted_name_can_be_put_again)
{
	start_small(NULL);
	put(small, "key", MIB, 100);
	put_many("other", 30);
	EVENTUALLY(look(b, "key") == MC_NOT_FOUND);
	ck_assert_int_eq(look(small, "key"), MC_NOT_FOUND);
	put(small, "key", MIB, 101);
	assert_reads(b, "key", MIB, 101);
	end_small();
}
END_TEST

START_TEST(copies_go_before_the_last_of_a_kind)
{
	char name[32];

	start_small("tcp");
	put_many("own", 6);
	for (int i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "copy%d", i);
		put(a, name, MIB, (unsigned)i);
		assert_reads(small, name, MIB, (unsigned)i);
	}
	ck_assert_uint_eq(counted(small, COUNTER_EVICTIONS), 0);
	put_many("more", 5);
	ck_assert_uint_gt(counted(small, COUNTER_EVICTIONS), 0);
	ck_assert_uint_eq(counted(small, COUNTER_EVICTED_CACHE), counted(small, COUNTER_EVICTIONS));
	for (int i = 0; i < 6; i++) { /* and nothing was lost by it */
		snprintf(name, sizeof(name), "copy%d", i);
		assert_reads(b, name, MIB, (unsigned)i);
		snprintf(name, sizeof(name), "own%d", i);
		assert_reads(b, name, MIB, (unsigned)i);
	}
	end_small();
}
END_TEST

START_TEST(what_is_open_is_never_evicted)
{
	struct object *object;

	start_small(NULL);
	put(small, "key", MIB, 77);
	ck_assert_int_eq(lookup(small, "key", &object), MC_OK);
	ck_assert_int_eq(open_object(small, object, 0), MC_OK);
	put_many("other", 40);
	ck_assert(holds_bytes(small, object, MIB, 77));
	ck_assert_int_eq(look(b, "key"), MC_OK);
	assert_reads(b, "key", MIB, 77);
	node_release(small, object, false);
	cluster_forget(small, object);
	end_small();
}
END_TEST

static void pin(struct node *node, struct object *object)
{
	struct mc_attr attr = {.flags = MC_ATTR_PINNED};
	struct turn turn;

	turn_init(&turn, node);
	node_setattr(node, object, MC_SET_PINNED, &attr, turn_done, &turn);
	ck_assert_int_eq(turn_end(&turn, NULL), MC_OK);
}

START_TEST(what_is_pinned_is_never_evicted)
{
	struct object *object;

	start_small(NULL);
	put(small, "key", MIB, 77);
	ck_assert_int_eq(lookup(small, "key", &object), MC_OK);
	pin(small, object);
	cluster_forget(small, object);
	put_many("other", 40);
	assert_reads(b, "key", MIB, 77);
	end_small();
}
END_TEST

static bool is_pinned(struct node *node, const struct object *object)
{
	node_lock(node);
	bool pinned = object->attr.flags & MC_ATTR_PINNED;
	node_unlock(node);
	return pinned;
}

/* The owner of the only copy is told, also while somebody there has it open for writing. */
START_TEST(what_another_node_pins_is_never_evicted)
{
	struct object *own, *theirs;
	bool open = _i == 1;

	start_small(NULL);
	put(small, "key", MIB, 77);
	ck_assert_int_eq(lookup(small, "key", &own), MC_OK);
	if (open)
		ck_assert_int_eq(open_object(small, own, NODE_OPEN_WRITE), MC_OK);
	ck_assert_int_eq(lookup(b, "key", &theirs), MC_OK);
	pin(b, theirs);
	cluster_forget(b, theirs);
	EVENTUALLY(is_pinned(small, own));
	if (open)
		node_release(small, own, true);
	cluster_forget(small, own);
	put_many("other", 40);
	assert_reads(b, "key", MIB, 77);
	end_small();
}
END_TEST

START_TEST(what_is_used_stays_longer_than_what_is_not)
{
	char name[32];

	start_small(NULL);
	put(small, "hot", MIB, 77);
	for (int i = 0; i < 40; i++) {
		assert_reads(small, "hot", MIB, 77);
		snprintf(name, sizeof(name), "cold%d", i);
		put(small, name, MIB, (unsigned)i);
	}
	assert_reads(b, "hot", MIB, 77);
	end_small();
}
END_TEST

/* Put it, and have it open before it could be evicted. */
static enum mc_status put_held(const char *name, unsigned number, struct object **held)
{
	enum mc_status status = create_in(small, MC_ROOT_ID, name, false, held);

	if (status) {
		if (*held)
			cluster_forget(small, *held);
		return status;
	}
	write_bytes(small, *held, MIB, number);
	ck_assert_int_eq(open_object(small, *held, 0), MC_OK);
	status = flush(small, *held);
	node_release(small, *held, true);
	if (status) {
		node_release(small, *held, false);
		cluster_forget(small, *held);
	}
	return status;
}

START_TEST(when_nothing_can_go_a_put_says_no_space)
{
	struct object *held[32];
	char name[32];
	int count = 0;

	start_small(NULL);
	enum mc_status status = MC_OK;
	while (!status && count < 32) {
		snprintf(name, sizeof(name), "held%d", count);
		status = put_held(name, (unsigned)count, &held[count]);
		count += status == MC_OK;
	}
	ck_assert_int_eq(status, MC_NO_SPACE);
	ck_assert_int_ge(count, 8);
	ck_assert_int_eq(look(b, name), MC_NOT_FOUND); /* whole, or not at all */
	ck_assert_uint_ge(counted(small, COUNTER_NO_SPACE), 1);
	for (int i = 0; i < count; i++) {
		ck_assert(holds_bytes(small, held[i], MIB, (unsigned)i));
		node_release(small, held[i], false);
		cluster_forget(small, held[i]);
	}
	put(small, "now", MIB, 1); /* there is something to evict again */
	end_small();
}
END_TEST

START_TEST(what_can_never_fit_evicts_nothing)
{
	static const uint64_t sizes[] = {SMALL + 1, UINT64_MAX / 2, UINT64_MAX};

	start_small(NULL);
	put_many("key", 8);
	for (int i = 0; i < ROWS(sizes); i++)
		ck_assert_int_eq(node_make_room(small, sizes[i]), MC_NO_SPACE);
	ck_assert_uint_eq(counted(small, COUNTER_EVICTIONS), 0);
	end_small();
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, a_full_pool_evicts_for_what_is_put);
	tcase_add_test(tc, an_evicted_name_can_be_put_again);
	tcase_add_test(tc, copies_go_before_the_last_of_a_kind);
	tcase_add_test(tc, what_is_open_is_never_evicted);
	tcase_add_test(tc, what_is_pinned_is_never_evicted);
	tcase_add_loop_test(tc, what_another_node_pins_is_never_evicted, 0, 2);
	tcase_add_test(tc, what_is_used_stays_longer_than_what_is_not);
	tcase_add_test(tc, when_nothing_can_go_a_put_says_no_space);
	tcase_add_test(tc, what_can_never_fit_evicts_nothing);
}

int main(void)
{
	return cluster_run("evict", add);
}
