#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/attend.h"
#include "engine/base/cleanup.h"
#include "fs/fs.h"

/* -- read: what did not go past us by passthrough -- */

struct reading {
	fuse_req_t req;
	struct handle *handle;
	size_t size;
	off_t offset;
};

/* A read that can't be served: the bytes are out of reach, whatever became of the object. */
static void reply_unreadable(fuse_req_t req, enum mc_status status)
{
	reply_status(req, status == MC_STALE || status == MC_NOT_FOUND ? MC_IO : status);
}

/* How many of these bytes the file has. */
static uint64_t bytes_there(int fd, size_t size, off_t offset)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || offset >= st.st_size)
		return 0;
	uint64_t left = (uint64_t)(st.st_size - offset);
	return left < size ? left : size;
}

static void reply_bytes(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	struct fs *fs = fs_of(req);
	struct fuse_bufvec buffer = FUSE_BUFVEC_INIT(size);
	int fd;
	enum mc_status status = handle_descriptor(fs, handle, &fd);

	if (status) {
		reply_unreadable(req, status);
		return;
	}
	buffer.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK | FUSE_BUF_FD_RETRY;
	buffer.buf[0].fd = fd;
	buffer.buf[0].pos = offset;
	counter_add(node_counters(fs->node), COUNTER_BYTES_COPIED, bytes_there(fd, size, offset));
	fuse_reply_data(req, &buffer, FUSE_BUF_SPLICE_MOVE);
}

static void range_there(void *context, enum mc_status status, struct object *object)
{
	struct reading *call = context;

	(void)object;
	if (status)
		reply_unreadable(call->req, status);
	else
		reply_bytes(call->req, call->handle, call->size, call->offset);
	free(call);
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct handle *handle = handle_of(fi);

	(void)ino;
	count_request(fs, FS_READ);
	node_lock(fs->node);
	bool arriving = node_arriving_locked(fs->node, handle->inode->object);
	bool broken = object_is(handle->inode->object, OBJECT_BROKEN);
	handle_reads_locked(handle);
	node_unlock(fs->node);
	if (broken) {
		reply_status(req, MC_IO);
		return;
	}
	if (!arriving) {
		reply_bytes(req, handle, size, offset);
		return;
	}
	struct reading *call = malloc(sizeof(*call));
	if (!call) {
		reply_status(req, MC_NO_MEMORY);
		return;
	}
	*call = (struct reading){req, handle, size, offset};
	node_await(fs->node, handle->inode->object, (uint64_t)offset, size, range_there, call);
}

/* -- write -- */

void op_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t offset,
		  struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	size_t size = fuse_buf_size(in);
	struct fuse_bufvec out = FUSE_BUFVEC_INIT(size);
	int fd;

	(void)ino;
	count_request(fs, FS_WRITE);
	enum mc_status status = handle_descriptor(fs, handle_of(fi), &fd);
	/*
	 * A write comes to us in pieces.  What has begun ends whole, in the room
	 * that is kept for that: who took too much hears of it at close.
	 */
	if (!status && node_make_room(fs->node, size) && offset == 0)
		status = MC_NO_SPACE;
	if (status) {
		reply_status(req, status);
		return;
	}
	out.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK | FUSE_BUF_FD_RETRY;
	out.buf[0].fd = fd;
	out.buf[0].pos = offset;
	ssize_t written = fuse_buf_copy(&out, in, 0);
	if (written < 0) {
		reply_status(req, mc_status_from_errno((int)-written));
	} else if ((size_t)written < size) {
		reply_status(req, MC_NO_SPACE); /* never a short write */
	} else {
		counter_add(node_counters(fs->node), COUNTER_BYTES_COPIED, (uint64_t)written);
		fuse_reply_write(req, (size_t)written);
	}
}

/* -- flush, release, fsync -- */

struct flushing {
	fuse_req_t req;
	enum mc_status status;
};

static void flush_reply(void *context)
{
	struct flushing *call = context;

	reply_status(call->req, call->status);
	free(call);
}

static void flushed(void *context, enum mc_status status, struct object *object)
{
	(void)object;
	reply_status(context, status);
}

/*
 * The kernel knows the replaced object by this name, or a draft that failed:
 * it must have heard so (the node has queued the notice) before the caller
 * goes on.
 */
static void flushed_first(void *context, enum mc_status status, struct object *object)
{
	fuse_req_t req = context;
	struct fs *fs = fs_of(req);
	struct flushing *call = malloc(sizeof(*call));

	(void)object;
	if (!call) {
		reply_status(req, status);
		return;
	}
	*call = (struct flushing){req, status};
	notify_then(fs, flush_reply, call);
}

/* A first publish that fails takes the name away again. */
static void flushed_draft(void *context, enum mc_status status, struct object *object)
{
	if (status)
		flushed_first(context, status, object);
	else
		flushed(context, status, object);
}

void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct handle *handle = handle_of(fi);

	(void)ino;
	count_request(fs, FS_FLUSH);
	if (!handle->write) {
		fuse_reply_err(req, 0);
		return;
	}
	struct object *object = handle->inode->object;
	node_lock(fs->node);
	bool replaces = object->original;
	node_unlock(fs->node);
	attend_over_ring(req);
	node_flush(fs->node, object, replaces ? flushed_first : flushed_draft, req);
	attend_end();
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);

	(void)ino;
	count_request(fs, FS_RELEASE);
	handle_close(fs, handle_of(fi));
	fuse_reply_err(req, 0);
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	(void)ino;
	(void)data_only;
	(void)fi;
	count_request(fs_of(req), FS_FSYNC);
	fuse_reply_err(req, 0);
}

/* -- fallocate, lseek, copy_file_range -- */

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
		  struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	int fd;

	(void)ino;
	count_request(fs, FS_FALLOCATE);
	enum mc_status status = handle_descriptor(fs, handle_of(fi), &fd);
	if (!status && !(mode & FALLOC_FL_PUNCH_HOLE))
		status = node_make_room(fs->node, (uint64_t)length);
	if (!status && fallocate(fd, mode, offset, length) < 0)
		status = mc_status_from_errno(errno);
	reply_status(req, status);
}

void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct object *object = handle_of(fi)->inode->object;
	int fd;

	(void)ino;
	count_request(fs, FS_LSEEK);
	enum mc_status status = handle_descriptor(fs, handle_of(fi), &fd);
	if (status) {
		reply_status(req, status);
		return;
	}
	/* What a stream has not brought yet looks like a hole: until it has, all of it is data. */
	node_lock(fs->node);
	bool arriving = node_arriving_locked(fs->node, object);
	bool broken = object_is(object, OBJECT_BROKEN);
	off_t size = (off_t)object->attr.size;
	node_unlock(fs->node);
	if (broken) {
		reply_status(req, MC_IO);
		return;
	}
	if (arriving && offset >= 0 && offset < size) {
		fuse_reply_lseek(req, whence == SEEK_HOLE ? size : offset);
		return;
	}
	off_t at = lseek(fd, offset, whence);
	if (at < 0)
		fuse_reply_err(req, errno); /* ENXIO is the answer, not a failure */
	else
		fuse_reply_lseek(req, at);
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t offset_in,
			struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t offset_out,
			struct fuse_file_info *fi_out, size_t length, int flags)
{
	struct fs *fs = fs_of(req);
	int from, to;

	(void)ino_in;
	(void)ino_out;
	count_request(fs, FS_COPY_FILE_RANGE);
	struct object *source = handle_of(fi_in)->inode->object;
	node_lock(fs->node);
	enum mc_status status = MC_OK;
	if (object_is(source, OBJECT_BROKEN))
		status = MC_IO;
	else if (node_arriving_locked(fs->node, source))
		status = MC_NOT_SUPPORTED; /* the kernel reads and writes instead */
	node_unlock(fs->node);
	if (!status)
		status = handle_descriptor(fs, handle_of(fi_in), &from);
	if (!status)
		status = handle_descriptor(fs, handle_of(fi_out), &to);
	if (!status)
		status = node_make_room(fs->node, length < 1u << 30 ? length : 0);
	if (status) {
		reply_status(req, status);
		return;
	}
	ssize_t copied =
		copy_file_range(from, &offset_in, to, &offset_out, length, (unsigned)flags);
	if (copied < 0)
		reply_status(req, mc_status_from_errno(errno));
	else
		fuse_reply_write(req, (size_t)copied);
}
