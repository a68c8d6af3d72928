#include "engine/node/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

static bool time_before(struct mc_time a, struct mc_time b)
{
	return a.s < b.s || (a.s == b.s && a.ns < b.ns);
}

void node_sync_locked(struct node *node, struct object *object)
{
	struct stat st;

	if (!object_is(object, OBJECT_LOCAL) || object_is(object, OBJECT_DIRECTORY))
		return;
	if (object_is(object, OBJECT_PUBLISHED) && object->writers == 0)
		return;
	if (pool_stat(node->pool, object->attr.id, object->draft_fd, &st))
		return;
	object->attr.size = (uint64_t)st.st_size;
	object->attr.allocated = (uint64_t)st.st_blocks * 512;
	if (pool_marked(&st))
		return;
	object->flags |= OBJECT_DIRTY;
	object->attr.mtime = (struct mc_time){st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec};
	if (time_before(object->attr.ctime, object->attr.mtime))
		object->attr.ctime = object->attr.mtime;
	if (object_is(object, OBJECT_PUBLISHED))
		pool_mark_unrecorded(node->pool, object->attr.id);
	else
		pool_mark(node->pool, object->attr.id, object->draft_fd);
	/* What was written between the look and the mark counts as seen: see it. */
	if (pool_stat(node->pool, object->attr.id, object->draft_fd, &st))
		return;
	object->attr.size = (uint64_t)st.st_size;
	object->attr.allocated = (uint64_t)st.st_blocks * 512;
}

/* A draft, or an object that lost its name: the master has no word in its attributes. */
static bool ours_alone_locked(const struct object *object)
{
	return !object_is(object, OBJECT_PUBLISHED) || object_is(object, OBJECT_REMOVED);
}

static void apply_locked(struct object *object, uint32_t mask, const struct mc_attr *attr)
{
	if (mask & MC_SET_MODE)
		object->attr.mode = (object->attr.mode & S_IFMT) | (attr->mode & 07777u);
	if (mask & MC_SET_UID)
		object->attr.uid = attr->uid;
	if (mask & MC_SET_GID)
		object->attr.gid = attr->gid;
	if (mask & MC_SET_ATIME)
		object->attr.atime = attr->atime;
	if (mask & MC_SET_MTIME)
		object->attr.mtime = attr->mtime;
	object->attr.ctime = mask & MC_SET_CTIME ? attr->ctime : clock_real();
	if (mask & MC_SET_REPLICAS)
		object->attr.flags = (object->attr.flags & ~(uint32_t)MC_ATTR_REPLICAS) |
				     (attr->flags & MC_ATTR_REPLICAS);
	if (mask & MC_SET_PINNED)
		object->attr.flags = (object->attr.flags & ~(uint32_t)MC_ATTR_PINNED) |
				     (attr->flags & MC_ATTR_PINNED);
}

/* The attributes that an answer tells. */
static enum mc_status answer_attr(enum mc_status status, struct reader *body, struct mc_attr *attr)
{
	if (status)
		return status;
	get_attr(body, attr);
	return body->failed ? MC_PROTOCOL : MC_OK;
}

static void setattr_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct op *op = context;
	struct node *node = op->node;
	struct object *object = op->object;
	struct mc_attr attr;

	(void)resent;
	status = answer_attr(status, body, &attr);
	if (!status) {
		node_lock(node);
		attr.size = object->attr.size;
		attr.allocated = object->attr.allocated;
		attr.version = object->attr.version;
		apply_locked(object, op->flags | MC_SET_CTIME, &attr);
		bool local = object_is(object, OBJECT_LOCAL);
		node_unlock(node);
		if (local)
			node_rewrite_record(node, object);
	}
	op_end(op, node_change_status(status), object);
}

void node_setattr(struct node *node, struct object *object, uint32_t mask,
		  const struct mc_attr *attr, node_done_fn *done, void *context)
{
	struct writer w;

	node_lock(node);
	node_sync_locked(node, object);
	bool alone = ours_alone_locked(object);
	if (alone)
		apply_locked(object, mask, attr);
	node_unlock(node);
	if (alone || mask == 0) {
		done(context, MC_OK, object);
		return;
	}
	struct op *op = op_new(node, object, NULL, NULL, NULL, done, context);
	if (!op)
		return;
	op->flags = mask;
	writer_init(&w);
	put_u64(&w, object->attr.id);
	put_u32(&w, mask);
	put_attr(&w, attr);
	node_ask(node, MC_VERB_SETATTR, &w, setattr_reply, op);
}

static void truncated(void *context, enum mc_status status, struct object *object)
{
	struct op *op = context;

	node_release(op->node, op->object, true);
	op_end(op, status, object);
}

static void truncate_opened(void *context, enum mc_status status, struct object *object)
{
	struct op *op = context;
	struct node *node = op->node;
	int fd;

	if (status) {
		op_end(op, status, NULL);
		return;
	}
	status = node_descriptor(node, object, true, &fd);
	if (!status) {
		if (ftruncate(fd, (off_t)op->stamp) < 0)
			status = mc_status_from_errno(errno);
		close(fd);
	}
	if (status) {
		node_release(node, object, true);
		op_end(op, status, NULL);
		return;
	}
	node_flush(node, object, truncated, op);
}

void node_truncate(struct node *node, struct object *object, uint64_t size, int32_t tid,
		   node_done_fn *done, void *context)
{
	struct op *op = op_new(node, object, NULL, NULL, NULL, done, context);

	if (!op)
		return;
	op->stamp = size;
	node_open_object(node, object, NODE_OPEN_WRITE, tid, truncate_opened, op);
}

/* -- extended attributes -- */

/* All user.* attributes of an object, as the reply of GETXATTRS has them. */
struct xattrs {
	uint32_t size;
	uint8_t bytes[]; /* count u16, count x {name string, value string} */
};

struct xattr_ask {
	struct node *node;
	struct object *object; /* counted */
	node_xattr_fn *done;
	void *context;
	char name[MC_XATTR_NAME_MAX + 1]; /* "": list */
};

static void answer_value(struct xattr_ask *ask, struct reader *r)
{
	uint16_t count = get_u16(r);

	for (uint16_t i = 0; i < count; i++) {
		size_t name_size, value_size;
		const char *name = get_string(r, &name_size);
		const char *value = get_string(r, &value_size);
		if (r->failed)
			break;
		if (name_size == strlen(ask->name) && memcmp(name, ask->name, name_size) == 0) {
			ask->done(ask->context, MC_OK, value, value_size);
			return;
		}
	}
	ask->done(ask->context, MC_NO_DATA, NULL, 0);
}

static void answer_names(struct xattr_ask *ask, struct reader *r)
{
	struct writer w;
	uint16_t count = get_u16(r);

	writer_init(&w);
	for (uint16_t i = 0; i < count; i++) {
		size_t name_size, value_size;
		const char *name = get_string(r, &name_size);
		(void)get_string(r, &value_size);
		if (r->failed)
			break;
		put_bytes(&w, name, name_size);
		put_u8(&w, 0);
	}
	ask->done(ask->context, w.failed ? MC_NO_MEMORY : MC_OK, w.data, w.size);
	writer_fini(&w);
}

static void xattr_answer(struct xattr_ask *ask, const void *bytes, size_t size)
{
	struct reader r;

	reader_init(&r, bytes, size);
	if (ask->name[0])
		answer_value(ask, &r);
	else
		answer_names(ask, &r);
}

static struct xattrs *xattrs_copy(const void *bytes, size_t size)
{
	struct xattrs *xattrs = malloc(sizeof(*xattrs) + size);

	if (xattrs) {
		xattrs->size = (uint32_t)size;
		memcpy(xattrs->bytes, bytes, size);
	}
	return xattrs;
}

uint8_t *node_xattrs_copy_locked(const struct object *object, size_t *size)
{
	struct xattrs *xattrs = object->xattrs;
	uint8_t *bytes = xattrs ? malloc(xattrs->size) : NULL;

	if (bytes) {
		memcpy(bytes, xattrs->bytes, xattrs->size);
		*size = xattrs->size;
	}
	return bytes;
}

bool node_xattr_text_locked(const struct object *object, const char *name, char *text, size_t size)
{
	struct reader r;

	if (!object->xattrs)
		return false;
	reader_init(&r, object->xattrs->bytes, object->xattrs->size);
	for (uint16_t count = get_u16(&r); count > 0; count--) {
		size_t name_size, value_size;
		const char *has = get_string(&r, &name_size);
		const char *value = get_string(&r, &value_size);
		if (r.failed)
			return false;
		if (name_size != strlen(name) || memcmp(has, name, name_size) != 0)
			continue;
		size_t length = value_size < size - 1 ? value_size : size - 1;
		memcpy(text, value, length);
		text[length] = '\0';
		return true;
	}
	return false;
}

static void getxattrs_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct xattr_ask *ask = context;

	(void)resent;
	if (status) {
		ask->done(ask->context, status, NULL, 0);
	} else {
		node_lock(ask->node);
		free(ask->object->xattrs);
		ask->object->xattrs = xattrs_copy(body->data, body->size);
		node_unlock(ask->node);
		xattr_answer(ask, body->data, body->size);
	}
	node_unref(ask->node, ask->object);
	free(ask);
}

static void xattr_find(struct node *node, struct object *object, const char *name,
		       node_xattr_fn *done, void *context)
{
	static const uint8_t none[2];
	struct xattr_ask *ask = calloc(1, sizeof(*ask));
	struct writer w;

	if (!ask || strlen(name) > MC_XATTR_NAME_MAX) {
		free(ask);
		done(context, ask ? MC_INVALID : MC_NO_MEMORY, NULL, 0);
		return;
	}
	*ask = (struct xattr_ask){.node = node, .object = object, .done = done, .context = context};
	strcpy(ask->name, name);
	node_lock(node);
	bool alone = ours_alone_locked(object);
	bool valid = alone || node_known_locked(node, object);
	struct xattrs *known = NULL;
	if (valid && object->xattrs)
		known = xattrs_copy(object->xattrs->bytes, object->xattrs->size);
	bool absent = !known && valid && (alone || !(object->attr.flags & MC_ATTR_XATTRS));
	if (!known && !absent)
		object_ref(object);
	node_unlock(node);
	if (known || absent) {
		xattr_answer(ask, known ? known->bytes : none, known ? known->size : sizeof(none));
		free(known);
		free(ask);
		return;
	}
	writer_init(&w);
	put_u64(&w, object->attr.id);
	node_ask(node, MC_VERB_GETXATTRS, &w, getxattrs_reply, ask);
}

void node_getxattr(struct node *node, struct object *object, const char *name, node_xattr_fn *done,
		   void *context)
{
	xattr_find(node, object, name, done, context);
}

void node_listxattr(struct node *node, struct object *object, node_xattr_fn *done, void *context)
{
	xattr_find(node, object, "", done, context);
}

/* The attributes of a draft are kept here until it is published. */
static enum mc_status draft_setxattr_locked(struct object *object, const char *name,
					    const void *value, size_t size, int flags)
{
	static const uint8_t none[2];
	struct reader r;
	struct writer w;
	uint16_t kept = 0;
	bool found = false;

	reader_init(&r, object->xattrs ? object->xattrs->bytes : none,
		    object->xattrs ? object->xattrs->size : sizeof(none));
	writer_init(&w);
	put_u16(&w, 0);
	for (uint16_t count = get_u16(&r); count > 0; count--) {
		size_t name_size, value_size;
		const char *old = get_string(&r, &name_size);
		const char *old_value = get_string(&r, &value_size);
		if (name_size == strlen(name) && memcmp(old, name, name_size) == 0) {
			found = true;
			continue;
		}
		put_string(&w, old, name_size);
		put_string(&w, old_value, value_size);
		kept++;
	}
	enum mc_status status = MC_OK;
	if (found && value && (flags & XATTR_CREATE))
		status = MC_EXISTS;
	else if (!found && (!value || (flags & XATTR_REPLACE)))
		status = MC_NO_DATA;
	if (!status && value) {
		put_string(&w, name, strlen(name));
		put_string(&w, value, size);
		kept++;
	}
	patch_u16(&w, 0, kept);
	if (!status && (w.failed || w.size > MC_XATTR_TOTAL_MAX))
		status = w.failed ? MC_NO_MEMORY : MC_NO_SPACE;
	struct xattrs *xattrs = status ? NULL : xattrs_copy(w.data, w.size);
	writer_fini(&w);
	if (status)
		return status;
	if (!xattrs)
		return MC_NO_MEMORY;
	free(object->xattrs);
	object->xattrs = xattrs;
	object->attr.ctime = clock_real();
	return MC_OK;
}

static void setxattr_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct op *op = context;
	struct node *node = op->node;
	struct mc_attr attr;

	(void)resent;
	status = answer_attr(status, body, &attr);
	if (!status) {
		node_lock(node);
		op->object->attr.flags = attr.flags;
		op->object->attr.ctime = attr.ctime;
		free(op->object->xattrs);
		op->object->xattrs = NULL;
		node_unlock(node);
	}
	op_end(op, node_change_status(status), op->object);
}

void node_setxattr(struct node *node, struct object *object, const char *name, const void *value,
		   size_t size, int flags, node_done_fn *done, void *context)
{
	struct writer w;

	node_lock(node);
	bool alone = ours_alone_locked(object);
	enum mc_status status = MC_OK;
	if (alone)
		status = draft_setxattr_locked(object, name, value, size, flags);
	node_unlock(node);
	if (alone) {
		done(context, status, object);
		return;
	}
	struct op *op = op_new(node, object, NULL, NULL, NULL, done, context);
	if (!op)
		return;
	writer_init(&w);
	put_u64(&w, object->attr.id);
	put_string(&w, name, strlen(name));
	if (value) {
		put_u32(&w, (uint32_t)flags);
		put_string(&w, value, size);
	}
	node_ask(node, value ? MC_VERB_SETXATTR : MC_VERB_REMOVEXATTR, &w, setxattr_reply, op);
}
