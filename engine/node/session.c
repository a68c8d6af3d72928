#include "engine/node/internal.h"

#include <stdlib.h>
#include <string.h>

#define SESSION_ID_LOW (1u << 18) /* ask for more ids when fewer are left */

static void ids_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct node *node = context;

	(void)resent;
	WITH_LOCK(&node->lock);
	node->id_asked = false;
	if (status)
		return;
	uint64_t first = get_u64(body);
	uint64_t count = get_u32(body);
	if (body->failed)
		return;
	node->next_id = first;
	node->last_id = first + count;
}

uint64_t node_new_id_locked(struct node *node)
{
	return node->next_id < node->last_id ? node->next_id++ : 0;
}

static void refill_ids(struct node *node)
{
	node_lock(node);
	bool ask = !node->id_asked && node->last_id - node->next_id < SESSION_ID_LOW;
	if (ask)
		node->id_asked = true;
	node_unlock(node);
	if (ask)
		node_ask(node, MC_VERB_GRANT_IDS, NULL, ids_reply, node);
}

static void session_hello(void *context, struct writer *body)
{
	struct node *node = context;
	struct pool_space space;

	pool_space(node->pool, &space);
	put_u8(body, node->config.guest ? MC_ROLE_GUEST : MC_ROLE_NODE);
	put_bytes(body, pool_uuid(node->pool), 16);
	put_string(body, node->name, strlen(node->name));
	put_string(body, node->host, strlen(node->host));
	put_u64(body, space.capacity);
	put_u64(body, space.used);
	put_u8(body, (uint8_t)node->transport_count);
	for (unsigned i = 0; i < node->transport_count; i++) {
		char endpoint[MC_ENDPOINT_SIZE];
		node->transports[i]->ops->endpoint(node->transports[i], endpoint);
		put_string(body, endpoint, strlen(endpoint));
	}
}

static enum mc_status session_welcome(void *context, struct reader *body)
{
	struct node *node = context;
	char version[64];

	(void)get_u32(body); /* the session's number, for the master's log */
	uint32_t id = get_u32(body);
	(void)get_u64(body); /* the cluster */
	uint64_t first_id = get_u64(body);
	uint32_t id_count = get_u32(body);
	uint32_t heartbeat_ms = get_u32(body);
	uint32_t ttl_ms = get_u32(body);
	get_text(body, version, sizeof(version));
	node_lock(node);
	get_text(body, node->master_name, sizeof(node->master_name));
	if (body->failed) {
		node_unlock(node);
		log_error("the master's welcome is malformed");
		return MC_PROTOCOL;
	}
	node->id = id;
	node->next_id = first_id;
	node->last_id = first_id + id_count;
	node->heartbeat_ms = heartbeat_ms;
	node->ttl_ms = ttl_ms;
	node->session++;
	pthread_cond_broadcast(&node->change);
	node_unlock(node);
	client_set_ttl(node->client, ttl_ms);
	node_announce(node);
	return MC_OK;
}

static void name_gone_locked(struct node *node, uint64_t parent, uint64_t id, const char *name)
{
	struct object *directory = object_find(&node->objects, parent);
	struct object *object = object_lookup(&node->objects, parent, name, strlen(name));

	if (directory)
		node_note_name_locked(node, directory, name);
	/* By now the name may mean an object that came after the one told of. */
	if (object && object->attr.id == id && object_is(object, OBJECT_PUBLISHED) &&
	    !object_is(object, OBJECT_PUBLISHING)) {
		node_lost_name_locked(node, object);
		object_unname(&node->objects, object);
	}
}

/*
 * The kernel may find the object under its new name and under the old one, and does
 * nothing at all for a rename from one name of an object to another: so all of its
 * names are taken back.
 */
static void moved_locked(struct node *node, uint64_t id)
{
	const struct object *object = object_find(&node->objects, id);

	if (object && object->user)
		node->events.forget_all(node->events.context);
}

/* True: it is here, at rest or open for writing.  What is replaced goes soon. */
static bool attr_changed_locked(struct node *node, uint64_t id)
{
	struct object *object = object_find(&node->objects, id);

	if (!object)
		return false;
	object->known_session = 0;
	free(object->xattrs);
	object->xattrs = NULL;
	return object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED) &&
	       (object_is(object, OBJECT_LISTED) || object->writers > 0);
}

/*
 * What attributes are now is asked by who wants to know, but for what is here by us:
 * it must not be evicted when another node has pinned it.
 */
static void push_invalidate(struct node *node, struct reader *body)
{
	uint16_t count = get_u16(body);
	CLEANUP_FREE uint64_t *here = calloc(count + 1u, sizeof(*here));
	size_t here_count = 0;

	for (uint16_t i = 0; i < count && !body->failed; i++) {
		uint8_t what = get_u8(body);
		uint64_t parent = get_u64(body);
		uint64_t id = get_u64(body);
		char name[MC_NAME_MAX + 1];
		get_text(body, name, sizeof(name));
		if (body->failed)
			break;
		counter_add(&node->counters, COUNTER_INVALIDATIONS, 1);
		node_lock(node);
		if (what == MC_INVALIDATE_MOVED)
			moved_locked(node, id);
		if (what == MC_INVALIDATE_NAME || what == MC_INVALIDATE_MOVED)
			name_gone_locked(node, parent, id, name);
		else if (attr_changed_locked(node, id) && here)
			here[here_count++] = id;
		node_unlock(node);
		if (what == MC_INVALIDATE_ATTR)
			node->events.forget_attr(node->events.context, id);
	}
	if (here_count > 0)
		node_ask_about(node, here, here_count, NULL, NULL);
}

static void push_drop(struct node *node, struct reader *body)
{
	uint16_t count = get_u16(body);

	for (uint16_t i = 0; i < count && !body->failed; i++) {
		uint64_t id = get_u64(body);
		uint64_t version = get_u64(body);
		node_lock(node);
		struct object *object = object_find(&node->objects, id);
		bool drop = object && object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED) &&
			    object->attr.version <= version;
		if (drop) {
			counter_add(&node->counters, COUNTER_DROPS, 1);
			object->known_session = 0;
			node_condemn_locked(node, object, true);
		}
		node_unlock(node);
	}
}

static void push_recall(struct node *node, struct reader *body)
{
	uint64_t id = get_u64(body);
	struct writer w;

	node_lock(node);
	struct object *directory = object_find(&node->objects, id);
	if (directory && object_is(directory, OBJECT_DIRECTORY)) {
		grant_free(directory->grant);
		directory->grant = NULL;
	}
	node_unlock(node);
	counter_add(&node->counters, COUNTER_RECALLS, 1);
	writer_init(&w);
	put_u64(&w, id);
	node_ask(node, MC_VERB_RECALLED, &w, node_ignore_reply, node);
}

static void push_nodes(struct node *node, struct reader *body)
{
	uint32_t count = get_u32(body);

	if (body->failed || count > MC_NODE_MAX)
		return;
	struct mc_node *nodes = calloc(count + 1, sizeof(*nodes));
	if (!nodes)
		return;
	for (uint32_t i = 0; i < count; i++)
		get_node(body, &nodes[i]);
	if (body->failed) {
		free(nodes);
		return;
	}
	WITH_LOCK(&node->lock);
	free(node->nodes);
	node->nodes = nodes;
	node->node_count = count;
}

static void session_push(void *context, uint16_t verb, struct reader *body)
{
	struct node *node = context;

	switch (verb) {
	case MC_VERB_INVALIDATE:
		push_invalidate(node, body);
		break;
	case MC_VERB_DROP:
		push_drop(node, body);
		break;
	case MC_VERB_RECALL:
		push_recall(node, body);
		break;
	case MC_VERB_NODES:
		push_nodes(node, body);
		break;
	case MC_VERB_REPLICATE:
		node_push_replicate(node, body);
		break;
	case MC_VERB_KIND:
		node_push_kind(node, body);
		break;
	default:
		log_debug("the master pushed what this version does not know verb=%u", verb);
	}
}

static void session_lost(void *context)
{
	struct node *node = context;

	node_lock(node);
	node->session++; /* grants and what the master said are void from now on */
	node->id_asked = false;
	node_unlock(node);
	node_told(node);
	node->events.forget_all(node->events.context);
}

static void session_tick(void *context)
{
	struct node *node = context;
	struct pool_space space;
	struct writer w;

	node_doubts_turn(node);
	if (!client_connected(node->client))
		return;
	refill_ids(node);
	node_lock(node);
	bool due = clock_ns() - node->beat_ns >= node->heartbeat_ms * 1000000ull;
	bool announce = node->announce_ns != 0 && clock_ns() >= node->announce_ns;
	if (announce)
		node->announce_ns = 0;
	uint64_t objects = node->local_count;
	if (due)
		node->beat_ns = clock_ns();
	node_unlock(node);
	if (announce)
		node_announce(node);
	if (!due)
		return;
	pool_space(node->pool, &space);
	writer_init(&w);
	put_u64(&w, space.capacity);
	put_u64(&w, space.used);
	put_u64(&w, objects);
	node_ask(node, MC_VERB_HEARTBEAT, &w, node_ignore_reply, node);
}

const struct client_events node_session_events = {
	.hello = session_hello,
	.welcome = session_welcome,
	.push = session_push,
	.lost = session_lost,
	.tick = session_tick,
	.tick_ms = 200,
};
