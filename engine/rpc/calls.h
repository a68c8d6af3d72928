/*
 * engine/rpc/calls.h -- the requests of a client that are under way
 *
 * A table by request id.  A call is in it from when it is made until it is
 * taken out, by its answer or for want of one; who takes it calls back.
 *
 * Ownership   A call belongs to the table while it is in it, else to who took it.
 * Threads     One at a time, but call_new() and calls_end(): any thread.
 */
#ifndef ENGINE_RPC_CALLS_H
#define ENGINE_RPC_CALLS_H

#include <mooncake/protocol.h>
#include <mooncake/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buffer.h"
#include "engine/rpc/client.h"

#define CALLS_BUCKETS 1024u

struct call {
	struct call *next;
	uint64_t id;
	uint64_t deadline_ns;
	client_reply_fn *reply;
	void *context;
	uint64_t sent_ns; /* for the first time */
	bool sent;	  /* on some connection */
	bool resent;
	bool here; /* it means nothing on another connection */
	size_t size;
	uint8_t frame[];
};

struct calls {
	struct call *buckets[CALLS_BUCKETS];
	uint32_t count;
	uint64_t next_id; /* from a random number on: no two clients ever use the same */
};

/* Which calls are called back without an answer. */
enum ending { ENDING_LATE, ENDING_HERE, ENDING_ALL };

void calls_init(struct calls *calls);

/* Make a call of a body, whose frame has no header yet.  NULL: out of memory. */
struct call *call_new(const struct writer *body, uint32_t timeout_ms);

/* Give the call its id, and take it in. */
void calls_add(struct calls *calls, struct call *call, enum mc_verb verb);

/* The call goes out now, on some connection: its frame says how long ago it first did. */
void call_sending(struct call *call, uint64_t now_ns);

/* NULL: there is none. */
struct call *calls_find(const struct calls *calls, uint64_t id);
struct call *calls_take(struct calls *calls, uint64_t id);
/* Take all that end at a time (clock_ns()), as a list. */
struct call *calls_take_ending(struct calls *calls, enum ending ending, uint64_t now_ns);

/* All of them in the order they were made, calls->count; malloc'ed.  NULL: out of memory. */
struct call **calls_sorted(const struct calls *calls);

/* Call back, without an answer, those of a list that was taken, and free them. */
void calls_end(struct call *list, enum ending ending);

#endif
