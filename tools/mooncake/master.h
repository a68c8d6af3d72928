/*
 * tools/mooncake/master.h -- ask a master, and wait for the answer
 *
 * The pipelined client of engine/rpc made synchronous: every call waits until
 * the master has answered or the deadline has passed.  A session of role
 * client: it lends no memory and holds no names.
 *
 * Ownership   What a call allocates belongs to the caller.
 * Threads     One at a time.
 * Errors      What the master answered; MC_UNREACHABLE nobody listens there;
 *             MC_TIMEOUT; MC_PROTOCOL.
 */
#ifndef TOOLS_MOONCAKE_MASTER_H
#define TOOLS_MOONCAKE_MASTER_H

#include <mooncake/protocol.h>
#include <mooncake/status.h>
#include <mooncake/types.h>

#include "engine/base/buffer.h"

struct master;

/* What the master said of itself when we came. */
struct master_facts {
	char peer[384]; /* how it is reached: "tcp:10.0.0.1:50051" */
	char name[64];
	char version[64];
	uint64_t cluster;
	uint64_t answer_ns; /* from the first attempt to its welcome */
};

struct master_space {
	uint64_t capacity, used, objects, directories; /* bytes, bytes, counts */
	uint32_t nodes;
};

/* A key that was looked up. */
struct master_found {
	enum mc_status status;
	uint64_t parent;
	struct mc_entry entry;
};

/* A name in a directory. */
struct master_name {
	uint64_t parent;
	const char *name;
	size_t size;
};

struct master_child {
	char *name; /* terminated */
	size_t size;
	struct mc_entry entry;
};

struct master_children {
	struct master_child *items;
	size_t count;
};

/*
 * Connect to "HOST:PORT", "HOST" or "unix:NAME" and say hello.
 *
 * MC_INVALID       it is no address
 * MC_UNREACHABLE   nobody listens there, or no master
 */
MC_MUST_CHECK enum mc_status master_open(const char *address, uint32_t timeout_ms,
					 struct master **master);
void master_close(struct master *master);

const struct master_facts *master_facts(const struct master *master);

/*
 * Send a request and wait for its answer, over which the reader is until the next call.
 * MC_TIMEOUT at once while the answer to one that was given up may still come.
 */
MC_MUST_CHECK enum mc_status master_ask(struct master *master, enum mc_verb verb,
					const struct writer *body, struct reader *answer);
/* Whether the request was sent twice, so that it may have been done before its answer. */
bool master_resent(const struct master *master);

/* Look up count keys (any number) relative to the root; "" is the root. */
MC_MUST_CHECK enum mc_status master_lookup(struct master *master, char *const *keys, size_t count,
					   struct master_found *found);

/* List a directory whole, in the master's order.  MC_NOT_DIRECTORY */
MC_MUST_CHECK enum mc_status master_list(struct master *master, uint64_t directory,
					 struct master_children *children);
void master_children_fini(struct master_children *children);

/* Remove count objects (any number); each has its own status. */
MC_MUST_CHECK enum mc_status master_remove(struct master *master, const struct master_name *names,
					   size_t count, enum mc_status *statuses);

/* Remove an empty directory.  MC_NOT_EMPTY */
MC_MUST_CHECK enum mc_status master_rmdir(struct master *master, const struct master_name *name);

MC_MUST_CHECK enum mc_status master_nodes(struct master *master, struct mc_node **nodes,
					  size_t *count);
MC_MUST_CHECK enum mc_status master_space(struct master *master, struct master_space *space);

/* The master's counters, lines "name value". */
MC_MUST_CHECK enum mc_status master_stats(struct master *master, char **text);

/* One of them; 0: there is none of that name. */
uint64_t master_stat(const char *text, const char *name);

/* Have the leader of several masters give its lead up.  MC_NOT_SUPPORTED: it is alone. */
MC_MUST_CHECK enum mc_status master_step_down(struct master *master);

/* The key of an id. */
MC_MUST_CHECK enum mc_status master_path(struct master *master, uint64_t id, char **key);

#endif
