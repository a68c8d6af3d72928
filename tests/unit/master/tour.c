/* Objects by prefix and page, while names come and go. */
#include "master/tour.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "master/catalog.h"
#include "tests/support/suite.h"

#define NAME_MAX_COUNT 2000

static struct mc_master master;
static struct tour *tour;
static uint64_t next_id;

static void setup(void)
{
	static const uint8_t uuid[16] = {1};
	struct node *node;

	memset(&master, 0, sizeof(master));
	next_id = 100;
	tour = malloc(sizeof(*tour));
	ck_assert_ptr_nonnull(tour);
	ck_assert_int_eq(catalog_init(&master.catalog), MC_OK);
	ck_assert_int_eq(nodes_init(&master.nodes), MC_OK);
	ck_assert_int_eq(nodes_get(&master.nodes, uuid, &node), MC_OK);
	nodes_enter(&master.nodes, node, 1);
	nodes_settle(node);
}

static void teardown(void)
{
	nodes_fini(&master.nodes);
	catalog_fini(&master.catalog);
	free(tour);
}

static struct entry *add(struct directory *directory, const char *name, uint32_t mode)
{
	struct mc_attr attr = {.id = next_id++, .mode = mode | 0755u};
	struct entry *entry;

	ck_assert_int_eq(catalog_add(&master.catalog, directory, name, strlen(name), &attr, &entry),
			 MC_OK);
	return entry;
}

static struct directory *add_directory(struct directory *directory, const char *name)
{
	return add(directory, name, S_IFDIR)->directory;
}

static struct entry *add_object(struct directory *directory, const char *name)
{
	const struct node *node = &master.nodes.table[0];
	struct entry *entry = add(directory, name, S_IFREG);

	entry->replicas[0] = REPLICA_PACK(0, MC_REPLICA_PRIMARY, node->round);
	entry->replica_count = 1;
	return entry;
}

static struct directory *root(void)
{
	return master.catalog.root->directory;
}

/* All keys, `page` at a time, one on a line; between two pages `meanwhile` is called. */
static void list(const char *prefix, unsigned page, uint32_t visits, void (*meanwhile)(void),
		 char *text, size_t size)
{
	char cursor[256] = "";
	struct writer w;
	size_t at = 0;

	text[0] = '\0';
	for (int turns = 0; turns < 10000; turns++) {
		ck_assert_int_eq(
			tour_begin(tour, &master, prefix, cursor[0] ? cursor : NULL, visits),
			MC_OK);
		for (unsigned i = 0; i < page && tour_next(tour); i++) {
			ck_assert_uint_lt(at + tour->path_size + 2, size);
			at += (size_t)sprintf(text + at, "%.*s\n", (int)tour->path_size,
					      tour->path);
		}
		if (!tour_unfinished(tour))
			return;
		writer_init_fixed(&w, cursor, sizeof(cursor));
		tour_cursor(tour, &w);
		put_u8(&w, 0);
		ck_assert(!w.failed);
		if (meanwhile)
			meanwhile();
	}
	ck_abort_msg("a tour without end");
}

static void make_tree(void)
{
	struct directory *a = add_directory(root(), "a");
	struct directory *b = add_directory(a, "b");

	add_object(root(), "one");
	add_object(a, "two");
	add_object(b, "three");
	add_directory(b, "empty");
	add_object(a, "bb");
	add(root(), "hidden", S_IFREG); /* no replica */
	add_object(root(), "last");
}

START_TEST(every_page_size_and_every_bound_gives_the_same_list)
{
	static const struct {
		const char *prefix;
		const char *list;
	} cases[] = {
		{"", "a/b/three\na/two\na/bb\none\nlast\n"},
		{"a", "a/b/three\na/two\na/bb\n"},
		{"a/", "a/b/three\na/two\na/bb\n"},
		{"a/b", "a/b/three\na/bb\n"},
		{"a/b/", "a/b/three\n"},
		{"a/bb", "a/bb\n"},
		{"a/b/three", "a/b/three\n"},
		{"o", "one\n"},
		{"one/", ""},
		{"nothing/", ""},
		{"z", ""},
	};
	char text[1024];

	make_tree();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (unsigned page = 1; page < 7; page++) {
			for (uint32_t visits = 1; visits < 12; visits++) {
				list(cases[i].prefix, page, visits, NULL, text, sizeof(text));
				ck_assert_str_eq(text, cases[i].list);
			}
		}
	}
}
END_TEST

static struct entry *victims[NAME_MAX_COUNT];
static unsigned victim_count;
static unsigned seed;

/* Remove one of the names that may go, add one that is new. */
static void change_something(void)
{
	char name[32];

	if (victim_count) {
		unsigned i = (unsigned)rand_r(&seed) % victim_count;
		catalog_remove(&master.catalog, victims[i]);
		victims[i] = victims[--victim_count];
	}
	snprintf(name, sizeof(name), "new%lu", (unsigned long)next_id);
	add_object(root(), name);
}

START_TEST(what_stays_is_met_once_while_others_come_and_go)
{
	static char text[1 << 20];
	char name[32];
	char line[40];
	struct directory *directories[4];

	seed = (unsigned)clock_ns();
	printf("seed %u\n", seed);
	victim_count = 0;
	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		directories[i] = add_directory(i < 2 ? root() : directories[i - 1], name);
	}
	for (unsigned i = 0; i < 600; i++) {
		snprintf(name, sizeof(name), "%s%u", i % 2 ? "stays" : "goes", i);
		struct entry *entry = add_object(i % 5 ? directories[i % 4] : root(), name);
		if (i % 2 == 0)
			victims[victim_count++] = entry;
	}
	list("", 5, 20, change_something, text, sizeof(text));
	for (unsigned i = 1; i < 600; i += 2) {
		snprintf(line, sizeof(line), "stays%u\n", i);
		const char *found = strstr(text, line);
		ck_assert_msg(found != NULL, "%s is missing", line);
		ck_assert_ptr_null(strstr(found + 1, line));
	}
}
END_TEST

START_TEST(what_makes_no_sense_is_refused)
{
	static const char *const cursors[] = {"x",   "-1", "1.", ".1", "1..1",
					      "0.1", " 1", "1 ", "1.x"};
	static const char *const prefixes[] = {"/", "a//b", "//", "../x", "./x", "a/../b"};
	static char long_prefix[MC_PATH_MAX + 2];

	make_tree();
	for (size_t i = 0; i < ARRAY_SIZE(cursors); i++)
		ck_assert_int_eq(tour_begin(tour, &master, "", cursors[i], 10), MC_INVALID);
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		ck_assert_int_eq(tour_begin(tour, &master, prefixes[i], NULL, 10), MC_INVALID);
	memset(long_prefix, 'x', sizeof(long_prefix) - 1);
	ck_assert_int_eq(tour_begin(tour, &master, long_prefix, NULL, 10), MC_INVALID);
	long_prefix[MC_PATH_MAX] = '\0';
	ck_assert_int_eq(tour_begin(tour, &master, long_prefix, NULL, 10), MC_OK);
	ck_assert_ptr_null(tour_next(tour));
	ck_assert_int_eq(tour_begin(tour, &master, "", "99999999999999999999999.7", 10), MC_OK);
	ck_assert_ptr_null(tour_next(tour));
}
END_TEST

START_TEST(the_deepest_keys_are_met)
{
	static char path[MC_PATH_MAX + 1];
	struct directory *directory = root();
	size_t at = 0;

	while (at + 2 < MC_PATH_MAX) {
		directory = add_directory(directory, "d");
		path[at++] = 'd';
		path[at++] = '/';
	}
	add_object(directory, "o");
	path[at++] = 'o';
	ck_assert_uint_eq(at, MC_PATH_MAX);
	ck_assert_int_eq(tour_begin(tour, &master, "", NULL, 10000), MC_OK);
	ck_assert_ptr_nonnull(tour_next(tour));
	ck_assert_uint_eq(tour->path_size, at);
	ck_assert_mem_eq(tour->path, path, at);
	ck_assert_ptr_null(tour_next(tour));
}
END_TEST

/* Moving a directory makes the paths of what is in it longer than a key can be. */
START_TEST(what_moved_too_deep_is_left_out)
{
	static char text[2 * MC_PATH_MAX];
	struct directory *deep = root();
	struct directory *top = NULL;
	char name[201];

	memset(name, 'd', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (int i = 0; i < 20; i++) {
		deep = add_directory(deep, name);
		top = top ? top : deep;
	}
	add_object(deep, "shown");
	list("", 10, 1000, NULL, text, sizeof(text));
	ck_assert_uint_eq(strlen(text), 20 * 201 + strlen("shown\n"));
	struct entry *moved = top->entry;
	name[0] = 'e';
	ck_assert_int_eq(catalog_move(&master.catalog, &moved, add_directory(root(), name), name,
				      sizeof(name) - 1),
			 MC_OK);
	add_object(root(), "near");
	list("", 10, 1000, NULL, text, sizeof(text));
	ck_assert_str_eq(text, "near\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("master/tour");
	TCase *tcase = tcase_create("tour");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, every_page_size_and_every_bound_gives_the_same_list);
	tcase_add_test(tcase, what_stays_is_met_once_while_others_come_and_go);
	tcase_add_test(tcase, what_makes_no_sense_is_refused);
	tcase_add_test(tcase, the_deepest_keys_are_met);
	tcase_add_test(tcase, what_moved_too_deep_is_left_out);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
