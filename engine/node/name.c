#include "engine/node/internal.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/failpoint.h"

/* What was asked for may have been done or not. */
static void doubt_name(const struct op *op)
{
	WITH_LOCK(&op->node->lock);
	node_doubt_name_locked(op->node, op->object->attr.id, op->name);
}

/* -- mkdir -- */

static void mkdir_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct op *op = context;
	struct node *node = op->node;
	struct mc_entry entry = {0};
	struct object *object = NULL;

	(void)resent;
	if (!status) {
		get_attr(body, &entry.attr);
		if (body->failed)
			status = MC_PROTOCOL;
	}
	if (status == MC_TIMEOUT)
		doubt_name(op);
	if (!status) {
		node_lock(node);
		object = node_adopt_locked(node, op->object, op->name, strlen(op->name), &entry);
		if (object) {
			object_ref(object);
			grant_free(object->grant);
			object->grant = grant_read(body, node->session);
			node_note_name_locked(node, op->object, op->name);
			node_touch_locked(op->object, 1);
		} else {
			status = MC_NO_MEMORY;
		}
		node_unlock(node);
	}
	op_end(op, node_change_status(status), object);
	node_unref(node, object);
}

static struct object *find_directory(struct node *node, uint64_t id)
{
	WITH_LOCK(&node->lock);
	struct object *directory = object_find(&node->objects, id);
	if (directory)
		object_ref(directory);
	return directory;
}

void node_mkdir(struct node *node, const struct node_create *create, node_done_fn *done,
		void *context)
{
	struct object *parent = find_directory(node, create->parent);
	struct writer w;

	if (!parent) {
		done(context, MC_NOT_FOUND, NULL);
		return;
	}
	node_lock(node);
	struct object *there =
		object_lookup(&node->objects, create->parent, create->name, strlen(create->name));
	bool draft = there && !object_is(there, OBJECT_PUBLISHED);
	uint64_t id = node_new_id_locked(node);
	node_unlock(node);
	if (draft || id == 0) {
		node_unref(node, parent);
		done(context, draft ? MC_EXISTS : MC_READ_ONLY, NULL);
		return;
	}
	struct op *op = op_new(node, parent, NULL, create->name, NULL, done, context);
	node_unref(node, parent);
	if (!op)
		return;
	writer_init(&w);
	put_u64(&w, create->parent);
	put_string(&w, create->name, strlen(create->name));
	put_u64(&w, id);
	put_u32(&w, create->mode);
	put_u32(&w, create->uid);
	put_u32(&w, create->gid);
	node_ask(node, MC_VERB_MKDIR, &w, mkdir_reply, op);
}

/* -- unlink and rmdir -- */

void node_unreserve(struct node *node, uint64_t parent, const char *name, uint64_t id)
{
	struct writer w;

	writer_init(&w);
	put_u64(&w, parent);
	put_string(&w, name, strlen(name));
	put_u64(&w, id);
	node_ask(node, MC_VERB_UNRESERVE, &w, node_ignore_reply, NULL);
}

/* Drafts that were to replace an object that is removed go with it. */
static void remove_replacements_locked(struct node *node, const struct object *object)
{
	struct object *draft = node->replacing;

	while (draft) {
		struct object *next = draft->newer;
		if (draft->original == object)
			node_removed_locked(node, draft);
		draft = next;
	}
}

static void remove_locked(struct node *node, struct object *object)
{
	object_ref(object);
	remove_replacements_locked(node, object);
	node->events.let_go(node->events.context, object);
	node_removed_locked(node, object);
	object_unref(&node->objects, object);
}

/*
 * The master has taken the name from the object of this id, or from none (0).  What
 * had it here may be another, which was renamed meanwhile: that one lives on.
 */
static void unlinked_locked(struct op *op, uint64_t id)
{
	struct node *node = op->node;
	struct object *named =
		object_lookup(&node->objects, op->object->attr.id, op->name, strlen(op->name));
	struct object *gone = id ? object_find(&node->objects, id) : NULL;

	if (named && named != gone && object_is(named, OBJECT_PUBLISHED))
		node_forget_name_locked(node, named);
	if (gone && !(gone->flags & (OBJECT_DIRECTORY | OBJECT_DOUBT)))
		remove_locked(node, gone);
}

static void unlink_end(struct op *op, enum mc_status status, uint64_t id)
{
	struct node *node = op->node;

	node_lock(node);
	if (op->other)
		op->other->leaving--;
	if (status == MC_TIMEOUT)
		node_doubt_name_locked(node, op->object->attr.id, op->name);
	if (status == MC_OK || status == MC_NOT_FOUND)
		unlinked_locked(op, id);
	if (status == MC_OK)
		node_touch_locked(op->object, 0);
	node_unlock(node);
	failpoint("remove.done");
	op_end(op, node_change_status(status), NULL);
}

static void unlink_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	uint64_t id = 0;

	(void)resent;
	failpoint("remove.answered");
	status = read_item(status, body);
	if (!status) {
		id = get_u64(body);
		if (body->failed)
			status = MC_PROTOCOL;
	}
	unlink_end(context, status, id);
}

static void unlink_again(void *context, enum mc_status status)
{
	struct op *op = context;

	if (status) {
		op_end(op, status, NULL);
		return;
	}
	node_unlink(op->node, op->object->attr.id, op->name, op->done, op->context);
	op_free(op);
}

/* What is done about a name that is to go. */
enum unlinking { UNLINK_DONE, UNLINK_WAITS, UNLINK_ASKS };

/* A draft goes without the master, but not while the master may have it. */
static enum unlinking unlink_locked(struct op *op, enum mc_status *status, uint64_t *reserved)
{
	struct node *node = op->node;
	struct object *object =
		object_lookup(&node->objects, op->object->attr.id, op->name, strlen(op->name));

	if (!object)
		return UNLINK_ASKS;
	if (object_is(object, OBJECT_DIRECTORY)) {
		*status = MC_IS_DIRECTORY;
		return UNLINK_DONE;
	}
	if (node_offer_wait_locked(node, object, unlink_again, op))
		return UNLINK_WAITS;
	if (object->flags & (OBJECT_PUBLISHED | OBJECT_PUBLISHING)) {
		object_ref(object);
		op->other = object;
		object->leaving++; /* until the answer no close may give it the name again */
		return UNLINK_ASKS;
	}
	*reserved = object_is(object, OBJECT_RESERVED) ? object->attr.id : 0;
	remove_locked(node, object);
	node_touch_locked(op->object, 0);
	return UNLINK_DONE;
}

void node_unlink(struct node *node, uint64_t parent_id, const char *name, node_done_fn *done,
		 void *context)
{
	struct object *parent = find_directory(node, parent_id);
	enum mc_status status = MC_OK;
	uint64_t reserved = 0;
	struct writer w;

	if (!parent) {
		done(context, MC_NOT_FOUND, NULL);
		return;
	}
	struct op *op = op_new(node, parent, NULL, name, NULL, done, context);
	node_unref(node, parent);
	if (!op)
		return;
	node_lock(node);
	enum unlinking unlinking = unlink_locked(op, &status, &reserved);
	node_unlock(node);
	if (unlinking == UNLINK_WAITS)
		return;
	if (reserved)
		node_unreserve(node, parent_id, name, reserved);
	if (unlinking == UNLINK_DONE) {
		op_end(op, status, NULL);
		return;
	}
	writer_init(&w);
	put_u16(&w, 1);
	put_u64(&w, parent_id);
	put_string(&w, name, strlen(name));
	failpoint("remove.begun");
	node_ask(node, MC_VERB_REMOVE, &w, unlink_reply, op);
	failpoint("remove.sent");
}

static bool has_drafts_locked(const struct object *directory)
{
	const struct object *child = directory->first_child;

	while (child && object_is(child, OBJECT_PUBLISHED))
		child = child->sibling;
	return child != NULL;
}

static void rmdir_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct op *op = context;
	struct node *node = op->node;

	(void)body;
	(void)resent;
	if (status == MC_TIMEOUT)
		doubt_name(op);
	if (!status) {
		node_lock(node);
		struct object *directory = object_lookup(&node->objects, op->object->attr.id,
							 op->name, strlen(op->name));
		if (directory && object_is(directory, OBJECT_DIRECTORY)) {
			object_ref(directory);
			grant_free(directory->grant);
			directory->grant = NULL;
			object_unname(&node->objects, directory);
			directory->flags |= OBJECT_REMOVED;
			directory->attr.nlink = 0;
			object_unref(&node->objects, directory);
		}
		node_touch_locked(op->object, -1);
		node_unlock(node);
	}
	op_end(op, node_change_status(status), NULL);
}

void node_rmdir(struct node *node, uint64_t parent_id, const char *name, node_done_fn *done,
		void *context)
{
	struct object *parent = find_directory(node, parent_id);
	struct writer w;
	enum mc_status status = parent ? MC_OK : MC_NOT_FOUND;

	node_lock(node);
	struct object *directory = object_lookup(&node->objects, parent_id, name, strlen(name));
	if (!status && directory && !object_is(directory, OBJECT_DIRECTORY))
		status = MC_NOT_DIRECTORY;
	else if (!status && directory && has_drafts_locked(directory))
		status = MC_NOT_EMPTY;
	node_unlock(node);
	struct op *op = status ? NULL : op_new(node, parent, NULL, name, NULL, done, context);
	node_unref(node, parent);
	if (status)
		done(context, status, NULL);
	if (!op)
		return;
	writer_init(&w);
	put_u64(&w, parent_id);
	put_string(&w, name, strlen(name));
	node_ask(node, MC_VERB_RMDIR, &w, rmdir_reply, op);
}

/* -- rename -- */

/* One rename: what moves, from where, to where. */
struct move {
	struct node *node;
	struct object *object; /* all counted */
	struct object *from;
	struct object *to;
	struct object *over; /* that has the new name here; NULL: none */
	char *name;
	char *new_name;
	bool noreplace;
	bool keep_first; /* immutable: an object that is there stays, ours goes */
	int32_t tid;
	node_done_fn *done;
	void *context;
};

static void move_free(struct move *m)
{
	node_unref(m->node, m->object);
	node_unref(m->node, m->from);
	node_unref(m->node, m->to);
	node_unref(m->node, m->over);
	free(m->name);
	free(m->new_name);
	free(m);
}

static void move_end(struct move *m, enum mc_status status)
{
	if (status == MC_TIMEOUT) {
		WITH_LOCK(&m->node->lock);
		node_doubt_name_locked(m->node, m->from->attr.id, m->name);
		node_doubt_name_locked(m->node, m->to->attr.id, m->new_name);
	}
	m->done(m->context, node_change_status(status), status ? NULL : m->object);
	move_free(m);
}

static void touch_both_locked(const struct move *m, bool directory)
{
	node_touch_locked(m->from, directory && m->from != m->to ? -1 : 0);
	if (m->from != m->to)
		node_touch_locked(m->to, directory ? 1 : 0);
	m->object->attr.ctime = clock_real();
}

/* What stood under the new name is gone. */
static void displace_locked(struct move *m)
{
	struct node *node = m->node;
	struct object *other =
		object_lookup(&node->objects, m->to->attr.id, m->new_name, strlen(m->new_name));

	if (!other || other == m->object)
		return;
	if (object_is(other, OBJECT_DOUBT)) { /* it may have another name: the master says */
		object_unname(&node->objects, other);
		return;
	}
	if (!object_is(other, OBJECT_DIRECTORY)) {
		remove_replacements_locked(node, other);
		node_replaced_locked(node, other);
		return;
	}
	object_ref(other);
	object_unname(&node->objects, other);
	other->flags |= OBJECT_REMOVED;
	other->attr.nlink = 0;
	m->to->attr.nlink--;
	object_unref(&node->objects, other);
}

/* A draft that is published under its new name by this rename. */
static void move_published(void *context, enum mc_status status, struct object *object)
{
	struct move *m = context;
	struct node *node = m->node;
	bool reserved = false;

	(void)object;
	node_lock(node);
	bool kept = status == MC_EXISTS && m->keep_first && !m->noreplace;
	if (kept) { /* the kernel believes that ours has the name */
		node->events.forget_all(node->events.context);
		remove_locked(node, m->object);
		node_touch_locked(m->from, 0);
		status = MC_OK;
	} else if (!status) {
		reserved = m->object->flags & OBJECT_RESERVED;
		touch_both_locked(m, false);
	}
	node_unlock(node);
	if (reserved)
		node_unreserve(node, m->from->attr.id, m->name, m->object->attr.id);
	move_end(m, status);
}

static enum mc_status move_draft_locked(struct move *m)
{
	struct node *node = m->node;
	struct object *there =
		object_lookup(&node->objects, m->to->attr.id, m->new_name, strlen(m->new_name));

	if (there && there != m->object && m->noreplace)
		return MC_EXISTS;
	if (there && object_is(there, OBJECT_DIRECTORY))
		return MC_IS_DIRECTORY;
	displace_locked(m);
	node_replacement_end_locked(node, m->object);
	enum mc_status status =
		object_name(&node->objects, m->object, m->to, m->new_name, strlen(m->new_name));
	if (!status)
		touch_both_locked(m, false);
	return status;
}

/* To a staging name the draft just moves; to any other it is published there. */
static void move_draft(struct move *m)
{
	struct node *node = m->node;
	struct publish publish = {.object = m->object, .parent = m->to, .name = m->new_name};

	if (object_name_staging(m->new_name)) {
		node_lock(node);
		enum mc_status status = move_draft_locked(m);
		bool reserved = object_is(m->object, OBJECT_RESERVED);
		m->object->flags &= ~(uint32_t)OBJECT_RESERVED;
		node_unlock(node);
		if (reserved)
			node_unreserve(node, m->from->attr.id, m->name, m->object->attr.id);
		move_end(m, status);
		return;
	}
	node_lock(node);
	struct object *there =
		object_lookup(&node->objects, m->to->attr.id, m->new_name, strlen(m->new_name));
	bool taken = there && there != m->object && m->noreplace;
	node_unlock(node);
	if (taken) {
		move_end(m, MC_EXISTS);
		return;
	}
	if (m->noreplace)
		publish.flags |= MC_PUBLISH_EXCLUSIVE;
	node_publish(node, &publish, move_published, m);
}

static void first_kept(void *context, enum mc_status status, struct object *object)
{
	struct move *m = context;

	(void)object;
	m->node->events.forget_all(m->node->events.context);
	move_end(m, status);
}

/* ID: of what has the new name now. */
static void rename_end(struct move *m, enum mc_status status, uint64_t id)
{
	struct node *node = m->node;

	if (status == MC_EXISTS && m->keep_first && !m->noreplace) {
		node_unlink(node, m->from->attr.id, m->name, first_kept, m);
		return;
	}
	if (!status) {
		node_lock(node);
		bool directory = object_is(m->object, OBJECT_DIRECTORY);
		displace_locked(m);
		bool ours = id == m->object->attr.id; /* not what took the name meanwhile */
		if (!ours ||
		    object_name(&node->objects, m->object, m->to, m->new_name, strlen(m->new_name)))
			object_unname(&node->objects, m->object);
		if (!ours) /* the kernel moves what it believed to be there */
			node->events.forget_all(node->events.context);
		if (!object_is(m->object, OBJECT_LOCAL))
			node_note_name_locked(node, m->to, m->new_name);
		touch_both_locked(m, directory);
		bool local = object_is(m->object, OBJECT_LOCAL);
		node_unlock(node);
		failpoint("rename.moved");
		if (local)
			node_rewrite_record(node, m->object);
	}
	move_end(m, status);
}

static void rename_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct move *m = context;
	struct mc_attr attr = {0};

	(void)resent;
	failpoint("rename.answered");
	node_lock(m->node);
	if (m->over)
		m->over->leaving--;
	node_unlock(m->node);
	if (!status) {
		get_attr(body, &attr);
		if (body->failed)
			status = MC_PROTOCOL;
	}
	rename_end(m, status, attr.id);
}

static void move_named(struct move *m)
{
	struct node *node = m->node;
	struct writer w;

	node_lock(node);
	m->over = object_lookup(&node->objects, m->to->attr.id, m->new_name, strlen(m->new_name));
	if (m->over == m->object)
		m->over = NULL;
	if (m->over) {
		object_ref(m->over);
		m->over->leaving++;
	}
	node_unlock(node);
	writer_init(&w);
	put_u64(&w, m->from->attr.id);
	put_string(&w, m->name, strlen(m->name));
	put_u64(&w, m->to->attr.id);
	put_string(&w, m->new_name, strlen(m->new_name));
	put_u32(&w, m->noreplace || m->keep_first ? MC_RENAME_NOREPLACE : 0);
	failpoint("rename.begun");
	node_ask(node, MC_VERB_RENAME, &w, rename_reply, m);
	failpoint("rename.sent");
}

/* A new version is on its way to the master: its name moves when it has arrived. */
static void move_flushed(void *context, enum mc_status status, struct object *object)
{
	struct move *m = context;

	(void)object;
	if (status)
		move_end(m, status);
	else
		move_named(m);
}

static struct move *move_new(struct node *node, const struct node_rename *rename,
			     struct object *object, struct object *from, struct object *to)
{
	struct move *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	*m = (struct move){.node = node, .object = object, .from = from, .to = to};
	m->name = strdup(rename->name);
	m->new_name = strdup(rename->new_name);
	m->noreplace = rename->noreplace;
	m->tid = rename->tid;
	m->keep_first = node->config.immutable && !object_is(object, OBJECT_DIRECTORY);
	if (!m->name || !m->new_name) {
		free(m->name);
		free(m->new_name);
		free(m);
		return NULL;
	}
	object_ref(object);
	object_ref(from);
	object_ref(to);
	return m;
}

static void move_again(void *context, enum mc_status status)
{
	struct move *m = context;

	if (status) {
		move_end(m, status);
		return;
	}
	struct node_rename how = {m->from->attr.id, m->name,	  m->to->attr.id,
				  m->new_name,	    m->noreplace, m->tid};
	node_rename(m->node, &how, m->done, m->context);
	move_free(m);
}

void node_rename(struct node *node, const struct node_rename *rename, node_done_fn *done,
		 void *context)
{
	struct move *m = NULL;

	node_lock(node);
	struct object *from = object_find(&node->objects, rename->parent);
	struct object *to = object_find(&node->objects, rename->new_parent);
	struct object *object =
		object_lookup(&node->objects, rename->parent, rename->name, strlen(rename->name));
	struct object *draft = object ? node_replacement_locked(node, object, rename->tid) : NULL;
	if (draft)
		object = draft;
	if (from && to && object)
		m = move_new(node, rename, object, from, to);
	if (m) {
		m->done = done;
		m->context = context;
	}
	bool waits = m && node_offer_wait_locked(node, object, move_again, m);
	bool unpublished = object && !object_is(object, OBJECT_PUBLISHED);
	bool publishing = object && object_is(object, OBJECT_PUBLISHING);
	node_unlock(node);
	if (waits)
		return;
	if (!m) {
		/* The kernel found the name, and it changed since: let it look again. */
		done(context, from && to && object ? MC_NO_MEMORY : MC_STALE, NULL);
		return;
	}
	if (unpublished)
		move_draft(m);
	else if (publishing)
		node_flush(node, object, move_flushed, m);
	else
		move_named(m);
}

/* What is not remembered must not be concluded from; the master may grant it again. */
static void give_grant_back(struct node *node, struct object *directory)
{
	struct writer w;

	grant_free(directory->grant);
	directory->grant = NULL;
	writer_init(&w);
	put_u64(&w, directory->attr.id);
	node_ask(node, MC_VERB_RECALLED, &w, node_ignore_reply, NULL);
}

/* A draft is found through the name of what it will replace. */
static bool replaced_soon_locked(const struct node *node, const struct object *object)
{
	const struct object *draft = node->replacing;

	while (draft && draft->original != object)
		draft = draft->newer;
	return draft != NULL;
}

void node_forget_locked(struct node *node, struct object *object)
{
	if (object_is(object, OBJECT_LOCAL) || object == node->objects.root ||
	    replaced_soon_locked(node, object))
		return;
	if (object_is(object, OBJECT_DIRECTORY)) {
		if (object->first_child)
			return;
		if (object->grant)
			give_grant_back(node, object);
	}
	free(object->xattrs);
	object->xattrs = NULL;
	node_forget_name_locked(node, object);
}
