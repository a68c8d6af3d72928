/*
 * master/turn.h -- what the master's threads do
 *
 *     mc-loop-N    reads requests of its connections; answers lookups itself;
 *                  handles a few small changes as the writer when nobody is it
 *     mc-master    the writer of all that is large or slow: batches, pages,
 *                  sweeps, snapshots; looks for silence
 *
 * Whoever is the writer holds master->writing for a turn: it applies what came,
 * puts what that touched into the journal as one group, and only then sends the
 * answers.  So an answer is never out before its change is in the journal, and a
 * burst costs one write.
 *
 * A loop that handles its own changes saves waking another thread, which on many
 * machines costs more than the change.  It never waits for the writer's place: when
 * that is taken it leaves its batch in the inbox and goes on with lookups.
 *
 * Threads   turn_run: the writer.  turn_thread: is one.
 */
#ifndef MASTER_TURN_H
#define MASTER_TURN_H

#include "master/state.h"

struct batch;

/* The callbacks of the server. */
extern const struct server_ops turn_server_ops;

/* The writer's thread: turns until inbox_stop().  The argument is the master. */
void *turn_thread(void *master);

/* One turn of the writer for the batch, or, with NULL, for all that waits. */
void turn_run(struct mc_master *master, struct batch *batch);

/* Write what was touched to the journal.  False: it could not be. */
bool turn_journal(struct mc_master *master);

#endif
