/*
 * engine/fabric/rdma/cuda.h -- memory of a GPU, as a device can register it
 *
 * CUDA gives out a descriptor (dma-buf) of its memory, from which the NIC's
 * driver maps it: no kernel module of its own is needed.  libcuda is opened when
 * it is first asked for; where it is not there, or the build left it out
 * (MOONCAKE_WITH_CUDA), this memory can't be registered.
 */
#ifndef ENGINE_FABRIC_RDMA_CUDA_H
#define ENGINE_FABRIC_RDMA_CUDA_H

#include <mooncake/status.h>
#include <stdint.h>

/*
 * A descriptor of these pages, which the caller closes, and where they begin in it.
 *
 * MC_NOT_SUPPORTED   no libcuda, or it can't (logged)
 * MC_INVALID         it is no memory of a GPU
 */
MC_MUST_CHECK enum mc_status cuda_export(void *memory, uint64_t length, int *fd, uint64_t *offset);

#endif
