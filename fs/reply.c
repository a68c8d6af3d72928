#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/attend.h"
#include "engine/base/log.h"
#include "fs/fs.h"

static const char *const request_names[FS_REQUEST_LIMIT] = {
	[FS_LOOKUP] = "lookup",
	[FS_FORGET] = "forget",
	[FS_GETATTR] = "getattr",
	[FS_SETATTR] = "setattr",
	[FS_CREATE] = "create",
	[FS_OPEN] = "open",
	[FS_READ] = "read",
	[FS_WRITE] = "write",
	[FS_FLUSH] = "flush",
	[FS_RELEASE] = "release",
	[FS_FSYNC] = "fsync",
	[FS_UNLINK] = "unlink",
	[FS_MKDIR] = "mkdir",
	[FS_RMDIR] = "rmdir",
	[FS_RENAME] = "rename",
	[FS_OPENDIR] = "opendir",
	[FS_READDIR] = "readdir",
	[FS_READDIRPLUS] = "readdirplus",
	[FS_RELEASEDIR] = "releasedir",
	[FS_STATFS] = "statfs",
	[FS_GETXATTR] = "getxattr",
	[FS_SETXATTR] = "setxattr",
	[FS_LISTXATTR] = "listxattr",
	[FS_REMOVEXATTR] = "removexattr",
	[FS_FALLOCATE] = "fallocate",
	[FS_LSEEK] = "lseek",
	[FS_COPY_FILE_RANGE] = "copy_file_range",
	[FS_MKNOD] = "mknod",
	[FS_REFUSED] = "refused",
};

const char *request_name(enum fs_request request)
{
	return request_names[request];
}

/*
 * Every request passes here first.  libfuse ends its ring threads by
 * pthread_cancel(), which must not strike in the middle of a request, with a
 * lock held: those threads also have another way to be woken.
 */
void count_request(struct fs *fs, enum fs_request request)
{
	int old;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	atomic_fetch_add_explicit(&fs->requests[request], 1, memory_order_relaxed);
	node_busy(fs->node);
}

/* The only errors that a caller sees; the rest is logged and becomes EIO. */
static int error_of(enum mc_status status)
{
	switch (status) {
	case MC_PROTOCOL:
	case MC_CANCELLED:
		log_warn("a request failed, the caller sees an i/o error status=\"%s\"",
			 mc_status_text(status));
		return EIO;
	case MC_OK:
	case MC_PERMISSION:
	case MC_NOT_FOUND:
	case MC_IO:
	case MC_AGAIN:
	case MC_NO_MEMORY:
	case MC_ACCESS:
	case MC_BUSY:
	case MC_EXISTS:
	case MC_CROSS_DEVICE:
	case MC_NOT_DIRECTORY:
	case MC_IS_DIRECTORY:
	case MC_INVALID:
	case MC_TOO_BIG:
	case MC_NO_SPACE:
	case MC_READ_ONLY:
	case MC_NAME_TOO_LONG:
	case MC_NOT_EMPTY:
	case MC_NO_DATA:
	case MC_STALE:
	case MC_NOT_SUPPORTED:
	case MC_TIMEOUT:
		return -(int)status;
	case MC_UNREACHABLE:
		return ETIMEDOUT; /* there was nobody to ask, all the time */
	}
	return EIO;
}

void attend_over_ring(fuse_req_t req)
{
	if (fuse_req_is_uring(req))
		attend_begin();
}

void reply_status(fuse_req_t req, enum mc_status status)
{
	struct fs *fs = fs_of(req);
	int error = error_of(status);

	if (error && error < 256)
		atomic_fetch_add_explicit(&fs->errors[error], 1, memory_order_relaxed);
	fuse_reply_err(req, error);
}

void attr_to_stat(const struct mc_attr *attr, struct stat *st)
{
	*st = (struct stat){
		.st_ino = attr->id,
		.st_mode = attr->mode,
		.st_nlink = attr->nlink,
		.st_uid = attr->uid,
		.st_gid = attr->gid,
		.st_size = (off_t)attr->size,
		.st_blksize = 4096,
		.st_blocks = (blkcnt_t)((attr->allocated + 511) / 512),
		.st_atim = {attr->atime.s, attr->atime.ns},
		.st_mtim = {attr->mtime.s, attr->mtime.ns},
		.st_ctim = {attr->ctime.s, attr->ctime.ns},
	};
}

static double trust(const struct fs *fs)
{
	uint32_t ms = fs->config.cache_ms;

	if (!fs->epoch && ms > 1000)
		ms = 1000; /* nothing could call all of it back */
	return ms / 1000.0;
}

/* How long the kernel may trust the object's name, and its attributes, in seconds. */
static double name_timeout_locked(const struct fs *fs, const struct object *object)
{
	return object->original ? 0 : trust(fs);
}

static double attr_timeout_locked(const struct fs *fs, const struct object *object)
{
	/* As of a version that is open here still: the next is heard of by asking. */
	if (!node_known_locked(fs->node, object))
		return 0;
	/* What a write changes the kernel asks for again by itself, passthrough or not. */
	if (object_is(object, OBJECT_DIRECTORY) && trust(fs) > 1)
		return 1; /* others change it without a word */
	return trust(fs);
}

void fill_entry_locked(struct fs *fs, struct object *object, struct fuse_entry_param *entry)
{
	node_sync_locked(fs->node, object);
	*entry = (struct fuse_entry_param){
		.ino = object->attr.id,
		.attr_timeout = attr_timeout_locked(fs, object),
		.entry_timeout = name_timeout_locked(fs, object),
	};
	attr_to_stat(&object->attr, &entry->attr);
}

void reply_entry(fuse_req_t req, struct object *object)
{
	struct fs *fs = fs_of(req);
	struct fuse_entry_param entry;

	node_lock(fs->node);
	uint64_t id = object->attr.id;
	struct inode *inode = inode_get_locked(fs, object);
	if (inode)
		fill_entry_locked(fs, object, &entry);
	node_unlock(fs->node);
	if (!inode) {
		reply_status(req, MC_NO_MEMORY);
	} else if (fuse_reply_entry(req, &entry) != 0) {
		node_lock(fs->node);
		inode_forget_locked(fs, id, 1);
		node_unlock(fs->node);
	}
}

void reply_attr(fuse_req_t req, struct object *object)
{
	struct fs *fs = fs_of(req);
	struct stat st;

	node_lock(fs->node);
	node_sync_locked(fs->node, object);
	attr_to_stat(&object->attr, &st);
	double timeout = attr_timeout_locked(fs, object);
	node_unlock(fs->node);
	fuse_reply_attr(req, &st, timeout);
}

static void put_mount_stats(struct fs *fs, FILE *out)
{
	for (unsigned i = 0; i < FS_REQUEST_LIMIT; i++)
		fprintf(out, "fuse_%s %" PRIu64 "\n", request_names[i], fs->requests[i]);
	for (unsigned i = 1; i < 256; i++) {
		if (fs->errors[i] > 0)
			fprintf(out, "error_%s %" PRIu64 "\n", strerrorname_np((int)i),
				fs->errors[i]);
	}
}

/* The node's lines and the mount's, in one text. */
static char *join(struct fs *fs, char *node_text, void (*put)(struct fs *, FILE *))
{
	char *text = NULL;
	size_t size;
	FILE *out = node_text ? open_memstream(&text, &size) : NULL;

	if (out) {
		fputs(node_text, out);
		put(fs, out);
		fclose(out);
	}
	free(node_text);
	return text;
}

char *fs_stats(struct fs *fs)
{
	return join(fs, node_stats(fs->node), put_mount_stats);
}

static void put_mount_status(struct fs *fs, FILE *out)
{
	fprintf(out, "passthrough %s\nio_uring %s\n", fs->passthrough_why, fs->io_uring_why);
}

char *fs_status(fuse_req_t req)
{
	struct fs *fs = fs_of(req);

	/* libfuse goes on without a ring that the kernel does not give it; requests tell. */
	if (fs->io_uring && !fuse_req_is_uring(req))
		fs->io_uring_why = "off: libfuse could not start it, see its line in the log";
	return join(fs, node_status(fs->node), put_mount_status);
}
