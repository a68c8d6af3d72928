/*
 * engine/base/utf8.h -- is it UTF-8?
 *
 * Names are bytes; what shows them to people or as JSON must know which of
 * them are text.
 */
#ifndef ENGINE_BASE_UTF8_H
#define ENGINE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* The bytes that a valid sequence takes here, of `size` at least one; 0: it is none. */
size_t utf8_size(const char *at, size_t size);

/* All of it is. */
bool utf8_valid(const char *text, size_t size);

#endif
