/*
 * engine/metadata/handshake.h -- one question to one peer, and its answer
 *
 * A connection carries one request and one reply, in Mooncake's frames:
 *
 *   offset  size  what
 *   0       8     length of what follows, little-endian, 1 to HANDSHAKE_SIZE_MAX
 *   8       1     type: 0 connection, 1 metadata, 2 notification; a byte above 2
 *                 belongs to the text already (Mooncake's older frames: type
 *                 connection)
 *   9       n     JSON
 *
 * A reply has its request's type.  Of type metadata, the request is the asker's
 * own descriptor or {}, and the reply the descriptor of who was asked; of type
 * notification, both are as engine/notice.h has it.
 *
 * Ownership   Texts that come out belong to the caller (free()).
 * Threads     Any; a listener answers on one thread of its own, mc-handshake,
 *             and none of the peers that are slow keeps the others waiting.
 * Errors      MC_UNREACHABLE, MC_TIMEOUT; MC_PROTOCOL a frame that breaks the
 *             rules above; MC_NOT_FOUND the peer has no answer.
 * Limits      HANDSHAKE_SIZE_MAX bytes a text, HANDSHAKE_PEER_MAX peers at once,
 *             HANDSHAKE_TIMEOUT_MS for one that asks.
 */
#ifndef ENGINE_METADATA_HANDSHAKE_H
#define ENGINE_METADATA_HANDSHAKE_H

#include <mooncake/status.h>
#include <stddef.h>
#include <stdint.h>

#define HANDSHAKE_SIZE_MAX   (1u << 20)
#define HANDSHAKE_PEER_MAX   256u
#define HANDSHAKE_TIMEOUT_MS 10000u

enum handshake_type {
	HANDSHAKE_CONNECTION = 0,
	HANDSHAKE_METADATA = 1,
	HANDSHAKE_NOTIFY = 2,
};

struct handshake;

struct handshake_config {
	const char *listen_host;   /* NULL: any */
	const char *announce_host; /* NULL: worked out from the routes */
	uint16_t port_first;	   /* a random free port of this range; 0: any */
	uint16_t port_last;
	/*
	 * Answer a request, on the listener's thread; *reply is freed here.
	 * What is not MC_OK ends the connection without a reply.
	 */
	enum mc_status (*answer)(void *context, enum handshake_type type, const char *request,
				 size_t size, char **reply);
	void *context;
};

/* Listen.  MC_BUSY: no port of the range is free. */
MC_MUST_CHECK enum mc_status handshake_open(const struct handshake_config *config,
					    struct handshake **handshake);

/* Begin to answer; who has connected before waited. */
MC_MUST_CHECK enum mc_status handshake_start(struct handshake *handshake);

/* Stop answering and close.  Takes NULL. */
void handshake_close(struct handshake *handshake);

/* "HOST:PORT" as peers reach it. */
const char *handshake_address(const struct handshake *handshake);

/* Ask the peer at "HOST:PORT", and wait for the answer; it is terminated. */
MC_MUST_CHECK enum mc_status handshake_ask(const char *address, enum handshake_type type,
					   const char *request, uint32_t timeout_ms, char **reply);

#endif
