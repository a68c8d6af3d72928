/* The catalog against a simple model, under random operations. */
#include "master/catalog.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/support/suite.h"

#define MODEL_MAX 400
#define NAMES	  40

struct model {
	bool used;
	bool directory;
	uint64_t id;
	uint64_t parent;
	char name[64];
};

static struct catalog catalog;
static struct model model[MODEL_MAX];
static uint64_t id_next;
static unsigned seed;

static void setup(void)
{
	const char *given = getenv("SEED");

	seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	printf("seed %u\n", seed);
	fflush(stdout);
	memset(model, 0, sizeof(model));
	model[0] = (struct model){.used = true, .directory = true, .id = MC_ROOT_ID};
	id_next = 2;
	ck_assert_int_eq(catalog_init(&catalog), MC_OK);
}

static void teardown(void)
{
	catalog_fini(&catalog);
}

static unsigned draw(unsigned below)
{
	return (unsigned)rand_r(&seed) % below;
}

static struct model *model_child(uint64_t parent, const char *name)
{
	for (int i = 1; i < MODEL_MAX; i++) {
		if (model[i].used && model[i].parent == parent && strcmp(model[i].name, name) == 0)
			return &model[i];
	}
	return NULL;
}

static struct model *model_find(uint64_t id)
{
	for (int i = 0; i < MODEL_MAX; i++) {
		if (model[i].used && model[i].id == id)
			return &model[i];
	}
	return NULL;
}

static int model_children(uint64_t parent)
{
	int count = 0;

	for (int i = 1; i < MODEL_MAX; i++)
		count += model[i].used && model[i].parent == parent;
	return count;
}

static bool model_below(uint64_t directory, uint64_t id)
{
	while (directory != MC_ROOT_ID) {
		if (directory == id)
			return true;
		directory = model_find(directory)->parent;
	}
	return id == MC_ROOT_ID;
}

static struct model *model_any(bool directory)
{
	for (int i = 0; i < 1000; i++) {
		struct model *m = &model[draw(MODEL_MAX)];
		if (m->used && (!directory || m->directory))
			return m;
	}
	return &model[0];
}

static void name_draw(char *name)
{
	/* Names of very different sizes, as a rename makes a new allocation. */
	snprintf(name, 64, "%.*s%u", (int)draw(50),
		 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", draw(NAMES));
}

static void step_add(void)
{
	struct model *parent = model_any(true);
	struct entry *entry;
	char name[64];

	name_draw(name);
	struct directory *directory = catalog_find(&catalog, parent->id)->directory;
	bool taken = model_child(parent->id, name) != NULL;
	ck_assert_int_eq(taken, catalog_lookup(&catalog, directory, name, strlen(name)) != NULL);
	if (taken)
		return;
	for (int i = 1; i < MODEL_MAX; i++) {
		if (model[i].used)
			continue;
		model[i] = (struct model){.used = true,
					  .directory = draw(3) == 0,
					  .id = id_next++,
					  .parent = parent->id};
		strcpy(model[i].name, name);
		struct mc_attr attr = {.id = model[i].id,
				       .mode = model[i].directory ? S_IFDIR : S_IFREG};
		ck_assert_int_eq(
			catalog_add(&catalog, directory, name, strlen(name), &attr, &entry), MC_OK);
		return;
	}
}

static void step_remove(void)
{
	struct model *m = model_any(false);

	if (m->id == MC_ROOT_ID || model_children(m->id))
		return;
	catalog_remove(&catalog, catalog_find(&catalog, m->id));
	m->used = false;
}

static void step_move(void)
{
	struct model *m = model_any(false);
	struct model *parent = model_any(true);
	struct entry *entry = catalog_find(&catalog, m->id);
	struct directory *directory = catalog_find(&catalog, parent->id)->directory;
	char name[64];

	name_draw(name);
	if (m->id == MC_ROOT_ID || (m->directory && model_below(parent->id, m->id)))
		return;
	struct model *taken = model_child(parent->id, name);
	if (taken == m ||
	    (taken && (taken->directory != m->directory || model_children(taken->id))))
		return;
	if (taken) {
		struct entry *place = catalog_find(&catalog, taken->id);
		catalog_replace(&catalog, place, entry);
		taken->used = false;
	} else {
		ck_assert_int_eq(catalog_move(&catalog, &entry, directory, name, strlen(name)),
				 MC_OK);
		ck_assert_uint_eq(entry->id, m->id);
	}
	m->parent = parent->id;
	strcpy(m->name, name);
}

static void step_renumber(void)
{
	struct model *m = model_any(false);

	if (m->directory)
		return;
	uint64_t id = id_next++;
	ck_assert_int_eq(catalog_renumber(&catalog, catalog_find(&catalog, m->id), id), MC_OK);
	ck_assert_ptr_null(catalog_find(&catalog, m->id));
	m->id = id;
}

static void compare_directory(const struct model *m, const struct entry *entry)
{
	struct directory *directory = entry->directory;
	const struct entry *child;
	uint64_t before = 0;
	uint32_t place = 0;
	int count = 0;
	uint32_t directories = 0;

	while ((child = directory_next(directory, &place)) != NULL) {
		ck_assert_uint_gt(child->sequence, before);
		before = child->sequence;
		ck_assert_uint_eq(model_find(child->id)->parent, m->id);
		directories += entry_is_directory(child);
		count++;
	}
	ck_assert_int_eq(count, model_children(m->id));
	ck_assert_uint_eq(directory->count, (unsigned)count);
	ck_assert_uint_eq(directory->directories, directories);
	/* A cursor anywhere, also where an entry was, finds what follows it. */
	uint64_t cursor = draw((unsigned)directory->sequence_next + 1);
	place = directory_seek(directory, cursor);
	child = directory_next(directory, &place);
	ck_assert(!child || child->sequence > cursor);
}

static void compare(void)
{
	uint64_t names_size = 0;
	char path[65536];

	for (int i = 0; i < MODEL_MAX; i++) {
		const struct model *m = &model[i];
		if (!m->used)
			continue;
		const struct entry *entry = catalog_find(&catalog, m->id);
		ck_assert_ptr_nonnull(entry);
		ck_assert_uint_eq(entry->name_size, strlen(m->name));
		ck_assert_mem_eq(entry->name, m->name, entry->name_size);
		names_size += entry->name_size;
		if (m->directory)
			compare_directory(m, entry);
		if (i == 0)
			continue;
		const struct directory *parent = catalog_find(&catalog, m->parent)->directory;
		ck_assert_ptr_eq(catalog_lookup(&catalog, parent, m->name, strlen(m->name)), entry);
		size_t size = entry_path_size(entry);
		entry_path(entry, path);
		ck_assert_mem_eq(path + size - entry->name_size, m->name, entry->name_size);
	}
	ck_assert_uint_eq(names_size, catalog.names_size);
	ck_assert_uint_eq(catalog.by_id.count, catalog.objects + catalog.directories);
	ck_assert_uint_eq(catalog.by_name.count + 1, catalog.by_id.count);
}

START_TEST(it_agrees_with_a_model)
{
	static void (*const steps[])(void) = {step_add,	 step_add,  step_add,	  step_remove,
					      step_move, step_move, step_renumber};

	for (int i = 0; i < 60000; i++) {
		steps[draw(sizeof(steps) / sizeof(steps[0]))]();
		if (i % 200 == 0)
			compare();
	}
	compare();
}
END_TEST

START_TEST(a_directory_is_packed_and_listed_in_order)
{
	struct directory *root = catalog.root->directory;
	enum { COUNT = 20000 };
	static struct entry *entries[COUNT];
	char name[32];

	for (int i = 0; i < COUNT; i++) {
		struct mc_attr attr = {.id = id_next++, .mode = S_IFREG};
		int size = snprintf(name, sizeof(name), "%d", i);
		ck_assert_int_eq(
			catalog_add(&catalog, root, name, (size_t)size, &attr, &entries[i]), MC_OK);
	}
	for (int i = 0; i < COUNT; i++) {
		if (i % 100)
			catalog_remove(&catalog, entries[i]);
	}
	ck_assert_uint_eq(root->count, COUNT / 100);
	ck_assert_uint_le(root->order->used, COUNT / 100 * 2);
	/* Entry i has sequence i + 1. */
	for (uint64_t cursor = 0; cursor < COUNT - 100; cursor++) {
		uint32_t place = directory_seek(root, cursor);
		const struct entry *entry = directory_next(root, &place);
		ck_assert_uint_eq(entry->sequence, (cursor + 99) / 100 * 100 + 1);
	}
}
END_TEST

START_TEST(what_changes_after_it_was_recorded_is_told_once_more)
{
	catalog_touch(&catalog, catalog.root);
	catalog_touch(&catalog, catalog.root);
	ck_assert_uint_eq(catalog.touched_count, 1);
	catalog.recorded_count = 1;
	catalog_touch(&catalog, catalog.root);
	catalog_touch(&catalog, catalog.root);
	ck_assert_uint_eq(catalog.touched_count, 2);
	ck_assert_uint_eq(catalog.touched[1].id, MC_ROOT_ID);
	catalog_settle_touched(&catalog);
	ck_assert_uint_eq(entry_stamp(catalog.root) & STAMP_TOUCHED, 0);
	catalog_touch(&catalog, catalog.root);
	ck_assert_uint_eq(catalog.touched_count, 1);
}
END_TEST

START_TEST(loading_settles_in_any_order)
{
	struct mc_attr root = {.id = MC_ROOT_ID, .mode = S_IFDIR};
	struct entry *entry;
	uint64_t lost;

	for (uint64_t id = 2000; id >= 2; id--) {
		struct mc_attr attr = {.id = id, .mode = id % 10 == 0 ? S_IFDIR : S_IFREG};
		uint64_t parent = id < 20 ? MC_ROOT_ID : id / 20 * 10;
		struct catalog_place place = {parent, 3000 - id, "n", 1};
		char name[16];
		place.name = name;
		place.name_size = (size_t)snprintf(name, sizeof(name), "%lu", (unsigned long)id);
		ck_assert_int_eq(catalog_load(&catalog, &attr, &place, &entry), MC_OK);
	}
	ck_assert_int_eq(catalog_load(&catalog, &root, &(struct catalog_place){0}, &entry), MC_OK);
	/* Takes 100 and all below it away. */
	catalog_unload(&catalog, 100);
	ck_assert_int_eq(catalog_settle(&catalog, &lost), MC_OK);
	ck_assert_uint_ge(lost, 20);
	ck_assert_ptr_null(catalog_find(&catalog, 205));
	ck_assert_ptr_nonnull(catalog_find(&catalog, 1999));
	struct directory *directory = catalog_find(&catalog, 50)->directory;
	uint32_t at = 0;
	uint64_t before = 0;
	while ((entry = directory_next(directory, &at)) != NULL) {
		ck_assert_uint_gt(entry->sequence, before);
		before = entry->sequence;
	}
	ck_assert_uint_eq(directory->sequence_next, before + 1);
	ck_assert_uint_eq(catalog.by_name.count + 1, catalog.by_id.count);
}
END_TEST

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_MEMORY false
#else
#define OWN_MEMORY true
#endif

static enum mc_status add_file(struct entry **entry)
{
	struct mc_attr attr = {.id = id_next, .version = 1, .mode = S_IFREG | 0644};
	char name[24];
	int size = snprintf(name, sizeof(name), "%lu", (unsigned long)id_next++);

	return catalog_add(&catalog, catalog.root->directory, name, (size_t)size, &attr, entry);
}

/* Until the next name makes the table grow, by more than small change. */
static struct entry *fill_to_the_brim(void)
{
	const struct table *names = &catalog.by_name;
	struct entry *entry = NULL;

	while (names->slots->mask < 16383 || names->filled < (names->slots->mask + 1) / 4 * 3)
		ck_assert_int_eq(add_file(&entry), MC_OK);
	return entry;
}

/* What still fits into what the heap has is had; nothing more. */
static void keep_memory_short(bool on)
{
	struct rlimit limit = {.rlim_cur = on ? 1 : RLIM_INFINITY, .rlim_max = RLIM_INFINITY};

	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

/* It stood in its directory's order before there was no room for its name. */
START_TEST(what_could_not_be_added_is_kept_for_readers_that_met_it)
{
	struct mc_attr attr = {.id = id_next++, .version = 1, .mode = S_IFDIR | 0755};
	const struct grace_list *kept = &catalog.grace.fresh;
	struct entry *directory, *entry;

	if (!OWN_MEMORY) {
		printf("left out: memory can't be made short under a sanitizer\n");
		return;
	}
	ck_assert_int_eq(catalog_add(&catalog, catalog.root->directory, "d", 1, &attr, &directory),
			 MC_OK);
	attr = (struct mc_attr){.id = id_next++, .version = 1, .mode = S_IFREG | 0644};
	ck_assert_int_eq(catalog_add(&catalog, directory->directory, "in", 2, &attr, &entry),
			 MC_OK);
	entry = fill_to_the_brim();
	grace_collect(&catalog.grace);
	grace_collect(&catalog.grace);
	ck_assert_uint_eq(kept->count, 0);
	keep_memory_short(true);
	struct entry *none = NULL;
	enum mc_status added = add_file(&none);
	size_t kept_of_add = kept->count;
	enum mc_status moved = catalog_move(&catalog, &entry, directory->directory, "m", 1);
	size_t kept_of_both = kept->count;
	keep_memory_short(false);
	ck_assert_int_eq(added, MC_NO_MEMORY);
	ck_assert_uint_eq(kept_of_add, 1);
	ck_assert_int_eq(moved, MC_NO_MEMORY);
	ck_assert_uint_eq(kept_of_both, 2);
	ck_assert_int_eq(add_file(&none), MC_OK);
	ck_assert_int_eq(catalog_move(&catalog, &entry, directory->directory, "m", 1), MC_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("catalog");
	TCase *tc = tcase_create("catalog");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, it_agrees_with_a_model);
	tcase_add_test(tc, a_directory_is_packed_and_listed_in_order);
	tcase_add_test(tc, what_changes_after_it_was_recorded_is_told_once_more);
	tcase_add_test(tc, loading_settles_in_any_order);
	tcase_add_test(tc, what_could_not_be_added_is_kept_for_readers_that_met_it);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
