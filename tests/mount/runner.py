"""Runs the registered tests over the variants and counts.

Used by run.py here and in ../integration: main(DIRECTORY of the tests).
"""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile

import cluster
import suite

ALL_VARIANTS = ["passthrough=on,io_uring=on", "passthrough=on,io_uring=off",
                "passthrough=off,io_uring=on", "passthrough=off,io_uring=off"]
HERE = os.path.dirname(os.path.abspath(__file__))
URING_SWITCH = "/sys/module/fuse/parameters/enable_uring"


def parse(argv, directory):
    parser = argparse.ArgumentParser(
        prog="run.py", description=f"Run the tests of {os.path.basename(directory)}/ "
        "on real mounts and real processes.")
    parser.add_argument("--bin", default=os.path.join(HERE, "..", "..", "build", "bin"),
                        help="where mooncakefs, mooncake-master and mooncake are")
    parser.add_argument("--only", default=[], metavar="SUBSTRING", action="append",
                        help="only tests whose name contains it (repeatable)")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--variant", action="append", type=cluster.Variant.parse,
                        help="passthrough=on|off,io_uring=on|off (repeatable; default all four)")
    parser.add_argument("--quick", action="store_true", help="leave out the slow ones")
    parser.add_argument("--dir", help="run the single-mount tests on this directory, no daemon")
    parser.add_argument("--trace", default=os.path.join(HERE, "sample_trace.jsonl"),
                        help="requests to replay, a JSON object a line")
    parser.add_argument("--python-venv", metavar="DIR",
                        help="run under DIR/bin/python, for client libraries")
    parser.add_argument("--again", action="store_true",
                        help="run what fails once more; a pass then is reported as such")
    parser.add_argument("--stop", action="store_true", help="end at the first failure")
    return parser.parse_args(argv)


def enter_venv(directory):
    """Run again under the interpreter of DIRECTORY, unless that is this one."""
    python = os.path.join(directory, "bin", "python")
    if os.path.realpath(sys.prefix) == os.path.realpath(directory):
        return
    if os.access(python, os.X_OK):
        os.execv(python, [python] + sys.argv)
    print(f"no interpreter in {directory}: going on with {sys.executable}")


def lacking(variant):
    """Why VARIANT cannot be had on this machine, or None."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse cannot be opened"
    release = tuple(int("".join(c for c in part if c.isdigit()) or 0)
                    for part in os.uname().release.split(".")[:2])
    if variant.passthrough and (release < (6, 9) or os.geteuid() != 0):
        return "passthrough needs Linux 6.9 and CAP_SYS_ADMIN"
    if variant.io_uring and not uring_switched_on():
        return f"io_uring needs Linux 6.14 and {URING_SWITCH}"
    return None


def uring_switched_on():
    try:
        with open(URING_SWITCH) as switch:
            return switch.read().strip() == "Y"
    except OSError:
        return False


class UringSwitch:
    """Lets the kernel offer FUSE over io_uring, and puts the switch back."""

    def __enter__(self):
        self.changed = False
        if os.path.exists(URING_SWITCH) and not uring_switched_on():
            self.changed = self._write("Y")

    def __exit__(self, *_):
        if self.changed:
            self._write("N")

    @staticmethod
    def _write(value):
        try:
            with open(URING_SWITCH, "w") as switch:
                switch.write(value)
            return True
        except OSError:
            return False


class SharedMount:
    """The mount that the on_mount tests of one variant share."""

    def __init__(self, options, variant, home):
        self.options = options
        self.variant = variant
        self.home = home
        self.cluster = None
        self.node = None
        self.count = 0
        self.hopeless = None

    def ready(self):
        """The mount's root; starts the processes when they are not there."""
        if self.options.dir:
            return os.path.abspath(self.options.dir)
        if self.hopeless:
            raise AssertionError(self.hopeless)
        if self.node and self.node.alive() and self.node.answers():
            return self.node.path
        self.close()
        self.count += 1
        self.cluster = cluster.Cluster(cluster.Programs(self.options.bin), self.variant,
                                       os.path.join(self.home, f"shared{self.count}"))
        try:
            self.node = self.cluster.node(self.cluster.master(), "mount", segment="1g")
        except AssertionError as error:
            self.hopeless = f"as before: {str(error).splitlines()[0]}"
            raise AssertionError(f"{error}\n{self.cluster.logs()}") from None
        return self.node.path

    def died(self):
        """What happened when a process ended under a test, or None."""
        if not self.cluster:
            return None
        dead = [p for p in self.cluster.started if not p.alive()]
        return "".join(f"{p.name} ended with {p.popen.returncode}\n" for p in dead) or None

    def close(self):
        if self.cluster:
            self.cluster.close()
        self.cluster = self.node = None


class Run:
    """One run over all chosen tests and variants."""

    def __init__(self, options, variants):
        self.options = options
        self.variants = variants
        self.home = tempfile.mkdtemp(prefix="mooncake-test.")
        os.chmod(self.home, 0o755)
        self.counts = {"ok": 0, "FAIL": 0, "skip": 0}
        self.failures = []
        self.shaky = []
        self.done = 0
        self.tries = 0
        self.plan = [(v, t) for v in variants for t in self._chosen() if t.runs_in(v, variants)]

    def _chosen(self):
        wanted = [word for word in self.options.only if word]
        for test in suite.TESTS:
            if wanted and not any(word in test.name for word in wanted):
                continue
            if self.options.quick and test.slow:
                continue
            if self.options.dir and test.kind != "mount":
                continue
            yield test

    def all(self):
        for variant in self.variants:
            tests = [t for v, t in self.plan if v is variant]
            if tests and not self._variant(variant, tests):
                break
        self.finish()

    def _variant(self, variant, tests):
        reason = None if self.options.dir else lacking(variant)
        shared = SharedMount(self.options, variant, self.home)
        try:
            for test in tests:
                outcome = suite.Outcome("skip", reason) if reason else \
                    suite.attempt(lambda t=test: self._one(t, shared), self._again())
                self._report(variant, test, outcome)
                if outcome.verdict == "FAIL" and self.options.stop:
                    return False
        finally:
            shared.close()
        return True

    def _again(self):
        return self.options.again and self.counts["FAIL"] < suite.AGAIN_MAX

    def _one(self, test, shared):
        lack = test.lacking()
        if lack:
            return suite.Outcome("skip", lack)
        if test.kind == "cluster":
            return self._on_cluster(test, shared.variant)
        if self.options.dir and not test.tmpfs:
            return suite.Outcome("skip", "cannot hold on a plain directory")
        return self._on_mount(test, shared)

    def _on_mount(self, test, shared):
        try:
            root = shared.ready()
        except AssertionError as error:
            return suite.Outcome("FAIL", f"the mount does not start: {error}")
        self.tries += 1
        directory = os.path.join(root, f"t{self.tries}")

        def body():
            os.mkdir(directory)
            test.function(suite.Place(root, directory, shared.node, shared.variant,
                                      cluster.Programs(self.options.bin), self.options.trace))
            shutil.rmtree(os.fsencode(directory))
        outcome = suite.run_isolated(body, test.timeout_s, self._output())
        died = shared.died()
        if died:
            outcome.verdict = "FAIL"
            outcome.text += "\n" + died
        if outcome.verdict == "FAIL":
            outcome.text += self._shown() + (shared.cluster.logs() if shared.cluster else "")
            shared.close()
        return outcome

    def _on_cluster(self, test, variant):
        self.tries += 1
        home = os.path.join(self.home, f"c{self.tries}")
        os.mkdir(home)

        def body():
            with cluster.Cluster(cluster.Programs(self.options.bin), variant, home,
                                 self.options.trace) as own:
                try:
                    test.function(own)
                except suite.Skip:
                    raise
                except BaseException:
                    print(own.logs())
                    raise
        outcome = suite.run_isolated(body, test.timeout_s, self._output())
        if outcome.verdict == "FAIL":
            outcome.text += self._shown()
        cluster.sweep(home)
        return outcome

    def _output(self):
        return os.path.join(self.home, "output")

    def _shown(self):
        with open(self._output(), errors="replace") as output:
            return "\n" + output.read()[-8000:]

    def _report(self, variant, test, outcome):
        self.done += 1
        self.counts[outcome.verdict] += 1
        where = self.options.dir or variant
        line = f"[{self.done:4}/{len(self.plan)}] {outcome.verdict:4} {where}  {test.name}"
        if outcome.verdict == "skip":
            line += f"  ({outcome.text})"
        elif outcome.seconds >= 0.5:
            line += f"  {outcome.seconds:.1f} s"
        if outcome.first:
            line += "  SHAKY: passed when run again, failed first:"
            self.shaky.append(line)
        print(line, flush=True)
        if details := suite.details(outcome):
            print(details, flush=True)
        if outcome.verdict == "FAIL":
            self.failures.append(line)

    def finish(self):
        for title, lines in (("Shaky", self.shaky), ("Failed", self.failures)):
            if lines:
                print("\n".join([f"\n{title}:"] + lines))
        print(f"{self.counts['ok']} passed, {self.counts['FAIL']} failed, "
              f"{self.counts['skip']} skipped", flush=True)

    def close(self):
        for name in sorted(os.listdir(self.home)):
            path = os.path.join(self.home, name)
            if os.path.isdir(path):
                cluster.sweep(path)
        shutil.rmtree(self.home, ignore_errors=True)


class Ended(BaseException):
    """SIGTERM, SIGINT or SIGHUP: unwind, so that everything is stopped."""


def main(directory):
    options = parse(sys.argv[1:], directory)
    if options.python_venv:
        enter_venv(options.python_venv)
    suite.load(directory)
    if options.list:
        for test in suite.TESTS:
            print(test.name + (" (slow)" if test.slow else ""))
        return 0
    missing = [] if options.dir else cluster.Programs(options.bin).missing()
    if missing:
        print(f"not in {options.bin}: {', '.join(missing)}")
        return 2
    variants = options.variant or [cluster.Variant.parse(text) for text in ALL_VARIANTS]
    return execute(Run(options, variants[:1] if options.dir else variants))


@contextlib.contextmanager
def unwinding():
    """Within, those signals raise Ended; what is stopped after it is not interrupted."""
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

    def end(number, _):
        raise Ended(number)
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)


def execute(run):
    try:
        with unwinding(), UringSwitch():
            run.all()
    except Ended:
        print("interrupted: stopping what was started")
        run.counts["FAIL"] += 1
        run.finish()
    finally:
        run.close()
    return 1 if run.counts["FAIL"] or not (run.counts["ok"] or run.counts["skip"]) else 0
