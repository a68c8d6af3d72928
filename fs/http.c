#include "fs/http.h"

#include <string.h>

#include "engine/base/log.h"
#include "engine/http/json.h"
#include "engine/http/metrics.h"

static void write_requests(const struct fs *fs, struct writer *w)
{
	static const struct metric requests = {"fuse_requests_total", METRIC_COUNTER,
					       "requests of the kernel, by kind"};
	char label[64];

	metrics_begin(w, &requests);
	for (unsigned i = 0; i < FS_REQUEST_LIMIT; i++) {
		label[0] = '\0';
		metrics_label(label, sizeof(label), "request", request_name((enum fs_request)i));
		metrics_value(w, &requests, label, fs->requests[i]);
	}
}

/* The errors to watch have a line from the start, so that the first one shows in a rate. */
static void write_errors(const struct fs *fs, struct writer *w)
{
	static const struct metric errors = {"fuse_errors_total", METRIC_COUNTER,
					     "replies to the kernel with an error"};
	char label[64];

	metrics_begin(w, &errors);
	for (unsigned i = 1; i < 256; i++) {
		bool watched = i == EIO || i == ENOSPC || i == ETIMEDOUT || i == EROFS;
		const char *name = strerrorname_np((int)i);
		if ((!watched && fs->errors[i] == 0) || !name)
			continue;
		label[0] = '\0';
		metrics_label(label, sizeof(label), "error", name);
		metrics_value(w, &errors, label, fs->errors[i]);
	}
}

static void reply_metrics(struct fs *fs, struct http_request *request)
{
	struct writer body;

	writer_init(&body);
	node_metrics(fs->node, &body);
	write_requests(fs, &body);
	write_errors(fs, &body);
	metrics_process(&body);
	http_reply(request, 200, METRICS_TYPE, &body);
}

static void reply_health(struct fs *fs, struct http_request *request)
{
	struct writer body;
	struct json json;

	writer_init(&body);
	json_init(&json, &body);
	json_begin_object(&json, NULL);
	json_text(&json, "status", "ok");
	json_text(&json, "role", "node");
	json_bool(&json, "connected", node_connected(fs->node));
	json_end_object(&json);
	put_u8(&body, '\n');
	http_reply(request, 200, HTTP_TYPE_JSON, &body);
}

static void handle(void *context, struct http_request *request)
{
	struct fs *fs = context;

	if (request->method != HTTP_GET)
		http_reply_text(request, 405, "not here\n");
	else if (strcmp(request->path, "/metrics") == 0)
		reply_metrics(fs, request);
	else if (strcmp(request->path, "/health") == 0)
		reply_health(fs, request);
	else
		http_reply_text(request, 404, "no such path\n");
}

enum mc_status fs_http_open(struct fs *fs, const char *listen, struct http **http)
{
	struct http_config config = {.listen = listen, .handle = handle, .context = fs};
	enum mc_status status = http_open(&config, http);

	if (status == MC_OK)
		log_info("serving http address=%s", http_address(*http));
	else
		log_error("can't serve HTTP address=%s reason=\"%s\"", listen,
			  mc_status_text(status));
	return status;
}
