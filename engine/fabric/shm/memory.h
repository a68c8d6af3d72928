/*
 * engine/fabric/shm/memory.h -- memory that other processes of the host can map
 *
 * mc_memory_alloc() (mooncake/engine.h) gives pages of a file that has no name and
 * can't shrink.  Whoever is passed its descriptor maps the very same pages, and a
 * touch of them never kills it, whatever the owner does.
 *
 * Threads   Any thread; the lock is a leaf.
 */
#ifndef ENGINE_FABRIC_SHM_MEMORY_H
#define ENGINE_FABRIC_SHM_MEMORY_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The file behind memory that was allocated here, opened anew for the caller; writable as
 * asked for, and only so.
 *
 * MC_NOT_FOUND   it is not (all) such memory
 */
MC_MUST_CHECK enum mc_status memory_lend(const void *memory, uint64_t length, bool writable,
					 int *fd, uint64_t *offset);

/*
 * The size of a file whose pages can't be taken from under us.
 *
 * MC_PROTOCOL   it could shrink, or is of huge pages: a hole that its owner makes in these
 *               may find none left
 */
MC_MUST_CHECK enum mc_status memory_measure(int fd, uint64_t *size);

/*
 * Map this part of a file that was lent.  *bytes is its first byte, *map and *map_size what
 * memory_unmap() takes.
 *
 * MC_PROTOCOL   as memory_measure(), or it is too small
 */
MC_MUST_CHECK enum mc_status memory_map(int fd, uint64_t offset, uint64_t length, bool writable,
					void **map, uint64_t *map_size, uint8_t **bytes);
void memory_unmap(void *map, uint64_t map_size);

#endif
