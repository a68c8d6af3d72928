"""Masters over an etcd, and what is put and found again while they change."""

import errno
import os
import time

from cluster import wait_until
from suite import get, put

# How long a takeover takes is for mooncake-bench journal to say; only a hang fails here.
HANG_S = 60
PREFIX = "/mooncake/default/"


def masters_of(cluster, etcd, count=2, **options):
    """Masters m0, m1 …; the first leads."""
    masters = []
    for number in range(count):
        masters.append(cluster.master(f"m{number}", journal=etcd.journal, socket="none",
                                      **options))
        wait_until(lambda: leader_port(etcd), HANG_S, "a master leads")
    return masters


def leader_port(etcd):
    said = etcd.keys(PREFIX + "leader").get(PREFIX + "leader", "")
    return int(said.split(" ")[0].rsplit(":", 1)[1]) if said else None


def leader_of(etcd, masters):
    port = wait_until(lambda: leader_port(etcd), HANG_S, "a master leads")
    return next(m for m in masters if m.port == port)


def put_many(node, count, prefix="o"):
    for number in range(count):
        put(os.path.join(node.path, f"{prefix}{number}"), b"%s %d" % (prefix.encode(), number))


def check_many(node, count, prefix="o"):
    for number in range(count):
        path = os.path.join(node.path, f"{prefix}{number}")
        assert get(path) == b"%s %d" % (prefix.encode(), number), path


def wait_for_names(node, count, prefixes):
    """Until a listing has all that put_many() put."""
    wanted = {f"{prefix}{number}" for prefix in prefixes for number in range(count)}
    wait_until(lambda: wanted <= set(os.listdir(node.path)), HANG_S, "the names are back")


def works(node, name):
    """A put through the mount is taken now."""
    try:
        put(os.path.join(node.path, name), b"x")
    except OSError as error:
        assert error.errno in (errno.EROFS, errno.ETIMEDOUT, errno.ENOSPC, errno.EIO), error
        return False
    return True


def time_until_works(node, timeout_s=HANG_S):
    begun = time.monotonic()
    numbers = iter(range(1000000))
    wait_until(lambda: works(node, f"probe{next(numbers)}"), timeout_s, "changes are taken")
    return time.monotonic() - begun
