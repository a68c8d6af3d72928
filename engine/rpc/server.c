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
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/base/spin.h"

#define SCRATCH_SIZE   (1u << 20) /* bytes read from one connection in one turn */
#define KEEP_SIZE      (1u << 16) /* buffers beyond this are given back when empty */
#define EARLY_SIZE     (1u << 20) /* bytes of answers that do not wait for the end of the turn */
#define EVENT_MAX      64
#define CONNECTION_MAX 16384
#define SPIN_SIZE      4096	   /* who sent more in one turn keeps the loop busy otherwise */
#define PAUSE_NS       1000000000u /* without descriptors, before the next try to accept */

struct loop {
	struct server *server;
	unsigned number;
	int epoll_fd;
	struct connection *ready; /* those with output */
	struct connection *gone;  /* those that nothing comes from any more */
	uint8_t *scratch;
	struct spin spin;
	size_t got; /* bytes read in this turn */
};

struct server {
	/* fixed after open */
	struct server_config config;
	int stop_fd; /* readable: every loop ends */
	int tcp_fd;
	int unix_fd;
	char address[NET_TEXT_SIZE];
	char socket[NET_TEXT_SIZE];

	pthread_mutex_t lock; /* protects the next two */
	struct connection *connections;
	size_t connection_count;

	/* loop 0's */
	uint64_t connection_number;
	uint64_t paused_ns; /* when accepting stopped for want of descriptors; 0: it has not */

	struct loop loops[];
};

static bool watch(const struct loop *loop, int fd, uint32_t events, void *tag)
{
	struct epoll_event event = {.events = events, .data.ptr = tag};

	return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
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

static enum mc_status loops_open(struct server *server)
{
	for (unsigned i = 0; i < server->config.loop_count; i++) {
		struct loop *loop = &server->loops[i];
		loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
		loop->scratch = malloc(SCRATCH_SIZE);
		if (loop->epoll_fd < 0 || !loop->scratch ||
		    !watch(loop, server->stop_fd, EPOLLIN, &server->stop_fd))
			return MC_NO_MEMORY;
	}
	const struct loop *first = &server->loops[0];
	if ((server->tcp_fd >= 0 && !watch(first, server->tcp_fd, EPOLLIN, &server->tcp_fd)) ||
	    (server->unix_fd >= 0 && !watch(first, server->unix_fd, EPOLLIN, &server->unix_fd)))
		return MC_NO_MEMORY;
	return MC_OK;
}

enum mc_status server_open(const struct server_config *config, struct server **server)
{
	MUST(config->loop_count >= 1 && config->loop_count <= SERVER_LOOP_COUNT_MAX);
	struct server *s = calloc(1, sizeof(*s) + config->loop_count * sizeof(s->loops[0]));

	if (!s)
		return MC_NO_MEMORY;
	s->config = *config;
	s->tcp_fd = s->unix_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	for (unsigned i = 0; i < config->loop_count; i++)
		s->loops[i] = (struct loop){.server = s, .number = i, .epoll_fd = -1};
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	enum mc_status status = s->stop_fd < 0 ? MC_NO_MEMORY : listen_all(s);
	if (status == MC_OK)
		status = loops_open(s);
	if (status != MC_OK) {
		server_close(s);
		return status;
	}
	*server = s;
	return MC_OK;
}

const char *server_address(const struct server *server)
{
	return server->address;
}

const char *server_socket(const struct server *server)
{
	return server->socket;
}

static void connection_destroy(struct connection *c)
{
	close(c->fd);
	writer_fini(&c->out);
	pthread_mutex_destroy(&c->lock);
	free(c->in);
	free(c);
}

void connection_free(struct connection *c)
{
	struct server *server = c->loop->server;

	pthread_mutex_lock(&server->lock);
	if (c->next)
		c->next->previous = c->previous;
	if (c->previous)
		c->previous->next = c->next;
	else
		server->connections = c->next;
	server->connection_count--;
	pthread_mutex_unlock(&server->lock);
	connection_destroy(c);
}

void server_close(struct server *server)
{
	if (!server)
		return;
	while (server->connections)
		server->config.ops->closed(server->config.context, server->connections);
	for (unsigned i = 0; i < server->config.loop_count; i++) {
		if (server->loops[i].epoll_fd >= 0)
			close(server->loops[i].epoll_fd);
		free(server->loops[i].scratch);
	}
	int fds[] = {server->tcp_fd, server->unix_fd, server->stop_fd};
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	pthread_mutex_destroy(&server->lock);
	free(server);
}

/* The loop hears of it and reports it closed. */
static void end_locked(struct connection *c)
{
	__atomic_store_n(&c->ending, true, __ATOMIC_RELEASE);
	(void)shutdown(c->fd, SHUT_RDWR);
}

static void watch_locked(struct connection *c, bool paused, bool waits_out)
{
	struct epoll_event event = {.data.ptr = c};

	if (c->paused == paused && c->waits_out == waits_out)
		return;
	c->paused = paused;
	c->waits_out = waits_out;
	event.events = (paused ? 0u : EPOLLIN) | (waits_out ? EPOLLOUT : 0u);
	if (epoll_ctl(c->loop->epoll_fd, EPOLL_CTL_MOD, c->fd, &event) != 0)
		end_locked(c);
}

void connection_pause(struct connection *c)
{
	WITH_LOCK(&c->lock);
	watch_locked(c, true, c->waits_out);
}

void connection_resume(struct connection *c)
{
	WITH_LOCK(&c->lock);
	watch_locked(c, false, c->waits_out);
}

/* All was sent: the next turn finds an empty buffer, not a huge one. */
static void out_empty_locked(struct connection *c)
{
	c->out_sent = 0;
	if (c->out.capacity > KEEP_SIZE) {
		writer_fini(&c->out);
		writer_init(&c->out);
	} else {
		writer_reset(&c->out);
	}
}

/* Who reads all the time but is never done must not keep all he has read. */
static void out_pack_locked(struct connection *c, size_t left)
{
	if (c->out_sent < left)
		return;
	memmove(c->out.data, c->out.data + c->out_sent, left);
	c->out.size = left;
	c->out_sent = 0;
}

static void out_write_locked(struct connection *c)
{
	if (connection_ending(c))
		return;
	if (c->out.failed) {
		log_error("out of memory for answers, closed the connection peer=%s", c->peer);
		end_locked(c);
		return;
	}
	size_t left = c->out.size - c->out_sent;
	if (left == 0)
		return;
	ssize_t sent = send(c->fd, c->out.data + c->out_sent, left, MSG_NOSIGNAL);
	if (sent < 0) {
		if (errno != EAGAIN && errno != EINTR) {
			end_locked(c);
			return;
		}
		sent = 0;
	}
	c->out_sent += (size_t)sent;
	left -= (size_t)sent;
	if (left > SERVER_OUT_SIZE_MAX) {
		log_warn("does not read its answers, closed the connection peer=%s", c->peer);
		end_locked(c);
		return;
	}
	watch_locked(c, c->paused, left > 0);
	if (left == 0)
		out_empty_locked(c);
	else
		out_pack_locked(c, left);
}

struct writer *connection_out(struct connection *c)
{
	pthread_mutex_lock(&c->lock);
	return &c->out;
}

/* There is more than should wait for the end of the turn, and it may go. */
static bool out_early_locked(const struct connection *c)
{
	size_t left = c->out.size - c->out_sent;

	return left > SERVER_OUT_SIZE_MAX || (left > EARLY_SIZE && !c->waits_out);
}

void connection_wrote(struct connection *c)
{
	if (out_early_locked(c))
		out_write_locked(c);
	pthread_mutex_unlock(&c->lock);
	if (c->ready)
		return;
	c->ready = true;
	c->ready_next = c->loop->ready;
	c->loop->ready = c;
}

void connection_send(struct connection *c, const void *frames, size_t size)
{
	WITH_LOCK(&c->lock);
	if (connection_ending(c))
		return;
	put_bytes(&c->out, frames, size);
	out_write_locked(c);
}

void connection_end(struct connection *c)
{
	WITH_LOCK(&c->lock);
	out_write_locked(c);
	end_locked(c);
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

static struct connection *connection_new(struct server *server, int fd)
{
	struct connection *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->fd = fd;
	c->number = ++server->connection_number;
	c->loop_number = (unsigned)(c->number % server->config.loop_count);
	c->loop = &server->loops[c->loop_number];
	pthread_mutex_init(&c->lock, NULL);
	writer_init(&c->out);
	peer_name(c);
	return c;
}

/* False: there are too many. */
static bool connection_list(struct server *server, struct connection *c)
{
	WITH_LOCK(&server->lock);
	if (server->connection_count >= CONNECTION_MAX)
		return false;
	c->next = server->connections;
	if (c->next)
		c->next->previous = c;
	server->connections = c;
	server->connection_count++;
	return true;
}

static void connection_open(struct server *server, int fd)
{
	struct connection *c = connection_new(server, fd);

	if (!c || !connection_list(server, c)) {
		log_warn("refused a connection, too many or no memory max=%d", CONNECTION_MAX);
		if (c)
			connection_destroy(c);
		else
			close(fd);
		return;
	}
	if (!server->config.ops->opened(server->config.context, c)) {
		connection_free(c);
		return;
	}
	/* From here on its loop has it. */
	if (!watch(c->loop, fd, EPOLLIN, c)) {
		log_warn("can't watch a connection peer=%s", c->peer);
		server->config.ops->closed(server->config.context, c);
	}
}

/* Hear, or not, of those that want to connect. */
static void accept_watch(struct server *server, uint32_t events)
{
	int *fds[] = {&server->tcp_fd, &server->unix_fd};

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		struct epoll_event event = {.events = events, .data.ptr = fds[i]};
		if (*fds[i] >= 0 &&
		    epoll_ctl(server->loops[0].epoll_fd, EPOLL_CTL_MOD, *fds[i], &event))
			log_error("can't watch a listening socket error=\"%s\"", strerror(errno));
	}
}

static void accept_resume(struct server *server)
{
	if (!server->paused_ns || clock_ns() - server->paused_ns < PAUSE_NS)
		return;
	server->paused_ns = 0;
	accept_watch(server, EPOLLIN);
}

static void accept_all(struct server *server, int listening)
{
	for (int i = 0; i < EVENT_MAX; i++) {
		int fd;
		enum mc_status status = net_accept(listening, &fd);
		if (status != MC_OK) {
			if (status != MC_AGAIN) {
				log_warn("can't accept a connection, waiting a second "
					 "reason=\"%s\"",
					 mc_status_text(status));
				accept_watch(server, 0);
				server->paused_ns = clock_ns();
			}
			return;
		}
		connection_open(server, fd);
	}
}

/* Give out the whole frames at the start of the bytes; returns how many bytes they took. */
static size_t frames_take(struct connection *c, const uint8_t *bytes, size_t size)
{
	const struct server_config *config = &c->loop->server->config;
	size_t taken = 0;

	while (!connection_ending(c) && size - taken >= MC_FRAME_HEADER_SIZE) {
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

	if (connection_ending(c))
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

/* Nothing is read from it any more; it is reported when this turn's output went out. */
static void connection_gone(struct connection *c)
{
	(void)epoll_ctl(c->loop->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
	c->gone_next = c->loop->gone;
	c->loop->gone = c;
}

/* Read what is there; a short read means that it was all. */
static void connection_read(struct connection *c)
{
	uint8_t *at = c->in_size ? c->in + c->in_size : c->loop->scratch;
	size_t room = c->in_size ? c->in_capacity - c->in_size : SCRATCH_SIZE;
	ssize_t got = connection_ending(c) ? 0 : recv(c->fd, at, room, 0);

	if (got > 0) {
		c->loop->got += (size_t)got;
		if (c->in_size)
			input_take(c, c->in, c->in_size + (size_t)got);
		else
			input_take(c, at, (size_t)got);
	} else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
		connection_gone(c);
	}
}

static void ready_flush(struct loop *loop)
{
	while (loop->ready) {
		struct connection *c = loop->ready;
		loop->ready = c->ready_next;
		c->ready = false;
		WITH_LOCK(&c->lock);
		out_write_locked(c);
	}
}

static void gone_report(struct loop *loop)
{
	const struct server_config *config = &loop->server->config;

	while (loop->gone) {
		struct connection *c = loop->gone;
		loop->gone = c->gone_next;
		config->ops->closed(config->context, c);
	}
}

static void connection_handle(struct connection *c, uint32_t events)
{
	if (events & EPOLLOUT) {
		WITH_LOCK(&c->lock);
		out_write_locked(c);
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		connection_read(c);
}

/* False: the server stops. */
static bool event_handle(struct loop *loop, const struct epoll_event *event)
{
	struct server *server = loop->server;

	if (event->data.ptr == &server->stop_fd)
		return false;
	if (event->data.ptr == &server->tcp_fd)
		accept_all(server, server->tcp_fd);
	else if (event->data.ptr == &server->unix_fd)
		accept_all(server, server->unix_fd);
	else
		connection_handle(event->data.ptr, event->events);
	return true;
}

/* Who asked for little may ask again soon.  Returns how many events there are. */
static int spin_for_events(struct loop *loop, struct epoll_event events[EVENT_MAX])
{
	bool soon = loop->got > 0 && loop->got <= SPIN_SIZE;
	int count = 0;

	loop->got = 0;
	if (!soon || !spin_begin(&loop->spin, clock_ns()))
		return 0;
	do
		count = epoll_wait(loop->epoll_fd, events, EVENT_MAX, 0);
	while (spin_on(&loop->spin, count != 0, clock_ns()));
	return count;
}

void server_run(struct server *server, unsigned loop_number)
{
	struct loop *loop = &server->loops[loop_number];
	struct epoll_event events[EVENT_MAX];
	bool running = true;

	while (running) {
		bool paused = loop_number == 0 && server->paused_ns;
		int count = spin_for_events(loop, events);
		if (count == 0)
			count = epoll_wait(loop->epoll_fd, events, EVENT_MAX,
					   paused ? (int)(PAUSE_NS / 1000000) : -1);
		for (int i = 0; i < count; i++)
			running = event_handle(loop, &events[i]) && running;
		if (loop_number == 0)
			accept_resume(server);
		ready_flush(loop);
		gone_report(loop);
		server->config.ops->turn(server->config.context, loop_number);
	}
}

void server_stop(struct server *server)
{
	uint64_t one = 1;

	/* Never read: every loop sees it. */
	if (write(server->stop_fd, &one, sizeof(one)) < 0)
		log_error("can't stop the server error=\"%s\"", strerror(errno));
}
