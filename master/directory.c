#include "master/directory.h"

#include <stdlib.h>
#include <string.h>

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

static uint64_t slot_load(const struct order *order, uint32_t place)
{
	return __atomic_load_n(&order->slot[place], __ATOMIC_ACQUIRE);
}

/* What it holds is complete: pairs with slot_load(). */
static void slot_store(struct order *order, uint32_t place, uint64_t slot)
{
	__atomic_store_n(&order->slot[place], slot, __ATOMIC_RELEASE);
}

static uint32_t used_load(const struct order *order)
{
	return order ? __atomic_load_n(&order->used, __ATOMIC_ACQUIRE) : 0;
}

static void used_store(struct order *order, uint32_t used)
{
	__atomic_store_n(&order->used, used, __ATOMIC_RELEASE);
}

void directory_init(struct directory *directory, struct entry *entry)
{
	*directory = (struct directory){.entry = entry, .sequence_next = 1};
}

/* Readers walk the new one from now on. */
static void order_set(struct directory *directory, struct order *order, struct grace *grace)
{
	struct order *before = directory->order;

	__atomic_store_n(&directory->order, order, __ATOMIC_RELEASE);
	if (grace)
		grace_free(grace, before);
	else
		free(before);
}

void directory_fini(struct directory *directory, struct grace *grace)
{
	order_set(directory, NULL, grace);
}

static void count_set(struct directory *directory, uint32_t count)
{
	__atomic_store_n(&directory->count, count, __ATOMIC_RELAXED);
}

void directory_belongs(struct directory *directory, struct entry *entry)
{
	__atomic_store_n(&directory->entry, entry, __ATOMIC_RELEASE);
}

void directory_count(struct directory *directory, int by)
{
	__atomic_store_n(&directory->directories, directory->directories + (uint32_t)by,
			 __ATOMIC_RELAXED);
}

static struct order *order_new(uint32_t capacity)
{
	struct order *order = malloc(sizeof(*order) + capacity * sizeof(order->slot[0]));

	if (order)
		*order = (struct order){.capacity = capacity};
	return order;
}

/* Leave the numbers of removed ones behind; without memory, later. */
static void pack(struct directory *directory, struct grace *grace)
{
	const struct order *from = directory->order;
	struct order *to = order_new(ORDER_MIN + directory->count + directory->count / 2);

	if (!to)
		return;
	for (uint32_t i = 0; i < from->used; i++) {
		if (slot_empty(from->slot[i]))
			continue;
		slot_entry(from->slot[i])->place = to->used;
		to->slot[to->used++] = from->slot[i];
	}
	order_set(directory, to, grace);
}

static bool order_grow(struct directory *directory, struct grace *grace)
{
	const struct order *from = directory->order;
	uint32_t capacity = from ? from->capacity + from->capacity / 2 : ORDER_MIN;
	struct order *to = order_new(capacity);

	if (!to)
		return false;
	if (from) {
		memcpy(to->slot, from->slot, from->used * sizeof(to->slot[0]));
		to->used = from->used;
	}
	order_set(directory, to, grace);
	return true;
}

bool directory_enter_again(struct directory *directory, struct entry *entry, struct grace *grace)
{
	uint32_t used = directory->order ? directory->order->used : 0;

	MUST(used < UINT32_MAX / 2);
	if ((!directory->order || used == directory->order->capacity) &&
	    !order_grow(directory, grace))
		return false;
	entry->place = used;
	slot_store(directory->order, used, (uintptr_t)entry);
	used_store(directory->order, used + 1);
	count_set(directory, directory->count + 1);
	if (entry->sequence >= directory->sequence_next)
		directory->sequence_next = entry->sequence + 1;
	return true;
}

bool directory_enter(struct directory *directory, struct entry *entry, struct grace *grace)
{
	entry->sequence = directory->sequence_next;
	return directory_enter_again(directory, entry, grace);
}

void directory_leave(struct directory *directory, struct entry *entry, struct grace *grace)
{
	MUST(directory->order->slot[entry->place] == (uintptr_t)entry);
	slot_store(directory->order, entry->place, entry->sequence << 1 | 1);
	count_set(directory, directory->count - 1);
	if (directory->count == 0)
		order_set(directory, NULL, grace);
	else if (directory->order->used > PACK_MIN && directory->count < directory->order->used / 2)
		pack(directory, grace);
}

void directory_swap(struct directory *directory, const struct entry *entry, struct entry *with)
{
	MUST(directory->order->slot[with->place] == (uintptr_t)entry);
	slot_store(directory->order, with->place, (uintptr_t)with);
}

uint32_t order_seek(const struct order *order, uint64_t after)
{
	uint32_t low = 0;
	uint32_t high = used_load(order);

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (slot_sequence(slot_load(order, middle)) <= after)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct entry *order_next(const struct order *order, uint32_t *place)
{
	uint32_t used = used_load(order);

	while (*place < used) {
		uint64_t slot = slot_load(order, (*place)++);
		if (!slot_empty(slot))
			return slot_entry(slot);
	}
	return NULL;
}
