#include "engine/transport/shm/lend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/log.h"

/* The hold's own descriptor, or one that is opened for it once. */
static int read_only(struct held *held)
{
	char path[32];

	if (held->read_fd >= 0)
		return held->read_fd;
	int flags = fcntl(held->hold.fd, F_GETFL);
	if (flags >= 0 && (flags & O_ACCMODE) == O_RDONLY)
		return held->hold.fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", held->hold.fd);
	held->read_fd = open(path, O_RDONLY | O_CLOEXEC);
	return held->read_fd;
}

void lend_respond(struct visitor *visitor, const struct pull_request *request, struct held *held)
{
	int fd = read_only(held);

	if (fd < 0) {
		log_error("can't open an object that is held for reading id=%lu errno=%d",
			  request->id, errno);
		owner_refuse(visitor, request, MC_IO);
		return;
	}
	owner_accept(visitor, request, held, 0, 0);
	visitor->answer.fd = fd;
	owner_lend(visitor, held);
}

enum mc_status lend_send(struct visitor *visitor)
{
	return owner_send_head(visitor, 0);
}
