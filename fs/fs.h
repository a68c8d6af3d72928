/*
 * fs/fs.h -- the mount: kernel requests in, node calls out
 *
 * A thin layer.  A request that memory can answer is answered by the thread
 * that read it; one that waits for the master or a peer is parked in a struct
 * (fs/ops/) and answered from the completion, by whoever received it.  No
 * request thread ever waits for the network.
 *
 * The FUSE node id is the object's id.  What the kernel knows has a struct
 * inode, hung on the object's `user`.  node_lock() protects inodes too.
 */
#ifndef FS_FS_H
#define FS_FS_H

#define FUSE_USE_VERSION 318

#include <fuse_lowlevel.h>

#include "engine/node/node.h"

struct blanks;
struct notifier;

struct fs_config {
	bool passthrough;  /* wanted */
	bool io_uring;	   /* wanted */
	uint32_t cache_ms; /* how long the kernel may trust names and attributes */
};

enum fs_request {
	FS_LOOKUP,
	FS_FORGET,
	FS_GETATTR,
	FS_SETATTR,
	FS_CREATE,
	FS_OPEN,
	FS_READ,
	FS_WRITE,
	FS_FLUSH,
	FS_RELEASE,
	FS_FSYNC,
	FS_UNLINK,
	FS_MKDIR,
	FS_RMDIR,
	FS_RENAME,
	FS_OPENDIR,
	FS_READDIR,
	FS_READDIRPLUS,
	FS_RELEASEDIR,
	FS_STATFS,
	FS_GETXATTR,
	FS_SETXATTR,
	FS_LISTXATTR,
	FS_REMOVEXATTR,
	FS_FALLOCATE,
	FS_LSEEK,
	FS_COPY_FILE_RANGE,
	FS_MKNOD,
	FS_REFUSED,
	FS_REQUEST_LIMIT
};

struct fs {
	/* fixed after init */
	struct fs_config config;
	struct node *node;
	struct fuse_session *session;
	struct notifier *notifier;
	struct blanks *blanks;
	/* fixed after INIT */
	bool passthrough;	     /* on */
	bool io_uring;		     /* on */
	bool epoch;		     /* the kernel can forget all names at once */
	const char *passthrough_why; /* "on", or why not */
	/* atomic */
	_Atomic(const char *) io_uring_why;
	_Atomic uint64_t requests[FS_REQUEST_LIMIT];
	_Atomic uint64_t errors[256]; /* replies by errno */
};

#define HANDLE_MAGIC 0x6d636668u

/* What the kernel knows of an object.  Under node_lock(). */
struct inode {
	struct object *object; /* counted */
	uint64_t lookups;
	struct handle *handles;
	uint32_t passthrough_opens;
	uint32_t cached_opens;
	int backing_id;		  /* 0: none */
	uint64_t backing_version; /* the object's version when it was made */
	uint64_t cached_version;  /* what the kernel's page cache holds; 0: not known */
};

/* An open file. */
struct handle {
	/* Set last; the load in handle_of() pairs with it, since only the kernel is between. */
	_Atomic uint32_t magic;
	struct handle *next; /* of the inode's; under node_lock() */
	struct inode *inode;
	bool write;
	bool passthrough;
	uint64_t fills; /* the version that its open makes room for in the page cache; 0: none */
	_Atomic int fd; /* -1 until it is needed */
};

extern const struct fuse_lowlevel_ops fs_ops;
extern const struct node_events fs_node_events; /* context: the fs */

static inline struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* -- inode.c -- */

/* The inode of an object, one more lookup.  NULL: no memory. */
struct inode *inode_get_locked(struct fs *fs, struct object *object);
/* That many fewer; may free it. */
void inode_forget_locked(struct fs *fs, uint64_t id, uint64_t lookups);
/*
 * The object of a node id, counted; NULL (to be answered with ESTALE): the
 * kernel must look the name up again, by which it knows the object.
 */
struct object *inode_object(struct fs *fs, uint64_t id);
/*
 * The same for an open, which the kernel sends right after it has looked the
 * name up: what lost its name in between can still be opened while it is here.
 */
struct object *inode_object_found(struct fs *fs, uint64_t id);
/* Free all: the kernel is gone. */
void inodes_close(struct fs *fs);
/* Close the backing id unless it is open. */
void inode_let_go_locked(struct fs *fs, struct object *object);

/*
 * Fill fi for an open of the object that node_open_object or node_create has
 * counted, and make the handle.  After an error the open is released.
 * backing_id: the kernel holds the object's file under it already; 0: it does not.
 */
enum mc_status handle_open(struct fs *fs, struct object *object, struct fuse_file_info *fi,
			   bool write, int backing_id);
/* The handle that the kernel names. */
struct handle *handle_of(const struct fuse_file_info *fi);
/* It reads: the kernel is through with its open. */
void handle_reads_locked(struct handle *handle);
void handle_close(struct fs *fs, struct handle *handle);
/* The handle's descriptor, opened on demand; it stays the handle's. */
enum mc_status handle_descriptor(struct fs *fs, struct handle *handle, int *fd);

/* -- reply.c -- */

/*
 * Attend (attend.h) to what the request asks of others.  Over /dev/fuse nothing
 * is gained by it, and libfuse would start a thread for each that sleeps.
 */
void attend_over_ring(fuse_req_t req);

void count_request(struct fs *fs, enum fs_request request);
const char *request_name(enum fs_request request);
void reply_status(fuse_req_t req, enum mc_status status);
void attr_to_stat(const struct mc_attr *attr, struct stat *st);
/* Answer with the entry and one more lookup. */
void reply_entry(fuse_req_t req, struct object *object);
void fill_entry_locked(struct fs *fs, struct object *object, struct fuse_entry_param *entry);
void reply_attr(fuse_req_t req, struct object *object);
/* Counters of the mount and its node as "name value" lines; the caller frees. */
char *fs_stats(struct fs *fs);
char *fs_status(fuse_req_t req);

/* -- notify.c -- */

enum mc_status notifier_start(struct fs *fs);
/* Wait until all that was queued has been told. */
void notifier_drain(struct fs *fs);
void notifier_stop(struct fs *fs);
/* After what was queued before: call with the context. */
void notify_then(struct fs *fs, void (*call)(void *context), void *context);

/* -- ops -- */

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
		struct fuse_file_info *fi);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device);
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void op_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t offset,
		  struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
		  struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi);
void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t offset_in,
			struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t offset_out,
			struct fuse_file_info *fi_out, size_t length, int flags);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	       const char *new_name, unsigned flags);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name);
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		    struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);
void op_statfs(fuse_req_t req, fuse_ino_t ino);
void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
		 int flags);
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

#endif
