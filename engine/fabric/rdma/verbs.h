/*
 * engine/fabric/rdma/verbs.h -- the calls of libibverbs that we make, as a table
 *
 * The real row calls the library.  Unit tests have another, behind which they
 * make any call fail and any event or completion happen (tests/support/).
 * Calls keep the library's conventions: 0, or an errno that is returned; NULL
 * and errno where something is made; -1 and errno for the two get_*_event.
 *
 * Threads   As libibverbs: any thread.  Both get_*_event return at once (-1,
 *           EAGAIN) once the descriptor was made non-blocking.
 */
#ifndef ENGINE_FABRIC_RDMA_VERBS_H
#define ENGINE_FABRIC_RDMA_VERBS_H

#include <infiniband/verbs.h>

struct rdmacm;

struct verbs {
	struct ibv_device **(*get_device_list)(int *count);
	void (*free_device_list)(struct ibv_device **list);
	struct ibv_context *(*open_device)(struct ibv_device *device);
	int (*close_device)(struct ibv_context *context);

	int (*query_device)(struct ibv_context *context, struct ibv_device_attr *attr);
	int (*query_port)(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr);
	int (*query_gid)(struct ibv_context *context, uint8_t port, uint32_t index,
			 struct ibv_gid_entry *entry);

	struct ibv_pd *(*alloc_pd)(struct ibv_context *context);
	int (*dealloc_pd)(struct ibv_pd *pd);

	struct ibv_mr *(*reg_mr)(struct ibv_pd *pd, void *memory, size_t length, int access);
	struct ibv_mr *(*reg_dmabuf_mr)(struct ibv_pd *pd, uint64_t offset, size_t length,
					uint64_t iova, int fd, int access);
	int (*dereg_mr)(struct ibv_mr *mr);

	struct ibv_comp_channel *(*create_comp_channel)(struct ibv_context *context);
	int (*destroy_comp_channel)(struct ibv_comp_channel *channel);
	struct ibv_cq *(*create_cq)(struct ibv_context *context, int cqe, void *owner,
				    struct ibv_comp_channel *channel, int vector);
	int (*destroy_cq)(struct ibv_cq *cq);
	int (*req_notify_cq)(struct ibv_cq *cq);
	int (*get_cq_event)(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **owner);
	void (*ack_cq_events)(struct ibv_cq *cq, unsigned int count);
	int (*poll_cq)(struct ibv_cq *cq, int count, struct ibv_wc *wc);

	struct ibv_qp *(*create_qp)(struct ibv_pd *pd, struct ibv_qp_init_attr *attr);
	int (*modify_qp)(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask);
	int (*destroy_qp)(struct ibv_qp *qp);
	int (*post_send)(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);

	int (*get_async_event)(struct ibv_context *context, struct ibv_async_event *event);
	void (*ack_async_event)(struct ibv_async_event *event);

	const struct rdmacm *cm; /* what connects the queue pairs of these devices */
};

/* libibverbs itself. */
extern const struct verbs verbs_real;

#endif
