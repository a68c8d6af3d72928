#include "fs/backing.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "engine/base/log.h"

/* linux/fuse.h, since 6.9; the headers of Debian 12 are older. */
struct backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define FUSE_IOCTL_BACKING_OPEN	 _IOW(229, 1, struct backing_map)
#define FUSE_IOCTL_BACKING_CLOSE _IOW(229, 2, uint32_t)

int backing_open(const struct fs *fs, int fd)
{
	struct backing_map map = {.fd = fd};
	int id = ioctl(fuse_session_fd(fs->session), FUSE_IOCTL_BACKING_OPEN, &map);

	if (id > 0)
		return id;
	log_warn("the kernel takes no backing file error=\"%s\"", strerror(errno));
	return 0;
}

void backing_close(const struct fs *fs, int id)
{
	uint32_t number = (uint32_t)id;

	if (id == 0 || fuse_session_fd(fs->session) < 0)
		return; /* unmounted: the kernel has closed them all */
	if (ioctl(fuse_session_fd(fs->session), FUSE_IOCTL_BACKING_CLOSE, &number) < 0)
		log_warn("a backing file can't be closed error=%d", errno);
}
