/*
 * engine/metadata/handshake_frame.h -- the frames of handshake.h, as bytes
 *
 * Threads   Any.
 */
#ifndef ENGINE_METADATA_HANDSHAKE_FRAME_H
#define ENGINE_METADATA_HANDSHAKE_FRAME_H

#include <sys/types.h>

#include "engine/base/buffer.h"
#include "engine/metadata/handshake.h"

void handshake_frame_put(struct writer *w, enum handshake_type type, const char *text);

/* How long the whole frame is; 0: that is not known yet; MC_PROTOCOL: it can't be. */
MC_MUST_CHECK enum mc_status handshake_frame_size(const struct writer *in, size_t *size);

/* Take a whole frame apart.  The text gets a zero after it; NULL: out of memory. */
void handshake_frame_take(struct writer *in, uint8_t *type, const char **text, size_t *size);

/* Receive what is missing of a frame, at most.  Returns as recv(). */
ssize_t handshake_frame_receive(int fd, struct writer *in, size_t wanted);

#endif
