/* mooncake stats */
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "tools/mooncake/cluster.h"
#include "tools/mooncake/complaint.h"
#include "tools/mooncake/document.h"
#include "tools/mooncake/table.h"

/* The counters of the mount; its state has been seen to be good. */
static enum exit_code mount_stats(struct cluster *cluster, char **text)
{
	const struct mount *mount = cluster_mount(cluster);

	enum mc_status status = mount_attribute(mount->path, "user.mooncake.stats",
						cluster->settings->timeout_ms, text);
	if (status)
		complain("the mount at %s can't be asked: %s", mount->path, mc_status_text(status));
	return exit_code_of(status);
}

static enum exit_code master_counters(struct cluster *cluster, char **text)
{
	struct master *master;

	enum mc_status status = cluster_master(cluster, &master);
	if (status)
		return exit_code_of(status);
	status = master_stats(master, text);
	if (status)
		cluster_complain(cluster, status);
	return exit_code_of(status);
}

/* Add a row, or a field, for each line "name value". */
static void show(char *text, bool json)
{
	cJSON *document = document_object();
	struct table *table = table_new("LR");

	for (char *line; (line = strsep(&text, "\n")) != NULL;) {
		char *value = strchr(line, ' ');
		if (!value)
			continue;
		*value++ = '\0';
		char *end;
		uint64_t number = strtoull(value, &end, 10);
		if (*end || end == value)
			document_add_text(document, line, value);
		else
			document_add_number(document, line, number);
		table_add(table, "%s", line);
		table_add(table, "%s", value);
	}
	if (json)
		document_print(document);
	else
		cJSON_Delete(document);
	if (!json)
		table_print(table, stdout);
	table_free(table);
}

static enum exit_code stats_run(struct cluster *cluster, int count, char **operands)
{
	const struct settings *settings = cluster->settings;
	CLEANUP_FREE char *text = NULL;
	enum exit_code code;

	(void)count;
	(void)operands;
	if (settings->of_master || settings->master) {
		code = master_counters(cluster, &text);
	} else if (cluster_mount(cluster)->state == MC_OK) {
		code = mount_stats(cluster, &text);
	} else {
		complain("%s: name one with --mount DIR, or ask the master with --master",
			 cluster->mount.why);
		code = EXIT_CODE_UNREACHABLE;
	}
	if (code == EXIT_CODE_OK)
		show(text, settings->json);
	return code;
}

const struct command command_stats = {
	.name = "stats",
	.operands = "",
	.summary = "Print the counters of the mount here, or with --master those of the master.",
	.text = "\nWith --master HOST:PORT, of that master; with --master alone, of the mount's.\n",
	.run = stats_run,
};
