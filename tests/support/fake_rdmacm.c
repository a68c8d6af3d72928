#include "tests/support/fake_rdmacm.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tests/support/fake_verbs.h"

#define EVENT_MAX   4096u
#define PRIVATE_MAX 56u

struct fake_event {
	struct rdma_cm_event event;
	uint8_t data[PRIVATE_MAX];
};

struct fake_channel {
	struct rdma_event_channel channel;
	struct fake_event *events[EVENT_MAX];
	uint32_t count;
};

struct fake_id {
	struct rdma_cm_id id;
	struct fake_id *next;
	struct fake_id *peer; /* the other side, as long as it is there */
	union ibv_gid from, to;
	uint16_t port; /* listens there, or is to go there */
	bool listens, connected;
	uint32_t psn, qp_num;
	uint32_t peer_psn, peer_qp_num;
	uint32_t out; /* events that the user has and did not acknowledge */
};

static struct {
	pthread_mutex_t lock;
	struct fake_id *ids;
	struct fake_cm_counts counts;
	struct fake_cm_way way;
	struct ibv_context contexts[FAKE_DEVICE_MAX];
	uint32_t next;
	struct {
		uint32_t after, times, called;
		int error;
	} calls[FAKE_CM_CALLS];
	struct {
		enum rdma_cm_event_type expected;
		int given;
		uint32_t times;
	} replace;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- what the test wants ------------------------------------------------------- */

void fake_cm_reset(void)
{
	WITH_LOCK(&fake.lock);
	MUST(!fake.ids && fake.counts.channels == 0);
	memset(&fake.counts, 0, sizeof(fake.counts));
	memset(fake.calls, 0, sizeof(fake.calls));
	fake.replace.times = 0;
	fake.way = (struct fake_cm_way){.mtu = IBV_MTU_4096, .timeout = 18};
	for (uint32_t i = 0; i < FAKE_DEVICE_MAX; i++)
		fake.contexts[i].device = &fake_device(i)->device;
}

struct fake_cm_counts fake_cm_counts(void)
{
	WITH_LOCK(&fake.lock);
	return fake.counts;
}

struct fake_cm_way *fake_cm_way(void)
{
	return &fake.way;
}

uint16_t fake_cm_port(void)
{
	WITH_LOCK(&fake.lock);
	for (const struct fake_id *at = fake.ids; at; at = at->next)
		if (at->listens)
			return at->port;
	return 0;
}

void fake_cm_fail(enum fake_cm_call call, uint32_t after, uint32_t times, int error)
{
	WITH_LOCK(&fake.lock);
	fake.calls[call].after = after;
	fake.calls[call].times = times;
	fake.calls[call].error = error;
}

uint32_t fake_cm_called(enum fake_cm_call call)
{
	WITH_LOCK(&fake.lock);
	return fake.calls[call].called;
}

void fake_cm_replace(enum rdma_cm_event_type expected, int given, uint32_t times)
{
	WITH_LOCK(&fake.lock);
	fake.replace.expected = expected;
	fake.replace.given = given;
	fake.replace.times = times;
}

/* -1 where this call is to fail. */
static int fails(enum fake_cm_call call)
{
	fake.calls[call].called++;
	if (fake.calls[call].times == 0)
		return 0;
	if (fake.calls[call].after > 0) {
		fake.calls[call].after--;
		return 0;
	}
	fake.calls[call].times--;
	errno = fake.calls[call].error;
	return -1;
}

static int refuse(int error)
{
	errno = error;
	return -1;
}

/* --- events ---------------------------------------------------------------------- */

static struct fake_id *fake_of(struct rdma_cm_id *id)
{
	return container_of(id, struct fake_id, id);
}

static struct fake_event *tell(struct fake_id *id, enum rdma_cm_event_type type)
{
	struct fake_channel *channel = container_of(id->id.channel, struct fake_channel, channel);
	struct fake_event *made = calloc(1, sizeof(*made));
	uint64_t one = 1;

	MUST(made && channel->count < EVENT_MAX);
	made->event = (struct rdma_cm_event){.id = &id->id, .event = type};
	if (fake.replace.times > 0 && fake.replace.expected == type) {
		fake.replace.times--;
		if (fake.replace.given == FAKE_CM_SILENCE) {
			free(made);
			return NULL;
		}
		made->event.event = (enum rdma_cm_event_type)fake.replace.given;
	}
	channel->events[channel->count++] = made;
	fake.counts.events++;
	MUST(write(channel->channel.fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
	return made;
}

void fake_cm_raise(bool listening, enum rdma_cm_event_type type)
{
	WITH_LOCK(&fake.lock);
	for (struct fake_id *at = fake.ids; at; at = at->next)
		if (listening ? at->listens : at->connected)
			(void)tell(at, type);
}

static struct rdma_event_channel *create_channel(void)
{
	WITH_LOCK(&fake.lock);
	if (fails(FAKE_CM_CREATE_CHANNEL))
		return NULL;
	struct fake_channel *channel = calloc(1, sizeof(*channel));
	MUST(channel);
	channel->channel.fd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
	fake.counts.channels++;
	return &channel->channel;
}

static void destroy_channel(struct rdma_event_channel *base)
{
	struct fake_channel *channel = container_of(base, struct fake_channel, channel);

	WITH_LOCK(&fake.lock);
	MUST(channel->count == 0);
	close(base->fd);
	free(channel);
	fake.counts.channels--;
}

static int get_event(struct rdma_event_channel *base, struct rdma_cm_event **event)
{
	struct fake_channel *channel = container_of(base, struct fake_channel, channel);
	uint64_t one;

	if (read(base->fd, &one, sizeof(one)) < 0)
		return -1;
	WITH_LOCK(&fake.lock);
	/* It may have gone with its id. */
	if (channel->count == 0)
		return refuse(EAGAIN);
	struct fake_event *first = channel->events[0];
	memmove(&channel->events[0], &channel->events[1],
		--channel->count * sizeof(channel->events[0]));
	struct rdma_cm_event *to = &first->event;
	fake_of(to->listen_id ? to->listen_id : to->id)->out++;
	*event = to;
	return 0;
}

static int ack_event(struct rdma_cm_event *event)
{
	WITH_LOCK(&fake.lock);
	fake_of(event->listen_id ? event->listen_id : event->id)->out--;
	free(container_of(event, struct fake_event, event));
	fake.counts.events--;
	return 0;
}

/* --- ids ------------------------------------------------------------------------------ */

static struct fake_id *make(struct rdma_event_channel *channel, void *context)
{
	struct fake_id *id = calloc(1, sizeof(*id));

	MUST(id);
	id->id.channel = channel;
	id->id.context = context;
	id->psn = ++fake.next & 0xffffff;
	id->next = fake.ids;
	fake.ids = id;
	fake.counts.ids++;
	return id;
}

static int create_id(struct rdma_event_channel *channel, struct rdma_cm_id **id, void *context,
		     enum rdma_port_space space)
{
	WITH_LOCK(&fake.lock);
	MUST(space == RDMA_PS_TCP);
	if (fails(FAKE_CM_CREATE_ID))
		return -1;
	*id = &make(channel, context)->id;
	return 0;
}

static void forget_events(struct fake_id *id)
{
	struct fake_channel *channel = container_of(id->id.channel, struct fake_channel, channel);
	uint32_t kept = 0;

	for (uint32_t i = 0; i < channel->count; i++) {
		struct fake_event *at = channel->events[i];
		if (at->event.id != &id->id && at->event.listen_id != &id->id) {
			channel->events[kept++] = at;
			continue;
		}
		free(at);
		fake.counts.events--;
	}
	channel->count = kept;
}

static int destroy_id(struct rdma_cm_id *base)
{
	struct fake_id **at = &fake.ids;
	struct fake_id *id = fake_of(base);

	WITH_LOCK(&fake.lock);
	int error = fails(FAKE_CM_DESTROY_ID);
	MUST(id->out == 0);
	while (*at != id)
		at = &(*at)->next;
	*at = id->next;
	forget_events(id);
	if (id->peer) {
		id->peer->peer = NULL;
		(void)tell(id->peer,
			   id->connected ? RDMA_CM_EVENT_DISCONNECTED : RDMA_CM_EVENT_REJECTED);
	}
	free(id);
	fake.counts.ids--;
	return error;
}

/* --- addresses --------------------------------------------------------------------------- */

static union ibv_gid gid_of(const struct sockaddr *address, uint16_t *port)
{
	union ibv_gid gid = {.raw = {[10] = 0xff, [11] = 0xff}};

	if (address->sa_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
		memcpy(gid.raw + 12, &v4->sin_addr, 4);
		*port = ntohs(v4->sin_port);
	} else {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
		MUST(address->sa_family == AF_INET6);
		memcpy(gid.raw, &v6->sin6_addr, 16);
		*port = ntohs(v6->sin6_port);
	}
	return gid;
}

static bool same(const union ibv_gid *a, const union ibv_gid *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* Find whose address it is. */
static int bind_to(struct fake_id *id, const union ibv_gid *gid)
{
	for (uint32_t i = 0; i < FAKE_DEVICE_MAX; i++)
		for (uint32_t k = 0; k < FAKE_GID_MAX; k++) {
			if (!same(&fake_device(i)->gids[k].gid, gid))
				continue;
			id->id.verbs = &fake.contexts[i];
			id->id.port_num = 1;
			id->from = *gid;
			return 0;
		}
	return refuse(EADDRNOTAVAIL);
}

static int bind_addr(struct rdma_cm_id *id, struct sockaddr *address)
{
	uint16_t port;
	union ibv_gid gid = gid_of(address, &port);

	WITH_LOCK(&fake.lock);
	return fails(FAKE_CM_BIND_ADDR) ? -1 : bind_to(fake_of(id), &gid);
}

static int listen_at(struct rdma_cm_id *id, int backlog)
{
	(void)backlog;
	WITH_LOCK(&fake.lock);
	if (fails(FAKE_CM_LISTEN))
		return -1;
	fake_of(id)->port = (uint16_t)(1 + ++fake.next % 65535);
	fake_of(id)->listens = true;
	return 0;
}

static uint16_t get_src_port(struct rdma_cm_id *id)
{
	WITH_LOCK(&fake.lock);
	return htons(fake_of(id)->port);
}

static int resolve_addr(struct rdma_cm_id *base, struct sockaddr *from, struct sockaddr *to,
			int timeout_ms)
{
	struct fake_id *id = fake_of(base);
	union ibv_gid source;
	uint16_t none;

	WITH_LOCK(&fake.lock);
	MUST(timeout_ms > 0);
	if (fails(FAKE_CM_RESOLVE_ADDR))
		return -1;
	source = gid_of(from, &none);
	id->to = gid_of(to, &id->port);
	if (bind_to(id, &source))
		return -1;
	(void)tell(id, RDMA_CM_EVENT_ADDR_RESOLVED);
	return 0;
}

static int resolve_route(struct rdma_cm_id *id, int timeout_ms)
{
	(void)timeout_ms;
	WITH_LOCK(&fake.lock);
	if (fails(FAKE_CM_RESOLVE_ROUTE))
		return -1;
	(void)tell(fake_of(id), RDMA_CM_EVENT_ROUTE_RESOLVED);
	return 0;
}

/* --- connections --------------------------------------------------------------------------- */

static struct fake_id *listener_at(const struct fake_id *id)
{
	for (struct fake_id *at = fake.ids; at; at = at->next)
		if (at->listens && at->port == id->port && same(&at->from, &id->to))
			return at;
	return NULL;
}

static int connect_to(struct rdma_cm_id *base, struct rdma_conn_param *param)
{
	struct fake_id *id = fake_of(base);

	WITH_LOCK(&fake.lock);
	MUST(param->private_data_len <= PRIVATE_MAX);
	if (fails(FAKE_CM_CONNECT))
		return -1;
	struct fake_id *listener = listener_at(id);
	id->qp_num = param->qp_num;
	if (!listener) {
		(void)tell(id, RDMA_CM_EVENT_REJECTED);
		return 0;
	}
	struct fake_event *event = tell(listener, RDMA_CM_EVENT_CONNECT_REQUEST);
	if (!event)
		return 0;
	struct fake_id *asked = make(listener->id.channel, listener->id.context);
	asked->id.verbs = listener->id.verbs;
	asked->id.port_num = listener->id.port_num;
	asked->from = id->to;
	asked->to = id->from;
	asked->peer_psn = id->psn;
	asked->peer_qp_num = id->qp_num;
	asked->peer = id;
	id->peer = asked;
	event->event.id = &asked->id;
	event->event.listen_id = &listener->id;
	memcpy(event->data, param->private_data, param->private_data_len);
	event->event.param.conn = (struct rdma_conn_param){.private_data = event->data,
							   .private_data_len = PRIVATE_MAX};
	return 0;
}

static int accept_id(struct rdma_cm_id *base, struct rdma_conn_param *param)
{
	struct fake_id *id = fake_of(base);

	WITH_LOCK(&fake.lock);
	if (fails(FAKE_CM_ACCEPT))
		return -1;
	if (!id->peer)
		return refuse(EINVAL);
	id->peer->peer_qp_num = param->qp_num;
	id->peer->peer_psn = id->psn;
	(void)tell(id->peer, RDMA_CM_EVENT_CONNECT_RESPONSE);
	return 0;
}

static int reject(struct rdma_cm_id *base, const void *data, uint8_t size)
{
	struct fake_id *id = fake_of(base);

	(void)data;
	(void)size;
	WITH_LOCK(&fake.lock);
	if (id->peer) {
		id->peer->peer = NULL;
		(void)tell(id->peer, RDMA_CM_EVENT_REJECTED);
	}
	id->peer = NULL;
	return 0;
}

static int establish(struct rdma_cm_id *base)
{
	struct fake_id *id = fake_of(base);

	WITH_LOCK(&fake.lock);
	if (fails(FAKE_CM_ESTABLISH))
		return -1;
	if (!id->peer)
		return refuse(EINVAL);
	id->connected = id->peer->connected = true;
	fake.counts.connects++;
	(void)tell(id->peer, RDMA_CM_EVENT_ESTABLISHED);
	return 0;
}

static int init_qp_attr(struct rdma_cm_id *base, struct ibv_qp_attr *attr, int *mask)
{
	const struct fake_id *id = fake_of(base);

	WITH_LOCK(&fake.lock);
	*mask = IBV_QP_STATE;
	if (fails(FAKE_CM_INIT_QP_ATTR))
		return -1;
	attr->path_mtu = fake.way.mtu;
	attr->timeout = fake.way.timeout;
	attr->dest_qp_num = id->peer_qp_num;
	attr->rq_psn = id->peer_psn;
	attr->sq_psn = id->psn;
	/* Another index of the same address: the user takes the one that it chose. */
	attr->ah_attr = (struct ibv_ah_attr){
		.grh = {.dgid = id->to,
			.sgid_index = FAKE_GID_MAX - 1,
			.traffic_class = fake.way.traffic_class},
		.sl = fake.way.service_level,
		.is_global = 1,
		.port_num = id->id.port_num,
	};
	return 0;
}

const struct rdmacm rdmacm_fake = {
	.create_channel = create_channel,
	.destroy_channel = destroy_channel,
	.get_event = get_event,
	.ack_event = ack_event,
	.create_id = create_id,
	.destroy_id = destroy_id,
	.bind_addr = bind_addr,
	.listen = listen_at,
	.get_src_port = get_src_port,
	.resolve_addr = resolve_addr,
	.resolve_route = resolve_route,
	.connect = connect_to,
	.accept = accept_id,
	.reject = reject,
	.establish = establish,
	.init_qp_attr = init_qp_attr,
};
