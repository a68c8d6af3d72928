/*
 * master/predecessor.h -- tell the leader before that another leads
 *
 * One that could not renew its lease does not know that it was replaced, and
 * goes on with lookups: without etcd nobody else leads, and reads need not stop.
 * So before its successor answers anybody it says SUCCEEDED to it; from the
 * answer on, or the end of that process, no lookup is answered by older records.
 *
 * Threads   Any; waits for the network.
 * Limits    PREDECESSOR_MS for each of connecting and the answer.  Who does not
 *           answer within them is cut off, or hangs: then the mounts that still
 *           reach it leave it by themselves (client.h).
 */
#ifndef MASTER_PREDECESSOR_H
#define MASTER_PREDECESSOR_H

#include <stdint.h>

#define PREDECESSOR_MS 300u

/* How it went is logged. */
void predecessor_tell(const char *address, uint64_t cluster, uint32_t epoch);

#endif
