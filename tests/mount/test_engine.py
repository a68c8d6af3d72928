"""Mounts whose objects come by the engine's one-sided reads.

Over TCP here; the transport that RDMA has is the same but for its fabric.
"""

import os
import time

import syscalls
from suite import content, get, in_processes, on_cluster, put, same, tool

MIB = 1 << 20


def at(node, name):
    return os.path.join(node.path, name)


@on_cluster(variants="ends")
def objects_of_every_size_come_one_sided(cluster):
    _, a, b = cluster.pair(transport="engine-tcp", segment="512m")
    sizes = (0, 1, 4095, 100_001, 4 * MIB, 4 * MIB + 1, 20 * MIB + 7)
    for number, size in enumerate(sizes):
        data = content(number, size)
        put(at(a, f"k{number}"), data)
        same(get(at(b, f"k{number}")), data, f"{size} bytes by read")
        if size:
            with syscalls.map_file(at(b, f"k{number}")) as area:
                same(area.read(), data, f"{size} bytes by map")
    assert b.counters()["pull_other"] == len(sizes)
    assert b.counters()["pull_failures"] == 0


@on_cluster(variants="one")
def an_object_with_a_hole_comes_too(cluster):
    _, a, b = cluster.pair(transport="engine-tcp")
    with open(at(a, "sparse"), "wb") as file:
        file.write(b"head")
        file.seek(5 * MIB)
        file.write(b"tail")
    data = b"head" + bytes(5 * MIB - 4) + b"tail"
    same(get(at(b, "sparse")), data, "with its hole")


@on_cluster(variants="one")
def a_large_object_is_read_while_it_arrives(cluster):
    _, a, b = cluster.pair(transport="engine-tcp", segment="512m", stream_after="0")
    data = content(3, 100 * MIB)
    put(at(a, "large"), data)
    with open(at(b, "large"), "rb") as file:
        file.seek(99 * MIB)
        same(file.read(1000), data[99 * MIB:99 * MIB + 1000], "its end")
        file.seek(0)
        same(file.read(), data, "all of it")


@on_cluster(variants="one")
def many_readers_at_once_get_their_objects(cluster):
    _, a, b = cluster.pair(transport="engine-tcp", segment="512m")
    data = [content(number, 300_000 + number) for number in range(64)]
    for number, one in enumerate(data):
        put(at(a, f"m{number}"), one)

    def reader(first):
        def read_all():
            for number in range(64):
                number = (number + first) % 64
                same(get(at(b, f"m{number}")), data[number], f"object {number}")
        return read_all

    in_processes([reader(index * 8) for index in range(8)])


@on_cluster(variants="one")
def an_owner_that_dies_fails_the_get_and_nothing_hangs(cluster):
    _, a, b = cluster.pair(transport="engine-tcp", segment="512m")
    put(at(a, "first"), content(1, MIB))
    put(at(a, "second"), content(2, MIB))
    same(get(at(b, "first")), content(1, MIB), "before")
    a.kill()
    try:
        get(at(b, "second"))
        raise AssertionError("read from a dead node")
    except OSError:
        pass
    same(get(at(b, "first")), content(1, MIB), "the copy")


@on_cluster(variants="one")
def status_says_how_each_peer_is_reached(cluster):
    master, a, b = cluster.pair(transport="engine-tcp")
    put(at(a, "k"), b"x")
    get(at(b, "k"))
    said = tool([cluster.programs.path("mooncake"), "status", "--mount", b.path])
    assert "engine-tcp (by option transport=)" in str(said), said


def shown(node):
    """How many objects it has registered before anybody asked."""
    return node.counters()["engine-tcp_shown"]


def until(true):
    deadline = time.monotonic() + 50
    while not true():
        assert time.monotonic() < deadline, "never came true"
        time.sleep(0.02)


@on_cluster(variants="one")
def what_is_registered_ahead_is_what_a_peer_gets(cluster):
    _, a, b = cluster.pair(transport="engine-tcp", segment="512m")
    data = content(1, 9 * MIB)
    put(at(a, "k"), data)
    until(lambda: shown(a) == 1)
    same(get(at(b, "k")), data, "the bytes")
    assert a.counters()["engine-tcp_pulls_shown"] == 1
    # A copy may be served on.
    until(lambda: shown(b) == 1)
    # Nobody used it for that: what was shown goes like the rest when room is short.
    assert a.counters()["engine-tcp_holds"] <= 1


@on_cluster(variants="one")
def what_is_registered_ahead_goes_with_the_object_and_with_its_bytes(cluster):
    _, a, b = cluster.pair(transport="engine-tcp", segment="512m")
    size = 5 * MIB
    for number in range(8):
        name, before, after = f"k{number}", content(number, size), content(100 + number, size)
        put(at(a, name), before)
        until(lambda: shown(a) == 1)
        # b never had it and looks its name up now: there is no older copy to believe in.
        if number % 2 == 0:
            with open(at(a, name), "r+b", buffering=0) as file:
                assert shown(a) == 0, "while it may be written"
                file.write(after)
        else:
            put(at(a, name + ".tmp"), after)
            os.rename(at(a, name + ".tmp"), at(a, name))
        if number % 4 >= 2:
            until(lambda: shown(a) == 1)
        same(get(at(b, name)), after, f"object {number}")
        # b's copy goes by a message, and until then it may be read, whole.
        with open(at(a, name), "r+b", buffering=0) as file:
            file.write(before)
        until(lambda: get(at(b, name)) in (before, after) and get(at(b, name)) == before)
        os.unlink(at(a, name))
        until(lambda: shown(a) == 0)
    assert b.counters()["engine-tcp_checksum_errors"] == 0
    assert a.counters()["pull_failures"] == b.counters()["pull_failures"] == 0


@on_cluster(variants="one")
def what_is_registered_ahead_is_no_obstacle_to_eviction(cluster):
    _, a, b = cluster.pair(transport="engine-tcp", segment="64m")
    for number in range(40):
        put(at(a, f"k{number}"), content(number, 4 * MIB))
        if number % 8 == 7:
            until(lambda: shown(a) > 0)
    told = a.counters()
    assert told["evictions"] > 0 and told["no_space"] == 0, told
    same(get(at(b, "k39")), content(39, 4 * MIB), "the last")


@on_cluster(variants="one")
def nothing_is_registered_ahead_where_that_is_not_wanted(cluster):
    _, a, b = cluster.pair(transport="engine-tcp", register_ahead="0")
    put(at(a, "k"), content(1, MIB))
    time.sleep(0.5)
    same(get(at(b, "k")), content(1, MIB), "the bytes")
    assert shown(a) == 0 and a.counters()["engine-tcp_pulls_shown"] == 0
