#include "tools/bench/mountpoint.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/mountinfo.h"

bool mountpoint_busy(const char *path)
{
	struct mountinfo mount;
	bool busy = false;

	for (mountinfo_open(&mount); !busy && mountinfo_next(&mount);)
		busy = strcmp(mount.path, path) == 0;
	mountinfo_close(&mount);
	return busy;
}

/* Who may not unmount asks the set-uid helper of libfuse. */
static void fusermount(const char *path)
{
	pid_t pid = fork();

	if (pid == 0) {
		execlp("fusermount3", "fusermount3", "-u", "-z", path, (char *)NULL);
		_exit(127);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

void mountpoint_clear(const char *path)
{
	if (!path[0])
		return;
	/*
	 * Tried without a look at the list, which is not stable while others
	 * mount.  Force ends the connection: callers of a dead daemon wake up.
	 */
	if (umount2(path, MNT_FORCE) == 0)
		return;
	if (umount2(path, MNT_DETACH) != 0 && errno == EPERM && mountpoint_busy(path))
		fusermount(path);
}
