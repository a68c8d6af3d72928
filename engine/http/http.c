#include "engine/http/http.h"

#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/base/thread.h"
#include "engine/http/token.h"

#define CHECK_MS	  250	      /* between looks for connections whose time is over */
#define DEAF_MS		  100	      /* out of descriptors: accept again then */
#define CONNECTION_MEMORY (32u << 10) /* bytes of a connection's headers and buffer */

/* A connection, as long as it stands; what ends it before its time. */
struct client {
	int fd;
	uint64_t since_ms; /* the request that it is about began, or is waited for */
	bool answering;	   /* that request was whole */
	struct client *next;
	struct client *previous;
};

/* A request with what the owner does not see. */
struct pending {
	struct http_request public;
	struct http *http;
	struct MHD_Connection *connection;
	struct writer body;
	size_t body_counted;  /* of http->bodies_size */
	unsigned refused;     /* the code, where the body is too much; 0: it is not */
	bool handed;	      /* the owner had it */
	struct pending *next; /* of http->answered */
	/* the reply; set by the owner before it is on that list */
	struct writer reply;
	unsigned code; /* 0: none yet */
	const char *type;
};

struct http {
	/* fixed after open */
	struct http_config config;
	struct token token;
	struct MHD_Daemon *daemon;
	int listen_fd;
	int epoll_fd;
	int wake_fd;
	pthread_t thread;
	bool running;
	char address[NET_TEXT_SIZE];

	pthread_mutex_t lock;
	/* protected by lock */
	struct pending *answered; /* their connections still sleep */
	bool stopping;

	/* owned by mc-http */
	struct client *clients;
	size_t bodies_size;
	bool quiet;		/* nothing happened in the last turn */
	uint64_t deaf_until_ms; /* 0: the last accept went well */

	/* atomic: written by mc-http, read by whoever counts */
	_Atomic uint64_t requests[6];
	_Atomic uint64_t connections;
	_Atomic uint64_t cut;
};

static void wake(struct http *http)
{
	uint64_t one = 1;

	MUST(write(http->wake_fd, &one, sizeof(one)) == sizeof(one));
}

static void add(_Atomic uint64_t *counter, uint64_t value)
{
	atomic_fetch_add_explicit(counter, value, memory_order_relaxed);
}

/* -- connections -- */

static void client_begin(struct http *http, struct MHD_Connection *connection, void **tag)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct client *client = info ? calloc(1, sizeof(*client)) : NULL;

	*tag = client;
	if (!client)
		return;
	client->fd = info->connect_fd;
	client->since_ms = clock_ms();
	client->next = http->clients;
	if (client->next)
		client->next->previous = client;
	http->clients = client;
	add(&http->connections, 1);
}

static void client_end(struct http *http, struct client *client)
{
	if (!client)
		return;
	if (client->next)
		client->next->previous = client->previous;
	if (client->previous)
		client->previous->next = client->next;
	else
		http->clients = client->next;
	add(&http->connections, (uint64_t)-1);
	free(client);
}

/* Called before the socket is closed, so the descriptor in the list is always ours. */
static void on_connection(void *context, struct MHD_Connection *connection, void **tag,
			  enum MHD_ConnectionNotificationCode what)
{
	if (what == MHD_CONNECTION_NOTIFY_STARTED)
		client_begin(context, connection, tag);
	else
		client_end(context, *tag);
}

/*
 * The peer has said all and it was no whole request.  The daemon learns of an end
 * that came together with bytes only from the next event, which never comes.
 */
static bool ended_early(const struct client *client)
{
	char byte;

	return !client->answering && recv(client->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void clients_check(struct http *http)
{
	uint64_t now = clock_ms();
	bool crowded = atomic_load_explicit(&http->connections, memory_order_relaxed) >=
		       HTTP_CONNECTION_MAX;
	uint32_t limit_ms = crowded ? HTTP_CROWDED_MS : HTTP_REQUEST_MS;

	for (struct client *client = http->clients; client; client = client->next) {
		bool late = now - client->since_ms >= limit_ms;
		if (!late && !ended_early(client))
			continue;
		/* The daemon sees the end of it, and closes what is left. */
		shutdown(client->fd, SHUT_RDWR);
		client->since_ms = now;
		add(&http->cut, late);
	}
}

/* -- requests -- */

static struct pending *pending_of(struct http_request *request)
{
	return container_of(request, struct pending, public);
}

static enum http_method method_of(const char *name)
{
	static const struct {
		const char *name;
		enum http_method method;
	} methods[] = {
		{"GET", HTTP_GET},   {"HEAD", HTTP_GET},      {"PUT", HTTP_PUT},
		{"POST", HTTP_POST}, {"DELETE", HTTP_DELETE},
	};

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		if (strcmp(methods[i].name, name) == 0)
			return methods[i].method;
	}
	return HTTP_OTHER;
}

static enum MHD_Result respond(struct MHD_Connection *connection, struct http *http, unsigned code,
			       const char *type, struct writer *body)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		body ? body->size : 0, body ? body->data : NULL, MHD_RESPMEM_MUST_FREE);

	if (!response)
		return MHD_NO;
	if (body)
		writer_init(body); /* the response has the bytes now */
	enum MHD_Result result = MHD_YES;
	if (type)
		result = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (result == MHD_YES)
		result = MHD_queue_response(connection, code, response);
	MHD_destroy_response(response);
	add(&http->requests[code / 100 % 6], 1);
	return result;
}

static size_t announced_size(struct MHD_Connection *connection)
{
	const char *text = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
						       MHD_HTTP_HEADER_CONTENT_LENGTH);

	return text ? (size_t)strtoull(text, NULL, 10) : 0;
}

static enum MHD_Result pending_begin(struct http *http, struct MHD_Connection *connection,
				     const char *path, const char *method, void **tag)
{
	size_t size = announced_size(connection);

	/* An answer before the body came: the rest of it is not read. */
	if (size > http->config.body_size_max)
		return respond(connection, http, MHD_HTTP_CONTENT_TOO_LARGE, NULL, NULL);
	if (http->bodies_size + size > HTTP_BODIES_SIZE_MAX)
		return respond(connection, http, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, NULL);
	struct pending *pending = calloc(1, sizeof(*pending));
	if (!pending)
		return MHD_NO;
	pending->http = http;
	pending->connection = connection;
	pending->public.method = method_of(method);
	pending->public.path = path;
	pending->public.trusted = token_fits(
		&http->token, MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
							  MHD_HTTP_HEADER_AUTHORIZATION));
	writer_init(&pending->body);
	writer_init(&pending->reply);
	*tag = pending;
	return MHD_YES;
}

static void body_drop(struct pending *pending)
{
	pending->http->bodies_size -= pending->body_counted;
	pending->body_counted = 0;
	writer_fini(&pending->body);
}

/*
 * A body without an announced length is bounded here.  What is too much is read to its
 * end and thrown away, since only then can it be answered.
 */
static enum MHD_Result body_take(struct pending *pending, const char *bytes, size_t *size)
{
	struct http *http = pending->http;

	if (pending->body.size + *size > http->config.body_size_max)
		pending->refused = MHD_HTTP_CONTENT_TOO_LARGE;
	else if (!pending->refused && http->bodies_size + *size > HTTP_BODIES_SIZE_MAX)
		pending->refused = MHD_HTTP_SERVICE_UNAVAILABLE;
	if (pending->refused) {
		body_drop(pending);
		*size = 0;
		return MHD_YES;
	}
	put_bytes(&pending->body, bytes, *size);
	http->bodies_size += *size;
	pending->body_counted += *size;
	*size = 0;
	return pending->body.failed ? MHD_NO : MHD_YES;
}

static struct client *client_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static bool stopping(struct http *http)
{
	WITH_LOCK(&http->lock);
	return http->stopping;
}

static enum MHD_Result hand_over(struct pending *pending)
{
	struct http *http = pending->http;
	struct client *client = client_of(pending->connection);

	/* The owner has given all its answers. */
	if (stopping(http))
		return MHD_NO;
	if (client)
		client->answering = true;
	pending->handed = true;
	pending->public.body = pending->body.data;
	pending->public.body_size = pending->body.size;
	/* Before the owner has it: its reply may come before handle() returns. */
	MHD_suspend_connection(pending->connection);
	http->config.handle(http->config.context, &pending->public);
	return MHD_YES;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
				  const char *path, const char *method, const char *version,
				  const char *bytes, size_t *size, void **tag)
{
	struct http *http = context;
	struct pending *pending = *tag;

	(void)version;
	if (!pending)
		return pending_begin(http, connection, path, method, tag);
	if (*size > 0)
		return body_take(pending, bytes, size);
	if (pending->refused)
		return respond(connection, http, pending->refused, NULL, NULL);
	if (!pending->handed)
		return hand_over(pending);
	return respond(connection, http, pending->code, pending->type, &pending->reply);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **tag,
			 enum MHD_RequestTerminationCode why)
{
	struct pending *pending = *tag;
	struct client *client = client_of(connection);

	(void)context;
	(void)why;
	if (client) {
		client->since_ms = clock_ms();
		client->answering = false;
	}
	*tag = NULL;
	if (!pending)
		return;
	body_drop(pending);
	writer_fini(&pending->reply);
	free(pending);
}

const char *http_argument(const struct http_request *request, const char *name)
{
	struct pending *pending = pending_of((struct http_request *)request);
	const char *value = NULL;
	size_t size = 0;

	if (MHD_lookup_connection_value_n(pending->connection, MHD_GET_ARGUMENT_KIND, name,
					  strlen(name), &value, &size) != MHD_YES ||
	    !value || strlen(value) != size)
		return NULL;
	return value;
}

static void answered_add(struct pending *pending)
{
	struct http *http = pending->http;

	WITH_LOCK(&http->lock);
	pending->next = http->answered;
	http->answered = pending;
}

void http_reply(struct http_request *request, unsigned code, const char *type, struct writer *body)
{
	struct pending *pending = pending_of(request);
	struct http *http = pending->http; /* pending may be gone once it is on the list */

	MUST(pending->handed && pending->code == 0);
	if (body && body->failed) {
		writer_fini(body);
		code = MHD_HTTP_INTERNAL_SERVER_ERROR;
	} else if (body) {
		pending->reply = *body;
		pending->type = type;
	}
	if (body)
		writer_init(body);
	pending->code = code;
	answered_add(pending);
	wake(http);
}

void http_reply_text(struct http_request *request, unsigned code, const char *text)
{
	struct writer body;

	writer_init(&body);
	put_bytes(&body, text, strlen(text));
	http_reply(request, code, HTTP_TYPE_TEXT, &body);
}

/* -- the thread -- */

/* Wake the connections whose requests were answered. */
static void answered_resume(struct http *http)
{
	uint64_t count;
	ssize_t got = read(http->wake_fd, &count, sizeof(count));

	(void)got; /* woken by something else */
	WITH_LOCK(&http->lock);
	while (http->answered) {
		struct pending *pending = http->answered;
		http->answered = pending->next;
		MHD_resume_connection(pending->connection);
	}
}

static bool crowded(const struct http *http)
{
	return atomic_load_explicit(&http->connections, memory_order_relaxed) >=
	       HTTP_CONNECTION_MAX;
}

/*
 * The daemon gets each connection from us: its own listener asks in a circle where there
 * are no descriptors and no connection that could end.
 */
static void clients_accept(struct http *http)
{
	enum mc_status status = MC_OK;

	while (status == MC_OK && !crowded(http)) {
		struct net_address peer = {.size = sizeof(peer.storage)};
		int fd;
		status = net_accept(http->listen_fd, &fd);
		if (status != MC_OK)
			break;
		(void)getpeername(fd, (struct sockaddr *)&peer.storage, &peer.size);
		if (MHD_add_connection(http->daemon, fd, (struct sockaddr *)&peer.storage,
				       peer.size) != MHD_YES)
			log_debug("http: refused a connection"); /* and closed it */
		http->deaf_until_ms = 0;
	}
	if (status == MC_OK || status == MC_AGAIN)
		return;
	if (!http->deaf_until_ms)
		log_warn("mc-http: can't accept connections for now status=\"%s\"",
			 mc_status_text(status));
	http->deaf_until_ms = clock_ms() + DEAF_MS;
}

static void wait_for_events(struct http *http)
{
	bool deaf = clock_ms() < http->deaf_until_ms;
	struct pollfd fds[] = {
		{.fd = http->epoll_fd, .events = POLLIN},
		{.fd = http->wake_fd, .events = POLLIN},
		{.fd = deaf || crowded(http) ? -1 : http->listen_fd, .events = POLLIN},
	};
	MHD_UNSIGNED_LONG_LONG left_ms;
	/* The daemon may have put off a step to the next turn: there is one more at least. */
	int wait_ms = http->clients || !http->quiet ? CHECK_MS : -1;

	if (deaf)
		wait_ms = DEAF_MS;
	if (MHD_get_timeout(http->daemon, &left_ms) == MHD_YES && left_ms < CHECK_MS &&
	    (wait_ms < 0 || (int)left_ms < wait_ms))
		wait_ms = (int)left_ms;
	http->quiet = poll(fds, ARRAY_SIZE(fds), wait_ms) == 0;
	if (fds[2].revents)
		clients_accept(http);
}

static void *turn(void *context)
{
	struct http *http = context;
	uint64_t checked_ms = clock_ms();

	pthread_setname_np(pthread_self(), "mc-http");
	while (!stopping(http)) {
		answered_resume(http);
		MHD_run(http->daemon);
		if (clock_ms() - checked_ms >= CHECK_MS) {
			checked_ms = clock_ms();
			clients_check(http);
		}
		wait_for_events(http);
	}
	return NULL;
}

/* -- open and close -- */

/* Bind what "HOST:PORT" or "HOST:FIRST-LAST" says. */
static enum mc_status bind_to(const char *listen, int *fd, char bound[NET_TEXT_SIZE])
{
	struct net_address address;
	unsigned first;
	unsigned last;
	char host[NET_TEXT_SIZE];
	char end;
	const char *colon = strrchr(listen, ':');
	enum mc_status status;

	if (colon && sscanf(colon, ":%5u-%5u%c", &first, &last, &end) == 2) {
		if (first == 0 || last > UINT16_MAX || colon - listen >= (long)sizeof(host))
			return MC_INVALID;
		snprintf(host, sizeof(host), "%.*s", (int)(colon - listen), listen);
		status = net_listen_range(host, (uint16_t)first, (uint16_t)last, fd);
	} else {
		/* A browser or a scraper has no Unix sockets. */
		status = listen[0] == '@' ? MC_INVALID : net_resolve(listen, &address);
		if (status == MC_OK)
			status = net_listen(&address, fd);
	}
	if (status == MC_OK)
		status = net_bound(*fd, &address);
	if (status == MC_OK)
		net_format(&address, bound);
	return status;
}

static void on_log(void *context, const char *format, va_list arguments)
{
	char line[256];

	(void)context;
	/* The format is the library's own. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	vsnprintf(line, sizeof(line), format, arguments);
#pragma GCC diagnostic pop
	line[strcspn(line, "\r\n")] = '\0';
	log_debug("http: %s", line);
}

static struct MHD_Daemon *daemon_start(struct http *http)
{
	return MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET |
					MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG,
				0, NULL, NULL, on_request, http, MHD_OPTION_EXTERNAL_LOGGER, on_log,
				NULL, MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTION_MAX,
				MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
				MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
				MHD_OPTION_NOTIFY_COMPLETED, on_completed, http, MHD_OPTION_END);
}

static enum mc_status listen_and_start(struct http *http)
{
	const union MHD_DaemonInfo *info;
	enum mc_status status = bind_to(http->config.listen, &http->listen_fd, http->address);

	if (status != MC_OK)
		return status;
	http->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	http->daemon = http->wake_fd < 0 ? NULL : daemon_start(http);
	if (!http->daemon)
		return MC_NO_MEMORY;
	info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	MUST(info != NULL);
	http->epoll_fd = info->epoll_fd;
	if (thread_start(&http->thread, turn, http) != 0)
		return MC_NO_MEMORY;
	http->running = true;
	return MC_OK;
}

enum mc_status http_open(const struct http_config *config, struct http **http)
{
	struct http *h = calloc(1, sizeof(*h));
	enum mc_status status = MC_OK;

	if (!h)
		return MC_NO_MEMORY;
	h->config = *config;
	h->wake_fd = h->listen_fd = -1;
	pthread_mutex_init(&h->lock, NULL);
	if (config->token_file)
		status = token_read(config->token_file, &h->token);
	if (status == MC_OK)
		status = listen_and_start(h);
	if (status != MC_OK) {
		http_close(h);
		return status;
	}
	*http = h;
	return MC_OK;
}

static void stop(struct http *http)
{
	WITH_LOCK(&http->lock);
	http->stopping = true;
}

void http_close(struct http *http)
{
	if (!http)
		return;
	if (http->running) {
		stop(http);
		wake(http);
		pthread_join(http->thread, NULL);
	}
	if (http->daemon) {
		/* It ends with no connection asleep. */
		answered_resume(http);
		MHD_run(http->daemon);
		MHD_stop_daemon(http->daemon);
	}
	if (http->wake_fd >= 0)
		close(http->wake_fd);
	if (http->listen_fd >= 0)
		close(http->listen_fd);
	pthread_mutex_destroy(&http->lock);
	free(http);
}

const char *http_address(const struct http *http)
{
	return http->address;
}

void http_count(const struct http *http, struct http_counters *counters)
{
	for (size_t i = 0; i < ARRAY_SIZE(http->requests); i++)
		counters->requests[i] =
			atomic_load_explicit(&http->requests[i], memory_order_relaxed);
	counters->connections = atomic_load_explicit(&http->connections, memory_order_relaxed);
	counters->cut = atomic_load_explicit(&http->cut, memory_order_relaxed);
}
