#include "engine/node/internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/failpoint.h"
#include "engine/base/placement.h"
#include "engine/node/record.h"

/* Of the attributes, what the master may have set. */
#define PLACED_FLAGS ((uint32_t)MC_ATTR_PINNED | (uint32_t)MC_ATTR_REPLICAS)

/*
 * A publish, from the draft to the master's answer:
 *
 *   mark the file clean -> take its size -> write the record -> name the file
 *   -> PUBLISH -> (MC_OK) the object is published, what it replaces is gone
 *              -> (error) the file loses its name, the object stays a draft
 *              -> (no answer) in doubt: one of both, when the master has said (doubt.c)
 *
 * What is written between the mark and the answer makes the object dirty
 * again, and the next flush publishes it as the next version.
 */
struct publishing {
	struct offer offer; /* first: it comes back as what it is in */
	struct publishing *next;
	struct node *node;
	uint32_t flags;
	bool first; /* the file had no name before */
	node_done_fn *done;
	void *context;
	struct mc_placement *placement; /* what is said of its copies; NULL: nothing */
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

	if (keep)
		pool_remove(node->pool, object->attr.id);
	else
		stock_reclaim(node->stock, object->attr.id, object->attr.size);
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
	node_claim_end_locked(node, object);
	sieve_remove_locked(node, object);
	if (object->draft_fd >= 0) {
		close(object->draft_fd);
		object->draft_fd = -1;
		pool_forget(node->pool, object->attr.id);
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
	if (!original->user)
		node_forget_locked(node, original); /* that waited for the draft */
	object_unref(&node->objects, original);
}

/* The record of an object as it stands, RECORD_SIZE_MAX bytes at most. */
static enum mc_status node_record_locked(const struct object *object, uint8_t *bytes, size_t *size)
{
	char path[MC_PATH_MAX + 1];
	struct record record = {
		.kind = object_is(object, OBJECT_CACHE) ? MC_REPLICA_CACHE : MC_REPLICA_PRIMARY,
		.flags = object_is(object, OBJECT_UNANSWERED) ? RECORD_UNANSWERED : 0,
		.attr = object->attr,
		.path = path,
	};
	enum mc_status status = object_path(object, path, &record.path_size);

	if (status)
		return status;
	*size = record_encode(&record, bytes);
	return MC_OK;
}

static void rewrite_record_locked(struct node *node, struct object *object)
{
	uint8_t bytes[RECORD_SIZE_MAX];
	size_t size;

	if (!object->parent || object->draft_fd >= 0 || node_record_locked(object, bytes, &size))
		return;
	if (pool_record_id(node->pool, object->attr.id, bytes, size))
		log_debug("an object's record was not rewritten id=%" PRIx64, object->attr.id);
}

void node_rewrite_record(struct node *node, struct object *object)
{
	WITH_LOCK(&node->lock);
	if (!object_is(object, OBJECT_PUBLISHING))
		rewrite_record_locked(node, object);
}

/* -- publish -- */

static void publishing_free(struct publishing *p)
{
	node_unref(p->node, p->offer.object);
	node_unref(p->node, p->offer.parent);
	free(p->offer.name);
	free(p->placement);
	free(p);
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

/* What was set on a draft and was not in the offer: it follows the object to the master. */
struct follow {
	uint32_t mask; /* enum mc_attr_mask */
	struct mc_attr attr;
	uint8_t *xattrs; /* NULL: none */
	size_t xattrs_size;
};

/* Of PLACED_FLAGS, those that were set on the draft since it was offered. */
static uint32_t placed_since(const struct publishing *p)
{
	uint32_t changed = p->offer.object->attr.flags ^ p->offer.attr.flags;
	uint32_t since = changed & (uint32_t)MC_ATTR_PINNED;

	if (!p->first) /* the master was asked */
		return 0;
	return changed & MC_ATTR_REPLICAS ? since | MC_ATTR_REPLICAS : since;
}

static bool same_time(struct mc_time a, struct mc_time b)
{
	return a.s == b.s && a.ns == b.ns;
}

static void follow_take_locked(const struct publishing *p, struct follow *f)
{
	const struct mc_attr *now = &p->offer.object->attr, *offered = &p->offer.attr;

	*f = (struct follow){.attr = *now};
	if (!p->first)
		return;
	f->mask |= now->mode != offered->mode ? MC_SET_MODE : 0;
	f->mask |= now->uid != offered->uid ? MC_SET_UID : 0;
	f->mask |= now->gid != offered->gid ? MC_SET_GID : 0;
	f->mask |= same_time(now->atime, offered->atime) ? 0 : MC_SET_ATIME;
	f->mask |= placed_since(p) & MC_ATTR_PINNED ? MC_SET_PINNED : 0;
	f->mask |= placed_since(p) & MC_ATTR_REPLICAS ? MC_SET_REPLICAS : 0;
	if (!object_is(p->offer.object, OBJECT_DIRTY)) /* else the next publish tells */
		f->mask |= same_time(now->mtime, offered->mtime) ? 0 : MC_SET_MTIME;
	if (p->offer.object->xattrs)
		f->xattrs = node_xattrs_copy_locked(p->offer.object, &f->xattrs_size);
}

static void follow_send(struct node *node, uint64_t id, struct follow *f)
{
	struct writer w;

	if (f->mask) {
		writer_init(&w);
		put_u64(&w, id);
		put_u32(&w, f->mask | MC_SET_CTIME);
		put_attr(&w, &f->attr);
		node_ask(node, MC_VERB_SETATTR, &w, node_ignore_reply, NULL);
	}
	if (f->xattrs)
		send_xattrs(node, id, f->xattrs, f->xattrs_size);
	free(f->xattrs);
}

void node_replaced_locked(struct node *node, struct object *object)
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
	node_condemn_locked(node, object, false);
	object_unref(&node->objects, object);
}

static void place_locked(struct object *object, const struct mc_attr *attr, uint32_t flags)
{
	object->attr.flags = (object->attr.flags & ~flags) | (attr->flags & flags);
}

void node_placed_locked(struct object *object, const struct mc_attr *attr)
{
	place_locked(object, attr, PLACED_FLAGS);
}

/* The master has the object: its file counts as one of the pool's from now on. */
static void published_file_locked(struct node *node, struct publishing *p,
				  const struct mc_attr *attr)
{
	struct object *object = p->offer.object;
	uint64_t allocated = object_is(object, OBJECT_PUBLISHED) ? object->attr.allocated : 0;

	object->attr.version = attr->version;
	object->attr.allocated = p->offer.attr.allocated;
	object->attr.nlink = object_is(object, OBJECT_REMOVED) ? 0 : 1;
	place_locked(object, attr, PLACED_FLAGS & ~placed_since(p));
	counter_add(&node->counters, COUNTER_PUBLISHES, 1);
	if (p->first)
		node->local_count++;
	node->local_bytes += p->offer.attr.allocated - allocated;
	pool_account(node->pool, (int64_t)(p->offer.attr.allocated - allocated));
	sieve_remove_locked(node, object); /* while the flags say of which list */
	object->flags |= OBJECT_PUBLISHED;
	object->flags &= ~(uint32_t)(OBJECT_RESERVED | OBJECT_CACHE | OBJECT_UNANSWERED);
	if (object->draft_fd >= 0) {
		close(object->draft_fd);
		object->draft_fd = -1;
	}
}

/* The object that the name meant here when the publish began, where it lost it to a lookup. */
static uint64_t left_over_locked(struct node *node, const struct publishing *p)
{
	const struct object *over =
		p->offer.over ? object_find(&node->objects, p->offer.over) : NULL;

	return over && object_is(over, OBJECT_LOCAL | OBJECT_PUBLISHED) &&
			       !(over->flags & (OBJECT_NAMED | OBJECT_REMOVED))
		       ? p->offer.over
		       : 0;
}

/*
 * The object takes its name; what had the name is gone.  Returns the id of what may
 * be gone as well, 0: nothing.
 */
static uint64_t published_locked(struct node *node, struct publishing *p,
				 const struct mc_attr *attr)
{
	struct object *object = p->offer.object;
	struct object *parent = p->offer.parent;
	const char *name = p->offer.name;

	published_file_locked(node, p, attr);
	object->known_session = node->session;
	if (object_is(object, OBJECT_REMOVED)) {
		node_discard_locked(node, object);
		return 0;
	}
	if (attr->nlink == 0) { /* published, and gone again before we heard of it */
		node_lost_name_locked(node, object);
		node_removed_locked(node, object);
		return 0;
	}
	struct object *other = object_lookup(&node->objects, parent->attr.id, name, strlen(name));
	if (other && other != object)
		node_replaced_locked(node, other);
	node_replacement_end_locked(node, object);
	if (other != object &&
	    object_name(&node->objects, object, parent, name, strlen(name)) != MC_OK)
		log_warn("out of memory, a published object is not known by name id=%" PRIx64,
			 object->attr.id);
	sieve_add_locked(node, object);
	return left_over_locked(node, p);
}

static void publish_begin(struct publishing *p);

/* Let the next publish of the same object go; if none waits, it may have been closed meanwhile. */
static void publish_next(struct node *node, struct object *object)
{
	node_lock(node);
	object->flags &= ~(uint32_t)OBJECT_PUBLISHING;
	struct publishing **at = &node->publishing;
	while (*at && (*at)->offer.object != object)
		at = &(*at)->next;
	struct publishing *next = *at;
	if (next) {
		*at = next->next;
	} else if (object->writers == 0) {
		node_linger_locked(node, object);
		node_claim_settle_locked(node, object);
	}
	bool waited = node->doubt_waits != NULL;
	node_unlock(node);
	if (next)
		publish_begin(next);
	if (waited)
		node_offer_over(node, object);
}

static void publish_answer(struct publishing *p, enum mc_status status)
{
	p->done(p->context, status, p->offer.object);
	publishing_free(p);
}

static void publish_end(struct publishing *p, enum mc_status status)
{
	publish_next(p->node, p->offer.object);
	publish_answer(p, status);
}

static void copies_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct publishing *p = context;

	(void)body;
	(void)resent;
	/* It was replaced or removed meanwhile: nobody needs its copies. */
	if (status == MC_NOT_FOUND)
		status = MC_OK;
	if (status)
		log_warn("published with fewer copies than asked for name=\"%s\" id=%" PRIx64
			 " status=\"%s\"",
			 p->offer.name, p->offer.attr.id, mc_status_text(status));
	publish_answer(p, node_change_status(status));
}

/* Wait until other nodes have copies; they pull them from here meanwhile. */
static void copies_await(struct publishing *p, uint64_t version, unsigned count)
{
	struct writer w;

	publish_next(p->node, p->offer.object);
	writer_init(&w);
	put_u64(&w, p->offer.attr.id);
	put_u64(&w, version);
	put_u8(&w, (uint8_t)count);
	node_ask(p->node, MC_VERB_AWAIT, &w, copies_reply, p);
}

/* A draft under the final name that it was to be published by. */
static bool own_name_locked(const struct publishing *p)
{
	const struct object *object = p->offer.object;

	return !object_is(object, OBJECT_PUBLISHED) && object->parent == p->offer.parent &&
	       strcmp(object->name, p->offer.name) == 0;
}

/* A draft that neither has a name nor stands behind one. */
static bool nameless(const struct object *object)
{
	return !object_is(object, OBJECT_NAMED) && !object->original;
}

/* The master has it not: the file loses its name. */
static void publish_withdraw_locked(struct publishing *p, enum mc_status status)
{
	struct node *node = p->node;
	struct object *object = p->offer.object;

	if (p->first) /* it can be published again: by another close, or the same rename */
		pool_withdraw(node->pool, object->attr.id);
	object->flags |= OBJECT_DIRTY;
	/* Nobody ever sees it; who has it open may go on in vain. */
	if (own_name_locked(p) || (p->first && nameless(object))) {
		object->lost = status;
		node_lost_name_locked(node, object);
		node_removed_locked(node, object);
	}
}

/* It may work later. */
static bool passes(enum mc_status status)
{
	return status == MC_READ_ONLY || status == MC_UNREACHABLE || status == MC_NO_SPACE ||
	       status == MC_NO_MEMORY || status == MC_AGAIN;
}

static void publish_failed(struct publishing *p, enum mc_status status)
{
	struct node *node = p->node;

	node_lock(node);
	node_offer_end_locked(&p->offer);
	publish_withdraw_locked(p, node_change_status(status));
	/* Its file is changed already, and nobody else can read it before it is published. */
	if (!p->first && passes(status))
		node_linger_again_locked(node, p->offer.object);
	node_unlock(node);
	if (status != MC_EXISTS)
		log_warn("a publish failed name=\"%s\" id=%" PRIx64 " status=\"%s\"", p->offer.name,
			 p->offer.object->attr.id, mc_status_text(status));
	publish_end(p, node_change_status(status));
}

/* -- in doubt -- */

/*
 * The writer hears of it, and the offer stands until the master has said what became
 * of it.  Under its final name the object is shown when the master shows it.
 */
static void publish_doubted(struct publishing *p, enum mc_status status)
{
	struct node *node = p->node;
	struct object *object = p->offer.object;
	node_done_fn *done = p->done;
	void *context = p->context;

	log_warn("a publish is in doubt name=\"%s\" id=%" PRIx64 " status=\"%s\"", p->offer.name,
		 object->attr.id, mc_status_text(status));
	node_lock(node);
	object_ref(object);
	node_doubt_name_locked(node, p->offer.parent->attr.id, p->offer.name);
	if (own_name_locked(p)) {
		node_lost_name_locked(node, object);
		object_unname(&node->objects, object);
		node_replacement_end_locked(node, object);
	}
	node_doubt_locked(node, &p->offer);
	node_unlock(node);
	done(context, status, object);
	node_unref(node, object);
	node_doubts_turn(node);
}

void node_publishes_give_up(struct node *node, const struct object *object)
{
	struct publishing *given_up = NULL;

	node_lock(node);
	for (struct publishing **at = &node->publishing; *at;) {
		struct publishing *p = *at;
		if (object ? p->offer.object != object
			   : !object_is(p->offer.object, OBJECT_DOUBT)) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		p->next = given_up;
		given_up = p;
	}
	node_unlock(node);
	while (given_up) {
		struct publishing *next = given_up->next;
		publish_answer(given_up, MC_TIMEOUT);
		given_up = next;
	}
}

/* Its name may have changed meanwhile: who looks for it asks. */
static void settled_locked(struct node *node, struct publishing *p, const struct mc_attr *attr)
{
	struct object *object = p->offer.object;

	published_file_locked(node, p, attr);
	object->known_session = 0;
	node_lost_name_locked(node, object);
	if (p->first)
		object_unname(&node->objects, object);
	sieve_add_locked(node, object);
}

/* A version that is not the first has gone from the master with its object. */
static void lost_locked(struct node *node, struct publishing *p)
{
	struct object *object = p->offer.object;

	if (p->first) {
		publish_withdraw_locked(p, MC_TIMEOUT);
		return;
	}
	node->events.let_go(node->events.context, object);
	node_forget_name_locked(node, object);
	node_discard_locked(node, object);
	object->known_session = 0;
}

void node_offer_settle(struct node *node, struct offer *offer, const struct mc_attr *attr)
{
	struct publishing *p = (struct publishing *)offer;
	struct object *object = offer->object;
	struct follow follow = {0};

	log_info("a publish in doubt was %s name=\"%s\" id=%" PRIx64, attr ? "done" : "not done",
		 offer->name, offer->attr.id);
	node_lock(node);
	if (attr) {
		follow_take_locked(p, &follow);
		settled_locked(node, p, attr);
		rewrite_record_locked(node, object);
	} else {
		lost_locked(node, p);
	}
	node_unlock(node);
	follow_send(node, object->attr.id, &follow);
	if (attr && p->first) /* so that it has its name here as well, if it still has it */
		node_lookup(node, offer->parent->attr.id, offer->name, node_ignore_done, NULL);
	if (!attr)
		node_publishes_give_up(node, object);
	publish_next(node, object);
	publishing_free(p);
}

void node_offer_drop(struct offer *offer)
{
	publishing_free((struct publishing *)offer);
}

static void publish_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct publishing *p = context;
	struct node *node = p->node;
	struct mc_attr attr;
	struct follow follow;

	(void)resent;
	failpoint("put.answered");
	status = read_item(status, body);
	if (!status) {
		get_attr(body, &attr);
		if (body->failed)
			status = MC_PROTOCOL;
	}
	if (status == MC_TIMEOUT || status == MC_CANCELLED) {
		publish_doubted(p, status);
		return;
	}
	if (status) {
		publish_failed(p, status);
		return;
	}
	node_lock(node);
	node_offer_end_locked(&p->offer);
	follow_take_locked(p, &follow);
	uint64_t left_over = published_locked(node, p, &attr);
	if (p->offer.exclusive || attr.version != p->offer.attr.version ||
	    ((p->offer.object->attr.flags ^ p->offer.attr.flags) & PLACED_FLAGS))
		rewrite_record_locked(node, p->offer.object);
	node_unlock(node);
	follow_send(node, p->offer.object->attr.id, &follow);
	if (left_over)
		node_ask_about(node, &left_over, 1, NULL, NULL);
	failpoint("put.published");
	if (MC_ATTR_ACK_GET(attr.flags) > 0)
		copies_await(p, attr.version, MC_ATTR_ACK_GET(attr.flags));
	else
		publish_end(p, MC_OK);
}

static void publish_send(struct publishing *p)
{
	struct writer w;

	failpoint("put.linked");
	node_lock(p->node);
	node_offer_locked(p->node, &p->offer);
	node_unlock(p->node);
	writer_init(&w);
	put_u16(&w, 1);
	put_u64(&w, p->offer.parent->attr.id);
	put_string(&w, p->offer.name, strlen(p->offer.name));
	put_u32(&w, p->flags);
	put_attr(&w, &p->offer.attr);
	if (p->placement)
		put_placement(&w, p->placement);
	node_ask(p->node, MC_VERB_PUBLISH, &w, publish_reply, p);
	failpoint("put.sent");
}

/* Give the draft its name in the pool, or the committed file its new record. */
static enum mc_status publish_commit(struct publishing *p, const uint8_t *bytes, size_t size)
{
	struct pool *pool = p->node->pool;
	uint64_t id = p->offer.attr.id;

	if (!p->first)
		return pool_record_id(pool, id, bytes, size);
	enum mc_status status = pool_record(pool, p->offer.object->draft_fd, bytes, size);
	failpoint("put.recorded");
	if (!status)
		status = pool_commit(pool, p->offer.object->draft_fd, id);
	if (status == MC_EXISTS) {
		pool_remove(pool, id); /* of a publish that failed half-way */
		status = pool_commit(pool, p->offer.object->draft_fd, id);
	}
	return status;
}

/* Fix what is offered: the state of the file now. */
static enum mc_status publish_snapshot(struct publishing *p, uint8_t *bytes, size_t *size)
{
	struct node *node = p->node;
	struct object *object = p->offer.object;
	uint64_t now = clock_real_ns();

	WITH_LOCK(&node->lock);
	if (!object_is(object, OBJECT_LOCAL) || object_is(object, OBJECT_REMOVED))
		return object->lost ? object->lost : MC_STALE; /* while it waited for another */
	node_sync_locked(node, object);
	object->flags &= ~(uint32_t)OBJECT_DIRTY;
	p->first = object->draft_fd >= 0;
	p->offer.exclusive = p->flags & MC_PUBLISH_EXCLUSIVE;
	const struct object *other = object_lookup(&node->objects, p->offer.parent->attr.id,
						   p->offer.name, strlen(p->offer.name));
	p->offer.over = other && other != object ? other->attr.id : 0;
	p->offer.attr = object->attr;
	p->offer.attr.nlink = 1;
	p->offer.attr.version = now > object->attr.version ? now : object->attr.version + 1;
	struct object named = *object; /* as it will stand */
	named.attr = p->offer.attr;
	named.parent = p->offer.parent;
	named.name = p->offer.name;
	named.flags &= ~(uint32_t)(OBJECT_CACHE | OBJECT_UNANSWERED);
	if (p->offer.exclusive)
		named.flags |= OBJECT_UNANSWERED;
	return node_record_locked(&named, bytes, size);
}

static void publish_begin(struct publishing *p)
{
	uint8_t bytes[RECORD_SIZE_MAX];
	size_t size;
	struct node *node = p->node;

	node_lock(node);
	bool wait = object_is(p->offer.object, OBJECT_PUBLISHING);
	bool ended = node->stopping && object_is(p->offer.object, OBJECT_DOUBT);
	if (wait && !ended) {
		struct publishing **last = &node->publishing;
		while (*last)
			last = &(*last)->next;
		*last = p;
	}
	p->offer.object->flags |= OBJECT_PUBLISHING;
	node_unlock(node);
	if (ended)
		publish_answer(p, MC_CANCELLED);
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

/*
 * What is said of the copies of this put: by attributes that were set on the
 * draft, which count before all else, and by the mount.
 */
static void placement_take_locked(struct publishing *p)
{
	const struct object *object = p->offer.object;
	struct mc_placement said = p->node->config.placement;
	uint32_t replicas = MC_ATTR_REPLICAS_GET(object->attr.flags);
	char ack[4], preferred[MC_REPLICA_MAX * MC_NODE_NAME_SIZE];
	bool has_ack = node_xattr_text_locked(object, "user.mooncake.ack", ack, sizeof(ack));
	bool has_preferred = node_xattr_text_locked(object, "user.mooncake.preferred", preferred,
						    sizeof(preferred));

	if (replicas)
		said.replicas = (uint8_t)(replicas < MC_REPLICA_MAX ? replicas : MC_REPLICA_MAX);
	if (has_ack && ack[0] >= '1' && ack[0] <= '8' && !ack[1])
		said.ack = (uint8_t)(ack[0] - '0');
	if (has_preferred && !placement_names_read(preferred, &said))
		log_debug("an attribute names no nodes value=\"%s\"", preferred);
	if (!said.replicas && !said.ack && !said.preferred_count)
		return;
	p->placement = malloc(sizeof(*p->placement));
	if (!p->placement)
		return;
	*p->placement = said;
	p->flags |= MC_PUBLISH_PLACED;
	if (replicas || has_ack || has_preferred)
		p->flags |= MC_PUBLISH_OWN;
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
	*p = (struct publishing){.node = node};
	p->offer =
		(struct offer){.object = publish->object, .parent = publish->parent, .name = name};
	p->flags = publish->flags;
	p->done = done;
	p->context = context;
	node_lock(node);
	if (node->config.immutable && !object_is(p->offer.object, OBJECT_PUBLISHED))
		p->flags |= MC_PUBLISH_EXCLUSIVE;
	placement_take_locked(p);
	object_ref(p->offer.object);
	object_ref(p->offer.parent);
	node_unlock(node);
	publish_begin(p);
}
