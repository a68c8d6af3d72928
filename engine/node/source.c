#include "engine/node/internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * The owner's side of a pull.  An object that somebody here has open for
 * writing is served from a copy that is checked: made between two looks at the
 * file's mark, so that no torn read leaves the node.  Nor does what was changed in
 * place and could not be published, before it is.
 */

/* A look at the attributes moves the mark: what it saw stands in DIRTY. */
static bool unchanged(struct node *node, const struct source_hold *hold)
{
	const struct object *object = hold->object;
	struct stat st;

	WITH_LOCK(&node->lock);
	return pool_stat(node->pool, hold->attr.id, -1, &st) == MC_OK && pool_marked(&st) &&
	       (uint64_t)st.st_size == hold->attr.size && !object_is(object, OBJECT_DIRTY) &&
	       !object_is(object, OBJECT_PUBLISHING) && object->attr.version == hold->attr.version;
}

static enum mc_status snapshot(struct node *node, struct source_hold *hold)
{
	int fd;
	enum mc_status status;

	if (!unchanged(node, hold))
		return MC_AGAIN; /* changed since it was published; the next publish is not far */
	status = node_make_room(node, hold->attr.size);
	if (!status)
		status = pool_draft(node->pool, &fd);
	if (status)
		return status;
	CLEANUP_FD int copy = fd;
	status = node_copy_file(hold->fd, copy, hold->attr.size);
	if (!status && !unchanged(node, hold))
		status = MC_AGAIN;
	if (status)
		return status;
	close(hold->fd);
	hold->fd = STEAL_FD(copy);
	counter_add(&node->counters, COUNTER_SNAPSHOTS, 1);
	return MC_OK;
}

/* Nobody writes it, by a handle or by a map. */
static bool rests(const struct object *object)
{
	return object_is(object, OBJECT_LISTED) && !object_is(object, OBJECT_LINGERING);
}

enum mc_status source_hold(void *context, uint64_t id, uint64_t version, struct source_hold *hold)
{
	struct node *node = context;

	if (!hold->ahead)
		node_busy(node);
	node_lock(node);
	struct object *object = object_find(&node->objects, id);
	enum mc_status status = MC_OK;
	/* The master may have told of a publish before its answer has reached us. */
	if (object && (object_is(object, OBJECT_PUBLISHING) || (hold->ahead && !rests(object))))
		status = MC_AGAIN;
	else if (!object || !object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED) ||
		 object_is(object, OBJECT_DIRECTORY))
		status = MC_NOT_FOUND;
	else if (version != 0 && object->attr.version != version)
		status = MC_STALE;
	if (status) {
		node_unlock(node);
		return status;
	}
	object_ref(object);
	object->loans++;
	if (!hold->ahead)
		object->flags |= OBJECT_VISITED;
	/* Just closed, or mapped for writing still: the janitor may not have looked yet. */
	bool written = object->writers > 0 || object_is(object, OBJECT_DIRTY);
	bool lingering = object_is(object, OBJECT_LINGERING);
	hold->attr = object->attr;
	hold->object = object;
	hold->fd = -1;
	status = pool_object(node->pool, id, O_RDONLY, &hold->fd);
	node_unlock(node);
	if (!status && lingering)
		written = written || !pool_unwritten_file(hold->fd);
	if (!status && written)
		status = snapshot(node, hold);
	if (status)
		source_release(node, hold);
	return status;
}

void source_release(void *context, struct source_hold *hold)
{
	struct node *node = context;
	struct object *object = hold->object;

	if (hold->fd >= 0)
		close(hold->fd);
	WITH_LOCK(&node->lock);
	MUST(object->loans > 0);
	object->loans--;
	object_unref(&node->objects, object);
}

int source_shelf(void *context)
{
	const struct node *node = context;

	return pool_objects(node->pool);
}

void source_used(void *context, uint64_t id)
{
	struct node *node = context;

	WITH_LOCK(&node->lock);
	struct object *object = object_find(&node->objects, id);
	if (object && object_is(object, OBJECT_LOCAL))
		object->flags |= OBJECT_VISITED;
}
