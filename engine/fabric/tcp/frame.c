#include "engine/fabric/tcp/frame.h"

#include <string.h>

#include "engine/base/buffer.h"
#include "engine/base/crc32c.h"
#include "engine/fabric/fabric.h"

#define MAGIC_SIZE 8u

static const uint8_t magic[MAGIC_SIZE] = {'M', 'C', 'f', 'a', 'b', 'r', 'i', 'c'};

void tcp_hello_encode(uint8_t bytes[TCP_HELLO_SIZE], const struct tcp_hello *hello)
{
	memcpy(bytes, magic, MAGIC_SIZE);
	store_u16(bytes + 8, hello->lowest);
	store_u16(bytes + 10, hello->highest);
	store_u32(bytes + 12, 0);
}

void tcp_welcome_encode(uint8_t bytes[TCP_HELLO_SIZE], const struct tcp_welcome *welcome)
{
	memcpy(bytes, magic, MAGIC_SIZE);
	store_u16(bytes + 8, welcome->version);
	store_u16(bytes + 10, 0);
	store_u32(bytes + 12, (uint32_t)welcome->status);
}

void tcp_request_encode(uint8_t bytes[TCP_REQUEST_SIZE], const struct tcp_request *request)
{
	store_u32(bytes, request->opcode);
	store_u32(bytes + 4, request->length);
	store_u64(bytes + 8, request->number);
	store_u64(bytes + 16, request->address);
	store_u64(bytes + 24, request->key);
	store_u32(bytes + 32, 0);
	store_u32(bytes + 36, crc32c(0, bytes, 36));
}

void tcp_reply_encode(uint8_t bytes[TCP_REPLY_SIZE], const struct tcp_reply *reply)
{
	store_u32(bytes, reply->opcode);
	store_u32(bytes + 4, (uint32_t)reply->status);
	store_u64(bytes + 8, reply->number);
	store_u32(bytes + 16, reply->length);
	store_u32(bytes + 20, crc32c(0, bytes, 20));
}

enum mc_status tcp_hello_decode(const uint8_t bytes[TCP_HELLO_SIZE], struct tcp_hello *hello)
{
	uint16_t lowest = load_u16(bytes + 8), highest = load_u16(bytes + 10);

	if (memcmp(bytes, magic, MAGIC_SIZE) != 0 || lowest > highest || load_u32(bytes + 12) != 0)
		return MC_PROTOCOL;
	*hello = (struct tcp_hello){lowest, highest};
	return MC_OK;
}

enum mc_status tcp_welcome_decode(const uint8_t bytes[TCP_HELLO_SIZE], struct tcp_welcome *welcome)
{
	int32_t status = (int32_t)load_u32(bytes + 12);

	if (memcmp(bytes, magic, MAGIC_SIZE) != 0 || load_u16(bytes + 10) != 0 || status > 0)
		return MC_PROTOCOL;
	*welcome = (struct tcp_welcome){load_u16(bytes + 8), (enum mc_status)status};
	return MC_OK;
}

enum mc_status tcp_request_decode(const uint8_t bytes[TCP_REQUEST_SIZE],
				  struct tcp_request *request)
{
	uint32_t opcode = load_u32(bytes), length = load_u32(bytes + 4);

	if (load_u32(bytes + 36) != crc32c(0, bytes, 36) || load_u32(bytes + 32) != 0 ||
	    opcode > FABRIC_WRITE || length == 0 || length > TCP_LENGTH_MAX)
		return MC_PROTOCOL;
	*request = (struct tcp_request){
		.opcode = (uint8_t)opcode,
		.length = length,
		.number = load_u64(bytes + 8),
		.address = load_u64(bytes + 16),
		.key = load_u64(bytes + 24),
	};
	return MC_OK;
}

enum mc_status tcp_reply_decode(const uint8_t bytes[TCP_REPLY_SIZE], struct tcp_reply *reply)
{
	uint32_t opcode = load_u32(bytes), length = load_u32(bytes + 16);
	int32_t status = (int32_t)load_u32(bytes + 4);

	if (load_u32(bytes + 20) != crc32c(0, bytes, 20) || opcode > FABRIC_WRITE || status > 0 ||
	    length > TCP_LENGTH_MAX || (length > 0 && (status != 0 || opcode != FABRIC_READ)))
		return MC_PROTOCOL;
	*reply = (struct tcp_reply){
		.opcode = (uint8_t)opcode,
		.status = (enum mc_status)status,
		.number = load_u64(bytes + 8),
		.length = length,
	};
	return MC_OK;
}

struct tcp_welcome tcp_negotiate(const struct tcp_hello *hello)
{
	if (hello->lowest > TCP_VERSION || hello->highest < TCP_VERSION)
		return (struct tcp_welcome){TCP_VERSION, MC_NOT_SUPPORTED};
	return (struct tcp_welcome){TCP_VERSION, MC_OK};
}
