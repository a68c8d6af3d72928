/*
 * master/ahead.h -- the next names of a batch, loaded before they are looked up
 *
 * In a large namespace a lookup waits for memory: for the name's slot in the table,
 * then for the entry.  So the names of a batch are taken some at a time: all are
 * hashed, all their slots loaded, all their entries, and only then is each looked
 * up, by the hash that it has already.
 *
 * It is a hint.  What is not there, or moves meanwhile, is found as ever.
 *
 * Threads   The writer, or a reader between grace_enter() and grace_leave().
 */
#ifndef MASTER_AHEAD_H
#define MASTER_AHEAD_H

#include "master/service.h"

#define AHEAD_COUNT 16u

struct ahead {
	/* by the number of the item, modulo AHEAD_COUNT; directory NULL: not loaded */
	struct {
		const struct directory *directory;
		const char *name; /* the last component of a path */
		size_t name_size;
		uint64_t hash;
	} names[AHEAD_COUNT];
};

/* Load what AHEAD_COUNT items at most, of those that are left, will look at. */
void ahead_load(struct ahead *ahead, const struct call *call, const struct verb_row *row,
		struct reader r, unsigned left);

/* The hash of a name that the present item looks up. */
uint64_t ahead_hash(const struct call *call, const struct directory *directory, const char *name,
		    size_t name_size);

#endif
