/*
 * tools/bench/sample.h -- measured values and their median
 *
 * A sample keeps every value that was added, in order, so that rounds of two
 * candidates can be interleaved and judged by medians at the end.
 *
 * Ownership   sample_fini() frees the values; a zeroed sample is empty.
 * Threads     One at a time.
 */
#ifndef BENCH_SAMPLE_H
#define BENCH_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/clock.h"

struct sample {
	double *values;
	size_t count;
	size_t capacity;
};

void sample_add(struct sample *sample, double value);

/* Return the median, NAN for an empty sample.  The values are sorted by this. */
double sample_median(struct sample *sample);

/* The value below which this part (0 to 1) of them lies. */
double sample_percentile(struct sample *sample, double part);

void sample_fini(struct sample *sample);

/* Microseconds since a clock_ns(). */
static inline double clock_since_us(uint64_t start_ns)
{
	return (double)(clock_ns() - start_ns) / 1e3;
}

#endif
