#include "engine/transport/transport.h"

#include <stddef.h>
#include <string.h>

const struct transport_ops *const transport_table[] = {
	&transport_shm_ops, &transport_rdma_ops, &transport_tcp_ops, &transport_engine_ops, NULL,
};

const struct transport_ops *transport_find(const char *name)
{
	for (size_t i = 0; transport_table[i]; i++) {
		if (strcmp(transport_table[i]->name, name) == 0)
			return transport_table[i];
	}
	return NULL;
}
