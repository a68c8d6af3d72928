/*
 * master/census.h -- the walk over all objects that finds those with too few replicas
 *
 * One pass for objects with one readable replica, then one for those with two,
 * as far as objects lack copies.  The first pass also empties draining
 * nodes and lowers what is too much.  It goes on a bit a turn.
 *
 * Threads   The master's.
 */
#ifndef MASTER_CENSUS_H
#define MASTER_CENSUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mc_master;

struct census {
	bool due;
	bool walking;
	bool again; /* asked for while it walked */
	uint64_t due_ms;
	uint64_t again_ms;
	uint64_t began_ms; /* the walk, or the last one */
	size_t position;   /* in the table of ids */
	size_t growths;
	unsigned level;	      /* readable replicas of the objects of this pass */
	unsigned level_last;  /* of the objects that lack copies, as seen in this walk */
	unsigned wanted_max;  /* copies that any object wants, as seen in this walk */
	uint64_t lacking;     /* objects with too few, when the last walk ended */
	uint64_t lacking_now; /* in this one, in the passes that are over */
	uint64_t lacking_pass;
};

void census_init(struct census *census);

/* Begin a walk at a time, or sooner. */
void census_look(struct census *census, uint64_t at_ms);

/* Go on, if a walk is due and there is room for what it finds. */
void census_turn(struct mc_master *master, struct census *census, bool room);

#endif
