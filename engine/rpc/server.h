/*
 * engine/rpc/server.h -- listen, read frames, answer them, on one thread
 *
 * A server turns: it waits for input, reads all that is there, gives every
 * whole request to its owner, lets the owner finish the turn (write its
 * journal), and only then writes what was answered, once per connection.
 * Answers and pushes are appended to connection->out at any time within a
 * turn.
 *
 * Ownership   The server owns connections; the owner may keep a pointer until
 *             closed() has been called for it.
 * Threads     All on the thread that calls server_run(), but server_stop(),
 *             which any thread may call.
 * Errors      MC_INVALID an address that makes no sense, MC_BUSY it is taken.
 * Limits      A connection that leaves SERVER_OUT_SIZE_MAX bytes unread is
 *             closed; bodies are limited by protocol.h.
 */
#ifndef ENGINE_RPC_SERVER_H
#define ENGINE_RPC_SERVER_H

#include <mooncake/status.h>

#include "engine/base/net.h"
#include "engine/rpc/wire.h"

#define SERVER_OUT_SIZE_MAX (64u << 20)

struct server;

struct connection {
	struct writer out; /* frames that go out at the end of the turn */
	void *user;	   /* the owner's */
	uint64_t number;   /* counts up, for logs */

	/* the server's own */
	struct server *server;
	struct connection *next;
	struct connection *previous;
	struct connection *ready_next;
	uint8_t *in;
	size_t in_size;
	size_t in_capacity;
	size_t out_sent;
	int fd;
	bool ready;	/* on the list of those that have output */
	bool closing;	/* to be freed at the end of the turn */
	bool waits_out; /* the kernel's buffer was full */
	char peer[NET_TEXT_SIZE];
};

struct server_ops {
	/* A connection was accepted.  False: refuse it. */
	bool (*opened)(void *context, struct connection *connection);
	/* A whole request.  The body is valid until the call returns. */
	void (*request)(void *context, struct connection *connection, const struct frame *frame,
			const uint8_t *body);
	/*
	 * All input of this turn was handled; called at least every tick_ms.
	 * False: what was answered must not go out, and its connections are closed.
	 */
	bool (*turn)(void *context);
	/*
	 * The connection ends; the last call for it.  Comes after the turn's output
	 * went out: what follows from it is for turn(), which is called soon.
	 */
	void (*closed)(void *context, struct connection *connection);
};

struct server_config {
	const char *listen; /* "HOST:PORT"; NULL: no TCP */
	const char *socket; /* "@NAME", "auto": "@NAME-PORT" of auto_name; NULL: none */
	const char *auto_name;
	uint32_t tick_ms;
	const struct server_ops *ops;
	void *context;
};

MC_MUST_CHECK enum mc_status server_open(const struct server_config *config,
					 struct server **server);
void server_close(struct server *server);

/* The bound addresses, "" for none. */
const char *server_address(const struct server *server);
const char *server_socket(const struct server *server);

/* Serve until server_stop(). */
void server_run(struct server *server);
void server_stop(struct server *server);

/* Say that connection->out has grown, so that it is written at the end of the turn. */
void connection_wrote(struct connection *connection);

/* End a connection with this turn; what is in its out is tried once. */
void connection_end(struct connection *connection);

#endif
