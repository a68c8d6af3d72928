"""A whole cluster on two machines: a master and a mount on a, a mount on b."""

import hashlib
import json
import random

from suite import on_guests

SIZE = 24 << 20


def start_cluster(lab, transport, journal="file:/run/journal", before=""):
    """Boot a and b, mount the cluster on /mnt/mooncake on both; the guests."""
    a, b = lab.boot(2, add=["etcd"] if journal.startswith("etcd") else [])
    if before:
        for guest in (a, b):
            guest.run(before)
    a.start(f"exec mooncake-master --listen 10.0.0.1:50051 --journal {journal}")
    a.run("within 20 listens 50051")
    for guest in (a, b):
        guest.run("mkdir -p /mnt/mooncake; mooncakefs /mnt/mooncake -o master=10.0.0.1:50051,"
                  f"segment=192m,listen=$ADDRESS,transport={transport}")
    return a, b


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
        seen = b.run("mapped /mnt/mooncake/file | sha256sum").split()[0]
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
