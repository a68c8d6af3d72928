/*
 * engine/batch.h -- the tasks of a batch, and who waits for them
 *
 *     WAITING ──submit──► PENDING ──► COMPLETED | FAILED | TIMEOUT | CANCELLED
 *
 * A task counts what is open of it: its slices in flight, and one more while it
 * is still being cut into them.  Whoever brings that to zero ends the task, wakes
 * those who sleep until the batch has ended, and then leaves it: when all tasks have
 * been left, it may be freed.  A small one is kept as the engine's spare, so that who
 * makes one for each transfer makes none.
 *
 * A notification is a task as well.  What is open of it: the requests that it waits
 * for, its place in the row of those to be cut, and its errand (herald.h), which
 * begins when only that is left.
 *
 * Threads   As the fields say.  Lock order: cut_lock, then end_lock or the pool's.
 */
#ifndef ENGINE_BATCH_H
#define ENGINE_BATCH_H

#include <mooncake/engine.h>
#include <pthread.h>
#include <stdatomic.h>

#include "engine/slice.h"

#define BATCH_BURST 64u /* slices handed over at once */

struct errand;
struct segment;

struct task {
	struct mc_request request; /* fixed once submitted */
	struct segment *segment;   /* NULL: the local one */
	struct region *here;	   /* the first of the local side; NULL: no bytes */
	struct region *there;	   /* the same of the other side, if that is ours as well */
	struct task *notice;	   /* the notification that waits for it; NULL: none */
	struct errand *errand;	   /* NULL: no notification, or one that has ended */
	/* protected by the batch's cut_lock */
	uint64_t cut; /* bytes that slices were made for */
	/* atomic */
	atomic_uint open;
	atomic_ullong bytes;
	atomic_int failure; /* the first; MC_OK: none */
	atomic_int state;   /* enum mc_task_state */
};

struct mc_batch {
	/* kept while it is spare */
	pthread_mutex_t cut_lock, end_lock;
	pthread_cond_t end;
	size_t room; /* for tasks */
	/* fixed after new */
	struct mc_engine *engine;
	size_t tasks_max;
	/* what is to be cut: protected by cut_lock */
	size_t cutting;			 /* the task that is being cut */
	struct slice *held[BATCH_BURST]; /* for which there was no room; all to one target */
	uint32_t held_count;
	/* protected by the engine's starving_lock */
	struct mc_batch *next_starving;
	bool starving;
	bool starved;  /* ever; known for sure when all has ended */
	unsigned pins; /* threads that got it from the list of the starving */
	/* protected by the slice pool's lock */
	unsigned searches;
	/* atomic */
	atomic_size_t submitted;
	atomic_size_t ended;
	atomic_size_t left;	   /* of them; nobody who ended these touches the batch any more */
	atomic_uint sleepers;	   /* until the end; changed under end_lock */
	atomic_size_t to_cut;	   /* tasks not cut as a whole yet, and held slices count as one */
	atomic_int stop;	   /* enum mc_task_state: CANCELLED or TIMEOUT, else 0 */
	atomic_uint mending;	   /* slices that wait for another try */
	atomic_uint heralded;	   /* notifications under way: their end wakes no fabric */
	atomic_uint fabrics;	   /* bit i: slices went to fabric i */
	atomic_ullong deadline_ns; /* 0: none */
	struct task tasks[];
};

/* One thing less is open of it. */
void task_close_one(struct mc_batch *batch, struct task *task);

/* Note the first failure; MC_OK is none. */
void task_fail(struct task *task, enum mc_status status);

/* All that was submitted has ended. */
bool batch_ended(struct mc_batch *batch);

/* Free one that mc_batch_free() kept as a spare; NULL: none. */
void batch_destroy(struct mc_batch *batch);

#endif
