#include "engine/node/internal.h"

#include <string.h>
#include <unistd.h>

/*
 * Objects that only this node knows: made under a name, or to take the place
 * of a published one.  A draft is an unlinked file of the pool until it is
 * published (publish.c).
 */

/* What a new draft takes: room, and an id. */
static enum mc_status draft_begin(struct node *node, uint64_t *id)
{
	enum mc_status status = node_make_room(node, 0);

	if (status)
		return status;
	node_lock(node);
	*id = node_new_id_locked(node);
	node_unlock(node);
	if (*id == 0)
		return client_connected(node->client) ? MC_AGAIN : MC_READ_ONLY;
	return MC_OK;
}

static enum mc_status draft_open(struct node *node, uint64_t *id, int *fd)
{
	enum mc_status status = draft_begin(node, id);

	if (!status)
		status = pool_draft(node->pool, fd);
	if (!status)
		pool_mark(node->pool, *id, *fd);
	return status;
}

/* A record for a draft: two references, the creator's and the pool's. */
static struct object *draft_new_locked(struct node *node, uint64_t id, int fd, uint32_t mode,
				       uint32_t uid, uint32_t gid)
{
	struct object *object = object_new(&node->objects, id);

	if (!object)
		return NULL;
	object_ref(object);
	object->flags = OBJECT_LOCAL | OBJECT_DIRTY;
	object->draft_fd = fd;
	object->attr.mode = mode;
	object->attr.uid = uid;
	object->attr.gid = gid;
	object->attr.nlink = 1;
	object->attr.atime = object->attr.mtime = object->attr.ctime = clock_real();
	return object;
}

static void opened_for_writing_locked(struct node *node, struct object *object)
{
	object->opens++;
	object->writers++;
	node->writers++;
	sieve_remove_locked(node, object);
}

static void reserve_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct op *op = context;
	struct node *node = op->node;

	(void)body;
	(void)resent;
	if (status) {
		node_lock(node);
		object_unname(&node->objects, op->object);
		op->object->flags |= OBJECT_REMOVED;
		node_unlock(node);
		if (status == MC_TIMEOUT) /* it may be reserved all the same */
			node_unreserve(node, op->stamp, op->name, op->object->attr.id);
		node_release(node, op->object, true);
	} else {
		node_lock(node);
		op->object->flags |= OBJECT_RESERVED;
		node_unlock(node);
	}
	op_end(op, node_change_status(status), status ? NULL : op->object);
}

static void draft_reserve(struct op *op, uint64_t parent)
{
	struct writer w;

	op->stamp = parent;
	writer_init(&w);
	put_u64(&w, parent);
	put_string(&w, op->name, strlen(op->name));
	put_u64(&w, op->object->attr.id);
	node_ask(op->node, MC_VERB_RESERVE, &w, reserve_reply, op);
}

/* Enter the draft under its name.  MC_EXISTS: *object is what was there. */
static enum mc_status create_locked(struct node *node, const struct node_create *create,
				    uint64_t id, int fd, struct object **object)
{
	struct object *parent = object_find(&node->objects, create->parent);

	if (!parent || object_is(parent, OBJECT_REMOVED))
		return MC_NOT_FOUND;
	struct object *there =
		object_lookup(&node->objects, create->parent, create->name, strlen(create->name));
	if (there && node_known_locked(node, there)) {
		object_ref(there);
		*object = there;
		return MC_EXISTS;
	}
	struct object *draft =
		draft_new_locked(node, id, fd, create->mode, create->uid, create->gid);
	if (!draft)
		return MC_NO_MEMORY;
	enum mc_status status =
		object_name(&node->objects, draft, parent, create->name, strlen(create->name));
	if (status) {
		draft->draft_fd = -1; /* stays the caller's */
		draft->flags = 0;
		object_unref(&node->objects, draft);
		object_unref(&node->objects, draft);
		return status;
	}
	node_touch_locked(parent, 0);
	opened_for_writing_locked(node, draft);
	*object = draft;
	return MC_OK;
}

void node_create(struct node *node, const struct node_create *create, node_done_fn *done,
		 void *context)
{
	uint64_t id;
	int fd = create->file ? *create->file : -1;
	struct object *object = NULL;
	enum mc_status status = create->file ? draft_begin(node, &id) : draft_open(node, &id, &fd);

	if (!status) {
		node_lock(node);
		status = create_locked(node, create, id, fd, &object);
		node_unlock(node);
	}
	if (status && fd >= 0)
		close(fd);
	bool reserve = create->exclusive && !object_name_staging(create->name);
	if (status || !reserve) {
		done(context, status, object);
		node_unref(node, object);
		return;
	}
	struct op *op = op_new(node, object, NULL, create->name, NULL, done, context);
	node_unref(node, object);
	if (op)
		draft_reserve(op, create->parent);
}

void node_replacements_turn(struct node *node)
{
	uint64_t now = clock_ns(), timeout_ns = node->config.timeout_ms * 1000000ull;

	WITH_LOCK(&node->lock);
	struct object *draft = node->replacing;
	while (draft) {
		struct object *next = draft->newer;
		if (draft->opens == 0 && draft->known_ns + timeout_ns < now)
			node_removed_locked(node, draft);
		draft = next;
	}
}

/* A draft that this thread asked for and never opened; it comes back for one only. */
static void drop_unopened_locked(struct node *node, const struct object *object, int32_t tid)
{
	struct object *draft = node_replacement_locked(node, object, tid);

	if (draft && draft->opens == 0)
		node_removed_locked(node, draft);
}

static enum mc_status replace_locked(struct node *node, struct object *object, struct object *draft,
				     int32_t tid)
{
	enum mc_status status = object_place(&node->objects, draft, object->parent, object->name,
					     strlen(object->name));
	if (status)
		return status;
	object_ref(object);
	draft->original = object;
	draft->writer_tid = tid;
	draft->known_ns = clock_ns();
	draft->newer = node->replacing;
	node->replacing = draft;
	return MC_OK;
}

/* Give the draft the bytes of the object, which peers or readers here go on reading. */
static enum mc_status copy_object(struct node *node, struct object *object, uint64_t id, int to)
{
	int fd;
	enum mc_status status = node_descriptor(node, object, false, &fd);

	if (status)
		return status;
	CLEANUP_FD int from = fd;
	status = node_make_room(node, object->attr.allocated);
	if (!status)
		status = node_copy_file(from, to, object->attr.size);
	pool_mark(node->pool, id, to);
	return status;
}

enum mc_status node_replace(struct node *node, struct object *object, int32_t tid, bool copy)
{
	uint64_t id;
	int fd;
	enum mc_status status = draft_open(node, &id, &fd);

	if (!status && copy) {
		status = copy_object(node, object, id, fd);
		if (status)
			close(fd);
	}
	if (status)
		return status;
	WITH_LOCK(&node->lock);
	struct object *draft = NULL;
	drop_unopened_locked(node, object, tid);
	if (object_is(object, OBJECT_NAMED))
		draft = draft_new_locked(node, id, fd, object->attr.mode, object->attr.uid,
					 object->attr.gid);
	if (!draft) {
		close(fd);
		return object_is(object, OBJECT_NAMED) ? MC_NO_MEMORY : MC_NOT_FOUND;
	}
	if (copy)
		draft->flags &= ~(uint32_t)OBJECT_DIRTY;
	status = replace_locked(node, object, draft, tid);
	if (status)
		node_discard_locked(node, draft);
	object_unref(&node->objects, draft); /* the pool's reference keeps it */
	return status;
}
