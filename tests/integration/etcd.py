"""An etcd of the test's own, of one or three members."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import syscalls
from cluster import free_port, wait_until

PROGRAM = "etcd"
CONTROL = "etcdctl"
START_S = 30


class Etcd:
    """Its members are processes of the cluster, which ends them."""

    def __init__(self, cluster, members=1, flags=(), machines=()):
        """MACHINES: one for each member (faults/network.py); none: all on this one."""
        self.cluster = cluster
        self.flags = list(flags)
        self.machines = machines
        hosts = [machine.address for machine in machines] or ["127.0.0.1"] * members
        self.clients = [f"{host}:{free_port()}" for host in hosts]
        self.peers = [f"http://{host}:{free_port()}" for host in hosts]
        self.members = [None] * members
        for number in range(members):
            self.start(number)
        self.wait()

    @property
    def journal(self):
        return "etcd://" + ",".join(self.clients)

    def start(self, number):
        client = f"http://{self.clients[number]}"
        everyone = ",".join(f"m{i}={peer}" for i, peer in enumerate(self.peers))
        enter = self.machines[number].enter if self.machines else []
        self.members[number] = self.cluster.run(f"etcd{number}", [
            *enter, PROGRAM, "--name", f"m{number}", "--data-dir", self.data(number),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", self.peers[number],
            "--initial-advertise-peer-urls", self.peers[number],
            "--initial-cluster", everyone, "--heartbeat-interval", "50",
            "--election-timeout", "500", *self.flags])

    def data(self, number):
        return self.cluster.path(f"etcd{number}.data")

    def wait(self):
        wait_until(lambda: self.control("get", "none").returncode == 0, START_S, "etcd answers")

    def kill(self, number=0):
        self.members[number].kill()

    def pause(self, number=0):
        self.members[number].signal(signal.SIGSTOP)

    def go_on(self, number=0):
        self.members[number].signal(signal.SIGCONT)

    def wipe(self, number=0):
        shutil.rmtree(self.data(number))

    def save(self, path):
        """A snapshot of what is in it now."""
        done = self.control("snapshot", "save", path)
        assert done.returncode == 0, done

    def restore(self, path):
        """What a dead member of one has stored becomes what the snapshot has."""
        assert len(self.members) == 1 and not self.members[0].alive()
        self.wipe()
        done = self.control("snapshot", "restore", path, "--name", "m0", "--data-dir", self.data(0),
                            "--initial-cluster", f"m0={self.peers[0]}",
                            "--initial-advertise-peer-urls", self.peers[0])
        assert done.returncode == 0, done

    def control(self, *words, stdin=b""):
        return subprocess.run(
            [CONTROL, "--endpoints", ",".join(self.clients), "--command-timeout=3s", *words],
            env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True, check=False, input=stdin,
            preexec_fn=syscalls.die_with_parent)

    def keys(self, prefix):
        """{key: value} of what begins with PREFIX."""
        out = self.control("get", "--prefix", prefix).stdout.decode("utf-8", "replace")
        lines = out.split("\n")
        return dict(zip(lines[0::2], lines[1::2]))


class Relay:
    """A way to an address that can be cut, or made long: delay_s goes before each part."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.target = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.open = []
        self.delay_s = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(self.target)
            except OSError:
                return
            self.open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    def _copy(self, one, other):
        try:
            while data := one.recv(65536):
                time.sleep(self.delay_s)
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self):
        for end in [self.listener, *self.open]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
