#include "engine/node/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/failpoint.h"
#include "engine/node/record.h"

/*
 * What a pool holds, read at start and told to each master that we connect to.
 * An object found in the pool has no name here until somebody looks it up:
 * the master knows best what it is called now.
 *
 * An announcement belongs to its session.  Sent again in the next one its last
 * word would come first, and the master would take all for lost; a page of it
 * would bring back what was removed meanwhile.
 */

#define INVENTORY_PAGE	  512u
#define ANNOUNCE_AGAIN_NS 300000000ull

/* -- scan -- */

/* Written to since its record.  One that may have been refused is what it was, or nothing. */
static bool found_changed(const struct pool_found *found, const struct record *record)
{
	return !found->recorded && !(record->flags & RECORD_UNANSWERED);
}

static bool found_valid(const struct pool_found *found, const struct record *record)
{
	bool fits = record->attr.size == found->size || found_changed(found, record);

	return fits && record->attr.id == found->id && found->id > MC_ROOT_ID &&
	       S_ISREG(record->attr.mode) && record->attr.version != 0;
}

/*
 * Somebody wrote to it after its last publish, and did not come to the next: other
 * copies of that version are others.  It is the next version of the object, whose
 * only copy is here.
 */
static void changed(struct node *node, const struct pool_found *found, struct record *record)
{
	uint8_t bytes[RECORD_SIZE_MAX];

	log_warn("an object was changed and not published, it is a new version file=%s",
		 found->name);
	record->kind = MC_REPLICA_PRIMARY;
	record->attr.version++;
	record->attr.size = found->size;
	record->attr.mtime = record->attr.ctime = found->mtime;
	if (pool_record_id(node->pool, found->id, bytes, record_encode(record, bytes)))
		log_debug("an object's record was not rewritten file=%s", found->name);
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
	if (found_changed(found, &record))
		changed(node, found, &record);
	object_set_attr(object, &record.attr);
	object->attr.allocated = found->allocated;
	object->flags = OBJECT_LOCAL | OBJECT_PUBLISHED;
	if (record.kind == MC_REPLICA_CACHE)
		object->flags |= OBJECT_CACHE;
	if (record.flags & RECORD_UNANSWERED)
		object->flags |= OBJECT_UNANSWERED;
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

struct announced {
	uint64_t id;
	uint64_t version; /* as it was told */
};

struct announcing {
	struct node *node;
	bool whole;	  /* not only of what is asked about */
	uint32_t session; /* what belongs to an older one ends */
	ask_ended_fn *ended;
	void *context;
	struct announced *items;
	size_t count;
	size_t next;
	size_t page; /* items of the page that is on its way, from next - page */
	size_t gone;
};

static void announce_page(struct announcing *a);

static void announcing_end(struct announcing *a, enum mc_status status)
{
	if (a->ended)
		a->ended(a->node, a->context, status);
	free(a->items);
	free(a);
}

/*
 * The master's word is about the version that was told.  One that is being
 * published, or was meanwhile, is newer than what it knew then.
 */
static bool concerned_locked(const struct object *object, uint64_t version)
{
	return object && object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED) &&
	       !object_is(object, OBJECT_PUBLISHING) && object->writers == 0 &&
	       object->attr.version == version;
}

/* Take over what the master has of an object; what it has not is of no use. */
static void verdict_locked(struct announcing *a, struct object *object, uint64_t parent,
			   const struct mc_attr *attr)
{
	struct node *node = a->node;

	if (attr) {
		uint64_t size = object->attr.size, allocated = object->attr.allocated;
		object_set_attr(object, attr);
		object->attr.size = size;
		object->attr.allocated = allocated;
		if (object_is(object, OBJECT_REMOVED)) { /* it has another name */
			object->flags &= ~(uint32_t)OBJECT_REMOVED;
			sieve_add_locked(node, object);
		}
		if (object_is(object, OBJECT_NAMED) && object->parent->attr.id != parent)
			node_forget_name_locked(node, object);
		return;
	}
	a->gone++;
	if (object_is(object, OBJECT_NAMED) && node_read_locked(object)) {
		node_lost_name_locked(node, object);
		node_drop_locked(node, object);
		return;
	}
	node->events.let_go(node->events.context, object);
	object_ref(object);
	node_forget_name_locked(node, object);
	node_discard_locked(node, object);
	object->known_session = 0;
	object_unref(&node->objects, object);
}

/* The master's word on one object. */
static void verdict(struct announcing *a, const struct announced *item, enum mc_status status,
		    struct reader *body)
{
	struct node *node = a->node;
	struct offer *offer = NULL;
	struct mc_attr attr;
	uint64_t parent = 0;

	if (status == MC_OK) {
		parent = get_u64(body);
		get_attr(body, &attr);
		if (body->failed)
			return;
	} else if (status != MC_NOT_FOUND && status != MC_STALE) {
		return;
	}
	const struct mc_attr *has = status == MC_OK ? &attr : NULL;
	node_lock(node);
	struct object *object = object_find(&node->objects, item->id);
	bool answers = has && object && object_is(object, OBJECT_UNANSWERED);
	if (answers)
		object->flags &= ~(uint32_t)OBJECT_UNANSWERED;
	if (concerned_locked(object, item->version)) {
		verdict_locked(a, object, parent, has);
	} else if (object) {
		if (has && object->attr.version == item->version) /* its writers change the rest */
			node_adopt_rights_locked(object, &attr);
		offer = node_doubt_take_locked(node, object, item->version);
	}
	node_unlock(node);
	if (offer)
		node_offer_settle(node, offer, has);
	if (answers) /* no cache: those are not put */
		node_record_kind(node, item->id, MC_REPLICA_PRIMARY);
}

/* The inventory was taken, or the master takes none now: what it says is all that it knows. */
static void told_locked(const struct announcing *a)
{
	if (a->session == a->node->session)
		a->node->told_session = a->session;
}

/*
 * Until it is taken, what this node holds is not found elsewhere.  A master that
 * takes no changes now may do so in a moment, in the same session.
 */
static void announcing_failed(struct announcing *a, enum mc_status status)
{
	struct node *node = a->node;

	if (a->whole) {
		node_lock(node);
		bool again = a->session == node->session && !node->stopping;
		if (again)
			node->announce_ns = clock_ns() + ANNOUNCE_AGAIN_NS;
		told_locked(a);
		node_unlock(node);
		node_told(node);
		log_warn("the inventory was not taken status=\"%s\" again=%s",
			 mc_status_text(status), again ? "yes" : "no");
	}
	announcing_end(a, status);
}

static void announced(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct announcing *a = context;
	uint64_t dropped = status ? 0 : get_u64(body);

	(void)resent;
	failpoint("announce.done");
	if (status) {
		announcing_failed(a, status);
		return;
	}
	log_info("announced what the pool holds objects=%zu gone=%zu forgotten=%" PRIu64, a->count,
		 a->gone, dropped);
	node_lock(a->node);
	a->node->announced = true;
	told_locked(a);
	pthread_cond_broadcast(&a->node->change);
	node_unlock(a->node);
	node_told(a->node);
	announcing_end(a, MC_OK);
}

static void page_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct announcing *a = context;

	(void)resent;
	failpoint("announce.answered");
	if (!status && get_u16(body) != a->page)
		status = MC_PROTOCOL;
	for (size_t i = 0; !status && i < a->page; i++) {
		enum mc_status item = get_status(body);
		verdict(a, &a->items[a->next - a->page + i], item, body);
		if (body->failed)
			status = MC_PROTOCOL;
	}
	if (status)
		announcing_failed(a, status);
	else
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

static bool offered_path(const struct offer *offer, char *path, size_t *size)
{
	const struct object named = {.parent = offer->parent, .name = offer->name};

	return object_path(&named, path, size) == MC_OK;
}

/*
 * An object that is on offer is told as it was offered.  The request that offers a
 * new one tells of it itself, before us, unless it is in doubt.  Where that may not
 * replace anything it must not be adopted either, now or after a restart: only a file
 * can be.
 */
static bool put_item_locked(struct node *node, struct writer *w, struct announced *item)
{
	char path[MC_PATH_MAX + 1];
	size_t size;
	struct object *object = object_find(&node->objects, item->id);
	const struct offer *offer = object ? node_offered_locked(node, object) : NULL;
	bool told = object && (object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED) ||
			       (offer && offer->doubted));

	if (!told)
		return false;
	struct mc_attr attr = offer ? offer->attr : object->attr;
	if (offer ? offer->exclusive : object_is(object, OBJECT_UNANSWERED))
		attr.mode = 0;
	if (offer ? !offered_path(offer, path, &size) : !recorded_path(node, object, path, &size))
		return false;
	put_string(w, path, size);
	put_u8(w,
	       object_is(object, OBJECT_CACHE) && !offer ? MC_REPLICA_CACHE : MC_REPLICA_PRIMARY);
	put_attr(w, &attr);
	item->version = attr.version;
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
		if (put_item_locked(node, &w, &a->items[kept])) {
			kept++;
			a->page++;
		} else {
			a->items[kept] = a->items[--a->count];
		}
	}
	a->next = kept;
	node_unlock(node);
	patch_u16(&w, 0, (uint16_t)a->page);
	if (old) {
		writer_fini(&w);
		announcing_end(a, MC_TIMEOUT);
	} else if (a->page > 0) {
		failpoint("announce.begun");
		node_ask_here(node, MC_VERB_ANNOUNCE, &w, page_reply, a);
		failpoint("announce.sent");
	} else if (a->whole) {
		writer_fini(&w);
		node_ask_here(node, MC_VERB_ANNOUNCED, NULL, announced, a);
	} else {
		writer_fini(&w);
		announcing_end(a, MC_OK);
	}
}

/* What the pool holds; items NULL: only counted. */
static size_t collect_locked(const struct node *node, struct announced *items)
{
	size_t count = 0;

	for (uint32_t i = 0; i < node->objects.size; i++) {
		for (const struct object *o = node->objects.by_id[i]; o; o = o->next_by_id) {
			if (!object_is(o, OBJECT_LOCAL | OBJECT_PUBLISHED))
				continue;
			if (items)
				items[count].id = o->attr.id;
			count++;
		}
	}
	return count;
}

/* What is in doubt: the master may have it, and is not to take it for lost. */
static size_t collect_doubts_locked(const struct node *node, struct announced *items)
{
	size_t count = 0;

	for (const struct offer *offer = node->offers; offer; offer = offer->next) {
		if (!offer->doubted || object_is(offer->object, OBJECT_PUBLISHED))
			continue; /* or it is among the rest */
		if (items)
			items[count].id = offer->attr.id;
		count++;
	}
	return count;
}

void node_announce(struct node *node)
{
	struct announcing *a = calloc(1, sizeof(*a));

	if (!a)
		return;
	node_lock(node);
	a->node = node;
	a->whole = true;
	a->session = node->session;
	size_t local = collect_locked(node, NULL);
	a->count = local + collect_doubts_locked(node, NULL);
	a->items = malloc((a->count + 1) * sizeof(a->items[0]));
	if (a->items) {
		collect_locked(node, a->items);
		collect_doubts_locked(node, a->items + local);
	}
	if (local != node->local_count)
		log_warn("the count of local objects was wrong counted=%" PRIu64 " there=%zu",
			 node->local_count, local);
	node_unlock(node);
	if (a->items)
		announce_page(a);
	else
		announcing_failed(a, MC_NO_MEMORY);
}

void node_ask_about(struct node *node, const uint64_t *ids, size_t count, ask_ended_fn *ended,
		    void *context)
{
	struct announcing *a = calloc(1, sizeof(*a));
	struct announced *items = calloc(count, sizeof(*items));

	if (!a || !items) {
		free(a);
		free(items);
		if (ended)
			ended(node, context, MC_NO_MEMORY);
		return;
	}
	for (size_t i = 0; i < count; i++)
		items[i].id = ids[i];
	*a = (struct announcing){.node = node, .items = items, .count = count, .ended = ended};
	a->context = context;
	node_lock(node);
	a->session = node->session;
	node_unlock(node);
	announce_page(a);
}
