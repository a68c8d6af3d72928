"""The rows of one lane, one after the other, on one cluster."""

import json
import threading
import time
import traceback

from cluster import wait_until
from work import Finding, Round, patiently, write
from world import HANG_S

STOP_S = 1.3        # longer than the TTL of nodes and a lease
GRACE_S = 5.0       # the work has ended, what it set off has not
TRIES = 3
ROLES = ("writer", "reader")


class Missed(Exception):
    """The step was not taken, and there is a reason: another master leads by now."""


class Lane:
    def __init__(self, world, begin, report):
        self.world = world
        self.begin = begin          # called with (row, action)
        self.report = report        # called with (row, action, seconds, text of what is wrong)
        self.rounds = []
        self.filled = False         # what is there may be evicted from now on
        self.number = 0

    def run(self, rows, actions, stop_at_first):
        failed = False
        for row in rows:
            for action in actions:
                if row.meanwhile and action != "stop":
                    continue
                begin = time.monotonic()
                self.begin(row, action)
                text = self._row(row, action)
                self.report(row, action, time.monotonic() - begin, text)
                failed = failed or bool(text)
                if failed and stop_at_first:
                    return
        begin = time.monotonic()
        self.begin(None, "restart")
        self.report(None, "restart", time.monotonic() - begin, self._all_again())

    def _row(self, row, action):
        """Text of what is wrong, or None."""
        for left in reversed(range(TRIES)):
            try:
                self._play(row, action)
                return None
            except Missed as missed:
                if left == 0:
                    return str(missed)
            except (Finding, AssertionError) as wrong:
                return str(wrong) or traceback.format_exc()
            finally:
                self.world.mend()
        return None

    def _all_again(self):
        """Nothing of what was seen is lost, nor has come back, when everything starts anew."""
        self.world.restart_all()
        try:
            for past in self.rounds:
                if self.filled:
                    past.evictable()
                past.look()
        except Finding as wrong:
            return f"after a restart of all, {past.directory}: {wrong}"
        return None

    def _play(self, row, action):
        self.number += 1
        this = Round(self.world, self.number)
        this.prepare(row.work)
        taker = self.world.process(row.taker)
        leader = self.world.leader()
        self.world.arm(taker, row.point, "stop" if row.victim else action)
        worker = self._begin(this, row)
        self._await_hit(row, taker, leader, worker)
        self._trouble(this, row, action, taker)
        self.world.mend()
        worker.join(HANG_S)
        if worker.is_alive():
            raise Finding(f"hang: {row.work} is not back after {HANG_S} s")
        self._after(this, row)

    def _begin(self, this, row):
        worker = threading.Thread(target=self._work, args=(this, row), daemon=True)
        worker.done = None
        worker.start()
        if row.work == "lose_the_leader":
            self.world.kill(self.world.leader())
        return worker

    @staticmethod
    def _work(this, row):
        if row.work != "lose_the_leader":
            threading.current_thread().done = getattr(this, row.work)()

    def _await_hit(self, row, taker, leader, worker):
        def settled():
            if self.world.hit(taker, row.point):
                return True
            if worker.is_alive() or row.work in ("wait", "lose_the_leader"):
                return False
            settled.since = settled.since or time.monotonic()
            return time.monotonic() - settled.since > GRACE_S
        settled.since = None
        wait_until(settled, HANG_S, f"{taker.name} takes {row.point}")
        if self.world.hit(taker, row.point):
            return
        if self.world.disarm(taker, row.point):
            worker.join(HANG_S)
            text = f"{taker.name} did not take {row.point}"
            raise Missed(text) if self.world.leader() is not leader else Finding(text)

    def _trouble(self, this, row, action, taker):
        if row.victim:
            self.world.wait_stopped(taker)
            victim = self.world.process(row.victim)
            if victim is not taker:
                (self.world.kill if action == "kill" else self.world.stop)(victim)
            self.world.go_on(taker)
        else:
            victim = taker
        if action == "kill":
            victim.wait(HANG_S)
            self._killed(this, victim)
        else:
            self.world.wait_stopped(victim)
            self._stopped(this, row, victim)

    def _killed(self, this, victim):
        if victim is self.world.nodes["writer"]:
            this.elsewhere("reader")
        self.world.again(victim)

    def _stopped(self, this, row, victim):
        if victim in self.world.masters and len(self.world.masters) > 1 and \
                row.work in ("put", "replace", "remove", "rename", "wait"):
            # Another leads, takes a change, and then the one before is there again.
            for master in self.world.masters:
                if not master.alive():
                    self.world.again(master)
            wait_until(lambda: self.world.elected() not in (None, victim), HANG_S,
                       "another master leads")
            this.change_later("reader")
        else:
            self.world.mend()
            if row.meanwhile:
                this.undo(row.work)
            time.sleep(STOP_S)
            if victim is self.world.nodes["writer"]:
                this.elsewhere("reader")
        self.world.go_on(victim)

    def _after(self, this, row):
        """Changes are taken, the promises hold, and the work can be done again."""
        for role in ROLES:
            self.world.nodes[role].wait_ready()
        for role in ROLES:
            patiently(lambda role=role: write(this.at(role, f"probe-{role}"), b"x"), "a probe")
            this.names.may[f"probe-{role}"] = {b"x"}
        this.names.may.update(this.undone)
        self.filled = self.filled or row.work == "fill"
        if self.filled:
            this.evictable()
        this.look()
        getattr(self, "_after_" + row.work, self._again)(this, row)
        if this.findings:
            raise Finding("; ".join(this.findings))
        self.rounds.append(this)

    def _again(self, this, row):
        if row.work in ("put", "replace", "update", "read"):
            deadline = time.monotonic() + HANG_S
            while not getattr(this, row.work)():
                if time.monotonic() > deadline:
                    raise Finding(f"can't be done again: {this.names.failed}")
            this.look()

    def _after_drain(self, this, row):
        patiently(lambda: self._told("drain", "--cancel", "writer"), "the drain is cancelled")

    def _told(self, *words):
        done = self.world.cli(*words)
        if done.returncode != 0:
            raise TimeoutError(110, done.stderr.decode())
        return done.stdout

    def _after_copy(self, this, row):
        if not this.copy():
            patiently(lambda: this.copy() or self._told("status"), "copies are asked for")
        key = f"{this.directory}/kept"

        def primaries():
            said = self.world.cli("locate", "--json", key)
            if said.returncode != 0:
                return []
            entry = json.loads(said.stdout)
            entry = entry[0] if isinstance(entry, list) else entry
            return [place for place in entry["locations"] if place["kind"] == "primary"]
        wait_until(lambda: len(primaries()) == 2, HANG_S, f"{key} has two copies")
        this.look()
