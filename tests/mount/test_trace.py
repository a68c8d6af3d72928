"""Requests of an inference service, replayed as block objects."""

import errno
import json
import os

import syscalls
from suite import content, get, on_cluster, on_mount, put, same

BLOCK_BYTES = 65_536
BLOCKS_MAX = 1500        # of different content: what a node of the tests can hold


def requests(path):
    """The requests, as lists of blocks, up to so many different blocks."""
    chosen, known = [], set()
    with open(path) as source:
        for line in source:
            ids = json.loads(line)["hash_ids"]
            known.update(ids)
            if len(known) > BLOCKS_MAX:
                break
            chosen.append(ids)
    return chosen


def replay(path, directories):
    """Get until the first miss, then put the rest; return (hits, puts)."""
    hits = puts = 0
    for number, ids in enumerate(requests(path)):
        directory = directories[number % len(directories)]
        missed = False
        for block in ids:
            name = os.path.join(directory, f"{block:016x}.bin")
            if not missed:
                try:
                    same(load(name, block), content(block, BLOCK_BYTES), name)
                    hits += 1
                    continue
                except OSError as error:
                    assert error.errno == errno.ENOENT, error
                    missed = True
            store(name, block, number)
            puts += 1
    return hits, puts


def load(name, block):
    if block % 2:
        with syscalls.map_file(name) as area:
            return area.read()
    return get(name)


def store(name, block, writer):
    tmp = f"{name}.tmp.{writer}"
    put(tmp, content(block, BLOCK_BYTES), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.replace(tmp, name)


def expected(path):
    """The hits of a cache that never forgets."""
    known, hits, puts = set(), 0, 0
    for ids in requests(path):
        missed = False
        for block in ids:
            if not missed and block in known:
                hits += 1
                continue
            missed = True
            known.add(block)
            puts += 1
    return hits, puts


@on_mount(timeout_s=120)
def a_replayed_trace_hits_exactly_what_was_put_before(place):
    assert replay(place.trace, [place.directory]) == expected(place.trace)


@on_cluster(timeout_s=120)
def a_trace_replayed_over_two_mounts_in_turn_hits_the_same(cluster):
    _, a, b = cluster.pair(segment="512m")
    hits_and_puts = replay(cluster.trace, [a.path, b.path])
    assert hits_and_puts == expected(cluster.trace)


@on_cluster(timeout_s=120)
def a_trace_beyond_the_capacity_never_fails(cluster):
    node = cluster.node(cluster.master(), segment="16m")
    hits, puts = replay(cluster.trace, [node.path])
    want_hits, want_puts = expected(cluster.trace)
    assert hits + puts == want_hits + want_puts and hits <= want_hits
