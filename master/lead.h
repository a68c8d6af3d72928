/*
 * master/lead.h -- when a master serves
 *
 * With a journal of its own it serves as soon as that is loaded.  With one that
 * several have in common:
 *
 *              follow: leads       what it wrote first is safe
 *   STANDBY ───────────► ENTERING ────────────► SERVING
 *      ▲                     │                     │ ready: MC_STALE
 *      └─────────────────────┴─────────────────────┘ all sessions end
 *
 * What is written first is the new epoch, so nobody hears of one that the next
 * leader does not know.  The leader before is told meanwhile (predecessor.h), for
 * it may serve lookups still.
 *
 * Threads   The writer; lead_serves: any thread.
 */
#ifndef MASTER_LEAD_H
#define MASTER_LEAD_H

#include "master/state.h"

/* Take in the journal and begin; for one of this master alone. */
MC_MUST_CHECK enum mc_status lead_load(struct mc_master *master);

/*
 * One step of whatever is due; `only_look` on threads that are the writer for a
 * moment.  False: it does not serve.
 */
bool lead_step(struct mc_master *master, bool only_look);

/*
 * Another master says that it leads: answer nobody but it from now on, and stand
 * by with the next turn.  False: it is of another cluster, or of no newer epoch.
 */
MC_MUST_CHECK bool lead_lost(struct mc_master *master, const struct session *teller,
			     uint64_t cluster, uint32_t epoch);

/*
 * Whether an object of that version was known to this leader, or to one that its
 * records tell of.  One that is newer than all of them, and older than this
 * leader's term, was not: the records are of an old snapshot, and there is no
 * telling that it was removed.
 */
bool lead_knew(const struct mc_master *master, uint64_t version);

/* It serves now. */
bool lead_serves(const struct mc_master *master);

/* Answers to changes can't all go out at once. */
bool lead_holds(const struct mc_master *master);

#endif
