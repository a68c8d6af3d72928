/*
 * tools/bench/yardstick.h -- what the engine's transfers are held against
 *
 * For each protocol and kind of case a table names what else can do the same work on
 * this machine: iperf3, a bare round trip and Mooncake's engine beside tcp, the
 * programs of perftest beside rdma, bare io_uring beside nvmeof.
 *
 * Threads   One at a time.
 */
#ifndef BENCH_YARDSTICK_H
#define BENCH_YARDSTICK_H

#include "tools/bench/rival.h"
#include "tools/bench/run.h"
#include "tools/bench/seat.h"
#include "tools/bench/transfers.h"

enum case_kind {
	CASE_LARGE = 1u << 0, /* blocks of more than 64 KiB: bandwidth */
	CASE_MANY = 1u << 1,  /* small ones in batches: operations a second */
	CASE_ALONE = 1u << 2, /* small ones, one after the other: latency */
};

/* Which of our numbers it is held against. */
enum quantity { MIB_PER_S, OPS_PER_S, MEDIAN_US, QUANTITY_COUNT };

struct yard {
	struct run *run;
	struct rival *rival;
	uint64_t size; /* of the memory that is gone through */
	/* the process that is the other end; 0: not ours to place */
	pid_t target;
	struct seats seats;
};

struct yardstick {
	const char *protocol;
	unsigned kinds; /* enum case_kind */
	enum quantity quantity;
	const char *names[2]; /* by enum mc_opcode; NULL: has nothing like it */
	/* One round beside one of ours, which has its results; NAN: not to be had. */
	double (*measure)(const struct yardstick *yardstick, const struct yard *yard,
			  const struct transfer_case *one);
};

enum case_kind case_kind(const struct transfer_case *one);

/* The next after this one (NULL: the first) that fits; NULL: no more. */
const struct yardstick *yardstick_next(const struct yardstick *yardstick, const char *protocol,
				       const struct transfer_case *one);

#endif
