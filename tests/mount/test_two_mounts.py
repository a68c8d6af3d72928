"""Two nodes, two mounts: what one does, the other sees."""

import errno
import hashlib
import os
import random
import signal
import threading
import time

import syscalls
from cluster import wait_until
from suite import content, fails, get, in_processes, on_cluster, put, same, write_whole

MIB = 1 << 20
SEEN_WITHIN_S = 1.0


def at(node, name):
    return os.path.join(node.path, name)


@on_cluster(variants="all")
def a_put_on_one_mount_is_whole_on_the_other_at_once(cluster):
    _, a, b = cluster.pair()
    for number, size in enumerate((0, 1, 4096, 100_001, 3 * MIB + 5, 20 * MIB)):
        data = content(number, size)
        put(at(a, f"k{number}"), data)
        assert os.stat(at(b, f"k{number}")).st_size == size
        digest = hashlib.sha256(get(at(b, f"k{number}"))).hexdigest()
        assert digest == hashlib.sha256(data).hexdigest(), f"{size} bytes by read"
        if size:
            with syscalls.map_file(at(b, f"k{number}")) as area:
                same(area.read(), data, f"{size} bytes by map")


@on_cluster()
def a_name_missed_on_one_mount_is_found_right_after_its_put_on_the_other(cluster):
    _, a, b = cluster.pair()
    os.mkdir(at(a, "d"))
    for number in range(100):
        assert not os.path.exists(at(b, f"d/k{number}"))
        put(at(a, f"d/k{number}"), b"x" * number)
        assert os.stat(at(b, f"d/k{number}")).st_size == number


@on_cluster()
def both_transports_bring_the_same_bytes_and_are_counted(cluster):
    master = cluster.master()
    a = cluster.node(master, "a")
    same_host = cluster.node(master, "b")
    over_tcp = cluster.node(master, "c", transport="tcp")
    data = content(1, 5 * MIB + 3)
    put(at(a, "k"), data)
    same(get(at(same_host, "k")), data, "by fd passing")
    same(get(at(over_tcp, "k")), data, "over TCP")
    assert same_host.counters()["pull_shm"] >= 1 and same_host.counters().get("pull_tcp", 0) == 0
    assert over_tcp.counters()["pull_tcp"] >= 1 and over_tcp.counters().get("pull_shm", 0) == 0


@on_cluster()
def a_get_served_once_from_afar_is_local_the_second_time(cluster):
    _, a, b = cluster.pair(transport="tcp")
    put(at(a, "k"), content(2, MIB))
    same(get(at(b, "k")), content(2, MIB))
    pulls = b.counters()["pull_tcp"]
    for _ in range(10):
        same(get(at(b, "k")), content(2, MIB))
    assert b.counters()["pull_tcp"] == pulls


@on_cluster()
def many_readers_of_one_object_cause_one_pull(cluster):
    _, a, b = cluster.pair(transport="tcp")
    data = content(3, 16 * MIB)
    put(at(a, "k"), data)
    digests = in_processes([lambda: hashlib.sha256(get(at(b, "k"))).hexdigest()] * 6)
    assert set(digests) == {hashlib.sha256(data).hexdigest()}
    assert b.counters()["pull_tcp"] == 1, b.counters()["pull_tcp"]


@on_cluster()
def nothing_unpublished_is_seen_from_the_other_mount(cluster):
    _, a, b = cluster.pair()
    os.mkdir(at(a, "d"))
    draft = os.open(at(a, "d/draft"), os.O_CREAT | os.O_WRONLY, 0o644)
    write_whole(draft, b"half")
    put(at(a, "d/k.tmp.1"), b"staging, closed")
    assert os.listdir(at(b, "d")) == []
    for name in ("d/draft", "d/k.tmp.1"):
        with fails(errno.ENOENT):
            os.stat(at(b, name))
    write_whole(draft, b" and half")
    os.close(draft)
    assert get(at(b, "d/draft")) == b"half and half"
    os.rename(at(a, "d/k.tmp.1"), at(a, "d/k"))
    assert sorted(os.listdir(at(b, "d"))) == ["draft", "k"]
    assert get(at(b, "d/k")) == b"staging, closed"


@on_cluster()
def the_same_staging_name_on_two_mounts_is_two_files(cluster):
    _, a, b = cluster.pair()
    put(at(a, "k.tmp"), b"from a")
    put(at(b, "k.tmp"), b"from b")
    os.rename(at(a, "k.tmp"), at(a, "ka"))
    os.rename(at(b, "k.tmp"), at(b, "kb"))
    for node in (a, b):
        assert get(at(node, "ka")) == b"from a" and get(at(node, "kb")) == b"from b"


@on_cluster()
def an_exclusive_create_is_won_by_exactly_one_mount(cluster):
    _, a, b = cluster.pair()

    def create(node, name, barrier, won):
        barrier.wait()
        try:
            fd = os.open(at(node, name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            write_whole(fd, node.name.encode())
            os.close(fd)
            won.append(node.name)
        except FileExistsError:
            pass
    for number in range(40):
        barrier, won = threading.Barrier(4), []
        threads = [threading.Thread(target=create, args=(n, f"k{number}", barrier, won))
                   for n in (a, b, a, b)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1, f"round {number}: won by {won}"
        assert get(at(a, f"k{number}")) == get(at(b, f"k{number}")) == won[0].encode()


@on_cluster()
def a_lock_file_held_on_one_mount_is_taken_on_the_other(cluster):
    _, a, b = cluster.pair()
    held = os.open(at(a, "l.lock"), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
    with fails(errno.EEXIST):
        os.open(at(b, "l.lock"), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
    os.unlink(at(a, "l.lock"))
    os.close(held)
    wait_until(lambda: _create(at(b, "l.lock")), SEEN_WITHIN_S, "the lock can be taken")


def _create(path):
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644))
        return True
    except FileExistsError:
        return False


@on_cluster()
def a_removal_is_seen_by_the_other_mount_within_a_second(cluster):
    _, a, b = cluster.pair()
    for number in range(10):
        put(at(a, f"k{number}"), content(number, 50_000))
        same(get(at(b, f"k{number}")), content(number, 50_000))
        os.unlink(at(a, f"k{number}"))
        wait_until(lambda: not os.path.exists(at(b, f"k{number}")), SEEN_WITHIN_S,
                   "the removed name is gone")
    assert os.listdir(b.path) == []


@on_cluster()
def a_removal_by_who_does_not_hold_the_bytes_works_as_well(cluster):
    _, a, b = cluster.pair()
    put(at(a, "k"), content(1, MIB))
    fd = os.open(at(a, "k"), os.O_RDONLY)
    os.unlink(at(b, "k"))
    with fails(errno.ENOENT):
        os.stat(at(b, "k"))
    wait_until(lambda: not os.path.exists(at(a, "k")), SEEN_WITHIN_S, "gone at its owner")
    same(os.pread(fd, MIB, 0), content(1, MIB), "read by who has it open")
    os.close(fd)


@on_cluster(variants="all")
def a_replacement_is_seen_within_a_second_and_never_mixed(cluster):
    _, a, b = cluster.pair()
    put(at(a, "k"), bytes([0]) * 300_000)
    same(get(at(b, "k")), bytes([0]) * 300_000)
    for version in range(1, 12):
        want = bytes([version]) * (300_000 + version)
        if version % 2:
            put(at(a, "k"), want)
        else:
            put(at(a, "k.tmp"), want)
            os.rename(at(a, "k.tmp"), at(a, "k"))
        deadline = time.monotonic() + SEEN_WITHIN_S
        while True:
            got = get(at(b, "k"))
            assert got == got[:1] * (300_000 + got[0]), "a mixture of versions"
            if got[0] == version:
                break
            assert got[0] == version - 1, f"version {got[0]} after {version}"
            assert time.monotonic() < deadline, f"version {version} is not seen"


@on_cluster()
def an_object_open_or_mapped_here_survives_its_replacement_there(cluster):
    _, a, b = cluster.pair()
    data = content(4, 2 * MIB)
    put(at(a, "k"), data)
    fd = os.open(at(b, "k"), os.O_RDONLY)
    area = syscalls.map_file(at(b, "k"))
    put(at(a, "k"), b"new")
    wait_until(lambda: get(at(b, "k")) == b"new", SEEN_WITHIN_S, "the new version is seen")
    same(os.pread(fd, 2 * MIB, 0), data, "read of the old version")
    same(area.read(), data, "map of the old version")
    os.unlink(at(b, "k"))
    same(area.read(), data, "map after the removal")
    area.unmap()
    os.close(fd)


@on_cluster()
def a_rewrite_in_place_reaches_the_other_mount_as_a_new_version(cluster):
    _, a, b = cluster.pair()
    put(at(a, "k"), b"a" * 100_000)
    assert get(at(b, "k")) == b"a" * 100_000
    put(at(a, "k"), b"b" * 50_000, os.O_WRONLY)
    want = b"b" * 50_000 + b"a" * 50_000
    wait_until(lambda: get(at(b, "k")) == want, SEEN_WITHIN_S, "the new version is seen")


@on_cluster()
def what_a_map_stores_after_the_last_close_is_published_when_it_is_gone(cluster):
    _, a, b = cluster.pair(transport="tcp")
    page = 4096
    fd = os.open(at(a, "k"), os.O_CREAT | os.O_RDWR, 0o644)
    write_whole(fd, bytes(2 * page))
    area = syscalls.Map(fd, 2 * page, prot=syscalls.PROT_READ | syscalls.PROT_WRITE)
    area.write(b"before")
    os.close(fd)
    same(get(at(b, "k")), b"before" + bytes(2 * page - 6), "what was there at the close")
    time.sleep(0.3)  # what lives longer than that is known to be a map
    area.write(b"later!")  # to a page that is writable already: it leaves no mark
    area.unmap()
    want = b"later!" + bytes(2 * page - 6)
    wait_until(lambda: get(at(b, "k")) == want, 60, "the last store is seen")


@on_cluster()
def a_rewrite_in_place_of_an_object_held_elsewhere_works(cluster):
    _, a, b = cluster.pair()
    put(at(a, "k"), b"a" * 100_000)
    put(at(b, "k"), b"b" * 10, os.O_WRONLY)
    want = b"b" * 10 + b"a" * 99_990
    assert get(at(b, "k")) == want
    wait_until(lambda: get(at(a, "k")) == want, SEEN_WITHIN_S, "the new version is seen")


@on_cluster()
def directories_and_renames_made_here_are_seen_there(cluster):
    _, a, b = cluster.pair()
    os.makedirs(at(a, "x/y"))
    put(at(a, "x/y/k"), b"1")
    assert os.path.isdir(at(b, "x/y")) and get(at(b, "x/y/k")) == b"1"
    put(at(b, "x/y/l"), b"2")
    assert sorted(os.listdir(at(a, "x/y"))) == ["k", "l"]
    os.rename(at(a, "x"), at(a, "z"))
    wait_until(lambda: not os.path.exists(at(b, "x")), SEEN_WITHIN_S, "the old name is gone")
    assert get(at(b, "z/y/k")) == b"1" and get(at(a, "z/y/l")) == b"2"
    os.unlink(at(b, "z/y/k"))
    os.unlink(at(b, "z/y/l"))
    os.rmdir(at(b, "z/y"))
    wait_until(lambda: os.listdir(at(a, "z")) == [], SEEN_WITHIN_S, "the directory is gone")


@on_cluster()
def a_name_that_the_other_mount_moved_is_gone_here_though_its_object_is_known(cluster):
    _, a, b = cluster.pair()
    for number in range(20):
        old, new = f"old{number}", f"new{number}"
        put(at(a, old), b"x" * (number + 1))
        assert os.stat(at(b, old)).st_size == number + 1
        os.rename(at(a, old), at(a, new))
        assert os.stat(at(b, new)).st_size == number + 1
        wait_until(lambda old=old: not os.path.exists(at(b, old)), SEEN_WITHIN_S,
                   f"{old} is gone")


@on_cluster()
def a_rename_from_a_name_that_the_other_mount_moved_fails_once_that_is_heard_of(cluster):
    _, a, b = cluster.pair()
    for number in range(20):
        old, new, later = f"old{number}", f"new{number}", f"later{number}"
        put(at(a, old), b"x" * (number + 1))
        put(at(a, later), b"")
        assert os.stat(at(b, old)).st_size == number + 1
        assert os.stat(at(b, later)).st_mode & 0o777 != 0o600
        os.rename(at(a, old), at(a, new))
        os.chmod(at(a, later), 0o600)
        # What is told later is heard of later.
        wait_until(lambda later=later: os.stat(at(b, later)).st_mode & 0o777 == 0o600, 10,
                   "it is heard of")
        with fails(errno.ENOENT):
            os.rename(at(b, old), at(b, new))


@on_cluster()
def a_rename_of_a_name_that_the_other_mount_just_replaced_moves_the_new_object(cluster):
    _, a, b = cluster.pair()
    put(at(a, "k"), b"first")
    for number in range(50):
        assert get(at(b, "k"))
        put(at(a, "k.tmp"), b"x" * (number + 1))
        os.rename(at(a, "k.tmp"), at(a, "k"))
        os.rename(at(b, "k"), at(b, "moved"))
        assert len(get(at(a, "moved"))) == number + 1
        os.rename(at(a, "moved"), at(a, "k"))


@on_cluster()
def what_was_put_just_before_its_node_was_stopped_is_there_when_it_goes_on(cluster):
    master = cluster.master(**{"heartbeat-ms": 50, "ttl-ms": 500})
    a, b = cluster.node(master, "a"), cluster.node(master, "b")
    names = []

    def write():
        while len(names) < 400:
            name = f"k{len(names)}"
            put(at(a, name), b"x" * 5000)
            names.append(name)
            time.sleep(0.001)
    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: len(names) > 100, 10, "some puts")
    a.signal(signal.SIGSTOP)
    time.sleep(0.8)
    a.signal(signal.SIGCONT)
    writer.join()
    wait_until(lambda: all(os.path.exists(at(b, name)) for name in names), 5, "all are there")
    for name in names:
        assert len(get(at(b, name))) == 5000


@on_cluster()
def a_directory_filled_from_both_mounts_lists_all_on_each(cluster):
    _, a, b = cluster.pair()
    os.mkdir(at(a, "d"))

    def fill(node):
        for number in range(150):
            put(at(node, f"d/{node.name}{number}"), node.name.encode() * number)
        return True
    assert in_processes([lambda: fill(a), lambda: fill(b)]) == [True, True]
    want = sorted(f"{n}{i}" for n in "ab" for i in range(150))
    for node in (a, b):
        assert sorted(os.listdir(at(node, "d"))) == want
        for name in want[::17]:
            assert get(at(node, f"d/{name}")) == name[0].encode() * int(name[1:])


@on_cluster()
def mode_owner_times_and_attributes_set_here_are_seen_there(cluster):
    _, a, b = cluster.pair()
    put(at(a, "k"), b"x")
    os.stat(at(b, "k"))
    os.chmod(at(a, "k"), 0o640)
    os.chown(at(a, "k"), 77, 88)
    os.utime(at(a, "k"), ns=(10**18 + 1, 10**18 + 2))
    os.setxattr(at(a, "k"), "user.crc", b"1234")

    def seen():
        info = os.stat(at(b, "k"))
        return (info.st_mode & 0o777, info.st_uid, info.st_gid, info.st_mtime_ns) == \
            (0o640, 77, 88, 10**18 + 2)
    wait_until(seen, SEEN_WITHIN_S, "the attributes are seen")
    assert os.getxattr(at(b, "k"), "user.crc") == b"1234"
    assert os.stat(at(a, "k")).st_ino == os.stat(at(b, "k")).st_ino


@on_cluster(timeout_s=120)
def a_large_object_is_read_at_random_offsets_while_it_streams(cluster):
    _, a, b = cluster.pair(transport="tcp", segment="512m", stream_after="0")
    size = 150 * MIB
    data = content(5, size)
    put(at(a, "large"), data)
    begin = time.monotonic()
    fd = os.open(at(b, "large"), os.O_RDONLY)
    opened = time.monotonic() - begin
    chance = random.Random(6)
    for _ in range(60):
        offset, count = chance.randrange(size), chance.randrange(1, 300_000)
        same(os.pread(fd, count, offset), data[offset:offset + count], f"{count} at {offset}")
    same(os.pread(fd, 1000, size - 1000), data[-1000:], "its end")
    with syscalls.map_file(at(b, "large")) as area:
        same(area.read(100 * MIB, MIB), data[100 * MIB:101 * MIB], "a map of it")
    os.close(fd)
    assert hashlib.sha256(get(at(b, "large"))).digest() == hashlib.sha256(data).digest()
    assert opened < 5, f"open took {opened:.1f} s"


@on_cluster()
def what_a_stream_has_not_brought_yet_is_no_hole(cluster):
    _, a, b = cluster.pair(transport="tcp", segment="512m", timeout="60s", stream_after="0")
    size = 150 * MIB
    put(at(a, "large"), content(8, size))
    fd = os.open(at(b, "large"), os.O_RDONLY)
    a.signal(signal.SIGSTOP)
    try:
        assert os.lseek(fd, 0, os.SEEK_HOLE) == size
        assert os.lseek(fd, size - 1000, os.SEEK_DATA) == size - 1000
        with fails(errno.ENXIO):
            os.lseek(fd, size, os.SEEK_DATA)
    finally:
        a.signal(signal.SIGCONT)
    os.close(fd)


@on_cluster()
def a_large_object_passed_by_descriptor_is_whole(cluster):
    _, a, b = cluster.pair(segment="512m")
    data = content(7, 100 * MIB)
    put(at(a, "large"), data)
    with syscalls.map_file(at(b, "large")) as area:
        assert hashlib.sha256(area.read()).digest() == hashlib.sha256(data).digest()


@on_cluster()
def sixteen_threads_over_two_mounts_read_whole_versions_of_one_key(cluster):
    _, a, b = cluster.pair()
    put(at(a, "k"), bytes([0]) * 100_000)
    stop, wrong, reads = threading.Event(), [], []

    def read(node):
        while not stop.is_set():
            try:
                data = get(at(node, "k"))
            except FileNotFoundError:
                wrong.append("missing while it is only replaced")
                continue
            reads.append(1)
            if data != data[:1] * (100_000 + 10 * data[0]):
                wrong.append(f"{len(data)} bytes of versions {set(data)}")

    def write(node, first):
        for version in range(first, 100, 4):
            tmp = at(node, f"k.tmp.{version}")
            put(tmp, bytes([version]) * (100_000 + 10 * version))
            os.rename(tmp, at(node, "k"))
    readers = [threading.Thread(target=read, args=(n,)) for n in [a, b] * 6]
    writers = [threading.Thread(target=write, args=(n, i + 1)) for i, n in enumerate([a, b] * 2)]
    for thread in readers + writers:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert not wrong and reads, wrong[:3]


@on_cluster()
def what_is_rewritten_in_place_is_read_whole_and_stays_as_it_was_opened(cluster):
    _, a, b = cluster.pair()
    size, parts = 400_000, 4
    put(at(a, "first"), b"x")
    assert get(at(b, "first")) == b"x"  # from now on b takes a's files without asking
    put(at(a, "k"), bytes([0]) * size)
    stop, wrong, reads = threading.Event(), [], []

    def read():
        while not stop.is_set():
            fd = os.open(at(b, "k"), os.O_RDONLY)
            before = os.pread(fd, size + 1, 0)
            time.sleep(0.001)
            after = os.pread(fd, size + 1, 0)
            os.close(fd)
            reads.append(before[0])
            if before != before[:1] * size or before != after:
                wrong.append(f"{len(before)} bytes of {set(before)}, then {set(after)}")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for thread in readers:
        thread.start()
    for version in range(1, 120):
        fd = os.open(at(a, "k"), os.O_RDWR)
        for part in range(parts):
            os.pwrite(fd, bytes([version]) * (size // parts), part * size // parts)
        os.close(fd)
        if version % 3 == 0:
            time.sleep(0.005)
    stop.set()
    for thread in readers:
        thread.join()
    assert not wrong, wrong[:3]
    assert len(set(reads)) > 1, "no reader saw a change"
    assert b.counters()["pull_taken"] > 0
    wait_until(lambda: get(at(b, "k")) == bytes([119]) * size, 10, "the last version")


def _is(fd, data, what):
    """An open file is DATA, by its size and to its end."""
    assert os.fstat(fd).st_size == len(data), f"{what}: {os.fstat(fd).st_size} bytes by stat"
    same(os.pread(fd, 2 * len(data), 0), data, what)


def _publish_open(writer, data):
    """Publish DATA in place, in a file that stays open."""
    write_whole(writer, data, 0)
    os.ftruncate(writer, len(data))
    os.close(os.dup(writer))


def _publish_next(writer, data, other):
    """The same of another version; OTHER has heard of it then."""
    heard = other.counters()["invalidations"]
    _publish_open(writer, data)
    wait_until(lambda: other.counters()["invalidations"] > heard, SEEN_WITHIN_S, "it is heard of")


def _open_while_the_next_version_is_published(a, b, name, size):
    first, second = b"1" * 300_000, b"2" * size
    writer = os.open(at(a, name), os.O_CREAT | os.O_RDWR, 0o644)
    _publish_open(writer, first)  # what is open for writing is rewritten whoever reads it
    opened = os.open(at(b, name), os.O_RDONLY)
    _is(opened, first, "the first version")
    _publish_next(writer, second, b)
    assert os.stat(at(b, name)).st_size == len(first)
    again = os.open(at(b, name), os.O_RDONLY)
    _is(again, first, "what is open, when it is opened again")
    time.sleep(0.6)  # by then a copy that was replaced is gone, if nobody had it open
    _is(opened, first, "what is open")
    os.close(again)
    again = os.open(at(b, name), os.O_RDONLY)
    _is(again, first, "what is open, when it is opened later")
    os.close(opened)
    os.close(again)
    wait_until(lambda: get(at(b, name)) == second, SEEN_WITHIN_S, "the second version")
    os.close(writer)
    same(get(at(b, name)), second, "the second version, at rest")


@on_cluster(variants="all")
def what_is_open_stays_one_version_and_the_last_follows_its_close(cluster):
    _, a, b = cluster.pair()
    for size in (300_000, 400_000, 100_000):
        _open_while_the_next_version_is_published(a, b, f"k{size}", size)


@on_cluster(variants="all")
def a_copy_that_is_open_stays_one_version_and_the_last_follows_its_close(cluster):
    _, a, b = cluster.pair(transport="tcp")
    for size in (300_000, 400_000, 100_000):
        _open_while_the_next_version_is_published(a, b, f"k{size}", size)


@on_cluster(variants="all")
def what_is_written_beside_a_reader_of_the_version_before_is_published(cluster):
    _, a, b = cluster.pair(transport="tcp")
    writer = os.open(at(a, "k"), os.O_CREAT | os.O_RDWR, 0o644)
    _publish_open(writer, b"1" * 10_000)
    opened = os.open(at(b, "k"), os.O_RDONLY)
    _is(opened, b"1" * 10_000, "the first version")
    _publish_next(writer, b"2" * 10_000, b)
    os.close(writer)
    put(at(b, "k"), b"3" * 10_000, os.O_WRONLY)
    same(get(at(b, "k")), b"3" * 10_000, "where it was written")
    wait_until(lambda: get(at(a, "k")) == b"3" * 10_000, SEEN_WITHIN_S, "the third version")
    os.close(opened)
    same(get(at(b, "k")), b"3" * 10_000, "when its reader is gone")


@on_cluster()
def fallen_metadata_caching_shows_changes_at_once(cluster):
    master = cluster.master()
    a = cluster.node(master, "a")
    b = cluster.node(master, "b", environment={"MC_DISABLE_METACACHE": "1"})
    for number in range(20):
        put(at(a, "k"), b"%d" % number)
        assert get(at(b, "k")) == b"%d" % number
        os.unlink(at(a, "k"))
        assert not os.path.exists(at(b, "k"))


@on_cluster()
def every_close_of_a_file_that_could_not_be_published_says_so(cluster):
    master = cluster.master()
    a, b = cluster.node(master, "a"), cluster.node(master, "b", immutable="on")
    fd = os.open(at(b, "k"), os.O_CREAT | os.O_WRONLY, 0o644)
    put(at(a, "k"), b"first")
    # A child that a fork left with the file closes it before its writer has written.
    with fails(errno.EEXIST):
        os.close(os.dup(fd))
    os.write(fd, b"second")
    with fails(errno.EEXIST):
        os.close(fd)
    assert get(at(b, "k")) == b"first"


@on_cluster()
def a_close_waits_for_the_publish_that_another_close_began(cluster):
    master = cluster.master()
    node = cluster.node(master, timeout="1500ms")
    fd = os.open(at(node, "k"), os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(fd, b"x")
    other = os.dup(fd)
    failed = []

    def close_other():
        with fails(errno.ETIMEDOUT, errno.EROFS):
            os.close(other)
        failed.append(other)
    master.signal(signal.SIGSTOP)
    closer = threading.Thread(target=close_other)
    closer.start()
    time.sleep(0.3)
    with fails(errno.ETIMEDOUT, errno.EROFS):
        os.close(fd)
    closer.join()
    assert failed
    master.signal(signal.SIGCONT)


@on_cluster(variants="one")
def an_immutable_mount_refuses_a_second_put_of_a_key(cluster):
    node = cluster.node(cluster.master(), immutable="on")
    put(at(node, "k"), b"first")
    with fails(errno.EEXIST):
        put(at(node, "k"), b"second")
    with fails(errno.EEXIST):
        put(at(node, "k"), b"second", os.O_CREAT | os.O_WRONLY)
    assert get(at(node, "k")) == b"first"
    put(at(node, "k.tmp"), b"third")
    os.rename(at(node, "k.tmp"), at(node, "k"))
    assert get(at(node, "k")) == b"first" and os.listdir(node.path) == ["k"]
    os.unlink(at(node, "k"))
    put(at(node, "k"), b"again")
    assert get(at(node, "k")) == b"again"
