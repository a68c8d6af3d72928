#include "master/etcd_queue.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/failpoint.h"
#include "engine/base/log.h"

#define BUCKETS	  4096u
#define RETRY_NS  200000000ull
#define LANE_TEXT 48u
#define NAME_SIZE 20u

/* Where an item is; one key can have one in flight and one that is put off. */
enum item_state { ITEM_QUEUED, ITEM_FLYING, ITEM_PUT_OFF };

struct item {
	struct item *next;  /* in the queue, or among those put off */
	struct item *chain; /* in its bucket: flying and put off */
	uint64_t hash;
	uint64_t group;
	enum item_state state;
	unsigned flags;
	unsigned slot; /* in its lane */
	struct lane *lane;
	bool removes;
	uint32_t key_size;
	uint32_t value_size;
	uint8_t bytes[];
};

struct lane {
	struct etcd_queue *queue;
	unsigned number;
	bool busy;
	bool failed; /* to be sent again at due_ns */
	uint64_t due_ns;
	uint64_t sequence; /* of the transaction in flight, or the last one */
	uint64_t group;	   /* of its first item that was not put off */
	unsigned count;
	size_t size;
	struct item *items[ETCD_QUEUE_OPERATIONS];
};

struct list {
	struct item *head;
	struct item **end;
};

struct etcd_queue {
	/* fixed after init */
	struct etcd *etcd;
	struct writer prefix;
	void (*advanced)(void *context);
	void (*fenced)(void *context);
	void *context;

	/* protected by lock */
	pthread_mutex_t lock;
	struct list open;
	struct list queued;
	struct list put_off;
	struct item *buckets[BUCKETS];
	struct lane lanes[ETCD_QUEUE_LANES];
	uint64_t group;		/* the open one */
	uint64_t moved_ns;	/* when something was taken last, or began to wait */
	uint64_t bytes;		/* in the queue and in flight */
	enum mc_status trouble; /* what the last transaction came to */
	int64_t token;		/* 0: not begun */
	uint64_t life;		/* counts begins: answers to an earlier one mean nothing */
	char name[NAME_SIZE];
};

static void list_init(struct list *list)
{
	list->head = NULL;
	list->end = &list->head;
}

static void list_add(struct list *list, struct item *item)
{
	item->next = NULL;
	*list->end = item;
	list->end = &item->next;
}

static struct item *list_take(struct list *list)
{
	struct item *item = list->head;

	list->head = item->next;
	if (!list->head)
		list->end = &list->head;
	return item;
}

static void list_free(struct list *list)
{
	while (list->head)
		free(list_take(list));
}

static size_t item_size(const struct item *item)
{
	return (size_t)item->key_size + item->value_size;
}

static struct item *find(const struct etcd_queue *queue, const struct item *like,
			 enum item_state state)
{
	struct item *item = queue->buckets[like->hash % BUCKETS];

	while (item && (item->state != state || item->hash != like->hash ||
			item->key_size != like->key_size ||
			memcmp(item->bytes, like->bytes, like->key_size) != 0))
		item = item->chain;
	return item;
}

static void chain_add(struct etcd_queue *queue, struct item *item, enum item_state state)
{
	item->state = state;
	item->chain = queue->buckets[item->hash % BUCKETS];
	queue->buckets[item->hash % BUCKETS] = item;
}

static void chain_remove(struct etcd_queue *queue, const struct item *item)
{
	struct item **at = &queue->buckets[item->hash % BUCKETS];

	while (*at != item)
		at = &(*at)->chain;
	*at = item->chain;
}

/* It has reached etcd, or need not any more. */
static void item_end(struct etcd_queue *queue, struct item *item)
{
	queue->bytes -= item_size(item);
	free(item);
}

/* A later state of its key goes out: what was put off does not. */
static void put_off_end(struct etcd_queue *queue, const struct item *later)
{
	struct item *older = find(queue, later, ITEM_PUT_OFF);
	struct item **at = &queue->put_off.head;

	if (!older)
		return;
	chain_remove(queue, older);
	while (*at && *at != older)
		at = &(*at)->next;
	MUST(*at != NULL);
	*at = older->next;
	if (!*at)
		queue->put_off.end = at;
	item_end(queue, older);
}

static bool lane_fits(const struct lane *lane, const struct item *item)
{
	return lane->count < ETCD_QUEUE_OPERATIONS &&
	       (lane->count == 0 || lane->size + item_size(item) <= ETCD_QUEUE_SIZE);
}

/* Put an item into the lane's transaction, in the place of an older one of its key. */
static void lane_add(struct etcd_queue *queue, struct lane *lane, struct item *item)
{
	struct item *older = find(queue, item, ITEM_FLYING);

	put_off_end(queue, item);
	item->slot = older ? older->slot : lane->count++;
	if (older) {
		chain_remove(queue, older);
		lane->size -= item_size(older);
		item_end(queue, older);
	}
	item->lane = lane;
	lane->items[item->slot] = item;
	lane->size += item_size(item);
	chain_add(queue, item, ITEM_FLYING);
}

/* What is under way under the item's key on another lane, or NULL. */
static const struct item *flies_elsewhere(const struct etcd_queue *queue, const struct lane *lane,
					  const struct item *item)
{
	const struct item *flying = find(queue, item, ITEM_FLYING);

	return flying && flying->lane != lane ? flying : NULL;
}

/* What was put off and can go now. */
static void take_put_off(struct etcd_queue *queue, struct lane *lane)
{
	struct item *item = queue->put_off.head;

	while (item) {
		struct item *next = item->next;
		if (!flies_elsewhere(queue, lane, item) && lane_fits(lane, item)) {
			struct item **at = &queue->put_off.head;
			while (*at != item)
				at = &(*at)->next;
			*at = next;
			if (!next)
				queue->put_off.end = at;
			chain_remove(queue, item);
			lane_add(queue, lane, item);
		}
		item = next;
	}
}

static void put_off(struct etcd_queue *queue, struct item *item)
{
	put_off_end(queue, item);
	list_add(&queue->put_off, item);
	chain_add(queue, item, ITEM_PUT_OFF);
}

/* All that is in one transaction with the item, behind it, can go with it. */
static bool joined_fit(const struct etcd_queue *queue, const struct lane *lane,
		       const struct item *item)
{
	unsigned count = lane->count + 1;
	size_t size = lane->size + item_size(item);

	while ((item->flags & ETCD_PUT_JOINED) && item->next) {
		item = item->next;
		size += item_size(item);
		/* Alone they fit: an entry's few records. */
		if (lane->count > 0 && (++count > ETCD_QUEUE_OPERATIONS || size > ETCD_QUEUE_SIZE))
			return false;
		if (flies_elsewhere(queue, lane, item))
			return false;
	}
	return true;
}

/* One step of filling a lane from the head of the queue.  False: it goes no further. */
static bool take_queued(struct etcd_queue *queue, struct lane *lane)
{
	struct item *item = queue->queued.head;

	if (!item || !lane_fits(lane, item))
		return false;
	const struct item *flying = flies_elsewhere(queue, lane, item);
	if (flying) {
		/* What takes the place of one that goes is not there yet. */
		if (!(item->flags & ETCD_PUT_MAY_WAIT) || flying->removes)
			return false;
		put_off(queue, list_take(&queue->queued));
		return true;
	}
	if (!joined_fit(queue, lane, item))
		return false;
	item = list_take(&queue->queued);
	if (lane->group == 0)
		lane->group = item->group;
	lane_add(queue, lane, item);
	return true;
}

/* Fill a free lane.  False: there is nothing for it. */
static bool lane_fill(struct etcd_queue *queue, struct lane *lane)
{
	lane->count = 0;
	lane->size = 0;
	lane->group = 0;
	take_put_off(queue, lane);
	while (take_queued(queue, lane))
		;
	if (lane->count == 0)
		return false;
	lane->busy = true;
	lane->failed = false;
	lane->sequence++;
	return true;
}

static struct etcd_bytes whole_key(const struct etcd_queue *queue, struct writer *w,
				   const void *key, size_t size)
{
	writer_reset(w);
	put_bytes(w, queue->prefix.data, queue->prefix.size);
	put_bytes(w, key, size);
	return (struct etcd_bytes){w->data, w->size};
}

static size_t lane_value(const struct etcd_queue *queue, char text[LANE_TEXT], uint64_t sequence)
{
	return (size_t)snprintf(text, LANE_TEXT, "%s %" PRIu64, queue->name, sequence);
}

static void items_write(const struct etcd_queue *queue, const struct lane *lane,
			struct etcd_txn *txn, struct writer *w)
{
	for (unsigned i = 0; i < lane->count; i++) {
		const struct item *item = lane->items[i];
		struct etcd_bytes key = whole_key(queue, w, item->bytes, item->key_size);
		if (item->removes)
			etcd_txn_delete(txn, key);
		else
			etcd_txn_put(
				txn, key,
				(struct etcd_bytes){item->bytes + item->key_size, item->value_size},
				0);
	}
}

static void lane_write(const struct etcd_queue *queue, const struct lane *lane,
		       struct etcd_txn *txn)
{
	char before[LANE_TEXT], after[LANE_TEXT], name[32];
	size_t before_size = lane_value(queue, before, lane->sequence - 1);
	size_t after_size = lane_value(queue, after, lane->sequence);
	size_t name_size = (size_t)snprintf(name, sizeof(name), "lanes/%u", lane->number);
	struct writer lane_key, w;

	writer_init(&lane_key);
	writer_init(&w);
	struct etcd_bytes key = whole_key(queue, &lane_key, name, name_size);
	etcd_txn_begin(txn);
	etcd_txn_compare_created(txn, whole_key(queue, &w, "leader", 6), queue->token);
	etcd_txn_compare_value(txn, key, (struct etcd_bytes){before, before_size});
	etcd_txn_then(txn);
	etcd_txn_put(txn, key, (struct etcd_bytes){after, after_size}, 0);
	items_write(queue, lane, txn, &w);
	etcd_txn_else(txn);
	etcd_txn_get(txn, key);
	writer_fini(&lane_key);
	writer_fini(&w);
}

struct sent {
	struct lane *lane;
	uint64_t life;
};

static void pump(struct etcd_queue *queue);

static void lane_settle(struct etcd_queue *queue, struct lane *lane)
{
	for (unsigned i = 0; i < lane->count; i++) {
		chain_remove(queue, lane->items[i]);
		item_end(queue, lane->items[i]);
	}
	lane->count = 0;
	lane->busy = false;
	queue->moved_ns = clock_ns();
}

/* The answer to one that had been sent before and has happened. */
static bool happened(const struct etcd_queue *queue, const struct lane *lane,
		     const struct etcd_reply *reply)
{
	char text[LANE_TEXT];
	size_t size = lane_value(queue, text, lane->sequence);

	return reply->pair_count == 1 && reply->pairs[0].value.size == size &&
	       memcmp(reply->pairs[0].value.data, text, size) == 0;
}

static void trouble_note(struct etcd_queue *queue, enum mc_status status)
{
	if (status == queue->trouble)
		return;
	queue->trouble = status;
	if (status == MC_OK)
		log_info("etcd takes records again");
	else if (status == MC_NO_SPACE)
		log_error("etcd is full (alarm NOSPACE): compact it, defragment it, raise its "
			  "quota if need be, and disarm the alarm; records wait meanwhile");
	else
		log_error("etcd does not take records, they wait reason=\"%s\"",
			  mc_status_text(status));
}

/* True: we are fenced. */
static bool sent_take(struct etcd_queue *queue, struct lane *lane, const struct etcd_reply *reply)
{
	trouble_note(queue, reply->status);
	if (reply->status != MC_OK) {
		lane->failed = true;
		lane->due_ns = clock_ns() + RETRY_NS;
		return false;
	}
	if (!reply->succeeded && !happened(queue, lane, reply))
		return true;
	lane_settle(queue, lane);
	return false;
}

static void sent_done(void *context, struct etcd_reply *reply)
{
	struct sent *sent = context;
	struct lane *lane = sent->lane;
	struct etcd_queue *queue = lane->queue;
	bool fenced = false;

	failpoint("etcd.answered");
	pthread_mutex_lock(&queue->lock);
	bool ours = sent->life == queue->life && reply->status != MC_CANCELLED;
	if (ours)
		fenced = sent_take(queue, lane, reply);
	pthread_mutex_unlock(&queue->lock);
	free(sent);
	if (!ours)
		return;
	if (fenced)
		queue->fenced(queue->context);
	else if (reply->status == MC_OK)
		pump(queue);
	queue->advanced(queue->context);
}

static void lane_send(struct etcd_queue *queue, struct lane *lane, struct etcd_txn *txn,
		      uint64_t life)
{
	struct sent *sent = malloc(sizeof(*sent));

	/* Without it a change would be forgotten: better to end. */
	MUST(sent != NULL);
	*sent = (struct sent){lane, life};
	etcd_txn_send(queue->etcd, txn, true, 0, sent_done, sent);
}

/* Send on every lane that is free, and again what failed and is due. */
static void pump(struct etcd_queue *queue)
{
	struct etcd_txn txns[ETCD_QUEUE_LANES];
	struct lane *filled[ETCD_QUEUE_LANES];
	unsigned count = 0;

	pthread_mutex_lock(&queue->lock);
	uint64_t life = queue->life;
	for (unsigned i = 0; i < ETCD_QUEUE_LANES && queue->token; i++) {
		struct lane *lane = &queue->lanes[i];
		bool again = lane->busy && lane->failed && lane->due_ns <= clock_ns();
		if (!again && (lane->busy || !lane_fill(queue, lane)))
			continue;
		lane->failed = false;
		lane_write(queue, lane, &txns[count]);
		filled[count++] = lane;
	}
	pthread_mutex_unlock(&queue->lock);
	if (count)
		failpoint("etcd.begun");
	for (unsigned i = 0; i < count; i++)
		lane_send(queue, filled[i], &txns[i], life);
	if (count)
		failpoint("etcd.sent");
}

static struct item *item_new(struct etcd_bytes key, struct etcd_bytes value, unsigned flags)
{
	size_t size = key.size + (value.data ? value.size : 0);
	struct item *item = malloc(sizeof(*item) + size);

	MUST(item != NULL);
	*item = (struct item){
		.hash = XXH3_64bits(key.data, key.size),
		.flags = flags,
		.removes = value.data == NULL,
		.key_size = (uint32_t)key.size,
		.value_size = value.data ? (uint32_t)value.size : 0,
	};
	memcpy(item->bytes, key.data, key.size);
	if (item->value_size)
		memcpy(item->bytes + key.size, value.data, value.size);
	return item;
}

void etcd_queue_put(struct etcd_queue *queue, struct etcd_bytes key, struct etcd_bytes value,
		    unsigned flags)
{
	struct item *item = item_new(key, value, flags);

	WITH_LOCK(&queue->lock);
	item->group = queue->group;
	list_add(&queue->open, item);
}

void etcd_queue_drop(struct etcd_queue *queue)
{
	WITH_LOCK(&queue->lock);
	list_free(&queue->open);
}

uint64_t etcd_queue_flush(struct etcd_queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	uint64_t group = queue->group;
	if (queue->open.head) {
		if (queue->bytes == 0)
			queue->moved_ns = clock_ns();
		for (const struct item *item = queue->open.head; item; item = item->next)
			queue->bytes += item_size(item);
		*queue->queued.end = queue->open.head;
		queue->queued.end = queue->open.end;
		list_init(&queue->open);
		queue->group++;
	} else {
		group--;
	}
	pthread_mutex_unlock(&queue->lock);
	pump(queue);
	return group;
}

void etcd_queue_tick(struct etcd_queue *queue)
{
	pump(queue);
}

void etcd_queue_state(struct etcd_queue *queue, struct etcd_queue_state *state)
{
	WITH_LOCK(&queue->lock);
	*state = (struct etcd_queue_state){.closed = queue->group - 1, .bytes = queue->bytes};
	state->settled = queue->queued.head ? queue->queued.head->group - 1 : state->closed;
	for (unsigned i = 0; i < ETCD_QUEUE_LANES; i++) {
		const struct lane *lane = &queue->lanes[i];
		if (lane->busy && lane->group && lane->group <= state->settled)
			state->settled = lane->group - 1;
	}
	state->stalled_ms = queue->bytes ? (clock_ns() - queue->moved_ns) / 1000000 : 0;
}

static void forget_locked(struct etcd_queue *queue)
{
	list_free(&queue->open);
	list_free(&queue->queued);
	list_free(&queue->put_off);
	for (unsigned i = 0; i < ETCD_QUEUE_LANES; i++) {
		struct lane *lane = &queue->lanes[i];
		for (unsigned k = 0; k < lane->count; k++)
			free(lane->items[k]);
		*lane = (struct lane){.queue = queue, .number = i};
	}
	memset(queue->buckets, 0, sizeof(queue->buckets));
	queue->bytes = 0;
	queue->trouble = MC_OK;
}

void etcd_queue_begin(struct etcd_queue *queue, int64_t token, const char *name)
{
	WITH_LOCK(&queue->lock);
	forget_locked(queue);
	queue->life++;
	queue->group++;
	queue->token = token;
	snprintf(queue->name, sizeof(queue->name), "%s", name);
}

enum mc_status etcd_queue_new(const struct etcd_queue_config *config, struct etcd_queue **queue)
{
	struct etcd_queue *q = calloc(1, sizeof(*q));

	if (!q)
		return MC_NO_MEMORY;
	writer_init(&q->prefix);
	put_bytes(&q->prefix, config->prefix.data, config->prefix.size);
	if (q->prefix.failed) {
		free(q);
		return MC_NO_MEMORY;
	}
	pthread_mutex_init(&q->lock, NULL);
	q->etcd = config->etcd;
	q->advanced = config->advanced;
	q->fenced = config->fenced;
	q->context = config->context;
	q->group = 1;
	list_init(&q->open);
	list_init(&q->queued);
	list_init(&q->put_off);
	forget_locked(q);
	*queue = q;
	return MC_OK;
}

void etcd_queue_free(struct etcd_queue *queue)
{
	if (!queue)
		return;
	forget_locked(queue);
	pthread_mutex_destroy(&queue->lock);
	writer_fini(&queue->prefix);
	free(queue);
}
