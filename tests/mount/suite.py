"""The runner: tests are functions whose names are sentences.

Every test runs in a forked child with a deadline: a SIGBUS, a hang or a dead
daemon fails that test and no other.  `on_mount` tests get a fresh directory on
the mount that all tests of a variant share; `on_cluster` tests start their own
processes.  A test imports what it needs from here:

    @on_mount()
    def what_is_written_can_be_read(place):
        place.put("x", b"1")
        assert place.get("x") == b"1"
"""

import contextlib
import importlib.util
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback

import cluster
import syscalls

TESTS = []


class Skip(Exception):
    """Raised by a test that needs what this machine lacks."""


class Test:
    def __init__(self, function, kind, slow, variants, tmpfs, timeout_s, needs):
        self.function = function
        self.theme = function.__module__.removeprefix("test_").replace("_", " ")
        self.sentence = function.__name__.replace("_", " ").strip()
        self.kind = kind
        self.slow = slow
        self.variants = "one" if slow else variants
        self.tmpfs = tmpfs
        self.timeout_s = timeout_s
        self.needs = needs

    @property
    def name(self):
        return f"{self.theme}: {self.sentence}"

    def runs_in(self, variant, variants):
        """Whether it belongs to VARIANT of those chosen."""
        if self.variants == "all":
            return True
        chosen = [variants[0]] if self.variants == "one" else [variants[0], variants[-1]]
        return variant in chosen

    def lacking(self):
        """What it needs and this machine does not have, or None."""
        for need in self.needs:
            if need == "root":
                if os.geteuid() != 0:
                    return "needs root"
            elif need.startswith("module:"):
                if importlib.util.find_spec(need[7:]) is None:
                    return f"needs the Python module {need[7:]}"
            elif not shutil.which(need):
                return f"needs the program {need}"
        return None


def _register(kind, slow=False, variants="all", tmpfs=True, timeout_s=120, needs=()):
    def add(function):
        TESTS.append(Test(function, kind, slow, variants, tmpfs, timeout_s, needs))
        return function
    return add


def on_mount(**how):
    """A test of one mount.  tmpfs=False: cannot hold on a plain tmpfs."""
    return _register("mount", **how)


def on_cluster(variants="ends", **how):
    """A test that starts its own processes; by default in two variants."""
    return _register("cluster", variants=variants, **how)


def on_guests(**how):
    """A test that boots machines of its own, see ../vm."""
    return _register("guests", variants="one", **how)


def skip(reason):
    raise Skip(reason)


class Place:
    """Where an on_mount test works: a directory of its own."""

    def __init__(self, root, directory, node, variant, programs, trace):
        self.root = root
        self.directory = directory
        self.node = node
        self.variant = variant
        self.programs = programs
        self.trace = trace

    def path(self, name):
        return os.path.join(self.directory, name)

    def put(self, name, data):
        return put(self.path(name), data)

    def get(self, name):
        return get(self.path(name))

    def names(self):
        return sorted(os.listdir(self.directory))

    def counters(self):
        return cluster.counters(self.root)

    @contextlib.contextmanager
    def scratch(self):
        """A directory outside the mount, for sources and results."""
        directory = tempfile.mkdtemp(prefix="mooncake-scratch.")
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def content(seed, count):
    """COUNT bytes that only SEED gives."""
    return random.Random(seed).randbytes(count)


def write_whole(fd, data, offset=None):
    """One call, and it must take everything."""
    count = os.write(fd, data) if offset is None else os.pwrite(fd, data, offset)
    assert count == len(data), f"short write: {count} of {len(data)}"


def put(path, data, flags=os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode=0o644):
    fd = os.open(path, flags, mode)
    try:
        if data:
            write_whole(fd, data)
    finally:
        os.close(fd)


def get(path):
    """All bytes by one read of the size that stat says; short is a failure."""
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        data = os.read(fd, size) if size else b""
        assert len(data) == size, f"short read: {len(data)} of {size}"
        return data
    finally:
        os.close(fd)


def same(got, want, what="content"):
    """Compare bytes without printing megabytes of them."""
    if got == want:
        return
    at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
    raise AssertionError(f"{what} differs at byte {at}: {len(got)} bytes, {len(want)} expected; "
                         f"{bytes(got[at:at + 16]).hex()} for {bytes(want[at:at + 16]).hex()}")


@contextlib.contextmanager
def fails(*numbers):
    """The block must raise OSError with one of the errnos."""
    try:
        yield
    except OSError as error:
        assert error.errno in numbers, f"errno {error.errno} ({error}) for one of {numbers}"
        return
    raise AssertionError(f"it succeeded; errno {numbers} expected")


def _in_child(function):
    """Fork, run FUNCTION, return (pid, readable end) at once."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    code = 1
    try:
        os.close(reader)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        syscalls.die_with_parent()
        result = function()
        with os.fdopen(writer, "wb") as out:
            out.write(pickle.dumps(result))
        code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def as_user(uid, gid, function, groups=()):
    """Run FUNCTION as another user; return its result, raise its OSError."""
    def other():
        os.setgroups(list(groups))
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        try:
            return "done", function()
        except OSError as error:
            return "errno", error.errno, str(error)
        except BaseException:
            return "failed", traceback.format_exc()
    pid, reader = _in_child(other)
    with os.fdopen(reader, "rb") as source:
        raw = source.read()
    os.waitpid(pid, 0)
    assert raw, "the child of the other user died"
    result = pickle.loads(raw)
    if result[0] == "errno":
        raise OSError(result[1], result[2])
    assert result[0] == "done", result[1]
    return result[1]


def in_processes(functions, timeout_s=30):
    """Run all at once, each in a process; return their results in order."""
    children = [_in_child(function) for function in functions]
    results = []
    for pid, reader in children:
        with os.fdopen(reader, "rb") as source:
            raw = source.read()
        _, status = os.waitpid(pid, 0)
        assert raw, f"a process of the test ended with {os.waitstatus_to_exitcode(status)}"
        results.append(pickle.loads(raw))
    return results


def tool(argv, timeout_s=60, check=True, **how):
    """Run a foreign program; its output is shown when it fails."""
    import subprocess
    done = subprocess.run(argv, capture_output=True, timeout=timeout_s,
                          preexec_fn=syscalls.die_with_parent, check=False, **how)
    if check and done.returncode != 0:
        raise AssertionError(f"{argv[0]} ended with {done.returncode}: {' '.join(map(str, argv))}\n"
                             f"{done.stdout[-2000:].decode('utf-8', 'replace')}\n"
                             f"{done.stderr[-2000:].decode('utf-8', 'replace')}")
    return done


def load(directory):
    """Import every test_*.py of DIRECTORY in order of name."""
    sys.path.insert(0, directory)
    for name in sorted(os.listdir(directory)):
        if name.startswith("test_") and name.endswith(".py"):
            importlib.import_module(name[:-3])


class Outcome:
    """What became of one test in one variant."""

    def __init__(self, verdict, text="", seconds=0.0):
        self.verdict = verdict      # "ok", "skip" or "FAIL"
        self.text = text
        self.seconds = seconds
        self.first = None           # how it failed, where it passed when run again


AGAIN_MAX = 3   # that failed twice: then it is no bad luck


def attempt(run, again):
    """What RUN() comes to; where AGAIN, a failure is one that happens twice in a row."""
    outcome = run()
    if outcome.verdict != "FAIL" or not again:
        return outcome
    second = run()
    if second.verdict == "FAIL":
        return outcome
    second.first = outcome.text
    return second


def details(outcome):
    """What to print below the line of a test that failed, or failed at first."""
    text = outcome.text if outcome.verdict == "FAIL" else outcome.first
    return text and "    " + text.strip().replace("\n", "\n    ")


def run_isolated(function, timeout_s, output_path):
    """Run FUNCTION in a child with a deadline; its output goes to a file."""
    def body():
        out = os.open(output_path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.umask(0o022)
        try:
            function()
            return "ok", ""
        except Skip as reason:
            return "skip", str(reason)
        except BaseException:
            return "FAIL", traceback.format_exc()
    begin = time.monotonic()
    pid, reader = _in_child(body)
    try:
        verdict, text = _await(pid, reader, timeout_s)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        raise
    return Outcome(verdict, text, time.monotonic() - begin)


def _await(pid, reader, timeout_s):
    import select
    deadline = time.monotonic() + timeout_s
    raw = b""
    with os.fdopen(reader, "rb", buffering=0) as source:
        while True:
            ready, _, _ = select.select([source], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return "FAIL", _end_hung(pid, timeout_s)
            part = source.read(65536)
            if not part:
                break
            raw += part
    _, status = os.waitpid(pid, 0)
    if raw:
        return pickle.loads(raw)
    return "FAIL", f"the test's process died: {os.waitstatus_to_exitcode(status)} (minus a signal)"


def _end_hung(pid, timeout_s):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/wchan") as wchan:
            where = wchan.read()
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return f"not done after {timeout_s} s (waiting in {where or 'user code'})"
        time.sleep(0.02)
    return f"not done after {timeout_s} s and cannot be killed (waiting in {where})"
