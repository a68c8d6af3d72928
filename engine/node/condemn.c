#include "engine/node/internal.h"

#include <stdlib.h>

/*
 * A replaced object is served a little longer: who looked its name up just
 * before gets that version whole, instead of nothing.
 *
 * The master says which object goes by DROP, but not to who replaced it himself.
 * What he believed to have the name may have been renamed by another node a moment
 * before, and he has not heard of that yet: before its file goes the master is asked.
 * So it is when a removal or a rename was not answered, until the master says.
 */
#define CONDEMN_GRACE_NS 400000000ull
#define CONDEMN_BATCH	 64u

struct condemned {
	struct condemned *next;
	struct object *object; /* counted */
	uint64_t version;
	uint64_t since_ns;
	bool dropped; /* the master said so */
};

static void append_locked(struct node *node, struct condemned *c)
{
	c->next = NULL;
	c->since_ns = clock_ns();
	*node->condemned_last = c;
	node->condemned_last = &c->next;
}

void node_condemn_locked(struct node *node, struct object *object, bool dropped)
{
	struct condemned *c = malloc(sizeof(*c));

	MUST(object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED));
	if (!c) { /* without memory the next announcement asks */
		if (dropped)
			node_discard_locked(node, object);
		return;
	}
	sieve_remove_locked(node, object);
	object_ref(object);
	*c = (struct condemned){.object = object, .dropped = dropped};
	c->version = object->attr.version;
	append_locked(node, c);
}

bool node_read_locked(const struct object *object)
{
	return object->opens > 0 && object->writers == 0 &&
	       object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED);
}

void node_drop_locked(struct node *node, struct object *object)
{
	object->known_session = 0;
	if (node_read_locked(object))
		node_condemn_locked(node, object, true);
	else
		node_discard_locked(node, object);
}

static struct condemned *take_locked(struct node *node, struct condemned **at)
{
	struct condemned *c = *at;

	*at = c->next;
	if (!*at)
		node->condemned_last = at;
	return c;
}

/* Done with it: its file goes, or it is kept as the master said. */
static void end_locked(struct node *node, struct condemned *c, bool discard)
{
	if (discard && c->object->attr.version == c->version)
		node_discard_locked(node, c->object);
	else
		sieve_add_locked(node, c->object);
	if (!c->object->user)
		node_forget_locked(node, c->object);
	object_unref(&node->objects, c->object);
	free(c);
}

/* -- asking -- */

/* The master has spoken of each (inventory.c), or could not be asked: then again. */
static void asked(struct node *node, void *context, enum mc_status status)
{
	struct condemned *next = context;

	WITH_LOCK(&node->lock);
	while (next) {
		struct condemned *c = next;
		next = c->next;
		if (status || c->object->writers > 0)
			append_locked(node, c);
		else
			end_locked(node, c, false);
	}
}

/* Who opens it by its name gets the same file as those who have it open. */
static bool shared_locked(const struct condemned *c)
{
	return c->object->attr.version == c->version && object_is(c->object, OBJECT_NAMED) &&
	       node_read_locked(c->object);
}

/*
 * See to a batch of those whose time has come; those to ask about are taken out.
 * What is open for writing waits: its writer may make the next version of it.
 */
static size_t due(struct node *node, struct condemned **ask)
{
	WITH_LOCK(&node->lock);
	uint64_t now = clock_ns();
	size_t count = 0;

	while (count < CONDEMN_BATCH && node->condemned &&
	       node->condemned->since_ns + CONDEMN_GRACE_NS < now) {
		struct condemned *c = take_locked(node, &node->condemned);
		count++;
		if (c->object->writers > 0 || shared_locked(c)) {
			append_locked(node, c);
		} else if (c->dropped) {
			end_locked(node, c, true);
		} else {
			c->next = *ask;
			*ask = c;
		}
	}
	return count;
}

static void ask_about(struct node *node, struct condemned *list)
{
	uint64_t ids[CONDEMN_BATCH];
	size_t count = 0;

	for (const struct condemned *c = list; c; c = c->next)
		ids[count++] = c->object->attr.id;
	if (count > 0)
		node_ask_about(node, ids, count, asked, list);
}

void node_condemned_turn(struct node *node)
{
	size_t count;

	do {
		struct condemned *ask = NULL;
		count = due(node, &ask);
		ask_about(node, ask);
	} while (count == CONDEMN_BATCH);
}

/* It lost its name, and nobody writes it.  What is open would free nothing. */
static bool evictable_locked(const struct condemned *c)
{
	return c->object->writers == 0 && !shared_locked(c) &&
	       (c->dropped || object_is(c->object, OBJECT_REMOVED));
}

/* Room is wanted: what may live on is evicted. */
void node_condemned_evict(struct node *node)
{
	for (bool more = true; more;) {
		node_lock(node);
		struct condemned **at = &node->condemned;
		while (*at && !evictable_locked(*at))
			at = &(*at)->next;
		struct condemned *c = *at ? take_locked(node, at) : NULL;
		more = c != NULL;
		bool tell = c && !c->dropped && object_is(c->object, OBJECT_LOCAL);
		uint64_t id = c ? c->object->attr.id : 0, version = c ? c->version : 0;
		if (c)
			end_locked(node, c, true);
		node_unlock(node);
		if (tell)
			node_tell_gone(node, id, version);
	}
}

void node_condemned_end(struct node *node)
{
	WITH_LOCK(&node->lock);
	while (node->condemned) {
		struct condemned *c = take_locked(node, &node->condemned);
		end_locked(node, c, c->dropped);
	}
}
