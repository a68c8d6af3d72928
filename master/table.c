#include "master/table.h"

#include <stdlib.h>

#include "engine/base/log.h"
#include "master/grace.h"

#define SLOTS_MIN  16u
#define MOVE_COUNT 16u /* slots moved by one call */
#define IN_NEW	   ((size_t)1 << 63)

/* The writer is the only one to store, so it may load as it likes. */
static uint64_t slot_load(const uint64_t *slot)
{
	return __atomic_load_n(slot, __ATOMIC_RELAXED);
}

static void slot_store(uint64_t *slot, uint64_t value)
{
	__atomic_store_n(slot, value, __ATOMIC_RELEASE);
}

static struct slots *slots_new(size_t count)
{
	struct slots *slots = calloc(1, sizeof(*slots) + count * sizeof(slots->slot[0]));

	if (slots)
		slots->mask = count - 1;
	return slots;
}

static void slots_retire(struct table *table, struct slots *slots)
{
	if (table->grace)
		grace_free(table->grace, slots);
	else
		free(slots);
}

bool table_init(struct table *table, uint64_t (*hash)(const struct table *table, const void *item),
		uint64_t seed, struct grace *grace)
{
	*table = (struct table){.hash = hash, .seed = seed, .grace = grace};
	table->slots = slots_new(SLOTS_MIN);
	return table->slots != NULL;
}

void table_fini(struct table *table)
{
	if (table->slots)
		free(table->slots->from);
	free(table->slots);
	*table = (struct table){0};
}

static void slot_fill(struct table *table, uint64_t hash, uint64_t value)
{
	struct slots *slots = table->slots;
	size_t i = hash & slots->mask;

	while (slot_load(&slots->slot[i]) > TABLE_REMOVED)
		i = (i + 1) & slots->mask;
	if (slot_load(&slots->slot[i]) == TABLE_EMPTY)
		table->filled++;
	slot_store(&slots->slot[i], value);
}

static void move_some(struct table *table, size_t count)
{
	struct slots *from = table->slots->from;

	while (from && count--) {
		uint64_t *slot = &from->slot[table->moved];
		uint64_t value = slot_load(slot);
		if (value > TABLE_REMOVED) {
			slot_fill(table, table->hash(table, TABLE_ITEM(value)), value);
			slot_store(slot, TABLE_REMOVED);
		}
		if (table->moved++ == from->mask) {
			__atomic_store_n(&table->slots->from, NULL, __ATOMIC_RELEASE);
			slots_retire(table, from);
			return;
		}
	}
}

static bool grow_to(struct table *table, size_t size)
{
	move_some(table, SIZE_MAX);
	struct slots *slots = slots_new(size);
	if (!slots)
		return false;
	slots->from = table->slots;
	table->moved = 0;
	table->filled = 0;
	table->growths++;
	__atomic_store_n(&table->slots, slots, __ATOMIC_RELEASE);
	return true;
}

static bool grow(struct table *table)
{
	size_t size = table->slots->mask + 1;

	/* Many removed ones: the same size cleans up. */
	return grow_to(table, table->count > size / 2 ? size * 2 : size);
}

bool table_expect(struct table *table, size_t count)
{
	size_t size = table->slots->mask + 1;

	while (size / 4 * 3 <= table->count + count)
		size *= 2;
	return size == table->slots->mask + 1 || grow_to(table, size);
}

bool table_reserve(struct table *table)
{
	move_some(table, MOVE_COUNT);
	return table->filled < (table->slots->mask + 1) / 4 * 3 || grow(table);
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

static uint64_t *slot_of(struct slots *slots, uint64_t hash, const void *item)
{
	for (size_t i = hash & slots->mask;; i = (i + 1) & slots->mask) {
		uint64_t value = slot_load(&slots->slot[i]);
		if (value == TABLE_EMPTY)
			return NULL;
		if (value != TABLE_REMOVED && TABLE_ITEM(value) == item)
			return &slots->slot[i];
	}
}

static uint64_t *slot_find(const struct table *table, uint64_t hash, const void *item)
{
	uint64_t *slot = slot_of(table->slots, hash, item);

	if (!slot && table->slots->from)
		slot = slot_of(table->slots->from, hash, item);
	MUST(slot != NULL);
	return slot;
}

void table_remove(struct table *table, uint64_t hash, const void *item)
{
	slot_store(slot_find(table, hash, item), TABLE_REMOVED);
	table->count--;
}

void table_replace(struct table *table, uint64_t hash, const void *item, void *with)
{
	slot_store(slot_find(table, hash, item), TABLE_TAG(hash) | (uintptr_t)with);
}

void *table_next(const struct table *table, size_t *position)
{
	const struct slots *now = table->slots;
	const struct slots *from = now->from;

	/* The old array first: what moves meanwhile is met again, never missed. */
	while (from && *position <= from->mask) {
		uint64_t value = slot_load(&from->slot[(*position)++]);
		if (value > TABLE_REMOVED)
			return TABLE_ITEM(value);
	}
	if (!(*position & IN_NEW))
		*position = IN_NEW;
	while ((*position & ~IN_NEW) <= now->mask) {
		uint64_t value = slot_load(&now->slot[(*position)++ & ~IN_NEW]);
		if (value > TABLE_REMOVED)
			return TABLE_ITEM(value);
	}
	return NULL;
}
