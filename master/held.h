/*
 * master/held.h -- answers that wait until the journal has what they promise
 *
 * The frame of a held answer is taken out of the session's output and put back
 * when the journal says so.  Answers that promise nothing pass it meanwhile; what
 * is pushed to its session does not, for it may be about what the answer is about:
 * a node that hears that its object was replaced before it hears that the object
 * was published would keep it for good.
 *
 * What a node does upon a push can't always be undone (it drops an object), though
 * the leader that comes next may not know why it did.  Such a push is held until it
 * must know, whether answers wait or not, and with it what else the session's node
 * would be told of copies, but no invalidations.
 *
 * Threads   The writer.
 */
#ifndef MASTER_HELD_H
#define MASTER_HELD_H

#include "master/state.h"

/* Hold the frame that begins at this place of the session's output, an answer or behind one. */
void held_add(struct mc_master *master, struct session *session, size_t begin);
/* Hold a push that a node acts upon, if it must wait. */
void held_push(struct mc_master *master, struct session *session, enum mc_verb verb, size_t begin);

/* Let those go that need wait no more. */
void held_release(struct mc_master *master);

/* The session ends. */
void held_forget(struct mc_master *master, const struct session *session);

/* The master ends, and no session is left to hear of what waits. */
void held_fini(struct mc_master *master);

#endif
