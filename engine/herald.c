#include "engine/herald.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"
#include "engine/engine.h"
#include "engine/metadata/question.h"
#include "engine/notice.h"
#include "engine/notify.h"

#define TICK_MS 100 /* deadlines are looked at so often */

struct errand {
	struct errand *next;
	struct mc_batch *batch;
	struct task *task;
	char *said; /* as notice.h has it */
	/* owned by mc-herald */
	struct question *question; /* NULL: not begun */
	uint64_t until_ms;
	bool anew; /* the descriptor was fetched anew */
};

bool herald_address(const struct segment_desc *desc, struct net_address *address)
{
	size_t prefix = strlen(HERALD_PREFIX);

	for (uint32_t i = 0; i < desc->endpoint_count; i++) {
		if (strncmp(desc->endpoints[i], HERALD_PREFIX, prefix) == 0 &&
		    net_parse(desc->endpoints[i] + prefix, address) == MC_OK && net_port(address))
			return true;
	}
	return false;
}

enum mc_status errand_new(const char *name, const char *text, struct errand **errand)
{
	struct errand *made = calloc(1, sizeof(*made));

	if (!made)
		return MC_NO_MEMORY;
	enum mc_status status = notice_print(name, text, &made->said);
	if (status)
		free(made);
	else
		*errand = made;
	return status;
}

void errand_free(struct errand *errand)
{
	if (!errand)
		return;
	question_close(errand->question);
	free(errand->said);
	free(errand);
}

/* --- one errand ------------------------------------------------------------------------ */

static void end(struct errand *errand, enum mc_status status)
{
	struct mc_batch *batch = errand->batch;
	struct task *task = errand->task;

	errand_free(errand);
	task->errand = NULL;
	task_fail(task, status);
	atomic_fetch_sub(&batch->heralded, 1);
	task_close_one(batch, task);
}

/* Turn to where the descriptor says. */
static enum mc_status begin(struct mc_engine *engine, struct errand *errand)
{
	struct target *target = segment_target(&engine->segments, errand->task->segment);
	struct net_address address;
	enum mc_status status = MC_NOT_SUPPORTED;

	if (herald_address(target->desc, &address))
		status = question_open(&address, HANDSHAKE_NOTIFY, errand->said, &errand->question);
	target_unref(target);
	return status;
}

static enum mc_status answer_of(struct errand *errand)
{
	CLEANUP_FREE char *answer = NULL;
	enum mc_status status = question_go_on(errand->question, &answer);

	if (!status)
		return notice_answer_parse(answer);
	/* Who says nothing more may have heard it. */
	bool unknown = question_is_out(errand->question) &&
		       (status == MC_UNREACHABLE || status == MC_NOT_FOUND);
	return unknown ? MC_TIMEOUT : status;
}

/* It was not heard.  Is there a newer address? */
static enum mc_status begin_anew(struct mc_engine *engine, struct errand *errand)
{
	struct segment *segment = errand->task->segment;
	struct target *target = segment_target(&engine->segments, segment);

	errand->anew = true;
	question_close(STEAL(errand->question));
	/* A store that is silent is no reason to give up: the peer may be back. */
	(void)!segment_refresh(&engine->segments, segment, target);
	target_unref(target);
	return begin(engine, errand);
}

static enum mc_status go_on(struct mc_engine *engine, struct errand *errand)
{
	enum mc_status status = errand->question ? MC_OK : begin(engine, errand);

	if (!status)
		status = answer_of(errand);
	if (status == MC_UNREACHABLE && !errand->anew) {
		status = begin_anew(engine, errand);
		if (!status)
			status = answer_of(errand);
	}
	return status;
}

/* MC_OK: it may go on. */
static enum mc_status why_stop(const struct errand *errand)
{
	const struct mc_batch *batch = errand->batch;
	int stop = atomic_load(&batch->stop);
	uint64_t deadline_ns = atomic_load(&batch->deadline_ns);

	if (stop)
		return stop == MC_TASK_TIMEOUT ? MC_TIMEOUT : MC_CANCELLED;
	if (deadline_ns && clock_ns() >= deadline_ns)
		return MC_TIMEOUT;
	if (!errand->question || clock_ms() < errand->until_ms)
		return MC_OK;
	return question_is_out(errand->question) ? MC_TIMEOUT : MC_UNREACHABLE;
}

/* --- all of them ------------------------------------------------------------------------- */

static void take_posted(struct herald *herald)
{
	WITH_LOCK(&herald->lock);
	if (!herald->first)
		return;
	*herald->waiting_last = STEAL(herald->first);
	herald->waiting_last = herald->last;
	herald->last = &herald->first;
}

static void drop_waiting(struct herald *herald)
{
	struct errand **at = &herald->waiting;

	while (*at) {
		struct errand *errand = *at;
		enum mc_status why = why_stop(errand);
		if (why)
			*at = errand->next;
		else
			at = &errand->next;
		if (why)
			end(errand, why);
	}
	herald->waiting_last = at;
}

static void drop_under_way(struct herald *herald)
{
	for (unsigned i = herald->count; i-- > 0;) {
		struct errand *errand = herald->under_way[i];
		enum mc_status why = why_stop(errand);
		if (!why)
			continue;
		herald->under_way[i] = herald->under_way[--herald->count];
		end(errand, why);
	}
}

static void begin_waiting(struct herald *herald)
{
	while (herald->waiting && herald->count < HERALD_ERRANDS_MAX) {
		struct errand *errand = herald->waiting;
		enum mc_status status = why_stop(errand);
		herald->waiting = errand->next;
		if (!herald->waiting)
			herald->waiting_last = &herald->waiting;
		errand->until_ms = clock_ms() + HERALD_TIMEOUT_MS;
		if (!status && !errand->task->segment)
			status = notify_here(herald->engine, errand->said);
		else if (!status)
			status = go_on(herald->engine, errand);
		if (status == MC_AGAIN)
			herald->under_way[herald->count++] = errand;
		else
			end(errand, status);
	}
}

/* Backwards: the last takes the place of one that has ended. */
static void go_on_with(struct herald *herald, const struct pollfd *waits, unsigned count)
{
	for (unsigned i = count; i-- > 0;) {
		struct errand *errand = herald->under_way[i];
		if (!waits[i].revents)
			continue;
		enum mc_status status = go_on(herald->engine, errand);
		if (status == MC_AGAIN)
			continue;
		herald->under_way[i] = herald->under_way[--herald->count];
		end(errand, status);
	}
}

static void hear_wake(struct herald *herald)
{
	uint64_t wakes;

	if (read(herald->wake_fd, &wakes, sizeof(wakes)) < 0)
		MUST(errno == EAGAIN || errno == EINTR);
	take_posted(herald);
}

static void *carry(void *context)
{
	struct herald *herald = context;
	struct pollfd waits[HERALD_ERRANDS_MAX + 1];

	pthread_setname_np(pthread_self(), "mc-herald");
	while (!atomic_load(&herald->stopping)) {
		unsigned count = herald->count;
		for (unsigned i = 0; i < count; i++)
			waits[i] = question_waits(herald->under_way[i]->question);
		waits[count] = (struct pollfd){.fd = herald->wake_fd, .events = POLLIN};
		int ready = poll(waits, count + 1, count > 0 ? TICK_MS : -1);
		if (ready < 0)
			continue;
		go_on_with(herald, waits, count);
		if (waits[count].revents)
			hear_wake(herald);
		if (ready == 0 || waits[count].revents)
			drop_waiting(herald);
		drop_under_way(herald);
		begin_waiting(herald);
	}
	return NULL;
}

/* --- from outside ---------------------------------------------------------------------------- */

static void wake(struct herald *herald)
{
	uint64_t one = 1;

	MUST(write(herald->wake_fd, &one, sizeof(one)) == sizeof(one));
}

void herald_wake(struct herald *herald)
{
	if (atomic_load(&herald->started))
		wake(herald);
}

void herald_take(struct herald *herald, struct mc_batch *batch, struct task *task)
{
	struct errand *errand = task->errand;

	errand->batch = batch;
	errand->task = task;
	atomic_fetch_add(&batch->heralded, 1);
	if (atomic_load(&task->failure)) {
		end(errand, MC_OK);
		return;
	}
	pthread_mutex_lock(&herald->lock);
	*herald->last = errand;
	herald->last = &errand->next;
	pthread_mutex_unlock(&herald->lock);
	wake(herald);
}

void herald_init(struct herald *herald, struct mc_engine *engine)
{
	*herald = (struct herald){.engine = engine, .wake_fd = -1};
	herald->last = &herald->first;
	herald->waiting_last = &herald->waiting;
	pthread_mutex_init(&herald->lock, NULL);
}

enum mc_status herald_start(struct herald *herald)
{
	WITH_LOCK(&herald->lock);
	if (atomic_load(&herald->started))
		return MC_OK;
	if (herald->wake_fd < 0)
		herald->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (herald->wake_fd < 0)
		return MC_NO_SPACE;
	if (thread_start(&herald->thread, carry, herald) != 0)
		return MC_NO_MEMORY;
	atomic_store(&herald->started, true);
	return MC_OK;
}

void herald_stop(struct herald *herald)
{
	if (!atomic_load(&herald->started))
		return;
	atomic_store(&herald->stopping, true);
	wake(herald);
	pthread_join(herald->thread, NULL);
	MUST(!herald->first && !herald->waiting && herald->count == 0);
}

void herald_fini(struct herald *herald)
{
	if (herald->wake_fd >= 0)
		close(herald->wake_fd);
	pthread_mutex_destroy(&herald->lock);
}
