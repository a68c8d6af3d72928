#include "engine/node/internal.h"

#include <stdlib.h>

/* An object whose handles are closed while a writable map of it lives on. */
struct lingering {
	struct lingering *next;
	struct object *object; /* counted */
	uint64_t since_ns;
};

/* The kernel's own descriptor of a closed file goes within this; what lasts longer is a map. */
#define LINGER_CLOSE_NS 100000000ull

void node_linger_locked(struct node *node, struct object *object)
{
	if (!object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED) ||
	    (object->flags & (OBJECT_REMOVED | OBJECT_LINGERING)))
		return;
	struct lingering *lingering = malloc(sizeof(*lingering));
	if (!lingering)
		return;
	object_ref(object);
	*lingering = (struct lingering){.next = node->lingering, .object = object};
	lingering->since_ns = clock_ns();
	object->flags |= OBJECT_LINGERING;
	node->lingering = lingering;
	node_janitor_hurry_locked(node);
}

static void flushed(void *context, enum mc_status status, struct object *object)
{
	struct op *op = context;
	struct node *node = op->node;

	(void)object;
	if (status)
		log_warn("what a map wrote was not published status=\"%s\"",
			 mc_status_text(status));
	node_lock(node);
	op->object->writers--;
	node->writers--;
	node_claim_settle_locked(node, op->object);
	if (op->object->opens == 0)
		sieve_add_locked(node, op->object);
	node_unlock(node);
	op_free(op);
}

/* Look at the file.  True: nobody writes to it any more, or its next close will linger anew. */
static bool ended_locked(struct node *node, const struct lingering *lingering)
{
	struct object *object = lingering->object;

	if (object_is(object, OBJECT_LOCAL) && object->writers == 0 &&
	    !pool_unwritten(node->pool, object->attr.id))
		return false;
	object->flags &= ~(uint32_t)OBJECT_LINGERING;
	/* A write to a page that was writable already leaves no mark. */
	if (object_is(object, OBJECT_LOCAL) && clock_ns() - lingering->since_ns > LINGER_CLOSE_NS)
		object->flags |= OBJECT_DIRTY;
	return true;
}

static void publish_written(struct node *node, struct object *object)
{
	struct op *op = op_new(node, object, NULL, NULL, NULL, node_ignore_done, NULL);

	node_lock(node);
	/* Who has it open for writing again publishes when they close it, not before. */
	bool flush = op && object->writers == 0;
	if (flush) {
		object->writers++; /* so that the file is looked at */
		sieve_remove_locked(node, object);
		node->writers++;
	}
	node_unlock(node);
	if (flush)
		node_flush(node, object, flushed, op);
	else if (op)
		op_free(op);
}

/* One at a time, as every put lingers and others want the lock. */
void node_linger_turn(struct node *node)
{
	node_lock(node);
	struct lingering *list = node->lingering;
	node->lingering = NULL;
	node_unlock(node);
	while (list) {
		struct lingering *l = list;
		list = l->next;
		node_lock(node);
		bool ended = ended_locked(node, l);
		if (!ended) {
			l->next = node->lingering;
			node->lingering = l;
		}
		node_unlock(node);
		if (!ended)
			continue;
		publish_written(node, l->object);
		node_unref(node, l->object);
		free(l);
	}
}

void node_linger_end(struct node *node)
{
	while (node->lingering) {
		struct lingering *l = node->lingering;
		node->lingering = l->next;
		node_unref(node, l->object);
		free(l);
	}
}
