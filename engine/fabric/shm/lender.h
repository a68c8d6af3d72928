/*
 * engine/fabric/shm/lender.h -- lets processes of this host borrow regions
 *
 *     NEW ──HELLO──► LENDING ──error──► LEAVING ──nothing is in use──► freed
 *                       └───────────end──────────────────────────────► freed
 *
 * A borrower whose end is closed uses nothing any more: it closes last, or the kernel
 * does when it is dead.  One that breaks the protocol is lent nothing more, and what it
 * was lent is withdrawn; it is known until it has let go of that.
 *
 * Threads   Under the fabric's lock; lender_recall waits without it.
 * Errors    A borrower that breaks the protocol is dropped, with one warning.
 * Limits    LENDER_VISITORS_MAX, LEDGER_SLOTS regions lent to each.
 */
#ifndef ENGINE_FABRIC_SHM_LENDER_H
#define ENGINE_FABRIC_SHM_LENDER_H

#include "engine/fabric/shm/shm.h"

#define LENDER_VISITORS_MAX 4096u

/* Take all connections that wait. */
void lender_accept_locked(struct shm *shm);

/* The visitor of this id has something to say.  False: there is none. */
bool lender_ready_locked(struct shm *shm, uint64_t id);

/* Free those that were leaving and have left. */
void lender_look_locked(struct shm *shm);

/* Wait until nobody touches a region that nobody can find any more. */
void lender_recall(struct shm *shm, struct shm_region *region);

/* Drop all; no region is left. */
void lender_close_locked(struct shm *shm);

#endif
