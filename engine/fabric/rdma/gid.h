/*
 * engine/fabric/rdma/gid.h -- the address of a port that peers are given
 *
 * A port has a table of GIDs.  On Ethernet only RoCE v2 ones are used: they can
 * be routed; an IPv4-mapped one first, since it is there without anybody's
 * doing where the port has an address.  On InfiniBand the first one is used.
 * RoCE v1 and null ones never are.
 *
 * Threads   Any thread.
 */
#ifndef ENGINE_FABRIC_RDMA_GID_H
#define ENGINE_FABRIC_RDMA_GID_H

#include <mooncake/status.h>
#include <stdbool.h>

#include "engine/fabric/rdma/verbs.h"

#define GID_TEXT_SIZE 48u /* "00:11:…:ff", terminator included */

struct gid_choice {
	union ibv_gid gid;
	uint32_t index;
};

/*
 * Choose among the first `count` entries; forced >= 0 is the index to take.
 *
 * MC_NOT_FOUND   no entry will do (logged when one was forced)
 */
MC_MUST_CHECK enum mc_status gid_choose(const struct verbs *verbs, struct ibv_context *context,
					uint8_t port, uint32_t count, int64_t forced,
					struct gid_choice *choice);

/* It is an IPv4 address, ::ffff:a.b.c.d. */
bool gid_is_mapped(const uint8_t gid[16]);

/* Write it as descriptors have it: 16 pairs of digits, colons between. */
void gid_format(const uint8_t gid[16], char text[GID_TEXT_SIZE]);

/* False: it is no such text. */
int gid_parse(const char *text, uint8_t gid[16]);

#endif
