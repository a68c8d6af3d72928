/*
 * Queue pairs connected by librdmacm, one id each, by the control thread: the
 * kernel finds the way from our GID's address to the peer's (neighbour, VLAN, MTU,
 * hop limit, traffic class) and carries the numbers of queue pairs and packets.
 * Each device listens at its GID's address.  Who asks says which queue pair it
 * wants, as the handshake before (handshake.h) told it:
 *
 *   offset  size
 *   0       4     magic 0x3143434d
 *   4       4     number of the queue pair of the one who is asked
 *   8       4     the packet number that its handshake had: nobody else knows it
 *
 * little-endian.  Valid is what has the magic, and names a queue pair whose
 * endpoint still waits for it.  The kernel pads it with zeros.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>

#include "engine/base/buffer.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/fabric/rdma/handshake.h"
#include "engine/fabric/rdma/internal.h"

#define ASK_MAGIC 0x3143434du /* "MCC1" */
#define BACKLOG	  128
#define ASKS	  4u /* within MC_CONNECT_TIMEOUT_MS */

/* What an event says that is still needed when the library has it back. */
struct news {
	struct rdma_cm_id *id;
	struct rdma_cm_id *listener; /* which it came to; NULL: to the id itself */
	enum rdma_cm_event_type type;
	uint8_t ask[RDMA_ASK_SIZE];
	size_t ask_size;
};

static enum mc_status cm_failed(const struct rdma_device *device, const char *call)
{
	return verbs_failed(device, call, errno);
}

/* A GID of RoCE v2 is an IP address. */
static void address_of(const uint8_t gid[16], uint16_t port, struct sockaddr_storage *address)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;

	memset(address, 0, sizeof(*address));
	if (gid_is_mapped(gid)) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, gid + 12, 4);
		return;
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	memcpy(&v6->sin6_addr, gid, 16);
}

static bool is_ours(const struct rdma_device *device, const struct rdma_cm_id *id)
{
	return id->verbs && strcmp(id->verbs->device->name, device->name) == 0 &&
	       id->port_num == device->config.port;
}

/* --- the end --------------------------------------------------------------------- */

static void drop(struct rdma_device *device, struct rdma_cm_id *id)
{
	if (device->verbs->cm->destroy_id(id))
		(void)cm_failed(device, "destroy_id");
}

void cm_end(struct endpoint *endpoint)
{
	for (uint32_t i = 0; i < endpoint->qp_count; i++)
		if (endpoint->qps[i].cm_id)
			drop(endpoint->device, STEAL(endpoint->qps[i].cm_id));
	/* Next time without: see say_first(). */
	if (endpoint->path && endpoint->pending > 0)
		endpoint->path->by_handshake = true;
	endpoint->pending = 0;
}

static void lost(struct queue_pair *pair, const char *why)
{
	struct endpoint *endpoint = pair->endpoint;

	log_debug("rdma connection lost device=%s peer=%s why=\"%s\"", endpoint->device->name,
		  endpoint->peer ? endpoint->peer->name : "", why);
	WITH_LOCK(&endpoint->device->lock);
	endpoint_fail(endpoint, MC_UNREACHABLE, true);
}

/* --- our side asks ---------------------------------------------------------------- */

static enum mc_status begin_pair(struct queue_pair *pair)
{
	struct endpoint *endpoint = pair->endpoint;
	struct rdma_device *device = endpoint->device;
	const struct rdmacm *cm = device->verbs->cm;
	struct port port = device_port(device);
	struct sockaddr_storage from, to;

	pair->asked_ns = clock_ns();
	address_of(port.gid.gid.raw, 0, &from);
	address_of(endpoint->far.raw, endpoint->far_port, &to);
	if (cm->create_id(device->fabric->control.cm_channel, &pair->cm_id, pair, RDMA_PS_TCP)) {
		pair->cm_id = NULL;
		return cm_failed(device, "create_id");
	}
	if (cm->resolve_addr(pair->cm_id, (struct sockaddr *)&from, (struct sockaddr *)&to,
			     (int)device->config.connect_ms))
		return cm_failed(device, "resolve_addr");
	return MC_OK;
}

static void write_ask(struct queue_pair *pair, uint32_t number, uint32_t psn)
{
	struct writer writer;

	writer_init_fixed(&writer, pair->ask, sizeof(pair->ask));
	put_u32(&writer, ASK_MAGIC);
	put_u32(&writer, number);
	put_u32(&writer, psn);
	MUST(!writer.failed);
}

enum mc_status cm_connect(struct endpoint *endpoint, const struct handshake *theirs)
{
	/* The other side only says so to one who did. */
	if (!endpoint->device->fabric->control.cm_channel)
		return MC_PROTOCOL;
	endpoint->by_cm = true;
	endpoint->pending = endpoint->qp_count;
	memcpy(endpoint->far.raw, theirs->gid, sizeof(endpoint->far.raw));
	endpoint->far_port = theirs->cm_port;
	for (uint32_t i = 0; i < endpoint->qp_count; i++) {
		write_ask(&endpoint->qps[i], theirs->qp_num[i], theirs->psn);
		enum mc_status status = begin_pair(&endpoint->qps[i]);
		if (status)
			return status;
	}
	return MC_OK;
}

/*
 * The kernel sends again after 5 s and more, and its search for a neighbour may miss the
 * answer: right after a link came up either is too late.
 */
void cm_check(struct endpoint *endpoint, uint64_t now_ns)
{
	uint64_t patience_ns = (uint64_t)endpoint->device->config.connect_ms * 1000000u / ASKS;

	for (uint32_t i = 0; endpoint->peer && i < endpoint->qp_count; i++) {
		struct queue_pair *pair = &endpoint->qps[i];
		if (!pair->cm_id || pair->established || now_ns < pair->asked_ns + patience_ns)
			continue;
		drop(endpoint->device, STEAL(pair->cm_id));
		if (begin_pair(pair)) {
			lost(pair, "can't ask again");
			return;
		}
	}
}

static void find_route(struct queue_pair *pair)
{
	struct rdma_device *device = pair->endpoint->device;

	if (!is_ours(device, pair->cm_id))
		lost(pair, "the address is another device's");
	else if (device->verbs->cm->resolve_route(pair->cm_id, (int)device->config.connect_ms))
		lost(pair, "no route");
}

static struct rdma_conn_param param_of(const struct queue_pair *pair)
{
	const struct rdma_config *config = &pair->endpoint->device->config;

	/* Who asks reads, who answers is read: endpoint.c sets the same in the queue pairs. */
	return (struct rdma_conn_param){
		.responder_resources = pair->ring ? 1 : (uint8_t)config->rd_atomic_max,
		.initiator_depth = pair->ring ? (uint8_t)config->rd_atomic_max : 1,
		.flow_control = 1,
		.retry_count = (uint8_t)config->retry_count,
		.rnr_retry_count = (uint8_t)config->rnr_retry_count,
		.qp_num = pair->qp->qp_num,
	};
}

static void ask(struct queue_pair *pair)
{
	struct rdma_conn_param param = param_of(pair);

	param.private_data = pair->ask;
	param.private_data_len = sizeof(pair->ask);
	if (pair->endpoint->device->verbs->cm->connect(pair->cm_id, &param))
		lost(pair, "can't ask");
}

/* --- both sides ---------------------------------------------------------------------- */

/* Bring a queue pair to where it sends, by what the kernel says of the way. */
static enum mc_status connect_pair(struct queue_pair *pair)
{
	struct rdma_device *device = pair->endpoint->device;
	struct ibv_qp_attr receive = {.qp_state = IBV_QPS_RTR};
	struct ibv_qp_attr send = {.qp_state = IBV_QPS_RTS};
	int mask;

	if (device->verbs->cm->init_qp_attr(pair->cm_id, &receive, &mask) ||
	    device->verbs->cm->init_qp_attr(pair->cm_id, &send, &mask))
		return cm_failed(device, "init_qp_attr");
	return endpoint_connect_by(pair, &(struct way){.ah = receive.ah_attr,
						       .mtu = receive.path_mtu,
						       .qp_num = receive.dest_qp_num,
						       .rq_psn = receive.rq_psn,
						       .sq_psn = send.sq_psn,
						       .timeout = send.timeout});
}

static void one_done(struct queue_pair *pair)
{
	struct endpoint *endpoint = pair->endpoint;

	MUST(endpoint->pending > 0);
	if (--endpoint->pending > 0)
		return;
	if (endpoint->peer)
		atomic_fetch_add(&endpoint->device->fabric->connects_cm, 1);
	endpoint_ready(endpoint);
}

static void take_answer(struct queue_pair *pair)
{
	if (connect_pair(pair) || pair->endpoint->device->verbs->cm->establish(pair->cm_id)) {
		lost(pair, "queue pair doesn't connect");
		return;
	}
	pair->established = true;
	one_done(pair);
}

/* --- the other side asks ------------------------------------------------------------------ */

void cm_expect(struct endpoint *endpoint)
{
	endpoint->by_cm = true;
	endpoint->pending = endpoint->qp_count;
}

static struct queue_pair *asked_of(struct endpoint *endpoint, uint32_t number, uint32_t psn)
{
	if (endpoint->peer || !endpoint->by_cm || endpoint->psn != psn ||
	    endpoint->state == ENDPOINT_ENDING)
		return NULL;
	for (uint32_t i = 0; i < endpoint->qp_count; i++)
		if (endpoint->qps[i].qp->qp_num == number && !endpoint->qps[i].established)
			return &endpoint->qps[i];
	return NULL;
}

static struct queue_pair *find_asked(struct rdma_device *device, const struct news *news)
{
	struct reader reader;
	struct queue_pair *pair = NULL;

	reader_init(&reader, news->ask, news->ask_size);
	uint32_t magic = get_u32(&reader);
	uint32_t number = get_u32(&reader);
	uint32_t psn = get_u32(&reader);
	if (reader.failed || magic != ASK_MAGIC)
		return NULL;
	WITH_LOCK(&device->lock);
	for (struct endpoint *at = device->endpoints; at && !pair; at = at->next)
		pair = asked_of(at, number, psn);
	return pair;
}

static void answer(struct rdma_device *device, const struct news *news)
{
	struct queue_pair *pair = is_ours(device, news->id) ? find_asked(device, news) : NULL;

	if (!pair) {
		log_debug("rdma connection not expected device=%s", device->name);
		(void)device->verbs->cm->reject(news->id, NULL, 0);
		drop(device, news->id);
		return;
	}
	struct rdma_conn_param param = param_of(pair);
	if (pair->cm_id)
		drop(device, STEAL(pair->cm_id));
	news->id->context = pair;
	pair->cm_id = news->id;
	if ((pair->answered && endpoint_reset(pair)) || connect_pair(pair) ||
	    device->verbs->cm->accept(pair->cm_id, &param))
		lost(pair, "can't accept");
	else if (!pair->answered)
		one_done(pair);
	pair->answered = true;
}

/* --- the listener --------------------------------------------------------------------------- */

static void stop_listening(struct rdma_device *device)
{
	if (device->listener)
		drop(device, STEAL(device->listener));
	device->cm_port = 0;
}

static const char *start_listening(struct rdma_device *device, const struct port *port)
{
	const struct rdmacm *cm = device->verbs->cm;
	struct sockaddr_storage address;

	address_of(port->gid.gid.raw, 0, &address);
	if (cm->create_id(device->fabric->control.cm_channel, &device->listener, device,
			  RDMA_PS_TCP)) {
		device->listener = NULL;
		return "no id";
	}
	if (cm->bind_addr(device->listener, (struct sockaddr *)&address))
		return "the gid is no address of this machine";
	if (!is_ours(device, device->listener))
		return "the gid's address is another device's";
	if (cm->listen(device->listener, BACKLOG))
		return "can't listen";
	device->cm_port = ntohs(cm->get_src_port(device->listener));
	return NULL;
}

void cm_listen(struct rdma_device *device)
{
	struct port port = device_port(device);
	const char *why = NULL;

	if (!device->fabric->control.cm_channel)
		return;
	if (device->listener &&
	    memcmp(&device->listening, &port.gid.gid, sizeof(device->listening)) == 0)
		return;
	stop_listening(device);
	device->listening = port.gid.gid;
	why = port.ethernet ? start_listening(device, &port) : "the gid is no ip address";
	if (!why) {
		log_info("rdma device connects by librdmacm device=%s port=%u", device->name,
			 device->cm_port);
		return;
	}
	log_info("rdma device connects by handshakes alone device=%s why=\"%s\" errno=%d",
		 device->name, why, device->listener ? errno : 0);
	stop_listening(device);
}

static void listener_event(struct rdma_device *device, const struct news *news)
{
	if (news->type == RDMA_CM_EVENT_DEVICE_REMOVAL || news->type == RDMA_CM_EVENT_ADDR_CHANGE)
		stop_listening(device);
}

/* --- events ------------------------------------------------------------------------------------
 */

static bool is_ending(const struct endpoint *endpoint)
{
	WITH_LOCK(&endpoint->device->lock);
	return endpoint->state == ENDPOINT_ENDING;
}

/* Who asked may have given this id up to ask again; if not, its TCP connection ends. */
static void not_heard(struct queue_pair *pair, enum rdma_cm_event_type type)
{
	if (pair->answered && !pair->established)
		drop(pair->endpoint->device, STEAL(pair->cm_id));
	else
		lost(pair, rdma_event_str(type));
}

static void pair_event(struct queue_pair *pair, const struct news *news)
{
	if (is_ending(pair->endpoint))
		return;
	/* Not an enum to the compiler: newer libraries know more of them. */
	switch ((int)news->type) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		find_route(pair);
		break;
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		ask(pair);
		break;
	case RDMA_CM_EVENT_CONNECT_RESPONSE:
		take_answer(pair);
		break;
	case RDMA_CM_EVENT_ESTABLISHED:
		pair->established = true;
		break;
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
	case RDMA_CM_EVENT_REJECTED:
		not_heard(pair, news->type);
		break;
	case RDMA_CM_EVENT_ADDR_ERROR:
	case RDMA_CM_EVENT_ROUTE_ERROR:
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_ADDR_CHANGE:
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		lost(pair, rdma_event_str(news->type));
		break;
	default:
		break;
	}
}

static struct rdma_device *listener_of(const struct rdma_fabric *fabric,
				       const struct rdma_cm_id *id)
{
	for (uint32_t i = 0; i < fabric->device_count; i++)
		if (fabric->devices[i]->listener == id)
			return fabric->devices[i];
	return NULL;
}

static void take(struct rdma_fabric *fabric, const struct news *news)
{
	struct rdma_device *device =
		listener_of(fabric, news->listener ? news->listener : news->id);

	if (news->listener && device)
		answer(device, news);
	else if (news->listener)
		(void)fabric->verbs->cm->destroy_id(news->id);
	else if (device)
		listener_event(device, news);
	else
		pair_event(news->id->context, news);
}

bool cm_event(struct rdma_fabric *fabric)
{
	const struct rdmacm *cm = fabric->verbs->cm;
	struct rdma_cm_event *event;

	if (cm->get_event(fabric->control.cm_channel, &event))
		return false;
	struct news news = {.id = event->id, .type = event->event};
	if (event->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
		news.listener = event->listen_id;
		news.ask_size = event->param.conn.private_data_len;
		if (news.ask_size > RDMA_ASK_SIZE)
			news.ask_size = RDMA_ASK_SIZE;
		memcpy(news.ask, event->param.conn.private_data, news.ask_size);
	}
	/* An id can't be destroyed while one of its events is out. */
	(void)cm->ack_event(event);
	take(fabric, &news);
	return true;
}

/* --- opening
 * -------------------------------------------------------------------------------------- */

void cm_open(struct rdma_fabric *fabric)
{
	struct control *control = &fabric->control;

	if (!fabric->config.cm)
		return;
	control->cm_channel = fabric->verbs->cm->create_channel();
	if (!control->cm_channel) {
		log_info("rdma connects by handshakes alone why=\"no rdma_ucm\" errno=%d", errno);
		return;
	}
	int flags = fcntl(control->cm_channel->fd, F_GETFL);
	MUST(flags >= 0 && fcntl(control->cm_channel->fd, F_SETFL, flags | O_NONBLOCK) == 0);
	for (uint32_t i = 0; i < fabric->device_count; i++)
		cm_listen(fabric->devices[i]);
}

void cm_close(struct rdma_fabric *fabric)
{
	for (uint32_t i = 0; i < fabric->device_count; i++)
		stop_listening(fabric->devices[i]);
	if (fabric->control.cm_channel)
		fabric->verbs->cm->destroy_channel(fabric->control.cm_channel);
	fabric->control.cm_channel = NULL;
}
