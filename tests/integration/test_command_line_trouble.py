"""The command line when things go wrong, and on a terminal."""

import json
import os
import pty
import resource
import signal
import socket
import struct
import subprocess
import threading
import time

from cluster import free_port, wait_until
from suite import content, get, on_cluster, put, same

OK, NOT_FOUND, USAGE, UNREACHABLE, FAILED = 0, 1, 2, 3, 4
POLICY_UNSET = 31  # the verb


def at(node, name):
    return os.path.join(node.path, name)


def ends(cluster, master, code, *words, within_s=10, **how):
    """Run it; it must end with CODE in time, and say why in one line."""
    begin = time.monotonic()
    done = cluster.cli(master, *words, **how)
    assert time.monotonic() - begin < within_s, f"{words} took too long"
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    if code != OK:
        lines = done.stderr.decode().splitlines()
        assert lines and all(line.startswith("mooncake: ") for line in lines), done.stderr
    return done


def no_large_files():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


@on_cluster(variants="one")
def status_without_a_master_still_tells_of_the_mount(cluster):
    master = cluster.master()
    node = cluster.node(master)
    master.kill()
    done = ends(cluster, None, UNREACHABLE, "--mount", node.path, "status")
    for word in (b"passthrough", b"io_uring", b"transport", node.path.encode()):
        assert word in done.stdout, done.stdout
    assert str(master.port).encode() in done.stderr
    told = json.loads(cluster.cli(None, "--mount", node.path, "status", "--json").stdout)
    assert told["master"]["reached"] is False and told["mount"]["answers"] is True, told
    assert told["mount"]["passthrough"]["why"] and told["mount"]["connected"] is False, told


@on_cluster(variants="ends")
def a_hanging_daemon_ends_in_a_sentence_not_in_a_hang(cluster):
    master = cluster.master(**{"ttl-ms": 60000})
    node = cluster.node(master)
    put(at(node, "k"), b"x")
    put(cluster.path("in"), b"x")
    put(cluster.path("out"), b"as it was")
    node.signal(signal.SIGSTOP)
    try:
        for words in (["status"], ["put", cluster.path("in"), "k2"],
                      ["get", "k", cluster.path("out")], ["stats"]):
            done = ends(cluster, None, UNREACHABLE, "--mount", node.path, "-t", "200", *words)
            assert node.path.encode() in done.stderr, done.stderr
        assert ends(cluster, master, OK, "ls", "-t", "2s").stdout == b"k\n"
    finally:
        node.signal(signal.SIGCONT)
    assert get(cluster.path("out")) == b"as it was"


@on_cluster(variants="one")
def a_put_that_is_given_up_clears_up_when_the_mount_answers(cluster):
    master = cluster.master(**{"ttl-ms": 60000})
    node = cluster.node(master)
    putting = subprocess.Popen(cluster.programs.cli(master.port, "-t", "200ms", "put", "-", "k"),
                               stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    putting.stdin.write(b"some")
    putting.stdin.flush()
    wait_until(lambda: os.listdir(node.path), 10, "the put has begun")
    node.signal(signal.SIGSTOP)
    try:
        putting.stdin.close()       # and now its close hangs
        assert putting.wait(10) == UNREACHABLE
    finally:
        node.signal(signal.SIGCONT)
    wait_until(lambda: os.listdir(node.path) == [], 10, "neither k nor its staging name is there")
    assert cluster.cli(master, "exists", "k").returncode == NOT_FOUND


@on_cluster(variants="one", needs=("strace",))
def a_get_into_a_mount_that_hangs_is_given_up(cluster):
    master = cluster.master(**{"ttl-ms": 60000})
    node, other = cluster.node(master, "a"), cluster.node(master, "b")
    put(at(node, "k"), b"x")
    slowly = "strace -D -f -qq -o /dev/null -e inject=copy_file_range:delay_enter=1000000"
    getting = subprocess.Popen([*slowly.split(), *cluster.programs.cli(
        None, "--mount", node.path, "-t", "1s", "get", "k", at(other, "out"))],
        stderr=subprocess.DEVNULL)
    wait_until(lambda: "out.tmp" in str(os.listdir(other.path)), 10, "the get has begun")
    other.signal(signal.SIGSTOP)
    try:
        assert getting.wait(10) == UNREACHABLE
    finally:
        other.signal(signal.SIGCONT)
    wait_until(lambda: os.listdir(other.path) == ["k"], 10, "no staging name is left")


@on_cluster(variants="one")
def mounts_that_hang_are_named_and_another_is_taken(cluster):
    master = cluster.master()
    hanging = [cluster.node(master, name) for name in ("a", "b")]
    node = cluster.node(master, "c")
    put(at(node, "k"), b"x")
    for each in hanging:
        each.signal(signal.SIGSTOP)
    try:
        done = ends(cluster, master, OK, "get", "k", "-")
        assert done.stdout == b"x", done.stdout
        for each in hanging:
            assert each.path.encode() in done.stderr, done.stderr
        node.signal(signal.SIGSTOP)
        done = ends(cluster, master, UNREACHABLE, "-t", "200ms", "get", "k", "-")
        for each in (*hanging, node):
            assert each.path.encode() in done.stderr, done.stderr
    finally:
        for each in (*hanging, node):
            each.signal(signal.SIGCONT)


@on_cluster(variants="one")
def a_mount_that_is_dead_is_named_and_another_is_taken(cluster):
    master = cluster.master()
    dead, node = cluster.node(master, "a"), cluster.node(master, "b")
    dead.kill()
    ends(cluster, master, OK, "put", "-", "k", stdin=b"x")
    for words in (["get", "k", "-"], ["status"]):
        assert dead.path.encode() in ends(cluster, master, OK, *words).stderr, words
    done = ends(cluster, None, UNREACHABLE, "--mount", dead.path, "stats")
    assert b"has ended" in done.stderr, done.stderr
    node.kill()
    ends(cluster, master, UNREACHABLE, "get", "k", "-")


@on_cluster(variants="one")
def a_hanging_master_ends_in_a_sentence_not_in_a_hang(cluster):
    master = cluster.master()
    node = cluster.node(master)
    put(at(node, "k"), b"x")
    master.signal(signal.SIGSTOP)
    try:
        for words in (["status"], ["ls"], ["exists", "k"], ["rm", "k"], ["stats"]):
            ends(cluster, master, UNREACHABLE, "-t", "300ms", *words, within_s=3)
    finally:
        master.signal(signal.SIGCONT)
    wait_until(lambda: cluster.cli(master, "exists", "k").returncode == OK, 10, "k exists still")


@on_cluster(variants="one")
def an_interrupted_put_leaves_nothing(cluster):
    master = cluster.master()
    node = cluster.node(master)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        putting = subprocess.Popen(cluster.programs.cli(master.port, "put", "-", "k"),
                                   stdin=subprocess.PIPE)
        putting.stdin.write(b"some")
        putting.stdin.flush()
        wait_until(lambda: os.listdir(node.path), 10, "the put has begun")
        putting.send_signal(number)
        assert putting.wait(10) == -number
        putting.stdin.close()
        assert os.listdir(node.path) == []
    ends(cluster, master, NOT_FOUND, "stat", "k")


@on_cluster(variants="one")
def a_signal_that_is_ignored_ends_no_put(cluster):
    master = cluster.master()
    node = cluster.node(master)
    putting = subprocess.Popen(["nohup", *cluster.programs.cli(master.port, "put", "-", "k")],
                               stdin=subprocess.PIPE)
    putting.stdin.write(b"some")
    putting.stdin.flush()
    wait_until(lambda: os.listdir(node.path), 10, "the put has begun")
    putting.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    putting.communicate(b"thing")
    assert putting.returncode == OK and get(at(node, "k")) == b"something"


@on_cluster(variants="one")
def a_get_that_fails_leaves_the_file_as_it_was(cluster):
    master = cluster.master()
    node = cluster.node(master)
    put(at(node, "k"), content(1, 1 << 20))
    put(cluster.path("out"), b"as it was")
    os.symlink("out", cluster.path("link"))
    before = sorted(os.listdir(cluster.home))
    ends(cluster, master, NOT_FOUND, "get", "missing", cluster.path("out"))
    for name in ("out", "link"):
        done = subprocess.run(cluster.programs.cli(master.port, "get", "k", cluster.path(name)),
                              preexec_fn=no_large_files, capture_output=True, check=False)
        assert done.returncode == FAILED and b"out" in done.stderr, done
    assert get(cluster.path("out")) == b"as it was"
    assert sorted(os.listdir(cluster.home)) == before
    ends(cluster, master, OK, "get", "k", cluster.path("link"))
    assert os.path.islink(cluster.path("link")) and get(cluster.path("out")) == get(at(node, "k"))


@on_cluster(variants="one")
def a_get_to_a_link_that_leads_nowhere_is_refused(cluster):
    master = cluster.master()
    node = cluster.node(master)
    put(at(node, "k"), content(1, 1 << 20))
    os.mkdir(cluster.path("folder"))
    os.symlink("absent", cluster.path("link"))
    os.symlink("absent", cluster.path("folder/k"))
    before = sorted(os.listdir(cluster.home))
    for target in ("link", "folder"):
        done = ends(cluster, master, NOT_FOUND, "get", "k", cluster.path(target))
        assert b"is a link to what is not there" in done.stderr, done
        done = subprocess.run(cluster.programs.cli(master.port, "get", "k", cluster.path(target)),
                              preexec_fn=no_large_files, capture_output=True, check=False)
        assert done.returncode == NOT_FOUND, done
    assert sorted(os.listdir(cluster.home)) == before
    assert os.listdir(cluster.path("folder")) == ["k"]
    assert os.path.islink(cluster.path("link")) and os.path.islink(cluster.path("folder/k"))
    os.mkfifo(cluster.path("pipe"))
    os.symlink("pipe", cluster.path("to_pipe"))
    reading = subprocess.Popen(["cat", cluster.path("pipe")], stdout=subprocess.PIPE)
    put(at(node, "small"), b"through the pipe")
    ends(cluster, master, OK, "get", "small", cluster.path("to_pipe"))
    assert reading.communicate()[0] == b"through the pipe"


@on_cluster(variants="one", needs=("strace",))
def a_get_that_fails_names_the_end_that_failed(cluster):
    master = cluster.master()
    node = cluster.node(master)
    put(at(node, "k"), content(1, 20 << 20))
    failing = "-e inject=copy_file_range:error=EIO:when=2+ -P " + at(node, "k")
    for more, code, said in (([], OK, b""), (["-e", "inject=read:error=EIO"], FAILED, b"read k:")):
        done = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", *failing.split(), *more,
                               *cluster.programs.cli(master.port, "get", "k", at(node, "out"))],
                              capture_output=True, check=False)
        assert done.returncode == code and said in done.stderr, done
    same(get(at(node, "out")), content(1, 20 << 20))


@on_cluster(variants="one")
def a_put_without_room_says_so_and_keeps_what_was_there(cluster):
    master = cluster.master()
    node = cluster.node(master, segment="32m")
    put(at(node, "k"), b"first")
    os.setxattr(at(node, "k"), "user.mooncake.pinned", b"1")
    put(cluster.path("in"), content(1, 40 << 20))
    done = ends(cluster, master, FAILED, "put", cluster.path("in"), "k")
    assert b"space" in done.stderr, done.stderr
    assert get(at(node, "k")) == b"first" and os.listdir(node.path) == ["k"]


@on_cluster(variants="one")
def a_closed_pipe_ends_a_get(cluster):
    master = cluster.master()
    node = cluster.node(master)
    put(at(node, "k"), content(1, 4 << 20))
    getting = subprocess.Popen(cluster.programs.cli(master.port, "get", "k", "-"),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    getting.stdout.read(10)
    getting.stdout.close()
    assert getting.wait(10) == FAILED
    assert b"nobody reads" in getting.stderr.read()
    getting.stderr.close()


@on_cluster(variants="one")
def a_closed_standard_stream_is_told_and_nothing_else_takes_its_place(cluster):
    master = cluster.master()
    node = cluster.node(master)
    put(at(node, "k"), b"x")
    for closed, *words in ((0, "put", "-", "k2"), (1, "get", "k", "-"), (1, "ls")):
        done = subprocess.run(cluster.programs.cli(master.port, *words), stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=10, check=False,
                              preexec_fn=lambda closed=closed: os.close(closed))
        assert done.returncode == FAILED and b"standard" in done.stderr, (words, done)
    assert os.listdir(node.path) == ["k"]


@on_cluster(variants="one")
def rm_removes_a_tree_only_when_told(cluster):
    master = cluster.master()
    node = cluster.node(master)
    os.makedirs(at(node, "d/e/f"))
    for name in ("keep", "d/1", "d/e/2", "d/e/f/3", "d/e/f/4"):
        put(at(node, name), b"x")
    ends(cluster, master, FAILED, "rm", "d")
    assert os.path.exists(at(node, "d/1"))
    told = json.loads(ends(cluster, master, OK, "rm", "-r", "--json", "d").stdout)
    assert told["objects"] == 4 and told["directories"] == 3, told
    assert ends(cluster, master, OK, "ls", "-R").stdout == b"keep\n"


@on_cluster(variants="one", slow=True, timeout_s=120)
def a_listing_of_many_pages_is_whole_and_sorted(cluster):
    master = cluster.master()
    node = cluster.node(master)
    names = [f"{number * 7919 % 20_000:05}" for number in range(20_000)]
    for name in names:
        os.close(os.open(at(node, name), os.O_CREAT | os.O_WRONLY))
    assert ends(cluster, master, OK, "ls").stdout.decode().split() == sorted(names)
    told = json.loads(ends(cluster, master, OK, "ls", "--json").stdout)
    assert [entry["name"] for entry in told] == sorted(names)
    ends(cluster, master, OK, "rm", "-r", "/", within_s=30)
    assert ends(cluster, master, OK, "ls").stdout == b""


@on_cluster(variants="one")
def the_cluster_is_found_by_options_environment_and_mounts(cluster):
    first, second = cluster.master("m1"), cluster.master("m2")
    one, two = cluster.node(first, "one"), cluster.node(second, "two")
    put(at(one, "in_one"), b"1")
    put(at(two, "in_two"), b"2")
    # put goes through the mount of the master that is named, whichever is mounted first.
    for master, node in ((first, one), (second, two)):
        ends(cluster, master, OK, "put", "-", "k", stdin=node.name.encode())
        assert get(at(node, "k")) == node.name.encode()
        listed = ends(cluster, None, OK, "--mount", node.path, "ls").stdout
        assert f"in_{node.name}".encode() in listed, listed
    os.environ["MOONCAKE_MASTER"] = f"127.0.0.1:{second.port}"
    assert b"in_two" in ends(cluster, None, OK, "ls").stdout
    assert b"in_one" in ends(cluster, first, OK, "ls").stdout
    del os.environ["MOONCAKE_MASTER"]
    os.environ["MOONCAKE_MOUNT"] = two.path
    assert b"in_two" in ends(cluster, None, OK, "ls").stdout
    assert ends(cluster, None, OK, "get", "k", "-").stdout == b"two"
    ends(cluster, free_port(), UNREACHABLE, "put", "-", "k")


@on_cluster(variants="one")
def a_directory_as_target_takes_the_name(cluster):
    master = cluster.master()
    node = cluster.node(master)
    put(cluster.path("file"), b"1")
    os.mkdir(cluster.path("there"))
    ends(cluster, master, OK, "put", cluster.path("file"), "a/b/")
    assert get(at(node, "a/b/file")) == b"1"
    ends(cluster, master, OK, "get", "a/b/file", cluster.path("there"))
    assert get(cluster.path("there/file")) == b"1"
    ends(cluster, master, FAILED, "put", cluster.path("file"), "a/b")
    ends(cluster, master, FAILED, "put", cluster.path("there"), "k")
    ends(cluster, master, FAILED, "get", "a", cluster.path("there"))
    ends(cluster, master, USAGE, "put", "-", "a/")
    ends(cluster, master, USAGE, "get", "a/b/file", "-", "--json")
    for key in ("a/../b", "a//b", "x" * 256, "y/" * 2049):
        ends(cluster, master, USAGE, "stat", key)


@on_cluster(variants="one")
def the_longest_key_goes_in_and_out(cluster):
    master = cluster.master()
    cluster.node(master)
    key = "d" * 255 + "/" + "y/" * 1919 + "z"
    assert len(key) == 4095
    ends(cluster, master, OK, "put", "-", key, stdin=b"deep")
    assert ends(cluster, master, OK, "get", key, "-").stdout == b"deep"
    assert ends(cluster, master, OK, "ls", "-R").stdout.endswith(key.encode() + b"\n")
    ends(cluster, master, OK, "rm", "-r", "d" * 255)
    assert ends(cluster, master, OK, "ls").stdout == b""


@on_cluster(variants="one")
def every_command_explains_itself(cluster):
    for command in ("status", "ls", "stat", "put", "get", "rm", "exists", "locate", "stats"):
        said = cluster.cli(None, command, "--help")
        assert said.returncode == OK
        assert f"usage: mooncake {command}".encode() in said.stdout
        assert b"exit:" in said.stdout and b"--json" in said.stdout
        assert command.encode() in cluster.cli(None, "--help").stdout
    assert cluster.cli(None, "--version").stdout.startswith(b"mooncake ")


@on_cluster(variants="one")
def a_long_copy_draws_its_progress_on_a_terminal(cluster):
    master = cluster.master()
    node = cluster.node(master)
    data = content(3, 12 << 20)
    put(at(node, "k"), data)
    terminal, other_end = pty.openpty()
    getting = subprocess.Popen(cluster.programs.cli(master.port, "get", "k", "-"),
                               stdout=subprocess.PIPE, stderr=other_end,
                               env={**os.environ, "TERM": "xterm"})
    os.close(other_end)
    drawn = []

    def read_terminal():
        try:
            while True:
                drawn.append(os.read(terminal, 4096))
        except OSError:
            pass                    # the other end is closed
    reader = threading.Thread(target=read_terminal)
    reader.start()
    arrived = getting.stdout.read(6 << 20)
    time.sleep(1)
    arrived += getting.stdout.read()
    getting.stdout.close()
    assert getting.wait(10) == OK
    reader.join(10)
    os.close(terminal)
    same(arrived, data)
    text = b"".join(drawn)
    assert b"%" in text and b"of 12.0 MiB" in text and text.endswith(b"\r\x1b[K"), text[-200:]


class Thief:
    """Stands before a master, and once takes the answer to a verb and hangs up."""

    def __init__(self, master, verb):
        self.master, self.verb = master, verb
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            client, _ = self.listening.accept()
            server = socket.create_connection(("127.0.0.1", self.master.port))
            for one, other, stolen in ((client, server, False), (server, client, True)):
                threading.Thread(target=self.pump, args=(one, other, stolen), daemon=True).start()

    def pump(self, one, other, stolen):
        reading = one.makefile("rb")
        while header := reading.read(24):
            verb, size = struct.unpack_from("<4xH2xI", header)
            body = reading.read(size)
            if stolen and header[3] == 1 and verb == self.verb:
                self.verb = None
                break
            other.sendall(header + body)
        for each in (one, other):
            each.shutdown(socket.SHUT_RDWR)


@on_cluster(variants="one")
def an_answer_that_was_lost_is_asked_for_again(cluster):
    master = cluster.master()
    ends(cluster, master, OK, "policy", "set", "below", "replicas=2")
    thief = Thief(master, verb=POLICY_UNSET)
    ends(cluster, None, OK, "--master", f"127.0.0.1:{thief.port}", "policy", "unset", "below")
    assert thief.verb is None
    assert ends(cluster, master, OK, "policy", "list").stdout == b""
    ends(cluster, master, NOT_FOUND, "policy", "unset", "below")
