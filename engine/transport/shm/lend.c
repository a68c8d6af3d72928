#include "engine/transport/shm/lend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/log.h"

static int read_only(int fd)
{
	char path[32];
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0 && (flags & O_ACCMODE) == O_RDONLY)
		return fcntl(fd, F_DUPFD_CLOEXEC, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDONLY | O_CLOEXEC);
}

void lend_respond(struct visitor *visitor, const struct pull_request *request, struct held *held)
{
	int fd = read_only(held->hold.fd);

	if (fd < 0) {
		log_error("can't open an object that is held for reading id=%lu errno=%d",
			  request->id, errno);
		owner_refuse(visitor, request, MC_IO);
		return;
	}
	owner_accept(visitor, request, held, 0, 0);
	visitor->answer.fd = fd;
	held->lent++;
}

enum mc_status lend_send(struct visitor *visitor)
{
	return owner_send_head(visitor, 0);
}
