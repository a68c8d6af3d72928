#include "tools/bench/caller.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/net.h"

#define IN_SIZE		   (4u << 20) /* the largest reply that is expected, and more */
#define CONNECT_TIMEOUT_MS 5000u

static enum mc_status hello(struct caller *caller, enum mc_role role)
{
	const uint8_t uuid[16] = {0xbe, 0x7c};
	struct writer *w = &caller->out;
	struct reader body;

	size_t begin = caller_begin(caller);
	put_u8(w, (uint8_t)role);
	put_bytes(w, uuid, sizeof(uuid));
	put_string(w, "bench", 5);
	put_string(w, "localhost", 9);
	put_u64(w, (uint64_t)1 << 40);
	put_u64(w, 0);
	put_u8(w, 0);
	caller_end(caller, begin, MC_VERB_HELLO);
	enum mc_status status = caller_flush(caller);
	if (!status)
		status = caller_receive(caller, &body);
	if (status)
		return status;
	get_u32(&body);
	get_u32(&body);
	get_u64(&body);
	caller->next_id = get_u64(&body);
	return body.failed ? MC_PROTOCOL : MC_OK;
}

enum mc_status caller_open(struct caller *caller, const char *address, enum mc_role role)
{
	struct net_address peer;

	*caller = (struct caller){.fd = -1, .in = malloc(IN_SIZE)};
	writer_init(&caller->out);
	if (!caller->in)
		return MC_NO_MEMORY;
	enum mc_status status = net_resolve(address, &peer);
	if (!status)
		status = net_connect(&peer, CONNECT_TIMEOUT_MS, &caller->fd);
	return status ? status : hello(caller, role);
}

void caller_close(struct caller *caller)
{
	if (caller->in && caller->fd >= 0)
		close(caller->fd);
	writer_fini(&caller->out);
	free(caller->in);
	caller->in = NULL;
}

size_t caller_begin(struct caller *caller)
{
	return frame_begin(&caller->out);
}

void caller_end(struct caller *caller, size_t begin, enum mc_verb verb)
{
	struct frame frame = {.kind = MC_FRAME_REQUEST,
			      .verb = (uint16_t)verb,
			      .request_id = ++caller->request_id};

	frame_finish(&caller->out, begin, &frame);
}

enum mc_status caller_send(struct caller *caller, const void *frames, size_t size)
{
	const char *at = frames;

	while (size > 0) {
		ssize_t sent = send(caller->fd, at, size, MSG_NOSIGNAL);
		if (sent <= 0)
			return MC_UNREACHABLE;
		at += sent;
		size -= (size_t)sent;
	}
	return MC_OK;
}

enum mc_status caller_flush(struct caller *caller)
{
	MUST(!caller->out.failed);
	enum mc_status status = caller_send(caller, caller->out.data, caller->out.size);

	writer_reset(&caller->out);
	return status;
}

/* Receive what is there, looking a while before it sleeps. */
static ssize_t receive_some(struct caller *caller)
{
	uint8_t *at = caller->in + caller->in_size;
	size_t room = IN_SIZE - caller->in_size;
	ssize_t got = -1;

	if (spin_begin(&caller->spin, clock_ns()))
		do
			got = recv(caller->fd, at, room, MSG_DONTWAIT);
		while (spin_on(&caller->spin, got >= 0 || errno != EAGAIN, clock_ns()));
	return got >= 0 ? got : recv(caller->fd, at, room, 0);
}

/* Have at least so many bytes that are not taken yet. */
static enum mc_status fill(struct caller *caller, size_t size)
{
	if (size > IN_SIZE)
		return MC_PROTOCOL;
	if (caller->in_taken + size > IN_SIZE) {
		caller->in_size -= caller->in_taken;
		memmove(caller->in, caller->in + caller->in_taken, caller->in_size);
		caller->in_taken = 0;
	}
	while (caller->in_size - caller->in_taken < size) {
		ssize_t got = receive_some(caller);
		if (got <= 0)
			return MC_UNREACHABLE;
		caller->in_size += (size_t)got;
	}
	return MC_OK;
}

static enum mc_status receive_frame(struct caller *caller, struct frame *frame, struct reader *body)
{
	if (caller->in_taken == caller->in_size)
		caller->in_taken = caller->in_size = 0;
	enum mc_status status = fill(caller, MC_FRAME_HEADER_SIZE);
	if (!status)
		status = frame_decode(caller->in + caller->in_taken, frame);
	if (!status)
		status = fill(caller, MC_FRAME_HEADER_SIZE + (size_t)frame->size);
	if (status)
		return status;
	reader_init(body, caller->in + caller->in_taken + MC_FRAME_HEADER_SIZE, frame->size);
	caller->in_taken += MC_FRAME_HEADER_SIZE + (size_t)frame->size;
	return MC_OK;
}

enum mc_status caller_receive(struct caller *caller, struct reader *body)
{
	struct frame frame;
	enum mc_status status;

	do {
		status = receive_frame(caller, &frame, body);
	} while (!status && frame.kind != MC_FRAME_REPLY);
	return status ? status : frame.status;
}

enum mc_status caller_more_ids(struct caller *caller)
{
	struct reader body;

	caller_end(caller, caller_begin(caller), MC_VERB_GRANT_IDS);
	enum mc_status status = caller_flush(caller);
	if (!status)
		status = caller_receive(caller, &body);
	if (!status)
		caller->next_id = get_u64(&body);
	return status;
}
