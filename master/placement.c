#include "master/placement.h"

#include <string.h>

#include "engine/base/log.h"

static bool listed(const uint16_t *list, uint32_t count, uint32_t index)
{
	for (uint32_t i = 0; i < count; i++) {
		if (list[i] == index)
			return true;
	}
	return false;
}

static bool fits(const struct placement_wish *wish, const struct node *node)
{
	uint32_t index = node_index(node);

	return placement_open(node) && node->public.capacity > wish->size &&
	       !listed(wish->held, wish->held_count, index) &&
	       !listed(wish->barred, wish->barred_count, index);
}

static bool is_busy(const struct placement_wish *wish, const struct node *node)
{
	return wish->busy && wish->busy(wish->context, node);
}

/* A full node counts as one byte: what it takes, it makes room for. */
static uint64_t free_bytes(const struct placement_wish *wish, const struct node *node)
{
	uint64_t used = node->public.used;

	if (wish->coming)
		used += wish->coming(wish->context, node);
	return used < node->public.capacity ? node->public.capacity - used : 1;
}

/* Nodes that lie to the same host as one with a copy. */
static bool host_taken(const struct nodes *nodes, const struct placement_wish *wish,
		       const struct node *node)
{
	for (uint32_t i = 0; i < wish->held_count; i++) {
		if (strcmp(nodes->table[wish->held[i]].public.host, node->public.host) == 0)
			return true;
	}
	return false;
}

static struct node *preferred(const struct nodes *nodes, const struct placement_wish *wish,
			      bool *later)
{
	unsigned count = wish->placement ? wish->placement->preferred_count : 0;

	for (unsigned p = 0; p < count; p++) {
		for (uint32_t i = 0; i < nodes->used; i++) {
			struct node *node = &nodes->table[i];
			if (!fits(wish, node) ||
			    strcmp(node->public.name, wish->placement->preferred[p]) != 0)
				continue;
			if (!is_busy(wish, node))
				return node;
			*later = true;
			return NULL;
		}
	}
	return NULL;
}

static uint64_t draw(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

struct pool_of_nodes {
	bool apart; /* only hosts without a copy */
	uint64_t free;
	uint32_t count;
};

static bool counts(const struct nodes *nodes, const struct placement_wish *wish,
		   const struct pool_of_nodes *pool, const struct node *node)
{
	return fits(wish, node) && !is_busy(wish, node) &&
	       (!pool->apart || !host_taken(nodes, wish, node));
}

/* One of them, by a chance as large as what it has free. */
static struct node *draw_one(const struct nodes *nodes, const struct placement_wish *wish,
			     const struct pool_of_nodes *pool)
{
	uint64_t at = draw(wish->random) % pool->free;
	struct node *last = NULL;

	for (uint32_t i = 0; i < nodes->used; i++) {
		struct node *node = &nodes->table[i];
		if (!counts(nodes, wish, pool, node))
			continue;
		uint64_t bytes = free_bytes(wish, node);
		last = node;
		if (at < bytes)
			break;
		at -= bytes;
	}
	return last;
}

static struct pool_of_nodes gather(const struct nodes *nodes, const struct placement_wish *wish,
				   bool *later)
{
	struct pool_of_nodes pool = {0};
	struct pool_of_nodes apart = {.apart = true};
	bool apart_busy = false;

	for (uint32_t i = 0; i < nodes->used; i++) {
		const struct node *node = &nodes->table[i];
		if (!fits(wish, node))
			continue;
		bool other = !host_taken(nodes, wish, node);
		if (is_busy(wish, node)) {
			*later = true;
			apart_busy |= other;
			continue;
		}
		uint64_t bytes = free_bytes(wish, node);
		pool.count++;
		pool.free += bytes;
		apart.count += other;
		apart.free += other ? bytes : 0;
	}
	/* Rather wait for another host than use one that has a copy. */
	return apart.count || apart_busy ? apart : pool;
}

struct node *placement_choose(const struct nodes *nodes, const struct placement_wish *wish,
			      bool *later)
{
	MUST(*wish->random != 0);
	*later = false;
	struct node *node = preferred(nodes, wish, later);
	if (node || *later || wish->preferred_only)
		return node;
	struct pool_of_nodes pool = gather(nodes, wish, later);
	if (pool.count == 0)
		return NULL;
	node = draw_one(nodes, wish, &pool);
	struct node *other = draw_one(nodes, wish, &pool);
	return free_bytes(wish, other) > free_bytes(wish, node) ? other : node;
}
