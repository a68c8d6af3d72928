/*
 * master/tour.h -- objects by the beginning of their key, some at a time
 *
 * Goes through the tree depth first, each directory in its own order, so that
 * no set of names has to be held or sorted.  A tour can be left at any object
 * and taken up again with the text of its cursor: what was there all the time
 * is met exactly once, what comes or goes meanwhile may be met or not.
 *
 *     cursor "3.17"   in the entry with sequence 3 of the first directory,
 *                     after the entry with sequence 17; 0 is before all
 *
 * Ownership   The tour owns its stack; entries stay the catalog's.
 * Threads     The master's; the catalog does not change during a tour.
 * Errors      MC_INVALID a prefix or a cursor that makes no sense.
 */
#ifndef MASTER_TOUR_H
#define MASTER_TOUR_H

#include <mooncake/status.h>

#include "engine/base/buffer.h"
#include "master/state.h"

#define TOUR_DEPTH_MAX (MC_PATH_MAX / 2 + 1)

struct tour_level {
	struct directory *directory;
	uint32_t place;	   /* in its order, of what comes next */
	uint64_t sequence; /* of what came last */
	size_t path_size;  /* of the directory's own path, with a slash at its end */
};

struct tour {
	const struct mc_master *master;
	const char *start; /* of names in the first directory */
	size_t start_size;
	uint32_t visits_left;
	uint32_t depth; /* levels in use; 0: at the end */
	struct tour_level levels[TOUR_DEPTH_MAX];
	char path[MC_PATH_MAX + 1]; /* of what came last */
	size_t path_size;
};

/*
 * Begin at a prefix, which must outlive the tour, or go on after a cursor
 * (NULL: none), looking at no more than `visits` entries.
 */
MC_MUST_CHECK enum mc_status tour_begin(struct tour *tour, const struct mc_master *master,
					const char *prefix, const char *cursor, uint32_t visits);

/* The next object that is shown, its key in tour->path; NULL: that was all, or all visits. */
const struct entry *tour_next(struct tour *tour);

/* There may be more.  Then the cursor can be written. */
bool tour_unfinished(const struct tour *tour);
void tour_cursor(const struct tour *tour, struct writer *w);

#endif
