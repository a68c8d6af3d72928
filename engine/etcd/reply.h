/*
 * engine/etcd/reply.h -- from the bytes of an answer to a reply
 *
 * The gateway leaves out fields that are zero, and writes 64-bit numbers as
 * text.  Every field that is there must have its type, else the answer is
 * MC_PROTOCOL as a whole.
 *
 * Threads   Any thread.
 */
#ifndef ENGINE_ETCD_REPLY_H
#define ENGINE_ETCD_REPLY_H

#include <cjson/cJSON.h>

#include "engine/etcd/etcd.h"

/* What a refusal says about the request. */
enum etcd_effect {
	ETCD_FINAL,   /* nothing happened, and asking again is no use */
	ETCD_NOTHING, /* nothing happened, ask again */
	ETCD_UNKNOWN, /* it may have happened */
	ETCD_TOKEN,   /* nothing happened, the token is refused */
};

/* An answer that is no refusal.  NULL: out of memory. */
struct etcd_reply *etcd_reply_decode(const void *json, size_t size);

/* A reply that is nothing but a status; it can't fail to be had. */
struct etcd_reply *etcd_reply_status(enum mc_status status);

/* What a refusal means; `text` takes the server's own words for the log. */
enum mc_status etcd_refusal_decode(const void *json, size_t size, long http, char *text,
				   size_t text_size, enum etcd_effect *effect);

/* The token of an answer to authenticate.  False: there is none. */
bool etcd_token_decode(const void *json, size_t size, char *token, size_t token_size);

/* A message of a watch. */
struct etcd_event {
	bool removed;
	struct etcd_pair pair;	 /* what is there now; of a removal its key only */
	struct etcd_pair before; /* what was; its key is empty where that is not told */
};

struct etcd_message {
	enum mc_status status; /* MC_STALE: compacted; else the watch ends for another reason */
	bool created;
	bool fragment; /* more of its last revision may come with the next one */
	uint64_t cluster;
	int64_t revision;
	size_t event_count;
	struct etcd_event *events;
	cJSON *tree;
};

void etcd_message_decode(const void *json, size_t size, struct etcd_message *message);
void etcd_message_fini(struct etcd_message *message);

#endif
