"""Every way to end a node, and what is left of it."""

import os
import shutil
import signal
import subprocess
import time

from cluster import (free_port, listening_ports, mounted, processes_with, record,
                     wait_until)
from suite import get, on_cluster, put, skip, write_whole

REQUEST_THREADS_MAX = 16  # fs/main.c


def at(node, name):
    return os.path.join(node.path, name)


def ended_cleanly(node, status):
    assert status == 0, f"status {status}\n{node.log()}"
    assert mounted(node.path) is None, "still mounted"


@on_cluster()
def sigterm_sigint_and_sighup_or_unmount_end_a_node_with_success(cluster):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        node = cluster.node(name=f"n{number}")
        put(at(node, "k"), b"x")
        node.signal(number)
        ended_cleanly(node, node.wait())


@on_cluster()
def umount_and_fusermount_end_a_node_with_success(cluster):
    deps = os.path.join(cluster.programs.directory, "..", "deps", "bin")
    fusermount = shutil.which("fusermount3", path=os.environ["PATH"] + ":" + deps)
    calls = [["umount"]] + ([[fusermount, "-u"]] if fusermount else [])
    for number, call in enumerate(calls):
        node = cluster.node(name=f"n{number}")
        put(at(node, "k"), b"x")
        subprocess.run(call + [node.path], check=True, timeout=15)
        ended_cleanly(node, node.wait())


@on_cluster(variants="one")
def a_node_can_be_started_as_soon_as_it_is_unmounted(cluster):
    path = cluster.directory("a")
    for pool in (cluster.directory("pool"), None):
        options = {"segment": "256m"}
        if pool:
            options["pool"] = pool
        for number in range(4):
            argv = cluster.programs.node(path, options, foreground=False)
            done = subprocess.run(argv, capture_output=True, timeout=20, check=False)
            for pid in processes_with(path):
                record(cluster.home, pid)
            assert done.returncode == 0, done.stderr
            assert bool(pool) == (f"k{number - 1}" in os.listdir(path)) or number == 0
            for size in range(50):
                put(os.path.join(path, f"s{size}"), b"x" * 100_000)
            put(os.path.join(path, f"k{number}"), b"x")
            subprocess.run(["umount", path], check=True, timeout=15)
    wait_until(lambda: not processes_with(path), 10, "the last one ends")


@on_cluster(variants="one", needs=("root",))
def a_pool_in_use_keeps_its_size_when_another_daemon_is_refused(cluster):
    node = cluster.node()
    before = os.statvfs(node.options["pool"]).f_blocks
    options = {**cluster.node_options(None, "b", {}), "segment": "64m", "journal": "memory",
               "pool": node.options["pool"]}
    refused = cluster.run("b", cluster.programs.node(cluster.directory("b"), options))
    assert refused.wait() == 1 and "in use" in refused.log()
    assert os.statvfs(node.options["pool"]).f_blocks == before


@on_cluster()
def a_node_with_open_files_ends_at_sigterm(cluster):
    node = cluster.node()
    put(at(node, "k"), b"x" * 100)
    reader = os.open(at(node, "k"), os.O_RDONLY)
    writer = os.open(at(node, "l"), os.O_CREAT | os.O_WRONLY, 0o644)
    write_whole(writer, b"y")
    node.signal(signal.SIGTERM)
    ended_cleanly(node, node.wait())
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            pass
    node = cluster.again(node)
    assert get(at(node, "k")) == b"x" * 100


@on_cluster()
def two_sigints_end_a_node_at_once(cluster):
    node = cluster.node()
    fd = os.open(node.path, os.O_RDONLY)
    node.signal(signal.SIGINT)
    node.signal(signal.SIGINT)
    begin = time.monotonic()
    node.wait()
    assert time.monotonic() - begin < 3
    assert mounted(node.path) is None
    os.close(fd)


@on_cluster(variants="one", needs=("root",))
def two_signals_before_it_is_mounted_leave_what_is_on_the_mountpoint(cluster):
    path = cluster.directory("a")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "theirs", path], check=True)
    try:
        node = cluster.node(free_port(), "a", ready=False)
        wait_until(lambda: "does not answer" in node.log(), 10, "it waits for its master")
        node.signal(signal.SIGSTOP)
        node.signal(signal.SIGTERM)
        node.signal(signal.SIGINT)
        node.signal(signal.SIGCONT)
        node.wait()
        assert mounted(path) == "tmpfs"
    finally:
        subprocess.run(["umount", path], check=True)


@on_cluster(variants="one")
def a_signal_that_is_ignored_ends_no_node(cluster):
    argv = cluster.programs.node(cluster.directory("a"), cluster.node_options(None, "a", {}))
    script = "trap '' INT HUP; exec \"$@\""
    node = cluster.run("ignoring", ["sh", "-c", script, "sh", *argv])
    wait_until(lambda: mounted(cluster.path("a")), 15, "it is mounted")
    for number in (signal.SIGINT, signal.SIGHUP):
        node.signal(number)
    time.sleep(0.5)
    assert node.alive() and mounted(cluster.path("a")), node.log()
    assert node.stop() == 0


@on_cluster(variants="one")
def a_start_that_is_given_up_ends_with_who_waits_for_it(cluster):
    path = cluster.directory("a")
    options = cluster.node_options(free_port(), "a", {})
    for number in (signal.SIGINT, signal.SIGKILL):
        starter = cluster.run(f"starter{number}",
                              cluster.programs.node(path, options, foreground=False))
        wait_until(lambda: "does not answer" in starter.log(), 10, "it waits for its master")
        starter.signal(number)
        assert starter.wait() == -number
        wait_until(lambda: not processes_with(path), 5, "the daemon ends")


@on_cluster(variants="one")
def two_sigints_end_a_node_whose_master_does_not_answer(cluster):
    master = cluster.master()
    node = cluster.node(master)
    put(at(node, "k"), b"x")
    master.signal(signal.SIGSTOP)
    try:
        node.signal(signal.SIGINT)
        time.sleep(0.3)
        node.signal(signal.SIGINT)
        node.wait(5)
        assert mounted(node.path) is None
    finally:
        master.signal(signal.SIGCONT)


@on_cluster(variants="one")
def a_master_that_hangs_makes_calls_fail_in_time(cluster):
    import errno
    master = cluster.master()
    node = cluster.node(master)
    put(at(node, "k"), b"x")
    master.signal(signal.SIGSTOP)
    try:
        begin = time.monotonic()
        try:
            put(at(node, "l"), b"y")
        except OSError as error:
            assert error.errno in (errno.ETIMEDOUT, errno.EROFS, errno.EHOSTUNREACH), error
        assert time.monotonic() - begin < 30, "a put hangs with its master"
        assert get(at(node, "k")) == b"x"
    finally:
        master.signal(signal.SIGCONT)
    wait_until(lambda: _works(node), 20, "the node goes on with its master")


def _works(node):
    try:
        put(at(node, "probe"), b"x")
        return True
    except OSError:
        return False


@on_cluster(variants="one")
def a_master_ends_with_success_and_its_port_is_free_again(cluster):
    for number in (signal.SIGTERM, signal.SIGINT):
        master = cluster.master(f"m{number}")
        assert listening_ports(master.pid), "it listens on nothing"
        master.signal(number)
        assert master.wait() == 0, master.log()
        again = cluster.again(master)
        assert again.stop() == 0


@on_cluster(variants="one")
def a_node_that_ended_leaves_nothing_mounted_but_its_pool(cluster):
    from cluster import mounts
    node = cluster.node(cluster.master())
    put(at(node, "k"), b"x")
    node.stop()
    left = [point for point, _ in mounts() if point.startswith(cluster.home + "/")]
    assert set(left) <= {node.options["pool"]}, left


@on_cluster(variants="ends", timeout_s=120)
def a_churn_leaves_no_descriptor_thread_or_byte_behind(cluster):
    master, a, b = cluster.pair(transport="tcp")
    _churn(a, b, "warm")
    before = [(p.descriptor_count(), p.thread_count()) for p in (master, a, b)]
    for turn in range(4):
        _churn(a, b, f"turn{turn}")

    after = []

    def settled():
        after[:] = [(p.descriptor_count(), p.thread_count()) for p in (master, a, b)]
        # Each request thread of libfuse keeps a pipe to splice through, once it has served;
        # it makes up to REQUEST_THREADS_MAX of them when requests pile up, and keeps them.
        return all(new[0] <= old[0] + 3 + 2 * new[1] and new[1] <= old[1] + REQUEST_THREADS_MAX
                   for old, new in zip(before, after))
    try:
        wait_until(settled, 15, "descriptors and threads are as before")
    except AssertionError as error:
        raise AssertionError(f"{error}: {before} became {after}") from None

    def used(node):
        space = os.statvfs(node.path)
        return (space.f_blocks - space.f_bfree) * space.f_frsize
    # What the whole cluster uses is known as of the last heartbeats.
    for node in (a, b):
        wait_until(lambda node=node: used(node) < 1 << 20, 15, "the pools are empty again")


def _churn(a, b, name):
    os.mkdir(at(a, name))
    for number in range(120):
        put(at(a, f"{name}/k{number}.tmp"), b"x" * 20_000)
        os.rename(at(a, f"{name}/k{number}.tmp"), at(a, f"{name}/k{number}"))
        assert get(at(b, f"{name}/k{number}")) == b"x" * 20_000
        os.setxattr(at(a, f"{name}/k{number}"), "user.n", b"1")
    for node in (b, a):
        os.listdir(at(node, name))
    for number in range(120):
        os.unlink(at(b if number % 2 else a, f"{name}/k{number}"))
    os.rmdir(at(a, name))


@on_cluster(variants="one")
def a_node_killed_leaves_its_pool_to_no_other_user(cluster):
    node = cluster.node()
    put(at(node, "k"), b"secret")
    assert os.stat(node.options["pool"]).st_mode & 0o077 == 0
    node.kill()
    assert os.stat(node.options["pool"]).st_mode & 0o077 == 0


@on_cluster(variants="one")
def what_is_off_is_said_in_the_log_or_the_status(cluster):
    node = cluster.node(passthrough="off", io_uring="off")
    done = cluster.cli(None, "--version")
    if done.returncode != 0:
        skip("the command line is not there")
    assert "passthrough" in node.log().split("\n", 1)[1], "the log does not say what is off"
