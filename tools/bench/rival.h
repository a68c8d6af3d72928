/*
 * tools/bench/rival.h -- the same transfers by Mooncake's own engine
 *
 * Its transfer_engine_bench, out of the wheel, as a target that stays and an
 * initiator for each round, over tcp and without a metadata server.
 *
 * Ownership   rival_close ends the target.
 * Threads     One at a time.
 */
#ifndef BENCH_RIVAL_H
#define BENCH_RIVAL_H

#include <limits.h>

#include "tools/bench/child.h"
#include "tools/bench/run.h"
#include "tools/bench/transfers.h"

struct rival {
	struct run *run;
	struct child target;   /* pid 0: there is none, and nothing is compared */
	char python[PATH_MAX]; /* that has the wheel */
	char name[128];	       /* of the target */
};

/* Start the target.  Without --python or --venv there is no rival. */
MC_MUST_CHECK enum mc_status rival_open(struct run *run, struct rival *rival);
void rival_close(struct rival *rival);

/* Its operations a second in such a case; NAN without a rival. */
double rival_ops_per_s(struct rival *rival, const struct transfer_case *one);

#endif
