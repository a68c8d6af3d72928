#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "fs/fs.h"

static void attr_done(void *context, enum mc_status status, struct object *object)
{
	fuse_req_t req = context;

	if (status)
		reply_status(req, status);
	else
		reply_attr(req, object);
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct object *object = inode_object(fs, ino);

	(void)fi;
	count_request(fs, FS_GETATTR);
	if (!object) {
		reply_status(req, MC_STALE);
		return;
	}
	node_getattr(fs->node, object, attr_done, req);
	node_unref(fs->node, object);
}

struct setattr {
	fuse_req_t req;
	struct object *object; /* counted */
	uint32_t mask;
	struct mc_attr attr;
};

static struct mc_time time_of(struct timespec t)
{
	return (struct mc_time){.s = t.tv_sec, .ns = (uint32_t)t.tv_nsec};
}

static uint32_t setattr_mask(const struct stat *st, int to_set, struct mc_attr *attr)
{
	uint32_t mask = 0;

	if (to_set & FUSE_SET_ATTR_MODE)
		mask |= MC_SET_MODE;
	if (to_set & FUSE_SET_ATTR_UID)
		mask |= MC_SET_UID;
	if (to_set & FUSE_SET_ATTR_GID)
		mask |= MC_SET_GID;
	if (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW))
		mask |= MC_SET_ATIME;
	if (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW))
		mask |= MC_SET_MTIME;
	attr->mode = st->st_mode;
	attr->uid = st->st_uid;
	attr->gid = st->st_gid;
	attr->atime = to_set & FUSE_SET_ATTR_ATIME_NOW ? clock_real() : time_of(st->st_atim);
	attr->mtime = to_set & FUSE_SET_ATTR_MTIME_NOW ? clock_real() : time_of(st->st_mtim);
	attr->ctime = clock_real();
	return mask ? mask | MC_SET_CTIME : 0;
}

static void setattr_end(struct setattr *call, enum mc_status status)
{
	struct fs *fs = fs_of(call->req);

	attr_done(call->req, status, call->object);
	node_unref(fs->node, call->object);
	free(call);
}

static void setattr_done(void *context, enum mc_status status, struct object *object)
{
	(void)object;
	setattr_end(context, status);
}

static void resized(void *context, enum mc_status status, struct object *object)
{
	struct setattr *call = context;
	struct fs *fs = fs_of(call->req);

	(void)object;
	if (status || !call->mask)
		setattr_end(call, status);
	else
		node_setattr(fs->node, call->object, call->mask, &call->attr, setattr_done, call);
}

/* ftruncate of an open file changes the file itself; its flush publishes. */
static void resize(struct setattr *call, off_t size, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(call->req);
	enum mc_status status = MC_OK;
	int fd;

	if (!fi || !handle_of(fi)->write) {
		node_truncate(fs->node, call->object, (uint64_t)size, fuse_req_ctx(call->req)->pid,
			      resized, call);
		return;
	}
	status = handle_descriptor(fs, handle_of(fi), &fd);
	if (!status && ftruncate(fd, size) < 0)
		status = mc_status_from_errno(errno);
	resized(call, status, call->object);
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
		struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct object *object = inode_object(fs, ino);
	struct setattr *call = calloc(1, sizeof(*call));

	count_request(fs, FS_SETATTR);
	if (!object || !call) {
		reply_status(req, object ? MC_NO_MEMORY : MC_STALE);
		node_unref(fs->node, object);
		free(call);
		return;
	}
	call->req = req;
	call->object = object;
	call->mask = setattr_mask(st, to_set, &call->attr);
	if (to_set & FUSE_SET_ATTR_SIZE)
		resize(call, st->st_size, fi);
	else
		resized(call, MC_OK, object);
}

static void statfs_done(void *context, enum mc_status status, const struct node_space *space)
{
	fuse_req_t req = context;
	struct statvfs st = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = MC_NAME_MAX};

	if (status) {
		reply_status(req, status);
		return;
	}
	uint64_t left = space->capacity > space->used ? space->capacity - space->used : 0;
	st.f_blocks = space->capacity / 4096;
	st.f_bfree = st.f_bavail = left / 4096;
	st.f_files = space->objects + space->directories + left / 4096;
	st.f_ffree = st.f_favail = left / 4096;
	fuse_reply_statfs(req, &st);
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *fs = fs_of(req);

	(void)ino;
	count_request(fs, FS_STATFS);
	node_statfs(fs->node, statfs_done, req);
}
