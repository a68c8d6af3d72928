/*
 * engine/fabric/rdma/config.h -- what the environment says of RDMA
 *
 * MC_* variables with the names, ranges and defaults of Mooncake's Transfer
 * Engine; docs/rdma.md has the table.  A value that is no number or out of its
 * range is not used, and logged.
 */
#ifndef ENGINE_FABRIC_RDMA_CONFIG_H
#define ENGINE_FABRIC_RDMA_CONFIG_H

#include <stdint.h>

struct ibv_device_attr;

struct rdma_config {
	int64_t cq_count;	  /* completion queues a device, each with its thread */
	int64_t port;		  /* of a device, from 1 */
	int64_t gid_index;	  /* -1: found out */
	int64_t cqe_max;	  /* depth of a completion queue */
	int64_t endpoint_max;	  /* kept a device */
	int64_t qp_count;	  /* queue pairs an endpoint */
	int64_t wr_max;		  /* work requests in flight a queue pair */
	int64_t inline_max;	  /* bytes of a WRITE sent inside the work request */
	int64_t mtu;		  /* bytes */
	int64_t traffic_class;	  /* of the global route header: DSCP and ECN */
	int64_t service_level;	  /* IB: the virtual lane's choice */
	int64_t timeout;	  /* of an acknowledgement: 4.096 us * 2^timeout */
	int64_t retry_count;	  /* of a packet that was not acknowledged */
	int64_t rnr_retry_count;  /* of one that the receiver was not ready for; 7: forever */
	int64_t rd_atomic_max;	  /* READs in flight a queue pair */
	int64_t relaxed_ordering; /* 0: never, else where the device has it */
	int64_t cm;		  /* 0: queue pairs are connected by the handshake alone */
	int64_t connect_ms;	  /* to set a connection up */
	int64_t region_max;	  /* bytes */
};

/* Fill in the defaults and what the environment says. */
void rdma_config_read(struct rdma_config *config);

/* Lower what is more than this device can. */
void rdma_config_clamp(struct rdma_config *config, const char *device,
		       const struct ibv_device_attr *attr);

/* One line of the table, for the documentation and its test; NULL past the last. */
struct rdma_variable {
	const char *name;
	const char *alias; /* read where the name is not set; NULL: none */
	int64_t initial;
	int64_t min, max;
	const char *help;
	uint32_t offset;
};
const struct rdma_variable *rdma_config_variable(uint32_t index);

#endif
