#include "engine/node/internal.h"

#include <stdlib.h>
#include <string.h>

/* What closing a file does: publish what changed, and let go of what nobody needs. */

#define ANY_CLOSE (OBJECT_DIRTY | OBJECT_PUBLISHING | OBJECT_DOUBT)

/* Publish what is in any of these states: dirty, being published, or in doubt. */
static void flush(struct node *node, struct object *object, uint32_t states, uint32_t flags,
		  node_done_fn *done, void *context)
{
	struct publish publish = {.object = object, .flags = flags};

	node_lock(node);
	if (!object_is(object, OBJECT_DIRTY))
		node_sync_locked(node, object);
	bool clean = !object_is(object, OBJECT_LOCAL) || object_is(object, OBJECT_REMOVED) ||
		     !object->parent || !(object->flags & states);
	if (!clean && !object_is(object, OBJECT_PUBLISHED))
		clean = object_name_staging(object->name);
	if (node_leaving_locked(node, object))
		publish.flags |= MC_PUBLISH_STANDING;
	enum mc_status lost = object->lost;
	publish.parent = object->parent;
	publish.name = clean ? NULL : strdup(object->name);
	if (!clean)
		object_ref(publish.parent);
	node_unlock(node);
	if (clean) {
		done(context, lost, object);
		return;
	}
	if (publish.name)
		node_publish(node, &publish, done, context);
	else
		done(context, MC_NO_MEMORY, NULL);
	node_unref(node, publish.parent);
	free((char *)publish.name);
}

/*
 * Who closes what another close is publishing, or left in doubt, hears how that ended,
 * and of what another could not publish, that it was lost: this may be the descriptor
 * that was written to.
 */
void node_flush(struct node *node, struct object *object, node_done_fn *done, void *context)
{
	flush(node, object, ANY_CLOSE, 0, done, context);
}

void node_flush_left(struct node *node, struct object *object, node_done_fn *done, void *context)
{
	flush(node, object, ANY_CLOSE, MC_PUBLISH_STANDING, done, context);
}

/* A draft under a final name that could not be published goes with its last handle. */
static bool abandoned_locked(const struct object *object)
{
	if (object_is(object, OBJECT_PUBLISHED) || !object_is(object, OBJECT_LOCAL))
		return false;
	if (object_is(object, OBJECT_REMOVED))
		return true;
	return !object_is(object, OBJECT_PUBLISHING) && object->parent &&
	       !object_name_staging(object->name);
}

static void release_last_locked(struct node *node, struct object *object)
{
	if (object->borrow)
		node_borrow_end_locked(node, object);
	if (abandoned_locked(object)) {
		if (object_is(object, OBJECT_NAMED)) {
			log_warn("a draft that could not be published is dropped name=\"%s\"",
				 object->name);
			node_lost_name_locked(node, object);
		}
		node_removed_locked(node, object);
	} else if (object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED)) {
		sieve_add_locked(node, object);
	}
}

static void release_counted(void *context, enum mc_status status, struct object *object)
{
	struct op *op = context;
	struct node *node = op->node;

	(void)status;
	object = op->object;
	node_lock(node);
	bool write = op->flags & NODE_OPEN_WRITE;
	MUST(object->opens > 0);
	object->opens--;
	bool reserved = false;
	char *name = NULL;
	uint64_t parent = 0;
	if (write) {
		MUST(object->writers > 0 && node->writers > 0);
		object->writers--;
		node->writers--;
		reserved = object->writers == 0 && object_is(object, OBJECT_RESERVED) &&
			   !object_is(object, OBJECT_PUBLISHED);
		if (reserved) {
			name = strdup(object->name);
			parent = object->parent->attr.id;
		}
		if (object->writers == 0) {
			node_linger_locked(node, object);
			node_claim_settle_locked(node, object);
		}
	}
	if (object->opens == 0)
		release_last_locked(node, object);
	node_unlock(node);
	if (reserved && name)
		node_unreserve(node, parent, name, object->attr.id);
	free(name);
	op_end(op, MC_OK, object);
}

void node_release(struct node *node, struct object *object, bool write)
{
	struct op *op = op_new(node, object, NULL, NULL, NULL, node_ignore_done, NULL);

	if (!op)
		return;
	op->flags = write ? NODE_OPEN_WRITE : 0;
	if (write)
		flush(node, object, OBJECT_DIRTY, 0, release_counted, op);
	else
		release_counted(op, MC_OK, object);
}
