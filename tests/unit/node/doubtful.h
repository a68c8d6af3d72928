/*
 * tests/unit/node/doubtful.h -- a node whose master may not answer
 *
 * The nodes a and b of cluster.h and their master, and a writer between which and the
 * master there is a `between`, that loses or holds back what the test says.
 */
#ifndef TESTS_UNIT_NODE_DOUBTFUL_H
#define TESTS_UNIT_NODE_DOUBTFUL_H

#include "tests/unit/node/between.h"
#include "tests/unit/node/cluster.h"

static struct between between;
static struct node *writer;
static uint32_t timeout_ms; /* its; 0: longer than anything here takes */
static char path[128];	    /* of its pool */

static inline void start(void)
{
	writer = cluster_start(&(struct cluster_node){.path = path,
						      .name = "writer",
						      .transport = "tcp",
						      .timeout_ms = timeout_ms,
						      .master = between.address});
}

static inline void begin(void)
{
	place_new(path);
	between_start(&between, mc_master_address(master));
	start();
}

static inline void end(void)
{
	node_close(writer, true);
	between_stop(&between);
	timeout_ms = 0;
}

static inline bool reads(struct node *node, const char *name, size_t size, unsigned number)
{
	struct object *object;

	if (lookup(node, name, &object) != MC_OK)
		return false;
	bool same = open_object(node, object, 0) == MC_OK;
	if (same) {
		same = holds_bytes(node, object, size, number);
		node_release(node, object, false);
	}
	cluster_forget(node, object);
	return same;
}

static inline bool absent(struct node *node, const char *name)
{
	return look(node, name) == MC_NOT_FOUND;
}

static inline uint64_t local(struct node *node)
{
	return stat_of_node(node, "objects_local");
}

/* Put "key", written under another name. */
static inline enum mc_status put_by_rename(size_t size, unsigned number)
{
	struct object *object;

	enum mc_status status = create_in(writer, MC_ROOT_ID, "key.tmp", false, &object);
	if (status == MC_EXISTS)
		status = open_object(writer, object, NODE_OPEN_WRITE | NODE_OPEN_TRUNCATE);
	ck_assert_int_eq(status, MC_OK);
	write_bytes(writer, object, size, number);
	node_release(writer, object, true);
	cluster_forget(writer, object);
	return rename_name(writer, "key.tmp", "key", false);
}

/* For a thread: the status of a call, by a pointer to it. */
static inline void *run_call(void *context)
{
	enum mc_status (*call)(void) = *(enum mc_status(**)(void))context;

	return (void *)(intptr_t)call();
}

#endif
