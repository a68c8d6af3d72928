"""Calls of the kernel that Python's os module hides, buffers or lacks.

Frameworks call these directly, so the replicas of their sequences must too:
Python's own mmap duplicates the descriptor, its readers split and retry.
"""

import ctypes
import errno
import mmap as python_mmap
import os
import platform
import struct

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int,
                      ctypes.c_int, ctypes.c_long]
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
LIBC.msync.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
LIBC.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
LIBC.syscall.restype = ctypes.c_long

PROT_READ, PROT_WRITE = 1, 2
MAP_SHARED, MAP_PRIVATE, MAP_POPULATE = 1, 2, 0x8000
MS_SYNC = 4
MADV_SEQUENTIAL, MADV_RANDOM, MADV_WILLNEED = 2, 1, 3
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 0x10
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
AT_FDCWD = -100
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
FICLONE = 0x40049409
PR_SET_PDEATHSIG = 1
CLONE_NEWNET = 0x40000000
MNT_DETACH = 2
PAGE = 4096
# d_type of getdents64
DT_DIR, DT_REG = 4, 8

_NUMBERS = {
    "x86_64": {"io_setup": 206, "io_destroy": 207, "io_getevents": 208, "io_submit": 209,
               "getdents64": 217, "renameat2": 316},
    "aarch64": {"io_setup": 0, "io_destroy": 1, "io_submit": 2, "io_getevents": 4,
                "getdents64": 61, "renameat2": 276},
}.get(platform.machine(), {})


def _checked(result, what):
    if result in (-1, ctypes.c_void_p(-1).value):
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(name, *args):
    """Make the system call NAME; integers and buffers as they are."""
    if name not in _NUMBERS:
        raise OSError(errno.ENOSYS, f"{name}: number unknown on this machine")
    plain = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    return _checked(LIBC.syscall(ctypes.c_long(_NUMBERS[name]), *plain), name)


class Map:
    """A mapping that holds no descriptor, made and ended by the very calls."""

    def __init__(self, fd, length, prot=PROT_READ, flags=MAP_SHARED, offset=0):
        self.length = length
        self.address = _checked(LIBC.mmap(None, length, prot, flags, fd, offset), "mmap")

    def read(self, offset=0, count=None):
        count = self.length - offset if count is None else count
        return ctypes.string_at(self.address + offset, count)

    def write(self, data, offset=0):
        ctypes.memmove(self.address + offset, bytes(data), len(data))

    def sync(self):
        _checked(LIBC.msync(self.address, self.length, MS_SYNC), "msync")

    def advise(self, advice):
        _checked(LIBC.madvise(self.address, self.length, advice), "madvise")

    def unmap(self, offset=0, count=None):
        count = self.length - offset if count is None else count
        _checked(LIBC.munmap(self.address + offset, count), "munmap")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.unmap()


def map_file(path, **how):
    """Map the whole of PATH for reading and close its descriptor at once."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return Map(fd, os.fstat(fd).st_size, **how)
    finally:
        os.close(fd)


def aligned(data):
    """A page-aligned copy of DATA, as O_DIRECT writers hold it."""
    buffer = python_mmap.mmap(-1, max(len(data), 1))
    buffer[:len(data)] = data
    return memoryview(buffer)[:len(data)]


def aligned_room(count):
    return memoryview(python_mmap.mmap(-1, max(count, 1)))[:count]


def fallocate(fd, mode, offset, length):
    _checked(LIBC.fallocate(fd, mode, offset, length), "fallocate")


def rename2(old, new, flags):
    syscall("renameat2", AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)


def set_times(path, atime, mtime, flags=0):
    """utimensat with (seconds, nanoseconds or UTIME_*) pairs."""
    pairs = struct.pack("qqqq", *atime, *mtime)
    _checked(LIBC.utimensat(AT_FDCWD, os.fsencode(path), pairs, flags), "utimensat")


def link(old, new):
    _checked(LIBC.link(os.fsencode(old), os.fsencode(new)), "link")


def die_with_parent():
    """For preexec_fn: whatever a test starts ends with the test."""
    LIBC.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)


def unshare_network():
    """Go into a network name space of one's own."""
    _checked(LIBC.unshare(CLONE_NEWNET), "unshare")


def unmount_lazily(path):
    _checked(LIBC.umount2(os.fsencode(path), MNT_DETACH), "umount2")


def directory_entries(fd, room=32768):
    """One getdents64: [(name, inode, next offset, d_type)], empty at the end."""
    buffer = ctypes.create_string_buffer(room)
    count = syscall("getdents64", fd, buffer, room)
    entries, at = [], 0
    while at < count:
        inode, offset, length, kind = struct.unpack_from("QqHB", buffer, at)
        name = buffer.raw[at + 19:at + length].split(b"\0", 1)[0]
        entries.append((name, inode, offset, kind))
        at += length
    return entries


class AsyncIO:
    """Kernel AIO as libaio uses it: one io_submit of many reads or writes."""

    READ, WRITE = 0, 1

    def __init__(self, depth):
        self.context = ctypes.c_ulong(0)
        syscall("io_setup", depth, ctypes.byref(self.context))

    def submit(self, kind, fd, requests):
        """REQUESTS are (writable buffer, offset); return results in order."""
        blocks, pointers = [], (ctypes.c_void_p * len(requests))()
        for number, (buffer, offset) in enumerate(requests):
            view = (ctypes.c_char * len(buffer)).from_buffer(buffer)
            raw = struct.pack("QIiHhIQQqQII", number, 0, 0, kind, 0, fd,
                              ctypes.addressof(view), len(buffer), offset, 0, 0, 0)
            block = ctypes.create_string_buffer(raw, len(raw))
            blocks.append((block, view))
            pointers[number] = ctypes.addressof(block)
        taken = syscall("io_submit", self.context.value, len(requests), pointers)
        if taken != len(requests):
            raise OSError(errno.EIO, f"io_submit took {taken} of {len(requests)}")
        return self._collect(len(requests))

    def _collect(self, count):
        results, left = [None] * count, count
        while left:
            events = ctypes.create_string_buffer(32 * left)
            got = syscall("io_getevents", self.context.value, 1, left, events, 0)
            for number in range(got):
                data, _, result, _ = struct.unpack_from("QQqq", events, 32 * number)
                results[data] = result
            left -= got
        return results

    def close(self):
        syscall("io_destroy", self.context.value)
