/* mooncake journal */
#include <mooncake/journal.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "tools/mooncake/cluster.h"
#include "tools/mooncake/complaint.h"
#include "tools/mooncake/document.h"
#include "tools/mooncake/format.h"
#include "tools/mooncake/table.h"

/* -- dump -- */

static bool line_print(void *context, const struct mc_journal_line *line)
{
	(void)context;
	CLEANUP_FREE char *key = format_name(line->key, line->key_size);
	if (line->removed)
		printf("%s removed\n", key);
	else
		printf("%s %.*s\n", key, (int)line->value_size, line->value);
	return ferror(stdout) == 0;
}

static bool line_print_json(void *context, const struct mc_journal_line *line)
{
	cJSON *item = document_object();

	(void)context;
	document_add_name(item, "key", line->key, line->key_size);
	if (line->removed)
		document_add_bool(item, "removed", true);
	else
		document_add_name(item, "value", line->value, line->value_size);
	document_list_item(item);
	return ferror(stdout) == 0;
}

static enum mc_status dump(const char *journal, bool json, struct mc_journal_found *found)
{
	if (!json)
		return mc_journal_read(journal, line_print, NULL, found);
	document_list_begin();
	enum mc_status status = mc_journal_read(journal, line_print_json, NULL, found);
	document_list_end();
	return status;
}

/* -- check -- */

/* What was found, in the order in which it is shown. */
static const struct {
	const char *field;
	const char *shown;
	size_t offset;
	bool wrong; /* shown only where there is some */
} rows[] = {
#define ROW(field, shown, wrong)                                                                   \
	{                                                                                          \
#field, shown, offsetof(struct mc_journal_found, field), wrong                     \
	}
	ROW(bytes, "bytes", false),
	ROW(records, "records", false),
	ROW(removals, "removals", false),
	ROW(objects, "objects", false),
	ROW(directories, "directories", false),
	ROW(nodes, "nodes", false),
	ROW(policies, "policies", false),
	ROW(deeds, "answers kept", false),
	ROW(tail, "bytes of a broken tail, cut off by the next start", true),
	ROW(orphans, "entries without their directory, left out by a master", true),
	ROW(strays, "replicas at unknown nodes, left out by a master", true),
	ROW(others, "other keys", true),
#undef ROW
};

static uint64_t number_of(const struct mc_journal_found *found, size_t row)
{
	uint64_t number;

	memcpy(&number, (const char *)found + rows[row].offset, sizeof(number));
	return number;
}

static void found_print_json(const char *journal, const struct mc_journal_found *found, bool sound)
{
	cJSON *document = document_object();

	document_add_name(document, "journal", journal, strlen(journal));
	document_add_bool(document, "sound", sound);
	if (found->damage[0])
		document_add_name(document, "damage", found->damage, strlen(found->damage));
	document_add_number(document, "epoch", found->epoch);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		document_add_number(document, rows[i].field, number_of(found, i));
	document_print(document);
}

static void found_print(const struct mc_journal_found *found, bool sound)
{
	struct table *table = table_new("LR");

	table_add(table, "journal");
	table_add(table, sound ? "sound" : "damaged");
	table_add(table, "epoch");
	table_add(table, "%" PRIu32, found->epoch);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t number = number_of(found, i);
		if (rows[i].wrong && number == 0)
			continue;
		table_add(table, "%s", rows[i].shown);
		table_add(table, "%" PRIu64, number);
	}
	table_print(table, stdout);
	table_free(table);
}

/* -- the command -- */

static void complain_of(const char *journal, enum mc_status status,
			const struct mc_journal_found *found)
{
	if (status == MC_IO && found->damage[0])
		complain("%s is damaged: %s", journal, found->damage);
	else if (status == MC_NOT_FOUND)
		complain("%s: there is no such journal", journal);
	else if (status == MC_INVALID)
		complain("%s is no journal: name a file, or etcd://HOST:PORT[/CLUSTER]", journal);
	else
		complain("can't read %s: %s", journal, mc_status_text(status));
}

static enum exit_code journal_run(struct cluster *cluster, int count, char **operands)
{
	const char *journal = operands[1];
	bool json = cluster->settings->json;
	struct mc_journal_found found;
	enum mc_status status;

	(void)count;
	if (strcmp(operands[0], "dump") == 0) {
		status = dump(journal, json, &found);
	} else if (strcmp(operands[0], "check") == 0) {
		status = mc_journal_read(journal, NULL, NULL, &found);
		bool sound = status == MC_OK;
		if (sound || found.damage[0]) {
			if (json)
				found_print_json(journal, &found, sound);
			else
				found_print(&found, sound);
		}
	} else {
		complain("%s is neither dump nor check", operands[0]);
		return EXIT_CODE_USAGE;
	}
	if (status != MC_OK)
		complain_of(journal, status, &found);
	return exit_code_of(status);
}

const struct command command_journal = {
	.name = "journal",
	.operands = "dump|check JOURNAL",
	.summary = "Print the records of a master's journal, or tell whether they are sound.",
	.text = "\nJOURNAL is a path, file:PATH, or etcd://HOST:PORT[,HOST:PORT...][/CLUSTER].\n"
		"No master is asked, and nothing is changed: it may be of one that runs. dump\n"
		"prints a record a line, its key and its value; of a file in the order of\n"
		"writing, so the last line of a key counts. check reads them as a master does.\n",
	.operand_min = 2,
	.operand_max = 2,
	.run = journal_run,
};
