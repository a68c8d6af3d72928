/*
 * engine/http/http.h -- serve HTTP to operators, scrapers and engines
 *
 * libmicrohttpd, turned by one thread, mc-http, that reads requests, bounds
 * them, and gives whole ones to the owner.  The owner may answer at once or
 * keep the request and answer later from any thread: what must be read on a
 * loop of its own is queued there, and the connection sleeps meanwhile.
 *
 *     client ──► mc-http ── handle() ──► owner ── http_reply() ──► mc-http ──► client
 *
 * A connection has HTTP_REQUEST_MS for each request, from its first byte to
 * the last of the reply, however busy it seems; where all places are taken, those
 * that have waited for HTTP_CROWDED_MS make room.
 *
 * Ownership   A request belongs to the owner from handle() to http_reply().
 * Threads     handle() runs on mc-http; http_reply() any thread.
 * Errors      MC_INVALID not an address; MC_BUSY it is taken.
 * Limits      HTTP_CONNECTION_MAX connections, http_config.body_size_max bytes
 *             a body, HTTP_BODIES_SIZE_MAX of all; 32 KiB of headers.  Beyond:
 *             413, 431 or 503.
 */
#ifndef ENGINE_HTTP_HTTP_H
#define ENGINE_HTTP_HTTP_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buffer.h"

#define HTTP_CONNECTION_MAX  512u
#define HTTP_REQUEST_MS	     30000u
#define HTTP_CROWDED_MS	     1000u
#define HTTP_BODIES_SIZE_MAX (64u << 20)

#define HTTP_TYPE_JSON "application/json; charset=utf-8"
#define HTTP_TYPE_TEXT "text/plain; charset=utf-8"

enum http_method {
	HTTP_GET, /* and HEAD */
	HTTP_PUT,
	HTTP_POST,
	HTTP_DELETE,
	HTTP_OTHER,
};

struct http;

struct http_request {
	enum http_method method;
	const char *path; /* decoded, without arguments */
	const uint8_t *body;
	size_t body_size;
	bool trusted; /* carried the admin token */
	/* the owner's */
	struct http_request *next;
};

struct http_config {
	const char *listen;	/* "HOST:PORT", port 0: any; "HOST:FIRST-LAST": a random free one */
	const char *token_file; /* holds what `Authorization: Bearer` must carry; NULL: none */
	size_t body_size_max;
	void (*handle)(void *context, struct http_request *request);
	void *context;
};

struct http_counters {
	uint64_t requests[6]; /* by the first digit of the code */
	uint64_t connections; /* now */
	uint64_t cut;	      /* connections ended because their time was over */
};

/*
 * Read the token, listen and serve.
 *
 * MC_ACCESS   the token's file is open to others, or too short (logged)
 */
MC_MUST_CHECK enum mc_status http_open(const struct http_config *config, struct http **http);

/* End all connections.  Requests that the owner has must have been answered.  Takes NULL. */
void http_close(struct http *http);

/* The bound address. */
const char *http_address(const struct http *http);

/* The value of an argument, decoded, or NULL; one with a NUL in it is none. */
const char *http_argument(const struct http_request *request, const char *name);

/* Answer, with the bytes of the writer, which is emptied; NULL: no body. */
void http_reply(struct http_request *request, unsigned code, const char *type, struct writer *body);

/* Answer with a short text. */
void http_reply_text(struct http_request *request, unsigned code, const char *text);

void http_count(const struct http *http, struct http_counters *counters);

#endif
