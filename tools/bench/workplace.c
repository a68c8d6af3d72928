/*
 * tools/bench/workplace.c -- directories of a run
 */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "tools/bench/run.h"

#define OPEN_DIRECTORY_COUNT_MAX 16

enum mc_status workplace_make(const char *parent, char *path)
{
	snprintf(path, PATH_MAX, "%s/mooncake-bench-%d", parent, (int)getpid());
	if (mkdir(path, 0755) != 0 && errno != EEXIST) {
		int error = errno;

		log_error("cannot make a directory path=%s error=\"%s\"", path, strerror(error));
		return mc_status_from_errno(error);
	}
	return MC_OK;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)at;
	if (type == FTW_DP || type == FTW_D)
		rmdir(path);
	else
		unlink(path);
	return 0;
}

void workplace_remove(const char *path)
{
	if (path[0])
		nftw(path, remove_one, OPEN_DIRECTORY_COUNT_MAX, FTW_DEPTH | FTW_MOUNT | FTW_PHYS);
}
