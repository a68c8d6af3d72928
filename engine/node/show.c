#include "engine/node/internal.h"

/*
 * Objects at rest, which peers may ask for, are told to the transport that can get
 * ready for that.  At rest is what stands in a list of the eviction: it is published,
 * and nobody has it open for writing.  Whatever takes it off the list (a writer, its
 * end) hides it first.  The janitor tells, so that no put or get wakes anybody for it.
 */

void node_rests_locked(struct node *node, const struct object *object)
{
	if (node->showing)
		node->resting[node->resting_count++ % NODE_RESTING_MAX] = object->attr.id;
}

void node_hide_locked(struct node *node, struct object *object)
{
	if (!object_is(object, OBJECT_SHOWN))
		return;
	object->flags &= ~(uint32_t)OBJECT_SHOWN;
	if (node->showing)
		node->showing->ops->hide(node->showing, object->attr.id);
}

/* Some peer would come for it this way. */
static bool asked_for_locked(const struct node *node)
{
	for (uint32_t i = 0; i < node->node_count; i++) {
		const struct mc_node *peer = &node->nodes[i];
		struct node_reach reach;
		if (peer->id != node->id && peer->alive &&
		    node_reach_locked(node, peer, 0, &reach) && reach.transport == node->showing)
			return true;
	}
	return false;
}

void node_show_turn(struct node *node)
{
	WITH_LOCK(&node->lock);
	uint32_t count =
		node->resting_count < NODE_RESTING_MAX ? node->resting_count : NODE_RESTING_MAX;
	bool asked = count > 0 && node->showing && asked_for_locked(node);

	for (uint32_t i = 0; asked && i < count; i++) {
		uint64_t id = node->resting[(node->resting_count - count + i) % NODE_RESTING_MAX];
		struct object *object = object_find(&node->objects, id);
		if (!object || !object_is(object, OBJECT_LISTED) ||
		    (object->flags & (OBJECT_SHOWN | OBJECT_LINGERING)))
			continue;
		object->flags |= OBJECT_SHOWN;
		node->showing->ops->show(node->showing, id);
	}
	node->resting_count = 0;
}

void node_show_clear(struct node *node)
{
	node_lock(node);
	struct transport *showing = node->showing;
	node_unlock(node);
	if (showing)
		showing->ops->clear(showing);
}
