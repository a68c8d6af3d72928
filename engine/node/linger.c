#include "engine/node/internal.h"

#include <stdlib.h>

#include "engine/base/cleanup.h"

/*
 * An object whose handles are closed while a writable map of it lives on, or that could
 * not be published when they were.
 */
struct lingering {
	struct lingering *next;
	struct object *object; /* counted */
	uint64_t since_ns;
	uint64_t again_ns; /* not looked at before */
};

/* The kernel's own descriptor of a closed file goes within this; what lasts longer is a map. */
#define LINGER_CLOSE_NS 100000000ull
#define LINGER_AGAIN_NS 1000000000ull /* between tries to publish it */
#define MAPPED_A_TURN	64u	      /* of the maps that live on, looked at in turn */
#define LOOKS_A_LOCK	16u	      /* some microseconds each */

/* Whether nobody can write to it any more.  If all of it is published, its file says so. */
static bool rests_locked(struct node *node, const struct object *object)
{
	if (object->flags & (OBJECT_DIRTY | OBJECT_PUBLISHING | OBJECT_DOUBT))
		return pool_unwritten(node->pool, object->attr.id);
	return pool_rest(node->pool, object->attr.id, object->attr.version);
}

static void linger_locked(struct node *node, struct object *object, uint64_t again_ns)
{
	struct lingering *lingering = malloc(sizeof(*lingering));

	if (!lingering)
		return;
	object_ref(object);
	*lingering = (struct lingering){node->lingering, object, clock_ns(), again_ns};
	object->flags |= OBJECT_LINGERING;
	node->lingering = lingering;
}

/* It may be left to itself, and is not yet. */
static bool may_linger(const struct object *object)
{
	return object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED) &&
	       !(object->flags & (OBJECT_REMOVED | OBJECT_LINGERING));
}

void node_linger_locked(struct node *node, struct object *object)
{
	if (may_linger(object) && !rests_locked(node, object))
		linger_locked(node, object, 0);
}

void node_linger_again_locked(struct node *node, struct object *object)
{
	if (may_linger(object))
		linger_locked(node, object, clock_ns() + LINGER_AGAIN_NS);
}

static void flushed(void *context, enum mc_status status, struct object *object)
{
	struct op *op = context;
	struct node *node = op->node;

	(void)object;
	if (status)
		log_debug("what is closed was not published status=\"%s\"", mc_status_text(status));
	node_lock(node);
	op->object->writers--;
	node->writers--;
	if (op->object->writers == 0)
		node_linger_locked(node, op->object);
	node_claim_settle_locked(node, op->object);
	if (op->object->opens == 0)
		sieve_add_locked(node, op->object);
	node_unlock(node);
	op_free(op);
}

static void push(struct lingering **list, struct lingering *lingering)
{
	lingering->next = *list;
	*list = lingering;
}

static void append_mapped_locked(struct node *node, struct lingering *lingering)
{
	lingering->next = NULL;
	*node->mapped_last = lingering;
	node->mapped_last = &lingering->next;
}

/* The maps whose turn it is. */
static struct lingering *take_mapped_locked(struct node *node)
{
	struct lingering *first = node->mapped;
	struct lingering **at = &node->mapped;

	for (unsigned i = 0; *at && i < MAPPED_A_TURN; i++)
		at = &(*at)->next;
	node->mapped = *at;
	if (!node->mapped)
		node->mapped_last = &node->mapped;
	*at = NULL;
	return at == &node->mapped ? NULL : first;
}

static void look_at_locked(struct node *node, struct lingering *lingering, struct lingering **gone)
{
	struct object *object = lingering->object;
	bool local = object_is(object, OBJECT_LOCAL);
	uint64_t now = clock_ns();
	bool lasts = now - lingering->since_ns > LINGER_CLOSE_NS;

	if (local && now < lingering->again_ns) {
		push(&node->lingering, lingering);
		return;
	}
	if (local && object->writers == 0 && !pool_unwritten(node->pool, object->attr.id)) {
		if (lasts)
			append_mapped_locked(node, lingering);
		else
			push(&node->lingering, lingering);
		return;
	}
	object->flags &= ~(uint32_t)OBJECT_LINGERING;
	/* A write to a page that was writable already leaves no mark. */
	if (local && lasts)
		object->flags |= OBJECT_DIRTY;
	push(gone, lingering);
}

/* Nobody waits for the lock until all have been looked at: there may be many. */
static void look_at(struct node *node, struct lingering *list, struct lingering **gone)
{
	while (list) {
		WITH_LOCK(&node->lock);
		for (unsigned i = 0; list && i < LOOKS_A_LOCK; i++) {
			struct lingering *next = list->next;
			look_at_locked(node, list, gone);
			list = next;
		}
	}
}

void node_linger_turn(struct node *node)
{
	struct lingering *gone = NULL;

	node_lock(node);
	struct lingering *closed = STEAL(node->lingering);
	struct lingering *mapped = take_mapped_locked(node);
	node_unlock(node);
	look_at(node, closed, &gone);
	look_at(node, mapped, &gone);
	while (gone) {
		struct lingering *next = gone->next;
		struct op *op =
			op_new(node, gone->object, NULL, NULL, NULL, node_ignore_done, NULL);
		node_lock(node);
		/* Who has it open for writing again publishes when they close it, not before. */
		bool flush = op && gone->object->writers == 0;
		if (flush) {
			gone->object->writers++; /* so that the file is looked at */
			sieve_remove_locked(node, gone->object);
			node->writers++;
		}
		node_unlock(node);
		if (flush)
			node_flush_left(node, gone->object, flushed, op);
		else if (op)
			op_free(op);
		node_unref(node, gone->object);
		free(gone);
		gone = next;
	}
}

void node_linger_end(struct node *node)
{
	*node->mapped_last = node->lingering;
	while (node->mapped) {
		struct lingering *l = node->mapped;
		node->mapped = l->next;
		node_unref(node, l->object);
		free(l);
	}
}
