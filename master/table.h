/*
 * master/table.h -- a hash table of items that carry their own key
 *
 * Open addressing, linear probing.  A slot is one word: the item's address and
 * the top 16 bits of its hash, so that a probe touches an item only when it is
 * almost surely the right one.  The table grows in small steps: each insert moves
 * a few slots of the old array, so no call takes long.
 *
 * Readers may find while the one writer changes: an item that is in the table
 * all along is found, whatever happens around it.  A slot is stored once and
 * whole; what moves is in the new array before it leaves the old one, and a
 * reader looks in the old one first; when a new array came while it looked and found
 * nothing, it looks again.
 *
 * Ownership   Items belong to the caller and must stay where they are; those that
 *             readers may find are freed by `grace`, as old arrays are.
 * Threads     table_find, table_peek, table_prefetch: any thread, between grace_enter()
 *             and grace_leave().  The rest: the writer.
 * Limits      8 bytes a slot, at most three quarters full.
 */
#ifndef MASTER_TABLE_H
#define MASTER_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct grace;

struct slots {
	struct slots *from; /* atomic: what it grew from, NULL when that is empty */
	size_t mask;	    /* slots - 1 */
	uint64_t slot[];    /* atomic */
};

struct table {
	struct slots *slots; /* atomic */
	size_t filled;	     /* slots that are not empty, removed ones included */
	size_t moved;	     /* slots of the old array that were moved */
	size_t count;	     /* items */
	size_t growths;	     /* a walk that is under way is broken when this changes */
	uint64_t (*hash)(const struct table *table, const void *item);
	uint64_t seed;
	struct grace *grace; /* NULL: nobody reads but the writer */
};

/* False: out of memory. */
bool table_init(struct table *table, uint64_t (*hash)(const struct table *table, const void *item),
		uint64_t seed, struct grace *grace);
void table_fini(struct table *table);

/* Grow at once to what so many more items will need.  False: out of memory. */
bool table_expect(struct table *table, size_t count);
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
table_probe(const struct slots *slots, uint64_t hash,
	    bool (*equal)(const void *item, const void *key), const void *key)
{
	for (size_t i = hash & slots->mask;; i = (i + 1) & slots->mask) {
		uint64_t slot = __atomic_load_n(&slots->slot[i], __ATOMIC_ACQUIRE);
		if (slot == TABLE_EMPTY)
			return NULL;
		if (slot == TABLE_REMOVED || TABLE_TAG(slot) != TABLE_TAG(hash))
			continue;
		if (equal(TABLE_ITEM(slot), key))
			return TABLE_ITEM(slot);
	}
}

/* Load what table_find() will look at first, for whoever looks up several. */
static inline void table_prefetch(const struct table *table, uint64_t hash)
{
	const struct slots *slots = __atomic_load_n(&table->slots, __ATOMIC_ACQUIRE);

	__builtin_prefetch(&slots->slot[hash & slots->mask]);
}

/* What is probably the item of a key with this hash, or NULL: not looked at, and not sure. */
static inline void *table_peek(const struct table *table, uint64_t hash)
{
	const struct slots *slots = __atomic_load_n(&table->slots, __ATOMIC_ACQUIRE);

	for (size_t i = hash & slots->mask;; i = (i + 1) & slots->mask) {
		uint64_t slot = __atomic_load_n(&slots->slot[i], __ATOMIC_ACQUIRE);
		if (slot == TABLE_EMPTY)
			return NULL;
		if (slot != TABLE_REMOVED && TABLE_TAG(slot) == TABLE_TAG(hash))
			return TABLE_ITEM(slot);
	}
}

/* The item that equals the key, or NULL. */
static inline __attribute__((always_inline)) void *
table_find(const struct table *table, uint64_t hash,
	   bool (*equal)(const void *item, const void *key), const void *key)
{
	const struct slots *now = __atomic_load_n(&table->slots, __ATOMIC_ACQUIRE);

	while (true) {
		const struct slots *looked = now;
		const struct slots *from = __atomic_load_n(&looked->from, __ATOMIC_ACQUIRE);
		void *item = from ? table_probe(from, hash, equal, key) : NULL;
		if (!item)
			item = table_probe(looked, hash, equal, key);
		if (item)
			return item;
		now = __atomic_load_n(&table->slots, __ATOMIC_ACQUIRE);
		if (now == looked)
			return NULL;
	}
}

/* A 64-bit mix for keys that are numbers. */
static inline uint64_t table_mix(uint64_t x)
{
	x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93ull;
	x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93ull;
	return x ^ (x >> 32);
}

#endif
