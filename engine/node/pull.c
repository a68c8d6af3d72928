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

#include "engine/base/failpoint.h"
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
 * Of an object above the stream threshold that takes long, opens are answered when
 * that is known, and reads wait for their range.
 */

#define PULL_GRAIN	    (64u << 10) /* ranges are tracked in units of this */
#define STREAM_PART	    16		/* of stream_after: enough to know how fast it comes */
#define STALE_REFRESHES_MAX 16u		/* an object that is written all the time is always newer */

struct waiter {
	struct waiter *next;
	struct op *op;
	uint64_t offset; /* of a read that waits for a range */
	uint64_t length;
	bool range;
	bool own; /* bytes of our own are wanted: to write, or to keep */
};

struct pull {
	struct transport_pull base; /* first: the transport hands this back */
	struct pull *next;	    /* in node->pulls, under its lock */
	struct node *node;
	struct object *object; /* counted */
	struct transport *transport;
	bool copy;	    /* bytes of our own are wanted, not a loan */
	unsigned refreshes; /* how often the master was asked again */
	bool begun;
	bool streaming;	  /* may be open already */
	uint32_t owner;	  /* node that is being asked */
	uint32_t tried;	  /* bit i: replica i of the object */
	uint32_t replica; /* of this try, by a transport of that score */
	unsigned score;
	unsigned below;		 /* only transports that score less; 0: any */
	struct stock_file draft; /* fd -1: none; memory NULL: not mapped */
	bool warm;		 /* its pages are there already */
	struct mc_attr attr;
	uint64_t *arrived;	/* bits, one a grain; NULL: below the threshold */
	uint64_t arrived_bytes; /* of this try, which began ... */
	uint64_t begun_ns;	/* ... then */
	struct waiter *waiters; /* protected by node->lock */
};

/* -- waiting -- */

void node_opened_locked(struct node *node, struct object *object, uint32_t flags)
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
			again = list->own && !object_is(object, OBJECT_LOCAL);
			if (!again)
				node_opened_locked(node, object, op->flags);
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
	return !w->range && !w->own;
}

static bool waiter_range_there(const struct pull *pull, const struct waiter *w)
{
	return w->range && range_there(pull, w->offset, w->length);
}

/* -- the draft that is filled -- */

static void drop_draft(struct pull *pull)
{
	if (pull->draft.memory)
		munmap(pull->draft.memory, pull->attr.size);
	pull->draft.memory = NULL;
	if (pull->draft.fd >= 0)
		close(pull->draft.fd);
	stock_forget(pull->node->stock, &pull->draft);
	pull->draft = (struct stock_file){.fd = -1};
	free(pull->arrived);
	pull->arrived = NULL;
	pull->begun = false;
	pull->warm = false;
}

/* One that was kept ready, with all the room that it takes. */
static bool take_draft(struct pull *pull)
{
	if (!stock_take(pull->node->stock, pull->attr.size, &pull->draft))
		return false;
	counter_add(&pull->node->counters, COUNTER_PULLS_STOCKED, 1);
	pull->warm = true;
	return true;
}

static enum mc_status make_draft(struct pull *pull)
{
	uint64_t size = pull->attr.size;
	enum mc_status status = pool_draft(pull->node->pool, &pull->draft.fd);

	if (status)
		return status;
	if (ftruncate(pull->draft.fd, (off_t)size) < 0)
		return mc_status_from_errno(errno);
	if (size == 0)
		return MC_OK;
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, pull->draft.fd, 0);
	if (memory == MAP_FAILED)
		return mc_status_from_errno(errno);
	pull->draft.memory = memory;
	return MC_OK;
}

static enum mc_status open_draft(struct pull *pull, const struct mc_attr *attr)
{
	pull->attr = *attr;
	if (!take_draft(pull)) {
		enum mc_status status = node_make_room(pull->node, attr->allocated);
		if (!status)
			status = make_draft(pull);
		if (status)
			return status;
	}
	if (attr->size < pull->node->config.stream_threshold)
		return MC_OK;
	pull->arrived = calloc(attr->size / PULL_GRAIN / 64 + 1, sizeof(pull->arrived[0]));
	return pull->arrived ? MC_OK : MC_NO_MEMORY;
}

/* A newer version was heard of while this one was on its way. */
static bool superseded_locked(const struct pull *pull, const struct mc_attr *attr)
{
	return pull->object->attr.version > attr->version;
}

/* At the rate so far the whole is not there in stream_after. */
static bool takes_long(const struct pull *pull)
{
	double after_ns = pull->node->config.stream_after_ms * 1e6;
	double past_ns = (double)(clock_ns() - pull->begun_ns);

	return past_ns >= after_ns / STREAM_PART && pull->arrived_bytes < pull->attr.size &&
	       past_ns * (double)pull->attr.size >= after_ns * (double)pull->arrived_bytes;
}

/* Those who only read, who need not wait for the whole. */
static struct waiter *take_streaming_locked(struct pull *pull)
{
	if (pull->streaming || superseded_locked(pull, &pull->attr) || !takes_long(pull))
		return NULL;
	pull->streaming = true;
	object_set_attr(pull->object, &pull->attr);
	return take_waiters_locked(pull, waiter_streams);
}

static enum mc_status begin_draft(struct pull *pull, const struct mc_attr *attr)
{
	enum mc_status status = open_draft(pull, attr);

	node_lock(pull->node);
	if (!status && superseded_locked(pull, attr))
		status = MC_STALE;
	node_unlock(pull->node);
	if (status)
		drop_draft(pull);
	pull->begun = !status;
	return status;
}

static enum mc_status sink_begin(struct transport_pull *base, const struct mc_attr *attr,
				 struct transport_target *target)
{
	struct pull *pull = (struct pull *)base;

	if (pull->begun && (attr->version != pull->attr.version || attr->size != pull->attr.size)) {
		if (pull->streaming)
			return MC_STALE; /* somebody reads the version before */
		drop_draft(pull);
	}
	enum mc_status status = pull->begun ? MC_OK : begin_draft(pull, attr);
	if (status)
		return status;
	struct waiter *ready = NULL;
	if (pull->arrived) {
		pull->begun_ns = clock_ns();
		pull->arrived_bytes = 0;
		node_lock(pull->node);
		ready = take_streaming_locked(pull);
		node_unlock(pull->node);
	}
	/* Filling warm pages through the map is cheapest, cold ones through the file. */
	*target = (struct transport_target){pull->draft.memory, pull->warm ? -1 : pull->draft.fd};
	finish_waiters(pull->node, ready, pull->object, MC_OK);
	return MC_OK;
}

static enum mc_status copy_data(int from, int to, off_t begin, off_t end)
{
	if (lseek(to, begin, SEEK_SET) < 0)
		return mc_status_from_errno(errno);
	while (begin < end) {
		ssize_t sent = sendfile(to, from, &begin, (size_t)(end - begin));
		if (sent < 0 && errno != EINTR)
			return mc_status_from_errno(errno);
		if (sent == 0)
			return MC_IO;
	}
	return MC_OK;
}

/* What is a hole there is one here. */
static enum mc_status copy_hole(int to, off_t begin, off_t end)
{
	if (begin >= end ||
	    fallocate(to, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, begin, end - begin) == 0)
		return MC_OK;
	return mc_status_from_errno(errno);
}

enum mc_status node_copy_file(int from, int to, uint64_t size)
{
	off_t begin = 0, end = 0, all = (off_t)size;
	enum mc_status status = MC_OK;
	struct stat st;

	while (!status && end < all) {
		begin = lseek(from, end, SEEK_DATA);
		if (begin < 0 && errno != ENXIO)
			return mc_status_from_errno(errno);
		if (begin < 0 || begin > all) /* the rest is a hole */
			begin = all;
		status = copy_hole(to, end, begin);
		end = begin;
		if (status || begin == all)
			break;
		end = lseek(from, begin, SEEK_HOLE);
		if (end < 0)
			return mc_status_from_errno(errno);
		status = copy_data(from, to, begin, end < all ? end : all);
	}
	if (!status && (fstat(from, &st) < 0 || st.st_size < all))
		status = MC_IO;
	if (!status && ftruncate(to, all) < 0)
		status = mc_status_from_errno(errno);
	return status;
}

/* Copy what was lent into a draft of our own. */
static enum mc_status copy_lent(struct pull *pull, const struct mc_attr *attr, int fd)
{
	enum mc_status status = pull->streaming ? MC_OK : open_draft(pull, attr);

	if (!status)
		status = node_copy_file(fd, pull->draft.fd, attr->size);
	pull->begun = pull->streaming || !status;
	if (!pull->begun)
		drop_draft(pull);
	return status;
}

static enum mc_status sink_lend(struct transport_pull *base, const struct mc_attr *attr, int lent,
				void *loan)
{
	struct pull *pull = (struct pull *)base;
	struct node *node = pull->node;
	CLEANUP_FD int fd = lent;

	if (pull->streaming && attr->version != pull->attr.version)
		return MC_STALE; /* somebody reads the version before */
	if (!pull->streaming)
		drop_draft(pull); /* of a replica that failed half-way */
	if (pull->copy || pull->streaming) {
		enum mc_status status = copy_lent(pull, attr, fd);
		if (!status)
			pull->transport->ops->give_back(pull->transport, loan);
		return status;
	}
	WITH_LOCK(&node->lock);
	if (superseded_locked(pull, attr))
		return MC_STALE;
	pull->attr = *attr;
	enum mc_status status = node_borrow_locked(node, pull->object, pull->transport, fd, loan);
	if (!status)
		STEAL_FD(fd);
	return status;
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
	pull->arrived_bytes += length;
	node_lock(pull->node);
	for (uint64_t grain = first; grain < end; grain++)
		pull->arrived[grain / 64] |= 1ull << grain % 64;
	struct waiter *ready = pull->streaming ? take_waiters_locked(pull, waiter_range_there)
					       : take_streaming_locked(pull);
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
		if (object_is(op->object, OBJECT_CACHE) && op->object->writers == 0)
			node_drop_locked(node, op->object);
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

/* The draft becomes this node's copy.  MC_STALE: it is not the last version that is known. */
static enum mc_status commit(struct pull *pull)
{
	struct node *node = pull->node;
	struct object *object = pull->object;
	uint8_t bytes[RECORD_SIZE_MAX];
	char path[MC_PATH_MAX + 1];
	struct record record = {.attr = pull->attr, .path = path};
	enum mc_status status = MC_OK;

	node_lock(node);
	bool primary = node_replicating_locked(node, object, path, &record.path_size);
	if (!primary)
		status = object_path(object, path, &record.path_size);
	node_unlock(node);
	record.kind = primary ? MC_REPLICA_PRIMARY : MC_REPLICA_CACHE;
	if (status)
		return status;
	record.attr.nlink = 1;
	size_t size = record_encode(&record, bytes);
	status = pool_record(node->pool, pull->draft.fd, bytes, size);
	if (status)
		return status;
	failpoint("pull.recorded");
	pool_mark(node->pool, pull->attr.id, pull->draft.fd);
	WITH_LOCK(&node->lock);
	if (superseded_locked(pull, &pull->attr))
		return MC_STALE;
	status = stock_name(node->stock, &pull->draft, pull->attr.id);
	if (status == MC_EXISTS) { /* of an older version */
		pool_remove(node->pool, pull->attr.id);
		status = stock_name(node->stock, &pull->draft, pull->attr.id);
	}
	if (status)
		return status;
	pull->draft.from = 0; /* it is nobody else's any more */
	uint32_t kept = object->attr.flags;
	object_set_attr(object, &record.attr);
	object->attr.flags = kept;
	object_ref(object); /* the pool's */
	object->flags |= OBJECT_LOCAL | OBJECT_PUBLISHED | (primary ? 0u : (uint32_t)OBJECT_CACHE);
	object->draft_fd = -1;
	node->local_count++;
	node->local_bytes += object->attr.allocated;
	pool_account(node->pool, (int64_t)object->attr.allocated);
	return MC_OK;
}

static void count_pull(struct pull *pull)
{
	const char *name = pull->transport->ops->name;
	enum counter counter = strcmp(name, "tcp") == 0	   ? COUNTER_PULLS_TCP
			       : strcmp(name, "shm") == 0  ? COUNTER_PULLS_SHM
			       : strcmp(name, "rdma") == 0 ? COUNTER_PULLS_RDMA
							   : COUNTER_PULLS_OTHER;

	counter_add(&pull->node->counters, counter, 1);
	if (pull->begun)
		counter_add(&pull->node->counters, COUNTER_PULL_BYTES, pull->attr.size);
}

static void pull_end(struct pull *pull, enum mc_status status)
{
	struct node *node = pull->node;
	struct object *object = pull->object;

	if (!status)
		count_pull(pull);
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
	/* They go on first: the rest wakes others, perhaps on this core. */
	finish_waiters(node, waiters, object, status);
	drop_draft(pull);
	stock_fill(node->stock);
	node_lock(node);
	bool tell = committed && object_is(object, OBJECT_LOCAL | OBJECT_CACHE);
	node_unlock(node);
	if (tell) {
		failpoint("pull.linked");
		tell_master(node, object);
		failpoint("pull.told");
	}
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
	struct node_reach reach;
	uint32_t replica;
};

static void consider_node(struct pull *pull, const struct mc_node *peer, uint32_t replica,
			  struct choice *best)
{
	struct node_reach reach;

	if (node_reach_locked(pull->node, peer, pull->below, &reach) &&
	    reach.score > best->reach.score)
		*best = (struct choice){reach, replica};
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
			if (node->nodes[n].id == object->replicas[i].node && node->nodes[n].alive)
				consider_node(pull, &node->nodes[n], i, best);
		}
	}
	return best->reach.transport != NULL;
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
	pull->refreshes++;
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
	unsigned refreshes_max = last == MC_STALE ? STALE_REFRESHES_MAX : 1;
	if (!name || pull->refreshes >= refreshes_max) {
		node_disown(node, object);
		pull_end(pull, last == MC_STALE || last == MC_UNREACHABLE ? MC_NOT_FOUND : last);
	} else {
		node_lookup(node, parent, name, refreshed, pull);
	}
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
		pull->owner = pull->object->replicas[choice.replica].node;
		pull->replica = choice.replica;
		pull->score = choice.reach.score;
		pull->transport = choice.reach.transport;
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
		choice.reach.transport->ops->pull(choice.reach.transport, choice.reach.endpoint,
						  &pull->base);
	else
		pull_refresh(pull, last);
}

static void sink_done(struct transport_pull *base, enum mc_status status)
{
	struct pull *pull = (struct pull *)base;
	struct node *node = pull->node;
	bool came = status == MC_OK;

	if (came && pull->begun)
		status = commit(pull);
	if ((came && status != MC_STALE) || status == MC_NO_SPACE || status == MC_CANCELLED ||
	    status == MC_NO_MEMORY) {
		pull_end(pull, status);
		return;
	}
	/* Its owner can't show it this way: the same replica by the next best. */
	if (status == MC_NOT_SUPPORTED && !pull->begun) {
		pull->below = pull->score;
		pull->tried &= ~(1u << pull->replica);
		pull_next(pull, status);
		return;
	}
	counter_add(&node->counters, COUNTER_PULL_FAILURES, 1);
	log_debug("a replica could not be pulled id=%" PRIx64 " status=\"%s\"", base->id,
		  mc_status_text(status));
	node_tell_bad(node, base, pull->owner, status);
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
	*pull = (struct pull){.node = node, .object = object, .copy = copy, .draft.fd = -1};
	object->pull = pull;
	pull->next = node->pulls;
	node->pulls = pull;
	return pull;
}

/* Wait for the pull of the object, beginning one where there is none. */
void node_pull_wait(struct op *op)
{
	struct node *node = op->node;
	struct object *object = op->object;
	struct waiter *waiter = calloc(1, sizeof(*waiter));
	struct pull *begun = NULL;

	if (!waiter) {
		op_end(op, MC_NO_MEMORY, NULL);
		return;
	}
	*waiter = (struct waiter){.op = op, .own = op->flags & (NODE_OPEN_WRITE | NODE_OPEN_COPY)};
	node_lock(node);
	if (!object->pull && (object->borrow || object_is(object, OBJECT_LOCAL))) {
		node_unlock(node); /* it has come since it was looked at */
		free(waiter);
		node_open_object(node, object, op->flags, (int32_t)op->stamp, op->done,
				 op->context);
		op_free(op);
		return;
	}
	if (!object->pull)
		begun = pull_new_locked(node, object, waiter->own);
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

enum mc_status node_descriptor(struct node *node, struct object *object, bool write, int *fd)
{
	WITH_LOCK(&node->lock);
	if (object->draft_fd >= 0)
		return write ? duplicate(object->draft_fd, fd)
			     : pool_open_again(node->pool, object->draft_fd, fd);
	if (object_is(object, OBJECT_LOCAL))
		return pool_object(node->pool, object->attr.id, write ? O_RDWR : O_RDONLY, fd);
	if (object->borrow && !write)
		return duplicate(node_borrowed_locked(object), fd);
	if (node_arriving_locked(node, object) && !write)
		return duplicate(object->pull->draft.fd, fd);
	return MC_STALE;
}

enum mc_status node_file(struct node *node, struct object *object, int *fd, bool *own)
{
	node_lock(node);
	bool borrowed = object->borrow != NULL && !object_is(object, OBJECT_LOCAL);
	if (borrowed)
		*fd = node_borrowed_locked(object);
	node_unlock(node);
	*own = !borrowed;
	return borrowed ? MC_OK : node_descriptor(node, object, false, fd);
}
