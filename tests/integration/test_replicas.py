"""Replicas: made, repaired, read when one is lost, taken back, drained; with real processes."""

import errno
import hashlib
import json
import os

from cluster import wait_until
from suite import content, fails, get, on_cluster, put, same

MIB = 1 << 20
WITHIN_S = 20


def at(node, name):
    return os.path.join(node.path, name)


QUICK = {"ttl-ms": "1000", "heartbeat-ms": "100", "repair-delay-ms": "300"}


def quick_master(cluster, **options):
    """A master that takes a node for lost soon, and repairs soon."""
    return cluster.master(**{**QUICK, **options})


def located(cluster, master, key):
    """{node name: kind} of the replicas that can be read."""
    done = cluster.cli(master, "locate", "--json", key)
    if done.returncode != 0:
        return {}
    entry = json.loads(done.stdout)
    entry = entry[0] if isinstance(entry, list) else entry
    return {place["name"]: place["kind"] for place in entry["locations"]}


def primaries(cluster, master, key):
    return sorted(name for name, kind in located(cluster, master, key).items()
                  if kind == "primary")


def wait_primaries(cluster, master, key, count):
    wait_until(lambda: len(primaries(cluster, master, key)) == count, WITHIN_S,
               f"{key} has {count} primary replicas, not {located(cluster, master, key)}")
    return primaries(cluster, master, key)


def stat_of_master(cluster, master, name):
    lines = cluster.cli(master, "stats", "--json", "--master").stdout
    return json.loads(lines)[name]


def three(cluster, master, **options):
    """Nodes a, b and c; TCP, as between machines."""
    return {name: cluster.node(master, name, node_name=name, transport="tcp", **options)
            for name in "abc"}


@on_cluster()
def a_killed_node_loses_nothing_and_the_third_takes_its_place(cluster):
    master = quick_master(cluster)
    nodes = three(cluster, master, replicas=2)
    data = {f"k{n}": content(n, size) for n, size in
            enumerate((0, 1, 4096, 100_001, 3 * MIB + 5, 2 * MIB, MIB, 70_000))}
    for key, value in data.items():
        put(at(nodes["a"], key), value)
    holders = {key: wait_primaries(cluster, master, key, 2) for key in data}
    assert all("a" in names for names in holders.values()), "local first"
    nodes["a"].kill()
    for key, value in data.items():     # before any repair, from the second replica
        other = next(name for name in holders[key] if name != "a")
        reader = nodes["c" if other == "b" else "b"]
        same(get(at(reader, key)), value, f"{key} read without a")
    for key in data:
        wait_until(lambda key=key: primaries(cluster, master, key) == ["b", "c"], WITHIN_S,
                   f"{key} is on b and c again, not {located(cluster, master, key)}")
    nodes["b"].kill()
    for key, value in data.items():
        same(get(at(nodes["c"], key)), value, f"{key} read on c alone")


@on_cluster(variants="one")
def who_returns_is_taken_back_as_cache_and_nothing_is_lost(cluster):
    master = quick_master(cluster)
    nodes = three(cluster, master, replicas=2)
    for n in range(20):
        put(at(nodes["a"], f"k{n}"), content(n, 50_000))
    for n in range(20):
        wait_primaries(cluster, master, f"k{n}", 2)
    nodes["a"].kill()
    for n in range(20):
        wait_until(lambda n=n: primaries(cluster, master, f"k{n}") == ["b", "c"], WITHIN_S,
                   f"k{n} is repaired")
    back = cluster.again(nodes["a"])
    for n in range(20):
        wait_until(lambda n=n: located(cluster, master, f"k{n}") ==
                   {"a": "cache", "b": "primary", "c": "primary"}, WITHIN_S,
                   f"the surplus of k{n} is cache: {located(cluster, master, f'k{n}')}")
        same(get(at(back, f"k{n}")), content(n, 50_000), "on a again")


@on_cluster(variants="one")
def a_node_that_is_away_for_a_moment_starts_no_copying(cluster):
    master = quick_master(cluster, **{"repair-delay-ms": "20000"})
    nodes = three(cluster, master, replicas=2)
    put(at(nodes["a"], "k"), content(1, MIB))
    holders = wait_primaries(cluster, master, "k", 2)
    made = stat_of_master(cluster, master, "replicas_made")
    for _ in range(2):
        nodes["a"].kill()
        wait_until(lambda: "a" not in located(cluster, master, "k"), WITHIN_S, "a is lost")
        nodes["a"] = cluster.again(nodes["a"])
        wait_until(lambda: primaries(cluster, master, "k") == holders, WITHIN_S, "a is back")
    assert stat_of_master(cluster, master, "replicas_made") == made


@on_cluster()
def ack_2_returns_when_two_nodes_have_it(cluster):
    master = quick_master(cluster)
    nodes = three(cluster, master, replicas=2, ack=2)
    for n in range(30):
        put(at(nodes["a"], f"k{n}"), content(n, 20_000))
        assert len(primaries(cluster, master, f"k{n}")) == 2, f"k{n} when close has returned"
    nodes["a"].kill()
    for n in range(30):
        same(get(at(nodes["b"], f"k{n}")), content(n, 20_000), "the other replica")


@on_cluster(variants="one")
def no_put_that_returned_with_ack_2_is_lost_with_its_writer(cluster):
    master = quick_master(cluster)
    nodes = three(cluster, master, replicas=2, ack=2)
    returned = cluster.path("returned")
    child = os.fork()
    if child == 0:      # puts until its mount is dead, and notes what returned
        with open(returned, "w", buffering=1) as notes:
            try:
                for n in range(100_000):
                    put(at(nodes["a"], f"k{n}"), content(n, 30_000))
                    notes.write(f"{n}\n")
            except OSError:
                os._exit(0)
        os._exit(1)
    wait_until(lambda: os.path.exists(returned) and os.path.getsize(returned) > 500, WITHIN_S,
               "puts return")
    nodes["a"].kill()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with open(returned) as notes:
        numbers = [int(line) for line in notes]
    for n in numbers:
        same(get(at(nodes["b" if n % 2 else "c"], f"k{n}")), content(n, 30_000), f"k{n}")


@on_cluster(variants="one")
def ack_2_with_one_node_says_so_and_keeps_what_there_is(cluster):
    master = quick_master(cluster)
    a = cluster.node(master, "a", node_name="a", replicas=2, ack=2)
    with fails(errno.ENOSPC):
        put(at(a, "k"), b"alone")
    assert get(at(a, "k")) == b"alone"
    cluster.node(master, "b", node_name="b", transport="tcp")
    wait_primaries(cluster, master, "k", 2)


@on_cluster(variants="one")
def a_full_node_makes_room_and_one_too_small_is_not_asked(cluster):
    master = quick_master(cluster)
    a = cluster.node(master, "a", node_name="a", transport="tcp", replicas=2)
    b = cluster.node(master, "b", node_name="b", transport="tcp", segment="32m")
    put(at(a, "large"), content(1, 40 * MIB))
    for n in range(20):
        put(at(a, f"k{n}"), content(n, 4 * MIB))
    wait_primaries(cluster, master, "k19", 2)
    assert primaries(cluster, master, "large") == ["a"]
    wait_until(lambda: stat_of_master(cluster, master, "replicas_queued") == 0, WITHIN_S, "done")
    for n in range(20):
        same(get(at(b, f"k{n}")), content(n, 4 * MIB), "on b, or pulled again")


@on_cluster()
def a_mount_that_lends_nothing_puts_on_other_nodes_before_close_returns(cluster):
    master = quick_master(cluster)
    guest = cluster.node(master, "g", node_name="g", transport="tcp", lend="off", segment="64m")
    with fails(errno.ENOSPC):
        put(at(guest, "early"), b"no node is there")
    b = cluster.node(master, "b", node_name="b", transport="tcp")
    wait_primaries(cluster, master, "early", 1)
    data = {f"k{n}": content(n, 4 * MIB) for n in range(40)}    # more than its segment
    for key, value in data.items():
        put(at(guest, key), value)
        assert primaries(cluster, master, key) == ["b"], "when close has returned"
    put(at(b, "twice"), b"b")
    os.setxattr(at(b, "twice"), "user.mooncake.replicas", b"2")
    for key, value in data.items():
        same(get(at(guest, key)), value, f"{key} on the guest")
    assert "guest" in told(cluster, master, "node", "list")
    guest.kill()
    for key, value in data.items():
        same(get(at(b, key)), value, f"{key} when the guest has gone")
    assert primaries(cluster, master, "twice") == ["b"]


@on_cluster(variants="one")
def an_attribute_says_it_of_one_put_and_of_a_directory(cluster):
    master = quick_master(cluster)
    nodes = three(cluster, master)
    a = nodes["a"]
    with open(at(a, "one"), "wb") as file:
        file.write(b"x" * 1000)
        os.setxattr(file.fileno(), "user.mooncake.replicas", b"3")
    wait_primaries(cluster, master, "one", 3)
    os.mkdir(at(a, "d"))
    os.setxattr(at(a, "d"), "user.mooncake.replicas", b"2")
    put(at(nodes["b"], "d/k"), b"below")
    wait_primaries(cluster, master, "d/k", 2)
    put(at(a, "other"), b"1")
    # Raised, and lowered again, of what is there.
    os.setxattr(at(a, "other"), "user.mooncake.replicas", b"2")
    wait_primaries(cluster, master, "other", 2)
    os.setxattr(at(a, "other"), "user.mooncake.replicas", b"1")
    wait_primaries(cluster, master, "other", 1)
    for value in (b"0", b"9", b"two", b""):
        with fails(errno.EINVAL):
            os.setxattr(at(a, "one"), "user.mooncake.replicas", value)
    with open(at(a, "there"), "wb") as file:
        os.setxattr(file.fileno(), "user.mooncake.preferred", b"c")
        file.write(b"moved to c")
    wait_until(lambda: primaries(cluster, master, "there") == ["c"], WITHIN_S, "it is on c")
    assert get(at(nodes["b"], "there")) == b"moved to c"


@on_cluster(variants="one")
def a_replica_that_is_not_there_is_read_around_reported_and_replaced(cluster):
    master = quick_master(cluster)
    nodes = three(cluster, master, replicas=2)
    put(at(nodes["a"], "k"), content(1, MIB))
    other, = set(wait_primaries(cluster, master, "k", 2)) - {"a"}
    identity = int(os.getxattr(at(nodes["a"], "k"), "user.mooncake.id").decode(), 16)
    # The file of the first owner goes behind its daemon's back.
    os.unlink(os.path.join(nodes["a"].options["pool"], "objects", f"{identity:016x}"))
    reader = "c" if other == "b" else "b"
    same(get(at(nodes[reader], "k")), content(1, MIB), "from the good one")
    assert stat_of_master(cluster, master, "replicas_bad") >= 1
    wait_until(lambda: primaries(cluster, master, "k") == ["b", "c"], WITHIN_S, "it is replaced")


@on_cluster(variants="one")
def a_master_killed_while_copies_are_under_way_makes_them_after_its_restart(cluster):
    master = quick_master(cluster)
    nodes = three(cluster, master, replicas=2)
    for n in range(60):
        put(at(nodes["a"], f"k{n}"), content(n, 200_000))
    master.kill()
    master = cluster.master(master.name, master.port, master.journal, **QUICK)
    for n in range(0, 60, 3):
        wait_primaries(cluster, master, f"k{n}", 2)
    wait_until(lambda: stat_of_master(cluster, master, "replicas_queued") == 0, WITHIN_S, "done")
    nodes["a"].kill()
    for n in range(60):
        same(get(at(nodes["b"], f"k{n}")), content(n, 200_000), "without its writer")


@on_cluster(variants="one")
def a_master_that_lost_every_record_comes_back_from_the_nodes_alone(cluster):
    master = quick_master(cluster)
    nodes = three(cluster, master, replicas=2)
    sums = {}
    os.makedirs(at(nodes["a"], "deep/er"))
    for n in range(40):
        name = f"deep/er/k{n}" if n % 2 else f"k{n}"
        data = content(n, 10_000 + n)
        put(at(nodes["abc"[n % 3]], name), data)
        sums[name] = hashlib.sha256(data).hexdigest()
    for name in sums:
        wait_primaries(cluster, master, name, 2)
    places = {name: primaries(cluster, master, name) for name in sums}
    master.kill()
    os.unlink(master.journal.split(":", 1)[1])
    master = cluster.master(master.name, master.port, master.journal, **QUICK)
    for name, places_before in places.items():
        wait_until(lambda name=name, want=places_before: primaries(cluster, master, name) == want,
                   WITHIN_S, f"{name} is where it was: {located(cluster, master, name)}")
    for name, digest in sums.items():
        assert hashlib.sha256(get(at(nodes["c"], name))).hexdigest() == digest
    log = master.log()
    assert log.count("took an inventory") >= 3 and "adopted=" in log, log


def told(cluster, master, *words, want=0):
    done = cluster.cli(master, *words)
    assert done.returncode == want, \
        f"mooncake {' '.join(words)}: {done.returncode}\n{done.stdout!r}\n{done.stderr!r}"
    return done.stdout.decode() if want == 0 else done.stderr.decode()


@on_cluster(variants="one")
def policies_are_set_shown_followed_and_taken_back(cluster):
    master = quick_master(cluster)
    nodes = three(cluster, master)
    put(at(nodes["a"], "before"), b"1")
    told(cluster, master, "policy", "set", "/", "replicas=2")
    told(cluster, master, "policy", "set", "deep/dir", "replicas=3", "pin=on", "preferred=c,b")
    wait_primaries(cluster, master, "before", 2)
    os.makedirs(at(nodes["a"], "deep/dir"))
    put(at(nodes["a"], "deep/dir/k"), b"12")
    put(at(nodes["b"], "deep/k"), b"12")
    wait_primaries(cluster, master, "deep/dir/k", 3)
    wait_primaries(cluster, master, "deep/k", 2)
    assert os.getxattr(at(nodes["a"], "deep/dir/k"), "user.mooncake.pinned") == b"1"
    listed = told(cluster, master, "policy", "list")
    assert listed.split("\n")[0].split() == ["/", "replicas=2"], listed
    assert "replicas=3 pin=on preferred=c,b" in listed, listed
    assert [entry["prefix"] for entry in json.loads(told(cluster, master, "policy", "list", "--json"))] \
        == ["", "deep/dir"]
    said = told(cluster, master, "stat", "deep/dir/k")
    assert "copies    3, 3 wanted" in said and "of /deep/dir" in said, said
    entry, = json.loads("[" + told(cluster, master, "stat", "--json", "deep/k").strip("[]\n") + "]")
    assert entry["wanted"] == 2 and entry["policy"]["prefix"] == "", entry
    assert "replicas=2" in told(cluster, master, "policy", "show", "any/key")
    assert "2 policies" in told(cluster, master, "status")
    told(cluster, master, "policy", "unset", "deep/dir")
    wait_primaries(cluster, master, "deep/dir/k", 2)
    assert "no policy" in told(cluster, master, "policy", "unset", "deep/dir", want=1)
    for words in (("set", "x"), ("set", "x", "replicas=9"), ("set", "x", "pin=maybe"), ("list", "x"),
                  ("set", "x", "replicas=1", "ack=2"), ("forget", "x")):
        told(cluster, master, "policy", *words, want=2)
    # And they are there after a restart of the master.
    master.stop()
    master = cluster.again(master)
    assert told(cluster, master, "policy", "list").split() == ["/", "replicas=2"]


@on_cluster(variants="one")
def a_change_of_policies_or_nodes_is_told_as_a_document(cluster):
    master = quick_master(cluster)
    a = cluster.node(master, "a", node_name="a")

    def document(*words):
        return json.loads(told(cluster, master, *words, "--json"))

    assert document("policy", "set", "x", "replicas=2", "pin=on") \
        == {"prefix": "x", "set": True, "replicas": 2, "pin": True}
    assert document("policy", "set", "/x/", "preferred=a,b") \
        == {"prefix": "x", "set": True, "preferred": ["a", "b"]}
    assert document("policy", "unset", "x") == {"prefix": "x", "set": False}
    node, = document("node", "list")
    assert not told(cluster, master, "node", "remove", "a", "--json", want=4).startswith("{")
    a.stop()
    wait_until(lambda: document("node", "list")[0]["alive"] is False, WITHIN_S, "it is gone")
    assert document("node", "remove", "a") == {"node": "a", "id": node["id"], "removed": True}


@on_cluster(variants="one")
def a_node_is_drained_while_it_serves_then_removed(cluster):
    master = quick_master(cluster)
    nodes = three(cluster, master)
    a = nodes["a"]
    data = {f"k{n}": content(n, 30_000 + n) for n in range(200)}
    for key, value in data.items():
        put(at(a, key), value)
    keep = open(at(a, "k0"), "rb")
    assert "a is empty" in told(cluster, master, "drain", "a")
    for key, value in data.items():
        places = located(cluster, master, key)
        assert places and "a" not in places, (key, places)
        same(get(at(nodes["b"], key)), value, f"{key} after the drain")
    same(keep.read(), data["k0"], "what was open")
    keep.close()
    # It serves on, and what is put there moves on.
    same(get(at(a, "k7")), data["k7"], "read on the drained node")
    put(at(a, "new"), b"put while it drains")
    wait_until(lambda: primaries(cluster, master, "new") and
               "a" not in located(cluster, master, "new"), WITHIN_S, "the new one moves on")
    assert "draining" in told(cluster, master, "node", "list")
    assert "alive" in told(cluster, master, "node", "remove", "a", want=4)
    told(cluster, master, "drain", "a")
    a.stop()
    wait_until(lambda: cluster.cli(master, "node", "remove", "a").returncode == 0, WITHIN_S,
               "it can be removed once it is gone")
    assert [node["name"] for node in json.loads(told(cluster, master, "node", "list", "--json"))] \
        == ["b", "c"]
    for key, value in data.items():
        same(get(at(nodes["c"], key)), value, key)
    told(cluster, master, "node", "remove", "a", want=1)


@on_cluster(variants="one")
def a_drain_goes_on_after_a_restart_and_ends_when_it_is_cancelled(cluster):
    master = quick_master(cluster)
    a = cluster.node(master, "a", node_name="a", transport="tcp")
    for n in range(50):
        put(at(a, f"k{n}"), content(n, 10_000))
    assert "drains" in told(cluster, master, "drain", "--detach", "a")
    master.kill()
    master = cluster.again(master)
    wait_until(lambda: len(located(cluster, master, "k49")) == 1, WITHIN_S, "a is back")
    node, = json.loads(told(cluster, master, "node", "list", "--json"))
    assert node["draining"], node
    b = cluster.node(master, "b", node_name="b", transport="tcp")
    assert "a is empty" in told(cluster, master, "drain", "a")
    for n in range(50):
        assert primaries(cluster, master, f"k{n}") == ["b"]
    assert "takes new copies" in told(cluster, master, "drain", "--cancel", "a")
    told(cluster, master, "policy", "set", "/", "replicas=2")
    wait_primaries(cluster, master, "k3", 2)
    same(get(at(b, "k3")), content(3, 10_000), "on b")


@on_cluster(variants="one")
def the_last_node_is_not_drained_of_anything(cluster):
    master = quick_master(cluster)
    a = cluster.node(master, "a", node_name="a")
    put(at(a, "k"), b"only here")
    assert "no other place" in told(cluster, master, "drain", "a", want=4)
    assert get(at(a, "k")) == b"only here"
    a.kill()
    wait_until(lambda: not located(cluster, master, "k"), WITHIN_S, "a is lost")
    assert "only copy" in told(cluster, master, "node", "remove", "a", want=4)
    told(cluster, master, "node", "remove", "--force", "a")
