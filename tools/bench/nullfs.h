/*
 * tools/bench/nullfs.h -- the cheapest FUSE file system: a bare request
 *
 * A child process mounts a file system of one empty directory whose
 * attributes live for no time, so that every stat() of it is one request to
 * the child and its answer, through io_uring where that is on.
 *
 * Ownership   nullfs_close() unmounts and ends the child.
 * Threads     One at a time; open before threads are started.
 * Errors      MC_NOT_SUPPORTED where nothing can be mounted.
 */
#ifndef BENCH_NULLFS_H
#define BENCH_NULLFS_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include <mooncake/status.h>

#include "tools/bench/sample.h"

struct nullfs {
	pid_t pid; /* 0: not open */
	char mountpoint[PATH_MAX];
	bool io_uring; /* requests come by io_uring, as seen by the child */
};

/* Mount on an empty directory that the caller made. */
MC_MUST_CHECK enum mc_status nullfs_open(struct nullfs *fs, const char *mountpoint, bool io_uring);

/* Add the time of count requests, in us, to the sample. */
MC_MUST_CHECK enum mc_status nullfs_measure(struct nullfs *fs, unsigned count,
					    struct sample *sample);

void nullfs_close(struct nullfs *fs);

#endif
