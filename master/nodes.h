/*
 * master/nodes.h -- the daemons that lend memory
 *
 * A node is known by its uuid; its id is its place in the table plus one, the
 * same again whenever it returns, also after a restart of the master.
 *
 *           HELLO                    last session ended
 *   ABSENT ───────► PRESENT ◄──────────────────────────► LEAVING
 *      ▲                               HELLO                │
 *      └────────────────── ttl_ms passed ───────────────────┘
 *
 * An absent node's replicas are not shown.  Each replica carries the round in
 * which it was told (published, added or announced); a round begins when a node
 * goes absent and when its first session begins.  A node that was absent shows
 * only what it tells in the new round.  One that was not (`lenient`) shows all.
 * ANNOUNCED drops what was not told in this round.
 *
 * Threads   nodes_shows, and what is atomic: any thread.  The rest: the writer.
 * Limits    MC_NODE_MAX nodes; who enters when the table is full takes the place
 *           of nodes_spare().
 */
#ifndef MASTER_NODES_H
#define MASTER_NODES_H

#include <mooncake/status.h>
#include <mooncake/types.h>

#define ROUND_MAX      7u /* rounds are 1 to this; 0: of an earlier life */
#define NODE_SHOWS_ALL 255u

enum node_state { NODE_FREE, NODE_ABSENT, NODE_PRESENT, NODE_LEAVING };

struct node {
	enum node_state state;
	struct mc_node public; /* as it goes over the wire */
	uint32_t sessions;
	uint64_t heard_ms; /* a heartbeat, on the monotonic clock */
	uint64_t left_ms;  /* when its last session ended */
	uint8_t round;	   /* of what it tells now */
	bool settled;	   /* has announced all since it was absent */
	bool lenient;	   /* replicas of earlier rounds are shown too */
	bool reset;	   /* rounds ran out: see nodes_reset() */
	uint8_t shows;	   /* atomic: the round whose replicas are shown, 0 none, NODE_SHOWS_ALL */
	uint64_t replicas; /* in the catalog */
	uint64_t told;	   /* of which in this round */
	uint64_t unsafe;   /* draining: replicas met in this walk that must stay for now */
	uint64_t unsafe_known;	   /* in the walk before */
	uint64_t counted_capacity; /* of nodes->capacity, and of the other */
	uint64_t counted_used;
};

struct nodes {
	struct node *table; /* MC_NODE_MAX, untouched ones take no memory */
	uint32_t used;	    /* no node at or beyond this */
	uint32_t alive;	    /* atomic */
	uint64_t capacity;  /* atomic; of those that are alive and lend memory */
	uint64_t occupied;  /* atomic; of that */
	bool changed;	    /* everyone must hear */
};

MC_MUST_CHECK enum mc_status nodes_init(struct nodes *nodes);
void nodes_fini(struct nodes *nodes);

/* NULL: no such node. */
struct node *nodes_find(const struct nodes *nodes, const uint8_t uuid[16]);

/* Find or make the node of a uuid.  MC_NO_SPACE: MC_NODE_MAX nodes are known. */
MC_MUST_CHECK enum mc_status nodes_get(struct nodes *nodes, const uint8_t uuid[16],
				       struct node **node);

/* A node that may be forgotten: absent, and without replicas.  NULL: there is none. */
struct node *nodes_spare(const struct nodes *nodes);

/* Forget a node that is absent and has no replicas; its record is the caller's to remove. */
void nodes_forget(struct node *node);

/* Put a node of the journal back at its place.  MC_IO: the place makes no sense. */
MC_MUST_CHECK enum mc_status nodes_restore(struct nodes *nodes, const struct mc_node *public);

/* A session of the node began or ended; left_ms: when it was last heard of. */
void nodes_enter(struct nodes *nodes, struct node *node, uint64_t now_ms);
void nodes_leave(struct nodes *nodes, struct node *node, uint64_t left_ms);

/* Let those go whose time has passed.  Returns how many went. */
uint32_t nodes_expire(struct nodes *nodes, uint64_t now_ms, uint32_t ttl_ms);

/*
 * Rounds begin anew: the caller has set every replica of the node to round 0.
 * Due, at once, when nodes_enter() or nodes_expire() has set node->reset.
 */
void nodes_reset(struct node *node);

/* The node has announced all it has, and what it did not was dropped. */
void nodes_settle(struct node *node);

/* The index that a packed replica has. */
static inline uint32_t node_index(const struct node *node)
{
	return node->public.id - 1;
}

/* How long nothing was heard of it; MC_NODE_NEVER_HEARD also where that does not fit. */
uint32_t node_silent_ms(const struct node *node, uint64_t now_ms);

/* What it said of its memory has changed, or whether that counts. */
void nodes_sum(struct nodes *nodes, struct node *node);

/* Alive, lenient, round or reset has changed: so does what is shown. */
void nodes_show(struct node *node);

/* Copies on it count: it lends memory, and goes on doing so. */
static inline bool node_keeps(const struct node *node)
{
	return !node->public.draining && !node->public.guest;
}

/* A packed replica can be read from. */
bool nodes_shows(const struct nodes *nodes, uint16_t replica);

#endif
