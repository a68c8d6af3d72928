"""Files: sizes, holes, links, and what follows an unlink."""

import errno
import os

import syscalls
from suite import content, fails, on_mount, put, same, write_whole

GIB = 1 << 30
MIB = 1 << 20


@on_mount()
def a_file_has_one_link_until_it_is_unlinked(place):
    fd = os.open(place.path("f"), os.O_CREAT | os.O_RDWR, 0o644)
    assert os.fstat(fd).st_nlink == 1 and os.stat(place.path("f")).st_nlink == 1
    write_whole(fd, b"x")
    os.close(os.dup(fd))
    assert os.fstat(fd).st_nlink == 1
    os.unlink(place.path("f"))
    assert os.fstat(fd).st_nlink == 0
    os.close(fd)


@on_mount()
def a_replaced_file_has_no_link_left_but_its_bytes(place):
    place.put("f", b"old")
    fd = os.open(place.path("f"), os.O_RDONLY)
    place.put("g.tmp", b"new")
    os.replace(place.path("g.tmp"), place.path("f"))
    assert os.fstat(fd).st_nlink == 0
    assert os.pread(fd, 9, 0) == b"old" and place.get("f") == b"new"
    os.close(fd)


@on_mount()
def an_unlinked_file_takes_every_call_on_its_descriptor(place):
    fd = os.open(place.path("f"), os.O_CREAT | os.O_RDWR, 0o644)
    os.unlink(place.path("f"))
    write_whole(fd, b"still here")
    os.ftruncate(fd, 5)
    os.fchmod(fd, 0o600)
    os.utime(fd, ns=(5, 6))
    info = os.fstat(fd)
    assert (info.st_size, info.st_mode & 0o777, info.st_mtime_ns) == (5, 0o600, 6)
    assert os.pread(fd, 9, 0) == b"still"
    os.fsync(fd)
    os.close(fd)
    assert place.names() == []


@on_mount()
def a_name_unlinked_and_made_again_is_another_file(place):
    place.put("f", b"first")
    fd = os.open(place.path("f"), os.O_RDWR)
    os.unlink(place.path("f"))
    place.put("f", b"second")
    write_whole(fd, b"FIRST", 0)
    assert os.fstat(fd).st_ino != os.stat(place.path("f")).st_ino
    os.close(fd)
    assert place.get("f") == b"second"


@on_mount()
def an_unpublished_file_unlinked_is_never_seen_again(place):
    fd = os.open(place.path("f"), os.O_CREAT | os.O_WRONLY, 0o644)
    write_whole(fd, b"x" * 1000)
    os.unlink(place.path("f"))
    os.close(fd)
    assert place.names() == []
    with fails(errno.ENOENT):
        os.stat(place.path("f"))


@on_mount()
def o_excl_refuses_published_unpublished_and_directory_names(place):
    place.put("published", b"x")
    os.mkdir(place.path("directory"))
    fd = os.open(place.path("unpublished"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    for name in ("published", "directory", "unpublished"):
        with fails(errno.EEXIST):
            os.open(place.path(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.close(fd)
    with fails(errno.EEXIST):
        os.open(place.path("unpublished"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)


@on_mount()
def one_of_sixteen_threads_wins_an_exclusive_create(place):
    from concurrent.futures import ThreadPoolExecutor

    def create(_):
        try:
            os.close(os.open(place.path("f"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            return 1
        except FileExistsError:
            return 0
    for _ in range(15):
        with ThreadPoolExecutor(16) as pool:
            assert sum(pool.map(create, range(16))) == 1
        os.unlink(place.path("f"))


@on_mount()
def a_file_grown_to_10_to_the_15_is_sparse(place):
    fd = os.open(place.path("f"), os.O_CREAT | os.O_RDWR, 0o644)
    os.ftruncate(fd, 10**15)
    assert os.fstat(fd).st_size == 10**15 and os.fstat(fd).st_blocks < 10_000
    assert os.pread(fd, 100, 10**15 - 50) == bytes(50)
    write_whole(fd, b"end", 10**15 - 3)
    assert os.pread(fd, 10, 10**15 - 3) == b"end"
    os.close(fd)
    assert os.stat(place.path("f")).st_size == 10**15
    os.truncate(place.path("f"), 10)
    assert place.get("f") == bytes(10)


@on_mount()
def one_byte_at_2_gib_makes_a_sparse_object(place):
    fd = os.open(place.path("f"), os.O_CREAT | os.O_RDWR, 0o644)
    write_whole(fd, b"!", 2 * GIB)
    os.close(fd)
    info = os.stat(place.path("f"))
    assert info.st_size == 2 * GIB + 1 and info.st_blocks * 512 < 8 * MIB
    fd = os.open(place.path("f"), os.O_RDONLY)
    assert os.pread(fd, 10, 2 * GIB) == b"!" and os.pread(fd, 3, GIB) == bytes(3)
    os.close(fd)


@on_mount()
def blocks_count_what_is_stored(place):
    place.put("f", content(1, MIB))
    assert MIB <= os.stat(place.path("f")).st_blocks * 512 <= 4 * MIB


@on_mount()
def truncation_by_name_and_descriptor_cuts_and_grows(place):
    data = content(2, 10_000)
    place.put("f", data)
    os.truncate(place.path("f"), 6_000)
    same(place.get("f"), data[:6_000])
    os.truncate(place.path("f"), 9_000)
    same(place.get("f"), data[:6_000] + bytes(3_000))
    fd = os.open(place.path("f"), os.O_RDWR)
    os.ftruncate(fd, 100)
    assert os.fstat(fd).st_size == 100 and os.stat(place.path("f")).st_size == 100
    os.close(fd)
    same(place.get("f"), data[:100])
    os.truncate(place.path("f"), 0)
    assert place.get("f") == b""


@on_mount()
def the_size_follows_every_write_at_once(place):
    fd = os.open(place.path("f"), os.O_CREAT | os.O_WRONLY, 0o644)
    for number in range(1, 50):
        write_whole(fd, b"x" * 1000)
        assert os.fstat(fd).st_size == number * 1000
        assert os.stat(place.path("f")).st_size == number * 1000
    os.close(fd)
    assert os.stat(place.path("f")).st_size == 49_000


@on_mount()
def holes_and_data_are_told_apart(place):
    fd = os.open(place.path("f"), os.O_CREAT | os.O_RDWR, 0o644)
    os.ftruncate(fd, 16 * MIB)
    write_whole(fd, b"d" * 4096, 8 * MIB)
    for _ in range(2):
        data = os.lseek(fd, 0, os.SEEK_DATA)
        hole = os.lseek(fd, 8 * MIB, os.SEEK_HOLE)
        assert 0 <= data <= 8 * MIB < hole <= 16 * MIB, (data, hole)
        with fails(errno.ENXIO):
            os.lseek(fd, 17 * MIB, os.SEEK_DATA)
        assert os.lseek(fd, -5, os.SEEK_END) == 16 * MIB - 5
        os.close(fd)
        fd = os.open(place.path("f"), os.O_RDONLY)
    os.close(fd)


@on_mount()
def preallocation_that_grows_gives_zeros_or_is_unsupported(place):
    fd = os.open(place.path("f"), os.O_CREAT | os.O_RDWR, 0o644)
    write_whole(fd, b"head")
    try:
        syscalls.fallocate(fd, 0, 0, 100_000)
        want = b"head" + bytes(99_996)
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP
        want = b"head"
    os.close(fd)
    same(place.get("f"), want)


@on_mount()
def a_punched_hole_reads_as_zeros_or_is_unsupported(place):
    data = content(3, 64 * 1024)
    place.put("f", data)
    fd = os.open(place.path("f"), os.O_RDWR)
    mode = syscalls.FALLOC_PUNCH_HOLE | syscalls.FALLOC_KEEP_SIZE
    try:
        syscalls.fallocate(fd, mode, 8192, 16384)
        data = data[:8192] + bytes(16384) + data[24576:]
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP
    os.close(fd)
    same(place.get("f"), data)


@on_mount()
def an_allocation_beyond_the_capacity_is_refused_and_leaves_the_file(place):
    place.put("f", b"small")
    fd = os.open(place.path("f"), os.O_RDWR)
    with fails(errno.ENOSPC, errno.EOPNOTSUPP, errno.EFBIG, errno.EINTR):
        syscalls.fallocate(fd, 0, 0, 1 << 45)
    os.close(fd)
    assert place.get("f") == b"small"


@on_mount()
def ranges_are_copied_between_and_within_objects(place):
    data = content(4, 300_000)
    place.put("a", data)
    source = os.open(place.path("a"), os.O_RDWR)
    target = os.open(place.path("b"), os.O_CREAT | os.O_RDWR, 0o644)
    assert os.copy_file_range(source, target, 100_000, 50_000, 10) == 100_000
    same(os.pread(target, 100_010, 0), bytes(10) + data[50_000:150_000])
    assert os.copy_file_range(source, source, 1000, 0, 200_000) == 1000
    assert os.copy_file_range(source, target, 10, 300_000, 0) == 0
    os.close(source)
    os.close(target)
    same(place.get("a"), data[:200_000] + data[:1000] + data[201_000:])


@on_mount()
def sendfile_and_splice_move_whole_objects(place):
    import socket
    data = content(5, 400_000)
    place.put("a", data)
    fd = os.open(place.path("a"), os.O_RDONLY)
    out = os.open(place.path("b"), os.O_CREAT | os.O_WRONLY, 0o644)
    at = 0
    while at < len(data):
        moved = os.sendfile(out, fd, at, len(data) - at)
        assert moved > 0
        at += moved
    os.close(out)
    same(place.get("b"), data)
    left, right = socket.socketpair()
    assert os.sendfile(left.fileno(), fd, 1000, 5000) == 5000
    assert right.recv(5000, socket.MSG_WAITALL) == data[1000:6000]
    os.close(fd)


@on_mount()
def append_mode_writes_at_the_end_whoever_wrote_before(place):
    first = os.open(place.path("f"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    second = os.open(place.path("f"), os.O_WRONLY | os.O_APPEND)
    for number in range(20):
        write_whole(first, b"a%02d" % number)
        write_whole(second, b"b%02d" % number)
    os.close(first)
    os.close(second)
    assert place.get("f") == b"".join(b"a%02db%02d" % (n, n) for n in range(20))


@on_mount()
def a_read_at_or_beyond_the_end_gives_nothing(place):
    place.put("f", b"12345")
    fd = os.open(place.path("f"), os.O_RDONLY)
    assert os.pread(fd, 10, 5) == b"" and os.pread(fd, 10, 10**12) == b""
    assert os.pread(fd, 10, 3) == b"45"
    with fails(errno.EBADF):
        os.write(fd, b"x")
    os.close(fd)


@on_mount()
def descriptors_of_different_modes_see_each_others_writes(place):
    place.put("f", b"0" * 10_000)
    reader = os.open(place.path("f"), os.O_RDONLY)
    direct = os.open(place.path("f"), os.O_RDWR | os.O_DIRECT)
    writer = os.open(place.path("f"), os.O_WRONLY)
    area = syscalls.map_file(place.path("f"))
    write_whole(writer, b"1" * 4096, 0)
    write_whole(direct, syscalls.aligned(b"2" * 4096), 4096)
    want = b"1" * 4096 + b"2" * 4096 + b"0" * 1808
    same(os.pread(reader, 10_000, 0), want, "read")
    same(area.read(), want, "map")
    area.unmap()
    for fd in (reader, direct, writer):
        os.close(fd)
    same(place.get("f"), want)


@on_mount()
def a_thousand_files_are_open_at_once(place):
    fds = []
    for number in range(1000):
        fd = os.open(place.path(f"f{number}"), os.O_CREAT | os.O_RDWR, 0o644)
        write_whole(fd, b"%d" % number)
        fds.append(fd)
    for number, fd in enumerate(fds):
        assert os.pread(fd, 9, 0) == b"%d" % number
        os.close(fd)


@on_mount()
def record_locks_exclude_ranges_between_processes(place):
    import fcntl
    from suite import in_processes
    fd = os.open(place.path("f"), os.O_CREAT | os.O_RDWR, 0o644)
    fcntl.lockf(fd, fcntl.LOCK_EX, 100, 0)

    def others():
        other = os.open(place.path("f"), os.O_RDWR)
        answers = []
        for start in (50, 100):
            try:
                fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, start)
                answers.append("taken")
            except (BlockingIOError, PermissionError):
                answers.append("busy")
        return answers
    assert in_processes([others]) == [["busy", "taken"]]
    os.close(fd)


@on_mount()
def opening_with_o_directory_or_o_path_obeys_the_kind(place):
    place.put("f", b"x")
    with fails(errno.ENOTDIR):
        os.open(place.path("f"), os.O_RDONLY | os.O_DIRECTORY)
    fd = os.open(place.path("f"), os.O_PATH)
    assert os.fstat(fd).st_size == 1
    os.close(fd)


@on_mount()
def sixteen_threads_replacing_one_key_never_show_a_mixture(place):
    import threading
    stop, wrong = threading.Event(), []

    def write(number):
        for step in range(12):
            data = bytes([number * 12 + step]) * (50_000 + 1000 * number)
            put(place.path(f"k.tmp.{number}"), data)
            os.replace(place.path(f"k.tmp.{number}"), place.path("k"))

    def read():
        while not stop.is_set():
            try:
                data = place.get("k")
            except FileNotFoundError:
                continue
            number = data[0] // 12
            if data != data[:1] * (50_000 + 1000 * number):
                wrong.append((len(data), set(data)))
    readers = [threading.Thread(target=read) for _ in range(8)]
    writers = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in readers + writers:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert not wrong, wrong[:3]


@on_mount()
def eight_threads_share_one_descriptor_and_distinct_ranges(place):
    from concurrent.futures import ThreadPoolExecutor
    part = 128 * 1024
    fd = os.open(place.path("f"), os.O_CREAT | os.O_RDWR, 0o644)

    def work(number):
        for step in range(5):
            write_whole(fd, bytes([number * 5 + step]) * part, number * part)
            same(os.pread(fd, part, number * part), bytes([number * 5 + step]) * part)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    os.close(fd)
    same(place.get("f"), b"".join(bytes([n * 5 + 4]) * part for n in range(8)))
