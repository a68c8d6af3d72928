/*
 * Looking at the catalog while it is changed, without a wire in between: millions of
 * looks, so that also what is open for nanoseconds is met.
 *
 * Most of all for ThreadSanitizer.  MOONCAKE_READERS_MS sets how long each runs.
 */
#include "master/view.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/rpc/wire.h"
#include "master/xattrs.h"
#include "tests/support/suite.h"

#define READER_COUNT 2
#define CHURN_COUNT  20000
#define STEADY_COUNT 40	 /* names of a directory that is listed, there all along */
#define DEPTH	     200 /* directories between two that move */
#define PASSING_MAX  100 /* others come in order, and go in order */

static struct mc_master *master;
static struct node *node;
static atomic_bool over;
static atomic_uint_fast64_t looks, lefts, failures;
static uint64_t id_next;

static void setup(void)
{
	static const uint8_t uuid[16] = {1};

	master = calloc(1, sizeof(*master));
	ck_assert_int_eq(catalog_init(&master->catalog), MC_OK);
	master->catalog.grace.reader_count = READER_COUNT;
	ck_assert_int_eq(nodes_init(&master->nodes), MC_OK);
	ck_assert_int_eq(nodes_get(&master->nodes, uuid, &node), MC_OK);
	nodes_enter(&master->nodes, node, 1);
	id_next = 100;
	looks = lefts = failures = 0;
	over = false;
}

static void teardown(void)
{
	catalog_fini(&master->catalog);
	nodes_fini(&master->nodes);
	free(master);
}

/* The end of a turn: all is in the journal. */
static void settle(void)
{
	catalog_settle_touched(&master->catalog);
	grace_collect(&master->catalog.grace);
}

static struct mc_attr attr_of(uint64_t id, uint64_t version)
{
	return (struct mc_attr){.id = id,
				.version = version,
				.size = version * 3,
				.allocated = version * 5,
				.mode = S_IFREG | (mode_t)(version & 0777),
				.uid = (uint32_t)version,
				.gid = (uint32_t)version + 1,
				.mtime = {(int64_t)version, (uint32_t)version}};
}

static bool is_whole(const struct mc_entry *entry)
{
	const struct mc_attr *attr = &entry->attr;
	uint64_t version = attr->version;

	return attr->size == version * 3 && attr->allocated == version * 5 &&
	       attr->uid == (uint32_t)version && attr->gid == (uint32_t)version + 1 &&
	       attr->mtime.s == (int64_t)version && attr->mtime.ns == (uint32_t)version &&
	       entry->replica_count == 1;
}

static struct entry *add(struct directory *directory, const char *name, const struct mc_attr *attr)
{
	struct entry *entry;

	ck_assert_int_eq(catalog_add(&master->catalog, directory, name, strlen(name), attr, &entry),
			 MC_OK);
	if (!entry_is_directory(entry)) {
		entry->replicas[0] = REPLICA_PACK(node_index(node), 0, node->round);
		entry->replica_count = 1;
	}
	return entry;
}

static struct entry *add_directory(const char *name)
{
	struct mc_attr attr = {.id = id_next++, .mode = S_IFDIR | 0755};

	return add(master->catalog.root->directory, name, &attr);
}

/* Each is there all along: a look that is not left finds it, whole. */
static const char *const paths[] = {"stay", "taken"};
static uint64_t stay_id, under_id, listed_id, upper_id, deep_id;

static bool look_at_name(struct call *call, unsigned turn)
{
	const struct entry *entry = NULL;
	struct directory *directory;
	struct mc_entry out;
	uint64_t parent_id;
	enum mc_status status;

	/* The directory has other names too while it moves, so it is found by its id. */
	if (turn % 3 == 2) {
		status = view_directory(call, under_id, &directory);
		if (status == MC_OK)
			entry = view_find(call, directory, "inside", 6);
	} else {
		status = view_path(call, paths[turn % 3], strlen(paths[turn % 3]), &entry);
	}
	if (call->left)
		return true;
	if (status != MC_OK || !entry)
		return false;
	bool shown = view_entry(call, entry, &out, &parent_id);
	return call->left || (shown && is_whole(&out));
}

/* What of a directory's names can't be, if they are those of one moment. */
struct listing {
	unsigned steady, renamed, passing, first, last;
	uint64_t sequence;
};

static bool name_listed(struct listing *listing, const struct entry *entry)
{
	const char *name = entry->name;
	unsigned number = (unsigned)(name[1] - '0') * 10 + (unsigned)(name[2] - '0');
	bool in_order = entry->sequence > listing->sequence;

	listing->sequence = entry->sequence;
	listing->steady += name[0] == 's';
	listing->renamed += name[0] == 'r';
	if (name[0] == 'p') {
		listing->first = listing->passing++ ? listing->first : number;
		listing->last = number;
	}
	return in_order && entry->name_size == 3;
}

/* The steady ones, the one that is renamed once, and of those that pass a part without a gap. */
static bool look_at_list(struct call *call)
{
	struct listing listing = {0};
	struct directory *directory;
	struct listed listed;
	struct entry *entry;
	uint32_t place = 0;
	bool good = true;

	enum mc_status status = view_directory(call, listed_id, &directory);
	if (call->left || status != MC_OK)
		return call->left;
	view_list(directory, &listed);
	while ((entry = order_next(listed.order, &place)) != NULL)
		good = name_listed(&listing, entry) && good;
	view_listed(call, &listed);
	return call->left ||
	       (good && listing.steady == STEADY_COUNT && listing.renamed == 1 &&
		(!listing.passing || listing.last - listing.first + 1 == listing.passing));
}

/* Its directories move in turn, so that not every pair of their names was ever there. */
static bool look_at_path(struct call *call)
{
	uint8_t memory[1024];
	struct writer w;
	const struct entry *entry;

	writer_init_fixed(&w, memory, sizeof(memory));
	call->w = &w;
	enum mc_status status = view_id(call, deep_id, &entry);
	if (status == MC_OK && !call->left)
		status = view_path_of(call, entry);
	if (call->left)
		return true;
	/* "upper-N/d/d/…/lower-N/deep" behind its size. */
	if (status != MC_OK || w.failed || w.size != 2 + 8 + 2 * DEPTH + 8 + 4)
		return false;
	int upper = memory[8] - '0', lower = memory[w.size - 6] - '0';
	return upper == lower || upper == (lower + 1) % 3;
}

/* None, or one whose value is one letter again and again, as often as the letter says. */
static bool look_at_xattrs(struct call *call)
{
	const struct xattrs *xattrs = NULL;
	const struct entry *entry;
	struct reader r;
	size_t size;

	enum mc_status status = view_id(call, stay_id, &entry);
	if (status == MC_OK)
		status = view_xattrs(call, entry, &xattrs);
	if (call->left || (status == MC_OK && !xattrs))
		return true;
	if (status != MC_OK || xattrs->count != 1)
		return false;
	reader_init(&r, xattrs->bytes, xattrs->size);
	(void)get_string(&r, &size);
	const char *value = get_string(&r, &size);
	for (size_t i = 0; i < size; i++) {
		if (value[i] != value[0])
			return false;
	}
	return reader_done(&r) && size == (uint8_t)value[0] - (size_t)'a' + 1;
}

static bool look(struct call *call, unsigned turn)
{
	switch (turn / 3 % 4) {
	case 0:
		return look_at_list(call);
	case 1:
		return look_at_path(call);
	case 2:
		return look_at_xattrs(call);
	default:
		return look_at_name(call, turn);
	}
}

static void *reader(void *context)
{
	unsigned number = *(unsigned *)context;

	for (unsigned turn = number; !atomic_load(&over); turn++) {
		struct call call = {.master = master, .reading = true};
		grace_enter(&master->catalog.grace, number);
		bool good = look(&call, turn);
		grace_leave(&master->catalog.grace, number);
		atomic_fetch_add_explicit(&looks, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&lefts, call.left, memory_order_relaxed);
		if (!good)
			atomic_fetch_add(&failures, 1);
	}
	return NULL;
}

static struct entry *find(uint64_t id)
{
	return catalog_find(&master->catalog, id);
}

/* The same object, another version. */
static void change_version(uint64_t id, uint64_t version)
{
	struct mc_attr attr = attr_of(id, version);
	struct entry *entry = find(id);

	catalog_touch(&master->catalog, entry);
	entry_attr_set(entry, &attr);
	settle();
}

/* Another object takes the name over: renamed onto it, or by a new id in its place. */
static uint64_t change_object(uint64_t id, uint64_t version)
{
	struct mc_attr attr = attr_of(id_next++, version);
	struct entry *entry = find(id);

	if (version % 2) {
		struct entry *new = add(master->catalog.root->directory, "new", &attr);
		settle();
		catalog_replace(&master->catalog, entry, new);
	} else {
		ck_assert_int_eq(catalog_renumber(&master->catalog, entry, attr.id), MC_OK);
		entry_attr_set(entry, &attr);
	}
	settle();
	return attr.id;
}

/* The directory gets another name, now and then that of an empty one. */
static void change_directory(uint64_t turn)
{
	struct directory *root = master->catalog.root->directory;
	struct entry *entry = find(under_id);
	char name[32];

	int size = sprintf(name, "under-%lu", (unsigned long)(turn % 7));
	if (turn % 3 == 0) {
		struct entry *empty = add_directory(name);
		settle();
		catalog_replace(&master->catalog, empty, entry);
	} else {
		ck_assert_int_eq(catalog_move(&master->catalog, &entry, root, name, (size_t)size),
				 MC_OK);
	}
	settle();
}

/* One name of the directory that is listed comes, goes or becomes another. */
static void change_listed(uint64_t turn)
{
	struct directory *directory = find(listed_id)->directory;
	unsigned step = (unsigned)(turn % (2 * PASSING_MAX));
	struct entry *entry;
	char name[8];

	sprintf(name, "p%02u", step % PASSING_MAX);
	if (step < PASSING_MAX) {
		struct mc_attr attr = attr_of(id_next++, turn);
		add(directory, name, &attr);
	} else {
		catalog_remove(&master->catalog,
			       catalog_lookup(&master->catalog, directory, name, 3));
	}
	settle();
	for (int i = 0; i < 3; i++) {
		sprintf(name, "r%02d", i);
		entry = catalog_lookup(&master->catalog, directory, name, 3);
		if (entry)
			break;
	}
	sprintf(name, "r%02u", (unsigned)(turn % 3));
	if (catalog_lookup(&master->catalog, directory, name, 3) == entry)
		return;
	ck_assert_int_eq(catalog_move(&master->catalog, &entry, directory, name, 3), MC_OK);
	settle();
}

/* Upper and lower get their next number in turn: 00 10 11 21 22 02. */
static void change_deep(uint64_t turn)
{
	struct entry *moved = turn % 2 ? find(deep_id)->parent->entry : find(upper_id);
	char name[16];

	memcpy(name, moved->name, moved->name_size);
	name[6] = (char)('0' + (name[6] - '0' + 1) % 3);
	ck_assert_int_eq(catalog_move(&master->catalog, &moved, moved->parent, name, 7), MC_OK);
	settle();
}

static void change_xattrs(uint64_t turn)
{
	struct entry *entry = find(stay_id);
	struct xattrs *before = entry->xattrs;
	char value[26];

	memset(value, (int)('a' + turn % 26), sizeof(value));
	catalog_touch(&master->catalog, entry);
	if (turn % 5)
		ck_assert_int_eq(xattrs_set(&entry->xattrs, "user.v", 6, value, turn % 26 + 1, 0),
				 MC_OK);
	else if (before)
		ck_assert_int_eq(xattrs_remove(&entry->xattrs, "user.v", 6), MC_OK);
	if (entry->xattrs != before)
		grace_free(&master->catalog.grace, before);
	settle();
}

static void add_walked(void)
{
	struct entry *entry = add_directory("upper-0");
	struct mc_attr attr;
	char name[8];

	upper_id = entry->id;
	for (int i = 0; i <= DEPTH; i++) {
		attr = (struct mc_attr){.id = id_next++, .mode = S_IFDIR | 0755};
		entry = add(entry->directory, i < DEPTH ? "d" : "lower-0", &attr);
	}
	attr = attr_of(deep_id = id_next++, 1);
	add(entry->directory, "deep", &attr);
	listed_id = add_directory("listed")->id;
	for (int i = 0; i <= STEADY_COUNT; i++) {
		attr = attr_of(id_next++, 1);
		sprintf(name, i < STEADY_COUNT ? "s%02d" : "r00", i);
		add(find(listed_id)->directory, name, &attr);
	}
}

/* Names come and go elsewhere: the tables grow, and are cleaned up. */
static void churn(struct directory *directory, uint64_t turn)
{
	char name[32];

	uint64_t number = turn % (2 * CHURN_COUNT);
	int size = sprintf(name, "churn-%lu", (unsigned long)(number % CHURN_COUNT));
	if (number < CHURN_COUNT) {
		struct mc_attr attr = attr_of(id_next++, turn);
		add(directory, name, &attr);
	} else {
		catalog_remove(&master->catalog,
			       catalog_lookup(&master->catalog, directory, name, (size_t)size));
	}
	if (turn % 8 == 0)
		settle();
}

static unsigned run_ms(void)
{
	const char *given = getenv("MOONCAKE_READERS_MS");

	return given ? (unsigned)strtoul(given, NULL, 10) : 2000;
}

START_TEST(a_look_beside_the_writer_is_whole_and_misses_nothing)
{
	struct mc_attr attr = attr_of(id_next++, 1);
	pthread_t threads[READER_COUNT];
	unsigned numbers[READER_COUNT];
	uint64_t end_ns = clock_ns() + run_ms() * 1000000ull;

	stay_id = attr.id;
	add(master->catalog.root->directory, "stay", &attr);
	attr = attr_of(id_next++, 1);
	uint64_t taken_id = attr.id;
	add(master->catalog.root->directory, "taken", &attr);
	under_id = add_directory("under-6")->id;
	attr = attr_of(id_next++, 1);
	add(find(under_id)->directory, "inside", &attr);
	struct directory *elsewhere = add_directory("elsewhere")->directory;
	add_walked();
	settle();
	for (unsigned i = 0; i < READER_COUNT; i++) {
		numbers[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, reader, &numbers[i]), 0);
	}
	for (uint64_t turn = 2; clock_ns() < end_ns; turn++) {
		change_version(stay_id, turn);
		taken_id = change_object(taken_id, turn);
		change_directory(turn);
		change_listed(turn - 2 + 2 * PASSING_MAX);
		change_deep(turn);
		change_xattrs(turn);
		for (uint64_t i = 0; i < 10; i++)
			churn(elsewhere, turn * 10 + i - 20);
	}
	over = true;
	for (int i = 0; i < READER_COUNT; i++)
		pthread_join(threads[i], NULL);
	printf("%lu looks, %lu left to the writer\n", (unsigned long)looks, (unsigned long)lefts);
	ck_assert_uint_eq(failures, 0);
	/* Most are answered, also when the writer never rests. */
	ck_assert_uint_lt(lefts, looks);
}
END_TEST

static enum mc_status seen(const char *path, bool *left)
{
	struct call call = {.master = master, .reading = true};
	const struct entry *entry;
	struct mc_entry out;
	uint64_t parent_id;

	enum mc_status status = view_path(&call, path, strlen(path), &entry);
	if (status == MC_OK && !view_entry(&call, entry, &out, &parent_id))
		status = MC_NOT_FOUND;
	*left = call.left;
	return status;
}

START_TEST(what_the_journal_does_not_have_is_left_to_the_writer)
{
	struct mc_attr attr = attr_of(id_next++, 1);
	struct entry *under = add_directory("under");
	struct entry *entry;
	bool left;

	settle();
	/* Added, and removed: whether it is there is not settled. */
	entry = add(under->directory, "name", &attr);
	(void)seen("under/name", &left);
	ck_assert(left);
	settle();
	ck_assert_int_eq(seen("under/name", &left), MC_OK);
	ck_assert(!left);
	catalog_remove(&master->catalog, entry);
	(void)seen("under/name", &left);
	ck_assert(left);
	settle();
	ck_assert_int_eq(seen("under/name", &left), MC_NOT_FOUND);
	ck_assert(!left);
	/* A directory in which names come and go can be walked through, one that moves can't. */
	attr.id = id_next++;
	add(under->directory, "name", &attr);
	settle();
	catalog_touch(&master->catalog, under);
	ck_assert_int_eq(seen("under/name", &left), MC_OK);
	ck_assert(!left);
	ck_assert_int_eq(
		catalog_move(&master->catalog, &under, master->catalog.root->directory, "moved", 5),
		MC_OK);
	(void)seen("moved/name", &left);
	ck_assert(left);
	settle();
	ck_assert_int_eq(seen("moved/name", &left), MC_OK);
	ck_assert(!left);
}
END_TEST

static uint16_t listed_count(bool reading, uint64_t cursor, bool *left)
{
	const struct item item = {.id = MC_ROOT_ID, .cursor = cursor, .count_max = UINT16_MAX};
	struct call call = {.master = master, .reading = reading};
	struct writer w;
	struct reader r;

	writer_init(&w);
	call.w = &w;
	ck_assert_int_eq(list_apply(&call, &item), MC_OK);
	reader_init(&r, w.data, w.size);
	(void)get_u8(&r);
	uint16_t count = get_u16(&r);
	writer_fini(&w);
	*left = call.left;
	return count;
}

START_TEST(a_reader_passes_few_names_that_are_not_shown)
{
	enum { HIDDEN_COUNT = 10000 };
	struct directory *root = master->catalog.root->directory;
	struct mc_attr attr;
	char name[16];
	bool left;

	for (int i = 0; i <= HIDDEN_COUNT; i++) {
		attr = attr_of(id_next++, 1);
		sprintf(name, "n%d", i);
		struct entry *entry = add(root, name, &attr);
		entry->replica_count = i == HIDDEN_COUNT;
	}
	settle();
	(void)listed_count(true, 0, &left);
	ck_assert(left);
	ck_assert_uint_eq(listed_count(false, 0, &left), 1);
	/* A few of them are no matter. */
	ck_assert_uint_eq(listed_count(true, HIDDEN_COUNT - 10, &left), 1);
	ck_assert(!left);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("view");
	TCase *tc = tcase_create("view");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_look_beside_the_writer_is_whole_and_misses_nothing);
	tcase_add_test(tc, what_the_journal_does_not_have_is_left_to_the_writer);
	tcase_add_test(tc, a_reader_passes_few_names_that_are_not_shown);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
