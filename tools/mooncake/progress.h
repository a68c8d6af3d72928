/*
 * tools/mooncake/progress.h -- a bar on the terminal for what takes long
 *
 * Drawn on standard error, only when that is a terminal that can redraw a
 * line, and only once the work has gone on for PROGRESS_AFTER_MS.
 *
 * Threads   One at a time.
 */
#ifndef TOOLS_MOONCAKE_PROGRESS_H
#define TOOLS_MOONCAKE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_AFTER_MS 500u

struct progress {
	const char *title; /* NULL: draw nothing */
	const char *unit;  /* what is counted; NULL: bytes */
	uint64_t begin_ns;
	bool drawn;
	/* for the rate of the last seconds */
	uint64_t mark_ns;
	uint64_t mark_done;
	double rate; /* bytes a second; 0: not known yet */
};

void progress_begin(struct progress *progress, const char *title);

/* Draw done of total bytes (UINT64_MAX: unknown), if it is time to. */
void progress_draw(struct progress *progress, uint64_t done, uint64_t total);

/* Wipe the bar. */
void progress_end(struct progress *progress);

#endif
