#include "engine/mender.h"

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"
#include "engine/engine.h"
#include "engine/segment.h"
#include "engine/transfer.h"

#define PAUSE_NS     500000ull /* before the third try */
#define PAUSE_MAX_NS 50000000ull
#define NO_ROOM_NS   1000000ull

static uint64_t pause_before(uint8_t tries)
{
	if (tries < 3)
		return 0;
	uint64_t pause_ns = PAUSE_NS << (tries - 3 < 8 ? tries - 3 : 8);
	return pause_ns < PAUSE_MAX_NS ? pause_ns : PAUSE_MAX_NS;
}

static void append_locked(struct mender *mender, struct slice *slice)
{
	slice->next = NULL;
	*mender->last = slice;
	mender->last = &slice->next;
}

void mender_take(struct mender *mender, struct slice *slice, enum mc_status why)
{
	slice->why = why;
	slice->tries++;
	slice->due_ns = clock_ns() + pause_before(slice->tries);
	atomic_fetch_add(&slice->batch->mending, 1);
	atomic_fetch_add(&mender->engine->slices_retried, 1);
	WITH_LOCK(&mender->lock);
	append_locked(mender, slice);
	pthread_cond_signal(&mender->wake);
}

void mender_wake(struct mender *mender)
{
	WITH_LOCK(&mender->lock);
	pthread_cond_signal(&mender->wake);
}

/* --- one slice ----------------------------------------------------------------------- */

static void end(struct slice *slice, enum mc_status status)
{
	atomic_fetch_sub(&slice->batch->mending, 1);
	transfer_end(slice, status);
}

/*
 * Take the segment's target of now.  MC_ACCESS: the memory is not there any more.
 * MC_NOT_SUPPORTED: it goes by a fabric now that can't touch ours.
 */
static enum mc_status aim_anew(struct mc_engine *engine, struct slice *slice)
{
	struct target *target = segment_target(&engine->segments, slice->task->segment);
	const struct segment_buffer *buffer;
	uint64_t left;
	enum mc_status status = target_find(target, slice->work.remote, &buffer, &left);

	if (!status && left < slice->work.length)
		status = MC_ACCESS;
	if (!status && !(slice->region->fabrics & 1u << target->channel->fabric))
		status = MC_NOT_SUPPORTED;
	bool refused = slice->why == MC_ACCESS && target == slice->target;
	if (status || refused) {
		target_unref(target);
		return status ? status : slice->why;
	}
	target_unref(slice_aim(&engine->pool, slice, target));
	slice->work.buffer = buffer;
	slice->work.key = slice->region->keys[target->channel->fabric];
	return MC_OK;
}

/* False: there is no other. */
static bool another_path(struct slice *slice)
{
	struct fabric_peer *peer = slice->target->channel->peer;
	uint32_t paths = peer->fabric->ops->paths(peer, slice->work.key, slice->work.buffer);

	slice->work.path++;
	return paths > 1;
}

/* Look at it again later. */
static void put_back(struct mender *mender, struct slice *slice, uint64_t pause_ns)
{
	slice->due_ns = clock_ns() + pause_ns;
	WITH_LOCK(&mender->lock);
	append_locked(mender, slice);
}

static void try_again(struct mc_engine *engine, struct slice *slice)
{
	enum mc_status status = MC_OK;
	bool moved = slice->why != MC_ACCESS && another_path(slice);

	if (!moved || slice->tries % 2 == 0) {
		/* A store that is silent is no reason to give up: the peer may be there. */
		enum mc_status asked =
			segment_refresh(&engine->segments, slice->task->segment, slice->target);
		/* The descriptor is young, and yet it may be older than the refusal. */
		if (asked == MC_AGAIN && slice->why == MC_ACCESS && slice->tries == 1) {
			put_back(&engine->mender, slice, SEGMENT_MOMENT_NS);
			return;
		}
		status = aim_anew(engine, slice);
	}
	if (status) {
		end(slice, status);
		return;
	}
	atomic_fetch_sub(&slice->batch->mending, 1);
	if (transfer_submit_one(slice))
		return;
	atomic_fetch_add(&slice->batch->mending, 1);
	put_back(&engine->mender, slice, NO_ROOM_NS);
}

/* --- the thread ------------------------------------------------------------------------ */

/* Work off all that is due; returns when the next is, 0: none is left. */
static uint64_t work_off(struct mender *mender)
{
	uint64_t next_ns = 0;

	pthread_mutex_lock(&mender->lock);
	struct slice *slice = STEAL(mender->first);
	mender->last = &mender->first;
	pthread_mutex_unlock(&mender->lock);
	while (slice) {
		struct slice *following = slice->next;
		int stop = atomic_load(&slice->batch->stop);
		if (stop) {
			end(slice, stop == MC_TASK_TIMEOUT ? MC_TIMEOUT : MC_CANCELLED);
		} else if (slice->due_ns <= clock_ns()) {
			try_again(mender->engine, slice);
		} else {
			next_ns = next_ns && next_ns < slice->due_ns ? next_ns : slice->due_ns;
			WITH_LOCK(&mender->lock);
			append_locked(mender, slice);
		}
		slice = following;
	}
	segments_collect(&mender->engine->segments);
	return next_ns;
}

static void wait_for_work(struct mender *mender, uint64_t next_ns)
{
	if (next_ns)
		(void)clock_cond_wait(&mender->wake, &mender->lock, next_ns);
	else
		pthread_cond_wait(&mender->wake, &mender->lock);
}

static void *mend(void *context)
{
	struct mender *mender = context;
	uint64_t next_ns = 0;

	pthread_setname_np(pthread_self(), "mc-mender");
	pthread_mutex_lock(&mender->lock);
	while (!mender->stopping || mender->first) {
		if (!mender->first || next_ns)
			wait_for_work(mender, next_ns);
		pthread_mutex_unlock(&mender->lock);
		next_ns = work_off(mender);
		pthread_mutex_lock(&mender->lock);
	}
	pthread_mutex_unlock(&mender->lock);
	return NULL;
}

enum mc_status mender_start(struct mender *mender, struct mc_engine *engine)
{

	*mender = (struct mender){.engine = engine, .last = &mender->first};
	pthread_mutex_init(&mender->lock, NULL);
	clock_cond_init(&mender->wake);
	return thread_start(&mender->thread, mend, mender) == 0 ? MC_OK : MC_NO_MEMORY;
}

void mender_stop(struct mender *mender)
{
	pthread_mutex_lock(&mender->lock);
	mender->stopping = true;
	pthread_cond_signal(&mender->wake);
	pthread_mutex_unlock(&mender->lock);
	pthread_join(mender->thread, NULL);
	pthread_cond_destroy(&mender->wake);
	pthread_mutex_destroy(&mender->lock);
}
