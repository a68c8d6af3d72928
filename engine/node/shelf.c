#include "engine/node/shelf.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "engine/base/cleanup.h"
#include "engine/node/record.h"

/* Nobody has it open for writing, as the kernel counts. */
static bool unwritten(int fd)
{
	return fcntl(fd, F_SETLEASE, F_RDLCK) == 0 && fcntl(fd, F_SETLEASE, F_UNLCK) == 0;
}

bool shelf_holds(const struct pool *pool, int fd, const struct mc_attr *attr)
{
	uint8_t bytes[RECORD_SIZE_MAX];
	size_t size = sizeof(bytes);
	struct record record;
	struct stat st;

	if (flock(fd, LOCK_SH | LOCK_NB) < 0 || !unwritten(fd))
		return false;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !pool_marked(&st) ||
	    (uint64_t)st.st_size != attr->size)
		return false;
	return pool_record_of(pool, fd, bytes, &size) == MC_OK &&
	       record_decode(bytes, size, &record) == MC_OK && record.attr.id == attr->id &&
	       record.attr.version == attr->version;
}

enum mc_status shelf_claim(struct pool *pool, uint64_t id, int *fd)
{
	int file;
	enum mc_status status = pool_object(pool, id, O_RDONLY, &file);

	if (status)
		return status;
	CLEANUP_FD int claimed = file;
	if (flock(claimed, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? MC_BUSY : mc_status_from_errno(errno);
	*fd = STEAL_FD(claimed);
	return MC_OK;
}
