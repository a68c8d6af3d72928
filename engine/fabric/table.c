/*
 * engine/fabric/table.c -- the fabrics of this build, best first
 */
#include <stddef.h>
#include <string.h>

#include "engine/fabric/fabric.h"
#include "engine/fabric/nvmeof/nvmeof.h"
#include "engine/fabric/rdma/rdma.h"
#include "engine/fabric/shm/shm.h"
#include "engine/fabric/tcp/tcp.h"

const struct fabric_ops *const fabric_table[] = {
	&fabric_rdma_ops, &fabric_nvmeof_ops, &fabric_shm_ops, &fabric_tcp_ops, NULL,
};

const struct fabric_ops *fabric_find(const char *protocol)
{
	for (const struct fabric_ops *const *row = fabric_table; *row; row++) {
		if (strcmp((*row)->name, protocol) == 0)
			return *row;
	}
	return NULL;
}
