/*
 * tools/bench/perftest.h -- what ib_read_bw and its like measure between two devices
 *
 * The programs of linux-rdma/perftest, both sides as children of this process: the
 * same operation, size and count as the round of ours that it stands beside.
 *
 * Threads   One at a time.
 */
#ifndef BENCH_PERFTEST_H
#define BENCH_PERFTEST_H

#include <stdbool.h>
#include <stdint.h>

struct perftest {
	const char *program;		   /* ib_read_bw, ib_write_bw, ib_read_lat */
	const char *device, *other_device; /* of the client, of the server; "": the first found */
	const char *host;		   /* where the server is asked for */
	const char *scratch;		   /* a folder for their output */
	uint64_t size;			   /* bytes of an operation */
	uint64_t count;			   /* operations */
};

struct perftest_result {
	double mib_per_s, ops_per_s; /* of ib_*_bw */
	double median_us;	     /* of ib_*_lat */
};

/* False: the program is not there, or would not measure (said to stderr). */
bool perftest_run(const struct perftest *test, struct perftest_result *result);

#endif
