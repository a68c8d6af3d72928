#include "engine/transport/receive.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/crc32c.h"
#include "engine/base/failpoint.h"
#include "engine/base/log.h"
#include "engine/transport/fetch.h"
#include "engine/transport/puller.h"

/* Read at once, so that it is summed while it is in the cache. */
#define PIECE_SIZE     PULLER_SCRATCH_SIZE
#define LOW_WATER_SIZE PULLER_CHUNK_SIZE
#define TURN_SIZE      (1u << 20)  /* then other links get their turn */
#define SIPHON_SIZE    (64u << 10) /* less is not worth the calls */

/* Where the next bytes of the body go. */
static uint8_t *body_at(struct link *link)
{
	struct link_body *body = &link->body;
	const struct fetch *fetch = body->fetch;
	uint8_t *begin = fetch->note ? fetch->note : (uint8_t *)fetch->target.memory + body->offset;

	return begin + (body->length - body->left);
}

/* Bytes of the body are in place, or were passed over. */
static void body_took(struct link *link, uint32_t size)
{
	struct link_body *body = &link->body;

	if (body->fetch) {
		body->crc = crc32c(body->crc, body_at(link), size);
		body->fetch->deadline_ns =
			link->progress_ns + body->fetch->pull->step_ms * 1000000ull;
	}
	body->left -= size;
	if (body->left == 0)
		fetch_body_done(link);
	failpoint("pull.arriving");
}

/* What came in the input belongs to the body first. */
static void body_from_input(struct link *link)
{
	uint32_t size = link->input_end - link->input_begin;

	if (size > link->body.left)
		size = link->body.left;
	if (size == 0)
		return;
	if (link->body.fetch)
		memcpy(body_at(link), link->input + link->input_begin, size);
	link->input_begin += size;
	body_took(link, size);
}

/* The owner lends its directory, or has none to lend. */
static enum mc_status shelf_reply(struct link *link, const struct frame *frame)
{
	if (!link->puller->config.descriptors || frame->request_id != SHELF_REQUEST_ID ||
	    link->shelf >= 0 || frame->size > 0)
		return MC_PROTOCOL;
	link->input_begin += MC_FRAME_HEADER_SIZE;
	if (frame->status != MC_OK)
		return MC_OK;
	WITH_LOCK(&link->puller->lock);
	link->shelf = link_take_fd(link);
	link->taken_ns = link->progress_ns;
	return link->shelf < 0 ? MC_PROTOCOL : MC_OK;
}

/* A reply whose head is in the input.  MC_AGAIN: its fixed part is not. */
static enum mc_status reply(struct link *link, const struct frame *frame, uint32_t size)
{
	const uint8_t *fixed = link->input + link->input_begin + MC_FRAME_HEADER_SIZE;
	struct link_request request;
	bool accepted = frame->status == MC_OK;
	bool asked;

	if (frame->verb == MC_VERB_SHELF)
		return shelf_reply(link, frame);
	if (frame->verb != MC_VERB_PULL || (accepted && frame->size < PULL_FIXED_SIZE))
		return MC_PROTOCOL;
	if (accepted && size < PULL_HEAD_SIZE)
		return MC_AGAIN;
	pthread_mutex_lock(&link->puller->lock);
	asked = link_answered_locked(link, frame->request_id, &request);
	link->suspect = false;
	pthread_mutex_unlock(&link->puller->lock);
	if (!asked)
		return MC_PROTOCOL;
	if (accepted) {
		link->input_begin += PULL_HEAD_SIZE;
		return fetch_accepted(link, &request, frame, fixed);
	}
	link->input_begin += MC_FRAME_HEADER_SIZE;
	link->body = (struct link_body){.length = frame->size, .left = frame->size};
	if (request.fetch)
		fetch_refused(link, &request, frame->status);
	return MC_OK;
}

static enum mc_status replies(struct link *link)
{
	enum mc_status status = MC_OK;

	while (status == MC_OK) {
		struct frame frame;
		uint32_t size = link->input_end - link->input_begin;
		if (link->body.left) {
			body_from_input(link);
			if (link->body.left)
				break;
			continue;
		}
		if (size < MC_FRAME_HEADER_SIZE)
			break;
		status = frame_decode(link->input + link->input_begin, &frame);
		if (status == MC_OK && frame.kind != MC_FRAME_REPLY)
			status = MC_PROTOCOL;
		if (status == MC_OK)
			status = reply(link, &frame, size);
	}
	if (link->input_begin > 0) {
		link->input_end -= link->input_begin;
		memmove(link->input, link->input + link->input_begin, link->input_end);
		link->input_begin = 0;
	}
	return status == MC_AGAIN ? MC_OK : status;
}

/* False: more descriptors than replies, or not all fitted. */
static bool keep_fds(struct link *link, struct msghdr *message)
{
	bool kept = !(message->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
	     header = CMSG_NXTHDR(message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
			if (link->fd_count < LINK_FDS_MAX) {
				link->fds[link->fd_count++] = fd;
				continue;
			}
			close(fd);
			kept = false;
		}
	}
	return kept;
}

static enum mc_status read_parts(struct link *link, struct iovec *parts, int count, size_t *got)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 4)];
		struct cmsghdr align;
	} control;
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};

	if (link->puller->config.descriptors) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
	}
	ssize_t size = recvmsg(link->watch.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	/* The file that the memory maps has no room for another page. */
	if (size < 0 && errno == EFAULT)
		return MC_NO_SPACE;
	if (size < 0)
		return errno == EAGAIN || errno == EINTR ? MC_AGAIN : MC_UNREACHABLE;
	if (message.msg_controllen > 0 && link->puller->config.descriptors &&
	    !keep_fds(link, &message))
		return MC_PROTOCOL;
	if (size == 0)
		return MC_UNREACHABLE;
	*got = (size_t)size;
	return MC_OK;
}

/*
 * How much to read of what is no body: one head and no more, so that a body
 * that follows it can go to its file as a whole.
 */
static uint32_t input_due(const struct link *link)
{
	uint32_t room = LINK_INPUT_SIZE - link->input_end;

	if (link->puller->config.descriptors || link->input_end >= PULL_HEAD_SIZE)
		return room;
	return PULL_HEAD_SIZE - link->input_end;
}

/* One read: the body's next bytes, then the head that follows it. */
static enum mc_status read_once(struct link *link, bool *drained)
{
	struct iovec parts[2];
	uint32_t body = link->body.left < PIECE_SIZE ? link->body.left : PIECE_SIZE;
	uint32_t input = input_due(link);
	int count = 0;
	size_t got;

	if (body) {
		uint8_t *at = link->body.fetch ? body_at(link) : link->puller->scratch;
		parts[count++] = (struct iovec){at, body};
		if (body < link->body.left)
			input = 0;
	}
	if (input)
		parts[count++] = (struct iovec){link->input + link->input_end, input};
	enum mc_status status = read_parts(link, parts, count, &got);
	if (status == MC_NO_SPACE && link->body.fetch) {
		/* It alone ends: the bytes are still there, and nobody's now. */
		fetch_end(link->body.fetch, status);
		return MC_OK;
	}
	if (status)
		return status;
	*drained = got < (size_t)body + input;
	link->progress_ns = clock_ns();
	uint32_t bytes = got < body ? (uint32_t)got : body;
	link->input_end += (uint32_t)got - bytes;
	if (bytes)
		body_took(link, bytes);
	return replies(link);
}

/* The body's next bytes, straight into its file.  MC_NOT_SUPPORTED: they must be read. */
static enum mc_status siphon_once(struct link *link, bool *drained)
{
	struct link_body *body = &link->body;
	struct fetch *fetch = body->fetch;
	uint32_t due = body->left, taken;

	if (!fetch || fetch->note || fetch->target.fd < 0 || due < SIPHON_SIZE)
		return MC_NOT_SUPPORTED;
	enum mc_status status = siphon_move(&link->puller->siphon, link->watch.fd, fetch->target.fd,
					    body->offset + (body->length - due), due, &taken);
	if (taken == 0)
		return status;
	*drained = taken < due;
	link->progress_ns = clock_ns();
	if (status)
		fetch_end(fetch, status);
	body_took(link, taken);
	return MC_OK;
}

/*
 * Sleep until a good part of the body is there: a wake-up costs as much as the
 * copy of a hundred kilobytes.  Never more than what surely comes.
 */
static void set_low_water(struct link *link)
{
	uint32_t size = link->body.left < LOW_WATER_SIZE ? link->body.left : LOW_WATER_SIZE;

	if (!link->puller->config.descriptors)
		link_low_water(link, size ? (int)size : 1);
}

enum mc_status receive(struct link *link)
{
	enum mc_status status = MC_OK;
	bool drained = false;

	for (uint32_t size = 0; size < TURN_SIZE && !drained && status == MC_OK;) {
		uint32_t left = link->body.left;
		status = siphon_once(link, &drained);
		if (status == MC_NOT_SUPPORTED)
			status = read_once(link, &drained);
		size += left > link->body.left ? left - link->body.left : PULL_HEAD_SIZE;
	}
	set_low_water(link);
	return status == MC_AGAIN ? MC_OK : status;
}
