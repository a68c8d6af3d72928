#include "engine/rpc/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "engine/base/attend.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/base/thread.h"
#include "engine/rpc/calls.h"
#include "engine/rpc/dial.h"
#include "engine/rpc/masters.h"
#include "engine/rpc/wire.h"

#define CLIENT_CONNECT_MS     3000
#define CLIENT_WELCOME_MS     1000 /* where another master may answer instead */
#define CLIENT_RETRY_MS_FIRST 20
#define CLIENT_RETRY_MS_MAX   1000
#define CLIENT_RETRY_MS_LIST  200	     /* the same where one of several masters leads */
#define CLIENT_LOOK_NS	      2000000000ull  /* between looks for another leader */
#define CLIENT_EPOCH_NS	      30000000000ull /* so long an older epoch is refused */
#define CLIENT_RECEIVE_SIZE   (256u << 10)
#define CLIENT_UNATTENDED     4u  /* calls after one that was attended to in vain, ... */
#define CLIENT_UNATTENDED_MAX 64u /* ... twice as many each time, to this */

struct client {
	/* fixed after init */
	struct client_events events;
	pthread_t thread;
	int wake;
	int epoll_fd; /* the wake and, while it serves, the connection */

	/* protected by lock */
	pthread_mutex_t lock;
	struct calls calls;
	int fd; /* -1 when not connected; requests are sent only when ready */
	bool ready;
	struct writer unsent; /* what the socket did not take */
	bool attended;	      /* a caller reads the connection, its thread need not wake */
	uint64_t attended_id; /* and waits for the answer to this */
	uint32_t watched;     /* events that epoll_fd watches the connection for */
	char peer[384];

	/* atomic */
	_Atomic bool stopping;
	_Atomic bool connected;
	_Atomic uint32_t ttl_ms;
	_Atomic uint64_t calls_by_verb[MC_VERB_LIMIT];

	_Atomic uint64_t heard_ns;
	_Atomic uint32_t unattended; /* so many calls more */

	/*
	 * Held by who reads the connection and handles what came: the client's
	 * thread except while it sleeps, or a caller that attends.  Before lock.
	 */
	pthread_mutex_t receiving;
	uint32_t unattended_next; /* calls, should this one be attended to in vain */
	struct masters *masters;
	char address[MASTERS_ADDRESS_SIZE]; /* of the one that is tried or connected */
	bool refused;			    /* it refused a change: another may lead */
	uint64_t looked_ns;		    /* for that, last */
	struct dial dial;
	uint64_t cluster; /* of the last welcome */
	uint32_t epoch;
	uint64_t epoch_ns; /* heard of it last */
	bool absent;	   /* nobody answered the last time: said so once */
	uint8_t *receive;
	size_t receive_size; /* allocated */
	size_t received;
};

/* Connect to what is dialled, and say what that came to be. */
static int connect_any(struct client *client)
{
	char peer[sizeof(client->peer)];
	int fd = dial_connect(&client->dial, client->wake, CLIENT_CONNECT_MS, peer, sizeof(peer));

	WITH_LOCK(&client->lock);
	if (peer[0])
		memcpy(client->peer, peer, sizeof(peer));
	return fd;
}

/* Send now what the socket takes, keep the rest. */
static void send_locked(struct client *client, const uint8_t *data, size_t size)
{
	while (size > 0 && client->unsent.size == 0) {
		ssize_t sent = send(client->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			break; /* full: wait for room.  broken: the receiver sees it too */
		data += sent;
		size -= (size_t)sent;
	}
	if (size > 0) {
		bool first = client->unsent.size == 0;
		put_bytes(&client->unsent, data, size);
		if (client->unsent.failed)
			shutdown(client->fd, SHUT_RDWR); /* half a frame is worse than none */
		if (first)
			eventfd_write(client->wake, 1);
	}
}

static void flush_locked(struct client *client)
{
	size_t done = 0;

	while (done < client->unsent.size) {
		ssize_t sent = send(client->fd, client->unsent.data + done,
				    client->unsent.size - done, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0)
			break;
		done += (size_t)sent;
	}
	memmove(client->unsent.data, client->unsent.data + done, client->unsent.size - done);
	client->unsent.size -= done;
}

/* Watch the connection for what the client's thread has to wake for. */
static void watch_locked(struct client *client)
{
	uint32_t events = client->attended ? 0 : EPOLLIN;

	if (client->unsent.size > 0)
		events |= EPOLLOUT;
	if (events == client->watched)
		return;
	struct epoll_event event = {.events = events, .data.fd = client->fd};
	if (epoll_ctl(client->epoll_fd, EPOLL_CTL_MOD, client->fd, &event) == 0)
		client->watched = events;
}

/* -- a caller that attends -- */

static bool attended_receive(void *context, int *fd);

static void attended_release(void *context, bool answered)
{
	struct client *client = context;

	pthread_mutex_lock(&client->lock);
	client->attended = false;
	watch_locked(client);
	pthread_mutex_unlock(&client->lock);
	client->unattended = answered ? 0 : client->unattended_next;
	if (answered)
		client->unattended_next = CLIENT_UNATTENDED;
	else if (client->unattended_next < CLIENT_UNATTENDED_MAX)
		client->unattended_next *= 2;
	pthread_mutex_unlock(&client->receiving);
}

/* Take the reading over, before a request goes out.  False: this call's answer comes as ever. */
static bool attend_locked(struct client *client)
{
	if (!attend_wanted())
		return false;
	if (client->unattended > 0) {
		client->unattended--;
		return false;
	}
	if (pthread_mutex_trylock(&client->receiving) != 0)
		return false;
	client->attended = true;
	watch_locked(client);
	return true;
}

static void call_begin(struct client *client, enum mc_verb verb, const struct writer *body,
		       uint32_t timeout_ms, bool here, client_reply_fn *reply, void *context)
{
	struct call *call = call_new(body, timeout_ms);

	if (!call) {
		reply(context, MC_NO_MEMORY, NULL, false);
		return;
	}
	call->reply = reply;
	call->context = context;
	call->here = here;
	client->calls_by_verb[verb]++;

	pthread_mutex_lock(&client->lock);
	if (client->calls.count >= CLIENT_IN_FLIGHT_MAX || client->stopping) {
		enum mc_status status = client->stopping ? MC_CANCELLED : MC_AGAIN;
		pthread_mutex_unlock(&client->lock);
		free(call);
		reply(context, status, NULL, false);
		return;
	}
	calls_add(&client->calls, call, verb);
	bool attend = client->ready && attend_locked(client);
	if (client->ready) {
		call_sending(call, clock_ns());
		send_locked(client, call->frame, call->size);
	}
	if (attend)
		client->attended_id = call->id;
	pthread_mutex_unlock(&client->lock);
	if (attend)
		attend_to(&(struct attention){attended_receive, attended_release, client});
}

void client_call(struct client *client, enum mc_verb verb, const struct writer *body,
		 uint32_t timeout_ms, client_reply_fn *reply, void *context)
{
	call_begin(client, verb, body, timeout_ms, false, reply, context);
}

void client_call_here(struct client *client, enum mc_verb verb, const struct writer *body,
		      uint32_t timeout_ms, client_reply_fn *reply, void *context)
{
	call_begin(client, verb, body, timeout_ms, true, reply, context);
}

static void end_calls(struct client *client, enum ending ending)
{
	pthread_mutex_lock(&client->lock);
	struct call *list = calls_take_ending(&client->calls, ending, clock_ns());
	pthread_mutex_unlock(&client->lock);
	calls_end(list, ending);
}

static struct call *take_call(struct client *client, uint64_t id)
{
	WITH_LOCK(&client->lock);
	return calls_take(&client->calls, id);
}

static void handle_frame(struct client *client, const struct frame *frame, const uint8_t *bytes)
{
	struct reader body;

	reader_init(&body, bytes, frame->size);
	if (frame->kind == MC_FRAME_PUSH) {
		client->events.push(client->events.context, frame->verb, &body);
		return;
	}
	if (frame->kind != MC_FRAME_REPLY)
		return;
	struct call *call = take_call(client, frame->request_id);
	if (!call)
		return; /* passed its deadline */
	enum mc_status status = frame->status;
	client->refused = client->refused || status == MC_READ_ONLY;
	/* Refused now, but the master before may have done it. */
	if (status == MC_READ_ONLY && call->resent)
		status = MC_TIMEOUT;
	call->reply(call->context, status, &body, call->resent);
	free(call);
}

static bool make_room(struct client *client, size_t size)
{
	if (size <= client->receive_size)
		return true;
	uint8_t *larger = realloc(client->receive, size);
	if (!larger)
		return false;
	client->receive = larger;
	client->receive_size = size;
	return true;
}

/* Handle all whole frames that stand in the buffer.  False: the stream is broken. */
static bool handle_received(struct client *client,
			    void (*handle)(struct client *, const struct frame *, const uint8_t *))
{
	size_t at = 0;

	while (client->received - at >= MC_FRAME_HEADER_SIZE) {
		struct frame frame;
		if (frame_decode(client->receive + at, &frame)) {
			log_error("the master sent what is no frame, reconnecting");
			return false;
		}
		size_t whole = MC_FRAME_HEADER_SIZE + frame.size;
		if (client->received - at < whole) {
			if (!make_room(client, whole + CLIENT_RECEIVE_SIZE))
				return false;
			break;
		}
		handle(client, &frame, client->receive + at + MC_FRAME_HEADER_SIZE);
		at += whole;
	}
	memmove(client->receive, client->receive + at, client->received - at);
	client->received -= at;
	return true;
}

/* Read what is there.  False: the connection is gone. */
static bool receive_some(struct client *client)
{
	ssize_t size = recv(client->fd, client->receive + client->received,
			    client->receive_size - client->received, MSG_DONTWAIT);

	if (size < 0)
		return errno == EAGAIN || errno == EINTR;
	if (size == 0)
		return false;
	client->received += (size_t)size;
	client->heard_ns = clock_ns();
	return true;
}

static bool outstanding(struct client *client, uint64_t id)
{
	WITH_LOCK(&client->lock);
	return calls_find(&client->calls, id) != NULL;
}

static bool attended_receive(void *context, int *fd)
{
	struct client *client = context;

	*fd = client->fd;
	if (!receive_some(client) || !handle_received(client, handle_frame)) {
		shutdown(client->fd, SHUT_RDWR); /* its thread sees that it is gone */
		return true;
	}
	return !outstanding(client, client->attended_id);
}

static bool send_all(struct client *client, const uint8_t *data, size_t size)
{
	while (size > 0) {
		struct pollfd fd = {.fd = client->fd, .events = POLLOUT};
		if (poll(&fd, 1, CLIENT_CONNECT_MS) <= 0)
			return false;
		ssize_t sent = send(client->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0)
			return false;
		data += sent;
		size -= (size_t)sent;
	}
	return true;
}

/* Another master may lead than the one that is tried. */
static bool has_others(const struct client *client)
{
	return masters_count(client->masters) != 1;
}

/*
 * A leader that was replaced may not know it yet, so an older epoch of the same
 * cluster is refused; not for ever, since a journal may have been restored.
 */
static bool epoch_take(struct client *client, const struct frame *frame, struct reader body)
{
	(void)get_u32(&body);
	(void)get_u32(&body);
	uint64_t cluster = get_u64(&body);

	if (cluster == client->cluster && frame->epoch < client->epoch &&
	    clock_ns() - client->epoch_ns < CLIENT_EPOCH_NS) {
		log_warn("refused a master of an older epoch epoch=%u known=%u at=%s", frame->epoch,
			 client->epoch, client->peer);
		return false;
	}
	client->cluster = cluster;
	client->epoch = frame->epoch;
	return true;
}

/* Wait for the frame that answers HELLO; nothing else can come before it. */
static bool receive_welcome(struct client *client)
{
	uint64_t wait_ms = has_others(client) ? CLIENT_WELCOME_MS : CLIENT_CONNECT_MS;
	uint64_t deadline = clock_ns() + wait_ms * 1000000ull;

	client->received = 0;
	while (clock_ns() < deadline && !client->stopping) {
		struct frame frame;
		if (client->received >= MC_FRAME_HEADER_SIZE) {
			if (frame_decode(client->receive, &frame) || frame.kind != MC_FRAME_REPLY)
				return false;
			size_t whole = MC_FRAME_HEADER_SIZE + frame.size;
			if (!make_room(client, whole + CLIENT_RECEIVE_SIZE))
				return false;
			if (client->received >= whole) {
				struct reader body;
				reader_init(&body, client->receive + MC_FRAME_HEADER_SIZE,
					    frame.size);
				if (frame.status || !epoch_take(client, &frame, body) ||
				    client->events.welcome(client->events.context, &body))
					return false;
				memmove(client->receive, client->receive + whole,
					client->received - whole);
				client->received -= whole;
				return true;
			}
		}
		struct pollfd fd = {.fd = client->fd, .events = POLLIN};
		if (poll(&fd, 1, 100) > 0 && !receive_some(client))
			return false;
		end_calls(client, ENDING_LATE);
	}
	return false;
}

static bool say_hello(struct client *client)
{
	struct writer w;
	struct frame frame = {.kind = MC_FRAME_REQUEST, .verb = MC_VERB_HELLO};

	writer_init(&w);
	size_t begin = frame_begin(&w);
	client->events.hello(client->events.context, &w);
	frame_finish(&w, begin, &frame);
	client->calls_by_verb[MC_VERB_HELLO]++;
	bool sent = !w.failed && send_all(client, w.data, w.size);
	writer_fini(&w);
	return sent && receive_welcome(client);
}

/* Requests that wait go out on the new connection, in the order they were made. */
static void send_waiting(struct client *client)
{
	WITH_LOCK(&client->lock);
	struct call **waiting = calls_sorted(&client->calls);
	uint64_t now_ns = clock_ns();

	client->ready = true;
	for (uint32_t i = 0; waiting && i < client->calls.count; i++) {
		call_sending(waiting[i], now_ns);
		send_locked(client, waiting[i]->frame, waiting[i]->size);
	}
	free(waiting);
}

static bool heard_lately(const struct client *client)
{
	uint32_t ttl_ms = client->ttl_ms;

	return ttl_ms == 0 || clock_ns() - client->heard_ns < ttl_ms * 500000ull;
}

/* Often enough that a heartbeat is never late for a short TTL. */
static uint32_t tick_ms(const struct client *client)
{
	uint32_t part_ms = client->ttl_ms / 8;

	return part_ms > 0 && part_ms < client->events.tick_ms ? part_ms : client->events.tick_ms;
}

/* Sleep for a tick at most, while a caller may attend; what the connection is ready for. */
static uint32_t sleep_until_ready(struct client *client)
{
	struct epoll_event events[2];
	uint32_t ready = 0;

	pthread_mutex_lock(&client->lock);
	watch_locked(client);
	pthread_mutex_unlock(&client->lock);
	pthread_mutex_unlock(&client->receiving);
	int count = epoll_wait(client->epoll_fd, events, 2, (int)tick_ms(client));
	pthread_mutex_lock(&client->receiving);
	for (int i = 0; i < count; i++) {
		eventfd_t value;
		if (events[i].data.fd == client->wake)
			eventfd_read(client->wake, &value);
		else
			ready = events[i].events;
	}
	return ready;
}

/* A leader that can't reach etcd does not know whether it was replaced: we may. */
static bool replaced(struct client *client, uint64_t now)
{
	if (!has_others(client))
		return false;
	if (client->refused && now - client->looked_ns > CLIENT_LOOK_NS) {
		client->refused = false;
		client->looked_ns = now;
		masters_look(client->masters, client->address);
	}
	return masters_moved(client->masters, client->address);
}

/* Serve the connection until it breaks. */
static void serve(struct client *client)
{
	uint64_t ticked = 0;

	while (!client->stopping) {
		uint64_t now = clock_ns();
		if (now - ticked >= tick_ms(client) * 1000000ull) {
			ticked = now;
			client->events.tick(client->events.context);
			end_calls(client, ENDING_LATE);
			if (replaced(client, now))
				return;
		}
		if (!handle_received(client, handle_frame) || !heard_lately(client))
			return;
		uint32_t events = sleep_until_ready(client);
		if (events & EPOLLOUT) {
			WITH_LOCK(&client->lock);
			flush_locked(client);
		}
		if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !receive_some(client))
			return;
	}
}

static void disconnect(struct client *client)
{
	pthread_mutex_lock(&client->lock);
	int fd = client->fd;
	client->ready = false;
	client->fd = -1;
	writer_reset(&client->unsent);
	pthread_mutex_unlock(&client->lock);
	if (fd < 0)
		return;
	/* As long as anybody else has the socket, a reader of /proc/PID/fd, say, it would go on. */
	(void)epoll_ctl(client->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	close(fd);
}

/* Say it once, until one is found. */
static void absent(struct client *client, const char *what)
{
	if (!client->absent)
		log_warn("%s, trying on", what);
	client->absent = true;
}

/* The same of one that we know the address of. */
static void absent_at(struct client *client, const char *what)
{
	if (!client->absent)
		log_warn("%s, trying on address=%s%s%s", what,
			 client->dial.unix_only ? client->dial.unix_name : client->dial.host,
			 client->dial.unix_only ? "" : ":", client->dial.port);
	client->absent = true;
}

/* Take the next master to try.  False: there is none now. */
static bool choose(struct client *client)
{
	enum mc_status status = masters_next(client->masters, client->address);

	if (status != MC_OK) {
		absent(client, status == MC_NOT_FOUND ? "no master leads"
						      : "etcd can't say which master leads");
		return false;
	}
	status = dial_parse(&client->dial, client->address);
	if (status != MC_OK)
		absent(client, "the leader's address in etcd makes no sense");
	return status == MC_OK;
}

static void connect_and_serve(struct client *client, uint32_t *retry_ms)
{
	if (!choose(client))
		return;
	int fd = connect_any(client);
	if (fd < 0) {
		absent_at(client, "the master does not answer");
		return;
	}
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
	if (epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		close(fd);
		return;
	}
	pthread_mutex_lock(&client->lock);
	client->watched = EPOLLIN;
	client->fd = fd;
	pthread_mutex_unlock(&client->lock);
	client->heard_ns = clock_ns();
	client->refused = false;
	if (say_hello(client)) {
		*retry_ms = CLIENT_RETRY_MS_FIRST;
		log_info("connected to the master at=%s", client->peer);
		client->connected = true;
		end_calls(client, ENDING_LATE); /* not sent again: nobody waits */
		send_waiting(client);
		client->absent = false;
		serve(client);
		client->connected = false;
		client->epoch_ns = client->heard_ns;
		if (!client->stopping)
			log_warn("lost the master, reconnecting at=%s", client->peer);
		disconnect(client);
		client->events.lost(client->events.context);
		end_calls(client, ENDING_HERE);
		return;
	}
	absent_at(client, "the master does not welcome us");
	disconnect(client);
	end_calls(client, ENDING_HERE);
}

static void *client_thread(void *context)
{
	struct client *client = context;
	uint32_t retry_ms = CLIENT_RETRY_MS_FIRST;

	pthread_setname_np(pthread_self(), "mc-master");
	pthread_mutex_lock(&client->receiving);
	while (!client->stopping) {
		connect_and_serve(client, &retry_ms);
		end_calls(client, ENDING_LATE);
		if (client->stopping)
			break;
		if (masters_untried(client->masters))
			continue;
		client->events.tick(client->events.context);
		struct pollfd wake = {.fd = client->wake, .events = POLLIN};
		poll(&wake, 1, (int)retry_ms);
		if (wake.revents && !client->stopping) {
			eventfd_t value;
			eventfd_read(client->wake, &value);
		}
		uint32_t max_ms = has_others(client) ? CLIENT_RETRY_MS_LIST : CLIENT_RETRY_MS_MAX;
		retry_ms = retry_ms * 2 > max_ms ? max_ms : retry_ms * 2;
	}
	end_calls(client, ENDING_ALL);
	pthread_mutex_unlock(&client->receiving);
	return NULL;
}

enum mc_status client_open(const char *address, const struct client_events *events,
			   struct client **client)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return MC_NO_MEMORY;
	c->events = *events;
	calls_init(&c->calls);
	c->fd = -1;
	c->receive_size = CLIENT_RECEIVE_SIZE;
	c->unattended_next = CLIENT_UNATTENDED;
	c->receive = malloc(c->receive_size);
	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event wake = {.events = EPOLLIN, .data.fd = c->wake};
	writer_init(&c->unsent);
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->receiving, NULL);
	enum mc_status status = masters_open(address, &c->masters);
	for (size_t i = 0; !status && i < masters_count(c->masters); i++)
		status = dial_parse(&c->dial, masters_at(c->masters, i));
	if (!c->receive || c->wake < 0 || c->epoll_fd < 0 ||
	    epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, c->wake, &wake) < 0)
		status = MC_NO_MEMORY;
	if (!status) {
		*client = c; /* the thread's first event may use it */
		if (thread_start(&c->thread, client_thread, c) != 0)
			status = MC_NO_MEMORY;
	}
	if (status) {
		*client = NULL;
		if (c->wake >= 0)
			close(c->wake);
		if (c->epoll_fd >= 0)
			close(c->epoll_fd);
		masters_close(c->masters);
		free(c->receive);
		free(c);
		return status;
	}
	return MC_OK;
}

void client_stop(struct client *client)
{
	if (!client || atomic_exchange(&client->stopping, true))
		return;
	eventfd_write(client->wake, 1);
	pthread_join(client->thread, NULL);
}

void client_close(struct client *client)
{
	if (!client)
		return;
	client_stop(client);
	close(client->wake);
	close(client->epoll_fd);
	pthread_mutex_destroy(&client->receiving);
	writer_fini(&client->unsent);
	pthread_mutex_destroy(&client->lock);
	masters_close(client->masters);
	free(client->receive);
	free(client);
}

void client_set_ttl(struct client *client, uint32_t ttl_ms)
{
	client->ttl_ms = ttl_ms;
}

bool client_connected(const struct client *client)
{
	return client->connected && heard_lately(client);
}

void client_peer(struct client *client, char *text, size_t size)
{
	WITH_LOCK(&client->lock);
	snprintf(text, size, "%s", client->peer);
}

uint64_t client_calls(const struct client *client, enum mc_verb verb)
{
	return client->calls_by_verb[verb];
}
