#include "master/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"

#define DIRECTORY_MODE 0755

void disk_boot(uint8_t boot[16])
{
	char text[40] = "";
	size_t digits = 0;

	memset(boot, 0, 16);
	CLEANUP_FD int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		return;
	for (const char *p = text; *p && digits < 32; p++) {
		int digit = *p >= '0' && *p <= '9'   ? *p - '0'
			    : *p >= 'a' && *p <= 'f' ? *p - 'a' + 10
						     : -1;
		if (digit < 0)
			continue;
		boot[digits / 2] = (uint8_t)(boot[digits / 2] << 4 | digit);
		digits++;
	}
}

bool disk_write(int fd, const uint8_t *bytes, size_t size, uint64_t offset)
{
	while (size > 0) {
		ssize_t written = pwrite(fd, bytes, size, (off_t)offset);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return false;
		bytes += written;
		size -= (size_t)written;
		offset += (uint64_t)written;
	}
	return true;
}

void disk_parents(const char *path)
{
	char copy[PATH_MAX];

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(copy, DIRECTORY_MODE) != 0 && errno != EEXIST)
			return;
		*p = '/';
	}
}

bool disk_sync_name(const char *path)
{
	char copy[PATH_MAX];

	snprintf(copy, sizeof(copy), "%s", path);
	CLEANUP_FD int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 && fsync(fd) == 0;
}
