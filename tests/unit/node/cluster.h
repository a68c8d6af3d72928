/*
 * tests/unit/node/cluster.h -- a master and nodes in this process, called and waited for
 *
 * Each call waits for its `done`, at most CLUSTER_WAIT_S.  An object that is
 * given back is counted: cluster_forget() when done with it.
 */
#ifndef TESTS_UNIT_NODE_CLUSTER_H
#define TESTS_UNIT_NODE_CLUSTER_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <mooncake/master.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/node/node.h"
#include "tests/unit/node/place.h"

#define CLUSTER_WAIT_S 30
#define TID	       1

static struct mc_master *master;
static struct node *a;
static struct node *b;

/* -- master and nodes -- */

static inline void cluster_master(void)
{
	struct mc_master_config config = {.listen = "127.0.0.1:0",
					  .socket = "auto",
					  .journal = "memory",
					  .journal_sync = "never",
					  .heartbeat_ms = 100,
					  .ttl_ms = 20000,
					  .repair_delay_ms = 200,
					  .fresh = true};

	log_set_level("error");
	ck_assert_int_eq(mc_master_start(&config, &master), MC_OK);
}

static inline void ignore_attr(void *context, uint64_t id)
{
	(void)context;
	(void)id;
}

static inline void ignore_all(void *context)
{
	(void)context;
}

static inline void ignore_object(void *context, struct object *object)
{
	(void)context;
	(void)object;
}

/* What a test may want other than usual; zero is usual. */
struct cluster_node {
	const char *path; /* of the pool; NULL: a new one */
	const char *transport;
	uint64_t size;
	bool immutable;
	const char *name;   /* NULL: "node" */
	const char *master; /* its address; NULL: as it is */
	uint32_t timeout_ms;
	uint64_t stream_threshold;
	uint32_t stream_after_ms;
	struct mc_placement placement;
};

static inline struct node *cluster_start(const struct cluster_node *how)
{
	static const struct node_events events = {ignore_attr, ignore_all, ignore_object, NULL};
	struct node *node = NULL;
	char path[128];
	struct node_config config = {
		.master = how->master ? how->master : mc_master_address(master),
		.pool = {.path = how->path ? how->path : path,
			 .size = how->size ? how->size : 64ull << 20},
		.name = how->name ? how->name : "node",
		.listen_host = "127.0.0.1",
		.announce_host = "127.0.0.1",
		.transport = how->transport ? how->transport : "auto",
		.stream_threshold = how->stream_threshold ? how->stream_threshold : 64ull << 20,
		.stream_after_ms = how->stream_after_ms,
		.timeout_ms = how->timeout_ms ? how->timeout_ms : 20000,
		.watermark_high = 95,
		.watermark_low = 90,
		.immutable = how->immutable,
		.placement = how->placement,
		.metacache = true,
	};

	place_new(path);
	ck_assert_int_eq(node_open(&config, &events, &node), MC_OK);
	ck_assert_int_eq(node_wait_ready(node, CLUSTER_WAIT_S * 1000), MC_OK);
	return node;
}

static inline void cluster_setup(void)
{
	cluster_master();
	a = cluster_start(&(struct cluster_node){0});
	b = cluster_start(&(struct cluster_node){0});
}

static inline void cluster_teardown(void)
{
	node_close(a, true);
	node_close(b, true);
	a = b = NULL;
	mc_master_stop(master);
}

/* Wait until a condition holds. */
#define EVENTUALLY(condition)                                                                      \
	do {                                                                                       \
		bool holds_ = false;                                                               \
		for (int i_ = 0; i_ < CLUSTER_WAIT_S * 200 && !holds_; i_++) {                     \
			holds_ = (condition);                                                      \
			if (!holds_)                                                               \
				usleep(5000);                                                      \
		}                                                                                  \
		ck_assert_msg(holds_, "never: " #condition);                                       \
	} while (0)

static inline uint64_t counted(struct node *node, enum counter counter)
{
	return counter_get(node_counters(node), counter);
}

/* A line of the node's statistics ("rpc_publish"). */
static inline uint64_t stat_of_node(struct node *node, const char *name)
{
	char wanted[64];
	char *text = node_stats(node);

	ck_assert_ptr_nonnull(text);
	snprintf(wanted, sizeof(wanted), "\n%s ", name);
	const char *line = strstr(text, wanted);
	ck_assert_msg(line != NULL, "no such line: %s", name);
	uint64_t value = strtoull(line + strlen(wanted), NULL, 10);
	free(text);
	return value;
}

/* -- calls that wait -- */

struct turn {
	pthread_mutex_t lock;
	pthread_cond_t change;
	struct node *node;
	bool ended;
	enum mc_status status;
	struct object *object;
};

static inline void turn_init(struct turn *turn, struct node *node)
{
	*turn = (struct turn){.node = node};
	pthread_mutex_init(&turn->lock, NULL);
	pthread_cond_init(&turn->change, NULL);
}

static inline void turn_done(void *context, enum mc_status status, struct object *object)
{
	struct turn *turn = context;

	if (object)
		node_ref(turn->node, object);
	pthread_mutex_lock(&turn->lock);
	turn->status = status;
	turn->object = object;
	turn->ended = true;
	pthread_cond_signal(&turn->change);
	pthread_mutex_unlock(&turn->lock);
}

/* The status; the object, counted, where it is wanted. */
static inline enum mc_status turn_end(struct turn *turn, struct object **object)
{
	struct timespec until;
	int late = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += CLUSTER_WAIT_S;
	pthread_mutex_lock(&turn->lock);
	while (!turn->ended && !late)
		late = pthread_cond_timedwait(&turn->change, &turn->lock, &until);
	pthread_mutex_unlock(&turn->lock);
	ck_assert_msg(turn->ended, "a call was never done");
	pthread_mutex_destroy(&turn->lock);
	pthread_cond_destroy(&turn->change);
	if (object)
		*object = turn->object;
	else
		node_unref(turn->node, turn->object);
	return turn->status;
}

static inline void cluster_forget(struct node *node, struct object *object)
{
	node_unref(node, object);
}

/* As a mount does: memory first, then the master. */
static inline enum mc_status lookup_in(struct node *node, uint64_t parent, const char *name,
				       struct object **object)
{
	struct turn turn;

	node_lock(node);
	enum node_lookup known = node_lookup_locked(node, parent, name, strlen(name), TID, object);
	if (known == NODE_FOUND)
		object_ref(*object);
	node_unlock(node);
	if (known != NODE_ASK)
		return known == NODE_FOUND ? MC_OK : MC_NOT_FOUND;
	turn_init(&turn, node);
	node_lookup(node, parent, name, turn_done, &turn);
	return turn_end(&turn, object);
}

static inline enum mc_status lookup(struct node *node, const char *name, struct object **object)
{
	return lookup_in(node, MC_ROOT_ID, name, object);
}

static inline enum mc_status look(struct node *node, const char *name)
{
	struct object *object = NULL;
	enum mc_status status = lookup(node, name, &object);

	if (!status)
		cluster_forget(node, object);
	return status;
}

/* An answer of the master may be changing it. */
static inline uint64_t version_of(struct node *node, const char *name)
{
	struct object *object;

	ck_assert_int_eq(lookup(node, name, &object), MC_OK);
	node_lock(node);
	uint64_t version = object->attr.version;
	node_unlock(node);
	cluster_forget(node, object);
	return version;
}

static inline enum mc_status create_in(struct node *node, uint64_t parent, const char *name,
				       bool exclusive, struct object **object)
{
	struct node_create create = {.parent = parent,
				     .name = name,
				     .mode = S_IFREG | 0644,
				     .uid = 7,
				     .gid = 8,
				     .exclusive = exclusive};
	struct turn turn;

	turn_init(&turn, node);
	node_create(node, &create, turn_done, &turn);
	return turn_end(&turn, object);
}

/* From a draft that was made ahead. */
static inline enum mc_status create_from(struct node *node, const char *name, const int *file,
					 struct object **object)
{
	struct node_create create = {
		.parent = MC_ROOT_ID, .name = name, .mode = S_IFREG | 0644, .file = file};
	struct turn turn;

	turn_init(&turn, node);
	node_create(node, &create, turn_done, &turn);
	return turn_end(&turn, object);
}

static inline struct object *create(struct node *node, const char *name)
{
	struct object *object;

	ck_assert_int_eq(create_in(node, MC_ROOT_ID, name, false, &object), MC_OK);
	return object;
}

static inline uint64_t make_directory_in(struct node *node, uint64_t parent, const char *name)
{
	struct node_create create = {.parent = parent, .name = name, .mode = S_IFDIR | 0755};
	struct object *object;
	struct turn turn;

	turn_init(&turn, node);
	node_mkdir(node, &create, turn_done, &turn);
	ck_assert_int_eq(turn_end(&turn, &object), MC_OK);
	uint64_t id = object->attr.id;
	cluster_forget(node, object);
	return id;
}

static inline enum mc_status open_object(struct node *node, struct object *object, uint32_t flags)
{
	struct turn turn;

	turn_init(&turn, node);
	node_open_object(node, object, flags, TID, turn_done, &turn);
	return turn_end(&turn, NULL);
}

/* Open for writing what a peer has: a draft with the same bytes stands in for it. */
static inline struct object *open_copy(struct node *node, const char *name, struct object *lent)
{
	struct object *copy;

	ck_assert_int_eq(open_object(node, lent, NODE_OPEN_WRITE), MC_STALE);
	cluster_forget(node, lent);
	ck_assert_int_eq(lookup(node, name, &copy), MC_OK);
	ck_assert_int_eq(open_object(node, copy, NODE_OPEN_WRITE), MC_OK);
	return copy;
}

static inline enum mc_status flush(struct node *node, struct object *object)
{
	struct turn turn;

	turn_init(&turn, node);
	node_flush(node, object, turn_done, &turn);
	return turn_end(&turn, NULL);
}

static inline enum mc_status unlink_name(struct node *node, const char *name)
{
	struct turn turn;

	turn_init(&turn, node);
	node_unlink(node, MC_ROOT_ID, name, turn_done, &turn);
	return turn_end(&turn, NULL);
}

static inline enum mc_status rename_name(struct node *node, const char *name, const char *new_name,
					 bool noreplace)
{
	struct node_rename how = {.parent = MC_ROOT_ID,
				  .name = name,
				  .new_parent = MC_ROOT_ID,
				  .new_name = new_name,
				  .noreplace = noreplace,
				  .tid = TID};
	struct turn turn;

	turn_init(&turn, node);
	node_rename(node, &how, turn_done, &turn);
	return turn_end(&turn, NULL);
}

/* -- bytes: each object's are made of one number -- */

static inline void fill(uint8_t *bytes, size_t size, unsigned number)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(number * 31 + i + (i >> 8));
}

static inline void write_bytes(struct node *node, struct object *object, size_t size,
			       unsigned number)
{
	uint8_t *bytes = malloc(size + 1);
	int fd;

	fill(bytes, size, number);
	ck_assert_int_eq(node_descriptor(node, object, true, &fd), MC_OK);
	ck_assert_int_eq(pwrite(fd, bytes, size, 0), (ssize_t)size);
	close(fd);
	free(bytes);
}

/* Read an open object whole; true when its bytes are those. */
static inline bool holds_bytes(struct node *node, struct object *object, size_t size,
			       unsigned number)
{
	uint8_t *expected = malloc(size + 1), *bytes = malloc(size + 2);
	int fd;

	fill(expected, size, number);
	ck_assert_int_eq(node_descriptor(node, object, false, &fd), MC_OK);
	bool same = pread(fd, bytes, size + 1, 0) == (ssize_t)size &&
		    memcmp(bytes, expected, size) == 0;
	close(fd);
	free(expected);
	free(bytes);
	return same;
}

static inline enum mc_status try_put(struct node *node, const char *name, size_t size,
				     unsigned number)
{
	struct object *object;
	enum mc_status status = create_in(node, MC_ROOT_ID, name, false, &object);

	if (status) {
		if (object)
			cluster_forget(node, object);
		return status;
	}
	write_bytes(node, object, size, number);
	status = flush(node, object);
	node_release(node, object, true);
	cluster_forget(node, object);
	return status;
}

static inline void put(struct node *node, const char *name, size_t size, unsigned number)
{
	ck_assert_int_eq(try_put(node, name, size, number), MC_OK);
}

/* The size that a name has there; 0 if it has none. */
static inline uint64_t size_of(struct node *node, const char *name)
{
	struct object *object;

	if (lookup(node, name, &object) != MC_OK)
		return 0;
	uint64_t size = object->attr.size;
	cluster_forget(node, object);
	return size;
}

/* Look it up, open it, read it, close it. */
static inline void assert_reads(struct node *node, const char *name, size_t size, unsigned number)
{
	struct object *object;

	ck_assert_int_eq(lookup(node, name, &object), MC_OK);
	ck_assert_uint_eq(object->attr.size, size);
	ck_assert_int_eq(open_object(node, object, 0), MC_OK);
	ck_assert(holds_bytes(node, object, size, number));
	node_release(node, object, false);
	cluster_forget(node, object);
}

static inline int cluster_run(const char *name, void (*add)(TCase *tc))
{
	Suite *suite = suite_create(name);
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, 120);
	tcase_add_unchecked_fixture(tc, place_make, place_remove);
	tcase_add_checked_fixture(tc, cluster_setup, cluster_teardown);
	add(tc);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

#endif
