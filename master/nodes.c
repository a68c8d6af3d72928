#include "master/nodes.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/log.h"
#include "master/catalog.h"

#define TABLE_SIZE (MC_NODE_MAX * sizeof(struct node))

enum mc_status nodes_init(struct nodes *nodes)
{
	*nodes = (struct nodes){0};
	void *table = mmap(NULL, TABLE_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (table == MAP_FAILED)
		return MC_NO_MEMORY;
	nodes->table = table;
	return MC_OK;
}

void nodes_fini(struct nodes *nodes)
{
	if (nodes->table)
		munmap(nodes->table, TABLE_SIZE);
	nodes->table = NULL;
}

struct node *nodes_find(const struct nodes *nodes, const uint8_t uuid[16])
{
	for (uint32_t i = 0; i < nodes->used; i++) {
		struct node *node = &nodes->table[i];
		if (node->state != NODE_FREE && memcmp(node->public.uuid, uuid, 16) == 0)
			return node;
	}
	return NULL;
}

static struct node *place_find(const struct nodes *nodes)
{
	if (nodes->used < MC_NODE_MAX)
		return &nodes->table[nodes->used];
	for (uint32_t i = 0; i < nodes->used; i++) {
		if (nodes->table[i].state == NODE_FREE)
			return &nodes->table[i];
	}
	return NULL;
}

struct node *nodes_spare(const struct nodes *nodes)
{
	for (uint32_t i = 0; i < nodes->used; i++) {
		struct node *node = &nodes->table[i];
		if (node->state == NODE_ABSENT && node->replicas == 0)
			return node;
	}
	return NULL;
}

static void place_fill(struct nodes *nodes, struct node *node, const uint8_t uuid[16])
{
	uint32_t index = (uint32_t)(node - nodes->table);

	*node = (struct node){.state = NODE_ABSENT, .round = 1, .settled = true};
	node->public.id = index + 1;
	memcpy(node->public.uuid, uuid, sizeof(node->public.uuid));
	if (index >= nodes->used)
		nodes->used = index + 1;
}

enum mc_status nodes_get(struct nodes *nodes, const uint8_t uuid[16], struct node **node)
{
	struct node *found = nodes_find(nodes, uuid);

	if (!found) {
		found = place_find(nodes);
		if (!found)
			return MC_NO_SPACE;
		place_fill(nodes, found, uuid);
	}
	*node = found;
	return MC_OK;
}

void nodes_forget(struct node *node)
{
	MUST(node->state == NODE_ABSENT && node->replicas == 0);
	*node = (struct node){0};
}

enum mc_status nodes_restore(struct nodes *nodes, const struct mc_node *public)
{
	if (public->id == 0 || public->id > MC_NODE_MAX)
		return MC_IO;
	struct node *node = &nodes->table[public->id - 1];
	struct node *before = nodes_find(nodes, public->uuid);
	/* It was forgotten and came back, and who follows heard of the last of that only. */
	if (before && before != node)
		nodes_forget(before);
	place_fill(nodes, node, public->uuid);
	node->public = *public;
	node->public.alive = false;
	node->settled = false;
	return MC_OK;
}

/* A round in which nothing was told yet is as good as new. */
static void round_begin(struct node *node)
{
	if (node->told == 0)
		return;
	if (node->round == ROUND_MAX)
		node->reset = true;
	else
		node->round++;
	node->told = 0;
}

void nodes_show(struct node *node)
{
	uint8_t shows = 0;

	if (node->public.alive && node->lenient)
		shows = NODE_SHOWS_ALL;
	else if (node->public.alive && !node->reset)
		shows = node->round;
	__atomic_store_n(&node->shows, shows, __ATOMIC_RELEASE);
}

void nodes_reset(struct node *node)
{
	node->reset = false;
	node->round = 1;
	node->told = 0;
	nodes_show(node);
}

void nodes_settle(struct node *node)
{
	MUST(node->told == node->replicas);
	node->settled = true;
	node->lenient = false;
	nodes_show(node);
}

static void sum_move(uint64_t *sum, uint64_t *counted, uint64_t counts)
{
	__atomic_store_n(sum, *sum - *counted + counts, __ATOMIC_RELAXED);
	*counted = counts;
}

void nodes_sum(struct nodes *nodes, struct node *node)
{
	bool counts = node->public.alive && !node->public.guest;

	sum_move(&nodes->capacity, &node->counted_capacity, counts ? node->public.capacity : 0);
	sum_move(&nodes->occupied, &node->counted_used, counts ? node->public.used : 0);
}

static void alive_add(struct nodes *nodes, int by)
{
	__atomic_store_n(&nodes->alive, nodes->alive + (uint32_t)by, __ATOMIC_RELAXED);
}

void nodes_enter(struct nodes *nodes, struct node *node, uint64_t now_ms)
{
	node->heard_ms = now_ms;
	nodes->changed = true;
	if (!node->public.alive) {
		node->public.alive = true;
		alive_add(nodes, 1);
	}
	node->state = NODE_PRESENT;
	/* Also where the end of its last session was not seen yet: it begins to announce anew. */
	node->sessions++;
	round_begin(node);
	if (node->settled)
		node->lenient = true;
	nodes_sum(nodes, node);
	nodes_show(node);
}

void nodes_leave(struct nodes *nodes, struct node *node, uint64_t left_ms)
{
	MUST(node->sessions > 0 && node->state == NODE_PRESENT);
	if (--node->sessions > 0)
		return;
	node->state = NODE_LEAVING;
	node->left_ms = left_ms;
	nodes->changed = true;
}

uint32_t nodes_expire(struct nodes *nodes, uint64_t now_ms, uint32_t ttl_ms)
{
	uint32_t gone = 0;

	for (uint32_t i = 0; i < nodes->used; i++) {
		struct node *node = &nodes->table[i];
		if (node->state != NODE_LEAVING || now_ms - node->left_ms < ttl_ms)
			continue;
		node->state = NODE_ABSENT;
		node->public.alive = false;
		node->lenient = node->settled = false;
		round_begin(node);
		nodes_sum(nodes, node);
		nodes_show(node);
		alive_add(nodes, -1);
		nodes->changed = true;
		gone++;
		log_warn("lost a node node=%u name=%s host=%s replicas=%lu", node->public.id,
			 node->public.name, node->public.host, (unsigned long)node->replicas);
	}
	return gone;
}

uint32_t node_silent_ms(const struct node *node, uint64_t now_ms)
{
	uint64_t silent_ms = node->heard_ms ? now_ms - node->heard_ms : MC_NODE_NEVER_HEARD;

	return silent_ms < MC_NODE_NEVER_HEARD ? (uint32_t)silent_ms : MC_NODE_NEVER_HEARD;
}

bool nodes_shows(const struct nodes *nodes, uint16_t replica)
{
	const struct node *node = &nodes->table[REPLICA_NODE(replica)];
	uint8_t shows = __atomic_load_n(&node->shows, __ATOMIC_ACQUIRE);

	return shows != 0 && (shows == NODE_SHOWS_ALL || REPLICA_ROUND(replica) == shows);
}
