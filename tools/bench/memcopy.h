/*
 * tools/bench/memcopy.h -- memcpy within this process
 *
 * What no transfer between two processes can beat: block after block, through all of one
 * buffer to all of another, as the transfers beside it do it.
 *
 * Threads   One at a time.
 */
#ifndef BENCH_MEMCOPY_H
#define BENCH_MEMCOPY_H

#include <stdint.h>

/* MiB/s between buffers of that size, for so many seconds; NAN: there is no memory. */
double memcopy_mib_per_s(uint64_t size, uint64_t block, double seconds);

#endif
