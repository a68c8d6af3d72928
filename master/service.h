/*
 * master/service.h -- from a request's bytes to its answer
 *
 * Each verb is a row: how to read one item of it, whether the item must wait
 * for a grant to be recalled, and what it does.  A body is read twice: once
 * whole, so that a malformed or a waiting request has no effect at all, then
 * item by item, each of which is applied by itself.  A batch that is only read
 * has no effect, so once is enough.
 *
 * A verb that is `readable` is first tried by the loop that read it, beside the
 * writer.  Its handler runs with call->reading then, under these rules:
 *
 *   - It changes nothing, and looks at entries by view_*() (view.h) alone.
 *   - Where it can't be sure of what it sees, or would have to change something,
 *     it sets call->left; all it wrote is forgotten, and the same request comes
 *     again to it as the writer, with call->reading false.
 *   - The connection is locked from before its first look until its answer is
 *     appended.  So an answer from before a change is on its way before the
 *     INVALIDATE of that change.
 *
 * Threads   service_read: loops.  The rest: the writer.
 */
#ifndef MASTER_SERVICE_H
#define MASTER_SERVICE_H

#include "engine/rpc/wire.h"
#include "master/state.h"

/* One item of any verb; what a verb does not say stays zero, but in node. */
struct item {
	uint64_t parent;
	const char *name;
	size_t name_size;
	uint64_t new_parent;
	const char *new_name;
	size_t new_name_size;
	uint64_t id;
	uint64_t version;
	uint64_t cursor;
	uint32_t flags;
	uint32_t mask;
	uint32_t count_max;
	uint8_t op;
	uint8_t kind;
	struct mc_attr attr;
	const char *value; /* bytes; of a placement too, see placement_take() */
	size_t value_size;
	uint32_t node_id;
	enum mc_status reason;
	uint64_t cluster;
	uint32_t epoch;
	struct mc_node node; /* the last and large: whoever reads one clears it */
};

/* Read a placement into value and value_size, checked; and take it from there. */
void placement_read(struct reader *r, struct item *item);
void placement_take(const struct item *item, struct mc_placement *placement);

struct ahead;

struct call {
	struct mc_master *master;
	struct session *session;
	struct writer *w; /* the reply's body goes here */
	bool reading;	  /* as a reader: see above */
	bool left;	  /* only when reading: the writer must do it */
	bool unstored;	  /* only of the writer: it tells of what is not stored yet */
	uint64_t now_ms;
	uint32_t missed; /* items that were MC_NOT_FOUND, counted when all is done */
	uint64_t request_id;
	uint32_t item;		   /* of a batch, from 0 */
	const struct ahead *ahead; /* NULL: nothing of the batch was loaded ahead */
	uint16_t age_s;		   /* since the request was sent first; 0: this is that */
	bool later;		   /* set by apply: service_reply() comes when there is an answer */
};

/* It was sent before, so long ago that what came of it may be forgotten. */
bool call_too_late(const struct call *call);

struct verb_row {
	void (*read)(struct reader *r, struct item *item);
	/* False: a grant is being recalled first.  NULL: adds no names. */
	bool (*clear)(struct call *call, const struct item *item);
	/* Write the result; what was written is taken back for an error that has none. */
	enum mc_status (*apply)(struct call *call, const struct item *item);
	bool batched;
	bool changes;	       /* refused while the journal can't be written */
	bool early;	       /* allowed before HELLO */
	bool misses_have_body; /* MC_NOT_FOUND comes with a result */
	bool readable;	       /* can be answered by a reader */
	bool gathers;	       /* must not miss what nodes are about to tell (gather.h) */
	bool ahead;	       /* its names are loaded ahead (ahead.h) */
	bool gathers_all;      /* waits until they have, whatever it comes to */
	bool slow;	       /* may take long as the writer: then never on a loop's thread */
};

/*
 * Answer a request beside the writer.  False: it can't be, nothing happened, and it
 * is for the inbox.
 */
bool service_read(struct mc_master *master, struct session *session, uint64_t now_ms,
		  const struct frame *frame, const uint8_t *body);

/* Answer a request, without a body. */
void service_reply(struct mc_master *master, struct session *session, enum mc_verb verb,
		   uint64_t request_id, enum mc_status status);

/* The rows; without apply: not a verb for a master. */
extern const struct verb_row service_rows[MC_VERB_LIMIT];

/* members.c */
void hello_read(struct reader *r, struct item *item);
enum mc_status hello_apply(struct call *call, const struct item *item);
void heartbeat_read(struct reader *r, struct item *item);
enum mc_status heartbeat_apply(struct call *call, const struct item *item);
enum mc_status grant_ids_apply(struct call *call, const struct item *item);
enum mc_status nodes_apply(struct call *call, const struct item *item);
enum mc_status statfs_apply(struct call *call, const struct item *item);
enum mc_status stats_apply(struct call *call, const struct item *item);
enum mc_status step_down_apply(struct call *call, const struct item *item);
void succeeded_read(struct reader *r, struct item *item);
enum mc_status succeeded_apply(struct call *call, const struct item *item);
enum mc_status recalled_apply(struct call *call, const struct item *item);
void nodes_write(struct mc_master *master, struct writer *w);

/* names.c */
enum mc_status lookup_apply(struct call *call, const struct item *item);
enum mc_status lookup_path_apply(struct call *call, const struct item *item);
enum mc_status exists_apply(struct call *call, const struct item *item);
void list_read(struct reader *r, struct item *item);
enum mc_status list_apply(struct call *call, const struct item *item);
enum mc_status path_apply(struct call *call, const struct item *item);

/* publish.c */
void publish_read(struct reader *r, struct item *item);
bool publish_clear(struct call *call, const struct item *item);
enum mc_status publish_apply(struct call *call, const struct item *item);
void announce_read(struct reader *r, struct item *item);
bool announce_clear(struct call *call, const struct item *item);
enum mc_status announce_apply(struct call *call, const struct item *item);
enum mc_status announced_apply(struct call *call, const struct item *item);

/* changes.c */
enum mc_status remove_apply(struct call *call, const struct item *item);
void rename_read(struct reader *r, struct item *item);
bool rename_clear(struct call *call, const struct item *item);
enum mc_status rename_apply(struct call *call, const struct item *item);
void mkdir_read(struct reader *r, struct item *item);
bool mkdir_clear(struct call *call, const struct item *item);
enum mc_status mkdir_apply(struct call *call, const struct item *item);
enum mc_status rmdir_apply(struct call *call, const struct item *item);
void reserve_read(struct reader *r, struct item *item);
enum mc_status reserve_apply(struct call *call, const struct item *item);
enum mc_status unreserve_apply(struct call *call, const struct item *item);

/* attributes.c */
void setattr_read(struct reader *r, struct item *item);
enum mc_status setattr_apply(struct call *call, const struct item *item);
void setxattr_read(struct reader *r, struct item *item);
enum mc_status setxattr_apply(struct call *call, const struct item *item);
enum mc_status getxattrs_apply(struct call *call, const struct item *item);
void removexattr_read(struct reader *r, struct item *item);
enum mc_status removexattr_apply(struct call *call, const struct item *item);

/* replicas.c */
void replica_read(struct reader *r, struct item *item);
enum mc_status replica_apply(struct call *call, const struct item *item);

/* policy.c */
void policy_set_read(struct reader *r, struct item *item);
enum mc_status policy_set_apply(struct call *call, const struct item *item);
void policy_prefix_read(struct reader *r, struct item *item);
enum mc_status policy_unset_apply(struct call *call, const struct item *item);
enum mc_status policies_apply(struct call *call, const struct item *item);
enum mc_status policy_apply(struct call *call, const struct item *item);

/* await.c */
void await_read(struct reader *r, struct item *item);
enum mc_status await_apply(struct call *call, const struct item *item);

/* drain.c */
void node_set_read(struct reader *r, struct item *item);
enum mc_status node_set_apply(struct call *call, const struct item *item);
void drain_read(struct reader *r, struct item *item);
enum mc_status drain_apply(struct call *call, const struct item *item);

#endif
