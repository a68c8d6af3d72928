/*
 * tools/bench/run.h -- what every bench of one run shares
 *
 * Ownership   main.c makes and ends it.
 * Threads     One at a time.
 */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include <limits.h>
#include <stdbool.h>

#include <mooncake/status.h>

#include "tools/bench/machine.h"
#include "tools/bench/options.h"
#include "tools/bench/report.h"

struct run {
	struct options options;
	struct report report;
	struct machine machine;
	char scratch[PATH_MAX]; /* a directory of this run, for mounts, logs and journals */
	char home[PATH_MAX];	/* where this program is */
	char bin[PATH_MAX];	/* where those are that it starts */
};

/* The benches.  Each reports its rows; MC_OK also where bars were missed. */
MC_MUST_CHECK enum mc_status bench_local(struct run *run);
MC_MUST_CHECK enum mc_status bench_remote(struct run *run);
MC_MUST_CHECK enum mc_status bench_counters(struct run *run);
MC_MUST_CHECK enum mc_status bench_memory(struct run *run);
MC_MUST_CHECK enum mc_status bench_flat(struct run *run);
MC_MUST_CHECK enum mc_status bench_peer(struct run *run);
MC_MUST_CHECK enum mc_status bench_master(struct run *run);
MC_MUST_CHECK enum mc_status bench_engine(struct run *run);
MC_MUST_CHECK enum mc_status bench_journal(struct run *run);

/* Make a directory for this run below parent; path has room for PATH_MAX. */
MC_MUST_CHECK enum mc_status workplace_make(const char *parent, char *path);

/* Remove it with all that is in it, on this file system. */
void workplace_remove(const char *path);

/* Draw the ratios of the report into an SVG file. */
MC_MUST_CHECK enum mc_status plot_write(const struct report *report, const char *file);

#endif
