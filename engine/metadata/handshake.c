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

#define LENGTH_SIZE 8u
/* Mooncake has given out types up to this; a text begins with '{' or a blank. */
#define TYPE_KNOWN_MAX 2u
#define PIECE_SIZE     16384u
#define TICK_MS	       500

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
};

/* -- frames -- */

static void frame_put(struct writer *w, enum handshake_type type, const char *text)
{
	size_t size = strlen(text);

	put_u64(w, size + 1);
	put_u8(w, (uint8_t)type);
	put_bytes(w, text, size);
}

/* How long the whole frame is; 0: that is not known yet; MC_PROTOCOL: it can't be. */
static enum mc_status frame_size(const struct writer *in, size_t *size)
{
	*size = 0;
	if (in->size < LENGTH_SIZE)
		return MC_OK;
	uint64_t length = load_u64(in->data);
	if (length == 0 || length > HANDSHAKE_SIZE_MAX)
		return MC_PROTOCOL;
	*size = LENGTH_SIZE + (size_t)length;
	return MC_OK;
}

/* Take a whole frame apart; the text gets a zero after it. */
static void frame_take(struct writer *in, uint8_t *type, const char **text, size_t *size)
{
	size_t at = LENGTH_SIZE;

	*type = in->data[at];
	if (*type <= TYPE_KNOWN_MAX)
		at++;
	else
		*type = HANDSHAKE_CONNECTION;
	*size = in->size - at;
	put_u8(in, 0);
	*text = in->failed ? NULL : (const char *)in->data + at;
}

/* Receive what is missing of a frame, at most.  Returns as recv(). */
static ssize_t receive_some(int fd, struct writer *in, size_t wanted)
{
	size_t room = wanted > in->size ? wanted - in->size : LENGTH_SIZE - in->size;
	uint8_t piece[PIECE_SIZE];
	ssize_t got = recv(fd, piece, room < sizeof(piece) ? room : sizeof(piece), MSG_DONTWAIT);

	if (got > 0)
		put_bytes(in, piece, (size_t)got);
	return got;
}

/* -- the listener -- */

static void peer_end(struct peer *peer)
{
	close(peer->fd);
	peer->fd = -1;
	writer_fini(&peer->in);
	writer_fini(&peer->out);
}

static void peers_accept(struct handshake *handshake)
{
	for (size_t i = 0; i < HANDSHAKE_PEER_MAX; i++) {
		struct peer *peer = &handshake->peers[i];
		if (peer->fd >= 0)
			continue;
		int fd;
		if (net_accept(handshake->listen_fd, &fd) != MC_OK)
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

	frame_take(&peer->in, &type, &text, &size);
	if (!text || type > HANDSHAKE_METADATA || strlen(text) != size)
		return false;
	enum mc_status status = handshake->config.answer(
		handshake->config.context, (enum handshake_type)type, text, size, &reply);
	if (status != MC_OK || strlen(reply) >= HANDSHAKE_SIZE_MAX)
		return false;
	frame_put(&peer->out, (enum handshake_type)type, reply);
	peer->answering = true;
	return !peer->out.failed;
}

static bool peer_read(struct handshake *handshake, struct peer *peer)
{
	size_t wanted;

	while (!peer->answering) {
		if (frame_size(&peer->in, &wanted) != MC_OK)
			return false;
		if (wanted && peer->in.size == wanted)
			return peer_answer(handshake, peer);
		ssize_t got = receive_some(peer->fd, &peer->in, wanted);
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
static nfds_t polls_make(const struct handshake *handshake, struct pollfd *fds, size_t *which)
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
	fds[1] = (struct pollfd){.fd = full ? -1 : handshake->listen_fd, .events = POLLIN};
	return count;
}

static void *serve(void *context)
{
	struct handshake *handshake = context;
	struct pollfd fds[HANDSHAKE_PEER_MAX + 2];
	size_t which[HANDSHAKE_PEER_MAX + 2];

	pthread_setname_np(pthread_self(), "mc-handshake");
	while (true) {
		nfds_t count = polls_make(handshake, fds, which);
		if (poll(fds, count, count > 2 ? TICK_MS : -1) < 0)
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
	if (pthread_create(&handshake->thread, NULL, serve, handshake) != 0)
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

/* -- to ask -- */

/* Wait until the socket can be read or written; 0 ms left is a timeout. */
static enum mc_status wait_for(int fd, short events, uint64_t until_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = events};
	uint64_t now = clock_ms();

	if (now >= until_ms)
		return MC_TIMEOUT;
	int count = poll(&poll_fd, 1, (int)(until_ms - now));
	if (count < 0 && errno != EINTR)
		return MC_IO;
	return MC_OK; /* or it was for nothing, and the next look tells */
}

static enum mc_status send_all(int fd, const struct writer *out, uint64_t until_ms)
{
	for (size_t at = 0; at < out->size;) {
		enum mc_status status = wait_for(fd, POLLOUT, until_ms);
		if (status != MC_OK)
			return status;
		ssize_t sent =
			send(fd, out->data + at, out->size - at, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent >= 0)
			at += (size_t)sent;
		else if (errno != EAGAIN && errno != EINTR)
			return MC_UNREACHABLE;
	}
	return MC_OK;
}

static enum mc_status receive_all(int fd, struct writer *in, uint64_t until_ms)
{
	size_t wanted;

	while (true) {
		enum mc_status status = frame_size(in, &wanted);
		if (status != MC_OK || (wanted && in->size == wanted))
			return status;
		status = wait_for(fd, POLLIN, until_ms);
		if (status != MC_OK)
			return status;
		ssize_t got = receive_some(fd, in, wanted);
		/* Who has no answer ends the connection. */
		if (got == 0)
			return in->size ? MC_PROTOCOL : MC_NOT_FOUND;
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			return MC_UNREACHABLE;
		if (in->failed)
			return MC_NO_MEMORY;
	}
}

static enum mc_status exchange(int fd, enum handshake_type type, const char *request,
			       struct writer *in, uint64_t until_ms)
{
	struct writer out;

	writer_init(&out);
	frame_put(&out, type, request);
	enum mc_status status = out.failed ? MC_NO_MEMORY : send_all(fd, &out, until_ms);
	writer_fini(&out);
	return status == MC_OK ? receive_all(fd, in, until_ms) : status;
}

static enum mc_status reply_take(struct writer *in, enum handshake_type type, char **reply)
{
	const char *text;
	uint8_t said;
	size_t size;

	frame_take(in, &said, &text, &size);
	if (!text)
		return MC_NO_MEMORY;
	if (said != type || strlen(text) != size)
		return MC_PROTOCOL;
	*reply = strdup(text);
	return *reply ? MC_OK : MC_NO_MEMORY;
}

enum mc_status handshake_ask(const char *address, enum handshake_type type, const char *request,
			     uint32_t timeout_ms, char **reply)
{
	uint64_t until_ms = clock_ms() + timeout_ms;
	struct net_address peer;
	struct writer in;
	CLEANUP_FD int fd = -1;

	if (strlen(request) >= HANDSHAKE_SIZE_MAX)
		return MC_TOO_BIG;
	enum mc_status status = net_resolve(address, &peer);
	if (status == MC_OK)
		status = net_connect(&peer, timeout_ms, &fd);
	if (status != MC_OK)
		return status;
	writer_init(&in);
	status = exchange(fd, type, request, &in, until_ms);
	if (status == MC_OK)
		status = reply_take(&in, type, reply);
	writer_fini(&in);
	return status;
}
