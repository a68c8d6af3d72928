#include "fs/mountpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/mountinfo.h"

#define READ_AHEAD_KB "4096"
#define LOOK_NS	      10000000 /* between two looks at a mount that may be going */
#define LOOKS_MAX     100u

enum found { FOUND_NOTHING, FOUND_OURS, FOUND_OTHER };

/*
 * Whether a daemon answers: attributes may be cached, an open directory is not.
 * While the kernel takes down the rings of one that has just been killed, it
 * ends requests with other errors too (ECANCELED, EINVAL): those tell nothing.
 */
static bool mount_dead(const char *path)
{
	const struct timespec pause = {.tv_nsec = LOOK_NS};

	for (unsigned looks = 0; looks < LOOKS_MAX; looks++) {
		CLEANUP_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0)
			return false;
		if (errno == ENOTCONN || errno == ECONNABORTED)
			return true;
		log_debug("a mount answers oddly path=%s error=\"%s\"", path, strerror(errno));
		nanosleep(&pause, NULL);
	}
	return false;
}

static enum found find_mount(const char *path)
{
	struct mountinfo mount;
	enum found found = FOUND_NOTHING;

	for (mountinfo_open(&mount); mountinfo_next(&mount);) {
		if (strcmp(mount.path, path) == 0)
			found = strcmp(mount.type, "fuse.mooncakefs") == 0 ? FOUND_OURS
									   : FOUND_OTHER;
	}
	mountinfo_close(&mount);
	return found;
}

/* What users may mount by libfuse's helper they may unmount by it. */
static bool unmount_by_helper(const char *path)
{
	char *const argv[] = {"fusermount3", "-u", "-z", "--", (char *)path, NULL};
	pid_t helper;
	int status;

	if (posix_spawnp(&helper, argv[0], NULL, NULL, argv, environ) != 0)
		return false;
	while (waitpid(helper, &status, 0) < 0) {
		if (errno != EINTR)
			return false;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool unmount_dead(const char *path)
{
	return umount2(path, MNT_DETACH) == 0 || (errno == EPERM && unmount_by_helper(path));
}

enum mc_status mountpoint_prepare(const char *path)
{
	struct stat st;

	bool ours = find_mount(path) == FOUND_OURS;
	bool dead = ours && mount_dead(path);
	if (!dead && stat(path, &st) == 0) {
		if (!S_ISDIR(st.st_mode)) {
			log_error("the mountpoint is not a directory path=%s", path);
			return MC_NOT_DIRECTORY;
		}
		if (ours) {
			log_error("mooncakefs is mounted here already, unmount it first path=%s",
				  path);
			return MC_BUSY;
		}
		return MC_OK;
	}
	if (dead) {
		if (unmount_dead(path)) {
			log_warn("cleaned up the mount of a daemon that died path=%s", path);
			return mountpoint_prepare(path);
		}
		log_error("a dead mount is here and can't be cleaned up, try umount -l path=%s",
			  path);
		return MC_BUSY;
	}
	log_error("the mountpoint can't be used path=%s error=\"%s\"", path, strerror(errno));
	return mc_status_from_errno(errno);
}

void mountpoint_read_ahead(const char *path)
{
	struct mountinfo mount;
	char file[128] = "";

	for (mountinfo_open(&mount); mountinfo_next(&mount);) {
		if (strcmp(mount.path, path) == 0)
			snprintf(file, sizeof(file), "/sys/class/bdi/%u:%u/read_ahead_kb",
				 mount.major, mount.minor);
	}
	mountinfo_close(&mount);
	CLEANUP_FD int fd = file[0] ? open(file, O_WRONLY | O_CLOEXEC) : -1;
	if (fd < 0 || write(fd, READ_AHEAD_KB, strlen(READ_AHEAD_KB)) < 0)
		log_debug("the kernel's read-ahead stays as it is error=\"%s\"", strerror(errno));
}

void mountpoint_pool(const char *path, char *pool, size_t size)
{
	char name[200];
	size_t length = 0;

	for (; path[length] && length < sizeof(name) - 1; length++)
		name[length] = path[length] == '/' ? '-' : path[length];
	name[length] = '\0';
	snprintf(pool, size, "%s/mooncake%s%s", geteuid() == 0 ? "/run" : "/dev/shm",
		 geteuid() == 0 ? "/pool" : "", name);
}
