"""What wrong options and wrong mountpoints get, and every way to start."""

import errno
import os
import shutil
import subprocess
import sys
import time

import syscalls
from cluster import (kill_recorded, mounted, mounts, processes_with, record, wait_until)
from suite import fails, get, on_cluster, put, skip

START_S = 20


def start(argv, timeout_s=START_S, **how):
    """Run a program that should end by itself: (status, everything it said)."""
    done = subprocess.run(argv, capture_output=True, timeout=timeout_s, check=False,
                          preexec_fn=syscalls.die_with_parent, stdin=subprocess.DEVNULL, **how)
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


def refused(cluster, mountpoint, options, *words):
    """mooncakefs must end with an error that names each of WORDS, mounting nothing."""
    before = [point for point, _ in mounts()].count(mountpoint)
    status, said = start(cluster.programs.node(mountpoint, options))
    assert status not in (0, None) and status > 0, f"status {status}: {said}"
    for word in words:
        assert word in said, f"{word!r} is not in: {said}"
    after = [point for point, _ in mounts()].count(mountpoint)
    assert after == before, "it is mounted all the same"
    return said


def prepared(cluster):
    return cluster.directory("mountpoint"), cluster.node_options(None, "a", {})


@on_cluster(variants="one")
def an_unknown_option_is_named_and_refused(cluster):
    mountpoint, options = prepared(cluster)
    refused(cluster, mountpoint, {**options, "nonsense": "1"}, "nonsense")
    refused(cluster, mountpoint, {**options, "segmnt": "1g"}, "segmnt")


@on_cluster(variants="one")
def a_bad_value_is_named_and_refused(cluster):
    mountpoint, options = prepared(cluster)
    for name, value in (("segment", "abc"), ("segment", "-5"), ("segment", "12q"),
                        ("segment", "99999999999999999999g"), ("segment", ""),
                        ("passthrough", "maybe"), ("io_uring", "2x"),
                        ("transport", "pigeon"), ("cpu_latency", "soon"),
                        ("cpu_latency", "1000001"), ("cpu_latency", ""), ("master", "127.0.0.1:99999"),
                        ("master", "127.0.0.1:abc"), ("master", "http://127.0.0.1:50051"),
                        ("master", "etcd://127.0.0.1"), ("master", "etcd://127.0.0.1:1?a=b")):
        refused(cluster, mountpoint, {**options, name: value}, name)


@on_cluster(variants="one")
def what_makes_no_sense_is_refused_before_anything_is_started(cluster):
    mountpoint, options = prepared(cluster)
    for name, value in (("pool", ""), ("name", ""), ("name", "two\nlines"), ("name", "\x7f"),
                        ("name", "x" * 64), ("ports", "9-8"), ("ports", "1-70000"),
                        ("ports", "4294967297-4294967298"), ("preferred", "a::b"),
                        ("watermark_low", "96"), ("lend", "off")):
        argv = cluster.programs.node(mountpoint, {**options, name: value}, foreground=False)
        status, said = start(argv, cwd=cluster.directory("where"))
        assert status == 2 and name in said and "serving" not in said, (name, value, status, said)
        assert said.count("\n") == 1, said
    status, said = start(cluster.programs.node("", options), cwd=cluster.path("where"))
    assert status == 2 and "mountpoint" in said, (status, said)
    assert not mounted(cluster.path("where")) and not mounted(mountpoint)


@on_cluster(variants="one", needs=("root",))
def what_libfuse_says_is_in_the_log(cluster):
    mountpoint, options = prepared(cluster)
    log = cluster.path("log")
    argv = cluster.programs.node(mountpoint, {**options, "log_file": log}, foreground=False)
    hide = "mount -t tmpfs none /dev && mknod /dev/null c 1 3 && exec \"$@\""
    status, said = start(["unshare", "-m", "sh", "-c", hide, "sh", *argv])
    assert status == 1, (status, said)
    with open(log) as lines:
        assert any(" error " in line and "/dev/fuse" in line for line in lines), said


@on_cluster(variants="one", needs=("root",))
def a_run_that_takes_no_pool_is_named(cluster):
    mountpoint, options = prepared(cluster)
    argv = cluster.programs.node(mountpoint, {k: v for k, v in options.items() if k != "pool"})
    status, said = start(["unshare", "-m", "sh", "-c",
                          "mount -t tmpfs -o ro none /run && exec \"$@\"", "sh", *argv])
    assert status == 1 and "/run/mooncake" in said and "Read-only" in said, (status, said)


@on_cluster(variants="one")
def a_tmpfs_of_somebody_else_is_not_taken_for_a_pool(cluster):
    mountpoint, options = prepared(cluster)
    other = cluster.directory("other")
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "other", other],
                           capture_output=True, check=False)
    if mount.returncode:
        skip("no privilege to mount a tmpfs")
    try:
        put(os.path.join(other, "file"), b"theirs")
        refused(cluster, mountpoint, {**options, "pool": other}, "private_pool=off", other)
        assert os.listdir(other) == ["file"]
        assert os.statvfs(other).f_blocks * os.statvfs(other).f_frsize == 1 << 20
    finally:
        subprocess.run(["umount", other], check=True)


@on_cluster(variants="one")
def an_unknown_flag_and_too_few_or_many_words_are_refused(cluster):
    program = cluster.programs.path("mooncakefs")
    own = [cluster.directory(name) for name in ("one", "two", "three")]
    for words in (["--nonsense"], [], own):
        status, said = start([program, *words])
        assert status > 0 and said, f"{words}: status {status}"
    status, said = start([cluster.programs.path("mooncake-master"), "--nonsense"])
    assert status > 0 and "nonsense" in said


CPU_LATENCY = "/dev/cpu_dma_latency"


def longest_wakeup_us():
    """What the kernel promises at most just now, to all who ask it for something."""
    device = os.open(CPU_LATENCY, os.O_RDWR)
    try:
        return int.from_bytes(os.read(device, 4), sys.byteorder, signed=True)
    finally:
        os.close(device)


@on_cluster(variants="one")
def idle_processors_are_kept_ready_while_requests_come(cluster):
    if not os.access(CPU_LATENCY, os.R_OK | os.W_OK):
        skip(f"{CPU_LATENCY} is not ours")
    node = cluster.node(cpu_latency=7)
    status = os.getxattr(node.path, "user.mooncake.status").decode()
    assert "cpu_latency on: 7 us" in status, status

    def kept_ready():
        put(os.path.join(node.path, "k"), b"x")
        return longest_wakeup_us() <= 7
    wait_until(kept_ready, 20, "the kernel is asked")  # a slow machine may rest in between


@on_cluster(variants="one")
def a_master_keeps_idle_processors_ready_while_it_is_asked(cluster):
    if not os.access(CPU_LATENCY, os.R_OK | os.W_OK):
        skip(f"{CPU_LATENCY} is not ours")
    master = cluster.master(**{"cpu-latency": 6})
    assert 'cpu_latency="on: 6 us' in master.log(), master.log()
    node = cluster.node(master, cpu_latency="any")

    def kept_ready():
        os.path.exists(os.path.join(node.path, "missing"))
        return longest_wakeup_us() <= 6
    wait_until(kept_ready, 20, "the kernel is asked")


@on_cluster(variants="one")
def idle_processors_are_left_alone_on_demand(cluster):
    master = cluster.master(**{"cpu-latency": "any"})
    assert 'cpu_latency="off: by option' in master.log(), master.log()
    node = cluster.node(master, cpu_latency="any")
    status = os.getxattr(node.path, "user.mooncake.status").decode()
    assert "cpu_latency off: by option" in status, status


@on_cluster(variants="one")
def help_and_version_are_told_with_success(cluster):
    for name in ("mooncakefs", "mooncake-master", "mooncake"):
        status, said = start([cluster.programs.path(name), "--help"])
        assert status == 0 and name in said, name
        status, said = start([cluster.programs.path(name), "--version"])
        assert status == 0 and any(c.isdigit() for c in said), name
    _, said = start([cluster.programs.path("mooncakefs"), "--help"])
    for option in ("segment", "master", "passthrough", "io_uring", "transport", "pool",
                   "immutable"):
        assert option in said, option


@on_cluster(variants="one")
def a_missing_mountpoint_is_named_and_refused(cluster):
    _, options = prepared(cluster)
    missing = cluster.path("missing")
    refused(cluster, missing, options, missing)


@on_cluster(variants="one")
def a_mountpoint_that_is_a_file_is_named_and_refused(cluster):
    _, options = prepared(cluster)
    put(cluster.path("file"), b"x")
    refused(cluster, cluster.path("file"), options, cluster.path("file"))
    assert get(cluster.path("file")) == b"x"


@on_cluster(variants="one")
def a_mountpoint_that_is_not_empty_is_covered_and_uncovered(cluster):
    put(os.path.join(cluster.directory("a"), "below"), b"hidden")
    node = cluster.node()
    assert os.listdir(node.path) == []
    put(os.path.join(node.path, "k"), b"x")
    assert node.stop() == 0
    assert os.listdir(node.path) == ["below"]


@on_cluster(variants="one")
def a_mountpoint_with_a_living_mount_is_refused_and_left_alone(cluster):
    node = cluster.node()
    put(os.path.join(node.path, "k"), b"x")
    options = cluster.node_options(None, "second", {})
    refused(cluster, node.path, options, node.path)
    assert get(os.path.join(node.path, "k")) == b"x"
    assert [point for point, _ in mounts()].count(node.path) == 1


@on_cluster(variants="one")
def a_pool_used_by_a_living_node_is_refused(cluster):
    node = cluster.node()
    put(os.path.join(node.path, "k"), b"x")
    options = {**cluster.node_options(None, "b", {}), "pool": node.options["pool"]}
    refused(cluster, cluster.directory("b"), options, "pool")
    assert get(os.path.join(node.path, "k")) == b"x"


@on_cluster()
def a_start_on_a_mountpoint_left_dead_cleans_it_up(cluster):
    node = cluster.node()
    node.kill()
    assert mounted(node.path)
    for _ in range(3):
        node = cluster.again(node)
        assert [point for point, _ in mounts()].count(node.path) == 1
        node.kill()
    node = cluster.again(node)
    assert node.stop() == 0 and mounted(node.path) is None


@on_cluster(variants="one", needs=("root",))
def a_user_cleans_a_dead_mount_up_by_the_helper_of_libfuse(cluster):
    from suite import as_user
    node = cluster.node()
    node.kill()
    tools = cluster.directory("tools")
    os.chown(tools, 4321, 4321)
    helper = os.path.join(tools, "fusermount3")
    with open(helper, "w", encoding="ascii") as script:
        script.write(f'#!/bin/sh\necho "$@" >{tools}/called\nexit 1\n')
    os.chmod(helper, 0o755)
    argv = cluster.programs.node(node.path, cluster.node_options(None, "a", {}))
    status, said = as_user(4321, 4321, lambda: start(argv, env={"PATH": tools + ":/usr/bin:/bin"}))
    assert status == 1 and "can't be cleaned up" in said, (status, said)
    with open(os.path.join(tools, "called"), encoding="ascii") as called:
        assert called.read().split() == ["-u", "-z", "--", node.path]


@on_cluster(variants="one")
def an_unreachable_master_is_told_and_the_start_ends_or_can_be_ended(cluster):
    from cluster import free_port
    node = cluster.node(free_port(), "a", ready=False)
    wait_until(lambda: "master" in node.log().split("\n", 1)[1] or not node.alive(), START_S,
               "the log tells of the master")
    time.sleep(0.5)
    if not node.alive():
        assert node.wait() > 0
        assert "master" in node.log().split("\n", 1)[1]
        return
    status = node.stop()
    assert status is not None and mounted(node.path) is None, status


@on_cluster(variants="one")
def a_node_started_before_its_master_works_or_says_why_not(cluster):
    from cluster import free_port
    port = free_port()
    node = cluster.node(port, "a", ready=False)
    time.sleep(0.5)
    cluster.master(port=port)
    if node.alive():
        node.wait_ready()
        put(os.path.join(node.path, "k"), b"x")
        assert get(os.path.join(node.path, "k")) == b"x"
    else:
        assert "master" in node.log().split("\n", 1)[1]


def daemon_of(cluster, mountpoint):
    """The process that serves MOUNTPOINT; recorded, so that it is ended."""
    found = [pid for pid in processes_with(mountpoint) if pid != os.getpid()]
    for pid in found:
        record(cluster.home, pid)
    return found


@on_cluster()
def a_daemon_goes_to_the_background_once_it_is_mounted(cluster):
    mountpoint, options = prepared(cluster)
    argv = cluster.programs.node(mountpoint, options, foreground=False)
    status, said = start(argv)
    daemons = daemon_of(cluster, mountpoint)
    assert status == 0, said
    assert (mounted(mountpoint) or "").startswith("fuse"), "not mounted when the start returned"
    assert len(daemons) == 1, daemons
    put(os.path.join(mountpoint, "k"), b"x")
    assert os.readlink(f"/proc/{daemons[0]}/cwd") == "/"
    os.kill(daemons[0], 15)
    wait_until(lambda: mounted(mountpoint) is None, 15, "it unmounts")
    wait_until(lambda: not daemon_of(cluster, mountpoint), 15, "it ends")


@on_cluster(variants="one")
def a_daemon_whose_streams_were_closed_works_and_ends(cluster):
    mountpoint, options = prepared(cluster)
    argv = cluster.programs.node(mountpoint, options, foreground=False)
    subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *argv], check=True, timeout=START_S)
    daemons = daemon_of(cluster, mountpoint)
    put(os.path.join(mountpoint, "k"), b"x")
    assert get(os.path.join(mountpoint, "k")) == b"x"
    for number in range(3):
        assert os.readlink(f"/proc/{daemons[0]}/fd/{number}") == "/dev/null"
    subprocess.run(["umount", mountpoint], check=True, timeout=15)
    wait_until(lambda: not daemon_of(cluster, mountpoint), 15, "the daemon ends")


@on_cluster(variants="one")
def a_daemon_takes_paths_as_seen_from_where_it_was_started(cluster):
    where = cluster.directory("where")
    name = f"here-{os.getpid()}-{os.path.basename(cluster.home)}"
    mountpoint = cluster.directory(os.path.join("where", name))
    _, options = prepared(cluster)
    options = {**options, "pool": "pool", "journal": "file:journal"}
    status, said = start(cluster.programs.node(name, options, foreground=False), cwd=where)
    daemon_of(cluster, name)
    assert status == 0 and mounted(mountpoint), said
    assert {name, "pool", "journal"} <= set(os.listdir(where)), os.listdir(where)
    kill_recorded(cluster.home)


@on_cluster(variants="one")
def a_mountpoint_that_is_not_here_is_not_looked_for_elsewhere(cluster):
    where = cluster.directory("where")
    name = "nowhere-" + os.path.basename(cluster.home)
    _, options = prepared(cluster)
    status, said = start(cluster.programs.node(name, options, foreground=False), cwd=where)
    assert status == 1 and os.path.join(where, name) in said, (status, said)


@on_cluster(variants="one")
def what_restricts_a_mount_is_heeded(cluster):
    mountpoint, options = prepared(cluster)
    argv = cluster.programs.node(mountpoint, options, foreground=False)
    status, said = start(argv + ["-o", "rw,ro,exec,noexec"])
    daemon_of(cluster, mountpoint)
    assert status == 0 and mounted(mountpoint), said
    flags = os.statvfs(mountpoint).f_flag
    assert flags & os.ST_RDONLY and flags & os.ST_NOEXEC, hex(flags)
    with fails(errno.EROFS):
        put(os.path.join(mountpoint, "k"), b"x")
    kill_recorded(cluster.home)


@on_cluster(variants="one")
def a_daemon_that_cannot_mount_fails_before_it_goes_to_the_background(cluster):
    _, options = prepared(cluster)
    argv = cluster.programs.node(cluster.path("missing"), options, foreground=False)
    status, said = start(argv)
    assert status > 0 and "missing" in said, (status, said)
    assert not daemon_of(cluster, cluster.path("missing"))


@on_cluster(variants="one")
def the_call_of_a_mount_helper_is_understood(cluster):
    """mount.fuse runs `mooncakefs SOURCE MOUNTPOINT -o OPTIONS`."""
    mountpoint, options = prepared(cluster)
    given = ",".join(["rw,nosuid,nodev,noatime,nodiratime,lazytime,_netdev,nofail"] +
                     [f"{k}={v}" for k, v in options.items()])
    argv = [cluster.programs.path("mooncakefs"), "kv", mountpoint, "-o", given]
    status, said = start(argv)
    daemon_of(cluster, mountpoint)
    assert status == 0 and mounted(mountpoint), said
    put(os.path.join(mountpoint, "k"), b"x")
    kill_recorded(cluster.home)


@on_cluster(variants="one", needs=("root",))
def mount_of_type_fuse_mooncakefs_works_as_in_fstab(cluster):
    helper = shutil.which("mount.fuse", path="/sbin:/usr/sbin") or \
        shutil.which("mount.fuse3", path="/sbin:/usr/sbin")
    deps = os.path.join(cluster.programs.directory, "..", "deps", "sbin", "mount.fuse3")
    mountpoint, options = prepared(cluster)
    given = ",".join(f"{k}={v}" for k, v in options.items())
    paths = {"PATH": cluster.programs.directory + ":" + os.environ["PATH"]}
    if helper:
        argv = ["mount", "-t", "fuse.mooncakefs", "mooncakefs#kv", mountpoint, "-o", given]
    elif os.access(deps, os.X_OK):
        argv = [deps, "mooncakefs#kv", mountpoint, "-o", given]
    else:
        skip("needs mount.fuse or mount.fuse3")
    # A mount.fuse3 that was built beside the programs finds its library there.
    paths["LD_LIBRARY_PATH"] = os.path.join(cluster.programs.directory, "..", "deps", "lib")
    status, said = start(argv, env={**os.environ, **paths})
    daemon_of(cluster, mountpoint)
    assert status == 0 and mounted(mountpoint) == "fuse.mooncakefs", said
    put(os.path.join(mountpoint, "k"), b"x")
    assert get(os.path.join(mountpoint, "k")) == b"x"
    subprocess.run(["umount", mountpoint], check=True, timeout=15)
    wait_until(lambda: not daemon_of(cluster, mountpoint), 15, "the daemon ends")


@on_cluster()
def the_mount_says_its_type_and_that_all_may_use_it(cluster):
    node = cluster.node()
    assert mounted(node.path) == "fuse.mooncakefs"
    with open("/proc/self/mountinfo") as info:
        line = next(line for line in info if f" {node.path} " in line)
    assert "allow_other" in line and "default_permissions" in line, line


@on_cluster(variants="one", needs=("root",))
def a_node_of_an_ordinary_user_tells_what_it_lacks_or_works(cluster):
    from suite import as_user
    mountpoint, options = prepared(cluster)
    for path in (mountpoint, options["pool"]):
        os.chown(path, 4321, 4321)
    argv = cluster.programs.node(mountpoint, options)

    def run():
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, preexec_fn=syscalls.die_with_parent)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and process.poll() is None and not mounted(mountpoint):
            time.sleep(0.05)
        if process.poll() is None:
            process.terminate()
        said = process.communicate(timeout=15)[0]
        return process.returncode, said.decode("utf-8", "replace")
    status, said = as_user(4321, 4321, run)
    assert status == 0 or (status > 0 and said.strip()), (status, said)
