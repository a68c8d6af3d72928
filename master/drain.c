/* Verbs by which nodes are emptied, taken into service again and forgotten. */
#include "master/service.h"

#include "engine/base/failpoint.h"
#include "engine/base/log.h"
#include "master/record.h"
#include "master/repair.h"
#include "master/replicas.h"
#include "master/standing.h"

static struct node *node_numbered(struct mc_master *master, uint32_t id)
{
	if (id == 0 || id > master->nodes.used)
		return NULL;
	struct node *node = &master->nodes.table[id - 1];
	return node->state == NODE_FREE ? NULL : node;
}

/* It is away, and had its time to return: also to a leader that has just begun. */
static bool is_gone(const struct mc_master *master, const struct node *node)
{
	return node->state == NODE_ABSENT &&
	       master->now_ms - standing_lost_ms(master, node) >= master->ttl_ms;
}

void node_set_read(struct reader *r, struct item *item)
{
	item->node_id = get_u32(r);
	item->op = get_u8(r);
	if (item->op > MC_NODE_REMOVE_ALL)
		r->failed = true;
}

static void drain_set(struct mc_master *master, struct node *node, bool draining)
{
	if (node->public.draining == draining)
		return;
	node->public.draining = draining;
	node->unsafe_known = node->replicas;
	master->nodes.changed = true;
	master_touch_node(master, node);
	failpoint("drain.set");
	repair_look(master, 0);
	log_info("%s node=%u name=%s replicas=%lu", draining ? "began to drain" : "ended a drain",
		 node->public.id, node->public.name, (unsigned long)node->replicas);
}

/* Objects that nobody else has, or a walk with `forget` that takes the node out of all. */
static uint64_t replicas_walk(struct mc_master *master, const struct session *session,
			      struct node *node, bool forget)
{
	uint64_t alone = 0;
	size_t position = 0;
	struct entry *entry;

	while ((entry = table_next(&master->catalog.by_id, &position)) != NULL) {
		if (!replicas_has(entry, node))
			continue;
		alone += entry->replica_count == 1;
		if (!forget)
			continue;
		replicas_remove(master, entry, node);
		if (entry->replica_count == 0)
			replicas_lost(master, session, entry);
	}
	return alone;
}

static enum mc_status node_remove(struct mc_master *master, const struct session *session,
				  struct node *node, bool all)
{
	if (!is_gone(master, node))
		return MC_BUSY;
	if (!all && node->replicas > 0 && replicas_walk(master, session, node, false) > 0)
		return MC_NOT_EMPTY;
	uint64_t lost = node->replicas ? replicas_walk(master, session, node, true) : 0;
	log_warn("forgot a node node=%u name=%s objects_lost=%lu", node->public.id,
		 node->public.name, (unsigned long)lost);
	record_node_gone(master, node);
	nodes_forget(node);
	master->nodes.changed = true;
	/* So that the group is written with this turn. */
	master->meta_touched = true;
	return MC_OK;
}

enum mc_status node_set_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	struct node *node = node_numbered(master, item->node_id);

	if (!node)
		return MC_NOT_FOUND;
	if (item->op >= MC_NODE_REMOVE)
		return node_remove(master, call->session, node, item->op == MC_NODE_REMOVE_ALL);
	drain_set(master, node, item->op == MC_NODE_DRAIN);
	return MC_OK;
}

void drain_read(struct reader *r, struct item *item)
{
	item->node_id = get_u32(r);
}

enum mc_status drain_apply(struct call *call, const struct item *item)
{
	const struct node *node = node_numbered(call->master, item->node_id);
	struct repair_counters repair;

	if (!node)
		return MC_NOT_FOUND;
	put_u8(call->w, node->public.draining);
	bool told = node->settled || is_gone(call->master, node);
	put_u8(call->w, node->public.draining && told && node->replicas == 0);
	put_u64(call->w, node->replicas);
	put_u64(call->w, node->unsafe_known < node->replicas ? node->unsafe_known : node->replicas);
	repair_counters(call->master->repair, &repair);
	put_u64(call->w, repair.queued);
	return MC_OK;
}
