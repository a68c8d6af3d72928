#!/usr/bin/env python3
"""Run the tests that need another machine, or another kernel: ./run.py --help.

Each test boots guests of its own (guest.py) and ends them.  Closes with
'N passed, N failed, N skipped'; where guests can't be had, all are skipped.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "mount")]
sys.dont_write_bytecode = True

import guest  # noqa: E402
import image  # noqa: E402
import suite  # noqa: E402


def parse():
    parser = argparse.ArgumentParser(prog="run.py", description="Run the tests in virtual machines.")
    parser.add_argument("--bin", default=guest.BIN, help="where the programs of this project are")
    parser.add_argument("--only", default=[], metavar="SUBSTRING", action="append",
                        help="only tests whose name contains it (repeatable)")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--quick", action="store_true", help="leave out the slow ones")
    parser.add_argument("--again", action="store_true",
                        help="run what fails once more; a pass then is reported as such")
    parser.add_argument("--stop", action="store_true", help="end at the first failure")
    return parser.parse_args()


def chosen(options):
    return [test for test in suite.TESTS
            if (not options.only or any(word in test.name for word in options.only))
            and not (options.quick and test.slow)]


def lacking():
    """Why no guest can be had, or None; fetches and makes what they boot from."""
    try:
        reason = guest.why_not()
        if not reason:
            image.base(image.Kernel())
        return reason
    except image.Lacking as error:
        return str(error)


def run_one(test, options, home):
    output = os.path.join(home, "output")

    def body():
        with guest.Lab(options.bin, home) as lab:
            try:
                test.function(lab)
            except image.Lacking as error:
                suite.skip(str(error))
    outcome = suite.run_isolated(body, test.timeout_s, output)
    if outcome.verdict == "FAIL":
        with open(output, errors="replace") as text:
            outcome.text += "\n" + text.read()[-8000:]
    return outcome


def run_all(tests, options, home):
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    reason = lacking()
    for number, test in enumerate(tests, 1):
        lack = reason or test.lacking()
        outcome = suite.Outcome("skip", lack) if lack else \
            suite.attempt(lambda t=test: run_one(t, options, home),
                          options.again and counts["FAIL"] < suite.AGAIN_MAX)
        counts[outcome.verdict] += 1
        tail = f"({outcome.text})" if outcome.verdict == "skip" else f"{outcome.seconds:.1f} s"
        if outcome.first:
            tail += "  SHAKY: passed when run again, failed first:"
        print(f"[{number:3}/{len(tests)}] {outcome.verdict:4} {test.name}  {tail}", flush=True)
        if details := suite.details(outcome):
            print(details, flush=True)
        if outcome.verdict == "FAIL" and options.stop:
            break
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['skip']} skipped", flush=True)
    return 1 if counts["FAIL"] else 0


def main():
    # Guests end with the process that started them: unwinding is enough.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    options = parse()
    suite.load(HERE)
    tests = chosen(options)
    if options.list:
        print("\n".join(test.name for test in tests))
        return 0
    home = tempfile.mkdtemp(prefix="mooncake-vm.")
    try:
        return run_all(tests, options, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
