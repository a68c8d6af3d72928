#include "engine/rpc/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/net.h"

#define SCRATCH_SIZE   (1u << 20) /* bytes read from one connection in one turn */
#define KEEP_SIZE      (1u << 16) /* buffers beyond this are given back when empty */
#define EVENT_MAX      64
#define CONNECTION_MAX 16384

struct server {
	struct server_config config;
	int epoll_fd;
	int stop_fd;
	int tcp_fd;
	int unix_fd;
	size_t connection_count;
	uint64_t connection_number;
	bool stopping;
	bool again; /* a connection ended: its owner has work in another turn */
	struct connection *connections;
	struct connection *ready; /* those with output */
	uint8_t *scratch;
	char address[NET_TEXT_SIZE];
	char socket[NET_TEXT_SIZE];
};

static bool watch(struct server *server, int fd, uint32_t events, void *tag)
{
	struct epoll_event event = {.events = events, .data.ptr = tag};

	return epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Listen at an address, and say so when it can't be. */
static enum mc_status listen_at(const char *text, char *bound_text, uint16_t *port, int *fd)
{
	struct net_address address;
	enum mc_status status = net_resolve(text, &address);

	if (status == MC_OK)
		status = net_listen(&address, fd);
	if (status == MC_OK)
		status = net_bound(*fd, &address);
	if (status != MC_OK) {
		log_error("can't listen address=%s reason=\"%s\"", text, mc_status_text(status));
		return status;
	}
	net_format(&address, bound_text);
	*port = net_port(&address);
	return MC_OK;
}

static enum mc_status listen_all(struct server *server)
{
	const struct server_config *config = &server->config;
	char name[NET_TEXT_SIZE];
	uint16_t port = 0;
	uint16_t none;

	if (config->listen) {
		enum mc_status status =
			listen_at(config->listen, server->address, &port, &server->tcp_fd);
		if (status != MC_OK)
			return status;
	}
	if (!config->socket)
		return MC_OK;
	if (strcmp(config->socket, "auto") == 0)
		snprintf(name, sizeof(name), "@%s-%u", config->auto_name,
			 config->listen ? port : (unsigned)getpid());
	else
		snprintf(name, sizeof(name), "%s", config->socket);
	if (name[0] != '@') {
		log_error("not a socket name, must be @NAME socket=%s", name);
		return MC_INVALID;
	}
	return listen_at(name, server->socket, &none, &server->unix_fd);
}

enum mc_status server_open(const struct server_config *config, struct server **server)
{
	struct server *s = calloc(1, sizeof(*s));

	if (!s)
		return MC_NO_MEMORY;
	s->config = *config;
	s->tcp_fd = s->unix_fd = -1;
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->scratch = malloc(SCRATCH_SIZE);
	enum mc_status status = MC_NO_MEMORY;
	if (s->epoll_fd < 0 || s->stop_fd < 0 || !s->scratch)
		goto err_close;
	status = listen_all(s);
	if (status != MC_OK)
		goto err_close;
	status = MC_NO_MEMORY;
	if (!watch(s, s->stop_fd, EPOLLIN, &s->stop_fd) ||
	    (s->tcp_fd >= 0 && !watch(s, s->tcp_fd, EPOLLIN, &s->tcp_fd)) ||
	    (s->unix_fd >= 0 && !watch(s, s->unix_fd, EPOLLIN, &s->unix_fd)))
		goto err_close;
	*server = s;
	return MC_OK;

err_close:
	server_close(s);
	return status;
}

const char *server_address(const struct server *server)
{
	return server->address;
}

const char *server_socket(const struct server *server)
{
	return server->socket;
}

static void connection_free(struct connection *c)
{
	struct server *server = c->server;

	server->again = true;
	server->config.ops->closed(server->config.context, c);
	if (c->next)
		c->next->previous = c->previous;
	if (c->previous)
		c->previous->next = c->next;
	else
		server->connections = c->next;
	server->connection_count--;
	close(c->fd);
	writer_fini(&c->out);
	free(c->in);
	free(c);
}

void server_close(struct server *server)
{
	if (!server)
		return;
	while (server->connections)
		connection_free(server->connections);
	int fds[] = {server->tcp_fd, server->unix_fd, server->stop_fd, server->epoll_fd};
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	free(server->scratch);
	free(server);
}

void connection_wrote(struct connection *c)
{
	if (c->ready || c->closing)
		return;
	c->ready = true;
	c->ready_next = c->server->ready;
	c->server->ready = c;
}

void connection_end(struct connection *c)
{
	connection_wrote(c);
	c->closing = true;
}

static void peer_name(struct connection *c)
{
	struct net_address address = {.size = sizeof(address.storage)};
	struct ucred who;
	socklen_t size = sizeof(who);

	if (getpeername(c->fd, (struct sockaddr *)&address.storage, &address.size) != 0)
		return;
	if (address.storage.ss_family != AF_UNIX)
		net_format(&address, c->peer);
	else if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0)
		snprintf(c->peer, sizeof(c->peer), "pid:%d", (int)who.pid);
}

static void connection_open(struct server *server, int fd)
{
	struct connection *c = calloc(1, sizeof(*c));

	if (!c || server->connection_count >= CONNECTION_MAX || !watch(server, fd, EPOLLIN, c)) {
		log_warn("refused a connection connections=%zu", server->connection_count);
		free(c);
		close(fd);
		return;
	}
	c->server = server;
	c->fd = fd;
	c->number = ++server->connection_number;
	writer_init(&c->out);
	peer_name(c);
	c->next = server->connections;
	if (c->next)
		c->next->previous = c;
	server->connections = c;
	server->connection_count++;
	if (!server->config.ops->opened(server->config.context, c))
		connection_end(c);
}

static void accept_all(struct server *server, int listening)
{
	for (int i = 0; i < EVENT_MAX; i++) {
		int fd;
		enum mc_status status = net_accept(listening, &fd);
		if (status != MC_OK) {
			if (status != MC_AGAIN)
				log_warn("can't accept a connection reason=\"%s\"",
					 mc_status_text(status));
			return;
		}
		connection_open(server, fd);
	}
}

/* Give out the whole frames at the start of the bytes; returns how many bytes they took. */
static size_t frames_take(struct connection *c, const uint8_t *bytes, size_t size)
{
	const struct server_config *config = &c->server->config;
	size_t taken = 0;

	while (!c->closing && size - taken >= MC_FRAME_HEADER_SIZE) {
		struct frame frame;
		if (frame_decode(bytes + taken, &frame) != MC_OK) {
			log_warn("not our protocol, closed the connection peer=%s", c->peer);
			connection_end(c);
			return taken;
		}
		size_t whole = MC_FRAME_HEADER_SIZE + (size_t)frame.size;
		if (size - taken < whole)
			break;
		config->ops->request(config->context, c, &frame,
				     bytes + taken + MC_FRAME_HEADER_SIZE);
		taken += whole;
	}
	return taken;
}

/* Keep what follows the last whole frame until the rest of it comes. */
static void rest_keep(struct connection *c, const uint8_t *rest, size_t size)
{
	size_t need = MC_FRAME_HEADER_SIZE;
	struct frame frame;

	if (size >= MC_FRAME_HEADER_SIZE && frame_decode(rest, &frame) == MC_OK)
		need += frame.size;
	if (need < KEEP_SIZE)
		need = KEEP_SIZE;
	if (c->in_capacity < need) {
		/* rest may point into c->in, so it is not grown in place. */
		uint8_t *in = malloc(need);
		if (!in) {
			connection_end(c);
			return;
		}
		memcpy(in, rest, size);
		free(c->in);
		c->in = in;
		c->in_capacity = need;
	} else {
		memmove(c->in, rest, size);
	}
	c->in_size = size;
}

static void input_take(struct connection *c, const uint8_t *bytes, size_t size)
{
	size_t taken = frames_take(c, bytes, size);

	if (c->closing)
		return;
	if (taken < size) {
		rest_keep(c, bytes + taken, size - taken);
		return;
	}
	c->in_size = 0;
	if (c->in) {
		free(c->in);
		c->in = NULL;
		c->in_capacity = 0;
	}
}

/* Read what is there; a short read means that it was all. */
static void connection_read(struct connection *c)
{
	uint8_t *at = c->in_size ? c->in + c->in_size : c->server->scratch;
	size_t room = c->in_size ? c->in_capacity - c->in_size : SCRATCH_SIZE;
	ssize_t got = recv(c->fd, at, room, 0);

	if (got > 0) {
		if (c->in_size)
			input_take(c, c->in, c->in_size + (size_t)got);
		else
			input_take(c, at, (size_t)got);
	} else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
		connection_end(c);
	}
}

static void out_watch(struct connection *c, bool wait)
{
	struct epoll_event event = {.events = EPOLLIN | (wait ? EPOLLOUT : 0u), .data.ptr = c};

	if (c->waits_out == wait)
		return;
	c->waits_out = wait;
	if (epoll_ctl(c->server->epoll_fd, EPOLL_CTL_MOD, c->fd, &event) != 0)
		c->closing = true;
}

static void connection_write(struct connection *c)
{
	if (c->out.failed) {
		log_error("out of memory for answers, closed the connection peer=%s", c->peer);
		c->closing = true;
		return;
	}
	size_t left = c->out.size - c->out_sent;
	if (left == 0)
		return;
	ssize_t sent = send(c->fd, c->out.data + c->out_sent, left, MSG_NOSIGNAL);
	if (sent < 0) {
		if (errno != EAGAIN && errno != EINTR) {
			c->closing = true;
			return;
		}
		sent = 0;
	}
	c->out_sent += (size_t)sent;
	left -= (size_t)sent;
	if (left > SERVER_OUT_SIZE_MAX) {
		log_warn("does not read its answers, closed the connection peer=%s", c->peer);
		c->closing = true;
		return;
	}
	out_watch(c, left > 0);
	if (left > 0)
		return;
	c->out_sent = 0;
	if (c->out.capacity > KEEP_SIZE) {
		writer_fini(&c->out);
		writer_init(&c->out);
	} else {
		writer_reset(&c->out);
	}
}

/* Write to, or with `drop` close, all that have output; end those that are closing. */
static void ready_flush(struct server *server, bool drop)
{
	while (server->ready) {
		struct connection *c = server->ready;
		server->ready = c->ready_next;
		c->ready = false;
		if (drop && c->out.size > c->out_sent)
			c->closing = true;
		else
			connection_write(c);
		if (c->closing)
			connection_free(c);
	}
}

static int events_wait(struct server *server, struct epoll_event *events)
{
	int timeout_ms = server->again ? 0 : (int)server->config.tick_ms;
	server->again = false;
	return epoll_wait(server->epoll_fd, events, EVENT_MAX, timeout_ms);
}

static void event_handle(struct server *server, const struct epoll_event *event)
{
	if (event->data.ptr == &server->stop_fd) {
		server->stopping = true;
	} else if (event->data.ptr == &server->tcp_fd) {
		accept_all(server, server->tcp_fd);
	} else if (event->data.ptr == &server->unix_fd) {
		accept_all(server, server->unix_fd);
	} else {
		struct connection *c = event->data.ptr;
		if (event->events & EPOLLOUT)
			connection_wrote(c);
		if (!c->closing && event->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			connection_read(c);
	}
}

void server_run(struct server *server)
{
	struct epoll_event events[EVENT_MAX];

	while (!server->stopping) {
		int count = events_wait(server, events);
		for (int i = 0; i < count; i++)
			event_handle(server, &events[i]);
		bool good = server->config.ops->turn(server->config.context);
		ready_flush(server, !good);
	}
}

void server_stop(struct server *server)
{
	uint64_t one = 1;

	if (write(server->stop_fd, &one, sizeof(one)) < 0)
		log_error("can't stop the server error=\"%s\"", strerror(errno));
}
