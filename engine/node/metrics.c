/* The counters of a node as Prometheus reads them; node_stats() has them as lines. */
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/http/metrics.h"
#include "engine/node/internal.h"

static void metrics_of_counters(const struct counters *counters, struct writer *w)
{
	static const struct metric rows[COUNTER_LIMIT] = {
#define COUNTER_METRIC(id, name, help)                                                             \
	[COUNTER_##id] = {"node_" name "_total", METRIC_COUNTER, (help)},
		COUNTER_ROWS(COUNTER_METRIC)
#undef COUNTER_METRIC
	};

	for (unsigned i = 0; i < COUNTER_LIMIT; i++)
		metrics_one(w, &rows[i], counter_get(counters, (enum counter)i));
}

static void metrics_of_rpc(const struct node *node, struct writer *w)
{
	static const struct metric rpc = {"node_rpc_total", METRIC_COUNTER,
					  "requests to the master, by verb"};
	char label[64];

	metrics_begin(w, &rpc);
	for (unsigned verb = 1; verb < MC_VERB_LIMIT; verb++) {
		if (strcmp(mc_verb_name(verb), "unknown") == 0)
			continue;
		label[0] = '\0';
		metrics_label(label, sizeof(label), "verb", mc_verb_name(verb));
		metrics_value(w, &rpc, label, client_calls(node->client, (enum mc_verb)verb));
	}
}

static uint64_t transport_value(const struct transport *transport, size_t offset)
{
	struct transport_counters counters = {0};

	transport->ops->counters((struct transport *)transport, &counters);
	return *(const uint64_t *)((const char *)&counters + offset);
}

static void metrics_of_transports(const struct node *node, struct writer *w)
{
	static const struct {
		size_t offset;
		struct metric metric;
	} rows[] = {
		{offsetof(struct transport_counters, pulls_served),
		 {"node_pulls_served_total", METRIC_COUNTER, "objects that peers got from here"}},
		{offsetof(struct transport_counters, bytes_served),
		 {"node_bytes_served_total", METRIC_COUNTER, "bytes that peers got from here"}},
		{offsetof(struct transport_counters, checksum_errors),
		 {"node_checksum_errors_total", METRIC_COUNTER, "chunks that came damaged"}},
		{offsetof(struct transport_counters, holds),
		 {"node_holds", METRIC_GAUGE, "objects held for peers now"}},
		{offsetof(struct transport_counters, shown),
		 {"node_shown", METRIC_GAUGE, "objects registered before a peer asked, now"}},
		{offsetof(struct transport_counters, pulls_shown),
		 {"node_pulls_shown_total", METRIC_COUNTER, "of the pulls: found theirs so"}},
	};
	char label[64];

	for (size_t row = 0; row < ARRAY_SIZE(rows); row++) {
		metrics_begin(w, &rows[row].metric);
		for (unsigned i = 0; i < node->transport_count; i++) {
			label[0] = '\0';
			metrics_label(label, sizeof(label), "transport",
				      node->transports[i]->ops->name);
			metrics_value(w, &rows[row].metric, label,
				      transport_value(node->transports[i], rows[row].offset));
		}
	}
}

static void metrics_of_state(struct node *node, struct writer *w)
{
	static const struct metric connected = {"node_connected", METRIC_GAUGE,
						"1 while there is a master"};
	static const struct metric capacity = {"node_pool_capacity_bytes", METRIC_GAUGE,
					       "memory that is lent"};
	static const struct metric used = {"node_pool_used_bytes", METRIC_GAUGE, "of which in use"};
	static const struct metric local = {"node_objects", METRIC_GAUGE, "objects in the pool"};
	static const struct metric known = {"node_objects_known", METRIC_GAUGE,
					    "records in memory"};
	struct pool_space space = {0};

	pool_space(node->pool, &space);
	node_lock(node);
	uint64_t local_count = node->local_count;
	uint64_t known_count = node->objects.count;
	node_unlock(node);
	metrics_one(w, &connected, client_connected(node->client));
	metrics_one(w, &capacity, space.capacity);
	metrics_one(w, &used, space.used);
	metrics_one(w, &local, local_count);
	metrics_one(w, &known, known_count);
}

bool node_connected(const struct node *node)
{
	return client_connected(node->client);
}

void node_metrics(struct node *node, struct writer *w)
{
	metrics_of_state(node, w);
	metrics_of_counters(&node->counters, w);
	metrics_of_rpc(node, w);
	metrics_of_transports(node, w);
}
