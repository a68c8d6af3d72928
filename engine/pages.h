/*
 * engine/pages.h -- the pages of memory: that they are there, and on which NUMA node
 *
 * A device is near to a node.  Which node memory is on is known once its pages are
 * there, so they are touched before they are asked for.
 *
 * Threads   Any thread; slow: no lock may be held.
 * Errors    None: what can't be touched or found out is left as it is.
 * Limits    PAGES_RUNS_MAX runs; memory that is in more, or in shorter ones than is
 *           worth a region of its own (it is interleaved), is one run of no node.
 */
#ifndef ENGINE_PAGES_H
#define ENGINE_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGES_RUNS_MAX 64u
#define PAGES_RUN_MIN  (64u << 10) /* bytes on the average: a slice */

/* Neighbouring pages of one node. */
struct pages_run {
	uint64_t length; /* bytes */
	int node;	 /* -1: unknown, or several */
};

/* Say where these pages are: nodes[i], negative where it isn't known.  False: nobody knows. */
typedef bool pages_ask(void **pages, size_t count, int *nodes);

/* The kernel's answer. */
bool pages_ask_kernel(void **pages, size_t count, int *nodes);

/* Have the pages there, by several threads where there are many. */
void pages_touch(void *memory, uint64_t length);

/*
 * Cut memory, of one byte or more, where its node changes.  Pages that aren't there
 * belong to a run beside them, and so does what lies between the few pages that are
 * looked at where these agree.  How many runs there are: at least 1.
 */
uint32_t pages_runs(pages_ask *ask, const void *memory, uint64_t length,
		    struct pages_run runs[PAGES_RUNS_MAX]);

#endif
