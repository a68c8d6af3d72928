"""An etcd that is full, slow, or set back to an old snapshot, under masters and nodes that run."""

import json
import os
import threading
import time

from cluster import wait_until
from etcd import CONTROL, PROGRAM, Etcd, Relay
from leading import HANG_S, PREFIX, check_many, masters_of, put_many, time_until_works, works
from suite import get, on_cluster, put

NEEDS = (PROGRAM, CONTROL)
QUICK = {"lease-ms": "2000"}
SYNC = {**QUICK, "journal-ack": "sync"}
# Of restored(): 3 times 30 and 3 times 10 objects, and a directory.
OBJECTS = 121


def restored(cluster, acks, meanwhile=lambda etcd, masters: None):
    """Objects of before the snapshot and after it; etcd goes back to the snapshot."""
    etcd = Etcd(cluster)
    masters = masters_of(cluster, etcd, 1, **{**QUICK, "journal-ack": acks})
    nodes = a, b = [cluster.node(etcd.journal, name) for name in "ab"]
    put_many(a, 30, "before")
    put_many(b, 30, "gone")
    put_many(a, 10, "replaced")
    put_many(a, 10, "changed")
    put_many(b, 10, "old")
    etcd.save(cluster.path("snapshot"))
    put_many(a, 30, "after")
    os.mkdir(os.path.join(b.path, "deep"))
    put_many(b, 30, "deep/after")
    for number in range(30):
        os.unlink(os.path.join(a.path, f"gone{number}"))
    for number in range(10):
        staging = os.path.join(a.path, "x.tmp")
        put(staging, b"another %d" % number)
        os.rename(staging, os.path.join(a.path, f"replaced{number}"))
        with open(os.path.join(a.path, f"changed{number}"), "r+b") as file:
            file.write(b"CHANGED")
        os.rename(os.path.join(b.path, f"old{number}"), os.path.join(b.path, f"new{number}"))
    etcd.kill()
    meanwhile(etcd, masters)
    etcd.restore(cluster.path("snapshot"))
    etcd.start(0)
    etcd.wait()
    masters = [master if master.alive() else cluster.again(master) for master in masters]
    time_until_works(a)

    def complete():
        for node in nodes:
            check_many(node, 30, "before")
            check_many(node, 30, "after")
            check_many(node, 30, "deep/after")
            for number in range(10):
                assert get(os.path.join(node.path, f"replaced{number}")) == b"another %d" % number
                assert get(os.path.join(node.path, f"changed{number}")) == b"CHANGED %d" % number
            names = os.listdir(node.path)
            assert not [name for name in names if name.startswith("gone")], names
            for number in range(10):    # a rename may be undone, and no more than that
                found = {f"old{number}", f"new{number}"} & set(names)
                assert len(found) == 1, (number, found)
                assert get(os.path.join(node.path, *found)) == b"old %d" % number
        return True

    def quietly():
        try:
            return complete()
        except (OSError, AssertionError) as error:
            quietly.last = error
            return False
    quietly.last = None
    try:
        wait_until(quietly, HANG_S / 2, "all is back")
    except AssertionError:
        raise quietly.last from None
    wait_until(lambda: len(etcd.keys(PREFIX + "objects/")) >= OBJECTS, HANG_S, "all is recorded")
    # And it stays so under a leader that has only the records.
    masters[0].kill()
    cluster.again(masters[0])
    time_until_works(a)
    wait_until(quietly, HANG_S / 2, "all is there again")


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def an_etcd_set_back_to_an_old_snapshot_loses_nothing_that_nodes_hold(cluster):
    restored(cluster, "sync")


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def the_same_with_answers_that_do_not_wait_for_etcd(cluster):
    restored(cluster, "async")


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def an_etcd_set_back_while_no_master_runs_loses_nothing_either(cluster):
    restored(cluster, "sync", lambda etcd, masters: [master.kill() for master in masters])


def fill(etcd):
    """Until etcd raises its alarm; it takes removals and reads still."""
    block = b"x" * (1 << 20)
    for number in range(64):
        if etcd.control("put", f"/other/{number}", stdin=block).returncode != 0:
            break
    assert b"NOSPACE" in etcd.control("alarm", "list").stdout


def make_room(etcd):
    """What an operator does, as docs/operations.md says."""
    etcd.control("del", "--prefix", "/other/")
    status = json.loads(etcd.control("endpoint", "status", "--write-out=json").stdout)
    revision = status[0]["Status"]["header"]["revision"]
    for words in (("compact", str(revision)), ("defrag",), ("alarm", "disarm")):
        done = etcd.control(*words)
        assert done.returncode == 0, (words, done)


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def a_full_etcd_refuses_changes_says_so_and_goes_on_when_there_is_room(cluster):
    etcd = Etcd(cluster, flags=("--quota-backend-bytes", str(16 << 20)))
    masters = masters_of(cluster, etcd, **SYNC)
    a, b = [cluster.node(etcd.journal, name) for name in "ab"]
    put_many(a, 50)
    fill(etcd)
    wait_until(lambda: not works(a, "refused"), HANG_S, "changes are refused")
    check_many(b, 50)       # lookups go on
    assert "alarm NOSPACE" in masters[0].log(), masters[0].log()
    make_room(etcd)
    time_until_works(a)
    put_many(a, 50, "later")
    masters[0].kill()       # and nothing of it was only in memory
    for node in (a, b):
        time_until_works(node)
    for node in (a, b):
        check_many(node, 50)
        check_many(node, 50, "later")


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def nobody_is_shown_what_etcd_does_not_have_yet(cluster):
    etcd = Etcd(cluster)
    masters_of(cluster, etcd, 1, **{**SYNC, "lease-ms": "20000"})
    a, b = [cluster.node(etcd.journal, name) for name in "ab"]
    for number in range(4):
        os.mkdir(os.path.join(a.path, f"d{number}"))
        put(os.path.join(a.path, f"d{number}", "key"), b"first")
        put(os.path.join(a.path, f"d{number}", "other"), b"other")

    def at(node, name):
        return os.path.join(node.path, name)
    changes = (lambda: os.rename(at(a, "d0/key"), at(a, "d0/new")),
               lambda: put(at(a, "d1/fresh"), b"fresh"),
               lambda: os.unlink(at(a, "d2/key")),
               lambda: os.mkdir(at(a, "d3/deep")))
    looks = {"d0/key": lambda: os.path.exists(at(b, "d0/key")),
             "d0/new": lambda: get(at(b, "d0/new")),
             "d0": lambda: sorted(os.listdir(at(b, "d0"))),
             "d1/fresh": lambda: get(at(b, "d1/fresh")),
             "d2/key": lambda: os.path.exists(at(b, "d2/key")),
             "d3/deep": lambda: os.path.isdir(at(b, "d3/deep"))}
    for number in range(4):
        os.stat(at(b, f"d{number}"))
    seen = {}

    def look(name):
        seen[name] = looks[name]()
    etcd.pause()
    threads = [threading.Thread(target=change) for change in changes]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    threads += [threading.Thread(target=look, args=(name,)) for name in looks]
    for thread in threads[len(changes):]:
        thread.start()
    time.sleep(0.7)
    assert [get(at(b, f"d{number}/other")) for number in range(4)] == 4 * [b"other"]
    assert not seen, seen
    assert all(thread.is_alive() for thread in threads)
    etcd.go_on()
    for thread in threads:
        thread.join(HANG_S)
    assert seen == {"d0/key": False, "d0/new": b"first", "d0": ["new", "other"],
                    "d1/fresh": b"fresh", "d2/key": False, "d3/deep": True}, seen


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def a_slow_etcd_makes_changes_slow_and_loses_none(cluster):
    etcd = Etcd(cluster)
    relay = Relay(etcd.clients[0])
    master = cluster.master("m0", journal=f"etcd://{relay.address}", socket="none", **SYNC)
    a, b = [cluster.node(master, name) for name in "ab"]
    put_many(a, 20, "quick")
    relay.delay_s = 0.2
    begun = time.monotonic()
    writers = [threading.Thread(target=put_many, args=(node, 5, f"slow{node.name}"))
               for node in (a, b)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(HANG_S)
        assert not writer.is_alive()
    assert time.monotonic() - begun > 5 * relay.delay_s, "answers did not wait for etcd"
    check_many(b, 20, "quick")
    os.unlink(os.path.join(a.path, "slowa0"))
    etcd.pause()
    writer = threading.Thread(target=put_many, args=(a, 1, "paused"))
    writer.start()
    time.sleep(1)
    etcd.go_on()
    writer.join(HANG_S)
    assert not writer.is_alive()
    master.kill()
    relay.cut()
    cluster.master("m1", master.port, etcd.journal, socket="none", **SYNC)
    time_until_works(a)
    for node in (a, b):
        check_many(node, 20, "quick")
        check_many(node, 1, "paused")
        assert sorted(n for n in os.listdir(node.path) if n.startswith("slow")) == \
            [f"slowa{n}" for n in range(1, 5)] + [f"slowb{n}" for n in range(5)]
