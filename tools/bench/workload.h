/*
 * tools/bench/workload.h -- one kind of operation, timed in several places
 *
 * A place is a directory; the first is ours, the others are references.  Each
 * operation is done object by object in rounds that take the places in turn
 * (A, B, A, B, …), so that a slow minute of the machine hits all of them.
 * What is needed before an operation (objects to get) or after it (objects to
 * drop) happens outside the timed part, and the first rounds are not counted:
 * they warm the pages.
 *
 * Ownership   workload_run() adds to the samples of the caller and leaves
 *             nothing in the places.
 * Threads     One at a time.  Starts its own threads and ends them.
 * Errors      Those of the calls; the first is logged with its path.  Bytes
 *             that are not those put are MC_IO.
 * Limits      WORKLOAD_PLACE_COUNT_MAX, WORKLOAD_THREAD_COUNT_MAX.
 */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mooncake/status.h>

#include "tools/bench/sample.h"

#define WORKLOAD_PLACE_COUNT_MAX  4
#define WORKLOAD_THREAD_COUNT_MAX 64

enum operation {
	OP_PUT,
	OP_GET_READ,
	OP_GET_MMAP,
	OP_STAT,
	OP_STAT_MISSING,
	OP_UNLINK,
	OP_COUNT,
};

struct workload {
	enum operation op;
	uint64_t size;
	unsigned threads;
	unsigned rounds;
	const char *places[WORKLOAD_PLACE_COUNT_MAX];
	/* Where the objects of a place are put, anew each round; NULL: there, and kept.
	 * All or none of the places have one. */
	const char *sources[WORKLOAD_PLACE_COUNT_MAX];
	size_t place_count;
	/* Called after each counted round, to interleave something else; may be NULL. */
	void (*after_round)(void *context);
	void *context;
};

/* Set by the signal handler: the benches end at the next object. */
extern volatile int workload_interrupted;

const char *operation_name(enum operation op);
/* Does the size of an object matter to this operation? */
bool operation_sized(enum operation op);

/* Return how many objects of a size a thread handles in a round. */
unsigned workload_object_count(uint64_t size);

/* Run the rounds and add the time of each operation, in us, to samples[place]. */
MC_MUST_CHECK enum mc_status workload_run(const struct workload *workload, struct sample *samples);

/* A buffer of size bytes with the pattern that put_object() writes; NULL: no memory. */
void *pattern_new(uint64_t size);

/* Each does one operation on one path.  The buffer holds the pattern, or receives the bytes. */
MC_MUST_CHECK enum mc_status put_object(const char *path, const void *pattern, uint64_t size);
MC_MUST_CHECK enum mc_status get_object(const char *path, enum operation op, void *buffer,
					uint64_t size);

#endif
