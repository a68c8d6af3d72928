#include "engine/rpc/client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/rpc/wire.h"

#define CLIENT_BUCKETS	      1024u
#define CLIENT_CONNECT_MS     3000
#define CLIENT_RETRY_MS_FIRST 20
#define CLIENT_RETRY_MS_MAX   1000
#define CLIENT_RECEIVE_SIZE   (256u << 10)

struct call {
	struct call *next;
	uint64_t id;
	uint64_t deadline_ns;
	client_reply_fn *reply;
	void *context;
	bool sent; /* on some connection */
	bool resent;
	size_t size;
	uint8_t frame[];
};

struct client {
	/* fixed after init */
	struct client_events events;
	char host[256];
	char port[64];
	char unix_name[108]; /* "@NAME" or a path; may be "" */
	bool unix_only;
	pthread_t thread;
	int wake;

	/* protected by lock */
	pthread_mutex_t lock;
	struct call *calls[CLIENT_BUCKETS];
	uint32_t in_flight;
	uint64_t next_id;
	int fd; /* -1 when not connected; requests are sent only when ready */
	bool ready;
	struct writer unsent; /* what the socket did not take */
	char peer[384];

	/* atomic */
	_Atomic bool stopping;
	_Atomic bool connected;
	_Atomic uint32_t ttl_ms;
	_Atomic uint64_t calls_by_verb[MC_VERB_LIMIT];

	_Atomic uint64_t heard_ns;

	/* owned by the client's thread */
	bool absent; /* nobody answered the last time: said so once */
	uint8_t *receive;
	size_t receive_size; /* allocated */
	size_t received;
};

static enum mc_status parse_address(struct client *client, const char *address)
{
	if (strncmp(address, "unix:", 5) == 0) {
		if (strlen(address + 5) >= sizeof(client->unix_name) || !address[5])
			return MC_INVALID;
		strcpy(client->unix_name, address + 5);
		client->unix_only = true;
		return MC_OK;
	}
	const char *colon = strrchr(address, ':');
	size_t length = colon ? (size_t)(colon - address) : strlen(address);
	if (length == 0 || length >= sizeof(client->host))
		return MC_INVALID;
	if (address[0] == '[' && length > 2 && address[length - 1] == ']') {
		memcpy(client->host, address + 1, length - 2);
	} else {
		memcpy(client->host, address, length);
	}
	snprintf(client->port, sizeof(client->port), "%s", colon ? colon + 1 : "50051");
	char *end;
	unsigned long port = strtoul(client->port, &end, 10);
	if (*end || end == client->port || port == 0 || port > 65535)
		return MC_INVALID;
	snprintf(client->unix_name, sizeof(client->unix_name), "@mooncake-master-%lu", port);
	return MC_OK;
}

/* Wait for a socket that connects, or for close. */
static bool wait_connected(struct client *client, int fd)
{
	struct pollfd fds[2] = {{.fd = fd, .events = POLLOUT},
				{.fd = client->wake, .events = POLLIN}};
	int error = 0;
	socklen_t size = sizeof(error);

	if (poll(fds, 2, CLIENT_CONNECT_MS) <= 0 || client->stopping || !(fds[0].revents))
		return false;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

static int connect_unix(struct client *client)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(client->unix_name);

	memcpy(address.sun_path, client->unix_name, length);
	if (address.sun_path[0] == '@')
		address.sun_path[0] = '\0';
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0)
		return -1;
	if (!net_peer_trusted(fd)) {
		log_warn("another user listens at the master's socket name=%s", client->unix_name);
		return -1;
	}
	return STEAL_FD(fd);
}

/* The address is one of this host's: then its Unix socket can be tried. */
static bool address_local(const struct sockaddr *address, socklen_t size)
{
	struct sockaddr_storage any;

	memcpy(&any, address, size);
	if (address->sa_family == AF_INET)
		((struct sockaddr_in *)&any)->sin_port = 0;
	else
		((struct sockaddr_in6 *)&any)->sin6_port = 0;
	CLEANUP_FD int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return fd >= 0 && bind(fd, (struct sockaddr *)&any, size) == 0;
}

static void set_peer(struct client *client, const char *kind, const char *host, const char *port)
{
	WITH_LOCK(&client->lock);
	snprintf(client->peer, sizeof(client->peer), "%s%s%s%s", kind, host, port[0] ? ":" : "",
		 port);
}

static int connect_one(struct client *client, const struct addrinfo *info)
{
	int one = 1;

	if (address_local(info->ai_addr, info->ai_addrlen)) {
		int fd = connect_unix(client);
		if (fd >= 0) {
			set_peer(client, "unix:", client->unix_name, "");
			return fd;
		}
	}
	CLEANUP_FD int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, info->ai_addr, info->ai_addrlen) < 0 &&
	    (errno != EINPROGRESS || !wait_connected(client, fd)))
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	set_peer(client, "tcp:", client->host, client->port);
	return STEAL_FD(fd);
}

static int connect_any(struct client *client)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list;
	int fd = -1;

	if (client->unix_only) {
		set_peer(client, "unix:", client->unix_name, "");
		return connect_unix(client);
	}
	if (getaddrinfo(client->host, client->port, &hints, &list) != 0)
		return -1;
	for (const struct addrinfo *info = list; info && fd < 0; info = info->ai_next)
		fd = connect_one(client, info);
	freeaddrinfo(list);
	return fd;
}

/* Send now what the socket takes, keep the rest. */
static void send_locked(struct client *client, const uint8_t *data, size_t size)
{
	while (size > 0 && client->unsent.size == 0) {
		ssize_t sent = send(client->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			break; /* full: wait for room.  broken: the receiver sees it too */
		data += sent;
		size -= (size_t)sent;
	}
	if (size > 0) {
		bool first = client->unsent.size == 0;
		put_bytes(&client->unsent, data, size);
		if (first)
			eventfd_write(client->wake, 1);
	}
}

static void flush_locked(struct client *client)
{
	size_t done = 0;

	while (done < client->unsent.size) {
		ssize_t sent = send(client->fd, client->unsent.data + done,
				    client->unsent.size - done, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0)
			break;
		done += (size_t)sent;
	}
	memmove(client->unsent.data, client->unsent.data + done, client->unsent.size - done);
	client->unsent.size -= done;
}

void client_call(struct client *client, enum mc_verb verb, const struct writer *body,
		 uint32_t timeout_ms, client_reply_fn *reply, void *context)
{
	size_t size = MC_FRAME_HEADER_SIZE + (body ? body->size : 0);
	struct call *call = body && body->failed ? NULL : malloc(sizeof(*call) + size);
	struct frame frame = {.kind = MC_FRAME_REQUEST, .verb = (uint16_t)verb};

	if (!call) {
		reply(context, MC_NO_MEMORY, NULL, false);
		return;
	}
	*call = (struct call){.reply = reply, .context = context, .size = size};
	call->deadline_ns = clock_ns() + timeout_ms * 1000000ull;
	frame.size = (uint32_t)(size - MC_FRAME_HEADER_SIZE);
	if (frame.size)
		memcpy(call->frame + MC_FRAME_HEADER_SIZE, body->data, frame.size);
	client->calls_by_verb[verb]++;

	pthread_mutex_lock(&client->lock);
	if (client->in_flight >= CLIENT_IN_FLIGHT_MAX || client->stopping) {
		enum mc_status status = client->stopping ? MC_CANCELLED : MC_AGAIN;
		pthread_mutex_unlock(&client->lock);
		free(call);
		reply(context, status, NULL, false);
		return;
	}
	frame.request_id = call->id = ++client->next_id;
	frame_encode(call->frame, &frame);
	struct call **bucket = &client->calls[call->id % CLIENT_BUCKETS];
	call->next = *bucket;
	*bucket = call;
	client->in_flight++;
	if (client->ready) {
		call->sent = true;
		send_locked(client, call->frame, call->size);
	}
	pthread_mutex_unlock(&client->lock);
}

static struct call *take_call(struct client *client, uint64_t id)
{
	WITH_LOCK(&client->lock);
	struct call **at = &client->calls[id % CLIENT_BUCKETS];
	while (*at && (*at)->id != id)
		at = &(*at)->next;
	struct call *call = *at;
	if (call) {
		*at = call->next;
		client->in_flight--;
	}
	return call;
}

static struct call *take_expired(struct client *client, uint64_t now, bool all)
{
	struct call *expired = NULL;

	WITH_LOCK(&client->lock);
	for (unsigned i = 0; client->in_flight > 0 && i < CLIENT_BUCKETS; i++) {
		struct call **at = &client->calls[i];
		while (*at) {
			struct call *call = *at;
			if (!all && call->deadline_ns > now) {
				at = &call->next;
				continue;
			}
			*at = call->next;
			call->next = expired;
			expired = call;
			client->in_flight--;
		}
	}
	return expired;
}

static void end_expired(struct client *client, bool all)
{
	struct call *call = take_expired(client, clock_ns(), all);

	while (call) {
		struct call *next = call->next;
		call->reply(call->context, all ? MC_CANCELLED : MC_TIMEOUT, NULL, call->resent);
		free(call);
		call = next;
	}
}

static void handle_frame(struct client *client, const struct frame *frame, const uint8_t *bytes)
{
	struct reader body;

	reader_init(&body, bytes, frame->size);
	if (frame->kind == MC_FRAME_PUSH) {
		client->events.push(client->events.context, frame->verb, &body);
		return;
	}
	if (frame->kind != MC_FRAME_REPLY)
		return;
	struct call *call = take_call(client, frame->request_id);
	if (!call)
		return; /* passed its deadline */
	call->reply(call->context, frame->status, &body, call->resent);
	free(call);
}

static bool make_room(struct client *client, size_t size)
{
	if (size <= client->receive_size)
		return true;
	uint8_t *larger = realloc(client->receive, size);
	if (!larger)
		return false;
	client->receive = larger;
	client->receive_size = size;
	return true;
}

/* Handle all whole frames that stand in the buffer.  False: the stream is broken. */
static bool handle_received(struct client *client,
			    void (*handle)(struct client *, const struct frame *, const uint8_t *))
{
	size_t at = 0;

	while (client->received - at >= MC_FRAME_HEADER_SIZE) {
		struct frame frame;
		if (frame_decode(client->receive + at, &frame)) {
			log_error("the master sent what is no frame, reconnecting");
			return false;
		}
		size_t whole = MC_FRAME_HEADER_SIZE + frame.size;
		if (client->received - at < whole) {
			if (!make_room(client, whole + CLIENT_RECEIVE_SIZE))
				return false;
			break;
		}
		handle(client, &frame, client->receive + at + MC_FRAME_HEADER_SIZE);
		at += whole;
	}
	memmove(client->receive, client->receive + at, client->received - at);
	client->received -= at;
	return true;
}

/* Read what is there.  False: the connection is gone. */
static bool receive_some(struct client *client)
{
	ssize_t size = recv(client->fd, client->receive + client->received,
			    client->receive_size - client->received, MSG_DONTWAIT);

	if (size < 0)
		return errno == EAGAIN || errno == EINTR;
	if (size == 0)
		return false;
	client->received += (size_t)size;
	client->heard_ns = clock_ns();
	return true;
}

static bool send_all(struct client *client, const uint8_t *data, size_t size)
{
	while (size > 0) {
		struct pollfd fd = {.fd = client->fd, .events = POLLOUT};
		if (poll(&fd, 1, CLIENT_CONNECT_MS) <= 0)
			return false;
		ssize_t sent = send(client->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0)
			return false;
		data += sent;
		size -= (size_t)sent;
	}
	return true;
}

/* Wait for the frame that answers HELLO; nothing else can come before it. */
static bool receive_welcome(struct client *client)
{
	uint64_t deadline = clock_ns() + CLIENT_CONNECT_MS * 1000000ull;

	client->received = 0;
	while (clock_ns() < deadline && !client->stopping) {
		struct frame frame;
		if (client->received >= MC_FRAME_HEADER_SIZE) {
			if (frame_decode(client->receive, &frame) || frame.kind != MC_FRAME_REPLY)
				return false;
			size_t whole = MC_FRAME_HEADER_SIZE + frame.size;
			if (!make_room(client, whole + CLIENT_RECEIVE_SIZE))
				return false;
			if (client->received >= whole) {
				struct reader body;
				reader_init(&body, client->receive + MC_FRAME_HEADER_SIZE,
					    frame.size);
				if (frame.status ||
				    client->events.welcome(client->events.context, &body))
					return false;
				memmove(client->receive, client->receive + whole,
					client->received - whole);
				client->received -= whole;
				return true;
			}
		}
		struct pollfd fd = {.fd = client->fd, .events = POLLIN};
		if (poll(&fd, 1, 100) > 0 && !receive_some(client))
			return false;
		end_expired(client, false);
	}
	return false;
}

static bool say_hello(struct client *client)
{
	struct writer w;
	struct frame frame = {.kind = MC_FRAME_REQUEST, .verb = MC_VERB_HELLO};

	writer_init(&w);
	size_t begin = frame_begin(&w);
	client->events.hello(client->events.context, &w);
	frame_finish(&w, begin, &frame);
	client->calls_by_verb[MC_VERB_HELLO]++;
	bool sent = !w.failed && send_all(client, w.data, w.size);
	writer_fini(&w);
	return sent && receive_welcome(client);
}

static int by_id(const void *a, const void *b)
{
	uint64_t ia = (*(struct call *const *)a)->id, ib = (*(struct call *const *)b)->id;

	return ia < ib ? -1 : ia > ib;
}

/* Requests that wait go out on the new connection, in the order they were made. */
static void send_waiting(struct client *client)
{
	WITH_LOCK(&client->lock);
	struct call **waiting = calloc(client->in_flight + 1, sizeof(*waiting));
	uint32_t count = 0;

	client->unsent.size = 0;
	client->ready = true;
	for (unsigned i = 0; waiting && i < CLIENT_BUCKETS; i++) {
		for (struct call *call = client->calls[i]; call; call = call->next)
			waiting[count++] = call;
	}
	if (waiting)
		qsort(waiting, count, sizeof(*waiting), by_id);
	for (uint32_t i = 0; i < count; i++) {
		waiting[i]->resent = waiting[i]->sent;
		waiting[i]->sent = true;
		send_locked(client, waiting[i]->frame, waiting[i]->size);
	}
	free(waiting);
}

static bool heard_lately(const struct client *client)
{
	uint32_t ttl_ms = client->ttl_ms;

	return ttl_ms == 0 || clock_ns() - client->heard_ns < ttl_ms * 500000ull;
}

/* Serve the connection until it breaks. */
static void serve(struct client *client)
{
	uint64_t ticked = 0;

	while (!client->stopping) {
		uint64_t now = clock_ns();
		if (now - ticked >= client->events.tick_ms * 1000000ull) {
			ticked = now;
			client->events.tick(client->events.context);
			end_expired(client, false);
		}
		if (!handle_received(client, handle_frame) || !heard_lately(client))
			return;
		pthread_mutex_lock(&client->lock);
		bool unsent = client->unsent.size > 0;
		pthread_mutex_unlock(&client->lock);
		struct pollfd fds[2] = {
			{.fd = client->fd, .events = (short)(POLLIN | (unsent ? POLLOUT : 0))},
			{.fd = client->wake, .events = POLLIN},
		};
		if (poll(fds, 2, (int)client->events.tick_ms) < 0 && errno != EINTR)
			return;
		if (fds[1].revents) {
			eventfd_t value;
			eventfd_read(client->wake, &value);
		}
		if (fds[0].revents & POLLOUT) {
			WITH_LOCK(&client->lock);
			flush_locked(client);
		}
		if ((fds[0].revents & (POLLIN | POLLHUP | POLLERR)) && !receive_some(client))
			return;
	}
}

static void disconnect(struct client *client)
{
	pthread_mutex_lock(&client->lock);
	int fd = client->fd;
	client->ready = false;
	client->fd = -1;
	client->unsent.size = 0;
	pthread_mutex_unlock(&client->lock);
	if (fd >= 0)
		close(fd);
}

static void connect_and_serve(struct client *client, uint32_t *retry_ms)
{
	int fd = connect_any(client);

	if (fd < 0) {
		if (!client->absent)
			log_warn("the master does not answer, trying on address=%s%s%s",
				 client->unix_only ? client->unix_name : client->host,
				 client->unix_only ? "" : ":", client->port);
		client->absent = true;
		return;
	}
	client->absent = false;
	pthread_mutex_lock(&client->lock);
	client->fd = fd;
	pthread_mutex_unlock(&client->lock);
	client->heard_ns = clock_ns();
	if (say_hello(client)) {
		*retry_ms = CLIENT_RETRY_MS_FIRST;
		log_info("connected to the master at=%s", client->peer);
		client->connected = true;
		send_waiting(client);
		serve(client);
		client->connected = false;
		if (!client->stopping)
			log_warn("lost the master, reconnecting at=%s", client->peer);
		disconnect(client);
		client->events.lost(client->events.context);
		return;
	}
	disconnect(client);
}

static void *client_thread(void *context)
{
	struct client *client = context;
	uint32_t retry_ms = CLIENT_RETRY_MS_FIRST;

	pthread_setname_np(pthread_self(), "mc-master");
	while (!client->stopping) {
		connect_and_serve(client, &retry_ms);
		end_expired(client, false);
		if (client->stopping)
			break;
		client->events.tick(client->events.context);
		struct pollfd wake = {.fd = client->wake, .events = POLLIN};
		poll(&wake, 1, (int)retry_ms);
		if (wake.revents && !client->stopping) {
			eventfd_t value;
			eventfd_read(client->wake, &value);
		}
		retry_ms = retry_ms * 2 > CLIENT_RETRY_MS_MAX ? CLIENT_RETRY_MS_MAX : retry_ms * 2;
	}
	end_expired(client, true);
	return NULL;
}

enum mc_status client_open(const char *address, const struct client_events *events,
			   struct client **client)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return MC_NO_MEMORY;
	c->events = *events;
	c->fd = -1;
	c->receive_size = CLIENT_RECEIVE_SIZE;
	c->receive = malloc(c->receive_size);
	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	writer_init(&c->unsent);
	pthread_mutex_init(&c->lock, NULL);
	enum mc_status status = parse_address(c, address);
	if (!c->receive || c->wake < 0)
		status = MC_NO_MEMORY;
	if (!status) {
		*client = c; /* the thread's first event may use it */
		if (pthread_create(&c->thread, NULL, client_thread, c) != 0)
			status = MC_NO_MEMORY;
	}
	if (status) {
		*client = NULL;
		if (c->wake >= 0)
			close(c->wake);
		free(c->receive);
		free(c);
		return status;
	}
	return MC_OK;
}

void client_stop(struct client *client)
{
	if (!client || atomic_exchange(&client->stopping, true))
		return;
	eventfd_write(client->wake, 1);
	pthread_join(client->thread, NULL);
}

void client_close(struct client *client)
{
	if (!client)
		return;
	client_stop(client);
	close(client->wake);
	writer_fini(&client->unsent);
	pthread_mutex_destroy(&client->lock);
	free(client->receive);
	free(client);
}

void client_set_ttl(struct client *client, uint32_t ttl_ms)
{
	client->ttl_ms = ttl_ms;
}

bool client_connected(const struct client *client)
{
	return client->connected && heard_lately(client);
}

void client_peer(struct client *client, char *text, size_t size)
{
	WITH_LOCK(&client->lock);
	snprintf(text, size, "%s", client->peer);
}

uint64_t client_calls(const struct client *client, enum mc_verb verb)
{
	return client->calls_by_verb[verb];
}
