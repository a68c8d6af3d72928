/*
 * tools/bench/child.h -- a program that the bench starts and ends
 *
 * The program runs in its own process group, so that an interrupt from the
 * terminal reaches the bench alone, which then ends its children in order.
 * Output goes to a file; its tail is shown when the program fails.  Children
 * die with the bench.
 *
 * Threads   One at a time.
 */
#ifndef BENCH_CHILD_H
#define BENCH_CHILD_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include <mooncake/status.h>

struct child {
	pid_t pid;	 /* 0: not running */
	int wait_status; /* of one that has ended, as waitpid() gave it */
	char name[32];
	char log[PATH_MAX];
};

/* Start argv, a NULL-terminated list whose first is the program; output goes to the file log. */
MC_MUST_CHECK enum mc_status child_start(struct child *child, const char *name, const char *log,
					 char *const *argv);

/* The same with standard input and output on descriptors of the caller, who keeps them. */
MC_MUST_CHECK enum mc_status child_start_piped(struct child *child, const char *name,
					       const char *log, char *const *argv, int in_fd,
					       int out_fd);

/* Wait until it has ended by itself.  True: with 0. */
bool child_wait(struct child *child);

/* Is there a program of this name on the PATH? */
bool program_present(const char *name);

/* Still running?  One that has ended by itself is taken note of. */
bool child_running(struct child *child);

/* Write the last lines of the log to stderr. */
void child_show_log(const struct child *child);

/* Ask to end, wait, and end it by force after timeout_ms.  True: it ended by itself with 0. */
bool child_stop(struct child *child, int timeout_ms);

#endif
