"""What masters and nodes say over HTTP, to those who ask well and to those who don't."""

import http.client
import json
import os
import random
import re
import socket
import subprocess
import time
import urllib.parse

from cluster import wait_until
from suite import content, on_cluster, put, skip

HERE = os.path.dirname(os.path.abspath(__file__))
TOKEN = "a-token-of-the-operator-2026"


def ask(master, path, method="GET", body=None, headers=None, timeout_s=10):
    """(code, content type, bytes) of one request."""
    link = http.client.HTTPConnection(*master.http(), timeout=timeout_s)
    try:
        link.request(method, path, body, headers or {})
        answer = link.getresponse()
        return answer.status, answer.getheader("Content-Type"), answer.read()
    finally:
        link.close()


def view(master, path):
    code, kind, body = ask(master, path)
    assert code == 200, (path, code, body)
    assert kind == "application/json; charset=utf-8", kind
    return json.loads(body)


def metadata(key):
    return "/metadata?key=" + urllib.parse.quote(key, safe="")


def metrics(master):
    """{name with labels: value}, with every rule of the format checked."""
    code, kind, body = ask(master, "/metrics")
    assert code == 200 and kind.startswith("text/plain; version=0.0.4"), (code, kind)
    return parse_metrics(body.decode())


def parse_metrics(text):
    values, declared, current = {}, {}, None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, sentence = line[7:].split(" ", 1)
            assert name not in declared and sentence, line
            declared[name], current = None, name
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name == current and kind in ("counter", "gauge"), line
            assert (kind == "counter") == name.endswith("_total"), line
            declared[name] = kind
        else:
            found = re.fullmatch(r'(mooncake_[a-z0-9_]+)((?:\{.*\})?) (\d+(?:\.\d+)?)', line)
            assert found and found[1] == current, line
            assert found[1] + found[2] not in values, line
            values[found[1] + found[2]] = float(found[3])
    assert all(declared.values())
    return values


@on_cluster(variants="one")
def a_master_shows_its_health_itself_and_its_nodes(cluster):
    master, a, b = cluster.pair()
    assert view(master, "/health") == {"status": "ok", "role": "leader", "epoch": 1}
    leader = view(master, "/api/leader")
    assert leader["address"] == f"127.0.0.1:{master.port}", leader
    assert len(leader["cluster"]) == 16 and leader["read_only"] is False, leader
    nodes = view(master, "/api/nodes")["nodes"]
    assert [node["alive"] for node in nodes] == [True, True], nodes
    assert all(node["capacity"] > 200 << 20 and node["endpoints"] for node in nodes), nodes
    b.stop()
    wait_until(lambda: [n["alive"] for n in view(master, "/api/nodes")["nodes"]].count(True) == 1,
               15, "a node that left is shown as gone")
    assert a.alive()


@on_cluster(variants="one")
def objects_are_listed_by_prefix_and_page(cluster):
    master, a, _ = cluster.pair()
    keys = [f"m/{i // 10}/k{i}" for i in range(57)] + ["m/top", "mm", "other/x"]
    for key in keys:
        os.makedirs(os.path.join(a.path, os.path.dirname(key)), exist_ok=True)
        put(os.path.join(a.path, key), content(1, 1000))
    odd = "m/a\udcffb\"\\\n"
    put(os.path.join(a.path, odd), b"x")
    for prefix in ("", "m/", "m", "m/3/", "m/3/k3", "/m/", "nothing", "m/top/", "m/t", "other"):
        wanted = sorted(k for k in keys + [odd] if k.startswith(prefix.lstrip("/")))
        for limit in (1, 7, 100):
            found, cursor = [], ""
            while cursor is not None:
                page = view(master, "/api/objects?" + urllib.parse.urlencode(
                    {"prefix": prefix, "limit": limit, "cursor": cursor}))
                assert len(page["objects"]) <= limit
                found += [o["key"] for o in page["objects"]]
                cursor = page.get("cursor")
            assert sorted(found) == wanted, (prefix, limit, found)
    one = view(master, "/api/objects?prefix=m/top")["objects"][0]
    assert one["size"] == 1000 and one["replicas"] == [{"node": 1, "kind": "primary"}], one
    for bad in ("limit=0", "limit=x", "limit=-1", "cursor=x", "cursor=1..2", "cursor=.",
                "cursor=1.x", "cursor=0.1", "prefix=a//b", "prefix=../", "prefix=" + "a/" * 3000):
        code, _, body = ask(master, f"/api/objects?{bad}")
        assert code == 400 and "error" in json.loads(body), (bad, code)
    for odd in ("cursor=18446744073709551615", "cursor=99999.1.1", "prefix=x%00y", "limit=999999"):
        assert ask(master, f"/api/objects?{odd}")[0] == 200, odd


@on_cluster(variants="one")
def metrics_are_in_the_format_and_count(cluster):
    master, a, _ = cluster.pair()
    before = metrics(master)
    put(os.path.join(a.path, "x"), b"1")
    after = metrics(master)
    assert after["mooncake_master_objects"] == before["mooncake_master_objects"] + 1
    key = 'mooncake_master_rpc_total{verb="publish"}'
    assert after[key] == before[key] + 1
    assert after['mooncake_http_requests_total{code="2xx"}'] > 0
    assert after["mooncake_process_resident_bytes"] > 1 << 20
    assert any(name.startswith('mooncake_master_node_capacity_bytes{node="1"') for name in after)
    stats = json.loads(cluster.cli(master, "stats", "--json").stdout)
    assert after["mooncake_master_objects"] == stats["objects"]


def too_large(master, path, size):
    """The code that comes before any of the body is sent."""
    with socket.create_connection(master.http(), 5) as link:
        link.sendall(f"PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode())
        return int(link.recv(4096).split()[1])


def chunked(master, path, sizes):
    """The code for a body whose length nobody knows before it ends."""
    link = http.client.HTTPConnection(*master.http(), timeout=10)
    link.request("PUT", path, (b"x" * size for size in sizes), encode_chunked=True,
                 headers={"Transfer-Encoding": "chunked"})
    return link.getresponse().status


@on_cluster(variants="one")
def metadata_is_kept_as_mooncakes_own_server_keeps_it(cluster):
    master = cluster.master()
    key = metadata("mooncake/ram/node1:12345")
    json_type = "application/json; charset=utf-8"
    assert ask(master, key) == (404, json_type, b"metadata not found")
    assert ask(master, key, "PUT", b'{"name":"node1"}\n') == (200, json_type, b"metadata updated")
    assert ask(master, key) == (200, json_type, b'{"name":"node1"}\n')
    assert ask(master, key, "PUT", b"\0\xff" * 500)[0] == 200
    assert ask(master, key)[2] == b"\0\xff" * 500
    assert ask(master, key, "DELETE") == (200, json_type, b"metadata deleted")
    assert ask(master, key, "DELETE") == (200, json_type, b"metadata deleted")
    assert ask(master, key)[0] == 404
    assert ask(master, "/metadata")[0] == 400
    assert ask(master, "/metadata?key=")[0] == 400
    assert ask(master, "/metadata?key=a%00b")[0] == 400
    assert ask(master, key, "POST", b"x")[0] == 405
    assert ask(master, metadata("k" * 1025), "PUT", b"x")[0] == 413
    assert ask(master, metadata("big"), "PUT", b"x" * ((1 << 20) - 1))[0] == 200
    assert too_large(master, metadata("big"), 1 << 20) == 413
    assert too_large(master, metadata("big"), 1 << 62) == 413
    assert chunked(master, metadata("big"), [1 << 20]) == 413
    assert chunked(master, metadata("big"), [1 << 16] * 200) == 413
    assert len(ask(master, metadata("big"))[2]) == (1 << 20) - 1
    assert chunked(master, metadata("big"), [1 << 19, (1 << 19) - 1]) == 200
    assert metrics(master)["mooncake_master_metadata_keys"] == 1


@on_cluster(variants="one")
def metadata_is_bounded_in_all(cluster):
    master = cluster.master()
    link = http.client.HTTPConnection(*master.http(), timeout=10)
    codes = []
    for i in range(300):
        link.request("PUT", metadata(f"k{i}"), b"x" * ((1 << 20) - 1))
        answer = link.getresponse()
        answer.read()
        codes.append(answer.status)
        if answer.status != 200:
            break
    assert codes[-1] == 507 and codes.count(200) == 255, (codes[-1], len(codes))
    assert ask(master, metadata("k0"), "PUT", b"smaller")[0] == 200
    assert ask(master, metadata("more"), "PUT", b"small")[0] == 200


@on_cluster(variants="one")
def the_admin_token_is_asked_for_where_there_is_one(cluster):
    path = cluster.path("token")
    with open(path, "w") as file:
        file.write(TOKEN + "\n")
    os.chmod(path, 0o600)
    key, right = metadata("k"), {"Authorization": f"Bearer {TOKEN}"}
    master = cluster.master("guarded", **{"admin-token-file": path})
    for headers in ({}, {"Authorization": TOKEN}, {"Authorization": f"Bearer {TOKEN}x"},
                    {"Authorization": f"Bearer {TOKEN[:-1]}"}, {"Authorization": "Bearer "},
                    {"Authorization": f"Basic {TOKEN}"}):
        assert ask(master, key, "PUT", b"x", headers)[0] == 403, headers
    assert ask(master, key)[0] == 404
    assert ask(master, key, "PUT", b"x", right)[0] == 200
    assert ask(master, key)[2] == b"x"
    assert ask(master, key, "DELETE")[0] == 403
    assert ask(master, key, "DELETE", headers=right)[0] == 200
    open_one = cluster.master("open", **{"admin-token-file": path, "metadata-writes": "open"})
    assert ask(open_one, key, "PUT", b"x")[0] == 200
    for text, mode in ((TOKEN, 0o644), (TOKEN, 0o660), ("short", 0o600), ("a b c d e f g h i j", 0o600)):
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        refused = cluster.master(f"refused{mode}{len(text)}", ready=False,
                                 **{"admin-token-file": path})
        assert refused.wait() == 1 and "no token in the file" in refused.log()


@on_cluster(variants="one")
def the_port_is_a_free_one_of_a_range_or_none(cluster):
    ranged = cluster.master("ranged", http="127.0.0.1:21000-21999")
    assert 21000 <= ranged.http()[1] <= 21999
    other = cluster.master("off", http="none")
    wait_until(lambda: " http= " in other.log(), 60, "a master says that it serves no HTTP")
    taken = "%s:%d" % ranged.http()
    refused = cluster.master("taken", ready=False, http=taken)
    assert refused.wait() == 1 and "can't serve HTTP" in refused.log()
    for bad in ("127.0.0.1", "127.0.0.1:9-3", "127.0.0.1:1-99999", "x:y", "@name"):
        assert cluster.master(f"bad{len(bad)}{bad[-1]}", ready=False, http=bad).wait() == 1, bad


def throw(address, data):
    with socket.create_connection(address, 5) as link:
        link.settimeout(0.02)
        try:
            link.sendall(data)
            link.shutdown(socket.SHUT_WR)
            while link.recv(65536):
                pass
        except OSError:
            pass


def garbage(seed):
    chance = random.Random(seed)
    yield b""
    yield b"\r\n\r\n\r\n"
    yield b"GET\r\n\r\n"
    yield b"GET /health HTTP/9.9\r\n\r\n"
    yield b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n"
    yield b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 100_000 + b"\r\n"
    yield b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"
    yield b"PUT /metadata?key=a HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"
    yield b"PUT /metadata?key=a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"
    yield (b"PUT /metadata?key=a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" +
           b"fffff\r\n" + b"x" * 0xFFFFF + b"\r\nfffff\r\n" + b"x" * 0xFFFFF + b"\r\n0\r\n\r\n")
    yield b"PUT /metadata?key=a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    yield b"GET /metadata?key=%zz%%%&&&==?key=%00 HTTP/1.1\r\nHost: a\r\n\r\n"
    yield b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" * 200
    good = b"PUT /metadata?key=abc HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    for _ in range(200):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        yield bytes(data[:chance.randrange(len(data) + 1)])
    for _ in range(50):
        yield chance.randbytes(chance.randrange(1, 2000))


@on_cluster(variants="one", timeout_s=120)
def garbage_is_refused_and_the_master_serves_on(cluster):
    master, a, _ = cluster.pair()
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    for data in garbage(seed):
        throw(master.http(), data)
    assert master.alive(), master.log()[-3000:]
    assert view(master, "/health")["status"] == "ok"
    put(os.path.join(a.path, "x"), b"1")
    wait_until(lambda: metrics(master)["mooncake_http_connections"] <= 1, 10,
               "the connections are gone")


@on_cluster(variants="one", timeout_s=120)
def slow_clients_on_every_connection_make_room_for_others(cluster):
    """Each sends a byte now and then, so it is never idle."""
    master, a, _ = cluster.pair()
    slow = [socket.create_connection(master.http(), 5) for _ in range(600)]
    for link in slow:
        link.sendall(b"GET /health HTTP/1.1\r\nX: ")
    answered, began = 0, time.monotonic()
    for _ in range(8):
        for link in slow[::3]:
            try:
                link.sendall(b"a")
            except OSError:
                pass
        assert ask(master, "/health", timeout_s=8)[0] == 200
        answered += 1
        put(os.path.join(a.path, f"x{answered}"), b"1")
    assert time.monotonic() - began < 40
    assert metrics(master)["mooncake_http_connections_cut_total"] > 80
    for link in slow:
        link.close()


@on_cluster(variants="one")
def many_ask_at_once_and_all_are_answered(cluster):
    master = cluster.master()
    links = []
    for i in range(300):
        link = socket.create_connection(master.http(), 5)
        path = ("/health", "/metrics", "/api/nodes", "/api/objects", "/metadata?key=a")[i % 5]
        link.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        links.append(link)
    for i, link in enumerate(links):
        with link.makefile("rb") as answer:
            code = int(answer.readline().split()[1])
            assert code == (404 if i % 5 == 4 else 200), (i, code)
            answer.read()
        link.close()


@on_cluster(variants="one")
def a_master_ends_while_it_is_asked(cluster):
    master = cluster.master()
    links = [socket.create_connection(master.http(), 5) for _ in range(50)]
    for link in links:
        link.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
    assert master.stop() == 0, master.log()[-2000:]
    for link in links:
        link.close()


class NodeHttp:
    """Stands for a node where a master is asked."""

    def __init__(self, node):
        self.node = node

    def http(self):
        said = wait_until(lambda: re.findall(r"serving http address=(\S+):(\d+)", self.node.log()),
                          10, "the node says where it serves HTTP")
        return said[-1][0], int(said[-1][1])


@on_cluster(variants="one")
def a_node_shows_its_health_and_its_counters(cluster):
    master = cluster.master()
    a = cluster.node(master, "a", http="127.0.0.1:0")
    shown = NodeHttp(a)
    assert view(shown, "/health") == {"status": "ok", "role": "node", "connected": True}
    put(os.path.join(a.path, "x"), content(1, 100_000))
    found, lines = metrics(shown), a.counters()
    assert found["mooncake_node_publishes_total"] == lines["publishes"] == 1
    assert found["mooncake_node_objects"] == 1
    assert found["mooncake_node_pool_capacity_bytes"] == 256 << 20
    assert found['mooncake_node_rpc_total{verb="publish"}'] == 1
    assert found['mooncake_fuse_requests_total{request="create"}'] == 1
    assert found['mooncake_fuse_errors_total{error="EIO"}'] == 0
    assert ask(shown, "/metadata?key=x")[0] == 404
    assert ask(shown, "/metrics", "PUT")[0] == 405
    assert ask(shown, "/metrics", "PUT", b"x")[0] == 413
    for data in garbage(1):
        throw(shown.http(), data)
    master.kill()
    wait_until(lambda: not view(shown, "/health")["connected"], 15, "the node misses its master")
    assert a.stop() == 0


@on_cluster(variants="one")
def a_master_inside_a_daemon_serves_where_it_is_told_to(cluster):
    node = cluster.node(name="a", master_http="127.0.0.1:0")
    found = re.findall(r" http=(\S+):(\d+) ", node.log())
    link = http.client.HTTPConnection(*found[0][:1], int(found[0][1]), timeout=5)
    link.request("GET", "/api/nodes")
    assert json.loads(link.getresponse().read())["nodes"][0]["alive"]
    quiet = cluster.node(name="b")
    assert " http= " in quiet.log()


@on_cluster(variants="one")
def the_dashboard_shows_only_metrics_that_there_are(cluster):
    master = cluster.master()
    node = NodeHttp(cluster.node(master, "a", http="127.0.0.1:0"))
    there = {name.split("{")[0] for name in [*metrics(master), *metrics(node)]}
    with open(os.path.join(HERE, "..", "..", "deploy", "grafana", "mooncake.json")) as file:
        board = json.load(file)
    shown = set()
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            names = re.findall(r"mooncake_[a-z0-9_]+", target["expr"])
            assert names, target
            shown.update(names)
    assert len(shown) > 30 and shown <= there, shown - there


# An engine of Mooncake as it comes, one a process; the target waits for a line.
MOONCAKE_ENGINE = """
import ctypes, sys
from mooncake.engine import TransferEngine
url, role, peer = sys.argv[1:]
engine = TransferEngine()
assert engine.initialize("engine-" + role, url, "tcp", "") == 0
size = 1 << 20
memory = ctypes.create_string_buffer(size)
address = ctypes.addressof(memory)
assert engine.register_memory(address, size) == 0
if role == "target":
    ctypes.memset(address, 0x5a, size)
    print(address, flush=True)
    sys.stdin.readline()
else:
    assert engine.get_first_buffer_address("engine-target") == int(peer)
    assert engine.transfer_sync_read("engine-target", address, int(peer), size) == 0
    assert memory.raw == b"\\x5a" * size
    ctypes.memset(address, 0x33, size)
    assert engine.transfer_sync_write("engine-target", address, int(peer), size) == 0
"""


@on_cluster(variants="one", timeout_s=120)
def engines_of_mooncake_find_each_other_here(cluster):
    """Needs the wheel mooncake-transfer-engine-non-cuda, in a Python that this names."""
    python = os.environ.get("MOONCAKE_WHEEL_PYTHON")
    if not python:
        skip("MOONCAKE_WHEEL_PYTHON names no Python with Mooncake's engine")
    master = cluster.master()
    url = "http://%s:%d/metadata" % master.http()
    argv = [python, "-c", MOONCAKE_ENGINE, url]
    target = subprocess.Popen(argv + ["target", ""], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        address = target.stdout.readline().decode().strip()
        assert metrics(master)["mooncake_master_metadata_keys"] == 2
        subprocess.run(argv + ["initiator", address], check=True, timeout=60,
                       stderr=subprocess.DEVNULL)
        target.communicate(b"\n", timeout=20)
    finally:
        target.kill()
        target.wait()
    assert target.returncode == 0
    assert metrics(master)["mooncake_master_metadata_keys"] == 0
