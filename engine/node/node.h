/*
 * engine/node/node.h -- what one host does: its pool, its names, its master
 *
 * A node lends memory (the pool), drafts and publishes objects, looks names up
 * here first and then at the master, pulls what others hold, and evicts.  The
 * mount is a thin layer over this; so is anything else that wants objects
 * without a kernel.
 *
 * Calls that may need the master or a peer take a `done` function.  It is
 * called exactly once: at once, by the caller's thread, when memory has the
 * answer; by a thread of the node otherwise.  The object it is given is valid
 * during that call; object_ref() keeps it.
 *
 * Ownership   node_open's caller closes.  Objects are counted (object.h).
 * Threads     Any thread, unless a function says otherwise.  Functions named
 *             _locked want node_lock() held; done functions run without it.
 * Errors      MC_TIMEOUT a step passed node_config.timeout_ms; MC_READ_ONLY the
 *             same while there was no master; those that a call names; and what
 *             the master answers, as the verbs in protocol.h say.
 */
#ifndef ENGINE_NODE_NODE_H
#define ENGINE_NODE_NODE_H

#include <sys/stat.h>

#include <mooncake/protocol.h>
#include <mooncake/status.h>
#include <mooncake/types.h>

#include "engine/node/counters.h"
#include "engine/node/object.h"
#include "engine/node/pool.h"

struct node;

struct node_config {
	const char *master; /* "HOST:PORT" or "unix:NAME" */
	struct pool_config pool;
	const char *name;	 /* for people; NULL: the host's name */
	const char *listen_host; /* for peers */
	const char *announce_host;
	uint32_t port_first; /* range of ports for peers; 0: any */
	uint32_t port_last;
	const char *transport;	       /* "auto", or one: "rdma", "tcp", "shm" */
	uint64_t stream_threshold;     /* bytes; larger objects are readable while they arrive, */
	uint32_t stream_after_ms;      /* where that takes longer than this */
	uint64_t show_bytes_max;       /* registered before peers ask; 0: nothing */
	const char *cpu_latency;       /* as cpu_latency_read() takes it; NULL: any */
	uint32_t timeout_ms;	       /* for every remote step */
	uint32_t watermark_high;       /* percent of the pool: eviction begins */
	uint32_t watermark_low;	       /* percent: eviction ends */
	bool immutable;		       /* a second put of a key is MC_EXISTS */
	bool guest;		       /* lends nothing: what is put here moves to other nodes */
	struct mc_placement placement; /* of what is put here where no policy says */
	bool metacache;		       /* answer from what the master said before */
};

/* What the mount is told, by any of the node's threads; none of these may wait. */
struct node_events {
	/* What is known of this object's attributes, and of its name, is true no longer. */
	void (*forget_attr)(void *context, uint64_t id);
	/* The same of all names. */
	void (*forget_all)(void *context);
	/* The bytes of this object leave the pool: close what is kept of its file and is not open.
	 * Called with the node locked. */
	void (*let_go)(void *context, struct object *object);
	void *context;
};

typedef void node_done_fn(void *context, enum mc_status status, struct object *object);

MC_MUST_CHECK enum mc_status node_open(const struct node_config *config,
				       const struct node_events *events, struct node **node);
/*
 * Wait (at most timeout_ms) until the master has answered HELLO and, where it can,
 * has taken the inventory: then what the pool holds is found by name.
 *
 * MC_TIMEOUT     no master answered
 * MC_CANCELLED   the node is being stopped
 */
MC_MUST_CHECK enum mc_status node_wait_ready(struct node *node, uint32_t timeout_ms);
/*
 * End what waits for the master or a peer (MC_CANCELLED); whatever is asked
 * from now on ends so too.  Before the mount's session ends, which its parked
 * requests must not outlive.
 */
void node_stop(struct node *node);
/* Stop, and free.  Takes NULL. */
void node_close(struct node *node, bool destroy_pool);

/* A request came: the machine's idle processors shall be ready (cpu_latency.h). */
void node_busy(struct node *node);

void node_lock(struct node *node);
void node_unlock(struct node *node);
struct object_table *node_objects(struct node *node);
struct counters *node_counters(struct node *node);
struct pool *node_pool(struct node *node);
void node_ref(struct node *node, struct object *object);
void node_unref(struct node *node, struct object *object);

/* -- names (lookup.c, name.c) -- */

enum node_lookup { NODE_FOUND, NODE_ABSENT, NODE_ASK };

/*
 * What memory knows of a name.  tid: the thread that asks; it sees its own
 * draft behind a published name.  NODE_FOUND: *object is set, not counted.
 */
enum node_lookup node_lookup_locked(struct node *node, uint64_t parent, const char *name,
				    size_t size, int32_t tid, struct object **object);

/* Memory has the last word on its name and its attributes, until an event says otherwise. */
bool node_known_locked(const struct node *node, const struct object *object);

/* Ask the master.  MC_NOT_FOUND.  MC_NOT_DIRECTORY. */
void node_lookup(struct node *node, uint64_t parent, const char *name, node_done_fn *done,
		 void *context);

/* Attributes that are true now: asks the master for a directory that others change. */
void node_getattr(struct node *node, struct object *object, node_done_fn *done, void *context);

/*
 * Make a draft under a name, open for writing.  With exclusive, a name that is
 * not staging is reserved at the master.  MC_EXISTS: with exclusive; without,
 * the object that is there is given with it.
 */
struct node_create {
	uint64_t parent;
	const char *name;
	uint32_t mode; /* with S_IFREG */
	uint32_t uid;
	uint32_t gid;
	bool exclusive;
	/*
	 * An empty draft of the pool, marked, which the call takes over; NULL: it makes its
	 * own.  For node_create().
	 */
	const int *file;
};
void node_create(struct node *node, const struct node_create *create, node_done_fn *done,
		 void *context);

void node_mkdir(struct node *node, const struct node_create *create, node_done_fn *done,
		void *context);
/* What has the name goes, and every draft that was to replace it.  MC_IS_DIRECTORY. */
void node_unlink(struct node *node, uint64_t parent, const char *name, node_done_fn *done,
		 void *context);
/* MC_NOT_EMPTY, MC_NOT_DIRECTORY */
void node_rmdir(struct node *node, uint64_t parent, const char *name, node_done_fn *done,
		void *context);

/*
 * What was published stays so, under a staging name too.
 *
 * MC_EXISTS   with noreplace
 * MC_STALE    the name is not known here (any more): look it up again
 */
struct node_rename {
	uint64_t parent;
	const char *name;
	uint64_t new_parent;
	const char *new_name;
	bool noreplace;
	int32_t tid;
};
void node_rename(struct node *node, const struct node_rename *rename, node_done_fn *done,
		 void *context);

/*
 * A page of a directory: published entries after the cursor, then this node's
 * drafts.  add() is called for each, with the cursor that continues after it;
 * false: no more room.  Called while the node is locked.
 */
struct node_list {
	uint64_t directory;
	uint64_t cursor; /* 0: from the beginning */
	uint32_t count_max;
	bool (*add)(void *context, const struct mc_entry *entry, const char *name, uint64_t cursor);
	void *context;
};
void node_list(struct node *node, const struct node_list *list, node_done_fn *done, void *context);

/* A record for an entry that a list gave, not counted; NULL: it can't be had. */
struct object *node_listed_locked(struct node *node, uint64_t parent, const char *name,
				  const struct mc_entry *entry);

/* The kernel knows the object no longer: what is not here need not be remembered. */
void node_forget_locked(struct node *node, struct object *object);

/* -- attributes (attr.c) -- */

/* Bring size, times and DIRTY up to what the file says, where it may be written to. */
void node_sync_locked(struct node *node, struct object *object);

void node_setattr(struct node *node, struct object *object, uint32_t mask,
		  const struct mc_attr *attr, node_done_fn *done, void *context);
/* Change the size; a published object that nobody has open for writing is published again. */
void node_truncate(struct node *node, struct object *object, uint64_t size, int32_t tid,
		   node_done_fn *done, void *context);

typedef void node_xattr_fn(void *context, enum mc_status status, const void *value, size_t size);
/* The value; MC_NO_DATA. */
void node_getxattr(struct node *node, struct object *object, const char *name, node_xattr_fn *done,
		   void *context);
/* The names, each terminated. */
void node_listxattr(struct node *node, struct object *object, node_xattr_fn *done, void *context);
/* flags as setxattr(2); value NULL removes. */
void node_setxattr(struct node *node, struct object *object, const char *name, const void *value,
		   size_t size, int flags, node_done_fn *done, void *context);

/*
 * Set the wanted count of copies of what is below a directory, cluster-wide:
 * the policy of its path.  0 takes it back.
 */
void node_set_policy(struct node *node, struct object *directory, uint8_t replicas,
		     node_done_fn *done, void *context);

/* -- content (publish.c, pull.c) -- */

enum node_open_flag {
	NODE_OPEN_WRITE = 1u << 0,
	NODE_OPEN_TRUNCATE = 1u << 1,
	NODE_OPEN_COPY = 1u << 2, /* bytes of our own: MC_BUSY while it is lent to readers here */
};

/*
 * Open an object: pulls it when it is not here.  Counts opens and writers until
 * node_release().
 *
 * MC_STALE       the name must be looked up again: the object was removed or
 *                replaced; or, to truncate a published object, a draft stands in
 *                for it now that only this thread (tid) finds by name
 * MC_NOT_FOUND   no replica is left
 * MC_EXISTS      the node is immutable and the object is published
 */
void node_open_object(struct node *node, struct object *object, uint32_t flags, int32_t tid,
		      node_done_fn *done, void *context);

/* An object that is open but still arriving: reads must wait for their range. */
bool node_arriving_locked(struct node *node, struct object *object);
/* Call back when the range is there (or the pull failed). */
void node_await(struct node *node, struct object *object, uint64_t offset, uint64_t length,
		node_done_fn *done, void *context);

/*
 * A descriptor of the bytes of an open object, for reading.  own: the caller's to
 * close; else it lasts as long as the object is open.
 */
MC_MUST_CHECK enum mc_status node_file(struct node *node, struct object *object, int *fd,
				       bool *own);
/* A descriptor of the bytes of an open object, the caller's to close. */
MC_MUST_CHECK enum mc_status node_descriptor(struct node *node, struct object *object, bool write,
					     int *fd);

/* Make room for bytes, evicting as needed.  MC_NO_SPACE. */
MC_MUST_CHECK enum mc_status node_make_room(struct node *node, uint64_t size);

/* Publish if the content changed and the name is not staging. */
void node_flush(struct node *node, struct object *object, node_done_fn *done, void *context);

/* End what node_open_object or node_create began; publishes what no flush saw. */
void node_release(struct node *node, struct object *object, bool write);

/* -- the whole (node.c) -- */

struct node_space {
	uint64_t capacity;
	uint64_t used;
	uint64_t objects;
	uint64_t directories;
};
typedef void node_space_fn(void *context, enum mc_status status, const struct node_space *space);
void node_statfs(struct node *node, node_space_fn *done, void *context);

/* Where an object's replicas are, for people: "node-a(primary),node-b". */
void node_location(struct node *node, const struct object *object, char *text, size_t size);

/* Counters, one "name value" a line, terminated; the caller frees.  NULL: no memory. */
char *node_stats(struct node *node);

/* The same as metrics of Prometheus. */
struct writer;
void node_metrics(struct node *node, struct writer *w);

/* There is a master that answers. */
bool node_connected(const struct node *node);

/* Facts of this node, one "name value" a line, terminated, the caller frees. */
char *node_status(struct node *node);

#endif
