"""What frameworks rely on, operation by operation."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import syscalls
from suite import content, fails, in_processes, on_mount, put, same, write_whole

MIB = 1 << 20


@on_mount()
def a_staging_file_renamed_is_published_whole(place):
    data = content(1, 3 * MIB)
    put(place.path("k.tmp"), data, os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_WRONLY)
    os.rename(place.path("k.tmp"), place.path("k"))
    same(place.get("k"), data)
    assert place.names() == ["k"]


@on_mount()
def a_rename_from_another_directory_publishes(place):
    os.mkdir(place.path("staging"))
    os.mkdir(place.path("final"))
    data = content(2, MIB)
    place.put("staging/k.tmp", data)
    os.rename(place.path("staging/k.tmp"), place.path("final/k"))
    same(place.get("final/k"), data)
    assert os.listdir(place.path("staging")) == []


@on_mount()
def a_rename_over_an_existing_object_succeeds_and_replaces_it(place):
    place.put("k", content(3, 5000))
    place.put("k.tmp", content(4, 7000))
    os.replace(place.path("k.tmp"), place.path("k"))
    same(place.get("k"), content(4, 7000))
    assert place.names() == ["k"]


@on_mount()
def the_second_of_two_writers_of_one_key_succeeds(place):
    for writer in range(2):
        tmp = place.path(f"k_{writer}.tmp")
        put(tmp, content(5, 100_000), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.rename(tmp, place.path("k"))
    same(place.get("k"), content(5, 100_000))


@on_mount()
def a_rename_with_the_writer_still_open_publishes(place):
    data = content(6, 2 * MIB)
    fd = os.open(place.path("k_1.tmp"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
    assert os.writev(fd, [data[:MIB], data[MIB:]]) == len(data)
    os.rename(place.path("k_1.tmp"), place.path("k"))
    same(place.get("k"), data, "content after rename")
    os.close(fd)
    same(place.get("k"), data, "content after close")


@on_mount()
def bytes_written_between_rename_and_close_are_there_after_close(place):
    fd = os.open(place.path("k.tmp"), os.O_CREAT | os.O_WRONLY, 0o644)
    write_whole(fd, b"a" * 10_000)
    os.rename(place.path("k.tmp"), place.path("k"))
    write_whole(fd, b"b" * 10_000)
    os.close(fd)
    same(place.get("k"), b"a" * 10_000 + b"b" * 10_000)


@on_mount()
def every_close_of_a_duplicate_publishes_and_seals_nothing(place):
    fd = os.open(place.path("k"), os.O_CREAT | os.O_WRONLY, 0o644)
    want = b""
    for number in range(39):
        os.close(os.dup(fd))
        part = content(number, 3000)
        write_whole(fd, part)
        want += part
    os.close(fd)
    same(place.get("k"), want)


@on_mount()
def writes_go_on_after_a_forked_child_has_closed_the_file(place):
    fd = os.open(place.path("k"), os.O_CREAT | os.O_WRONLY, 0o644)
    write_whole(fd, b"before ")
    in_processes([lambda: os.close(fd)])
    write_whole(fd, b"after")
    os.close(fd)
    assert place.get("k") == b"before after"


@on_mount()
def a_staging_file_is_mutable_until_renamed(place):
    tmp = place.path("k.tmp")
    put(tmp, b"x" * 4096)
    fd = os.open(tmp, os.O_RDWR)
    os.ftruncate(fd, 4096 + 8192)
    area = syscalls.Map(fd, 12288, syscalls.PROT_READ | syscalls.PROT_WRITE)
    os.close(fd)
    area.write(b"y" * 8192, 4096)
    area.unmap()
    os.rename(tmp, place.path("k"))
    same(place.get("k"), b"x" * 4096 + b"y" * 8192)


@on_mount()
def a_final_name_may_be_created_without_excl_or_trunc(place):
    data = content(7, 300_000)
    put(place.path("k"), data, os.O_CREAT | os.O_RDWR)
    same(place.get("k"), data)


@on_mount()
def creating_a_complete_object_again_succeeds(place):
    for round_number in range(3):
        put(place.path("k"), content(8, 50_000), os.O_CREAT | os.O_RDWR)
    same(place.get("k"), content(8, 50_000))


@on_mount()
def a_shorter_object_over_a_longer_one_with_trunc_is_exactly_the_new_one(place):
    place.put("k", content(9, 90_000))
    place.put("k", content(10, 4_000))
    same(place.get("k"), content(10, 4_000))
    assert os.stat(place.path("k")).st_size == 4_000


@on_mount(tmpfs=False)
def opening_read_write_only_to_read_makes_no_version(place):
    data = content(11, 70_000)
    place.put("k", data)
    before = os.getxattr(place.path("k"), "user.mooncake.version")
    fd = os.open(place.path("k"), os.O_RDWR)
    same(os.pread(fd, 70_000, 0), data)
    os.close(fd)
    assert os.getxattr(place.path("k"), "user.mooncake.version") == before


@on_mount(tmpfs=False)
def a_write_to_a_complete_object_makes_a_version(place):
    place.put("k", b"old bytes")
    before = os.getxattr(place.path("k"), "user.mooncake.version")
    put(place.path("k"), b"new", os.O_WRONLY)
    assert place.get("k") == b"new bytes"
    assert os.getxattr(place.path("k"), "user.mooncake.version") != before


@on_mount()
def direct_writes_are_taken_at_any_alignment(place):
    for size in (1, 511, 512, 4095, 4096, 4097, 65_537, 5 * MIB + 3):
        data = content(size, size)
        for shift in (0, 1, 512):
            room = syscalls.aligned(b"\0" * shift + data)[shift:]
            put(place.path("k"), room, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_DIRECT)
            same(place.get("k"), data, f"{size} bytes from buffer + {shift}")


@on_mount()
def direct_reads_are_served_at_any_alignment(place):
    size = 3 * MIB + 77
    data = content(12, size)
    place.put("k", data)
    fd = os.open(place.path("k"), os.O_RDONLY | os.O_DIRECT)
    for offset, count, shift in ((0, size, 0), (0, size, 1), (1, 4096, 3), (4096, 4096, 0),
                                 (4095, 8193, 511), (MIB + 5, MIB, 0)):
        room = syscalls.aligned_room(count + shift)[shift:]
        assert os.preadv(fd, [room], offset) == count
        same(bytes(room), data[offset:offset + count], f"{count} bytes at {offset}")
    os.close(fd)


@on_mount()
def a_direct_read_across_the_end_gives_the_rest(place):
    data = content(13, 10_000)
    place.put("k", data)
    fd = os.open(place.path("k"), os.O_RDONLY | os.O_DIRECT)
    room = syscalls.aligned_room(8192)
    assert os.preadv(fd, [room], 8192) == 10_000 - 8192
    same(bytes(room[:1808]), data[8192:])
    assert os.preadv(fd, [room], 12288) == 0
    os.close(fd)


@on_mount()
def one_call_moves_tens_of_mebibytes_whole(place):
    size = 48 * MIB
    data = content(14, size)
    fd = os.open(place.path("k"), os.O_CREAT | os.O_WRONLY, 0o644)
    write_whole(fd, data)
    os.close(fd)
    fd = os.open(place.path("k"), os.O_RDONLY)
    room = syscalls.aligned_room(size)
    assert os.readv(fd, [room]) == size
    same(room, data)
    os.close(fd)


@on_mount()
def vectors_of_many_parts_are_moved_whole(place):
    parts = [content(number, 40_000 + number) for number in range(500)]
    fd = os.open(place.path("k"), os.O_CREAT | os.O_RDWR, 0o644)
    assert os.writev(fd, parts) == sum(map(len, parts))
    rooms = [bytearray(len(part)) for part in parts]
    assert os.preadv(fd, rooms, 0) == sum(map(len, parts))
    os.close(fd)
    for number, part in enumerate(parts):
        same(rooms[number], part, f"part {number}")


@on_mount()
def many_writes_out_of_order_on_one_descriptor_make_one_object(place):
    page = 64 * 1024
    order = list(range(100))
    order.sort(key=lambda n: (n * 37) % 100)
    fd = os.open(place.path("k"), os.O_CREAT | os.O_RDWR, 0o644)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: write_whole(fd, bytes([n]) * page, n * page), order))
    os.close(fd)
    same(place.get("k"), b"".join(bytes([n]) * page for n in range(100)))


@on_mount()
def extending_before_the_data_gives_zeros_in_the_holes(place):
    fd = os.open(place.path("k"), os.O_CREAT | os.O_RDWR, 0o644)
    os.ftruncate(fd, 300_000)
    assert os.fstat(fd).st_size == 300_000
    write_whole(fd, b"z" * 1000, 100_000)
    os.close(fd)
    same(place.get("k"), bytes(100_000) + b"z" * 1000 + bytes(199_000))


@on_mount()
def preallocation_keeps_the_size_or_is_refused_as_unsupported(place):
    fd = os.open(place.path("k"), os.O_CREAT | os.O_WRONLY, 0o644)
    try:
        syscalls.fallocate(fd, syscalls.FALLOC_KEEP_SIZE, 0, 16 * MIB)
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP, error
    assert os.fstat(fd).st_size == 0
    write_whole(fd, b"1234")
    os.close(fd)
    assert os.stat(place.path("k")).st_size == 4


@on_mount()
def what_was_never_put_is_missing_for_every_call(place):
    path = place.path("nothing")
    for call in (os.stat, os.unlink, os.listxattr, lambda p: os.open(p, os.O_RDONLY),
                 lambda p: os.open(p, os.O_RDWR), lambda p: os.truncate(p, 1),
                 lambda p: os.utime(p), lambda p: os.rename(p, p + "2"), os.rmdir, os.listdir,
                 lambda p: os.stat(p + "/below")):
        with fails(errno.ENOENT):
            call(path)
    assert not os.access(path, os.F_OK)


@on_mount()
def a_name_asked_for_before_its_put_is_found_after_it(place):
    for number in range(50):
        path = place.path(f"k{number}")
        assert not os.path.exists(path)
        put(path, b"x" * number)
        assert os.stat(path).st_size == number


@on_mount()
def sixteen_threads_ask_for_a_thousand_names_and_get_true_answers(place):
    for number in range(0, 1000, 2):
        place.put(f"k{number:04}", b"v" * (number + 1))

    def ask(number):
        path = place.path(f"k{number:04}")
        if number % 2:
            return not os.access(path, os.F_OK) and not os.path.exists(path)
        return os.access(path, os.F_OK) and os.stat(path).st_size == number + 1
    with ThreadPoolExecutor(16) as pool:
        wrong = [n for n, ok in enumerate(pool.map(ask, range(1000))) if not ok]
    assert not wrong, f"wrong answers for {wrong[:20]}"


@on_mount()
def the_block_size_is_a_power_of_two_from_4096(place):
    place.put("k", b"123")
    for size in (os.stat(place.path("k")).st_blksize, os.statvfs(place.root).f_bsize):
        assert size >= 4096 and size & (size - 1) == 0, size


@on_mount()
def the_space_left_falls_with_a_put_and_rises_with_its_removal(place):
    def left():
        space = os.statvfs(place.directory)
        assert 0 <= space.f_bavail <= space.f_bfree <= space.f_blocks
        return space.f_bavail * space.f_frsize
    threading.Event().wait(0.6)  # what tests before this one replaced goes meanwhile
    before = left()
    place.put("k", content(15, 32 * MIB))
    during = left()
    assert 24 * MIB <= before - during <= 80 * MIB, f"{before - during} bytes less after 32 MiB"
    os.unlink(place.path("k"))
    for _ in range(100):
        if left() - during >= 24 * MIB:
            return
        threading.Event().wait(0.05)
    raise AssertionError("the space of a removed object does not come back")


@on_mount(tmpfs=False)
def the_capacity_told_is_the_segment(place):
    space = os.statvfs(place.root)
    told = space.f_blocks * space.f_frsize
    assert 0.8 * (1 << 30) <= told <= 1.1 * (1 << 30), told
    assert space.f_namemax == 255
