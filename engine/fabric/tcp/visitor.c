#include "engine/fabric/tcp/visitor.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/fabric/tcp/tcp.h"

#define DIRECT_SIZE (8u << 10) /* bodies from here on are received where they belong */
#define HELLO_NS    5000000000ull
#define PART_MAX    64u /* answers in one system call */

enum visitor_state { GREETING, SERVING, LEAVING };

struct answer {
	uint8_t head[TCP_REPLY_SIZE]; /* or a WELCOME */
	uint32_t head_size;
	uint32_t length; /* of what follows */
	const uint8_t *memory;
	struct vault_entry *entry; /* NULL: no memory is used */
};

/* The bytes of a WRITE on their way. */
struct incoming {
	uint32_t left;
	uint8_t *to; /* NULL: pass over */
	struct vault_entry *entry;
	struct tcp_reply reply; /* when all are there */
};

struct visitor {
	struct warden *warden;
	struct visitor *next, **at;
	int fd;
	enum visitor_state state;
	uint64_t since_ns;
	struct loop_op in, out;
	bool direct;	 /* `in` receives for `incoming`, not into the input */
	uint64_t number; /* of the next request */
	struct incoming incoming;
	/* a ring of answers, the first of which was sent in part */
	uint32_t first, count, sent;
	struct answer answers[WARDEN_ANSWERS_MAX];
	struct iovec parts[PART_MAX * 2];
	struct msghdr message;
	uint32_t begin, end;
	uint8_t input[WARDEN_INPUT_SIZE];
};

/* --- what it holds ------------------------------------------------------- */

static void let_go(struct visitor *visitor, struct vault_entry *entry)
{
	if (!entry)
		return;
	bool withdrawn = atomic_load(&entry->withdrawn);
	vault_done(entry);
	if (!withdrawn)
		return;
	WITH_LOCK(&visitor->warden->lock);
	pthread_cond_broadcast(&visitor->warden->changed);
}

static bool uses_withdrawn(const struct visitor *visitor)
{
	for (uint32_t i = 0; i < visitor->count; i++) {
		const struct answer *answer =
			&visitor->answers[(visitor->first + i) % WARDEN_ANSWERS_MAX];
		if (answer->entry && atomic_load(&answer->entry->withdrawn))
			return true;
	}
	return visitor->incoming.entry && atomic_load(&visitor->incoming.entry->withdrawn);
}

static void pop_answer(struct visitor *visitor)
{
	struct answer *answer = &visitor->answers[visitor->first];

	let_go(visitor, answer->entry);
	answer->entry = NULL;
	visitor->first = (visitor->first + 1) % WARDEN_ANSWERS_MAX;
	visitor->count--;
	visitor->sent = 0;
}

/* --- answers -------------------------------------------------------------- */

static struct answer *push_answer(struct visitor *visitor)
{
	MUST(visitor->count < WARDEN_ANSWERS_MAX);
	uint32_t at = (visitor->first + visitor->count++) % WARDEN_ANSWERS_MAX;
	visitor->answers[at] = (struct answer){.head_size = TCP_REPLY_SIZE};
	return &visitor->answers[at];
}

static void push_reply(struct visitor *visitor, const struct tcp_reply *reply)
{
	tcp_reply_encode(push_answer(visitor)->head, reply);
}

/* Put the answers that wait into one message, but for what was sent of the first. */
static void gather(struct visitor *visitor)
{
	uint32_t skip = visitor->sent, used = 0;

	for (uint32_t i = 0; i < visitor->count && i < PART_MAX; i++) {
		struct answer *answer =
			&visitor->answers[(visitor->first + i) % WARDEN_ANSWERS_MAX];
		if (skip < answer->head_size) {
			visitor->parts[used++] =
				(struct iovec){answer->head + skip, answer->head_size - skip};
			skip = answer->head_size;
		}
		skip -= answer->head_size;
		if (answer->length > skip)
			visitor->parts[used++] = (struct iovec){(void *)(answer->memory + skip),
								answer->length - skip};
		skip = 0;
	}
	visitor->message = (struct msghdr){.msg_iov = visitor->parts, .msg_iovlen = used};
}

/* So many bytes of the answers have left. */
static void drop_sent(struct visitor *visitor, uint64_t bytes)
{
	bytes += visitor->sent;
	while (visitor->count > 0) {
		const struct answer *answer = &visitor->answers[visitor->first];
		uint64_t whole = (uint64_t)answer->head_size + answer->length;
		if (bytes < whole)
			break;
		bytes -= whole;
		pop_answer(visitor);
	}
	visitor->sent = (uint32_t)bytes;
}

/* What the socket takes at once costs no turn of the loop. */
static void push_out(struct visitor *visitor)
{
	if (visitor->count == 0 || visitor->out.kind != LOOP_NONE || visitor->state == LEAVING)
		return;
	gather(visitor);
	ssize_t at_once = sendmsg(visitor->fd, &visitor->message, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (at_once > 0)
		drop_sent(visitor, (uint64_t)at_once);
	/* Who got little asks for more soon, if ever. */
	visitor->warden->loop.soon = visitor->count == 0 && at_once <= (ssize_t)TCP_SPIN_SIZE;
	if (visitor->count == 0)
		return;
	gather(visitor);
	loop_send(&visitor->warden->loop, &visitor->out, visitor->fd, &visitor->message);
}

/* --- requests -------------------------------------------------------------- */

static void serve_read(struct visitor *visitor, const struct tcp_request *request)
{
	struct tcp_reply reply = {.opcode = request->opcode, .number = request->number};
	struct vault_entry *entry = NULL;

	reply.status = vault_use(visitor->warden->vault, request->key, request->address,
				 request->length, FABRIC_REMOTE_READ, &entry);
	reply.length = reply.status ? 0 : request->length;
	struct answer *answer = push_answer(visitor);
	tcp_reply_encode(answer->head, &reply);
	answer->entry = entry;
	answer->length = reply.length;
	answer->memory = (const uint8_t *)(uintptr_t)request->address;
}

static void serve_write(struct visitor *visitor, const struct tcp_request *request)
{
	struct incoming *incoming = &visitor->incoming;

	*incoming = (struct incoming){
		.left = request->length,
		.reply = {.opcode = request->opcode, .number = request->number},
	};
	incoming->reply.status = vault_use(visitor->warden->vault, request->key, request->address,
					   request->length, FABRIC_REMOTE_WRITE, &incoming->entry);
	if (!incoming->reply.status)
		incoming->to = (uint8_t *)(uintptr_t)request->address;
}

/* So many bytes of the body are in place, or were passed over. */
static void incoming_took(struct visitor *visitor, uint32_t size)
{
	struct incoming *incoming = &visitor->incoming;

	incoming->left -= size;
	if (incoming->to)
		incoming->to += size;
	if (incoming->left > 0)
		return;
	push_reply(visitor, &incoming->reply);
	let_go(visitor, STEAL(incoming->entry));
}

static void take_input(struct visitor *visitor)
{
	struct incoming *incoming = &visitor->incoming;
	uint32_t there = visitor->end - visitor->begin;
	uint32_t size = there < incoming->left ? there : incoming->left;

	if (incoming->to)
		memcpy(incoming->to, visitor->input + visitor->begin, size);
	visitor->begin += size;
	incoming_took(visitor, size);
}

static enum mc_status greet(struct visitor *visitor)
{
	struct tcp_hello hello;
	enum mc_status status = tcp_hello_decode(visitor->input + visitor->begin, &hello);

	if (status)
		return status;
	struct tcp_welcome welcome = tcp_negotiate(&hello);
	struct answer *answer = push_answer(visitor);
	answer->head_size = TCP_HELLO_SIZE;
	tcp_welcome_encode(answer->head, &welcome);
	visitor->begin += TCP_HELLO_SIZE;
	visitor->state = SERVING;
	return MC_OK;
}

/* Serve what is next in the input.  MC_AGAIN: it is not there as a whole, or there is no room. */
static enum mc_status serve_next(struct visitor *visitor)
{
	uint32_t there = visitor->end - visitor->begin;
	struct tcp_request request;

	if (visitor->count == WARDEN_ANSWERS_MAX)
		return MC_AGAIN;
	if (visitor->incoming.left > 0) {
		if (there == 0)
			return MC_AGAIN;
		take_input(visitor);
		return MC_OK;
	}
	if (there < (visitor->state == GREETING ? TCP_HELLO_SIZE : TCP_REQUEST_SIZE))
		return MC_AGAIN;
	if (visitor->state == GREETING)
		return greet(visitor);
	enum mc_status status = tcp_request_decode(visitor->input + visitor->begin, &request);
	if (status || request.number != visitor->number)
		return MC_PROTOCOL;
	visitor->begin += TCP_REQUEST_SIZE;
	visitor->number++;
	if (request.opcode == FABRIC_READ)
		serve_read(visitor, &request);
	else
		serve_write(visitor, &request);
	return MC_OK;
}

static void pull_in(struct visitor *visitor)
{
	struct incoming *incoming = &visitor->incoming;
	struct loop *loop = &visitor->warden->loop;
	uint32_t there = visitor->end - visitor->begin;

	if (visitor->in.kind != LOOP_NONE || visitor->state == LEAVING ||
	    visitor->count == WARDEN_ANSWERS_MAX)
		return;
	visitor->direct = incoming->to && incoming->left >= DIRECT_SIZE && there == 0;
	if (visitor->direct) {
		loop_receive(loop, &visitor->in, visitor->fd, incoming->to, incoming->left,
			     MSG_WAITALL);
		return;
	}
	memmove(visitor->input, visitor->input + visitor->begin, there);
	visitor->begin = 0;
	visitor->end = there;
	loop_receive(loop, &visitor->in, visitor->fd, visitor->input + there,
		     WARDEN_INPUT_SIZE - there, 0);
}

static void go_on(struct visitor *visitor)
{
	enum mc_status status = MC_OK;

	while (status == MC_OK && visitor->state != LEAVING)
		status = serve_next(visitor);
	if (status == MC_PROTOCOL) {
		log_warn("mc-tcp-serve: dropped a peer that does not speak the protocol");
		visitor_leave(visitor);
	}
	push_out(visitor);
	pull_in(visitor);
}

/* --- operations that ended -------------------------------------------------- */

static void received(struct loop_op *op, int result)
{
	struct visitor *visitor = container_of(op, struct visitor, in);

	if (result <= 0)
		visitor_leave(visitor);
	else if (visitor->direct)
		incoming_took(visitor, (uint32_t)result);
	else
		visitor->end += (uint32_t)result;
	go_on(visitor);
}

static void sent(struct loop_op *op, int result)
{
	struct visitor *visitor = container_of(op, struct visitor, out);

	if (result <= 0)
		visitor_leave(visitor);
	else
		drop_sent(visitor, (uint64_t)result);
	go_on(visitor);
}

void visitor_leave(struct visitor *visitor)
{
	if (visitor->state == LEAVING)
		return;
	visitor->state = LEAVING;
	visitor->warden->leaving_count++;
	shutdown(visitor->fd, SHUT_RDWR);
}

void visitor_new(struct warden *warden, int fd)
{
	struct visitor *visitor = malloc(sizeof(*visitor));

	if (!visitor) {
		close(fd);
		return;
	}
	memset(visitor, 0, offsetof(struct visitor, input));
	net_tune(fd);
	net_watch_peer(fd, NET_PATIENCE_S);
	visitor->warden = warden;
	visitor->fd = fd;
	visitor->since_ns = clock_ns();
	if (!warden->loop.alarm_ns)
		warden->loop.alarm_ns = visitor->since_ns + HELLO_NS;
	visitor->in.done = received;
	visitor->out.done = sent;
	visitor->next = warden->visitors;
	visitor->at = &warden->visitors;
	if (visitor->next)
		visitor->next->at = &visitor->next;
	warden->visitors = visitor;
	atomic_store(&warden->count, ++warden->visitor_count);
	pull_in(visitor);
}

static void visitor_free(struct visitor *visitor)
{
	struct warden *warden = visitor->warden;

	while (visitor->count > 0)
		pop_answer(visitor);
	let_go(visitor, visitor->incoming.entry);
	close(visitor->fd);
	warden->leaving_count--;
	*visitor->at = visitor->next;
	if (visitor->next)
		visitor->next->at = visitor->at;
	atomic_store(&warden->count, --warden->visitor_count);
	free(visitor);
}

/* Says nothing, and the time for that is over; *alarm_ns: else look again then. */
static bool silent(const struct visitor *visitor, uint64_t now_ns, uint64_t *alarm_ns)
{
	uint64_t due_ns = visitor->since_ns + HELLO_NS;

	if (visitor->state != GREETING)
		return false;
	if (due_ns > now_ns && (!*alarm_ns || *alarm_ns > due_ns))
		*alarm_ns = due_ns;
	return due_ns <= now_ns;
}

void visitors_look(struct warden *warden, enum visitors_leave which)
{
	uint64_t now_ns = clock_ns();

	for (struct visitor *visitor = warden->visitors, *next; visitor; visitor = next) {
		next = visitor->next;
		if (which == LEAVE_ALL || (which == LEAVE_WITHDRAWN && uses_withdrawn(visitor)) ||
		    silent(visitor, now_ns, &warden->loop.alarm_ns))
			visitor_leave(visitor);
		if (visitor->state == LEAVING && visitor->in.kind == LOOP_NONE &&
		    visitor->out.kind == LOOP_NONE)
			visitor_free(visitor);
	}
}
