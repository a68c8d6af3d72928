/*
 * master/disk.h -- what a journal file needs of the system
 *
 * Threads   Any thread.
 * Errors    errno says why.
 */
#ifndef MASTER_DISK_H
#define MASTER_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The id of this boot of the machine; zero where the system has none. */
void disk_boot(uint8_t boot[16]);

/* Write all bytes at an offset. */
bool disk_write(int fd, const uint8_t *bytes, size_t size, uint64_t offset);

/* Make the directories above a path as far as they are missing. */
void disk_parents(const char *path);

/* Make the name of a file durable. */
bool disk_sync_name(const char *path);

#endif
