#!/usr/bin/env python3
"""Run the integration tests: the same runner, options and closing line as tests/mount."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "mount"))
sys.dont_write_bytecode = True

import runner  # noqa: E402

if __name__ == "__main__":
    sys.exit(runner.main(HERE))
