/*
 * fs/mountpoint.h -- the place in the tree that we mount on
 *
 * Errors   MC_NOT_FOUND no such directory, MC_NOT_DIRECTORY, MC_BUSY a live
 *          file system of ours is there; each logged with what to do.
 */
#ifndef FS_MOUNTPOINT_H
#define FS_MOUNTPOINT_H

#include <mooncake/status.h>
#include <stddef.h>

/* Check that it can be mounted on; a mount of ours whose daemon died is cleaned up. */
MC_MUST_CHECK enum mc_status mountpoint_prepare(const char *path);

/* Where reads come to us, let the kernel read ahead as far as that pays. */
void mountpoint_read_ahead(const char *path);

/* The default directory of the pool behind this mountpoint; terminated, at most size bytes. */
void mountpoint_pool(const char *path, char *pool, size_t size);

#endif
