/*
 * engine/fabric/tcp/lane.h -- one connection to a peer, as its client sees it
 *
 *     CONNECTING ──► GREETING ──WELCOME──► OPEN ──error──► BROKEN ──► freed by the driver
 *
 * Slices stand in a ring of slots, in the order of the wire:
 *
 *     head ──────────── next ──────────── tail
 *       wait for replies     wait to be sent
 *
 * What was cancelled leaves an empty slot behind: its bytes are passed over when
 * they come.  Whoever submits sends, as much as the socket takes; whoever drives
 * (driver.h) does the rest.
 *
 * Ownership   A peer owns its lanes; a slot names a slice until that is done.
 * Threads     Under the peer's lock, but for what only the driver touches.
 * Limits      LANE_SLOTS slices.
 */
#ifndef ENGINE_FABRIC_TCP_LANE_H
#define ENGINE_FABRIC_TCP_LANE_H

#include "engine/fabric/fabric.h"
#include "engine/fabric/tcp/frame.h"
#include "engine/fabric/tcp/tcp.h"

#define LANE_SLOTS	1024u /* a power of two */
#define LANE_INPUT_SIZE (64u << 10)
#define LANE_PART_MAX	64u /* slices in one system call */

enum lane_state { LANE_CONNECTING, LANE_GREETING, LANE_OPEN, LANE_BROKEN };

struct slot {
	struct fabric_slice *slice; /* NULL: cancelled */
	uint64_t number;
	uint32_t length;
	uint8_t opcode;
	bool cancelled; /* when its bytes were under way */
};

struct lane {
	struct tcp_peer *peer;
	struct lane *next;
	/* protected by the peer's lock */
	int fd;
	_Atomic enum lane_state state; /* written under the lock */
	bool blocked;		       /* the socket is full: the driver sends when it isn't */
	uint32_t events;
	uint64_t head, next_out, tail;
	uint64_t number;	   /* of the next request */
	uint64_t bytes;		   /* of slices in the ring */
	_Atomic uint64_t moved_ns; /* the last byte that went either way, or when it was made */
	uint32_t sent;		   /* of the slice at next_out */
	bool receiving;		   /* the driver fills the memory of the slice at head */
	struct slot slots[LANE_SLOTS];
	uint8_t heads[LANE_PART_MAX][TCP_REQUEST_SIZE];
	struct iovec parts[LANE_PART_MAX * 2];
	/* owned by the driver */
	uint32_t low_water;
	uint32_t body_left;
	uint8_t *body; /* NULL: pass over */
	uint32_t begin, end;
	uint8_t input[LANE_INPUT_SIZE];
};

/* What endings, to be told when no lock is held. */
struct endings {
	struct fabric_slice *first, **last;
	uint64_t bytes; /* of all, whatever came of them */
	uint64_t bytes_read, bytes_written, done, failed;
};

void endings_init(struct endings *endings);
void endings_add(struct endings *endings, struct fabric_slice *slice, enum mc_status status);
/* Call done() of each. */
void endings_tell(struct tcp *tcp, struct endings *endings);

/* Begin a connection.  An error: nobody can be reached there. */
MC_MUST_CHECK enum mc_status lane_new_locked(struct tcp_peer *peer, struct lane **lane);

/* Room for so many slices. */
uint32_t lane_room_locked(const struct lane *lane);

/*
 * Give up a lane that is full of requests which were cancelled: nobody waits for their
 * replies, so nobody would hear of the room either.  False: somebody waits for one.
 */
bool lane_forsake_locked(struct lane *lane);

/* Append a slice; there is room. */
void lane_add_locked(struct lane *lane, struct fabric_slice *slice);

/* Send what the socket takes.  A socket that is broken is shut down, for the driver to find. */
void lane_send_locked(struct lane *lane);

/*
 * Take a slice out, if none of its bytes are under way; else it ends when they are through
 * or time is up (`cancel`: soon).  True: it was here and is out.
 */
bool lane_drop_locked(struct lane *lane, const struct fabric_slice *slice, bool cancel);

/* For the driver: events of epoll.  An error: it is broken. */
MC_MUST_CHECK enum mc_status lane_ready(struct lane *lane, uint32_t events,
					struct endings *endings);

/* For the driver: end all that is on it, and free it. */
void lane_free_locked(struct lane *lane, enum mc_status status, struct endings *endings);

/*
 * For the driver, now and then: end what is out of time.  False: nothing has moved for too
 * long, or a slice that is to end can't otherwise.
 */
bool lane_in_time_locked(struct lane *lane, uint64_t now_ns, struct endings *endings);

#endif
