#include "engine/node/grant.h"

#include <stdlib.h>

#include <mooncake/protocol.h>

/* Zero marks an empty slot, so the one name that hashes to it shares with 1. */
static uint64_t stored(uint64_t hash)
{
	return hash ? hash : 1;
}

/* False: it was there. */
static bool insert(uint64_t *hashes, uint32_t size, uint64_t hash)
{
	uint32_t i = (uint32_t)(hash ^ hash >> 32) & (size - 1);

	while (hashes[i] && hashes[i] != hash)
		i = (i + 1) & (size - 1);
	if (hashes[i])
		return false;
	hashes[i] = hash;
	return true;
}

static bool resize(struct grant *grant, uint32_t size)
{
	uint64_t *hashes = calloc(size, sizeof(*hashes));

	if (!hashes)
		return false;
	for (uint32_t i = 0; i < grant->size; i++) {
		if (grant->hashes[i])
			insert(hashes, size, grant->hashes[i]);
	}
	free(grant->hashes);
	grant->hashes = hashes;
	grant->size = size;
	return true;
}

bool grant_add(struct grant *grant, uint64_t hash)
{
	if (grant->count * 2 >= grant->size && !resize(grant, grant->size ? grant->size * 2 : 16))
		return false;
	grant->count += insert(grant->hashes, grant->size, stored(hash));
	return true;
}

bool grant_has(const struct grant *grant, uint64_t hash)
{
	if (grant->count == 0)
		return false;
	hash = stored(hash);
	uint32_t i = (uint32_t)(hash ^ hash >> 32) & (grant->size - 1);
	while (grant->hashes[i] && grant->hashes[i] != hash)
		i = (i + 1) & (grant->size - 1);
	return grant->hashes[i] != 0;
}

struct grant *grant_read(struct reader *r, uint32_t session)
{
	if (get_u8(r) != 1)
		return NULL;
	uint32_t count = get_u32(r);
	if (r->failed || count > MC_GRANT_NAMES_MAX)
		return NULL;
	struct grant *grant = calloc(1, sizeof(*grant));
	if (!grant)
		return NULL;
	grant->session = session;
	for (uint32_t i = 0; i < count; i++) {
		if (!grant_add(grant, get_u64(r)) || r->failed) {
			grant_free(grant);
			return NULL;
		}
	}
	return grant;
}

void grant_free(struct grant *grant)
{
	if (!grant)
		return;
	free(grant->hashes);
	free(grant);
}
