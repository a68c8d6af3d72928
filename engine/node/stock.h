/*
 * engine/node/stock.h -- files kept ready for objects that will be pulled
 *
 * A new file's pages are cleared before the first bytes go in, and what no one
 * has touched since the machine's boot, or what it gave back to its host since, costs a
 * virtual machine many times what a copy costs.  So files of the sizes that were pulled
 * last are kept: as long as the object, all pages there, and mapped.
 *
 * Where the pool is memory most come from objects that leave it (stock_reclaim()): a
 * cluster whose objects have one size evicts as many as it pulls, and needs no new memory at
 * all.  Where there are few of those, a thread that runs only where a core has nothing else
 * to do (SCHED_IDLE) makes some more.  What they hold is zero, or of the object before: who
 * takes one writes all of it.
 *
 * Nothing of them is found by a scan, and a crash leaves nothing.  Their bytes count as
 * free (pool_spare): stock_drop() gives them back before anything is evicted, and nothing
 * is added while room is short.
 *
 * Ownership   What stock_take() gives is the caller's: fd to close, memory to unmap; and
 *             either stock_name() or stock_forget() ends it.  The rest goes with stock_stop().
 * Threads     Any thread; no locks, since the stock's own thread may be held
 *             up for as long as others have work.
 * Limits      Two sizes, from STOCK_OBJECT_MIN.  Made: STOCK_MADE_MAX files, a 32nd of the
 *             pool, at most STOCK_MADE_BYTES_MAX.  In all: STOCK_COUNT_MAX files, an 8th of
 *             the pool.
 */
#ifndef ENGINE_NODE_STOCK_H
#define ENGINE_NODE_STOCK_H

#include <stdbool.h>

#include "engine/node/pool.h"

#define STOCK_COUNT_MAX	     64u
#define STOCK_MADE_MAX	     8u
#define STOCK_SIZE_COUNT     2u
#define STOCK_OBJECT_MIN     (512ull << 10)
#define STOCK_MADE_BYTES_MAX (64ull << 20)

struct stock;

struct stock_file {
	int fd;
	void *memory; /* all of it, shared, for reading and writing */
	uint64_t size;
	uint64_t from; /* the object whose file it was; 0: none's */
};

/* Begin with nothing.  Files are made only where `room` bytes stay free beside them. */
MC_MUST_CHECK enum mc_status stock_start(struct pool *pool, uint64_t room, struct stock **stock);
/* Takes NULL. */
void stock_stop(struct stock *stock);

/* Take a file of exactly this size; false: there is none.  Either way more will be made. */
bool stock_take(struct stock *stock, uint64_t size, struct stock_file *file);

/* The file becomes that object's, as by pool_commit(); or nobody's. */
MC_MUST_CHECK enum mc_status stock_name(struct stock *stock, const struct stock_file *file,
					uint64_t id);
void stock_forget(struct stock *stock, const struct stock_file *file);

/* Take the name of this object's file away; where it is wanted, and nobody else has it, keep it. */
void stock_reclaim(struct stock *stock, uint64_t id, uint64_t size);

/* Make what is missing, in the background: a pull has ended. */
void stock_fill(struct stock *stock);

/* Give all room back now, and make nothing for a while. */
void stock_drop(struct stock *stock);

#endif
