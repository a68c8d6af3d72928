"""NIXL's POSIX plugin by libaio, and the clients that sit on it."""

import errno
import os

import syscalls
from suite import content, fails, on_mount, put, same, skip

PAGE = 65_536
DEPTH = 32


def buffers(seed, count=DEPTH):
    """Page-aligned writable buffers with known content."""
    return [syscalls.aligned(content((seed, n).__repr__(), PAGE)) for n in range(count)]


def kernel_aio():
    try:
        return syscalls.AsyncIO(64)
    except OSError as error:
        skip(f"no kernel AIO here: {error}")


def write_all(aio, fd, parts, order=None):
    requests = [(parts[n], n * PAGE) for n in order or range(len(parts))]
    assert aio.submit(aio.WRITE, fd, requests) == [PAGE] * len(parts)


def read_all(aio, fd, count):
    rooms = [syscalls.aligned_room(PAGE) for _ in range(count)]
    assert aio.submit(aio.READ, fd, [(room, n * PAGE) for n, room in enumerate(rooms)]) == \
        [PAGE] * count
    return b"".join(rooms)


@on_mount()
def hicache_nixl_writes_and_reads_through_io_submit(place):
    aio = kernel_aio()
    for bucket in range(4):
        os.makedirs(place.path(f"{bucket:02x}"), exist_ok=True)
    parts = buffers("a")
    fd = os.open(place.path("03/key_k"), os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o644)
    write_all(aio, fd, parts)
    os.close(fd)
    fd = os.open(place.path("03/key_k"), os.O_RDONLY | os.O_DIRECT)
    same(read_all(aio, fd, DEPTH), b"".join(parts))
    os.close(fd)
    aio.close()


@on_mount()
def a_second_set_rewrites_the_object_in_place(place):
    aio = kernel_aio()
    for seed in ("first", "second", "third"):
        parts = buffers(seed, 8)
        fd = os.open(place.path("key"), os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o644)
        write_all(aio, fd, parts, order=[5, 0, 7, 2, 1, 6, 4, 3])
        os.close(fd)
        same(place.get("key"), b"".join(parts), f"after the {seed} set")
    aio.close()


@on_mount()
def a_read_through_a_read_write_descriptor_works(place):
    aio = kernel_aio()
    parts = buffers("b", 4)
    put(place.path("key"), b"".join(parts))
    for flags in (os.O_RDWR, os.O_RDWR | os.O_DIRECT, os.O_RDONLY):
        fd = os.open(place.path("key"), flags)
        same(read_all(aio, fd, 4), b"".join(parts), f"flags {flags:o}")
        os.close(fd)
    aio.close()


@on_mount()
def the_256_buckets_of_the_start_are_made(place):
    for _ in range(2):
        for bucket in range(256):
            os.makedirs(place.path(f"{bucket:02x}"), exist_ok=True)
    assert place.names() == [f"{n:02x}" for n in range(256)]


@on_mount()
def query_memory_is_a_true_stat(place):
    place.put("k", b"x" * 12_345)
    info = os.stat(place.path("k"))
    assert info.st_size == 12_345 and info.st_mode & 0o777 == 0o644 and info.st_mtime > 10**9
    with fails(errno.ENOENT):
        os.stat(place.path("missing"))


@on_mount()
def the_init_probe_on_a_missing_directory_fails(place):
    with fails(errno.ENOENT):
        os.open(place.path("nonexistent/nixl-probe"), os.O_RDWR)


@on_mount()
def lmcache_l2_writes_pages_at_offsets_and_renames(place):
    aio = kernel_aio()
    parts = buffers("c", 16)
    tmp = place.path("final.tmp.0f1e2d3c")
    fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_DIRECT, 0o644)
    write_all(aio, fd, parts, order=list(reversed(range(16))))
    os.close(fd)
    os.rename(tmp, place.path("final"))
    fd = os.open(place.path("final"), os.O_RDWR | os.O_DIRECT)
    same(read_all(aio, fd, 16), b"".join(parts))
    os.close(fd)
    aio.close()


@on_mount()
def the_static_pool_keeps_its_descriptors_open_and_rewrites(place):
    aio = kernel_aio()
    fds = [os.open(place.path(f"obj_{n}_{n:04x}.bin"), os.O_RDWR | os.O_CREAT, 0o644)
           for n in range(24)]
    for generation in range(3):
        for number, fd in enumerate(fds):
            write_all(aio, fd, buffers(f"{generation}.{number}", 2))
    for number, fd in enumerate(fds):
        same(read_all(aio, fd, 2), b"".join(buffers(f"2.{number}", 2)))
        os.close(fd)
    assert len(place.names()) == 24
    aio.close()


@on_mount()
def a_read_beyond_the_end_says_how_much_there_was(place):
    aio = kernel_aio()
    place.put("k", b"x" * (PAGE + 100))
    fd = os.open(place.path("k"), os.O_RDONLY)
    rooms = [syscalls.aligned_room(PAGE) for _ in range(3)]
    got = aio.submit(aio.READ, fd, [(room, n * PAGE) for n, room in enumerate(rooms)])
    assert got == [PAGE, 100, 0], got
    os.close(fd)
    aio.close()


@on_mount()
def the_cleaner_scans_sorts_and_unlinks_from_eight_threads(place):
    from concurrent.futures import ThreadPoolExecutor
    for number in range(64):
        os.makedirs(place.path(f"{number % 8:02x}"), exist_ok=True)
        place.put(f"{number % 8:02x}/key{number}", b"v" * 1000)
        os.utime(place.path(f"{number % 8:02x}/key{number}"), (10**9, 10**9 + number))
    space = os.statvfs(place.directory)
    assert 0 <= 1 - space.f_bavail / space.f_blocks < 1
    found = []
    for bucket in os.scandir(place.directory):
        found += [(e.stat().st_mtime, e.stat().st_size, e.path) for e in os.scandir(bucket.path)]
    assert all(size == 1000 for _, size, _ in found)
    victims = [path for _, _, path in sorted(found)[:40]]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(os.unlink, victims))
    left = {name for _, _, names in os.walk(place.directory) for name in names}
    assert left == {f"key{n}" for n in range(40, 64)}
