#include "engine/fabric/rdma/rdma.h"

static enum mc_status open_none(const struct fabric_config *config, struct fabric **fabric)
{
	(void)config;
	(void)fabric;
	return MC_NOT_SUPPORTED;
}

/* The build has no libibverbs: nothing but open is ever called. */
const struct fabric_ops fabric_rdma_ops = {.name = "rdma", .open = open_none};
