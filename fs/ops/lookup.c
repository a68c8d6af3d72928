#include <stdlib.h>
#include <string.h>

#include "engine/base/attend.h"
#include "engine/base/log.h"
#include "fs/fs.h"

static void lookup_done(void *context, enum mc_status status, struct object *object)
{
	fuse_req_t req = context;

	if (status)
		log_trace("a lookup failed status=\"%s\"", mc_status_text(status));
	if (status)
		reply_status(req, status);
	else
		reply_entry(req, object);
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);
	size_t size = strlen(name);
	struct object *object = NULL;
	struct fuse_entry_param entry;
	struct inode *inode = NULL;

	count_request(fs, FS_LOOKUP);
	if (size > MC_NAME_MAX) {
		reply_status(req, MC_NAME_TOO_LONG);
		return;
	}
	node_lock(fs->node);
	enum node_lookup found =
		node_lookup_locked(fs->node, parent, name, size, fuse_req_ctx(req)->pid, &object);
	if (found == NODE_FOUND) {
		inode = inode_get_locked(fs, object);
		if (inode)
			fill_entry_locked(fs, object, &entry);
	}
	node_unlock(fs->node);
	switch (found) {
	case NODE_ABSENT:
		reply_status(req, MC_NOT_FOUND);
		break;
	case NODE_ASK:
		attend_over_ring(req);
		node_lookup(fs->node, parent, name, lookup_done, req);
		attend_end();
		break;
	case NODE_FOUND:
		if (!inode) {
			reply_status(req, MC_NO_MEMORY);
		} else if (fuse_reply_entry(req, &entry) != 0) {
			node_lock(fs->node);
			inode_forget_locked(fs, entry.ino, 1);
			node_unlock(fs->node);
		}
		break;
	}
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
	struct fs *fs = fs_of(req);

	count_request(fs, FS_FORGET);
	node_lock(fs->node);
	inode_forget_locked(fs, ino, lookups);
	node_unlock(fs->node);
	fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct fs *fs = fs_of(req);

	count_request(fs, FS_FORGET);
	node_lock(fs->node);
	for (size_t i = 0; i < count; i++)
		inode_forget_locked(fs, forgets[i].ino, forgets[i].nlookup);
	node_unlock(fs->node);
	fuse_reply_none(req);
}
