/*
 * engine/mender.h -- slices that failed get another try
 *
 * Another path first, where the fabric knows one; then the segment's descriptor
 * is fetched anew, since the peer may have registered its memory again or have
 * restarted elsewhere.  That waits for the network, so a thread of its own does
 * it.  Tries come faster than they may fail: from the third on there is a pause
 * that doubles.  It also disconnects what nobody uses any more.
 *
 * Threads   mender_take, mender_wake: any thread.
 * Limits    The engine's retries_max tries a slice (MC_RETRY_CNT).
 */
#ifndef ENGINE_MENDER_H
#define ENGINE_MENDER_H

#include <pthread.h>
#include <stdbool.h>

#include "engine/slice.h"

struct mc_engine;

struct mender {
	/* fixed after start */
	struct mc_engine *engine;
	pthread_t thread;
	/* protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct slice *first, **last;
	bool stopping;
};

MC_MUST_CHECK enum mc_status mender_start(struct mender *mender, struct mc_engine *engine);
/* No slice is left by then. */
void mender_stop(struct mender *mender);

/* Take a slice that failed. */
void mender_take(struct mender *mender, struct slice *slice, enum mc_status why);

/* Some batch was stopped: its slices need no more tries. */
void mender_wake(struct mender *mender);

#endif
