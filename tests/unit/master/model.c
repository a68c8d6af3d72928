/*
 * A master against a simple model: random operations, restarts at random moments.
 *
 * Each test prints its seed; SEED=N replays it, MODEL_STEPS=N makes it longer.  A
 * restart is either clean, or the start of a second master on a copy of the journal as
 * it was after the last answer: what a crash at that moment would have left.
 */
#include "tests/unit/master/raw.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <time.h>

#define THING_MAX  300
#define NAME_COUNT 12 /* few, so that operations meet */
#define STEPS	   1500
#define NONE	   (-1)

struct thing {
	bool used;
	bool directory;
	uint64_t id;
	int parent; /* index; the root is 0 */
	char name[16];
	uint64_t version;
	uint64_t size;
	uint32_t mode;
	uint32_t uid;
	uint32_t xattr; /* value of user.x, 0: none */
};

static struct thing things[THING_MAX];
static struct mc_master *master;
static struct raw node;
static char directory[64], journal[128], copy[128];
static bool durable;
static unsigned seed;
static unsigned step;

static unsigned draw(unsigned below)
{
	return (unsigned)rand_r(&seed) % below;
}

static int child(int parent, const char *name)
{
	for (int i = 1; i < THING_MAX; i++) {
		if (things[i].used && things[i].parent == parent &&
		    strcmp(things[i].name, name) == 0)
			return i;
	}
	return NONE;
}

static int child_count(int parent, bool directories)
{
	int count = 0;

	for (int i = 1; i < THING_MAX; i++)
		count += things[i].used && things[i].parent == parent &&
			 (!directories || things[i].directory);
	return count;
}

static int any(bool wanted_directory)
{
	for (int i = 0; i < 200; i++) {
		int at = (int)draw(THING_MAX);
		if (things[at].used && things[at].directory == wanted_directory)
			return at;
	}
	return wanted_directory ? 0 : NONE;
}

static int place(void)
{
	for (int i = 1; i < THING_MAX; i++) {
		if (!things[i].used)
			return i;
	}
	return NONE;
}

/* A step adds at most three. */
static bool is_full(void)
{
	int used = 0;

	for (int i = 0; i < THING_MAX; i++)
		used += things[i].used;
	return used + 3 > THING_MAX;
}

static bool below(int at, int top)
{
	for (; at != 0; at = things[at].parent) {
		if (at == top)
			return true;
	}
	return top == 0;
}

static void path_of(int at, char *path)
{
	if (at == 0) {
		path[0] = '\0';
		return;
	}
	path_of(things[at].parent, path);
	if (path[0])
		strcat(path, "/");
	strcat(path, things[at].name);
}

static int depth(int at)
{
	return at == 0 ? 0 : 1 + depth(things[at].parent);
}

static int object_add(int parent, const char *name, const struct mc_attr *attr, uint64_t version)
{
	int at = place();

	ck_assert_int_ne(at, NONE);
	things[at] = (struct thing){.used = true,
				    .id = attr->id,
				    .parent = parent,
				    .version = version,
				    .size = attr->size,
				    .mode = attr->mode,
				    .uid = attr->uid};
	strcpy(things[at].name, name);
	return at;
}

static int directory_add(int parent, const char *name, uint64_t id, uint32_t uid)
{
	struct mc_attr attr = {.id = id, .size = 4096, .mode = S_IFDIR | 0755, .uid = uid};
	int at = object_add(parent, name, &attr, id);

	things[at].directory = true;
	return at;
}

static void name_draw(char *name)
{
	sprintf(name, "name-%u", draw(NAME_COUNT));
}

static void step_publish(void)
{
	struct mc_attr attr = raw_attr(node.next_id++, 1 + draw(50), draw(10000));
	uint32_t flags = draw(3) == 0 ? MC_PUBLISH_EXCLUSIVE : 0;
	int parent = any(true);
	char name[16];

	name_draw(name);
	int taken = child(parent, name);
	enum mc_status status = raw_publish(&node, things[parent].id, name, flags, &attr);
	if (taken != NONE && (things[taken].directory || flags)) {
		ck_assert_int_eq(status, things[taken].directory ? MC_IS_DIRECTORY : MC_EXISTS);
		return;
	}
	ck_assert_int_eq(status, MC_OK);
	if (taken != NONE) {
		ck_assert_uint_gt(attr.version, things[taken].version);
		things[taken].used = false;
	}
	object_add(parent, name, &attr, attr.version);
}

/* A path whose directories are made where they are missing. */
static void step_publish_path(void)
{
	struct mc_attr attr = raw_attr(node.next_id++, 1, draw(10000));
	char path[64], names[3][16];
	enum mc_status expected = MC_OK;
	int at = 0;

	for (int i = 0; i < 3; i++)
		name_draw(names[i]);
	sprintf(path, "%s/%s/%s", names[0], names[1], names[2]);
	for (int i = 0; i < 3 && at != NONE && expected == MC_OK; i++) {
		at = child(at, names[i]);
		if (at != NONE && i < 2 && !things[at].directory)
			expected = MC_NOT_DIRECTORY;
		if (at != NONE && i == 2 && things[at].directory)
			expected = MC_IS_DIRECTORY;
	}
	enum mc_status status = raw_publish(&node, MC_ROOT_ID, path, MC_PUBLISH_PARENTS, &attr);
	ck_assert_int_eq(status, expected);
	if (status != MC_OK)
		return;
	at = 0;
	for (int i = 0; i < 2; i++) {
		int next = child(at, names[i]);
		if (next == NONE) {
			struct raw_found made = raw_lookup(&node, things[at].id, names[i]);
			ck_assert_int_eq(made.status, MC_OK);
			next = directory_add(at, names[i], made.entry.attr.id, attr.uid);
		}
		at = next;
	}
	int taken = child(at, names[2]);
	if (taken != NONE)
		things[taken].used = false;
	object_add(at, names[2], &attr, attr.version);
}

/* The same object again: a new version, or the very same. */
static void step_republish(void)
{
	int at = any(false);

	if (at == NONE)
		return;
	struct thing *thing = &things[at];
	bool newer = draw(2);
	struct mc_attr attr = raw_attr(thing->id, thing->version + newer, draw(10000));
	ck_assert_int_eq(raw_publish(&node, MC_ROOT_ID, "no-matter", 0, &attr), MC_OK);
	ck_assert_uint_eq(attr.version, thing->version + newer);
	if (!newer)
		return;
	thing->version = attr.version;
	thing->size = attr.size;
	thing->mode = attr.mode;
	thing->uid = attr.uid;
}

static void step_mkdir(void)
{
	int parent = any(true);
	char name[16];

	name_draw(name);
	if (depth(parent) > 8)
		return;
	uint64_t id = node.next_id++;
	raw_mkdir_write(&node, things[parent].id, name, id);
	enum mc_status status = raw_call(&node, MC_VERB_MKDIR);
	ck_assert_int_eq(status, child(parent, name) == NONE ? MC_OK : MC_EXISTS);
	if (status == MC_OK)
		directory_add(parent, name, id, 7);
}

static void step_remove(void)
{
	int parent = any(true);
	char name[16];

	name_draw(name);
	int at = child(parent, name);
	enum mc_status expected = at == NONE		 ? MC_NOT_FOUND
				  : things[at].directory ? MC_IS_DIRECTORY
							 : MC_OK;
	ck_assert_int_eq(raw_remove(&node, things[parent].id, name), expected);
	if (expected == MC_OK)
		things[at].used = false;
}

static void step_rmdir(void)
{
	int parent = any(true);
	char name[16];

	name_draw(name);
	int at = child(parent, name);
	enum mc_status expected = at == NONE		   ? MC_NOT_FOUND
				  : !things[at].directory  ? MC_NOT_DIRECTORY
				  : child_count(at, false) ? MC_NOT_EMPTY
							   : MC_OK;
	ck_assert_int_eq(raw_rmdir(&node, things[parent].id, name), expected);
	if (expected == MC_OK)
		things[at].used = false;
}

static enum mc_status rename_expected(int at, int parent, int target, bool noreplace)
{
	if (at == NONE)
		return MC_NOT_FOUND;
	if (target == at)
		return noreplace ? MC_EXISTS : MC_OK;
	if (things[at].directory && below(parent, at))
		return MC_INVALID;
	if (target == NONE)
		return MC_OK;
	if (noreplace)
		return MC_EXISTS;
	if (!things[target].directory)
		return things[at].directory ? MC_NOT_DIRECTORY : MC_OK;
	if (!things[at].directory)
		return MC_IS_DIRECTORY;
	return child_count(target, false) ? MC_NOT_EMPTY : MC_OK;
}

static void step_rename(void)
{
	int from = any(true);
	int to = any(true);
	bool noreplace = draw(4) == 0;
	char name[16], new_name[16];

	name_draw(name);
	name_draw(new_name);
	int at = child(from, name);
	int target = child(to, new_name);
	enum mc_status expected = rename_expected(at, to, target, noreplace);
	ck_assert_int_eq(raw_rename(&node, things[from].id, name, things[to].id, new_name,
				    noreplace ? MC_RENAME_NOREPLACE : 0),
			 expected);
	if (expected != MC_OK || at == target)
		return;
	if (target != NONE)
		things[target].used = false;
	things[at].parent = to;
	strcpy(things[at].name, new_name);
}

static void step_setattr(void)
{
	int at = any(draw(2));

	if (at == NONE)
		return;
	struct mc_attr attr = {.mode = draw(01000), .uid = draw(1000)};
	put_u64(&node.out, things[at].id);
	put_u32(&node.out, MC_SET_MODE | MC_SET_UID);
	put_attr(&node.out, &attr);
	ck_assert_int_eq(raw_call(&node, MC_VERB_SETATTR), MC_OK);
	things[at].mode = (things[at].mode & S_IFMT) | attr.mode;
	things[at].uid = attr.uid;
}

static void step_xattr(void)
{
	int at = any(draw(2));

	if (at == NONE)
		return;
	uint32_t value = draw(4) ? draw(1000) + 1 : 0;
	put_u64(&node.out, things[at].id);
	put_string(&node.out, "user.x", 6);
	if (value) {
		put_u32(&node.out, 0);
		put_string(&node.out, (const char *)&value, sizeof(value));
	}
	enum mc_status expected = value || things[at].xattr ? MC_OK : MC_NO_DATA;
	ck_assert_int_eq(raw_call(&node, value ? MC_VERB_SETXATTR : MC_VERB_REMOVEXATTR), expected);
	things[at].xattr = value;
}

/* The node evicts its only copy: the name goes with it. */
static void step_evict(void)
{
	int at = any(false);

	if (at == NONE)
		return;
	put_u16(&node.out, 1);
	put_u8(&node.out, 1);
	put_u64(&node.out, things[at].id);
	put_u64(&node.out, things[at].version);
	put_u8(&node.out, MC_REPLICA_PRIMARY);
	ck_assert_int_eq(raw_call(&node, MC_VERB_REPLICA), MC_OK);
	ck_assert_uint_eq(get_u16(&node.in), 1);
	ck_assert_int_eq(get_status(&node.in), MC_OK);
	ck_assert_uint_eq(get_u8(&node.in), 1);
	things[at].used = false;
}

static void compare_attr(const struct mc_entry *entry, int at)
{
	const struct thing *thing = &things[at];

	ck_assert_uint_eq(entry->attr.id, thing->id);
	ck_assert_uint_eq(entry->attr.mode, thing->mode);
	ck_assert_uint_eq(entry->attr.uid, thing->uid);
	ck_assert_uint_eq(entry->attr.size, thing->size);
	ck_assert_uint_eq(entry->attr.nlink,
			  thing->directory ? 2 + (unsigned)child_count(at, true) : 1);
	ck_assert_int_eq(!!(entry->attr.flags & MC_ATTR_XATTRS), thing->xattr != 0);
	if (!thing->directory) {
		ck_assert_uint_eq(entry->attr.version, thing->version);
		ck_assert_uint_eq(entry->replica_count, 1);
	}
}

static void compare_xattr(struct raw *raw, int at)
{
	size_t size;

	put_u64(&raw->out, things[at].id);
	ck_assert_int_eq(raw_call(raw, MC_VERB_GETXATTRS), MC_OK);
	ck_assert_uint_eq(get_u16(&raw->in), things[at].xattr != 0);
	if (!things[at].xattr)
		return;
	get_string(&raw->in, &size);
	const char *value = get_string(&raw->in, &size);
	ck_assert_uint_eq(size, sizeof(uint32_t));
	ck_assert_mem_eq(value, &things[at].xattr, size);
}

/* List a directory in pages; every name is in the model, and as many. */
static void compare_listing(struct raw *raw, int at)
{
	uint64_t cursor = 0;
	int count = 0;
	bool end;

	do {
		put_u64(&raw->out, things[at].id);
		put_u64(&raw->out, cursor);
		put_u32(&raw->out, 1 + draw(5));
		ck_assert_int_eq(raw_call(raw, MC_VERB_LIST), MC_OK);
		end = get_u8(&raw->in);
		uint16_t page = get_u16(&raw->in);
		for (uint16_t i = 0; i < page; i++, count++) {
			struct mc_entry entry;
			char name[256];
			cursor = get_u64(&raw->in);
			get_text(&raw->in, name, sizeof(name));
			get_entry(&raw->in, &entry);
			int listed = child(at, name);
			ck_assert_msg(listed != NONE, "step %u: %s is in no model", step, name);
			compare_attr(&entry, listed);
		}
		ck_assert(reader_done(&raw->in));
	} while (!end);
	ck_assert_int_eq(count, child_count(at, false));
}

static void compare_lookup(struct raw *raw, int at)
{
	struct raw_found found = raw_lookup(raw, things[things[at].parent].id, things[at].name);
	char path[512];

	ck_assert_int_eq(found.status, MC_OK);
	compare_attr(&found.entry, at);
	path_of(at, path);
	ck_assert_uint_eq(raw_stat(raw, path).id, things[at].id);
	put_u64(&raw->out, things[at].id);
	ck_assert_int_eq(raw_call(raw, MC_VERB_PATH), MC_OK);
	size_t size;
	const char *told = get_string(&raw->in, &size);
	ck_assert_uint_eq(size, strlen(path));
	ck_assert_mem_eq(told, path, size);
}

static void compare(struct raw *raw)
{
	for (int i = 0; i < THING_MAX; i++) {
		if (!things[i].used)
			continue;
		if (i > 0)
			compare_lookup(raw, i);
		if (things[i].directory)
			compare_listing(raw, i);
		compare_xattr(raw, i);
	}
	raw_forget_pushes(raw);
}

/* Tell what the pool holds; the master takes each as it knows it. */
static void announce_all(struct raw *raw)
{
	for (int i = 1; i < THING_MAX; i++) {
		const struct thing *thing = &things[i];
		struct mc_attr attr = raw_attr(thing->id, thing->version, thing->size);
		char path[512];
		if (!thing->used || thing->directory)
			continue;
		attr.mode = thing->mode;
		attr.uid = thing->uid;
		path_of(i, path);
		put_u16(&raw->out, 1);
		put_string(&raw->out, path, strlen(path));
		put_u8(&raw->out, MC_REPLICA_PRIMARY);
		put_attr(&raw->out, &attr);
		ck_assert_int_eq(raw_call(raw, MC_VERB_ANNOUNCE), MC_OK);
		ck_assert_uint_eq(get_u16(&raw->in), 1);
		ck_assert_int_eq(get_status(&raw->in), MC_OK);
	}
	ck_assert_int_eq(raw_call(raw, MC_VERB_ANNOUNCED), MC_OK);
	ck_assert_uint_eq(get_u64(&raw->in), 0);
}

/* Without a journal only what nodes hold is left: take the directories as they are now. */
static void forget_what_no_journal_kept(void)
{
	struct thing before[THING_MAX];

	for (int i = 1; i < THING_MAX; i++)
		things[i].xattr = 0;
	things[0].xattr = 0;
	memcpy(before, things, sizeof(before));
	for (int i = 1; i < THING_MAX; i++)
		things[i].used = before[i].used && !before[i].directory;
	for (int i = 1; i < THING_MAX; i++) {
		for (int at = i; things[i].used && at != 0; at = before[at].parent)
			things[at].used = true;
	}
	things[0].mode = S_IFDIR | S_ISVTX | 0777;
	things[0].uid = 0;
	for (int i = 1; i < THING_MAX; i++) {
		char path[512];
		if (!things[i].used || !things[i].directory)
			continue;
		path_of(i, path);
		struct mc_attr attr = raw_stat(&node, path);
		ck_assert(S_ISDIR(attr.mode));
		things[i].id = attr.id;
		things[i].mode = attr.mode;
		things[i].uid = attr.uid;
	}
}

static void restart_clean(void)
{
	raw_close(&node);
	mc_master_stop(master);
	master = raw_master(journal, 60000);
	raw_node(&node, mc_master_socket(master), 1);
	announce_all(&node);
	if (!durable)
		forget_what_no_journal_kept();
	compare(&node);
}

static void file_copy(const char *from, const char *to)
{
	struct stat st;
	int in = open(from, O_RDONLY);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(in, 0);
	ck_assert_int_ge(out, 0);
	ck_assert_int_eq(fstat(in, &st), 0);
	for (off_t at = 0; at < st.st_size;)
		ck_assert_int_gt(sendfile(out, in, &at, (size_t)(st.st_size - at)), 0);
	close(in);
	close(out);
}

/* What a crash now would leave is all that was answered. */
static void restart_copy(void)
{
	struct raw other;

	file_copy(journal + strlen("file:"), copy + strlen("file:"));
	struct mc_master *second = raw_master(copy, 60000);
	raw_node(&other, mc_master_socket(second), 1);
	announce_all(&other);
	compare(&other);
	raw_close(&other);
	mc_master_stop(second);
	ck_assert_int_eq(unlink(copy + strlen("file:")), 0);
}

static void setup(void)
{
	const char *given = getenv("SEED");

	seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	printf("seed %u\n", seed);
	fflush(stdout);
	strcpy(directory, "/tmp/mooncake-model-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(copy, sizeof(copy), "file:%s/copy", directory);
	memset(things, 0, sizeof(things));
	things[0] = (struct thing){.used = true,
				   .directory = true,
				   .id = MC_ROOT_ID,
				   .version = 1,
				   .size = 4096,
				   .mode = S_IFDIR | S_ISVTX | 0777};
}

static void teardown(void)
{
	char path[128];

	raw_close(&node);
	mc_master_stop(master);
	snprintf(path, sizeof(path), "%s/journal", directory);
	(void)unlink(path);
	ck_assert_int_eq(rmdir(directory), 0);
}

START_TEST(a_master_is_what_the_model_says)
{
	static void (*const steps[])(void) = {
		step_publish,	step_publish, step_publish, step_publish_path, step_republish,
		step_republish, step_mkdir,   step_remove,  step_rmdir,	       step_rename,
		step_rename,	step_setattr, step_xattr,   step_evict,
	};
	const char *given = getenv("MODEL_STEPS");
	unsigned count = given ? (unsigned)strtoul(given, NULL, 10) : STEPS;

	durable = _i == 0;
	snprintf(journal, sizeof(journal), durable ? "file:%s/journal" : "memory", directory);
	master = raw_master(journal, 60000);
	raw_node(&node, mc_master_socket(master), 1);
	for (step = 0; step < count; step++) {
		if (is_full())
			(draw(2) ? step_evict : step_rmdir)();
		else
			steps[draw(sizeof(steps) / sizeof(steps[0]))]();
		raw_forget_pushes(&node);
		if (draw(100) == 0)
			compare(&node);
		if (draw(200) == 0)
			restart_clean();
		if (durable && draw(100) == 0)
			restart_copy();
	}
	compare(&node);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, a_master_is_what_the_model_says, 0, 2);
}

int main(void)
{
	return raw_run("model", add, setup, teardown);
}
