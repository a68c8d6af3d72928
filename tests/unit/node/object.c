/* What a node knows: records by id and by name, kept as long as someone counts on them. */
#include "engine/node/object.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/suite.h"
#include "tests/unit/node/seed.h"

static struct object_table table;

static void setup(void)
{
	ck_assert_int_eq(object_table_init(&table), MC_OK);
}

static void teardown(void)
{
	object_table_fini(&table);
}

static struct object *make(uint64_t id)
{
	struct object *object = object_new(&table, id);

	ck_assert_ptr_nonnull(object);
	return object;
}

/* A record that only its name keeps. */
static struct object *make_named(uint64_t id, struct object *parent, const char *name)
{
	struct object *object = make(id);

	ck_assert_int_eq(object_name(&table, object, parent, name, strlen(name)), MC_OK);
	object_unref(&table, object);
	return object;
}

static struct object *find(const struct object *parent, const char *name)
{
	return object_lookup(&table, parent->attr.id, name, strlen(name));
}

static uint32_t child_count(const struct object *directory)
{
	uint32_t count = 0;

	for (const struct object *o = directory->first_child; o; o = o->sibling) {
		ck_assert_ptr_eq(o->parent, directory);
		count++;
	}
	return count;
}

START_TEST(a_table_begins_with_the_root)
{
	ck_assert_ptr_eq(object_find(&table, MC_ROOT_ID), table.root);
	ck_assert(object_is(table.root, OBJECT_DIRECTORY | OBJECT_PUBLISHED));
	ck_assert_uint_eq(table.count, 1);
	ck_assert_ptr_null(object_find(&table, 2));
	ck_assert_ptr_null(find(table.root, "name"));
}
END_TEST

START_TEST(the_last_reference_frees)
{
	struct object *object = make(7);

	object_ref(object);
	object_unref(&table, object);
	ck_assert_ptr_eq(object_find(&table, 7), object);
	object_unref(&table, object);
	ck_assert_ptr_null(object_find(&table, 7));
	ck_assert_uint_eq(table.count, 1);
}
END_TEST

START_TEST(a_name_counts_as_a_reference)
{
	struct object *object = make_named(7, table.root, "name");

	ck_assert_uint_eq(object->refs, 1);
	ck_assert_ptr_eq(find(table.root, "name"), object);
	object_unname(&table, object);
	ck_assert_ptr_null(find(table.root, "name"));
	ck_assert_ptr_null(object_find(&table, 7));
}
END_TEST

START_TEST(a_name_is_found_whole_only)
{
	make_named(7, table.root, "name");
	ck_assert_ptr_null(find(table.root, "na"));
	ck_assert_ptr_null(find(table.root, "names"));
	ck_assert_ptr_null(find(table.root, ""));
	ck_assert_ptr_null(object_lookup(&table, 7, "name", 4));
	/* The size counts, not a terminator. */
	ck_assert_ptr_eq(object_lookup(&table, MC_ROOT_ID, "names", 4), object_find(&table, 7));
}
END_TEST

START_TEST(a_table_grows_and_finds_all)
{
	enum { COUNT = 5000 };
	char name[16];

	uint32_t first = table.size;
	for (uint64_t i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "n%u", (unsigned)i);
		make_named(100 + i, table.root, name);
	}
	ck_assert_uint_gt(table.size, first);
	ck_assert_uint_eq(table.size & (table.size - 1), 0);
	ck_assert_uint_ge(table.size * 2, table.count);
	ck_assert_uint_eq(table.count, COUNT + 1);
	ck_assert_uint_eq(child_count(table.root), COUNT);
	for (uint64_t i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "n%u", (unsigned)i);
		struct object *object = find(table.root, name);
		ck_assert_ptr_nonnull(object);
		ck_assert_uint_eq(object->attr.id, 100 + i);
		ck_assert_ptr_eq(object_find(&table, 100 + i), object);
	}
}
END_TEST

/* So many that the chains hold equal names of different parents. */
START_TEST(the_same_name_stands_under_many_parents)
{
	enum { COUNT = 3000 };
	char name[16];

	for (uint64_t i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "p%u", (unsigned)i);
		make_named(20000 + i, make_named(10000 + i, table.root, name), "name");
	}
	for (uint64_t i = 0; i < COUNT; i++) {
		struct object *object = object_lookup(&table, 10000 + i, "name", 4);
		ck_assert_ptr_nonnull(object);
		ck_assert_uint_eq(object->attr.id, 20000 + i);
	}
	for (uint64_t i = COUNT; i < 2 * (uint64_t)COUNT; i++)
		ck_assert_ptr_null(object_lookup(&table, 10000 + COUNT + i, "name", 4));
}
END_TEST

START_TEST(a_second_record_takes_the_name)
{
	struct object *old = make_named(7, table.root, "name");
	object_ref(old);

	struct object *new = make_named(8, table.root, "name");

	ck_assert_ptr_eq(find(table.root, "name"), new);
	ck_assert(!object_is(old, OBJECT_NAMED));
	ck_assert_uint_eq(old->refs, 1);
	ck_assert_str_eq(old->name, "name"); /* the place stays readable */
	ck_assert_ptr_eq(old->parent, table.root);
	ck_assert_uint_eq(child_count(table.root), 1);
	object_unref(&table, old);
	ck_assert_ptr_null(object_find(&table, 7));
}
END_TEST

START_TEST(naming_again_moves_the_record)
{
	struct object *from = make_named(5, table.root, "from");
	struct object *to = make_named(6, table.root, "to");
	struct object *object = make_named(7, from, "old");

	ck_assert_int_eq(object_name(&table, object, to, "new", 3), MC_OK);
	ck_assert_ptr_null(find(from, "old"));
	ck_assert_ptr_eq(find(to, "new"), object);
	ck_assert_uint_eq(child_count(from), 0);
	ck_assert_uint_eq(child_count(to), 1);
	ck_assert_uint_eq(object->refs, 1);
	ck_assert_uint_eq(from->refs, 1);
	ck_assert_uint_eq(to->refs, 2);
}
END_TEST

START_TEST(naming_what_has_the_name_changes_nothing)
{
	struct object *object = make_named(7, table.root, "name");
	uint32_t refs = table.root->refs;

	ck_assert_int_eq(object_name(&table, object, table.root, "name", 4), MC_OK);
	ck_assert_uint_eq(object->refs, 1);
	ck_assert_uint_eq(table.root->refs, refs);
	ck_assert_uint_eq(child_count(table.root), 1);
}
END_TEST

START_TEST(a_name_that_is_the_records_own_memory_is_taken)
{
	struct object *other = make_named(6, table.root, "other");
	struct object *object = make_named(7, table.root, "name");

	ck_assert_int_eq(object_name(&table, object, other, object->name, 4), MC_OK);
	ck_assert_str_eq(object->name, "name");
	ck_assert_ptr_eq(find(other, "name"), object);
}
END_TEST

START_TEST(a_parent_lives_as_long_as_its_children)
{
	struct object *parent = make_named(5, table.root, "parent");
	struct object *child = make(7);

	ck_assert_int_eq(object_name(&table, child, parent, "child", 5), MC_OK);
	object_unname(&table, parent);
	ck_assert_ptr_eq(object_find(&table, 5), parent);
	object_unname(&table, child);
	/* Unnamed, but its path can still be built. */
	char path[MC_PATH_MAX + 1];
	size_t size;
	ck_assert_int_eq(object_path(child, path, &size), MC_OK);
	ck_assert_str_eq(path, "parent/child");
	object_unref(&table, child);
	ck_assert_ptr_null(object_find(&table, 7));
	ck_assert_ptr_null(object_find(&table, 5));
	ck_assert_uint_eq(table.root->refs, 1);
}
END_TEST

START_TEST(a_place_is_no_name)
{
	struct object *draft = make(7);

	ck_assert_int_eq(object_place(&table, draft, table.root, "name", 4), MC_OK);
	ck_assert_ptr_null(find(table.root, "name"));
	ck_assert_str_eq(draft->name, "name");
	ck_assert_uint_eq(child_count(table.root), 0);
	ck_assert_int_eq(object_place(&table, draft, table.root, "other", 5), MC_OK);
	ck_assert_uint_eq(table.root->refs, 2);
	object_unref(&table, draft);
	ck_assert_uint_eq(table.root->refs, 1);
}
END_TEST

START_TEST(a_draft_keeps_the_original)
{
	struct object *original = make_named(7, table.root, "name");
	struct object *draft = make(8);

	object_ref(original);
	draft->original = original;
	object_unname(&table, original);
	ck_assert_ptr_eq(object_find(&table, 7), original);
	object_unref(&table, draft);
	ck_assert_ptr_null(object_find(&table, 7));
}
END_TEST

START_TEST(a_deep_path_is_freed_without_recursion)
{
	struct object *at = table.root;

	for (uint64_t i = 0; i < 100000; i++) {
		struct object *next = make(10 + i);
		ck_assert_int_eq(object_place(&table, next, at, "d", 1), MC_OK);
		if (at != table.root)
			object_unref(&table, at);
		at = next;
	}
	object_unref(&table, at);
	ck_assert_uint_eq(table.count, 1);
}
END_TEST

START_TEST(the_path_of_the_root_is_empty)
{
	char path[MC_PATH_MAX + 1] = "x";
	size_t size = 1;

	ck_assert_int_eq(object_path(table.root, path, &size), MC_OK);
	ck_assert_uint_eq(size, 0);
	ck_assert_str_eq(path, "");
}
END_TEST

/* A path of so many bytes: directories of 255, and what is left. */
static struct object *make_path(size_t bytes, char *path)
{
	struct object *at = table.root;
	uint64_t id = 100;
	size_t done = 0;
	char name[MC_NAME_MAX + 1];

	while (done < bytes) {
		size_t left = bytes - done;
		size_t size = left > MC_NAME_MAX ? MC_NAME_MAX : left;
		if (left == MC_NAME_MAX + 1)
			size--; /* no slash at the end */
		for (size_t i = 0; i < size; i++)
			name[i] = (char)('a' + (done + i) % 26);
		name[size] = '\0';
		at = make_named(id++, at, name);
		memcpy(path + done, name, size);
		done += size;
		if (done < bytes)
			path[done++] = '/';
	}
	path[done] = '\0';
	return at;
}

static const size_t path_sizes[] = {1, 254, 255, 256, 257, 511, 512, 4093, 4094, 4095};

START_TEST(a_path_of_any_size_is_built)
{
	char expected[MC_PATH_MAX + 8];
	char path[MC_PATH_MAX + 1];
	size_t size;
	struct object *object = make_path(path_sizes[_i], expected);

	ck_assert_int_eq(object_path(object, path, &size), MC_OK);
	ck_assert_uint_eq(size, path_sizes[_i]);
	ck_assert_str_eq(path, expected);
}
END_TEST

START_TEST(a_path_over_4095_bytes_is_too_long)
{
	char expected[MC_PATH_MAX + 512];
	char path[MC_PATH_MAX + 1];
	size_t size = 77;
	struct object *object = make_path(MC_PATH_MAX + 1 + (size_t)_i * 100, expected);

	ck_assert_int_eq(object_path(object, path, &size), MC_NAME_TOO_LONG);
	ck_assert_uint_eq(size, 77);
}
END_TEST

static const struct {
	const char *name;
	bool staging;
} names[] = {
	{"a.tmp", true},      {".tmp", true},	   {"a.tmp.123", true}, {"model.tmpfile", true},
	{"a.tm", false},      {"tmp", false},	   {"a.TMP", false},	{"a.t.mp", false},
	{"shard.bin", false}, {"x.tmq.tmp", true},
};

START_TEST(a_name_with_the_mark_is_staging)
{
	ck_assert_int_eq(object_name_staging(names[_i].name), names[_i].staging);
}
END_TEST

/* -- against a reference -- */

enum { MODEL_OBJECTS = 40, MODEL_PARENTS = 4, MODEL_NAMES = 12, MODEL_STEPS = 20000 };

struct model {
	struct object *objects[MODEL_OBJECTS]; /* we hold one reference of each */
	int at[MODEL_OBJECTS];		       /* parent * MODEL_NAMES + name, -1 for none */
	struct object *parents[MODEL_PARENTS];
	uint64_t next_id;
};

static void model_name_text(int name, char *text)
{
	/* Names that are prefixes of each other. */
	memset(text, 'n', (size_t)name + 1);
	text[name + 1] = '\0';
}

static void model_check(const struct model *m)
{
	char text[MODEL_NAMES + 2];

	for (int place = 0; place < MODEL_PARENTS * MODEL_NAMES; place++) {
		struct object *expected = NULL;
		for (int i = 0; i < MODEL_OBJECTS; i++) {
			if (m->objects[i] && m->at[i] == place)
				expected = m->objects[i];
		}
		model_name_text(place % MODEL_NAMES, text);
		ck_assert_ptr_eq(find(m->parents[place / MODEL_NAMES], text), expected);
	}
	for (int p = 0; p < MODEL_PARENTS; p++) {
		uint32_t children = 0;
		for (int i = 0; i < MODEL_OBJECTS; i++)
			children += m->objects[i] && m->at[i] >= 0 && m->at[i] / MODEL_NAMES == p;
		ck_assert_uint_eq(child_count(m->parents[p]), children);
	}
}

static void model_give_name(struct model *m, int i)
{
	char text[MODEL_NAMES + 2];
	int place = (int)draw(MODEL_PARENTS * MODEL_NAMES);

	model_name_text(place % MODEL_NAMES, text);
	ck_assert_int_eq(object_name(&table, m->objects[i], m->parents[place / MODEL_NAMES], text,
				     strlen(text)),
			 MC_OK);
	for (int j = 0; j < MODEL_OBJECTS; j++) {
		if (m->at[j] == place)
			m->at[j] = -1;
	}
	m->at[i] = place;
}

static void model_step(struct model *m)
{
	int i = (int)draw(MODEL_OBJECTS);

	if (!m->objects[i]) {
		m->objects[i] = make(m->next_id++);
		m->at[i] = -1;
		return;
	}
	switch (draw(6)) {
	case 0:
		object_unname(&table, m->objects[i]);
		m->at[i] = -1;
		break;
	case 1:
		object_unname(&table, m->objects[i]);
		ck_assert_uint_eq(m->objects[i]->refs, 1);
		uint64_t id = m->objects[i]->attr.id;
		object_unref(&table, m->objects[i]);
		ck_assert_ptr_null(object_find(&table, id));
		m->objects[i] = NULL;
		m->at[i] = -1;
		break;
	default:
		model_give_name(m, i);
	}
}

START_TEST(random_operations_agree_with_a_reference)
{
	struct model m = {.next_id = 1000};

	seed_draw();
	for (int p = 0; p < MODEL_PARENTS; p++) {
		char text[4] = {'p', (char)('0' + p)};
		m.parents[p] = make_named(10u + (uint64_t)p, table.root, text);
	}
	for (int i = 0; i < MODEL_OBJECTS; i++)
		m.at[i] = -1;
	for (int step = 0; step < MODEL_STEPS; step++) {
		model_step(&m);
		if (step % 16 == 0)
			model_check(&m);
	}
	uint32_t alive = 1 + MODEL_PARENTS;
	for (int i = 0; i < MODEL_OBJECTS; i++)
		alive += m.objects[i] != NULL;
	ck_assert_uint_eq(table.count, alive);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("object");
	TCase *tc = tcase_create("object");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_table_begins_with_the_root);
	tcase_add_test(tc, the_last_reference_frees);
	tcase_add_test(tc, a_name_counts_as_a_reference);
	tcase_add_test(tc, a_name_is_found_whole_only);
	tcase_add_test(tc, a_table_grows_and_finds_all);
	tcase_add_test(tc, the_same_name_stands_under_many_parents);
	tcase_add_test(tc, a_second_record_takes_the_name);
	tcase_add_test(tc, naming_again_moves_the_record);
	tcase_add_test(tc, naming_what_has_the_name_changes_nothing);
	tcase_add_test(tc, a_name_that_is_the_records_own_memory_is_taken);
	tcase_add_test(tc, a_parent_lives_as_long_as_its_children);
	tcase_add_test(tc, a_place_is_no_name);
	tcase_add_test(tc, a_draft_keeps_the_original);
	tcase_add_test(tc, a_deep_path_is_freed_without_recursion);
	tcase_add_test(tc, the_path_of_the_root_is_empty);
	tcase_add_loop_test(tc, a_path_of_any_size_is_built, 0,
			    sizeof(path_sizes) / sizeof(path_sizes[0]));
	tcase_add_loop_test(tc, a_path_over_4095_bytes_is_too_long, 0, 3);
	tcase_add_loop_test(tc, a_name_with_the_mark_is_staging, 0,
			    sizeof(names) / sizeof(names[0]));
	tcase_add_test(tc, random_operations_agree_with_a_reference);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
