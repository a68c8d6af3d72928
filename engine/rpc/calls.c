#include "engine/rpc/calls.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/rpc/wire.h"

void calls_init(struct calls *calls)
{
	*calls = (struct calls){0};
	ssize_t size = getrandom(&calls->next_id, sizeof(calls->next_id), 0);
	MUST(size == sizeof(calls->next_id));
}

struct call *call_new(const struct writer *body, uint32_t timeout_ms)
{
	size_t size = MC_FRAME_HEADER_SIZE + (body ? body->size : 0);
	struct call *call = body && body->failed ? NULL : malloc(sizeof(*call) + size);

	if (!call)
		return NULL;
	*call = (struct call){.size = size};
	call->deadline_ns = clock_ns() + timeout_ms * 1000000ull;
	if (size > MC_FRAME_HEADER_SIZE)
		memcpy(call->frame + MC_FRAME_HEADER_SIZE, body->data, body->size);
	return call;
}

static struct call **bucket_of(struct calls *calls, uint64_t id)
{
	return &calls->buckets[id % CALLS_BUCKETS];
}

void calls_add(struct calls *calls, struct call *call, enum mc_verb verb)
{
	struct frame frame = {.kind = MC_FRAME_REQUEST, .verb = (uint16_t)verb};

	frame.size = (uint32_t)(call->size - MC_FRAME_HEADER_SIZE);
	frame.request_id = call->id = ++calls->next_id;
	frame_encode(call->frame, &frame);
	struct call **bucket = bucket_of(calls, call->id);
	call->next = *bucket;
	*bucket = call;
	calls->count++;
}

void call_sending(struct call *call, uint64_t now_ns)
{
	struct frame frame;

	call->resent = call->sent;
	if (!call->sent) {
		call->sent = true;
		call->sent_ns = now_ns;
		return;
	}
	uint64_t age_s = (now_ns - call->sent_ns) / 1000000000ull + 1;
	MUST(frame_decode(call->frame, &frame) == MC_OK);
	frame.age_s = (uint16_t)(age_s < UINT16_MAX ? age_s : UINT16_MAX);
	frame_encode(call->frame, &frame);
}

struct call *calls_find(const struct calls *calls, uint64_t id)
{
	struct call *call = calls->buckets[id % CALLS_BUCKETS];

	while (call && call->id != id)
		call = call->next;
	return call;
}

struct call *calls_take(struct calls *calls, uint64_t id)
{
	struct call **at = bucket_of(calls, id);

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	struct call *call = *at;
	if (call) {
		*at = call->next;
		calls->count--;
	}
	return call;
}

static bool ends(const struct call *call, enum ending ending, uint64_t now_ns)
{
	switch (ending) {
	case ENDING_LATE:
		return call->deadline_ns <= now_ns;
	case ENDING_HERE:
		return call->here;
	case ENDING_ALL:
		break;
	}
	return true;
}

struct call *calls_take_ending(struct calls *calls, enum ending ending, uint64_t now_ns)
{
	struct call *taken = NULL;

	for (unsigned i = 0; calls->count > 0 && i < CALLS_BUCKETS; i++) {
		struct call **at = &calls->buckets[i];
		while (*at) {
			struct call *call = *at;
			if (!ends(call, ending, now_ns)) {
				at = &call->next;
				continue;
			}
			*at = call->next;
			call->next = taken;
			taken = call;
			calls->count--;
		}
	}
	return taken;
}

static int by_id(const void *a, const void *b)
{
	uint64_t ia = (*(struct call *const *)a)->id, ib = (*(struct call *const *)b)->id;

	return ia < ib ? -1 : ia > ib;
}

struct call **calls_sorted(const struct calls *calls)
{
	struct call **sorted = calloc(calls->count + 1, sizeof(*sorted));
	uint32_t count = 0;

	for (unsigned i = 0; sorted && i < CALLS_BUCKETS; i++) {
		for (struct call *call = calls->buckets[i]; call; call = call->next)
			sorted[count++] = call;
	}
	if (sorted)
		qsort(sorted, count, sizeof(*sorted), by_id);
	return sorted;
}

void calls_end(struct call *list, enum ending ending)
{
	while (list) {
		struct call *next = list->next;
		enum mc_status status = list->sent ? MC_TIMEOUT : MC_UNREACHABLE;
		if (ending == ENDING_ALL)
			status = MC_CANCELLED;
		list->reply(list->context, status, NULL, list->resent);
		free(list);
		list = next;
	}
}
