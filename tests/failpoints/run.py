#!/usr/bin/env python3
"""Hit processes at every step of their work, and see whether the promises hold.

For each row of table.py: a process that is armed takes a step of its work
(engine/base/failpoint.h) and is killed there, or stopped until all others have
gone on without it.  When it is back, every object that was acknowledged must be
there, whole, what was removed must be gone, what was in doubt must be the one or
the other, the same on all nodes, also after a restart of everything.

Needs programs that were built with -DMOONCAKE_FAILPOINTS=ON.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "mount"), os.path.join(HERE, "..", "integration"), HERE]
sys.dont_write_bytecode = True

import cluster  # noqa: E402
import lane  # noqa: E402
import lanes  # noqa: E402
import lanes_test  # noqa: E402
import runner  # noqa: E402
import syscalls  # noqa: E402
import table  # noqa: E402
import world  # noqa: E402

VARIABLE = "MOONCAKE_FAILPOINTS"
WORLDS = {"file": world.World, "members": world.MembersWorld, "others": world.MembersWorld}


def parse(argv):
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default=os.path.join(HERE, "..", "..", "build-failpoints", "bin"))
    parser.add_argument("--only", action="append", default=[], metavar="SUBSTRING",
                        help="only rows whose text contains it (repeatable)")
    parser.add_argument("--action", choices=("kill", "stop"), help="only this one")
    parser.add_argument("--all", action="store_true",
                        help="also hit other processes at each step of a change")
    parser.add_argument("--jobs", type=int, default=3, metavar="N", help="clusters at a time")
    parser.add_argument("--limit", type=float, default=300, metavar="SECONDS",
                        help="a step that takes longer hangs: its lane is ended (%(default)s)")
    parser.add_argument("--stop", action="store_true", help="end a lane at its first failure")
    parser.add_argument("--list", action="store_true", help="print the rows and end")
    parser.add_argument("--quick", action="store_true", help="only kill")
    return parser.parse_args(argv)


def text_of(row):
    victim = f", {row.victim} is hit" if row.victim else ""
    meanwhile = ", another undoes it" if row.meanwhile else ""
    return f"{row.point} at the {row.taker}, by {row.work}{victim}{meanwhile}"


def listed(programs):
    """The steps that the programs know, or None: they were built without."""
    done = subprocess.run([programs.path("mooncakefs"), "--version"], capture_output=True,
                          env={**os.environ, VARIABLE: "list"}, check=False)
    names = set(done.stdout.decode().split("\n")) - {""}
    return names if names and all("." in name and " " not in name for name in names) else None


def compare(known):
    """Texts of steps that the table lacks, or that the code has not."""
    return [f"no row of the table takes {name}" for name in sorted(known - table.points())] + \
        [f"the table takes {name}, which no program has" for name in sorted(table.points() - known)]


def run_lane(options, home, name, rows, steps):
    """In a process of its own; (passed, failed)."""
    counts = {"ok": 0, "FAIL": 0}

    def what(row, action):
        return f"{action} {text_of(row) if row else 'everything is started anew'}"

    def report(row, action, seconds, wrong):
        counts["FAIL" if wrong else "ok"] += 1
        print(f"{'FAIL' if wrong else 'ok  '} {name}: {what(row, action)}  {seconds:.1f} s" +
              ("\n    " + wrong.replace("\n", "\n    ") if wrong else ""), flush=True)
        if wrong:
            print("    " + own.logs(60).replace("\n", "\n    "), flush=True)
    folder = os.path.join(home, "armed")
    os.makedirs(folder)
    os.environ[VARIABLE] = folder
    actions = [options.action] if options.action else ["kill"] if options.quick else \
        ["kill", "stop"]
    variant = cluster.Variant(True, runner.uring_switched_on())
    steps.begin("its processes are started")
    with cluster.Cluster(cluster.Programs(options.bin), variant, home) as own:
        try:
            site = WORLDS.get(name, world.EtcdWorld)(own, folder)
            lane.Lane(site, lambda row, action: steps.begin(what(row, action)),
                      report).run(rows, actions, options.stop)
        except BaseException:
            report(None, "broken", 0.0, traceback.format_exc())
        steps.begin("its processes are ended")
    return counts["ok"], counts["FAIL"]


def run_lanes(options, home, rows):
    def play(own, name, its, steps):
        return run_lane(options, own, name, its, steps)
    return lanes.Lanes(home, options.jobs, options.limit, play).run(rows)


def chosen(options):
    """{name of the lane: its rows}."""
    chosen = {**table.LANES, **(table.OTHERS if options.all else {})}
    if options.only:
        chosen = {name: [row for row in rows
                         if any(word in f"{name}: {text_of(row)}" for word in options.only)]
                  for name, rows in chosen.items()}
    return {name: rows for name, rows in chosen.items() if rows}


def lacking(programs):
    lack = runner.lacking(cluster.Variant(True, False))
    if not lack and not all(map(shutil.which, ("etcd", "etcdctl"))):
        lack = "needs etcd and etcdctl"
    return lack


def main():
    options = parse(sys.argv[1:])
    rows = chosen(options)
    if options.list:
        for name, its in rows.items():
            for row in its:
                print(f"{name}: {text_of(row)}")
        return 0
    programs = cluster.Programs(options.bin)
    missing = programs.missing()
    if missing:
        print(f"not in {options.bin}: {', '.join(missing)}")
        return 2
    known = listed(programs)
    if not known:
        print(f"in {options.bin} are programs without failpoints: cmake -DMOONCAKE_FAILPOINTS=ON")
        return 2
    wrong = compare(known)
    tests = unittest.defaultTestLoader.loadTestsFromModule(lanes_test)
    judged = unittest.TextTestRunner(verbosity=0, stream=sys.stdout).run(tests)
    wrong += [f"{test}\n{text}" for test, text in judged.failures + judged.errors]
    for text in wrong:
        print(f"FAIL {text}")
    lack = lacking(programs)
    if lack:
        print(f"skipped: {lack}\n0 passed, {len(wrong)} failed, 1 skipped")
        return 1 if wrong else 0
    begin = time.monotonic()
    home = tempfile.mkdtemp(prefix="mooncake-test.")
    os.chmod(home, 0o755)
    try:
        with runner.unwinding(), runner.UringSwitch():
            passed, failed = run_lanes(options, home, rows)
    except runner.Ended:
        print("interrupted: stopping what was started")
        return 1
    finally:
        for name in rows:
            cluster.sweep(os.path.join(home, name))
        shutil.rmtree(home, ignore_errors=True)
    print(f"took {time.monotonic() - begin:.0f} s, {len(known)} steps")
    print(f"{passed + (not wrong)} passed, {failed + len(wrong)} failed, 0 skipped", flush=True)
    return 1 if failed or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
