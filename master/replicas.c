#include "master/replicas.h"

#include <string.h>

#include "engine/base/failpoint.h"
#include "engine/base/log.h"
#include "master/repair.h"
#include "master/service.h"

static struct node *replica_node(const struct mc_master *master, uint16_t replica)
{
	return &master->nodes.table[REPLICA_NODE(replica)];
}

static bool told_now(const struct mc_master *master, uint16_t replica)
{
	return REPLICA_ROUND(replica) == replica_node(master, replica)->round;
}

bool replicas_show(const struct mc_master *master, const struct entry *entry)
{
	if (entry_is_directory(entry))
		return true;
	for (uint8_t i = 0; i < entry->replica_count; i++) {
		if (nodes_shows(&master->nodes, entry->replicas[i]))
			return true;
	}
	return false;
}

void replicas_entry(const struct mc_master *master, const struct entry *entry, struct mc_entry *out)
{
	entry_attr(entry, &out->attr);
	out->replica_count = 0;
	if (entry_is_directory(entry))
		return;
	for (uint8_t i = 0; i < entry->replica_count; i++) {
		uint16_t replica = entry->replicas[i];
		if (!nodes_shows(&master->nodes, replica))
			continue;
		out->replicas[out->replica_count++] = (struct mc_replica){
			.node = REPLICA_NODE(replica) + 1u, .kind = REPLICA_KIND(replica)};
	}
}

static int place_of(const struct entry *entry, const struct node *node)
{
	if (entry_is_directory(entry))
		return -1;
	for (uint8_t i = 0; i < entry->replica_count; i++) {
		if (REPLICA_NODE(entry->replicas[i]) == node_index(node))
			return i;
	}
	return -1;
}

bool replicas_has(const struct entry *entry, const struct node *node)
{
	return place_of(entry, node) >= 0;
}

static void remove_at(struct mc_master *master, struct entry *entry, int place)
{
	uint16_t replica = entry->replicas[place];
	struct node *node = replica_node(master, replica);

	master_touch(master, entry);
	node->told -= told_now(master, replica);
	node->replicas--;
	memmove(&entry->replicas[place], &entry->replicas[place + 1],
		(size_t)(entry->replica_count - place - 1) * sizeof(entry->replicas[0]));
	entry->replica_count--;
}

/* Where there is no room, one that nobody can read from goes. */
static bool room_make(struct mc_master *master, struct entry *entry)
{
	if (entry->replica_count < MC_REPLICA_MAX)
		return true;
	for (int i = 0; i < entry->replica_count; i++) {
		if (!nodes_shows(&master->nodes, entry->replicas[i])) {
			remove_at(master, entry, i);
			return true;
		}
	}
	return false;
}

enum mc_status replicas_add(struct mc_master *master, struct entry *entry, struct node *node,
			    enum mc_replica_kind kind)
{
	uint16_t replica = REPLICA_PACK(node_index(node), kind, node->round);
	int place = place_of(entry, node);

	MUST(!entry_is_directory(entry));
	if (place >= 0) {
		node->told += !told_now(master, entry->replicas[place]);
		if (entry->replicas[place] != replica)
			master_touch(master, entry);
		entry->replicas[place] = replica;
		return MC_OK;
	}
	if (!room_make(master, entry))
		return MC_TOO_BIG;
	master_touch(master, entry);
	entry->replicas[entry->replica_count++] = replica;
	node->replicas++;
	node->told++;
	return MC_OK;
}

bool replicas_remove(struct mc_master *master, struct entry *entry, const struct node *node)
{
	int place = place_of(entry, node);

	if (place < 0)
		return false;
	remove_at(master, entry, place);
	return true;
}

void replicas_clear(struct mc_master *master, struct entry *entry)
{
	while (entry->replica_count > 0)
		remove_at(master, entry, entry->replica_count - 1);
}

void replicas_forget(struct mc_master *master, struct entry *entry)
{
	if (!entry_is_directory(entry))
		replicas_clear(master, entry);
	catalog_remove(&master->catalog, entry);
}

void replicas_lost(struct mc_master *master, const struct session *except, struct entry *entry)
{
	master_session_invalidate(master, except, MC_INVALIDATE_NAME, entry->parent->entry->id,
				  entry->id, entry->name, entry->name_size);
	replicas_forget(master, entry);
}

uint64_t replicas_sweep(struct mc_master *master, struct session *session)
{
	struct node *node = session->node;
	uint64_t swept = 0;
	size_t position = 0;
	struct entry *entry;

	while (node->told != node->replicas &&
	       (entry = table_next(&master->catalog.by_id, &position)) != NULL) {
		int place = place_of(entry, node);
		if (place < 0 || told_now(master, entry->replicas[place]))
			continue;
		remove_at(master, entry, place);
		swept++;
		if (entry->replica_count == 0)
			replicas_lost(master, session, entry);
	}
	return swept;
}

void replicas_reset(struct mc_master *master, struct node *node)
{
	size_t position = 0;
	struct entry *entry;

	while ((entry = table_next(&master->catalog.by_id, &position)) != NULL) {
		int place = place_of(entry, node);
		if (place >= 0)
			entry->replicas[place] = REPLICA_PACK(
				node_index(node), REPLICA_KIND(entry->replicas[place]), 0);
	}
	nodes_reset(node);
}

void replica_read(struct reader *r, struct item *item)
{
	item->op = get_u8(r);
	item->id = get_u64(r);
	item->version = get_u64(r);
	item->kind = get_u8(r);
	if (item->op > MC_REPLICA_REFUSE || item->kind > MC_REPLICA_CACHE)
		r->failed = true;
	if (item->op == MC_REPLICA_BAD || item->op == MC_REPLICA_REFUSE) {
		item->node_id = get_u32(r);
		item->reason = get_status(r);
	}
}

static enum mc_status replica_drop(struct call *call, struct entry *entry, uint64_t version)
{
	struct mc_master *master = call->master;
	struct session *session = call->session;
	bool last = false;

	failpoint("drop.received");
	if (entry->version == version && replicas_remove(master, entry, session->node)) {
		last = entry->replica_count == 0;
		if (last)
			replicas_lost(master, session, entry);
		else
			repair_dropped(master, entry, session->node);
	}
	put_u8(call->w, last);
	return MC_OK;
}

enum mc_status replica_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	struct node *node = call->session->node;
	struct entry *entry = catalog_find(&master->catalog, item->id);

	if (!node)
		return MC_PERMISSION;
	if (item->op == MC_REPLICA_REFUSE) {
		repair_refused(master, item->id, node, item->reason);
		put_u8(call->w, 0);
		return MC_OK;
	}
	if (!entry)
		return MC_NOT_FOUND;
	if (entry_is_directory(entry))
		return MC_IS_DIRECTORY;
	if (item->op == MC_REPLICA_DROP)
		return replica_drop(call, entry, item->version);
	if (entry->version != item->version)
		return MC_STALE;
	if (item->op == MC_REPLICA_BAD) {
		repair_bad(master, call->session, entry, item->node_id, item->reason);
		put_u8(call->w, entry->replica_count == 1);
		return MC_OK;
	}
	enum mc_status status = replicas_add(master, entry, node, (enum mc_replica_kind)item->kind);
	put_u8(call->w, entry->replica_count == 1);
	failpoint("copy.added");
	if (status == MC_OK && item->kind == MC_REPLICA_PRIMARY)
		repair_added(master, entry, node);
	/* Somebody on a node that drains has read it: the walk takes it away again. */
	if (node->public.draining)
		repair_look(master, master->heartbeat_ms);
	return status;
}
