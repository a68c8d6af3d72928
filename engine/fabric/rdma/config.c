#include "engine/fabric/rdma/config.h"

#include <errno.h>
#include <infiniband/verbs.h>
#include <stddef.h>
#include <stdlib.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"

#define AT(field) (uint32_t) offsetof(struct rdma_config, field)

static const struct rdma_variable variables[] = {
	{"MC_NUM_CQ_PER_CTX", NULL, 1, 1, 255, "completion queues a device", AT(cq_count)},
	{"MC_IB_PORT", NULL, 1, 1, 255, "port of every device", AT(port)},
	{"MC_GID_INDEX", "NCCL_IB_GID_INDEX", -1, -1, 255, "index of the GID; -1 looks for one",
	 AT(gid_index)},
	{"MC_MAX_CQE_PER_CTX", NULL, 4096, 16, 65535, "depth of a completion queue", AT(cqe_max)},
	{"MC_MAX_EP_PER_CTX", NULL, 256, 1, 65535, "connections kept a device", AT(endpoint_max)},
	{"MC_NUM_QP_PER_EP", NULL, 2, 1, 255, "queue pairs a connection", AT(qp_count)},
	{"MC_MAX_WR", NULL, 256, 2, 65535, "work requests in flight a queue pair", AT(wr_max)},
	{"MC_MAX_INLINE", NULL, 64, 0, 65535, "bytes of a WRITE sent inline", AT(inline_max)},
	{"MC_MTU", NULL, 4096, 256, 4096, "largest path MTU", AT(mtu)},
	{"MC_IB_TC", NULL, 0, 0, 255, "traffic class", AT(traffic_class)},
	{"MC_IB_SL", NULL, 0, 0, 15, "service level", AT(service_level)},
	{"MC_IB_TIMEOUT", NULL, 14, 1, 31, "acknowledgement timeout, 4.096 us * 2^n", AT(timeout)},
	{"MC_IB_RETRY_CNT", NULL, 7, 0, 7, "retries of a packet", AT(retry_count)},
	{"MC_IB_RNR_RETRY", NULL, 7, 0, 7, "retries of a receiver not ready; 7 is forever",
	 AT(rnr_retry_count)},
	{"MC_MAX_RD_ATOMIC", NULL, 16, 1, 128, "READs in flight a queue pair", AT(rd_atomic_max)},
	{"MC_IB_PCI_RELAXED_ORDERING", NULL, 2, 0, 2, "0 never, else where the device has it",
	 AT(relaxed_ordering)},
	{"MC_RDMA_CM", NULL, 1, 0, 1, "1 connects by librdmacm where both ends can", AT(cm)},
	{"MC_CONNECT_TIMEOUT_MS", NULL, 5000, 10, 600000, "to set a connection up", AT(connect_ms)},
	{"MC_MAX_MR_SIZE", NULL, 1ll << 40, 2 << 20, INT64_MAX, "bytes of a region",
	 AT(region_max)},
};

static int64_t *field_of(struct rdma_config *config, const struct rdma_variable *variable)
{
	return (int64_t *)((char *)config + variable->offset);
}

static void read_variable(struct rdma_config *config, const struct rdma_variable *variable)
{
	const char *name = variable->name;
	const char *text = getenv(name);
	char *end;

	*field_of(config, variable) = variable->initial;
	if (!text && variable->alias) {
		name = variable->alias;
		text = getenv(name);
	}
	if (!text)
		return;
	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (errno || end == text || *end != '\0' || value < variable->min ||
	    value > variable->max) {
		log_warn("environment variable not used variable=%s value=%s min=%lld max=%lld",
			 name, text, (long long)variable->min, (long long)variable->max);
		return;
	}
	*field_of(config, variable) = value;
}

void rdma_config_read(struct rdma_config *config)
{
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
		read_variable(config, &variables[i]);
}

static void lower(int64_t *value, int64_t max, const char *device, const char *what)
{
	if (max <= 0 || *value <= max)
		return;
	log_info("device allows less device=%s what=%s wanted=%lld got=%lld", device, what,
		 (long long)*value, (long long)max);
	*value = max;
}

void rdma_config_clamp(struct rdma_config *config, const char *device,
		       const struct ibv_device_attr *attr)
{
	int64_t region_max = attr->max_mr_size > INT64_MAX ? INT64_MAX : (int64_t)attr->max_mr_size;
	int64_t pairs;

	lower(&config->cq_count, attr->max_cq, device, "MC_NUM_CQ_PER_CTX");
	lower(&config->cqe_max, attr->max_cqe, device, "MC_MAX_CQE_PER_CTX");
	/* Beside the slices a queue pair has room for its proof and its last mark. */
	lower(&config->wr_max, attr->max_qp_wr - 2, device, "MC_MAX_WR");
	lower(&config->wr_max, config->cqe_max - 2, device, "MC_MAX_WR");
	lower(&config->rd_atomic_max, attr->max_qp_init_rd_atom, device, "MC_MAX_RD_ATOMIC");
	lower(&config->rd_atomic_max, attr->max_qp_rd_atom, device, "MC_MAX_RD_ATOMIC");
	/* Half of the queue pairs are for connections that others make. */
	pairs = attr->max_qp / 2 > 1 ? attr->max_qp / 2 : 1;
	lower(&config->qp_count, pairs, device, "MC_NUM_QP_PER_EP");
	lower(&config->endpoint_max, pairs / config->qp_count, device, "MC_MAX_EP_PER_CTX");
	lower(&config->region_max, region_max, device, "MC_MAX_MR_SIZE");
}

const struct rdma_variable *rdma_config_variable(uint32_t index)
{
	return index < ARRAY_SIZE(variables) ? &variables[index] : NULL;
}
