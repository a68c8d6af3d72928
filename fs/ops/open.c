#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/attend.h"
#include "engine/base/log.h"
#include "fs/backing.h"
#include "fs/blank.h"
#include "fs/fs.h"

struct opening {
	fuse_req_t req;
	struct fuse_file_info fi;
	bool write;
	bool create;	    /* the kernel wants an entry as well */
	struct blank blank; /* what is created from, if it has a backing_id */
};

static struct opening *opening_new(fuse_req_t req, const struct fuse_file_info *fi, bool create)
{
	struct opening *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->req = req;
	call->fi = *fi;
	call->write = (fi->flags & O_ACCMODE) != O_RDONLY;
	call->create = create;
	return call;
}

static void reply_created(struct opening *call, struct object *object)
{
	struct fs *fs = fs_of(call->req);
	struct fuse_entry_param entry = {0};

	node_lock(fs->node);
	struct inode *inode = inode_get_locked(fs, object);
	if (inode)
		fill_entry_locked(fs, object, &entry);
	node_unlock(fs->node);
	bool sent = inode && fuse_reply_create(call->req, &entry, &call->fi) == 0;
	if (!inode)
		reply_status(call->req, MC_NO_MEMORY);
	if (sent)
		return;
	node_lock(fs->node);
	if (inode)
		inode_forget_locked(fs, entry.ino, 1);
	node_unlock(fs->node);
	handle_close(fs, handle_of(&call->fi));
}

static void opened(void *context, enum mc_status status, struct object *object)
{
	struct opening *call = context;
	struct fs *fs = fs_of(call->req);

	if (!status)
		status = handle_open(fs, object, &call->fi, call->write, call->blank.backing_id);
	else
		backing_close(fs, call->blank.backing_id);
	if (status)
		log_debug("an open failed create=%d write=%d status=\"%s\"", call->create,
			  call->write, mc_status_text(status));
	if (status)
		reply_status(call->req, status);
	else if (call->create)
		reply_created(call, object);
	else if (fuse_reply_open(call->req, &call->fi) != 0)
		handle_close(fs, handle_of(&call->fi));
	free(call);
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct object *object = inode_object_found(fs, ino);
	struct opening *call = opening_new(req, fi, false);
	uint32_t flags = 0;

	count_request(fs, FS_OPEN);
	if (!object || !call) {
		reply_status(req, object ? MC_NO_MEMORY : MC_STALE);
		node_unref(fs->node, object);
		free(call);
		return;
	}
	if (call->write)
		flags |= NODE_OPEN_WRITE;
	if (fi->flags & O_TRUNC)
		flags |= NODE_OPEN_WRITE | NODE_OPEN_TRUNCATE;
	call->write = flags & NODE_OPEN_WRITE;
	attend_over_ring(req);
	node_open_object(fs->node, object, flags, fuse_req_ctx(req)->pid, opened, call);
	attend_end();
	node_unref(fs->node, object);
}

/* Another thread was faster: open what it made. */
static void created(void *context, enum mc_status status, struct object *object)
{
	struct opening *call = context;
	struct fs *fs = fs_of(call->req);

	if (status == MC_EXISTS && object && !(call->fi.flags & O_EXCL)) {
		uint32_t flags = NODE_OPEN_WRITE;
		backing_close(fs, call->blank.backing_id);
		call->blank.backing_id = 0;
		if (call->fi.flags & O_TRUNC)
			flags |= NODE_OPEN_TRUNCATE;
		node_open_object(fs->node, object, flags, fuse_req_ctx(call->req)->pid, opened,
				 call);
		return;
	}
	opened(call, status, object);
}

/* The owner of what a request makes: the caller, or the directory's group where it says so. */
static void fill_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
			struct node_create *create)
{
	struct fs *fs = fs_of(req);
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	*create = (struct node_create){
		.parent = parent, .name = name, .mode = mode, .uid = ctx->uid, .gid = ctx->gid};
	node_lock(fs->node);
	const struct object *directory = object_find(node_objects(fs->node), parent);
	if (directory && (directory->attr.mode & S_ISGID)) {
		create->gid = directory->attr.gid;
		if (S_ISDIR(mode))
			create->mode |= S_ISGID;
	}
	node_unlock(fs->node);
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct opening *call = opening_new(req, fi, true);
	struct node_create create;

	count_request(fs, FS_CREATE);
	if (!call || strlen(name) > MC_NAME_MAX) {
		reply_status(req, call ? MC_NAME_TOO_LONG : MC_NO_MEMORY);
		free(call);
		return;
	}
	call->write = true; /* a draft is open for writing, whatever the caller asked for */
	fill_create(req, parent, name, S_IFREG | (mode & 07777), &create);
	create.exclusive = fi->flags & O_EXCL;
	if (blank_take(fs->blanks, &call->blank)) {
		counter_add(node_counters(fs->node), COUNTER_CREATES_STOCKED, 1);
		create.file = &call->blank.fd;
	}
	node_create(fs->node, &create, created, call);
}

/* -- mknod of a regular file: create, publish, close -- */

static void made(void *context, enum mc_status status, struct object *object)
{
	fuse_req_t req = context;
	struct fs *fs = fs_of(req);

	if (status)
		reply_status(req, status);
	else
		reply_entry(req, object);
	if (object)
		node_release(fs->node, object, true);
}

static void make_created(void *context, enum mc_status status, struct object *object)
{
	fuse_req_t req = context;
	struct fs *fs = fs_of(req);

	if (status)
		reply_status(req, status);
	else
		node_flush(fs->node, object, made, req);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
	struct fs *fs = fs_of(req);
	struct node_create create;

	(void)device;
	count_request(fs, FS_MKNOD);
	if (!S_ISREG(mode) || strlen(name) > MC_NAME_MAX) {
		reply_status(req, S_ISREG(mode) ? MC_NAME_TOO_LONG : MC_PERMISSION);
		return;
	}
	fill_create(req, parent, name, mode, &create);
	create.exclusive = true;
	node_create(fs->node, &create, make_created, req);
}

static void directory_made(void *context, enum mc_status status, struct object *object)
{
	fuse_req_t req = context;

	if (status)
		reply_status(req, status);
	else
		reply_entry(req, object);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct fs *fs = fs_of(req);
	struct node_create create;

	count_request(fs, FS_MKDIR);
	if (strlen(name) > MC_NAME_MAX) {
		reply_status(req, MC_NAME_TOO_LONG);
		return;
	}
	fill_create(req, parent, name, S_IFDIR | (mode & 07777), &create);
	node_mkdir(fs->node, &create, directory_made, req);
}
