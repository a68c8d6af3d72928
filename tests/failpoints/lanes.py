"""Lanes, each in a process of its own, ended when one of their steps takes too long.

A lane that hangs may be beyond its own help: it waits in a system call for a mount
whose daemon was stopped, and not even SIGKILL ends it while that daemon lives.  So the
parent ends what the lane started first, by the records of its cluster, and then the lane.
"""

import faulthandler
import os
import signal
import sys
import time
import traceback

import cluster
import syscalls

PAUSE_S = 0.1
END_S = 10      # after SIGKILL; within what timeout(1) leaves run.py after SIGTERM


class Stopped(Exception):
    """SIGTERM: the time of the whole run is over."""


class Steps:
    """In the lane's process: the parent is told of each step when it begins."""

    def __init__(self, path, limit_s):
        self.path = path
        self.limit_s = limit_s

    def begin(self, text):
        with open(self.path + ".new", "w") as file:
            file.write(text)
        os.rename(self.path + ".new", self.path)
        # Where each of its threads is, just before the parent ends it.
        faulthandler.dump_traceback_later(self.limit_s * 0.95)


class _Running:
    def __init__(self, name, pid, since):
        self.name = name
        self.pid = pid
        self.step = "begins"
        self.since = since


class Lanes:
    def __init__(self, home, jobs, limit_s, play, clock=time.monotonic):
        """play(home, name, rows, steps) in the lane's own process; (passed, failed) of its rows."""
        self.home = home
        self.jobs = jobs
        self.limit_s = limit_s
        self.play = play
        self.clock = clock
        self.running = []

    def run(self, lanes):
        """All of LANES, {name: rows}; (passed, failed)."""
        def stop(_number, _frame):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)   # once is enough
            raise Stopped
        before = signal.signal(signal.SIGTERM, stop)
        try:
            self._run(list(lanes.items()))
        except Stopped:
            for lane in list(self.running):
                self._end(lane, "was not at its end when the run was to end")
        finally:
            signal.signal(signal.SIGTERM, before)
        return self._sum(lanes)

    def _run(self, waiting):
        while waiting or self.running:
            while waiting and len(self.running) < self.jobs:
                self._start(*waiting.pop(0))
            for lane in list(self.running):
                if _ended(lane.pid):
                    self.running.remove(lane)
                elif self._late(lane):
                    self._end(lane, f"hangs, it took {self.limit_s} s")
            time.sleep(PAUSE_S)

    def _path(self, name, what):
        return os.path.join(self.home, f"{name}.{what}")

    def _start(self, name, rows):
        os.makedirs(os.path.join(self.home, name))
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            self.running.append(_Running(name, pid, self.clock()))
            return
        code = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            syscalls.die_with_parent()
            steps = Steps(self._path(name, "step"), self.limit_s)
            counts = self.play(os.path.join(self.home, name), name, rows, steps)
            with open(self._path(name, "counts"), "w") as out:
                out.write("%d %d" % counts)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def _look(self, lane):
        """Which step it is at."""
        try:
            with open(self._path(lane.name, "step")) as file:
                step = file.read()
        except OSError:
            return
        if step != lane.step:
            lane.step, lane.since = step, self.clock()

    def _late(self, lane):
        self._look(lane)
        return self.clock() - lane.since > self.limit_s

    def _end(self, lane, why):
        self.running.remove(lane)
        self._look(lane)
        home = os.path.join(self.home, lane.name)
        print(f"FAIL {lane.name}: {lane.step}: {why}", flush=True)
        print("    " + cluster.logs_of(home, 60).replace("\n", "\n    "), flush=True)
        try:
            os.kill(lane.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        cluster.kill_recorded(home)
        until = time.monotonic() + END_S
        while not _ended(lane.pid) and time.monotonic() < until:
            time.sleep(PAUSE_S)

    def _sum(self, lanes):
        passed = failed = 0
        for name in lanes:
            try:
                with open(self._path(name, "counts")) as counts:
                    ok, wrong = map(int, counts.read().split())
            except OSError:
                print(f"FAIL {name}: the lane did not come to its end")
                ok, wrong = 0, 1
            passed, failed = passed + ok, failed + wrong
        return passed, failed


def _ended(pid):
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
