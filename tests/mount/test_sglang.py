"""SGLang HiCache: the file backend, and the slab of its hf3fs backend."""

import errno
import fcntl
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import syscalls
from suite import content, fails, on_mount, put, same, write_whole

MIB = 1 << 20
PAGE_BYTES = 9 * MIB // 4        # a page of 64 tokens of a real model: 2.25 MiB
SUFFIX = "_Qwen-Qwen2.5-7B-Instruct_0_1"


def key_of(number):
    return hashlib.sha256(str(number).encode()).hexdigest()


def tofile_calls(path, data):
    """What numpy's tofile does: two FLUSH for one object, by strace."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    os.fstat(fd)
    duplicate = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)
    if len(data) >= 16 * MIB:
        try:
            syscalls.fallocate(duplicate, syscalls.FALLOC_KEEP_SIZE, 0, len(data))
        except OSError as error:
            assert error.errno != errno.ENOSPC, "fallocate says ENOSPC with room left"
    write_whole(duplicate, data)
    os.close(duplicate)
    assert os.lseek(fd, 0, os.SEEK_CUR) == len(data)
    os.lseek(fd, len(data), os.SEEK_SET)
    os.close(fd)


class FileBackend:
    """HiCacheFile, call by call."""

    def __init__(self, directory, tmp_style="suffix"):
        self.directory = directory
        self.tmp_style = tmp_style
        if not os.path.exists(directory):
            os.makedirs(directory)

    def path(self, key):
        return os.path.join(self.directory, f"{key}{SUFFIX}.bin")

    def tmp(self, key):
        token = os.urandom(16).hex()
        if self.tmp_style == "suffix":
            return f"{self.path(key)}.tmp.{os.getpid()}.{threading.get_ident()}.{token}"
        return os.path.join(self.directory, f".{token}.tmp")

    def set(self, key, data):
        if os.path.exists(self.path(key)):
            return True
        tmp = self.tmp(key)
        tofile_calls(tmp, data)
        os.replace(tmp, self.path(key))
        return True

    def get(self, key, count):
        try:
            with open(self.path(key), "rb", buffering=0) as source:
                room = bytearray(count)
                if source.readinto(room) != count:
                    raise IOError("short")
                return room
        except FileNotFoundError:
            return None

    def exists_by_scan(self, keys):
        with os.scandir(self.directory) as entries:
            names = {entry.name for entry in entries if entry.is_file()}
        return [f"{key}{SUFFIX}.bin" in names for key in keys]


@on_mount()
def hicache_pages_come_back_as_they_were_set(place):
    for style in ("suffix", "hidden"):
        backend = FileBackend(place.path(style), style)
        for number in range(6):
            assert backend.get(key_of(number), PAGE_BYTES) is None
            assert backend.set(key_of(number), content(number, PAGE_BYTES))
        for number in range(6):
            same(backend.get(key_of(number), PAGE_BYTES), content(number, PAGE_BYTES))


@on_mount()
def hicache_sets_a_page_beyond_the_preallocation_threshold(place):
    backend = FileBackend(place.path("hicache"))
    data = content(1, 17 * MIB)
    backend.set("large", data)
    same(backend.get("large", len(data)), data)


@on_mount()
def hicache_asked_twice_to_set_a_key_keeps_the_first(place):
    backend = FileBackend(place.path("hicache"))
    backend.set("k", b"1" * 4096)
    inode = os.stat(backend.path("k")).st_ino
    backend.set("k", b"1" * 4096)
    assert os.stat(backend.path("k")).st_ino == inode


@on_mount()
def hicache_existence_by_scan_sees_complete_pages_only(place):
    backend = FileBackend(place.path("hicache"))
    for number in range(0, 40, 2):
        backend.set(key_of(number), b"p" * 5000)
    found = backend.exists_by_scan([key_of(n) for n in range(40)])
    assert found == [n % 2 == 0 for n in range(40)]
    assert all(os.stat(backend.path(key_of(n))).st_size == 5000 for n in range(0, 40, 2))


@on_mount()
def hicache_backup_and_prefetch_threads_never_see_part_of_a_page(place):
    backend = FileBackend(place.path("hicache"))
    stop = threading.Event()
    wrong = []

    def prefetch():
        while not stop.is_set():
            for number in range(24):
                data = backend.get(key_of(number), 200_000)
                if data is not None and data != bytes([number]) * 200_000:
                    wrong.append(number)
    threads = [threading.Thread(target=prefetch) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(24):
            backend.set(key_of(number), bytes([number]) * 200_000)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong


@on_mount()
def hicache_evictor_removes_the_least_recently_used_pages(place):
    backend = FileBackend(place.path("hicache"))
    for number in range(12):
        backend.set(key_of(number), b"p" * 1000)
        os.utime(backend.path(key_of(number)), (10**9 + number, 10**9 + number))
    found = [(os.stat(os.path.join(backend.directory, n)).st_mtime, n)
             for n in os.listdir(backend.directory)]
    space = os.statvfs(backend.directory)
    assert space.f_blocks * space.f_frsize > 0 and space.f_bavail > 0
    for _, name in sorted(found)[:5]:
        os.remove(os.path.join(backend.directory, name))
    left = [backend.get(key_of(n), 1000) is not None for n in range(12)]
    assert left == [False] * 5 + [True] * 7


@on_mount()
def hicache_clear_empties_the_directory(place):
    backend = FileBackend(place.path("hicache"))
    for number in range(30):
        backend.set(key_of(number), b"p")
    for name in os.listdir(backend.directory):
        path = os.path.join(backend.directory, name)
        if os.path.isfile(path):
            os.remove(path)
    assert os.listdir(backend.directory) == []


@on_mount()
def hicache_failed_set_removes_its_temporary_file(place):
    tmp = place.path("k.bin.tmp.1.2.3")
    fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    write_whole(fd, b"half")
    os.close(fd)
    os.remove(tmp)
    assert place.names() == []
    with fails(errno.ENOENT):
        os.replace(tmp, place.path("k.bin"))


@on_mount()
def hicache_fast_file_moves_pages_by_one_vector(place):
    parts = [content(number, 64 * 1024) for number in range(36)]
    fd = os.open(place.path("k.tmp.1"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    assert os.writev(fd, parts) == 36 * 64 * 1024
    os.close(fd)
    os.replace(place.path("k.tmp.1"), place.path("k"))
    rooms = [bytearray(64 * 1024) for _ in parts]
    fd = os.open(place.path("k"), os.O_RDONLY)
    assert os.readv(fd, rooms) == 36 * 64 * 1024
    os.close(fd)
    assert [bytes(room) for room in rooms] == parts


@on_mount()
def hf3fs_mock_clients_share_one_slab(place):
    page, pages = 32_768, 128
    path = place.path("hicache.0.bin")
    clients = [os.open(path, os.O_RDWR | os.O_CREAT, 0o644) for _ in range(16)]
    for fd in clients:
        os.ftruncate(fd, page * pages)

    def churn(client):
        fd = clients[client]
        for slot in range(client, pages, 16):
            write_whole(fd, bytes([slot]) * page, slot * page)
            same(os.pread(fd, page, slot * page), bytes([slot]) * page)
        os.fsync(fd)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(churn, range(16)))
    for fd in clients:
        os.close(fd)
    same(place.get("hicache.0.bin"), b"".join(bytes([s]) * page for s in range(pages)))


@on_mount(needs=("module:numpy",))
def numpy_tofile_and_fromfile_round_trip(place):
    import numpy
    for size in (0, 1, 4096, PAGE_BYTES, 16 * MIB, 16 * MIB + 1):
        array = numpy.frombuffer(content(size, size), dtype=numpy.uint8)
        tmp = place.path(f"k{size}.tmp.1.2.{'0' * 32}")
        array.tofile(tmp)
        os.replace(tmp, place.path(f"k{size}"))
        same(numpy.fromfile(place.path(f"k{size}"), dtype=numpy.uint8).tobytes(), array.tobytes())


@on_mount(needs=("module:numpy",))
def numpy_tofile_straight_to_the_final_name_is_whole(place):
    import numpy
    array = numpy.arange(700_000, dtype=numpy.int32)
    array.tofile(place.path("k"))
    assert (numpy.fromfile(place.path("k"), dtype=numpy.int32) == array).all()
    array[::-1].tofile(place.path("k"))
    assert (numpy.fromfile(place.path("k"), dtype=numpy.int32) == array[::-1]).all()


@on_mount()
def a_key_that_is_there_but_too_short_is_told_by_a_short_read(place):
    put(place.path("k"), b"x" * 100)
    with open(place.path("k"), "rb", buffering=0) as source:
        assert source.readinto(bytearray(200)) == 100
