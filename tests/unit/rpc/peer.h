/*
 * tests/unit/rpc/peer.h -- a client, and a master that does what the test says
 *
 * The master's side is played by the test's own thread, frame by frame; the
 * client has its thread.  Each step has a deadline of PEER_WAIT_MS.
 */
#ifndef TESTS_UNIT_RPC_PEER_H
#define TESTS_UNIT_RPC_PEER_H

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/rpc/client.h"
#include "engine/rpc/wire.h"
#include "tests/support/suite.h"

#define PEER_WAIT_MS  10000
#define PEER_PUSH_MAX 64

/* -- the master's side -- */

struct peer {
	int listen;
	int fd;
	char name[NET_TEXT_SIZE]; /* "@NAME" */
	struct frame frame;	  /* received last */
	uint8_t *body;
	struct reader in;
};

static inline void peer_name(struct peer *peer)
{
	*peer = (struct peer){.listen = -1, .fd = -1, .name = "@test-"};
	net_random_name(peer->name + strlen(peer->name));
}

static inline void peer_listen(struct peer *peer, const char *address)
{
	struct net_address bound;

	ck_assert_int_eq(net_parse(address, &bound), MC_OK);
	ck_assert_int_eq(net_listen(&bound, &peer->listen), MC_OK);
}

static inline bool peer_readable(int fd, int timeout_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	return poll(&poll_fd, 1, timeout_ms) == 1;
}

static inline void peer_hang_up(struct peer *peer)
{
	if (peer->fd >= 0)
		close(peer->fd);
	peer->fd = -1;
}

static inline void peer_end(struct peer *peer)
{
	peer_hang_up(peer);
	if (peer->listen >= 0)
		close(peer->listen);
	free(peer->body);
}

static inline void peer_fill(struct peer *peer, void *bytes, size_t size)
{
	size_t got = 0;

	while (got < size) {
		ck_assert_msg(peer_readable(peer->fd, PEER_WAIT_MS), "nothing came");
		ssize_t n = recv(peer->fd, (uint8_t *)bytes + got, size - got, 0);
		ck_assert_msg(n > 0, "the client hung up");
		got += (size_t)n;
	}
}

static inline void peer_receive(struct peer *peer)
{
	uint8_t header[MC_FRAME_HEADER_SIZE];

	peer_fill(peer, header, sizeof(header));
	ck_assert_int_eq(frame_decode(header, &peer->frame), MC_OK);
	free(peer->body);
	peer->body = malloc(peer->frame.size + 1);
	peer_fill(peer, peer->body, peer->frame.size);
	reader_init(&peer->in, peer->body, peer->frame.size);
}

static inline void peer_write(struct peer *peer, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	while (size > 0) {
		struct pollfd fd = {.fd = peer->fd, .events = POLLOUT};
		ck_assert_int_eq(poll(&fd, 1, PEER_WAIT_MS), 1);
		ssize_t n = send(peer->fd, at, size, MSG_NOSIGNAL);
		ck_assert_msg(n > 0 || errno == EAGAIN, "%s", strerror(errno));
		at += n > 0 ? n : 0;
		size -= n > 0 ? (size_t)n : 0;
	}
}

static inline void peer_send(struct peer *peer, struct frame frame, const void *body, size_t size)
{
	struct writer w;

	writer_init(&w);
	size_t begin = frame_begin(&w);
	put_bytes(&w, body, size);
	frame_finish(&w, begin, &frame);
	ck_assert(!w.failed);
	peer_write(peer, w.data, w.size);
	writer_fini(&w);
}

/* Answer a request with a number. */
static inline void peer_reply(struct peer *peer, uint64_t request_id, enum mc_status status,
			      uint32_t value)
{
	uint8_t body[4];

	store_u32(body, value);
	peer_send(
		peer,
		(struct frame){.kind = MC_FRAME_REPLY, .status = status, .request_id = request_id},
		body, sizeof(body));
}

static inline void peer_push(struct peer *peer, enum mc_verb verb, uint32_t value)
{
	uint8_t body[4];

	store_u32(body, value);
	peer_send(peer, (struct frame){.kind = MC_FRAME_PUSH, .verb = (uint16_t)verb}, body,
		  sizeof(body));
}

/* Take the client's connection, hear its HELLO. */
static inline void peer_accept(struct peer *peer)
{
	peer_hang_up(peer);
	ck_assert_msg(peer_readable(peer->listen, PEER_WAIT_MS), "nobody connects");
	ck_assert_int_eq(net_accept(peer->listen, &peer->fd), MC_OK);
	peer_receive(peer);
	ck_assert_uint_eq(peer->frame.kind, MC_FRAME_REQUEST);
	ck_assert_uint_eq(peer->frame.verb, MC_VERB_HELLO);
}

static inline void peer_welcome(struct peer *peer)
{
	peer_accept(peer);
	peer_reply(peer, peer->frame.request_id, MC_OK, 77);
}

/* -- the client's side -- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t change;
	int hellos;
	int welcomes;
	int losses;
	int ticks;
	int push_count;
	struct {
		uint16_t verb;
		uint32_t value;
	} pushes[PEER_PUSH_MAX];
	uint32_t welcomed_with;
	enum mc_status welcome; /* what welcome() returns */
} seen = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER};

/* Wait until a condition on `seen` or an answer holds; the lock is held around it. */
#define SEEN_WAIT(condition)                                                                       \
	do {                                                                                       \
		struct timespec until_;                                                            \
		clock_gettime(CLOCK_REALTIME, &until_);                                            \
		until_.tv_sec += PEER_WAIT_MS / 1000;                                              \
		pthread_mutex_lock(&seen.lock);                                                    \
		int late_ = 0;                                                                     \
		while (!(condition) && !late_)                                                     \
			late_ = pthread_cond_timedwait(&seen.change, &seen.lock, &until_);         \
		bool holds_ = (condition);                                                         \
		pthread_mutex_unlock(&seen.lock);                                                  \
		ck_assert_msg(holds_, "never: " #condition);                                       \
	} while (0)

static inline void seen_lock(void)
{
	pthread_mutex_lock(&seen.lock);
}

static inline void seen_unlock(void)
{
	pthread_cond_broadcast(&seen.change);
	pthread_mutex_unlock(&seen.lock);
}

/* A number of `seen`, read under its lock. */
static inline int seen_get(const int *number)
{
	seen_lock();
	int value = *number;
	seen_unlock();
	return value;
}

static inline void on_hello(void *context, struct writer *body)
{
	(void)context;
	put_u32(body, 4711);
	seen_lock();
	seen.hellos++;
	seen_unlock();
}

static inline enum mc_status on_welcome(void *context, struct reader *body)
{
	(void)context;
	seen_lock();
	seen.welcomed_with = get_u32(body);
	seen.welcomes++;
	enum mc_status status = seen.welcome;
	seen_unlock();
	return status;
}

static inline void on_push(void *context, uint16_t verb, struct reader *body)
{
	(void)context;
	seen_lock();
	ck_assert_int_lt(seen.push_count, PEER_PUSH_MAX);
	seen.pushes[seen.push_count].verb = verb;
	seen.pushes[seen.push_count++].value = get_u32(body);
	seen_unlock();
}

static inline void on_lost(void *context)
{
	(void)context;
	seen_lock();
	seen.losses++;
	seen_unlock();
}

static inline void on_tick(void *context)
{
	(void)context;
	seen_lock();
	seen.ticks++;
	seen_unlock();
}

static const struct client_events peer_events = {
	.hello = on_hello,
	.welcome = on_welcome,
	.push = on_push,
	.lost = on_lost,
	.tick = on_tick,
	.tick_ms = 20,
};

static inline struct client *peer_client(const char *address)
{
	struct client *client = NULL;

	log_set_level("error");
	ck_assert_int_eq(client_open(address, &peer_events, &client), MC_OK);
	return client;
}

/* What came of a call. */
struct answer {
	int count;
	enum mc_status status;
	uint32_t value;
	bool resent;
};

static inline void on_answer(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct answer *answer = context;

	seen_lock();
	answer->count++;
	answer->status = status;
	answer->resent = resent;
	if (body)
		answer->value = get_u32(body);
	seen_unlock();
}

static inline void answer_wait(const struct answer *answer)
{
	SEEN_WAIT(answer->count > 0);
}

/* Call with a number as the body. */
static inline void call(struct client *client, uint32_t value, uint32_t timeout_ms,
			struct answer *answer)
{
	struct writer w;

	writer_init(&w);
	put_u32(&w, value);
	client_call(client, MC_VERB_STATFS, &w, timeout_ms, on_answer, answer);
	writer_fini(&w);
}

/* -- both, as each test has them -- */

static struct peer peer;
static struct client *client;
static char address[NET_TEXT_SIZE + 8];

static inline void setup(void)
{
	peer_name(&peer);
	snprintf(address, sizeof(address), "unix:%s", peer.name);
}

static inline void teardown(void)
{
	client_close(client);
	peer_end(&peer);
}

/* A client that has been welcomed. */
static inline void connected(void)
{
	peer_listen(&peer, peer.name);
	client = peer_client(address);
	peer_welcome(&peer);
	SEEN_WAIT(seen.welcomes == 1);
}

static inline uint64_t ms_since(uint64_t begin_ns)
{
	return (clock_ns() - begin_ns) / 1000000;
}

/* An answer that makes another call, with that context. */
static inline void call_again(void *context, enum mc_status status, struct reader *body,
			      bool resent)
{
	(void)status;
	(void)body;
	(void)resent;
	call(client, 2, 5000, context);
}

#endif
