#!/usr/bin/env python3
"""A lane that hangs is ended, with all that it started, and says where it was."""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import cluster
import lanes


def hang(home, _name, _rows, steps):
    """As in a call to a mount that does not answer: SIGTERM does nothing."""
    steps.begin("is stuck")
    child = subprocess.Popen(["sleep", "infinity"], start_new_session=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    os.makedirs(os.path.join(home, "pids"))
    cluster.record(home, child.pid)
    with open(home + ".child", "w") as file:
        file.write(str(child.pid))
    os.kill(os.getpid(), signal.SIGSTOP)


def work(_home, _name, _rows, steps):
    steps.begin("works")
    return 3, 1


class Ends(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp(prefix="mooncake-test.")
        self.addCleanup(shutil.rmtree, self.home)
        self.now = 0

    def child(self):
        """The process that the stuck lane has started, or None."""
        try:
            with open(os.path.join(self.home, "stuck.child")) as file:
                return int(file.read() or 0)
        except OSError:
            return None

    def passing(self):
        """Time goes by when the lane is stuck."""
        self.now += 1000 if self.child() else 0
        return self.now

    def told(self):
        """The whole run's time is over when the lane is stuck."""
        if self.child():
            os.kill(os.getpid(), signal.SIGTERM)
        return 0

    def run_stuck(self, clock):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            sums = lanes.Lanes(self.home, 2, 300, hang, clock).run({"stuck": []})
        self.assertEqual(sums, (0, 1))
        self.assertIn("FAIL stuck: is stuck: ", said.getvalue())
        while cluster.started_at(self.child()):     # it was killed, and goes in a moment
            time.sleep(0.01)
        with self.assertRaises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    def test_a_step_that_takes_too_long_ends_its_lane(self):
        self.run_stuck(self.passing)

    def test_a_run_that_is_told_to_end_ends_all_lanes(self):
        self.run_stuck(self.told)

    def test_what_lanes_came_to_is_summed(self):
        sums = lanes.Lanes(self.home, 2, 300, work).run({"a": [], "b": [], "c": []})
        self.assertEqual(sums, (9, 3))


if __name__ == "__main__":
    unittest.main()
