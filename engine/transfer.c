#include "engine/transfer.h"

#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/engine.h"
#include "engine/herald.h"
#include "engine/mender.h"
#include "engine/segment.h"

static void slice_done(struct fabric_slice *work, enum mc_status status);

/* --- who waits for room ------------------------------------------------------------ */

static void starve(struct mc_batch *batch)
{
	struct mc_engine *engine = batch->engine;

	WITH_LOCK(&engine->starving_lock);
	if (batch->starving)
		return;
	batch->starving = true;
	batch->starved = true;
	batch->next_starving = NULL;
	*engine->starving_last = batch;
	engine->starving_last = &batch->next_starving;
	atomic_fetch_add(&engine->starving_count, 1);
}

static void unlist_locked(struct mc_engine *engine, struct mc_batch *batch)
{
	struct mc_batch **at = &engine->starving;

	while (*at != batch)
		at = &(*at)->next_starving;
	*at = batch->next_starving;
	if (!*at)
		engine->starving_last = at;
	batch->starving = false;
	atomic_fetch_sub(&engine->starving_count, 1);
}

/* The one that has waited longest has its turn. */
static void feed(struct mc_engine *engine)
{
	if (atomic_load(&engine->starving_count) == 0)
		return;
	pthread_mutex_lock(&engine->starving_lock);
	struct mc_batch *batch = engine->starving;
	if (batch) {
		unlist_locked(engine, batch);
		batch->pins++;
	}
	pthread_mutex_unlock(&engine->starving_lock);
	if (!batch)
		return;
	transfer_pump(batch);
	WITH_LOCK(&engine->starving_lock);
	if (--batch->pins == 0)
		pthread_cond_broadcast(&engine->unpinned);
}

void transfer_forget(struct mc_batch *batch)
{
	struct mc_engine *engine = batch->engine;

	if (!batch->starved)
		return;
	WITH_LOCK(&engine->starving_lock);
	if (batch->starving)
		unlist_locked(engine, batch);
	while (batch->pins > 0)
		pthread_cond_wait(&engine->unpinned, &engine->starving_lock);
}

/* --- ends ----------------------------------------------------------------------------- */

void transfer_end(struct slice *slice, enum mc_status status)
{
	struct mc_batch *batch = slice->batch;
	struct mc_engine *engine = batch->engine;
	struct task *task = slice->task;

	if (status)
		task_fail(task, status);
	else
		atomic_fetch_add(&task->bytes, slice->work.length);
	/* The task is open still, and with it the batch is there. */
	slice_give(&engine->pool, slice);
	atomic_fetch_add(&engine->ends, 1);
	if (atomic_load(&batch->to_cut) > 0)
		transfer_pump(batch);
	task_close_one(batch, task);
	feed(engine);
}

static bool worth_another_try(const struct slice *slice, enum mc_status status)
{
	const struct mc_batch *batch = slice->batch;

	if (status == MC_OK || status == MC_CANCELLED || atomic_load(&batch->stop))
		return false;
	uint64_t deadline_ns = atomic_load(&batch->deadline_ns);
	if (deadline_ns && clock_ns() >= deadline_ns)
		return false;
	return slice->tries < batch->engine->retries_max;
}

static void slice_done(struct fabric_slice *work, enum mc_status status)
{
	struct slice *slice = container_of(work, struct slice, work);

	if (worth_another_try(slice, status))
		mender_take(&slice->batch->engine->mender, slice, status);
	else
		transfer_end(slice, status);
}

/* --- cutting ---------------------------------------------------------------------------- */

static bool stopped(const struct mc_batch *batch)
{
	return atomic_load(&batch->stop) != 0;
}

static enum mc_status stop_status(const struct mc_batch *batch)
{
	return atomic_load(&batch->stop) == MC_TASK_TIMEOUT ? MC_TIMEOUT : MC_CANCELLED;
}

/* The rest of a request needs no more slices. */
static void cut_through(struct mc_batch *batch, struct task *task)
{
	batch->cutting++;
	atomic_fetch_sub(&batch->to_cut, 1);
	task_close_one(batch, task);
}

/* A copy within the process: nothing to hand over. */
static void copy_local(struct task *task)
{
	const struct mc_request *request = &task->request;
	void *other = (void *)(uintptr_t)request->remote;

	if (request->opcode == MC_READ)
		memmove(request->local, other, request->length);
	else
		memmove(other, request->local, request->length);
	task->cut = request->length;
	atomic_store(&task->bytes, request->length);
}

/* Fill in the next slice of the task; a failure ends the task's cutting. */
static enum mc_status cut_slice(struct mc_batch *batch, struct task *task, struct target *target,
				struct slice *slice)
{
	struct mc_engine *engine = batch->engine;
	const struct mc_request *request = &task->request;
	const struct fabric_ops *ops = target->channel->peer->fabric->ops;
	uint8_t *local = (uint8_t *)request->local + task->cut;
	uint64_t left = request->length - task->cut, there;
	uint64_t limit =
		ops->slice_size && !engine->slice_size_given ? ops->slice_size : engine->slice_size;

	enum mc_status status =
		target_find(target, request->remote + task->cut, &slice->work.buffer, &there);
	if (status)
		return status;
	struct region *region = region_of(&engine->regions, task->here, local);
	if (!(region->fabrics & 1u << target->channel->fabric))
		return MC_NOT_SUPPORTED;
	uint64_t here = region->length - (uint64_t)(local - region->memory);
	left = left < there ? left : there;
	left = left < here ? left : here;
	left = left < limit ? left : limit;
	slice->task = task;
	slice->target = target;
	slice->region = region;
	slice->work.opcode = request->opcode == MC_READ ? FABRIC_READ : FABRIC_WRITE;
	slice->work.local = local;
	slice->work.length = (uint32_t)left;
	slice->work.remote = request->remote + task->cut;
	slice->work.key = region->keys[target->channel->fabric];
	slice->work.path = atomic_fetch_add_explicit(&engine->spread, 1, memory_order_relaxed);
	slice->work.deadline_ns = atomic_load(&batch->deadline_ns);
	slice->work.done = slice_done;
	atomic_fetch_add(&target->references, 1);
	task->cut += left;
	return MC_OK;
}

/* Cut what is left of one task, as far as there are slices. */
static uint32_t cut_task(struct mc_batch *batch, struct task *task, struct target *target,
			 struct slice **slices, uint32_t count)
{
	uint32_t made = 0;

	while (made < count && task->cut < task->request.length) {
		enum mc_status status = cut_slice(batch, task, target, slices[made]);
		if (status) {
			task_fail(task, status);
			task->cut = task->request.length;
			break;
		}
		atomic_fetch_add(&task->open, 1);
		made++;
	}
	return made;
}

/* A guess at how many slices can be put to use: nothing is lost by a wrong one. */
static uint32_t wanted(const struct mc_batch *batch, const struct task *task, size_t submitted,
		       uint32_t made)
{
	uint64_t pieces = (task->request.length - task->cut) / batch->engine->slice_size +
			  (submitted - batch->cutting);

	return pieces < BATCH_BURST - made ? (uint32_t)pieces : BATCH_BURST - made;
}

/*
 * Make slices of the next tasks, all for one target.  cut_lock is held.  *dry: there
 * were no slices in the pool.
 */
static uint32_t cut(struct mc_batch *batch, struct slice **slices, bool *dry)
{
	struct slice_pool *pool = &batch->engine->pool;
	size_t submitted = atomic_load(&batch->submitted);
	struct segment *segment = NULL;
	struct target *target = NULL;
	uint32_t have = 0, made = 0;

	while (batch->cutting < submitted && made < BATCH_BURST) {
		struct task *task = &batch->tasks[batch->cutting];
		if (stopped(batch)) {
			task_fail(task, stop_status(batch));
			task->cut = task->request.length;
		} else if (task->errand) {
			/* A notification has no bytes. */
		} else if (!task->segment) {
			copy_local(task);
		} else if (segment && segment != task->segment) {
			break;
		} else {
			if (have == made)
				have += slices_take(pool, batch, slices + made,
						    wanted(batch, task, submitted, made));
			*dry = have == made;
			if (*dry)
				break;
			if (!segment)
				target = segment_target(&batch->engine->segments, task->segment);
			segment = task->segment;
			made += cut_task(batch, task, target, slices + made, have - made);
		}
		if (task->cut == task->request.length)
			cut_through(batch, task);
	}
	for (uint32_t i = made; i < have; i++)
		slice_give(pool, slices[i]);
	target_unref(target);
	return made;
}

static void hold(struct mc_batch *batch, struct slice *const *slices, uint32_t count)
{
	memcpy(batch->held, slices, count * sizeof(*slices));
	batch->held_count = count;
	atomic_fetch_add(&batch->to_cut, 1);
}

static uint32_t unhold(struct mc_batch *batch, struct slice **slices)
{
	uint32_t count = batch->held_count;

	if (count == 0)
		return 0;
	memcpy(slices, batch->held, count * sizeof(*slices));
	batch->held_count = 0;
	atomic_fetch_sub(&batch->to_cut, 1);
	return count;
}

/* As many as the fabric takes.  All go to the same channel. */
static enum mc_status hand_over(struct slice *const *slices, uint32_t count, uint32_t *taken)
{
	struct channel *channel = slices[0]->target->channel;
	struct fabric_slice *works[BATCH_BURST];

	atomic_fetch_or(&slices[0]->batch->fabrics, 1u << channel->fabric);
	for (uint32_t i = 0; i < count; i++)
		works[i] = &slices[i]->work;
	return channel->peer->fabric->ops->submit(channel->peer, works, count, taken);
}

/* The slices of one burst that go to the same channel as the first. */
static uint32_t same_channel(struct slice *const *slices, uint32_t count)
{
	uint32_t same = 1;

	while (same < count && slices[same]->target->channel == slices[0]->target->channel)
		same++;
	return same;
}

/* Cut and submit once.  False: nothing is left, or there is no room. */
static bool pump_once(struct mc_batch *batch, struct slice **failed, uint32_t *failed_count,
		      enum mc_status *failure)
{
	struct slice *slices[BATCH_BURST];
	bool dry = false;
	uint32_t count = unhold(batch, slices), taken = 0;
	unsigned long ends = atomic_load(&batch->engine->ends);

	if (count == 0)
		count = cut(batch, slices, &dry);
	if (dry)
		starve(batch);
	/* Who ended before we were listed did not see us. */
	if (count == 0)
		return dry && atomic_load(&batch->engine->ends) != ends;
	uint32_t same = same_channel(slices, count);
	*failure = stopped(batch) ? stop_status(batch) : hand_over(slices, same, &taken);
	if (*failure) {
		memcpy(failed, slices, same * sizeof(*slices));
		*failed_count = taken = same;
	}
	if (taken < count)
		hold(batch, slices + taken, count - taken);
	if (taken < same)
		starve(batch);
	return (taken == same || atomic_load(&batch->engine->ends) != ends) &&
	       atomic_load(&batch->to_cut) > 0;
}

void transfer_pump(struct mc_batch *batch)
{
	struct slice *failed[BATCH_BURST];
	enum mc_status failure = MC_OK;
	uint32_t failed_count = 0;
	bool more = true;

	while (more) {
		pthread_mutex_lock(&batch->cut_lock);
		more = pump_once(batch, failed, &failed_count, &failure);
		pthread_mutex_unlock(&batch->cut_lock);
		for (uint32_t i = 0; i < failed_count; i++)
			slice_done(&failed[i]->work, failure);
		failed_count = 0;
	}
}

bool transfer_submit_one(struct slice *slice)
{
	uint32_t taken = 0;
	enum mc_status status = hand_over(&slice, 1, &taken);

	if (status)
		slice_done(&slice->work, status);
	return status || taken == 1;
}

/* --- stopping -------------------------------------------------------------------------------- */

void transfer_cancel(struct mc_batch *batch)
{
	struct mc_engine *engine = batch->engine;

	slices_cancel(&engine->pool, batch);
	/* What has ended meanwhile is free only now, and whoever had its turn found nothing. */
	for (unsigned i = atomic_load(&engine->starving_count); i > 0; i--)
		feed(engine);
}

void transfer_stop(struct mc_batch *batch, enum mc_task_state state)
{
	int none = 0;

	if (batch_ended(batch) || !atomic_compare_exchange_strong(&batch->stop, &none, (int)state))
		return;
	transfer_pump(batch);
	mender_wake(&batch->engine->mender);
	herald_wake(&batch->engine->herald);
	transfer_cancel(batch);
}

void transfer_look_at_deadline(struct mc_batch *batch)
{
	uint64_t deadline_ns = atomic_load(&batch->deadline_ns);

	if (deadline_ns && !atomic_load(&batch->stop) && clock_ns() >= deadline_ns)
		transfer_stop(batch, MC_TASK_TIMEOUT);
}

/* --- submit ------------------------------------------------------------------------------------
 */

/* All of what is wanted is in the segment. */
static enum mc_status find_all(const struct target *target, const struct mc_request *request)
{
	const struct segment_buffer *buffer;
	uint64_t left = 0;

	for (uint64_t done = 0; done < request->length; done += left) {
		enum mc_status status = target_find(target, request->remote + done, &buffer, &left);
		if (status)
			return status;
	}
	return MC_OK;
}

/* What the requests of one call have in common: looked up once. */
struct common {
	struct region *here;	 /* of the one before, which holds it */
	struct segment *segment; /* used by this */
	struct target *target;
};

static void common_end(struct common *common)
{
	if (common->segment)
		segment_done(common->segment);
	target_unref(common->target);
	*common = (struct common){NULL};
}

static bool find_segment(struct mc_engine *engine, mc_segment_id id, struct common *common)
{
	if (common->segment && common->segment->id == id)
		return true;
	common_end(common);
	common->segment = segment_use(&engine->segments, id, &common->target);
	return common->segment != NULL;
}

static enum mc_status check_remote(struct mc_engine *engine, const struct mc_request *request,
				   struct common *common)
{
	enum mc_status status = find_all(common->target, request);
	uint64_t since_ns = status ? clock_ns() : 0;

	/* What was asked for before that may be older than the memory is. */
	while (status && common->target->asked_ns < since_ns &&
	       segment_renew(&engine->segments, common->segment, common->target) == MC_OK) {
		target_unref(common->target);
		common->target = segment_target(&engine->segments, common->segment);
		status = find_all(common->target, request);
	}
	return status;
}

/* A copy within the process. */
static enum mc_status check_within(struct mc_engine *engine, const struct mc_request *request,
				   struct task *task)
{
	void *other = (void *)(uintptr_t)request->remote;

	if (!region_hold(&engine->regions, other, request->length, &task->there))
		return MC_ACCESS;
	if (region_copyable(&engine->regions, request->local, request->length) &&
	    region_copyable(&engine->regions, other, request->length))
		return MC_OK;
	region_release(&engine->regions, task->there, other, request->length);
	return MC_NOT_SUPPORTED;
}

static enum mc_status check_segment(struct mc_engine *engine, const struct mc_request *request,
				    struct task *task, struct common *common)
{
	if (!find_segment(engine, request->segment, common))
		return MC_NOT_FOUND;
	enum mc_status status = check_remote(engine, request, common);
	if (status)
		return status;
	segment_use_again(common->segment);
	task->segment = common->segment;
	return MC_OK;
}

static enum mc_status check(struct mc_engine *engine, const struct mc_request *request,
			    struct task *task, struct common *common)
{
	bool local = request->segment == MC_SEGMENT_LOCAL;

	if ((request->opcode != MC_READ && request->opcode != MC_WRITE) ||
	    request->remote > UINT64_MAX - request->length ||
	    !region_hold(&engine->regions, request->local, request->length, &common->here))
		return MC_INVALID;
	*task = (struct task){.request = *request, .here = common->here};
	atomic_store(&task->open, 1);
	atomic_store(&task->state, MC_TASK_PENDING);
	enum mc_status status = local ? check_within(engine, request, task)
				      : check_segment(engine, request, task, common);
	if (status)
		region_release(&engine->regions, task->here, request->local, request->length);
	return status;
}

void transfer_let_go(struct mc_engine *engine, struct task *task)
{
	const struct mc_request *request = &task->request;

	region_release(&engine->regions, task->here, request->local, request->length);
	if (task->segment)
		segment_done(task->segment);
	else
		region_release(&engine->regions, task->there, (void *)(uintptr_t)request->remote,
			       request->length);
}

enum mc_status transfer_check(struct mc_batch *batch, size_t first,
			      const struct mc_request *requests, size_t count)
{
	struct common common = {NULL};
	enum mc_status status = MC_OK;
	size_t checked = 0;

	while (!status && checked < count) {
		status = check(batch->engine, &requests[checked], &batch->tasks[first + checked],
			       &common);
		checked += !status;
	}
	common_end(&common);
	while (status && checked-- > 0)
		transfer_let_go(batch->engine, &batch->tasks[first + checked]);
	return status;
}

void transfer_begin(struct mc_batch *batch, size_t count)
{
	if (count == 0)
		return;
	atomic_fetch_add(&batch->engine->tasks, count);
	atomic_fetch_add(&batch->to_cut, count);
	atomic_fetch_add(&batch->submitted, count);
	/* Of what comes too late nothing begins, not even a copy within the process. */
	transfer_look_at_deadline(batch);
	transfer_pump(batch);
}

enum mc_status mc_batch_submit(struct mc_batch *batch, const struct mc_request *requests,
			       size_t count)
{
	size_t first = atomic_load(&batch->submitted);

	if (count > batch->tasks_max - first)
		return MC_TOO_BIG;
	enum mc_status status = transfer_check(batch, first, requests, count);
	if (!status)
		transfer_begin(batch, count);
	return status;
}
