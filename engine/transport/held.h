/*
 * engine/transport/held.h -- the objects that an owner holds for one visitor
 *
 * A table by id.  What is lent stays until it is given back; the rest is
 * dropped when nobody asked for it lately, or when there is too much of it.
 *
 * Ownership   The visitor owns the table, the table what is held.
 * Threads     Only the owner's thread.
 */
#ifndef ENGINE_TRANSPORT_HELD_H
#define ENGINE_TRANSPORT_HELD_H

#include "engine/transport/pull.h"
#include "engine/transport/transport.h"

struct visitor;

/* An object that is held for one visitor. */
struct held {
	struct held *next; /* in its bucket */
	struct source_hold hold;
	uint64_t used_ns;
	int read_fd;   /* the file, opened again for reading only; -1: not needed yet */
	uint32_t lent; /* descriptors that were not given back */
	bool unmapped; /* it can't be mapped, or should not be */
	void *map;     /* all of the file; NULL: not yet, or not at all */
	void *own;     /* the transport's, see owner_config.drop */
};

/* Find what is held; NULL: it is not. */
struct held *held_find(const struct visitor *visitor, uint64_t id, uint64_t version);

/*
 * Get the object that is asked for: the one held before, or have the source
 * hold it.  Errors are the source's, and MC_NO_MEMORY.
 */
MC_MUST_CHECK enum mc_status held_get(struct visitor *visitor, const struct pull_request *request,
				      struct held **found);

/*
 * All bytes of an object that is not empty, mapped for reading until it is
 * dropped; NULL: they must be read.  Only a file in memory that has no holes is
 * mapped: reading a hole would take memory, and a disk's page that can't be
 * read would end in a signal.
 */
const uint8_t *held_map(struct held *held);

/* Take it out of the table and let the object go. */
void held_drop(struct visitor *visitor, struct held *held);
void held_drop_all(struct visitor *visitor);

/* Drop what nobody asked for since; with `oldest`, at least one if one can go. */
void held_expire(struct visitor *visitor, uint64_t before_ns, bool oldest);

#endif
