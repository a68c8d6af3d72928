/*
 * engine/transport/onesided/carrier.h -- moves what owners have shown
 *
 * A few threads, each of which carries one object at a time: registers the sink's
 * memory, reads piece by piece with one piece ahead, sums each, and ends the fetch.
 * What a reader waits for comes first.
 *
 * Ownership   The carrier owns its jobs; a fetch is the puller's and ended here.
 * Threads     carrier_want, carrier_take, carrier_give_up: any thread.
 * Limits      CARRIER_THREADS objects at a time; the others wait in line.  A peer that
 *             nothing was read from for CARRIER_IDLE_MS is left at the next object.
 */
#ifndef ENGINE_TRANSPORT_ONESIDED_CARRIER_H
#define ENGINE_TRANSPORT_ONESIDED_CARRIER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "engine/transport/fetch.h"

#define CARRIER_THREADS 4u
#define CARRIER_IDLE_MS 120000u

struct mc_engine;
struct job;
struct host;

struct carrier {
	/* fixed after start */
	struct mc_engine *engine;
	struct puller *puller;
	pthread_t threads[CARRIER_THREADS];
	unsigned thread_count;
	/* protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct job *first, **last; /* in line */
	struct job *active[CARRIER_THREADS];
	struct host *hosts; /* peers that are connected */
	uint32_t host_count;
	uint64_t segments; /* named so far */
	bool stopping;
	/* atomic */
	atomic_uint numbered; /* threads that have a place in `active` */
	atomic_uint jobs;     /* taken and not ended */
	atomic_uint_fast64_t ended_ns;
};

MC_MUST_CHECK enum mc_status carrier_start(struct carrier *carrier, struct mc_engine *engine,
					   struct puller *puller);
/* End everything with MC_CANCELLED, and the threads; what is taken from now on ends so too. */
void carrier_stop(struct carrier *carrier);
/* Nothing is taken any more. */
void carrier_fini(struct carrier *carrier);

/* The two functions of struct puller_config, whose context is the carrier. */
void carrier_take(void *context, struct fetch *fetch);
void carrier_give_up(void *context, struct fetch *fetch);

/* When it last moved an object; UINT64_MAX: it moves one. */
uint64_t carrier_moved_ns(const struct carrier *carrier);

/* A reader waits for this range. */
void carrier_want(struct carrier *carrier, struct transport_pull *pull, uint64_t offset,
		  uint64_t length);

#endif
