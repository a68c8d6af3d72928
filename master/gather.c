#include "master/gather.h"

#include "master/parking.h"

/* Nodes that have not told what they have, of those that had any when this leader began. */
static uint32_t untold(const struct nodes *nodes)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < nodes->used; i++)
		count += nodes->table[i].state != NODE_FREE && !nodes->table[i].settled;
	return count;
}

/* Pairs with gather_on() of readers. */
static void left_set(struct mc_master *master, uint32_t left)
{
	__atomic_store_n(&master->gathering, left, __ATOMIC_RELEASE);
}

void gather_begin(struct mc_master *master)
{
	master->gather_began_ms = master->now_ms;
	left_set(master, untold(&master->nodes));
}

void gather_turn(struct mc_master *master)
{
	if (!gather_on(master))
		return;
	uint32_t left = untold(&master->nodes);
	if (master->now_ms - master->gather_began_ms >= GATHER_MS)
		left = 0;
	if (left == master->gathering)
		return;
	left_set(master, left);
	parking_due(master, PARKED_FOR_NODES);
}
