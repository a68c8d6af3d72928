/*
 * tools/bench/resident.h -- what a process takes, as the kernel counts it
 */
#ifndef BENCH_RESIDENT_H
#define BENCH_RESIDENT_H

#include <sys/types.h>

/* RssAnon + RssFile in MB, NAN for a process that can't be read; shared memory is left out. */
double resident_mb(pid_t pid);

/* The most that it ever took, shared memory included; NAN likewise. */
double resident_peak_mb(pid_t pid);

/* Seconds of processor time of all its threads so far, NAN likewise. */
double processor_seconds(pid_t pid);

#endif
