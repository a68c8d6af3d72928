/*
 * engine/etcd/internal.h -- what the parts of the client share
 */
#ifndef ENGINE_ETCD_INTERNAL_H
#define ENGINE_ETCD_INTERNAL_H

#include <curl/curl.h>
#include <stdbool.h>

#include "engine/etcd/etcd.h"

struct etcd_call {
	struct etcd_call *next;
	struct etcd *etcd;
	const char *path;
	struct writer body;
	struct writer answer;
	size_t answer_max;
	etcd_done_fn *done;
	void *context;
	uint64_t deadline_ns; /* UINT64_MAX: none, a watch */
	uint64_t due_ns;      /* not to be sent before; UINT64_MAX: never, a timer */
	bool repeatable;
	bool unknown;	     /* it may have happened */
	bool renewed;	     /* has asked for a new token once */
	bool authenticates;  /* asks for the token, so needs none */
	enum mc_status last; /* what the last try came to; before the first: a refusal of our own */
	unsigned endpoint;   /* of the try in flight */
	CURL *easy;	     /* while in flight */
	struct curl_slist *headers;
	/*
	 * A stream: called for each line of the answer; false ends it.  done is
	 * called when it has ended for any reason; it is never repeated.
	 */
	bool (*line)(void *context, const void *line, size_t size);
};

/* NULL: out of memory; etcd_call_send() knows what to do then. */
struct etcd_call *etcd_call_new(const char *path, etcd_done_fn *done, void *context);

/* Send it, or call back at once where it can't be.  Takes the call, which may be NULL. */
void etcd_call_send(struct etcd *etcd, struct etcd_call *call, uint32_t timeout_ms,
		    etcd_done_fn *done, void *context);

/* Send at once what was asked: for a callback that has much to do before it returns. */
void etcd_push(struct etcd *etcd);

/* End every stream of the client (MC_UNREACHABLE). */
void etcd_streams_end(struct etcd *etcd);

void etcd_json_text(struct writer *w, const char *text);
/* ,"name":"value" */
void etcd_json_number(struct writer *w, const char *name, int64_t value);
/* "name":"base64" */
void etcd_json_bytes(struct writer *w, const char *name, struct etcd_bytes bytes);

/*
 * engine/etcd/endpoints.c: which endpoint is asked next.
 * Threads: the client's.
 */
struct endpoint {
	char url[280]; /* "http://HOST:PORT" */
	uint32_t failures;
	uint64_t rest_ns; /* not before, while another will do */
};

struct endpoints {
	struct endpoint rows[ETCD_ENDPOINT_MAX];
	unsigned count;
	unsigned current;
	_Atomic uint32_t *failing; /* they are asked when no other is left */
	_Atomic uint32_t own;	   /* where that is not shared */
};

/* MC_INVALID: the text makes no sense (logged). */
MC_MUST_CHECK enum mc_status endpoints_parse(struct endpoints *endpoints, const char *text,
					     bool secure);
/* The one to ask now; *wait_ns: so long all of them rest. */
unsigned endpoints_pick(struct endpoints *endpoints, uint64_t now_ns, uint64_t *wait_ns);
void endpoints_good(struct endpoints *endpoints, unsigned index);
void endpoints_bad(struct endpoints *endpoints, unsigned index, uint64_t now_ns,
		   const char *reason);

#endif
