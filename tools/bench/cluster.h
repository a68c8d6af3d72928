/*
 * tools/bench/cluster.h -- a master and nodes that a bench starts for itself
 *
 * One master process with a journal in a file, and one or two nodes with a
 * mount each, all below one directory.  Their command lines stand in one
 * table in cluster.c.
 *
 * Ownership   cluster_stop() ends and unmounts all, in reverse; it may be
 *             called for a cluster that started in part.
 * Threads     One at a time.
 * Errors      When a program fails, the end of its log goes to stderr.
 */
#ifndef BENCH_CLUSTER_H
#define BENCH_CLUSTER_H

#include <limits.h>
#include <stddef.h>

#include <mooncake/status.h>

#include "tools/bench/child.h"
#include "tools/bench/run.h"

#define CLUSTER_NODE_COUNT_MAX 2

struct cluster {
	char directory[PATH_MAX];
	unsigned port;
	struct child master;
	struct {
		struct child child;
		char mount[PATH_MAX];
	} nodes[CLUSTER_NODE_COUNT_MAX];
	size_t node_count;
};

/* Start a cluster; extra are mount options that begin with a comma, or "". */
MC_MUST_CHECK enum mc_status cluster_start(struct cluster *cluster, const struct run *run,
					   const char *name, size_t node_count, const char *extra);

void cluster_stop(struct cluster *cluster);

#endif
