/*
 * engine/node/stock.h -- files made ahead for objects that will be pulled
 *
 * A new file's pages are cleared before the first bytes go in, and what no one
 * has touched since the machine's boot costs a virtual machine many times what
 * a copy costs.  So a thread that runs only where a core has nothing else to
 * do (SCHED_IDLE) keeps a few drafts of the sizes that were pulled last: as
 * long as the object, all pages there, zero, and mapped.
 *
 * The files have no name: nothing of them is found by a scan, and a crash
 * leaves nothing.  Their bytes count as free (pool_spare): stock_drop() gives
 * them back before anything is evicted, and nothing is made while room is short.
 *
 * Ownership   What stock_take() gives is the caller's: fd to close, memory to
 *             unmap.  The rest goes with stock_stop().
 * Threads     Any thread; no locks, since the stock's own thread may be held
 *             up for as long as others have work.
 * Limits      STOCK_COUNT_MAX files of two sizes, from STOCK_OBJECT_MIN, and
 *             a 32nd of the pool, at most STOCK_BYTES_MAX.
 */
#ifndef ENGINE_NODE_STOCK_H
#define ENGINE_NODE_STOCK_H

#include <stdbool.h>

#include "engine/node/pool.h"

#define STOCK_COUNT_MAX	 8u
#define STOCK_SIZE_COUNT 2u
#define STOCK_OBJECT_MIN (512ull << 10)
#define STOCK_BYTES_MAX	 (64ull << 20)

struct stock;

struct stock_file {
	int fd;
	void *memory; /* all of it, shared, for reading and writing */
	uint64_t size;
};

/* Begin with nothing.  Files are made only where `room` bytes stay free beside them. */
MC_MUST_CHECK enum mc_status stock_start(struct pool *pool, uint64_t room, struct stock **stock);
/* Takes NULL. */
void stock_stop(struct stock *stock);

/* Take a file of exactly this size; false: there is none.  Either way more will be made. */
bool stock_take(struct stock *stock, uint64_t size, struct stock_file *file);

/* Make what is missing, in the background: a pull has ended. */
void stock_fill(struct stock *stock);

/* Give all room back now, and make nothing for a while. */
void stock_drop(struct stock *stock);

#endif
