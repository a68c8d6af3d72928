#include "master/table.h"

#include <stdlib.h>

#include "engine/base/log.h"

#define SLOTS_MIN  16u
#define MOVE_COUNT 16u /* slots moved by one call */
#define IN_NEW	   ((size_t)1 << 63)

bool table_init(struct table *table, uint64_t (*hash)(const struct table *table, const void *item),
		uint64_t seed)
{
	*table = (struct table){.hash = hash, .seed = seed, .mask = SLOTS_MIN - 1};
	table->slots = calloc(SLOTS_MIN, sizeof(*table->slots));
	return table->slots != NULL;
}

void table_fini(struct table *table)
{
	free(table->slots);
	free(table->old);
	*table = (struct table){0};
}

static void slot_fill(struct table *table, uint64_t hash, uint64_t slot)
{
	size_t i = hash & table->mask;

	while (table->slots[i] > TABLE_REMOVED)
		i = (i + 1) & table->mask;
	if (table->slots[i] == TABLE_EMPTY)
		table->filled++;
	table->slots[i] = slot;
}

static void move_some(struct table *table, size_t count)
{
	while (table->old && count--) {
		uint64_t slot = table->old[table->old_moved];
		if (slot > TABLE_REMOVED) {
			table->old[table->old_moved] = TABLE_REMOVED;
			slot_fill(table, table->hash(table, TABLE_ITEM(slot)), slot);
		}
		if (table->old_moved++ == table->old_mask) {
			free(table->old);
			table->old = NULL;
		}
	}
}

static bool grow(struct table *table)
{
	size_t size = table->mask + 1;

	/* Many removed ones: the same size cleans up. */
	if (table->count > size / 2)
		size *= 2;
	move_some(table, SIZE_MAX);
	uint64_t *slots = calloc(size, sizeof(*slots));
	if (!slots)
		return false;
	table->old = table->slots;
	table->old_mask = table->mask;
	table->old_moved = 0;
	table->slots = slots;
	table->mask = size - 1;
	table->filled = 0;
	table->growths++;
	return true;
}

bool table_reserve(struct table *table)
{
	move_some(table, MOVE_COUNT);
	return table->filled < (table->mask + 1) / 4 * 3 || grow(table);
}

bool table_insert(struct table *table, uint64_t hash, void *item)
{
	MUST(((uintptr_t)item >> 48) == 0 && (uintptr_t)item > TABLE_REMOVED);
	if (!table_reserve(table))
		return false;
	slot_fill(table, hash, TABLE_TAG(hash) | (uintptr_t)item);
	table->count++;
	return true;
}

static uint64_t *slot_of(uint64_t *slots, size_t mask, uint64_t hash, const void *item)
{
	for (size_t i = hash & mask; slots[i] != TABLE_EMPTY; i = (i + 1) & mask) {
		if (slots[i] != TABLE_REMOVED && TABLE_ITEM(slots[i]) == item)
			return &slots[i];
	}
	return NULL;
}

static uint64_t *slot_find(struct table *table, uint64_t hash, const void *item)
{
	uint64_t *slot = slot_of(table->slots, table->mask, hash, item);

	if (!slot && table->old)
		slot = slot_of(table->old, table->old_mask, hash, item);
	MUST(slot != NULL);
	return slot;
}

void table_remove(struct table *table, uint64_t hash, const void *item)
{
	*slot_find(table, hash, item) = TABLE_REMOVED;
	table->count--;
}

void table_replace(struct table *table, uint64_t hash, const void *item, void *with)
{
	*slot_find(table, hash, item) = TABLE_TAG(hash) | (uintptr_t)with;
}

void *table_next(const struct table *table, size_t *position)
{
	/* The old array first: what moves meanwhile is met again, never missed. */
	while (table->old && *position <= table->old_mask) {
		uint64_t slot = table->old[(*position)++];
		if (slot > TABLE_REMOVED)
			return TABLE_ITEM(slot);
	}
	if (!(*position & IN_NEW))
		*position = IN_NEW;
	while ((*position & ~IN_NEW) <= table->mask) {
		uint64_t slot = table->slots[(*position)++ & ~IN_NEW];
		if (slot > TABLE_REMOVED)
			return TABLE_ITEM(slot);
	}
	return NULL;
}
