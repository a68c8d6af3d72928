/* Verbs by which sessions and nodes come, stay and are counted. */
#include "master/service.h"

#include <string.h>

#include "engine/base/log.h"
#include "master/grant.h"
#include "master/journal.h"
#include "master/lead.h"
#include "master/metrics.h"
#include "master/record.h"
#include "master/replicas.h"

/* They are summed over all nodes. */
static void memory_read(struct reader *r, struct mc_node *node)
{
	node->capacity = get_u64(r);
	node->used = get_u64(r);
	if (node->capacity > MC_SEGMENT_MAX || node->used > MC_SEGMENT_MAX)
		r->failed = true;
}

void hello_read(struct reader *r, struct item *item)
{
	struct mc_node *node = &item->node;

	*node = (struct mc_node){0};
	item->op = get_u8(r);
	const void *uuid = get_bytes(r, sizeof(node->uuid));
	if (uuid)
		memcpy(node->uuid, uuid, sizeof(node->uuid));
	get_text(r, node->name, sizeof(node->name));
	get_text(r, node->host, sizeof(node->host));
	memory_read(r, node);
	node->endpoint_count = get_u8(r);
	node->guest = item->op == MC_ROLE_GUEST;
	if (item->op > MC_ROLE_GUEST || node->endpoint_count > MC_ENDPOINT_MAX) {
		node->endpoint_count = 0;
		r->failed = true;
	}
	for (uint32_t i = 0; i < node->endpoint_count; i++)
		get_text(r, node->endpoints[i], sizeof(node->endpoints[i]));
}

/*
 * A node has one connection.  What still lies unread in the one before is not done any
 * more: the node asks over the new one what became of it, and is told the last word.
 */
static void sessions_end(struct mc_master *master, const struct node *node)
{
	for (struct session *s = master->sessions; s; s = s->next) {
		if (s->node == node)
			master_session_end(master, s);
	}
}

/* Find the node's place; in a full table, that of one that went and left nothing behind. */
static enum mc_status place_get(struct mc_master *master, const uint8_t uuid[16],
				struct node **node)
{
	enum mc_status status = nodes_get(&master->nodes, uuid, node);
	struct node *spare = status == MC_NO_SPACE ? nodes_spare(&master->nodes) : NULL;

	if (!spare)
		return status;
	log_warn("forgot a node, %u are known node=%u name=%s", MC_NODE_MAX, spare->public.id,
		 spare->public.name);
	/* Else a restart would find two nodes with one id. */
	record_node_gone(master, spare);
	nodes_forget(spare);
	return nodes_get(&master->nodes, uuid, node);
}

/* Find the node's place, and take what it says of itself. */
static enum mc_status node_enter(struct mc_master *master, struct session *session,
				 const struct mc_node *said)
{
	struct node *node;
	enum mc_status status = place_get(master, said->uuid, &node);

	if (status != MC_OK)
		return status;
	struct mc_node *public = &node->public;
	bool alive = public->alive;
	uint32_t id = public->id;
	uint64_t objects = public->objects;
	bool draining = public->draining;
	*public = *said;
	public->id = id;
	public->alive = alive;
	public->objects = objects;
	public->draining = draining;
	sessions_end(master, node);
	session->node = node;
	nodes_enter(&master->nodes, node, master->now_ms);
	if (node->reset)
		replicas_reset(master, node);
	master_touch_node(master, node);
	return MC_OK;
}

static void hello_write(struct mc_master *master, const struct session *session, struct writer *w)
{
	uint64_t first_id;
	uint32_t id_count;

	master_ids(master, &first_id, &id_count);
	put_u32(w, session->id);
	put_u32(w, session->node ? session->node->public.id : 0);
	put_u64(w, master->cluster);
	put_u64(w, first_id);
	put_u32(w, id_count);
	put_u32(w, master->heartbeat_ms);
	put_u32(w, master->ttl_ms);
	put_string(w, MOONCAKE_VERSION, strlen(MOONCAKE_VERSION));
	put_string(w, master->name, strlen(master->name));
}

enum mc_status hello_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	struct session *session = call->session;

	if (session->id)
		return MC_INVALID;
	session->role = (enum mc_role)item->op;
	if (session->role != MC_ROLE_CLIENT) {
		enum mc_status status = node_enter(master, session, &item->node);
		if (status != MC_OK) {
			log_warn("refused a node name=%s peer=%s reason=\"%s\"", item->node.name,
				 session->connection->peer, mc_status_text(status));
			return status;
		}
	}
	/* Last: with it readers begin to answer. */
	__atomic_store_n(&session->id, ++master->session_id, __ATOMIC_RELEASE);
	master->nodes_untold = true;
	master->session_count++;
	log_info("session began session=%u peer=%s node=%u name=%s host=%s", session->id,
		 session->connection->peer, session->node ? session->node->public.id : 0,
		 item->node.name, item->node.host);
	hello_write(master, session, call->w);
	return MC_OK;
}

void heartbeat_read(struct reader *r, struct item *item)
{
	item->node = (struct mc_node){0};
	memory_read(r, &item->node);
	item->node.objects = get_u64(r);
}

enum mc_status heartbeat_apply(struct call *call, const struct item *item)
{
	/* Who only reads learns so that another may lead, and looks. */
	enum mc_status status = call->master->read_only ? MC_READ_ONLY : MC_OK;
	struct node *node = call->session->node;

	if (!node)
		return status;
	node->heard_ms = call->master->now_ms;
	node->public.capacity = item->node.capacity;
	node->public.used = item->node.used;
	node->public.objects = item->node.objects;
	nodes_sum(&call->master->nodes, node);
	return status;
}

enum mc_status grant_ids_apply(struct call *call, const struct item *item)
{
	uint64_t first_id;
	uint32_t id_count;

	(void)item;
	master_ids(call->master, &first_id, &id_count);
	put_u64(call->w, first_id);
	put_u32(call->w, id_count);
	return MC_OK;
}

void nodes_write(struct mc_master *master, struct writer *w)
{
	size_t at = w->size;
	uint32_t count = 0;

	put_u32(w, 0);
	for (uint32_t i = 0; i < master->nodes.used; i++) {
		struct node *node = &master->nodes.table[i];
		if (node->state == NODE_FREE)
			continue;
		node->public.silent_ms = node_silent_ms(node, master->now_ms);
		put_node(w, &node->public);
		count++;
	}
	patch_u32(w, at, count);
}

enum mc_status nodes_apply(struct call *call, const struct item *item)
{
	(void)item;
	nodes_write(call->master, call->w);
	return MC_OK;
}

enum mc_status statfs_apply(struct call *call, const struct item *item)
{
	const struct catalog *catalog = &call->master->catalog;
	const struct nodes *nodes = &call->master->nodes;

	(void)item;
	put_u64(call->w, counter_get(&nodes->capacity));
	put_u64(call->w, counter_get(&nodes->occupied));
	put_u64(call->w, counter_get(&catalog->objects));
	put_u64(call->w, counter_get(&catalog->directories));
	put_u32(call->w, __atomic_load_n(&nodes->alive, __ATOMIC_RELAXED));
	return MC_OK;
}

enum mc_status stats_apply(struct call *call, const struct item *item)
{
	struct writer text;

	(void)item;
	writer_init(&text);
	metrics_write_stats(call->master, &text);
	put_string(call->w, (const char *)text.data, text.size);
	if (text.failed)
		call->w->failed = true;
	writer_fini(&text);
	return MC_OK;
}

enum mc_status step_down_apply(struct call *call, const struct item *item)
{
	struct journal *journal = call->master->journal;

	(void)item;
	if (!journal->ops->resign)
		return MC_NOT_SUPPORTED;
	log_info("asked to step down session=%u peer=%s", call->session->id,
		 call->session->connection->peer);
	journal->ops->resign(journal);
	return MC_OK;
}

void succeeded_read(struct reader *r, struct item *item)
{
	item->cluster = get_u64(r);
	item->epoch = get_u32(r);
}

enum mc_status succeeded_apply(struct call *call, const struct item *item)
{
	if (!call->master->journal->ops->lost)
		return MC_NOT_SUPPORTED;
	bool newer = lead_lost(call->master, call->session, item->cluster, item->epoch);
	return newer ? MC_OK : MC_STALE;
}

enum mc_status recalled_apply(struct call *call, const struct item *item)
{
	struct entry *entry = catalog_find(&call->master->catalog, item->id);

	/* The directory may have gone meanwhile, and the grant with it. */
	if (entry && entry_is_directory(entry))
		grant_return(call->master, call->session, entry->directory);
	return MC_OK;
}
