/*
 * engine/fabric/shm/ledger.h -- who uses what was lent, in memory that both ends share
 *
 * A lender makes one for each borrower.  Each region that is lent has a slot in it:
 *
 *     borrower                        lender
 *       users += 1                      withdrawn = 1
 *       withdrawn?  users -= 1, stop    users = 0?  nobody touches the region any more
 *       copy                            else wait until it is, or the borrower is dead
 *       users -= 1
 *
 *       unmapped:  returned = 1         returned?  the slot can be lent again
 *
 * All of these are sequentially consistent, so at least one of the two sees the other.
 * A borrower that counts wrong makes a lender wait, or touches what it should not; it
 * runs as the same user, or as root, and could do both without a ledger.
 *
 * The file can't shrink (F_SEAL_SHRINK), so neither end is killed by a touch.
 *
 * Threads   Any.
 */
#ifndef ENGINE_FABRIC_SHM_LEDGER_H
#define ENGINE_FABRIC_SHM_LEDGER_H

#include <mooncake/status.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LEDGER_SLOTS 1024u

struct ledger_slot {
	_Alignas(64) atomic_uint users; /* written by the borrower */
	atomic_uint returned;		/* by the borrower, but reset by the lender */
	atomic_uint withdrawn;		/* written by the lender */
};

struct ledger {
	struct ledger_slot slots[LEDGER_SLOTS];
};

/* Make one, and the descriptor that a borrower maps it by.  MC_NO_MEMORY, MC_NO_SPACE. */
MC_MUST_CHECK enum mc_status ledger_new(struct ledger **ledger, int *fd);

/* Map what came with a message.  MC_PROTOCOL: it is no ledger. */
MC_MUST_CHECK enum mc_status ledger_map(int fd, struct ledger **ledger);

void ledger_free(struct ledger *ledger);

/* For the borrower.  False: it was withdrawn. */
bool ledger_enter(struct ledger *ledger, uint32_t slot);
void ledger_leave(struct ledger *ledger, uint32_t slot);
bool ledger_withdrawn(struct ledger *ledger, uint32_t slot);
void ledger_return(struct ledger *ledger, uint32_t slot);

/* For the lender. */
void ledger_lend(struct ledger *ledger, uint32_t slot);
void ledger_withdraw(struct ledger *ledger, uint32_t slot);
bool ledger_used(struct ledger *ledger, uint32_t slot);
bool ledger_returned(struct ledger *ledger, uint32_t slot);

#endif
