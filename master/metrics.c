#include "master/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/http/metrics.h"
#include "master/admin.h"
#include "master/journal.h"
#include "master/repair.h"
#include "master/service.h"

#define STATUS_LIMIT 256u

/* What the rows are read from. */
struct sources {
	const struct mc_master *master;
	struct journal_counters journal;
	struct repair_counters repair;
};

struct row {
	const char *stat;
	uint64_t (*value)(const struct sources *s);
	struct metric metric;
};

#define VALUE(name, expression)                                                                    \
	static uint64_t name(const struct sources *s)                                              \
	{                                                                                          \
		return (expression);                                                               \
	}

VALUE(epoch, s->master->epoch)
VALUE(objects, s->master->catalog.objects)
VALUE(directories, s->master->catalog.directories)
VALUE(nodes, s->master->nodes.alive)
VALUE(sessions, s->master->session_count)
VALUE(reservations, s->master->reservations.table.count)
VALUE(read_only, s->master->read_only)
VALUE(journal_bytes, s->journal.bytes)
VALUE(journal_records, s->journal.records)
VALUE(journal_flushes, s->journal.flushes)
VALUE(journal_compactions, s->journal.compactions)
VALUE(policies, s->master->policies.count)
VALUE(lacking, s->repair.lacking)
VALUE(queued, s->repair.queued)
VALUE(coming, s->repair.flights)
VALUE(made, s->repair.made)
VALUE(refused, s->repair.refused)
VALUE(raised, s->master->counters.raised)
VALUE(lowered, s->master->counters.lowered)
VALUE(bad, s->repair.bad)
VALUE(recalls, s->master->counters.recalls)
VALUE(grants, s->master->counters.grants)
VALUE(parked, s->master->counters.parked)
VALUE(invalidations, s->master->counters.invalidations)
VALUE(drops, s->master->counters.drops)

static const struct row rows_of_state[] = {
	{"epoch", epoch, {"master_epoch", METRIC_GAUGE, "Counts the starts of masters."}},
	{"objects", objects, {"master_objects", METRIC_GAUGE, "Objects that are known."}},
	{"directories",
	 directories,
	 {"master_directories", METRIC_GAUGE, "Directories that are known."}},
	{"nodes", nodes, {"master_nodes", METRIC_GAUGE, "Nodes that are here."}},
	{"sessions", sessions, {"master_sessions", METRIC_GAUGE, "Nodes and clients connected."}},
	{"reservations",
	 reservations,
	 {"master_reservations", METRIC_GAUGE, "Names reserved by O_EXCL and not yet published."}},
	{"policies", policies, {"master_policies", METRIC_GAUGE, "Prefixes with a policy."}},
	{"replicas_lacking",
	 lacking,
	 {"master_replicas_lacking", METRIC_GAUGE, "Objects with too few, at the last look."}},
	{"replicas_queued",
	 queued,
	 {"master_replicas_queued", METRIC_GAUGE, "Objects that wait for copies or get some."}},
	{"replicas_coming", coming, {"master_replicas_coming", METRIC_GAUGE, "Copies under way."}},
	{"read_only",
	 read_only,
	 {"master_read_only", METRIC_GAUGE, "1 while the journal can't be written."}},
	{"journal_bytes",
	 journal_bytes,
	 {"master_journal_bytes", METRIC_GAUGE, "Bytes of the file, or that wait for etcd."}},
	{"journal_records",
	 journal_records,
	 {"master_journal_records_total", METRIC_COUNTER, "Records put in the journal."}},
	{"journal_flushes",
	 journal_flushes,
	 {"master_journal_flushes_total", METRIC_COUNTER, "Groups of records written."}},
	{"journal_compactions",
	 journal_compactions,
	 {"master_journal_compactions_total", METRIC_COUNTER, "Times it was made smaller."}},
};

static const struct row rows_of_work[] = {
	{"recalls",
	 recalls,
	 {"master_recalls_total", METRIC_COUNTER, "Grants of directories taken back."}},
	{"grants", grants, {"master_grants_total", METRIC_COUNTER, "Directories granted."}},
	{"parked",
	 parked,
	 {"master_parked_total", METRIC_COUNTER, "Requests that waited for a grant."}},
	{"invalidations",
	 invalidations,
	 {"master_invalidations_total", METRIC_COUNTER, "Names told to be forgotten."}},
	{"drops", drops, {"master_drops_total", METRIC_COUNTER, "Replicas told to be dropped."}},
	{"replicas_made",
	 made,
	 {"master_replicas_made_total", METRIC_COUNTER, "Copies that nodes made when told."}},
	{"replicas_refused",
	 refused,
	 {"master_replicas_refused_total", METRIC_COUNTER, "Copies that a node could not make."}},
	{"replicas_raised",
	 raised,
	 {"master_replicas_raised_total", METRIC_COUNTER, "Cache copies that became primary."}},
	{"replicas_lowered",
	 lowered,
	 {"master_replicas_lowered_total", METRIC_COUNTER, "Primary copies that became cache."}},
	{"replicas_bad",
	 bad,
	 {"master_replicas_bad_total", METRIC_COUNTER, "Copies that could not be read."}},
};

static struct sources sources_of(const struct mc_master *master)
{
	struct sources sources = {.master = master};

	if (master->journal)
		master->journal->ops->counters(master->journal, &sources.journal);
	repair_counters(master->repair, &sources.repair);
	return sources;
}

/* The phrase of a status as one word. */
static void status_word(unsigned number, char word[64])
{
	snprintf(word, 64, "%s", mc_status_text((enum mc_status) - (int)number));
	for (char *p = word; *p; p++)
		*p = *p == ' ' ? '_' : *p;
}

/* -- STATS -- */

static void line(struct writer *w, const char *prefix, const char *name, uint64_t value)
{
	char text[128];
	int size = snprintf(text, sizeof(text), "%s%s %" PRIu64 "\n", prefix, name, value);

	put_bytes(w, text, (size_t)size);
}

static void lines(const struct sources *sources, const struct row *rows, size_t count,
		  struct writer *w)
{
	for (size_t i = 0; i < count; i++)
		line(w, "", rows[i].stat, rows[i].value(sources));
}

void metrics_write_stats(const struct mc_master *master, struct writer *w)
{
	const struct counters *counters = &master->counters;
	struct sources sources = sources_of(master);
	char word[64];

	lines(&sources, rows_of_state, ARRAY_SIZE(rows_of_state), w);
	for (unsigned verb = 0; verb < MC_VERB_LIMIT; verb++) {
		if (service_rows[verb].apply)
			line(w, "rpc_", mc_verb_name(verb), counter_get(&counters->rpc[verb]));
	}
	lines(&sources, rows_of_work, ARRAY_SIZE(rows_of_work), w);
	for (unsigned i = 0; i < STATUS_LIMIT; i++) {
		if (!counter_get(&counters->errors[i]))
			continue;
		status_word(i, word);
		line(w, "errors_", word, counter_get(&counters->errors[i]));
	}
}

/* -- /metrics -- */

static void metrics_of_rows(const struct sources *sources, const struct row *rows, size_t count,
			    struct writer *w)
{
	for (size_t i = 0; i < count; i++)
		metrics_one(w, &rows[i].metric, rows[i].value(sources));
}

static void metrics_of_verbs(const struct counters *counters, struct writer *w)
{
	static const struct metric rpc = {"master_rpc_total", METRIC_COUNTER, "Requests, by verb."};
	char label[64];

	metrics_begin(w, &rpc);
	for (unsigned verb = 0; verb < MC_VERB_LIMIT; verb++) {
		if (!service_rows[verb].apply)
			continue;
		label[0] = '\0';
		metrics_label(label, sizeof(label), "verb", mc_verb_name(verb));
		metrics_value(w, &rpc, label, counter_get(&counters->rpc[verb]));
	}
}

/* Every status has its line from the start, so that a rate can be taken of the first error. */
static void metrics_of_errors(const struct counters *counters, struct writer *w)
{
	static const struct metric errors = {"master_errors_total", METRIC_COUNTER,
					     "Items of requests that failed, by status."};
	static const enum mc_status usual[] = {MC_NOT_FOUND, MC_EXISTS, MC_STALE, MC_READ_ONLY,
					       MC_PROTOCOL};
	bool shown[STATUS_LIMIT] = {false};
	char word[64];
	char label[96];

	for (size_t i = 0; i < ARRAY_SIZE(usual); i++)
		shown[-usual[i]] = true;
	metrics_begin(w, &errors);
	for (unsigned i = 1; i < STATUS_LIMIT; i++) {
		if (!counter_get(&counters->errors[i]) && !shown[i])
			continue;
		label[0] = '\0';
		status_word(i, word);
		metrics_label(label, sizeof(label), "status", word);
		metrics_value(w, &errors, label, counter_get(&counters->errors[i]));
	}
}

static uint64_t node_up(const struct mc_master *master, const struct node *node)
{
	(void)master;
	return node->public.alive;
}

static uint64_t node_capacity(const struct mc_master *master, const struct node *node)
{
	(void)master;
	return node->public.capacity;
}

static uint64_t node_used(const struct mc_master *master, const struct node *node)
{
	(void)master;
	return node->public.used;
}

static uint64_t node_replicas(const struct mc_master *master, const struct node *node)
{
	(void)master;
	return node->replicas;
}

static uint64_t node_silent(const struct mc_master *master, const struct node *node)
{
	return node_silent_ms(node, master->now_ms) / 1000;
}

static void metrics_of_nodes(const struct mc_master *master, struct writer *w)
{
	static const struct {
		uint64_t (*value)(const struct mc_master *master, const struct node *node);
		struct metric metric;
	} rows[] = {
		{node_up, {"master_node_up", METRIC_GAUGE, "1 while the node is here."}},
		{node_capacity,
		 {"master_node_capacity_bytes", METRIC_GAUGE, "Memory that the node lends."}},
		{node_used, {"master_node_used_bytes", METRIC_GAUGE, "Of which in use."}},
		{node_replicas, {"master_node_replicas", METRIC_GAUGE, "Copies that it holds."}},
		{node_silent,
		 {"master_node_silent_seconds", METRIC_GAUGE, "Since its last heartbeat."}},
	};
	char id[16];
	char label[256];

	for (size_t row = 0; row < ARRAY_SIZE(rows); row++) {
		metrics_begin(w, &rows[row].metric);
		for (uint32_t i = 0; i < master->nodes.used; i++) {
			const struct node *node = &master->nodes.table[i];
			if (node->state == NODE_FREE ||
			    (rows[row].value == node_silent && !node->heard_ms))
				continue;
			label[0] = '\0';
			snprintf(id, sizeof(id), "%u", node->public.id);
			metrics_label(label, sizeof(label), "node", id);
			metrics_label(label, sizeof(label), "name", node->public.name);
			metrics_value(w, &rows[row].metric, label, rows[row].value(master, node));
		}
	}
}

void metrics_write_prometheus(const struct mc_master *master, struct writer *w)
{
	struct sources sources = sources_of(master);

	metrics_of_rows(&sources, rows_of_state, ARRAY_SIZE(rows_of_state), w);
	metrics_of_rows(&sources, rows_of_work, ARRAY_SIZE(rows_of_work), w);
	metrics_of_verbs(&master->counters, w);
	metrics_of_errors(&master->counters, w);
	metrics_of_nodes(master, w);
	if (master->admin)
		admin_write_metrics(master->admin, w);
	metrics_process(w);
}
