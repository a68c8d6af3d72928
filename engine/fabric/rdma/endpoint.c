/*
 * Endpoints: made when the first slice wants one, kept in a store, ended when
 * they fail, are evicted or their peer goes.  Only control calls what is slow.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/base/clock.h"
#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/fabric/rdma/handshake.h"
#include "engine/fabric/rdma/internal.h"

#define HOP_LIMIT     64
#define RNR_TIMER     12 /* 0.64 ms */
#define ANSWER_DEPTH  1u
#define CREDITS_APART 2u /* of each queue pair: for its proof and its mark */

/* --- making --------------------------------------------------------------------- */

static struct endpoint *allocate(struct rdma_device *device, uint32_t count, uint32_t depth)
{
	struct endpoint *endpoint =
		calloc(1, sizeof(*endpoint) + count * sizeof(struct queue_pair));
	uint32_t size = 1;

	while (size < depth)
		size *= 2;
	if (!endpoint)
		return NULL;
	endpoint->device = device;
	endpoint->qp_count = count;
	for (uint32_t i = 0; i < count; i++) {
		struct queue_pair *pair = &endpoint->qps[i];
		pair->endpoint = endpoint;
		pair->depth = depth;
		pair->ring_mask = size - 1;
		pair->completion =
			&device->completions[device->next_completion++ % device->completion_count];
		pair->ring = depth > ANSWER_DEPTH ? calloc(size, sizeof(*pair->ring)) : NULL;
		if (pair->ring || depth == ANSWER_DEPTH)
			continue;
		while (i-- > 0)
			free(endpoint->qps[i].ring);
		free(endpoint);
		return NULL;
	}
	return endpoint;
}

static void release(struct endpoint *endpoint)
{
	for (uint32_t i = 0; i < endpoint->qp_count; i++)
		free(endpoint->qps[i].ring);
	free(endpoint);
}

static void link_in(struct endpoint *endpoint)
{
	struct rdma_device *device = endpoint->device;

	endpoint->next = device->endpoints;
	if (endpoint->next)
		endpoint->next->previous = endpoint;
	device->endpoints = endpoint;
}

static void link_out(struct endpoint *endpoint)
{
	if (endpoint->previous)
		endpoint->previous->next = endpoint->next;
	else
		endpoint->device->endpoints = endpoint->next;
	if (endpoint->next)
		endpoint->next->previous = endpoint->previous;
}

static bool take_credits(struct endpoint *endpoint)
{
	for (uint32_t i = 0; i < endpoint->qp_count; i++) {
		struct queue_pair *pair = &endpoint->qps[i];
		if (pair->completion->credits >= CREDITS_APART &&
		    work_table_add(endpoint->device, pair) == MC_OK) {
			pair->completion->credits -= CREDITS_APART;
			continue;
		}
		while (i-- > 0) {
			work_table_remove(endpoint->device, &endpoint->qps[i]);
			endpoint->qps[i].completion->credits += CREDITS_APART;
		}
		return false;
	}
	return true;
}

static void make_room(struct rdma_device *device)
{
	while (device->store.count >= (uint32_t)device->config.endpoint_max) {
		struct sieve_entry *entry = sieve_victim(&device->store);
		endpoint_leave(container_of(entry, struct endpoint, kept));
	}
}

struct endpoint *endpoint_open(struct rdma_device *device, struct rdma_peer *peer, uint32_t remote)
{
	struct path *path = &peer->paths[device->index * peer->device_count + remote];
	struct endpoint *endpoint = allocate(device, (uint32_t)device->config.qp_count,
					     (uint32_t)device->config.wr_max + CREDITS_APART);

	MUST(!path->endpoint);
	if (!endpoint || !take_credits(endpoint)) {
		if (endpoint)
			release(endpoint);
		return NULL;
	}
	make_room(device);
	endpoint->peer = peer;
	endpoint->path = path;
	endpoint->remote = remote;
	path->endpoint = endpoint;
	atomic_fetch_add(&peer->users, 1);
	for (uint32_t i = 0; i < endpoint->qp_count; i++)
		work_prove(&endpoint->qps[i]);
	link_in(endpoint);
	sieve_insert(&device->store, &endpoint->kept);
	control_queue(device->fabric, endpoint);
	return endpoint;
}

struct endpoint *endpoint_answer(struct rdma_device *device, uint32_t count)
{
	struct endpoint *endpoint = allocate(device, count, ANSWER_DEPTH);

	if (endpoint)
		link_in(endpoint);
	return endpoint;
}

/* --- changes of state --------------------------------------------------------------- */

static void forget(struct endpoint *endpoint)
{
	if (endpoint->path && endpoint->path->endpoint == endpoint)
		endpoint->path->endpoint = NULL;
	sieve_remove(&endpoint->device->store, &endpoint->kept);
}

static void path_failed(const struct endpoint *endpoint)
{
	struct path *path = endpoint->path;
	uint32_t doublings = path->failures < RDMA_RETRY_MAX ? path->failures : RDMA_RETRY_MAX;
	uint64_t now = clock_ns();

	/* However many slices fail before it is tried again, that is one failure. */
	if (now >= path->retry_ns) {
		path->failures++;
		path->retry_ns = now + (RDMA_RETRY_NS << doublings);
	}
	if (!atomic_exchange(&path->down, true))
		control_path_news(endpoint, PATH_DOWN, NULL);
}

void endpoint_fail(struct endpoint *endpoint, enum mc_status status, bool broken)
{
	if (endpoint->state == ENDPOINT_ENDING)
		return;
	endpoint->state = ENDPOINT_ENDING;
	endpoint->status = status;
	if (endpoint->path && broken && endpoint->path->endpoint == endpoint)
		path_failed(endpoint);
	forget(endpoint);
	control_queue(endpoint->device->fabric, endpoint);
}

void endpoint_leave(struct endpoint *endpoint)
{
	endpoint->leaving = true;
	forget(endpoint);
	if (work_idle(endpoint))
		control_queue(endpoint->device->fabric, endpoint);
}

void endpoint_proved(struct endpoint *endpoint)
{
	struct path *path = endpoint->path;

	path->failures = 0;
	if (atomic_exchange(&path->down, false))
		control_path_news(endpoint, PATH_BACK, NULL);
}

/* --- queue pairs, for control --------------------------------------------------------- */

static enum mc_status make_pair(struct queue_pair *pair)
{
	struct rdma_device *device = pair->endpoint->device;
	uint32_t inline_max =
		device->inline_refused || !pair->ring ? 0 : (uint32_t)device->config.inline_max;
	struct ibv_qp_init_attr attr = {
		.send_cq = pair->completion->cq,
		.recv_cq = pair->completion->cq,
		.cap = {.max_send_wr = pair->depth,
			.max_recv_wr = 1,
			.max_send_sge = 1,
			.max_recv_sge = 1,
			.max_inline_data = inline_max},
		.qp_type = IBV_QPT_RC,
	};
	struct ibv_qp_init_attr without = attr;

	if (!attr.send_cq)
		return MC_UNREACHABLE;
	pair->qp = device->verbs->create_qp(device->pd, &attr);
	if (!pair->qp && inline_max > 0 && errno != ENOMEM) {
		/* No attribute of a device says how much it takes inline. */
		without.cap.max_inline_data = 0;
		attr = without;
		pair->qp = device->verbs->create_qp(device->pd, &attr);
		device->inline_refused = pair->qp != NULL;
	}
	if (!pair->qp)
		return verbs_failed(device, "create_qp", errno);
	atomic_fetch_add(&device->fabric->connections, 1);
	pair->inline_max =
		attr.cap.max_inline_data < inline_max ? attr.cap.max_inline_data : inline_max;
	return MC_OK;
}

static enum mc_status to_init(struct queue_pair *pair)
{
	struct rdma_device *device = pair->endpoint->device;
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = (uint8_t)device->config.port,
		.qp_access_flags =
			pair->ring ? 0 : IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE,
	};
	int error = device->verbs->modify_qp(pair->qp, &attr,
					     IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
						     IBV_QP_ACCESS_FLAGS);

	return error ? verbs_failed(device, "modify_qp to init", error) : MC_OK;
}

enum mc_status endpoint_reset(struct queue_pair *pair)
{
	struct rdma_device *device = pair->endpoint->device;
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RESET};
	int error = device->verbs->modify_qp(pair->qp, &attr, IBV_QP_STATE);

	return error ? verbs_failed(device, "modify_qp to reset", error) : to_init(pair);
}

enum mc_status endpoint_make(struct endpoint *endpoint)
{
	uint32_t psn;

	if (getrandom(&psn, sizeof(psn), 0) != (ssize_t)sizeof(psn))
		psn = (uint32_t)clock_ns();
	endpoint->psn = psn & 0xffffff;
	for (uint32_t i = 0; i < endpoint->qp_count; i++) {
		enum mc_status status = make_pair(&endpoint->qps[i]);
		if (!status)
			status = to_init(&endpoint->qps[i]);
		if (status)
			return status;
	}
	return MC_OK;
}

static enum ibv_mtu mtu_of(uint32_t bytes)
{
	enum ibv_mtu mtu = IBV_MTU_256;

	for (; bytes > 256 && mtu < IBV_MTU_4096; bytes /= 2)
		mtu++;
	return mtu;
}

static uint8_t smaller(int64_t a, int64_t b)
{
	return (uint8_t)(a < b ? a : b);
}

static enum mc_status to_receive(struct queue_pair *pair, const struct way *way)
{
	const struct rdma_config *config = &pair->endpoint->device->config;
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = way->mtu,
		.dest_qp_num = way->qp_num,
		.rq_psn = way->rq_psn,
		.max_dest_rd_atomic = pair->ring ? 1 : (uint8_t)config->rd_atomic_max,
		.min_rnr_timer = RNR_TIMER,
		.ah_attr = way->ah,
	};
	int error = pair->endpoint->device->verbs->modify_qp(
		pair->qp, &attr,
		IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
			IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);

	return error ? verbs_failed(pair->endpoint->device, "modify_qp to rtr", error) : MC_OK;
}

static enum mc_status to_send(struct queue_pair *pair, const struct way *way)
{
	const struct rdma_config *config = &pair->endpoint->device->config;
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTS,
		.timeout = way->timeout,
		.retry_cnt = (uint8_t)config->retry_count,
		.rnr_retry = (uint8_t)config->rnr_retry_count,
		.sq_psn = way->sq_psn,
		.max_rd_atomic = smaller(config->rd_atomic_max, pair->endpoint->rd_atomic),
	};
	int error = pair->endpoint->device->verbs->modify_qp(
		pair->qp, &attr,
		IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
			IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);

	return error ? verbs_failed(pair->endpoint->device, "modify_qp to rts", error) : MC_OK;
}

enum mc_status endpoint_agree(struct endpoint *endpoint, const struct handshake *other)
{
	if (other->qp_count != endpoint->qp_count)
		return MC_PROTOCOL;
	endpoint->mtu = other->mtu;
	endpoint->rd_atomic = other->rd_atomic;
	return MC_OK;
}

/* The configuration and both ports bound what the way says. */
enum mc_status endpoint_connect_by(struct queue_pair *pair, const struct way *found)
{
	const struct rdma_config *config = &pair->endpoint->device->config;
	struct port port = device_port(pair->endpoint->device);
	uint32_t mtu = pair->endpoint->mtu;
	struct way way = *found;

	way.mtu = smaller(way.mtu, mtu_of(port.mtu < mtu ? port.mtu : mtu));
	way.timeout = smaller(way.timeout, config->timeout);
	way.ah.grh.sgid_index = (uint8_t)port.gid.index;
	if (config->traffic_class > 0)
		way.ah.grh.traffic_class = (uint8_t)config->traffic_class;
	if (config->service_level > 0)
		way.ah.sl = (uint8_t)config->service_level;
	enum mc_status status = to_receive(pair, &way);
	return status ? status : to_send(pair, &way);
}

enum mc_status endpoint_connect(struct endpoint *endpoint, const struct handshake *other)
{
	const struct rdma_config *config = &endpoint->device->config;
	struct way way = {
		.ah = {.grh = {.hop_limit = HOP_LIMIT},
		       .dlid = other->lid,
		       .is_global = 1,
		       .port_num = (uint8_t)config->port},
		.mtu = IBV_MTU_4096,
		.rq_psn = other->psn,
		.sq_psn = endpoint->psn,
		.timeout = (uint8_t)config->timeout,
	};

	memcpy(way.ah.grh.dgid.raw, other->gid, 16);
	for (uint32_t i = 0; i < endpoint->qp_count; i++) {
		way.qp_num = other->qp_num[i];
		enum mc_status status = endpoint_connect_by(&endpoint->qps[i], &way);
		if (status)
			return status;
	}
	endpoint_ready(endpoint);
	return MC_OK;
}

void endpoint_ready(struct endpoint *endpoint)
{
	struct rdma_device *device = endpoint->device;

	if (endpoint->peer) {
		atomic_fetch_add(&device->fabric->connects, 1);
		endpoint->path->by_handshake = false;
	}
	WITH_LOCK(&device->lock);
	if (endpoint->state == ENDPOINT_ENDING)
		return;
	endpoint->state = ENDPOINT_READY;
	work_ready(endpoint);
}

void endpoint_describe(struct endpoint *endpoint, struct handshake *ours)
{
	struct rdma_device *device = endpoint->device;
	struct port port = device_port(device);

	memcpy(ours->gid, port.gid.gid.raw, sizeof(ours->gid));
	ours->lid = port.lid;
	ours->mtu = port.mtu;
	ours->psn = endpoint->psn;
	ours->cm_port = device->cm_port;
	ours->rd_atomic = (uint32_t)device->config.rd_atomic_max;
	ours->qp_count = endpoint->qp_count;
	for (uint32_t i = 0; i < endpoint->qp_count; i++)
		ours->qp_num[i] = endpoint->qps[i].qp->qp_num;
}

/* --- the end ----------------------------------------------------------------------------- */

static bool to_error(struct queue_pair *pair)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
	int error = pair->endpoint->device->verbs->modify_qp(pair->qp, &attr, IBV_QP_STATE);

	if (error)
		(void)verbs_failed(pair->endpoint->device, "modify_qp to error", error);
	return error == 0;
}

void endpoint_begin_end(struct endpoint *endpoint, struct rdma_ended *ended)
{
	struct rdma_device *device = endpoint->device;

	endpoint->deadline_ns = clock_ns() + RDMA_DRAIN_NS;
	for (uint32_t i = 0; i < endpoint->qp_count; i++) {
		struct queue_pair *pair = &endpoint->qps[i];
		bool failed = pair->qp && to_error(pair);
		WITH_LOCK(&device->lock);
		if (!pair->ring)
			continue;
		work_abandon(pair, false, ended);
		/* Where no mark can be posted, the deadline ends the wait. */
		if (failed && pair->head != pair->posted && !work_mark(pair))
			log_warn("rdma queue pair takes no mark device=%s", device->name);
	}
}

static void destroy_pairs(struct endpoint *endpoint)
{
	struct rdma_device *device = endpoint->device;

	for (uint32_t i = 0; i < endpoint->qp_count; i++) {
		struct queue_pair *pair = &endpoint->qps[i];
		if (!pair->qp)
			continue;
		int error = device->verbs->destroy_qp(pair->qp);
		if (error)
			(void)verbs_failed(device, "destroy_qp", error);
		pair->qp = NULL;
		atomic_fetch_sub(&device->fabric->connections, 1);
	}
}

static void give_back(struct queue_pair *pair, struct rdma_ended *ended)
{
	if (!pair->ring)
		return;
	work_abandon(pair, true, ended);
	work_table_remove(pair->endpoint->device, pair);
	work_unlist(pair);
	if (!pair->marked)
		pair->completion->credits++;
}

bool endpoint_finish_end(struct endpoint *endpoint, struct rdma_ended *ended)
{
	struct rdma_device *device = endpoint->device;
	struct rdma_peer *peer = endpoint->peer;

	pthread_mutex_lock(&device->lock);
	bool idle = work_idle(endpoint);
	pthread_mutex_unlock(&device->lock);
	if (!idle && clock_ns() < endpoint->deadline_ns)
		return false;
	if (!idle)
		log_warn("rdma work did not come back device=%s peer=%s", device->name, peer->name);
	destroy_pairs(endpoint);
	pthread_mutex_lock(&device->lock);
	for (uint32_t i = 0; i < endpoint->qp_count; i++)
		give_back(&endpoint->qps[i], ended);
	link_out(endpoint);
	pthread_mutex_unlock(&device->lock);
	control_unqueue(device->fabric, endpoint);
	release(endpoint);
	if (peer)
		peer_drop(device->fabric, peer, 1);
	return true;
}
