/*
 * master/placement.h -- which node takes the next copy of an object
 *
 * Among the nodes that are alive, do not drain, have none yet and could hold
 * it: the first preferred one; else, of those on hosts without a copy (where
 * there are any), the one with more free memory of two that are drawn with a
 * chance proportional to their free memory.
 *
 * Threads   The master's.
 */
#ifndef MASTER_PLACEMENT_H
#define MASTER_PLACEMENT_H

#include <mooncake/types.h>
#include <stdint.h>

#include "master/nodes.h"

struct placement_wish {
	uint64_t size;	      /* bytes that it takes in memory */
	const uint16_t *held; /* indices of nodes that have a copy */
	uint32_t held_count;
	const uint16_t *barred; /* and of those that are not to be asked */
	uint32_t barred_count;
	const struct mc_placement *placement; /* preferred nodes; NULL: none */
	bool preferred_only;		      /* no other will do */
	/* Bytes on their way to a node, which its heartbeat does not count yet; NULL: none. */
	uint64_t (*coming)(const void *context, const struct node *node);
	/* The node is too busy to be given one more now; NULL: none is. */
	bool (*busy)(const void *context, const struct node *node);
	const void *context;
	uint64_t *random; /* state of a generator, never 0 */
};

/* NULL: none can take it now; *later is set when one could that is busy. */
struct node *placement_choose(const struct nodes *nodes, const struct placement_wish *wish,
			      bool *later);

/* A node is there to take copies. */
static inline bool placement_open(const struct node *node)
{
	return node->state == NODE_PRESENT && node->public.alive && node_keeps(node);
}

#endif
