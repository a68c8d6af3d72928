/*
 * engine/base/mountinfo.h -- what is mounted, as this process sees it
 *
 *     struct mountinfo mount;
 *
 *     for (mountinfo_open(&mount); mountinfo_next(&mount);)
 *             ... mount.path, mount.type ...
 *     mountinfo_close(&mount);
 *
 * In the order of mounting: of several at one path the last is the one on top.
 *
 * Ownership   What an entry points to is good until the next one.
 * Threads     One list: one thread.
 * Errors      A list that can't be read is empty.
 */
#ifndef ENGINE_BASE_MOUNTINFO_H
#define ENGINE_BASE_MOUNTINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct mountinfo {
	char *path;   /* where it is mounted */
	char *type;   /* "fuse.mooncakefs" */
	char *source; /* "mooncakefs" */
	unsigned major, minor;

	FILE *in;
	char *line;
	size_t room;
};

void mountinfo_open(struct mountinfo *mount);

/* Go to the next entry, at first the first; false at the end. */
bool mountinfo_next(struct mountinfo *mount);

void mountinfo_close(struct mountinfo *mount);

/* Take the entry from a line of /proc/self/mountinfo, which is changed; false if it is none. */
bool mountinfo_parse(struct mountinfo *mount, char *line);

#endif
