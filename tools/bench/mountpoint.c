#include "tools/bench/mountpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/cleanup.h"

bool mountpoint_busy(const char *path)
{
	CLEANUP_FREE char *line = NULL;
	size_t room = 0;
	bool busy = false;
	FILE *file = fopen("/proc/self/mountinfo", "re");

	if (!file)
		return false;
	while (!busy && getline(&line, &room, file) >= 0) {
		char *rest = line;

		/* id, parent, device, root, mount point */
		for (int field = 0; rest && field < 4; field++)
			strsep(&rest, " ");
		const char *point = strsep(&rest, " ");
		busy = point && strcmp(point, path) == 0;
	}
	fclose(file);
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
