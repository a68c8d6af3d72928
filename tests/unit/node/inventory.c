/* A node that ends and comes back with its pool, and many threads on few names. */
#include "tests/unit/node/cluster.h"

#include "tests/unit/node/seed.h"

static char path[128];

static struct node *start(void)
{
	return cluster_start(&(struct cluster_node){.path = path});
}

START_TEST(a_restart_loses_nothing_that_was_published)
{
	struct object *object;

	place_new(path);
	struct node *node = start();
	put(node, "key", 100000, 1);
	put(node, "other", 0, 2);
	object = create(node, "draft.tmp");
	write_bytes(node, object, 100, 3);
	ck_assert_int_eq(lookup(node, "key", &object), MC_OK);
	uint64_t id = object->attr.id, version = object->attr.version;
	node_close(node, false);

	node = start();
	EVENTUALLY(stat_of_node(node, "rpc_announced") == 1);
	ck_assert_uint_eq(stat_of_node(node, "objects_local"), 2);
	ck_assert_int_eq(lookup(node, "key", &object), MC_OK);
	ck_assert_uint_eq(object->attr.id, id);
	ck_assert_uint_eq(object->attr.version, version);
	ck_assert_uint_eq(object->attr.uid, 7);
	cluster_forget(node, object);
	assert_reads(node, "key", 100000, 1);
	ck_assert_uint_eq(counted(node, COUNTER_PULLS_TCP) + counted(node, COUNTER_PULLS_SHM), 0);
	assert_reads(node, "other", 0, 2);
	ck_assert_int_eq(look(node, "draft.tmp"), MC_NOT_FOUND);
	EVENTUALLY(look(b, "key") == MC_OK);
	assert_reads(b, "key", 100000, 1);
	node_close(node, true);
}
END_TEST

START_TEST(what_was_removed_meanwhile_does_not_come_back)
{
	place_new(path);
	struct node *node = start();
	put(node, "gone", 1000, 1);
	put(node, "kept", 1000, 2);
	ck_assert_int_eq(look(b, "gone"), MC_OK);
	node_close(node, false);
	ck_assert_int_eq(unlink_name(b, "gone"), MC_OK);

	node = start();
	EVENTUALLY(stat_of_node(node, "objects_local") == 1);
	ck_assert_int_eq(look(node, "gone"), MC_NOT_FOUND);
	assert_reads(node, "kept", 1000, 2);
	node_close(node, true);
}
END_TEST

/* -- damage found at start: set aside, and the rest is served -- */

static char victim[256]; /* the file of "key" */

/* Not as one who writes to it: that moves the time, and is a change. */
static void damage_size(void)
{
	struct stat st;

	ck_assert_int_eq(stat(victim, &st), 0);
	ck_assert_int_eq(truncate(victim, 999), 0);
	const struct timespec times[2] = {st.st_atim, st.st_mtim};
	ck_assert_int_eq(utimensat(AT_FDCWD, victim, times, 0), 0);
}

static void damage_name(void)
{
	char other[256];

	snprintf(other, sizeof(other), "%s/objects/00000000000000aa", path);
	ck_assert_int_eq(rename(victim, other), 0);
}

static void damage_foreign(void)
{
	char other[256];

	snprintf(other, sizeof(other), "%s/objects/core.123", path);
	ck_assert_int_eq(rename(victim, other), 0);
}

static void damage_replace(void)
{
	ck_assert_int_eq(unlink(victim), 0);
	close(open(victim, O_CREAT | O_WRONLY, 0600));
}

static void damage_directory(void)
{
	ck_assert_int_eq(unlink(victim), 0);
	ck_assert_int_eq(mkdir(victim, 0700), 0);
}

static void (*const damages[])(void) = {damage_size, damage_name, damage_foreign, damage_replace,
					damage_directory};

START_TEST(what_is_damaged_is_set_aside_and_never_served)
{
	struct object *object;

	place_new(path);
	struct node *node = start();
	put(node, "key", 1000, 1);
	put(node, "sound", 1000, 2);
	ck_assert_int_eq(lookup(node, "key", &object), MC_OK);
	snprintf(victim, sizeof(victim), "%s/objects/%016llx", path,
		 (unsigned long long)object->attr.id);
	cluster_forget(node, object);
	node_close(node, false);
	damages[_i]();

	node = start();
	ck_assert_uint_eq(counted(node, COUNTER_SCAN_ASIDE), 1);
	EVENTUALLY(stat_of_node(node, "rpc_announced") == 1);
	assert_reads(node, "sound", 1000, 2);
	EVENTUALLY(look(b, "key") == MC_NOT_FOUND);
	node_close(node, true);
}
END_TEST

static const struct {
	size_t size; /* of what is written over 1000 bytes */
	bool looked; /* at its attributes meanwhile */
} changes[] = {{1000, false}, {1000, true}, {3000, false}, {3000, true}};

/* Others have copies of what it was before. */
START_TEST(what_was_being_changed_when_its_node_went_down_is_the_next_version)
{
	struct object *object;
	struct node *c = cluster_start(&(struct cluster_node){.transport = "tcp"});

	place_new(path);
	struct node *node = start();
	put(node, "key", 1000, 1);
	assert_reads(c, "key", 1000, 1);
	EVENTUALLY(stat_of_node(node, "tcp_holds") == 0);
	ck_assert_int_eq(lookup(node, "key", &object), MC_OK);
	uint64_t version = object->attr.version;
	ck_assert_int_eq(open_object(node, object, NODE_OPEN_WRITE), MC_OK);
	write_bytes(node, object, changes[_i].size, 2);
	if (changes[_i].looked) {
		node_lock(node);
		node_sync_locked(node, object);
		node_unlock(node);
	}
	node_close(node, false);

	node = start();
	ck_assert_uint_eq(counted(node, COUNTER_SCAN_ASIDE), 0);
	assert_reads(node, "key", changes[_i].size, 2);
	EVENTUALLY(counted(c, COUNTER_DROPS) == 1);
	assert_reads(c, "key", changes[_i].size, 2);
	ck_assert_int_eq(lookup(node, "key", &object), MC_OK);
	ck_assert_uint_gt(object->attr.version, version);
	version = object->attr.version;
	cluster_forget(node, object);
	node_close(node, false);

	node = start(); /* once is enough */
	ck_assert_int_eq(lookup(node, "key", &object), MC_OK);
	ck_assert_uint_eq(object->attr.version, version);
	cluster_forget(node, object);
	node_close(node, true);
	node_close(c, true);
}
END_TEST

/* As a framework does that opens O_RDWR to read, while a peer has the file. */
START_TEST(what_was_lent_and_opened_for_writing_survives_a_restart)
{
	struct object *lent, *own;

	place_new(path);
	struct node *node = start();
	put(node, "key", 1000, 1);
	ck_assert_int_eq(lookup(b, "key", &lent), MC_OK);
	ck_assert_int_eq(open_object(b, lent, 0), MC_OK);
	ck_assert_int_eq(lookup(node, "key", &own), MC_OK);
	own = open_copy(node, "key", own);
	ck_assert_int_eq(flush(node, own), MC_OK);
	node_release(node, own, true);
	cluster_forget(node, own);
	node_release(b, lent, false);
	cluster_forget(b, lent);
	node_close(node, false);

	node = start();
	ck_assert_uint_eq(counted(node, COUNTER_SCAN_ASIDE), 0);
	assert_reads(node, "key", 1000, 1);
	node_close(node, true);
}
END_TEST

/* -- many threads, few names -- */

enum { THREADS = 4, STEPS = 150, NAMES = 5, BYTES = 20000 };

struct worker {
	struct node *node;
	unsigned seed;
};

/* A put fills an object with one byte; a get must find one byte only. */
static void work_put(struct worker *w, const char *name)
{
	char staging[32];
	struct object *object;
	int fd;
	char *bytes = malloc(BYTES);

	snprintf(staging, sizeof(staging), "%s.tmp%u", name, rand_r(&w->seed));
	if (create_in(w->node, MC_ROOT_ID, staging, false, &object) == MC_OK) {
		memset(bytes, 1 + rand_r(&w->seed) % 250, BYTES);
		ck_assert_int_eq(node_descriptor(w->node, object, true, &fd), MC_OK);
		ck_assert_int_eq(pwrite(fd, bytes, BYTES, 0), BYTES);
		close(fd);
		ck_assert_int_eq(rename_name(w->node, staging, name, false), MC_OK);
		node_release(w->node, object, true);
		cluster_forget(w->node, object);
	}
	free(bytes);
}

static void work_get(struct worker *w, const char *name)
{
	struct object *object = NULL;
	char *bytes = malloc(BYTES + 1);
	int fd;

	if (lookup(w->node, name, &object) == MC_OK && open_object(w->node, object, 0) == MC_OK) {
		/* It may have been removed between the two. */
		if (node_descriptor(w->node, object, false, &fd) == MC_OK) {
			ck_assert_int_eq(pread(fd, bytes, BYTES + 1, 0), BYTES);
			for (int i = 1; i < BYTES; i++)
				ck_assert_int_eq(bytes[i], bytes[0]);
			close(fd);
		}
		node_release(w->node, object, false);
	}
	if (object)
		cluster_forget(w->node, object);
	free(bytes);
}

static void *work(void *context)
{
	struct worker *w = context;
	char name[16];

	for (int step = 0; step < STEPS; step++) {
		snprintf(name, sizeof(name), "key%d", rand_r(&w->seed) % NAMES);
		unsigned what = (unsigned)rand_r(&w->seed) % 10;
		if (what < 4)
			work_put(w, name);
		else if (what < 9)
			work_get(w, name);
		else
			(void)unlink_name(w->node, name);
	}
	return NULL;
}

START_TEST(a_get_is_of_one_version_whatever_others_do)
{
	struct worker workers[THREADS];
	pthread_t threads[THREADS];

	seed_draw();
	struct node *tcp = cluster_start(&(struct cluster_node){.transport = "tcp"});
	struct node *nodes[THREADS] = {a, a, b, tcp};
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){nodes[i], seed + i};
		ck_assert_int_eq(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	node_close(tcp, true);
}
END_TEST

static _Atomic bool enough;

static void *open_again_and_again(void *context)
{
	struct object *object;

	(void)context;
	while (!enough) {
		if (look(a, "key") != MC_OK || lookup(a, "key", &object) != MC_OK)
			continue;
		if (open_object(a, object, 0) == MC_OK)
			node_release(a, object, false);
		cluster_forget(a, object);
	}
	return NULL;
}

/* By name it is as real as any, also while the master is asked for the reservation. */
START_TEST(a_draft_may_be_opened_while_its_name_is_reserved)
{
	struct object *object;
	pthread_t thread;

	enough = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, open_again_and_again, NULL), 0);
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(create_in(a, MC_ROOT_ID, "key", true, &object), MC_OK);
		ck_assert_int_eq(rename_name(a, "key", "other.tmp", false), MC_OK);
		node_release(a, object, true);
		cluster_forget(a, object);
		ck_assert_int_eq(unlink_name(a, "other.tmp"), MC_OK);
	}
	enough = true;
	pthread_join(thread, NULL);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, a_restart_loses_nothing_that_was_published);
	tcase_add_test(tc, what_was_removed_meanwhile_does_not_come_back);
	tcase_add_loop_test(tc, what_is_damaged_is_set_aside_and_never_served, 0, ROWS(damages));
	tcase_add_loop_test(tc, what_was_being_changed_when_its_node_went_down_is_the_next_version,
			    0, ROWS(changes));
	tcase_add_test(tc, what_was_lent_and_opened_for_writing_survives_a_restart);
	tcase_add_test(tc, a_draft_may_be_opened_while_its_name_is_reserved);
	tcase_add_test(tc, a_get_is_of_one_version_whatever_others_do);
}

int main(void)
{
	return cluster_run("inventory", add);
}
