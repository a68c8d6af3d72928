#include "engine/node/internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/node/record.h"

/*
 * A publish, from the draft to the master's answer:
 *
 *   mark the file clean -> take its size -> write the record -> name the file
 *   -> PUBLISH -> (MC_OK) the object is published, what it replaces is gone
 *              -> (error) the file loses its name, the object stays a draft
 *
 * What is written between the mark and the answer makes the object dirty
 * again, and the next flush publishes it as the next version.
 */
struct publishing {
	struct publishing *next;
	struct node *node;
	struct object *object; /* counted, like parent */
	struct object *parent;
	char *name;
	uint32_t flags;
	bool first; /* the file had no name before */
	bool sent;  /* to the master, who may act on it whatever we hear */
	node_done_fn *done;
	void *context;
	struct mc_attr attr; /* as offered */
};

/* -- what a local object holds -- */

/*
 * Take the file's name away.  True: an object that lost its own name is still
 * open, so it becomes an unlinked draft that its last close ends.
 */
static bool discard_file_locked(struct node *node, struct object *object)
{
	bool keep = !object_is(object, OBJECT_NAMED) && object->opens > 0 &&
		    pool_object(node->pool, object->attr.id, O_RDWR, &object->draft_fd) == MC_OK;

	pool_remove(node->pool, object->attr.id);
	pool_account(node->pool, -(int64_t)object->attr.allocated);
	node->local_count--;
	node->local_bytes -= object->attr.allocated;
	if (!keep)
		return false;
	object->flags &= ~(uint32_t)(OBJECT_PUBLISHED | OBJECT_CACHE);
	object->flags |= OBJECT_REMOVED;
	return true;
}

void node_discard_locked(struct node *node, struct object *object)
{
	if (!object_is(object, OBJECT_LOCAL))
		return;
	node->events.let_go(node->events.context, object);
	sieve_remove_locked(node, object);
	if (object->draft_fd >= 0) {
		close(object->draft_fd);
		object->draft_fd = -1;
	} else if (discard_file_locked(node, object)) {
		return;
	}
	object->flags &= ~(uint32_t)(OBJECT_LOCAL | OBJECT_CACHE | OBJECT_DIRTY);
	object_unref(&node->objects, object); /* the pool's own reference */
}

void node_removed_locked(struct node *node, struct object *object)
{
	object_ref(object);
	object_unname(&node->objects, object);
	node_replacement_end_locked(node, object);
	object->flags |= OBJECT_REMOVED;
	object->attr.nlink = 0;
	object->attr.ctime = clock_real();
	/* Who has it open keeps the bytes; a draft's descriptor serves them until the last close.
	 */
	if (object->opens == 0 || object->draft_fd < 0)
		node_discard_locked(node, object);
	object_unref(&node->objects, object);
}

void node_replacement_end_locked(struct node *node, struct object *draft)
{
	struct object **at = &node->replacing;

	if (!draft->original)
		return;
	while (*at && *at != draft)
		at = &(*at)->newer;
	if (*at)
		*at = draft->newer;
	draft->newer = NULL;
	struct object *original = draft->original;
	draft->original = NULL;
	object_unref(&node->objects, original);
}

enum mc_status node_record_locked(const struct object *object, uint8_t *bytes, size_t *size)
{
	char path[MC_PATH_MAX + 1];
	struct record record = {
		.kind = object_is(object, OBJECT_CACHE) ? MC_REPLICA_CACHE : MC_REPLICA_PRIMARY,
		.attr = object->attr,
		.path = path,
	};
	enum mc_status status = object_path(object, path, &record.path_size);

	if (status)
		return status;
	*size = record_encode(&record, bytes);
	return MC_OK;
}

void node_rewrite_record(struct node *node, struct object *object)
{
	uint8_t bytes[RECORD_SIZE_MAX];
	size_t size;

	node_lock(node);
	enum mc_status status =
		object->parent ? node_record_locked(object, bytes, &size) : MC_STALE;
	uint64_t id = object->attr.id;
	int fd = object->draft_fd;
	node_unlock(node);
	if (status || fd >= 0)
		return;
	if (pool_record_id(node->pool, id, bytes, size))
		log_debug("an object's record was not rewritten id=%" PRIx64, id);
}

/* -- publish -- */

static void publishing_free(struct publishing *p)
{
	node_unref(p->node, p->object);
	node_unref(p->node, p->parent);
	free(p->name);
	free(p);
}

/* This node has no replica of it. */
static void send_drop(struct node *node, const struct mc_attr *attr)
{
	struct writer w;

	writer_init(&w);
	put_u16(&w, 1);
	put_u8(&w, 1);
	put_u64(&w, attr->id);
	put_u64(&w, attr->version);
	put_u8(&w, MC_REPLICA_PRIMARY);
	node_ask(node, MC_VERB_REPLICA, &w, node_ignore_reply, NULL);
}

/* Attributes that were set on the draft follow it to the master. */
static void send_xattrs(struct node *node, uint64_t id, const uint8_t *bytes, size_t size)
{
	struct reader r;

	reader_init(&r, bytes, size);
	for (uint16_t count = get_u16(&r); count > 0; count--) {
		size_t name_size, value_size;
		const char *name = get_string(&r, &name_size);
		const char *value = get_string(&r, &value_size);
		struct writer w;
		if (r.failed)
			return;
		writer_init(&w);
		put_u64(&w, id);
		put_string(&w, name, name_size);
		put_u32(&w, 0);
		put_string(&w, value, value_size);
		node_ask(node, MC_VERB_SETXATTR, &w, node_ignore_reply, NULL);
	}
}

static void replaced_locked(struct node *node, struct object *object)
{
	if (!object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED)) {
		node_removed_locked(node, object);
		return;
	}
	object_ref(object);
	node_lost_name_locked(node, object);
	object_unname(&node->objects, object);
	object->flags |= OBJECT_REMOVED;
	object->attr.nlink = 0;
	object->attr.ctime = clock_real();
	node_condemn_locked(node, object);
	object_unref(&node->objects, object);
}

/* The object takes its name; what had the name is gone. */
static void published_locked(struct node *node, struct publishing *p, const struct mc_attr *attr)
{
	struct object *object = p->object;
	uint64_t allocated = object_is(object, OBJECT_PUBLISHED) ? object->attr.allocated : 0;
	bool removed = object_is(object, OBJECT_REMOVED);

	object->attr.version = attr->version;
	object->attr.allocated = p->attr.allocated;
	object->attr.nlink = removed ? 0 : 1;
	object->known_session = node->session;
	counter_add(&node->counters, COUNTER_PUBLISHES, 1);
	if (p->first)
		node->local_count++;
	node->local_bytes += p->attr.allocated - allocated;
	pool_account(node->pool, (int64_t)(p->attr.allocated - allocated));
	sieve_remove_locked(node, object); /* while the flags say of which list */
	object->flags |= OBJECT_PUBLISHED;
	object->flags &= ~(uint32_t)(OBJECT_RESERVED | OBJECT_CACHE);
	if (object->draft_fd >= 0) {
		close(object->draft_fd);
		object->draft_fd = -1;
	}
	if (removed) {
		node_discard_locked(node, object);
		return;
	}
	struct object *other =
		object_lookup(&node->objects, p->parent->attr.id, p->name, strlen(p->name));
	if (other && other != object)
		replaced_locked(node, other);
	node_replacement_end_locked(node, object);
	if (other != object &&
	    object_name(&node->objects, object, p->parent, p->name, strlen(p->name)) != MC_OK)
		log_warn("out of memory, a published object is not known by name id=%" PRIx64,
			 object->attr.id);
	sieve_add_locked(node, object);
}

static void publish_begin(struct publishing *p);

/* Let the next publish of the same object go. */
static void publish_next(struct node *node, struct object *object)
{
	node_lock(node);
	object->flags &= ~(uint32_t)OBJECT_PUBLISHING;
	struct publishing **at = &node->publishing;
	while (*at && (*at)->object != object)
		at = &(*at)->next;
	struct publishing *next = *at;
	if (next)
		*at = next->next;
	node_unlock(node);
	if (next)
		publish_begin(next);
}

static void publish_end(struct publishing *p, enum mc_status status)
{
	struct node *node = p->node;
	struct object *object = p->object;

	node_ref(node, object);
	publish_next(node, object);
	p->done(p->context, status, object);
	publishing_free(p);
	node_unref(node, object);
}

/* A draft under the final name that it was to be published by. */
static bool own_name_locked(const struct publishing *p)
{
	const struct object *object = p->object;

	return !object_is(object, OBJECT_PUBLISHED) && object->parent == p->parent &&
	       strcmp(object->name, p->name) == 0;
}

static void publish_failed(struct publishing *p, enum mc_status status)
{
	struct node *node = p->node;

	node_lock(node);
	if (p->first)
		pool_remove(node->pool, p->object->attr.id);
	p->object->flags |= OBJECT_DIRTY;
	if (own_name_locked(p)) { /* nobody ever sees it; who has it open may go on in vain */
		node_lost_name_locked(node, p->object);
		node_removed_locked(node, p->object);
	}
	node_unlock(node);
	if (p->first && p->sent && status == MC_TIMEOUT)
		send_drop(node, &p->attr); /* should the master hear of it after all */
	if (status != MC_EXISTS)
		log_warn("a publish failed name=\"%s\" id=%" PRIx64 " status=\"%s\"", p->name,
			 p->object->attr.id, mc_status_text(status));
	publish_end(p, node_change_status(node, status));
}

static void publish_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct publishing *p = context;
	struct node *node = p->node;
	struct mc_attr attr;
	uint8_t *xattrs = NULL;
	size_t xattrs_size = 0;

	(void)resent;
	status = read_item(status, body);
	if (!status) {
		get_attr(body, &attr);
		if (body->failed)
			status = MC_PROTOCOL;
	}
	if (status) {
		publish_failed(p, status);
		return;
	}
	node_lock(node);
	bool draft = !object_is(p->object, OBJECT_PUBLISHED);
	if (draft && p->object->xattrs)
		xattrs = node_xattrs_copy_locked(p->object, &xattrs_size);
	published_locked(node, p, &attr);
	node_unlock(node);
	if (attr.version != p->attr.version)
		node_rewrite_record(node, p->object);
	if (xattrs)
		send_xattrs(node, p->object->attr.id, xattrs, xattrs_size);
	free(xattrs);
	publish_end(p, MC_OK);
}

static void publish_send(struct publishing *p)
{
	struct writer w;

	p->sent = true;
	writer_init(&w);
	put_u16(&w, 1);
	put_u64(&w, p->parent->attr.id);
	put_string(&w, p->name, strlen(p->name));
	put_u32(&w, p->flags);
	put_attr(&w, &p->attr);
	node_ask(p->node, MC_VERB_PUBLISH, &w, publish_reply, p);
}

/* Give the draft its name in the pool, or the committed file its new record. */
static enum mc_status publish_commit(struct publishing *p, const uint8_t *bytes, size_t size)
{
	struct pool *pool = p->node->pool;
	uint64_t id = p->attr.id;

	if (!p->first)
		return pool_record_id(pool, id, bytes, size);
	enum mc_status status = pool_record(pool, p->object->draft_fd, bytes, size);
	if (!status)
		status = pool_commit(pool, p->object->draft_fd, id);
	if (status == MC_EXISTS) {
		pool_remove(pool, id); /* of a publish that failed half-way */
		status = pool_commit(pool, p->object->draft_fd, id);
	}
	return status;
}

/* Fix what is offered: the state of the file now. */
static enum mc_status publish_snapshot(struct publishing *p, uint8_t *bytes, size_t *size)
{
	struct node *node = p->node;
	struct object *object = p->object;
	uint64_t now = clock_real_ns();

	WITH_LOCK(&node->lock);
	if (!object_is(object, OBJECT_LOCAL) || object_is(object, OBJECT_REMOVED))
		return MC_STALE; /* removed while it waited for the publish before */
	node_sync_locked(node, object);
	object->flags &= ~(uint32_t)OBJECT_DIRTY;
	p->first = object->draft_fd >= 0;
	p->attr = object->attr;
	p->attr.nlink = 1;
	p->attr.version = now > object->attr.version ? now : object->attr.version + 1;
	struct object named = *object; /* as it will stand */
	named.attr = p->attr;
	named.parent = p->parent;
	named.name = p->name;
	named.flags &= ~(uint32_t)OBJECT_CACHE;
	return node_record_locked(&named, bytes, size);
}

static void publish_begin(struct publishing *p)
{
	uint8_t bytes[RECORD_SIZE_MAX];
	size_t size;
	struct node *node = p->node;

	node_lock(node);
	bool wait = object_is(p->object, OBJECT_PUBLISHING);
	if (wait) {
		struct publishing **last = &node->publishing;
		while (*last)
			last = &(*last)->next;
		*last = p;
	}
	p->object->flags |= OBJECT_PUBLISHING;
	node_unlock(node);
	if (wait)
		return;
	/* Writers don't ask for room; who took more than there is hears of it at close. */
	enum mc_status status = node_make_room(node, 0);
	if (!status)
		status = publish_snapshot(p, bytes, &size);
	if (!status)
		status = publish_commit(p, bytes, size);
	if (status)
		publish_failed(p, status);
	else
		publish_send(p);
}

void node_publish(struct node *node, const struct publish *publish, node_done_fn *done,
		  void *context)
{
	struct publishing *p = calloc(1, sizeof(*p));
	char *name = strdup(publish->name);

	if (!p || !name) {
		free(p);
		free(name);
		done(context, MC_NO_MEMORY, NULL);
		return;
	}
	*p = (struct publishing){
		.node = node, .object = publish->object, .parent = publish->parent};
	p->name = name;
	p->flags = publish->flags;
	p->done = done;
	p->context = context;
	node_lock(node);
	if (node->config.immutable && !object_is(p->object, OBJECT_PUBLISHED))
		p->flags |= MC_PUBLISH_EXCLUSIVE;
	object_ref(p->object);
	object_ref(p->parent);
	node_unlock(node);
	publish_begin(p);
}

/* -- flush and release -- */

void node_flush(struct node *node, struct object *object, node_done_fn *done, void *context)
{
	struct publish publish = {.object = object};

	node_lock(node);
	node_sync_locked(node, object);
	bool clean = !object_is(object, OBJECT_LOCAL) || object_is(object, OBJECT_REMOVED) ||
		     !object->parent || !object_is(object, OBJECT_DIRTY);
	if (!clean && !object_is(object, OBJECT_PUBLISHED))
		clean = object_name_staging(object->name);
	publish.parent = object->parent;
	publish.name = clean ? NULL : strdup(object->name);
	if (!clean)
		object_ref(publish.parent);
	node_unlock(node);
	if (clean) {
		done(context, MC_OK, object);
		return;
	}
	if (publish.name)
		node_publish(node, &publish, done, context);
	else
		done(context, MC_NO_MEMORY, NULL);
	node_unref(node, publish.parent);
	free((char *)publish.name);
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
		if (object->writers == 0)
			node_linger_locked(node, object);
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
		node_flush(node, object, release_counted, op);
	else
		release_counted(op, MC_OK, object);
}
