#include "engine/etcd/reply.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/base64.h"

struct box {
	struct etcd_reply public;
	cJSON *tree;		  /* keys and values stand in its strings */
	_Atomic unsigned holders; /* the client, and who kept it */
};

static struct box *box_of(struct etcd_reply *reply)
{
	return container_of(reply, struct box, public);
}

static const cJSON *member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* A number, as text or not; absent: 0.  False: it is neither. */
static bool number(const cJSON *object, const char *name, int64_t *value)
{
	const cJSON *item = member(object, name);
	char *end;

	*value = 0;
	if (!item)
		return true;
	if (cJSON_IsNumber(item)) {
		*value = (int64_t)item->valuedouble;
		return item->valuedouble > -9e15 && item->valuedouble < 9e15;
	}
	if (!cJSON_IsString(item) || !item->valuestring[0])
		return false;
	errno = 0;
	*value = item->valuestring[0] == '-' ? strtoll(item->valuestring, &end, 10)
					     : (int64_t)strtoull(item->valuestring, &end, 10);
	return *end == '\0' && errno == 0;
}

static bool truth(const cJSON *object, const char *name, bool *value)
{
	const cJSON *item = member(object, name);

	*value = cJSON_IsTrue(item);
	return !item || cJSON_IsBool(item);
}

/* Bytes, decoded where the text stands; absent: none. */
static bool bytes(const cJSON *object, const char *name, struct etcd_bytes *value)
{
	const cJSON *item = member(object, name);
	size_t size;

	*value = (struct etcd_bytes){"", 0};
	if (!item)
		return true;
	if (!cJSON_IsString(item))
		return false;
	char *text = item->valuestring;
	if (!base64_get(text, strlen(text), (uint8_t *)text, &size))
		return false;
	*value = (struct etcd_bytes){text, size};
	return true;
}

static bool pair_get(const cJSON *object, struct etcd_pair *pair)
{
	return cJSON_IsObject(object) && bytes(object, "key", &pair->key) && pair->key.size > 0 &&
	       bytes(object, "value", &pair->value) &&
	       number(object, "create_revision", &pair->create_revision) &&
	       number(object, "mod_revision", &pair->mod_revision) &&
	       number(object, "lease", &pair->lease);
}

static size_t list_size(const cJSON *list)
{
	return cJSON_IsArray(list) ? (size_t)cJSON_GetArraySize(list) : 0;
}

/* Add the pairs of a range.  False: they are malformed. */
static bool pairs_get(const cJSON *range, struct etcd_reply *reply)
{
	const cJSON *list = member(range, "kvs");
	const cJSON *item;

	if (!list)
		return true;
	if (!cJSON_IsArray(list))
		return false;
	struct etcd_pair *pairs = realloc(reply->pairs, (reply->pair_count + list_size(list) + 1) *
								sizeof(struct etcd_pair));
	if (!pairs)
		return false;
	reply->pairs = pairs;
	cJSON_ArrayForEach(item, list)
	{
		if (!pair_get(item, &pairs[reply->pair_count]))
			return false;
		reply->pair_count++;
	}
	return true;
}

/* The ranges among the answers to the operations of a transaction. */
static bool responses_get(const cJSON *answer, struct etcd_reply *reply)
{
	const cJSON *list = member(answer, "responses");
	const cJSON *item;

	if (!list)
		return true;
	if (!cJSON_IsArray(list))
		return false;
	cJSON_ArrayForEach(item, list)
	{
		const cJSON *range = member(item, "response_range");
		if (range && !pairs_get(range, reply))
			return false;
	}
	return true;
}

static bool header_get(const cJSON *answer, uint64_t *cluster, int64_t *revision)
{
	const cJSON *header = member(answer, "header");
	int64_t id;

	if (!cJSON_IsObject(header) || !number(header, "cluster_id", &id) ||
	    !number(header, "revision", revision))
		return false;
	*cluster = (uint64_t)id;
	return true;
}

static bool answer_get(const cJSON *answer, struct etcd_reply *reply)
{
	int64_t deleted;

	if (!cJSON_IsObject(answer) || !header_get(answer, &reply->cluster, &reply->revision) ||
	    !truth(answer, "succeeded", &reply->succeeded) ||
	    !truth(answer, "more", &reply->more) || !number(answer, "count", &reply->count) ||
	    !number(answer, "deleted", &deleted) || !number(answer, "ID", &reply->lease) ||
	    !number(answer, "TTL", &reply->ttl_s))
		return false;
	if (deleted)
		reply->count = deleted;
	return pairs_get(answer, reply) && responses_get(answer, reply);
}

static struct box *box_new(void)
{
	struct box *box = calloc(1, sizeof(*box));

	if (box)
		box->holders = 1;
	return box;
}

struct etcd_reply *etcd_reply_decode(const void *json, size_t size)
{
	struct box *box = box_new();

	if (!box)
		return NULL;
	box->tree = cJSON_ParseWithLength(json, size);
	/* A stream of one message: keepalive. */
	const cJSON *result = member(box->tree, "result");
	if (!answer_get(result ? result : box->tree, &box->public))
		box->public.status = MC_PROTOCOL;
	return &box->public;
}

struct etcd_reply *etcd_reply_status(enum mc_status status)
{
	static struct box none = {.public = {.status = MC_NO_MEMORY}, .holders = 1};
	struct box *box = box_new();

	if (!box) {
		none.holders++; /* so it is never freed */
		return &none.public;
	}
	box->public.status = status;
	return &box->public;
}

void etcd_reply_keep(struct etcd_reply *reply)
{
	box_of(reply)->holders++;
}

void etcd_reply_free(struct etcd_reply *reply)
{
	if (!reply || --box_of(reply)->holders > 0)
		return;
	cJSON_Delete(box_of(reply)->tree);
	free(reply->pairs);
	free(box_of(reply));
}

/* gRPC's codes, as far as etcd uses them. */
enum {
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_DEADLINE = 4,
	GRPC_NOT_FOUND = 5,
	GRPC_PERMISSION = 7,
	GRPC_EXHAUSTED = 8,
	GRPC_PRECONDITION = 9,
	GRPC_OUT_OF_RANGE = 11,
	GRPC_UNAVAILABLE = 14,
	GRPC_UNAUTHENTICATED = 16,
};

struct refusal {
	int code;	   /* 0: any */
	const char *words; /* that its message has; NULL: any */
	enum mc_status status;
	enum etcd_effect effect;
};

/* The first that fits counts. */
static const struct refusal refusals[] = {
	{0, "database space exceeded", MC_NO_SPACE, ETCD_FINAL},
	{0, "invalid auth token", MC_ACCESS, ETCD_TOKEN},
	{0, "user name is empty", MC_ACCESS, ETCD_TOKEN},
	{0, "authentication failed", MC_ACCESS, ETCD_FINAL},
	{0, "authentication is not enabled", MC_NOT_SUPPORTED, ETCD_FINAL},
	{0, "auth revision", MC_AGAIN, ETCD_TOKEN},
	{0, "revision of auth store is old", MC_AGAIN, ETCD_TOKEN},
	{0, "permission denied", MC_PERMISSION, ETCD_FINAL},
	{0, "request is too large", MC_TOO_BIG, ETCD_FINAL},
	{0, "larger than max", MC_TOO_BIG, ETCD_FINAL},
	{0, "too many operations", MC_TOO_BIG, ETCD_FINAL},
	{0, "too many requests", MC_AGAIN, ETCD_NOTHING},
	{0, "no leader", MC_AGAIN, ETCD_NOTHING},
	{0, "lease not found", MC_NOT_FOUND, ETCD_FINAL},
	{GRPC_INVALID_ARGUMENT, NULL, MC_INVALID, ETCD_FINAL},
	{GRPC_DEADLINE, NULL, MC_TIMEOUT, ETCD_UNKNOWN},
	{GRPC_NOT_FOUND, NULL, MC_NOT_FOUND, ETCD_FINAL},
	{GRPC_PERMISSION, NULL, MC_PERMISSION, ETCD_FINAL},
	{GRPC_EXHAUSTED, NULL, MC_AGAIN, ETCD_NOTHING},
	{GRPC_PRECONDITION, NULL, MC_INVALID, ETCD_FINAL},
	{GRPC_OUT_OF_RANGE, NULL, MC_STALE, ETCD_FINAL},
	{GRPC_UNAUTHENTICATED, NULL, MC_ACCESS, ETCD_TOKEN},
	{0, NULL, MC_TIMEOUT, ETCD_UNKNOWN},
};

static const struct refusal *refusal_of(int64_t code, const char *words)
{
	const struct refusal *row = refusals;

	while ((row->code && row->code != code) || (row->words && !strstr(words, row->words)))
		row++;
	return row;
}

/* The code and the words of a refusal, whichever way it is written.  False: it is none. */
static bool refusal_get(const cJSON *tree, int64_t *code, const char **words)
{
	const cJSON *error = member(tree, "error");
	const cJSON *message = member(tree, "message");

	if (cJSON_IsObject(error)) {
		message = member(error, "message");
		if (!number(error, "grpc_code", code))
			return false;
	} else if (!number(tree, "code", code)) {
		return false;
	} else if (!message) {
		message = error;
	}
	if (!cJSON_IsString(message))
		return false;
	*words = message->valuestring;
	return true;
}

enum mc_status etcd_refusal_decode(const void *json, size_t size, long http, char *text,
				   size_t text_size, enum etcd_effect *effect)
{
	cJSON *tree = cJSON_ParseWithLength(json, size);
	enum mc_status status;
	const char *words;
	int64_t code;

	if (refusal_get(tree, &code, &words)) {
		const struct refusal *row = refusal_of(code, words);
		status = row->status;
		*effect = row->effect;
		snprintf(text, text_size, "%s", words);
	} else {
		/* Something between us and etcd, or something else altogether. */
		status = http >= 500 ? MC_TIMEOUT : MC_PROTOCOL;
		*effect = http >= 500 ? ETCD_UNKNOWN : ETCD_FINAL;
		snprintf(text, text_size, "http status %ld", http);
	}
	cJSON_Delete(tree);
	return status;
}

bool etcd_token_decode(const void *json, size_t size, char *token, size_t token_size)
{
	cJSON *tree = cJSON_ParseWithLength(json, size);
	const cJSON *item = member(tree, "token");
	bool good = cJSON_IsString(item) && item->valuestring[0] &&
		    strlen(item->valuestring) < token_size &&
		    strpbrk(item->valuestring, "\r\n") == NULL;

	if (good)
		strcpy(token, item->valuestring);
	cJSON_Delete(tree);
	return good;
}

static bool event_get(const cJSON *item, struct etcd_event *event)
{
	const cJSON *type = member(item, "type");
	const cJSON *before = member(item, "prev_kv");

	if (type && !cJSON_IsString(type))
		return false;
	event->removed = type && strcmp(type->valuestring, "DELETE") == 0;
	return pair_get(member(item, "kv"), &event->pair) &&
	       (!before || pair_get(before, &event->before));
}

static bool events_get(const cJSON *result, struct etcd_message *message)
{
	const cJSON *list = member(result, "events");
	const cJSON *item;

	if (!list)
		return true;
	if (!cJSON_IsArray(list))
		return false;
	message->events = calloc(list_size(list) + 1, sizeof(*message->events));
	if (!message->events)
		return false;
	cJSON_ArrayForEach(item, list)
	{
		if (!event_get(item, &message->events[message->event_count]))
			return false;
		message->event_count++;
	}
	return true;
}

void etcd_message_decode(const void *json, size_t size, struct etcd_message *message)
{
	enum etcd_effect effect;
	char text[128];
	bool canceled = false;
	int64_t compacted = 0;

	*message = (struct etcd_message){.tree = cJSON_ParseWithLength(json, size)};
	const cJSON *result = member(message->tree, "result");
	if (!cJSON_IsObject(result)) {
		message->status = etcd_refusal_decode(json, size, 200, text, sizeof(text), &effect);
		return;
	}
	if (!header_get(result, &message->cluster, &message->revision) ||
	    !truth(result, "created", &message->created) ||
	    !truth(result, "fragment", &message->fragment) ||
	    !truth(result, "canceled", &canceled) ||
	    !number(result, "compact_revision", &compacted) || !events_get(result, message))
		message->status = MC_PROTOCOL;
	else if (compacted)
		message->status = MC_STALE;
	else if (canceled)
		message->status = MC_CANCELLED;
}

void etcd_message_fini(struct etcd_message *message)
{
	cJSON_Delete(message->tree);
	free(message->events);
}
