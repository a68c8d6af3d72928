/*
 * engine/metadata/segment_cache.h -- descriptors of others, fetched once
 *
 * Opening a segment fetches its descriptor, which is then kept: transfers ask
 * the cache and not the store.  Who finds that one is out of date, because the
 * owner refused a key or an address is in no buffer of it, says which one it
 * had and gets a newer one; of many that find that at once, one fetches.  With
 * MC_DISABLE_METACACHE in the environment nothing is kept.
 *
 * Ownership   Descriptors come out with a reference (segment_desc_unref()).
 * Threads     Any thread.  The lock is not held while the store is asked.
 * Errors      As metadata.h and segment_desc_parse(); a corrupted descriptor is
 *             logged.
 * Limits      SEGMENT_CACHE_MAX names, and those that are being fetched; beyond,
 *             the oldest goes.
 */
#ifndef ENGINE_METADATA_SEGMENT_CACHE_H
#define ENGINE_METADATA_SEGMENT_CACHE_H

#include "engine/metadata/metadata.h"
#include "engine/metadata/segment_desc.h"

#define SEGMENT_CACHE_MAX 4096u

struct segment_cache;

/* The store must outlive the cache. */
MC_MUST_CHECK enum mc_status segment_cache_new(struct metadata *metadata,
					       struct segment_cache **cache);
void segment_cache_free(struct segment_cache *cache);

/* The descriptor of a name, from here or from the store. */
MC_MUST_CHECK enum mc_status segment_cache_get(struct segment_cache *cache, const char *name,
					       struct segment_desc **desc);

/*
 * One that is newer than `stale`, which the caller keeps its reference to, or
 * (NULL) than what is kept now.  After an error the old one is forgotten only if the store
 * said that there is none.
 */
MC_MUST_CHECK enum mc_status segment_cache_refresh(struct segment_cache *cache, const char *name,
						   const struct segment_desc *stale,
						   struct segment_desc **desc);

/* Fetch a name anew; NULL: all that are kept.  Names that are gone are forgotten. */
MC_MUST_CHECK enum mc_status segment_cache_sync(struct segment_cache *cache, const char *name);

/* Drop what is kept of a name. */
void segment_cache_forget(struct segment_cache *cache, const char *name);

/* Put our own descriptor in the store; take it out, and our address. */
MC_MUST_CHECK enum mc_status segment_cache_publish(struct segment_cache *cache, const char *name,
						   struct segment_desc *desc);
MC_MUST_CHECK enum mc_status segment_cache_withdraw(struct segment_cache *cache, const char *name);

/* The address of a server, never kept; and ours. */
MC_MUST_CHECK enum mc_status segment_cache_address(struct segment_cache *cache, const char *server,
						   struct segment_address *address);
MC_MUST_CHECK enum mc_status segment_cache_announce(struct segment_cache *cache, const char *server,
						    const struct segment_address *address);

#endif
