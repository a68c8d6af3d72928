#include "engine/node/internal.h"

#include <stdlib.h>

/*
 * A replaced object is served a little longer: who looked its name up just
 * before gets that version whole, instead of nothing.
 */
#define CONDEMN_GRACE_NS 400000000ull

struct condemned {
	struct condemned *next;
	struct object *object; /* counted */
	uint64_t version;
	uint64_t since_ns;
};

void node_condemn_locked(struct node *node, struct object *object)
{
	struct condemned *c = malloc(sizeof(*c));

	if (!c || !object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED)) {
		free(c);
		node_discard_locked(node, object);
		return;
	}
	sieve_remove_locked(node, object);
	object_ref(object);
	*c = (struct condemned){.object = object, .version = object->attr.version};
	c->since_ns = clock_ns();
	*node->condemned_last = c;
	node->condemned_last = &c->next;
}

bool node_condemned_turn(struct node *node, bool all)
{
	WITH_LOCK(&node->lock);
	uint64_t now = clock_ns();
	struct condemned *c;

	while ((c = node->condemned) && (all || now - c->since_ns > CONDEMN_GRACE_NS)) {
		node->condemned = c->next;
		if (!c->next)
			node->condemned_last = &node->condemned;
		if (c->object->attr.version == c->version)
			node_discard_locked(node, c->object);
		if (!c->object->user)
			node_forget_locked(node, c->object);
		object_unref(&node->objects, c->object);
		free(c);
	}
	return node->condemned != NULL;
}
