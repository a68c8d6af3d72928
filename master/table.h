/*
 * master/table.h -- a hash table of items that carry their own key
 *
 * Open addressing, linear probing.  A slot is one word: the item's address and
 * the top 16 bits of its hash, so that a probe touches an item only when it is
 * almost surely the right one.  The table grows in small steps: each insert or
 * remove moves a few slots of the old array, so no call takes long.
 *
 * Ownership   Items belong to the caller and must stay where they are.
 * Threads     One at a time.
 * Limits      8 bytes a slot, at most three quarters full.
 */
#ifndef MASTER_TABLE_H
#define MASTER_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table {
	uint64_t *slots;
	size_t mask;   /* slots - 1 */
	size_t filled; /* slots that are not empty, removed ones included */
	uint64_t *old; /* what it grew from, while that is not empty */
	size_t old_mask;
	size_t old_moved; /* slots of it that were moved */
	size_t count;	  /* items */
	size_t growths;	  /* a walk that is under way is broken when this changes */
	uint64_t (*hash)(const struct table *table, const void *item);
	uint64_t seed;
};

/* False: out of memory. */
bool table_init(struct table *table, uint64_t (*hash)(const struct table *table, const void *item),
		uint64_t seed);
void table_fini(struct table *table);

/* Make sure that the next insert finds room.  False: out of memory. */
bool table_reserve(struct table *table);
/* Neither the key nor the item may be in the table.  False: out of memory, nothing happened. */
bool table_insert(struct table *table, uint64_t hash, void *item);
/* The item must be in the table. */
void table_remove(struct table *table, uint64_t hash, const void *item);
/* Put another item with the same hash in its place. */
void table_replace(struct table *table, uint64_t hash, const void *item, void *with);

/*
 * Walk over all items: *position begins at 0; NULL: that was all.  Items that
 * were there all along are seen at least once, unless table->growths changed.
 */
void *table_next(const struct table *table, size_t *position);

#define TABLE_EMPTY	 0u
#define TABLE_REMOVED	 1u
#define TABLE_TAG(hash)	 ((hash)&0xffff000000000000ull)
#define TABLE_ITEM(slot) ((void *)(uintptr_t)((slot)&0x0000ffffffffffffull))

static inline __attribute__((always_inline)) void *
table_probe(const uint64_t *slots, size_t mask, uint64_t hash,
	    bool (*equal)(const void *item, const void *key), const void *key)
{
	for (size_t i = hash & mask; slots[i] != TABLE_EMPTY; i = (i + 1) & mask) {
		if (slots[i] == TABLE_REMOVED || TABLE_TAG(slots[i]) != TABLE_TAG(hash))
			continue;
		if (equal(TABLE_ITEM(slots[i]), key))
			return TABLE_ITEM(slots[i]);
	}
	return NULL;
}

/* The item that equals the key, or NULL. */
static inline __attribute__((always_inline)) void *
table_find(const struct table *table, uint64_t hash,
	   bool (*equal)(const void *item, const void *key), const void *key)
{
	void *item = table_probe(table->slots, table->mask, hash, equal, key);

	if (!item && table->old)
		item = table_probe(table->old, table->old_mask, hash, equal, key);
	return item;
}

/* A 64-bit mix for keys that are numbers. */
static inline uint64_t table_mix(uint64_t x)
{
	x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93ull;
	x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93ull;
	return x ^ (x >> 32);
}

#endif
