/*
 * engine/transport/onesided/showcase.h -- objects that are ready before anybody asks
 *
 * To show an object its file is mapped, summed and registered.  What rests here is
 * shown ahead by a thread that sums only where a core has nothing else to do
 * (SCHED_IDLE) and only when for SHOWCASE_QUIET_MS no object has moved or come to
 * rest: between the pieces of an object it looks again, and gives way.
 *
 *     none ── show ──► WISHED ── thread, or who asks ──► MAKING ──► READY
 *                        ▲  └─────────── hide ─────────┐   │ │        │
 *                        └──────── it gave way ────────┼───┘ └─ hide ─┼─► none
 *                                                      └──────────────┘
 *
 * Who asks for an object that is not ready makes it by himself, a piece at a time, for
 * all who come after, and those who come meanwhile help.  Nobody waits for the thread: of
 * what it is making its sums so far are taken over.  The newest is made first; when room
 * is short the oldest goes.
 *
 * What was made is right for one version in one file.  hide() comes before the bytes
 * change or the file goes, so nothing is answered from it afterwards; what a visitor
 * holds already stays until he lets go, as if it had been made for him.
 *
 * Ownership   An exhibit is counted: by the showcase, by visitors.
 * Threads     showcase_exhibit, showcase_leave: one at a time, the owner's.  All else:
 *             any thread.  showcase_show, showcase_hide never wait; the source is
 *             called with no lock held.  showcase->lock is a leaf.
 * Errors      Those of exhibit_new().
 * Limits      SHOWCASE_MAX objects, and as many bytes as the configuration says.
 */
#ifndef ENGINE_TRANSPORT_ONESIDED_SHOWCASE_H
#define ENGINE_TRANSPORT_ONESIDED_SHOWCASE_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/transport/onesided/exhibit.h"
#include "engine/transport/transport.h"

#define SHOWCASE_MAX	  1024u
#define SHOWCASE_BUCKETS  1024u
#define SHOWCASE_QUIET_MS 50u

struct display;

struct showcase_config {
	struct mc_engine *engine;
	const struct transport_source *source;
	uint64_t bytes_max; /* 0: nothing is shown ahead */
	/* When bytes of objects last moved; UINT64_MAX: they do now. */
	uint64_t (*moved_ns)(void *context);
	void *context;
};

struct showcase {
	/* fixed after start */
	struct showcase_config config;
	pthread_t thread;
	/* owned by the owner's thread */
	struct exhibit *makings; /* for who asked */
	/* owned by the thread */
	bool lowers; /* to SCHED_IDLE, as it can raise itself again */
	/* protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t wake; /* the thread */
	struct display *buckets[SHOWCASE_BUCKETS];
	struct display *oldest, *newest;
	uint32_t count;
	uint64_t bytes;		 /* of those that are ready */
	uint64_t ready;		 /* how many these are */
	uint64_t rested_ns;	 /* an object was last wished for: others may follow */
	struct exhibit *cleared; /* to be let go of */
	bool stopping;
	/* atomic */
	atomic_uint_fast64_t used; /* exhibits that were there when somebody asked */
};

MC_MUST_CHECK enum mc_status showcase_start(struct showcase *showcase,
					    const struct showcase_config *config);
/* End the thread and let all exhibits go.  Nobody asks any more. */
void showcase_stop(struct showcase *showcase);

/* The object rests here: have it ready, when there is time. */
void showcase_show(struct showcase *showcase, uint64_t id);
/* Its bytes will change, or its file goes: nothing is answered from it any more. */
void showcase_hide(struct showcase *showcase, uint64_t id);
/* Unmap and unregister now what is hidden and held by no visitor. */
void showcase_clear(struct showcase *showcase);

/*
 * Get the exhibit of what is held (*exhibit is NULL): the one that is there or in the making,
 * or a new one; and do a piece of what it still takes.  Until it is ready, call again with
 * this *exhibit.  It is the caller's, whatever is answered, to be given to showcase_leave().
 */
MC_MUST_CHECK enum mc_status showcase_exhibit(struct showcase *showcase,
					      const struct source_hold *hold,
					      struct exhibit **exhibit);
/* Let it go, ready or not; takes NULL. */
void showcase_leave(struct showcase *showcase, struct exhibit *exhibit);

void showcase_counters(struct showcase *showcase, struct transport_counters *counters);

#endif
