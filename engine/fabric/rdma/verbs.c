#include "engine/fabric/rdma/verbs.h"

#include "engine/fabric/rdma/rdmacm.h"

/* Some of these are macros or inline in the library: they need an address here. */

static int query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr)
{
	return ibv_query_port(context, port, attr);
}

static int query_gid(struct ibv_context *context, uint8_t port, uint32_t index,
		     struct ibv_gid_entry *entry)
{
	return ibv_query_gid_ex(context, port, index, entry, 0);
}

static struct ibv_mr *reg_mr(struct ibv_pd *pd, void *memory, size_t length, int access)
{
	return ibv_reg_mr(pd, memory, length, (unsigned int)access);
}

static int req_notify_cq(struct ibv_cq *cq)
{
	return ibv_req_notify_cq(cq, 0);
}

static int poll_cq(struct ibv_cq *cq, int count, struct ibv_wc *wc)
{
	return ibv_poll_cq(cq, count, wc);
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	return ibv_post_send(qp, wr, bad);
}

const struct verbs verbs_real = {
	.get_device_list = ibv_get_device_list,
	.free_device_list = ibv_free_device_list,
	.open_device = ibv_open_device,
	.close_device = ibv_close_device,
	.query_device = ibv_query_device,
	.query_port = query_port,
	.query_gid = query_gid,
	.alloc_pd = ibv_alloc_pd,
	.dealloc_pd = ibv_dealloc_pd,
	.reg_mr = reg_mr,
	.reg_dmabuf_mr = ibv_reg_dmabuf_mr,
	.dereg_mr = ibv_dereg_mr,
	.create_comp_channel = ibv_create_comp_channel,
	.destroy_comp_channel = ibv_destroy_comp_channel,
	.create_cq = ibv_create_cq,
	.destroy_cq = ibv_destroy_cq,
	.req_notify_cq = req_notify_cq,
	.get_cq_event = ibv_get_cq_event,
	.ack_cq_events = ibv_ack_cq_events,
	.poll_cq = poll_cq,
	.create_qp = ibv_create_qp,
	.modify_qp = ibv_modify_qp,
	.destroy_qp = ibv_destroy_qp,
	.post_send = post_send,
	.get_async_event = ibv_get_async_event,
	.ack_async_event = ibv_ack_async_event,
	.cm = &rdmacm_real,
};
