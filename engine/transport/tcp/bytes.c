#include "engine/transport/tcp/bytes.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/base/crc32c.h"
#include "engine/base/log.h"

/* Read exactly size bytes.  False: the file is shorter, or the device failed. */
static bool read_whole(int fd, uint8_t *at, uint32_t size, uint64_t offset)
{
	while (size > 0) {
		ssize_t got = pread(fd, at, size, (off_t)offset);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		at += got;
		offset += (uint64_t)got;
		size -= (uint32_t)got;
	}
	return true;
}

static void count(struct visitor *visitor, size_t size)
{
	atomic_fetch_add_explicit(&visitor->owner->bytes_served, size, memory_order_relaxed);
}

/* What is left of the head, and bytes that follow it, in one call. */
static enum mc_status send_parts(struct visitor *visitor, const uint8_t *bytes, uint32_t size)
{
	struct answer *answer = &visitor->answer;
	uint32_t head = answer->head_size - answer->head_sent;
	struct iovec parts[2] = {{answer->head + answer->head_sent, head}, {(void *)bytes, size}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	ssize_t sent = sendmsg(visitor->watch.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent < 0)
		return errno == EAGAIN || errno == EINTR ? MC_AGAIN : MC_UNREACHABLE;
	if ((size_t)sent <= head) {
		answer->head_sent += (uint32_t)sent;
		return size == 0 && (size_t)sent == head ? MC_OK : MC_AGAIN;
	}
	uint32_t took = (uint32_t)sent - head;
	answer->head_sent = answer->head_size;
	answer->offset += took;
	answer->remaining -= took;
	count(visitor, took);
	return took == size ? MC_OK : MC_AGAIN;
}

/*
 * Sum what is asked for where it is read to.  The buffer holds the last part
 * then: all of a usual answer.
 */
static bool sum_read(struct bytes *buffer, const struct held *held, uint64_t offset,
		     uint32_t length, uint32_t *sum)
{
	*sum = 0;
	buffer->visitor = NULL;
	for (uint32_t done = 0; done < length; done += buffer->size) {
		uint32_t left = length - done;
		buffer->size = left < BYTES_BUFFER_SIZE ? left : BYTES_BUFFER_SIZE;
		if (!read_whole(held->hold.fd, buffer->bytes, buffer->size, offset + done))
			return false;
		*sum = crc32c(*sum, buffer->bytes, buffer->size);
	}
	return true;
}

void bytes_respond(struct visitor *visitor, const struct pull_request *request, struct held *held)
{
	struct bytes *buffer = visitor->owner->config.context;
	uint64_t size = held->hold.attr.size;
	uint32_t length = request->length, crc = 0;

	if (request->offset > size) {
		owner_refuse(visitor, request, MC_INVALID);
		return;
	}
	if (length > size - request->offset)
		length = (uint32_t)(size - request->offset);
	const uint8_t *map = length >= BYTES_MAP_SIZE ? held_map(held) : NULL;
	if (map) {
		crc = crc32c(0, map + request->offset, length);
	} else if (!sum_read(buffer, held, request->offset, length, &crc)) {
		log_error("can't read an object that is held id=%lu offset=%lu length=%u",
			  request->id, request->offset, length);
		owner_refuse(visitor, request, MC_IO);
		return;
	}
	owner_accept(visitor, request, held, length, crc);
	visitor->answer.held = held;
	visitor->answer.map = map;
	if (!map && length <= BYTES_BUFFER_SIZE)
		buffer->visitor = visitor;
}

/* The socket was full, or the answer is larger than the buffer. */
static enum mc_status send_read(struct visitor *visitor, struct bytes *buffer)
{
	struct answer *answer = &visitor->answer;
	enum mc_status status = MC_OK;

	while (answer->remaining > 0 && status == MC_OK) {
		uint32_t part = answer->remaining < BYTES_BUFFER_SIZE ? answer->remaining
								      : BYTES_BUFFER_SIZE;
		buffer->visitor = NULL;
		if (!read_whole(answer->held->hold.fd, buffer->bytes, part, answer->offset))
			return MC_UNREACHABLE;
		status = send_parts(visitor, buffer->bytes, part);
	}
	return status;
}

enum mc_status bytes_send(struct visitor *visitor)
{
	struct bytes *buffer = visitor->owner->config.context;
	struct answer *answer = &visitor->answer;

	if (answer->remaining == 0)
		return owner_send_head(visitor, 0);
	if (answer->map)
		return send_parts(visitor, answer->map + answer->offset, answer->remaining);
	if (buffer->visitor == visitor) {
		buffer->visitor = NULL;
		enum mc_status status = send_parts(visitor, buffer->bytes, buffer->size);
		if (status)
			return status;
	}
	return send_read(visitor, buffer);
}
