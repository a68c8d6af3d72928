/*
 * tools/mooncake/task.h -- work that may get stuck, and someone who watches it
 *
 * A call into a mount whose daemon hangs never returns.  So it is made by a
 * thread of the task's own, while the main thread watches: it draws progress,
 * gives up when nothing moved for the deadline, and clears up at SIGINT and
 * SIGTERM.  A task that was given up is not ended but left behind; the program
 * is expected to exit soon.
 *
 * Ownership   What the work uses must outlive the program's main().
 * Threads     task_run: the main thread.  The work: the task's thread.
 */
#ifndef TOOLS_MOONCAKE_TASK_H
#define TOOLS_MOONCAKE_TASK_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stdint.h>

#define TASK_TOTAL_UNKNOWN UINT64_MAX

struct task {
	/* fixed before task_run */
	enum mc_status (*work)(struct task *task);
	void *context;
	uint32_t timeout_ms;
	const char *title; /* of the progress bar; NULL: none is drawn */

	/* fixed after task_run */
	bool given_up; /* the work still goes on */

	/* atomic */
	_Atomic uint64_t total;	  /* bytes to move, or TASK_TOTAL_UNKNOWN */
	_Atomic uint64_t done;	  /* bytes moved */
	_Atomic uint64_t moved;	  /* grows with every step; what the deadline looks at */
	_Atomic bool elsewhere;	  /* waits for a pipe or a terminal: no deadline now */
	const char *_Atomic undo; /* a name in undo_directory, to unlink when we are interrupted */
	_Atomic int undo_directory;
	_Atomic bool undo_at_timeout; /* and also at a timeout: it is not on what hangs */
};

/*
 * Run the work and return what it returns.
 *
 * MC_TIMEOUT   with task->given_up: nothing moved for timeout_ms, and the work
 *              goes on, unwatched
 */
MC_MUST_CHECK enum mc_status task_run(struct task *task);

/* Tell that a step was made, of so many bytes. */
void task_step(struct task *task, uint64_t bytes);

#endif
