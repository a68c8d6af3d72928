#!/usr/bin/env python3
"""Put and get through Mooncake's own store, for `mooncake-bench peer`.

Needs Python 3.10 or newer and one wheel:

    python3 -m venv DIR && DIR/bin/pip install mooncake-transfer-engine-non-cuda
    DIR/bin/python tools/bench/mooncake_store.py

The wheel brings glog, gflags, jsoncpp, yaml-cpp, liburing, xxhash and zstd
along (0.3.13); from Debian 12 it takes libcurl4, libibverbs1, libnuma1 and
libstdc++6, as `ldd` says of store.so, engine.so and mooncake_master.

It starts mooncake_master, a node process that lends memory (the store's
segment) and works itself as a client that lends none, so every byte crosses
TCP between two processes of this machine.  Objects go from and to registered
memory (put_from, get_into), the store's fastest path.  Names are new for each
put, one replica, no pin.

A second client, of a second master, lends memory itself and has no other node:
what it puts is copied within its process (MC_STORE_MEMCPY), so a put is that
copy and two requests to the master.  It begins with the first "own_" command.

Alone it runs all sizes and prints one JSON object a line.  With --serve it
takes commands on standard input, so that another program can take turns:

    put SIZE COUNT      ->  {"op": "put", "size": SIZE, "us": [COUNT times]}
    get SIZE COUNT      ->  {"op": "get", "size": SIZE, "us": [COUNT times]}
    own_put, own_get    ->  the same with the client that lends memory itself
    lookup THREADS S    ->  {"op": "lookup", "per_second": keys}: is_exist
    exist THREADS S     ->  the same in batches of 128: batch_is_exist
    publish THREADS S   ->  objects of 4 KiB in batches of 128: batch_put_from
    quit
"""

import argparse
import ctypes
import json
import mmap
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

SEGMENT_SIZE = 1 << 30
LOCAL_BUFFER_SIZE = 64 << 20
OBJECT_SIZE_MAX = 64 << 20
START_TIMEOUT_S = 30
SIZES = (4 << 10, 128 << 10, 1 << 20, 4 << 20, 16 << 20)
ROUND_COUNT = 7
OBJECT_COUNT = 8
BATCH = 128
SMALL_SIZE = 4096
KEY_COUNT = 128 * BATCH


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_parent():
    """Ask the kernel to end this child when its parent ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def connect(master, segment_size):
    from mooncake.store import MooncakeDistributedStore

    store = MooncakeDistributedStore()
    code = store.setup(
        "127.0.0.1", "P2PHANDSHAKE", segment_size, LOCAL_BUFFER_SIZE, "tcp", "", master
    )
    if code != 0:
        raise SystemExit(f"mooncake_store: setup failed with {code}")
    return store


def serve_segment(master):
    """Lend memory until standard input ends."""
    store = connect(master, SEGMENT_SIZE)
    print("ready", flush=True)
    sys.stdin.read()
    store.close()


def wait_port(port, process):
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"mooncake_store: master ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("mooncake_store: master does not listen")


class Peer:
    """A master, a client and, unless the client lends memory itself, a node."""

    def __init__(self, lends=False):
        self.children = []
        self.serial = 0
        port = free_port()
        master = self.start_master(port)
        if not lends:
            self.start_node(master)
        self.store = connect(master, SEGMENT_SIZE if lends else 0)
        self.memory = mmap.mmap(-1, 2 * OBJECT_SIZE_MAX)
        self.source = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.target = self.source + OBJECT_SIZE_MAX
        ctypes.memset(self.source, 0x5A, OBJECT_SIZE_MAX)
        ctypes.memset(self.target, 0, OBJECT_SIZE_MAX)
        code = self.store.register_buffer(self.source, 2 * OBJECT_SIZE_MAX)
        if code != 0:
            raise SystemExit(f"mooncake_store: register_buffer failed with {code}")

    def start_master(self, port):
        beside = os.path.join(os.path.dirname(sys.executable), "mooncake_master")
        program = beside if os.path.exists(beside) else shutil.which("mooncake_master")
        if not program:
            raise SystemExit("mooncake_store: no mooncake_master beside this python")
        process = subprocess.Popen(
            [
                program,
                f"--rpc_port={port}",
                "--rpc_address=127.0.0.1",
                f"--metrics_port={free_port()}",
                "--enable_metric_reporting=false",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        self.children.append(process)
        wait_port(port, process)
        return f"127.0.0.1:{port}"

    def start_node(self, master):
        self.node = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "--node", master],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            text=True,
            preexec_fn=die_with_parent,
        )
        self.children.append(self.node)
        if not self.wait_ready():
            raise SystemExit("mooncake_store: the node did not start")

    def wait_ready(self):
        """The library logs to standard output too: skip until the node's own word."""
        return any(line.strip() == "ready" for line in self.node.stdout)

    def names(self, count):
        first = self.serial
        self.serial += count
        return [f"bench-{number}" for number in range(first, first + count)]

    def remove(self, keys):
        for key in keys:
            self.store.remove(key, True)

    def put(self, size, count):
        keys, times = self.names(count), []
        for key in keys:
            start = time.perf_counter_ns()
            code = self.store.put_from(key, self.source, size)
            times.append((time.perf_counter_ns() - start) / 1000)
            if code != 0:
                raise SystemExit(f"mooncake_store: put_from failed with {code}")
        self.remove(keys)
        return times

    def get(self, size, count):
        keys, times = self.names(count), []
        for key in keys:
            if self.store.put_from(key, self.source, size) != 0:
                raise SystemExit("mooncake_store: put_from failed")
        for key in keys:
            ctypes.memset(self.target, 0, 1)
            start = time.perf_counter_ns()
            code = self.store.get_into(key, self.target, size)
            times.append((time.perf_counter_ns() - start) / 1000)
            if code != size or self.memory[OBJECT_SIZE_MAX] != 0x5A:
                raise SystemExit(f"mooncake_store: get_into failed with {code}")
        self.remove(keys)
        return times

    def run(self, op, size, count):
        if op not in ("put", "get") or not 0 < size <= OBJECT_SIZE_MAX or count < 1:
            raise SystemExit("mooncake_store: bad command")
        return self.put(size, count) if op == "put" else self.get(size, count)

    def close(self):
        if hasattr(self, "store"):
            self.store.close()
        for child in reversed(self.children):
            if child.stdin:
                child.stdin.close()
            else:
                child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


class Rates:
    """Keys a second that the store's client gets from its master, over some threads."""

    def __init__(self, peer):
        self.peer = peer
        self.known = None

    def keys(self):
        """Names of objects that are there, put when they are first asked for."""
        if self.known is None:
            self.known = [f"{number:080}" for number in range(KEY_COUNT)]
            for first in range(0, KEY_COUNT, BATCH):
                self.put(self.known[first : first + BATCH])
        return self.known

    def put(self, keys):
        codes = self.peer.store.batch_put_from(
            keys, [self.peer.source] * len(keys), [SMALL_SIZE] * len(keys)
        )
        if any(codes):
            raise SystemExit(f"mooncake_store: batch_put_from failed with {min(codes)}")

    def lookup(self, number, turn):
        keys = self.known
        if self.peer.store.is_exist(keys[(number * 1009 + turn * 7919) % KEY_COUNT]) != 1:
            raise SystemExit("mooncake_store: a key is missing")
        return 1

    def exist(self, number, turn):
        first = (number * 7 + turn) * BATCH % KEY_COUNT
        found = self.peer.store.batch_is_exist(self.known[first : first + BATCH])
        if min(found) != 1:
            raise SystemExit("mooncake_store: a key is missing")
        return BATCH

    def publish(self, number, turn):
        self.put([f"{number:03}-{self.peer.serial:010}-{turn:060}-{i:04}" for i in range(BATCH)])
        return BATCH

    def run(self, op, thread_count, seconds):
        work = {"lookup": self.lookup, "exist": self.exist, "publish": self.publish}[op]
        if op == "publish":
            self.known = None
            self.peer.store.remove_all(True)
        else:
            self.keys()
        self.peer.serial += 1
        done = [0] * thread_count
        failed = []
        start = time.perf_counter()

        def loop(number):
            turn = 0
            try:
                while time.perf_counter() - start < seconds:
                    done[number] += work(number, turn)
                    turn += 1
            except SystemExit as error:
                failed.append(error)

        threads = [threading.Thread(target=loop, args=(i,)) for i in range(thread_count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed and op == "publish":
            return 0.0  # transfers fail with many threads: not the number to use
        if failed:
            raise failed[0]
        return sum(done) / (time.perf_counter() - start)


class Own:
    """The client that lends memory itself, once it is asked for."""

    def __init__(self):
        self.peer = None

    def run(self, op, size, count):
        if self.peer is None:
            self.peer = Peer(lends=True)
        return self.peer.run(op, size, count)

    def close(self):
        if self.peer:
            self.peer.close()


def take_turns(peer, own, out):
    rates = Rates(peer)
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        words = line.split()
        if not words or words[0] == "quit":
            break
        if words[0] in ("lookup", "exist", "publish"):
            rate = rates.run(words[0], int(words[1]), float(words[2]))
            print(json.dumps({"op": words[0], "per_second": rate}), file=out, flush=True)
            continue
        op, size, count = words[0], int(words[1]), int(words[2])
        kind, _, own_op = op.partition("own_")
        times = own.run(own_op, size, count) if own_op else peer.run(kind, size, count)
        print(json.dumps({"op": op, "size": size, "us": times}), file=out, flush=True)


def run_alone(peer, out):
    for op in ("put", "get"):
        for size in SIZES:
            times = []
            peer.run(op, size, OBJECT_COUNT)
            for _ in range(ROUND_COUNT):
                times += peer.run(op, size, OBJECT_COUNT)
            row = {
                "bench": "mooncake",
                "op": op,
                "size": size,
                "threads": 1,
                "value": round(statistics.median(times), 2),
                "unit": "us",
                "reference": None,
                "reference_value": None,
                "ratio": None,
            }
            print(json.dumps(row, separators=(",", ":")), file=out, flush=True)


def own_output():
    """Keep standard output for our lines; what the library prints goes to standard error."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", action="store_true", help="take commands on standard input")
    parser.add_argument("--node", metavar="MASTER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("MC_LOG_LEVEL", "ERROR")
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("MC_STORE_MEMCPY", "1")
    if options.node:
        serve_segment(options.node)
        return
    out = own_output()
    peer, own = None, Own()
    try:
        peer = Peer()
        take_turns(peer, own, out) if options.serve else run_alone(peer, out)
    finally:
        own.close()
        if peer:
            peer.close()


if __name__ == "__main__":
    main()
