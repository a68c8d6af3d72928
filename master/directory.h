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
 * Ownership   A directory belongs to its entry, entries to the catalog.
 * Threads     One at a time.
 * Limits      2^31 entries.
 */
#ifndef MASTER_DIRECTORY_H
#define MASTER_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>

struct entry;
struct grant;

struct directory {
	struct entry *entry; /* its own: name, attributes, place in its parent */
	uint64_t *order;     /* an entry's address, or (sequence << 1) | 1 of a removed one */
	uint32_t order_used; /* slots that hold something */
	uint32_t order_capacity;
	uint32_t count;		  /* entries */
	uint32_t directories;	  /* of which directories */
	uint64_t sequence_next;	  /* begins at 1: cursor 0 is before all */
	struct grant *grant;	  /* held by a session or being recalled; NULL: none */
	uint32_t adder;		  /* session that added a name last */
	uint64_t added_ms;	  /* when */
	uint64_t added_before_ms; /* when another one than adder last did */
};

/* False: out of memory. */
bool directory_init(struct directory *directory, struct entry *entry);
void directory_fini(struct directory *directory);

/* Append the entry under the next sequence.  False: out of memory. */
bool directory_enter(struct directory *directory, struct entry *entry);
/* As enter, with the sequence that the entry has; only in rising order. */
bool directory_enter_again(struct directory *directory, struct entry *entry);
void directory_leave(struct directory *directory, struct entry *entry);
/* Another struct is now the entry at this place. */
void directory_swap(struct directory *directory, const struct entry *entry, struct entry *with);

/* Walk in order: *place begins with directory_seek(); NULL: that was all. */
uint32_t directory_seek(const struct directory *directory, uint64_t after);
struct entry *directory_next(const struct directory *directory, uint32_t *place);

#endif
