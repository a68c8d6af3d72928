"""Every process on a machine of its own, as far as the network goes.

The run enters a network name space of its own, so that whatever happens
nothing of it stays on the machine.  In it stands a bridge, and on it one more
name space for each master, node and member of etcd, held by a process that
sleeps.  A cut drops packets with nftables: nobody is told, as when a cable is
pulled.
"""

import os
import subprocess

import cluster
import syscalls

BRIDGE = "faults0"
NET = "10.77.0"


def enter():
    """Go into a network name space of our own, with the bridge and its address."""
    syscalls.unshare_network()
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", BRIDGE, "type", "bridge")
    _run("ip", "address", "add", f"{NET}.254/24", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")


def _run(*argv):
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.decode(errors='replace').strip()}")


class Machine:
    """A network name space with one address."""

    def __init__(self, own, name, number):
        self.name = name
        self.address = f"{NET}.{number}"
        holder = own.run(f"net-{name}", ["unshare", "--net", "sleep", "infinity"])
        cluster.wait_until(lambda: self._apart(holder.pid), 5, f"{name} has its own network")
        self.enter = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
        _run("ip", "link", "add", f"{name}-br", "type", "veth", "peer", "name", "eth0",
             "netns", str(holder.pid))
        _run("ip", "link", "set", f"{name}-br", "master", BRIDGE, "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("nft", "add table inet faults; "
                 "add chain inet faults in { type filter hook input priority 0 ; }; "
                 "add chain inet faults out { type filter hook output priority 0 ; }")

    @staticmethod
    def _apart(pid):
        return os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")

    def run(self, *argv):
        _run(*self.enter, *argv)

    def cut(self, *others):
        """Nothing goes to OTHERS and nothing comes from them, until joined."""
        for other in others:
            self.run("nft", f"add rule inet faults in ip saddr {other.address} drop; "
                     f"add rule inet faults out ip daddr {other.address} drop")

    def join(self):
        self.run("nft", "flush table inet faults")


class Programs(cluster.Programs):
    """The same programs, each on its machine; node NAME is mounted on .../NAME."""

    def __init__(self, directory):
        super().__init__(directory)
        self.machines = {}
        self.master_machine = None

    def boot(self, own, names):
        self.machines = {name: Machine(own, name, number)
                         for number, name in enumerate(names, start=1)}

    def place_master(self, name):
        """The next master that is started runs there."""
        self.master_machine = self.machines[name]
        self.master_host = self.master_machine.address

    def master(self, port, journal, options):
        return self.master_machine.enter + super().master(port, journal, options)

    def node(self, mountpoint, options, foreground=True):
        machine = self.machines[os.path.basename(mountpoint)]
        return machine.enter + super().node(mountpoint, {**options, "listen": machine.address},
                                            foreground)
