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
#include "engine/node/stock.h"
#include "engine/rpc/client.h"
#include "engine/rpc/wire.h"
#include "engine/transport/transport.h"

#define NODE_TRANSPORT_MAX 6u
#define NODE_RESTING_MAX   256u

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
	struct stock *stock;
	struct client *client;
	struct transport_source source;
	struct transport *transports[NODE_TRANSPORT_MAX];
	unsigned transport_count;
	char name[MC_NODE_NAME_SIZE];
	char host[MC_NODE_NAME_SIZE];
	pthread_t janitor;
	struct cpu_latency *cpu_latency; /* NULL: off */
	char cpu_latency_why[96];	 /* "on...", or why not */

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
	uint32_t writers;		  /* handles open for writing */
	struct pull *pulls;		  /* under way */
	struct object *replacing;	  /* drafts behind published names, by `newer` */
	struct publishing *publishing;	  /* wait for another publish of their object */
	struct replication *replications; /* copies that the master wants */
	uint32_t replication_count;
	struct condemned *condemned; /* replaced, oldest first */
	struct condemned **condemned_last;
	struct transport *showing;	    /* that can get ready for peers; NULL: none */
	uint64_t resting[NODE_RESTING_MAX]; /* the last ids that came to rest, not told to it yet */
	uint32_t resting_count;
	struct lingering *lingering; /* just closed, but open for writing still */
	struct lingering *mapped;    /* what lasts: mapped writable, in turn */
	struct lingering **mapped_last;
	struct claim *claims;		/* of objects that are written in place */
	struct offer *offers;		/* to the master, not answered yet or in doubt */
	struct doubt_wait *doubt_waits; /* for what is in doubt */
	uint64_t doubt_ns;		/* what is in doubt is asked for again then */
	bool doubts_asked;		/* that is under way */

	uint32_t heartbeat_ms;
	uint32_t ttl_ms;
	uint64_t beat_ns;
	bool announced;	       /* some master has taken the inventory */
	uint32_t told_session; /* the last in which the master was told it, or refused it */
	uint64_t announce_ns;  /* the inventory is told again then; 0: it was taken */
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
/* The same, but never sent again in another session (client_call_here). */
void node_ask_here(struct node *node, enum mc_verb verb, struct writer *body,
		   client_reply_fn *reply, void *context);
/* For what nobody waits for. */
void node_ignore_reply(void *context, enum mc_status status, struct reader *body, bool resent);
void node_ignore_done(void *context, enum mc_status status, struct object *object);
/* What the caller sees of a change that failed so. */
enum mc_status node_change_status(enum mc_status status);

/* A fresh id of those granted; 0: none at hand (more were asked for). */
uint64_t node_new_id_locked(struct node *node);

/* Read the item status of a batch of one. */
enum mc_status read_item(enum mc_status status, struct reader *body);

/* -- lookup.c -- */
/* Take over whose it is and how it is placed, which is the same for all of its versions. */
void node_adopt_rights_locked(struct object *object, const struct mc_attr *attr);
/* Take the attributes and replicas of an object as the master records them. */
void node_adopt_attr_locked(struct node *node, struct object *object, const struct mc_entry *entry);
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
/*
 * A change of this name was sent and not answered: what was known of it may hold
 * no longer.  The master is asked, by the kernel too, before it is used again.
 */
void node_doubt_name_locked(struct node *node, uint64_t parent, const char *name);
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
/* The value of one as text, cut off at size - 1; false: it has none. */
bool node_xattr_text_locked(const struct object *object, const char *name, char *text, size_t size);

/* -- linger.c -- */
/* The last writer closed; where a writable map lives on, look again later. */
void node_linger_locked(struct node *node, struct object *object);
/* A new version could not be published: the janitor tries again once nobody has it open. */
void node_linger_again_locked(struct node *node, struct object *object);
/* Publish what such maps wrote, once they are gone. */
void node_linger_turn(struct node *node);
/* Forget them all: the node closes. */
void node_linger_end(struct node *node);

/* -- release.c -- */
/*
 * As node_flush(), long after the last close, for what a map may have written: not
 * where the object has been replaced or removed since.  (Where this node is about to
 * replace or remove it, node_flush() does not do that either.)
 */
void node_flush_left(struct node *node, struct object *object, node_done_fn *done, void *context);

/* -- claim.c -- */
/*
 * A published object is about to be written in place.  Does nothing where that was
 * said before.  MC_BUSY: a peer of this host reads its file.
 */
MC_MUST_CHECK enum mc_status node_claim_locked(struct node *node, struct object *object);
/* End the claim where nobody writes any more and all is published. */
void node_claim_settle_locked(struct node *node, struct object *object);
void node_claim_end_locked(struct node *node, struct object *object);
/* Forget them all: the node closes. */
void node_claims_end(struct node *node);

/* -- condemn.c -- */
/*
 * Let go of the file of a local object that was replaced, in a moment.  The master said
 * that it is dropped, or is asked before, until it says whether the object is gone.
 */
void node_condemn_locked(struct node *node, struct object *object, bool dropped);
/* A local file is open, to read only: it is what all have who open the object meanwhile. */
bool node_read_locked(const struct object *object);
/* The master has no use for this copy: it goes at once, or when nobody reads it any more. */
void node_drop_locked(struct node *node, struct object *object);
/* See to those whose time has come. */
void node_condemned_turn(struct node *node);
/* Discard them all now. */
void node_condemned_evict(struct node *node);
/* The node closes; the next start announces what was not dropped. */
void node_condemned_end(struct node *node);

/* -- name.c -- */
/* The draft wants the name that it reserved no longer. */
void node_unreserve(struct node *node, uint64_t parent, const char *name, uint64_t id);

/* -- doubt.c -- */
/* What the master was offered, and may have or not until it says so. */
struct offer {
	struct offer *next;
	struct offer **at;     /* NULL: it is not, or no more, on offer */
	struct object *object; /* counted, like parent */
	struct object *parent;
	char *name;
	struct mc_attr attr;
	uint64_t over;	/* the object that had the name here; 0: none */
	bool exclusive; /* it may not replace anything */
	bool doubted;	/* no answer came, and none will */
};
/* From now on it is announced as it was offered, until the end. */
void node_offer_locked(struct node *node, struct offer *offer);
void node_offer_end_locked(struct offer *offer);
/* That of an object, NULL. */
struct offer *node_offered_locked(const struct node *node, const struct object *object);
/* What may take its name is on its way to the master, or was and is not answered. */
bool node_leaving_locked(const struct node *node, const struct object *object);
/* No answer came: the next turn asks. */
void node_doubt_locked(struct node *node, struct offer *offer);
/* End an offer in doubt, of which the master has spoken; NULL: there is none of that version. */
struct offer *node_doubt_take_locked(struct node *node, const struct object *object,
				     uint64_t version);
/* Let those go who wait for the object. */
void node_offer_over(struct node *node, const struct object *object);
/* MC_OK: the master has spoken, begin anew.  MC_TIMEOUT: it could not be asked. */
typedef void doubt_over_fn(void *context, enum mc_status status);
/*
 * True: the master may have the draft or not, being offered it, or the new version is
 * in doubt; go is called when that has ended, or after a while.
 */
bool node_offer_wait_locked(struct node *node, struct object *object, doubt_over_fn *go,
			    void *context);
/* Who wants to write to an object in doubt opens it later.  False: it is not in doubt. */
bool node_doubt_open(struct node *node, struct object *object, uint32_t flags, int32_t tid,
		     node_done_fn *done, void *context);
/*
 * True: in this session the master was not told yet what the pool holds, so that it
 * may not know names that it knew before.  go is called when it was, or at the deadline.
 */
bool node_told_wait(struct node *node, uint64_t deadline_ns, doubt_over_fn *go, void *context);
/* It was told now, or there is another session. */
void node_told(struct node *node);
/* Ask for what is in doubt, where that is due; end who waited too long. */
void node_doubts_turn(struct node *node);
/* Nobody waits any more. */
void node_doubts_stop(struct node *node);
/* The node closes: what is in doubt is asked for when it starts anew. */
void node_doubts_end(struct node *node);

/* -- publish.c -- */
/* The master has spoken of an offer that was in doubt; attr NULL: it has it not. */
void node_offer_settle(struct node *node, struct offer *offer, const struct mc_attr *attr);
/* Free it, and leave its file as it is. */
void node_offer_drop(struct offer *offer);
/* End those who wait to publish the object; NULL: any that is in doubt. */
void node_publishes_give_up(struct node *node, const struct object *object);
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
/* What had the name of a put or a rename is taken to be gone, until the master says so. */
void node_replaced_locked(struct node *node, struct object *object);
/* The object has lost its name for good. */
void node_removed_locked(struct node *node, struct object *object);
/* Whether it is pinned, and how many copies are wanted, as the master says. */
void node_placed_locked(struct object *object, const struct mc_attr *attr);
/* Write the record of a committed object anew; not what a publish has just written. */
void node_rewrite_record(struct node *node, struct object *object);

/* -- evict.c -- */
void sieve_add_locked(struct node *node, struct object *object);
void sieve_remove_locked(struct node *node, struct object *object);
/* What must be free for the stock to grow. */
uint64_t node_stock_room(const struct node *node);
/* A turn of the janitor; returns how long it may sleep. */
uint32_t node_evict_turn(struct node *node);

/* -- show.c -- */
/* Nobody writes the object any more. */
void node_rests_locked(struct node *node, const struct object *object);
/* Its bytes will change, or its file goes. */
void node_hide_locked(struct node *node, struct object *object);
/* Tell the transport what came to rest. */
void node_show_turn(struct node *node);
/* Give up the files of what was hidden, now. */
void node_show_clear(struct node *node);

/* -- replicate.c -- */
/* The master's REPLICATE and KIND. */
void node_push_replicate(struct node *node, struct reader *body);
void node_push_kind(struct node *node, struct reader *body);
/* Write into its record what kind the master knows a committed object as. */
void node_record_kind(struct node *node, uint64_t id, enum mc_replica_kind kind);
/*
 * A copy of the object is being made because the master said so: it becomes a
 * primary replica, and where the object has no name here this is its path
 * (MC_PATH_MAX + 1 bytes; NULL: not wanted).
 */
bool node_replicating_locked(const struct node *node, const struct object *object, char *path,
			     size_t *size);
/* Tell the master that this node has no replica of that version. */
void node_tell_gone(struct node *node, uint64_t id, uint64_t version);
/*
 * The same where the master says that an object is here, and it is not: as after a put that
 * failed in doubt while the master took no change.  It would never hear of it otherwise.
 */
void node_disown(struct node *node, const struct object *object);
/* Tell the master that the copy of another node could not be read. */
void node_tell_bad(struct node *node, const struct transport_pull *pull, uint32_t owner,
		   enum mc_status reason);

/* -- pull.c -- */
enum mc_status node_transports_open(struct node *node);
void node_transports_close(struct node *node);

/* The best way to a peer. */
struct node_reach {
	struct transport *transport;
	char endpoint[MC_ENDPOINT_SIZE];
	unsigned score;
};
/* below: only what scores less; 0: anything.  False: there is none. */
bool node_reach_locked(const struct node *node, const struct mc_node *peer, unsigned below,
		       struct node_reach *reach);
/* Why it is that one, for people. */
const char *node_reach_why(const struct node *node, const struct mc_node *peer,
			   const struct node_reach *reach);
/* Have the object pulled, unless it is on its way, and end the open with it. */
void node_pull_wait(struct op *op);
/* Cancel the pulls under way and wait, a moment, until their callers know. */
void node_pulls_cancel(struct node *node);
/* Copy bytes 0 to size, and leave holes what they are.  MC_IO: the source is shorter. */
enum mc_status node_copy_file(int from, int to, uint64_t size);
/* Somebody has opened the object, with flags as for node_open_object(). */
void node_opened_locked(struct node *node, struct object *object, uint32_t flags);

/* -- borrow.c -- */
/* A peer's file stands in for one of ours: fd and loan are the object's from now on. */
MC_MUST_CHECK enum mc_status node_borrow_locked(struct node *node, struct object *object,
						struct transport *transport, int fd, void *loan);
/*
 * Take the file off a peer's shelf, without asking it, and count the object as
 * opened for reading.  False: not to be had so.
 */
bool node_borrow_take(struct node *node, struct object *object);
/* The borrowed file. */
int node_borrowed_locked(const struct object *object);
void node_borrow_end_locked(struct node *node, struct object *object);
/* At the end: give back what is lent to objects that are open still. */
void node_borrows_end(struct node *node);

/* -- source.c -- */
/* What the transports serve from; context is the node. */
enum mc_status source_hold(void *context, uint64_t id, uint64_t version, struct source_hold *hold);
void source_release(void *context, struct source_hold *hold);
int source_shelf(void *context);
void source_used(void *context, uint64_t id);

/* -- session.c -- */
extern const struct client_events node_session_events;
/* Read the files of the pool into the table. */
enum mc_status node_scan(struct node *node);
void node_announce(struct node *node);
/*
 * Ask the master of these objects as an announcement does; ids that are not here
 * are left out.  ended, which may be NULL, is told how the asking went.
 */
typedef void ask_ended_fn(struct node *node, void *context, enum mc_status status);
void node_ask_about(struct node *node, const uint64_t *ids, size_t count, ask_ended_fn *ended,
		    void *context);

#endif
