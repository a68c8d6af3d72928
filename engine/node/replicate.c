#include "engine/node/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/failpoint.h"
#include "engine/node/record.h"

/*
 * Copies that the master wants here.  REPLICATE opens the object as a reader
 * does who must have bytes of his own; the pull that this begins, or joins,
 * commits a primary replica.  The master is told, either way.
 */

#define REPLICATION_MAX 1024u

struct replication {
	struct replication *next;
	struct node *node;
	struct object *object; /* counted */
	uint64_t version;
	size_t path_size;
	char path[];
};

bool node_replicating_locked(const struct node *node, const struct object *object, char *path,
			     size_t *size)
{
	const struct replication *r = node->replications;

	while (r && r->object != object)
		r = r->next;
	if (!r)
		return false;
	/* Where the object has a name, that is newer. */
	if (object->parent && object_path(object, path, size) == MC_OK)
		return true;
	memcpy(path, r->path, r->path_size);
	*size = r->path_size;
	return true;
}

/* -- kinds -- */

/*
 * The record beside the bytes says what a restarted daemon announces.  That of a
 * version which is being published is of a primary replica already.
 */
void node_record_kind(struct node *node, uint64_t id, enum mc_replica_kind kind)
{
	uint8_t bytes[RECORD_SIZE_MAX];
	uint8_t again[RECORD_SIZE_MAX];
	struct record record;
	size_t size = sizeof(bytes);

	WITH_LOCK(&node->lock);
	const struct object *object = object_find(&node->objects, id);
	if (!object || object_is(object, OBJECT_PUBLISHING))
		return;
	if (pool_read_record(node->pool, id, bytes, &size) || record_decode(bytes, size, &record))
		return;
	record.kind = (uint8_t)kind;
	record.flags &= (uint16_t)~RECORD_UNANSWERED;
	size = record_encode(&record, again);
	if (pool_record_id(node->pool, id, again, size))
		log_debug("an object's record was not rewritten id=%" PRIx64, id);
}

static void kind_set(struct node *node, uint64_t id, uint64_t version, enum mc_replica_kind kind)
{
	node_lock(node);
	struct object *object = object_find(&node->objects, id);
	bool change = object && object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED) &&
		      !object_is(object, OBJECT_DIRECTORY) && object->attr.version == version &&
		      object_is(object, OBJECT_CACHE) != (kind == MC_REPLICA_CACHE);
	if (change) {
		bool listed = object_is(object, OBJECT_LISTED);
		sieve_remove_locked(node, object); /* while the flags say of which list */
		object->flags ^= OBJECT_CACHE;
		object->flags &= ~(uint32_t)OBJECT_UNANSWERED;
		if (listed)
			sieve_add_locked(node, object);
	}
	node_unlock(node);
	if (change)
		node_record_kind(node, id, kind);
}

void node_push_kind(struct node *node, struct reader *body)
{
	uint16_t count = get_u16(body);

	for (uint16_t i = 0; i < count && !body->failed; i++) {
		uint64_t id = get_u64(body);
		uint64_t version = get_u64(body);
		uint8_t kind = get_u8(body);
		if (!body->failed && kind <= MC_REPLICA_CACHE)
			kind_set(node, id, version, (enum mc_replica_kind)kind);
	}
}

/* -- telling the master -- */

static void replica_item(struct writer *w, enum mc_replica_op op, uint64_t id, uint64_t version)
{
	writer_init(w);
	put_u16(w, 1);
	put_u8(w, (uint8_t)op);
	put_u64(w, id);
	put_u64(w, version);
	put_u8(w, MC_REPLICA_PRIMARY);
}

void node_tell_bad(struct node *node, const struct transport_pull *pull, uint32_t owner,
		   enum mc_status reason)
{
	struct writer w;

	replica_item(&w, MC_REPLICA_BAD, pull->id, pull->version);
	put_u32(&w, owner);
	put_status(&w, reason);
	node_ask(node, MC_VERB_REPLICA, &w, node_ignore_reply, NULL);
}

void node_tell_gone(struct node *node, uint64_t id, uint64_t version)
{
	struct writer w;

	replica_item(&w, MC_REPLICA_DROP, id, version);
	node_ask(node, MC_VERB_REPLICA, &w, node_ignore_reply, NULL);
}

void node_disown(struct node *node, const struct object *object)
{
	bool named = false;

	node_lock(node);
	uint64_t id = object->attr.id, version = object->attr.version;
	bool absent = !object_is(object, OBJECT_LOCAL) && !object_is(object, OBJECT_PUBLISHING) &&
		      object->draft_fd < 0 && object->writers == 0 && !node->stopping;
	for (uint32_t i = 0; i < object->replica_count && absent; i++)
		named = named || object->replicas[i].node == node->id;
	node_unlock(node);
	if (named)
		node_tell_gone(node, id, version);
}

static void tell_refused(struct node *node, uint64_t id, uint64_t version, enum mc_status reason)
{
	struct writer w;

	log_debug("a copy that the master wants was not made id=%" PRIx64 " status=\"%s\"", id,
		  mc_status_text(reason));
	replica_item(&w, MC_REPLICA_REFUSE, id, version);
	put_u32(&w, node->id);
	put_status(&w, reason);
	node_ask(node, MC_VERB_REPLICA, &w, node_ignore_reply, NULL);
}

/* The master's word on a copy that was made: it may have been replaced meanwhile. */
static void added(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct op *op = context;
	struct node *node = op->node;

	(void)resent;
	status = read_item(status, body);
	if (status == MC_NOT_FOUND || status == MC_STALE) {
		WITH_LOCK(&node->lock);
		if (op->object->attr.version == op->stamp && op->object->writers == 0)
			node_drop_locked(node, op->object);
		op->object->known_session = 0;
	}
	op_free(op);
}

static void tell_added(struct node *node, struct object *object, uint64_t version)
{
	struct op *op = op_new(node, object, NULL, NULL, NULL, node_ignore_done, NULL);
	struct writer w;

	if (!op)
		return;
	op->stamp = version;
	replica_item(&w, MC_REPLICA_ADD, object->attr.id, version);
	node_ask(node, MC_VERB_REPLICA, &w, added, op);
}

/* -- the policy of a directory -- */

static void policy_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct op *op = context;

	(void)body;
	if (status == MC_NOT_FOUND && resent)
		status = MC_OK; /* taken back by the answer that was lost */
	op_end(op, node_change_status(status), op->object);
}

void node_set_policy(struct node *node, struct object *directory, uint8_t replicas,
		     node_done_fn *done, void *context)
{
	struct mc_placement placement = {.replicas = replicas};
	char path[MC_PATH_MAX + 1];
	size_t size;
	struct writer w;

	node_lock(node);
	enum mc_status status = object_path(directory, path, &size);
	node_unlock(node);
	if (status) {
		done(context, status, NULL);
		return;
	}
	struct op *op = op_new(node, directory, NULL, NULL, NULL, done, context);
	if (!op)
		return;
	writer_init(&w);
	put_string(&w, path, size);
	if (replicas)
		put_placement(&w, &placement);
	node_ask(node, replicas ? MC_VERB_POLICY_SET : MC_VERB_POLICY_UNSET, &w, policy_reply, op);
}

/* -- a copy -- */

static void replication_end(struct replication *r)
{
	struct node *node = r->node;

	WITH_LOCK(&node->lock);
	struct replication **at = &node->replications;
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	node->replication_count--;
	object_unref(&node->objects, r->object);
	free(r);
}

static void opened(void *context, enum mc_status status, struct object *object)
{
	struct replication *r = context;
	struct node *node = r->node;
	uint64_t id = r->object->attr.id;
	uint64_t version = r->version;

	if (!status) {
		node_lock(node);
		version = object->attr.version;
		if (!object_is(object, OBJECT_LOCAL | OBJECT_PUBLISHED))
			status = MC_AGAIN;
		else if (version < r->version)
			status = MC_BUSY; /* its readers have one before */
		node_unlock(node);
		node_release(node, object, false);
	}
	if (status) {
		tell_refused(node, id, r->version, status);
	} else {
		kind_set(node, id, version,
			 MC_REPLICA_PRIMARY); /* it may have been here as cache */
		counter_add(&node->counters, COUNTER_REPLICATIONS, 1);
		failpoint("copy.made");
		tell_added(node, r->object, version);
	}
	replication_end(r);
}

/* Enter the object as the master describes it.  MC_BUSY: it is being written here. */
static enum mc_status replication_begin(struct node *node, const struct mc_entry *entry,
					const char *path, size_t path_size,
					struct replication **begun)
{
	struct replication *r = malloc(sizeof(*r) + path_size);

	if (!r)
		return MC_NO_MEMORY;
	WITH_LOCK(&node->lock);
	struct object *object = object_find(&node->objects, entry->attr.id);
	bool there = object != NULL;
	if (!there)
		object = object_new(&node->objects, entry->attr.id);
	if (!object || node->replication_count >= REPLICATION_MAX ||
	    object_is(object, OBJECT_DIRECTORY) || object->writers > 0 ||
	    object_is(object, OBJECT_PUBLISHING)) {
		if (object && !there)
			object_unref(&node->objects, object);
		free(r);
		return object ? MC_BUSY : MC_NO_MEMORY;
	}
	object_ref(object);
	node_adopt_attr_locked(node, object, entry);
	if (!there)
		object_unref(&node->objects, object);
	*r = (struct replication){.next = node->replications,
				  .node = node,
				  .object = object,
				  .version = entry->attr.version,
				  .path_size = path_size};
	memcpy(r->path, path, path_size);
	node->replications = r;
	node->replication_count++;
	*begun = r;
	return MC_OK;
}

void node_push_replicate(struct node *node, struct reader *body)
{
	struct replication *r = NULL;
	struct mc_entry entry;
	size_t path_size;
	uint8_t kind = get_u8(body);
	const char *path = get_string(body, &path_size);

	get_entry(body, &entry);
	if (!reader_done(body) || kind > MC_REPLICA_CACHE || entry.attr.id <= MC_ROOT_ID ||
	    !S_ISREG(entry.attr.mode) || !record_path_valid(path, path_size)) {
		log_debug("the master wants a copy of what makes no sense");
		return;
	}
	enum mc_status status = replication_begin(node, &entry, path, path_size, &r);
	failpoint("copy.begun");
	if (status)
		tell_refused(node, entry.attr.id, entry.attr.version, status);
	else
		node_open_object(node, r->object, NODE_OPEN_COPY, 0, opened, r);
}
