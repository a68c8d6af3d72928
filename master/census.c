#include "master/census.h"

#include "engine/base/log.h"
#include "master/nodes.h"
#include "master/rank.h"
#include "master/repair.h"
#include "master/standing.h"
#include "master/state.h"

#define CENSUS_COUNT	4096u /* objects looked at in one turn */
#define CENSUS_DRAIN_MS 500u  /* between walks while a node drains */

void census_init(struct census *census)
{
	*census = (struct census){0};
}

void census_look(struct census *census, uint64_t at_ms)
{
	bool *due = census->walking ? &census->again : &census->due;
	uint64_t *due_ms = census->walking ? &census->again_ms : &census->due_ms;

	if (!*due || at_ms < *due_ms)
		*due_ms = at_ms;
	*due = true;
}

static bool drains(const struct mc_master *master)
{
	for (uint32_t i = 0; i < master->nodes.used; i++) {
		const struct node *node = &master->nodes.table[i];
		if (node->state != NODE_FREE && node->public.draining && node->replicas > 0)
			return true;
	}
	return false;
}

static void pass_begin(struct mc_master *master, struct census *census, unsigned level)
{
	census->level = level;
	census->position = 0;
	census->lacking_pass = 0;
	census->growths = master->catalog.by_id.growths;
	for (uint32_t i = 0; level == 1 && i < master->nodes.used; i++)
		master->nodes.table[i].unsafe = 0;
}

static void walk_begin(struct mc_master *master, struct census *census)
{
	census->due = census->again = false;
	census->walking = true;
	census->began_ms = master->now_ms;
	census->wanted_max = 1;
	census->level_last = 1;
	census->lacking_now = 0;
	pass_begin(master, census, 1);
}

/* When the next node that was lost stops counting; now, if one did while this walk was on. */
static void losses_look(struct mc_master *master, struct census *census)
{
	uint64_t grace_ms = (uint64_t)master->ttl_ms + master->repair_delay_ms;

	for (uint32_t i = 0; i < master->nodes.used; i++) {
		const struct node *node = &master->nodes.table[i];
		uint64_t lost_ms = standing_lost_ms(master, node);
		if (node->state == NODE_ABSENT && node->replicas > 0 &&
		    lost_ms + grace_ms > census->began_ms)
			census_look(census, lost_ms + grace_ms);
	}
}

static void walk_end(struct mc_master *master, struct census *census)
{
	census->walking = false;
	census->lacking = census->lacking_now;
	if (census->again)
		census_look(census, census->again_ms);
	losses_look(master, census);
	if (drains(master))
		census_look(census, master->now_ms + CENSUS_DRAIN_MS);
	for (uint32_t i = 0; i < master->nodes.used; i++) {
		struct node *node = &master->nodes.table[i];
		node->unsafe_known = node->unsafe;
	}
}

/* Copies on draining nodes that are the ones to keep for now. */
static void unsafe_count(struct mc_master *master, const struct entry *entry)
{
	for (uint8_t i = 0; i < entry->replica_count; i++) {
		struct node *node = &master->nodes.table[REPLICA_NODE(entry->replicas[i])];
		node->unsafe += node->public.draining;
	}
}

static void entry_look(struct mc_master *master, struct census *census, struct entry *entry)
{
	struct standing standing;

	if (census->level == 1)
		rank_settle(master, entry, NULL);
	standing_of(master, entry, &standing);
	if (standing.wanted > census->wanted_max)
		census->wanted_max = standing.wanted;
	if (census->level == 1)
		unsafe_count(master, entry);
	if (standing_lack(&standing) == 0)
		return;
	unsigned reachable = standing.reachable > 0 ? standing.reachable : 1;
	if (reachable > census->level_last)
		census->level_last = reachable;
	if (reachable == census->level && repair_want(master, entry, &standing))
		census->lacking_pass++;
}

/* The pass is over: the next one, or the end. */
static void pass_end(struct mc_master *master, struct census *census)
{
	census->lacking_now += census->lacking_pass;
	if (census->level < census->level_last)
		pass_begin(master, census, census->level + 1);
	else
		walk_end(master, census);
}

void census_turn(struct mc_master *master, struct census *census, bool room)
{
	if (!census->walking && census->due && master->now_ms >= census->due_ms)
		walk_begin(master, census);
	if (!census->walking || !room)
		return;
	if (census->growths != master->catalog.by_id.growths)
		pass_begin(master, census, census->level);
	for (uint32_t i = 0; i < CENSUS_COUNT; i++) {
		struct entry *entry = table_next(&master->catalog.by_id, &census->position);
		if (!entry) {
			pass_end(master, census);
			return;
		}
		if (!entry_is_directory(entry))
			entry_look(master, census, entry);
	}
}
