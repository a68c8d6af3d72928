#include "master/standing.h"

#include "master/placement.h"
#include "master/policy.h"
#include "master/repair.h"
#include "master/state.h"

uint64_t standing_lost_ms(const struct mc_master *master, const struct node *node)
{
	uint64_t started_ms = repair_started_ms(master->repair);

	return node->left_ms > started_ms ? node->left_ms : started_ms;
}

/* It is not shown now, but may be in a moment. */
static bool may_return(const struct mc_master *master, const struct node *node)
{
	if (node->public.alive)
		return !node->settled; /* it is telling what it has */
	return master->now_ms - standing_lost_ms(master, node) <
	       (uint64_t)master->ttl_ms + master->repair_delay_ms;
}

void standing_of(const struct mc_master *master, const struct entry *entry,
		 struct standing *standing)
{
	uint32_t open = repair_open_nodes(master->repair);

	*standing = (struct standing){.wanted = policy_wanted(master, entry)};
	for (uint8_t i = 0; i < entry->replica_count; i++) {
		uint16_t replica = entry->replicas[i];
		const struct node *node = &master->nodes.table[REPLICA_NODE(replica)];
		bool shown = nodes_shows(&master->nodes, replica);
		standing->reachable += shown;
		if (REPLICA_KIND(replica) != MC_REPLICA_PRIMARY || !node_keeps(node))
			continue;
		standing->primaries += shown;
		standing->counted += shown || may_return(master, node);
	}
	standing->target = standing->wanted < open ? standing->wanted : (uint8_t)open;
	if (standing->target == 0)
		standing->target = 1;
}
