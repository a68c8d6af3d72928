/*
 * engine/transport/span.h -- the chunks of an object that nobody asked for yet
 *
 * An ordered list of ranges of chunk numbers: the next to ask for is the
 * first of the first range.  What is wanted moves to the front.  Its size
 * depends on how often that happened, not on the object's size.
 *
 * Threads   One at a time.
 * Limits    SPAN_RANGES_MAX ranges; a wish that needs more is not granted.
 */
#ifndef ENGINE_TRANSPORT_SPAN_H
#define ENGINE_TRANSPORT_SPAN_H

#include <stdbool.h>
#include <stdint.h>

#define SPAN_RANGES_MAX 64u

struct span_range {
	uint64_t begin, end; /* chunks, end not included */
};

struct span {
	struct span_range ranges[SPAN_RANGES_MAX]; /* never empty ones */
	uint32_t count;
};

/* Make it the chunks begin..end-1. */
void span_init(struct span *span, uint64_t begin, uint64_t end);

/* Take the next chunk.  False: none is left. */
bool span_take(struct span *span, uint64_t *chunk);

/* Move those chunks of begin..end-1 that are left to the front. */
void span_want(struct span *span, uint64_t begin, uint64_t end);

/* Put one chunk that was taken to the front again.  False: no room. */
bool span_return(struct span *span, uint64_t chunk);

#endif
