/*
 * engine/fabric/shm/borrower.h -- the memory that a peer has lent
 *
 *     NEW ──WELCOME──► OPEN ──error, end──► freed, when nothing is copied over it
 *
 * A link is a connection, the ledger that came over it, and loans: one a region, found by
 * its key, mapped once.  What a link lacks is asked for, one thing at a time; slices wait
 * meanwhile.
 *
 * Ownership   A peer owns its link; a copy that is under way keeps it.
 * Threads     Under the fabric's lock.
 * Errors      Of slices, as fabric.h says.
 * Limits      LEDGER_SLOTS loans; what was used longest ago goes back for another.
 */
#ifndef ENGINE_FABRIC_SHM_BORROWER_H
#define ENGINE_FABRIC_SHM_BORROWER_H

#include "engine/fabric/shm/mover.h"
#include "engine/fabric/shm/shm.h"

/* A copy that may be made now. */
struct passage {
	struct link *link;
	struct loan *loan;
};

/*
 * Connect to a peer and see whether its memory can be reached.
 *
 * MC_NOT_SUPPORTED   nobody is there, or the kernel lets nobody copy from there
 */
MC_MUST_CHECK enum mc_status borrower_connect_locked(struct shm_peer *peer);

/* Let go of the link.  Slices that wait are the caller's to end. */
void borrower_drop_locked(struct shm_peer *peer);

/*
 * What a slice needs to be copied, until borrower_leave_locked().
 *
 * MC_AGAIN   it has to wait; it has been put where those that do stand
 * else       why it can't be copied at all
 */
MC_MUST_CHECK enum mc_status
borrower_enter_locked(struct shm_peer *peer, struct fabric_slice *slice, struct passage *passage);
/* Copy; no lock is held. */
MC_MUST_CHECK enum mc_status borrower_copy(const struct passage *passage,
					   const struct fabric_slice *slice);
void borrower_leave_locked(struct shm *shm, const struct passage *passage);

/* The link of this id has something to read.  False: it is not the peer's. */
bool borrower_ready_locked(struct shm_peer *peer, uint64_t id, struct ended *ended);

/* End what waits and is cancelled, or out of time. */
void borrower_sweep_locked(struct shm_peer *peer, uint64_t now_ns, struct ended *ended);

#endif
