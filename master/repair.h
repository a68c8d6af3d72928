/*
 * master/repair.h -- objects that have fewer replicas than they should
 *
 * What lacks a copy is a job.  Where another node has a cache copy, that one
 * becomes a primary replica; else a node is chosen (placement.h) and told to
 * pull one (REPLICATE).
 *
 *     published, evicted, reported bad ─┐
 *     walk over the catalog ────────────┴─► queue ─► flight ─► REPLICA add ─► done
 *                                             ▲        │ refused, node lost, late
 *                                             └────────┘
 *
 * The queue's order: what was just put, then what has the fewest replicas that
 * can be read.  Just put objects are copied as they come; all else spends a
 * budget of bytes a second.  A walk over the catalog begins when a node has
 * been lost for ttl + delay, one came, a policy changed, a node drains; it takes
 * the objects with one replica first, then those with two, and so on, and waits
 * while the queue is full.
 *
 * Ownership   Of the master's state; it refers to objects by id.
 * Threads     The master's.
 * Limits      REPAIR_JOB_MAX jobs, REPAIR_FLIGHT_MAX copies under way to a node.
 */
#ifndef MASTER_REPAIR_H
#define MASTER_REPAIR_H

#include <mooncake/status.h>
#include <mooncake/types.h>

struct entry;
struct mc_master;
struct node;
struct repair;
struct session;
struct standing;

#define REPAIR_JOB_MAX	  65536u
#define REPAIR_FLIGHT_MAX 16u	 /* copies under way to one node */
#define REPAIR_LATE_MS	  30000u /* a small copy that takes longer is given to another node */

struct repair_counters {
	uint64_t queued;  /* objects that wait for a copy */
	uint64_t flights; /* copies under way */
	uint64_t made;	  /* copies made since the start */
	uint64_t refused; /* copies that a node could not make */
	uint64_t bad;	  /* reports of copies that could not be read */
	uint64_t lacking; /* objects that had too few when a walk last ended */
	bool walking;
};

/* NULL: out of memory. */
struct repair *repair_new(uint64_t rate, uint64_t now_ms);
void repair_free(struct repair *repair);

/* The records are loaded: nodes that they know and that don't return in time count as lost. */
void repair_begin(struct mc_master *master);

void repair_counters(const struct repair *repair, struct repair_counters *counters);
uint64_t repair_started_ms(const struct repair *repair);

/* Nodes that take copies, as of this turn. */
uint32_t repair_open_nodes(const struct repair *repair);

/* Once a turn: give jobs to nodes; in turns of the writer's own thread, walk on. */
void repair_turn(struct mc_master *master, bool own);
/* It is walking: the next turn should be soon. */
bool repair_walks(const struct repair *repair);

/* Look at all objects once more, in delay_ms at the latest. */
void repair_look(struct mc_master *master, uint64_t delay_ms);

/*
 * An object was published, with what its mount would like where no policy says
 * otherwise, or (own) with what this put itself says; NULL: nothing.  Fixes its
 * wanted count and pin; returns how many replicas its writer is to wait for, 0:
 * none beyond its own.
 */
uint8_t repair_published(struct mc_master *master, struct entry *entry,
			 const struct mc_placement *placement, bool own);

/*
 * The object lacks copies: raise cache copies, queue the rest.  False: it lacks
 * none any more.
 */
bool repair_want(struct mc_master *master, struct entry *entry, const struct standing *standing);

/* The wanted count of one object has changed. */
void repair_changed(struct mc_master *master, struct entry *entry);

/* A node told that it has a copy; that it has one no more; that it could not make one. */
void repair_added(struct mc_master *master, struct entry *entry, const struct node *node);
void repair_dropped(struct mc_master *master, struct entry *entry, const struct node *node);
void repair_refused(struct mc_master *master, uint64_t id, const struct node *node,
		    enum mc_status reason);

/* A session of the node ended: what it was told to copy it may not have heard. */
void repair_left(struct mc_master *master, const struct node *node);

/* A copy of another node could not be read: drop it where that is safe. */
void repair_bad(struct mc_master *master, struct session *session, struct entry *entry,
		uint32_t node_id, enum mc_status reason);

/* A copy of the object is wanted and may come. */
bool repair_expects(const struct repair *repair, uint64_t id);

/* The node to which a copy of the object is under way; 0: none.  For tests. */
uint32_t repair_flight(const struct repair *repair, uint64_t id);

#endif
