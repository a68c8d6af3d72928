/*
 * tests/unit/node/place.h -- a directory in memory for the pools of one test program
 *
 * Made and removed by the program itself, not by the child that runs a test,
 * so that a test that fails or dies leaves nothing.
 */
#ifndef TESTS_UNIT_NODE_PLACE_H
#define TESTS_UNIT_NODE_PLACE_H

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char place[64];

static inline void place_make(void)
{
	strcpy(place, "/dev/shm/mooncake-test-XXXXXX");
	if (!mkdtemp(place)) {
		perror(place);
		exit(EXIT_FAILURE);
	}
}

static inline int place_remove_one(const char *path, const struct stat *st, int kind,
				   struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static inline void place_remove(void)
{
	nftw(place, place_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The name of a directory that does not exist yet, no two alike. */
static inline void place_new(char path[128])
{
	static int count;

	snprintf(path, 128, "%s/%d-%d", place, (int)getpid(), count++);
}

#endif
