/*
 * engine/fabric/tcp/frame.h -- what crosses a connection of the TCP fabric
 *
 * Whoever reads or writes remote memory connects (the client); whoever owns it
 * listens (the server).  All numbers are little-endian.  After HELLO and WELCOME
 * the client sends requests, as many as it likes, and the server answers each,
 * in their order.
 *
 * HELLO, client to server, first        WELCOME, server to client, first
 *   0   8  "MCfabric"                     0   8  "MCfabric"
 *   8   2  lowest version spoken          8   2  version spoken from now on
 *  10   2  highest version spoken        10   2  0
 *  12   4  0                             12   4  status: 0, or why not
 *
 * REQUEST                               REPLY
 *   0   1  opcode: 0 READ, 1 WRITE        0   1  opcode of the request
 *   1   3  0                              1   3  0
 *   4   4  length, bytes                  4   4  status: 0, or enum mc_status
 *   8   8  number: 0, 1, 2 …              8   8  number of the request
 *  16   8  address in the server         16   4  bytes of memory that follow
 *  24   8  key of the region             20   4  CRC-32C of bytes 0 to 19
 *  32   4  0
 *  36   4  CRC-32C of bytes 0 to 35
 *  40      WRITE: the bytes              24      READ: the bytes
 *
 * Valid is what keeps these rules; who breaks one is disconnected:
 *   1  The magic is right and lowest <= highest; what is 0 above is 0.
 *   2  The checksum is right.
 *   3  1 <= length <= TCP_LENGTH_MAX, and opcode is one of the two.
 *   4  Numbers count up by one from 0; replies come in the same order.
 *   5  A reply to READ with status 0 has as many bytes as were asked for; every
 *      other reply has none.
 *   6  WELCOME names a version of the range, or a status that is not 0 and then
 *      the connection ends.
 * A request that is valid and names memory that its key does not open is
 * answered with MC_ACCESS; the bytes of a WRITE are then passed over.
 *
 * The head of a request has a checksum, since a flipped bit there would write to
 * the wrong place.  The bytes have none: TCP and the lane sum them, and a second
 * pass over memory would cost a fifth of the bandwidth.  engine/transport/ sums
 * objects end to end.
 *
 * History   1: first.
 * Threads   Any.
 */
#ifndef ENGINE_FABRIC_TCP_FRAME_H
#define ENGINE_FABRIC_TCP_FRAME_H

#include <mooncake/status.h>
#include <stddef.h>
#include <stdint.h>

#define TCP_HELLO_SIZE	 16u
#define TCP_REQUEST_SIZE 40u
#define TCP_REPLY_SIZE	 24u
#define TCP_LENGTH_MAX	 (1u << 30)
#define TCP_VERSION	 1u

struct tcp_hello {
	uint16_t lowest, highest;
};

struct tcp_welcome {
	uint16_t version;
	enum mc_status status;
};

struct tcp_request {
	uint8_t opcode; /* enum fabric_opcode */
	uint32_t length;
	uint64_t number;
	uint64_t address;
	uint64_t key;
};

struct tcp_reply {
	uint8_t opcode;
	enum mc_status status;
	uint64_t number;
	uint32_t length; /* of what follows */
};

void tcp_hello_encode(uint8_t bytes[TCP_HELLO_SIZE], const struct tcp_hello *hello);
void tcp_welcome_encode(uint8_t bytes[TCP_HELLO_SIZE], const struct tcp_welcome *welcome);
void tcp_request_encode(uint8_t bytes[TCP_REQUEST_SIZE], const struct tcp_request *request);
void tcp_reply_encode(uint8_t bytes[TCP_REPLY_SIZE], const struct tcp_reply *reply);

/* MC_PROTOCOL: rules 1 to 3, as far as one frame tells. */
MC_MUST_CHECK enum mc_status tcp_hello_decode(const uint8_t bytes[TCP_HELLO_SIZE],
					      struct tcp_hello *hello);
MC_MUST_CHECK enum mc_status tcp_welcome_decode(const uint8_t bytes[TCP_HELLO_SIZE],
						struct tcp_welcome *welcome);
MC_MUST_CHECK enum mc_status tcp_request_decode(const uint8_t bytes[TCP_REQUEST_SIZE],
						struct tcp_request *request);
MC_MUST_CHECK enum mc_status tcp_reply_decode(const uint8_t bytes[TCP_REPLY_SIZE],
					      struct tcp_reply *reply);

/* The answer to a HELLO: the highest version that both speak, or MC_NOT_SUPPORTED. */
struct tcp_welcome tcp_negotiate(const struct tcp_hello *hello);

#endif
