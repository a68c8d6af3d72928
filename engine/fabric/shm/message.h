/*
 * engine/fabric/shm/message.h -- what two processes of a host say to each other
 *
 * Datagrams of 64 bytes on a Unix socket (SOCK_SEQPACKET).  Whoever reads or writes
 * the other's memory connects (the borrower); whoever owns it listens (the lender).
 * All numbers are little-endian.
 *
 *   0   4  "MCsm"
 *   4   2  version
 *   6   2  kind
 *   8   4  status: 0, or enum mc_status
 *  12   4  slot of the ledger (ledger.h)
 *  16   8  key of the region
 *  24   8  address: of the region in the lender; BORROW: of what is wanted
 *  32   8  length, bytes: of the same
 *  40   8  offset in the file of the region's first byte
 *  48   4  what may be done with it: enum fabric_access
 *  52   4  1: a file comes with it, 0: by the kernel's copy between processes
 *  56   8  0
 *
 *   kind      from      says                                descriptor
 *   HELLO     borrower  first                               -
 *   WELCOME   lender    first; status                       the ledger
 *   BORROW    borrower  key, address, length                -
 *   LEND      lender    status, key, and if it is 0 all     of memory, or none
 *   RECALL    lender    look what is withdrawn: unmap it    -
 *
 * Valid is what keeps these rules; who breaks one is disconnected:
 *   1  Magic and version are right; what is 0 above is 0.
 *   2  The kind is one of its sender's; HELLO and WELCOME come first, and once.
 *   3  status <= 0, slot < LEDGER_SLOTS, access and the word at 52 are in range.
 *   4  address + length does not wrap; LEND with status 0 has length > 0.
 *   5  A BORROW is not sent before the one before it was answered, and LEND
 *      answers it by its key.
 *   6  A descriptor comes with what says so above, and with nothing else.
 * A RECALL that finds no room is not sent: those before it, unread, do for it.
 *
 * History   1: first.
 * Threads   Any.
 */
#ifndef ENGINE_FABRIC_SHM_MESSAGE_H
#define ENGINE_FABRIC_SHM_MESSAGE_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stdint.h>

#define SHM_MESSAGE_SIZE 64u
#define SHM_VERSION	 1u

enum shm_kind {
	SHM_HELLO = 1,
	SHM_WELCOME = 2,
	SHM_BORROW = 3,
	SHM_LEND = 4,
	SHM_RECALL = 5,
};

struct shm_message {
	enum shm_kind kind;
	enum mc_status status;
	uint32_t slot;
	uint64_t key;
	uint64_t address;
	uint64_t length;
	uint64_t offset;
	uint32_t access;
	bool mapped;
};

void shm_message_encode(uint8_t bytes[SHM_MESSAGE_SIZE], const struct shm_message *message);

/* MC_PROTOCOL: rules 1, 3 and 4, as far as one message tells. */
MC_MUST_CHECK enum mc_status shm_message_decode(const uint8_t *bytes, uint64_t size,
						struct shm_message *message);

/*
 * Send a message and, unless it is -1, a descriptor; never waits.
 *
 * MC_AGAIN         there is no room: what was sent before has not been read
 * MC_UNREACHABLE   nobody is there
 */
MC_MUST_CHECK enum mc_status shm_message_send(int socket, const struct shm_message *message,
					      int fd);

/*
 * Receive one, without waiting.  *fd: the descriptor that came with it, the caller's; or -1.
 *
 * MC_AGAIN         there is none now
 * MC_UNREACHABLE   the other end is closed
 * MC_PROTOCOL      it is none
 */
MC_MUST_CHECK enum mc_status shm_message_receive(int socket, struct shm_message *message, int *fd);

#endif
