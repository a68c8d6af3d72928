#include "engine/node/internal.h"

#include "engine/base/failpoint.h"

/* Drops that one request to the master tells of. */
#define EVICT_BATCH 128u
/* Room that is kept ahead of writers who don't ask: at most this, and an eighth of the pool. */
#define EVICT_ROOM_MAX (256ull << 20)

struct victim {
	uint64_t id;
	uint64_t version;
	uint8_t kind;
};

/* -- SIEVE -- */

static struct sieve *sieve_of(struct node *node, const struct object *object)
{
	return object_is(object, OBJECT_CACHE) ? &node->cache : &node->primary;
}

void sieve_add_locked(struct node *node, struct object *object)
{
	struct sieve *sieve = sieve_of(node, object);

	if (object_is(object, OBJECT_LISTED) || object->writers > 0 ||
	    !object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED) ||
	    object_is(object, OBJECT_REMOVED))
		return;
	object->older = sieve->newest;
	object->newer = NULL;
	if (sieve->newest)
		sieve->newest->newer = object;
	else
		sieve->oldest = object;
	sieve->newest = object;
	sieve->count++;
	object->flags |= OBJECT_LISTED;
	node_rests_locked(node, object);
}

void sieve_remove_locked(struct node *node, struct object *object)
{
	struct sieve *sieve = sieve_of(node, object);

	if (!object_is(object, OBJECT_LISTED))
		return;
	node_hide_locked(node, object);
	if (sieve->hand == object)
		sieve->hand = object->newer;
	if (object->older)
		object->older->newer = object->newer;
	else
		sieve->oldest = object->newer;
	if (object->newer)
		object->newer->older = object->older;
	else
		sieve->newest = object->older;
	object->older = object->newer = NULL;
	object->flags &= ~(uint32_t)OBJECT_LISTED;
	sieve->count--;
}

static bool evictable_locked(struct node *node, struct object *object)
{
	if (object->opens > 0 || object->loans > 0 || object_is(object, OBJECT_PUBLISHING) ||
	    (object->attr.flags & MC_ATTR_PINNED))
		return false;
	if (object_is(object, OBJECT_VISITED)) {
		object->flags &= ~(uint32_t)OBJECT_VISITED;
		return false;
	}
	if (object_is(object, OBJECT_SHOWN))
		return true; /* once it is hidden */
	node->events.let_go(node->events.context, object);
	node_claim_end_locked(node, object); /* of a change that could not be published */
	return pool_unused(node->pool, object->attr.id); /* no map of it lives on */
}

/* Move the hand from old to new until it points at a victim.  NULL: all are in use. */
static struct object *sieve_victim_locked(struct node *node, struct sieve *sieve)
{
	for (uint64_t steps = sieve->count * 2; steps > 0; steps--) {
		struct object *object = sieve->hand ? sieve->hand : sieve->oldest;
		if (!object)
			return NULL;
		sieve->hand = object->newer;
		if (evictable_locked(node, object))
			return object;
	}
	return NULL;
}

/* -- evict -- */

/* False: there is none.  *hidden: it is not taken, but can be after node_show_clear(). */
static bool take_victim(struct node *node, struct victim *victim, uint64_t *freed, bool *hidden)
{
	WITH_LOCK(&node->lock);
	struct object *object = sieve_victim_locked(node, &node->cache);
	if (!object)
		object = sieve_victim_locked(node, &node->primary);
	*hidden = object && object_is(object, OBJECT_SHOWN);
	if (!object)
		return false;
	if (*hidden) {
		node_hide_locked(node, object);
		sieve_of(node, object)->hand = object;
		return true;
	}
	bool cache = object_is(object, OBJECT_CACHE);
	*victim = (struct victim){.id = object->attr.id,
				  .version = object->attr.version,
				  .kind = cache ? MC_REPLICA_CACHE : MC_REPLICA_PRIMARY};
	*freed += object->attr.allocated;
	counter_add(&node->counters, COUNTER_EVICTIONS, 1);
	counter_add(&node->counters, COUNTER_EVICTION_BYTES, object->attr.allocated);
	if (cache)
		counter_add(&node->counters, COUNTER_EVICTED_CACHE, 1);
	object_ref(object);
	node_forget_name_locked(node, object);
	node_discard_locked(node, object);
	object->known_session = 0;
	object_unref(&node->objects, object);
	return true;
}

static void dropped(void *context, enum mc_status status, struct reader *body, bool resent)
{
	(void)context;
	(void)body;
	(void)resent;
	if (status)
		log_debug("the master was not told of an eviction status=\"%s\"",
			  mc_status_text(status));
}

/* Until the master has heard, who was sent here for one of them is told that it is gone. */
static void tell_master(struct node *node, struct victim *victims, unsigned count)
{
	struct writer w;

	if (count == 0)
		return;
	failpoint("evict.dropped");
	writer_init(&w);
	put_u16(&w, (uint16_t)count);
	for (unsigned i = 0; i < count; i++) {
		put_u8(&w, 1);
		put_u64(&w, victims[i].id);
		put_u64(&w, victims[i].version);
		put_u8(&w, victims[i].kind);
	}
	node_ask(node, MC_VERB_REPLICA, &w, dropped, NULL);
	failpoint("evict.sent");
}

/* Evict until so many bytes are free again.  False: nothing evictable was left before that. */
static bool evict(struct node *node, uint64_t bytes)
{
	struct victim victims[EVICT_BATCH];
	unsigned count = 0;
	uint64_t freed = 0;
	bool found = true, hidden;

	while (freed < bytes && found) {
		found = take_victim(node, &victims[count], &freed, &hidden);
		if (hidden)
			node_show_clear(node);
		else
			count += found;
		if (count == EVICT_BATCH) {
			tell_master(node, victims, count);
			count = 0;
		}
	}
	tell_master(node, victims, count);
	return found;
}

static uint64_t room_ahead(const struct pool_space *space)
{
	uint64_t room = space->capacity / 8;

	return room < EVICT_ROOM_MAX ? room : EVICT_ROOM_MAX;
}

/* The stock begins well above where it has to go. */
uint64_t node_stock_room(const struct node *node)
{
	struct pool_space space;

	pool_space(node->pool, &space);
	return 3 * room_ahead(&space);
}

enum mc_status node_make_room(struct node *node, uint64_t size)
{
	struct pool_space space;

	pool_space(node->pool, &space);
	uint64_t room = room_ahead(&space);
	if (size > space.capacity) { /* not even if all of it were evicted */
		counter_add(&node->counters, COUNTER_NO_SPACE, 1);
		return MC_NO_SPACE;
	}
	if (space.free - space.spare >= size + room)
		return MC_OK;
	stock_drop(node->stock);
	node_condemned_evict(node);
	node_show_clear(node);
	pool_space(node->pool, &space);
	if (space.free < size + room)
		evict(node, size + room - space.free);
	pool_space(node->pool, &space);
	/* Half of the room stays for writers who are under way: their writes end whole. */
	if (space.free >= size + room / 2)
		return MC_OK;
	counter_add(&node->counters, COUNTER_NO_SPACE, 1);
	return MC_NO_SPACE;
}

uint32_t node_evict_turn(struct node *node)
{
	struct pool_space space;

	node_linger_turn(node);
	node_replacements_turn(node);
	node_condemned_turn(node);
	node_show_turn(node);
	node_lock(node);
	bool writers = node->writers > 0;
	bool lingering = node->lingering || node->mapped;
	node_unlock(node);
	pool_space(node->pool, &space);
	uint64_t high = space.capacity / 100 * node->config.watermark_high;
	uint64_t low = space.capacity / 100 * node->config.watermark_low;
	uint64_t room = room_ahead(&space);
	if (space.spare > 0 && space.free - space.spare < 2 * room)
		stock_drop(node->stock); /* before writers who don't ask come that far */
	if (space.used > high)
		evict(node, space.used - low);
	else if (writers && space.free < room)
		evict(node, room - space.free);
	if (writers)
		return space.free < 4 * room ? 1 : 10;
	return lingering ? 20 : 100;
}
