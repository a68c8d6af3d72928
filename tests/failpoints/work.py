"""The works that make a process take a step, and what else goes on meanwhile."""

import errno
import os
import time

from cluster import wait_until
from names import Names
from world import HANG_S

SMALL = 3000
LARGE = 3 << 20         # pulled in several chunks
PAUSE_S = 0.05

# Somebody is away: what a call may say of it, and be made again.
AWAY = {errno.ETIMEDOUT, errno.EROFS, errno.EIO, errno.ENOTCONN, errno.ECONNABORTED,
        errno.ENOENT, errno.EAGAIN, errno.ESTALE, errno.ENOSPC}


class Finding(Exception):
    """A broken promise."""


def content(name, size, number=0):
    """Bytes that tell of their name in every place."""
    word = f"{name}/{number}.".encode()
    return (word * (size // len(word) + 1))[:size]


def write(path, data, flags=os.O_CREAT | os.O_WRONLY | os.O_TRUNC):
    fd = os.open(path, flags, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
    finally:
        os.close(fd)


def read(path):
    """All bytes, until the end of the file."""
    fd = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(fd, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def patiently(call, what):
    """CALL, again and again while somebody is away."""
    deadline = time.monotonic() + HANG_S
    while True:
        try:
            return call()
        except OSError as error:
            if error.errno not in AWAY or time.monotonic() > deadline:
                raise Finding(f"{what}: {error}") from None
        time.sleep(PAUSE_S)


class Round:
    """The names of one row, below a directory of their own."""

    def __init__(self, world, number):
        self.world = world
        self.directory = f"p{number}"
        self.names = Names()
        self.number = 0
        self.findings = []
        self.undone = {}    # what must be there since another node undid a change

    def at(self, role, name=""):
        return os.path.join(self.world.path(role), self.directory, name)

    def fresh(self, name, size=SMALL):
        self.number += 1
        return content(f"{self.directory}/{name}", size, self.number)

    def prepare(self, work):
        """Names that the works change, and some that must stay as they are."""
        patiently(lambda: os.makedirs(self.at("writer"), exist_ok=True), "mkdir")
        names = [("writer", "kept"), ("reader", "mine"), ("writer", "old"), ("writer", "gone"),
                 ("writer", "from"), ("writer", "later")]
        if work == "read":
            names.append(("writer", "large"))
        for role, name in names:
            data = self.fresh(name, LARGE if name == "large" else SMALL)
            patiently(lambda role=role, name=name, data=data: write(self.at(role, name), data),
                      f"put {name}")
            self.names.may[name] = {data}

    # -- works; each may be done again --

    def put(self):
        data = self.fresh("new")
        return self.names.put("new", data, lambda: write(self.at("writer", "new"), data))

    def replace(self):
        data = self.fresh("old")
        staging = self.at("writer", "old.tmp")
        try:
            write(staging, data)
        except OSError as error:
            self.names.failed.append(f"draft: {errno.errorcode[error.errno]}")
            return False
        return self.names.put("old", data, lambda: os.rename(staging, self.at("writer", "old")))

    def update(self):
        """In place: another version of the same object."""
        data = self.fresh("old")
        return self.names.put("old", data,
                              lambda: write(self.at("writer", "old"), data, os.O_WRONLY),
                              in_place=True)

    def remove(self):
        return self.names.remove("gone", lambda: os.unlink(self.at("writer", "gone")))

    def rename(self):
        return self.names.rename("from", "to", lambda: os.rename(self.at("writer", "from"),
                                                                 self.at("writer", "to")))

    def read(self):
        """On the other node, which pulls it."""
        may = self.names.may["large"]
        try:
            data = read(self.at("reader", "large"))
        except OSError as error:
            self.names.failed.append(f"read: {errno.errorcode[error.errno]}")
            return False
        if data not in may:
            self.findings.append(f"a read gave {len(data)} bytes that nobody put")
        return True

    def copy(self):
        """A second replica, which the reader pulls."""
        try:
            os.setxattr(self.at("writer", "kept"), "user.mooncake.replicas", b"2")
        except OSError as error:
            self.names.failed.append(f"setxattr: {errno.errorcode[error.errno]}")
            return False
        return True

    def drain(self):
        return self._cli("drain", "--detach", "writer")

    def step_down(self):
        return self._cli("master", "step-down")

    def _cli(self, *words):
        done = self.world.cli(*words)
        if done.returncode != 0:
            self.names.failed.append(f"{' '.join(words)}: {done.stderr.decode().strip()}")
        return done.returncode == 0

    def wait(self):
        """The step is taken by itself."""
        return True

    def churn(self):
        """Until the journal is made smaller."""
        name = self.at("reader", "mine")
        for number in range(20000):
            try:
                os.utime(name, (number, number))
            except OSError as error:
                self.names.failed.append(f"utime: {errno.errorcode.get(error.errno)}")
                return False
        return True

    def fill(self):
        """More than the pool: what is there may be evicted."""
        for number in range(20):
            name = f"fill{number}"
            data = self.fresh(name, 4 << 20)
            done = self.names.put(name, data,
                                  lambda name=name, data=data: write(self.at("writer", name), data))
            if not done:
                return False
        return True

    # -- what goes on while somebody is away --

    def elsewhere(self, role):
        """Another node's own object can be read, and names change on another node."""
        mine, = self.names.may["mine"]
        if role == "reader" and patiently(lambda: read(self.at("reader", "mine")),
                                          "read mine") != mine:
            self.findings.append("the reader's own object has other bytes")

    def undo(self, work):
        """The other node has seen the change: whatever is done again must not undo its answer."""
        name = {"put": "new", "remove": "gone", "rename": "from"}[work]
        path = self.at("reader", name)
        wait_until(lambda: os.path.exists(path) == (work == "put"), HANG_S, f"{work} is seen")
        if work == "put":
            os.unlink(path)
            self.undone[name] = {None}
        else:
            data = self.fresh(name)
            write(path, data)
            self.undone[name] = {data}

    def change_later(self, role):
        """A change that is taken by whoever leads now; who led before must not undo it."""
        deadline = time.monotonic() + HANG_S
        while not self.names.remove("later", lambda: os.unlink(self.at(role, "later"))):
            if time.monotonic() > deadline:
                raise Finding(f"no change is taken: {self.names.failed[-1]}")
            try:
                os.stat(self.at(role, "later"))
            except FileNotFoundError:
                pass
            except OSError:
                pass
            time.sleep(PAUSE_S)

    # -- what is there at the end --

    def seen(self, role):
        found = {}
        for name in self.names.may:
            try:
                found[name] = read(self.at(role, name))
            except FileNotFoundError:
                found[name] = None
        # A draft that was to be renamed, and was not, stays on its own node.
        listed = {name for name in os.listdir(self.at(role)) if ".tmp" not in name}
        there = {name for name, data in found.items() if data is not None}
        if listed != there:
            raise OSError(errno.EIO, f"listed: {sorted(listed - there)}, not listed: "
                                     f"{sorted(there - listed)}")
        return found

    def look(self, settle=True):
        """Both nodes see the same, and it is allowed; within a time in which all comes back."""
        last = ["nothing was read"]

        def fine():
            try:
                writer, reader = self.seen("writer"), self.seen("reader")
            except OSError as error:
                last[0] = str(error)
                return None
            wrong = self.names.wrong(writer)
            if writer != reader:
                wrong += [f"{name} differs between the nodes" for name in writer
                          if writer[name] != reader[name]]
            last[0] = "; ".join(wrong)
            return None if wrong else writer
        try:
            seen = wait_until(fine, HANG_S / 2, "x")
        except AssertionError:
            raise Finding(f"{last[0]}; failed calls: {self.names.failed}") from None
        if settle:
            self.names.settle(seen)

    def evictable(self):
        """Everything may be gone."""
        self.names.may = {name: may | {None} for name, may in self.names.may.items()}
