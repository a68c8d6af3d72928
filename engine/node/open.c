/* Opening an object: at once, after its bytes have come, or as a draft of a new version. */
#include "engine/node/internal.h"

#include <errno.h>
#include <unistd.h>

enum open_way { OPEN_DONE, OPEN_PULL, OPEN_REPLACE };

static enum open_way open_locked(struct node *node, struct object *object, uint32_t flags,
				 enum mc_status *status)
{
	bool write = flags & NODE_OPEN_WRITE;
	bool published = object_is(object, OBJECT_PUBLISHED);

	*status = MC_OK;
	if (object->opens == 0)
		object->flags &= ~(uint32_t)OBJECT_BROKEN;
	if (object_is(object, OBJECT_DIRECTORY))
		*status = MC_IS_DIRECTORY;
	else if (object_is(object, OBJECT_BROKEN))
		*status = MC_IO;
	else if (write && published && node->config.immutable)
		*status = MC_EXISTS;
	if (*status)
		return OPEN_DONE;
	if ((flags & NODE_OPEN_TRUNCATE) && published)
		return OPEN_REPLACE;
	if (object_is(object, OBJECT_LOCAL)) {
		/* What a peer reads now is never changed under it. */
		if (write && published && object->loans > 0 && object->writers == 0)
			return OPEN_REPLACE;
		if (write && published)
			*status = node_claim_locked(node, object);
		if (*status == MC_BUSY) {
			*status = MC_OK;
			return OPEN_REPLACE;
		}
		if (!*status && (flags & NODE_OPEN_TRUNCATE) && object->draft_fd >= 0 &&
		    ftruncate(object->draft_fd, 0) < 0)
			*status = mc_status_from_errno(errno);
		if (!*status)
			node_opened_locked(node, object, flags);
		return OPEN_DONE;
	}
	if (object_is(object, OBJECT_REMOVED)) {
		*status = MC_STALE; /* perhaps its name means another one by now */
		return OPEN_DONE;
	}
	if (flags & NODE_OPEN_COPY) {
		*status = object->borrow ? MC_BUSY : MC_OK;
		return *status ? OPEN_DONE : OPEN_PULL;
	}
	if (!write && (object->borrow || node_arriving_locked(node, object))) {
		node_opened_locked(node, object, flags);
		return OPEN_DONE;
	}
	/* Readers have a peer's file: a writer gets a draft with the same bytes. */
	return write && object->borrow ? OPEN_REPLACE : OPEN_PULL;
}

void node_open_object(struct node *node, struct object *object, uint32_t flags, int32_t tid,
		      node_done_fn *done, void *context)
{
	enum mc_status status;

	if ((flags & NODE_OPEN_WRITE) && node_doubt_open(node, object, flags, tid, done, context))
		return;
	node_lock(node);
	enum open_way way = open_locked(node, object, flags, &status);
	node_unlock(node);
	switch (way) {
	case OPEN_DONE:
		done(context, status, status ? NULL : object);
		return;
	case OPEN_REPLACE:
		status = node_replace(node, object, tid, !(flags & NODE_OPEN_TRUNCATE));
		done(context, status ? status : MC_STALE, NULL);
		return;
	case OPEN_PULL:
		break;
	}
	if (!(flags & (NODE_OPEN_WRITE | NODE_OPEN_COPY)) && node_borrow_take(node, object)) {
		done(context, MC_OK, object);
		return;
	}
	struct op *op = op_new(node, object, NULL, NULL, NULL, done, context);
	if (!op)
		return;
	op->flags = flags;
	op->stamp = (uint64_t)tid;
	node_pull_wait(op);
}
