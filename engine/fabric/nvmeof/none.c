/*
 * engine/fabric/nvmeof/none.c -- the row of a build without NVMe-oF
 */
#include <stddef.h>

#include "engine/fabric/nvmeof/nvmeof.h"

static enum mc_status none_open(const struct fabric_config *config, struct fabric **fabric)
{
	(void)config;
	(void)fabric;
	return MC_NOT_SUPPORTED;
}

const struct fabric_ops fabric_nvmeof_ops = {
	.name = "nvmeof",
	.open = none_open,
};
