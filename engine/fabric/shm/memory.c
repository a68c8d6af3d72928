#include "engine/fabric/shm/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <mooncake/engine.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* What mc_memory_alloc() has given. */
struct allocation {
	struct allocation *next;
	uint8_t *memory;
	size_t length; /* whole pages */
	int fd;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct allocation *allocations; /* protected by lock */

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

enum mc_status mc_memory_alloc(size_t length, void **memory)
{
	size_t page = page_size();

	if (length == 0 || length > SIZE_MAX / 2 - page)
		return MC_INVALID;
	length = (length + page - 1) / page * page;
	CLEANUP_FREE struct allocation *made = calloc(1, sizeof(*made));
	CLEANUP_FD int fd = memfd_create("mooncake-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (!made || fd < 0)
		return MC_NO_MEMORY;
	if (ftruncate(fd, (off_t)length) != 0 || fcntl(fd, F_ADD_SEALS, SEALS) != 0)
		return MC_NO_MEMORY;
	void *mapped = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mapped == MAP_FAILED)
		return MC_NO_MEMORY;
	/* Where the system lets shared memory have huge pages when asked. */
	(void)madvise(mapped, length, MADV_HUGEPAGE);
	*made = (struct allocation){.memory = mapped, .length = length, .fd = STEAL_FD(fd)};
	WITH_LOCK(&lock);
	made->next = allocations;
	allocations = STEAL(made);
	*memory = mapped;
	return MC_OK;
}

void mc_memory_free(void *memory)
{
	struct allocation **at = &allocations;

	if (!memory)
		return;
	pthread_mutex_lock(&lock);
	while (*at && (*at)->memory != memory)
		at = &(*at)->next;
	struct allocation *found = *at;
	MUST(found != NULL);
	*at = found->next;
	pthread_mutex_unlock(&lock);
	munmap(found->memory, found->length);
	close(found->fd);
	free(found);
}

static const struct allocation *find_locked(const uint8_t *memory, uint64_t length)
{
	const struct allocation *at = allocations;

	while (at && (memory < at->memory || memory >= at->memory + at->length ||
		      length > at->length - (uint64_t)(memory - at->memory)))
		at = at->next;
	return at;
}

enum mc_status memory_lend(const void *memory, uint64_t length, bool writable, int *fd,
			   uint64_t *offset)
{
	char path[32];

	WITH_LOCK(&lock);
	const struct allocation *found = find_locked(memory, length);
	if (!found)
		return MC_NOT_FOUND;
	/* A descriptor that was only dup'ed could write whatever it was lent for. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", found->fd);
	int made = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (made < 0)
		return mc_status_from_errno(errno);
	*fd = made;
	*offset = (uint64_t)((const uint8_t *)memory - found->memory);
	return MC_OK;
}

enum mc_status memory_measure(int fd, uint64_t *size)
{
	struct stat attributes;
	struct statfs system;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstatfs(fd, &system) != 0 ||
	    system.f_type != TMPFS_MAGIC || fstat(fd, &attributes) != 0)
		return MC_PROTOCOL;
	*size = (uint64_t)attributes.st_size;
	return MC_OK;
}

enum mc_status memory_map(int fd, uint64_t offset, uint64_t length, bool writable, void **map,
			  uint64_t *map_size, uint8_t **bytes)
{
	uint64_t skip = offset & (page_size() - 1);
	int protection = PROT_READ | (writable ? PROT_WRITE : 0);
	uint64_t size;

	if (memory_measure(fd, &size) || length > size || offset > size - length)
		return MC_PROTOCOL;
	void *mapped =
		mmap(NULL, length + skip, protection, MAP_SHARED, fd, (off_t)(offset - skip));
	if (mapped == MAP_FAILED)
		return errno == EACCES || errno == EPERM ? MC_PROTOCOL : MC_NO_MEMORY;
	(void)madvise(mapped, length + skip, MADV_HUGEPAGE);
	*map = mapped;
	*map_size = length + skip;
	*bytes = (uint8_t *)mapped + skip;
	return MC_OK;
}

void memory_unmap(void *map, uint64_t map_size)
{
	munmap(map, map_size);
}
