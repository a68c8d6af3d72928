#!/usr/bin/env python3
"""Sum the cases of a verbose ctest log: print "PASSED FAILED SKIPPED".

A program that ran to its end says "Checks: N, Failures: N, Errors: N"; one
that did not counts as one failure, one that only skipped as one skip.

usage: ctest_sum.py LOG
"""

import re
import sys

OUTPUT = re.compile(r"^(\d+): .*Checks: (\d+), Failures: (\d+), Errors: (\d+)")
RESULT = re.compile(r"^ *\d+/\d+ Test +#(\d+): \S+ \.*\s*(.*?) +[\d.]+ sec")


def main():
    cases, results = {}, {}
    with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
        for line in log:
            if match := OUTPUT.match(line):
                test, checks, failures, errors = (int(n) for n in match.groups())
                sums = cases.setdefault(test, [0, 0])
                sums[0] += checks - failures - errors
                sums[1] += failures + errors
            elif match := RESULT.match(line):
                results[int(match.group(1))] = match.group(2)
    passed = failed = skipped = 0
    for test, result in results.items():
        good, bad = cases.get(test, [0, 0])
        if "Skipped" in result:
            skipped += 1
        elif "Passed" in result:
            passed += max(good, 1)
        else:
            passed += good
            failed += max(bad, 1)
    print(passed, failed, skipped)


if __name__ == "__main__":
    main()
