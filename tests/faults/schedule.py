"""Faults, drawn from a seed, done to real processes, and always undone.

A schedule is some faults at some times during one run of clients.  Each fault
is an interval of trouble: until it is over, and what it hit has come back, a
missing name proves nothing, and a read of a stopped node may be old.

All of it happens on one thread, the one that started the processes: they end
with the thread that started them.
"""

import random
import signal
import threading
import time

from cluster import wait_until
from etcd import Etcd

STOP_S = (0.03, 1.6)        # around the TTL that the run uses
AWAY_S = (0.0, 0.6)
CUT_S = (0.05, 2.0)


class Trouble:
    """An interval; `node` is None when all nodes are concerned."""

    def __init__(self, fault, begin):
        self.what = fault.name
        self.node = fault.node
        self.begin = begin
        self.end = float("inf")

    def __str__(self):
        return f"{self.begin:.3f} to {self.end:.3f} {self.what}"


class Fault:
    """Something that can be done to a process, and undone.  node: None, or whom it hits."""

    def __init__(self, name, node, seconds, do, undo):
        self.name = name
        self.node = node
        self.seconds = seconds      # shortest and longest
        self.do = do
        self.undo = undo


class Schedule:
    def __init__(self, seed, site):
        chance = random.Random(seed)
        self.troubles = []
        self.steps = []
        free_at = {}
        for _ in range(chance.choice((1, 1, 2, 3))):
            fault = chance.choice(site.faults())
            at = chance.uniform(0.05, site.RUN_S * 0.7)
            seconds = chance.uniform(*fault.seconds)
            # What is in trouble already is left alone until that is over.
            at = max(at, free_at.get(fault.node, 0.0))
            free_at[fault.node] = at + seconds + 0.01
            self.steps.append((at, seconds, fault))
        self.steps.sort(key=lambda step: step[0])

    def run(self, field, run_s):
        """Do it all; returns when everything runs again and the time is over."""
        actions = []
        for at, seconds, fault in self.steps:
            actions += [(at, True, fault), (at + seconds, False, fault)]
        open_troubles = {}
        for at, begins, fault in sorted(actions, key=lambda action: action[0]):
            time.sleep(max(0.0, at - field.now()))
            if begins:
                open_troubles[fault.node] = Trouble(fault, field.now())
                self.troubles.append(open_troubles[fault.node])
                fault.do()
            else:
                fault.undo()
                open_troubles[fault.node].end = field.now()
        time.sleep(max(0.0, run_s - field.now()))

    def back(self, field):
        """All is mounted again: only now the last troubles are over."""
        for trouble in self.troubles:
            if trouble.what.endswith("killed"):
                trouble.end = max(trouble.end, min(field.now(), trouble.end + 1.0))

    def __str__(self):
        return "; ".join(f"{at:.2f} s: {fault.name} for {seconds:.2f} s"
                         for at, seconds, fault in self.steps)


class Site:
    """A cluster that runs for many schedules: one master, three nodes."""

    RUN_S = 1.5
    MASTER = {"heartbeat-ms": 100, "ttl-ms": 1000}
    NODE = {"segment": "512m", "timeout": "1500ms"}
    NODES = ("n1", "n2", "n3")
    MACHINES = ("master", *NODES)

    def __init__(self, cluster, replicas):
        self.cluster = cluster
        # Where every process has one of its own, by name.
        self.machines = getattr(cluster.programs, "machines", {})
        options = dict(self.NODE)
        if replicas > 1:
            options["replicas"] = replicas
        where = self._masters()
        self.nodes = {name: cluster.node(where, name, **options) for name in self.NODES}

    def _masters(self):
        """Start what decides; returns what nodes are told of it."""
        self._place("master")
        self.master = self.cluster.master(**self.MASTER)
        return self.master

    def _place(self, name):
        """The next master stands on the machine of this name, if it has one."""
        if self.machines:
            self.cluster.programs.place_master(name)

    def mounts(self):
        return {name: node.path for name, node in self.nodes.items()}

    def _master_faults(self):
        return [Fault("the master is killed", None, AWAY_S,
                      lambda: self.master.kill(), self._master_again),
                Fault("the master is stopped", None, STOP_S,
                      lambda: self.master.signal(signal.SIGSTOP),
                      lambda: self.master.signal(signal.SIGCONT))]

    def faults(self):
        found = self._master_faults()
        for name in self.nodes:
            found += [Fault(f"{name} is killed", name, AWAY_S,
                            lambda name=name: self.nodes[name].kill(),
                            lambda name=name: self._node_again(name)),
                      Fault(f"{name} is stopped", name, STOP_S,
                            lambda name=name: self._stop(self.nodes[name]),
                            lambda name=name: self.nodes[name].signal(signal.SIGCONT))]
        return found + self._cuts()

    @staticmethod
    def _stop(node):
        """
        It goes on in any case: a process that is started meanwhile closes, between its
        fork and its exec, what clients have open on this mount, and waits for the node.
        """
        node.signal(signal.SIGSTOP)
        goes_on = threading.Timer(STOP_S[1], node.signal, (signal.SIGCONT,))
        goes_on.daemon = True
        goes_on.start()

    def _cuts(self):
        """Where every process has a machine of its own: cables to pull."""
        if not self.machines:
            return []
        return [Fault(f"{name} is cut off from {', '.join(others)}", None, CUT_S,
                      lambda name=name, others=others:
                      self.machines[name].cut(*(self.machines[other] for other in others)),
                      lambda name=name: self.machines[name].join())
                for name, others in self._cables()]

    def _cables(self):
        """Pairs of a name, and those from whom it may be cut off at one time."""
        return [(name, ("master",)) for name in self.nodes] + \
            [("n1", ("n2",)), ("n2", ("n3",)), ("n3", ("n1",))]

    def _master_again(self):
        old = self.master
        self.master = self.cluster.again(old)
        self.cluster.started.remove(old)

    def _node_again(self, name):
        old = self.nodes[name]
        self.nodes[name] = self.cluster.again(old, ready=False)
        self.cluster.started.remove(old)

    def settle(self):
        """Every node is mounted again."""
        for node in self.nodes.values():
            node.wait_ready()

    def dead(self):
        """Which process ended by itself, or None."""
        for process in (*self._deciders(), *self.nodes.values()):
            if not process.alive():
                return f"{process.name} ended with {process.wait()}"
        return None

    def _deciders(self):
        return [self.master]


class EtcdSite(Site):
    """Two masters that stand by for each other, over one etcd; of three members on machines."""

    RUN_S = 3.0
    MASTER = {"heartbeat-ms": 100, "ttl-ms": 1000, "lease-ms": 1000, "journal-ack": "sync",
              "socket": "none"}
    LEADER_S = (0.3, 2.0)
    ETCD_S = (0.05, 1.5)
    MASTERS = ("m0", "m1")
    MEMBERS = ("e0", "e1", "e2")
    MACHINES = (*MASTERS, *MEMBERS, *Site.NODES)

    def _masters(self):
        own = [self.machines[name] for name in self.MEMBERS] if self.machines else []
        self.etcd = Etcd(self.cluster, len(own) or 1, machines=own)
        self.masters = []
        for name in self.MASTERS:
            self._place(name)
            self.masters.append(self.cluster.master(name, journal=self.etcd.journal,
                                                    **self.MASTER))
            wait_until(self.leader, 20, "a master leads")
        return self.etcd.journal

    def leader(self):
        """The master that leads, as etcd has it; None while there is none."""
        said = self.etcd.keys("/mooncake/default/leader").get("/mooncake/default/leader", "")
        port = int(said.split(" ")[0].rsplit(":", 1)[1]) if said else None
        return next((m for m in self.masters if m.port == port and m.alive()), None)

    def _deciders(self):
        return [*self.masters, *self.etcd.members]

    def _master_faults(self):
        hit = []

        def kill(standby):
            leader = self.leader() or self.masters[0]
            hit.append(next(m for m in self.masters if m is not leader) if standby else leader)
            hit[-1].kill()

        def again():
            old = hit.pop()
            self._place(old.name)
            self.masters[self.masters.index(old)] = self.cluster.again(old)
            self.cluster.started.remove(old)

        def stop():
            hit.append(self.leader() or self.masters[0])
            hit[-1].signal(signal.SIGSTOP)

        def restart(number):
            old = self.etcd.members[number]
            self.etcd.start(number)
            self.cluster.started.remove(old)
            self.etcd.wait()
        members = []
        for number in range(len(self.etcd.members)):
            members += [
                Fault(f"etcd {number} is stopped", None, self.ETCD_S,
                      lambda number=number: self.etcd.pause(number),
                      lambda number=number: self.etcd.go_on(number)),
                Fault(f"etcd {number} is killed", None, self.ETCD_S,
                      lambda number=number: self.etcd.kill(number),
                      lambda number=number: restart(number))]
        return [Fault("the leader is killed", None, self.LEADER_S, lambda: kill(False), again),
                Fault("the leader is stopped", None, self.LEADER_S, stop,
                      lambda: hit.pop().signal(signal.SIGCONT)),
                Fault("the standby is killed", None, self.LEADER_S, lambda: kill(True), again),
                *members]

    def _cables(self):
        """A master from etcd, while nodes reach it; one from the other, or from a node."""
        return [*((master, self.MEMBERS) for master in self.MASTERS), ("m0", ("m1",)),
                *((node, (master,)) for node in self.nodes for master in self.MASTERS),
                *((member, tuple(other for other in self.MEMBERS if other != member))
                  for member in self.MEMBERS)]

    def settle(self):
        wait_until(self.leader, 20, "a master leads")
        super().settle()
