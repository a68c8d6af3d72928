/* mooncake stat, exists and locate: what the master knows of keys */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/mooncake/cluster.h"
#include "tools/mooncake/complaint.h"
#include "tools/mooncake/document.h"
#include "tools/mooncake/format.h"
#include "tools/mooncake/node.h"
#include "tools/mooncake/policy.h"
#include "tools/mooncake/table.h"

/* The nodes by id, for names, and the policy of each key. */
struct names {
	struct mc_node *nodes;
	size_t count;
	struct master_policy *policies;
};

/* What becomes of one key that was found, as text or rows of a table, and as fields. */
struct view {
	void (*print)(struct table *table, const char *shown, const struct master_found *found,
		      const struct names *names, const struct master_policy *policy);
	void (*add)(cJSON *object, const struct master_found *found, const struct names *names,
		    const struct master_policy *policy);
};

static const struct mc_node *node_of(const struct names *names, uint32_t id)
{
	for (size_t i = 0; i < names->count; i++) {
		if (names->nodes[i].id == id)
			return &names->nodes[i];
	}
	return NULL;
}

/* Its name as it is shown; the caller frees. */
static char *name_of(const struct mc_node *node)
{
	const char *name = node ? node->name : "?";

	return format_name(name, strlen(name));
}

static const char *kind_of(const struct mc_replica *replica)
{
	return replica->kind == MC_REPLICA_PRIMARY ? "primary" : "cache";
}

/* -- stat -- */

static void print_times(const struct mc_attr *attr)
{
	char text[FORMAT_SIZE];

	printf("modified  %s\n", format_time(attr->mtime, true, text));
	printf("changed   %s\n", format_time(attr->ctime, true, text));
	printf("accessed  %s\n", format_time(attr->atime, true, text));
}

/* Of the object itself, else of its policy. */
static unsigned wanted(const struct mc_attr *attr, const struct master_policy *policy)
{
	unsigned own = MC_ATTR_REPLICAS_GET(attr->flags);

	return own ? own : policy->placement.replicas;
}

static void print_policy(const struct mc_attr *attr, const struct master_policy *policy)
{
	CLEANUP_FREE char *text = placement_text(&policy->placement);
	CLEANUP_FREE char *prefix = format_name(policy->prefix, strlen(policy->prefix));

	printf("policy    %s of /%s", text, prefix);
	if (MC_ATTR_REPLICAS_GET(attr->flags))
		printf("; its own replicas=%u", MC_ATTR_REPLICAS_GET(attr->flags));
	printf("\n");
}

static void print_copies(const struct mc_entry *entry, const struct names *names,
			 const struct master_policy *policy)
{
	printf("copies    %" PRIu32 ", %u wanted", entry->replica_count,
	       wanted(&entry->attr, policy));
	for (uint32_t i = 0; i < entry->replica_count; i++) {
		const struct mc_replica *replica = &entry->replicas[i];
		CLEANUP_FREE char *name = name_of(node_of(names, replica->node));
		printf("%s%s (%s)", i ? ", " : ": ", name, kind_of(replica));
	}
	printf("\n");
}

static void stat_print(struct table *table, const char *shown, const struct master_found *found,
		       const struct names *names, const struct master_policy *policy)
{
	const struct mc_attr *attr = &found->entry.attr;
	bool directory = S_ISDIR(attr->mode);
	char size[FORMAT_SIZE], memory[FORMAT_SIZE], mode[FORMAT_SIZE];

	(void)table;
	printf("key       %s%s\n", shown, directory ? "/" : "");
	printf("kind      %s, id %" PRIx64 "%s\n", directory ? "directory" : "object", attr->id,
	       attr->flags & MC_ATTR_PINNED ? ", pinned" : "");
	if (!directory) {
		printf("size      %" PRIu64 " bytes (%s), %s in memory\n", attr->size,
		       format_size(attr->size, size), format_size(attr->allocated, memory));
		printf("version   %" PRIu64 "\n", attr->version);
	}
	printf("mode      %s (%04o), owner %" PRIu32 ":%" PRIu32 "\n",
	       format_mode(attr->mode, mode), attr->mode & 07777, attr->uid, attr->gid);
	print_times(attr);
	if (!directory)
		print_copies(&found->entry, names, policy);
	print_policy(attr, policy);
}

static void add_replicas(cJSON *object, const struct master_found *found, const struct names *names,
			 const struct master_policy *policy)
{
	cJSON *list = document_list();

	for (uint32_t i = 0; i < found->entry.replica_count; i++) {
		const struct mc_replica *replica = &found->entry.replicas[i];
		const struct mc_node *node = node_of(names, replica->node);
		cJSON *item = document_object();
		document_add_number(item, "node", replica->node);
		document_add_text(item, "kind", kind_of(replica));
		if (node) {
			cJSON *endpoints = document_list();
			document_add_text(item, "name", node->name);
			document_add_text(item, "host", node->host);
			document_add_bool(item, "alive", node->alive);
			for (uint32_t e = 0; e < node->endpoint_count; e++)
				document_append_text(endpoints, node->endpoints[e]);
			document_add(item, "endpoints", endpoints);
		}
		document_append(list, item);
	}
	document_add(object, "locations", list);
	document_add_number(object, "wanted", wanted(&found->entry.attr, policy));
}

static void stat_add(cJSON *object, const struct master_found *found, const struct names *names,
		     const struct master_policy *policy)
{
	cJSON *of_policy = document_object();

	document_add_entry(object, &found->entry);
	document_add_name(of_policy, "prefix", policy->prefix, strlen(policy->prefix));
	document_add_placement(of_policy, &policy->placement);
	document_add(object, "policy", of_policy);
	if (!S_ISDIR(found->entry.attr.mode))
		add_replicas(object, found, names, policy);
}

/* -- locate -- */

static void locate_print(struct table *table, const char *shown, const struct master_found *found,
			 const struct names *names, const struct master_policy *policy)
{
	(void)policy;
	for (uint32_t i = 0; i < found->entry.replica_count; i++) {
		const struct mc_replica *replica = &found->entry.replicas[i];
		const struct mc_node *node = node_of(names, replica->node);
		CLEANUP_FREE char *name = name_of(node);
		table_add(table, "%s", shown);
		table_add(table, "%s", name);
		table_add(table, "%s", kind_of(replica));
		table_add(table, "%s", node && node->alive ? "alive" : "lost");
		CLEANUP_FREE char *reached = node_endpoints(node);
		table_add(table, "%s", reached);
	}
}

static void locate_add(cJSON *object, const struct master_found *found, const struct names *names,
		       const struct master_policy *policy)
{
	document_add_number(object, "size", found->entry.attr.size);
	document_add_number(object, "version", found->entry.attr.version);
	add_replicas(object, found, names, policy);
}

/* -- exists -- */

static void exists_print(struct table *table, const char *shown, const struct master_found *found,
			 const struct names *names, const struct master_policy *policy)
{
	(void)table;
	(void)policy;
	(void)shown;
	(void)found;
	(void)names;
}

static void exists_add(cJSON *object, const struct master_found *found, const struct names *names,
		       const struct master_policy *policy)
{
	(void)policy;
	(void)names;
	document_add_text(object, "kind", S_ISDIR(found->entry.attr.mode) ? "directory" : "object");
}

/* -- all three -- */

/* A key that is not there, or under an object: both are "no such thing". */
static bool is_missing(enum mc_status status)
{
	return status == MC_NOT_FOUND || status == MC_NOT_DIRECTORY;
}

static void show_document(const struct view *view, size_t count, char **keys,
			  const struct master_found *found, const struct names *names)
{
	document_list_begin();
	for (size_t i = 0; i < count; i++) {
		cJSON *object = document_object();
		document_add_name(object, "key", keys[i], strlen(keys[i]));
		document_add_bool(object, "exists", found[i].status == MC_OK);
		if (found[i].status == MC_OK)
			view->add(object, &found[i], names, &names->policies[i]);
		document_list_item(object);
	}
	document_list_end();
}

static enum exit_code show(const struct cluster *cluster, const struct view *view, size_t count,
			   char **keys, const struct master_found *found, const struct names *names)
{
	struct table *table = table_new("LLLLL"); /* of locate */
	enum exit_code code = EXIT_CODE_OK;
	bool printed = false;

	if (cluster->settings->json)
		show_document(view, count, keys, found, names);
	for (size_t i = 0; i < count; i++) {
		CLEANUP_FREE char *shown = format_name(keys[i], strlen(keys[i]));
		enum mc_status status =
			is_missing(found[i].status) ? MC_NOT_FOUND : found[i].status;
		code = exit_code_graver(code, exit_code_of(status));
		if (status == MC_OK && !cluster->settings->json) {
			if (printed && view->print == stat_print)
				printf("\n");
			view->print(table, shown, &found[i], names, &names->policies[i]);
			printed = true;
		} else if (status == MC_NOT_FOUND) {
			/* The code says it all for the one key that a script asks for. */
			if (view->print != exists_print || (count > 1 && !cluster->settings->json))
				complain("there is no %s", keys[i]);
		} else if (status) {
			complain("%s can't be looked up: %s", keys[i], mc_status_text(status));
		}
	}
	table_print(table, stdout);
	table_free(table);
	return code;
}

static enum exit_code ask_and_show(struct cluster *cluster, const struct view *view, size_t count,
				   char **keys)
{
	struct names names = {0};
	struct master *master;

	enum mc_status status = cluster_master(cluster, &master);
	if (status)
		return exit_code_of(status);
	CLEANUP_FREE struct master_found *found = calloc(count, sizeof(*found));
	MUST(found != NULL);
	status = master_lookup(master, keys, count, found);
	names.policies = calloc(count, sizeof(*names.policies));
	MUST(names.policies != NULL);
	if (!status && view->print != exists_print)
		status = master_nodes(master, &names.nodes, &names.count);
	for (size_t i = 0; i < count && !status && view->print != exists_print; i++) {
		if (found[i].status == MC_OK)
			status = master_policy_of(master, keys[i], &names.policies[i]);
	}
	enum exit_code code = exit_code_of(status);
	if (status)
		cluster_complain(cluster, status);
	else
		code = show(cluster, view, count, keys, found, &names);
	free(names.nodes);
	master_policies_free(names.policies, count);
	return code;
}

static enum exit_code run(struct cluster *cluster, const struct view *view, int count, char **keys)
{
	for (int i = 0; i < count; i++) {
		keys[i] = cluster_key(keys[i]);
		if (!keys[i])
			return EXIT_CODE_USAGE;
	}
	return ask_and_show(cluster, view, (size_t)count, keys);
}

/* Turn ids, as user.mooncake.id writes them, into the keys that they have now. */
static enum exit_code keys_of_ids(struct cluster *cluster, int count, char **ids)
{
	struct master *master;

	enum mc_status status = cluster_master(cluster, &master);
	if (status)
		return exit_code_of(status);
	for (int i = 0; i < count; i++) {
		char *end;
		errno = 0;
		uint64_t id = strtoull(ids[i], &end, 16);
		if (errno || *end || end == ids[i] || ids[i][0] == '-') {
			complain("%s is no id: those are hexadecimal numbers", ids[i]);
			return EXIT_CODE_USAGE;
		}
		status = master_path(master, id, &ids[i]); /* lives as long as the program */
		if (status == MC_NOT_FOUND)
			complain("there is no object with the id %s", ids[i]);
		else if (status)
			cluster_complain(cluster, status);
		if (status)
			return exit_code_of(status);
	}
	return EXIT_CODE_OK;
}

static enum exit_code stat_run(struct cluster *cluster, int count, char **operands)
{
	static const struct view view = {stat_print, stat_add};

	if (!cluster->settings->by_id)
		return run(cluster, &view, count, operands);
	enum exit_code code = keys_of_ids(cluster, count, operands);
	if (code)
		return code;
	code = ask_and_show(cluster, &view, (size_t)count, operands);
	for (int i = 0; i < count; i++)
		free(operands[i]);
	return code;
}

static enum exit_code exists_run(struct cluster *cluster, int count, char **operands)
{
	static const struct view view = {exists_print, exists_add};

	return run(cluster, &view, count, operands);
}

static enum exit_code locate_run(struct cluster *cluster, int count, char **operands)
{
	static const struct view view = {locate_print, locate_add};

	return run(cluster, &view, count, operands);
}

static const struct option_row stat_rows[] = {
	COMMAND_OPTION(by_id, "id", 'i', OPTION_BOOL,
		       .help = "The operands are ids (inode numbers in hexadecimal), not keys."),
	{0},
};

const struct command command_stat = {
	.name = "stat",
	.operands = "KEY...",
	.summary = "Tell all that the master knows of objects and directories.",
	.rows = stat_rows,
	.operand_min = 1,
	.operand_max = -1,
	.run = stat_run,
};

const struct command command_exists = {
	.name = "exists",
	.operands = "KEY...",
	.summary = "Tell by the exit code whether all of the keys exist.",
	.text = "\nSays nothing of one key; of several, says on standard error which are missing.\n"
		"A directory exists, too.\n",
	.operand_min = 1,
	.operand_max = -1,
	.run = exists_run,
};

const struct command command_locate = {
	.name = "locate",
	.operands = "KEY...",
	.summary = "Tell which nodes hold a copy of objects.",
	.text = "\nColumns: key, node, kind of copy (a cache copy was pulled for a reader and "
		"goes\n"
		"first), whether the node is alive, where it serves others.\n",
	.operand_min = 1,
	.operand_max = -1,
	.run = locate_run,
};
