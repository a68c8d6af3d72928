/*
 * tools/bench/caller.h -- requests straight to a master, as fast as one thread can send them
 *
 * One blocking connection.  Requests are written into `out` and go out together;
 * replies are read many at a time; pushes are skipped.
 *
 * Ownership   caller_close() ends the connection.
 * Threads     One at a time.
 * Errors      MC_UNREACHABLE the connection has broken; a status that a reply has.
 */
#ifndef BENCH_CALLER_H
#define BENCH_CALLER_H

#include <mooncake/protocol.h>
#include <mooncake/status.h>

#include "engine/base/spin.h"
#include "engine/rpc/wire.h"

struct caller {
	int fd;
	uint64_t request_id; /* sent last */
	uint64_t next_id;    /* of objects: 2^20 from here are the session's */
	struct writer out;
	uint8_t *in;
	size_t in_taken;
	size_t in_size;
	struct spin spin; /* before it sleeps for a reply, as the product does */
};

/* Connect to an address ("HOST:PORT" or "@NAME") and say HELLO. */
MC_MUST_CHECK enum mc_status caller_open(struct caller *caller, const char *address,
					 enum mc_role role);
void caller_close(struct caller *caller);

/* Write a request: its body between the two. */
size_t caller_begin(struct caller *caller);
void caller_end(struct caller *caller, size_t begin, enum mc_verb verb);

/* Send what was written, or these whole frames. */
MC_MUST_CHECK enum mc_status caller_flush(struct caller *caller);
MC_MUST_CHECK enum mc_status caller_send(struct caller *caller, const void *frames, size_t size);

/* Wait for the next reply; the body is valid until the next call. */
MC_MUST_CHECK enum mc_status caller_receive(struct caller *caller, struct reader *body);

/* Some of the next reply is here already. */
static inline bool caller_has_more(const struct caller *caller)
{
	return caller->in_taken < caller->in_size;
}

/* Ask for more object ids.  Nothing may be in flight. */
MC_MUST_CHECK enum mc_status caller_more_ids(struct caller *caller);

#endif
