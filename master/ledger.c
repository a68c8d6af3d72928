#include "master/ledger.h"

#include <stdlib.h>

#include "engine/base/log.h"
#include "master/table.h"

enum mc_status ledger_init(struct ledger *ledger)
{
	*ledger = (struct ledger){
		.deeds = calloc(LEDGER_COUNT, sizeof(*ledger->deeds)),
		.by_request = calloc(LEDGER_COUNT, sizeof(*ledger->by_request)),
		.by_id = calloc(LEDGER_COUNT, sizeof(*ledger->by_id)),
	};
	if (ledger->deeds && ledger->by_request && ledger->by_id)
		return MC_OK;
	ledger_fini(ledger);
	return MC_NO_MEMORY;
}

void ledger_fini(struct ledger *ledger)
{
	free(ledger->deeds);
	free(ledger->by_request);
	free(ledger->by_id);
	*ledger = (struct ledger){0};
}

static uint32_t *bucket_of(uint32_t *buckets, uint64_t key)
{
	return &buckets[table_mix(key) % LEDGER_COUNT];
}

static struct deed *deed_of(const struct ledger *ledger, uint32_t place)
{
	return place ? &ledger->deeds[place - 1] : NULL;
}

static uint32_t place_of(const struct ledger *ledger, const struct deed *deed)
{
	return (uint32_t)(deed - ledger->deeds) + 1;
}

static void request_enter(struct ledger *ledger, struct deed *deed)
{
	uint32_t *bucket = bucket_of(ledger->by_request, deed->request);

	if (deed->request == 0)
		return;
	deed->next_by_request = *bucket;
	*bucket = place_of(ledger, deed);
}

static void id_enter(struct ledger *ledger, struct deed *deed)
{
	uint32_t *bucket = bucket_of(ledger->by_id, deed->id);

	deed->next_by_id = *bucket;
	*bucket = place_of(ledger, deed);
}

static void request_leave(struct ledger *ledger, const struct deed *deed)
{
	uint32_t *at = bucket_of(ledger->by_request, deed->request);

	if (deed->request == 0)
		return;
	while (deed_of(ledger, *at) != deed)
		at = &deed_of(ledger, *at)->next_by_request;
	*at = deed->next_by_request;
}

static void id_leave(struct ledger *ledger, const struct deed *deed)
{
	uint32_t *at = bucket_of(ledger->by_id, deed->id);

	while (deed_of(ledger, *at) != deed)
		at = &deed_of(ledger, *at)->next_by_id;
	*at = deed->next_by_id;
}

static void clear(struct ledger *ledger, struct deed *deed)
{
	if (deed->what == DEED_NONE)
		return;
	request_leave(ledger, deed);
	id_leave(ledger, deed);
	*deed = (struct deed){0};
}

static void add(struct ledger *ledger, enum deed_what what, int64_t now_s, uint64_t id,
		uint64_t version)
{
	struct deed *deed = &ledger->deeds[++ledger->last % LEDGER_COUNT];

	if (deed->what != DEED_NONE && deed->done_s > ledger->forgotten_s)
		ledger->forgotten_s = deed->done_s;
	clear(ledger, deed);
	*deed = (struct deed){
		.number = ledger->last,
		.id = id,
		.version = version,
		.done_s = now_s,
		.what = what,
	};
	id_enter(ledger, deed);
}

void ledger_gone(struct ledger *ledger, int64_t now_s, uint64_t id, uint64_t version)
{
	add(ledger, DEED_GONE, now_s, id, version);
}

void ledger_moved(struct ledger *ledger, int64_t now_s, uint64_t id, uint64_t version)
{
	add(ledger, DEED_MOVED, now_s, id, version);
}

void ledger_sign(struct ledger *ledger, uint64_t request, uint32_t item)
{
	struct deed *deed = &ledger->deeds[ledger->last % LEDGER_COUNT];

	MUST(deed->number == ledger->last && deed->request == 0);
	deed->request = request;
	deed->item = item;
	request_enter(ledger, deed);
}

const struct deed *ledger_asked(const struct ledger *ledger, uint64_t request, uint32_t item)
{
	if (request == 0 || ledger->last == 0)
		return NULL;
	const struct deed *deed = deed_of(ledger, *bucket_of(ledger->by_request, request));
	while (deed && (deed->request != request || deed->item != item))
		deed = deed_of(ledger, deed->next_by_request);
	return deed;
}

bool ledger_knows_gone(const struct ledger *ledger, uint64_t id, uint64_t version)
{
	if (ledger->last == 0)
		return false;
	const struct deed *deed = deed_of(ledger, *bucket_of(ledger->by_id, id));
	while (deed && (deed->id != id || deed->what != DEED_GONE || deed->version < version))
		deed = deed_of(ledger, deed->next_by_id);
	return deed != NULL;
}

bool ledger_reaches(const struct ledger *ledger, int64_t now_s, uint32_t age_s)
{
	return ledger->forgotten_s == 0 || now_s - (int64_t)age_s > ledger->forgotten_s;
}

const struct deed *ledger_unrecorded(const struct ledger *ledger, uint64_t id, uint64_t after)
{
	const struct deed *oldest = NULL;

	if (after < ledger->recorded)
		after = ledger->recorded;
	if (after == ledger->last)
		return NULL;
	const struct deed *deed = deed_of(ledger, *bucket_of(ledger->by_id, id));
	for (; deed; deed = deed_of(ledger, deed->next_by_id)) {
		if (deed->id == id && deed->number > after &&
		    (!oldest || deed->number < oldest->number))
			oldest = deed;
	}
	return oldest;
}

void ledger_settle(struct ledger *ledger)
{
	ledger->recorded = ledger->last;
}

bool ledger_load(struct ledger *ledger, uint64_t slot, const struct deed *deed)
{
	if (slot >= LEDGER_COUNT || deed->number == 0 || deed->number % LEDGER_COUNT != slot)
		return false;
	if (deed->what != DEED_GONE && deed->what != DEED_MOVED)
		return false;
	struct deed *at = &ledger->deeds[slot];
	clear(ledger, at);
	*at = *deed;
	at->next_by_request = at->next_by_id = 0;
	request_enter(ledger, at);
	id_enter(ledger, at);
	return true;
}

void ledger_loaded(struct ledger *ledger,
		   bool (*stands)(void *context, uint64_t id, uint64_t version), void *context)
{
	const struct deed *oldest = NULL;
	uint64_t last = 0;
	uint32_t count = 0;

	for (uint32_t i = 0; i < LEDGER_COUNT; i++) {
		struct deed *deed = &ledger->deeds[i];
		if (deed->what == DEED_NONE)
			continue;
		count++;
		if (deed->number > last)
			last = deed->number;
		if (!oldest || deed->number < oldest->number)
			oldest = deed;
	}
	/* All slots are taken: some may have been before. */
	ledger->forgotten_s = count == LEDGER_COUNT ? oldest->done_s : 0;
	for (uint32_t i = 0; i < LEDGER_COUNT; i++) {
		struct deed *deed = &ledger->deeds[i];
		if (deed->what == DEED_GONE && stands(context, deed->id, deed->version))
			clear(ledger, deed);
	}
	ledger->last = ledger->recorded = last;
}

const struct deed *ledger_at(const struct ledger *ledger, uint64_t slot)
{
	const struct deed *deed = &ledger->deeds[slot];

	return deed->what == DEED_NONE ? NULL : deed;
}
