#include "engine/fabric/rdma/cuda.h"

enum mc_status cuda_export(void *memory, uint64_t length, int *fd, uint64_t *offset)
{
	(void)memory;
	(void)length;
	(void)fd;
	(void)offset;
	return MC_NOT_SUPPORTED;
}
