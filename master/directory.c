#include "master/directory.h"

#include <stdlib.h>

#include "engine/base/log.h"
#include "master/catalog.h"

#define ORDER_MIN 4u
#define PACK_MIN  32u

static bool slot_empty(uint64_t slot)
{
	return slot & 1;
}

static struct entry *slot_entry(uint64_t slot)
{
	return (struct entry *)(uintptr_t)slot;
}

static uint64_t slot_sequence(uint64_t slot)
{
	return slot_empty(slot) ? slot >> 1 : slot_entry(slot)->sequence;
}

bool directory_init(struct directory *directory, struct entry *entry)
{
	*directory = (struct directory){.entry = entry, .sequence_next = 1};
	return true;
}

void directory_fini(struct directory *directory)
{
	free(directory->order);
	directory->order = NULL;
}

static void pack(struct directory *directory)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < directory->order_used; i++) {
		uint64_t slot = directory->order[i];
		if (slot_empty(slot))
			continue;
		slot_entry(slot)->place = kept;
		directory->order[kept++] = slot;
	}
	directory->order_used = kept;
}

static bool order_grow(struct directory *directory)
{
	uint32_t capacity = directory->order_capacity ? directory->order_capacity : ORDER_MIN;

	while (capacity < directory->order_used + 1)
		capacity += capacity / 2;
	uint64_t *order = realloc(directory->order, capacity * sizeof(*order));
	if (!order)
		return false;
	directory->order = order;
	directory->order_capacity = capacity;
	return true;
}

bool directory_enter_again(struct directory *directory, struct entry *entry)
{
	MUST(directory->order_used < UINT32_MAX / 2);
	if (directory->order_used == directory->order_capacity && !order_grow(directory))
		return false;
	entry->place = directory->order_used;
	directory->order[directory->order_used++] = (uintptr_t)entry;
	directory->count++;
	if (entry->sequence >= directory->sequence_next)
		directory->sequence_next = entry->sequence + 1;
	return true;
}

bool directory_enter(struct directory *directory, struct entry *entry)
{
	entry->sequence = directory->sequence_next;
	return directory_enter_again(directory, entry);
}

void directory_leave(struct directory *directory, struct entry *entry)
{
	MUST(directory->order[entry->place] == (uintptr_t)entry);
	directory->order[entry->place] = entry->sequence << 1 | 1;
	directory->count--;
	if (directory->count == 0) {
		directory_fini(directory);
		directory->order_used = directory->order_capacity = 0;
	} else if (directory->order_used > PACK_MIN &&
		   directory->count < directory->order_used / 2) {
		pack(directory);
	}
}

void directory_swap(struct directory *directory, const struct entry *entry, struct entry *with)
{
	MUST(directory->order[with->place] == (uintptr_t)entry);
	directory->order[with->place] = (uintptr_t)with;
}

uint32_t directory_seek(const struct directory *directory, uint64_t after)
{
	uint32_t low = 0;
	uint32_t high = directory->order_used;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (slot_sequence(directory->order[middle]) <= after)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct entry *directory_next(const struct directory *directory, uint32_t *place)
{
	while (*place < directory->order_used) {
		uint64_t slot = directory->order[(*place)++];
		if (!slot_empty(slot))
			return slot_entry(slot);
	}
	return NULL;
}
