/*
 * tests/unit/master/fleet.h -- a master's tables of nodes and objects
 *
 * No sessions, no threads, and a clock that the test owns.
 */
#ifndef TESTS_UNIT_MASTER_FLEET_H
#define TESTS_UNIT_MASTER_FLEET_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/log.h"
#include "master/repair.h"
#include "master/replicas.h"
#include "master/state.h"
#include "tests/support/suite.h"

#define MIB	 (1ull << 20)
#define TTL_MS	 5000u
#define DELAY_MS 10000u

static struct mc_master *m;
static uint64_t next_id;

static inline void setup_rate(uint64_t rate)
{
	log_open("/dev/null");
	m = calloc(1, sizeof(*m));
	m->now_ms = 1000000;
	m->ttl_ms = TTL_MS;
	m->repair_delay_ms = DELAY_MS;
	next_id = 100;
	ck_assert_int_eq(catalog_init(&m->catalog), MC_OK);
	ck_assert_int_eq(nodes_init(&m->nodes), MC_OK);
	m->repair = repair_new(rate, m->now_ms);
	ck_assert_ptr_nonnull(m->repair);
}

static inline void setup(void)
{
	setup_rate(1ull << 40);
}

static inline void teardown(void)
{
	repair_free(m->repair);
	catalog_fini(&m->catalog);
	nodes_fini(&m->nodes);
	policies_fini(&m->policies);
	free(m);
}

static inline struct node *node_new(uint8_t number, const char *host)
{
	uint8_t uuid[16] = {number};
	struct node *node;

	ck_assert_int_eq(nodes_get(&m->nodes, uuid, &node), MC_OK);
	snprintf(node->public.name, sizeof(node->public.name), "n%u", number);
	snprintf(node->public.host, sizeof(node->public.host), "%s", host);
	node->public.capacity = 1024 * MIB;
	nodes_enter(&m->nodes, node, m->now_ms);
	nodes_settle(node);
	return node;
}

static inline struct entry *object_new(struct node *node, uint64_t size, unsigned wanted)
{
	struct mc_attr attr = {.id = next_id++,
			       .version = 1,
			       .size = size,
			       .allocated = size,
			       .mode = S_IFREG | 0644,
			       .flags = MC_ATTR_REPLICAS_PUT(wanted)};
	struct entry *entry;
	char name[32];

	snprintf(name, sizeof(name), "k%lu", (unsigned long)attr.id);
	ck_assert_int_eq(catalog_add(&m->catalog, m->catalog.root->directory, name, strlen(name),
				     &attr, &entry),
			 MC_OK);
	ck_assert_int_eq(replicas_add(m, entry, node, MC_REPLICA_PRIMARY), MC_OK);
	return entry;
}

static inline void copy_on(struct entry *entry, struct node *node, enum mc_replica_kind kind)
{
	ck_assert_int_eq(replicas_add(m, entry, node, kind), MC_OK);
}

#endif
