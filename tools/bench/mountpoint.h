/*
 * tools/bench/mountpoint.h -- is something mounted here, and away with it
 *
 * Threads   Any thread.
 */
#ifndef BENCH_MOUNTPOINT_H
#define BENCH_MOUNTPOINT_H

#include <stdbool.h>

/* Does /proc/self/mountinfo name this absolute path? */
bool mountpoint_busy(const char *path);

/* Unmount what is still there; quiet when nothing is. */
void mountpoint_clear(const char *path);

#endif
