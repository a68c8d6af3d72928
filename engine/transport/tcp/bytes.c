#include "engine/transport/tcp/bytes.h"

#include <errno.h>
#include <sys/sendfile.h>
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

static bool checksum(int fd, uint8_t *buffer, uint32_t size, uint64_t offset, uint32_t *crc)
{
	*crc = 0;
	while (size > 0) {
		uint32_t part = size < BYTES_SMALL_MAX ? size : BYTES_SMALL_MAX;
		if (!read_whole(fd, buffer, part, offset))
			return false;
		*crc = crc32c(*crc, buffer, part);
		offset += part;
		size -= part;
	}
	return true;
}

static void count(struct visitor *visitor, size_t size)
{
	atomic_fetch_add_explicit(&visitor->owner->bytes_served, size, memory_order_relaxed);
}

/* Head and bytes in one call; what the socket does not take goes from the file. */
static void send_together(struct visitor *visitor, uint8_t *buffer)
{
	struct answer *answer = &visitor->answer;
	struct iovec parts[2] = {{answer->head, answer->head_size}, {buffer, answer->remaining}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	ssize_t sent = sendmsg(visitor->watch.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent <= 0)
		return;
	if ((size_t)sent <= answer->head_size) {
		answer->head_sent = (uint32_t)sent;
		return;
	}
	uint32_t bytes = (uint32_t)sent - answer->head_size;
	answer->head_sent = answer->head_size;
	answer->offset += bytes;
	answer->remaining -= bytes;
	count(visitor, bytes);
}

void bytes_respond(struct visitor *visitor, const struct pull_request *request, struct held *held)
{
	uint8_t *buffer = visitor->owner->config.context;
	uint64_t size = held->hold.attr.size;
	uint32_t length = request->length, crc;

	if (request->offset > size) {
		owner_refuse(visitor, request, MC_INVALID);
		return;
	}
	if (length > size - request->offset)
		length = (uint32_t)(size - request->offset);
	if (!checksum(held->hold.fd, buffer, length, request->offset, &crc)) {
		log_error("can't read an object that is held id=%lu offset=%lu length=%u",
			  request->id, request->offset, length);
		owner_refuse(visitor, request, MC_IO);
		return;
	}
	owner_accept(visitor, request, held, length, crc);
	visitor->answer.held = held;
	if (length <= BYTES_SMALL_MAX)
		send_together(visitor, buffer);
}

enum mc_status bytes_send(struct visitor *visitor)
{
	struct answer *answer = &visitor->answer;
	enum mc_status status = owner_send_head(visitor, answer->remaining ? MSG_MORE : 0);

	if (status)
		return status;
	while (answer->remaining > 0) {
		off_t offset = (off_t)answer->offset;
		ssize_t sent = sendfile(visitor->watch.fd, answer->held->hold.fd, &offset,
					answer->remaining);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			return MC_AGAIN;
		if (sent <= 0)
			return MC_UNREACHABLE;
		answer->offset += (uint64_t)sent;
		answer->remaining -= (uint32_t)sent;
		count(visitor, (size_t)sent);
	}
	return MC_OK;
}
