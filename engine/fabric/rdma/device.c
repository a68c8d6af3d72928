/*
 * One NIC: opened, asked how its port is, and listened to.  A port that goes
 * takes every endpoint of the device with it; when it is back, control tries the
 * paths, and one that is proved counts again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/fabric/rdma/internal.h"

enum mc_status verbs_failed(const struct rdma_device *device, const char *call, int error)
{
	char text[64];

	log_warn("verbs call failed device=%s call=\"%s\" errno=%d error=\"%s\"", device->name,
		 call, error, strerror_r(error, text, sizeof(text)));
	return error == ENOMEM ? MC_NO_MEMORY : MC_IO;
}

/* --- the port ------------------------------------------------------------------- */

static uint32_t mtu_bytes(enum ibv_mtu mtu)
{
	return mtu >= IBV_MTU_256 && mtu <= IBV_MTU_4096 ? 128u << mtu : 256;
}

static bool port_read(const struct rdma_device *device, struct port *port)
{
	struct ibv_port_attr attr = {.state = IBV_PORT_NOP};
	uint8_t number = (uint8_t)device->config.port;
	int error = device->verbs->query_port(device->context, number, &attr);

	if (error) {
		(void)verbs_failed(device, "query_port", error);
		return false;
	}
	if (attr.state != IBV_PORT_ACTIVE)
		return false;
	if (gid_choose(device->verbs, device->context, number, (uint32_t)attr.gid_tbl_len,
		       device->config.gid_index, &port->gid))
		return false;
	port->lid = attr.lid;
	port->ethernet = attr.link_layer == IBV_LINK_LAYER_ETHERNET;
	port->mtu = mtu_bytes(attr.active_mtu);
	if (port->mtu > device->config.mtu)
		port->mtu = (uint32_t)device->config.mtu;
	return true;
}

static bool same_address(const struct port *a, const struct port *b)
{
	return memcmp(&a->gid.gid, &b->gid.gid, sizeof(a->gid.gid)) == 0 &&
	       a->gid.index == b->gid.index && a->lid == b->lid;
}

bool device_query(struct rdma_device *device, bool *changed)
{
	struct port port = {.lid = 0};
	char gid[GID_TEXT_SIZE];
	bool up = !device->cq_failed && port_read(device, &port);

	WITH_LOCK(&device->lock);
	*changed = up && !same_address(&port, &device->port);
	if (up)
		device->port = port;
	if (atomic_exchange(&device->up, up) == up && !*changed)
		return up;
	gid_format(device->port.gid.gid.raw, gid);
	if (up)
		log_info("rdma device up device=%s port=%lld gid_index=%u gid=%s lid=%u mtu=%u",
			 device->name, (long long)device->config.port, port.gid.index, gid,
			 port.lid, port.mtu);
	else
		log_warn("rdma device down device=%s port=%lld gid=%s", device->name,
			 (long long)device->config.port, gid);
	return up;
}

struct port device_port(struct rdma_device *device)
{
	WITH_LOCK(&device->lock);
	return device->port;
}

void device_fail_endpoints(struct rdma_device *device)
{
	for (struct endpoint *at = device->endpoints; at; at = at->next)
		endpoint_fail(at, MC_UNREACHABLE, true);
}

/* --- events ---------------------------------------------------------------------- */

static void check_port(struct rdma_device *device)
{
	bool changed;
	bool up = device_query(device, &changed);

	if (up) {
		cm_listen(device);
		peer_device_up(device);
	}
	if (up && !changed)
		return;
	WITH_LOCK(&device->lock);
	device_fail_endpoints(device);
}

static void fail_queue_pair(struct rdma_device *device, const struct ibv_qp *qp)
{
	WITH_LOCK(&device->lock);
	for (struct endpoint *at = device->endpoints; at; at = at->next)
		for (uint32_t i = 0; i < at->qp_count; i++)
			if (at->qps[i].qp == qp)
				endpoint_fail(at, MC_UNREACHABLE, true);
}

static void fail_device(struct rdma_device *device, bool cq_failed)
{
	device->cq_failed = device->cq_failed || cq_failed;
	atomic_store(&device->up, false);
	WITH_LOCK(&device->lock);
	device_fail_endpoints(device);
}

static void take_event(struct rdma_device *device, const struct ibv_async_event *event)
{
	/* Not an enum to the compiler: newer kernels know more of them. */
	switch ((int)event->event_type) {
	case IBV_EVENT_DEVICE_FATAL:
	case IBV_EVENT_WQ_FATAL:
		log_error("rdma device failed device=%s event=%d", device->name,
			  (int)event->event_type);
		fail_device(device, false);
		break;
	case IBV_EVENT_CQ_ERR:
		log_error("rdma completion queue failed device=%s", device->name);
		fail_device(device, true);
		break;
	case IBV_EVENT_QP_FATAL:
	case IBV_EVENT_QP_REQ_ERR:
	case IBV_EVENT_QP_ACCESS_ERR:
	case IBV_EVENT_PATH_MIG_ERR:
		log_debug("rdma queue pair failed device=%s event=%d", device->name,
			  (int)event->event_type);
		fail_queue_pair(device, event->element.qp);
		break;
	case IBV_EVENT_PORT_ERR:
	case IBV_EVENT_PORT_ACTIVE:
	case IBV_EVENT_LID_CHANGE:
	case IBV_EVENT_GID_CHANGE:
	case IBV_EVENT_PKEY_CHANGE:
	case IBV_EVENT_SM_CHANGE:
	case IBV_EVENT_CLIENT_REREGISTER:
		if (event->element.port_num == device->config.port)
			check_port(device);
		break;
	default:
		break;
	}
}

bool device_event(struct rdma_device *device)
{
	struct ibv_async_event event;

	if (device->verbs->get_async_event(device->context, &event))
		return false;
	take_event(device, &event);
	device->verbs->ack_async_event(&event);
	return true;
}

/* --- recovery ------------------------------------------------------------------------ */

static bool remake_queue(struct completion *completion)
{
	struct rdma_device *device = completion->device;

	WITH_LOCK(&completion->poll_lock);
	completion_quiet(completion);
	if (completion->cq && device->verbs->destroy_cq(completion->cq))
		return false;
	completion->cq = device->verbs->create_cq(device->context, (int)device->config.cqe_max,
						  completion, completion->channel, 0);
	return completion->cq != NULL;
}

/* An endpoint that was not begun yet has none. */
static bool has_queue_pairs(struct rdma_device *device)
{
	WITH_LOCK(&device->lock);
	for (const struct endpoint *at = device->endpoints; at; at = at->next)
		for (uint32_t i = 0; i < at->qp_count; i++)
			if (at->qps[i].qp)
				return true;
	return false;
}

void device_recover(struct rdma_device *device)
{
	bool changed;

	if (device->cq_failed) {
		bool made = !has_queue_pairs(device);
		for (uint32_t i = 0; made && i < device->completion_count; i++)
			made = remake_queue(&device->completions[i]);
		if (!made)
			return;
		device->cq_failed = false;
	}
	if (!device_query(device, &changed))
		return;
	cm_listen(device);
	peer_device_up(device);
}

/* --- opening ------------------------------------------------------------------------- */

static enum mc_status open_queues(struct rdma_device *device)
{
	uint32_t count = (uint32_t)device->config.cq_count;

	device->completions = calloc(count, sizeof(*device->completions));
	if (!device->completions)
		return MC_NO_MEMORY;
	for (uint32_t i = 0; i < count; i++)
		device->completions[i].wake_fd = -1;
	while (device->completion_count < count) {
		struct completion *completion = &device->completions[device->completion_count++];
		enum mc_status status = completion_open(completion, device);
		if (status)
			return status;
	}
	return MC_OK;
}

static enum mc_status open_parts(struct rdma_device *device)
{
	const struct verbs *verbs = device->verbs;
	int error = verbs->query_device(device->context, &device->attr);
	bool changed;

	if (error)
		return verbs_failed(device, "query_device", error);
	rdma_config_clamp(&device->config, device->name, &device->attr);
	if (!device_query(device, &changed)) {
		log_info("rdma device not used: no active port with a RoCE v2 or InfiniBand gid "
			 "device=%s port=%lld",
			 device->name, (long long)device->config.port);
		return MC_NOT_SUPPORTED;
	}
	device->pd = verbs->alloc_pd(device->context);
	if (!device->pd)
		return verbs_failed(device, "alloc_pd", errno);
	int flags = fcntl(device->context->async_fd, F_GETFL);
	if (flags < 0 || fcntl(device->context->async_fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return verbs_failed(device, "fcntl", errno);
	device->wrs = calloc(RDMA_CHAIN_MAX, sizeof(*device->wrs));
	device->sges = calloc(RDMA_CHAIN_MAX, sizeof(*device->sges));
	if (!device->wrs || !device->sges)
		return MC_NO_MEMORY;
	return open_queues(device);
}

enum mc_status device_open(struct rdma_fabric *fabric, struct ibv_device *found,
			   struct rdma_device **device)
{
	struct rdma_device *made = calloc(1, sizeof(*made));

	if (!made)
		return MC_NO_MEMORY;
	made->fabric = fabric;
	made->verbs = fabric->verbs;
	made->index = fabric->device_count;
	made->config = fabric->config;
	snprintf(made->name, sizeof(made->name), "%s", found->name);
	pthread_mutex_init(&made->lock, NULL);
	made->context = made->verbs->open_device(found);
	enum mc_status status =
		made->context ? open_parts(made) : verbs_failed(made, "open_device", errno);
	if (status) {
		device_close(made);
		return status;
	}
	*device = made;
	return MC_OK;
}

enum mc_status device_start(struct rdma_device *device)
{
	for (uint32_t i = 0; i < device->completion_count; i++) {
		enum mc_status status = completion_start(&device->completions[i]);
		if (status)
			return status;
	}
	return MC_OK;
}

void device_stop(struct rdma_device *device)
{
	for (uint32_t i = 0; i < device->completion_count; i++)
		completion_stop(&device->completions[i]);
}

void device_close(struct rdma_device *device)
{
	const struct verbs *verbs = device->verbs;
	int error;

	for (uint32_t i = 0; i < device->completion_count; i++)
		completion_close(&device->completions[i]);
	error = device->pd ? verbs->dealloc_pd(device->pd) : 0;
	if (error)
		(void)verbs_failed(device, "dealloc_pd", error);
	error = device->context ? verbs->close_device(device->context) : 0;
	if (error)
		(void)verbs_failed(device, "close_device", error);
	free(device->completions);
	free(device->table);
	free(device->generations);
	free(device->wrs);
	free(device->sges);
	pthread_mutex_destroy(&device->lock);
	free(device);
}
