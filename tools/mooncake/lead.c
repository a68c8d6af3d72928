/* mooncake master */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "tools/mooncake/cluster.h"
#include "tools/mooncake/complaint.h"
#include "tools/mooncake/document.h"
#include "tools/mooncake/table.h"

/* What of the counters says how the lead goes. */
static const struct {
	const char *counter;
	const char *shown;
} rows[] = {
	{"epoch", "epoch"},
	{"read_only", "refuses changes"},
	{"sessions", "sessions"},
	{"nodes", "nodes"},
	{"objects", "objects"},
	{"directories", "directories"},
	{"journal_bytes", "journal bytes, of etcd those that wait"},
};

static void print_json(const struct master_facts *facts, const char *counters)
{
	cJSON *document = document_object();

	document_add_text(document, "name", facts->name);
	document_add_text(document, "address", facts->peer);
	document_add_text(document, "version", facts->version);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		document_add_number(document, rows[i].counter,
				    master_stat(counters, rows[i].counter));
	document_print(document);
}

static void print_table(const struct master_facts *facts, const char *counters)
{
	struct table *table = table_new("LL");

	table_add(table, "leader");
	table_add(table, "%s", facts->name);
	table_add(table, "at");
	table_add(table, "%s", facts->peer);
	table_add(table, "version");
	table_add(table, "%s", facts->version);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		table_add(table, "%s", rows[i].shown);
		table_add(table, "%" PRIu64, master_stat(counters, rows[i].counter));
	}
	table_print(table, stdout);
	table_free(table);
}

static enum mc_status status_show(struct cluster *cluster, struct master *master)
{
	CLEANUP_FREE char *counters = NULL;

	enum mc_status status = master_stats(master, &counters);
	if (status != MC_OK)
		return status;
	if (cluster->settings->json)
		print_json(master_facts(master), counters);
	else
		print_table(master_facts(master), counters);
	return MC_OK;
}

static enum mc_status step_down(struct cluster *cluster, struct master *master)
{
	const struct master_facts *facts = master_facts(master);

	enum mc_status status = master_step_down(master);
	if (status != MC_OK || !cluster->settings->json)
		return status;
	cJSON *document = document_object();
	document_add_text(document, "name", facts->name);
	document_add_text(document, "address", facts->peer);
	document_add_bool(document, "stepped_down", true);
	document_print(document);
	return MC_OK;
}

static enum exit_code lead_run(struct cluster *cluster, int count, char **operands)
{
	bool down = strcmp(operands[0], "step-down") == 0;
	struct master *master;

	(void)count;
	if (!down && strcmp(operands[0], "status") != 0) {
		complain("%s is neither status nor step-down", operands[0]);
		return EXIT_CODE_USAGE;
	}
	enum mc_status status = cluster_master(cluster, &master);
	if (status != MC_OK)
		return exit_code_of(status);
	status = down ? step_down(cluster, master) : status_show(cluster, master);
	if (status == MC_NOT_SUPPORTED && down)
		complain("this master is alone: its journal is not in etcd");
	else if (status != MC_OK)
		cluster_complain(cluster, status);
	return exit_code_of(status);
}

const struct command command_master = {
	.name = "master",
	.operands = "status|step-down",
	.summary = "Tell who leads, or have it give the lead to another master.",
	.text = "\nThe leader that steps down refuses changes until etcd has all it took, and "
		"then\n"
		"stands by; it is not elected again for the time of its lease.\n",
	.operand_min = 1,
	.operand_max = 1,
	.run = lead_run,
};
