"""mooncake nvmeof: descriptors of segments that are files."""

import json
import os
import socket

from suite import on_cluster

MISSING, USAGE, UNREACHABLE, FAILED = 1, 2, 3, 4


class Store:
    """A master's metadata, and the command on it."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.master = cluster.master()
        self.url = "http://{}:{}/metadata".format(*self.master.http())

    def run(self, *words, url=None, code=0):
        done = self.cluster.cli(None, "nvmeof", *words, "--metadata", url or self.url)
        assert done.returncode == code, (words, done)
        assert bool(done.stderr) == (code != 0), (words, done.stderr)
        return done.stdout.decode()

    def show(self, segment):
        return json.loads(self.run("show", segment, "--json"))


def files(cluster, *sizes):
    paths = []
    for number, size in enumerate(sizes):
        paths.append(cluster.path(f"file{number}"))
        with open(paths[-1], "wb") as file:
            file.truncate(size)
    return paths


@on_cluster(variants="one")
def a_segment_of_files_is_registered_and_found_by_its_hosts(cluster):
    store = Store(cluster)
    first, second = files(cluster, 1 << 20, 300000)
    store.run("register", "disk", first, second)
    assert store.show("nvmeof/disk") == {
        "segment": "nvmeof/disk", "server": socket.gethostname(),
        "files": [{"file": first, "length": 1 << 20, "paths": {}},
                  {"file": second, "length": 300000, "paths": {}}]}
    store.run("mount", "disk", second, first, "--name", "node1")
    store.run("mount", "disk", second, second, "--name", "node2")
    store.run("mount", "disk", second, second, "--name", "node1")
    assert store.show("disk")["files"][1]["paths"] == {"node1": second, "node2": second}
    assert f"node2: {second}" in store.run("show", "disk")
    store.run("forget", "disk")
    store.run("show", "disk", code=MISSING)
    store.run("register", "disk", first)
    assert json.loads(store.run("forget", "disk", "--json")) \
        == {"segment": "nvmeof/disk", "forgotten": True}


@on_cluster(variants="one")
def what_mooncakes_scripts_would_read_is_what_is_written(cluster):
    import urllib.request
    store = Store(cluster)
    path, = files(cluster, 4096)
    store.run("register", "disk", path, "--name", "store1")
    store.run("mount", "disk", path, path, "--name", "node1")
    with urllib.request.urlopen(f"{store.url}?key=mooncake%2Fnvmeof%2Fdisk") as answer:
        assert json.load(answer) == {
            "server_name": "store1", "protocol": "nvmeof",
            "buffers": [{"length": 4096, "file_path": path, "local_path_map": {"node1": path}}]}


@on_cluster(variants="one")
def what_makes_no_sense_is_said_and_changes_nothing(cluster):
    store = Store(cluster)
    whole, part, empty = files(cluster, 8192, 4096, 0)
    absent = cluster.path("absent")
    store.run("register", "disk", whole, "--name", "store1")
    before = store.show("disk")
    store.run("register", "disk", absent, code=MISSING)
    store.run("register", "disk", empty, code=FAILED)
    store.run("register", "disk", os.path.dirname(whole), code=FAILED)
    store.run("mount", "disk", whole, part, code=FAILED)
    store.run("mount", "disk", whole, absent, code=MISSING)
    store.run("mount", "disk", part, part, code=MISSING)
    store.run("mount", "disk", whole, code=USAGE)
    store.run("mend", "disk", code=USAGE)
    raw = os.path.join(os.fsencode(cluster.home), b"raw\xff")
    os.link(whole, raw)
    store.run("register", "disk", os.fsdecode(raw), code=FAILED)
    store.run("show", "x" * 300, code=USAGE)
    store.run("show", "disk", url="P2PHANDSHAKE", code=USAGE)
    store.run("show", "disk", url="http://127.0.0.1:1/metadata", code=UNREACHABLE)
    assert store.show("disk") == before


@on_cluster(variants="one")
def a_master_whose_http_cannot_be_guessed_needs_a_store_to_be_named(cluster):
    for master in "10.0.0.1:1,10.0.0.2:1", "etcd://10.0.0.1:2379", "unix:@mooncake-master-1":
        done = cluster.cli(None, "nvmeof", "show", "a", "--master", master)
        assert done.returncode == USAGE, done
        assert b"give --metadata" in done.stderr, done
