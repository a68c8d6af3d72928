#include <stdlib.h>
#include <string.h>

#include "fs/fs.h"

/*
 * The offset of an entry is the cursor that continues after it, beyond the two
 * of "." and "..": stable while others come and go.
 */
#define OFFSET_FIRST 2

struct listing {
	fuse_req_t req;
	fuse_ino_t directory;
	bool plus;
	size_t size;
	size_t used;
	char *buffer;
};

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct object *object = inode_object(fs, ino);

	count_request(fs, FS_OPENDIR);
	if (object)
		fuse_reply_open(req, fi);
	else
		reply_status(req, MC_STALE);
	node_unref(fs->node, object);
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	count_request(fs_of(req), FS_RELEASEDIR);
	fuse_reply_err(req, 0);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	op_fsync(req, ino, data_only, fi);
}

static bool put(struct listing *l, const char *name, const struct fuse_entry_param *entry,
		off_t offset)
{
	size_t room = l->size - l->used;
	size_t size = l->plus ? fuse_add_direntry_plus(l->req, l->buffer + l->used, room, name,
						       entry, offset)
			      : fuse_add_direntry(l->req, l->buffer + l->used, room, name,
						  &entry->attr, offset);
	if (size > room)
		return false;
	l->used += size;
	return true;
}

/* "." and "..": without a lookup, so the entry has no node id. */
static bool put_dot(struct listing *l, const char *name, off_t offset)
{
	struct fuse_entry_param entry = {0};

	entry.attr.st_ino = l->directory;
	entry.attr.st_mode = S_IFDIR;
	return put(l, name, &entry, offset);
}

static bool add_plus(struct listing *l, const struct mc_entry *listed, const char *name,
		     off_t offset)
{
	struct fs *fs = fs_of(l->req);
	struct fuse_entry_param entry = {0};
	struct object *object = node_listed_locked(fs->node, l->directory, name, listed);
	struct inode *inode = object ? inode_get_locked(fs, object) : NULL;

	if (inode) {
		fill_entry_locked(fs, object, &entry);
	} else { /* the kernel can still look it up */
		attr_to_stat(&listed->attr, &entry.attr);
	}
	if (put(l, name, &entry, offset))
		return true;
	if (inode)
		inode_forget_locked(fs, entry.ino, 1);
	return false;
}

static bool add(void *context, const struct mc_entry *listed, const char *name, uint64_t cursor)
{
	struct listing *l = context;
	struct fuse_entry_param entry = {0};
	off_t offset = (off_t)(cursor + OFFSET_FIRST);

	if (l->plus)
		return add_plus(l, listed, name, offset);
	attr_to_stat(&listed->attr, &entry.attr);
	return put(l, name, &entry, offset);
}

static void listed(void *context, enum mc_status status, struct object *object)
{
	struct listing *l = context;

	(void)object;
	if (status)
		reply_status(l->req, status);
	else
		fuse_reply_buf(l->req, l->buffer, l->used);
	free(l->buffer);
	free(l);
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, bool plus)
{
	struct fs *fs = fs_of(req);
	struct listing *l = calloc(1, sizeof(*l));
	char *buffer = malloc(size);

	if (!l || !buffer) {
		free(l);
		free(buffer);
		reply_status(req, MC_NO_MEMORY);
		return;
	}
	*l = (struct listing){.req = req, .directory = ino, .plus = plus, .size = size};
	l->buffer = buffer;
	if (offset == 0)
		put_dot(l, ".", 1);
	if (offset <= 1)
		put_dot(l, "..", 2);
	const struct node_list page = {
		.directory = ino,
		.cursor = offset > OFFSET_FIRST ? (uint64_t)offset - OFFSET_FIRST : 0,
		.count_max = (uint32_t)(size / (plus ? 160 : 32) + 1),
		.add = add,
		.context = l,
	};
	node_list(fs->node, &page, listed, l);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		struct fuse_file_info *fi)
{
	(void)fi;
	count_request(fs_of(req), FS_READDIR);
	list(req, ino, size, offset, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		    struct fuse_file_info *fi)
{
	(void)fi;
	count_request(fs_of(req), FS_READDIRPLUS);
	list(req, ino, size, offset, true);
}
