/*
 * tools/bench/echo.h -- a round trip of 64 bytes between two processes
 *
 * The other process is forked at echo_open() and blocks in read() until the
 * next message: what is timed is two wake-ups, which is what a remote call
 * costs at least on this machine.
 *
 * Ownership   echo_close() ends the other process.
 * Threads     One at a time; open before threads are started.
 */
#ifndef BENCH_ECHO_H
#define BENCH_ECHO_H

#include <sys/types.h>

#include <mooncake/status.h>

#include "tools/bench/sample.h"

struct echo {
	pid_t pid; /* 0: not open */
	int fd;
};

MC_MUST_CHECK enum mc_status echo_open_unix(struct echo *echo);
MC_MUST_CHECK enum mc_status echo_open_tcp(struct echo *echo);

/* Add count round trips, in us, to the sample. */
MC_MUST_CHECK enum mc_status echo_measure(struct echo *echo, unsigned count, struct sample *sample);

void echo_close(struct echo *echo);

#endif
