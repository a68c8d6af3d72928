#!/usr/bin/env python3
"""Virtual machines with a kernel that has what this one may lack.

soft-RoCE, NVMe-oF (target and host) and FUSE passthrough, in qemu without
hardware virtualisation.  A guest boots in seconds from an archive made of this
machine's own files (image.py); commands run in it as root, under bash, with the
functions of guest.sh; the folder /share is a folder of the host, for what goes
in and for results that come out.  Two guests reach each other as a (10.0.0.1)
and b (10.0.0.2) on eth0.

For developers: run a command line in a guest, see its output as it comes, get
its exit status:

    tests/vm/guest.py run -- uname -a
    tests/vm/guest.py run --bin build-asan/bin --memory 2048 -- \\
        'rxe_pair; mooncake-bench engine --transport rdma'
    tests/vm/guest.py run --add build/tests/test-unit-base-log -- test-unit-base-log
    tests/vm/guest.py run --guests 2 --out /tmp/results -- \\
        'rxe_eth; if [ $GUEST = a ]; then ib_read_bw -d rxe0 >/share/bw;
         else within 9 ib_read_bw -d rxe0 a; fi'

All executables of --bin (default build/bin) are on the guest's PATH, --add
brings others with the libraries that ldd names (a name without a slash is one
of this machine's: --add etcd).  --append says more to the kernel: with idle=poll its
processors are never halted, as where latencies are measured.  With --guests 2 the command runs on both at the
same time; each has its own /share, copied to OUT/a and OUT/b.  --timeout ends
it; the machines end with the command, or with whoever started it.
"""

import argparse
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "mount")]
sys.dont_write_bytecode = True

import image  # noqa: E402
import syscalls  # noqa: E402

# Built from this folder, in every guest.
TEST_PROGRAMS = ["mapped", "rdma_peer"]
QEMU = "qemu-system-x86_64"
BOOTS = 3
BOOT_TIMEOUT_S = 120
BIN = os.path.normpath(os.path.join(HERE, "..", "..", "build", "bin"))


class Job:
    """A command that runs in a guest."""

    def __init__(self, guest, number, script):
        self.guest = guest
        self.number = number
        self.script = script
        self.status = None

    @property
    def output(self):
        with open(os.path.join(self.guest.share, f"{self.number}.out"), errors="replace") as out:
            return out.read()

    def poll(self):
        self.guest.hear(0)
        return self.status

    def wait(self, timeout_s=60, check=True):
        """Its output, once it has ended; an assertion where it failed or goes on."""
        deadline = time.monotonic() + timeout_s
        while self.status is None:
            left = deadline - time.monotonic()
            assert left > 0, f"in guest {self.guest.name}, after {timeout_s} s: {self._told()}"
            self.guest.hear(left)
        assert not check or self.status == 0, \
            f"in guest {self.guest.name}, status {self.status}: {self._told()}"
        return self.output

    def _told(self):
        output = self.output if os.path.exists(f"{self.guest.share}/{self.number}.out") else ""
        return f"{self.script}\n{output[-4000:]}\n--- console\n{self.guest.console()}"


class Guest:
    """One machine.  Lives as long as whoever made it, at most."""

    def __init__(self, home, name, kernel, initrd, address="10.0.0.1", wire=None, memory_mb=1024,
                 append=""):
        self.name = name
        self.share = os.path.join(home, name)
        self.log = os.path.join(home, f"{name}.console")
        self.jobs = []
        self.heard = b""
        os.mkdir(self.share)
        self.line, far = socket.socketpair()
        argv = [QEMU, "-accel", "tcg,thread=multi", "-smp", "2", "-cpu", "max",
                "-m", str(memory_mb), "-nodefaults", "-display", "none", "-no-reboot",
                "-kernel", kernel, "-initrd", initrd, "-append",
                "console=ttyS0 loglevel=4 panic=-1 net.ifnames=0 mitigations=off "
                f"GUEST={name} ADDRESS={address} {append}",
                "-serial", f"file:{self.log}",
                "-chardev", f"socket,id=jobs,fd={far.fileno()}", "-serial", "chardev:jobs",
                "-fsdev", f"local,id=share,path={self.share},security_model=none",
                "-device", "virtio-9p-pci,fsdev=share,mount_tag=share"]
        keep = [far.fileno()]
        if wire:
            keep.append(wire.fileno())
            argv += ["-netdev", f"socket,id=wire,fd={wire.fileno()}", "-device",
                     f"virtio-net-pci,netdev=wire,host_mtu=9000,mac=52:54:00:0a:00:0{address[-1]}"]
        with far, open(os.path.join(home, f"{name}.qemu"), "wb") as log:
            self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          pass_fds=keep, preexec_fn=syscalls.die_with_parent,
                                          start_new_session=True)
        self.ready = False

    def wait_ready(self):
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while not self.ready:
            left = deadline - time.monotonic()
            assert left > 0, f"guest {self.name} has not booted:\n{self.console()}"
            self.hear(left)

    def start(self, script):
        """Start a command line of bash; a Job."""
        job = Job(self, len(self.jobs), script)
        self.jobs.append(job)
        with open(os.path.join(self.share, f"{job.number}.sh"), "w") as file:
            file.write(script + "\n")
        self.line.sendall(f"{job.number}\n".encode())
        return job

    def run(self, script, timeout_s=60, check=True):
        """Run a command line of bash to its end; its output."""
        return self.start(script).wait(timeout_s, check)

    def path(self, name):
        """Where the host finds /share/NAME."""
        return os.path.join(self.share, name)

    def console(self):
        with open(self.log, errors="replace") as log:
            return log.read()[-3000:]

    def hear(self, timeout_s):
        """Take in what the guest says within the time."""
        self.line.settimeout(max(timeout_s, 0.001))
        try:
            said = self.line.recv(4096)
        except TimeoutError:
            return
        assert said, f"guest {self.name} ended:\n{self.console()}"
        *lines, self.heard = (self.heard + said).split(b"\n")
        for line in lines:
            words = line.decode().split()
            if words == ["ready"]:
                self.ready = True
            elif len(words) == 3 and words[0] == "done":
                self.jobs[int(words[1])].status = int(words[2])

    def close(self):
        """End it at once, as a power cut does."""
        self.popen.kill()
        self.popen.wait()
        self.line.close()


class Lab:
    """The guests of one test, in one folder; all end with it."""

    def __init__(self, directory=BIN, home=None):
        self.directory = directory
        self.home = tempfile.mkdtemp(prefix="guests.", dir=home)
        self.guests = []

    def boot(self, count=1, add=(), memory_mb=1024, append=""):
        """Boot COUNT guests (1 or 2) that have the programs of ADD too; a list."""
        lacking = why_not()
        if lacking:
            raise image.Lacking(lacking)
        kernel = image.Kernel()
        initrd = os.path.join(self.home, "initrd")
        built = [path for path in map(self.test_program, TEST_PROGRAMS) if os.path.exists(path)]
        programs = [*executables(self.directory), *built, *add]
        image.write_image(initrd, kernel, programs)
        for left in reversed(range(BOOTS)):
            self._start(count, kernel, initrd, memory_mb, append)
            try:
                for guest in self.guests:
                    guest.wait_ready()
                break
            except AssertionError as error:
                # Rarely a kernel crashes under emulation before it has run anything.
                if not left:
                    raise
                print(f"booting once more: {error}")
                self._end()
        os.unlink(initrd)
        return self.guests

    def _start(self, count, kernel, initrd, memory_mb, append):
        wires = socket.socketpair() if count == 2 else [None]
        for number, wire in enumerate(wires):
            self.guests.append(Guest(self.home, "ab"[number], kernel.image, initrd,
                                     f"10.0.0.{number + 1}", wire, memory_mb, append))
            if wire:
                wire.close()

    def _end(self):
        for guest in self.guests:
            guest.close()
            shutil.rmtree(guest.share, ignore_errors=True)
        self.guests = []

    def test_program(self, name):
        """The path of a program that is built beside the tests."""
        return os.path.join(self.directory, "..", "tests", name)

    def close(self):
        self._end()
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def executables(directory):
    paths = [os.path.join(directory, name) for name in sorted(os.listdir(directory))]
    return [path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)]


def why_not():
    """Why there can be no guests on this machine, or None."""
    if os.uname().machine != "x86_64":
        return "guests are of x86_64"
    if not shutil.which(QEMU):
        return f"needs the program {QEMU}"
    done = subprocess.run([QEMU, "-version"], capture_output=True, check=False)
    return None if done.returncode == 0 else f"{QEMU} does not run"


def parse(argv):
    parser = argparse.ArgumentParser(prog="guest.py", description="Run a command line in a guest.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="boot, run the command, end")
    run.add_argument("--bin", default=BIN, help="a folder of programs (default: build/bin)")
    run.add_argument("--add", action="append", default=[], metavar="PROGRAM",
                     help="another program: a path, or the name of one of this machine")
    run.add_argument("--guests", type=int, default=1, choices=(1, 2), help="run it on two at once")
    run.add_argument("--memory", type=int, default=1024, metavar="MB", help="of each guest")
    run.add_argument("--append", default="", metavar="TEXT", help="of the kernel's command line")
    run.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="for the command")
    run.add_argument("--out", metavar="DIR", help="copy each guest's /share to DIR/NAME")
    run.add_argument("command", nargs="+", help="its words, or one word: a line for bash")
    return parser.parse_args(argv)


def follow(jobs, timeout_s):
    """Show what the jobs print as it comes; the first status that is not 0."""
    shown = [0] * len(jobs)
    deadline = time.monotonic() + timeout_s
    running = True
    while running:
        running = any(job.poll() is None for job in jobs)
        for at, job in enumerate(jobs):
            text = job.output[shown[at]:] if os.path.exists(job.guest.path(f"{job.number}.out")) else ""
            sys.stdout.write(text if len(jobs) == 1 else
                             "".join(f"{job.guest.name}: {line}" for line in text.splitlines(True)))
            shown[at] += len(text)
        sys.stdout.flush()
        if time.monotonic() > deadline:
            print(f"not done after {timeout_s} s", file=sys.stderr)
            return 124
        time.sleep(0.05)
    return next((job.status for job in jobs if job.status), 0)


def main():
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    options = parse(sys.argv[1:])
    script = options.command[0] if len(options.command) == 1 else shlex.join(options.command)
    with Lab(options.bin) as lab:
        try:
            guests = lab.boot(options.guests, options.add, options.memory, options.append)
            status = follow([guest.start(script) for guest in guests], options.timeout)
        except (image.Lacking, AssertionError) as error:
            print(error, file=sys.stderr)
            return 125
        for guest in guests if options.out else []:
            shutil.copytree(guest.share, os.path.join(options.out, guest.name), dirs_exist_ok=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
