/*
 * engine/fabric/rdma/handshake.h -- what two ends tell each other to connect
 *
 * One message a side, over a TCP connection to the endpoint "rdma:HOST:PORT" of
 * the peer's descriptor: a little-endian u64, the size of the JSON that follows.
 * Members as Mooncake's Transfer Engine has them; those below the line are ours.
 *
 *   local_nic_path   "SEGMENT@DEVICE" of the one who speaks
 *   peer_nic_path    the same of the one who is spoken to
 *   qp_num           one number a queue pair
 *   reply_msg        "": agreed; else why not
 *   ------------------------------------------------------------------
 *   local_gid        as the port has it now: descriptors may be older
 *   local_lid
 *   mtu              bytes
 *   psn              of the first packet of every queue pair
 *   rd_atomic        READs that the speaker answers at once, a queue pair
 *   cm_port          of librdmacm, where local_gid is listened at; none: 0
 *
 * Where both have a cm_port (the one who answers says 0 to one who has none) the
 * queue pairs are connected by librdmacm then, else by what stands here.
 *
 * Valid is a message
 *   1  whose JSON is an object of HANDSHAKE_SIZE_MAX bytes or less,
 *   2  with both paths, each with one '@' behind a name and before a name,
 *   3  with a reply_msg that is not empty, or else
 *   4  with 1 to HANDSHAKE_QP_MAX numbers of 24 bits in qp_num,
 *   5  a local_gid of 16 bytes that is not null, a local_lid of 16 bits,
 *   6  an mtu of 256 to 4096, a power of 2, a psn of 24 bits, rd_atomic 1 to 255,
 *   7  a cm_port of 16 bits, or none.
 *
 * The connection stays: its end tells each side that the other is gone.
 */
#ifndef ENGINE_FABRIC_RDMA_HANDSHAKE_H
#define ENGINE_FABRIC_RDMA_HANDSHAKE_H

#include <mooncake/status.h>
#include <stddef.h>
#include <stdint.h>

#define HANDSHAKE_SIZE_MAX   65536u /* bytes of JSON */
#define HANDSHAKE_QP_MAX     255u
#define HANDSHAKE_PATH_SIZE  512u
#define HANDSHAKE_REPLY_SIZE 128u

struct handshake {
	char local_path[HANDSHAKE_PATH_SIZE];
	char peer_path[HANDSHAKE_PATH_SIZE];
	char reply[HANDSHAKE_REPLY_SIZE];
	uint8_t gid[16];
	uint16_t lid;
	uint32_t mtu;
	uint32_t psn;
	uint32_t rd_atomic;
	uint16_t cm_port;
	uint32_t qp_count;
	uint32_t qp_num[HANDSHAKE_QP_MAX];
};

/* Print it with its size before it; the caller frees. */
MC_MUST_CHECK enum mc_status handshake_print(const struct handshake *handshake, uint8_t **bytes,
					     size_t *size);

/* Read the JSON.  MC_PROTOCOL: it is not valid. */
MC_MUST_CHECK enum mc_status handshake_parse(const char *text, size_t size,
					     struct handshake *handshake);

/* The device's name in "SEGMENT@DEVICE". */
const char *handshake_device(const char *path);

#endif
