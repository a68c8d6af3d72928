/* Verbs by which sessions and nodes come, stay and are counted. */
#include "master/service.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/log.h"
#include "master/grant.h"
#include "master/journal.h"
#include "master/replicas.h"

void hello_read(struct reader *r, struct item *item)
{
	struct mc_node *node = &item->node;

	item->op = get_u8(r);
	const void *uuid = get_bytes(r, sizeof(node->uuid));
	if (uuid)
		memcpy(node->uuid, uuid, sizeof(node->uuid));
	get_text(r, node->name, sizeof(node->name));
	get_text(r, node->host, sizeof(node->host));
	node->capacity = get_u64(r);
	node->used = get_u64(r);
	node->endpoint_count = get_u8(r);
	if (item->op > MC_ROLE_NODE || node->endpoint_count > MC_ENDPOINT_MAX) {
		node->endpoint_count = 0;
		r->failed = true;
	}
	for (uint32_t i = 0; i < node->endpoint_count; i++)
		get_text(r, node->endpoints[i], sizeof(node->endpoints[i]));
}

/* Find the node's place, and take what it says of itself. */
static enum mc_status node_enter(struct mc_master *master, struct session *session,
				 const struct mc_node *said)
{
	struct node *node;
	enum mc_status status = nodes_get(&master->nodes, said->uuid, &node);

	if (status != MC_OK)
		return status;
	struct mc_node *public = &node->public;
	bool alive = public->alive;
	uint32_t id = public->id;
	uint64_t objects = public->objects;
	*public = *said;
	public->id = id;
	public->alive = alive;
	public->objects = objects;
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
	if (session->role == MC_ROLE_NODE) {
		enum mc_status status = node_enter(master, session, &item->node);
		if (status != MC_OK) {
			log_warn("refused a node name=%s peer=%s reason=\"%s\"", item->node.name,
				 session->connection->peer, mc_status_text(status));
			return status;
		}
	}
	session->id = ++master->session_id;
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
	item->node.capacity = get_u64(r);
	item->node.used = get_u64(r);
	item->node.objects = get_u64(r);
}

enum mc_status heartbeat_apply(struct call *call, const struct item *item)
{
	struct node *node = call->session->node;

	if (!node)
		return MC_OK;
	node->heard_ms = call->master->now_ms;
	node->public.capacity = item->node.capacity;
	node->public.used = item->node.used;
	node->public.objects = item->node.objects;
	return MC_OK;
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
		uint64_t silent_ms = node->heard_ms ? master->now_ms - node->heard_ms : UINT32_MAX;
		node->public.silent_ms = silent_ms < UINT32_MAX ? (uint32_t)silent_ms : UINT32_MAX;
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
	const struct mc_master *master = call->master;
	uint64_t capacity = 0;
	uint64_t used = 0;

	(void)item;
	for (uint32_t i = 0; i < master->nodes.used; i++) {
		const struct node *node = &master->nodes.table[i];
		if (node->state == NODE_FREE || !node->public.alive)
			continue;
		capacity += node->public.capacity;
		used += node->public.used;
	}
	put_u64(call->w, capacity);
	put_u64(call->w, used);
	put_u64(call->w, master->catalog.objects);
	put_u64(call->w, master->catalog.directories);
	put_u32(call->w, master->nodes.alive);
	return MC_OK;
}

static void line(struct writer *w, const char *prefix, const char *name, uint64_t value)
{
	char text[128];
	int size = snprintf(text, sizeof(text), "%s%s %" PRIu64 "\n", prefix, name, value);

	put_bytes(w, text, (size_t)size);
}

static void lines_of_counters(const struct counters *counters, struct writer *w)
{
	for (unsigned verb = 0; verb < MC_VERB_LIMIT; verb++) {
		if (service_rows[verb].apply)
			line(w, "rpc_", mc_verb_name(verb), counters->rpc[verb]);
	}
	line(w, "", "recalls", counters->recalls);
	line(w, "", "grants", counters->grants);
	line(w, "", "parked", counters->parked);
	line(w, "", "invalidations", counters->invalidations);
	line(w, "", "drops", counters->drops);
	for (unsigned i = 0; i < 256; i++) {
		char name[64];
		if (!counters->errors[i])
			continue;
		snprintf(name, sizeof(name), "%s", mc_status_text((enum mc_status) - (int)i));
		for (char *p = name; *p; p++)
			*p = *p == ' ' ? '_' : *p;
		line(w, "errors_", name, counters->errors[i]);
	}
}

enum mc_status stats_apply(struct call *call, const struct item *item)
{
	const struct mc_master *master = call->master;
	struct journal_counters journal = {0};
	struct writer *w = call->w;
	struct writer text;

	(void)item;
	if (master->journal)
		master->journal->ops->counters(master->journal, &journal);
	writer_init(&text);
	line(&text, "", "epoch", master->epoch);
	line(&text, "", "objects", master->catalog.objects);
	line(&text, "", "directories", master->catalog.directories);
	line(&text, "", "nodes", master->nodes.alive);
	line(&text, "", "sessions", master->session_count);
	line(&text, "", "reservations", master->reservations.table.count);
	line(&text, "", "read_only", master->read_only);
	line(&text, "", "journal_bytes", journal.bytes);
	line(&text, "", "journal_records", journal.records);
	line(&text, "", "journal_flushes", journal.flushes);
	line(&text, "", "journal_compactions", journal.compactions);
	lines_of_counters(&master->counters, &text);
	put_string(w, (const char *)text.data, text.size);
	if (text.failed)
		w->failed = true;
	writer_fini(&text);
	return MC_OK;
}

enum mc_status recalled_apply(struct call *call, const struct item *item)
{
	struct entry *entry = catalog_find(&call->master->catalog, item->id);

	/* The directory may have gone meanwhile, and the grant with it. */
	if (entry && entry_is_directory(entry))
		grant_return(call->master, call->session, entry->directory);
	return MC_OK;
}
