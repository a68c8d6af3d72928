/*
 * engine/node/record.h -- what an object is, written beside its bytes
 *
 * The extended attribute of a file in the pool.  All integers little-endian.
 *
 *   offset size
 *    0     4   magic, 0x6a6f634d ("Mcoj")
 *    4     1   version, 1
 *    5     1   kind of replica (enum mc_replica_kind)
 *    6     2   flags (enum record_flag); other bits are 0, and ignored
 *    8    88   attr, as in protocol.h
 *   96     2   bytes of the path that follow
 *   98     n   the path relative to the mount, not terminated
 *   98+n   4   CRC-32C of all before it
 *
 * Validity
 *   R1  magic and version are as above, the size is exactly 102 + n
 *   R2  the checksum is right
 *   R3  the attr's id is the file's name, its size the file's size unless that was written
 *       to since, it is no directory
 *   R4  the path is 1 to MC_PATH_MAX bytes of valid names between single slashes
 *
 * History
 *   1   first; since then, in what was reserved: flags
 */
#ifndef ENGINE_NODE_RECORD_H
#define ENGINE_NODE_RECORD_H

#include <mooncake/status.h>
#include <mooncake/types.h>

#define RECORD_SIZE_MAX (102u + MC_PATH_MAX)

enum record_flag {
	/*
	 * It was put so that it replaces nothing, and the master has not answered.  It may
	 * have been refused, so it is not for a master to take back that knows nothing of it.
	 */
	RECORD_UNANSWERED = 1u << 0,
};

struct record {
	uint8_t kind;	/* enum mc_replica_kind */
	uint16_t flags; /* enum record_flag */
	struct mc_attr attr;
	const char *path; /* not terminated; decoded: inside the bytes given */
	size_t path_size;
};

/* Write a record into RECORD_SIZE_MAX bytes, return its size. */
size_t record_encode(const struct record *record, uint8_t *bytes);

/* R4. */
bool record_path_valid(const char *path, size_t size);

/* MC_IO: the bytes break R1, R2 or R4. */
MC_MUST_CHECK enum mc_status record_decode(const void *bytes, size_t size, struct record *record);

#endif
