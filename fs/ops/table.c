#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "engine/base/log.h"
#include "fs/fs.h"

/* What each mechanism is, or why it is not. */
static void choose_passthrough(struct fs *fs, struct fuse_conn_info *conn)
{
	if (!fs->config.passthrough)
		fs->passthrough_why = "off: by option";
	else if (!fuse_set_feature_flag(conn, FUSE_CAP_PASSTHROUGH))
		fs->passthrough_why = "off: the kernel lacks it (Linux 6.9 has it)";
	else
		fs->passthrough_why = "on";
	fs->passthrough = strcmp(fs->passthrough_why, "on") == 0;
	if (fs->passthrough)
		conn->max_backing_stack_depth = 1;
}

static void choose_io_uring(struct fs *fs, struct fuse_conn_info *conn)
{
	if (!fs->config.io_uring)
		fs->io_uring_why = "off: by option";
	else if (!fuse_set_feature_flag(conn, FUSE_CAP_OVER_IO_URING))
		fs->io_uring_why = "off: the kernel lacks it or fuse.enable_uring is N";
	else
		fs->io_uring_why = "on";
	fs->io_uring = strcmp(fs->io_uring_why, "on") == 0;
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;

	choose_passthrough(fs, conn);
	choose_io_uring(fs, conn);
	fuse_set_feature_flag(conn, FUSE_CAP_ATOMIC_O_TRUNC);
	fuse_set_feature_flag(conn, FUSE_CAP_PARALLEL_DIROPS);
	fuse_set_feature_flag(conn, FUSE_CAP_ASYNC_READ);
	/* Over the ring only forgets are left to it, at seven calls more for each. */
	if (fs->io_uring)
		fuse_unset_feature_flag(conn, FUSE_CAP_SPLICE_READ);
	else
		fuse_set_feature_flag(conn, FUSE_CAP_SPLICE_READ);
	fuse_set_feature_flag(conn, FUSE_CAP_SPLICE_WRITE);
	fuse_set_feature_flag(conn, FUSE_CAP_SPLICE_MOVE);
	fuse_set_feature_flag(conn, FUSE_CAP_READDIRPLUS);
	fuse_set_feature_flag(conn, FUSE_CAP_READDIRPLUS_AUTO);
	fuse_unset_feature_flag(conn, FUSE_CAP_WRITEBACK_CACHE);
	/* Passthrough writes don't reach us: the kernel must drop set-id bits itself. */
	fuse_unset_feature_flag(conn, FUSE_CAP_HANDLE_KILLPRIV);
	fuse_unset_feature_flag(conn, FUSE_CAP_HANDLE_KILLPRIV_V2);
	fuse_unset_feature_flag(conn, FUSE_CAP_POSIX_LOCKS);
	fuse_unset_feature_flag(conn, FUSE_CAP_FLOCK_LOCKS);
	conn->time_gran = 1;
	conn->max_background = 128;
	fs->epoch = conn->proto_minor >= 44;
	log_info("the kernel was asked passthrough=\"%s\" io_uring=\"%s\"", fs->passthrough_why,
		 fs->io_uring_why);
}

const struct fuse_lowlevel_ops fs_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.create = op_create,
	.mknod = op_mknod,
	.open = op_open,
	.read = op_read,
	.write_buf = op_write_buf,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.copy_file_range = op_copy_file_range,
	.unlink = op_unlink,
	.mkdir = op_mkdir,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.symlink = op_symlink,
	.link = op_link,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
};
