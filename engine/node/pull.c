#include "engine/node/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "engine/node/record.h"

/*
 * One pull per object, however many open it:
 *
 *   choose a replica and a transport -> begin (room, a draft, its map)
 *     -> bytes -> commit -> the object is LOCAL | CACHE, who waited goes on
 *     -> or the owner lends its file: the object has a `borrow`
 *   a replica that fails costs its turn; when all have failed, the master is
 *   asked once more where the object is
 *
 * Of an object above the stream threshold, opens are answered as soon as it
 * has begun, and reads wait for their range.
 */

#define PULL_GRAIN (64u << 10) /* ranges are tracked in units of this */

struct waiter {
	struct waiter *next;
	struct op *op;
	uint64_t offset; /* of a read that waits for a range */
	uint64_t length;
	bool range;
	bool write;
};

struct pull {
	struct transport_pull base; /* first: the transport hands this back */
	struct pull *next;	    /* in node->pulls, under its lock */
	struct node *node;
	struct object *object; /* counted */
	struct transport *transport;
	bool copy;	/* bytes of our own are wanted, not a loan */
	bool refreshed; /* the master was asked again */
	bool begun;
	bool streaming;
	uint32_t tried; /* bit i: replica i of the object */
	int fd;		/* the draft */
	void *memory;
	struct mc_attr attr;
	uint64_t *arrived;	/* bits, one a grain */
	struct waiter *waiters; /* protected by node->lock */
};

struct borrow {
	struct transport *transport;
	void *loan;
	int fd;
};

/* -- waiting -- */

static void opened_locked(struct node *node, struct object *object, uint32_t flags)
{
	object->opens++;
	object->flags |= OBJECT_VISITED;
	if (flags & NODE_OPEN_WRITE) {
		object->writers++;
		node->writers++;
		sieve_remove_locked(node, object);
	}
}

/* Take the waiters that can go on now: all, or those for whom `ready` holds. */
static struct waiter *take_waiters_locked(struct pull *pull,
					  bool (*ready)(const struct pull *, const struct waiter *))
{
	struct waiter *taken = NULL;

	for (struct waiter **at = &pull->waiters; *at;) {
		struct waiter *w = *at;
		if (ready && !ready(pull, w)) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		w->next = taken;
		taken = w;
	}
	return taken;
}

static void finish_waiters(struct node *node, struct waiter *list, struct object *object,
			   enum mc_status status)
{
	while (list) {
		struct waiter *next = list->next;
		struct op *op = list->op;
		bool again = false;
		if (!status && !list->range) {
			node_lock(node);
			again = list->write && !object_is(object, OBJECT_LOCAL);
			if (!again)
				opened_locked(node, object, op->flags);
			node_unlock(node);
		}
		if (again) { /* it was lent for readers meanwhile */
			node_open_object(node, object, op->flags, (int32_t)op->stamp, op->done,
					 op->context);
			op_free(op);
		} else {
			op_end(op, status, status ? NULL : object);
		}
		free(list);
		list = next;
	}
}

static bool range_there(const struct pull *pull, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length < pull->attr.size ? offset + length : pull->attr.size;

	for (uint64_t grain = offset / PULL_GRAIN; grain * PULL_GRAIN < end; grain++) {
		if (!(pull->arrived[grain / 64] & 1ull << grain % 64))
			return false;
	}
	return true;
}

static bool waiter_streams(const struct pull *pull, const struct waiter *w)
{
	(void)pull;
	return !w->range && !w->write;
}

static bool waiter_range_there(const struct pull *pull, const struct waiter *w)
{
	return w->range && range_there(pull, w->offset, w->length);
}

/* -- the draft that is filled -- */

static void drop_draft(struct pull *pull)
{
	if (pull->memory)
		munmap(pull->memory, pull->attr.size);
	pull->memory = NULL;
	if (pull->fd >= 0)
		close(pull->fd);
	pull->fd = -1;
	free(pull->arrived);
	pull->arrived = NULL;
	pull->begun = false;
}

static enum mc_status open_draft(struct pull *pull, const struct mc_attr *attr)
{
	struct node *node = pull->node;
	enum mc_status status = node_make_room(node, attr->allocated);

	if (!status)
		status = pool_draft(node->pool, &pull->fd);
	if (status)
		return status;
	pull->attr = *attr;
	if (ftruncate(pull->fd, (off_t)attr->size) < 0)
		return mc_status_from_errno(errno);
	if (attr->size == 0)
		return MC_OK;
	void *memory = mmap(NULL, attr->size, PROT_READ | PROT_WRITE, MAP_SHARED, pull->fd, 0);
	if (memory == MAP_FAILED)
		return mc_status_from_errno(errno);
	pull->memory = memory;
	if (attr->size < node->config.stream_threshold)
		return MC_OK;
	pull->arrived = calloc(attr->size / PULL_GRAIN / 64 + 1, sizeof(pull->arrived[0]));
	return pull->arrived ? MC_OK : MC_NO_MEMORY;
}

static enum mc_status sink_begin(struct transport_pull *base, const struct mc_attr *attr,
				 struct transport_target *target)
{
	struct pull *pull = (struct pull *)base;
	struct node *node = pull->node;
	struct waiter *ready = NULL;

	if (pull->begun && (attr->version != pull->attr.version || attr->size != pull->attr.size)) {
		if (pull->streaming)
			return MC_STALE; /* somebody reads the version before */
		drop_draft(pull);
	}
	if (!pull->begun) {
		enum mc_status status = open_draft(pull, attr);
		if (status) {
			drop_draft(pull);
			return status;
		}
		pull->begun = true;
		node_lock(node);
		if (pull->arrived) {
			pull->streaming = true;
			pull->object->attr = pull->attr;
			ready = take_waiters_locked(pull, waiter_streams);
		}
		node_unlock(node);
	}
	*target = (struct transport_target){pull->memory, pull->fd};
	finish_waiters(node, ready, pull->object, MC_OK);
	return MC_OK;
}

enum mc_status node_copy_file(int from, int to, uint64_t size)
{
	off_t offset = 0;

	while ((uint64_t)offset < size) {
		ssize_t sent = sendfile(to, from, &offset, size - (uint64_t)offset);
		if (sent < 0 && errno != EINTR)
			return mc_status_from_errno(errno);
		if (sent == 0)
			return MC_IO;
	}
	return MC_OK;
}

static enum mc_status sink_lend(struct transport_pull *base, const struct mc_attr *attr, int fd,
				void *loan)
{
	struct pull *pull = (struct pull *)base;
	struct node *node = pull->node;
	enum mc_status status;

	if (pull->streaming && attr->version != pull->attr.version) {
		close(fd);
		pull->transport->ops->give_back(pull->transport, loan);
		return MC_STALE; /* somebody reads the version before */
	}
	if (!pull->streaming)
		drop_draft(pull); /* of a replica that failed half-way */
	if (pull->copy || pull->streaming) {
		status = pull->streaming ? MC_OK : open_draft(pull, attr);
		if (!status)
			status = node_copy_file(fd, pull->fd, attr->size);
		pull->begun = pull->streaming || !status;
		if (!pull->begun)
			drop_draft(pull);
		close(fd);
		pull->transport->ops->give_back(pull->transport, loan);
		return status;
	}
	struct borrow *borrow = malloc(sizeof(*borrow));
	if (!borrow) {
		close(fd);
		pull->transport->ops->give_back(pull->transport, loan);
		return MC_NO_MEMORY;
	}
	*borrow = (struct borrow){.transport = pull->transport, .loan = loan, .fd = fd};
	WITH_LOCK(&node->lock);
	pull->attr = *attr;
	MUST(!pull->object->borrow);
	pull->object->borrow = borrow;
	return MC_OK;
}

void node_borrow_end_locked(struct node *node, struct object *object)
{
	struct borrow *borrow = object->borrow;

	object->borrow = NULL;
	node->events.let_go(node->events.context, object);
	close(borrow->fd);
	borrow->transport->ops->give_back(borrow->transport, borrow->loan);
	free(borrow);
}

static void sink_arrived(struct transport_pull *base, uint64_t offset, uint64_t length)
{
	struct pull *pull = (struct pull *)base;
	uint64_t first = (offset + PULL_GRAIN - 1) / PULL_GRAIN;
	uint64_t end = (offset + length) / PULL_GRAIN;

	if (!pull->arrived)
		return;
	if (offset + length == pull->attr.size)
		end = (offset + length + PULL_GRAIN - 1) / PULL_GRAIN;
	node_lock(pull->node);
	for (uint64_t grain = first; grain < end; grain++)
		pull->arrived[grain / 64] |= 1ull << grain % 64;
	struct waiter *ready = take_waiters_locked(pull, waiter_range_there);
	node_unlock(pull->node);
	finish_waiters(pull->node, ready, pull->object, MC_OK);
}

/* -- the end of a pull -- */

static void added(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct op *op = context;
	struct node *node = op->node;

	(void)resent;
	status = read_item(status, body);
	if (status == MC_NOT_FOUND || status == MC_STALE) {
		node_lock(node);
		if (object_is(op->object, OBJECT_CACHE) && op->object->writers == 0) {
			node->events.let_go(node->events.context, op->object);
			node_discard_locked(node, op->object);
			op->object->known_session = 0;
		}
		node_unlock(node);
	}
	op_free(op);
}

static void tell_master(struct node *node, struct object *object)
{
	struct op *op = op_new(node, object, NULL, NULL, NULL, node_ignore_done, NULL);
	struct writer w;

	if (!op)
		return;
	writer_init(&w);
	put_u16(&w, 1);
	put_u8(&w, 0);
	put_u64(&w, object->attr.id);
	put_u64(&w, object->attr.version);
	put_u8(&w, MC_REPLICA_CACHE);
	node_ask(node, MC_VERB_REPLICA, &w, added, op);
}

/* The draft becomes this node's copy. */
static enum mc_status commit(struct pull *pull)
{
	struct node *node = pull->node;
	struct object *object = pull->object;
	uint8_t bytes[RECORD_SIZE_MAX];
	char path[MC_PATH_MAX + 1];
	struct record record = {.kind = MC_REPLICA_CACHE, .attr = pull->attr, .path = path};

	node_lock(node);
	enum mc_status status = object_path(object, path, &record.path_size);
	node_unlock(node);
	if (status)
		return status;
	record.attr.nlink = 1;
	size_t size = record_encode(&record, bytes);
	status = pool_record(node->pool, pull->fd, bytes, size);
	if (status)
		return status;
	pool_mark(node->pool, pull->attr.id, pull->fd);
	WITH_LOCK(&node->lock);
	pool_remove(node->pool, pull->attr.id);
	status = pool_commit(node->pool, pull->fd, pull->attr.id);
	if (status)
		return status;
	uint32_t kept = object->attr.flags;
	object->attr = record.attr;
	object->attr.flags = kept;
	object_ref(object); /* the pool's */
	object->flags |= OBJECT_LOCAL | OBJECT_CACHE | OBJECT_PUBLISHED;
	object->draft_fd = -1;
	node->local_count++;
	node->local_bytes += object->attr.allocated;
	pool_account(node->pool, (int64_t)object->attr.allocated);
	return MC_OK;
}

static void count_pull(struct pull *pull)
{
	const char *name = pull->transport->ops->name;
	enum counter counter = strcmp(name, "tcp") == 0	  ? COUNTER_PULLS_TCP
			       : strcmp(name, "shm") == 0 ? COUNTER_PULLS_SHM
							  : COUNTER_PULLS_OTHER;

	counter_add(&pull->node->counters, counter, 1);
	if (pull->begun)
		counter_add(&pull->node->counters, COUNTER_PULL_BYTES, pull->attr.size);
}

static void pull_end(struct pull *pull, enum mc_status status)
{
	struct node *node = pull->node;
	struct object *object = pull->object;

	if (!status) {
		count_pull(pull);
		if (pull->begun)
			status = commit(pull);
	}
	bool committed = !status && pull->begun;
	node_lock(node);
	object->pull = NULL;
	struct pull **at = &node->pulls;
	while (*at != pull)
		at = &(*at)->next;
	*at = pull->next;
	if (status && pull->streaming && object->opens > 0)
		object->flags |= OBJECT_BROKEN;
	struct waiter *waiters = take_waiters_locked(pull, NULL);
	node_unlock(node);
	drop_draft(pull);
	if (committed)
		tell_master(node, object);
	finish_waiters(node, waiters, object, status);
	node_lock(node);
	if (object->opens == 0 && object->borrow)
		node_borrow_end_locked(node, object); /* nobody waited for it any more */
	if (object->opens == 0)
		sieve_add_locked(node, object);
	object_unref(&node->objects, object);
	node_unlock(node);
	free(pull);
}

/* -- the choice of a replica -- */

struct choice {
	struct transport *transport;
	char endpoint[MC_ENDPOINT_SIZE];
	uint32_t replica;
	unsigned score;
};

static void consider_node(struct node *node, const struct mc_node *peer, uint32_t replica,
			  struct choice *best)
{
	for (uint32_t e = 0; e < peer->endpoint_count; e++) {
		for (unsigned t = 0; t < node->transport_count; t++) {
			struct transport *transport = node->transports[t];
			unsigned score = transport->ops->score(transport, peer->endpoints[e]);
			if (score <= best->score)
				continue;
			best->score = score;
			best->transport = transport;
			best->replica = replica;
			memcpy(best->endpoint, peer->endpoints[e], MC_ENDPOINT_SIZE);
		}
	}
}

static bool choose_locked(struct pull *pull, struct choice *best)
{
	struct node *node = pull->node;
	struct object *object = pull->object;

	*best = (struct choice){0};
	for (uint32_t i = 0; i < object->replica_count; i++) {
		if (pull->tried & 1u << i || object->replicas[i].node == node->id)
			continue;
		for (uint32_t n = 0; n < node->node_count; n++) {
			if (node->nodes[n].id == object->replicas[i].node)
				consider_node(node, &node->nodes[n], i, best);
		}
	}
	return best->transport != NULL;
}

static const struct transport_sink sink;
static void pull_next(struct pull *pull, enum mc_status last);

static void refreshed(void *context, enum mc_status status, struct object *object)
{
	struct pull *pull = context;

	if (!status && object != pull->object)
		status = MC_STALE; /* the name means another object now */
	if (status) {
		pull_end(pull, status);
		return;
	}
	pull->tried = 0;
	pull->refreshed = true;
	pull_next(pull, MC_NOT_FOUND);
}

static void pull_refresh(struct pull *pull, enum mc_status last)
{
	struct node *node = pull->node;

	node_lock(node);
	struct object *object = pull->object;
	uint64_t parent = object->parent ? object->parent->attr.id : 0;
	char *name = object->parent ? strdup(object->name) : NULL;
	node_unlock(node);
	if (!name || pull->refreshed)
		pull_end(pull, last == MC_STALE || last == MC_UNREACHABLE ? MC_NOT_FOUND : last);
	else
		node_lookup(node, parent, name, refreshed, pull);
	free(name);
}

/* Try the best replica that is left. */
static void pull_next(struct pull *pull, enum mc_status last)
{
	struct node *node = pull->node;
	struct choice choice;

	node_lock(node);
	bool chosen = choose_locked(pull, &choice) && !node->stopping;
	if (chosen) {
		pull->tried |= 1u << choice.replica;
		pull->transport = choice.transport;
		pull->base = (struct transport_pull){
			.sink = &sink,
			.id = pull->object->attr.id,
			.version = pull->object->attr.version,
			.deadline_ns = clock_ns() + node->config.timeout_ms * 1000000ull,
			.step_ms = node->config.timeout_ms,
		};
	}
	node_unlock(node);
	if (chosen)
		choice.transport->ops->pull(choice.transport, choice.endpoint, &pull->base);
	else
		pull_refresh(pull, last);
}

static void sink_done(struct transport_pull *base, enum mc_status status)
{
	struct pull *pull = (struct pull *)base;
	struct node *node = pull->node;

	if (status == MC_OK || status == MC_NO_SPACE || status == MC_CANCELLED ||
	    status == MC_NO_MEMORY) {
		pull_end(pull, status);
		return;
	}
	counter_add(&node->counters, COUNTER_PULL_FAILURES, 1);
	log_debug("a replica could not be pulled id=%" PRIx64 " status=\"%s\"", base->id,
		  mc_status_text(status));
	pull_next(pull, status);
}

static const struct transport_sink sink = {
	.begin = sink_begin,
	.lend = sink_lend,
	.arrived = sink_arrived,
	.done = sink_done,
};

static struct pull *pull_new_locked(struct node *node, struct object *object, bool copy)
{
	struct pull *pull = calloc(1, sizeof(*pull));

	if (!pull)
		return NULL;
	object_ref(object);
	*pull = (struct pull){.node = node, .object = object, .copy = copy, .fd = -1};
	object->pull = pull;
	pull->next = node->pulls;
	node->pulls = pull;
	return pull;
}

/* Wait for the pull of the object, beginning one where there is none. */
static void pull_wait(struct op *op)
{
	struct node *node = op->node;
	struct object *object = op->object;
	struct waiter *waiter = calloc(1, sizeof(*waiter));
	struct pull *begun = NULL;

	if (!waiter) {
		op_end(op, MC_NO_MEMORY, NULL);
		return;
	}
	*waiter = (struct waiter){.op = op, .write = op->flags & NODE_OPEN_WRITE};
	node_lock(node);
	if (!object->pull)
		begun = pull_new_locked(node, object, waiter->write);
	if (object->pull) {
		waiter->next = object->pull->waiters;
		object->pull->waiters = waiter;
	}
	bool failed = !object->pull;
	node_unlock(node);
	if (failed) {
		free(waiter);
		op_end(op, MC_NO_MEMORY, NULL);
	} else if (begun) {
		pull_next(begun, MC_NOT_FOUND);
	}
}

/* Cancel each; true: none is left.  One that goes on to another replica is met again. */
static bool cancel_once(struct node *node)
{
	WITH_LOCK(&node->lock);
	for (struct pull *pull = node->pulls; pull; pull = pull->next) {
		if (pull->transport)
			pull->transport->ops->cancel(pull->transport, &pull->base);
	}
	return node->pulls == NULL;
}

void node_pulls_cancel(struct node *node)
{
	for (int tries = 0; tries < 200 && !cancel_once(node); tries++)
		usleep(5000);
}

/* -- open -- */

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
		if ((flags & NODE_OPEN_TRUNCATE) && object->draft_fd >= 0 &&
		    ftruncate(object->draft_fd, 0) < 0)
			*status = mc_status_from_errno(errno);
		if (!*status)
			opened_locked(node, object, flags);
		return OPEN_DONE;
	}
	if (object_is(object, OBJECT_REMOVED)) {
		*status = MC_STALE; /* perhaps its name means another one by now */
		return OPEN_DONE;
	}
	if (!write && (object->borrow || (object->pull && object->pull->streaming))) {
		opened_locked(node, object, flags);
		return OPEN_DONE;
	}
	/* Readers have a peer's file: a writer gets a draft with the same bytes. */
	return write && object->borrow ? OPEN_REPLACE : OPEN_PULL;
}

void node_open_object(struct node *node, struct object *object, uint32_t flags, int32_t tid,
		      node_done_fn *done, void *context)
{
	enum mc_status status;

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
	struct op *op = op_new(node, object, NULL, NULL, NULL, done, context);
	if (!op)
		return;
	op->flags = flags;
	op->stamp = (uint64_t)tid;
	pull_wait(op);
}

bool node_arriving_locked(struct node *node, struct object *object)
{
	(void)node;
	return !object_is(object, OBJECT_DIRECTORY) && !object_is(object, OBJECT_LOCAL) &&
	       object->pull && object->pull->streaming;
}

void node_await(struct node *node, struct object *object, uint64_t offset, uint64_t length,
		node_done_fn *done, void *context)
{
	struct op *op = op_new(node, object, NULL, NULL, NULL, done, context);
	struct waiter *waiter = calloc(1, sizeof(*waiter));

	if (!op || !waiter) {
		free(waiter);
		if (op)
			op_end(op, MC_NO_MEMORY, NULL);
		return;
	}
	*waiter = (struct waiter){.op = op, .offset = offset, .length = length, .range = true};
	node_lock(node);
	struct pull *pull = node_arriving_locked(node, object) ? object->pull : NULL;
	bool there = pull ? range_there(pull, offset, length) : object_is(object, OBJECT_LOCAL);
	bool wait = pull && !there;
	if (wait) {
		waiter->next = pull->waiters;
		pull->waiters = waiter;
		pull->transport->ops->want(pull->transport, &pull->base, offset, length);
	}
	node_unlock(node);
	if (wait)
		return;
	free(waiter);
	op_end(op, there ? MC_OK : MC_IO, there ? object : NULL);
}

static enum mc_status duplicate(int from, int *fd)
{
	int copy = fcntl(from, F_DUPFD_CLOEXEC, 0);

	if (copy < 0)
		return mc_status_from_errno(errno);
	*fd = copy;
	return MC_OK;
}

/* For reading only: what keeps it open must not look like a writer (pool_unwritten). */
static enum mc_status open_again(int from, int *fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", from);
	int again = open(path, O_RDONLY | O_CLOEXEC);
	if (again < 0)
		return mc_status_from_errno(errno);
	*fd = again;
	return MC_OK;
}

enum mc_status node_descriptor(struct node *node, struct object *object, bool write, int *fd)
{
	WITH_LOCK(&node->lock);
	if (object->draft_fd >= 0)
		return write ? duplicate(object->draft_fd, fd) : open_again(object->draft_fd, fd);
	if (object_is(object, OBJECT_LOCAL))
		return pool_object(node->pool, object->attr.id, write ? O_RDWR : O_RDONLY, fd);
	if (object->borrow && !write)
		return duplicate(object->borrow->fd, fd);
	if (node_arriving_locked(node, object) && !write)
		return duplicate(object->pull->fd, fd);
	return MC_STALE;
}
