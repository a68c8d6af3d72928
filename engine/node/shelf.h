/*
 * engine/node/shelf.h -- the files of a pool, taken by another process of the host
 *
 * An owner lends the directory of its objects once (SHELF in protocol.h).  Who has
 * it opens a file there and reads it, without waking the owner.  What a taker
 * reads is one version, and never changes:
 *
 *     taker                                owner, before a local writer
 *     open for reading                     open
 *     lock it, shared                      lock it, alone
 *       refused: it is being written         refused: somebody took it, so the
 *     is it marked as the version at         writer gets a copy
 *       rest?  then take it                take that mark away
 *     does anybody have it open for        keep the lock until the writers are gone
 *       writing?  then ask the owner         and what they wrote is published
 *     is its mark clean, is its record     mark it as the version at rest
 *       that of the version?  take it
 *     keep the lock while it is used
 *
 * The mark of rest (pool_rest) says at one look what the rest of the list finds out;
 * it comes with the last close, shortly after the publish.
 * The lock (flock) goes with the descriptor, or with the process.  The kernel's
 * count of writers tells of those who need no claim: of a file that was published
 * while it was open, and of writable maps that outlive their descriptors.
 * Eviction and removal take the name away; who took the file keeps its bytes.
 *
 * Threads   Any thread; nothing here takes a lock of this process.
 */
#ifndef ENGINE_NODE_SHELF_H
#define ENGINE_NODE_SHELF_H

#include "engine/node/pool.h"

/*
 * Whether a file off a shelf, open for reading, is this version of this object,
 * whole.  True: it stays so until fd is closed.  pool is the taker's own: it tells
 * where records stand.
 */
bool shelf_holds(const struct pool *pool, int fd, const struct mc_attr *attr);

/*
 * Claim an object of our own pool for writing, until fd is closed.  Its mark of rest
 * is gone.
 *
 * MC_BUSY   somebody has taken it off the shelf
 */
MC_MUST_CHECK enum mc_status shelf_claim(struct pool *pool, uint64_t id, int *fd);

#endif
