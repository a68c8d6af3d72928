#include "engine/fabric/rdma/rdmacm.h"

const struct rdmacm rdmacm_real = {
	.create_channel = rdma_create_event_channel,
	.destroy_channel = rdma_destroy_event_channel,
	.get_event = rdma_get_cm_event,
	.ack_event = rdma_ack_cm_event,
	.create_id = rdma_create_id,
	.destroy_id = rdma_destroy_id,
	.bind_addr = rdma_bind_addr,
	.listen = rdma_listen,
	.get_src_port = rdma_get_src_port,
	.resolve_addr = rdma_resolve_addr,
	.resolve_route = rdma_resolve_route,
	.connect = rdma_connect,
	.accept = rdma_accept,
	.reject = rdma_reject,
	.establish = rdma_establish,
	.init_qp_attr = rdma_init_qp_attr,
};
