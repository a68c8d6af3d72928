#include <mooncake/status.h>

const char *mc_status_text(enum mc_status status)
{
	switch (status) {
	case MC_OK:
		return "ok";
	case MC_PERMISSION:
		return "not permitted";
	case MC_NOT_FOUND:
		return "not found";
	case MC_IO:
		return "bytes are damaged or a device failed";
	case MC_AGAIN:
		return "try again";
	case MC_NO_MEMORY:
		return "out of memory";
	case MC_ACCESS:
		return "access denied";
	case MC_BUSY:
		return "busy";
	case MC_EXISTS:
		return "exists";
	case MC_CROSS_DEVICE:
		return "can't be moved, only copied";
	case MC_NOT_DIRECTORY:
		return "not a directory";
	case MC_IS_DIRECTORY:
		return "is a directory";
	case MC_INVALID:
		return "invalid argument";
	case MC_TOO_BIG:
		return "too big";
	case MC_NO_SPACE:
		return "no space, nothing left to evict";
	case MC_READ_ONLY:
		return "no leader to write to";
	case MC_NAME_TOO_LONG:
		return "name too long";
	case MC_NOT_EMPTY:
		return "directory not empty";
	case MC_NO_DATA:
		return "no such attribute";
	case MC_PROTOCOL:
		return "protocol violation";
	case MC_STALE:
		return "stale version";
	case MC_NOT_SUPPORTED:
		return "not supported";
	case MC_UNREACHABLE:
		return "unreachable";
	case MC_TIMEOUT:
		return "timed out";
	case MC_CANCELLED:
		return "cancelled";
	}
	return "unknown status";
}

enum mc_status mc_status_from_errno(int error)
{
	switch (error) {
	case 0:
	case EPERM:
	case ENOENT:
	case EIO:
	case EAGAIN:
	case ENOMEM:
	case EACCES:
	case EBUSY:
	case EEXIST:
	case EXDEV:
	case ENOTDIR:
	case EISDIR:
	case EINVAL:
	case EFBIG:
	case ENOSPC:
	case EROFS:
	case ENAMETOOLONG:
	case ENOTEMPTY:
	case ENODATA:
	case EPROTO:
	case ESTALE:
	case EOPNOTSUPP:
	case EHOSTUNREACH:
	case ETIMEDOUT:
	case ECANCELED:
		return (enum mc_status) - error;
	case ECONNREFUSED:
	case ECONNRESET:
	case EPIPE:
	case ENETUNREACH:
	case ENOTCONN:
		return MC_UNREACHABLE;
	default:
		return MC_IO;
	}
}
