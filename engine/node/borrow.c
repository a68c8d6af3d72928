#include "engine/node/internal.h"

#include <stdlib.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/node/shelf.h"

/* A peer's file in the place of one of our own, while the object is open. */
struct borrow {
	struct transport *transport;
	void *loan;
	int fd;
};

enum mc_status node_borrow_locked(struct node *node, struct object *object,
				  struct transport *transport, int fd, void *loan)
{
	struct borrow *borrow = malloc(sizeof(*borrow));

	(void)node;
	if (!borrow)
		return MC_NO_MEMORY;
	MUST(!object->borrow);
	*borrow = (struct borrow){.transport = transport, .loan = loan, .fd = fd};
	object->borrow = borrow;
	return MC_OK;
}

int node_borrowed_locked(const struct object *object)
{
	return object->borrow->fd;
}

static void give_back(struct borrow *borrow)
{
	close(borrow->fd);
	borrow->transport->ops->give_back(borrow->transport, borrow->loan);
	free(borrow);
}

void node_borrow_end_locked(struct node *node, struct object *object)
{
	struct borrow *borrow = STEAL(object->borrow);

	node->events.let_go(node->events.context, object);
	give_back(borrow);
}

void node_borrows_end(struct node *node)
{
	WITH_LOCK(&node->lock);
	for (uint32_t i = 0; i < node->objects.size; i++) {
		for (struct object *o = node->objects.by_id[i]; o; o = o->next_by_id) {
			if (o->borrow)
				give_back(STEAL(o->borrow));
		}
	}
}

/* The best way to any node that has it. */
static bool reach_locked(const struct node *node, const struct object *object,
			 struct node_reach *best)
{
	*best = (struct node_reach){0};
	for (uint32_t i = 0; i < object->replica_count; i++) {
		for (uint32_t n = 0; n < node->node_count; n++) {
			const struct mc_node *peer = &node->nodes[n];
			struct node_reach reach;
			if (peer->id != object->replicas[i].node || peer->id == node->id ||
			    !peer->alive || !node_reach_locked(node, peer, 0, &reach))
				continue;
			if (reach.score > best->score)
				*best = reach;
		}
	}
	return best->transport && best->transport->ops->take;
}

static bool takable_locked(const struct object *object)
{
	return !object->pull && !object->borrow &&
	       !(object->flags & (OBJECT_LOCAL | OBJECT_REMOVED));
}

bool node_borrow_take(struct node *node, struct object *object)
{
	struct node_reach reach;
	char name[POOL_NAME_SIZE];
	void *loan;
	int fd;

	node_lock(node);
	bool try = takable_locked(object) && !node->stopping && reach_locked(node, object, &reach);
	struct mc_attr attr = object->attr;
	node_unlock(node);
	if (!try)
		return false;
	pool_name(attr.id, name);
	struct transport *transport = reach.transport;
	if (transport->ops->take(transport, reach.endpoint, name, attr.id, &fd, &loan))
		return false;
	bool taken = shelf_holds(node->pool, fd, &attr);
	if (taken) {
		WITH_LOCK(&node->lock);
		taken = takable_locked(object) && object->attr.version == attr.version &&
			node_borrow_locked(node, object, transport, fd, loan) == MC_OK;
		if (taken)
			node_opened_locked(node, object, 0);
	}
	if (!taken) {
		close(fd);
		transport->ops->give_back(transport, loan);
		return false;
	}
	counter_add(&node->counters, COUNTER_PULLS_SHM, 1);
	counter_add(&node->counters, COUNTER_TAKEN, 1);
	return true;
}
