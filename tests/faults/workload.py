"""Clients that put, replace, get, stat, remove and rename, and write down what they saw.

Every put has a number; its content is that number again and again, its size
tells the number too, so a read is either of one version, whole, or a finding.

Names stand in groups of two, `a` and `b`, that all clients share: there all
changes are by staging name and rename, since a draft under a final name can be
seen on its own node.  Names that are written once, by create and close, are
shared with the clients of other nodes at once and with those of the same node
when the put has returned.

Clients work below a directory of their own run: on a mountpoint without a mount
it does not exist, so nothing is ever written to what lies under a mount.
"""

import errno
import os
import random
import threading
import time

from history import ABSENT, Operation

GROUPS = 3
# What is told of a change may not have reached a kernel that knew the name for so long.
STALE_S = 1.0
PAUSE_S = 0.012

# The system call tells nothing of what happened at the master.
UNKNOWN = {errno.ETIMEDOUT, errno.EIO, errno.ENOTCONN, errno.ECONNABORTED, errno.ECONNRESET,
           errno.ECANCELED, errno.ENODEV, errno.EINTR, errno.EHOSTUNREACH}


class Finding(Exception):
    """A broken promise that needs no judge."""


class Numbers:
    """Numbers of puts, and the sizes that belong to them."""

    def __init__(self):
        self.lock = threading.Lock()
        self.last = 0
        self.by_size = {}

    def take(self):
        with self.lock:
            self.last += 1
            number = self.last
            size = (512, 32 << 10, 128 << 10)[number % 3] * 8 + number * 8
            self.by_size[size] = number
            return number, number.to_bytes(8, "little") * (size // 8)

    def of_content(self, content, name):
        number = self.by_size.get(len(content))
        if number is None:
            raise Finding(f"{name} has {len(content)} bytes, which nobody put")
        if content != number.to_bytes(8, "little") * (len(content) // 8):
            raise Finding(f"{name}: the bytes are not all of put {number}")
        return number

    def of_size(self, size, name):
        if size not in self.by_size:
            raise Finding(f"{name} has a size of {size}, which nobody put")
        return self.by_size[size]


def read_whole(root, name):
    fd = os.open(name, os.O_RDONLY, dir_fd=root)
    try:
        parts = []
        while True:
            part = os.read(fd, 4 << 20)
            if not part:
                return b"".join(parts)
            parts.append(part)
    finally:
        os.close(fd)


class Field:
    """One run's directory on all mounts, its numbers, histories and findings."""

    def __init__(self, directory, mounts):
        self.directory = directory
        self.mounts = mounts                # by node
        self.numbers = Numbers()
        self.zero = time.monotonic()
        self.histories = {}                 # group or name: [Operation]
        self.once = []                      # (name, node, put has returned)
        self.findings = []
        self.errors = {}
        self.lock = threading.Lock()
        self.ended = threading.Event()

    def now(self):
        return time.monotonic() - self.zero

    def root(self, node):
        return os.open(os.path.join(self.mounts[node], self.directory),
                       os.O_PATH | os.O_DIRECTORY)

    def add(self, group, operation):
        with self.lock:
            self.histories.setdefault(group, []).append(operation)

    def found(self, text):
        with self.lock:
            self.findings.append(text)

    def failed(self, kind, error):
        key = f"{kind} {errno.errorcode.get(error.errno, error.errno)}"
        with self.lock:
            self.errors[key] = self.errors.get(key, 0) + 1


class Client(threading.Thread):
    def __init__(self, field, node, number, seed):
        super().__init__(name=f"client-{node}-{number}", daemon=True)
        self.field = field
        self.node = node
        self.random = random.Random(seed)
        self.staged = 0
        self.steps = (self.put,) * 5 + (self.get,) * 6 + (self.stat,) * 3 + \
            (self.remove,) * 2 + (self.rename,) * 3 + (self.put_once,) * 2 + (self.get_once,) * 3

    def run(self):
        while not self.field.ended.is_set():
            try:
                root = self.field.root(self.node)
            except OSError:
                time.sleep(PAUSE_S)
                continue
            try:
                self.random.choice(self.steps)(root)
            except Finding as finding:
                self.field.found(f"{self.name}: {finding}")
            finally:
                os.close(root)
            time.sleep(self.random.random() * PAUSE_S)

    # -- one call, written down --

    def call(self, operation, group, function):
        """Run FUNCTION; note the operation with what it gave, unless that tells nothing."""
        operation.note = self.name
        operation.begin = self.field.now()
        try:
            value = function()
        except OSError as error:
            self.field.failed(operation.kind, error)
            if not self.explained(operation, error):
                return
        else:
            operation.end = self.field.now()
            if operation.kind in ("get", "stat"):
                operation.value = value
        self.field.add(group, operation)

    def explained(self, operation, error):
        """Turn a failure into what it says; False when it says nothing."""
        operation.end = self.field.now()
        if operation.kind in ("get", "stat"):
            operation.value = ABSENT
            return error.errno == errno.ENOENT
        if error.errno == errno.ENOENT and operation.kind in ("remove", "rename"):
            operation.kind += "_absent"
            return True
        if error.errno not in UNKNOWN:
            return False        # refused: it must not have happened
        operation.unknown, operation.end = True, float("inf")
        return True

    # -- names that all share --

    def pick(self):
        return f"g{self.random.randrange(GROUPS)}", self.random.choice("ab")

    def put(self, root):
        group, name = self.pick()
        number, content = self.field.numbers.take()
        self.staged += 1
        staging = f"{group}{name}.tmp.{self.name}.{self.staged}"
        try:
            fd = os.open(staging, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=root)
            try:
                os.write(fd, content)
            finally:
                os.close(fd)
        except OSError as error:
            self.field.failed("draft", error)
            return
        self.call(Operation("put", group + name, number), group,
                  lambda: os.rename(staging, group + name, src_dir_fd=root, dst_dir_fd=root))

    def get(self, root):
        group, name = self.pick()
        self.call(Operation("get", group + name), group,
                  lambda: self.field.numbers.of_content(read_whole(root, group + name),
                                                        group + name))

    def stat(self, root):
        group, name = self.pick()
        self.call(Operation("stat", group + name), group,
                  lambda: self.field.numbers.of_size(os.stat(group + name, dir_fd=root).st_size,
                                                     group + name))

    def remove(self, root):
        group, name = self.pick()
        self.call(Operation("remove", group + name), group,
                  lambda: os.unlink(group + name, dir_fd=root))

    def rename(self, root):
        group, name = self.pick()
        other = "b" if name == "a" else "a"
        self.call(Operation("rename", group + name, other=group + other), group,
                  lambda: os.rename(group + name, group + other, src_dir_fd=root,
                                    dst_dir_fd=root))

    # -- names that are written once --

    def put_once(self, root):
        number, content = self.field.numbers.take()
        name = f"once{number}"
        entry = [name, self.node, False]

        def write():
            fd = os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644, dir_fd=root)
            with self.field.lock:
                self.field.once.append(entry)
            try:
                os.write(fd, content)
            finally:
                os.close(fd)
        self.call(Operation("put", name, number), name, write)
        entry[2] = True

    def get_once(self, root):
        with self.field.lock:
            entries = [entry for entry in self.field.once[-20:]
                       if entry[2] or entry[1] != self.node]
        if not entries:
            return
        entry = self.random.choice(entries)
        name, _, written = entry

        def read():
            content = read_whole(root, name)
            # Starting a process forks this one: the child's close publishes what it finds.
            if not content and not written:
                raise OSError(errno.EAGAIN, "not written yet")
            return self.field.numbers.of_content(content, name)
        self.call(Operation("get", name), name, read)
