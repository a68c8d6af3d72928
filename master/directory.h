/*
 * master/directory.h -- the order in which a directory lists its entries
 *
 * Each entry gets the next number of its directory when it enters: its
 * sequence, which is also its cursor in LIST.  The order is an array by
 * sequence; a removed entry leaves its number behind, so that a cursor finds
 * its place after its entry has gone, and the array is packed when more than
 * half of it are such numbers.  Enter is O(1), leave O(1) amortised, seek
 * O(log n).
 *
 * Readers walk while the writer changes.  A slot is stored whole, and what grows
 * or is packed becomes another array, so one array is in order all along; a
 * reader that needs to know that nothing came or went meanwhile looks at the
 * stamp of the directory's entry before and after.
 *
 * Ownership   A directory belongs to its entry, entries to the catalog.  Arrays
 *             that readers may walk are freed by `grace`; NULL: there are none.
 * Threads     directory_entry, directory_directories, order_*: any thread, between
 *             grace_enter() and grace_leave().  The rest: the writer.
 * Limits      2^31 entries.
 */
#ifndef MASTER_DIRECTORY_H
#define MASTER_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>

struct entry;
struct grace;
struct grant;

struct order {
	uint32_t capacity;
	uint32_t used;	 /* atomic; slots that hold something */
	uint64_t slot[]; /* atomic; an entry's address, or (sequence << 1) | 1 of a removed one */
};

struct directory {
	struct entry *entry;	  /* atomic; its own: name, attributes, place in its parent */
	struct order *order;	  /* atomic; NULL: nothing was ever in it, or all has gone */
	uint32_t count;		  /* atomic; entries */
	uint32_t directories;	  /* atomic; of which directories */
	uint64_t sequence_next;	  /* begins at 1: cursor 0 is before all */
	struct grant *grant;	  /* atomic; held by a session or being recalled; NULL: none */
	uint32_t adder;		  /* atomic; session that added a name last */
	uint64_t added_ms;	  /* atomic; when */
	uint64_t added_before_ms; /* atomic; when another one than adder last did */
};

/* The directory's own entry, for readers. */
static inline const struct entry *directory_entry(const struct directory *directory)
{
	return __atomic_load_n(&directory->entry, __ATOMIC_ACQUIRE);
}

static inline uint32_t directory_directories(const struct directory *directory)
{
	return __atomic_load_n(&directory->directories, __ATOMIC_RELAXED);
}

static inline const struct order *directory_order(const struct directory *directory)
{
	return __atomic_load_n(&directory->order, __ATOMIC_ACQUIRE);
}

void directory_init(struct directory *directory, struct entry *entry);
void directory_fini(struct directory *directory, struct grace *grace);

/* Append the entry under the next sequence.  False: out of memory. */
bool directory_enter(struct directory *directory, struct entry *entry, struct grace *grace);
/* As enter, with the sequence that the entry has; only in rising order. */
bool directory_enter_again(struct directory *directory, struct entry *entry, struct grace *grace);
void directory_leave(struct directory *directory, struct entry *entry, struct grace *grace);
/* Another struct is now the directory's own entry. */
void directory_belongs(struct directory *directory, struct entry *entry);
/* So many more of the entries are directories. */
void directory_count(struct directory *directory, int by);
/* Another struct is now the entry at this place. */
void directory_swap(struct directory *directory, const struct entry *entry, struct entry *with);

/* Walk in order: *place begins with order_seek(); NULL: that was all. */
uint32_t order_seek(const struct order *order, uint64_t after);
struct entry *order_next(const struct order *order, uint32_t *place);

/* The same of the order that a directory has now. */
static inline uint32_t directory_seek(const struct directory *directory, uint64_t after)
{
	return order_seek(directory_order(directory), after);
}

static inline struct entry *directory_next(const struct directory *directory, uint32_t *place)
{
	return order_next(directory_order(directory), place);
}

#endif
