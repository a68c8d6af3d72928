/*
 * master/standing.h -- how an object stands: copies it has, copies it should have
 *
 * Only primary replicas count towards what is wanted; a cache replica is there
 * to be read, and to be made a primary one.  A replica of a node that was lost
 * a moment ago, or that is announcing, still counts: it may well be back before
 * a copy is made.  One on a draining node, or on a guest, does not count.
 *
 * Threads   The master's.
 */
#ifndef MASTER_STANDING_H
#define MASTER_STANDING_H

#include <stdint.h>

struct entry;
struct mc_master;
struct node;

struct standing {
	uint8_t wanted;	   /* by policy or its own attributes, at least 1 */
	uint8_t target;	   /* of these, as many as there are nodes for; at least 1 */
	uint8_t reachable; /* replicas of any kind that can be read now */
	uint8_t primaries; /* of these primary, and not on a draining node */
	uint8_t counted;   /* primaries, and those that may come back */
};

/* Of an object, not a directory. */
void standing_of(const struct mc_master *master, const struct entry *entry,
		 struct standing *standing);

/* Since when a node that is absent is; at the earliest since this master leads. */
uint64_t standing_lost_ms(const struct mc_master *master, const struct node *node);

/* Copies that are missing; 0: none. */
static inline unsigned standing_lack(const struct standing *standing)
{
	return standing->target > standing->counted ? standing->target - standing->counted : 0;
}

#endif
