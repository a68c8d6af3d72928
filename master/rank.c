#include "master/rank.h"

#include <string.h>

#include "engine/base/log.h"
#include "master/placement.h"
#include "master/policy.h"
#include "master/repair.h"
#include "master/replicas.h"
#include "master/standing.h"

static void kind_set(struct mc_master *master, struct entry *entry, uint8_t place,
		     enum mc_replica_kind kind)
{
	uint16_t replica = entry->replicas[place];

	master_touch(master, entry);
	entry->replicas[place] = REPLICA_PACK(REPLICA_NODE(replica), kind, REPLICA_ROUND(replica));
	master_session_kind(master, &master->nodes.table[REPLICA_NODE(replica)], entry, kind);
	if (kind == MC_REPLICA_PRIMARY)
		master->counters.raised++;
	else
		master->counters.lowered++;
}

/* A replica of this kind that can be read, on a node on which copies count. */
static bool rank_readable(const struct mc_master *master, uint16_t replica,
			  enum mc_replica_kind kind)
{
	return REPLICA_KIND(replica) == kind && nodes_shows(&master->nodes, replica) &&
	       node_keeps(&master->nodes.table[REPLICA_NODE(replica)]);
}

/* Primary replicas on the host of a node. */
static unsigned host_count(const struct mc_master *master, const struct entry *entry,
			   const struct node *node)
{
	unsigned count = 0;

	for (uint8_t i = 0; i < entry->replica_count; i++) {
		const struct node *other = &master->nodes.table[REPLICA_NODE(entry->replicas[i])];
		count += rank_readable(master, entry->replicas[i], MC_REPLICA_PRIMARY) &&
			 strcmp(other->public.host, node->public.host) == 0;
	}
	return count;
}

static bool host_taken(const struct mc_master *master, const struct entry *entry,
		       const struct node *node)
{
	return host_count(master, entry, node) > 0;
}

/* A copy could be made on a host that has none. */
static bool host_left(const struct mc_master *master, const struct entry *entry)
{
	for (uint32_t i = 0; i < master->nodes.used; i++) {
		const struct node *node = &master->nodes.table[i];
		if (placement_open(node) && node->public.capacity > entry->allocated &&
		    !host_taken(master, entry, node))
			return true;
	}
	return false;
}

void rank_raise(struct mc_master *master, struct entry *entry, struct standing *standing)
{
	for (uint8_t i = 0; i < entry->replica_count && standing_lack(standing) > 0; i++) {
		const struct node *node = &master->nodes.table[REPLICA_NODE(entry->replicas[i])];
		if (!rank_readable(master, entry->replicas[i], MC_REPLICA_CACHE) ||
		    (host_taken(master, entry, node) && host_left(master, entry)))
			continue;
		kind_set(master, entry, i, MC_REPLICA_PRIMARY);
		standing->primaries++;
		standing->counted++;
	}
}

bool rank_preferred(const struct mc_master *master, const struct mc_placement *placement,
		    uint16_t replica)
{
	const char *name = master->nodes.table[REPLICA_NODE(replica)].public.name;

	for (unsigned i = 0; placement && i < placement->preferred_count; i++) {
		if (strcmp(placement->preferred[i], name) == 0)
			return true;
	}
	return false;
}

/* Of those that may be lowered one that shares its host, else the youngest; -1: none may. */
static int lower_choose(const struct mc_master *master, const struct entry *entry,
			const struct mc_placement *placement, bool all)
{
	bool guided = placement && placement->preferred_count > 0;
	int youngest = -1;

	for (int i = 0; i < entry->replica_count; i++) {
		/* Where nodes are preferred the writer's own copy, the oldest, goes first. */
		int place = guided ? i : entry->replica_count - 1 - i;
		uint16_t replica = entry->replicas[place];
		if (!rank_readable(master, replica, MC_REPLICA_PRIMARY) ||
		    (!all && rank_preferred(master, placement, replica)))
			continue;
		if (host_count(master, entry, &master->nodes.table[REPLICA_NODE(replica)]) > 1)
			return place;
		youngest = youngest < 0 ? place : youngest;
	}
	return youngest;
}

/* Lower what is too much; of preferred nodes only with `all`. */
static void lower(struct mc_master *master, struct entry *entry,
		  const struct mc_placement *placement, unsigned surplus, bool all)
{
	for (; surplus > 0; surplus--) {
		int place = lower_choose(master, entry, placement, all);
		if (place < 0)
			return;
		kind_set(master, entry, (uint8_t)place, MC_REPLICA_CACHE);
	}
}

/* What is safe elsewhere leaves the nodes that drain. */
static void empty_draining(struct mc_master *master, struct entry *entry)
{
	for (int i = entry->replica_count - 1; i >= 0; i--) {
		uint16_t replica = entry->replicas[i];
		struct node *node = &master->nodes.table[REPLICA_NODE(replica)];
		bool shown = nodes_shows(&master->nodes, replica);
		if (!node->public.draining || (!shown && node->state != NODE_ABSENT))
			continue;
		if (shown)
			master_session_drop_node(master, node, entry);
		replicas_remove(master, entry, node);
	}
}

/* What is safe elsewhere is cache on guests. */
static void lower_guests(struct mc_master *master, struct entry *entry)
{
	for (uint8_t i = 0; i < entry->replica_count; i++) {
		const struct node *node = &master->nodes.table[REPLICA_NODE(entry->replicas[i])];
		if (node->public.guest && REPLICA_KIND(entry->replicas[i]) == MC_REPLICA_PRIMARY)
			kind_set(master, entry, i, MC_REPLICA_CACHE);
	}
}

void rank_settle(struct mc_master *master, struct entry *entry,
		 const struct mc_placement *placement)
{
	struct standing standing;

	standing_of(master, entry, &standing);
	if (standing.primaries > standing.wanted) {
		unsigned surplus = standing.primaries - standing.wanted;
		lower(master, entry, placement, surplus, false);
		standing_of(master, entry, &standing);
		if (standing.primaries > standing.wanted)
			lower(master, entry, placement, standing.primaries - standing.wanted, true);
	}
	if (standing.primaries < standing.target)
		return;
	empty_draining(master, entry);
	lower_guests(master, entry);
}

enum mc_replica_kind rank_returned(struct mc_master *master, const struct entry *entry,
				   const struct node *node, enum mc_replica_kind said)
{
	enum mc_replica_kind kind = said;
	unsigned others = 0;
	bool crowded = false;

	for (uint8_t i = 0; i < entry->replica_count; i++) {
		uint16_t replica = entry->replicas[i];
		const struct node *other = &master->nodes.table[REPLICA_NODE(replica)];
		if (other == node && REPLICA_KIND(replica) == MC_REPLICA_PRIMARY)
			kind = MC_REPLICA_PRIMARY;
		if (other == node || !rank_readable(master, replica, MC_REPLICA_PRIMARY))
			continue;
		others++;
		crowded |= host_count(master, entry, other) > 1;
	}
	if (kind == MC_REPLICA_PRIMARY && others > 0 && others >= policy_wanted(master, entry)) {
		/* One of two that share a host goes instead, when a walk comes by. */
		if (crowded && !host_taken(master, entry, node))
			repair_look(master, master->repair_delay_ms);
		else
			kind = MC_REPLICA_CACHE;
	}
	if (kind == said)
		return kind;
	if (kind == MC_REPLICA_CACHE)
		master->counters.lowered++;
	master_session_kind(master, node, entry, kind);
	return kind;
}
