#include <string.h>

#include "engine/base/attend.h"
#include "fs/fs.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE (1 << 0)
#endif

static void name_done(void *context, enum mc_status status, struct object *object)
{
	(void)object;
	reply_status(context, status);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);

	count_request(fs, FS_UNLINK);
	attend_over_ring(req);
	node_unlink(fs->node, parent, name, name_done, req);
	attend_end();
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);

	count_request(fs, FS_RMDIR);
	node_rmdir(fs->node, parent, name, name_done, req);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	       const char *new_name, unsigned flags)
{
	struct fs *fs = fs_of(req);
	const struct node_rename rename = {
		.parent = parent,
		.name = name,
		.new_parent = new_parent,
		.new_name = new_name,
		.noreplace = flags & RENAME_NOREPLACE,
		.tid = fuse_req_ctx(req)->pid,
	};

	count_request(fs, FS_RENAME);
	attend_over_ring(req);
	if (flags & ~(unsigned)RENAME_NOREPLACE)
		reply_status(req, MC_INVALID);
	else if (strlen(new_name) > MC_NAME_MAX)
		reply_status(req, MC_NAME_TOO_LONG);
	else
		node_rename(fs->node, &rename, name_done, req);
	attend_end();
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	(void)target;
	(void)parent;
	(void)name;
	count_request(fs_of(req), FS_REFUSED);
	reply_status(req, MC_PERMISSION);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	(void)ino;
	(void)new_parent;
	(void)new_name;
	count_request(fs_of(req), FS_REFUSED);
	reply_status(req, MC_PERMISSION);
}
