"""Crashes and restarts of nodes and masters."""

import errno
import os
import signal
import threading
import time

import syscalls
from cluster import mounted, wait_until
from suite import content, fails, get, on_cluster, put, same, write_whole

MIB = 1 << 20
# Writing without a master: refused, or the deadline of the step is told.
NO_MASTER = (errno.EROFS, errno.ETIMEDOUT, errno.EHOSTUNREACH)
DEAD = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.ENODEV, errno.ECANCELED)


def at(node, name):
    return os.path.join(node.path, name)


def fill(node, count=12):
    """Objects of several kinds; returns what to expect of them."""
    os.makedirs(at(node, "d/sub"))
    want = {}
    for number in range(count):
        name = f"d/sub/k{number}" if number % 2 else f"k{number}"
        data = content(number, number * 40_000)
        put(at(node, name), data, mode=0o600 + number)
        want[name] = data
    os.setxattr(at(node, "k0"), "user.note", b"kept")
    os.utime(at(node, "k2"), ns=(10**18, 10**18 + 7))
    return want


def state(node, want):
    """What stat says of every object, times of access left out."""
    info = {name: os.stat(at(node, name)) for name in want}
    return {name: (i.st_ino, i.st_size, i.st_mode, i.st_uid, i.st_mtime_ns)
            for name, i in info.items()}


def check(node, want, before=None):
    for name, data in want.items():
        same(get(at(node, name)), data, name)
    assert os.getxattr(at(node, "k0"), "user.note") == b"kept"
    if before:
        assert state(node, want) == before


@on_cluster(variants="all")
def a_node_stopped_and_started_has_all_its_objects(cluster):
    master = cluster.master()
    node = cluster.node(master)
    want = fill(node)
    before = state(node, want)
    assert node.stop() == 0
    assert not mounted(node.path)
    node = cluster.again(node)
    check(node, want, before)
    put(at(node, "new"), b"works")
    assert get(at(node, "new")) == b"works"


@on_cluster(variants="all")
def a_node_killed_and_started_has_all_it_had_published(cluster):
    node = cluster.node(cluster.master())
    want = fill(node)
    before = state(node, want)
    node.kill()
    with fails(*DEAD):
        os.listdir(node.path)
    node = cluster.again(node)
    check(node, want, before)


@on_cluster()
def a_node_with_the_master_inside_keeps_all_over_a_restart(cluster):
    node = cluster.node()
    want = fill(node)
    before = state(node, want)
    assert node.stop() == 0
    node = cluster.again(node)
    check(node, want, before)
    node.kill()
    node = cluster.again(node)
    check(node, want, before)


@on_cluster(variants="all")
def a_node_killed_amid_a_put_publishes_nothing_of_it(cluster):
    node = cluster.node(cluster.master())
    put(at(node, "whole"), b"published")
    direct = os.open(at(node, "direct"), os.O_CREAT | os.O_WRONLY, 0o644)
    write_whole(direct, b"h" * MIB)
    staging = os.open(at(node, "s.tmp"), os.O_CREAT | os.O_WRONLY, 0o644)
    write_whole(staging, b"h" * MIB)
    node.kill()
    with fails(*DEAD):
        os.close(direct)
    with fails(*DEAD):
        os.rename(at(node, "s.tmp"), at(node, "s"))
    with fails(*DEAD):
        os.close(staging)  # until then the kernel keeps the file that it writes to
    node = cluster.again(node)
    assert os.listdir(node.path) == ["whole"] and get(at(node, "whole")) == b"published"
    space = os.statvfs(node.path)
    assert (space.f_blocks - space.f_bfree) * space.f_frsize < MIB, "the draft still takes room"


@on_cluster()
def a_node_killed_while_many_write_keeps_exactly_what_was_closed(cluster):
    node = cluster.node(cluster.master())
    closed, begun = [], []

    def write(thread):
        try:
            for number in range(10_000):
                name = f"t{thread}-{number}"
                begun.append(name)
                put(at(node, name), name.encode() * 500)
                closed.append(name)
        except OSError:
            pass
    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(closed) > 100, 20, "a hundred puts are done")
    node.kill()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "a writer hangs after the kill"
    node = cluster.again(node)
    found = set(os.listdir(node.path))
    assert set(closed) <= found, f"lost: {sorted(set(closed) - found)[:5]}"
    assert found <= set(begun)
    for name in found:
        assert get(at(node, name)) == name.encode() * 500, name


@on_cluster(variants="all")
def a_reader_at_the_time_of_a_kill_gets_true_bytes_or_an_error(cluster):
    node = cluster.node(cluster.master())
    data = content(1, 4 * MIB)
    put(at(node, "k"), data)
    outcomes, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            try:
                same(get(at(node, "k")), data)
                outcomes.append("whole")
            except OSError as error:
                outcomes.append(error.errno)
                return
            except AssertionError as wrong:
                outcomes.append(str(wrong))
                return
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(outcomes) > 10, 20, "reads are going on")
    node.kill()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive(), "a reader hangs after the kill"
    stop.set()
    assert set(outcomes) <= {"whole", *DEAD}, set(outcomes)
    same(get(at(cluster.again(node), "k")), data)


@on_cluster()
def a_map_touched_before_a_kill_keeps_its_bytes(cluster):
    node = cluster.node(cluster.master())
    data = content(2, 2 * MIB)
    put(at(node, "k"), data)
    area = syscalls.map_file(at(node, "k"))
    same(area.read(), data)
    node.kill()
    same(area.read(), data, "after the kill")
    node = cluster.again(node)
    same(area.read(), data, "after the restart")
    area.unmap()


def _read_on(fd, size, offset):
    """Read SIZE bytes; the kernel gives what came before an error first, then the error."""
    got = b""
    while len(got) < size:
        part = os.pread(fd, size - len(got), offset + len(got))
        assert part, f"nothing at {offset + len(got)}"
        got += part
    return got


def _orphaned_amid_a_get(cluster):
    """The node that gets, what it gets, and its descriptor; the owner has just been killed."""
    master = cluster.master()
    a = cluster.node(master, "a", transport="tcp", segment="512m")
    b = cluster.node(master, "b", transport="tcp", segment="512m")
    data = content(3, 120 * MIB)
    put(at(a, "large"), data)
    fd = os.open(at(b, "large"), os.O_RDONLY)
    a.kill()
    return b, data, fd


@on_cluster()
def a_puller_survives_the_death_of_the_owner_amid_a_get(cluster):
    b, data, fd = _orphaned_amid_a_get(cluster)
    begin = time.monotonic()
    for offset in range(0, 120 * MIB, 10 * MIB):
        try:
            same(_read_on(fd, MIB, offset), data[offset:offset + MIB], f"at {offset}")
        except OSError as error:
            assert error.errno in (errno.EIO, errno.ETIMEDOUT, errno.ENOENT), error
            break
    assert time.monotonic() - begin < 30, "a read hangs without its owner"
    os.close(fd)
    put(at(b, "other"), b"b goes on")
    assert get(at(b, "other")) == b"b goes on"


@on_cluster()
def what_is_copied_of_an_object_that_lost_its_owner_amid_a_get_is_true(cluster):
    b, data, fd = _orphaned_amid_a_get(cluster)
    try:
        os.pread(fd, MIB, 119 * MIB)  # until it is here, or its owner is given up
    except OSError as error:
        assert error.errno in (errno.EIO, errno.ETIMEDOUT), error
    target = os.open(at(b, "copy.tmp"), os.O_CREAT | os.O_RDWR, 0o644)
    for offset in range(0, 120 * MIB, 10 * MIB):
        try:
            copied = os.copy_file_range(fd, target, MIB, offset, 0)
        except OSError as error:
            assert error.errno == errno.EIO, error
            break
        same(os.pread(target, copied, 0), data[offset:offset + copied], f"at {offset}")
    os.close(fd)
    os.close(target)


@on_cluster()
def a_killed_master_comes_back_with_its_journal(cluster):
    master, a, b = cluster.pair()
    want = fill(a)
    before = state(b, want)
    fd = os.open(at(a, "k4"), os.O_RDONLY)
    master.kill()
    same(os.pread(fd, MIB, 0), want["k4"], "an open object without a master")
    os.close(fd)
    master = cluster.again(master)
    wait_until(lambda: _works(a) and _works(b), 20, "both nodes are back")
    check(a, want, before)
    check(b, want, before)
    put(at(b, "after"), b"1")
    assert get(at(a, "after")) == b"1"


def _works(node):
    try:
        put(at(node, f"probe-{node.name}"), b"x")
        os.unlink(at(node, f"probe-{node.name}"))
        return True
    except OSError:
        return False


@on_cluster()
def a_put_without_a_master_fails_in_time_and_is_never_seen(cluster):
    master, a, b = cluster.pair()
    put(at(a, "old"), b"old")
    master.kill()
    begin = time.monotonic()
    with fails(*NO_MASTER):
        put(at(a, "lost"), b"x")
    assert time.monotonic() - begin < 30
    cluster.again(master)
    wait_until(lambda: _works(a) and _works(b), 20, "both nodes are back")
    for node in (a, b):
        assert os.listdir(node.path) == ["old"]


@on_cluster()
def a_local_object_is_read_while_there_is_no_master(cluster):
    master = cluster.master()
    node = cluster.node(master)
    data = content(4, MIB)
    put(at(node, "k"), data)
    same(get(at(node, "k")), data)
    master.kill()
    same(get(at(node, "k")), data, "known and local")


@on_cluster()
def a_master_that_lost_its_journal_learns_from_what_nodes_announce(cluster):
    master, a, b = cluster.pair()
    want = fill(a)
    master.kill()
    os.unlink(master.journal.split(":", 1)[1])
    cluster.again(master)
    wait_until(lambda: _works(a) and _works(b), 20, "both nodes are back")
    for name, data in want.items():
        wait_until(lambda: os.path.exists(at(b, name)), 10, f"{name} is announced")
        same(get(at(b, name)), data, name)


@on_cluster()
def a_removal_while_a_node_is_down_is_not_undone_by_its_return(cluster):
    _, a, b = cluster.pair()
    put(at(a, "k"), b"x" * 1000)
    put(at(a, "l"), b"y" * 1000)
    os.stat(at(b, "k"))
    a.kill()
    os.unlink(at(b, "k"))
    a = cluster.again(a)
    for node in (a, b):
        assert os.listdir(node.path) == ["l"], node.name
        assert get(at(node, "l")) == b"y" * 1000


@on_cluster(slow=True)
def a_lost_nodes_objects_are_missing_until_it_returns(cluster):
    _, a, b = cluster.pair(transport="tcp")  # b has a copy, not the loan of a file
    put(at(a, "only-a"), content(5, 50_000))
    put(at(a, "both"), content(6, 50_000))
    same(get(at(b, "both")), content(6, 50_000))
    a.kill()
    same(get(at(b, "both")), content(6, 50_000), "the copy on b")

    def missing():
        try:
            get(at(b, "only-a"))
        except OSError as error:
            return error.errno == errno.ENOENT
        return False
    wait_until(missing, 25, "the object of the lost node is ENOENT")
    same(get(at(b, "both")), content(6, 50_000), "the copy on b")
    a = cluster.again(a)
    wait_until(lambda: os.path.exists(at(b, "only-a")), 10, "it is back")
    same(get(at(b, "only-a")), content(5, 50_000))


@on_cluster()
def a_node_restarted_while_the_other_reads_serves_it_again(cluster):
    _, a, b = cluster.pair(transport="tcp")
    for number in range(10):
        put(at(a, f"k{number}"), content(number, 100_000))
    same(get(at(b, "k0")), content(0, 100_000))
    a.stop()
    a = cluster.again(a)
    for number in range(10):
        same(get(at(b, f"k{number}")), content(number, 100_000))


@on_cluster(variants="one")
def ten_restarts_in_a_row_lose_nothing(cluster):
    node = cluster.node(cluster.master())
    want = fill(node)
    for turn in range(10):
        if turn % 2:
            node.kill()
        else:
            node.signal(signal.SIGTERM)
            node.wait()
        node = cluster.again(node)
        put(at(node, f"turn{turn}"), b"%d" % turn)
    check(node, want)
    assert all(get(at(node, f"turn{turn}")) == b"%d" % turn for turn in range(10))
