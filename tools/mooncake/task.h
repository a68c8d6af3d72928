/*
 * tools/mooncake/task.h -- work that may get stuck, and someone who watches it
 *
 * A call into a mount whose daemon hangs never returns, and not even SIGKILL
 * ends the process that made it.  So it is made by a child process, while this
 * one watches: it draws progress, gives up when nothing moved for the deadline,
 * and lets the child clear up at SIGINT, SIGTERM and SIGHUP.  A child that was
 * given up is left to clear up and end when its mount answers; it holds no
 * descriptor that anyone waits for.
 *
 * A task lies in memory that both processes share, as the first member of a
 * struct with what the work needs and yields.
 *
 * Ownership   task_new/task_free, in the process that watches.
 * Threads     One; no other task runs meanwhile, but those that were begun together.
 */
#ifndef TOOLS_MOONCAKE_TASK_H
#define TOOLS_MOONCAKE_TASK_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TASK_TOTAL_UNKNOWN  UINT64_MAX
#define TASK_COMPLAINT_SIZE 8192u
#define TASK_PATH_SIZE	    4608u

struct task {
	/* fixed before task_run */
	enum mc_status (*work)(struct task *task); /* runs in the child */
	uint32_t timeout_ms;
	const char *title; /* of the progress bar; NULL: none is drawn */
	bool keep_stdin;   /* the work reads or writes these */
	bool keep_stdout;

	/* fixed after task_run */
	bool given_up; /* the work may still go on */

	/* atomic, written by the child */
	_Atomic uint64_t total; /* bytes to move, or TASK_TOTAL_UNKNOWN */
	_Atomic uint64_t done;	/* bytes moved */
	_Atomic uint64_t moved; /* grows with every step; what the deadline looks at */
	_Atomic bool elsewhere; /* waits for a pipe or a terminal: no deadline now */
	_Atomic bool undo_set;	/* undo is a path that is to go when the task is given up */
	_Atomic bool finished;	/* status stands */

	/* written by the child before undo_set and finished */
	char undo[TASK_PATH_SIZE];
	enum mc_status status;
	char complaint[TASK_COMPLAINT_SIZE]; /* what it complained of, printed by task_run */

	size_t size; /* of the struct around this */
};

/* Return zeroed shared memory that begins with a task. */
void *task_new(size_t size);
void task_free(void *task);

/*
 * Run the work and return what it returns.  Does not return when a signal ends
 * the program.
 *
 * MC_TIMEOUT   with task->given_up: nothing moved for timeout_ms
 */
MC_MUST_CHECK enum mc_status task_run(struct task *task);

/*
 * Run several at once, without titles, until all have ended, `enough` says so, or the
 * timeout of the first has passed: it is one deadline for all of them.  What has not
 * `finished` then is given up.  The status of the others stands in them.
 */
typedef bool task_enough_fn(void *context);
void task_run_all(struct task *const *tasks, size_t count, task_enough_fn *enough, void *context);

/* In the work: tell that a step was made, of so many bytes. */
void task_step(struct task *task, uint64_t bytes);

/* In the work: a signal asked for the end; clear up and return MC_CANCELLED. */
bool task_stopping(void);

#endif
