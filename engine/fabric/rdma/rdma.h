/*
 * engine/fabric/rdma/rdma.h -- slices by RDMA READ and WRITE
 *
 * One-sided: the owner of the memory takes no part in a transfer.  A peer is
 * found by its descriptor, which names its devices, its priority matrix and
 * ("rdma:HOST:PORT" of its endpoints) where it agrees to connections
 * (handshake.h).  docs/rdma.md says how it is run.
 *
 * Threads   One a completion queue, one for control; both sleep when nothing is
 *           in flight.
 */
#ifndef ENGINE_FABRIC_RDMA_RDMA_H
#define ENGINE_FABRIC_RDMA_RDMA_H

#include "engine/fabric/fabric.h"

struct verbs;

/* Where libibverbs is not in the build: open says MC_NOT_SUPPORTED. */
extern const struct fabric_ops fabric_rdma_ops;

/* Open with other verbs than the library's; ops is what the fabric is reached by. */
MC_MUST_CHECK enum mc_status rdma_open(const struct verbs *verbs, const struct fabric_ops *ops,
				       const struct fabric_config *config, struct fabric **fabric);

#endif
