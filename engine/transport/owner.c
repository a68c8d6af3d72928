#include "engine/transport/owner.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/failpoint.h"
#include "engine/base/log.h"
#include "engine/base/net.h"

#define MS_NS	  1000000ull
#define TURN_COST 32	      /* what one visitor gets before others do: answers, and ... */
#define TURN_SIZE (64u << 10) /* ... bytes that cost as much as an answer */
#define DEAF_MS	  100u

/* --- answers ------------------------------------------------------------ */

static void answer_clear(struct answer *answer)
{
	*answer = (struct answer){.fd = -1};
}

static void answer_bare(struct visitor *visitor, uint16_t verb, uint64_t request_id,
			enum mc_status status)
{
	struct frame frame = {
		.kind = MC_FRAME_REPLY, .verb = verb, .status = status, .request_id = request_id};

	answer_clear(&visitor->answer);
	frame_encode(visitor->answer.head, &frame);
	visitor->answer.head_size = MC_FRAME_HEADER_SIZE;
}

void owner_refuse(struct visitor *visitor, const struct pull_request *request,
		  enum mc_status status)
{
	answer_bare(visitor, MC_VERB_PULL, request->request_id, status);
}

void owner_accept(struct visitor *visitor, const struct pull_request *request,
		  const struct held *held, uint32_t length, uint32_t crc)
{
	struct frame frame = {.kind = MC_FRAME_REPLY,
			      .verb = MC_VERB_PULL,
			      .size = PULL_FIXED_SIZE + length,
			      .request_id = request->request_id};
	struct answer *answer = &visitor->answer;
	struct writer w;

	answer_clear(answer);
	frame_encode(answer->head, &frame);
	writer_init_fixed(&w, answer->head + MC_FRAME_HEADER_SIZE, PULL_FIXED_SIZE);
	put_attr(&w, &held->hold.attr);
	put_u64(&w, request->offset);
	put_u32(&w, length);
	put_u32(&w, crc);
	MUST(!w.failed && w.size == PULL_FIXED_SIZE);
	answer->head_size = PULL_HEAD_SIZE;
	answer->offset = request->offset;
	answer->remaining = length;
}

void owner_put_off(struct visitor *visitor, const struct pull_request *request, struct held *held)
{
	struct answer *answer = &visitor->answer;

	answer_clear(answer);
	answer->put_off = true;
	answer->request = *request;
	answer->held = held;
}

bool owner_keeps(const struct owner *owner)
{
	return !owner->config.lends || owner->config.drop;
}

void owner_lend(struct visitor *visitor, struct held *held)
{
	visitor->answer.held = held;
	held->lent++;
	atomic_fetch_add(&visitor->owner->lent, 1);
}

uint64_t owner_moved_ns(const struct owner *owner)
{
	return atomic_load(&owner->lent) ? UINT64_MAX : atomic_load(&owner->active_ns);
}

enum mc_status owner_send_head(struct visitor *visitor, int flags)
{
	struct answer *answer = &visitor->answer;
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};

	while (answer->head_sent < answer->head_size) {
		struct iovec part = {answer->head + answer->head_sent,
				     answer->head_size - answer->head_sent};
		struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
		if (answer->fd >= 0) {
			message.msg_control = control.bytes;
			message.msg_controllen = sizeof(control.bytes);
			struct cmsghdr *header = CMSG_FIRSTHDR(&message);
			header->cmsg_level = SOL_SOCKET;
			header->cmsg_type = SCM_RIGHTS;
			header->cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(header), &answer->fd, sizeof(int));
		}
		ssize_t sent =
			sendmsg(visitor->watch.fd, &message, flags | MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno == EINTR)
			continue;
		/* Too many descriptors in flight: they go when the visitor reads. */
		if (sent < 0)
			return errno == EAGAIN || errno == ETOOMANYREFS ? MC_AGAIN : MC_UNREACHABLE;
		answer->head_sent += (uint32_t)sent;
		answer->fd = -1;
	}
	return MC_OK;
}

static void serve_pull(struct visitor *visitor, const struct pull_request *request)
{
	struct owner *owner = visitor->owner;
	struct held *held;

	if (request->flags & ~(uint32_t)(MC_PULL_DESCRIPTOR | MC_PULL_REMOTE)) {
		owner_refuse(visitor, request, MC_PROTOCOL);
		return;
	}
	if (owner->config.flag != request->flags) {
		owner_refuse(visitor, request, MC_NOT_SUPPORTED);
		return;
	}
	if (request->length > MC_PULL_LENGTH_MAX) {
		owner_refuse(visitor, request, MC_PROTOCOL);
		return;
	}
	enum mc_status status = held_get(visitor, request, &held);
	if (status) {
		owner_refuse(visitor, request, status);
		return;
	}
	held->used_ns = visitor->active_ns;
	failpoint("pull.granted");
	owner->config.respond(visitor, request, held);
}

static enum mc_status serve_release(struct visitor *visitor, uint64_t id, uint64_t version)
{
	struct held *held = held_find(visitor, id, version);

	if (version == 0 && visitor->shelf) {
		const struct transport_source *source = visitor->owner->config.source;
		source->used(source->context, id);
		return MC_OK;
	}
	if (!held)
		return MC_NOT_FOUND;
	if (held->lent) {
		held->lent--;
		atomic_fetch_sub(&visitor->owner->lent, 1);
	}
	if (held->lent == 0 && held != visitor->answer.held && !visitor->owner->config.drop)
		held_drop(visitor, held);
	return MC_OK;
}

static void serve_shelf(struct visitor *visitor, uint64_t request_id)
{
	const struct owner_config *config = &visitor->owner->config;
	int fd = -1;

	if (config->local && config->lends && config->source->shelf)
		fd = config->source->shelf(config->source->context);
	visitor->shelf = visitor->shelf || fd >= 0;
	answer_bare(visitor, MC_VERB_SHELF, request_id, fd < 0 ? MC_NOT_SUPPORTED : MC_OK);
	visitor->answer.fd = fd;
}

/* --- visitors ----------------------------------------------------------- */

static void visitor_drop(struct visitor *visitor)
{
	struct owner *owner = visitor->owner;

	close(poller_forget(&owner->poller, &visitor->watch));
	answer_clear(&visitor->answer);
	held_drop_all(visitor);
	*visitor->at = visitor->next;
	if (visitor->next)
		visitor->next->at = visitor->at;
	visitor->next = owner->gone;
	owner->gone = visitor;
	atomic_fetch_sub(&owner->visitor_count, 1);
}

/* Send the answer.  MC_AGAIN: more is left. */
static enum mc_status push(struct visitor *visitor)
{
	struct owner *owner = visitor->owner;
	struct answer *answer = &visitor->answer;
	bool pulled = answer->head_size == PULL_HEAD_SIZE;
	enum mc_status status = owner->config.send(visitor);

	if (status)
		return status;
	if (pulled)
		atomic_fetch_add_explicit(&owner->pulls_served, 1, memory_order_relaxed);
	answer_clear(answer);
	return MC_OK;
}

static void serve_frame(struct visitor *visitor, const struct frame *frame, const uint8_t *body)
{
	struct reader r;

	reader_init(&r, body, frame->size);
	if (frame->verb == MC_VERB_PULL && frame->kind == MC_FRAME_REQUEST) {
		struct pull_request request = {.request_id = frame->request_id};
		request.id = get_u64(&r);
		request.version = get_u64(&r);
		request.offset = get_u64(&r);
		request.length = get_u32(&r);
		request.flags = get_u32(&r);
		serve_pull(visitor, &request);
		return;
	}
	if (frame->verb == MC_VERB_SHELF) {
		serve_shelf(visitor, frame->request_id);
		return;
	}
	uint64_t id = get_u64(&r);
	enum mc_status status = serve_release(visitor, id, get_u64(&r));
	if (frame->kind == MC_FRAME_REQUEST)
		answer_bare(visitor, frame->verb, frame->request_id, status);
}

/*
 * Serve the first request in the input.  MC_AGAIN: it is not there yet as a
 * whole.  MC_PROTOCOL: the frame boundaries are lost.
 */
static enum mc_status serve_next(struct visitor *visitor)
{
	const uint8_t *input = visitor->input + visitor->input_begin;
	uint32_t size = visitor->input_end - visitor->input_begin;
	struct frame frame;
	bool right;

	if (visitor->skip) {
		uint32_t passed = size < visitor->skip ? size : visitor->skip;
		visitor->skip -= passed;
		visitor->input_begin += passed;
		return visitor->skip ? MC_AGAIN : MC_OK;
	}
	if (size < MC_FRAME_HEADER_SIZE)
		return MC_AGAIN;
	if (frame_decode(input, &frame) || frame.kind == MC_FRAME_REPLY)
		return MC_PROTOCOL;
	right = (frame.verb == MC_VERB_PULL && frame.size == PULL_REQUEST_SIZE &&
		 frame.kind == MC_FRAME_REQUEST) ||
		(frame.verb == MC_VERB_RELEASE && frame.size == RELEASE_REQUEST_SIZE) ||
		(frame.verb == MC_VERB_SHELF && frame.size == 0 && frame.kind == MC_FRAME_REQUEST);
	if (right && size < MC_FRAME_HEADER_SIZE + frame.size)
		return MC_AGAIN;
	visitor->input_begin += MC_FRAME_HEADER_SIZE + (right ? frame.size : 0);
	if (right) {
		visitor->known = true;
		serve_frame(visitor, &frame, input + MC_FRAME_HEADER_SIZE);
		return MC_OK;
	}
	visitor->skip = frame.size;
	if (frame.kind == MC_FRAME_REQUEST)
		answer_bare(visitor, frame.verb, frame.request_id, MC_PROTOCOL);
	return MC_OK;
}

/* Read what has arrived.  MC_AGAIN: nothing.  MC_UNREACHABLE: it has gone. */
static enum mc_status fill(struct visitor *visitor)
{
	if (visitor->input_begin > 0) {
		uint32_t size = visitor->input_end - visitor->input_begin;
		memmove(visitor->input, visitor->input + visitor->input_begin, size);
		visitor->input_begin = 0;
		visitor->input_end = size;
	}
	ssize_t got = recv(visitor->watch.fd, visitor->input + visitor->input_end,
			   sizeof(visitor->input) - visitor->input_end, MSG_DONTWAIT);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? MC_AGAIN : MC_UNREACHABLE;
	if (got == 0)
		return MC_UNREACHABLE;
	visitor->input_end += (uint32_t)got;
	return MC_OK;
}

static void respond_again(struct visitor *visitor)
{
	struct pull_request request = visitor->answer.request;
	struct held *held = visitor->answer.held;

	held->used_ns = visitor->active_ns;
	visitor->owner->config.respond(visitor, &request, held);
}

/* Serve until the input is empty (MC_AGAIN), the socket is full or the turn is over (MC_OK). */
static enum mc_status serve(struct visitor *visitor)
{
	bool filled = false;

	if (visitor->answer.put_off)
		respond_again(visitor);
	for (uint32_t cost = 0; cost < TURN_COST && !visitor->answer.put_off;) {
		if (visitor->answer.head_size) {
			cost += 1 + visitor->answer.remaining / TURN_SIZE;
			enum mc_status status = push(visitor);
			if (status)
				return status == MC_AGAIN ? MC_OK : status;
		}
		enum mc_status status = serve_next(visitor);
		if (status == MC_OK)
			continue;
		/* One read a turn: what comes meanwhile is reported again. */
		if (status == MC_AGAIN && !filled) {
			filled = true;
			status = fill(visitor);
			if (status == MC_OK)
				continue;
		}
		return status;
	}
	return MC_OK;
}

static void visitor_ready(struct watch *watch, uint32_t events)
{
	struct visitor *visitor = container_of(watch, struct visitor, watch);
	struct owner *owner = visitor->owner;

	/* What takes long is not gone on with for nobody. */
	if (visitor->answer.put_off && (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) {
		visitor_drop(visitor);
		return;
	}
	visitor->active_ns = clock_ns();
	atomic_store_explicit(&owner->active_ns, visitor->active_ns, memory_order_relaxed);
	enum mc_status status = serve(visitor);
	if (status == MC_PROTOCOL)
		log_warn("%s: dropped a peer that does not speak the protocol known=%d",
			 owner->config.name, visitor->known);
	if (status != MC_OK && status != MC_AGAIN) {
		visitor_drop(visitor);
		return;
	}
	/* MC_OK: there is more to send, to put together, or to serve out of the input. */
	uint32_t awaited = status == MC_AGAIN	     ? EPOLLIN
			   : visitor->answer.put_off ? EPOLLOUT | EPOLLRDHUP
						     : EPOLLOUT;
	status = poller_watch(&owner->poller, watch, awaited);
	if (status)
		visitor_drop(visitor);
	if (owner->visitors)
		poller_alarm(&owner->poller, clock_ns() + OWNER_KEEP_MS * MS_NS);
}

static struct visitor *visitor_new(struct owner *owner, int fd)
{
	struct visitor *visitor = calloc(1, sizeof(*visitor));

	if (!visitor) {
		close(fd);
		return NULL;
	}
	if (!owner->config.local)
		net_watch_peer(fd, NET_PATIENCE_S);
	visitor->watch = (struct watch){.ready = visitor_ready, .fd = fd};
	visitor->owner = owner;
	visitor->answer.fd = -1;
	atomic_fetch_add(&owner->visitor_count, 1);
	return visitor;
}

static void visitor_add(struct visitor *visitor)
{
	struct owner *owner = visitor->owner;

	visitor->active_ns = clock_ns();
	visitor->next = owner->visitors;
	visitor->at = &owner->visitors;
	if (visitor->next)
		visitor->next->at = &visitor->next;
	owner->visitors = visitor;
	atomic_fetch_add(&owner->visits, 1);
	if (poller_watch(&owner->poller, &visitor->watch, EPOLLIN))
		visitor_drop(visitor);
	poller_alarm(&owner->poller, clock_ns() + OWNER_KEEP_MS * MS_NS);
}

void owner_adopt(struct owner *owner, int fd)
{
	struct visitor *visitor = visitor_new(owner, fd);

	if (!visitor)
		return;
	visitor->next = atomic_load(&owner->adopted);
	while (!atomic_compare_exchange_weak(&owner->adopted, &visitor->next, visitor))
		continue;
	poller_wake(&owner->poller);
}

static void welcome_adopted(struct owner *owner)
{
	struct visitor *adopted = NULL;

	if (atomic_load_explicit(&owner->adopted, memory_order_relaxed))
		adopted = atomic_exchange(&owner->adopted, NULL);
	while (adopted) {
		struct visitor *visitor = adopted;
		adopted = visitor->next;
		visitor_add(visitor);
	}
}

unsigned owner_visitor_count(const struct owner *owner)
{
	return atomic_load(&owner->visitor_count);
}

static void visit(struct owner *owner, int fd)
{
	struct owner *host = owner->config.host ? owner->config.host(owner, fd) : owner;
	struct visitor *visitor;

	if (owner_visitor_count(host) >= OWNER_VISITORS_MAX ||
	    (owner->config.local && !net_peer_trusted(fd))) {
		log_warn("%s: refused a connection visitors=%u", owner->config.name,
			 owner_visitor_count(host));
		close(fd);
	} else if (host != owner) {
		owner_adopt(host, fd);
	} else if ((visitor = visitor_new(owner, fd))) {
		visitor_add(visitor);
	}
}

static void listener_ready(struct watch *watch, uint32_t events)
{
	struct owner *owner = container_of(watch, struct owner, listener);
	enum mc_status status;
	int fd;

	(void)events;
	while ((status = net_accept(watch->fd, &fd)) == MC_OK)
		visit(owner, fd);
	if (status == MC_AGAIN)
		return;
	log_warn("%s: can't accept connections for now status=\"%s\"", owner->config.name,
		 mc_status_text(status));
	owner->deaf = true;
	(void)poller_forget(&owner->poller, &owner->listener);
	poller_alarm(&owner->poller, clock_ns() + DEAF_MS * MS_NS);
}

/* --- time --------------------------------------------------------------- */

static void look_after(struct owner *owner, uint64_t now_ns)
{
	bool kept = false;

	for (struct visitor *visitor = owner->visitors, *next; visitor; visitor = next) {
		uint64_t silent_ns = now_ns - visitor->active_ns;
		next = visitor->next;
		if (visitor->held_count)
			held_expire(visitor, now_ns - OWNER_KEEP_MS * MS_NS, false);
		bool answered = visitor->answer.head_size || visitor->answer.put_off;
		bool stuck = answered && silent_ns > OWNER_STUCK_MS * MS_NS;
		if (stuck || (!visitor->held_count && silent_ns > OWNER_IDLE_MS * MS_NS))
			visitor_drop(visitor);
		else if (owner_keeps(owner) && visitor->held_count)
			kept = true;
	}
	if (owner->visitors)
		poller_alarm(&owner->poller,
			     now_ns + (kept ? OWNER_KEEP_MS / 4 : OWNER_STUCK_MS / 2) * MS_NS);
}

static void turn(void *context, bool alarmed)
{
	struct owner *owner = context;

	welcome_adopted(owner);
	if (alarmed)
		look_after(owner, clock_ns());
	if (alarmed && owner->deaf) {
		owner->listener.fd = owner->config.listen_fd;
		owner->deaf = poller_watch(&owner->poller, &owner->listener, EPOLLIN) != MC_OK;
		if (owner->deaf)
			poller_alarm(&owner->poller, clock_ns() + DEAF_MS * MS_NS);
	}
	while (owner->gone) {
		struct visitor *visitor = owner->gone;
		owner->gone = visitor->next;
		free(visitor);
	}
}

enum mc_status owner_start(struct owner *owner, const struct owner_config *config)
{
	MUST(config->source && config->respond && config->send);
	*owner = (struct owner){
		.config = *config,
		.listener = {.ready = listener_ready, .fd = config->listen_fd},
	};
	enum mc_status status = poller_start(&owner->poller, config->name, turn, owner);
	if (status || config->listen_fd < 0)
		return status;
	status = poller_watch(&owner->poller, &owner->listener, EPOLLIN);
	if (status)
		poller_stop(&owner->poller);
	return status;
}

void owner_stop(struct owner *owner)
{
	poller_stop(&owner->poller);
	if (owner->config.listen_fd >= 0)
		close(owner->config.listen_fd);
	while (owner->visitors)
		visitor_drop(owner->visitors);
	turn(owner, false);
}

void owner_counters(struct owner *owner, struct transport_counters *counters)
{
	counters->pulls_served += atomic_load(&owner->pulls_served);
	counters->bytes_served += atomic_load(&owner->bytes_served);
	counters->holds += atomic_load(&owner->holds);
}
