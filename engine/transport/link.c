#include "engine/transport/link.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/transport/fetch.h"
#include "engine/transport/puller.h"

#define REQUESTS_FIRST 64u

struct link *link_new(struct puller *puller, struct peer *peer, int fd)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->watch.fd = fd;
	link->puller = puller;
	link->peer = peer;
	link->shelf = -1;
	link->request_free = LINK_NO_SLOT;
	link->progress_ns = clock_ns();
	writer_init(&link->out);
	return link;
}

void link_free(struct link *link)
{
	if (!link)
		return;
	for (uint32_t i = 0; i < link->fd_count; i++)
		close(link->fds[i]);
	if (link->watch.fd >= 0)
		close(link->watch.fd);
	if (link->shelf >= 0)
		close(link->shelf);
	writer_fini(&link->out);
	free(link->requests);
	free(link);
}

static bool slots_grow(struct link *link)
{
	uint32_t count = link->request_count ? 2 * link->request_count : REQUESTS_FIRST;
	struct link_request *requests;

	if (count > UINT32_MAX / 4)
		return false;
	requests = realloc(link->requests, count * sizeof(requests[0]));
	if (!requests)
		return false;
	for (uint32_t i = link->request_count; i < count; i++)
		requests[i] =
			(struct link_request){.next_free = i + 1 < count ? i + 1 : LINK_NO_SLOT};
	link->request_free = link->request_count;
	link->requests = requests;
	link->request_count = count;
	return true;
}

/* What went out makes room before the buffer grows. */
static void out_compact(struct link *link)
{
	if (link->out_sent < link->out.size) {
		if (link->out_sent < link->out.capacity / 2)
			return;
		memmove(link->out.data, link->out.data + link->out_sent,
			link->out.size - link->out_sent);
		link->out.size -= link->out_sent;
	} else {
		writer_reset(&link->out);
	}
	link->out_sent = 0;
}

enum mc_status link_request_locked(struct link *link, struct fetch *fetch, uint64_t offset,
				   uint32_t length, bool again)
{
	const struct puller_config *config = &link->puller->config;
	uint32_t flag = config->descriptors ? MC_PULL_DESCRIPTOR
			: config->described ? MC_PULL_REMOTE
					    : 0;
	struct frame frame = {.kind = MC_FRAME_REQUEST, .verb = MC_VERB_PULL};

	out_compact(link);
	if (link->request_free == LINK_NO_SLOT && !slots_grow(link))
		return MC_NO_MEMORY;
	uint32_t slot = link->request_free;
	struct link_request *request = &link->requests[slot];
	frame.request_id = (uint64_t)(request->generation + 1) << 32 | slot;
	size_t begin = frame_begin(&link->out);
	put_u64(&link->out, fetch->pull->id);
	put_u64(&link->out, fetch->version);
	put_u64(&link->out, offset);
	put_u32(&link->out, length);
	put_u32(&link->out, flag);
	frame_finish(&link->out, begin, &frame);
	if (link->out.failed) {
		link->out.size = begin;
		link->out.failed = false;
		return MC_NO_MEMORY;
	}
	link->request_free = request->next_free;
	*request = (struct link_request){.fetch = fetch,
					 .offset = offset,
					 .length = length,
					 .generation = request->generation + 1,
					 .used = true,
					 .again = again};
	link->in_flight++;
	fetch->in_flight++;
	return MC_OK;
}

void link_release_locked(struct link *link, uint64_t id, uint64_t version)
{
	struct frame frame = {.kind = MC_FRAME_PUSH, .verb = MC_VERB_RELEASE};

	out_compact(link);
	size_t begin = frame_begin(&link->out);
	put_u64(&link->out, id);
	put_u64(&link->out, version);
	frame_finish(&link->out, begin, &frame);
	if (!link->out.failed)
		return;
	/* The owner lets it go at the latest when the link closes. */
	link->out.size = begin;
	link->out.failed = false;
}

void link_shelf_locked(struct link *link)
{
	struct frame frame = {.kind = MC_FRAME_REQUEST, .verb = MC_VERB_SHELF};

	frame.request_id = SHELF_REQUEST_ID;
	size_t begin = frame_begin(&link->out);
	frame_finish(&link->out, begin, &frame);
	if (!link->out.failed)
		return;
	link->out.size = begin;
	link->out.failed = false;
}

void link_flush_locked(struct link *link)
{
	struct writer *out = &link->out;

	if (link->state != LINK_OPEN)
		return;
	while (link->out_sent < out->size) {
		ssize_t sent = send(link->watch.fd, out->data + link->out_sent,
				    out->size - link->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			break;
		link->out_sent += (size_t)sent;
	}
	uint32_t events = link->attended ? EPOLLRDHUP : EPOLLIN;
	if (link->out_sent < out->size)
		events |= EPOLLOUT;
	if (poller_watch(&link->puller->poller, &link->watch, events))
		log_warn("%s: can't wait for a connection, its pulls will time out",
			 link->puller->config.name);
}

bool link_answered_locked(struct link *link, uint64_t request_id, struct link_request *answered)
{
	uint32_t slot = (uint32_t)request_id;

	if (slot >= link->request_count)
		return false;
	struct link_request *request = &link->requests[slot];
	if (!request->used || request->generation != (uint32_t)(request_id >> 32))
		return false;
	*answered = *request;
	request->used = false;
	request->fetch = NULL;
	request->next_free = link->request_free;
	link->request_free = slot;
	link->in_flight--;
	if (answered->fetch)
		answered->fetch->in_flight--;
	return true;
}

void link_orphan_locked(struct link *link, const struct fetch *fetch)
{
	if (link->body.fetch == fetch)
		link->body.fetch = NULL;
	if (fetch->in_flight == 0)
		return;
	for (uint32_t i = 0; i < link->request_count; i++) {
		if (link->requests[i].fetch == fetch)
			link->requests[i].fetch = NULL;
	}
}

void link_low_water(struct link *link, int size)
{
	if (size == link->low_water)
		return;
	if (setsockopt(link->watch.fd, SOL_SOCKET, SO_RCVLOWAT, &size, sizeof(size)) == 0)
		link->low_water = size;
}

int link_take_fd(struct link *link)
{
	if (link->fd_count == 0)
		return -1;
	int fd = link->fds[0];
	link->fd_count--;
	memmove(link->fds, link->fds + 1, link->fd_count * sizeof(link->fds[0]));
	return fd;
}
