/*
 * engine/http/json.h -- print JSON into a writer
 *
 * Each call adds a value to what was begun last: to an object with its name,
 * to a list with NULL.  Numbers are whole and of 64 bits.  Bytes of a text that
 * are no UTF-8 are printed as Python's surrogateescape reads them, \udc80 to
 * \udcff, so that the document is always valid and nothing is lost.
 *
 * Threads   One at a time.
 * Errors    As the writer's: `failed` is set.
 */
#ifndef ENGINE_HTTP_JSON_H
#define ENGINE_HTTP_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buffer.h"

struct json {
	struct writer *w;
	bool comma; /* something stands before in what was begun last */
};

void json_init(struct json *json, struct writer *w);

void json_begin_object(struct json *json, const char *name);
void json_begin_list(struct json *json, const char *name);
void json_end_object(struct json *json);
void json_end_list(struct json *json);

void json_text(struct json *json, const char *name, const char *text);
void json_bytes(struct json *json, const char *name, const char *bytes, size_t size);
void json_number(struct json *json, const char *name, uint64_t value);
void json_bool(struct json *json, const char *name, bool value);

/* A value that is JSON already. */
void json_raw(struct json *json, const char *name, const char *text);

#endif
