#include "engine/etcd/follow.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/base64.h"
#include "engine/etcd/internal.h"
#include "engine/etcd/reply.h"

#define PAUSE_MS	100u	   /* before what failed is tried again */
#define PAGE_SIZE_AIM	(8u << 20) /* bytes of an answer */
#define PAIR_SIZE_FIXED 128u	   /* of them, what a pair has besides key and value */
#define PATIENCE_MS_MAX 60000u

/*
 *            last page                 compacted, another store
 *   PAGING ────────────► WATCHING ──────────────────────────────► PAGING
 */
enum follow_state { FOLLOW_PAGING, FOLLOW_WATCHING };

struct etcd_follower {
	/* fixed after init */
	struct etcd *etcd;
	const struct etcd_follow_events *events;
	void *context;
	struct writer prefix;
	struct writer end;

	/* owned by the client's thread */
	enum follow_state state;
	struct writer next;   /* key that the next page begins with */
	uint32_t page_pairs;  /* as many are asked for */
	uint32_t patience_ms; /* so long */
	uint64_t cluster;     /* whose revisions these are */
	int64_t revision;     /* of the pages; then: all up to it is told */
	bool paged;	      /* the first page came, revision is known */
};

static struct etcd_bytes written(const struct writer *w)
{
	return (struct etcd_bytes){w->data, w->size};
}

static void go_on(struct etcd_follower *follower);

static void paused(void *context, struct etcd_reply *reply)
{
	if (reply->status != MC_CANCELLED)
		go_on(context);
}

static void pause_then_go_on(struct etcd_follower *follower)
{
	etcd_after(follower->etcd, PAUSE_MS, paused, follower);
}

static void begin_anew(struct etcd_follower *follower)
{
	follower->state = FOLLOW_PAGING;
	follower->paged = false;
	follower->page_pairs = ETCD_PAGE_PAIRS_FIRST;
	follower->patience_ms = ETCD_TIMEOUT_MS;
	writer_reset(&follower->next);
	put_bytes(&follower->next, follower->prefix.data, follower->prefix.size);
}

static void tell_pairs(const struct etcd_follower *follower, const struct etcd_reply *reply)
{
	if (!follower->events->put)
		return;
	for (size_t i = 0; i < reply->pair_count; i++)
		follower->events->put(follower->context, &reply->pairs[i]);
}

static uint32_t between(uint64_t value, uint32_t min, uint32_t max)
{
	return value < min ? min : value > max ? max : (uint32_t)value;
}

/* What has come is taken in while the next page is on its way: none is all there is. */
static void page_came(struct etcd_follower *follower, const struct etcd_reply *reply)
{
	uint64_t size = 0;

	follower->patience_ms = ETCD_TIMEOUT_MS;
	for (size_t i = 0; i < reply->pair_count; i++)
		size += PAIR_SIZE_FIXED + base64_size(reply->pairs[i].key.size) +
			base64_size(reply->pairs[i].value.size);
	if (size == 0)
		return;
	uint64_t fitting = reply->pair_count * PAGE_SIZE_AIM / size;
	uint64_t twice = 2ull * follower->page_pairs;
	follower->page_pairs = between(fitting < twice ? fitting : twice, 1, ETCD_PAGE_PAIRS_MAX);
}

/* It was too large, or did not come in time. */
static void page_failed(struct etcd_follower *follower, enum mc_status status)
{
	bool late = status == MC_TIMEOUT || status == MC_UNREACHABLE;

	if (late)
		follower->patience_ms =
			between(2ull * follower->patience_ms, ETCD_TIMEOUT_MS, PATIENCE_MS_MAX);
	if (status == MC_TOO_BIG || (late && follower->page_pairs > ETCD_PAGE_PAIRS_LATE))
		follower->page_pairs = between(follower->page_pairs / 4, 1, ETCD_PAGE_PAIRS_MAX);
}

static void page_take(struct etcd_follower *follower, struct etcd_reply *reply)
{
	const struct etcd_follow_events *events = follower->events;
	bool more = reply->more && reply->pair_count > 0;

	page_came(follower, reply);
	if (!follower->paged) {
		follower->paged = true;
		follower->revision = reply->revision;
		follower->cluster = reply->cluster;
		if (events->begin)
			events->begin(follower->context, reply->count);
	}
	if (more) {
		const struct etcd_bytes *last = &reply->pairs[reply->pair_count - 1].key;
		writer_reset(&follower->next);
		put_bytes(&follower->next, last->data, last->size);
		put_u8(&follower->next, 0);
	} else {
		follower->state = FOLLOW_WATCHING;
	}
	/* The next page is on its way while this one is taken in. */
	if (more) {
		go_on(follower);
		etcd_push(follower->etcd);
	}
	tell_pairs(follower, reply);
	if (more)
		return;
	if (events->settled)
		events->settled(follower->context, follower->revision);
	go_on(follower);
}

static void page_done(void *context, struct etcd_reply *reply)
{
	struct etcd_follower *follower = context;

	if (reply->status == MC_CANCELLED)
		return;
	if (reply->status == MC_OK && (!follower->paged || reply->cluster == follower->cluster)) {
		page_take(follower, reply);
		return;
	}
	if (reply->status == MC_OK || reply->status == MC_STALE) {
		log_info("etcd's store changed under the pages, reading them again");
		begin_anew(follower);
	} else {
		page_failed(follower, reply->status);
	}
	pause_then_go_on(follower);
}

static void page_ask(struct etcd_follower *follower)
{
	struct etcd_range range = {
		.key = written(&follower->next),
		.end = written(&follower->end),
		.revision = follower->paged ? follower->revision : 0,
		.limit = follower->page_pairs,
	};

	etcd_range(follower->etcd, &range, follower->patience_ms, page_done, follower);
}

static void tell_event(const struct etcd_follower *follower, const struct etcd_event *event)
{
	const struct etcd_follow_events *events = follower->events;
	struct etcd_pair before = event->before;

	/* What was there before the last compaction is not told. */
	if (before.key.size == 0)
		before = (struct etcd_pair){.key = event->pair.key, .value = {"", 0}};
	if (event->removed) {
		if (events->removed)
			events->removed(follower->context, &before);
		return;
	}
	if (event->pair.create_revision != event->pair.mod_revision && events->replaced)
		events->replaced(follower->context, &before);
	if (events->put)
		events->put(follower->context, &event->pair);
}

static void tell_events(struct etcd_follower *follower, const struct etcd_message *message)
{
	const struct etcd_follow_events *events = follower->events;

	for (size_t i = 0; i < message->event_count; i++) {
		/* Else told before the watch was taken up again. */
		if (message->events[i].pair.mod_revision > follower->revision)
			tell_event(follower, &message->events[i]);
	}
	if (message->event_count > 0) {
		int64_t last = message->events[message->event_count - 1].pair.mod_revision;
		last -= message->fragment; /* not all of it is told */
		if (last > follower->revision)
			follower->revision = last;
	} else if (!message->created && message->revision > follower->revision) {
		follower->revision = message->revision; /* a progress notification */
	}
	if (events->progress)
		events->progress(follower->context, follower->revision);
}

/* The store is not the one whose revisions were told, or is older than they are. */
static bool other_store(const struct etcd_follower *follower, const struct etcd_message *message)
{
	return message->cluster != follower->cluster ||
	       (message->created && message->revision < follower->revision);
}

static bool watch_line(void *context, const void *line, size_t size)
{
	struct etcd_follower *follower = context;
	struct etcd_message message;
	bool more = false;

	etcd_message_decode(line, size, &message);
	if (message.status == MC_STALE ||
	    (message.status == MC_OK && other_store(follower, &message))) {
		log_warn("etcd has not kept what came since, reading all again revision=%ld",
			 (long)follower->revision);
		begin_anew(follower);
	} else if (message.status == MC_OK) {
		tell_events(follower, &message);
		more = true;
	} else {
		log_warn("the watch ended, beginning another reason=\"%s\"",
			 mc_status_text(message.status));
	}
	etcd_message_fini(&message);
	return more;
}

static void watch_done(void *context, struct etcd_reply *reply)
{
	struct etcd_follower *follower = context;

	if (reply->status != MC_CANCELLED)
		pause_then_go_on(follower);
}

static void watch_ask(struct etcd_follower *follower)
{
	struct etcd_call *call = etcd_call_new("/v3/watch", watch_done, follower);

	if (call) {
		struct writer *w = &call->body;
		etcd_json_text(w, "{\"create_request\":{");
		etcd_json_bytes(w, "key", written(&follower->prefix));
		etcd_json_text(w, ",");
		etcd_json_bytes(w, "range_end", written(&follower->end));
		etcd_json_number(w, "start_revision", follower->revision + 1);
		/* After a while away, a thousand revisions come at once: in fragments. */
		etcd_json_text(w, ",\"prev_kv\":true,\"progress_notify\":true,"
				  "\"fragment\":true}}");
		call->answer_max = ETCD_FRAME_SIZE_MAX;
		call->deadline_ns = UINT64_MAX;
		call->line = watch_line;
	}
	etcd_call_send(follower->etcd, call, 0, watch_done, follower);
}

static void go_on(struct etcd_follower *follower)
{
	if (follower->state == FOLLOW_PAGING)
		page_ask(follower);
	else
		watch_ask(follower);
}

static void follower_free(struct etcd_follower *follower)
{
	writer_fini(&follower->prefix);
	writer_fini(&follower->end);
	writer_fini(&follower->next);
	free(follower);
}

enum mc_status etcd_follow(const struct etcd_config *config, struct etcd_bytes prefix,
			   const struct etcd_follow_events *events, void *context,
			   struct etcd_follower **follower)
{
	struct etcd_follower *f = calloc(1, sizeof(*f));

	if (!f)
		return MC_NO_MEMORY;
	f->events = events;
	f->context = context;
	writer_init(&f->prefix);
	writer_init(&f->end);
	writer_init(&f->next);
	put_bytes(&f->prefix, prefix.data, prefix.size);
	etcd_prefix_end(prefix, &f->end);
	begin_anew(f);
	enum mc_status status = f->prefix.failed || f->end.failed || f->next.failed
					? MC_NO_MEMORY
					: etcd_open(config, &f->etcd);
	if (status != MC_OK) {
		follower_free(f);
		return status;
	}
	*follower = f;
	go_on(f);
	return MC_OK;
}

void etcd_unfollow(struct etcd_follower *follower)
{
	if (!follower)
		return;
	etcd_close(follower->etcd);
	follower_free(follower);
}

void etcd_follow_again(struct etcd_follower *follower)
{
	etcd_streams_end(follower->etcd);
}
