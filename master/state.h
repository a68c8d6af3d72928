/*
 * master/state.h -- what a master is made of
 *
 * One struct that the parts of the master pass to each other: each verb needs
 * most of them.
 *
 *     server ── frames ──► service ──► handlers of verbs
 *                                        │  │  │
 *                 sessions, grants ◄─────┘  │  └─────► nodes
 *                                           ▼
 *                                        catalog ── touched ──► journal
 *
 * A handler changes the catalog and calls master_touch() for what changed; at the end
 * of the turn the state of all that was touched is written to the journal as
 * one group, and then the answers go out.
 *
 * Threads   Everything belongs to the master's own thread once it runs.
 */
#ifndef MASTER_STATE_H
#define MASTER_STATE_H

#include <mooncake/master.h>
#include <mooncake/protocol.h>
#include <pthread.h>

#include "engine/rpc/server.h"
#include "master/catalog.h"
#include "master/nodes.h"
#include "master/reservation.h"
#include "master/session.h"

struct journal;
struct parked;

struct touched {
	uint64_t id;
	bool directory;
};

struct counters {
	uint64_t rpc[MC_VERB_LIMIT];
	uint64_t errors[256]; /* by -status, 255: any above */
	uint64_t recalls;
	uint64_t invalidations;
	uint64_t drops;
	uint64_t grants;
	uint64_t parked;
};

struct mc_master {
	/* fixed after start */
	struct server *server;
	pthread_t thread;
	uint32_t heartbeat_ms;
	uint32_t ttl_ms;
	uint32_t epoch;	  /* of this start */
	uint64_t cluster; /* drawn with the journal */
	char name[MC_NODE_NAME_SIZE];

	/* this turn */
	uint64_t now_ms;     /* monotonic */
	struct mc_time now;  /* real */
	bool turning;	     /* now is set */
	uint64_t checked_ms; /* when silence was looked for last */

	struct catalog catalog;
	struct nodes nodes;
	struct reservations reservations;
	struct session *sessions;
	uint32_t session_count;
	uint32_t session_id;   /* given last */
	struct parked *parked; /* requests that wait for a recall, in order */
	struct parked **parked_end;
	bool grant_ended;  /* some of them may go on */
	uint32_t recalled; /* grants that are being recalled */
	bool nodes_untold; /* a new session has not heard of the nodes */
	uint64_t id_next;  /* never handed out yet */
	uint64_t id_known; /* ids from here to id_next that are not in the catalog were removed */
	struct counters counters;

	struct journal *journal;
	struct writer record;	 /* where one is encoded */
	struct touched *touched; /* what the journal must learn, once each */
	size_t touched_count;
	size_t touched_capacity;
	bool meta_touched; /* ids, epoch */
	bool node_touched; /* some of these */
	uint64_t nodes_touched[MC_NODE_MAX / 64];
	bool read_only;	     /* the journal can't be written */
	uint64_t retried_ms; /* when that was tried last */
	bool snapshotting;
	size_t snapshot_position; /* in the table of ids */
	size_t snapshot_growths;
};

/* Take the time, once a turn. */
void master_clock(struct mc_master *master);

/* The journal must learn the state of an entry, of one that is gone, of a node. */
void master_touch(struct mc_master *master, struct entry *entry);
void master_touch_gone(struct mc_master *master, uint64_t id, bool directory);
void master_touch_node(struct mc_master *master, const struct node *node);

/* Take one id for a directory that the master makes. */
uint64_t master_id(struct mc_master *master);
/* An id came from an earlier life of the cluster: never hand it out. */
void master_id_seen(struct mc_master *master, uint64_t id);

/* Hand out ids; none while the journal can't be written. */
void master_ids(struct mc_master *master, uint64_t *first, uint32_t *count);

/* A request: service.c calls this for those that were parked as well. */
void service_request(struct mc_master *master, struct session *session, const struct frame *frame,
		     const uint8_t *body);

#endif
