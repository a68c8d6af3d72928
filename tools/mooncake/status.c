/* mooncake status */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "tools/mooncake/cluster.h"
#include "tools/mooncake/complaint.h"
#include "tools/mooncake/format.h"
#include "tools/mooncake/node.h"
#include "tools/mooncake/table.h"

/* What the master told; state says whether it did. */
struct view {
	enum mc_status state;
	const struct master_facts *facts;
	struct master_space space;
	struct mc_node *nodes;
	size_t node_count;
	char *stats; /* lines "name value" */
};

static void look(struct cluster *cluster, struct view *view)
{
	struct master *master;

	*view = (struct view){0};
	view->state = cluster_master(cluster, &master);
	if (view->state)
		return;
	view->facts = master_facts(master);
	view->state = master_space(master, &view->space);
	if (!view->state)
		view->state = master_nodes(master, &view->nodes, &view->node_count);
	if (!view->state)
		view->state = master_stats(master, &view->stats);
	if (view->state)
		cluster_complain(cluster, view->state);
}

/* The first value of a fact; NULL: there is none. */
static char *fact(const struct mount *mount, const char *name)
{
	return mount_fact(mount, name, &(const char *){NULL});
}

static uint64_t fact_number(const struct mount *mount, const char *name)
{
	CLEANUP_FREE char *text = fact(mount, name);

	return text ? strtoull(text, NULL, 10) : 0;
}

static const char *silence(const struct mc_node *node, char text[FORMAT_SIZE])
{
	if (node->silent_ms == MC_NODE_NEVER_HEARD)
		return "never";
	if (node->silent_ms < 60000) {
		snprintf(text, FORMAT_SIZE, "%.1f s ago", node->silent_ms / 1000.0);
		return text;
	}
	size_t size = strlen(format_duration(node->silent_ms / 1000, text));
	snprintf(text + size, FORMAT_SIZE - size, " ago");
	return text;
}

static void print_nodes(const struct view *view)
{
	static const char *const titles[] = {"node", "id",   "state", "objects",  "used",
					     "of",   "full", "heard", "endpoints"};
	struct table *table = table_new("LRLRRRRRL");
	char used[FORMAT_SIZE], capacity[FORMAT_SIZE], share[FORMAT_SIZE], heard[FORMAT_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(titles); i++)
		table_add(table, "%s", titles[i]);
	for (size_t i = 0; i < view->node_count; i++) {
		const struct mc_node *node = &view->nodes[i];
		CLEANUP_FREE char *name = format_name(node->name, strlen(node->name));
		CLEANUP_FREE char *reached = node_endpoints(node);
		table_add(table, "%s", name);
		table_add(table, "%" PRIu32, node->id);
		table_add(table, "%s", node_state(node));
		table_add(table, "%" PRIu64, node->objects);
		table_add(table, "%s", format_size(node->used, used));
		table_add(table, "%s", format_size(node->capacity, capacity));
		table_add(table, "%s", format_share(node->used, node->capacity, share));
		table_add(table, "%s", silence(node, heard));
		table_add(table, "%s", reached);
	}
	table_print(table, stdout);
	table_free(table);
}

static void print_master(struct cluster *cluster, const struct view *view)
{
	const struct master_space *space = &view->space;
	char used[FORMAT_SIZE], capacity[FORMAT_SIZE], share[FORMAT_SIZE];

	printf("master       %s\n",
	       cluster_address(cluster) ? cluster_address(cluster) : "unknown");
	if (view->state) {
		printf("             not reached: %s\n", mc_status_text(view->state));
		return;
	}
	printf("             %s, version %s, over %s, answered in %.1f ms\n", view->facts->name,
	       view->facts->version, view->facts->peer, (double)view->facts->answer_ns / 1e6);
	printf("objects      %" PRIu64 " in %" PRIu64 " director%s\n", space->objects,
	       space->directories, space->directories == 1 ? "y" : "ies");
	printf("capacity     %s used of %s, %s full\n", format_size(space->used, used),
	       format_size(space->capacity, capacity),
	       format_share(space->used, space->capacity, share));
	printf("nodes        %" PRIu32 " alive, %zu lost\n", space->nodes,
	       view->node_count -
		       (view->node_count < space->nodes ? view->node_count : space->nodes));
	printf("replicas     %" PRIu64 " objects lack copies, %" PRIu64
	       " copies under way, %" PRIu64 " polic%s\n",
	       master_stat(view->stats, "replicas_lacking"),
	       master_stat(view->stats, "replicas_coming"), master_stat(view->stats, "policies"),
	       master_stat(view->stats, "policies") == 1 ? "y" : "ies");
	if (view->node_count > 0) {
		printf("\n");
		print_nodes(view);
	}
}

static void print_fact(const struct mount *mount, const char *label, const char *name)
{
	CLEANUP_FREE char *text = fact(mount, name);
	CLEANUP_FREE char *shown = text ? format_name(text, strlen(text)) : NULL;

	printf("%-12s %s\n", label, shown ? shown : "unknown");
}

/* What peers can use, and what keeps the rest off. */
static void print_transports(const struct mount *mount)
{
	CLEANUP_FREE char *option = fact(mount, "transport_option");
	char *endpoints[MC_ENDPOINT_MAX];
	const char *at = NULL;
	size_t count = 0;

	while (count < MC_ENDPOINT_MAX &&
	       (endpoints[count] = mount_fact(mount, "transport", &at)) != NULL)
		count++;
	CLEANUP_FREE char *shown = format_endpoints((const char *const *)endpoints, count, ", ");
	bool all = !option || strcmp(option, "auto") == 0;
	printf("%-12s %s%s%s\n", "transport", shown,
	       all ? "" : "; others off: by option transport=", all ? "" : option);
	for (size_t i = 0; i < count; i++)
		free(endpoints[i]);
}

/* How the objects of each other node come here, and why so. */
static void print_peers(const struct mount *mount)
{
	const char *at = NULL, *label = "peers";
	char *text;

	while ((text = mount_fact(mount, "peer", &at)) != NULL) {
		CLEANUP_FREE char *shown = format_name(text, strlen(text));
		printf("%-12s %s\n", label, shown);
		label = "";
		free(text);
	}
}

static void print_mount(const struct mount *mount)
{
	char used[FORMAT_SIZE], capacity[FORMAT_SIZE];

	printf("\nmount        %s\n", mount->path ? mount->path : "none here");
	if (mount->state) {
		printf("             %s\n", mount->why);
		return;
	}
	print_fact(mount, "node", "node");
	print_fact(mount, "passthrough", "passthrough");
	print_fact(mount, "io_uring", "io_uring");
	print_fact(mount, "cpu_latency", "cpu_latency");
	print_transports(mount);
	print_peers(mount);
	print_fact(mount, "master", "master");
	print_fact(mount, "connected", "connected");
	print_fact(mount, "pool", "pool");
	print_fact(mount, "", "pool_kind");
	printf("             %s used of %s, %" PRIu64 " objects\n",
	       format_size(fact_number(mount, "pool_used"), used),
	       format_size(fact_number(mount, "pool_capacity"), capacity),
	       fact_number(mount, "pool_objects"));
}

static void add_master(cJSON *document, struct cluster *cluster, const struct view *view)
{
	cJSON *master = document_object();
	cJSON *nodes = document_list();
	char cluster_id[FORMAT_SIZE];

	if (cluster_address(cluster))
		document_add_text(master, "address", cluster_address(cluster));
	document_add_bool(master, "reached", view->state == MC_OK);
	if (view->state)
		document_add_text(master, "error", mc_status_text(view->state));
	if (view->facts) {
		document_add_text(master, "name", view->facts->name);
		document_add_text(master, "version", view->facts->version);
		document_add_text(master, "peer", view->facts->peer);
		document_add_text(master, "cluster", format_id(view->facts->cluster, cluster_id));
		document_add_number(master, "answer_ns", view->facts->answer_ns);
	}
	document_add(document, "master", master);
	if (view->state)
		cJSON_Delete(nodes);
	if (view->state)
		return;
	document_add_number(document, "objects", view->space.objects);
	document_add_number(document, "directories", view->space.directories);
	document_add_number(document, "capacity", view->space.capacity);
	document_add_number(document, "used", view->space.used);
	document_add_number(document, "replicas_lacking",
			    master_stat(view->stats, "replicas_lacking"));
	document_add_number(document, "replicas_coming",
			    master_stat(view->stats, "replicas_coming"));
	document_add_number(document, "policies", master_stat(view->stats, "policies"));
	for (size_t i = 0; i < view->node_count; i++)
		document_append(nodes, node_document(&view->nodes[i]));
	document_add(document, "nodes", nodes);
}

/* {"on": false, "why": "off: by option"} */
static void add_switch(cJSON *mount, const struct mount *of, const char *name)
{
	CLEANUP_FREE char *text = fact(of, name);
	cJSON *object = document_object();

	document_add_bool(object, "on", text && strncmp(text, "on", 2) == 0);
	document_add_text(object, "why", text ? text : "unknown");
	document_add(mount, name, object);
}

static void add_fact(cJSON *object, const char *field, const struct mount *mount, const char *name)
{
	CLEANUP_FREE char *text = fact(mount, name);

	if (text)
		document_add_text(object, field, text);
}

static void add_mount(cJSON *document, const struct mount *mount)
{
	cJSON *object = document_object();
	cJSON *transports = document_list();
	cJSON *peers = document_list();
	cJSON *pool = document_object();
	CLEANUP_FREE char *connected = fact(mount, "connected");
	const char *at = NULL;

	document_add(document, "mount", object);
	if (mount->path)
		document_add_text(object, "path", mount->path);
	document_add_bool(object, "answers", mount->state == MC_OK);
	if (mount->why)
		document_add_text(object, "error", mount->why);
	document_add(object, "transports", transports);
	document_add(object, "peers", peers);
	document_add(object, "pool", pool);
	if (mount->state)
		return;
	add_fact(object, "node", mount, "node");
	add_switch(object, mount, "passthrough");
	add_switch(object, mount, "io_uring");
	add_switch(object, mount, "cpu_latency");
	for (char *text; (text = mount_fact(mount, "transport", &at)) != NULL; free(text))
		document_append_text(transports, text);
	at = NULL;
	for (char *text; (text = mount_fact(mount, "peer", &at)) != NULL; free(text))
		document_append_text(peers, text);
	add_fact(object, "transport_option", mount, "transport_option");
	add_fact(object, "master", mount, "master");
	add_fact(object, "master_option", mount, "master_option");
	document_add_bool(object, "connected", connected && strcmp(connected, "yes") == 0);
	add_fact(pool, "path", mount, "pool");
	add_fact(pool, "kind", mount, "pool_kind");
	document_add_number(pool, "capacity", fact_number(mount, "pool_capacity"));
	document_add_number(pool, "used", fact_number(mount, "pool_used"));
	document_add_number(pool, "objects", fact_number(mount, "pool_objects"));
}

static enum exit_code status_run(struct cluster *cluster, int count, char **operands)
{
	const struct mount *mount = cluster_mount(cluster);
	struct view view;

	(void)count;
	(void)operands;
	look(cluster, &view);
	if (cluster->settings->json) {
		cJSON *document = document_object();
		add_master(document, cluster, &view);
		add_mount(document, mount);
		document_print(document);
	} else {
		print_master(cluster, &view);
		print_mount(mount);
	}
	free(view.nodes);
	free(view.stats);
	enum exit_code code = exit_code_of(view.state);
	/* A machine without a mount is no fault; a mount that hangs or is dead is one. */
	if (mount->state == MC_TIMEOUT || mount->state == MC_UNREACHABLE ||
	    (mount->state && cluster->settings->mount)) {
		if (view.state == MC_OK)
			complain("%s", mount->why);
		code = exit_code_graver(code, EXIT_CODE_UNREACHABLE);
	}
	return code;
}

const struct command command_status = {
	.name = "status",
	.operands = "",
	.summary = "Tell of the master, its nodes, their room, and of the mount here.",
	.text = "\nOf the mount: whether passthrough and io_uring are on and idle processors are "
		"kept\n"
		"ready, and if not, why not; the transports that peers can use; the pool. What "
		"can be\n"
		"told is told, also when the master or the mount does not answer; then it ends "
		"with 3.\n",
	.run = status_run,
};
