#include "engine/node/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/node/record.h"

/*
 * What a pool holds, read at start and told to each master that we connect to.
 * An object found in the pool has no name here until somebody looks it up:
 * the master knows best what it is called now.
 */

#define INVENTORY_PAGE 512u

/* -- scan -- */

static bool found_valid(const struct pool_found *found, const struct record *record)
{
	return record->attr.id == found->id && record->attr.size == found->size &&
	       found->id > MC_ROOT_ID && S_ISREG(record->attr.mode) && record->attr.version != 0;
}

static void visit(void *context, const struct pool_found *found)
{
	struct node *node = context;
	struct record record;

	if (!found->record || record_decode(found->record, found->record_size, &record) ||
	    !found_valid(found, &record)) {
		log_warn("a file of the pool is damaged or foreign, set aside file=%s",
			 found->name);
		counter_add(&node->counters, COUNTER_SCAN_ASIDE, 1);
		pool_set_aside(node->pool, found->name);
		return;
	}
	struct object *object = object_new(&node->objects, found->id);
	if (!object)
		return;
	object->attr = record.attr;
	object->attr.allocated = found->allocated;
	object->flags = OBJECT_LOCAL | OBJECT_PUBLISHED;
	if (record.kind == MC_REPLICA_CACHE)
		object->flags |= OBJECT_CACHE;
	node->local_count++;
	node->local_bytes += found->allocated;
	pool_account(node->pool, (int64_t)found->allocated);
	pool_mark(node->pool, found->id, -1);
	sieve_add_locked(node, object);
}

enum mc_status node_scan(struct node *node)
{
	uint64_t begin = clock_ns();
	enum mc_status status = pool_scan(node->pool, visit, node);

	if (!status && node->local_count > 0)
		log_info("the pool was warm objects=%" PRIu64 " bytes=%" PRIu64 " took_ms=%" PRIu64,
			 node->local_count, node->local_bytes, (clock_ns() - begin) / 1000000);
	return status;
}

/* -- announce -- */

struct announcing {
	struct node *node;
	uint32_t session; /* what belongs to an older one ends */
	uint64_t *ids;
	size_t count;
	size_t next;
	size_t page; /* items of the page that is on its way, from next - page */
	size_t gone;
};

static void announce_page(struct announcing *a);

static void announcing_free(struct announcing *a)
{
	free(a->ids);
	free(a);
}

/* The master's word on one object. */
static void verdict(struct announcing *a, uint64_t id, enum mc_status status, struct reader *body)
{
	struct node *node = a->node;
	struct mc_attr attr;
	uint64_t parent = 0;

	if (status == MC_OK) {
		parent = get_u64(body);
		get_attr(body, &attr);
		if (body->failed)
			return;
	}
	WITH_LOCK(&node->lock);
	struct object *object = object_find(&node->objects, id);
	if (!object || !object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED) || object->writers > 0)
		return;
	if (status == MC_OK) {
		uint64_t size = object->attr.size, allocated = object->attr.allocated;
		object->attr = attr;
		object->attr.size = size;
		object->attr.allocated = allocated;
		if (object_is(object, OBJECT_NAMED) && object->parent->attr.id != parent)
			node_forget_name_locked(node, object);
	} else if (status == MC_NOT_FOUND || status == MC_STALE) {
		a->gone++;
		node->events.let_go(node->events.context, object);
		object_ref(object);
		node_forget_name_locked(node, object);
		node_discard_locked(node, object);
		object->known_session = 0;
		object_unref(&node->objects, object);
	}
}

static void announced(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct announcing *a = context;
	uint64_t dropped = status ? 0 : get_u64(body);

	(void)resent;
	if (!status)
		log_info("announced what the pool holds objects=%zu gone=%zu forgotten=%" PRIu64,
			 a->count, a->gone, dropped);
	announcing_free(a);
}

static void page_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct announcing *a = context;

	(void)resent;
	if (!status && get_u16(body) != a->page)
		status = MC_PROTOCOL;
	for (size_t i = 0; !status && i < a->page; i++) {
		enum mc_status item = get_status(body);
		verdict(a, a->ids[a->next - a->page + i], item, body);
		if (body->failed)
			status = MC_PROTOCOL;
	}
	if (status) {
		log_warn("the inventory was not taken status=\"%s\"", mc_status_text(status));
		announcing_free(a);
		return;
	}
	announce_page(a);
}

/* The path by which the object is known here, or was when its record was written. */
static bool recorded_path(struct node *node, const struct object *object, char *path, size_t *size)
{
	uint8_t bytes[RECORD_SIZE_MAX];
	struct record record;
	size_t length = sizeof(bytes);

	if (object->parent)
		return object_path(object, path, size) == MC_OK;
	if (pool_read_record(node->pool, object->attr.id, bytes, &length) ||
	    record_decode(bytes, length, &record))
		return false;
	memcpy(path, record.path, record.path_size);
	*size = record.path_size;
	return true;
}

static bool put_item_locked(struct node *node, struct writer *w, uint64_t id)
{
	char path[MC_PATH_MAX + 1];
	size_t size;
	struct object *object = object_find(&node->objects, id);

	if (!object || !object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED) ||
	    !recorded_path(node, object, path, &size))
		return false;
	put_string(w, path, size);
	put_u8(w, object_is(object, OBJECT_CACHE) ? MC_REPLICA_CACHE : MC_REPLICA_PRIMARY);
	put_attr(w, &object->attr);
	return true;
}

static void announce_page(struct announcing *a)
{
	struct node *node = a->node;
	struct writer w;

	writer_init(&w);
	put_u16(&w, 0);
	a->page = 0;
	node_lock(node);
	bool old = a->session != node->session;
	/* Items that went meanwhile are taken out of the list, so that a page stays together. */
	size_t kept = a->next;
	while (!old && kept < a->count && a->page < INVENTORY_PAGE) {
		uint64_t id = a->ids[kept];
		if (put_item_locked(node, &w, id)) {
			kept++;
			a->page++;
		} else {
			a->ids[kept] = a->ids[--a->count];
		}
	}
	a->next = kept;
	node_unlock(node);
	patch_u16(&w, 0, (uint16_t)a->page);
	if (old) {
		writer_fini(&w);
		announcing_free(a);
	} else if (a->page > 0) {
		node_ask(node, MC_VERB_ANNOUNCE, &w, page_reply, a);
	} else {
		writer_fini(&w);
		node_ask(node, MC_VERB_ANNOUNCED, NULL, announced, a);
	}
}

void node_announce(struct node *node)
{
	struct announcing *a = calloc(1, sizeof(*a));

	if (!a)
		return;
	node_lock(node);
	a->node = node;
	a->session = node->session;
	a->ids = malloc((node->local_count + 1) * sizeof(a->ids[0]));
	for (uint32_t i = 0; a->ids && i < node->objects.size; i++) {
		for (struct object *o = node->objects.by_id[i]; o; o = o->next_by_id) {
			if (object_is(o, OBJECT_LOCAL | OBJECT_PUBLISHED) &&
			    a->count < node->local_count)
				a->ids[a->count++] = o->attr.id;
		}
	}
	node_unlock(node);
	if (a->ids)
		announce_page(a);
	else
		announcing_free(a);
}
