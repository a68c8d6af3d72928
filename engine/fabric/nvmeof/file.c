#include "engine/fabric/nvmeof/file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/metadata/segment_desc.h"

#define RETRY_NS  1000000000u
#define HOST_SIZE 256u

/* What a block may be at most; the bounce buffers hold whole ones. */
#define UNIT_MAX 65536u

static enum mc_status status_of(int error)
{
	switch (error) {
	case EACCES:
	case EPERM:
	case EROFS:
	case EBADF: /* opened for reading only */
		return MC_ACCESS;
	case ETIMEDOUT:
		return MC_TIMEOUT;
	case ENOLINK: /* the path to the target is gone */
	case ENODEV:
	case ENXIO:
	case ENOENT:
	case ENOTDIR:
	case ENOTCONN:
	case ESTALE:
	case EHOSTUNREACH:
	case EMFILE:
	case ENFILE:
		return MC_UNREACHABLE;
	default:
		return MC_IO;
	}
}

enum mc_status nvmeof_file_failed(struct nvmeof_file *file, int error)
{
	if (error == ECANCELED)
		return MC_CANCELLED;
	file->suspect = true;
	if (error != file->failure) {
		log_warn("a file of a segment failed path=%s error=%s", file->path,
			 strerror(error));
		file->failure = error;
	}
	return status_of(error);
}

static const char *path_of(const struct segment_buffer *buffer, const char *host, size_t length)
{
	for (uint32_t i = 0; i < buffer->local_path_count; i++) {
		const struct segment_local_path *local = &buffer->local_paths[i];
		if (strlen(local->host) == length && memcmp(local->host, host, length) == 0)
			return local->path;
	}
	return NULL;
}

/* The path here: by our name, by that without a port, by the host's name; at the server, its. */
static const char *find_path(const struct segment_desc *desc, const struct segment_buffer *buffer,
			     const char *name)
{
	char host[HOST_SIZE] = "";
	const char *path = path_of(buffer, name, strlen(name));

	if (!path)
		path = path_of(buffer, name, strcspn(name, ":"));
	if (!path && gethostname(host, sizeof(host) - 1) == 0)
		path = path_of(buffer, host, strlen(host));
	if (path)
		return path;
	bool ours = strcmp(desc->name, name) == 0 || (host[0] && strcmp(desc->name, host) == 0);
	return ours ? buffer->file_path : NULL;
}

enum mc_status nvmeof_file_init(struct nvmeof_file *file, const struct segment_desc *desc,
				const struct segment_buffer *buffer, const char *name,
				uint64_t start)
{
	const char *path = find_path(desc, buffer, name);

	*file = (struct nvmeof_file){
		.start = start, .length = buffer->length, .fd = -1, .ends_fd = -1};
	if (!path) {
		log_warn("no path here to a file of a segment server=%s file=%s name=%s",
			 desc->name, buffer->file_path ? buffer->file_path : "", name);
		return MC_OK;
	}
	file->path = strdup(path);
	return file->path ? MC_OK : MC_NO_MEMORY;
}

static void close_file(struct nvmeof_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	if (file->ends_fd >= 0)
		close(file->ends_fd);
	file->fd = -1;
	file->ends_fd = -1;
	file->suspect = false;
}

void nvmeof_file_fini(struct nvmeof_file *file)
{
	close_file(file);
	free(file->path);
}

static int open_for(struct nvmeof_file *file, int flags)
{
	int fd = open(file->path, O_RDWR | O_CLOEXEC | flags);

	file->writable = fd >= 0;
	if (fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM))
		fd = open(file->path, O_RDONLY | O_CLOEXEC | flags);
	return fd;
}

static bool usable(uint32_t unit)
{
	return unit && unit <= UNIT_MAX && (unit & (unit - 1)) == 0;
}

/* False: neither a block device nor a file, or its blocks are beyond all bounds. */
static bool measure(int fd, struct geometry *geometry, bool *is_file)
{
	struct statx at;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_DIOALIGN, &at) != 0)
		return false;
	*is_file = S_ISREG(at.stx_mode);
	if (!*is_file && !S_ISBLK(at.stx_mode))
		return false;
	int block = 0;
	/* Of a network's file system that is its favourite size, larger than any block. */
	if (*is_file)
		block = at.stx_blksize < UNIT_MAX ? (int)at.stx_blksize : (int)UNIT_MAX;
	else if (ioctl(fd, BLKSSZGET, &block) != 0)
		return false;
	bool told = (at.stx_mask & STATX_DIOALIGN) && at.stx_dio_offset_align;
	geometry->unit = told ? at.stx_dio_offset_align : (uint32_t)block;
	geometry->memory_unit = told ? at.stx_dio_mem_align : (uint32_t)block;
	geometry->write_unit = geometry->unit;
	geometry->ends = *is_file;
	/*
	 * A page that an end is written to is read, changed and written back whole:
	 * nothing of it may be written past the page cache meanwhile.
	 */
	if (*is_file) {
		uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);
		uint32_t larger = (uint32_t)block > page ? (uint32_t)block : page;
		geometry->write_unit = larger > geometry->unit ? larger : geometry->unit;
	}
	return usable(geometry->unit) && usable(geometry->memory_unit) &&
	       usable(geometry->write_unit);
}

static enum mc_status open_file(struct nvmeof_file *file)
{
	bool direct = true, is_file = false;
	CLEANUP_FD int fd = open_for(file, O_DIRECT);

	if (fd < 0 && errno == EINVAL) {
		direct = false;
		fd = open_for(file, 0);
	}
	if (fd < 0)
		return status_of(errno);
	if (!measure(fd, &file->geometry, &is_file)) {
		errno = ENOTBLK;
		return MC_UNREACHABLE;
	}
	if (direct && is_file && file->writable) {
		file->ends_fd = open(file->path, O_WRONLY | O_CLOEXEC);
		if (file->ends_fd < 0)
			return status_of(errno);
	}
	if (!direct) {
		log_info("no direct access, over the page cache path=%s", file->path);
		file->geometry = (struct geometry){1, 1, 1, false};
	}
	file->fd = STEAL_FD(fd);
	return MC_OK;
}

enum mc_status nvmeof_file_ready(struct nvmeof_file *file)
{
	if (file->suspect && file->operations == 0)
		close_file(file);
	if (file->fd >= 0)
		return MC_OK;
	if (!file->path)
		return MC_UNREACHABLE;
	uint64_t now = clock_ns();
	if (now < file->retry_ns)
		return file->status;
	enum mc_status status = open_file(file);
	if (status != MC_OK && file->status != status)
		log_warn("can't open a file of a segment path=%s error=%s", file->path,
			 strerror(errno));
	file->status = status;
	file->retry_ns = status == MC_OK ? 0 : now + RETRY_NS;
	return status;
}
