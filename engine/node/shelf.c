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

static bool is_file(int fd, const struct mc_attr *attr, struct stat *st)
{
	return fstat(fd, st) == 0 && S_ISREG(st->st_mode) && (uint64_t)st->st_size == attr->size;
}

bool shelf_holds(const struct pool *pool, int fd, const struct mc_attr *attr)
{
	uint8_t bytes[RECORD_SIZE_MAX];
	size_t size = sizeof(bytes);
	struct record record;
	struct stat st;

	if (flock(fd, LOCK_SH | LOCK_NB) < 0 || !is_file(fd, attr, &st))
		return false;
	if (pool_rests(&st, attr->id, attr->version))
		return true;
	/* Look for writers first, as the last of them may have written since. */
	if (!unwritten(fd) || !is_file(fd, attr, &st) || !pool_recorded(&st))
		return false;
	return pool_record_of(pool, fd, bytes, &size) == MC_OK &&
	       record_decode(bytes, size, &record) == MC_OK && record.attr.id == attr->id &&
	       record.attr.version == attr->version;
}

enum mc_status shelf_claim(struct pool *pool, uint64_t id, int *fd)
{
	struct stat st;
	int file;
	enum mc_status status = pool_object(pool, id, O_RDONLY, &file);

	if (status)
		return status;
	CLEANUP_FD int claimed = file;
	if (flock(claimed, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? MC_BUSY : mc_status_from_errno(errno);
	if (fstat(claimed, &st) < 0)
		return mc_status_from_errno(errno);
	/* Not by the first write: some stores through a map leave the time as it is. */
	if (pool_rests_any(&st))
		pool_mark(pool, id, claimed);
	*fd = STEAL_FD(claimed);
	return MC_OK;
}
