"""A whole cluster on two machines: a master and a mount on a, a mount on b."""

import hashlib
import json
import random
import time

from suite import on_guests

SIZE = 24 << 20
MIB = 1 << 20


def start_cluster(lab, transport, journal="file:/run/journal", before=""):
    """Boot a and b, mount the cluster on /mnt/mooncake on both; the guests."""
    a, b = lab.boot(2, add=["etcd"] if journal.startswith("etcd") else [])
    if before:
        for guest in (a, b):
            guest.run(before)
    a.start(f"exec mooncake-master --listen 10.0.0.1:50051 --journal {journal}")
    a.run("within 20 listens 50051")
    for guest in (a, b):
        mount(guest, transport)
    return a, b


def mount(guest, transport):
    guest.run("mkdir -p /mnt/mooncake; mooncakefs /mnt/mooncake -o master=10.0.0.1:50051,"
              f"segment=192m,listen=$ADDRESS,transport={transport}")


def status(guest):
    return json.loads(guest.run("mooncake status --json"))


def counters(guest):
    return {name: int(value) for name, value in
            (line.split() for line in guest.run("mooncake stats").splitlines())
            if value.isdigit()}


def carried(transport, counter, before=""):
    """The body of a test: a file put on a and mapped on b, over that transport."""
    def test(lab):
        a, b = start_cluster(lab, transport, before=before)
        for guest in (a, b):
            assert status(guest)["mount"]["passthrough"]["on"], status(guest)["mount"]
        data = random.Random(transport).randbytes(SIZE)
        with open(a.path("file"), "wb") as file:
            file.write(data)
        a.run("cp /share/file /mnt/mooncake/file")
        seen = b.run("set -o pipefail; mapped /mnt/mooncake/file | sha256sum").split()[0]
        assert seen == hashlib.sha256(data).hexdigest()
        told = counters(b)
        assert told[counter] == 1 and told["pull_bytes"] == SIZE, told
        # Once here it stays: the second time nothing moves.
        assert b.run("sha256sum /mnt/mooncake/file").split()[0] == seen
        assert counters(b)["pull_bytes"] == SIZE
        b.run("umount /mnt/mooncake")
        a.run("umount /mnt/mooncake")
    return test


# One row a transport between machines: its name, the counter that proves it, what
# the guests do before.
ROWS = [("tcp", "pull_tcp", ""), ("rdma", "pull_rdma", "rxe_eth")]

for row in ROWS:
    function = carried(*row)
    function.__name__ = f"a_file_put_on_one_machine_is_mapped_on_the_other_over_{row[0]}"
    on_guests(timeout_s=180)(function)


def put(guest, name, size=MIB):
    """Put random bytes; their sum."""
    guest.run(f"head -c {size} /dev/urandom >/tmp/bytes; cp /tmp/bytes /mnt/mooncake/{name}")
    return guest.run("sha256sum /tmp/bytes").split()[0]


def sum_of(guest, name):
    return guest.run(f"within 60 sh -c 'sha256sum /mnt/mooncake/{name} >/tmp/sum'; cat /tmp/sum").split()[0]


def verbs_resources(guest):
    """The queue pairs and regions that programs have in the kernel."""
    return [int(guest.run(f"rdma resource show {kind} | grep -vc 'type GSI' || true"))
            for kind in ("qp", "mr")]


def settled(guest, queue_pairs, regions):
    """What was asked for is let go of, and nothing else is left."""
    deadline = time.monotonic() + 60
    while verbs_resources(guest) != [queue_pairs, regions()]:
        assert time.monotonic() < deadline, guest.run("rdma resource show qp; rdma resource show mr")
        time.sleep(0.2)


def end(guest, how):
    """End the daemon, and wait until it is gone."""
    guest.run(f"pid=$(pidof mooncakefs); {how}; within 60 ended $pid")


@on_guests(timeout_s=300)
def a_peer_that_starts_again_is_read_from_over_rdma_again(lab):
    a, b = start_cluster(lab, "auto", before="rxe_eth")
    sums = [put(a, f"old{number}") for number in range(3)]
    assert sum_of(b, "old0") == sums[0]
    queue_pairs = verbs_resources(b)[0]
    assert queue_pairs > 0
    for number in (1, 2):
        end(a, "kill -9 $pid; umount -l /mnt/mooncake")
        mount(a, "auto")
        # What it had is found again, and what is new; nothing comes another way.
        assert sum_of(b, f"old{number}") == sums[number]
        new = put(a, f"new{number}")
        assert sum_of(b, f"new{number}") == new
        assert status(b)["mount"]["peers"] == ["a rdma (both have a device)"], status(b)
        told = counters(b)
        assert told["pull_rdma"] == 1 + 2 * number and told["pull_tcp"] == 0, told
        assert told["rdma_checksum_errors"] == 0, told
        # The connections to the process that is gone have gone with it.
        settled(b, queue_pairs, lambda: counters(b)["rdma_shown"])
    back = put(b, "back")
    assert sum_of(a, "back") == back
    assert counters(a)["pull_rdma"] == 1
    for guest in (b, a):
        end(guest, "umount /mnt/mooncake")
        settled(guest, 0, lambda: 0)
