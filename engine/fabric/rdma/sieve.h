/*
 * engine/fabric/rdma/sieve.h -- which entry of a full store goes
 *
 * SIEVE: entries stand in the order in which they came.  A use only sets a bit.
 * The hand walks from the oldest towards the newest, takes the bit from those
 * that have it, and stops at the first that has none.
 *
 * Ownership   Entries are embedded in what they stand for; nothing is allocated.
 * Threads     One at a time.
 */
#ifndef ENGINE_FABRIC_RDMA_SIEVE_H
#define ENGINE_FABRIC_RDMA_SIEVE_H

#include <stdbool.h>
#include <stdint.h>

struct sieve_entry {
	struct sieve_entry *newer, *older;
	bool used;
	bool kept; /* it is in a store */
};

struct sieve {
	struct sieve_entry *newest, *oldest, *hand;
	uint32_t count;
};

void sieve_insert(struct sieve *sieve, struct sieve_entry *entry);
void sieve_use(struct sieve_entry *entry);

/* Does nothing to an entry that is not kept. */
void sieve_remove(struct sieve *sieve, struct sieve_entry *entry);

/* The one to go, still kept; NULL: the store is empty. */
struct sieve_entry *sieve_victim(struct sieve *sieve);

#endif
