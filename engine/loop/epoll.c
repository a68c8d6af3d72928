/*
 * engine/loop/epoll.c -- the loop where there is no io_uring
 *
 * An operation is tried at once in the next turn; what would have to wait is
 * tried again when its socket is ready.  Sockets are added once, edge
 * triggered, and found by their number: what comes after a try that would have
 * had to wait is an edge, so nothing needs to be armed anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/loop/loop.h"

#define BATCH 64

/* What waits for a socket, by its number. */
struct waiting {
	struct loop_op *in, *out;
	bool watched; /* it was added, and not accepted anew since */
};

struct epoll {
	int fd;
	struct loop_op *first, **last; /* to be tried */
	struct waiting *sockets;
	size_t socket_count;
};

static enum mc_status epoll_open(struct loop *loop)
{
	CLEANUP_FREE struct epoll *epoll = calloc(1, sizeof(*epoll));
	struct epoll_event event = {.events = EPOLLIN, .data.fd = loop->wake_fd};

	if (!epoll)
		return MC_NO_MEMORY;
	epoll->fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll->fd < 0 || epoll_ctl(epoll->fd, EPOLL_CTL_ADD, loop->wake_fd, &event) < 0) {
		if (epoll->fd >= 0)
			close(epoll->fd);
		return MC_NO_SPACE;
	}
	epoll->last = &epoll->first;
	loop->backend = STEAL(epoll);
	return MC_OK;
}

static void epoll_close(struct loop *loop)
{
	struct epoll *epoll = loop->backend;

	close(epoll->fd);
	free(epoll->sockets);
	free(epoll);
}

static void epoll_prepare(int listen_fd)
{
	int flags = fcntl(listen_fd, F_GETFL);

	if (flags >= 0)
		(void)fcntl(listen_fd, F_SETFL, flags | O_NONBLOCK);
}

static void epoll_begin(struct loop *loop, struct loop_op *op)
{
	struct epoll *epoll = loop->backend;

	op->next = NULL;
	*epoll->last = op;
	epoll->last = &op->next;
}

/* Keep it until the socket is ready.  False: no memory or no room in epoll. */
static bool keep(struct epoll *epoll, struct loop_op *op)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = op->fd};
	size_t needed = (size_t)op->fd + 1;

	if (needed > epoll->socket_count) {
		struct waiting *more =
			reallocarray(epoll->sockets, needed * 2, sizeof(*epoll->sockets));
		if (!more)
			return false;
		for (size_t i = epoll->socket_count; i < needed * 2; i++)
			more[i] = (struct waiting){0};
		epoll->sockets = more;
		epoll->socket_count = needed * 2;
	}
	struct waiting *waiting = &epoll->sockets[op->fd];
	if (op->kind == LOOP_SEND)
		waiting->out = op;
	else
		waiting->in = op;
	if (!waiting->watched)
		waiting->watched = epoll_ctl(epoll->fd, EPOLL_CTL_ADD, op->fd, &event) == 0;
	return waiting->watched;
}

/* A number that a closed socket had: epoll forgot it then. */
static void forget(struct epoll *epoll, int fd)
{
	if ((size_t)fd < epoll->socket_count)
		epoll->sockets[fd] = (struct waiting){0};
}

static ssize_t attempt(const struct loop_op *op)
{
	switch (op->kind) {
	case LOOP_ACCEPT:
		return accept4(op->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	case LOOP_RECEIVE:
		return recv(op->fd, op->buffer, op->size, MSG_DONTWAIT);
	case LOOP_SEND:
		return sendmsg(op->fd, op->message, MSG_DONTWAIT | MSG_NOSIGNAL);
	case LOOP_NONE:
		break;
	}
	MUST(op->kind != LOOP_NONE);
	return -1;
}

static void try_one(struct loop *loop, struct loop_op *op)
{
	struct epoll *epoll = loop->backend;
	ssize_t result = attempt(op);
	bool accepts = op->kind == LOOP_ACCEPT;

	if (accepts && result >= 0)
		forget(epoll, (int)result);
	if (result < 0 && (errno == EAGAIN || errno == EINTR)) {
		if (!keep(epoll, op))
			loop_ended(op, -ENOMEM);
		return;
	}
	loop_ended(op, result < 0 ? -errno : (int)result);
	if (accepts && op->kind == LOOP_ACCEPT)
		epoll_begin(loop, op);
}

static void try_all(struct loop *loop)
{
	struct epoll *epoll = loop->backend;

	while (epoll->first && !atomic_load(&loop->stopping)) {
		struct loop_op *op = epoll->first;
		epoll->first = op->next;
		if (!epoll->first)
			epoll->last = &epoll->first;
		try_one(loop, op);
	}
}

static void ready(struct loop *loop, const struct epoll_event *event)
{
	struct epoll *epoll = loop->backend;
	uint64_t count;

	if (event->data.fd == loop->wake_fd) {
		if (read(loop->wake_fd, &count, sizeof(count)) > 0)
			loop->config.woken(loop->config.context);
		return;
	}
	struct waiting *waiting = &epoll->sockets[event->data.fd];
	if ((event->events & ~(uint32_t)EPOLLOUT) && waiting->in)
		epoll_begin(loop, STEAL(waiting->in));
	if ((event->events & ~(uint32_t)EPOLLIN) && waiting->out)
		epoll_begin(loop, STEAL(waiting->out));
}

static int spin_for_events(struct loop *loop, struct epoll_event events[BATCH])
{
	const struct epoll *epoll = loop->backend;
	int count = 0;

	if (!loop_may_spin(loop))
		return 0;
	do
		count = epoll_wait(epoll->fd, events, BATCH, 0);
	while (spin_on(&loop->spin, count != 0, clock_ns()));
	return count;
}

static void epoll_wait_turn(struct loop *loop, uint64_t alarm_ns)
{
	struct epoll *epoll = loop->backend;
	struct epoll_event events[BATCH];
	uint64_t now = clock_ns();
	int limit_ms = -1;

	if (epoll->first)
		limit_ms = 0;
	else if (alarm_ns)
		limit_ms = alarm_ns > now ? (int)((alarm_ns - now) / 1000000u) + 1 : 0;
	int count = limit_ms == 0 ? 0 : spin_for_events(loop, events);
	if (count == 0)
		count = epoll_wait(epoll->fd, events, BATCH, limit_ms);
	for (int i = 0; i < count; i++)
		ready(loop, &events[i]);
	try_all(loop);
}

const struct loop_ops loop_epoll_ops = {
	.name = "epoll",
	.open = epoll_open,
	.close = epoll_close,
	.prepare = epoll_prepare,
	.begin = epoll_begin,
	.wait = epoll_wait_turn,
};
