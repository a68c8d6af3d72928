#include "engine/transport/siphon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

/* Room for many small pieces: each takes a page's place in the pipe, however short it is. */
#define PIPE_SIZE (1 << 20)

void siphon_init(struct siphon *siphon)
{
	if (pipe2(siphon->ends, O_CLOEXEC | O_NONBLOCK) < 0) {
		*siphon = (struct siphon){{-1, -1}};
		return;
	}
	/* A smaller one takes more turns. */
	(void)fcntl(siphon->ends[1], F_SETPIPE_SZ, PIPE_SIZE);
}

void siphon_fini(struct siphon *siphon)
{
	if (siphon->ends[0] < 0)
		return;
	close(siphon->ends[0]);
	close(siphon->ends[1]);
	*siphon = (struct siphon){{-1, -1}};
}

/* Until the pipe is full, or the socket has no more. */
static enum mc_status fill(struct siphon *siphon, int socket, uint32_t size, uint32_t *taken)
{
	*taken = 0;
	while (*taken < size) {
		ssize_t got = splice(socket, NULL, siphon->ends[1], NULL, size - *taken,
				     SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
		if (got > 0) {
			*taken += (uint32_t)got;
			continue;
		}
		if (got < 0 && errno == EINTR)
			continue;
		/* Whatever it is, what was taken comes first; it is met again after that. */
		if (*taken > 0)
			return MC_OK;
		if (got < 0 && errno == EAGAIN)
			return MC_AGAIN;
		return got < 0 && errno == EINVAL ? MC_NOT_SUPPORTED : MC_UNREACHABLE;
	}
	return MC_OK;
}

static enum mc_status drain(struct siphon *siphon, int file, uint64_t offset, uint32_t size)
{
	off64_t at = (off64_t)offset;

	while (size > 0) {
		ssize_t put = splice(siphon->ends[0], NULL, file, &at, size, SPLICE_F_MOVE);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put < 0 ? mc_status_from_errno(errno) : MC_IO;
		size -= (uint32_t)put;
	}
	return MC_OK;
}

enum mc_status siphon_move(struct siphon *siphon, int socket, int file, uint64_t offset,
			   uint32_t size, uint32_t *taken)
{
	*taken = 0;
	if (siphon->ends[0] < 0)
		return MC_NOT_SUPPORTED;
	enum mc_status status = fill(siphon, socket, size, taken);
	if (status)
		return status;
	status = drain(siphon, file, offset, *taken);
	if (status) {
		/* What is left in it is nobody's. */
		siphon_fini(siphon);
		siphon_init(siphon);
	}
	return status;
}
