/*
 * tools/bench/port.h -- a TCP port of loopback for a child
 *
 * Threads   Any thread.
 */
#ifndef BENCH_PORT_H
#define BENCH_PORT_H

#include <stdbool.h>

struct child;

/* Return a port that nobody listens on now, 0 when there is none. */
unsigned port_free(void);

/* Wait until something listens there.  False: the child ended, or timeout_ms passed. */
bool port_wait(unsigned port, struct child *child, int timeout_ms);

#endif
