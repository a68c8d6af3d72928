/*
 * tools/bench/memory.c -- what the programs need for very many small objects
 *
 * Anonymous and file pages of a process; the pool is shared memory and counts
 * apart.  The budget is that of docs/performance.md.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/bench/cluster.h"
#include "tools/bench/population.h"
#include "tools/bench/resident.h"
#include "tools/bench/run.h"

#define OBJECT_SIZE 4096u
#define BUDGET_MB   100.0
/* What is written behind gets this long to settle. */
#define SETTLE_SECONDS	2
#define DIRECTORY_COUNT 200

static void memory_row(struct run *run, const char *op, pid_t pid, double before_mb)
{
	struct row row = {
		.bench = "memory",
		.op = op,
		.size = OBJECT_SIZE,
		.threads = 1,
		.value = resident_mb(pid),
		.unit = "MB",
		.reference = "budget",
		.reference_value = BUDGET_MB,
	};

	if (pid == 0 || isnan(row.value)) {
		report_note(&run->report, "memory of the %s is not available", op);
		return;
	}
	report_note(&run->report, "%s: %.1f MB before, %.0f bytes an object", op, before_mb,
		    (row.value - before_mb) * 1e6 / (double)run->options.object_count);
	report_row(&run->report, &row);
}

/* Spread over directories, as frameworks do. */
static enum mc_status populate(const char *directory, uint64_t count)
{
	char part[PATH_MAX + 16];
	enum mc_status status = MC_OK;

	for (unsigned i = 0; i < DIRECTORY_COUNT && !status; i++) {
		snprintf(part, sizeof(part), "%s/%03u", directory, i);
		status = population_put(
			part, count * (i + 1) / DIRECTORY_COUNT - count * i / DIRECTORY_COUNT,
			OBJECT_SIZE);
	}
	return status;
}

static enum mc_status measure(struct run *run, const char *mount, pid_t node, pid_t master)
{
	char directory[PATH_MAX];
	double node_mb = resident_mb(node), master_mb = resident_mb(master);
	enum mc_status status = workplace_make(mount, directory);

	if (status)
		return status;
	uint64_t start_ns = clock_ns();
	status = populate(directory, run->options.object_count);
	if (!status) {
		double us = clock_since_us(start_ns) / (double)run->options.object_count;

		report_note(&run->report, "put %llu objects of 4 KiB in %.1f us each",
			    (unsigned long long)run->options.object_count, us);
		sleep(SETTLE_SECONDS);
		memory_row(run, "node", node, node_mb);
		memory_row(run, "master", master, master_mb);
	}
	if (!run->options.setup)
		workplace_remove(directory);
	return status;
}

enum mc_status bench_memory(struct run *run)
{
	struct cluster cluster = {0};
	const struct options *options = &run->options;
	enum mc_status status;

	if (!options->setup)
		return measure(run, options->mount_a, options->node_pid, options->master_pid);
	status = cluster_start(&cluster, run, "memory", 1, "");
	if (!status)
		status = measure(run, cluster.nodes[0].mount, cluster.nodes[0].child.pid,
				 cluster.master.pid);
	cluster_stop(&cluster);
	return status;
}
