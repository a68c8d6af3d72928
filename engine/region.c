#include "engine/region.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"

enum mc_status region_table_init(struct region_table *table)
{
	*table = (struct region_table){0};
	return pthread_rwlock_init(&table->lock, NULL) == 0 ? MC_OK : MC_NO_MEMORY;
}

void region_table_fini(struct region_table *table)
{
	MUST(table->count == 0);
	free(table->regions);
	pthread_rwlock_destroy(&table->lock);
}

/* How many regions begin at or before this address. */
static size_t position_locked(const struct region_table *table, uintptr_t address)
{
	size_t low = 0, high = table->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if ((uintptr_t)table->regions[middle]->memory <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct region *find_locked(const struct region_table *table, uintptr_t address)
{
	size_t at = position_locked(table, address);
	struct region *region = at > 0 ? table->regions[at - 1] : NULL;

	return region && address - (uintptr_t)region->memory < region->length ? region : NULL;
}

static bool overlaps_locked(const struct region_table *table, uintptr_t begin, uint64_t length)
{
	size_t at = position_locked(table, begin);

	if (find_locked(table, begin))
		return true;
	return at < table->count && (uintptr_t)table->regions[at]->memory - begin < length;
}

static bool grow_locked(struct region_table *table)
{
	size_t capacity = table->capacity ? table->capacity * 2 : 16;

	if (table->count < table->capacity)
		return true;
	struct region **more = reallocarray(table->regions, capacity, sizeof(*more));
	if (!more)
		return false;
	table->regions = more;
	table->capacity = capacity;
	return true;
}

static enum mc_status insert_locked(struct region_table *table, struct region *region)
{
	uintptr_t begin = (uintptr_t)region->memory;

	if (overlaps_locked(table, begin, region->length))
		return MC_EXISTS;
	if (table->count >= REGION_MAX)
		return MC_TOO_BIG;
	if (!grow_locked(table))
		return MC_NO_MEMORY;
	size_t at = position_locked(table, begin);
	memmove(table->regions + at + 1, table->regions + at,
		(table->count - at) * sizeof(*table->regions));
	table->regions[at] = region;
	table->count++;
	return MC_OK;
}

bool region_possible(const struct region_wish *wish)
{
	return wish->memory && wish->length > 0 && wish->length <= SEGMENT_NUMBER_MAX &&
	       (uintptr_t)wish->memory <= UINTPTR_MAX - wish->length;
}

enum mc_status region_reserve(struct region_table *table, const struct region_wish *wish,
			      struct region **region)
{
	if (!region_possible(wish))
		return MC_INVALID;
	CLEANUP_FREE struct region *made = calloc(1, sizeof(*made));
	if (!made)
		return MC_NO_MEMORY;
	made->memory = wish->memory;
	made->length = wish->length;
	made->access = wish->access;
	made->continues = wish->continues;
	if (snprintf(made->location, sizeof(made->location), "%s", wish->location) >=
	    (int)sizeof(made->location))
		return MC_INVALID;
	made->gpu = fabric_location_is_gpu(made->location);
	pthread_rwlock_wrlock(&table->lock);
	enum mc_status status = insert_locked(table, made);
	pthread_rwlock_unlock(&table->lock);
	if (status)
		return status;
	*region = STEAL(made);
	return MC_OK;
}

void region_ready(struct region_table *table, struct region *region)
{
	pthread_rwlock_wrlock(&table->lock);
	region->ready = true;
	pthread_rwlock_unlock(&table->lock);
}

enum mc_status region_hide(struct region_table *table, const void *memory, bool continues,
			   struct region **region)
{
	enum mc_status status = MC_OK;

	pthread_rwlock_wrlock(&table->lock);
	struct region *found = find_locked(table, (uintptr_t)memory);
	if (!found || found->memory != memory || !found->ready || found->continues != continues)
		status = MC_NOT_FOUND;
	else if (atomic_load(&found->users) > 0)
		status = MC_BUSY;
	else
		found->ready = false;
	pthread_rwlock_unlock(&table->lock);
	if (!status)
		*region = found;
	return status;
}

void region_remove(struct region_table *table, struct region *region)
{
	pthread_rwlock_wrlock(&table->lock);
	size_t at = position_locked(table, (uintptr_t)region->memory);
	MUST(at > 0 && table->regions[at - 1] == region && !region->ready);
	memmove(table->regions + at - 1, table->regions + at,
		(table->count - at) * sizeof(*table->regions));
	table->count--;
	pthread_rwlock_unlock(&table->lock);
	segment_desc_unref(region->said);
	free(region);
}

struct region *region_use(struct region_table *table, const void *memory)
{
	pthread_rwlock_rdlock(&table->lock);
	struct region *region = find_locked(table, (uintptr_t)memory);
	if (region && region->ready)
		atomic_fetch_add(&region->users, 1);
	else
		region = NULL;
	pthread_rwlock_unlock(&table->lock);
	return region;
}

void region_done(struct region *region)
{
	unsigned before = atomic_fetch_sub(&region->users, 1);

	MUST(before > 0);
}

/* The region that holds this byte, and how many of these bytes it holds; NULL: none. */
static struct region *piece_locked(const struct region_table *table, uintptr_t address,
				   uint64_t length, uint64_t *held)
{
	struct region *region = find_locked(table, address);

	if (!region || !region->ready)
		return NULL;
	uint64_t left = region->length - (address - (uintptr_t)region->memory);
	*held = left < length ? left : length;
	return region;
}

static bool covers_locked(const struct region_table *table, uintptr_t address, uint64_t length)
{
	uint64_t held = 0;

	for (uint64_t done = 0; done < length; done += held) {
		if (!piece_locked(table, address + done, length - done, &held))
			return false;
	}
	return true;
}

/* What is used stays where it is. */
static bool holds(const struct region *region, const void *memory, uint64_t length)
{
	uint64_t offset = (uintptr_t)memory - (uintptr_t)region->memory;

	return offset < region->length && length <= region->length - offset;
}

bool region_hold(struct region_table *table, const void *memory, uint64_t length,
		 struct region **first)
{
	uintptr_t address = (uintptr_t)memory;
	uint64_t held = 0;

	if (address > UINTPTR_MAX - length)
		return false;
	if (*first && holds(*first, memory, length)) {
		atomic_fetch_add(&(*first)->users, 1);
		return true;
	}
	pthread_rwlock_rdlock(&table->lock);
	*first = length > 0 ? piece_locked(table, address, length, &held) : NULL;
	bool covered =
		(*first || length == 0) && covers_locked(table, address + held, length - held);
	if (covered && *first)
		atomic_fetch_add(&(*first)->users, 1);
	for (uint64_t done = held; covered && done < length; done += held) {
		struct region *region = piece_locked(table, address + done, length - done, &held);
		atomic_fetch_add(&region->users, 1);
	}
	pthread_rwlock_unlock(&table->lock);
	if (!covered)
		*first = NULL;
	return covered;
}

struct region *region_of(struct region_table *table, struct region *first, const void *memory)
{
	if (holds(first, memory, 1))
		return first;
	pthread_rwlock_rdlock(&table->lock);
	struct region *region = find_locked(table, (uintptr_t)memory);
	pthread_rwlock_unlock(&table->lock);
	MUST(region != NULL);
	return region;
}

void region_release(struct region_table *table, struct region *first, const void *memory,
		    uint64_t length)
{
	uint64_t held = 0;

	if (!first)
		return;
	if (holds(first, memory, length)) {
		region_done(first);
		return;
	}
	pthread_rwlock_rdlock(&table->lock);
	for (uint64_t done = 0; done < length; done += held) {
		struct region *region =
			piece_locked(table, (uintptr_t)memory + done, length - done, &held);
		MUST(region != NULL);
		region_done(region);
	}
	pthread_rwlock_unlock(&table->lock);
}

bool region_copyable(struct region_table *table, const void *memory, uint64_t length)
{
	uintptr_t begin = (uintptr_t)memory;
	bool copyable = true;

	pthread_rwlock_rdlock(&table->lock);
	size_t at = position_locked(table, begin);
	for (at -= at > 0; at < table->count && copyable; at++) {
		const struct region *region = table->regions[at];
		uintptr_t first = (uintptr_t)region->memory;
		if (first >= begin && first - begin >= length)
			break;
		bool before = first < begin && begin - first >= region->length;
		copyable = before || !region->gpu;
	}
	pthread_rwlock_unlock(&table->lock);
	return copyable;
}

enum mc_status region_each(struct region_table *table,
			   enum mc_status (*each)(struct region *region, void *context),
			   void *context)
{
	enum mc_status status = MC_OK;

	pthread_rwlock_rdlock(&table->lock);
	for (size_t i = 0; i < table->count && !status; i++) {
		if (table->regions[i]->ready)
			status = each(table->regions[i], context);
	}
	pthread_rwlock_unlock(&table->lock);
	return status;
}

size_t region_count(struct region_table *table)
{
	pthread_rwlock_rdlock(&table->lock);
	size_t count = table->count;
	pthread_rwlock_unlock(&table->lock);
	return count;
}
