"""Which times move with which call, and which do not."""

import errno
import os
import time

import syscalls
from suite import fails, on_mount, put, write_whole


def times(path):
    info = os.stat(path)
    return info.st_mtime_ns, info.st_ctime_ns


class Watch:
    """Compares the times of a path before and after, over a clock tick."""

    def __init__(self, *paths):
        self.paths = paths
        self.before = [times(path) for path in paths]
        time.sleep(0.012)

    def moved(self, after_paths=None):
        """[(mtime moved, ctime moved)] for each path."""
        return [(new[0] > old[0], new[1] > old[1]) for old, new in
                zip(self.before, map(times, after_paths or self.paths))]

    def still(self):
        return [times(path) for path in self.paths] == self.before


@on_mount()
def a_new_name_moves_both_times_of_its_directory(place):
    for make in (lambda: place.put("f", b"x"), lambda: os.mkdir(place.path("d")),
                 lambda: os.close(os.open(place.path("e"), os.O_CREAT | os.O_WRONLY))):
        watch = Watch(place.directory)
        make()
        assert watch.moved() == [(True, True)]


@on_mount()
def new_names_carry_the_time_of_their_making(place):
    begin = time.time_ns() - 50_000_000
    place.put("f", b"x")
    os.mkdir(place.path("d"))
    for name in "fd":
        info = os.stat(place.path(name))
        for value in (info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns):
            assert begin <= value <= time.time_ns() + 50_000_000, (name, value)


@on_mount()
def a_removal_moves_both_times_of_the_directory(place):
    place.put("f", b"x")
    os.mkdir(place.path("d"))
    for remove in (lambda: os.unlink(place.path("f")), lambda: os.rmdir(place.path("d"))):
        watch = Watch(place.directory)
        remove()
        assert watch.moved() == [(True, True)]


@on_mount()
def an_unlink_moves_the_change_time_of_the_file(place):
    place.put("f", b"x")
    fd = os.open(place.path("f"), os.O_RDONLY)
    before = os.fstat(fd)
    time.sleep(0.012)
    os.unlink(place.path("f"))
    after = os.fstat(fd)
    os.close(fd)
    assert after.st_ctime_ns > before.st_ctime_ns and after.st_mtime_ns == before.st_mtime_ns


@on_mount()
def a_rename_moves_both_directories_and_the_change_time_of_the_file(place):
    os.mkdir(place.path("a"))
    os.mkdir(place.path("b"))
    place.put("a/f", b"x")
    watch = Watch(place.path("a"), place.path("b"), place.path("a/f"))
    os.rename(place.path("a/f"), place.path("b/g"))
    moved = watch.moved([place.path("a"), place.path("b"), place.path("b/g")])
    assert moved == [(True, True), (True, True), (False, True)], moved


@on_mount()
def a_write_moves_both_times_of_the_file_and_none_of_its_directory(place):
    place.put("f", b"x")
    watch = Watch(place.path("f"), place.directory)
    put(place.path("f"), b"y", os.O_WRONLY)
    assert watch.moved() == [(True, True), (False, False)]


@on_mount()
def a_truncation_moves_both_times(place):
    place.put("f", b"12345")
    for size in (3, 10):
        watch = Watch(place.path("f"))
        os.truncate(place.path("f"), size)
        assert watch.moved() == [(True, True)], size
    fd = os.open(place.path("f"), os.O_RDWR)
    watch = Watch(place.path("f"))
    os.ftruncate(fd, 1)
    assert watch.moved() == [(True, True)]
    os.close(fd)


@on_mount()
def an_open_that_truncates_moves_both_times(place):
    place.put("f", b"12345")
    watch = Watch(place.path("f"))
    os.close(os.open(place.path("f"), os.O_WRONLY | os.O_TRUNC))
    assert watch.moved() == [(True, True)]
    assert os.stat(place.path("f")).st_size == 0


@on_mount()
def a_mode_or_owner_change_moves_the_change_time_alone(place):
    place.put("f", b"x")
    os.mkdir(place.path("d"))
    for name in "fd":
        for change in (lambda p: os.chmod(p, 0o700), lambda p: os.chown(p, os.getuid(), -1)):
            watch = Watch(place.path(name), place.directory)
            change(place.path(name))
            moved = watch.moved()
            assert moved == [(False, True), (False, False)], (name, moved)


@on_mount()
def setting_times_moves_the_change_time(place):
    place.put("f", b"x")
    watch = Watch(place.path("f"))
    os.utime(place.path("f"), ns=(1, 2))
    assert os.stat(place.path("f")).st_ctime_ns > watch.before[0][1]


@on_mount()
def reading_moves_neither_modification_nor_change_time(place):
    place.put("f", b"x" * 100_000)
    watch = Watch(place.path("f"), place.directory)
    place.get("f")
    with syscalls.map_file(place.path("f")) as area:
        area.read()
    os.listdir(place.directory)
    assert watch.still()


@on_mount()
def a_call_that_fails_moves_nothing(place):
    os.mkdir(place.path("d"))
    place.put("d/f", b"x")
    place.put("g", b"y")
    watch = Watch(place.directory, place.path("d"), place.path("d/f"), place.path("g"))
    for number, call in (
            (errno.ENOENT, lambda: os.unlink(place.path("missing"))),
            (errno.EEXIST, lambda: os.mkdir(place.path("d"))),
            (errno.ENOTEMPTY, lambda: os.rmdir(place.path("d"))),
            (errno.EISDIR, lambda: os.unlink(place.path("d"))),
            (errno.ENOTDIR, lambda: os.rmdir(place.path("g"))),
            (errno.ENOENT, lambda: os.rename(place.path("missing"), place.path("g"))),
            (errno.ENOTEMPTY, lambda: os.mkdir(place.path("e")) or
             os.rename(place.path("e"), place.path("d"))),
            (errno.EEXIST, lambda: os.open(place.path("g"), os.O_CREAT | os.O_EXCL)),
            (errno.EINVAL, lambda: os.truncate(place.path("g"), -1))):
        if number == errno.ENOTEMPTY and os.path.exists(place.path("e")):
            continue
        with fails(number):
            call()
        if os.path.exists(place.path("e")):
            os.rmdir(place.path("e"))
            watch.before[0] = times(place.directory)
    assert watch.still()


@on_mount()
def nanoseconds_are_kept(place):
    place.put("f", b"x")
    os.mkdir(place.path("d"))
    for name in "fd":
        os.utime(place.path(name), ns=(1_234_567_890_123_456_789, 987_654_321_987_654_321))
        info = os.stat(place.path(name))
        assert info.st_atime_ns == 1_234_567_890_123_456_789
        assert info.st_mtime_ns == 987_654_321_987_654_321


@on_mount()
def each_time_may_be_set_now_or_left_alone(place):
    place.put("f", b"x")
    path = place.path("f")
    os.utime(path, ns=(1000, 2000))
    syscalls.set_times(path, (7, 8), (0, syscalls.UTIME_OMIT))
    assert (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns) == (7_000_000_008, 2000)
    syscalls.set_times(path, (0, syscalls.UTIME_OMIT), (9, 10))
    assert (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns) == (7_000_000_008, 9_000_000_010)
    syscalls.set_times(path, (0, syscalls.UTIME_OMIT), (0, syscalls.UTIME_NOW))
    info = os.stat(path)
    assert info.st_atime_ns == 7_000_000_008 and abs(info.st_mtime - time.time()) < 5
    before = (info.st_atime_ns, info.st_mtime_ns)
    syscalls.set_times(path, (0, syscalls.UTIME_OMIT), (0, syscalls.UTIME_OMIT))
    assert (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns) == before


@on_mount()
def times_beyond_32_bits_and_before_1970_are_kept(place):
    place.put("f", b"x")
    for seconds in (2**32 + 5, 2**33, 2**31, -5):
        os.utime(place.path("f"), (seconds, seconds))
        info = os.stat(place.path("f"))
        assert (info.st_atime, info.st_mtime) == (seconds, seconds), (seconds, info)


@on_mount()
def times_set_on_an_open_descriptor_outlast_its_close(place):
    fd = os.open(place.path("f"), os.O_CREAT | os.O_WRONLY, 0o644)
    write_whole(fd, b"abc")
    os.utime(fd, ns=(111, 222))
    assert os.fstat(fd).st_mtime_ns == 222
    os.close(fd)
    info = os.stat(place.path("f"))
    assert (info.st_atime_ns, info.st_mtime_ns) == (111, 222)


@on_mount()
def a_modification_time_survives_a_rename(place):
    place.put("f.tmp", b"abc")
    os.utime(place.path("f.tmp"), ns=(333, 444))
    os.rename(place.path("f.tmp"), place.path("f"))
    assert os.stat(place.path("f")).st_mtime_ns == 444


@on_mount()
def a_write_after_setting_times_moves_the_modification_time_again(place):
    fd = os.open(place.path("f"), os.O_CREAT | os.O_WRONLY, 0o644)
    os.utime(fd, ns=(1, 1))
    write_whole(fd, b"later")
    os.close(fd)
    assert abs(os.stat(place.path("f")).st_mtime - time.time()) < 5
