"""The command line: what it does, prints, and ends with."""

import json
import os
import socket
import struct
import subprocess

from cluster import free_port, wait_until
from suite import content, get, on_cluster, put, same

OK, NOT_FOUND, USAGE = 0, 1, 2
TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def at(node, name):
    return os.path.join(node.path, name)


def run(cluster, master, *words, want=OK, **how):
    done = cluster.cli(master, *words, **how)
    assert done.returncode == want or (want is None and done.returncode > 0), \
        f"mooncake {' '.join(words)}: {done.returncode}\n{done.stdout!r}\n{done.stderr!r}"
    assert want == OK or done.stderr or done.stdout or words[0] == "exists", "it says nothing"
    return done.stdout


def parsed(text):
    """A JSON document, or a list of one a line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]


def everything_in(value):
    """All keys and plain values of a JSON document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from everything_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from everything_in(inner)
    else:
        yield value


def three_objects(cluster):
    master = cluster.master()
    node = cluster.node(master)
    os.mkdir(at(node, "d"))
    for name in ("k1", "d/k2", "d/k3"):
        put(at(node, name), content(name, 12_345))
    return master, node


@on_cluster()
def status_tells_of_nodes_capacity_objects_and_what_is_on(cluster):
    master, node = three_objects(cluster)
    said = run(cluster, master, "status").decode()
    for word in ("passthrough", "io_uring", "cpu_latency", "transport"):
        assert word in said, f"{word} is not in\n{said}"
    told = parsed(run(cluster, master, "status", "--json"))
    words = set(map(str, everything_in(told)))
    assert "passthrough" in words and "nodes" in words, told
    assert "3" in words or 3 in list(everything_in(told)), f"no count of objects in {told}"


@on_cluster(variants="one")
def ls_lists_names_long_and_below(cluster):
    master, _ = three_objects(cluster)
    assert run(cluster, master, "ls").split() == [b"d/", b"k1"]
    assert run(cluster, master, "ls", "d").split() == [b"k2", b"k3"]
    assert run(cluster, master, "ls", "-l", "d").count(b"12.1 KiB") == 2
    below = run(cluster, master, "ls", "-R")
    assert b"k1" in below and b"k2" in below and b"k3" in below
    told = list(everything_in(parsed(run(cluster, master, "ls", "-R", "--json"))))
    assert any(str(word).endswith("k3") for word in told) and 12_345 in told, told
    run(cluster, master, "ls", "missing", want=NOT_FOUND)


@on_cluster(variants="one")
def stat_tells_size_version_and_replicas(cluster):
    master, node = three_objects(cluster)
    assert b"12345 bytes (12.1 KiB)" in run(cluster, master, "stat", "d/k2")
    entry, = parsed(run(cluster, master, "stat", "--json", "d/k2"))
    version = int(os.getxattr(at(node, "d/k2"), "user.mooncake.version"))
    assert entry["size"] == 12_345 and entry["version"] == version, (entry, version)
    same_one, = parsed(run(cluster, master, "stat", "--json", "--id", entry["id"]))
    assert same_one["key"] == "d/k2", same_one
    run(cluster, master, "stat", "missing", want=NOT_FOUND)


@on_cluster()
def put_and_get_move_files_pipes_and_large_objects(cluster):
    master, node = three_objects(cluster)
    for number, size in enumerate((0, 1, 100_001, 9 << 20)):
        data = content(number, size)
        put(cluster.path("in"), data)
        run(cluster, master, "put", cluster.path("in"), f"made/n{number}")
        same(get(at(node, f"made/n{number}")), data, "put by the command line")
        run(cluster, master, "get", f"made/n{number}", cluster.path("out"))
        same(get(cluster.path("out")), data, "got by the command line")
    assert run(cluster, master, "get", "k1", "-") == content("k1", 12_345)
    run(cluster, master, "put", "-", "piped", stdin=b"through a pipe")
    assert get(at(node, "piped")) == b"through a pipe"
    run(cluster, master, "put", "/dev/stdin", "piped", stdin=b"by its other name")
    assert run(cluster, master, "get", "piped", "/dev/stdout") == b"by its other name"


@on_cluster(variants="one")
def put_and_get_that_cannot_be_done_say_so_and_leave_nothing(cluster):
    master, node = three_objects(cluster)
    run(cluster, master, "put", cluster.path("missing"), "k9", want=None)
    assert not os.path.exists(at(node, "k9"))
    run(cluster, master, "get", "missing", cluster.path("out"), want=NOT_FOUND)
    assert not os.path.exists(cluster.path("out"))
    run(cluster, master, "get", "k1/below", cluster.path("out"), want=NOT_FOUND)
    run(cluster, master, "get", "k1", cluster.path("no/such/directory"), want=None)
    put(cluster.path("in"), b"x")
    run(cluster, master, "put", cluster.path("in"), "x" * 256, want=None)
    run(cluster, master, "put", cluster.path("in"), "k1/below", want=None)
    run(cluster, master, "put", cluster.path("in"), "d/k.tmp", want=USAGE)
    assert sorted(os.listdir(at(node, "d"))) == ["k2", "k3"]


@on_cluster(variants="one")
def exists_answers_by_its_exit_code(cluster):
    master, _ = three_objects(cluster)
    run(cluster, master, "exists", "k1")
    run(cluster, master, "exists", "missing", want=NOT_FOUND)
    told = cluster.cli(master, "exists", "--json", "k1")
    assert told.returncode == OK and True in list(everything_in(parsed(told.stdout)))


@on_cluster(variants="one")
def rm_removes_and_says_what_was_missing(cluster):
    master, node = three_objects(cluster)
    run(cluster, master, "rm", "k1", "d/k2")
    run(cluster, master, "exists", "k1", want=NOT_FOUND)
    run(cluster, master, "exists", "d/k2", want=NOT_FOUND)
    run(cluster, master, "rm", "k1", want=NOT_FOUND)
    run(cluster, master, "exists", "d/k3")
    parsed(run(cluster, master, "rm", "--json", "d/k3"))


@on_cluster(variants="one")
def locate_names_every_node_that_holds_a_copy(cluster):
    master, node = three_objects(cluster)
    # A descriptor that is passed makes no copy: the bytes have to cross.
    second = cluster.node(master, "b", transport="tcp")
    one = parsed(run(cluster, master, "locate", "--json", "k1"))
    get(at(second, "k1"))
    two = parsed(run(cluster, master, "locate", "--json", "k1"))
    assert len(list(everything_in(two))) > len(list(everything_in(one))), (one, two)
    rows = run(cluster, master, "locate", "k1", "d/k2").splitlines()
    assert len({row.find(b"alive") for row in rows}) == 1, rows
    run(cluster, master, "locate", "missing", want=NOT_FOUND)


@on_cluster(variants="one")
def stats_prints_counters_as_text_and_json(cluster):
    master, node = three_objects(cluster)
    lines = run(cluster, master, "stats").decode().splitlines()
    assert any(len(line.split()) == 2 and line.split()[1].isdigit() for line in lines), lines
    numbers = [v for v in everything_in(parsed(run(cluster, master, "stats", "--json")))
               if isinstance(v, int)]
    assert numbers
    of_mount = parsed(run(cluster, None, "--mount", node.path, "stats", "--json"))
    of_master = parsed(run(cluster, None, "--mount", node.path, "stats", "--master", "--json"))
    assert "fuse_create" in of_mount and "fuse_create" not in of_master
    assert of_master["objects"] == 3 and "rpc_publish" in of_master, of_master


@on_cluster(variants="one")
def wrong_words_end_with_the_usage_code(cluster):
    master = cluster.master()
    for words in ([], ["nonsense"], ["stat"], ["get"], ["put", "one"], ["ls", "--nonsense"]):
        done = cluster.cli(master, *words)
        assert done.returncode == USAGE, f"{words}: {done.returncode}"
        assert done.stderr or done.stdout


@on_cluster(variants="one")
def an_unreachable_master_is_told_in_time(cluster):
    port = free_port()
    for words in (["status"], ["ls"], ["get", "k", "-"], ["exists", "k"]):
        done = cluster.cli(port, *words, timeout_s=20)
        assert done.returncode not in (OK, NOT_FOUND, USAGE), f"{words}: {done.returncode}"
        assert str(port).encode() in done.stderr, done.stderr


@on_cluster(variants="one")
def odd_names_go_through_the_command_line_byte_for_byte(cluster):
    master = cluster.master()
    node = cluster.node(master)
    for name in ("a b", "-leading", "new\nline", "%2F", "é", "quote\"'", "x" * 255):
        put(cluster.path("in"), name.encode())
        run(cluster, master, "put", "--", cluster.path("in"), name)
        assert get(at(node, name)) == name.encode(), name
        run(cluster, master, "exists", "--", name)
    told = [str(w) for w in everything_in(parsed(run(cluster, master, "ls", "--json")))]
    for name in ("a b", "new\nline", "quote\"'"):
        assert name in told, name
    put(os.path.join(os.fsencode(node.path), b"\xffraw"), b"")
    entry, = parsed(run(cluster, master, "ls", "--json", os.fsdecode(b"\xffraw")))
    assert entry["name"] == "\ufffdraw" and entry["name_base64"] == "/3Jhdw==", entry


def stranger(master, name):
    """Connected to MASTER as a node of a name that mooncakefs would refuse."""
    link = socket.create_connection((master.host, master.port), 5)
    body = struct.pack("<B16s", 1, os.urandom(16))
    for text in (os.fsencode(name), b"elsewhere"):
        body += struct.pack("<H", len(text)) + text
    body += struct.pack("<QQB", 1 << 20, 0, 0)
    link.sendall(struct.pack("<HBBHhIIQ", 0x434D, 1, 0, 1, 0, len(body), 0, 1) + body)
    assert link.recv(65536)
    return link


@on_cluster(variants="one")
def odd_names_of_nodes_make_no_odd_output(cluster):
    master = cluster.master()
    odd = os.fsdecode(b"\x1b[31m\xff")
    node, _ = cluster.node(master, "a", node_name="a"), cluster.node(master, "b", node_name="b")
    put(at(node, "k"), b"x")
    run(cluster, master, "policy", "set", "/", "replicas=2", f"preferred={odd},b")
    wait_until(lambda: run(cluster, master, "locate", "k").count(b"\n") == 2, 10, "two copies")
    with stranger(master, odd):
        for words in (["status"], ["node", "list"], ["policy", "list"], ["policy", "show", "k"],
                      ["stat", "k"], ["locate", "k"], ["drain", "--cancel", odd]):
            json.loads(run(cluster, None, "--mount", node.path, *words, "--json").decode())
            assert b"\x1b" not in run(cluster, None, "--mount", node.path, *words), words


@on_cluster(variants="one")
def no_progress_is_drawn_into_a_pipe(cluster):
    master = cluster.master()
    cluster.node(master)
    put(cluster.path("in"), content(1, 8 << 20))
    done = cluster.cli(master, "put", cluster.path("in"), "k")
    assert done.returncode == OK and b"\r" not in done.stdout + done.stderr


@on_cluster(variants="one")
def the_completion_knows_commands_keys_and_files(cluster):
    master, node = three_objects(cluster)

    def offered(function, *words):
        """What it offers for the last of WORDS, which are as readline splits them."""
        script = ("compopt() { :; }; . deploy/completion/mooncake.bash; COMP_WORDS=(\"${@:2}\"); "
                  "COMP_CWORD=$(($# - 2)); $1; printf '%s\\n' \"${COMPREPLY[@]}\"")
        done = subprocess.run(["bash", "-c", script, "bash", function, *words], cwd=TOP,
                              capture_output=True, check=True)
        return done.stdout.decode().split()
    program = cluster.programs.path("mooncake")
    told = run(cluster, None, "--help").decode().split("commands:\n")[1].split("\n\n")[0]
    assert set(offered("_mooncake", program, "")) == {line.split()[0] for line in told.splitlines()}
    of = [program, "-M", "127.0.0.1", ":", str(master.port)]
    assert offered("_mooncake", *of, "ls", "d/") == ["d/k2", "d/k3"]
    assert offered("_mooncake", *of, "get", "-t", "9s", "k") == ["k1"]
    assert "register" in offered("_mooncake", program, "nvmeof", "")
    benches = offered("_mooncake_other", cluster.programs.path("mooncake-bench"), "")
    assert {"local", "engine"} <= set(benches) and "exit" not in benches, benches


@on_cluster(variants="one")
def the_mount_and_the_command_line_tell_the_same_counters(cluster):
    master, node = three_objects(cluster)
    told = node.counters()
    assert told["rpc_total"] >= 3 and "bytes_copied" in told, sorted(told)
