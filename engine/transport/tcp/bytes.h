/*
 * engine/transport/tcp/bytes.h -- answer a PULL with the bytes themselves
 *
 * Summed and sent out of a map of the file, which the source holds as it is
 * (see held_map).  What can't be mapped, or is not worth it, is read into a
 * buffer that stays in the cache, summed there and sent from there.  (Measured
 * against each other and against sendfile: see the history of this file.)
 *
 * Threads   Only the owner's thread.
 */
#ifndef ENGINE_TRANSPORT_TCP_BYTES_H
#define ENGINE_TRANSPORT_TCP_BYTES_H

#include "engine/transport/owner.h"

#define BYTES_BUFFER_SIZE (512u << 10) /* a chunk that is asked for fits */
#define BYTES_MAP_SIZE	  (64u << 10)  /* below this a read costs less than a map */

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
