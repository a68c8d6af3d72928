/*
 * engine/rpc/client.h -- a pipelined connection to a master
 *
 * Many requests in flight on one connection.  The thread that calls sends; a
 * thread of the client's own receives and calls back, so whoever gets the
 * reply can answer at once, and no request crosses threads.  When the
 * connection breaks the client connects again, lets the owner say hello, and
 * sends again what was not answered; what passes its deadline meanwhile is
 * called back with MC_TIMEOUT.
 *
 * A master on this host is reached over its Unix socket when it has one.  Of
 * several the one is kept to that says welcome: others refuse, and one of an
 * older epoch than was heard of lately is refused.  When it refuses changes,
 * another is looked for every two seconds.
 *
 * Threads   client_call: any thread.  Callbacks: the client's thread, or one
 *           that attends to a call of its own (attend.h), never two at once;
 *           they must not wait for the network, but may call.
 * Errors    Through the callback: what the master answered; MC_TIMEOUT;
 *           MC_CANCELLED at close; MC_PROTOCOL.
 * Limits    CLIENT_IN_FLIGHT_MAX requests; more are called back MC_AGAIN.
 */
#ifndef ENGINE_RPC_CLIENT_H
#define ENGINE_RPC_CLIENT_H

#include <mooncake/protocol.h>
#include <mooncake/status.h>

#include "engine/base/buffer.h"

#define CLIENT_IN_FLIGHT_MAX 65536u

struct client;

/* The body is a reader over the reply; resent tells that an answer may have been lost before. */
typedef void client_reply_fn(void *context, enum mc_status status, struct reader *body,
			     bool resent);

struct client_events {
	/* A connection stands: fill the body of HELLO. */
	void (*hello)(void *context, struct writer *body);
	/* HELLO was answered; what waits is sent after this returns MC_OK, else we reconnect. */
	enum mc_status (*welcome)(void *context, struct reader *body);
	void (*push)(void *context, uint16_t verb, struct reader *body);
	/* The connection broke, or nothing was heard for too long. */
	void (*lost)(void *context);
	/* Called at least every tick_ms by the client's thread. */
	void (*tick)(void *context);
	void *context;
	uint32_t tick_ms;
};

/*
 * Start connecting to the master at an address, the one of several that leads,
 * or the one that etcd names (masters.h).  Does not wait.  MC_INVALID: the
 * address makes no sense.
 */
MC_MUST_CHECK enum mc_status client_open(const char *address, const struct client_events *events,
					 struct client **client);
/* End the thread and every call (MC_CANCELLED); later calls end so at once.  Takes NULL. */
void client_stop(struct client *client);
/* The same, and free it. */
void client_close(struct client *client);

/*
 * Send a request whose body is ready; the body is copied.  Always calls back, once.
 *
 * MC_UNREACHABLE   the time was over before it could be sent: nothing happened
 * MC_TIMEOUT       the time was over before an answer came, or what was sent again was
 *                  answered MC_READ_ONLY: the effect is unknown
 * MC_CANCELLED     the client was stopped
 */
void client_call(struct client *client, enum mc_verb verb, const struct writer *body,
		 uint32_t timeout_ms, client_reply_fn *reply, void *context);

/*
 * The same for a request that belongs to the session it was made in: when the
 * connection breaks it is called back as if its time were over, not sent again.
 */
void client_call_here(struct client *client, enum mc_verb verb, const struct writer *body,
		      uint32_t timeout_ms, client_reply_fn *reply, void *context);

/* Silence after which the connection is taken for dead; from HELLO's answer. */
void client_set_ttl(struct client *client, uint32_t ttl_ms);

/* Whether HELLO was answered and the connection stands. */
bool client_connected(const struct client *client);

/* What it is connected to or tries to ("unix:@mooncake-master-50051"). */
void client_peer(struct client *client, char *text, size_t size);

/* Calls made, by verb. */
uint64_t client_calls(const struct client *client, enum mc_verb verb);

#endif
