/*
 * engine/fabric/rdma/rdmacm.h -- the calls of librdmacm that we make, as a table
 *
 * As verbs.h is for libibverbs: the real row calls the library, unit tests have
 * another (tests/support/fake_rdmacm.h).  Calls keep the library's conventions:
 * -1 and errno, NULL and errno where something is made.
 *
 * Threads   As librdmacm: any thread.  get_event returns at once (-1, EAGAIN) once
 *           the channel's descriptor was made non-blocking; so do all the others,
 *           but for destroy_id, which waits until the id's events are acknowledged.
 */
#ifndef ENGINE_FABRIC_RDMA_RDMACM_H
#define ENGINE_FABRIC_RDMA_RDMACM_H

#include <rdma/rdma_cma.h>

struct rdmacm {
	struct rdma_event_channel *(*create_channel)(void);
	void (*destroy_channel)(struct rdma_event_channel *channel);
	int (*get_event)(struct rdma_event_channel *channel, struct rdma_cm_event **event);
	int (*ack_event)(struct rdma_cm_event *event);

	int (*create_id)(struct rdma_event_channel *channel, struct rdma_cm_id **id, void *context,
			 enum rdma_port_space space);
	int (*destroy_id)(struct rdma_cm_id *id);
	int (*bind_addr)(struct rdma_cm_id *id, struct sockaddr *address);
	int (*listen)(struct rdma_cm_id *id, int backlog);
	uint16_t (*get_src_port)(struct rdma_cm_id *id); /* big-endian */

	int (*resolve_addr)(struct rdma_cm_id *id, struct sockaddr *from, struct sockaddr *to,
			    int timeout_ms);
	int (*resolve_route)(struct rdma_cm_id *id, int timeout_ms);
	int (*connect)(struct rdma_cm_id *id, struct rdma_conn_param *param);
	int (*accept)(struct rdma_cm_id *id, struct rdma_conn_param *param);
	int (*reject)(struct rdma_cm_id *id, const void *data, uint8_t size);
	int (*establish)(struct rdma_cm_id *id);
	/* The attributes with which a queue pair goes to attr->qp_state. */
	int (*init_qp_attr)(struct rdma_cm_id *id, struct ibv_qp_attr *attr, int *mask);
};

/* librdmacm itself. */
extern const struct rdmacm rdmacm_real;

#endif
