/*
 * engine/transport/tcp/bytes.h -- answer a PULL with the bytes themselves
 *
 * The checksum is taken from the file through a buffer that stays in the
 * cache; the bytes of a large answer then go from the file to the socket
 * without a copy (sendfile), those of a small one with the head in one call.
 *
 * Threads   Only the owner's thread.
 */
#ifndef ENGINE_TRANSPORT_TCP_BYTES_H
#define ENGINE_TRANSPORT_TCP_BYTES_H

#include "engine/transport/owner.h"

#define BYTES_SMALL_MAX (64u << 10) /* sent from the buffer */

/* The two functions of struct owner_config; its context is a buffer of BYTES_SMALL_MAX bytes. */
void bytes_respond(struct visitor *visitor, const struct pull_request *request, struct held *held);
MC_MUST_CHECK enum mc_status bytes_send(struct visitor *visitor);

#endif
