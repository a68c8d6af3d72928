/*
 * tests/unit/node/between.h -- what lies between one node and its master
 *
 * Passes the frames of one connection after the other on, except requests or
 * replies (and pushes) of a verb that a test wants kept back: they are lost, or wait until they
 * are let go.  So an answer is lost, and what follows it is not, whatever the
 * machine is busy with.  Nor is a deadline waited for: where a test wants it, the node
 * hears of a lost request or reply at once what it would hear then, MC_TIMEOUT.
 *
 * Threads   One of its own; the functions here may be called by any other.
 */
#ifndef TESTS_UNIT_NODE_BETWEEN_H
#define TESTS_UNIT_NODE_BETWEEN_H

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/net.h"
#include "engine/rpc/wire.h"

enum between_what {
	BETWEEN_PASS,
	BETWEEN_LOSE,
	BETWEEN_TIME_OUT,
	BETWEEN_REFUSE, /* as a master does that leads no more */
	BETWEEN_HOLD
};
enum between_way { BETWEEN_REQUESTS, BETWEEN_REPLIES, BETWEEN_WAYS };

struct between_stream {
	int from;
	int to;
	struct writer in; /* no whole frame yet */
	struct writer held;
};

struct between {
	pthread_t thread;
	char address[NET_TEXT_SIZE];
	int listener;
	int wake[2];
	struct between_stream streams[BETWEEN_WAYS]; /* of the thread */
	uint32_t epoch;				     /* of the thread: the master's */

	/* protected by lock */
	pthread_mutex_t lock;
	struct net_address master;
	enum between_what what[BETWEEN_WAYS][MC_VERB_LIMIT];
	unsigned kept; /* frames, lost or held */
	bool let_go;
	bool cut;
	bool stopping;
};

/* -- its thread -- */

static inline enum between_what between_keeps(struct between *between, enum between_way way,
					      const struct frame *frame, const uint8_t *bytes,
					      size_t size)
{
	WITH_LOCK(&between->lock);
	enum between_what what =
		frame->verb >= MC_VERB_LIMIT ? BETWEEN_PASS : between->what[way][frame->verb];
	if (what == BETWEEN_HOLD)
		put_bytes(&between->streams[way].held, bytes, size);
	between->kept += what != BETWEEN_PASS;
	return what;
}

static inline bool between_send(int fd, const uint8_t *bytes, size_t size)
{
	return send(fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size;
}

/* To the node, instead of what the master says. */
static inline bool between_answer(struct between *between, const struct frame *frame,
				  enum mc_status status)
{
	uint8_t header[MC_FRAME_HEADER_SIZE];
	struct frame reply = {.kind = MC_FRAME_REPLY,
			      .verb = frame->verb,
			      .status = status,
			      .epoch = between->epoch,
			      .request_id = frame->request_id};

	frame_encode(header, &reply);
	return between_send(between->streams[BETWEEN_REPLIES].to, header, sizeof(header));
}

/* What becomes of one frame.  False: the connection is gone. */
static inline bool between_frame(struct between *between, enum between_way way,
				 const struct frame *frame, const uint8_t *bytes, size_t size)
{
	if (way == BETWEEN_REPLIES)
		between->epoch = frame->epoch;
	switch (between_keeps(between, way, frame, bytes, size)) {
	case BETWEEN_PASS:
		return between_send(between->streams[way].to, bytes, size);
	case BETWEEN_TIME_OUT:
		return between_answer(between, frame, MC_TIMEOUT);
	case BETWEEN_REFUSE:
		return between_answer(between, frame, MC_READ_ONLY);
	case BETWEEN_LOSE:
	case BETWEEN_HOLD:
		break;
	}
	return true;
}

/* Pass on what came.  False: the connection is gone. */
static inline bool between_pass(struct between *between, enum between_way way)
{
	struct between_stream *stream = &between->streams[way];
	uint8_t bytes[65536];
	ssize_t got = recv(stream->from, bytes, sizeof(bytes), 0);
	size_t at = 0;

	if (got <= 0)
		return false;
	put_bytes(&stream->in, bytes, (size_t)got);
	while (stream->in.size - at >= MC_FRAME_HEADER_SIZE) {
		struct frame frame;
		if (frame_decode(stream->in.data + at, &frame) != MC_OK)
			return false;
		size_t size = MC_FRAME_HEADER_SIZE + frame.size;
		if (stream->in.size - at < size)
			break;
		if (!between_frame(between, way, &frame, stream->in.data + at, size))
			return false;
		at += size;
	}
	memmove(stream->in.data, stream->in.data + at, stream->in.size - at);
	stream->in.size -= at;
	return true;
}

/* What a test asked for since.  False: the connection is to end. */
static inline bool between_told(struct between *between)
{
	char byte;

	if (read(between->wake[0], &byte, 1) < 0)
		return false;
	WITH_LOCK(&between->lock);
	for (int way = 0; between->let_go && way < BETWEEN_WAYS; way++) {
		struct between_stream *stream = &between->streams[way];
		if (!between_send(stream->to, stream->held.data, stream->held.size))
			return false;
		stream->held.size = 0;
	}
	between->let_go = false;
	bool cut = between->cut || between->stopping;
	between->cut = false;
	return !cut;
}

static inline void between_serve(struct between *between, int node, int to_master)
{
	between->streams[BETWEEN_REQUESTS] = (struct between_stream){.from = node, .to = to_master};
	between->streams[BETWEEN_REPLIES] = (struct between_stream){.from = to_master, .to = node};
	for (int way = 0; way < BETWEEN_WAYS; way++) {
		writer_init(&between->streams[way].in);
		writer_init(&between->streams[way].held);
	}
	for (bool on = true; on;) {
		struct pollfd fds[] = {
			{node, POLLIN, 0}, {to_master, POLLIN, 0}, {between->wake[0], POLLIN, 0}};
		if (poll(fds, 3, -1) < 0)
			continue;
		for (int way = 0; on && way < BETWEEN_WAYS; way++)
			on = !fds[way].revents || between_pass(between, (enum between_way)way);
		if (on && fds[2].revents)
			on = between_told(between);
	}
	for (int way = 0; way < BETWEEN_WAYS; way++) {
		writer_fini(&between->streams[way].in);
		writer_fini(&between->streams[way].held);
	}
}

static inline bool between_stops(struct between *between)
{
	WITH_LOCK(&between->lock);
	return between->stopping;
}

static inline struct net_address between_master(struct between *between)
{
	WITH_LOCK(&between->lock);
	return between->master;
}

static inline void *between_run(void *context)
{
	struct between *between = context;

	while (!between_stops(between)) {
		struct pollfd fds[] = {{between->listener, POLLIN, 0},
				       {between->wake[0], POLLIN, 0}};
		int to_master;
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents)
			(void)between_told(between);
		if (!fds[0].revents)
			continue;
		int node = accept(between->listener, NULL, NULL);
		if (node < 0)
			continue;
		struct net_address master = between_master(between);
		if (net_connect(&master, 3000, &to_master) == MC_OK) {
			between_serve(between, node, to_master);
			close(to_master);
		}
		close(node);
	}
	return NULL;
}

/* -- for tests -- */

static inline void between_start(struct between *between, const char *master)
{
	struct net_address own;

	memset(between, 0, sizeof(*between));
	pthread_mutex_init(&between->lock, NULL);
	ck_assert_int_eq(net_parse(master, &between->master), MC_OK);
	ck_assert_int_eq(pipe(between->wake), 0);
	ck_assert_int_eq(net_parse("127.0.0.1:0", &own), MC_OK);
	ck_assert_int_eq(net_listen(&own, &between->listener), MC_OK);
	ck_assert_int_eq(net_bound(between->listener, &own), MC_OK);
	net_format(&own, between->address);
	ck_assert_int_eq(pthread_create(&between->thread, NULL, between_run, between), 0);
}

static inline void between_wake(struct between *between, bool *what)
{
	pthread_mutex_lock(&between->lock);
	*what = true;
	pthread_mutex_unlock(&between->lock);
	ck_assert_int_eq(write(between->wake[1], "x", 1), 1);
}

static inline void between_stop(struct between *between)
{
	between_wake(between, &between->stopping);
	pthread_join(between->thread, NULL);
	close(between->listener);
	close(between->wake[0]);
	close(between->wake[1]);
	pthread_mutex_destroy(&between->lock);
}

static inline void between_do(struct between *between, enum between_what what, enum between_way way,
			      enum mc_verb verb)
{
	WITH_LOCK(&between->lock);
	between->what[way][verb] = what;
}

/* Pass everything on from now on; what was held goes first. */
static inline void between_let_go(struct between *between)
{
	pthread_mutex_lock(&between->lock);
	memset(between->what, 0, sizeof(between->what));
	pthread_mutex_unlock(&between->lock);
	between_wake(between, &between->let_go);
}

/* End the connection; the node makes another, to this master if there is one. */
static inline void between_cut(struct between *between, const char *master)
{
	if (master) {
		WITH_LOCK(&between->lock);
		ck_assert_int_eq(net_parse(master, &between->master), MC_OK);
	}
	between_wake(between, &between->cut);
}

static inline unsigned between_kept(struct between *between)
{
	WITH_LOCK(&between->lock);
	return between->kept;
}

#endif
