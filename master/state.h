/*
 * master/state.h -- what a master is made of
 *
 * One struct that the parts of the master pass to each other: each verb needs
 * most of them.
 *
 *     server ── frames ──► service_read: answers what it can from the tables
 *                            │ the rest
 *                            ▼
 *                          inbox ──► service_request ──► handlers of verbs
 *                                                          │  │  │
 *                                sessions, grants ◄────────┘  │  └─────► nodes
 *                                                             ▼
 *                                                          catalog ── touched ──► journal
 *
 * Rules for handlers
 *
 *   R1  A handler runs as the writer: it holds `writing`, nobody else changes
 *       anything, and it may use all of this struct.  Handlers of verbs that are
 *       marked `readable` also run as readers, see service.h.
 *   R2  master_touch() an entry *before* changing a field of it.  From there until
 *       the turn's group is in the journal readers leave it alone.  Names come and
 *       go by the catalog's functions, which touch by themselves.
 *   R3  What readers look at besides is atomic and says so in its header: nodes
 *       (nodes_show() after a change of what is shown), the hints of a directory,
 *       id, node and heard_ms of a session, counters (counter_add()).
 *   R4  What a reader may have found is freed by grace_free(), never by free().
 *   R5  A handler answers into call->w and pushes by master_session_push(); both
 *       go out when the turn's group is in the journal, in order.
 *   R6  A handler that may take long (a page, a sweep, a walk over everything)
 *       marks its verb `slow`, so that no loop runs it.
 *   R7  Other threads that want to look queue what they want and inbox_wake(): the
 *       writer's own thread looks for them, see admin.h.
 *
 * Threads   The writer: whoever holds `writing`.
 */
#ifndef MASTER_STATE_H
#define MASTER_STATE_H

#include <mooncake/master.h>
#include <mooncake/protocol.h>
#include <pthread.h>

#include "engine/rpc/server.h"
#include "master/catalog.h"
#include "master/inbox.h"
#include "master/ledger.h"
#include "master/nodes.h"
#include "master/policy.h"
#include "master/reservation.h"
#include "master/session.h"

struct admin;
struct held;
struct unstored;
struct journal;
struct repair;
struct wait;

/* rpc and errors are atomic: counter_add(), counter_get(). */
struct counters {
	uint64_t rpc[MC_VERB_LIMIT];
	uint64_t errors[256]; /* by -status, 255: any above */
	uint64_t recalls;
	uint64_t invalidations;
	uint64_t drops;
	uint64_t grants;
	uint64_t parked;
	uint64_t raised;  /* cache copies that became primary */
	uint64_t lowered; /* and the other way */
};

static inline void counter_add(uint64_t *counter, uint64_t by)
{
	__atomic_fetch_add(counter, by, __ATOMIC_RELAXED);
}

static inline uint64_t counter_get(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

struct mc_master {
	/* fixed after start */
	struct server *server;
	struct admin *admin;		 /* NULL: no HTTP */
	struct cpu_latency *cpu_latency; /* NULL: off */
	struct mc_clock clock;
	uint32_t loop_count;
	uint32_t heartbeat_ms;
	uint32_t ttl_ms;
	uint32_t repair_delay_ms;
	uint64_t repair_rate;
	uint32_t epoch;	  /* of this start */
	uint64_t cluster; /* drawn with the journal */
	char name[MC_NODE_NAME_SIZE];
	bool flush_waits; /* for a disk or a peer: only on the writer's own thread */
	pthread_t thread; /* the writer's own */
	struct master_loop {
		struct mc_master *master;
		pthread_t thread;
		struct batch *batch; /* the loop's: requests of this turn */
		uint64_t apart[5];   /* a cache line each */
	} loops[GRACE_READER_MAX];

	struct inbox inbox;
	pthread_mutex_t writing; /* protects all that follows */
	bool stopped;		 /* no thread runs any more */

	/* this turn */
	uint64_t now_ms;     /* monotonic */
	struct mc_time now;  /* real */
	bool turning;	     /* now is set */
	uint64_t checked_ms; /* when silence was looked for last */

	struct catalog catalog;
	struct nodes nodes;
	struct reservations reservations;
	struct ledger ledger;
	struct policies policies;
	struct repair *repair;
	struct wait *waits; /* writers that wait for replicas */
	struct session *sessions;
	struct session *ready; /* those with something to send when the turn ends */
	uint32_t session_count;
	uint32_t session_id; /* given last */
	struct parking parkings[PARKING_COUNT];
	uint32_t recalled;  /* grants that are being recalled */
	uint32_t gathering; /* atomic; nodes that are waited for, see gather.h */
	uint64_t gather_began_ms;
	bool nodes_untold; /* a new session has not heard of the nodes */
	uint64_t id_next;  /* never handed out yet */
	uint64_t id_known; /* ids from here to id_next that are not in the catalog were removed */
	uint64_t recorded_ns; /* the newest time in the records that were taken in; real */
	uint64_t entered_ns;  /* when this master began to lead; real */
	struct counters counters;

	struct journal *journal;
	struct writer record; /* where one is encoded */
	bool meta_touched;    /* ids, epoch */
	bool node_touched;    /* some of these */
	uint64_t nodes_touched[MC_NODE_MAX / 64];
	bool read_only;	   /* the journal can't be written */
	bool leading;	   /* its records are a catalog */
	bool serving;	   /* atomic; sessions may begin: see lead.h */
	uint64_t entered;  /* group that must be safe before it serves; 0: it is */
	bool refollowed;   /* what it followed made no sense, so all is read again */
	bool holding;	   /* answers to changes wait, in this turn */
	struct held *held; /* those that do, in order */
	struct held **held_end;
	struct unstored *unstored; /* NULL: answers do not wait for etcd */
	uint64_t id_reserved;	   /* what the journal was told is handed out */
	uint64_t id_safe;	   /* what it has of that */
	uint64_t reserve_group;	   /* in which it was told */
	uint64_t retried_ms;	   /* when that was tried last */
	bool snapshotting;
	size_t snapshot_position; /* in the table of ids */
	size_t snapshot_growths;
	uint64_t snapshot_after_ms; /* one failed: the next is not before then */
};

/* The monotonic clock, for any thread. */
uint64_t master_now_ms(const struct mc_master *master);
/* Take the time, once a turn. */
void master_clock(struct mc_master *master);

/* The journal must learn the state of an entry, which is about to change, or of a node. */
void master_touch(struct mc_master *master, struct entry *entry);
/*
 * A name is about to be lost or to move.  Where the journal knows entries by their
 * places, what was changed so far is put before: the deed and its change then stand
 * together, and a crash leaves both or none.
 */
void master_part(struct mc_master *master);
void master_touch_node(struct mc_master *master, const struct node *node);

/* Take one id for a directory that the master makes. */
uint64_t master_id(struct mc_master *master);
/* An id came from an earlier life of the cluster: never hand it out. */
void master_id_seen(struct mc_master *master, uint64_t id);

/* What the journal is told of ids: all before it may have been handed out. */
uint64_t master_ids_reserve(struct mc_master *master);

/* Hand out ids; none while the journal can't be written. */
void master_ids(struct mc_master *master, uint64_t *first, uint32_t *count);

/* A request: service.c calls this for those that were parked as well. */
void service_request(struct mc_master *master, struct session *session, const struct frame *frame,
		     const uint8_t *body);

#endif
