#include "engine/metadata/handshake.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/buffer.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/base/thread.h"
#include "engine/metadata/handshake_frame.h"

#define TICK_MS 500
#define DEAF_MS 100 /* out of descriptors: accept again then */

/* A connection that asks. */
struct peer {
	int fd; /* -1: the place is free */
	uint64_t until_ms;
	struct writer in;
	struct writer out;
	size_t sent;
	bool answering; /* the request was whole */
};

struct handshake {
	struct handshake_config config;
	char address[NET_TEXT_SIZE];
	int listen_fd;
	int stop_fd;
	bool running;
	pthread_t thread;
	/* owned by mc-handshake */
	struct peer peers[HANDSHAKE_PEER_MAX];
	uint64_t deaf_until_ms; /* 0: the last accept went well */
};

/* -- the listener -- */

static void peer_end(struct peer *peer)
{
	close(peer->fd);
	peer->fd = -1;
	writer_fini(&peer->in);
	writer_fini(&peer->out);
}

/* Not even a connection that waits can be taken: don't ask in a circle. */
static void deafen(struct handshake *handshake, enum mc_status status)
{
	if (!handshake->deaf_until_ms)
		log_warn("mc-handshake: can't accept connections for now status=\"%s\"",
			 mc_status_text(status));
	handshake->deaf_until_ms = clock_ms() + DEAF_MS;
}

static void peers_accept(struct handshake *handshake)
{
	for (size_t i = 0; i < HANDSHAKE_PEER_MAX; i++) {
		struct peer *peer = &handshake->peers[i];
		if (peer->fd >= 0)
			continue;
		int fd;
		enum mc_status status = net_accept(handshake->listen_fd, &fd);
		if (status != MC_OK && status != MC_AGAIN) {
			deafen(handshake, status);
			return;
		}
		handshake->deaf_until_ms = 0;
		if (status == MC_AGAIN)
			return;
		*peer = (struct peer){.fd = fd, .until_ms = clock_ms() + HANDSHAKE_TIMEOUT_MS};
		writer_init(&peer->in);
		writer_init(&peer->out);
	}
}

/* False: the connection is over. */
static bool peer_answer(struct handshake *handshake, struct peer *peer)
{
	CLEANUP_FREE char *reply = NULL;
	const char *text;
	size_t size;
	uint8_t type;

	handshake_frame_take(&peer->in, &type, &text, &size);
	if (!text || type > HANDSHAKE_NOTIFY || strlen(text) != size)
		return false;
	enum mc_status status = handshake->config.answer(
		handshake->config.context, (enum handshake_type)type, text, size, &reply);
	if (status != MC_OK || strlen(reply) >= HANDSHAKE_SIZE_MAX)
		return false;
	handshake_frame_put(&peer->out, (enum handshake_type)type, reply);
	peer->answering = true;
	return !peer->out.failed;
}

static bool peer_read(struct handshake *handshake, struct peer *peer)
{
	size_t wanted;

	while (!peer->answering) {
		if (handshake_frame_size(&peer->in, &wanted) != MC_OK)
			return false;
		if (wanted && peer->in.size == wanted)
			return peer_answer(handshake, peer);
		ssize_t got = handshake_frame_receive(peer->fd, &peer->in, wanted);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (got <= 0 || peer->in.failed)
			return false;
	}
	return true;
}

static bool peer_write(struct peer *peer)
{
	while (peer->sent < peer->out.size) {
		ssize_t sent = send(peer->fd, peer->out.data + peer->sent,
				    peer->out.size - peer->sent, MSG_NOSIGNAL);
		if (sent < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (sent < 0)
			return false;
		peer->sent += (size_t)sent;
	}
	/* All is out: the connection has done what it was for. */
	return false;
}

static void peer_turn(struct handshake *handshake, struct peer *peer)
{
	bool stays = peer_read(handshake, peer);

	if (stays && peer->answering)
		stays = peer_write(peer);
	if (!stays || clock_ms() >= peer->until_ms)
		peer_end(peer);
}

/* What to wait for: the first two are the listener's, then one a peer. */
static nfds_t polls_make(const struct handshake *handshake, bool deaf, struct pollfd *fds,
			 size_t *which)
{
	nfds_t count = 2;
	bool full = true;

	for (size_t i = 0; i < HANDSHAKE_PEER_MAX; i++) {
		const struct peer *peer = &handshake->peers[i];
		if (peer->fd < 0) {
			full = false;
			continue;
		}
		which[count] = i;
		fds[count++] = (struct pollfd){
			.fd = peer->fd, .events = (short)(peer->answering ? POLLOUT : POLLIN)};
	}
	fds[0] = (struct pollfd){.fd = handshake->stop_fd, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = full || deaf ? -1 : handshake->listen_fd, .events = POLLIN};
	return count;
}

static void *serve(void *context)
{
	struct handshake *handshake = context;
	struct pollfd fds[HANDSHAKE_PEER_MAX + 2];
	size_t which[HANDSHAKE_PEER_MAX + 2];

	pthread_setname_np(pthread_self(), "mc-handshake");
	while (true) {
		bool deaf = clock_ms() < handshake->deaf_until_ms;
		nfds_t count = polls_make(handshake, deaf, fds, which);
		if (poll(fds, count, deaf ? DEAF_MS : count > 2 ? TICK_MS : -1) < 0)
			continue;
		if (fds[0].revents)
			return NULL;
		for (nfds_t i = 2; i < count; i++) {
			struct peer *peer = &handshake->peers[which[i]];
			if (fds[i].revents || clock_ms() >= peer->until_ms)
				peer_turn(handshake, peer);
		}
		if (fds[1].revents)
			peers_accept(handshake);
	}
}

static enum mc_status listen_as_told(struct handshake *handshake)
{
	const struct handshake_config *config = &handshake->config;
	const char *host = config->listen_host ? config->listen_host : "0.0.0.0";
	enum mc_status status = net_listen_range(host, config->port_first, config->port_last,
						 &handshake->listen_fd);

	if (status == MC_OK)
		status = net_announce(handshake->listen_fd,
				      config->announce_host ? config->announce_host : host,
				      handshake->address);
	if (status != MC_OK)
		return status;
	handshake->stop_fd = eventfd(0, EFD_CLOEXEC);
	return handshake->stop_fd < 0 ? MC_NO_SPACE : MC_OK;
}

enum mc_status handshake_start(struct handshake *handshake)
{
	if (thread_start(&handshake->thread, serve, handshake) != 0)
		return MC_NO_MEMORY;
	handshake->running = true;
	return MC_OK;
}

enum mc_status handshake_open(const struct handshake_config *config, struct handshake **handshake)
{
	struct handshake *h = calloc(1, sizeof(*h));

	if (!h)
		return MC_NO_MEMORY;
	h->config = *config;
	h->listen_fd = h->stop_fd = -1;
	for (size_t i = 0; i < HANDSHAKE_PEER_MAX; i++)
		h->peers[i].fd = -1;
	enum mc_status status = listen_as_told(h);
	if (status != MC_OK) {
		handshake_close(h);
		return status;
	}
	*handshake = h;
	return MC_OK;
}

void handshake_close(struct handshake *handshake)
{
	uint64_t one = 1;

	if (!handshake)
		return;
	if (handshake->running) {
		MUST(write(handshake->stop_fd, &one, sizeof(one)) == sizeof(one));
		pthread_join(handshake->thread, NULL);
	}
	for (size_t i = 0; i < HANDSHAKE_PEER_MAX; i++) {
		if (handshake->peers[i].fd >= 0)
			peer_end(&handshake->peers[i]);
	}
	if (handshake->stop_fd >= 0)
		close(handshake->stop_fd);
	if (handshake->listen_fd >= 0)
		close(handshake->listen_fd);
	free(handshake);
}

const char *handshake_address(const struct handshake *handshake)
{
	return handshake->address;
}
