#include "engine/transport/span.h"

#include <string.h>

#include "engine/base/log.h"

void span_init(struct span *span, uint64_t begin, uint64_t end)
{
	span->count = begin < end;
	span->ranges[0] = (struct span_range){begin, end};
}

static void remove_first(struct span *span)
{
	span->count--;
	memmove(span->ranges, span->ranges + 1, span->count * sizeof(span->ranges[0]));
}

bool span_take(struct span *span, uint64_t *chunk)
{
	if (span->count == 0)
		return false;
	*chunk = span->ranges[0].begin++;
	if (span->ranges[0].begin == span->ranges[0].end)
		remove_first(span);
	return true;
}

static void append(struct span *span, uint64_t begin, uint64_t end)
{
	if (begin < end)
		span->ranges[span->count++] = (struct span_range){begin, end};
}

void span_want(struct span *span, uint64_t begin, uint64_t end)
{
	struct span wanted = {.count = 0};

	/* Every range gives at most one wanted piece, and one range may become two. */
	if (begin >= end || 2 * span->count + 1 > SPAN_RANGES_MAX)
		return;
	for (uint32_t i = 0; i < span->count; i++) {
		struct span_range range = span->ranges[i];
		append(&wanted, range.begin > begin ? range.begin : begin,
		       range.end < end ? range.end : end);
	}
	for (uint32_t i = 0; i < span->count; i++) {
		struct span_range range = span->ranges[i];
		append(&wanted, range.begin, range.end < begin ? range.end : begin);
		append(&wanted, range.begin > end ? range.begin : end, range.end);
	}
	MUST(wanted.count <= SPAN_RANGES_MAX);
	*span = wanted;
}

bool span_return(struct span *span, uint64_t chunk)
{
	if (span->count == SPAN_RANGES_MAX)
		return false;
	memmove(span->ranges + 1, span->ranges, span->count * sizeof(span->ranges[0]));
	span->ranges[0] = (struct span_range){chunk, chunk + 1};
	span->count++;
	return true;
}
