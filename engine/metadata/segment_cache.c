#include "engine/metadata/segment_cache.h"

#include <pthread.h>
#include <search.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"

/* What is kept of a name. */
struct kept {
	char *name;
	struct segment_desc *desc; /* NULL: nothing yet, or no more */
	bool fetching;		   /* somebody asks the store now; the others wait */
	unsigned waiting;
	enum mc_status failure; /* of the last fetch, for those who waited for it */
	/* in the order of first fetches */
	struct kept *older;
	struct kept *newer;
};

struct segment_cache {
	/* fixed after new */
	struct metadata *metadata;
	bool keeps;

	pthread_mutex_t lock;
	pthread_cond_t fetched;
	/* protected by lock */
	void *tree; /* of struct kept, by name */
	struct kept *oldest;
	struct kept *newest;
	size_t count;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct kept *)a)->name, ((const struct kept *)b)->name);
}

enum mc_status segment_cache_new(struct metadata *metadata, struct segment_cache **cache)
{
	struct segment_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return MC_NO_MEMORY;
	c->metadata = metadata;
	c->keeps = !getenv("MC_DISABLE_METACACHE");
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->fetched, NULL);
	*cache = c;
	return MC_OK;
}

static void kept_free(struct kept *kept)
{
	segment_desc_unref(kept->desc);
	free(kept->name);
	free(kept);
}

static void nothing(void *node)
{
	(void)node;
}

void segment_cache_free(struct segment_cache *cache)
{
	if (!cache)
		return;
	tdestroy(cache->tree, nothing);
	while (cache->oldest) {
		struct kept *kept = cache->oldest;
		cache->oldest = kept->newer;
		kept_free(kept);
	}
	pthread_cond_destroy(&cache->fetched);
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

static struct kept *find_locked(struct segment_cache *cache, const char *name)
{
	const struct kept wanted = {.name = (char *)name};
	void *found = tfind(&wanted, &cache->tree, by_name);

	return found ? *(struct kept **)found : NULL;
}

static void remove_locked(struct segment_cache *cache, struct kept *kept)
{
	tdelete(kept, &cache->tree, by_name);
	*(kept->older ? &kept->older->newer : &cache->oldest) = kept->newer;
	*(kept->newer ? &kept->newer->older : &cache->newest) = kept->older;
	cache->count--;
	kept_free(kept);
}

/* Of more than that the oldest go, but for those that somebody is busy with. */
static void trim_locked(struct segment_cache *cache, size_t count)
{
	for (struct kept *kept = cache->oldest, *next; kept && cache->count > count; kept = next) {
		next = kept->newer;
		if (!kept->fetching && !kept->waiting)
			remove_locked(cache, kept);
	}
}

/* NULL: out of memory. */
static struct kept *add_locked(struct segment_cache *cache, const char *name)
{
	struct kept *kept = calloc(1, sizeof(*kept));

	if (!kept)
		return NULL;
	kept->name = strdup(name);
	trim_locked(cache, SEGMENT_CACHE_MAX - 1);
	if (!kept->name || !tsearch(kept, &cache->tree, by_name)) {
		kept_free(kept);
		return NULL;
	}
	kept->older = cache->newest;
	*(kept->older ? &kept->older->newer : &cache->oldest) = kept;
	cache->newest = kept;
	cache->count++;
	return kept;
}

/* Ask the store. */
static enum mc_status fetch(struct segment_cache *cache, const char *name,
			    struct segment_desc **desc)
{
	char key[METADATA_KEY_SIZE_MAX + 1];
	CLEANUP_FREE char *text = NULL;
	enum mc_status status = segment_key(name, key, sizeof(key));

	if (status == MC_OK)
		status = metadata_get(cache->metadata, key, &text);
	if (status != MC_OK)
		return status;
	status = segment_desc_parse(text, strlen(text), desc);
	if (status == MC_PROTOCOL)
		log_warn("a descriptor is corrupted segment=%s", name);
	return status;
}

/* Ask the store on behalf of all who want the name; the lock is let go meanwhile. */
static void fetch_locked(struct segment_cache *cache, struct kept *kept)
{
	struct segment_desc *desc = NULL;

	kept->fetching = true;
	pthread_mutex_unlock(&cache->lock);
	enum mc_status status = fetch(cache, kept->name, &desc);
	pthread_mutex_lock(&cache->lock);
	kept->fetching = false;
	kept->failure = status;
	if (status == MC_OK || status == MC_NOT_FOUND) {
		segment_desc_unref(kept->desc);
		kept->desc = desc;
	}
	pthread_cond_broadcast(&cache->fetched);
}

/* One that is not `stale`, by a fetch of ours or of whom we waited for. */
static enum mc_status newer_locked(struct segment_cache *cache, struct kept *kept,
				   const struct segment_desc *stale)
{
	enum mc_status status = MC_OK;

	kept->waiting++;
	while (status == MC_OK && (!kept->desc || kept->desc == stale)) {
		if (kept->fetching)
			pthread_cond_wait(&cache->fetched, &cache->lock);
		else
			fetch_locked(cache, kept);
		if (!kept->fetching)
			status = kept->failure;
	}
	kept->waiting--;
	return status;
}

static enum mc_status newer(struct segment_cache *cache, const char *name,
			    const struct segment_desc *stale, struct segment_desc **desc)
{
	if (!cache->keeps)
		return fetch(cache, name, desc);
	WITH_LOCK(&cache->lock);
	struct kept *kept = find_locked(cache, name);
	if (!kept)
		kept = add_locked(cache, name);
	if (!kept)
		return MC_NO_MEMORY;
	enum mc_status status = newer_locked(cache, kept, stale);
	if (status == MC_OK)
		*desc = segment_desc_ref(kept->desc);
	if (!kept->desc && !kept->fetching && !kept->waiting)
		remove_locked(cache, kept);
	trim_locked(cache, SEGMENT_CACHE_MAX);
	return status;
}

enum mc_status segment_cache_get(struct segment_cache *cache, const char *name,
				 struct segment_desc **desc)
{
	return newer(cache, name, NULL, desc);
}

/* What is kept of a name now, with a reference, or NULL. */
static struct segment_desc *peek(struct segment_cache *cache, const char *name)
{
	WITH_LOCK(&cache->lock);
	const struct kept *kept = find_locked(cache, name);

	return kept && kept->desc ? segment_desc_ref(kept->desc) : NULL;
}

enum mc_status segment_cache_refresh(struct segment_cache *cache, const char *name,
				     const struct segment_desc *stale, struct segment_desc **desc)
{
	struct segment_desc *kept = stale ? NULL : peek(cache, name);
	enum mc_status status = newer(cache, name, stale ? stale : kept, desc);

	segment_desc_unref(kept);
	return status;
}

void segment_cache_forget(struct segment_cache *cache, const char *name)
{
	WITH_LOCK(&cache->lock);
	struct kept *kept = find_locked(cache, name);

	if (!kept)
		return;
	if (!kept->fetching && !kept->waiting) {
		remove_locked(cache, kept);
		return;
	}
	/* Whoever is busy with it takes it out. */
	segment_desc_unref(kept->desc);
	kept->desc = NULL;
}

static enum mc_status sync_one(struct segment_cache *cache, const char *name)
{
	struct segment_desc *desc;
	enum mc_status status = segment_cache_refresh(cache, name, NULL, &desc);

	if (status == MC_OK)
		segment_desc_unref(desc);
	return status;
}

/* The names that are kept, as copies. */
static enum mc_status names_copy(struct segment_cache *cache, char ***names, size_t *count)
{
	WITH_LOCK(&cache->lock);
	char **copies = calloc(cache->count + 1, sizeof(*copies));
	size_t copied = 0;

	if (!copies)
		return MC_NO_MEMORY;
	for (const struct kept *kept = cache->oldest; kept; kept = kept->newer) {
		copies[copied] = strdup(kept->name);
		if (copies[copied])
			copied++;
	}
	*names = copies;
	*count = copied;
	return MC_OK;
}

enum mc_status segment_cache_sync(struct segment_cache *cache, const char *name)
{
	CLEANUP_FREE char **names = NULL;
	size_t count;

	if (name)
		return sync_one(cache, name);
	enum mc_status result = names_copy(cache, &names, &count);
	if (result != MC_OK)
		return result;
	for (size_t i = 0; i < count; i++) {
		enum mc_status status = sync_one(cache, names[i]);
		if (status != MC_OK && status != MC_NOT_FOUND)
			result = status;
		free(names[i]);
	}
	return result;
}

enum mc_status segment_cache_publish(struct segment_cache *cache, const char *name,
				     struct segment_desc *desc)
{
	char key[METADATA_KEY_SIZE_MAX + 1];
	CLEANUP_FREE char *text = NULL;
	enum mc_status status = segment_key(name, key, sizeof(key));

	if (status == MC_OK)
		status = segment_desc_print(desc, &text);
	if (status == MC_OK)
		status = metadata_put(cache->metadata, key, text);
	segment_cache_forget(cache, name);
	return status;
}

enum mc_status segment_cache_withdraw(struct segment_cache *cache, const char *name)
{
	char key[METADATA_KEY_SIZE_MAX + 1];
	enum mc_status address_status = segment_address_key(name, key, sizeof(key));

	if (address_status == MC_OK)
		address_status = metadata_remove(cache->metadata, key);
	enum mc_status status = segment_key(name, key, sizeof(key));
	if (status == MC_OK)
		status = metadata_remove(cache->metadata, key);
	segment_cache_forget(cache, name);
	if (status == MC_OK || status == MC_NOT_FOUND)
		status = address_status;
	return status == MC_NOT_FOUND ? MC_OK : status;
}

enum mc_status segment_cache_address(struct segment_cache *cache, const char *server,
				     struct segment_address *address)
{
	char key[METADATA_KEY_SIZE_MAX + 1];
	CLEANUP_FREE char *text = NULL;
	enum mc_status status = segment_address_key(server, key, sizeof(key));

	if (status == MC_OK)
		status = metadata_get(cache->metadata, key, &text);
	if (status == MC_OK)
		status = segment_address_parse(text, strlen(text), address);
	return status;
}

enum mc_status segment_cache_announce(struct segment_cache *cache, const char *server,
				      const struct segment_address *address)
{
	char key[METADATA_KEY_SIZE_MAX + 1];
	CLEANUP_FREE char *text = NULL;
	enum mc_status status = segment_address_key(server, key, sizeof(key));

	if (status == MC_OK)
		status = segment_address_print(address, &text);
	if (status == MC_OK)
		status = metadata_put(cache->metadata, key, text);
	return status;
}
