#!/usr/bin/env python3
"""Sum the cases of a verbose ctest log: print "PASSED FAILED SKIPPED".

A program that ran to its end says "Checks: N, Failures: N, Errors: N"; one
that did not counts as one failure, one that only skipped as one skip.  Of one
that was run again the last run counts; a line more for each that failed first
and passed then says "shaky NAME".

usage: ctest_sum.py LOG
"""

import re
import sys

OUTPUT = re.compile(r"^(\d+): .*Checks: (\d+), Failures: (\d+), Errors: (\d+)")
RESULT = re.compile(r"Test +#(\d+): (\S+) \.*\s*(.*?) +[\d.]+ sec")


class Program:
    """What the runs of one test program came to; the last counts."""

    def __init__(self):
        self.name = ""
        self.runs = []
        self.passed = self.failed = 0

    def ended(self, name, verdict):
        if "Skipped" in verdict:
            sums = (0, 0, 1)
        elif "Passed" in verdict:
            sums = (max(self.passed, 1), self.failed, 0)
        else:
            sums = (self.passed, max(self.failed, 1), 0)
        self.name = name
        self.runs.append(sums)
        self.passed = self.failed = 0

    def shaky(self):
        return len(self.runs) > 1 and self.runs[-1][1] == 0


def main():
    programs = {}
    with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
        for line in log:
            if match := OUTPUT.match(line):
                test, checks, failures, errors = (int(n) for n in match.groups())
                program = programs.setdefault(test, Program())
                program.passed += checks - failures - errors
                program.failed += failures + errors
            elif match := RESULT.search(line):
                programs.setdefault(int(match.group(1)), Program()).ended(*match.groups()[1:])
    ended = [program for program in programs.values() if program.runs]
    print(*(sum(program.runs[-1][i] for program in ended) for i in range(3)))
    for program in ended:
        if program.shaky():
            print("shaky", program.name)


if __name__ == "__main__":
    main()
