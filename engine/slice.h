/*
 * engine/slice.h -- the slices of an engine, out of a pool
 *
 * Slices come in chunks that are made when more are needed than ever before, up
 * to SLICES_MAX, and go back to a free list: no allocation per transfer.  Nobody
 * keeps a list of the slices of a batch; who has to find them, to cancel them,
 * looks through all.  While that goes on, slices of that batch are not used
 * again: what ends is parked.
 *
 * Ownership   The pool owns the memory.
 * Threads     Any thread; the lock is a leaf.
 * Limits      SLICES_MAX.
 */
#ifndef ENGINE_SLICE_H
#define ENGINE_SLICE_H

#include <pthread.h>
#include <stdbool.h>

#include "engine/fabric/fabric.h"

#define SLICES_MAX	 65536u
#define SLICE_CHUNK_SIZE 256u

struct mc_batch;
struct task;
struct target;
struct region;

struct slice {
	struct fabric_slice work; /* first, so that done() finds the slice */
	struct mc_batch *batch;	  /* NULL: free */
	struct task *task;
	struct target *target; /* changed under the pool's lock */
	struct region *region; /* its task holds it */
	struct slice *next;
	uint64_t due_ns; /* of the next try */
	enum mc_status why;
	uint8_t tries;
	bool parked;
};

struct slice_pool {
	pthread_mutex_t lock;
	/* protected by lock */
	struct slice *chunks[SLICES_MAX / SLICE_CHUNK_SIZE];
	uint32_t chunk_count;
	struct slice *free;
	uint32_t used;
};

void slice_pool_init(struct slice_pool *pool);
/* All are free by then. */
void slice_pool_fini(struct slice_pool *pool);

/* Take at most count; returns how many there were. */
uint32_t slices_take(struct slice_pool *pool, struct mc_batch *batch, struct slice **slices,
		     uint32_t count);
/* Give one back, and let go of its target. */
void slice_give(struct slice_pool *pool, struct slice *slice);

/* Aim a slice that is not in flight at another target; returns the old one. */
struct target *slice_aim(struct slice_pool *pool, struct slice *slice, struct target *target);

/* Ask the fabrics to end every slice of the batch. */
void slices_cancel(struct slice_pool *pool, struct mc_batch *batch);

uint32_t slices_used(struct slice_pool *pool);

#endif
