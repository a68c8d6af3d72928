/*
 * engine/transport/pull.h -- PULL, RELEASE and SHELF as they stand on the wire
 *
 * The sizes that both sides of a stream transport go by; protocol.h has the
 * fields.
 */
#ifndef ENGINE_TRANSPORT_PULL_H
#define ENGINE_TRANSPORT_PULL_H

#include <mooncake/protocol.h>

#define PULL_REQUEST_SIZE    32u
#define PULL_FIXED_SIZE	     (MC_ATTR_WIRE_SIZE + 16u) /* attr, offset, length, crc32c */
#define PULL_HEAD_SIZE	     (MC_FRAME_HEADER_SIZE + PULL_FIXED_SIZE)
#define RELEASE_REQUEST_SIZE 16u
#define SHELF_REQUEST_ID     0u /* no PULL has it; one SHELF a connection */

struct pull_request {
	uint64_t request_id;
	uint64_t id;
	uint64_t version;
	uint64_t offset;
	uint32_t length;
	uint32_t flags; /* enum mc_pull_flag */
};

#endif
