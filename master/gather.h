/*
 * master/gather.h -- the first moment of a leader, in which nodes come back to it
 *
 * A leader that has just begun knows from its records where objects are, and
 * shows none of it before the nodes have told what they hold.  Who asks in that
 * moment must not hear that an object is not there, nor get its name as a free
 * one: what comes to a miss, a listing and a reservation wait until every node of
 * the records has told all, or for GATHER_MS.  Then what is away is not found.
 *
 *     enter ─► GATHERING ── all nodes have told, or GATHER_MS passed ─► over
 *
 * Threads   gather_on: any thread.  The rest: the writer.
 */
#ifndef MASTER_GATHER_H
#define MASTER_GATHER_H

#include "master/state.h"

/* Mounts come back within some 100 ms; a node that is gone for good costs each takeover this. */
#define GATHER_MS 1000u

/* The records are taken in. */
void gather_begin(struct mc_master *master);
/* See whether it is over, and let those that wait go on where that can help. */
void gather_turn(struct mc_master *master);

static inline bool gather_on(const struct mc_master *master)
{
	return __atomic_load_n(&master->gathering, __ATOMIC_ACQUIRE) > 0;
}

#endif
