#include "engine/batch.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/engine.h"
#include "engine/herald.h"
#include "engine/transfer.h"

/* So long a waiter is deaf: slices can end without the fabric that it listens to. */
#define LISTEN_NS 100000000ull

#define SPARE_TASKS_MAX 64u

static struct mc_batch *allocate(size_t tasks_max)
{
	struct mc_batch *made = malloc(sizeof(*made) + tasks_max * sizeof(struct task));

	if (!made)
		return NULL;
	pthread_mutex_init(&made->cut_lock, NULL);
	pthread_mutex_init(&made->end_lock, NULL);
	clock_cond_init(&made->end);
	made->room = tasks_max;
	return made;
}

void batch_destroy(struct mc_batch *batch)
{
	if (!batch)
		return;
	pthread_cond_destroy(&batch->end);
	pthread_mutex_destroy(&batch->end_lock);
	pthread_mutex_destroy(&batch->cut_lock);
	free(batch);
}

enum mc_status mc_batch_new(struct mc_engine *engine, size_t tasks_max, struct mc_batch **batch)
{
	const size_t kept = offsetof(struct mc_batch, engine);

	if (tasks_max == 0 || tasks_max > MC_BATCH_TASKS_MAX)
		return MC_INVALID;
	struct mc_batch *made = atomic_exchange(&engine->spare, NULL);
	if (made && made->room < tasks_max)
		batch_destroy(STEAL(made));
	if (!made)
		made = allocate(tasks_max);
	if (!made)
		return MC_NO_MEMORY;
	/* A task is filled in when it is submitted, and looked at by nobody before. */
	memset((char *)made + kept, 0, sizeof(*made) - kept);
	made->engine = engine;
	made->tasks_max = tasks_max;
	atomic_fetch_add(&engine->batches, 1);
	*batch = made;
	return MC_OK;
}

enum mc_status mc_batch_free(struct mc_batch *batch)
{
	if (!batch)
		return MC_OK;
	if (!batch_ended(batch))
		return MC_BUSY;
	struct mc_engine *engine = batch->engine;
	transfer_forget(batch);
	if (batch->room <= SPARE_TASKS_MAX)
		batch = atomic_exchange(&engine->spare, batch);
	batch_destroy(batch);
	atomic_fetch_sub(&engine->batches, 1);
	return MC_OK;
}

/* --- ends ---------------------------------------------------------------------- */

void task_fail(struct task *task, enum mc_status status)
{
	int none = MC_OK;

	/* MC_OK changes nothing. */
	atomic_compare_exchange_strong(&task->failure, &none, (int)status);
}

static enum mc_task_state final_state(const struct mc_batch *batch, const struct task *task)
{
	int stop = atomic_load(&batch->stop);

	switch (atomic_load(&task->failure)) {
	case MC_OK:
		return MC_TASK_COMPLETED;
	case MC_CANCELLED:
		return stop == MC_TASK_TIMEOUT ? MC_TASK_TIMEOUT : MC_TASK_CANCELLED;
	case MC_TIMEOUT:
		return MC_TASK_TIMEOUT;
	default:
		return MC_TASK_FAILED;
	}
}

static void wake_sleepers(struct mc_batch *batch)
{
	WITH_LOCK(&batch->end_lock);
	if (atomic_load(&batch->ended) == atomic_load(&batch->submitted))
		pthread_cond_broadcast(&batch->end);
}

static void task_end(struct mc_batch *batch, struct task *task)
{
	enum mc_task_state state = final_state(batch, task);

	if (state == MC_TASK_TIMEOUT)
		atomic_store(&task->failure, MC_TIMEOUT);
	if (task->notice)
		task_fail(task->notice, (enum mc_status)atomic_load(&task->failure));
	engine_task_ended(batch->engine, task, state);
	atomic_store(&task->state, (int)state);
	atomic_fetch_add(&batch->ended, 1);
	if (atomic_load(&batch->sleepers) > 0)
		wake_sleepers(batch);
	/* Whoever waits for that may free the batch. */
	atomic_fetch_add(&batch->left, 1);
}

void task_close_one(struct mc_batch *batch, struct task *task)
{
	/* A notification is open still, and with it the batch is there. */
	for (struct task *waiting; task; task = waiting) {
		bool notice = task->errand != NULL;
		unsigned open = atomic_fetch_sub(&task->open, 1) - 1;
		/* Nothing but a notification's errand is sure to be there by now. */
		if (open == 1 && notice)
			herald_take(&batch->engine->herald, batch, task);
		if (open > 0)
			return;
		waiting = task->notice;
		task_end(batch, task);
	}
}

bool batch_ended(struct mc_batch *batch)
{
	return atomic_load(&batch->left) == atomic_load(&batch->submitted);
}

/* --- status ---------------------------------------------------------------------- */

static bool pending(enum mc_task_state state)
{
	return state == MC_TASK_PENDING || state == MC_TASK_WAITING;
}

static void status_of(const struct task *task, struct mc_task_status *status)
{
	status->state = (enum mc_task_state)atomic_load(&task->state);
	status->bytes = atomic_load(&task->bytes);
	status->status =
		pending(status->state) ? MC_OK : (enum mc_status)atomic_load(&task->failure);
}

enum mc_status mc_batch_status(struct mc_batch *batch, size_t task, struct mc_task_status *status)
{
	if (task >= batch->tasks_max)
		return MC_INVALID;
	if (task >= atomic_load(&batch->submitted)) {
		*status = (struct mc_task_status){.state = MC_TASK_WAITING};
		return MC_OK;
	}
	if (pending((enum mc_task_state)atomic_load(&batch->tasks[task].state))) {
		transfer_look_at_deadline(batch);
		engine_progress(batch->engine, atomic_load(&batch->fabrics), 0);
	}
	status_of(&batch->tasks[task], status);
	return MC_OK;
}

void mc_batch_summary(struct mc_batch *batch, struct mc_task_status *status)
{
	size_t count = atomic_load(&batch->submitted);
	bool ended = batch_ended(batch);

	if (!ended) {
		transfer_look_at_deadline(batch);
		engine_progress(batch->engine, atomic_load(&batch->fabrics), 0);
		ended = batch_ended(batch);
	}
	*status = (struct mc_task_status){.state = MC_TASK_COMPLETED};
	if (count == 0)
		status->state = MC_TASK_WAITING;
	for (size_t i = 0; i < count; i++) {
		struct mc_task_status one;
		status_of(&batch->tasks[i], &one);
		status->bytes += one.bytes;
		/* FAILED is the worst: their numbers are in that order, but for CANCELLED. */
		bool worse = one.status && (!status->status || one.state == MC_TASK_FAILED);
		if (worse && status->state != MC_TASK_FAILED) {
			status->state = one.state;
			status->status = one.status;
		}
	}
	if (!ended) {
		status->state = MC_TASK_PENDING;
		status->status = MC_OK;
	}
}

/* --- waiting ----------------------------------------------------------------------- */

static uint64_t how_long(struct mc_batch *batch, uint64_t now_ns, uint64_t until_ns)
{
	uint64_t deadline_ns = atomic_load(&batch->deadline_ns);
	uint64_t end_ns = clock_after(now_ns, LISTEN_NS);

	if (until_ns < end_ns)
		end_ns = until_ns;
	/* One that has passed is acted on once. */
	if (deadline_ns && deadline_ns < end_ns && !atomic_load(&batch->stop))
		end_ns = deadline_ns;
	return end_ns > now_ns ? end_ns - now_ns : 0;
}

static void sleep_until_end(struct mc_batch *batch, uint64_t wait_ns)
{
	uint64_t until_ns = clock_after(clock_ns(), wait_ns);

	WITH_LOCK(&batch->end_lock);
	/* Who ends the last task after this look sees that somebody sleeps. */
	atomic_fetch_add(&batch->sleepers, 1);
	if (atomic_load(&batch->ended) != atomic_load(&batch->submitted))
		(void)clock_cond_wait(&batch->end, &batch->end_lock, until_ns);
	atomic_fetch_sub(&batch->sleepers, 1);
}

/* With one fabric its waiter makes the progress; else their own threads do. */
static void wait_a_while(struct mc_batch *batch, uint64_t now_ns, uint64_t until_ns)
{
	unsigned fabrics = atomic_load(&batch->fabrics);

	/* One that was being mended may have been handed over after the first look. */
	if (atomic_load(&batch->stop))
		transfer_cancel(batch);
	uint64_t wait_ns = how_long(batch, now_ns, until_ns);
	bool one = fabrics && !(fabrics & (fabrics - 1));

	if (one && atomic_load(&batch->mending) == 0 && atomic_load(&batch->heralded) == 0)
		engine_progress(batch->engine, fabrics, wait_ns);
	else
		sleep_until_end(batch, wait_ns);
}

static enum mc_status first_failure(struct mc_batch *batch)
{
	size_t count = atomic_load(&batch->submitted);

	for (size_t i = 0; i < count; i++) {
		int failure = atomic_load(&batch->tasks[i].failure);
		if (failure)
			return (enum mc_status)failure;
	}
	return MC_OK;
}

enum mc_status mc_batch_wait(struct mc_batch *batch, int timeout_ms)
{
	uint64_t now_ns = clock_ns();
	uint64_t until_ns = timeout_ms < 0 ? UINT64_MAX : now_ns + (uint64_t)timeout_ms * 1000000u;

	while (!batch_ended(batch)) {
		transfer_look_at_deadline(batch);
		if (now_ns >= until_ns)
			return batch_ended(batch) ? first_failure(batch) : MC_TIMEOUT;
		wait_a_while(batch, now_ns, until_ns);
		if (batch_ended(batch))
			break;
		now_ns = clock_ns();
	}
	return first_failure(batch);
}

void mc_batch_deadline(struct mc_batch *batch, uint32_t deadline_ms)
{
	atomic_store(&batch->deadline_ns, clock_ns() + (uint64_t)deadline_ms * 1000000u);
}

void mc_batch_cancel(struct mc_batch *batch)
{
	transfer_stop(batch, MC_TASK_CANCELLED);
}
