#include "tools/mooncake/task.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "tools/mooncake/progress.h"

#define TASK_LOOK_MS 100u

struct watch {
	struct task *task;
	enum mc_status status; /* valid once finished */
	_Atomic bool finished;
	sem_t news;
};

static sem_t *signal_news; /* of the task that runs now */
static volatile sig_atomic_t signal_number;

static void on_signal(int number)
{
	signal_number = number;
	if (signal_news)
		sem_post(signal_news);
}

static void catch_signals(void (*handler)(int number))
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = (int)SA_RESETHAND};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

void task_step(struct task *task, uint64_t bytes)
{
	task->done += bytes;
	task->moved++;
}

static void *task_thread(void *context)
{
	struct watch *watch = context;

	watch->status = watch->task->work(watch->task);
	watch->finished = true;
	sem_post(&watch->news);
	return NULL;
}

static void undo(struct task *task)
{
	const char *name = task->undo;

	if (name)
		unlinkat(task->undo_directory, name, 0);
}

/* Die of the signal as if it had not been caught, with nothing left behind. */
static void die_interrupted(struct task *task, struct progress *progress)
{
	int number = signal_number;

	progress_end(progress);
	undo(task);
	catch_signals(SIG_DFL);
	raise(number);
}

static void wait_news(struct watch *watch)
{
	uint64_t ns = clock_ns() + TASK_LOOK_MS * 1000000ull;
	struct timespec until = {.tv_sec = (time_t)(ns / 1000000000u),
				 .tv_nsec = (long)(ns % 1000000000u)};

	sem_clockwait(&watch->news, CLOCK_MONOTONIC, &until);
}

/* False: nothing moved for too long. */
static bool watch_task(struct watch *watch, struct progress *progress)
{
	struct task *task = watch->task;
	uint64_t since = clock_ns();
	uint64_t moved = task->moved;

	while (!watch->finished) {
		wait_news(watch);
		if (signal_number)
			die_interrupted(task, progress);
		progress_draw(progress, task->done, task->total);
		uint64_t now = clock_ns();
		if (task->moved != moved || task->elsewhere) {
			moved = task->moved;
			since = now;
		}
		if (!watch->finished && now - since > task->timeout_ms * 1000000ull)
			return false;
	}
	return true;
}

enum mc_status task_run(struct task *task)
{
	struct watch *watch = calloc(1, sizeof(*watch));
	struct progress progress;
	pthread_t thread;

	MUST(watch != NULL);
	watch->task = task;
	sem_init(&watch->news, 0, 0);
	signal_news = &watch->news;
	catch_signals(on_signal);
	progress_begin(&progress, task->title);
	MUST(pthread_create(&thread, NULL, task_thread, watch) == 0);
	bool finished = watch_task(watch, &progress);
	progress_end(&progress);
	catch_signals(SIG_DFL);
	signal_news = NULL;
	if (!finished) {
		if (task->undo_at_timeout)
			undo(task);
		task->given_up = true;
		pthread_detach(thread);
		return MC_TIMEOUT;
	}
	pthread_join(thread, NULL);
	enum mc_status status = watch->status;
	sem_destroy(&watch->news);
	free(watch);
	return status;
}
