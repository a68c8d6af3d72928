"""The pool: eviction, pins, and what happens when it is full."""

import errno
import os
import threading

import syscalls
from cluster import wait_until
from suite import content, fails, get, on_cluster, put, same, write_whole

MIB = 1 << 20
OBJECT = 2 * MIB


def at(node, name):
    return os.path.join(node.path, name)


def small(cluster, **options):
    return cluster.node(cluster.master(), segment="64m", **options)


def evicted(node):
    counters = node.counters()
    return counters.get("evictions", counters.get("evicted", 0))


@on_cluster(variants="all")
def puts_go_on_beyond_the_capacity_and_what_is_left_is_whole(cluster):
    node = small(cluster)
    for number in range(100):
        put(at(node, f"k{number:03}"), bytes([number]) * OBJECT)
        same(get(at(node, f"k{number:03}")), bytes([number]) * OBJECT, "right after its put")
    left = sorted(os.listdir(node.path))
    assert 8 <= len(left) <= 32, f"{len(left)} objects of 2 MiB in 64 MiB"
    whole = 0
    for name in left:
        try:
            same(get(at(node, name)), bytes([int(name[1:])]) * OBJECT, name)
            whole += 1
        except FileNotFoundError:
            continue
    assert whole >= 8
    assert evicted(node) >= 60
    space = os.statvfs(node.path)
    assert 0 <= space.f_bavail <= space.f_blocks


@on_cluster(variants="all")
def an_object_mapped_or_open_keeps_its_bytes_through_eviction(cluster):
    node = small(cluster)
    data = content(1, 4 * MIB)
    put(at(node, "mapped"), data)
    put(at(node, "open"), data)
    area = syscalls.map_file(at(node, "mapped"))
    fd = os.open(at(node, "open"), os.O_RDONLY)
    for number in range(80):
        put(at(node, f"k{number}"), bytes([number]) * OBJECT)
    same(area.read(), data, "the map")
    same(os.pread(fd, 4 * MIB, 0), data, "the open object")
    area.unmap()
    os.close(fd)


@on_cluster()
def a_pinned_object_stays(cluster):
    node = small(cluster)
    put(at(node, "pinned"), content(2, 4 * MIB))
    os.setxattr(at(node, "pinned"), "user.mooncake.pinned", b"1")
    for number in range(80):
        put(at(node, f"k{number}"), bytes([number]) * OBJECT)
    same(get(at(node, "pinned")), content(2, 4 * MIB))


@on_cluster()
def an_object_used_all_the_time_outlasts_those_that_are_not(cluster):
    node = small(cluster)
    put(at(node, "hot"), content(3, OBJECT))
    for number in range(60):
        put(at(node, f"k{number}"), bytes([number]) * OBJECT)
        same(get(at(node, "hot")), content(3, OBJECT), f"after {number + 1} puts")


@on_cluster()
def what_was_evicted_is_missing_and_can_be_put_again(cluster):
    node = small(cluster)
    for number in range(60):
        put(at(node, f"k{number}"), bytes([number]) * OBJECT)
    gone = [n for n in range(60) if not os.path.exists(at(node, f"k{n}"))]
    assert gone
    with fails(errno.ENOENT):
        os.open(at(node, f"k{gone[0]}"), os.O_RDONLY)
    put(at(node, f"k{gone[0]}"), b"again")
    assert get(at(node, f"k{gone[0]}")) == b"again"


@on_cluster(variants="all")
def a_pool_full_of_open_objects_says_enospc_and_never_writes_short(cluster):
    node = small(cluster)
    held = []
    failure = None
    for number in range(64):
        try:
            put(at(node, f"k{number}"), bytes([number]) * OBJECT)
            held.append(os.open(at(node, f"k{number}"), os.O_RDONLY))
        except OSError as error:
            failure = (number, error.errno)
            break
    assert failure and failure[1] == errno.ENOSPC, failure
    assert len(held) >= 16, f"full with {len(held)} objects of 2 MiB in 64 MiB"
    assert not os.path.exists(at(node, f"k{failure[0]}")), "a failed put left a name"
    for number, fd in enumerate(held):
        same(os.pread(fd, OBJECT, 0), bytes([number]) * OBJECT, f"k{number}")
        os.close(fd)
    wait_until(lambda: _fits(node), 10, "there is room once they are closed")


def _fits(node):
    try:
        put(at(node, "fits"), b"f" * OBJECT)
        return True
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
        return False


@on_cluster(variants="all")
def an_object_larger_than_the_pool_is_refused_whole(cluster):
    node = small(cluster)
    put(at(node, "small"), b"stays or is evicted")
    fd = os.open(at(node, "large"), os.O_CREAT | os.O_WRONLY, 0o644)
    part = syscalls.aligned(b"x" * (8 * MIB))
    assert refusal(fd, [part] * 16) == errno.ENOSPC
    assert not os.path.exists(at(node, "large"))
    put(at(node, "after"), b"the node goes on")
    assert get(at(node, "after")) == b"the node goes on"


@on_cluster(variants="all")
def one_write_larger_than_the_pool_is_refused_whole(cluster):
    node = small(cluster)
    fd = os.open(at(node, "large"), os.O_CREAT | os.O_WRONLY, 0o644)
    assert refusal(fd, [syscalls.aligned_room(96 * MIB)]) == errno.ENOSPC
    assert not os.path.exists(at(node, "large"))


def refusal(fd, parts):
    """The errno that writing PARTS and closing ends with, None when it goes well.

    A kernel that writes into the pool without asking may fill it to the brim
    and take part of the last write: then close must say so.
    """
    refused = None
    try:
        for part in parts:
            if os.write(fd, part) != len(part):
                break
    except OSError as error:
        refused = error.errno
    try:
        os.close(fd)
    except OSError as error:
        refused = refused or error.errno
    return refused


@on_cluster()
def a_pool_full_of_pinned_objects_says_enospc(cluster):
    node = small(cluster)
    pinned, refused = [], None
    for number in range(64):
        try:
            put(at(node, f"k{number}"), bytes([number]) * OBJECT)
            os.setxattr(at(node, f"k{number}"), "user.mooncake.pinned", b"1")
            pinned.append(number)
        except OSError as error:
            refused = error.errno
            break
    assert refused == errno.ENOSPC and len(pinned) >= 16, (refused, len(pinned))
    for number in pinned:
        same(get(at(node, f"k{number}")), bytes([number]) * OBJECT)
    os.setxattr(at(node, "k0"), "user.mooncake.pinned", b"0")
    os.setxattr(at(node, "k1"), "user.mooncake.pinned", b"0")
    os.setxattr(at(node, "k2"), "user.mooncake.pinned", b"0")
    wait_until(lambda: _fits(node), 10, "there is room once some are unpinned")


@on_cluster()
def four_writers_at_the_edge_of_the_pool_never_write_short(cluster):
    node = small(cluster)
    wrong = []

    def write(thread):
        for number in range(25):
            try:
                put(at(node, f"t{thread}-{number}"), bytes([thread]) * OBJECT)
            except (OSError, AssertionError) as error:
                wrong.append(repr(error))
    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]


@on_cluster()
def a_pulled_copy_goes_before_what_was_put_here(cluster):
    master = cluster.master()
    a = cluster.node(master, "a", segment="256m", transport="tcp")
    b = cluster.node(master, "b", segment="64m", transport="tcp")
    for number in range(6):
        put(at(b, f"own{number}"), bytes([number]) * OBJECT)
    for number in range(60):
        put(at(a, f"far{number}"), bytes([number]) * OBJECT)
        same(get(at(b, f"far{number}")), bytes([number]) * OBJECT)
    for number in range(6):
        same(get(at(b, f"own{number}")), bytes([number]) * OBJECT, "its own object")
    for number in range(0, 60, 7):
        same(get(at(b, f"far{number}")), bytes([number]) * OBJECT, "a copy pulled again")


@on_cluster()
def sparse_objects_count_by_blocks_and_evict_nothing(cluster):
    node = small(cluster)
    put(at(node, "kept"), content(4, MIB))
    for number in range(20):
        fd = os.open(at(node, f"sparse{number}"), os.O_CREAT | os.O_WRONLY, 0o644)
        os.ftruncate(fd, 1 << 40)
        write_whole(fd, b"!", 1 << 39)
        os.close(fd)
    same(get(at(node, "kept")), content(4, MIB))
    assert len(os.listdir(node.path)) == 21 and evicted(node) == 0


@on_cluster()
def removed_room_is_used_again(cluster):
    node = small(cluster)
    for number in range(100):
        put(at(node, "k"), bytes([number]) * (8 * MIB))
        os.unlink(at(node, "k"))
    assert evicted(node) == 0, "it evicts though everything was removed"
