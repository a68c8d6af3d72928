"""Real masters and nodes, started, broken and always ended.

A Cluster owns one directory: mountpoints, pools, journals, logs and a record
of every process.  Whoever dies first, the sweep finds from that directory what
is left running or mounted, and ends it: processes by their own id (checked
against their start time), mounts lazily.

The command lines of the programs are written here and nowhere else.
"""

import contextlib
import errno
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import syscalls

START_TIMEOUT_S = 15
STOP_TIMEOUT_S = 15


class Variant:
    """Which of the kernel's two accelerations a mount is asked to use."""

    def __init__(self, passthrough, io_uring):
        self.passthrough = passthrough
        self.io_uring = io_uring

    @classmethod
    def parse(cls, text):
        words = dict(word.split("=", 1) for word in text.split(","))
        if set(words) != {"passthrough", "io_uring"} or not set(words.values()) <= {"on", "off"}:
            raise ValueError(f"not a variant: {text}")
        return cls(words["passthrough"] == "on", words["io_uring"] == "on")

    def options(self):
        return {"passthrough": "on" if self.passthrough else "off",
                "io_uring": "on" if self.io_uring else "off"}

    def __str__(self):
        return ",".join(f"{name}={value}" for name, value in self.options().items())


class Programs:
    """Where the programs stand, and how each is called."""

    master_host = "127.0.0.1"

    def __init__(self, directory):
        self.directory = os.path.abspath(directory)

    def path(self, name):
        return os.path.join(self.directory, name)

    def missing(self):
        return [name for name in ("mooncakefs", "mooncake-master", "mooncake")
                if not os.access(self.path(name), os.X_OK)]

    def master(self, port, journal, options):
        argv = [self.path("mooncake-master"), "--listen", f"{self.master_host}:{port}",
                "--journal", journal, "--http", "127.0.0.1:0"]
        return argv + (["-o", _joined(options)] if options else [])

    def node(self, mountpoint, options, foreground=True):
        return ([self.path("mooncakefs"), mountpoint] + (["-f"] if foreground else []) +
                (["-o", _joined(options)] if options else []))

    def cli(self, master_port, *words):
        argv = [self.path("mooncake")]
        if master_port:
            argv += ["--master", f"{self.master_host}:{master_port}"]
        return argv + list(words)


def _joined(options):
    return ",".join(name if value is None else f"{name}={value}"
                    for name, value in options.items())


def free_port():
    """A port that is free, and that the kernel gives to no connection before it is used."""
    while True:
        port = random.SystemRandom().randrange(10000, 32768)  # processes that fork share a seed
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def started_at(pid):
    """The start time of PID in ticks, None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def mounts():
    """[(mountpoint, type)] in the order they were mounted."""
    found = []
    with open("/proc/self/mountinfo", errors="surrogateescape") as info:
        for line in info:
            fields = line.split()
            point = fields[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
            found.append((point, fields[fields.index("-") + 1]))
    return found


def mounted(path):
    """The type of what is mounted on PATH, None when nothing is."""
    kinds = [kind for point, kind in mounts() if point == path]
    return kinds[-1] if kinds else None


def wait_until(condition, timeout_s, what):
    """Poll until CONDITION gives something true; return it."""
    deadline = time.monotonic() + timeout_s
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"within {timeout_s} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


class Process:
    """One program, its log file, and its record for the sweep."""

    def __init__(self, home, name, argv, environment=None):
        self.name = name
        self.argv = argv
        self.log_path = os.path.join(home, "logs", f"{name}.log")
        with open(self.log_path, "ab") as log:
            log.write(f"$ {' '.join(argv)}\n".encode())
            log.flush()
            self.popen = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **(environment or {})},
                preexec_fn=syscalls.die_with_parent, start_new_session=True)
        self.pid = self.popen.pid
        record(home, self.pid)

    def alive(self):
        return self.popen.poll() is None

    def log(self):
        with open(self.log_path, "rb") as log:
            return log.read().decode("utf-8", "replace")

    def signal(self, number):
        if not self.alive():
            return
        self.popen.send_signal(number)
        # kill() comes back before the threads of the process have noticed.
        deadline = time.monotonic() + 1
        while number == signal.SIGSTOP and not self.stopped() and time.monotonic() < deadline:
            time.sleep(0.0005)

    def stopped(self):
        """No thread of it runs any more."""
        states = []
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{self.pid}/task"):
                with open(f"/proc/{self.pid}/task/{thread}/stat") as stat:
                    states.append(stat.read().rpartition(")")[2].split()[0])
        return all(state in "TtZX" for state in states)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.popen.wait(STOP_TIMEOUT_S)

    def wait(self, timeout_s=STOP_TIMEOUT_S):
        """The exit status, or an assertion that it went on too long."""
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {timeout_s} s") from None

    def stop(self):
        """SIGTERM and the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def descriptor_count(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def thread_count(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))


def record(home, pid):
    ticks = started_at(pid)
    if ticks:
        with open(os.path.join(home, "pids", str(pid)), "w") as note:
            note.write(ticks)


class Master(Process):
    def __init__(self, cluster, name, port, journal, options):
        self.port = port
        self.journal = journal
        self.options = options
        self.host = cluster.programs.master_host
        super().__init__(cluster.home, name, cluster.programs.master(port, journal, options))

    def listens(self):
        try:
            socket.create_connection((self.host, self.port), 1).close()
        except OSError:
            return False
        return True

    def http(self):
        """(host, port) of its HTTP."""
        said = wait_until(lambda: re.findall(r" http=(\S+):(\d+) ", self.log()), START_TIMEOUT_S,
                          f"{self.name} says where it serves HTTP")
        return said[-1][0], int(said[-1][1])

    def wait_ready(self):
        wait_until(lambda: self.listens() or not self.alive(), START_TIMEOUT_S,
                   f"{self.name} listens on port {self.port}\n{self.log()}")
        assert self.alive(), f"{self.name} ended at start with {self.wait()}\n{self.log()}"


class Node(Process):
    """A running mooncakefs.  `path` is where it is mounted."""

    def __init__(self, cluster, name, options, environment=None):
        self.path = cluster.directory(name)
        self.options = options
        super().__init__(cluster.home, name,
                         cluster.programs.node(self.path, options), environment)

    def wait_ready(self):
        wait_until(lambda: self.answers() or not self.alive(), START_TIMEOUT_S,
                   f"{self.name} is mounted on {self.path}")
        assert self.alive(), f"{self.name} ended at start with {self.wait()}\n{self.log()}"

    def answers(self):
        """Mounted, by a daemon that lives.

        A new daemon takes a dead mount away before it mounts: what answers then is
        the folder beneath, which is no mount of ours.
        """
        if not (mounted(self.path) or "").startswith("fuse"):
            return False
        try:
            root = os.open(self.path, os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return False
        try:
            beneath = os.stat(os.path.dirname(self.path)).st_dev
            if os.fstat(root).st_dev == beneath:
                return False
            os.statvfs(root)
        except OSError:
            return False
        finally:
            os.close(root)
        return True

    def counters(self):
        return counters(self.path)


def counters(path):
    """The counters of the mount at PATH, as {name: value}."""
    lines = os.getxattr(path, "user.mooncake.stats").decode().splitlines()
    return {words[0]: int(words[1]) for words in map(str.split, lines)
            if len(words) == 2 and words[1].lstrip("-").isdigit()}


class Cluster:
    """The masters and nodes of one test, in one directory."""

    def __init__(self, programs, variant, home=None, trace=None):
        self.programs = programs
        self.variant = variant
        self.trace = trace
        self.home = home or tempfile.mkdtemp(prefix="mooncake-test.")
        self.started = []
        os.makedirs(self.home, exist_ok=True)
        os.chmod(self.home, 0o755)
        for part in ("pids", "logs"):
            os.makedirs(os.path.join(self.home, part), exist_ok=True)

    def directory(self, name):
        path = os.path.join(self.home, name)
        if not mounted(path):       # a dead mount answers no stat
            os.makedirs(path, exist_ok=True)
        return path

    def path(self, name):
        return os.path.join(self.home, name)

    def master(self, name="master", port=None, journal=None, ready=True, **options):
        """Start a master; JOURNAL defaults to one file per name."""
        journal = journal or "file:" + self.path(f"{name}.journal")
        master = Master(self, name, port or free_port(), journal, options)
        self.started.append(master)
        if ready:
            master.wait_ready()
        return master

    def node(self, master=None, name="a", ready=True, environment=None, **options):
        """Start a node on mountpoint NAME with pool NAME.pool, or as told."""
        node = Node(self, name, self.node_options(master, name, options), environment)
        self.started.append(node)
        if ready:
            node.wait_ready()
        return node

    def node_options(self, master, name, given):
        options = {"segment": "256m", "pool": self.directory(f"{name}.pool")}
        options.update(self.variant.options())
        if isinstance(master, str):     # a list of masters, or an etcd
            options["master"] = master.replace(",", "\\,")
        elif master:
            port = getattr(master, "port", master)
            options["master"] = f"{self.programs.master_host}:{port}"
        options.update({"name" if key == "node_name" else key:
                        str(value) if value is not None else None
                        for key, value in given.items()})
        return options

    def pair(self, **options):
        """A master and two nodes a and b."""
        master = self.master()
        return (master, self.node(master, "a", **options), self.node(master, "b", **options))

    def again(self, process, ready=True):
        """Start what PROCESS was once more: same options, pool, port, journal."""
        if isinstance(process, Master):
            return self.master(process.name, process.port, process.journal, ready,
                               **process.options)
        node = Node(self, process.name, process.options)
        self.started.append(node)
        if ready:
            node.wait_ready()
        return node

    def run(self, name, argv, **how):
        """Start any program with a log file; it is ended with the cluster."""
        process = Process(self.home, name, argv, **how)
        self.started.append(process)
        return process

    def cli(self, master, *words, timeout_s=30, stdin=None):
        """Run `mooncake`; return its CompletedProcess with bytes."""
        argv = self.programs.cli(getattr(master, "port", master), *words)
        return subprocess.run(argv, capture_output=True, timeout=timeout_s, input=stdin or b"",
                              preexec_fn=syscalls.die_with_parent, check=False)

    def logs(self, line_count=40):
        return logs_of(self.home, line_count)

    def close(self):
        for process in reversed(self.started):
            process.signal(signal.SIGTERM)
        for process in reversed(self.started):
            try:
                process.popen.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
        self.started.clear()
        sweep(self.home)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def logs_of(home, line_count):
    """The ends of all logs of the cluster in HOME, for a failure report."""
    parts = []
    directory = os.path.join(home, "logs")
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        with open(os.path.join(directory, name), errors="replace") as log:
            lines = log.read().splitlines()[-line_count:]
        parts.append(f"--- {name}\n" + "\n".join(lines))
    return "\n".join(parts)


def kill_recorded(home):
    """SIGKILL every process recorded under HOME that still is the same one."""
    directory = os.path.join(home, "pids")
    for name in os.listdir(directory) if os.path.isdir(directory) else []:
        path = os.path.join(directory, name)
        with open(path) as note:
            ticks = note.read()
        if ticks and started_at(int(name)) == ticks:
            try:
                os.kill(int(name), signal.SIGKILL)
            except ProcessLookupError:
                pass
        os.unlink(path)


def unmount_all(home):
    """Lazily unmount whatever is mounted under HOME; return the mountpoints."""
    left = [point for point, _ in mounts() if point.startswith(home + "/")]
    for point in reversed(left):
        try:
            syscalls.unmount_lazily(point)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                print(f"cannot unmount {point}: {error}")
    return left


def sweep(home):
    """End and unmount what is left under HOME, then remove it."""
    kill_recorded(home)
    unmount_all(home)
    shutil.rmtree(home, ignore_errors=True)


def processes_with(word):
    """Ids of the processes that have WORD as one of their arguments."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as line:
                words = line.read().split(b"\0")
        except OSError:
            continue
        if word.encode() in words:
            found.append(int(name))
    return found


def socket_inodes(pid):
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    return inodes


def listening_ports(pid):
    """TCP ports that process PID listens on."""
    inodes, ports = socket_inodes(pid), set()
    for table in ("tcp", "tcp6"):
        with open(f"/proc/net/{table}") as lines:
            for fields in map(str.split, list(lines)[1:]):
                if fields[3] == "0A" and fields[9] in inodes:
                    ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return sorted(ports)


def listening_names(pid):
    """Addresses of the Unix sockets that process PID listens on."""
    inodes, names = socket_inodes(pid), []
    with open("/proc/net/unix", "rb") as lines:
        for line in list(lines)[1:]:
            fields = line.split(maxsplit=7)
            accepting = int(fields[3], 16) & 0x10000
            if accepting and fields[6].decode() in inodes and len(fields) > 7:
                name = fields[7].rstrip(b"\n")
                names.append(b"\0" + name[1:] if name.startswith(b"@") else name)
    return names
