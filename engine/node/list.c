#include "engine/node/internal.h"

#include <stdlib.h>
#include <string.h>

/* Directories: what the master has in them, then the drafts that only this node knows. */

#define LIST_DRAFTS (1ull << 62) /* cursors from here on are ids of drafts */

struct listing {
	struct node *node;
	struct node_list list;
	struct object *directory; /* counted */
	uint64_t deadline_ns;
	node_done_fn *done;
	void *context;
};

static int by_id(const void *a, const void *b)
{
	uint64_t ia = (*(struct object *const *)a)->attr.id,
		 ib = (*(struct object *const *)b)->attr.id;

	return ia < ib ? -1 : ia > ib;
}

static size_t collect_drafts_locked(const struct object *directory, uint64_t after,
				    struct object **drafts)
{
	size_t count = 0;

	for (struct object *o = directory->first_child; o; o = o->sibling) {
		if (object_is(o, OBJECT_PUBLISHED) || o->attr.id <= after)
			continue;
		if (drafts)
			drafts[count] = o;
		count++;
	}
	return count;
}

static enum mc_status list_drafts_locked(struct listing *l)
{
	struct node *node = l->node;
	uint64_t after = l->list.cursor >= LIST_DRAFTS ? l->list.cursor - LIST_DRAFTS : 0;
	size_t count = collect_drafts_locked(l->directory, after, NULL);

	if (count == 0)
		return MC_OK;
	CLEANUP_FREE struct object **drafts = malloc(count * sizeof(*drafts));
	if (!drafts)
		return MC_NO_MEMORY;
	collect_drafts_locked(l->directory, after, drafts);
	qsort(drafts, count, sizeof(*drafts), by_id);
	for (size_t i = 0; i < count; i++) {
		node_sync_locked(node, drafts[i]);
		struct mc_entry entry = {.attr = drafts[i]->attr};
		if (!l->list.add(l->list.context, &entry, drafts[i]->name,
				 LIST_DRAFTS + drafts[i]->attr.id))
			break;
	}
	return MC_OK;
}

static void listing_end(struct listing *l, enum mc_status status)
{
	l->done(l->context, status, l->directory);
	node_unref(l->node, l->directory);
	free(l);
}

static void list_send(struct listing *l);

static void list_again(void *context, enum mc_status status)
{
	struct listing *l = context;

	if (status)
		listing_end(l, status);
	else
		list_send(l);
}

static void list_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct listing *l = context;
	struct node *node = l->node;
	bool room = true;

	(void)resent;
	if (status) {
		listing_end(l, status);
		return;
	}
	if (node_told_wait(node, l->deadline_ns, list_again, l))
		return;
	bool end = get_u8(body) != 0;
	uint16_t count = get_u16(body);
	node_lock(node);
	for (uint16_t i = 0; room && i < count; i++) {
		struct mc_entry entry;
		char name[MC_NAME_MAX + 1];
		uint64_t cursor = get_u64(body);
		get_text(body, name, sizeof(name));
		get_entry(body, &entry);
		if (body->failed) {
			status = MC_PROTOCOL;
			break;
		}
		room = l->list.add(l->list.context, &entry, name, cursor);
	}
	if (!status && room && end)
		status = list_drafts_locked(l);
	node_unlock(node);
	listing_end(l, status);
}

static void list_send(struct listing *l)
{
	struct writer w;

	writer_init(&w);
	put_u64(&w, l->list.directory);
	put_u64(&w, l->list.cursor);
	put_u32(&w, l->list.count_max);
	node_ask(l->node, MC_VERB_LIST, &w, list_reply, l);
}

void node_list(struct node *node, const struct node_list *list, node_done_fn *done, void *context)
{
	struct listing *l = calloc(1, sizeof(*l));

	node_lock(node);
	struct object *directory = object_find(&node->objects, list->directory);
	if (directory)
		object_ref(directory);
	node_unlock(node);
	if (!l || !directory) {
		free(l);
		node_unref(node, directory);
		done(context, directory ? MC_NO_MEMORY : MC_NOT_FOUND, NULL);
		return;
	}
	*l = (struct listing){.node = node, .list = *list, .directory = directory};
	l->done = done;
	l->context = context;
	l->deadline_ns = clock_ns() + node->config.timeout_ms * 1000000ull;
	if (list->cursor >= LIST_DRAFTS) {
		node_lock(node);
		enum mc_status status = list_drafts_locked(l);
		node_unlock(node);
		listing_end(l, status);
		return;
	}
	list_send(l);
}

struct object *node_listed_locked(struct node *node, uint64_t parent, const char *name,
				  const struct mc_entry *entry)
{
	struct object *directory = object_find(&node->objects, parent);
	struct object *object = object_find(&node->objects, entry->attr.id);

	if (object && !object_is(object, OBJECT_PUBLISHED))
		return object; /* a draft of ours */
	return directory ? node_adopt_locked(node, directory, name, strlen(name), entry) : NULL;
}
