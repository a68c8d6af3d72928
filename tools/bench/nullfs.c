#include "tools/bench/nullfs.h"

#define FUSE_USE_VERSION 317
#include <fuse_lowlevel.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/bench/mountpoint.h"

#define MOUNT_TIMEOUT_MS 5000
#define END_TIMEOUT_MS	 2000
#define POLL_MS		 5
/* The first requests come before the rings are up. */
#define WARMUP_COUNT 200
/* The size that the root directory claims when its request came by io_uring. */
#define SIZE_BY_URING 4242

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
static bool request_by_uring(fuse_req_t request)
{
	return fuse_req_is_uring(request);
}
#else
static bool request_by_uring(fuse_req_t request)
{
	(void)request;
	return false;
}
#endif

static void null_getattr(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st = {.st_ino = ino, .st_mode = S_IFDIR | 0755, .st_nlink = 2};

	(void)fi;
	st.st_size = request_by_uring(request) ? SIZE_BY_URING : 0;
	fuse_reply_attr(request, &st, 0);
}

static const struct fuse_lowlevel_ops null_ops = {
	.getattr = null_getattr,
};

static int serve(const char *mountpoint, bool io_uring)
{
	char *argv[] = {"mooncake-bench", "-ofsname=mooncake-bench-null",
			io_uring ? "-oio_uring" : NULL};
	struct fuse_args args = FUSE_ARGS_INIT(io_uring ? 3 : 2, argv);
	int rc = 1;
	struct fuse_session *session = fuse_session_new(&args, &null_ops, sizeof(null_ops), NULL);

	fuse_opt_free_args(&args);
	if (!session)
		return rc;
	if (fuse_set_signal_handlers(session) == 0) {
		if (fuse_session_mount(session, mountpoint) == 0) {
			rc = fuse_session_loop(session) < 0;
			fuse_session_unmount(session);
		}
		fuse_remove_signal_handlers(session);
	}
	fuse_session_destroy(session);
	return rc;
}

static _Noreturn void nullfs_child(const char *mountpoint, bool io_uring)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	setpgid(0, 0);
	_exit(serve(mountpoint, io_uring));
}

static bool mount_wait(pid_t pid, const char *mountpoint)
{
	for (int waited_ms = 0; waited_ms < MOUNT_TIMEOUT_MS; waited_ms += POLL_MS) {
		if (mountpoint_busy(mountpoint))
			return true;
		if (waitpid(pid, NULL, WNOHANG) != 0)
			return false;
		usleep(POLL_MS * 1000);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return false;
}

enum mc_status nullfs_open(struct nullfs *fs, const char *mountpoint, bool io_uring)
{
	struct stat st = {0};
	pid_t pid = fork();

	if (pid < 0)
		return mc_status_from_errno(errno);
	if (pid == 0)
		nullfs_child(mountpoint, io_uring);
	if (!mount_wait(pid, mountpoint))
		return MC_NOT_SUPPORTED;
	fs->pid = pid;
	snprintf(fs->mountpoint, sizeof(fs->mountpoint), "%s", mountpoint);
	for (int i = 0; i < WARMUP_COUNT; i++) {
		if (stat(mountpoint, &st) != 0)
			break;
	}
	fs->io_uring = st.st_size == SIZE_BY_URING;
	return MC_OK;
}

enum mc_status nullfs_measure(struct nullfs *fs, unsigned count, struct sample *sample)
{
	struct stat st;

	if (fs->pid == 0)
		return MC_NOT_SUPPORTED;
	for (unsigned i = 0; i < count; i++) {
		uint64_t start_ns = clock_ns();

		if (stat(fs->mountpoint, &st) != 0) {
			int error = errno;

			log_warn("the null file system does not answer path=%s error=\"%s\"",
				 fs->mountpoint, strerror(error));
			return mc_status_from_errno(error);
		}
		sample_add(sample, clock_since_us(start_ns));
	}
	return MC_OK;
}

void nullfs_close(struct nullfs *fs)
{
	if (fs->pid == 0)
		return;
	/* The signal may meet another thread than the one in read(), which the unmount wakes. */
	kill(fs->pid, SIGTERM);
	for (int waited_ms = 0; waitpid(fs->pid, NULL, WNOHANG) == 0; waited_ms += POLL_MS) {
		mountpoint_clear(fs->mountpoint);
		if (waited_ms >= END_TIMEOUT_MS)
			kill(fs->pid, SIGKILL);
		usleep(POLL_MS * 1000);
	}
	mountpoint_clear(fs->mountpoint);
	fs->pid = 0;
}
