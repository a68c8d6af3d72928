/*
 * engine/metadata/texts.h -- a bounded table of texts by key
 *
 * What the memory store keeps, and what a master serves under /metadata.
 *
 * Ownership   Bytes that come out are the caller's copy, with a zero after them.
 * Threads     Any thread; one lock, a leaf, held for a look-up and a copy.
 * Errors      MC_NOT_FOUND; MC_INVALID no key; MC_TOO_BIG a key or a text beyond
 *             metadata.h's limits; MC_NO_SPACE the table is full.
 * Limits      TEXTS_COUNT_MAX keys, TEXTS_SIZE_MAX bytes of keys and texts.
 */
#ifndef ENGINE_METADATA_TEXTS_H
#define ENGINE_METADATA_TEXTS_H

#include <mooncake/status.h>
#include <stddef.h>
#include <stdint.h>

#define TEXTS_COUNT_MAX 65536u
#define TEXTS_SIZE_MAX	(256u << 20)

struct texts;

struct texts_counters {
	uint64_t count;
	uint64_t size; /* bytes of keys and texts */
};

MC_MUST_CHECK enum mc_status texts_new(struct texts **texts);
void texts_free(struct texts *texts);

MC_MUST_CHECK enum mc_status texts_get(struct texts *texts, const char *key, char **bytes,
				       size_t *size);
MC_MUST_CHECK enum mc_status texts_put(struct texts *texts, const char *key, const void *bytes,
				       size_t size);
MC_MUST_CHECK enum mc_status texts_remove(struct texts *texts, const char *key);

void texts_count(struct texts *texts, struct texts_counters *counters);

#endif
