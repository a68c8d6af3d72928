/*
 * engine/metadata/segment_desc.h -- what an engine says of its memory
 *
 * Descriptors are JSON, member for member as Mooncake's Transfer Engine writes
 * them, so that its tools read ours and we read theirs:
 *
 *   rdma     {"name","protocol":"rdma",
 *             "devices":[{"name","lid","gid":"fe:80:…"}],
 *             "buffers":[{"name","addr","length","rkey":[…],"lkey":[…]}],
 *             "priority_matrix":{"cpu:0":[["mlx5_0"],["mlx5_1"]]}}
 *   tcp      {"name","protocol":"tcp","buffers":[{"name","addr","length"}]}
 *   nvmeof   {"server_name","protocol":"nvmeof",
 *             "buffers":[{"length","file_path","local_path_map":{host:path}}]}
 *   address  {"ip_or_host_name","rpc_port"}
 *
 * Ours alone, ignored by others, left out where empty: "endpoints", where the
 * engine's transports can be reached ("tcp:HOST:PORT"), and a buffer's "key",
 * 16 hexadecimal digits, that TCP asks for.  Members that are not known are
 * ignored.  A descriptor that lacks a name, an address, a length, a GID, or has
 * not one key a device, is corrupted.
 *
 * They are printed as Mooncake prints them: compact, members in the order of
 * the alphabet, and a newline.
 *
 * Ownership   A descriptor and all in it end with the last segment_desc_unref().
 * Threads     Fixed once others have it; ref and unref from any thread.
 * Limits      SEGMENT_*_MAX; addresses and lengths to 2^53, since JSON's numbers
 *             are doubles in many readers.
 */
#ifndef ENGINE_METADATA_SEGMENT_DESC_H
#define ENGINE_METADATA_SEGMENT_DESC_H

#include <mooncake/status.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define SEGMENT_NAME_SIZE    256u  /* bytes of any name here, terminator included */
#define SEGMENT_PATH_SIZE    4096u /* bytes of a file's path, terminator included */
#define SEGMENT_DEVICE_MAX   64u
#define SEGMENT_BUFFER_MAX   16384u
#define SEGMENT_HOST_MAX     4096u /* hosts of one file's local paths */
#define SEGMENT_ENDPOINT_MAX 16u
#define SEGMENT_NUMBER_MAX   (1ull << 53)

enum segment_protocol {
	SEGMENT_TCP,
	SEGMENT_RDMA,
	SEGMENT_NVMEOF,
};

struct segment_device {
	char name[SEGMENT_NAME_SIZE];
	uint16_t lid;
	uint8_t gid[16];
};

/* Where one host finds a file. */
struct segment_local_path {
	char *host;
	char *path;
};

struct segment_buffer {
	char *name;	 /* rdma: its location, "cpu:0"; tcp: the server's name */
	uint64_t addr;	 /* rdma, tcp: of its first byte in the owner */
	uint64_t length; /* bytes */
	uint64_t key;	 /* ours: what TCP asks for; 0: none */
	uint32_t *rkey;	 /* rdma: one a device */
	uint32_t *lkey;
	char *file_path; /* nvmeof: the name at the target */
	struct segment_local_path *local_paths;
	uint32_t local_path_count;
};

struct segment_desc {
	_Atomic uint32_t references;
	enum segment_protocol protocol;
	char name[SEGMENT_NAME_SIZE]; /* nvmeof: of the server */
	uint32_t device_count;
	uint32_t buffer_count;
	uint32_t endpoint_count;
	struct segment_device *devices;
	struct segment_buffer *buffers;
	char **endpoints;
	char *priority_matrix; /* JSON as it came, compact; NULL: none */
};

/* What is found under rpc_meta. */
struct segment_address {
	char host[SEGMENT_NAME_SIZE];
	uint16_t port;
};

/* Begin an empty descriptor with one reference.  MC_INVALID: no such name. */
MC_MUST_CHECK enum mc_status segment_desc_new(enum segment_protocol protocol, const char *name,
					      struct segment_desc **desc);

/*
 * Add to a descriptor that nobody else has yet.  The pointer is valid until the
 * next of the same kind is added; the caller fills the rest in.  add_buffer makes
 * room for one key a device, so devices come first.
 *
 * MC_TOO_BIG   beyond the limits
 */
MC_MUST_CHECK enum mc_status segment_desc_add_device(struct segment_desc *desc, const char *name,
						     struct segment_device **device);
MC_MUST_CHECK enum mc_status segment_desc_add_buffer(struct segment_desc *desc, const char *name,
						     struct segment_buffer **buffer);
MC_MUST_CHECK enum mc_status segment_desc_add_endpoint(struct segment_desc *desc,
						       const char *endpoint);
/* Copy a priority matrix in; MC_INVALID: it is none. */
MC_MUST_CHECK enum mc_status segment_desc_set_matrix(struct segment_desc *desc, const char *json);
MC_MUST_CHECK enum mc_status segment_buffer_add_path(struct segment_buffer *buffer,
						     const char *host, const char *path);

struct segment_desc *segment_desc_ref(struct segment_desc *desc);
void segment_desc_unref(struct segment_desc *desc);

/*
 * Read a descriptor.
 *
 * MC_PROTOCOL        it is corrupted
 * MC_NOT_SUPPORTED   a protocol that we don't have
 * MC_TOO_BIG         beyond the limits
 */
MC_MUST_CHECK enum mc_status segment_desc_parse(const char *text, size_t size,
						struct segment_desc **desc);

/* Print it; the caller frees. */
MC_MUST_CHECK enum mc_status segment_desc_print(const struct segment_desc *desc, char **text);

/* The buffer that holds all of [addr, addr + length), or NULL. */
const struct segment_buffer *segment_desc_find(const struct segment_desc *desc, uint64_t addr,
					       uint64_t length);

MC_MUST_CHECK enum mc_status segment_address_parse(const char *text, size_t size,
						   struct segment_address *address);
MC_MUST_CHECK enum mc_status segment_address_print(const struct segment_address *address,
						   char **text);

/*
 * The keys: "mooncake/ram/NAME", or "mooncake/NAME" for a name with a slash
 * ("nvmeof/disk"), and "mooncake/rpc_meta/SERVER".  MC_METADATA_CLUSTER_ID in
 * the environment, if it is there, stands after "mooncake/".
 *
 * MC_INVALID   the name is empty or too long
 */
MC_MUST_CHECK enum mc_status segment_key(const char *name, char *key, size_t size);
MC_MUST_CHECK enum mc_status segment_address_key(const char *server, char *key, size_t size);

#endif
