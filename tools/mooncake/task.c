#include "tools/mooncake/task.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "tools/mooncake/complaint.h"
#include "tools/mooncake/progress.h"

#define TASK_LOOK_MS  100
#define TASK_CLEAR_MS 1000u /* for the child to clear up after a signal */

static volatile sig_atomic_t signal_number;

static void on_signal(int number)
{
	signal_number = number;
}

/* What nohup, or a shell in the background, has us ignore is ignored on. */
static void catch_signal(int number, const struct sigaction *action)
{
	struct sigaction before;

	if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
		sigaction(number, action, NULL);
}

static void catch_signals(void (*handler)(int number))
{
	struct sigaction action = {.sa_handler = handler};

	catch_signal(SIGINT, &action);
	catch_signal(SIGHUP, &action);
	sigaction(SIGTERM, &action, NULL); /* also what a child is told to end with */
}

void *task_new(size_t size)
{
	struct task *task =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	MUST(size >= sizeof(*task) && task != MAP_FAILED);
	task->size = size;
	task->total = TASK_TOTAL_UNKNOWN;
	return task;
}

void task_free(void *memory)
{
	struct task *task = memory;

	if (task)
		munmap(task, task->size);
}

void task_step(struct task *task, uint64_t bytes)
{
	task->done += bytes;
	task->moved++;
}

bool task_stopping(void)
{
	return signal_number != 0;
}

/* -- the child -- */

/* Nobody shall wait for the end of a pipe that a stuck child holds. */
static void let_go(const struct task *task)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	MUST(null >= 0);
	if (!task->keep_stdin)
		dup2(null, STDIN_FILENO);
	if (!task->keep_stdout)
		dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	close(null);
}

static _Noreturn void child_run(struct task *task, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(0);
	signal(SIGPIPE, SIG_IGN); /* what was written so far goes */
	let_go(task);
	complain_into(task->complaint, sizeof(task->complaint));
	task->status = task->work(task);
	task->finished = true;
	_exit(0);
}

/* -- the parent -- */

struct watch {
	struct task *task;
	struct progress progress;
	pid_t child;
	int alive; /* reads its end when the child is gone */
};

/* False: it is still there. */
static bool gone_within(const struct watch *watch, int timeout_ms)
{
	struct pollfd fd = {.fd = watch->alive, .events = POLLIN};

	return poll(&fd, 1, timeout_ms) > 0;
}

static void begin(struct watch *watch, struct task *task)
{
	pid_t parent = getpid();
	int ends[2];

	MUST(pipe2(ends, O_CLOEXEC) == 0);
	fflush(NULL);
	*watch = (struct watch){.task = task, .alive = ends[0]};
	watch->child = fork();
	MUST(watch->child >= 0);
	if (watch->child == 0)
		child_run(task, parent); /* holds ends[1] to its end */
	close(ends[1]);
}

static enum mc_status undo_work(struct task *task)
{
	return unlink(task->undo) == 0 ? MC_OK : mc_status_from_errno(errno);
}

/* By another child: the path may lie in a mount that hangs as well. */
static void undo(const struct task *of)
{
	struct task *task = task_new(sizeof(*task));
	struct watch watch;

	snprintf(task->undo, sizeof(task->undo), "%s", of->undo);
	task->work = undo_work;
	begin(&watch, task);
	(void)gone_within(&watch, TASK_CLEAR_MS);
	close(watch.alive);
	task_free(task);
}

/* Leave a child that is stuck: told to, it clears up when its mount lets it. */
static void leave(const struct watch *watch)
{
	kill(watch->child, SIGTERM);
	if (watch->task->undo_set)
		undo(watch->task);
}

/* End of the signal as if it had not been caught, when the child has cleared up. */
static void end_interrupted(struct watch *watch)
{
	progress_end(&watch->progress);
	kill(watch->child, SIGTERM);
	if (!gone_within(watch, TASK_CLEAR_MS))
		leave(watch);
	catch_signals(SIG_DFL);
	raise(signal_number);
}

/* False: nothing moved for too long. */
static bool watch_child(struct watch *watch)
{
	struct task *task = watch->task;
	uint64_t since = clock_ns();
	uint64_t moved = task->moved;

	while (!gone_within(watch, TASK_LOOK_MS)) {
		if (signal_number)
			end_interrupted(watch);
		progress_draw(&watch->progress, task->done, task->total);
		uint64_t now = clock_ns();
		if (task->moved != moved || task->elsewhere) {
			moved = task->moved;
			since = now;
		}
		if (now - since > task->timeout_ms * 1000000ull)
			return false;
	}
	if (signal_number)
		end_interrupted(watch);
	return true;
}

static void give_up(const struct watch *watch)
{
	struct task *task = watch->task;

	task->given_up = true;
	leave(watch);
	close(watch->alive);
}

static enum mc_status outcome(const struct watch *watch)
{
	const struct task *task = watch->task;

	waitpid(watch->child, NULL, 0);
	close(watch->alive);
	if (!task->finished) {
		complain("the process that did the work was killed");
		return MC_IO;
	}
	if (task->complaint[0])
		complain("%s", task->complaint);
	return task->status;
}

enum mc_status task_run(struct task *task)
{
	struct watch watch;

	catch_signals(on_signal);
	begin(&watch, task);
	progress_begin(&watch.progress, task->title);
	bool ended = watch_child(&watch);
	progress_end(&watch.progress);
	if (!ended)
		give_up(&watch);
	catch_signals(SIG_DFL);
	return ended ? outcome(&watch) : MC_TIMEOUT;
}

/* Wait a moment, and see to those that are gone.  How many are not. */
static size_t watch_some(struct watch *watches, struct pollfd *fds, size_t count)
{
	size_t left = 0;

	(void)poll(fds, count, TASK_LOOK_MS);
	for (size_t i = 0; i < count; i++) {
		if (signal_number && fds[i].fd >= 0)
			end_interrupted(&watches[i]);
		if (fds[i].fd >= 0 && fds[i].revents) {
			watches[i].task->status = outcome(&watches[i]);
			watches[i].task->finished = true;
			fds[i].fd = -1;
		}
		left += fds[i].fd >= 0;
	}
	return left;
}

void task_run_all(struct task *const *tasks, size_t count, task_enough_fn *enough, void *context)
{
	CLEANUP_FREE struct watch *watches = calloc(count + 1, sizeof(*watches));
	CLEANUP_FREE struct pollfd *fds = calloc(count + 1, sizeof(*fds));
	uint64_t since = clock_ns();
	size_t left = count;

	MUST(watches && fds);
	catch_signals(on_signal);
	for (size_t i = 0; i < count; i++) {
		begin(&watches[i], tasks[i]);
		fds[i] = (struct pollfd){.fd = watches[i].alive, .events = POLLIN};
	}
	while (left > 0 && !enough(context) &&
	       clock_ns() - since <= tasks[0]->timeout_ms * 1000000ull)
		left = watch_some(watches, fds, count);
	for (size_t i = 0; i < count; i++) {
		if (fds[i].fd >= 0)
			give_up(&watches[i]);
	}
	catch_signals(SIG_DFL);
}
