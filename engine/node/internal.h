/*
 * engine/node/internal.h -- the parts of a node to each other
 *
 * Included by engine/node/ only.  One lock protects all state; nothing slow
 * happens under it.  Work that waits for the master or a peer is an `op`.
 */
#ifndef ENGINE_NODE_INTERNAL_H
#define ENGINE_NODE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/base/buffer.h"
#include "engine/base/clock.h"
#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/node/grant.h"
#include "engine/node/node.h"
#include "engine/rpc/client.h"
#include "engine/rpc/wire.h"
#include "engine/transport/transport.h"

#define NODE_TRANSPORT_MAX 4u

struct sieve {
	struct object *oldest;
	struct object *newest;
	struct object *hand;
	uint64_t count;
};

struct node {
	/* fixed after init */
	struct node_config config;
	struct node_events events;
	struct pool *pool;
	struct client *client;
	struct transport_source source;
	struct transport *transports[NODE_TRANSPORT_MAX];
	unsigned transport_count;
	char name[MC_NODE_NAME_SIZE];
	char host[MC_NODE_NAME_SIZE];
	pthread_t janitor;

	/* protected by lock */
	pthread_mutex_t lock;
	struct object_table objects;
	uint32_t session; /* counts connections to a master; 0: none yet */
	uint32_t id;	  /* given by the master */
	uint64_t next_id;
	uint64_t last_id; /* one beyond those granted */
	bool id_asked;
	struct mc_node *nodes;
	uint32_t node_count;
	struct sieve primary; /* evictable, whole replicas */
	struct sieve cache;   /* evictable, pulled copies: first to go */
	uint64_t local_count;
	uint64_t local_bytes;
	uint32_t writers;	       /* handles open for writing */
	struct pull *pulls;	       /* under way */
	struct object *replacing;      /* drafts behind published names, by `newer` */
	struct publishing *publishing; /* wait for another publish of their object */
	struct condemned *condemned;   /* replaced, oldest first */
	struct condemned **condemned_last;
	struct lingering *lingering; /* closed, but mapped writable */

	uint32_t heartbeat_ms;
	uint32_t ttl_ms;
	uint64_t beat_ns;
	char master_name[128];
	bool stopping;
	pthread_cond_t wake;   /* the janitor */
	pthread_cond_t change; /* session, room: for those who wait */

	struct counters counters;
};

/* One call in progress; holds references to its objects. */
struct op {
	struct node *node;
	node_done_fn *done;
	void *context;
	struct object *object;
	struct object *other;
	uint32_t flags;
	uint64_t stamp;
	char *name;
	char *new_name;
};

/* Take references; name and new_name may be NULL and are copied.  NULL: done() was called. */
struct op *op_new(struct node *node, struct object *object, struct object *other, const char *name,
		  const char *new_name, node_done_fn *done, void *context);
/* Free the op and its references, call done with the object (which may be NULL). */
void op_end(struct op *op, enum mc_status status, struct object *object);
/* The same without calling done. */
void op_free(struct op *op);

/* A request to the master about one op. */
void node_ask(struct node *node, enum mc_verb verb, struct writer *body, client_reply_fn *reply,
	      void *context);
/* For what nobody waits for. */
void node_ignore_reply(void *context, enum mc_status status, struct reader *body, bool resent);
void node_ignore_done(void *context, enum mc_status status, struct object *object);
/* What the caller sees of a change that failed so. */
enum mc_status node_change_status(struct node *node, enum mc_status status);

/* A fresh id of those granted; 0: none at hand (more were asked for). */
uint64_t node_new_id_locked(struct node *node);

/* Read the item status of a batch of one. */
enum mc_status read_item(enum mc_status status, struct reader *body);

/* -- lookup.c -- */
bool node_known_locked(const struct node *node, const struct object *object);
struct grant *node_grant_locked(const struct node *node, const struct object *directory);
/* Take what the master said into the table.  NULL: no memory, or not a directory. */
struct object *node_adopt_locked(struct node *node, struct object *parent, const char *name,
				 size_t size, const struct mc_entry *entry);
/* Unname a record whose name may still exist at the master, and tell the mount. */
void node_forget_name_locked(struct node *node, struct object *object);
/*
 * The name that the mount knows this object by is not its name any more.  It
 * asks about an object that is not open before it uses it again; of an open
 * one, or a directory, it must ask by name.
 */
void node_lost_name_locked(struct node *node, const struct object *object);
/* Note that a name of a granted directory exists. */
void node_note_name_locked(struct node *node, struct object *directory, const char *name);
/* Times of a directory after a change in it. */
void node_touch_locked(struct object *directory, int directories);
/* This object's draft for the thread, NULL. */
struct object *node_replacement_locked(struct node *node, const struct object *object, int32_t tid);
void node_replacement_end_locked(struct node *node, struct object *draft);

/* -- attr.c -- */
/* All user.* attributes as GETXATTRS has them; the caller frees.  NULL: none, or no memory. */
uint8_t *node_xattrs_copy_locked(const struct object *object, size_t *size);

/* -- linger.c -- */
/* The last writer closed; where a writable map lives on, look again later. */
void node_linger_locked(struct node *node, struct object *object);
/* Publish what such maps wrote, once they are gone. */
void node_linger_turn(struct node *node);
/* Forget them all: the node closes. */
void node_linger_end(struct node *node);

/* -- condemn.c -- */
/* Let go of the file of a local object that was replaced, in a moment. */
void node_condemn_locked(struct node *node, struct object *object);
/* Discard those whose time has come, or all; true: some are left. */
bool node_condemned_turn(struct node *node, bool all);

/* -- name.c -- */
/* The draft wants the name that it reserved no longer. */
void node_unreserve(struct node *node, uint64_t parent, const char *name, uint64_t id);

/* -- publish.c -- */
struct publish {
	struct object *object; /* a draft or a local object */
	struct object *parent;
	const char *name;
	uint32_t flags; /* enum mc_publish_flag */
};
void node_publish(struct node *node, const struct publish *publish, node_done_fn *done,
		  void *context);
/*
 * A new draft that takes the place of a published object when it is published:
 * what O_TRUNC means.  Only thread tid sees it by name until then.  With copy
 * it begins with the bytes of the object, which is borrowed.
 */
enum mc_status node_replace(struct node *node, struct object *object, int32_t tid, bool copy);
/* Drop those whose thread never came back to open them. */
void node_replacements_turn(struct node *node);
/* Free what a local object holds: its file, its place in the lists.  Keeps the record. */
void node_discard_locked(struct node *node, struct object *object);
/* The object has lost its name for good. */
void node_removed_locked(struct node *node, struct object *object);
/* The record of an object as it stands, RECORD_SIZE_MAX bytes at most. */
enum mc_status node_record_locked(const struct object *object, uint8_t *bytes, size_t *size);
/* Write the record of a committed object anew. */
void node_rewrite_record(struct node *node, struct object *object);

/* -- evict.c -- */
void sieve_add_locked(struct node *node, struct object *object);
void sieve_remove_locked(struct node *node, struct object *object);
/* A turn of the janitor; returns how long it may sleep. */
uint32_t node_evict_turn(struct node *node);

/* -- pull.c -- */
void node_pull(struct node *node, struct object *object, bool copy, node_done_fn *done,
	       void *context);
enum mc_status node_transports_open(struct node *node);
void node_transports_close(struct node *node);
/* Cancel the pulls under way and wait, a moment, until their callers know. */
void node_pulls_cancel(struct node *node);
/* Copy bytes 0 to size.  MC_IO: the source is shorter. */
enum mc_status node_copy_file(int from, int to, uint64_t size);
void node_borrow_end_locked(struct node *node, struct object *object);

/* -- source.c -- */
/* What the transports serve from; context is the node. */
enum mc_status source_hold(void *context, uint64_t id, uint64_t version, struct source_hold *hold);
void source_release(void *context, struct source_hold *hold);

/* -- session.c -- */
extern const struct client_events node_session_events;
/* Read the files of the pool into the table. */
enum mc_status node_scan(struct node *node);
void node_announce(struct node *node);

#endif
