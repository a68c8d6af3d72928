/*
 * engine/transport/tcp/bytes.h -- answer a PULL with the bytes themselves
 *
 * The file is read into a buffer that stays in the cache, summed there and
 * sent from there.  So what is sent is what was summed, whatever happens to
 * the file; a hole takes no memory and a file that shrank is an error, where a
 * map would end in a signal.  (Measured against a map and sendfile: see the
 * history of this file.)
 *
 * Threads   Only the owner's thread.
 */
#ifndef ENGINE_TRANSPORT_TCP_BYTES_H
#define ENGINE_TRANSPORT_TCP_BYTES_H

#include "engine/transport/owner.h"

#define BYTES_BUFFER_SIZE (512u << 10) /* a chunk that is asked for fits */

/* The context of struct owner_config. */
struct bytes {
	struct visitor *visitor; /* whose answer is in the buffer as a whole; NULL: nobody's */
	uint32_t size;
	uint8_t bytes[BYTES_BUFFER_SIZE];
};

/* The two functions of struct owner_config. */
void bytes_respond(struct visitor *visitor, const struct pull_request *request, struct held *held);
MC_MUST_CHECK enum mc_status bytes_send(struct visitor *visitor);

#endif
