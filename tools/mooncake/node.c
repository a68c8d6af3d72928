/* mooncake node and drain */
#include "tools/mooncake/node.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "tools/mooncake/cluster.h"
#include "tools/mooncake/complaint.h"
#include "tools/mooncake/format.h"
#include "tools/mooncake/policy.h"
#include "tools/mooncake/progress.h"
#include "tools/mooncake/table.h"

#define DRAIN_LOOK_MS  200u
#define DRAIN_STUCK_NS 5000000000ull /* without a step, and no copy under way */

const char *node_state(const struct mc_node *node)
{
	if (node->guest)
		return node->alive ? "guest" : "lost";
	if (node->draining)
		return node->alive ? "draining" : "drained, lost";
	return node->alive ? "alive" : "lost";
}

char *node_endpoints(const struct mc_node *node)
{
	const char *endpoints[MC_ENDPOINT_MAX];
	size_t count = node ? node->endpoint_count : 0;

	for (size_t i = 0; i < count; i++)
		endpoints[i] = node->endpoints[i];
	return format_endpoints(endpoints, count, " ");
}

cJSON *node_document(const struct mc_node *node)
{
	cJSON *object = document_object();
	cJSON *endpoints = document_list();

	document_add_number(object, "id", node->id);
	document_add_text(object, "name", node->name);
	document_add_text(object, "host", node->host);
	document_add_bool(object, "alive", node->alive);
	document_add_bool(object, "draining", node->draining);
	document_add_bool(object, "guest", node->guest);
	document_add_number(object, "objects", node->objects);
	document_add_number(object, "used", node->used);
	document_add_number(object, "capacity", node->capacity);
	if (node->silent_ms != MC_NODE_NEVER_HEARD)
		document_add_number(object, "silent_ms", node->silent_ms);
	for (uint32_t i = 0; i < node->endpoint_count; i++)
		document_append_text(endpoints, node->endpoints[i]);
	document_add(object, "endpoints", endpoints);
	return object;
}

/* By id, or by name where only one node has it.  Complains. */
static enum mc_status node_named(struct cluster *cluster, struct master *master, const char *named,
				 struct mc_node *found)
{
	CLEANUP_FREE struct mc_node *nodes = NULL;
	size_t count;
	char *end;
	unsigned fitting = 0;

	enum mc_status status = master_nodes(master, &nodes, &count);
	if (status) {
		cluster_complain(cluster, status);
		return status;
	}
	unsigned long id = strtoul(named, &end, 10);
	for (size_t i = 0; i < count; i++) {
		bool by_id = *named && !*end && nodes[i].id == id;
		if (!by_id && strcmp(nodes[i].name, named) != 0)
			continue;
		*found = nodes[i];
		fitting++;
	}
	if (fitting == 1)
		return MC_OK;
	if (fitting > 1)
		complain("%u nodes are called %s: name one by its id, see mooncake node list",
			 fitting, named);
	else
		complain("there is no node %s", named);
	return fitting ? MC_INVALID : MC_NOT_FOUND;
}

/* -- node -- */

static void print_nodes(const struct mc_node *nodes, size_t count)
{
	struct table *table = table_new("RLLLRRR");
	static const char *const titles[] = {"id",	"node", "host", "state",
					     "objects", "used", "of"};
	char used[FORMAT_SIZE], capacity[FORMAT_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(titles); i++)
		table_add(table, "%s", titles[i]);
	for (size_t i = 0; i < count; i++) {
		const struct mc_node *node = &nodes[i];
		CLEANUP_FREE char *name = format_name(node->name, strlen(node->name));
		CLEANUP_FREE char *host = format_name(node->host, strlen(node->host));
		table_add(table, "%" PRIu32, node->id);
		table_add(table, "%s", name);
		table_add(table, "%.16s", host);
		table_add(table, "%s", node_state(node));
		table_add(table, "%" PRIu64, node->objects);
		table_add(table, "%s", format_size(node->used, used));
		table_add(table, "%s", format_size(node->capacity, capacity));
	}
	table_print(table, stdout);
	table_free(table);
}

static enum exit_code list(struct cluster *cluster, struct master *master)
{
	CLEANUP_FREE struct mc_node *nodes = NULL;
	size_t count;

	enum mc_status status = master_nodes(master, &nodes, &count);
	if (status) {
		cluster_complain(cluster, status);
		return exit_code_of(status);
	}
	if (!cluster->settings->json) {
		print_nodes(nodes, count);
		return EXIT_CODE_OK;
	}
	cJSON *documents = document_list();
	for (size_t i = 0; i < count; i++)
		document_append(documents, node_document(&nodes[i]));
	document_print(documents);
	return EXIT_CODE_OK;
}

static cJSON *removed_document(const struct mc_node *node)
{
	cJSON *document = document_object();

	document_add_text(document, "node", node->name);
	document_add_number(document, "id", node->id);
	document_add_bool(document, "removed", true);
	return document;
}

static enum exit_code remove_node(struct cluster *cluster, struct master *master, const char *named)
{
	struct mc_node node;

	enum mc_status status = node_named(cluster, master, named, &node);
	if (status)
		return exit_code_of(status);
	status = master_node_set(master, node.id,
				 cluster->settings->force ? MC_NODE_REMOVE_ALL : MC_NODE_REMOVE);
	if (status == MC_BUSY)
		complain("%s is alive, or its master began a moment ago and can't know: drain it, "
			 "then end its daemon",
			 named);
	else if (status == MC_NOT_EMPTY)
		complain("%s has the only copy of some objects, which would be lost; --force "
			 "forgets them too",
			 named);
	else if (status)
		cluster_complain(cluster, status);
	else if (cluster->settings->json)
		document_print(removed_document(&node));
	return exit_code_of(status);
}

static enum exit_code node_run(struct cluster *cluster, int count, char **words)
{
	struct master *master;
	bool listing = strcmp(words[0], "list") == 0;

	if (!(listing && count == 1) && !(strcmp(words[0], "remove") == 0 && count == 2)) {
		complain("node takes: list, or remove NODE");
		return EXIT_CODE_USAGE;
	}
	enum mc_status status = cluster_master(cluster, &master);
	if (status)
		return exit_code_of(status);
	return listing ? list(cluster, master) : remove_node(cluster, master, words[1]);
}

static const struct option_row node_rows[] = {
	COMMAND_OPTION(force, "force", 'f', OPTION_BOOL,
		       .help = "Remove it with the objects that only it has."),
	{0},
};

const struct command command_node = {
	.name = "node",
	.operands = "list | remove NODE",
	.summary = "List the nodes, or forget one that is gone for good.",
	.text = "\nA node is named by its name or its id. One that is alive is not removed: drain\n"
		"it and end its daemon first.\n",
	.rows = node_rows,
	.operand_min = 1,
	.operand_max = 2,
	.run = node_run,
};

/* -- drain -- */

static void drain_tell(struct cluster *cluster, const struct mc_node *node,
		       const struct master_drain *drain)
{
	CLEANUP_FREE char *name = format_name(node->name, strlen(node->name));

	if (cluster->settings->json) {
		cJSON *document = document_object();
		document_add_text(document, "node", node->name);
		document_add_bool(document, "draining", drain->draining);
		document_add_bool(document, "empty", drain->done);
		document_add_number(document, "replicas", drain->replicas);
		document_add_number(document, "left", drain->left);
		document_print(document);
	} else if (drain->done) {
		printf("%s is empty\n", name);
	} else if (drain->draining) {
		printf("%s drains, %" PRIu64 " copies are left on it\n", name, drain->replicas);
	} else {
		printf("%s takes new copies again\n", name);
	}
}

/* Look on until the node is empty, or nothing moves any more. */
static enum mc_status drain_watch(struct master *master, const struct mc_node *node,
				  struct master_drain *drain)
{
	struct progress progress;
	uint64_t total = 0;
	uint64_t least = UINT64_MAX;
	uint64_t moved_ns = clock_ns();
	enum mc_status status = master_drain(master, node->id, drain);

	progress_begin(&progress, node->name);
	progress.unit = "copies";
	while (!status && drain->draining && !drain->done) {
		if (drain->replicas > total)
			total = drain->replicas;
		if (drain->replicas < least || drain->coming > 0)
			moved_ns = clock_ns();
		least = drain->replicas < least ? drain->replicas : least;
		if (clock_ns() - moved_ns > DRAIN_STUCK_NS)
			break;
		progress_draw(&progress, total - drain->replicas, total);
		usleep(DRAIN_LOOK_MS * 1000);
		status = master_drain(master, node->id, drain);
	}
	progress_end(&progress);
	return status;
}

static enum exit_code drain_run(struct cluster *cluster, int count, char **words)
{
	const struct settings *settings = cluster->settings;
	struct master_drain drain = {0};
	struct master *master;
	struct mc_node node;

	(void)count;
	enum mc_status status = cluster_master(cluster, &master);
	if (status)
		return exit_code_of(status);
	status = node_named(cluster, master, words[0], &node);
	if (status)
		return exit_code_of(status);
	status = master_node_set(master, node.id, settings->cancel ? MC_NODE_SERVE : MC_NODE_DRAIN);
	if (!status && (settings->cancel || settings->detach))
		status = master_drain(master, node.id, &drain);
	else if (!status)
		status = drain_watch(master, &node, &drain);
	if (status) {
		cluster_complain(cluster, status);
		return exit_code_of(status);
	}
	drain_tell(cluster, &node, &drain);
	if (drain.done || settings->cancel || settings->detach)
		return EXIT_CODE_OK;
	if (drain.replicas > 0)
		complain("%" PRIu64 " objects of %s have no other place now; it goes on when they "
			 "have",
			 drain.left, node.name);
	else
		complain("%s has not told yet whether it still holds anything", node.name);
	return EXIT_CODE_FAILED;
}

static const struct option_row drain_rows[] = {
	COMMAND_OPTION(cancel, "cancel", 'c', OPTION_BOOL,
		       .help = "End a drain: the node takes new copies again."),
	COMMAND_OPTION(detach, "detach", 'd', OPTION_BOOL,
		       .help = "Begin, and don't wait until the node is empty."),
	{0},
};

const struct command command_drain = {
	.name = "drain",
	.operands = "NODE",
	.summary = "Empty a node without losing an object.",
	.text = "\nThe node takes no new copies and goes on serving. What it holds is copied to\n"
		"other nodes, then dropped. The master does it: this program only looks on, may "
		"be\n"
		"interrupted, and looks on again when called again. It ends with 4 when what is\n"
		"left has no other place.\n",
	.rows = drain_rows,
	.operand_min = 1,
	.operand_max = 1,
	.run = drain_run,
};
