#!/usr/bin/env python3
"""Random fault schedules against a real cluster, and a judge of what clients saw.

For each seed: clients on three mounts put, replace, get, stat, remove and
rename the same names while processes are killed and stopped; then everything
runs again, and what all mounts say must follow from what the calls returned.
No acknowledged object may be lost, no refused one seen, no version torn.

A schedule that failed is run again by its seed: run.py --seed N --schedules 1
"""

import argparse
import errno
import os
import shutil
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "mount"), os.path.join(HERE, "..", "integration"), HERE]
sys.dont_write_bytecode = True

import cluster  # noqa: E402
import history  # noqa: E402
import history_test  # noqa: E402
import network  # noqa: E402
import runner  # noqa: E402
import schedule  # noqa: E402
import workload  # noqa: E402

CLIENTS_PER_NODE = 2
HANG_S = 30
SETTLE_S = 8
# A node that came back is heard by all others, and has told what it holds, within this.
RETURN_S = 1.0


def parse(argv):
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default=os.path.join(HERE, "..", "..", "build", "bin"))
    parser.add_argument("--schedules", type=int, default=40, metavar="N")
    parser.add_argument("--seed", type=int, help="of the first schedule (default: drawn)")
    parser.add_argument("--network", action="store_true",
                        help="a network name space for each process; cables are pulled as well")
    parser.add_argument("--etcd", action="store_true",
                        help="two masters and an etcd, which are hit as well; with --network "
                        "an etcd of three members")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="8 schedules")
    parser.add_argument("--keep-going", action="store_true", help="beyond the first failure")
    return parser.parse_args(argv)


def excused(operation, troubles, node):
    """More room where the promises give it; None: it says nothing."""
    begin, end = operation.begin, operation.end
    around = [t for t in troubles if t.begin <= end and t.end + RETURN_S >= begin]
    absent = operation.kind.endswith("_absent") or (
        operation.kind in history.READS and operation.value is history.ABSENT)
    if absent and around:
        return None
    if operation.kind == "remove" and around:
        operation.idle = True
    if operation.kind in history.READS and not operation.name.startswith("once"):
        operation.begin -= workload.STALE_S
        for trouble in around:
            if trouble.node in (None, node):
                operation.begin = min(operation.begin, trouble.begin - workload.STALE_S)
    return operation


def mark_idle(operations):
    """Renames that another mount had done a moment before, which a kernel may not know yet."""
    renames = [o for o in operations if o.kind == "rename"]
    for operation in renames:
        operation.idle = any(
            other is not operation and other.name == operation.name
            and other.begin <= operation.end and other.end >= operation.begin - workload.STALE_S
            for other in renames)


def judge(field, troubles, last):
    """Texts of what can't be explained; LAST are the final reads, by group."""
    wrong = list(field.findings)
    for group, operations in field.histories.items():
        copies = [copy(o) for o in operations]
        mark_idle(copies)
        usable = [excused(o, troubles, o.note.split("-")[1]) for o in copies]
        usable = [o for o in usable if o] + last.get(group, [])
        try:
            text = history.explain(usable)
        except history.TooHard as error:
            print(f"    not judged: {group}, {error}")
            continue
        if text:
            wrong.append(f"{group}: {text}")
    return wrong


def copy(o):
    return history.Operation(o.kind, o.name, o.value, o.other, o.begin, o.end, o.unknown,
                             note=o.note)


def final_reads(field):
    """What every mount says of every name, when all is well again."""
    reads = {}
    for node in field.mounts:
        root = field.root(node)
        try:
            for group in list(field.histories):
                names = [group] if group.startswith("once") else [group + "a", group + "b"]
                for name in names:
                    reads.setdefault(group, []).append(final_read(field, node, root, name))
        finally:
            os.close(root)
    return reads


def final_read(field, node, root, name):
    operation = history.Operation("get", name, begin=field.now(), note=f"at the end {node}")
    try:
        content = workload.read_whole(root, name)
        operation.value = field.numbers.of_content(content, name)
    except FileNotFoundError:
        operation.value = history.ABSENT
    operation.end = field.now()
    return operation


def settled(field, troubles):
    """The verdict once the last reads are explained, or can't be for too long."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        try:
            wrong = judge(field, troubles, final_reads(field))
        except (OSError, workload.Finding) as error:
            wrong = [f"the last reads: {error}"]
        if not wrong or time.monotonic() > deadline:
            return wrong
        time.sleep(0.25)


def between_leaders(error):
    """A lease may have ended just now, and another master is about to lead."""
    return error.errno in (errno.EROFS, errno.ETIMEDOUT)


def prepare(path):
    """Make the directory of a run."""
    deadline = time.monotonic() + SETTLE_S
    while not os.path.isdir(path):
        try:
            os.mkdir(path)
        except OSError as error:
            if not between_leaders(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def one(site, seed):
    """Run one schedule; returns (schedule, operations, texts of what is wrong)."""
    plan = schedule.Schedule(seed, site)
    directory = f"s{seed}"
    first = next(iter(site.nodes.values()))
    prepare(os.path.join(first.path, directory))
    field = workload.Field(directory, site.mounts())
    clients = [workload.Client(field, node, number, f"{seed}-{node}-{number}")
               for node in site.nodes for number in range(CLIENTS_PER_NODE)]
    for client in clients:
        client.start()
    plan.run(field, site.RUN_S)
    site.settle()
    plan.back(field)
    field.ended.set()
    deadline = time.monotonic() + HANG_S
    for client in clients:
        client.join(max(0.0, deadline - time.monotonic()))
    hung = [client.name for client in clients if client.is_alive()]
    if hung:
        return plan, field, [f"hang: {', '.join(hung)} not back after {HANG_S} s"]
    return plan, field, settled(field, plan.troubles)


def operations_of(field):
    return sum(len(operations) for operations in field.histories.values())


def clean(site, seed):
    """Remove what a run made; the text of what stands in the way, or None."""
    path = os.path.join(next(iter(site.nodes.values())).path, f"s{seed}")
    deadline = time.monotonic() + SETTLE_S
    while True:
        try:
            shutil.rmtree(path)
            return None
        except OSError as error:
            if between_leaders(error) and time.monotonic() < deadline:
                time.sleep(0.2)
                continue
            left = {node: sorted(os.listdir(os.path.join(mount, f"s{seed}")))
                    for node, mount in site.mounts().items()}
            return f"can't clean up: {error}; left: {left}"


def report(number, count, seed, plan, field, wrong, seconds):
    verdict = "FAIL" if wrong else "ok  "
    errors = ", ".join(f"{key}: {value}" for key, value in sorted(field.errors.items()))
    print(f"[{number:4}/{count}] {verdict} seed {seed}  {operations_of(field)} operations, "
          f"{seconds:.1f} s  {plan}", flush=True)
    if wrong:
        print("    failed calls: " + (errors or "none"))
        for trouble in plan.troubles:
            print(f"    {trouble}")
        for text in wrong:
            print("    " + text.replace("\n", "\n    "), flush=True)


def schedules(options, home):
    seed = options.seed if options.seed is not None else time.time_ns() % 1_000_000_007
    count = 8 if options.quick else options.schedules
    counts = {"ok": 0, "FAIL": 0}
    variant = cluster.Variant(True, runner.uring_switched_on())
    programs = (network if options.network else cluster).Programs(options.bin)
    with cluster.Cluster(programs, variant, home) as own:
        kind = schedule.EtcdSite if options.etcd else schedule.Site
        if options.network:
            network.enter()
            programs.boot(own, kind.MACHINES)
        site = kind(own, options.replicas)
        for number in range(1, count + 1):
            begin = time.monotonic()
            plan, field, wrong = one(site, seed)
            ended = site.dead()
            if ended:
                wrong.append(ended)
            left = None if wrong else clean(site, seed)
            if left:
                wrong.append(left)
            counts["FAIL" if wrong else "ok"] += 1
            report(number, count, seed, plan, field, wrong, time.monotonic() - begin)
            if wrong:
                print(own.logs())
                if ended or not options.keep_going:
                    break
            seed += 1
    return counts


def main():
    options = parse(sys.argv[1:])
    missing = cluster.Programs(options.bin).missing()
    if missing:
        print(f"not in {options.bin}: {', '.join(missing)}")
        return 2
    tests = unittest.defaultTestLoader.loadTestsFromModule(history_test)
    judged = unittest.TextTestRunner(verbosity=0, stream=sys.stdout).run(tests)
    lack = runner.lacking(cluster.Variant(True, False))
    if options.network and not all(map(shutil.which, ("ip", "nft", "nsenter", "unshare"))):
        lack = "needs ip, nft, nsenter and unshare"
    if options.etcd and not all(map(shutil.which, ("etcd", "etcdctl"))):
        lack = "needs etcd and etcdctl"
    if lack:
        print(f"{judged.testsRun - len(judged.failures)} passed, {len(judged.failures)} failed, "
              f"1 skipped".replace("\n", ""))
        print(f"skipped the schedules: {lack}")
        return 1 if judged.failures else 0
    home = tempfile.mkdtemp(prefix="mooncake-test.")
    os.chmod(home, 0o755)
    try:
        with runner.unwinding(), runner.UringSwitch():
            counts = schedules(options, home)
    except runner.Ended:
        print("interrupted: stopping what was started")
        return 1
    finally:
        cluster.sweep(home)
    failed = counts["FAIL"] + len(judged.failures) + len(judged.errors)
    passed = counts["ok"] + judged.testsRun - len(judged.failures) - len(judged.errors)
    print(f"{passed} passed, {failed} failed, 0 skipped", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
