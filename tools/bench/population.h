/*
 * tools/bench/population.h -- a directory with very many objects
 *
 * Objects are named by number, so that any of them can be looked up.
 *
 * Threads   One at a time.
 */
#ifndef BENCH_POPULATION_H
#define BENCH_POPULATION_H

#include <stdint.h>

#include <mooncake/status.h>

/* Make the directory and put count objects of size bytes into it. */
MC_MUST_CHECK enum mc_status population_put(const char *directory, uint64_t count, uint64_t size);

/* Write the path of an object; path has room for PATH_MAX. */
void population_path(const char *directory, uint64_t number, char *path);

#endif
