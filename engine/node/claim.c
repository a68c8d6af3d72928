#include "engine/node/internal.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/node/shelf.h"

/*
 * Published objects that are written in place, so that nobody takes their files
 * off the shelf meanwhile (shelf.h), nor after it while what was written is not
 * published.
 */
struct claim {
	struct claim *next;
	struct object *object; /* which its flag says that there is one */
	int fd;
};

/* Whoever looks at a file that has writers holds it for a moment only. */
#define CLAIM_TRIES 100u

enum mc_status node_claim_locked(struct node *node, struct object *object)
{
	unsigned tries = object->writers > 0 ? CLAIM_TRIES : 1;
	enum mc_status status = MC_BUSY;

	if (object_is(object, OBJECT_CLAIMED))
		return MC_OK;
	struct claim *claim = malloc(sizeof(*claim));
	if (!claim)
		return MC_NO_MEMORY;
	*claim = (struct claim){.next = node->claims, .object = object};
	for (unsigned i = 0; i < tries && status == MC_BUSY; i++) {
		if (i > 0)
			sched_yield();
		status = shelf_claim(node->pool, object->attr.id, &claim->fd);
	}
	if (status) {
		free(claim);
		return status;
	}
	node->claims = claim;
	object->flags |= OBJECT_CLAIMED;
	return MC_OK;
}

void node_claim_end_locked(struct node *node, struct object *object)
{
	struct claim **at = &node->claims;

	if (!object_is(object, OBJECT_CLAIMED))
		return;
	while ((*at)->object != object)
		at = &(*at)->next;
	struct claim *claim = *at;
	*at = claim->next;
	object->flags &= ~(uint32_t)OBJECT_CLAIMED;
	close(claim->fd);
	free(claim);
}

void node_claim_settle_locked(struct node *node, struct object *object)
{
	if (object->writers == 0 && !(object->flags & (OBJECT_DIRTY | OBJECT_PUBLISHING)))
		node_claim_end_locked(node, object);
}

void node_claims_end(struct node *node)
{
	while (node->claims)
		node_claim_end_locked(node, node->claims->object);
}
