#include "engine/fabric/tcp/lane.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/metadata/segment_desc.h"

#define MS_NS	       1000000ull
#define CONNECT_MS     5000u
#define STALL_MS       30000u
#define SLICE_STALL_MS 200u /* a slice out of time waits so long for a byte to move */

static struct slot *slot_at(struct lane *lane, uint64_t index)
{
	return &lane->slots[index % LANE_SLOTS];
}

/* --- what ended ------------------------------------------------------------- */

void endings_init(struct endings *endings)
{
	*endings = (struct endings){.last = &endings->first};
}

void endings_add(struct endings *endings, struct fabric_slice *slice, enum mc_status status)
{
	slice->word = (uint64_t)(int64_t)status;
	slice->next = NULL;
	*endings->last = slice;
	endings->last = &slice->next;
	endings->bytes += slice->length;
	if (status)
		endings->failed++;
	else
		endings->done++;
	if (!status && slice->opcode == FABRIC_READ)
		endings->bytes_read += slice->length;
	else if (!status)
		endings->bytes_written += slice->length;
}

void endings_tell(struct tcp *tcp, struct endings *endings)
{
	if (endings->done + endings->failed == 0)
		return;
	atomic_fetch_add_explicit(&tcp->slices_done, endings->done, memory_order_relaxed);
	atomic_fetch_add_explicit(&tcp->slices_failed, endings->failed, memory_order_relaxed);
	atomic_fetch_add_explicit(&tcp->bytes_read, endings->bytes_read, memory_order_relaxed);
	atomic_fetch_add_explicit(&tcp->bytes_written, endings->bytes_written,
				  memory_order_relaxed);
	atomic_fetch_sub(&tcp->slices, endings->done + endings->failed);
	atomic_fetch_sub(&tcp->bytes, endings->bytes);
	for (struct fabric_slice *slice = endings->first, *next; slice; slice = next) {
		next = slice->next;
		slice->done(slice, (enum mc_status)(int64_t)slice->word);
	}
	endings_init(endings);
}

/* --- life ------------------------------------------------------------------- */

static bool watch(struct lane *lane, int operation, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = lane};

	lane->events = events;
	return epoll_ctl(lane->peer->tcp->epoll_fd, operation, lane->fd, &event) == 0;
}

enum mc_status lane_new_locked(struct tcp_peer *peer, struct lane **made)
{
	struct lane *lane = malloc(sizeof(*lane));

	if (!lane)
		return MC_NO_MEMORY;
	memset(lane, 0, offsetof(struct lane, slots));
	lane->low_water = 1;
	lane->body_left = lane->begin = lane->end = 0;
	lane->body = NULL;
	lane->peer = peer;
	lane->moved_ns = clock_ns();
	enum mc_status status = net_connect_start(&peer->address, &lane->fd);
	if (status) {
		free(lane);
		return status;
	}
	net_watch_peer(lane->fd, NET_PATIENCE_S);
	if (!watch(lane, EPOLL_CTL_ADD, EPOLLOUT)) {
		close(lane->fd);
		free(lane);
		return MC_NO_MEMORY;
	}
	lane->next = peer->lanes;
	peer->lanes = lane;
	atomic_fetch_add(&peer->tcp->lanes, 1);
	atomic_fetch_add(&peer->tcp->connects, 1);
	*made = lane;
	return MC_OK;
}

static bool out_of_time(const struct slot *slot, uint64_t now_ns)
{
	return slot->slice && slot->slice->deadline_ns && slot->slice->deadline_ns <= now_ns;
}

static enum mc_status why_ended(const struct slot *slot, uint64_t now_ns, enum mc_status status)
{
	if (slot->cancelled)
		return MC_CANCELLED;
	return out_of_time(slot, now_ns) ? MC_TIMEOUT : status;
}

void lane_free_locked(struct lane *lane, enum mc_status status, struct endings *endings)
{
	struct tcp_peer *peer = lane->peer;
	struct lane **at = &peer->lanes;

	uint64_t now_ns = clock_ns();

	for (; lane->head < lane->tail; lane->head++) {
		const struct slot *slot = slot_at(lane, lane->head);
		if (slot->slice)
			endings_add(endings, slot->slice, why_ended(slot, now_ns, status));
	}
	while (*at != lane)
		at = &(*at)->next;
	*at = lane->next;
	/* As long as anybody else has the socket, a reader of /proc/PID/fd, say, it would go on. */
	(void)epoll_ctl(peer->tcp->epoll_fd, EPOLL_CTL_DEL, lane->fd, NULL);
	close(lane->fd);
	free(lane);
	atomic_fetch_sub(&peer->tcp->lanes, 1);
}

/* --- sending ----------------------------------------------------------------- */

uint32_t lane_room_locked(const struct lane *lane)
{
	return lane->state == LANE_BROKEN ? 0 : LANE_SLOTS - (uint32_t)(lane->tail - lane->head);
}

void lane_add_locked(struct lane *lane, struct fabric_slice *slice)
{
	MUST(lane->tail - lane->head < LANE_SLOTS);
	if (lane->head == lane->tail)
		lane->moved_ns = clock_ns();
	*slot_at(lane, lane->tail++) = (struct slot){
		.slice = slice,
		.length = slice->length,
		.opcode = (uint8_t)slice->opcode,
	};
	lane->bytes += slice->length;
}

static void encode(const struct slot *slot, uint8_t head[TCP_REQUEST_SIZE])
{
	const struct fabric_slice *slice = slot->slice;
	struct tcp_request request = {
		.opcode = slot->opcode,
		.length = slot->length,
		.number = slot->number,
		.address = slice->remote,
		.key = slice->buffer->key,
	};

	tcp_request_encode(head, &request);
}

/* A cancelled slice that was not sent leaves no trace on the wire. */
static void skip_cancelled(struct lane *lane)
{
	uint64_t to = lane->next_out + (lane->sent > 0 ? 1 : 0);

	for (uint64_t from = to; from < lane->tail; from++) {
		struct slot *slot = slot_at(lane, from);
		if (slot->slice)
			*slot_at(lane, to++) = *slot;
		else
			lane->bytes -= slot->length;
	}
	lane->tail = to;
}

bool lane_forsake_locked(struct lane *lane)
{
	skip_cancelled(lane);
	for (uint64_t i = lane->head; i < lane->tail; i++) {
		if (slot_at(lane, i)->slice)
			return false;
	}
	lane->state = LANE_BROKEN;
	shutdown(lane->fd, SHUT_RDWR);
	return true;
}

/* Put the next slices into parts, but for what was sent of the first; returns how many parts. */
static uint32_t gather(struct lane *lane, uint64_t *end)
{
	uint32_t used = 0, skip = lane->sent;
	uint64_t index = lane->next_out, number = lane->number;

	for (uint32_t i = 0; i < LANE_PART_MAX && index < lane->tail; i++, index++) {
		struct slot *slot = slot_at(lane, index);
		uint32_t body = slot->opcode == FABRIC_WRITE ? slot->length : 0;
		slot->number = number++;
		encode(slot, lane->heads[i]);
		if (skip < TCP_REQUEST_SIZE) {
			lane->parts[used++] =
				(struct iovec){lane->heads[i] + skip, TCP_REQUEST_SIZE - skip};
			skip = TCP_REQUEST_SIZE;
		}
		skip -= TCP_REQUEST_SIZE;
		if (body > skip)
			lane->parts[used++] =
				(struct iovec){(uint8_t *)slot->slice->local + skip, body - skip};
		skip = 0;
	}
	*end = index;
	return used;
}

static void advance(struct lane *lane, uint64_t bytes)
{
	bytes += lane->sent;
	while (lane->next_out < lane->tail) {
		struct slot *slot = slot_at(lane, lane->next_out);
		uint64_t whole = TCP_REQUEST_SIZE +
				 (slot->opcode == FABRIC_WRITE ? (uint64_t)slot->length : 0);
		if (bytes < whole)
			break;
		bytes -= whole;
		lane->next_out++;
		lane->number++;
	}
	lane->sent = (uint32_t)bytes;
}

static void block(struct lane *lane, bool blocked)
{
	lane->blocked = blocked;
	uint32_t events = blocked ? EPOLLIN | EPOLLOUT : EPOLLIN;
	if (lane->events != events && !watch(lane, EPOLL_CTL_MOD, events))
		shutdown(lane->fd, SHUT_RDWR);
}

/* send() of a single part costs a tenth of a microsecond less than sendmsg(). */
static ssize_t send_parts(struct lane *lane, uint32_t count)
{
	struct msghdr message = {.msg_iov = lane->parts, .msg_iovlen = count};

	if (count == 1)
		return send(lane->fd, lane->parts->iov_base, lane->parts->iov_len,
			    MSG_DONTWAIT | MSG_NOSIGNAL);
	return sendmsg(lane->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void lane_send_locked(struct lane *lane)
{
	uint64_t end;

	if (lane->state != LANE_OPEN)
		return;
	skip_cancelled(lane);
	while (lane->next_out < lane->tail) {
		ssize_t sent = send_parts(lane, gather(lane, &end));
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno != EAGAIN) {
			lane->state = LANE_BROKEN;
			shutdown(lane->fd, SHUT_RDWR);
			return;
		}
		if (sent < 0) {
			block(lane, true);
			return;
		}
		lane->moved_ns = clock_ns();
		advance(lane, (uint64_t)sent);
	}
	if (lane->blocked)
		block(lane, false);
}

bool lane_drop_locked(struct lane *lane, const struct fabric_slice *slice, bool cancel)
{
	for (uint64_t i = lane->head; i < lane->tail; i++) {
		struct slot *slot = slot_at(lane, i);
		if (slot->slice != slice)
			continue;
		/* Its memory is in use: by the driver, or by the rest of a request. */
		if ((i == lane->head && lane->receiving) ||
		    (i == lane->next_out && lane->sent > 0)) {
			slot->cancelled = slot->cancelled || cancel;
			return false;
		}
		slot->slice = NULL;
		return true;
	}
	return false;
}

/* --- receiving ---------------------------------------------------------------- */

/* The reply at the head is whole. */
static void finish_head(struct lane *lane, enum mc_status status, struct endings *endings)
{
	WITH_LOCK(&lane->peer->lock);
	struct slot *slot = slot_at(lane, lane->head++);

	lane->receiving = false;
	lane->bytes -= slot->length;
	if (slot->slice)
		endings_add(endings, slot->slice, status);
}

static enum mc_status begin_reply(struct lane *lane, struct endings *endings)
{
	struct tcp_reply reply;
	enum mc_status status = tcp_reply_decode(lane->input + lane->begin, &reply);

	if (status)
		return status;
	pthread_mutex_lock(&lane->peer->lock);
	struct slot *slot = slot_at(lane, lane->head);
	bool right = lane->head < lane->next_out && reply.number == slot->number &&
		     reply.opcode == slot->opcode &&
		     (reply.status || slot->opcode == FABRIC_WRITE || reply.length == slot->length);
	lane->body_left = reply.length;
	lane->body = right && slot->slice ? slot->slice->local : NULL;
	lane->receiving = right && reply.length > 0 && lane->body;
	pthread_mutex_unlock(&lane->peer->lock);
	if (!right)
		return MC_PROTOCOL;
	lane->begin += TCP_REPLY_SIZE;
	if (lane->body_left == 0)
		finish_head(lane, reply.status, endings);
	return MC_OK;
}

static void take_body(struct lane *lane, uint32_t size, struct endings *endings)
{
	lane->body_left -= size;
	if (lane->body)
		lane->body += size;
	if (lane->body_left == 0)
		finish_head(lane, MC_OK, endings);
}

static enum mc_status begin_open(struct lane *lane)
{
	struct tcp_welcome welcome;
	enum mc_status status = tcp_welcome_decode(lane->input + lane->begin, &welcome);

	if (status || welcome.status || welcome.version != TCP_VERSION) {
		log_warn("tcp: a peer speaks no version of ours status=\"%s\"",
			 mc_status_text(status ? status : welcome.status));
		return MC_PROTOCOL;
	}
	lane->begin += TCP_HELLO_SIZE;
	WITH_LOCK(&lane->peer->lock);
	lane->state = LANE_OPEN;
	lane_send_locked(lane);
	return MC_OK;
}

/* Act on what is in the input, as far as it is whole. */
static enum mc_status digest(struct lane *lane, struct endings *endings)
{
	enum mc_status status = MC_OK;

	while (status == MC_OK) {
		uint32_t there = lane->end - lane->begin;
		if (lane->body_left > 0) {
			uint32_t size = there < lane->body_left ? there : lane->body_left;
			if (size == 0)
				return MC_OK;
			if (lane->body)
				memcpy(lane->body, lane->input + lane->begin, size);
			lane->begin += size;
			take_body(lane, size, endings);
		} else if (lane->state == LANE_GREETING && there >= TCP_HELLO_SIZE) {
			status = begin_open(lane);
		} else if (lane->state != LANE_GREETING && there >= TCP_REPLY_SIZE) {
			status = begin_reply(lane, endings);
		} else {
			return MC_OK;
		}
	}
	return status;
}

#define DIRECT_SIZE (8u << 10)
#define LOW_WATER   (512u << 10)

/* Of a long body, be told when much of it is there, not of each segment. */
static void set_low_water(struct lane *lane)
{
	int wanted = 1;

	if (lane->body_left >= LOW_WATER / 4)
		wanted = (int)(lane->body_left < LOW_WATER ? lane->body_left : LOW_WATER);
	if ((uint32_t)wanted == lane->low_water)
		return;
	lane->low_water = (uint32_t)wanted;
	(void)setsockopt(lane->fd, SOL_SOCKET, SO_RCVLOWAT, &wanted, sizeof(wanted));
}

/* One system call: the rest of a body to where it belongs, and what follows to the input. */
static ssize_t fill(struct lane *lane)
{
	uint32_t there = lane->end - lane->begin;
	bool direct = there == 0 && lane->body && lane->body_left >= DIRECT_SIZE;

	memmove(lane->input, lane->input + lane->begin, there);
	lane->begin = 0;
	lane->end = there;
	if (!direct)
		return recv(lane->fd, lane->input + there, LANE_INPUT_SIZE - there, MSG_DONTWAIT);
	struct iovec parts[] = {{lane->body, lane->body_left}, {lane->input, LANE_INPUT_SIZE}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = ARRAY_SIZE(parts)};
	return recvmsg(lane->fd, &message, MSG_DONTWAIT);
}

static enum mc_status receive(struct lane *lane, struct endings *endings)
{
	bool direct = lane->begin == lane->end && lane->body && lane->body_left >= DIRECT_SIZE;
	ssize_t got = fill(lane);

	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? MC_AGAIN : MC_UNREACHABLE;
	if (got == 0)
		return MC_UNREACHABLE;
	uint32_t size = (uint32_t)got;
	lane->moved_ns = clock_ns();
	if (direct) {
		uint32_t body = size < lane->body_left ? size : lane->body_left;
		take_body(lane, body, endings);
		size -= body;
	}
	lane->end += size;
	return digest(lane, endings);
}

static enum mc_status greet(struct lane *lane)
{
	struct tcp_hello hello = {TCP_VERSION, TCP_VERSION};
	uint8_t bytes[TCP_HELLO_SIZE];

	if (net_connect_finish(lane->fd) != MC_OK)
		return MC_UNREACHABLE;
	tcp_hello_encode(bytes, &hello);
	WITH_LOCK(&lane->peer->lock);
	lane->state = LANE_GREETING;
	block(lane, false);
	ssize_t sent = send(lane->fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
	return sent == (ssize_t)sizeof(bytes) ? MC_OK : MC_UNREACHABLE;
}

enum mc_status lane_ready(struct lane *lane, uint32_t events, struct endings *endings)
{
	if (lane->state == LANE_CONNECTING)
		return greet(lane);
	if (events & EPOLLOUT) {
		WITH_LOCK(&lane->peer->lock);
		lane_send_locked(lane);
	}
	if (!(events & ~(uint32_t)EPOLLOUT))
		return MC_OK;
	enum mc_status status = receive(lane, endings);
	if (status == MC_PROTOCOL)
		log_warn("tcp: dropped a peer that does not speak the protocol");
	set_low_water(lane);
	return status == MC_AGAIN ? MC_OK : status;
}

/* --- time ----------------------------------------------------------------------- */

bool lane_in_time_locked(struct lane *lane, uint64_t now_ns, struct endings *endings)
{
	/* Somebody may have moved bytes since that now. */
	uint64_t silent_ns = now_ns > lane->moved_ns ? now_ns - lane->moved_ns : 0;
	bool stuck = false;

	if (lane->state < LANE_OPEN && silent_ns > CONNECT_MS * MS_NS)
		return false;
	for (uint64_t i = lane->head; i < lane->tail; i++) {
		const struct slot *slot = slot_at(lane, i);
		struct fabric_slice *slice = slot->slice;
		bool late = out_of_time(slot, now_ns);
		if (late && lane_drop_locked(lane, slice, false))
			endings_add(endings, slice, MC_TIMEOUT);
		else
			stuck = stuck || late || slot->cancelled;
	}
	if (stuck && silent_ns > SLICE_STALL_MS * MS_NS)
		return false;
	return lane->head == lane->tail || silent_ns < STALL_MS * MS_NS;
}
