"""The cluster of a lane: who its processes are, how they are hit and come back."""

import json
import os
import signal

from cluster import wait_until
from etcd import Etcd

HANG_S = 60
LEADER = "/mooncake/default/leader"
MASTER = {"heartbeat-ms": 100, "ttl-ms": 1000, "repair-delay-ms": 100}
ETCD_MASTER = {"lease-ms": 1000, "journal-ack": "sync", "socket": "none"}
NODE = {"timeout": "1500ms", "transport": "tcp"}


class World:
    """One master over a file, two nodes: writer and reader."""

    members = 0
    segment = "64m"     # little, so that it is filled soon

    def __init__(self, cluster, folder):
        self.cluster = cluster
        self.folder = folder
        self.masters = []
        where = self._masters()
        self.nodes = {name: cluster.node(where, name, node_name=name,
                                         segment=self.segment, **NODE)
                      for name in ("writer", "reader")}

    def _masters(self):
        self.masters.append(self.cluster.master("m0", socket="none", **MASTER))
        return self.masters[0]

    def cli(self, *words):
        return self.cluster.cli(self.masters[0], *words)

    # -- who is who --

    def leader(self):
        return self.masters[0]

    def process(self, role):
        """The process that has ROLE now; of etcd's members, the one that leads."""
        if role == "leader":
            return self.leader()
        return self.nodes[role]

    def path(self, role):
        return self.nodes[role].path

    # -- arming --

    def _file(self, process, point):
        return os.path.join(self.folder, f"{point}@{process.pid}")

    def arm(self, process, point, action):
        path = self._file(process, point)
        with open(path + ".new", "w") as file:
            file.write(action)
        os.rename(path + ".new", path)

    def disarm(self, process, point):
        """False: it was hit just now."""
        try:
            os.unlink(self._file(process, point))
        except FileNotFoundError:
            return False
        return True

    def hit(self, process, point):
        return os.path.exists(self._file(process, point) + ".hit")

    # -- hitting --

    def kill(self, process):
        process.kill()

    def stop(self, process):
        process.signal(signal.SIGSTOP)
        self.wait_stopped(process)

    def wait_stopped(self, process):
        wait_until(lambda: state_of(process.pid) == "T", HANG_S, f"{process.name} is stopped")

    def go_on(self, process):
        process.signal(signal.SIGCONT)

    def again(self, process):
        """Start what was killed once more, at its place."""
        new = self.cluster.again(process)
        self.cluster.started.remove(process)
        if process in self.masters:
            self.masters[self.masters.index(process)] = new
        else:
            self.nodes[process.name] = new

    def mend(self):
        """Start whoever is dead."""
        for process in [*self.masters, *self.nodes.values()]:
            if not process.alive():
                self.again(process)

    def restart_all(self):
        for process in [*self.nodes.values(), *self.masters]:
            process.kill()
        self.mend()


class EtcdWorld(World):
    """Two masters that stand by for each other, over an etcd of one member or three."""

    members = 1
    segment = "1g"      # nothing is evicted

    def _masters(self):
        self.etcd = Etcd(self.cluster, self.members)
        for name in ("m0", "m1"):
            self.masters.append(self.cluster.master(name, journal=self.etcd.journal, **MASTER,
                                                    **ETCD_MASTER))
            wait_until(self.elected, HANG_S, "a master leads")
        return self.etcd.journal

    def cli(self, *words):
        return self.cluster.cli(None, "--master", self.etcd.journal, *words)

    def elected(self):
        """The master that leads as etcd has it and lives, or None."""
        said = self.etcd.keys(LEADER).get(LEADER, "")
        port = int(said.split(" ")[0].rsplit(":", 1)[1]) if said else None
        return next((m for m in self.masters if m.port == port and m.alive()), None)

    def leader(self):
        return wait_until(self.elected, HANG_S, "a master leads")

    def process(self, role):
        if role == "standby":
            leader = self.leader()
            return next(master for master in self.masters if master is not leader)
        if role == "member":
            return self._leading_member()
        return super().process(role)

    def _leading_member(self):
        """The member of etcd that leads: to lose it is what costs most."""
        said = self.etcd.control("endpoint", "status", "--write-out=json").stdout
        for entry in json.loads(said or b"[]"):
            status = entry["Status"]
            if status["leader"] == status["header"]["member_id"]:
                return self.etcd.members[self.etcd.clients.index(entry["Endpoint"])]
        return self.etcd.members[0]

    def again(self, process):
        if process not in self.etcd.members:
            super().again(process)
            return
        self.etcd.start(self.etcd.members.index(process))
        self.cluster.started.remove(process)
        self.etcd.wait()

    def mend(self):
        for process in self.etcd.members:
            if not process.alive():
                self.again(process)
        super().mend()


class MembersWorld(EtcdWorld):
    members = 3


def state_of(pid):
    """R, S, D, T, Z …; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return None
