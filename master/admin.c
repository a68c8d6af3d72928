#include "master/admin.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/http/http.h"
#include "engine/http/metrics.h"
#include "engine/metadata/metadata.h"
#include "engine/metadata/texts.h"
#include "master/metrics.h"
#include "master/state.h"
#include "master/views.h"

struct admin {
	/* fixed after open */
	struct mc_master *master;
	struct http *http;
	struct texts *texts;
	bool open_writes; /* of /metadata, to those without the token */

	pthread_mutex_t lock;
	/* protected by lock */
	struct http_request *first; /* what waits for the master's thread, in order */
	struct http_request **end;
	bool ended; /* nobody will answer any more */
};

struct route {
	const char *path;
	/* On the master's thread. */
	void (*view)(struct mc_master *master, struct http_request *request);
	/* On the server's. */
	void (*at_once)(struct admin *admin, struct http_request *request);
	bool written; /* takes PUT and DELETE as well */
};

/* -- /metadata -- */

static void reply_json(struct http_request *request, unsigned code, const char *text)
{
	struct writer body;

	writer_init(&body);
	put_bytes(&body, text, strlen(text));
	http_reply(request, code, HTTP_TYPE_JSON, &body);
}

static unsigned code_of(enum mc_status status)
{
	if (status == MC_NOT_FOUND)
		return 404;
	if (status == MC_INVALID)
		return 400;
	if (status == MC_TOO_BIG)
		return 413;
	return status == MC_NO_SPACE ? 507 : 500;
}

static void metadata_get_key(struct admin *admin, struct http_request *request, const char *key)
{
	CLEANUP_FREE char *bytes = NULL;
	size_t size = 0;
	struct writer body;
	enum mc_status status = texts_get(admin->texts, key, &bytes, &size);

	if (status != MC_OK) {
		reply_json(request, code_of(status), "metadata not found");
		return;
	}
	writer_init(&body);
	put_bytes(&body, bytes, size);
	http_reply(request, 200, HTTP_TYPE_JSON, &body);
}

static void metadata_put_key(struct admin *admin, struct http_request *request, const char *key)
{
	enum mc_status status = texts_put(admin->texts, key, request->body, request->body_size);

	if (status == MC_NO_SPACE)
		log_warn("no room for metadata, refused a key keys_max=%u bytes_max=%u",
			 TEXTS_COUNT_MAX, TEXTS_SIZE_MAX);
	reply_json(request, status == MC_OK ? 200 : code_of(status),
		   status == MC_OK ? "metadata updated" : mc_status_text(status));
}

/* Answers alike whether there was one: engines clean up what they may have left. */
static void metadata_remove_key(struct admin *admin, struct http_request *request, const char *key)
{
	enum mc_status status = texts_remove(admin->texts, key);

	if (status == MC_OK || status == MC_NOT_FOUND)
		reply_json(request, 200, "metadata deleted");
	else
		reply_json(request, code_of(status), mc_status_text(status));
}

static void metadata_route(struct admin *admin, struct http_request *request)
{
	const char *key = http_argument(request, "key");

	if (!key || !key[0])
		reply_json(request, 400, "the argument key is missing");
	else if (request->method == HTTP_GET)
		metadata_get_key(admin, request, key);
	else if (!admin->open_writes && !request->trusted)
		reply_json(request, 403, "the admin token is missing");
	else if (request->method == HTTP_PUT)
		metadata_put_key(admin, request, key);
	else
		metadata_remove_key(admin, request, key);
}

/* -- the routes -- */

static void prometheus_view(struct mc_master *master, struct http_request *request)
{
	struct writer body;

	writer_init(&body);
	metrics_write_prometheus(master, &body);
	http_reply(request, 200, METRICS_TYPE, &body);
}

static const struct route routes[] = {
	{"/health", .view = view_health},
	{"/metrics", .view = prometheus_view},
	{"/metadata", .at_once = metadata_route, .written = true},
	{"/api/leader", .view = view_leader},
	{"/api/nodes", .view = view_nodes},
	{"/api/objects", .view = view_objects},
};

static const struct route *route_find(const char *path)
{
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		if (strcmp(routes[i].path, path) == 0)
			return &routes[i];
	}
	return NULL;
}

static bool allowed(const struct route *route, enum http_method method)
{
	return method == HTTP_GET ||
	       (route->written && (method == HTTP_PUT || method == HTTP_DELETE));
}

/* Queue it for the master's thread.  False: nobody would answer. */
static bool enqueue(struct admin *admin, struct http_request *request)
{
	WITH_LOCK(&admin->lock);
	if (admin->ended)
		return false;
	request->next = NULL;
	*admin->end = request;
	admin->end = &request->next;
	return true;
}

static void handle(void *context, struct http_request *request)
{
	struct admin *admin = context;
	const struct route *route = route_find(request->path);

	if (!route)
		http_reply_text(request, 404, "no such path\n");
	else if (!allowed(route, request->method))
		http_reply_text(request, 405, "not here\n");
	else if (route->at_once)
		route->at_once(admin, request);
	else if (enqueue(admin, request))
		inbox_wake(&admin->master->inbox);
	else
		http_reply_text(request, 503, "stopping\n");
}

static struct http_request *dequeue(struct admin *admin)
{
	WITH_LOCK(&admin->lock);
	struct http_request *request = admin->first;

	if (!request)
		return NULL;
	admin->first = request->next;
	if (!admin->first)
		admin->end = &admin->first;
	return request;
}

void admin_turn(struct admin *admin)
{
	struct http_request *request = NULL;
	unsigned count = 0;

	if (!admin)
		return;
	while (count < ADMIN_TURN_MAX && (request = dequeue(admin)) != NULL) {
		route_find(request->path)->view(admin->master, request);
		count++;
	}
	/* The rest comes after the frames that are there meanwhile. */
	if (count == ADMIN_TURN_MAX)
		inbox_wake(&admin->master->inbox);
}

void admin_write_metrics(struct admin *admin, struct writer *w)
{
	static const struct metric keys = {"master_metadata_keys", METRIC_GAUGE,
					   "Keys under /metadata."};
	static const struct metric bytes = {"master_metadata_bytes", METRIC_GAUGE,
					    "Bytes of keys and texts under /metadata."};
	struct texts_counters counters;

	texts_count(admin->texts, &counters);
	metrics_one(w, &keys, counters.count);
	metrics_one(w, &bytes, counters.size);
	metrics_http(w, admin->http);
}

/* -- open and close -- */

/* The address that "auto" means: where the frames are served, its own port. */
static void auto_address(const struct mc_master_config *config, char listen[NET_TEXT_SIZE])
{
	const char *colon = strrchr(config->listen, ':');
	int size = colon ? (int)(colon - config->listen) : 0;
	bool any = colon && strcmp(colon, ":0") == 0;

	snprintf(listen, NET_TEXT_SIZE, "%.*s:%u", size, config->listen, any ? 0 : ADMIN_PORT);
}

static bool writes_open(const struct mc_master_config *config)
{
	const char *who = config->metadata_writes ? config->metadata_writes : "auto";

	/* Whoever made a token wants it asked for. */
	return strcmp(who, "open") == 0 || (strcmp(who, "auto") == 0 && !config->admin_token_file);
}

static enum mc_status serve(struct admin *admin, const struct mc_master_config *config)
{
	char listen[NET_TEXT_SIZE];
	bool automatic = strcmp(config->http, "auto") == 0;
	struct http_config http = {
		.listen = config->http,
		.token_file = config->admin_token_file,
		.body_size_max = METADATA_VALUE_SIZE_MAX,
		.handle = handle,
		.context = admin,
	};

	if (automatic) {
		auto_address(config, listen);
		http.listen = listen;
	}
	enum mc_status status = http_open(&http, &admin->http);
	if (status == MC_BUSY && automatic)
		log_warn("went on without HTTP, its port is taken address=%s", http.listen);
	else if (status != MC_OK)
		log_error("can't serve HTTP address=%s reason=\"%s\"", http.listen,
			  mc_status_text(status));
	return status == MC_BUSY && automatic ? MC_OK : status;
}

enum mc_status admin_open(struct mc_master *master, const struct mc_master_config *config,
			  struct admin **admin)
{
	bool automatic = config->http && strcmp(config->http, "auto") == 0;

	*admin = NULL;
	if (!config->http || (automatic && !config->listen))
		return MC_OK;
	struct admin *a = calloc(1, sizeof(*a));
	if (!a)
		return MC_NO_MEMORY;
	a->master = master;
	a->open_writes = writes_open(config);
	a->end = &a->first;
	pthread_mutex_init(&a->lock, NULL);
	enum mc_status status = texts_new(&a->texts);
	if (status == MC_OK)
		status = serve(a, config);
	if (status != MC_OK || !a->http) {
		admin_close(a);
		return status;
	}
	*admin = a;
	return MC_OK;
}

static void end(struct admin *admin)
{
	WITH_LOCK(&admin->lock);
	admin->ended = true;
}

void admin_close(struct admin *admin)
{
	struct http_request *request;

	if (!admin)
		return;
	end(admin);
	while ((request = dequeue(admin)) != NULL)
		http_reply_text(request, 503, "stopping\n");
	http_close(admin->http);
	texts_free(admin->texts);
	pthread_mutex_destroy(&admin->lock);
	free(admin);
}

const char *admin_address(const struct admin *admin)
{
	return admin ? http_address(admin->http) : "";
}
