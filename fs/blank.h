/*
 * fs/blank.h -- empty drafts made ahead, which the kernel holds already
 *
 * What a create needs of the pool and of the kernel is the same whatever the
 * name: an unnamed file, marked, and taken for passthrough.  That is a tenth
 * of a put of 1 MiB, so a thread makes some before they are asked for: as many
 * as are missing when half of them are gone, since to wake it costs as well.
 * Who finds none makes its own.
 *
 * A blank is empty and has no name: it takes no memory of the pool but an
 * inode, no scan finds it and a crash leaves nothing.  None is made before the
 * first create, nor without passthrough.
 *
 * Ownership   What blank_take() gives is the caller's: a descriptor to close,
 *             a number for backing_close().  The rest goes with blanks_stop().
 * Threads     Any thread.
 * Limits      BLANK_COUNT_MAX files.
 */
#ifndef FS_BLANK_H
#define FS_BLANK_H

#include "fs/fs.h"

#define BLANK_COUNT_MAX 64u

struct blanks;

struct blank {
	int fd; /* open for reading and writing */
	int backing_id;
};

/* Begin with none; they are made once fs is mounted. */
MC_MUST_CHECK enum mc_status blanks_start(struct fs *fs, struct blanks **blanks);
/* Before the mount ends.  Takes NULL. */
void blanks_stop(struct blanks *blanks);

/* False: there is none now. */
bool blank_take(struct blanks *blanks, struct blank *blank);

#endif
