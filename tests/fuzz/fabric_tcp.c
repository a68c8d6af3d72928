/*
 * Frames of the TCP fabric from any bytes, and the note of an owner: what decodes
 * keeps the rules, and encodes to the bytes that it came from.
 *
 * cmake -S . -B build-fuzz -G Ninja -DCMAKE_C_COMPILER=clang -DMOONCAKE_FUZZ=ON
 * ninja -C build-fuzz fuzz-fabric_tcp && build-fuzz/fuzz/fuzz-fabric_tcp -max_total_time=60
 */
#include <stdlib.h>
#include <string.h>

#include "engine/base/buffer.h"
#include "engine/base/crc32c.h"
#include "engine/base/log.h"
#include "engine/fabric/tcp/frame.h"
#include "engine/transport/onesided/note.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The checksum is put right, or nothing would ever get past it. */
static void check_request(const uint8_t *data)
{
	uint8_t bytes[TCP_REQUEST_SIZE], again[TCP_REQUEST_SIZE];
	struct tcp_request request;

	memcpy(bytes, data, sizeof(bytes));
	store_u32(bytes + 36, crc32c(0, bytes, 36));
	if (tcp_request_decode(bytes, &request) != MC_OK)
		return;
	MUST(request.length > 0 && request.length <= TCP_LENGTH_MAX && request.opcode <= 1);
	tcp_request_encode(again, &request);
	MUST(memcmp(bytes, again, sizeof(bytes)) == 0);
}

static void check_reply(const uint8_t *data)
{
	uint8_t bytes[TCP_REPLY_SIZE], again[TCP_REPLY_SIZE];
	struct tcp_reply reply;

	memcpy(bytes, data, sizeof(bytes));
	store_u32(bytes + 20, crc32c(0, bytes, 20));
	if (tcp_reply_decode(bytes, &reply) != MC_OK)
		return;
	MUST(reply.length == 0 || (reply.status == MC_OK && reply.opcode == 0));
	tcp_reply_encode(again, &reply);
	MUST(memcmp(bytes, again, sizeof(bytes)) == 0);
}

static void check_greetings(const uint8_t *data)
{
	struct tcp_hello hello;
	struct tcp_welcome welcome;

	if (tcp_hello_decode(data, &hello) == MC_OK)
		MUST(tcp_negotiate(&hello).status <= 0);
	if (tcp_welcome_decode(data, &welcome) == MC_OK)
		MUST(welcome.status <= 0);
}

static void check_note(const uint8_t *data, size_t size)
{
	struct segment_desc *desc;
	const uint8_t *sums;
	uint64_t object = size >= 8 ? load_u64(data) >> 20 : 0;

	if (size < 8 || note_read(data + 8, (uint32_t)(size - 8), object, &sums, &desc) != MC_OK)
		return;
	MUST(sums + note_pieces(object) * 4 <= data + size);
	MUST(!desc == (object == 0));
	segment_desc_unref(desc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size >= TCP_REQUEST_SIZE) {
		check_request(data);
		check_reply(data);
		check_greetings(data);
	}
	check_note(data, size);
	return 0;
}
