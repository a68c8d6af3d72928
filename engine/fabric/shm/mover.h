/*
 * engine/fabric/shm/mover.h -- who copies
 *
 * A thread that waits for its own slices copies what is ready; several may at once.
 * When nobody waits, the fabric's thread (mc-shm) does it.  That thread also listens to
 * the sockets.  As long as others copy it naps, MOVER_NAP_MS at a time, so that what
 * nobody waits for any more is late by that much at most; when nothing is under way, it
 * sleeps.
 *
 * Threads   Any.
 */
#ifndef ENGINE_FABRIC_SHM_MOVER_H
#define ENGINE_FABRIC_SHM_MOVER_H

#include "engine/fabric/shm/shm.h"

#define MOVER_NAP_MS  1
#define MOVER_TICK_MS 20 /* between looks at what waits for an answer */

/* Slices of one peer that have ended: their status is in their word. */
struct ended {
	struct slice_queue slices;
	struct shm_peer *peer;
	uint32_t count;
};

void slice_queue_init(struct slice_queue *queue);
void slice_queue_add(struct slice_queue *queue, struct fabric_slice *slice);
/* Append all of another, and empty that. */
void slice_queue_append(struct slice_queue *queue, struct slice_queue *other);

void ended_init(struct ended *ended, struct shm_peer *peer);
/* A slice that is in no queue any more ends. */
void ended_add_locked(struct ended *ended, struct fabric_slice *slice, enum mc_status status);
/* Call done() of each.  No lock is held. */
void ended_tell(struct ended *ended);

MC_MUST_CHECK enum mc_status mover_start(struct shm *shm);
/* End the thread; the lock is there until mover_fini(). */
void mover_stop(struct shm *shm);
void mover_fini(struct shm *shm);

/* See that the thread looks, if it sleeps. */
void mover_kick_locked(struct shm *shm);

/* Something has ended or can go on: tell those who wait for that. */
void mover_round_locked(struct shm *shm);

/* Wait for a round, at most so long; the lock is held before and after. */
void mover_wait_locked(struct shm *shm, uint64_t timeout_ns);

/* fabric_ops.progress */
void mover_progress(struct fabric *fabric, uint64_t timeout_ns);

#endif
