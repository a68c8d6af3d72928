/*
 * tools/mooncake/copy.h -- move bytes between a file of the mount and another
 *
 * Threads   The task's process.
 * Errors    Complained of here; the status says what the program ends with.
 */
#ifndef TOOLS_MOONCAKE_COPY_H
#define TOOLS_MOONCAKE_COPY_H

#include <mooncake/status.h>

#include "tools/mooncake/task.h"

#define COPY_NAME_SIZE 256u /* bytes of a component, terminator included */

/* A file that has not got its name yet. */
struct copy_staging {
	int directory;
	char name[COPY_NAME_SIZE];
};

/* One end of a copy. */
struct copy_end {
	int fd;
	const char *name; /* for complaints */
	bool patient;	  /* no deadline: a pipe, a terminal, a foreign file */
};

/*
 * Copy all bytes; task->done counts them.  Done in the kernel where it can.
 */
MC_MUST_CHECK enum mc_status copy_bytes(struct task *task, const struct copy_end *from,
					const struct copy_end *to);

/*
 * Make a file of a name that is not taken, beside the one that it is to be
 * renamed to: "NAME.tmp.PID", shortened to fit.  Returns its descriptor, or -1
 * and errno tells why.
 */
MC_MUST_CHECK int copy_stage(struct copy_staging *staging, int directory, const char *name,
			     unsigned mode);

/* Give it its name.  False: errno tells why, and the file is gone. */
MC_MUST_CHECK bool copy_rename(const struct copy_staging *staging, const char *name);

/* Unlink it. */
void copy_unstage(const struct copy_staging *staging);

/*
 * An operand that means a standard stream, 0 or 1: "-", or a path such as
 * /dev/stdin, which would lead a task to the null that it has there instead.
 */
bool copy_is_standard(const char *operand, int fd);

/* The name at the end of a path. */
const char *copy_basename(const char *path);

/* Complain that `what` can't be done, by errno, and return the status of it. */
enum mc_status copy_failed(const char *what, const char *name);

/* Complain of a copy that did not move any more. */
void copy_given_up(const struct task *task, const char *verb, const char *key);

/* Print what was copied as a document. */
void copy_print(const char *key, uint64_t size, uint64_t duration_ns);

#endif
