/*
 * master/rank.h -- which replicas of an object are primary, and which only cache
 *
 * A change is recorded and the node is told (KIND, or DROP).
 *
 * Threads   The master's.
 */
#ifndef MASTER_RANK_H
#define MASTER_RANK_H

#include "master/state.h"

struct standing;

/* Its node is among the preferred; placement NULL: none is. */
bool rank_preferred(const struct mc_master *master, const struct mc_placement *placement,
		    uint16_t replica);

/*
 * Make cache copies primary ones, as many as are missing; *standing follows.  Not
 * those on a host with a primary replica, while another host could have one.
 */
void rank_raise(struct mc_master *master, struct entry *entry, struct standing *standing);

/*
 * Make cache what is too much, and take from draining nodes and guests what is
 * safe elsewhere.
 */
void rank_settle(struct mc_master *master, struct entry *entry,
		 const struct mc_placement *placement);

/*
 * The kind under which a replica that a node announces is taken back.  What the node
 * says may be old: that it was raised or lowered may not have reached it.
 */
enum mc_replica_kind rank_returned(struct mc_master *master, const struct entry *entry,
				   const struct node *node, enum mc_replica_kind said);

#endif
