/* Attributes: what one node sets is what every node says, and keeps. */
#include "tests/unit/node/cluster.h"

/* -- extended attributes, called and waited for -- */

struct told {
	struct turn turn;
	char value[64];
};

static void take_value(void *context, enum mc_status status, const void *value, size_t size)
{
	struct told *told = context;

	ck_assert_uint_lt(size, sizeof(told->value));
	if (size > 0)
		memcpy(told->value, value, size);
	told->value[size] = '\0';
	turn_done(&told->turn, status, NULL);
}

static enum mc_status get(struct node *node, struct object *object, const char *name,
			  char value[64])
{
	struct told told = {0};

	turn_init(&told.turn, node);
	node_getxattr(node, object, name, take_value, &told);
	enum mc_status status = turn_end(&told.turn, NULL);
	strcpy(value, told.value);
	return status;
}

static bool says(struct node *node, struct object *object, const char *name, const char *expected)
{
	char value[64];
	enum mc_status status = get(node, object, name, value);

	return expected ? status == MC_OK && strcmp(value, expected) == 0 : status == MC_NO_DATA;
}

static enum mc_status set(struct node *node, struct object *object, const char *name,
			  const char *value)
{
	struct turn turn;

	turn_init(&turn, node);
	node_setxattr(node, object, name, value, value ? strlen(value) : 0, 0, turn_done, &turn);
	return turn_end(&turn, NULL);
}

/* The object has its first attribute from elsewhere, then another value, then none. */
START_TEST(what_another_node_sets_is_told)
{
	static const char *const values[] = {"1", "2", NULL};
	struct object *own, *theirs;

	put(a, "key", 100, 1);
	ck_assert_int_eq(lookup(a, "key", &own), MC_OK);
	ck_assert_int_eq(lookup(b, "key", &theirs), MC_OK);
	ck_assert(says(a, own, "user.note", NULL));
	for (int i = 0; i < ROWS(values); i++) {
		uint64_t heard = counted(a, COUNTER_INVALIDATIONS);
		ck_assert_int_eq(set(b, theirs, "user.note", values[i]), MC_OK);
		EVENTUALLY(counted(a, COUNTER_INVALIDATIONS) > heard);
		ck_assert(says(a, own, "user.note", values[i]));
	}
	cluster_forget(a, own);
	cluster_forget(b, theirs);
}
END_TEST

START_TEST(what_is_known_is_told_without_asking)
{
	struct object *own;

	put(a, "key", 100, 1);
	ck_assert_int_eq(lookup(a, "key", &own), MC_OK);
	ck_assert(says(a, own, "user.note", NULL));
	ck_assert_int_eq(set(a, own, "user.note", "1"), MC_OK);
	ck_assert(says(a, own, "user.note", "1"));
	uint64_t asked = stat_of_node(a, "rpc_getxattrs");
	ck_assert(says(a, own, "user.note", "1"));
	ck_assert(says(a, own, "user.other", NULL));
	ck_assert_uint_eq(stat_of_node(a, "rpc_getxattrs"), asked);
	cluster_forget(a, own);
}
END_TEST

/* Replaced a moment ago, and open still: as an unlinked file has them. */
START_TEST(what_lost_its_name_keeps_attributes_of_its_own)
{
	struct object *old;

	put(a, "key", 100, 1);
	put(a, "new", 100, 2);
	ck_assert_int_eq(lookup(a, "key", &old), MC_OK);
	ck_assert_int_eq(open_object(a, old, 0), MC_OK);
	ck_assert_int_eq(rename_name(a, "new", "key", false), MC_OK);
	ck_assert(says(a, old, "user.note", NULL));
	ck_assert_int_eq(set(a, old, "user.note", "1"), MC_OK);
	ck_assert(says(a, old, "user.note", "1"));
	node_release(a, old, false);
	cluster_forget(a, old);
	ck_assert_int_eq(lookup(a, "key", &old), MC_OK);
	ck_assert(says(a, old, "user.note", NULL));
	cluster_forget(a, old);
}
END_TEST

static bool has_mode(struct node *node, const struct object *object, uint32_t mode)
{
	node_lock(node);
	bool same = object->attr.mode == (S_IFREG | mode);
	node_unlock(node);
	return same;
}

/* By one who changes the content meanwhile, and publishes it with the attributes he knows. */
START_TEST(a_mode_set_by_another_node_outlives_a_rewrite)
{
	struct mc_attr attr = {.mode = S_IFREG | 0600};
	struct node *c = cluster_start(&(struct cluster_node){0});
	struct object *own, *theirs;
	struct turn turn;

	put(a, "key", 100, 1);
	ck_assert_int_eq(lookup(a, "key", &own), MC_OK);
	ck_assert_int_eq(open_object(a, own, NODE_OPEN_WRITE), MC_OK);
	ck_assert_int_eq(lookup(b, "key", &theirs), MC_OK);
	turn_init(&turn, b);
	node_setattr(b, theirs, MC_SET_MODE, &attr, turn_done, &turn);
	ck_assert_int_eq(turn_end(&turn, NULL), MC_OK);
	cluster_forget(b, theirs);
	EVENTUALLY(has_mode(a, own, 0600));
	write_bytes(a, own, 100, 2);
	ck_assert_int_eq(flush(a, own), MC_OK);
	node_release(a, own, true);
	cluster_forget(a, own);
	ck_assert_int_eq(lookup(c, "key", &theirs), MC_OK);
	ck_assert(has_mode(c, theirs, 0600));
	cluster_forget(c, theirs);
	node_close(c, true);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, what_another_node_sets_is_told);
	tcase_add_test(tc, what_is_known_is_told_without_asking);
	tcase_add_test(tc, what_lost_its_name_keeps_attributes_of_its_own);
	tcase_add_test(tc, a_mode_set_by_another_node_outlives_a_rewrite);
}

int main(void)
{
	return cluster_run("attr", add);
}
