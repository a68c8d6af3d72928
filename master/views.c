#include "master/views.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/http/json.h"
#include "master/admin.h"
#include "master/lead.h"
#include "master/tour.h"

static void reply(struct http_request *request, unsigned code, struct writer *body)
{
	put_u8(body, '\n');
	http_reply(request, code, HTTP_TYPE_JSON, body);
}

static void reply_error(struct http_request *request, unsigned code, const char *text)
{
	struct writer body;
	struct json json;

	writer_init(&body);
	json_init(&json, &body);
	json_begin_object(&json, NULL);
	json_text(&json, "error", text);
	json_end_object(&json);
	reply(request, code, &body);
}

void view_health(struct mc_master *master, struct http_request *request)
{
	struct writer body;
	struct json json;

	writer_init(&body);
	json_init(&json, &body);
	json_begin_object(&json, NULL);
	json_text(&json, "status", master->read_only ? "read_only" : "ok");
	json_text(&json, "role", lead_serves(master) ? "leader" : "standby");
	json_number(&json, "epoch", master->epoch);
	json_end_object(&json);
	reply(request, 200, &body);
}

static void add_id(struct json *json, const char *name, uint64_t id)
{
	char text[20];

	snprintf(text, sizeof(text), "%016" PRIx64, id);
	json_text(json, name, text);
}

void view_leader(struct mc_master *master, struct http_request *request)
{
	struct writer body;
	struct json json;

	writer_init(&body);
	json_init(&json, &body);
	json_begin_object(&json, NULL);
	add_id(&json, "cluster", master->cluster);
	json_number(&json, "epoch", master->epoch);
	json_text(&json, "name", master->name);
	json_bool(&json, "leads", lead_serves(master));
	json_text(&json, "address", server_address(master->server));
	json_text(&json, "socket", server_socket(master->server));
	json_text(&json, "http", admin_address(master->admin));
	json_text(&json, "version", MOONCAKE_VERSION);
	json_bool(&json, "read_only", master->read_only);
	json_end_object(&json);
	reply(request, 200, &body);
}

static void add_node(struct json *json, const struct node *node, uint64_t now_ms)
{
	const struct mc_node *public = &node->public;
	char uuid[2 * sizeof(public->uuid) + 1];

	for (size_t i = 0; i < sizeof(public->uuid); i++)
		snprintf(uuid + 2 * i, 3, "%02x", public->uuid[i]);
	json_begin_object(json, NULL);
	json_number(json, "id", public->id);
	json_text(json, "name", public->name);
	json_text(json, "uuid", uuid);
	json_text(json, "host", public->host);
	json_bool(json, "alive", public->alive);
	json_bool(json, "draining", public->draining);
	json_bool(json, "guest", public->guest);
	uint32_t silent_ms = node_silent_ms(node, now_ms);
	if (silent_ms != MC_NODE_NEVER_HEARD)
		json_number(json, "silent_ms", silent_ms);
	json_number(json, "capacity", public->capacity);
	json_number(json, "used", public->used);
	json_number(json, "replicas", node->replicas);
	json_begin_list(json, "endpoints");
	for (uint32_t i = 0; i < public->endpoint_count; i++)
		json_text(json, NULL, public->endpoints[i]);
	json_end_list(json);
	json_end_object(json);
}

void view_nodes(struct mc_master *master, struct http_request *request)
{
	struct writer body;
	struct json json;

	writer_init(&body);
	json_init(&json, &body);
	json_begin_object(&json, NULL);
	json_begin_list(&json, "nodes");
	for (uint32_t i = 0; i < master->nodes.used; i++) {
		if (master->nodes.table[i].state != NODE_FREE)
			add_node(&json, &master->nodes.table[i], master->now_ms);
	}
	json_end_list(&json);
	json_end_object(&json);
	reply(request, 200, &body);
}

static void add_object(struct json *json, const struct tour *tour, const struct entry *entry)
{
	json_begin_object(json, NULL);
	json_bytes(json, "key", tour->path, tour->path_size);
	add_id(json, "id", entry->id);
	json_number(json, "version", entry->version);
	json_number(json, "size", entry->size);
	json_number(json, "allocated", entry->allocated);
	json_bool(json, "pinned", entry->flags & MC_ATTR_PINNED);
	json_begin_list(json, "replicas");
	for (uint8_t i = 0; i < entry->replica_count; i++) {
		if (!nodes_shows(&tour->master->nodes, entry->replicas[i]))
			continue;
		bool cache = REPLICA_KIND(entry->replicas[i]) == MC_REPLICA_CACHE;
		json_begin_object(json, NULL);
		json_number(json, "node", REPLICA_NODE(entry->replicas[i]) + 1);
		json_text(json, "kind", cache ? "cache" : "primary");
		json_end_object(json);
	}
	json_end_list(json);
	json_end_object(json);
}

static void list_objects(struct tour *tour, uint32_t limit, struct writer *body)
{
	const struct entry *entry = NULL;
	struct writer cursor;
	struct json json;

	json_init(&json, body);
	json_begin_object(&json, NULL);
	json_begin_list(&json, "objects");
	for (uint32_t i = 0; i < limit && (entry = tour_next(tour)) != NULL; i++)
		add_object(&json, tour, entry);
	json_end_list(&json);
	if (tour_unfinished(tour)) {
		writer_init(&cursor);
		tour_cursor(tour, &cursor);
		json_bytes(&json, "cursor", (const char *)cursor.data, cursor.size);
		writer_fini(&cursor);
	}
	json_end_object(&json);
}

/* Without an argument, what it is then; false: it is no number from 1 to max. */
static bool number_argument(const struct http_request *request, const char *name, uint32_t initial,
			    uint32_t max, uint32_t *value)
{
	const char *text = http_argument(request, name);
	char *end;

	*value = initial;
	if (!text)
		return true;
	unsigned long number = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || number < 1)
		return false;
	*value = number < max ? (uint32_t)number : max;
	return true;
}

void view_objects(struct mc_master *master, struct http_request *request)
{
	const char *prefix = http_argument(request, "prefix");
	const char *cursor = http_argument(request, "cursor");
	CLEANUP_FREE struct tour *tour = malloc(sizeof(*tour));
	struct writer body;
	uint32_t limit;

	/* A standby's records have no places yet. */
	if (!lead_serves(master)) {
		reply_error(request, 503, "standing by, ask the leader");
		return;
	}
	if (!number_argument(request, "limit", ADMIN_LIST_INITIAL, ADMIN_LIST_MAX, &limit)) {
		reply_error(request, 400, "limit must be a number from 1 on");
		return;
	}
	prefix = prefix ? prefix : "";
	enum mc_status status =
		!tour ? MC_NO_MEMORY
		      : tour_begin(tour, master, prefix + (prefix[0] == '/'),
				   cursor && cursor[0] ? cursor : NULL, ADMIN_VISIT_MAX);
	if (status != MC_OK) {
		reply_error(request, status == MC_INVALID ? 400 : 500,
			    status == MC_INVALID ? "prefix or cursor makes no sense"
						 : mc_status_text(status));
		return;
	}
	writer_init(&body);
	list_objects(tour, limit, &body);
	reply(request, 200, &body);
}
