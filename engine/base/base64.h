/*
 * engine/base/base64.h -- bytes as printable text
 *
 * The standard alphabet with padding (RFC 4648, section 4).
 *
 * Threads   Any thread.
 */
#ifndef ENGINE_BASE_BASE64_H
#define ENGINE_BASE_BASE64_H

#include "engine/base/buffer.h"

/* Bytes that so many become. */
static inline size_t base64_size(size_t size)
{
	return (size + 2) / 3 * 4;
}

void base64_put(struct writer *w, const void *bytes, size_t size);

/*
 * Turn text into bytes, at most size / 4 * 3 of them.  `to` may be `text`.
 * False: it is not base64.
 */
bool base64_get(const char *text, size_t size, uint8_t *to, size_t *to_size);

#endif
