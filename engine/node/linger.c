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

/* Whether nobody can write to it any more.  If all of it is published, its file says so. */
static bool rests_locked(struct node *node, const struct object *object)
{
	if (object->flags & (OBJECT_DIRTY | OBJECT_PUBLISHING | OBJECT_DOUBT))
		return pool_unwritten(node->pool, object->attr.id);
	return pool_rest(node->pool, object->attr.id, object->attr.version);
}

void node_linger_locked(struct node *node, struct object *object)
{
	if (!object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED) ||
	    (object->flags & (OBJECT_REMOVED | OBJECT_LINGERING)) || rests_locked(node, object))
		return;
	struct lingering *lingering = malloc(sizeof(*lingering));
	if (!lingering)
		return;
	object_ref(object);
	*lingering = (struct lingering){.next = node->lingering, .object = object};
	lingering->since_ns = clock_ns();
	object->flags |= OBJECT_LINGERING;
	node->lingering = lingering;
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
	if (op->object->writers == 0)
		node_linger_locked(node, op->object);
	node_claim_settle_locked(node, op->object);
	if (op->object->opens == 0)
		sieve_add_locked(node, op->object);
	node_unlock(node);
	op_free(op);
}

void node_linger_turn(struct node *node)
{
	struct lingering *gone = NULL;

	node_lock(node);
	for (struct lingering **at = &node->lingering; *at;) {
		struct lingering *l = *at;
		if (object_is(l->object, OBJECT_LOCAL) && l->object->writers == 0 &&
		    !pool_unwritten(node->pool, l->object->attr.id)) {
			at = &l->next;
			continue;
		}
		*at = l->next;
		l->next = gone;
		gone = l;
		l->object->flags &= ~(uint32_t)OBJECT_LINGERING;
		/* A write to a page that was writable already leaves no mark. */
		if (object_is(l->object, OBJECT_LOCAL) &&
		    clock_ns() - l->since_ns > LINGER_CLOSE_NS)
			l->object->flags |= OBJECT_DIRTY;
	}
	node_unlock(node);
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
	while (node->lingering) {
		struct lingering *l = node->lingering;
		node->lingering = l->next;
		node_unref(node, l->object);
		free(l);
	}
}
