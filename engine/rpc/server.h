/*
 * engine/rpc/server.h -- listen, read frames, answer them, on a few threads
 *
 * A server has loops, each run by a thread of the owner; a connection belongs to
 * one of them for its life.  A loop turns: it waits for input, reads all that is
 * there, gives every whole request to its owner, writes what was answered, once
 * per connection unless it is much, and then lets the owner do what takes longer.
 *
 * Answers are appended to a connection by its loop (connection_out ..
 * connection_wrote) or by any thread (connection_send).  Frames are never mixed, and
 * those of one thread keep their order.
 *
 *     accept ─► opened ─► (request)* ─► closed ─► connection_free
 *
 * Ownership   The server owns connections until closed(); from then on the owner
 *             does, who ends each by connection_free().
 * Threads     As told below; connection_send, connection_resume, connection_ending,
 *             connection_end and server_stop: any thread.
 * Errors      MC_INVALID an address that makes no sense, MC_BUSY it is taken.
 * Limits      A connection that leaves SERVER_OUT_SIZE_MAX bytes unread is
 *             closed; bodies are limited by protocol.h.
 */
#ifndef ENGINE_RPC_SERVER_H
#define ENGINE_RPC_SERVER_H

#include <mooncake/status.h>
#include <pthread.h>

#include "engine/base/net.h"
#include "engine/rpc/wire.h"

#define SERVER_OUT_SIZE_MAX   (64u << 20)
#define SERVER_LOOP_COUNT_MAX 64u

struct loop;
struct server;

struct connection {
	/* fixed when it is opened */
	void *user;	 /* the owner's */
	uint64_t number; /* counts up, for logs */
	unsigned loop_number;
	int fd;
	struct loop *loop;
	char peer[NET_TEXT_SIZE];

	/* protected by lock */
	pthread_mutex_t lock;
	struct writer out; /* frames that go out */
	size_t out_sent;
	bool waits_out; /* the kernel's buffer was full */
	bool paused;	/* nothing is read from it */
	bool ending;	/* atomic: nothing is read or written any more */

	/* its loop's */
	struct connection *ready_next;
	struct connection *gone_next;
	uint8_t *in;
	size_t in_size;
	size_t in_capacity;
	bool ready; /* on the list of those that have output */

	/* protected by the server's lock */
	struct connection *next;
	struct connection *previous;
};

struct server_ops {
	/*
	 * A connection was accepted; the first call for it, on the thread of loop 0.
	 * False: refuse it.
	 */
	bool (*opened)(void *context, struct connection *connection);
	/* A whole request, on the connection's loop.  The body is valid until the call returns. */
	void (*request)(void *context, struct connection *connection, const struct frame *frame,
			const uint8_t *body);
	/* A loop has handled its input and written its answers. */
	void (*turn)(void *context, unsigned loop_number);
	/*
	 * Nothing comes over the connection any more; the last call for it, on its loop's
	 * thread, or that of server_close().
	 */
	void (*closed)(void *context, struct connection *connection);
};

struct server_config {
	const char *listen; /* "HOST:PORT"; NULL: no TCP */
	const char *socket; /* "@NAME", "auto": "@NAME-PORT" of auto_name; NULL: none */
	const char *auto_name;
	unsigned loop_count; /* 1 to SERVER_LOOP_COUNT_MAX */
	const struct server_ops *ops;
	void *context;
};

MC_MUST_CHECK enum mc_status server_open(const struct server_config *config,
					 struct server **server);
/* Report every connection closed; no loop runs any more. */
void server_close(struct server *server);

/* The bound addresses, "" for none. */
const char *server_address(const struct server *server);
const char *server_socket(const struct server *server);

/* Run one loop until server_stop().  Loop 0 accepts. */
void server_run(struct server *server, unsigned loop_number);
void server_stop(struct server *server);

/*
 * Append to what goes out: locks the connection, and unlocks it.  Whoever holds the
 * lock knows that nobody else's frames come between.  On the loop's thread; what was
 * appended is written at the end of the loop's turn.
 */
struct writer *connection_out(struct connection *connection);
void connection_wrote(struct connection *connection);

/* Append whole frames and write at once what the kernel takes. */
void connection_send(struct connection *connection, const void *frames, size_t size);

/* Read nothing more from it; on its loop's thread, what has been read still comes.  Read again. */
void connection_pause(struct connection *connection);
void connection_resume(struct connection *connection);

/* It has been ended, by whomever. */
static inline bool connection_ending(const struct connection *connection)
{
	return __atomic_load_n(&connection->ending, __ATOMIC_ACQUIRE);
}

/* End a connection; what is in its out is tried once. */
void connection_end(struct connection *connection);

/* Close and free, after closed(). */
void connection_free(struct connection *connection);

#endif
