#include "tools/mooncake/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mooncake/types.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/mooncake/complaint.h"
#include "tools/mooncake/document.h"

#define COPY_KERNEL_SIZE  (8u << 20)
#define COPY_BUFFER_SIZE  (1u << 20)
#define COPY_ATTEMPTS_MAX 10u
#define COPY_LOOK_MS	  100

enum mc_status copy_failed(const char *what, const char *name)
{
	int error = errno;

	if (error == ENOENT)
		complain("%s %s: there is no such file, object or directory", what, name);
	else if (error == ENOTCONN)
		complain("%s %s: the mount's daemon has ended", what, name);
	else if (error == ENOSPC)
		complain("%s %s: no space is left; in a pool, nothing that could be evicted", what,
			 name);
	else if (error == EPIPE)
		complain("%s %s: nobody reads it any more", what, name);
	else if (error == ETIMEDOUT)
		complain("%s %s: a node or the master did not answer in time", what, name);
	else
		complain("%s %s: %s", what, name, strerror(error));
	/* A pipe without a reader and a mount without a daemon are not the same to the caller. */
	return error == EPIPE ? MC_IO : mc_status_from_errno(error);
}

bool copy_is_standard(const char *operand, int fd)
{
	static const char *const names[][4] = {
		{"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"},
		{"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(names[fd]); i++) {
		if (strcmp(operand, names[fd][i]) == 0)
			return true;
	}
	return false;
}

const char *copy_basename(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int copy_stage(struct copy_staging *staging, int directory, const char *name, unsigned mode)
{
	staging->directory = directory;
	for (unsigned attempt = 0;; attempt++) {
		char mark[32];
		int size = snprintf(mark, sizeof(mark), MC_STAGING_MARK ".%d", (int)getpid());
		if (attempt > 0)
			size += snprintf(mark + size, sizeof(mark) - (size_t)size, ".%u", attempt);
		snprintf(staging->name, COPY_NAME_SIZE, "%.*s%s", (int)(COPY_NAME_SIZE - 1) - size,
			 name, mark);
		int fd = openat(directory, staging->name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC,
				mode);
		if (fd >= 0 || errno != EEXIST || attempt == COPY_ATTEMPTS_MAX)
			return fd;
	}
}

void copy_unstage(const struct copy_staging *staging)
{
	unlinkat(staging->directory, staging->name, 0);
}

bool copy_rename(const struct copy_staging *staging, const char *name)
{
	if (renameat(staging->directory, staging->name, staging->directory, name) == 0)
		return true;
	int error = errno;
	copy_unstage(staging);
	errno = error;
	return false;
}

/*
 * MC_OK: all is there.  MC_NOT_SUPPORTED: the rest is to be read and written, the kernel
 * can't between these, or failed: then that tells at which end.
 */
static enum mc_status copy_in_kernel(struct task *task, const struct copy_end *from,
				     const struct copy_end *to)
{
	bool moved = false;

	for (;;) {
		ssize_t size = copy_file_range(from->fd, NULL, to->fd, NULL, COPY_KERNEL_SIZE, 0);
		if (size < 0 && errno == EINTR)
			continue;
		/* Some files say 0 where read() gives bytes: that tells the end. */
		if (size < 0 || (size == 0 && !moved))
			return MC_NOT_SUPPORTED;
		if (size == 0)
			return MC_OK;
		moved = true;
		task_step(task, (uint64_t)size);
		if (task_stopping())
			return MC_CANCELLED;
	}
}

static enum mc_status write_all(struct task *task, const struct copy_end *to, const char *bytes,
				size_t size)
{
	while (size > 0) {
		task->elsewhere = to->patient;
		ssize_t written = write(to->fd, bytes, size);
		task->elsewhere = false;
		if (task_stopping())
			return MC_CANCELLED;
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return copy_failed("can't write", to->name);
		bytes += written;
		size -= (size_t)written;
		task_step(task, (uint64_t)written);
	}
	return MC_OK;
}

/* Wait until a pipe or a terminal has something to read. */
static bool wait_readable(const struct copy_end *from)
{
	struct pollfd fd = {.fd = from->fd, .events = POLLIN};

	while (from->patient && !task_stopping()) {
		if (poll(&fd, 1, COPY_LOOK_MS) > 0)
			return true;
	}
	return !task_stopping();
}

enum mc_status copy_bytes(struct task *task, const struct copy_end *from, const struct copy_end *to)
{
	if (!from->patient && !to->patient) {
		enum mc_status status = copy_in_kernel(task, from, to);
		if (status != MC_NOT_SUPPORTED)
			return status;
	}
	CLEANUP_FREE char *buffer = aligned_alloc(4096, COPY_BUFFER_SIZE);
	MUST(buffer != NULL);
	for (;;) {
		task->elsewhere = from->patient;
		if (!wait_readable(from))
			return MC_CANCELLED;
		ssize_t size = read(from->fd, buffer, COPY_BUFFER_SIZE);
		task->elsewhere = false;
		if (size == 0)
			return MC_OK;
		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0)
			return copy_failed("can't read", from->name);
		enum mc_status status = write_all(task, to, buffer, (size_t)size);
		if (status)
			return status;
	}
}

void copy_given_up(const struct task *task, const char *verb, const char *key)
{
	complain("can't %s %s: the mount did not move for %u ms, it was given up", verb, key,
		 task->timeout_ms);
}

void copy_print(const char *key, uint64_t size, uint64_t duration_ns)
{
	cJSON *document = document_object();
	double seconds = (double)duration_ns / 1e9;

	document_add_name(document, "key", key, strlen(key));
	document_add_number(document, "size", size);
	document_add(document, "seconds", cJSON_CreateNumber(seconds));
	document_add_number(document, "bytes_per_second",
			    seconds > 0 ? (uint64_t)((double)size / seconds) : 0);
	document_print(document);
}
