/*
 * engine/transport/link.h -- a puller's connection to an owner
 *
 * Requests wait in `out` until the socket takes them, and in a slot until
 * their reply comes; a request id is a slot's number and its generation, so
 * an id that was not given out is recognised.  Replies are read into a small
 * input, the bytes of an object straight to where they belong.
 *
 * Threads   link_..._locked: any thread that holds the puller's lock; the rest
 *           only the puller's thread, or who attends in its place.
 * Limits    The slots and `out` grow with the number of requests in flight,
 *           which is bounded by the pulls and their windows.
 */
#ifndef ENGINE_TRANSPORT_LINK_H
#define ENGINE_TRANSPORT_LINK_H

#include <mooncake/protocol.h>

#include "engine/rpc/wire.h"
#include "engine/transport/poller.h"

#define LINK_INPUT_SIZE 16384u
#define LINK_FDS_MAX	16u

struct fetch;
struct loan;
struct peer;
struct puller;

enum link_state { LINK_CONNECTING, LINK_OPEN, LINK_DEAD };

struct link_request {
	struct fetch *fetch; /* NULL: nobody waits for it any more */
	uint64_t offset;
	uint32_t length;
	uint32_t generation;
	uint32_t next_free;
	bool used;
	bool again; /* its checksum was wrong once */
};

/* The bytes that follow on the stream. */
struct link_body {
	struct fetch *fetch; /* NULL: nobody's, they are passed over */
	uint64_t offset;
	uint32_t length;
	uint32_t left;
	uint32_t crc;	  /* of what came */
	uint32_t crc_due; /* as the owner said */
	bool again;
};

struct link {
	struct watch watch;
	struct puller *puller;
	struct peer *peer;
	/* protected by the puller's lock */
	struct link *next;
	enum link_state state;
	bool attended; /* who asked reads it, the thread need not wake */
	bool suspect;  /* let a deadline pass in silence: no new fetches */
	uint32_t fetch_count;
	struct loan *loans;
	int shelf;	   /* the owner's, -1: not at hand */
	uint64_t taken_ns; /* when something was taken from it last */
	struct writer out;
	size_t out_sent;
	struct link_request *requests;
	uint32_t request_count, request_free, in_flight;
	/* owned by the puller's thread */
	uint64_t progress_ns; /* when something came last */
	int low_water;	      /* bytes that must be there before the thread is woken */
	struct link_body body;
	uint32_t input_begin, input_end;
	uint8_t input[LINK_INPUT_SIZE];
	int fds[LINK_FDS_MAX]; /* descriptors that came, oldest first */
	uint32_t fd_count;
};

#define LINK_NO_SLOT UINT32_MAX

/* Make a link of a socket that is connecting.  NULL: out of memory. */
struct link *link_new(struct puller *puller, struct peer *peer, int fd);
/* Close what it has open and free it.  Takes NULL. */
void link_free(struct link *link);

/* Queue a PULL of these bytes for a fetch.  MC_NO_MEMORY. */
MC_MUST_CHECK enum mc_status link_request_locked(struct link *link, struct fetch *fetch,
						 uint64_t offset, uint32_t length, bool again);
/* Queue a RELEASE, which is not answered. */
void link_release_locked(struct link *link, uint64_t id, uint64_t version);

/* Queue a SHELF.  Without memory for it the owner is asked for each file. */
void link_shelf_locked(struct link *link);

/* Send what is queued as far as the socket takes it.  A broken one is noticed by its reader. */
void link_flush_locked(struct link *link);

/* Take back the request that a reply answers.  False: it was never made. */
bool link_answered_locked(struct link *link, uint64_t request_id, struct link_request *request);

/* Nobody waits for this fetch's replies any more. */
void link_orphan_locked(struct link *link, const struct fetch *fetch);

/* Wake the thread when so many bytes are there, not before. */
void link_low_water(struct link *link, int size);

/* The oldest descriptor that came, now the caller's; -1: none. */
int link_take_fd(struct link *link);

#endif
