#include "tools/mooncake/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mooncake/types.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/mooncake/complaint.h"
#include "tools/mooncake/document.h"
#include "tools/mooncake/format.h"

#define COPY_KERNEL_SIZE  (8u << 20)
#define COPY_BUFFER_SIZE  (1u << 20)
#define COPY_ATTEMPTS_MAX 10u

enum mc_status copy_failed(const char *what, const char *name)
{
	int error = errno;
	CLEANUP_FREE char *shown = format_name(name, strlen(name));

	if (error == ENOENT)
		complain("%s %s: there is no such file, object or directory", what, shown);
	else if (error == ENOTCONN)
		complain("%s %s: the mount's daemon has ended", what, shown);
	else if (error == ENOSPC)
		complain("%s %s: no space, and nothing is left that could be evicted", what, shown);
	else if (error == ETIMEDOUT)
		complain("%s %s: a node or the master did not answer in time", what, shown);
	else
		complain("%s %s: %s", what, shown, strerror(error));
	return mc_status_from_errno(error);
}

const char *copy_basename(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int copy_stage(struct task *task, int directory, const char *name, unsigned mode,
	       char staging[COPY_NAME_SIZE])
{
	int fd = -1;

	for (unsigned attempt = 0; attempt < COPY_ATTEMPTS_MAX; attempt++) {
		char mark[32];
		int size = snprintf(mark, sizeof(mark), MC_STAGING_MARK ".%d", (int)getpid());
		if (attempt > 0)
			size += snprintf(mark + size, sizeof(mark) - (size_t)size, ".%u", attempt);
		snprintf(staging, COPY_NAME_SIZE, "%.*s%s", (int)(COPY_NAME_SIZE - 1) - size, name,
			 mark);
		fd = openat(directory, staging, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
		if (fd >= 0 || errno != EEXIST)
			break;
	}
	if (fd >= 0) {
		task->undo_directory = directory;
		task->undo = staging;
	}
	return fd;
}

void copy_unstage(struct task *task)
{
	const char *staging = task->undo;

	task->undo = NULL;
	if (staging)
		unlinkat(task->undo_directory, staging, 0);
}

bool copy_rename(struct task *task, const char *staging, const char *name)
{
	int directory = task->undo_directory;

	if (renameat(directory, staging, directory, name) == 0) {
		task->undo = NULL;
		return true;
	}
	int error = errno;
	copy_unstage(task);
	errno = error;
	return false;
}

/* MC_OK: all is there.  MC_NOT_SUPPORTED: nothing moved, the kernel can't between these. */
static enum mc_status copy_in_kernel(struct task *task, const struct copy_end *from,
				     const struct copy_end *to)
{
	bool moved = false;

	for (;;) {
		ssize_t size = copy_file_range(from->fd, NULL, to->fd, NULL, COPY_KERNEL_SIZE, 0);
		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0 && moved)
			return copy_failed("can't write", to->name);
		/* Some files say 0 where read() gives bytes: that tells the end. */
		if (size < 0 || (size == 0 && !moved))
			return MC_NOT_SUPPORTED;
		if (size == 0)
			return MC_OK;
		moved = true;
		task_step(task, (uint64_t)size);
	}
}

static enum mc_status write_all(struct task *task, const struct copy_end *to, const char *bytes,
				size_t size)
{
	while (size > 0) {
		task->elsewhere = to->patient;
		ssize_t written = write(to->fd, bytes, size);
		task->elsewhere = false;
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
	CLEANUP_FREE char *shown = format_name(key, strlen(key));

	complain("can't %s %s: the mount did not move for %u ms, it was given up", verb, shown,
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
