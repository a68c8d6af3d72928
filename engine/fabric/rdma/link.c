/*
 * Handshakes (handshake.h) over TCP, by the control thread.  A link is one TCP
 * connection.  The one we begin belongs to an endpoint; one that comes in gets an
 * endpoint when its message is good.  After the two messages nothing is said on
 * it: it is there so that its end is noticed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/buffer.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/fabric/rdma/handshake.h"
#include "engine/fabric/rdma/internal.h"

#define FRAME_HEADER   8u
#define LINK_COUNT_MAX 65536u
#define ACCEPT_BATCH   64
#define PATIENCE       60 /* times MC_CONNECT_TIMEOUT_MS, with a machine that is gone */

struct link {
	struct watch watch;
	struct link *previous, *next;
	struct endpoint *endpoint; /* NULL: incoming, not agreed yet; or closed */
	int fd;
	bool ours; /* we connected */
	bool connecting;
	bool agreed;
	bool last_word;	      /* close when `out` is sent: it says no */
	uint64_t deadline_ns; /* of the handshake */
	uint8_t *out;
	size_t out_size, out_sent;
	uint8_t *in; /* the JSON, once its size is known */
	size_t in_size, in_got;
	uint8_t header[FRAME_HEADER];
	size_t header_got;
};

/* --- life -------------------------------------------------------------------------- */

static enum mc_status link_new(struct rdma_fabric *fabric, int fd, uint32_t events,
			       struct link **result)
{
	struct control *control = &fabric->control;
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return MC_NO_MEMORY;
	/* Queue pairs do without it while its network is away. */
	net_watch_peer(fd, (unsigned)(fabric->config.connect_ms * PATIENCE / 1000));
	link->fd = fd;
	link->watch.kind = WATCH_LINK;
	link->watch.of = link;
	link->deadline_ns = clock_ns() + (uint64_t)fabric->config.connect_ms * 1000000u;
	struct epoll_event event = {.events = events, .data.ptr = &link->watch};
	if (epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
		free(link);
		return mc_status_from_errno(errno);
	}
	link->next = control->links;
	if (link->next)
		link->next->previous = link;
	control->links = link;
	control->link_count++;
	*result = link;
	return MC_OK;
}

static void link_wants(struct rdma_fabric *fabric, struct link *link, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = &link->watch};

	/* It is in the set, so this takes no memory. */
	MUST(epoll_ctl(fabric->control.epoll_fd, EPOLL_CTL_MOD, link->fd, &event) == 0);
}

void link_close(struct rdma_fabric *fabric, struct link *link)
{
	struct control *control = &fabric->control;

	if (link->fd < 0)
		return;
	/* As long as anybody else has the socket, a reader of /proc/PID/fd, say, it would go on. */
	(void)epoll_ctl(control->epoll_fd, EPOLL_CTL_DEL, link->fd, NULL);
	close(link->fd);
	link->fd = -1;
	if (link->endpoint)
		link->endpoint->link = NULL;
	link->endpoint = NULL;
	if (link->previous)
		link->previous->next = link->next;
	else
		control->links = link->next;
	if (link->next)
		link->next->previous = link->previous;
	control->link_count--;
	link->next = control->dead;
	control->dead = link;
}

void link_free_dead(struct rdma_fabric *fabric)
{
	while (fabric->control.dead) {
		struct link *link = fabric->control.dead;
		fabric->control.dead = link->next;
		free(link->in);
		free(link->out);
		free(link);
	}
}

/* The other side is gone, or not to be talked to. */
static void link_lost(struct rdma_fabric *fabric, struct link *link, const char *why)
{
	struct endpoint *endpoint = link->endpoint;

	if (!endpoint) {
		log_debug("rdma handshake ended why=\"%s\"", why);
		link_close(fabric, link);
		return;
	}
	if (endpoint->peer)
		log_debug("rdma connection lost device=%s peer=%s remote=%s why=\"%s\"",
			  endpoint->device->name, endpoint->peer->name,
			  endpoint->peer->devices[endpoint->remote], why);
	link_close(fabric, link);
	WITH_LOCK(&endpoint->device->lock);
	endpoint_fail(endpoint, MC_UNREACHABLE, true);
}

/* --- sending -------------------------------------------------------------------------- */

static void send_out(struct rdma_fabric *fabric, struct link *link)
{
	while (link->out_sent < link->out_size) {
		ssize_t sent = send(link->fd, link->out + link->out_sent,
				    link->out_size - link->out_sent, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN) {
			link_wants(fabric, link, EPOLLIN | EPOLLOUT);
			return;
		}
		if (sent <= 0) {
			link_lost(fabric, link, "not sent");
			return;
		}
		link->out_sent += (size_t)sent;
	}
	if (link->last_word)
		link_close(fabric, link);
	else
		link_wants(fabric, link, EPOLLIN);
}

static void say(struct rdma_fabric *fabric, struct link *link, const struct handshake *ours)
{
	if (handshake_print(ours, &link->out, &link->out_size)) {
		link_lost(fabric, link, "no memory");
		return;
	}
	send_out(fabric, link);
}

static void nic_path(char path[HANDSHAKE_PATH_SIZE], const char *segment, const char *device)
{
	snprintf(path, HANDSHAKE_PATH_SIZE, "%.250s@%.250s", segment, device);
}

static void say_first(struct rdma_fabric *fabric, struct link *link)
{
	struct endpoint *endpoint = link->endpoint;
	struct handshake ours = {.qp_count = 0};

	nic_path(ours.local_path, fabric->name, endpoint->device->name);
	nic_path(ours.peer_path, endpoint->peer->name, endpoint->peer->devices[endpoint->remote]);
	endpoint_describe(endpoint, &ours);
	/* A NIC may carry work and yet no messages of librdmacm's: soft-RoCE after a link's end. */
	if (endpoint->path->by_handshake)
		ours.cm_port = 0;
	say(fabric, link, &ours);
}

/* --- what came in ------------------------------------------------------------------------ */

static struct rdma_device *device_named(const struct rdma_fabric *fabric, const char *name)
{
	for (uint32_t i = 0; i < fabric->device_count; i++)
		if (strcmp(fabric->devices[i]->name, name) == 0)
			return fabric->devices[i];
	return NULL;
}

static struct endpoint *make_answer(struct rdma_device *device, const struct handshake *theirs)
{
	pthread_mutex_lock(&device->lock);
	struct endpoint *endpoint = endpoint_answer(device, theirs->qp_count);
	pthread_mutex_unlock(&device->lock);
	if (!endpoint)
		return NULL;
	enum mc_status status = endpoint_make(endpoint);
	if (!status)
		status = endpoint_agree(endpoint, theirs);
	if (!status && theirs->cm_port && device->cm_port)
		cm_expect(endpoint);
	else if (!status)
		status = endpoint_connect(endpoint, theirs);
	if (!status)
		return endpoint;
	WITH_LOCK(&device->lock);
	endpoint_fail(endpoint, status, false);
	return NULL;
}

/* Agree to what a peer asks for; NULL and why not. */
static struct endpoint *answer(struct rdma_fabric *fabric, const struct handshake *theirs,
			       const char **refusal)
{
	char path[HANDSHAKE_PATH_SIZE];
	struct rdma_device *device = device_named(fabric, handshake_device(theirs->peer_path));

	*refusal = "no such segment or device here";
	if (!device)
		return NULL;
	nic_path(path, fabric->name, device->name);
	if (strcmp(path, theirs->peer_path) != 0)
		return NULL;
	*refusal = "the device is down";
	if (!atomic_load(&device->up))
		return NULL;
	*refusal = "no queue pairs left";
	return make_answer(device, theirs);
}

static void take_request(struct rdma_fabric *fabric, struct link *link,
			 const struct handshake *theirs)
{
	struct handshake ours = {.qp_count = 0};
	const char *refusal = "";

	memcpy(ours.local_path, theirs->peer_path, sizeof(ours.local_path));
	memcpy(ours.peer_path, theirs->local_path, sizeof(ours.peer_path));
	link->endpoint = answer(fabric, theirs, &refusal);
	link->agreed = link->endpoint != NULL;
	link->last_word = !link->endpoint;
	if (link->endpoint) {
		link->endpoint->link = link;
		endpoint_describe(link->endpoint, &ours);
		if (link->endpoint->pending == 0)
			ours.cm_port = 0;
	} else {
		snprintf(ours.reply, sizeof(ours.reply), "%s", refusal);
		log_warn("rdma connection refused from=%s to=%s why=\"%s\"", theirs->local_path,
			 theirs->peer_path, refusal);
	}
	say(fabric, link, &ours);
}

static void take_reply(struct rdma_fabric *fabric, struct link *link,
		       const struct handshake *theirs)
{
	struct endpoint *endpoint = link->endpoint;

	if (theirs->reply[0] != '\0') {
		log_warn("rdma connection refused device=%s peer=%s remote=%s why=\"%s\"",
			 endpoint->device->name, endpoint->peer->name,
			 endpoint->peer->devices[endpoint->remote], theirs->reply);
		link_lost(fabric, link, "refused");
		return;
	}
	link->agreed = true;
	enum mc_status status = endpoint_agree(endpoint, theirs);
	if (!status)
		status = theirs->cm_port ? cm_connect(endpoint, theirs)
					 : endpoint_connect(endpoint, theirs);
	if (status)
		link_lost(fabric, link, "queue pairs don't connect");
}

static void take_message(struct rdma_fabric *fabric, struct link *link)
{
	struct handshake theirs;
	enum mc_status status = handshake_parse((const char *)link->in, link->in_size, &theirs);

	free(STEAL(link->in));
	if (status || (!link->ours && theirs.reply[0] != '\0')) {
		log_warn("rdma handshake not understood");
		link_lost(fabric, link, "not understood");
	} else if (link->ours) {
		take_reply(fabric, link, &theirs);
	} else {
		take_request(fabric, link, &theirs);
	}
}

static bool begin_message(struct link *link)
{
	uint64_t size = load_u64(link->header);

	if (size == 0 || size > HANDSHAKE_SIZE_MAX)
		return false;
	link->in_size = (size_t)size;
	link->in = malloc(link->in_size);
	return link->in != NULL;
}

static void receive(struct rdma_fabric *fabric, struct link *link)
{
	while (link->fd >= 0) {
		bool header = link->header_got < FRAME_HEADER;
		uint8_t spare;
		uint8_t *to = &spare;
		size_t room = 1;
		if (!link->agreed && !link->last_word) {
			to = header ? link->header + link->header_got : link->in + link->in_got;
			room = header ? FRAME_HEADER - link->header_got
				      : link->in_size - link->in_got;
		}
		ssize_t got = recv(link->fd, to, room, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0 || to == &spare) {
			link_lost(fabric, link, got <= 0 ? "closed by the peer" : "talks too much");
			return;
		}
		*(header ? &link->header_got : &link->in_got) += (size_t)got;
		if (header && link->header_got == FRAME_HEADER && !begin_message(link)) {
			link_lost(fabric, link, "message too big");
			return;
		}
		if (!header && link->in_got == link->in_size)
			take_message(fabric, link);
	}
}

/* --- events --------------------------------------------------------------------------------- */

enum mc_status link_begin(struct rdma_fabric *fabric, struct endpoint *endpoint)
{
	struct link *link = NULL;
	int fd;
	enum mc_status status = net_connect_start(&endpoint->peer->address, &fd);

	if (status)
		return status;
	status = link_new(fabric, fd, EPOLLOUT, &link);
	if (status) {
		close(fd);
		return status;
	}
	MUST(link);
	link->ours = link->connecting = true;
	link->endpoint = endpoint;
	endpoint->link = link;
	return MC_OK;
}

enum mc_status link_accept(struct rdma_fabric *fabric)
{
	struct link *link;
	int fd;

	for (int i = 0; i < ACCEPT_BATCH; i++) {
		enum mc_status status = net_accept(fabric->control.listen_fd, &fd);
		if (status)
			return status == MC_AGAIN ? MC_OK : status;
		if (fabric->control.link_count < LINK_COUNT_MAX &&
		    link_new(fabric, fd, EPOLLIN, &link) == MC_OK)
			continue;
		log_warn("rdma connection dropped: too many connections=%u",
			 fabric->control.link_count);
		close(fd);
	}
	return MC_OK;
}

void link_ready(struct rdma_fabric *fabric, struct link *link, uint32_t events)
{
	if (link->fd < 0)
		return;
	if (link->connecting) {
		if (net_connect_finish(link->fd)) {
			link_lost(fabric, link, "not reachable");
			return;
		}
		link->connecting = false;
		say_first(fabric, link);
		return;
	}
	if (events & EPOLLOUT)
		send_out(fabric, link);
	if (link->fd >= 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		receive(fabric, link);
}

void link_check(struct rdma_fabric *fabric, uint64_t now_ns)
{
	struct link *next;

	for (struct link *link = fabric->control.links; link; link = next) {
		next = link->next;
		bool done = link->agreed && link->out_sent == link->out_size &&
			    (!link->endpoint || link->endpoint->pending == 0);
		if (!done && now_ns >= link->deadline_ns)
			link_lost(fabric, link, "takes too long");
		else if (!done && link->endpoint)
			cm_check(link->endpoint, now_ns);
	}
}
