#include "engine/node/internal.h"

#include <stdlib.h>
#include <string.h>

/* A directory that others may change is asked about again after this long. */
#define DIRECTORY_FRESH_NS 1000000000ull

bool node_known_locked(const struct node *node, const struct object *object)
{
	if (object_is(object, OBJECT_IMPLIED))
		return false;
	if (!object_is(object, OBJECT_PUBLISHED))
		return true; /* a draft: nobody knows better */
	/* Nobody knows better now. */
	if (!client_connected(node->client))
		return (object->flags & (OBJECT_LOCAL | OBJECT_DIRECTORY)) != 0;
	if (!node->config.metacache && !object_is(object, OBJECT_LOCAL))
		return false;
	return object->known_session == node->session;
}

static struct grant *node_grant_locked(const struct node *node, const struct object *directory)
{
	if (!directory || !object_is(directory, OBJECT_DIRECTORY) || !directory->grant)
		return NULL;
	if (directory->grant->session != node->session || !client_connected(node->client))
		return NULL;
	return directory->grant;
}

struct object *node_replacement_locked(struct node *node, const struct object *object, int32_t tid)
{
	for (struct object *draft = node->replacing; draft; draft = draft->newer) {
		/* Thread 0 is any of another pid namespace: it finds a draft until it is open. */
		if (draft->original == object && draft->writer_tid == tid &&
		    (tid != 0 || draft->opens == 0))
			return draft;
	}
	return NULL;
}

enum node_lookup node_lookup_locked(struct node *node, uint64_t parent, const char *name,
				    size_t size, int32_t tid, struct object **object)
{
	struct object *found = object_lookup(&node->objects, parent, name, size);

	if (found && node->replacing) {
		struct object *draft = node_replacement_locked(node, found, tid);
		if (draft)
			found = draft;
	}
	if (found && node_known_locked(node, found)) {
		counter_add(&node->counters, COUNTER_LOOKUP_LOCAL, 1);
		*object = found;
		return NODE_FOUND;
	}
	if (!found) {
		struct object *directory = object_find(&node->objects, parent);
		struct grant *grant = node_grant_locked(node, directory);
		if (grant && !grant_has(grant, mc_name_hash(name, size))) {
			counter_add(&node->counters, COUNTER_LOOKUP_ABSENT, 1);
			return NODE_ABSENT;
		}
	}
	counter_add(&node->counters, COUNTER_LOOKUP_ASKED, 1);
	return NODE_ASK;
}

void node_note_name_locked(struct node *node, struct object *directory, const char *name)
{
	struct grant *grant = node_grant_locked(node, directory);

	if (grant && !grant_add(grant, mc_name_hash(name, strlen(name)))) {
		grant_free(grant);
		directory->grant = NULL;
	}
}

void node_forget_name_locked(struct node *node, struct object *object)
{
	if (!object_is(object, OBJECT_NAMED))
		return;
	node_note_name_locked(node, object->parent, object->name);
	node_lost_name_locked(node, object);
	object_unname(&node->objects, object);
}

void node_lost_name_locked(struct node *node, const struct object *object)
{
	if (!object->user)
		return;
	if (object->opens > 0 || object_is(object, OBJECT_DIRECTORY))
		node->events.forget_all(node->events.context);
	else
		node->events.forget_attr(node->events.context, object->attr.id);
}

void node_doubt_name_locked(struct node *node, uint64_t parent, const char *name)
{
	struct object *directory = object_find(&node->objects, parent);
	struct object *object = object_lookup(&node->objects, parent, name, strlen(name));

	if (directory) /* the name may be there now */
		node_note_name_locked(node, directory, name);
	if (!object || !object_is(object, OBJECT_PUBLISHED))
		return;
	object->known_session = 0;
	node_lost_name_locked(node, object);
	/* Who asked for the change is not told to drop what it was about. */
	if (object_is(object, OBJECT_LOCAL) && !object_is(object, OBJECT_PUBLISHING))
		node_condemn_locked(node, object, false);
}

void node_touch_locked(struct object *directory, int directories)
{
	directory->attr.mtime = directory->attr.ctime = clock_real();
	directory->attr.nlink += (uint32_t)directories;
}

static void set_replicas(struct object *object, const struct mc_entry *entry)
{
	free(object->replicas);
	object->replicas = NULL;
	object->replica_count = 0;
	if (entry->replica_count == 0)
		return;
	object->replicas = malloc(entry->replica_count * sizeof(object->replicas[0]));
	if (!object->replicas)
		return;
	memcpy(object->replicas, entry->replicas,
	       entry->replica_count * sizeof(object->replicas[0]));
	object->replica_count = entry->replica_count;
}

void node_adopt_rights_locked(struct object *object, const struct mc_attr *attr)
{
	object->attr.mode = attr->mode;
	object->attr.uid = attr->uid;
	object->attr.gid = attr->gid;
	node_placed_locked(object, attr);
}

/* Its readers have a version that is not the one of the entry. */
static bool held_locked(struct node *node, struct object *object, const struct mc_entry *entry)
{
	if (object_is(object, OBJECT_DIRECTORY) || object->attr.version == entry->attr.version)
		return false;
	return object->borrow || node_arriving_locked(node, object) || node_read_locked(object);
}

/*
 * The attributes as recorded; a local file of an older version is of no use any more.
 *
 * What is open stays one version, whose bytes and size belong together, until the last
 * close: the mount has one size and one page cache for all who have it open.  Nobody is
 * told that this is all there is to know: who asks meanwhile asks the master again.
 */
void node_adopt_attr_locked(struct node *node, struct object *object, const struct mc_entry *entry)
{
	bool directory = S_ISDIR(entry->attr.mode);

	if (object_is(object, OBJECT_PUBLISHING))
		return; /* its answer tells, or the inventory's */
	if (object->writers == 0 && held_locked(node, object, entry)) {
		node_adopt_rights_locked(object, &entry->attr);
		object->attr.nlink = entry->attr.nlink;
		object->flags &= ~(uint32_t)OBJECT_REMOVED;
		object->known_session = 0;
		return;
	}
	if (object_is(object, OBJECT_LOCAL)) {
		if (object->attr.version < entry->attr.version && object->writers == 0 &&
		    object->attr.version != 0)
			node_discard_locked(node, object);
		else if (object_is(object, OBJECT_DIRTY) || object->writers > 0)
			return; /* what is being written here is newer than what the master knows */
	}
	object_set_attr(object, &entry->attr);
	object->flags |= OBJECT_PUBLISHED | (directory ? OBJECT_DIRECTORY : 0u);
	object->flags &= ~(uint32_t)(OBJECT_IMPLIED | OBJECT_REMOVED);
	object->known_session = node->session;
	object->known_ns = clock_ns();
	free(object->xattrs);
	object->xattrs = NULL;
	if (!directory)
		set_replicas(object, entry);
}

struct object *node_adopt_locked(struct node *node, struct object *parent, const char *name,
				 size_t size, const struct mc_entry *entry)
{
	struct object *object = object_find(&node->objects, entry->attr.id);
	bool fresh = !object;

	if (fresh)
		object = object_new(&node->objects, entry->attr.id);
	if (!object)
		return NULL;
	if (!fresh && S_ISDIR(entry->attr.mode) != object_is(object, OBJECT_DIRECTORY))
		return NULL;
	object_ref(object);
	node_adopt_attr_locked(node, object, entry);
	struct object *there = object_lookup(&node->objects, parent->attr.id, name, size);
	/* Renamed elsewhere: under the old name the kernel would go on finding it. */
	if (there != object && object->user && object != node->objects.root)
		node->events.forget_all(node->events.context);
	bool draft_there = there && there != object && !object_is(there, OBJECT_PUBLISHED);
	if (!draft_there && object != node->objects.root &&
	    object_name(&node->objects, object, parent, name, size) != MC_OK)
		draft_there = true;
	object->refs -= fresh ? 2 : 1; /* named: the table holds it */
	if (object->refs == 0) {       /* not named, and nobody else's */
		object->refs = 1;
		object_unref(&node->objects, object);
		return NULL;
	}
	return object;
}

/* A directory that this session may conclude about from now on. */
static void take_grant_locked(struct node *node, struct object *directory, struct reader *body)
{
	struct grant *grant = grant_read(body, node->session);

	if (!grant)
		return;
	grant_free(directory->grant);
	directory->grant = grant;
}

/* -- asking -- */

static void ask(struct op *op, enum mc_verb verb, struct writer *body, client_reply_fn *reply)
{
	uint64_t now = clock_ns();
	uint64_t left_ms = op->stamp > now ? (op->stamp - now) / 1000000 : 0;

	client_call(op->node->client, verb, body, (uint32_t)left_ms, reply, op);
	writer_fini(body);
}

static uint64_t deadline_ns(const struct node *node)
{
	return clock_ns() + node->config.timeout_ms * 1000000ull;
}

static void lookup_send(struct op *op);

static void lookup_again(void *context, enum mc_status status)
{
	struct op *op = context;

	if (status)
		op_end(op, status, NULL);
	else
		lookup_send(op);
}

static void lookup_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct op *op = context;
	struct node *node = op->node;
	struct object *object = NULL;
	struct mc_entry entry;

	(void)resent;
	status = read_item(status, body);
	if (status == MC_NOT_FOUND && node_told_wait(node, op->stamp, lookup_again, op))
		return;
	if (status == MC_OK) {
		get_entry(body, &entry);
		if (body->failed)
			status = MC_PROTOCOL;
	}
	node_lock(node);
	if (status == MC_NOT_FOUND) {
		struct object *known = object_lookup(&node->objects, op->object->attr.id, op->name,
						     strlen(op->name));
		if (known && object_is(known, OBJECT_PUBLISHED) &&
		    !object_is(known, OBJECT_PUBLISHING))
			object_unname(&node->objects, known);
		take_grant_locked(node, op->object, body);
	} else if (status == MC_OK) {
		object = node_adopt_locked(node, op->object, op->name, strlen(op->name), &entry);
		if (object)
			object_ref(object);
		else
			status = MC_NO_MEMORY;
	}
	node_unlock(node);
	op_end(op, status, object);
	node_unref(node, object);
}

static void lookup_send(struct op *op)
{
	struct writer w;

	writer_init(&w);
	put_u16(&w, 1);
	put_u64(&w, op->object->attr.id);
	put_string(&w, op->name, strlen(op->name));
	ask(op, MC_VERB_LOOKUP, &w, lookup_reply);
}

void node_lookup(struct node *node, uint64_t parent, const char *name, node_done_fn *done,
		 void *context)
{
	node_lock(node);
	struct object *directory = object_find(&node->objects, parent);
	if (directory)
		object_ref(directory);
	node_unlock(node);
	if (!directory) {
		done(context, MC_STALE, NULL);
		return;
	}
	struct op *op = op_new(node, directory, NULL, name, NULL, done, context);
	node_unref(node, directory);
	if (!op)
		return;
	op->stamp = deadline_ns(node);
	lookup_send(op);
}

static enum mc_status getattr_send(struct op *op);

static void getattr_again(void *context, enum mc_status status)
{
	struct op *op = context;

	if (!status)
		status = getattr_send(op);
	if (status)
		op_end(op, status, op->object);
}

static void getattr_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct op *op = context;
	struct node *node = op->node;
	struct mc_entry entry;

	(void)resent;
	if ((status == MC_TIMEOUT || status == MC_UNREACHABLE) &&
	    op->object->attr.id == MC_ROOT_ID) {
		op_end(op, MC_OK, op->object); /* it is there, as it was last heard of */
		return;
	}
	status = read_item(status, body);
	if (status == MC_OK) {
		(void)get_u64(body);
		get_entry(body, &entry);
		if (body->failed)
			status = MC_PROTOCOL;
		else if (entry.attr.id != op->object->attr.id)
			status = MC_NOT_FOUND; /* the name means another one now */
	} else if (status == MC_NOT_FOUND && node_told_wait(node, op->stamp, getattr_again, op)) {
		return;
	}
	node_lock(node);
	if (status == MC_OK) {
		node_adopt_attr_locked(node, op->object, &entry);
	} else if (status == MC_NOT_FOUND) {
		/* Removed while it was known, or below a directory that was renamed. */
		object_unname(&node->objects, op->object);
		op->object->attr.nlink = 0;
		status = op->object->opens > 0 ? MC_OK : MC_STALE;
	}
	node_unlock(node);
	op_end(op, status, op->object);
}

static enum mc_status getattr_send(struct op *op)
{
	char path[MC_PATH_MAX + 1];
	size_t size = 0;
	struct writer w;

	node_lock(op->node);
	enum mc_status status = object_path(op->object, path, &size);
	node_unlock(op->node);
	if (status)
		return status;
	writer_init(&w);
	put_u16(&w, 1);
	put_string(&w, path, size);
	ask(op, MC_VERB_LOOKUP_PATH, &w, getattr_reply);
	return MC_OK;
}

/* Whether memory can answer for the attributes. */
static bool attr_known_locked(const struct node *node, const struct object *object)
{
	if (object_is(object, OBJECT_REMOVED))
		return true;
	/* The kernel asks before it lets anyone read what the mount says of itself. */
	if (object->attr.id == MC_ROOT_ID && !client_connected(node->client))
		return true;
	if (!node_known_locked(node, object))
		return false;
	if (!object_is(object, OBJECT_DIRECTORY) || node_grant_locked(node, object) ||
	    !client_connected(node->client))
		return true;
	return clock_ns() - object->known_ns < DIRECTORY_FRESH_NS;
}

void node_getattr(struct node *node, struct object *object, node_done_fn *done, void *context)
{
	node_lock(node);
	node_sync_locked(node, object);
	bool known = attr_known_locked(node, object);
	node_unlock(node);
	if (known) {
		done(context, MC_OK, object);
		return;
	}
	struct op *op = op_new(node, object, NULL, NULL, NULL, done, context);
	if (!op)
		return;
	op->stamp = deadline_ns(node);
	enum mc_status status = getattr_send(op);
	if (status)
		op_end(op, status, op->object);
}
