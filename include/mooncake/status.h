/*
 * mooncake/status.h -- what a call can come back with
 *
 * One closed list for the library, the wire and the programs.  A member that
 * has an errno is equal to its negative, so a status crosses into the kernel
 * as it is.  Zero is success; every other member is negative.
 */
#ifndef MOONCAKE_STATUS_H
#define MOONCAKE_STATUS_H

#include <errno.h>

#define MC_MUST_CHECK __attribute__((warn_unused_result))

enum mc_status {
	MC_OK = 0,
	MC_PERMISSION = -EPERM,		  /* the caller may not do this, nothing happened */
	MC_NOT_FOUND = -ENOENT,		  /* no such name, object or node */
	MC_IO = -EIO,			  /* bytes are damaged or a device failed */
	MC_AGAIN = -EAGAIN,		  /* nothing happened, try again */
	MC_NO_MEMORY = -ENOMEM,		  /* the process is out of memory, nothing happened */
	MC_ACCESS = -EACCES,		  /* mode and owner forbid it */
	MC_BUSY = -EBUSY,		  /* in use now */
	MC_EXISTS = -EEXIST,		  /* the name is taken */
	MC_CROSS_DEVICE = -EXDEV,	  /* copy it, it can't be moved */
	MC_NOT_DIRECTORY = -ENOTDIR,	  /* a component of the path is an object */
	MC_IS_DIRECTORY = -EISDIR,	  /* the name is a directory */
	MC_INVALID = -EINVAL,		  /* an argument makes no sense */
	MC_TOO_BIG = -EFBIG,		  /* beyond a documented limit */
	MC_NO_SPACE = -ENOSPC,		  /* nothing evictable is left */
	MC_READ_ONLY = -EROFS,		  /* no leader to write to */
	MC_NAME_TOO_LONG = -ENAMETOOLONG, /* a component over 255 or a path over 4095 bytes */
	MC_NOT_EMPTY = -ENOTEMPTY,	  /* the directory has entries */
	MC_NO_DATA = -ENODATA,		  /* no such attribute */
	MC_PROTOCOL = -EPROTO,		  /* the peer sent what the protocol forbids */
	MC_STALE = -ESTALE,		/* the version asked for is gone, look the name up again */
	MC_NOT_SUPPORTED = -EOPNOTSUPP, /* this build, kernel or peer can't */
	MC_UNREACHABLE = -EHOSTUNREACH, /* no connection to the peer, nothing happened */
	MC_TIMEOUT = -ETIMEDOUT,	/* the deadline passed, the effect is unknown */
	MC_CANCELLED = -ECANCELED,	/* stopped before it was done */
};

/* Return the status as a short lower-case phrase; never NULL. */
const char *mc_status_text(enum mc_status status);

/* Return the member that equals -error, MC_IO for an errno without one. */
enum mc_status mc_status_from_errno(int error);

#endif
