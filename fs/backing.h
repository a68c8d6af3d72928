/*
 * fs/backing.h -- files that the kernel reads, writes and maps by itself
 *
 * What passthrough is made of: the kernel holds a file of the pool under a
 * number, and an open that is answered with the number goes to that file.
 *
 * Threads   Any thread.
 * Errors    Refusals are logged here.
 */
#ifndef FS_BACKING_H
#define FS_BACKING_H

#include "fs/fs.h"

/* Have the kernel hold the file of a descriptor, which need not stay open.  0: it refuses. */
int backing_open(const struct fs *fs, int fd);
/* Have it let go, now or when the last open of it ends.  Takes 0; all go with the mount. */
void backing_close(const struct fs *fs, int id);

#endif
