/*
 * mooncake/types.h -- the words and the limits
 *
 * key        the name of an object: a path, relative to the mount, byte for byte
 * object     immutable bytes under a key, with attributes; known by its id
 * id         64 bits, unique in a cluster and never reused; the inode number
 * version    grows with each publication of a key (nanoseconds of real time, or
 *            one more than the version before, whichever is larger)
 * node       a daemon that lends memory (a segment) to the cluster
 * replica    a node's copy of one version of an object
 * directory  a prefix of keys; it has an id and attributes too
 * draft      an object that has not been published; only its node knows it
 */
#ifndef MOONCAKE_TYPES_H
#define MOONCAKE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MC_NAME_MAX	   255u		/* bytes of one component */
#define MC_PATH_MAX	   4095u	/* bytes of a key */
#define MC_OBJECT_SIZE_MAX (1ull << 60) /* bytes; sparse files may be this large */
#define MC_ID_MAX	   INT64_MAX	/* ids and versions, which grow from them: nanoseconds */
#define MC_OFFER_MAX	   (1ull << 62) /* those that a node brings: what grows from them fits */
#define MC_SEGMENT_MAX	   (1ull << 50) /* bytes a node lends; those of all nodes fit 64 bits */
#define MC_REPLICA_MAX	   8u		/* replicas that the master remembers of an object */
#define MC_NODE_MAX	   4096u	/* nodes of a cluster */
#define MC_ENDPOINT_MAX	   8u		/* endpoints a node announces */
#define MC_ENDPOINT_SIZE   128u		/* bytes of one, terminator included */
#define MC_NODE_NAME_SIZE  64u		/* bytes of a node's name, terminator included */
#define MC_POLICY_MAX	   1024u	/* prefixes that have a policy */
#define MC_XATTR_NAME_MAX  255u		/* bytes of an attribute's name */
#define MC_XATTR_VALUE_MAX 65535u	/* bytes of an attribute's value */
#define MC_XATTR_TOTAL_MAX 131072u	/* bytes of all attributes of an object */

#define MC_ROOT_ID 1u /* the directory at the top */

/* Any name that contains this is staging: never published until renamed. */
#define MC_STAGING_MARK ".tmp"

struct mc_time {
	int64_t s;   /* seconds since 1970 */
	uint32_t ns; /* nanoseconds, below 10^9 */
};

enum mc_attr_flag {
	MC_ATTR_XATTRS = 1u << 0,  /* has user.* attributes at the master */
	MC_ATTR_PINNED = 1u << 1,  /* never evicted */
	MC_ATTR_THINNED = 1u << 3, /* a copy was evicted: fewer will do where there is no room */
	/* bits 4-7: primary replicas wanted of this very object; 0: its policy says */
	MC_ATTR_REPLICAS = 0xfu << 4,
	/* bits 8-11, in the answer to PUBLISH only: replicas to wait for */
	MC_ATTR_ACK = 0xfu << 8,
};

#define MC_ATTR_REPLICAS_GET(flags) ((flags) >> 4 & 0xfu)
#define MC_ATTR_REPLICAS_PUT(count) ((uint32_t)(count) << 4)
#define MC_ATTR_ACK_GET(flags)	    ((flags) >> 8 & 0xfu)
#define MC_ATTR_ACK_PUT(count)	    ((uint32_t)(count) << 8)

struct mc_attr {
	uint64_t id;
	uint64_t version;
	uint64_t size;	    /* bytes */
	uint64_t allocated; /* bytes that take memory; less than size for a sparse object */
	uint32_t mode;	    /* S_IFREG or S_IFDIR, and permission bits */
	uint32_t uid;
	uint32_t gid;
	uint32_t nlink; /* 1 for an object, 2 + its directories for a directory */
	uint32_t flags; /* enum mc_attr_flag */
	struct mc_time atime;
	struct mc_time mtime;
	struct mc_time ctime;
};

enum mc_replica_kind {
	MC_REPLICA_PRIMARY = 0, /* kept until evicted as the last */
	MC_REPLICA_CACHE = 1,	/* pulled for a reader; the first to go */
};

struct mc_replica {
	uint32_t node; /* id of the node, never 0 */
	uint8_t kind;  /* enum mc_replica_kind */
};

struct mc_entry {
	struct mc_attr attr;
	uint32_t replica_count;
	struct mc_replica replicas[MC_REPLICA_MAX];
};

enum mc_pin { MC_PIN_UNSAID = 0, MC_PIN_OFF = 1, MC_PIN_ON = 2 };

/* How often, and where, objects are kept. */
struct mc_placement {
	uint8_t replicas; /* primary replicas wanted; 0: not said */
	uint8_t ack;	  /* of them exist before a close returns; 0: not said */
	uint8_t pin;	  /* enum mc_pin */
	uint8_t preferred_count;
	char preferred[MC_REPLICA_MAX][MC_NODE_NAME_SIZE]; /* nodes by name, the best first */
};

#define MC_NODE_NEVER_HEARD UINT32_MAX /* not since the master began */

struct mc_node {
	uint32_t id;	   /* given by the master, the same again for the same uuid */
	bool alive;	   /* heartbeats arrive */
	bool draining;	   /* takes no new copies */
	bool guest;	   /* lends nothing: copies on it don't count */
	uint8_t uuid[16];  /* drawn once and kept in the pool */
	uint64_t capacity; /* bytes lent */
	uint64_t used;	   /* bytes in use */
	uint64_t objects;
	uint32_t silent_ms; /* since its last heartbeat; MC_NODE_NEVER_HEARD */
	char name[MC_NODE_NAME_SIZE];
	char host[MC_NODE_NAME_SIZE]; /* equal for daemons that can pass descriptors */
	uint32_t endpoint_count;
	char endpoints[MC_ENDPOINT_MAX][MC_ENDPOINT_SIZE]; /* "tcp:HOST:PORT", "shm:NAME" */
};

/* A component that the mount and the protocol accept. */
static inline bool mc_name_valid(const char *name, size_t size)
{
	if (size == 0 || size > MC_NAME_MAX)
		return false;
	if (name[0] == '.' && (size == 1 || (size == 2 && name[1] == '.')))
		return false;
	return !memchr(name, '\0', size) && !memchr(name, '/', size);
}

#endif
