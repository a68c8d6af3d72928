#include "engine/transport/held.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/transport/owner.h"

#define BUCKETS_FIRST 16u
#define BLOCK_SIZE    512u /* of st_blocks */

static struct held **bucket_of(const struct visitor *visitor, uint64_t id)
{
	return &visitor->buckets[(id * 0x9e3779b97f4a7c15ull >> 32) & (visitor->bucket_count - 1)];
}

struct held *held_find(const struct visitor *visitor, uint64_t id, uint64_t version)
{
	if (visitor->bucket_count == 0)
		return NULL;
	for (struct held *held = *bucket_of(visitor, id); held; held = held->next) {
		if (held->hold.attr.id == id && held->hold.attr.version == version)
			return held;
	}
	return NULL;
}

static bool buckets_grow(struct visitor *visitor)
{
	uint32_t old_count = visitor->bucket_count;
	struct held **old = visitor->buckets;
	uint32_t count = old_count ? 2 * old_count : BUCKETS_FIRST;
	struct held **buckets = calloc(count, sizeof(struct held *));

	if (!buckets)
		return false;
	visitor->buckets = buckets;
	visitor->bucket_count = count;
	for (uint32_t i = 0; i < old_count; i++) {
		while (old[i]) {
			struct held *held = old[i];
			struct held **bucket = bucket_of(visitor, held->hold.attr.id);
			old[i] = held->next;
			held->next = *bucket;
			*bucket = held;
		}
	}
	free(old);
	return true;
}

/* Is it a file in memory, whole, as long as it should be? */
static bool mappable(const struct source_hold *hold)
{
	struct statfs system;
	struct stat file;

	return fstat(hold->fd, &file) == 0 && (uint64_t)file.st_size == hold->attr.size &&
	       (uint64_t)file.st_blocks >= (hold->attr.size + BLOCK_SIZE - 1) / BLOCK_SIZE &&
	       fstatfs(hold->fd, &system) == 0 && system.f_type == TMPFS_MAGIC;
}

const uint8_t *held_map(struct held *held)
{
	if (held->map || held->unmapped)
		return held->map;
	void *map = MAP_FAILED;
	if (mappable(&held->hold))
		map = mmap(NULL, held->hold.attr.size, PROT_READ, MAP_SHARED, held->hold.fd, 0);
	held->unmapped = map == MAP_FAILED;
	held->map = held->unmapped ? NULL : map;
	return held->map;
}

static void source_release(struct owner *owner, struct source_hold *hold)
{
	owner->config.source->release(owner->config.source->context, hold);
	atomic_fetch_sub(&owner->holds, 1);
}

void held_drop(struct visitor *visitor, struct held *held)
{
	struct held **at = bucket_of(visitor, held->hold.attr.id);

	while (*at != held)
		at = &(*at)->next;
	*at = held->next;
	visitor->held_count--;
	atomic_fetch_sub(&visitor->owner->lent, held->lent);
	if (visitor->owner->config.drop)
		visitor->owner->config.drop(visitor, held);
	if (held->map)
		munmap(held->map, held->hold.attr.size);
	if (held->read_fd >= 0)
		close(held->read_fd);
	source_release(visitor->owner, &held->hold);
	free(held);
}

void held_drop_all(struct visitor *visitor)
{
	for (uint32_t i = 0; i < visitor->bucket_count; i++) {
		while (visitor->buckets[i])
			held_drop(visitor, visitor->buckets[i]);
	}
	free(visitor->buckets);
	visitor->buckets = NULL;
	visitor->bucket_count = 0;
}

void held_expire(struct visitor *visitor, uint64_t before_ns, bool oldest)
{
	struct held *last = NULL;

	for (uint32_t i = 0; i < visitor->bucket_count; i++) {
		for (struct held *held = visitor->buckets[i], *next; held; held = next) {
			next = held->next;
			if (held->lent || held == visitor->answer.held)
				continue;
			if (held->used_ns < before_ns)
				held_drop(visitor, held);
			else if (!last || held->used_ns < last->used_ns)
				last = held;
		}
	}
	if (oldest && last)
		held_drop(visitor, last);
}

static struct held *held_add(struct visitor *visitor, const struct source_hold *hold)
{
	if (visitor->held_count >= visitor->bucket_count && !buckets_grow(visitor))
		return NULL;
	struct held *held = calloc(1, sizeof(*held));
	if (!held)
		return NULL;
	struct held **bucket = bucket_of(visitor, hold->attr.id);
	held->hold = *hold;
	held->read_fd = -1;
	held->next = *bucket;
	*bucket = held;
	visitor->held_count++;
	return held;
}

enum mc_status held_get(struct visitor *visitor, const struct pull_request *request,
			struct held **found)
{
	struct owner *owner = visitor->owner;
	const struct transport_source *source = owner->config.source;
	struct source_hold fresh = {.fd = -1};

	/* Version 0 asks for what there is now, so what was held before is no answer. */
	*found = request->version ? held_find(visitor, request->id, request->version) : NULL;
	if (*found)
		return MC_OK;
	enum mc_status status =
		source->hold(source->context, request->id, request->version, &fresh);
	if (status)
		return status;
	MUST(fresh.fd >= 0);
	atomic_fetch_add(&owner->holds, 1);
	*found = held_find(visitor, fresh.attr.id, fresh.attr.version);
	if (*found) {
		source_release(owner, &fresh);
		return MC_OK;
	}
	if (owner_keeps(owner) && visitor->held_count >= OWNER_KEPT_MAX)
		held_expire(visitor, 0, true);
	*found = held_add(visitor, &fresh);
	if (!*found) {
		source_release(owner, &fresh);
		return MC_NO_MEMORY;
	}
	return MC_OK;
}
