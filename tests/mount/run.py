#!/usr/bin/env python3
"""Run the mount suite: ./run.py --help.  Closes with 'N passed, N failed, N skipped'."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import runner  # noqa: E402

if __name__ == "__main__":
    sys.exit(runner.main(HERE))
