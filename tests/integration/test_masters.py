"""A master that is lost is replaced, and nothing that was acknowledged is."""

import errno
import json
import os
import signal
import time

from cluster import free_port, wait_until
from etcd import CONTROL, PROGRAM, Etcd, Relay
from leading import HANG_S, PREFIX, check_many, leader_of, leader_port, masters_of, put_many, \
    time_until_works, wait_for_names, works
from suite import fails, get, on_cluster, put

NEEDS = (PROGRAM, CONTROL)
LEASE_S = 5


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def a_killed_leader_is_replaced_and_nothing_is_lost(cluster):
    etcd = Etcd(cluster)
    masters = masters_of(cluster, etcd)
    a = cluster.node(etcd.journal, "a")
    b = cluster.node(etcd.journal, "b")
    put_many(a, 300)
    put_many(b, 300, "p")
    leader_of(etcd, masters).kill()
    took = time_until_works(a)
    print(f"takeover {took:.2f} s")
    check_many(b, 300)
    check_many(a, 300, "p")


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def nodes_find_the_leader_in_a_list(cluster):
    etcd = Etcd(cluster)
    masters = masters_of(cluster, etcd, **{"journal-ack": "sync"})
    listed = ",".join(f"127.0.0.1:{m.port}" for m in reversed(masters))
    a = cluster.node(listed, "a")
    put_many(a, 50)
    masters[0].kill()
    took = time_until_works(a)
    print(f"took {took:.2f} s")
    b = cluster.node(listed, "b")
    check_many(b, 50)
    done = cluster.cli(None, "--master", listed, "ls")
    assert done.returncode == 0 and b"o49" in done.stdout, done


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def a_leader_that_ends_in_order_is_replaced_at_once(cluster):
    etcd = Etcd(cluster)
    masters = masters_of(cluster, etcd)
    a = cluster.node(etcd.journal, "a")
    put_many(a, 50)
    assert masters[0].stop() == 0
    took = time_until_works(a)
    assert took < LEASE_S, f"the takeover waited for the lease: {took:.1f} s"
    assert etcd.keys(PREFIX + "journal")


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def a_stopped_leader_is_replaced_and_stands_by_when_it_goes_on(cluster):
    etcd = Etcd(cluster)
    masters = masters_of(cluster, etcd)
    a = cluster.node(etcd.journal, "a")
    b = cluster.node(etcd.journal, "b")
    put_many(a, 100)
    old = leader_of(etcd, masters)
    old.signal(signal.SIGSTOP)
    time_until_works(a)
    put_many(a, 100, "q")
    new = leader_of(etcd, masters)
    assert new is not old
    old.signal(signal.SIGCONT)
    wait_until(lambda: "standing by" in old.log(), 10, "the old leader stands by")
    put_many(b, 100, "r")
    # And back: what it follows is what there is.
    new.kill()
    time_until_works(a)
    assert leader_of(etcd, masters) is old
    for node in (a, b):
        for prefix in "oqr":
            check_many(node, 100, prefix)


def cut_off(cluster, way_for):
    """A leader loses its way to etcd, its nodes don't: they go to the next one."""
    etcd = Etcd(cluster)
    relay = Relay(etcd.clients[0])
    masters = [cluster.master("m0", journal=f"etcd://{relay.address}", socket="none")]
    wait_until(lambda: leader_port(etcd) == masters[0].port, HANG_S, "the first leads")
    masters.append(cluster.master("m1", journal=etcd.journal, socket="none"))
    a = cluster.node(way_for(etcd, masters), "a")
    put_many(a, 50)
    relay.cut()
    # Lookups go on at the old one, changes are refused, then taken by the new one.
    wait_until(lambda: leader_port(etcd) == masters[1].port, HANG_S, "the second leads")
    took = time_until_works(a)
    print(f"took {took:.2f} s")
    check_many(a, 50)
    assert masters[0].alive() and "can't renew the lease" in masters[0].log()


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def a_leader_that_is_cut_off_is_left_by_its_nodes(cluster):
    cut_off(cluster, lambda etcd, masters: etcd.journal)


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def the_same_with_a_list_of_masters(cluster):
    cut_off(cluster, lambda etcd, masters: ",".join(f"127.0.0.1:{m.port}" for m in masters))


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def a_mount_that_only_reads_leaves_a_leader_that_is_cut_off(cluster):
    # Nobody listens where it says that it does, so its successor can't tell it either.
    etcd = Etcd(cluster)
    relay = Relay(etcd.clients[0])
    nowhere = free_port()
    quick = {"socket": "none", "lease-ms": 1000}
    old = cluster.master("m0", journal=f"etcd://{relay.address}", **quick,
                         address=f"127.0.0.1:{nowhere}")
    wait_until(lambda: leader_port(etcd) == nowhere, HANG_S, "the first leads")
    new = cluster.master("m1", journal=etcd.journal, **quick)
    reader = cluster.node(f"127.0.0.1:{old.port},127.0.0.1:{new.port}", "a")
    relay.cut()
    wait_until(lambda: leader_port(etcd) == new.port, HANG_S, "the second leads")
    writer = cluster.node(etcd.journal, "b")
    put(os.path.join(writer.path, "x"), b"x")
    wait_until(lambda: os.path.exists(os.path.join(reader.path, "x")), HANG_S, "x is seen")
    assert old.alive() and "can't renew the lease" in old.log()


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def a_standby_that_is_killed_or_stopped_is_not_missed(cluster):
    etcd = Etcd(cluster)
    masters = masters_of(cluster, etcd, 3)
    a = cluster.node(etcd.journal, "a")
    masters[1].signal(signal.SIGSTOP)
    masters[2].kill()
    put_many(a, 50)
    masters[1].signal(signal.SIGCONT)
    put_many(a, 50, "p")
    masters[0].kill()
    took = time_until_works(a)
    print(f"took {took:.2f} s")
    check_many(a, 50, "p")


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def what_was_removed_stays_removed(cluster):
    etcd = Etcd(cluster)
    masters = masters_of(cluster, etcd, **{"journal-ack": "sync"})
    a = cluster.node(etcd.journal, "a")
    os.mkdir(os.path.join(a.path, "d"))
    put_many(a, 100, "d/o")
    os.rename(os.path.join(a.path, "d"), os.path.join(a.path, "e"))
    for number in range(0, 100, 2):
        os.unlink(os.path.join(a.path, f"e/o{number}"))
    put(os.path.join(a.path, "e/o1"), b"new")
    masters[0].kill()
    time_until_works(a)
    b = cluster.node(etcd.journal, "b")
    names = sorted(os.listdir(os.path.join(b.path, "e")))
    assert names == sorted(f"o{number}" for number in range(1, 100, 2)), names
    assert not os.path.exists(os.path.join(b.path, "d"))
    assert get(os.path.join(b.path, "e/o1")) == b"new"


def undone(cluster, acks):
    """One node replaces and removes what another holds; etcd is away, and the leader goes next."""
    etcd = Etcd(cluster)
    masters = masters_of(cluster, etcd, **{"journal-ack": acks})
    a = cluster.node(etcd.journal, "a")
    b = cluster.node(etcd.journal, "b", timeout="1s")
    names = ("replaced", "moved", "removed")
    for name in names:
        put(os.path.join(a.path, name), name.encode())
        os.stat(os.path.join(b.path, name))
    wait_until(lambda: len(etcd.keys(PREFIX + "objects/")) >= len(names), HANG_S, "all is recorded")
    etcd.kill()
    for deed in (lambda: os.rename(os.path.join(b.path, "moved"), os.path.join(b.path, "replaced")),
                 lambda: os.unlink(os.path.join(b.path, "removed"))):
        if acks == "sync":
            with fails(errno.ETIMEDOUT):
                deed()
        else:
            deed()
            time.sleep(1)
    masters[0].kill()
    etcd.start(0)
    etcd.wait()
    time_until_works(a)
    for name in names:
        assert get(os.path.join(a.path, name)) == name.encode(), name


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def what_etcd_never_heard_of_has_dropped_nothing(cluster):
    undone(cluster, "sync")


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def nor_where_answers_do_not_wait_for_it(cluster):
    undone(cluster, "async")


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def lookups_go_on_without_etcd_and_changes_come_back_with_it(cluster):
    etcd = Etcd(cluster)
    masters_of(cluster, etcd, 1)
    a = cluster.node(etcd.journal, "a")
    b = cluster.node(etcd.journal, "b")
    put_many(a, 20)
    etcd.kill()
    wait_until(lambda: not works(a, "refused"), HANG_S, "changes are refused")
    check_many(b, 20)
    etcd.start(0)
    etcd.wait()
    time_until_works(a)
    check_many(b, 20)


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def a_wiped_etcd_is_filled_again_by_the_nodes(cluster):
    etcd = Etcd(cluster)
    masters_of(cluster, etcd, 1)
    a = cluster.node(etcd.journal, "a")
    b = cluster.node(etcd.journal, "b")
    put_many(a, 100)
    put_many(b, 100, "p")
    etcd.kill()
    etcd.wipe()
    etcd.start(0)
    etcd.wait()
    time_until_works(a, 30)
    wait_for_names(b, 100, "op")
    check_many(b, 100)
    check_many(a, 100, "p")
    wait_until(lambda: len(etcd.keys(PREFIX + "objects/")) >= 200, 10, "the records are back")


@on_cluster(variants="one", needs=NEEDS, timeout_s=400)
def a_member_of_three_may_be_killed_or_stopped(cluster):
    etcd = Etcd(cluster, 3)
    masters = masters_of(cluster, etcd, **{"journal-ack": "sync"})
    a = cluster.node(etcd.journal, "a")
    for number in range(3):
        put_many(a, 20, f"k{number}-")
        etcd.kill(number)
        time_until_works(a)
        put_many(a, 20, f"l{number}-")
        etcd.start(number)
        etcd.wait()
    for number in range(3):
        etcd.pause(number)
        time_until_works(a)
        put_many(a, 20, f"m{number}-")
        etcd.go_on(number)
        time.sleep(1)
    leader_of(etcd, masters).kill()
    took = time_until_works(a)
    print(f"took {took:.2f} s")
    b = cluster.node(etcd.journal, "b")
    for number in range(3):
        for letter in "klm":
            check_many(b, 20, f"{letter}{number}-")


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def a_leader_that_is_lost_with_a_member_of_three_is_replaced(cluster):
    etcd = Etcd(cluster, 3)
    masters = masters_of(cluster, etcd, **{"lease-ms": 2000})
    a = cluster.node(etcd.journal, "a")
    put_many(a, 20)
    leader = leader_of(etcd, masters)
    # As when the machine of both is cut off: the standby's watch is there, and says nothing.
    etcd.pause(0)
    leader.kill()
    took = time_until_works(a)
    print(f"took {took:.2f} s")
    check_many(a, 20)
    # One of its clients of etcd has waited for that member in vain, not each of them.
    new = leader_of(etcd, masters)
    assert new.log().count(f"trying elsewhere endpoint=http://{etcd.clients[0]} ") == 1, new.log()
    etcd.go_on(0)


@on_cluster(variants="one", needs=NEEDS)
def what_is_in_etcd_can_be_read(cluster):
    etcd = Etcd(cluster)
    masters_of(cluster, etcd, 1)
    a = cluster.node(etcd.journal, "a")
    os.makedirs(os.path.join(a.path, "models/llama"))
    put(os.path.join(a.path, "models/llama/weights"), b"w" * 5000)
    found = wait_until(
        lambda: [v for k, v in etcd.keys(PREFIX + "objects/").items() if k.endswith("/weights")],
        5, "the object is in etcd")
    assert found[0].startswith("object ") and " size=5000 " in found[0], found
    assert " replicas=1" in found[0], found
    before = etcd.keys(PREFIX + "objects/")
    os.rename(os.path.join(a.path, "models"), os.path.join(a.path, "renamed"))
    wait_until(lambda: etcd.keys(PREFIX + "objects/").keys() != before.keys(), 5, "it is renamed")
    after = etcd.keys(PREFIX + "objects/")
    assert set(before) - set(after) == {PREFIX + "objects/1/models"}, set(before) - set(after)
    assert set(after) - set(before) == {PREFIX + "objects/1/renamed"}, set(after) - set(before)
    names = etcd.keys(PREFIX + "nodes/")
    assert len(names) == 1 and " name=" in list(names.values())[0], names
    dumped = cluster.cli(None, "journal", "dump", etcd.journal)
    assert dumped.returncode == 0, dumped
    lines = dict(line.split(" ", 1) for line in dumped.stdout.decode().splitlines())
    kept = {key[len(PREFIX):]: value for key, value in etcd.keys(PREFIX).items()}
    assert lines.keys() == kept.keys(), lines.keys() ^ kept.keys()
    assert all(lines[key] == kept[key] for key in kept if key.startswith(("objects/", "nodes/")))
    checked = cluster.cli(None, "journal", "check", "--json", etcd.journal)
    found = json.loads(checked.stdout)
    assert checked.returncode == 0 and found["sound"], checked
    assert (found["objects"], found["directories"], found["nodes"]) == (1, 3, 1), found
    place = [key for key in etcd.keys(PREFIX + "objects/") if key.endswith("/weights")][0]
    etcd.control("put", place, "object nonsense")
    checked = cluster.cli(None, "journal", "check", etcd.journal)
    assert checked.returncode == 4 and b"weights makes no sense" in checked.stderr, checked
    nobody = cluster.cli(None, "journal", "check", etcd.journal + "/nobody")
    assert nobody.returncode == 1, nobody


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def objects_that_etcd_does_not_keep_come_back_from_the_nodes(cluster):
    etcd = Etcd(cluster)
    masters = masters_of(cluster, etcd, **{"etcd-objects": "off"})
    a = cluster.node(etcd.journal, "a")
    put_many(a, 100)
    assert not [k for k in etcd.keys(PREFIX + "objects/") if k.endswith("/o1")]
    masters[0].kill()
    time_until_works(a)
    b = cluster.node(etcd.journal, "b")
    wait_for_names(b, 100, "o")
    check_many(b, 100)


@on_cluster(variants="one", needs=NEEDS)
def a_leader_steps_down_when_asked(cluster):
    etcd = Etcd(cluster)
    masters = masters_of(cluster, etcd)
    a = cluster.node(etcd.journal, "a")
    put_many(a, 50)
    done = cluster.cli(None, "--master", etcd.journal, "master", "status")
    assert done.returncode == 0 and b"epoch" in done.stdout, done
    before = json.loads(cluster.cli(None, "--master", etcd.journal, "master", "status",
                                    "--json").stdout)
    done = cluster.cli(None, "--master", etcd.journal, "master", "step-down", "--json")
    assert done.returncode == 0, done
    assert json.loads(done.stdout) \
        == {"name": before["name"], "address": before["address"], "stepped_down": True}, done
    wait_until(lambda: leader_port(etcd) == masters[1].port, 5, "the other leads")
    assert time_until_works(a) < 3
    check_many(a, 50)
    assert masters[0].alive()
    alone = cluster.master("alone", http="none")
    done = cluster.cli(alone, "master", "step-down")
    assert done.returncode != 0 and b"alone" in done.stderr, done


@on_cluster(variants="one", needs=NEEDS, timeout_s=300)
def policies_drains_and_replicas_outlive_a_takeover(cluster):
    etcd = Etcd(cluster)
    masters = masters_of(cluster, etcd)
    nodes = {name: cluster.node(etcd.journal, name, node_name=name) for name in "abc"}
    for words in (("policy", "set", "/", "replicas=2"), ("policy", "set", "x", "pin=on"),
                  ("policy", "unset", "x"), ("drain", "c")):
        done = cluster.cli(None, "--master", etcd.journal, *words)
        assert done.returncode == 0, (words, done)
    leader_of(etcd, masters).kill()
    time_until_works(nodes["a"])
    listed = cluster.cli(None, "--master", etcd.journal, "policy", "list").stdout.split()
    assert listed == [b"/", b"replicas=2"], listed
    assert b"draining" in cluster.cli(None, "--master", etcd.journal, "node", "list").stdout
    put_many(nodes["a"], 20)

    def places(number):
        done = cluster.cli(None, "--master", etcd.journal, "locate", f"o{number}")
        return sorted(line.split()[1] for line in done.stdout.splitlines())
    for number in range(20):
        wait_until(lambda number=number: places(number) == [b"a", b"b"], HANG_S,
                   f"o{number} is on a and b, not {places(number)}")
