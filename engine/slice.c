#include "engine/slice.h"

#include <stdlib.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/batch.h"
#include "engine/segment.h"

void slice_pool_init(struct slice_pool *pool)
{
	*pool = (struct slice_pool){0};
	pthread_mutex_init(&pool->lock, NULL);
}

void slice_pool_fini(struct slice_pool *pool)
{
	MUST(pool->used == 0);
	for (uint32_t i = 0; i < pool->chunk_count; i++)
		free(pool->chunks[i]);
	pthread_mutex_destroy(&pool->lock);
}

static bool grow_locked(struct slice_pool *pool)
{
	if (pool->chunk_count == SLICES_MAX / SLICE_CHUNK_SIZE)
		return false;
	struct slice *chunk = calloc(SLICE_CHUNK_SIZE, sizeof(*chunk));
	if (!chunk)
		return false;
	pool->chunks[pool->chunk_count++] = chunk;
	for (uint32_t i = SLICE_CHUNK_SIZE; i-- > 0;) {
		chunk[i].next = pool->free;
		pool->free = &chunk[i];
	}
	return true;
}

uint32_t slices_take(struct slice_pool *pool, struct mc_batch *batch, struct slice **slices,
		     uint32_t count)
{
	uint32_t taken = 0;

	WITH_LOCK(&pool->lock);
	while (taken < count && (pool->free || grow_locked(pool))) {
		struct slice *slice = pool->free;
		pool->free = slice->next;
		*slice = (struct slice){.batch = batch};
		slices[taken++] = slice;
	}
	pool->used += taken;
	return taken;
}

static void free_locked(struct slice_pool *pool, struct slice *slice)
{
	slice->batch = NULL;
	slice->parked = false;
	slice->next = pool->free;
	pool->free = slice;
	pool->used--;
}

void slice_give(struct slice_pool *pool, struct slice *slice)
{
	pthread_mutex_lock(&pool->lock);
	MUST(slice->batch && !slice->parked);
	struct target *target = STEAL(slice->target);
	if (slice->batch->searches > 0)
		slice->parked = true;
	else
		free_locked(pool, slice);
	pthread_mutex_unlock(&pool->lock);
	target_unref(target);
}

struct target *slice_aim(struct slice_pool *pool, struct slice *slice, struct target *target)
{
	WITH_LOCK(&pool->lock);
	struct target *old = slice->target;

	slice->target = target;
	return old;
}

static uint32_t begin_search(struct slice_pool *pool, struct mc_batch *batch)
{
	WITH_LOCK(&pool->lock);
	batch->searches++;
	return pool->chunk_count;
}

/* The target of a slice of this batch, referenced; NULL: it is none, or has ended. */
static struct target *target_of(struct slice_pool *pool, const struct slice *slice,
				const struct mc_batch *batch)
{
	WITH_LOCK(&pool->lock);
	if (slice->batch != batch || slice->parked || !slice->target)
		return NULL;
	atomic_fetch_add(&slice->target->references, 1);
	return slice->target;
}

static void cancel(struct slice_pool *pool, struct slice *slice, const struct mc_batch *batch)
{
	struct target *target = target_of(pool, slice, batch);

	if (!target)
		return;
	struct fabric_peer *peer = target->channel->peer;
	peer->fabric->ops->cancel(peer, &slice->work);
	target_unref(target);
}

/* What was parked may be in a chunk that is newer than the search. */
static void end_search(struct slice_pool *pool, struct mc_batch *batch)
{
	WITH_LOCK(&pool->lock);
	if (--batch->searches > 0)
		return;
	for (uint32_t i = 0; i < pool->chunk_count; i++) {
		for (uint32_t j = 0; j < SLICE_CHUNK_SIZE; j++) {
			struct slice *slice = &pool->chunks[i][j];
			if (slice->batch == batch && slice->parked)
				free_locked(pool, slice);
		}
	}
}

void slices_cancel(struct slice_pool *pool, struct mc_batch *batch)
{
	uint32_t chunks = begin_search(pool, batch);

	for (uint32_t i = 0; i < chunks; i++) {
		for (uint32_t j = 0; j < SLICE_CHUNK_SIZE; j++)
			cancel(pool, &pool->chunks[i][j], batch);
	}
	end_search(pool, batch);
}

uint32_t slices_used(struct slice_pool *pool)
{
	WITH_LOCK(&pool->lock);
	return pool->used;
}
