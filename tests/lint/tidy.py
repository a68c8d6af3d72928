#!/usr/bin/env python3
"""Run clang-tidy over every C file that has changed since it was last clean.

A file counts as unchanged while its preprocessed text (headers included,
comments kept) and each .clang-tidy are the same; what was clean is remembered under
the build folder, so a second run takes seconds.

usage: tidy.py BUILD-FOLDER [JOBS]
"""

import concurrent.futures
import hashlib
import json
import pathlib
import shlex
import subprocess
import sys

TIDY = "clang-tidy"
CONFIGS = (".clang-tidy", "tests/.clang-tidy")


def commands_by_file(build):
    """Return {file: its first compile command} of the compilation database."""
    commands = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        words = [w for w in shlex.split(entry["command"]) if not w.endswith("ccache")]
        commands.setdefault(entry["file"], (entry["directory"], words))
    return commands


def preprocess(directory, words):
    """Return the text that the compiler would see, with its comments."""
    output = words.index("-o")
    arguments = [w for w in words[1:output] + words[output + 2:] if w != "-c"]
    done = subprocess.run(["clang", "-E", "-C", "-Wno-everything", *arguments],
                          cwd=directory, capture_output=True, check=False)
    return done.stdout + done.stderr


def check_file(build, salt, file, directory, words):
    """Return the complaints about one file, "" when it is clean."""
    key = hashlib.sha256(salt + preprocess(directory, words)).hexdigest()
    stamp = build / "tidy" / key
    if stamp.exists():
        return ""
    done = subprocess.run([TIDY, "--quiet", "--warnings-as-errors=*", "-p", str(build), file],
                          capture_output=True, text=True, check=False)
    if done.returncode == 0:
        stamp.touch()
        return ""
    return done.stdout + done.stderr


def main():
    if len(sys.argv) not in (2, 3):
        print(__doc__)
        return 2
    build = pathlib.Path(sys.argv[1]).resolve()
    jobs = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    (build / "tidy").mkdir(exist_ok=True)
    version = subprocess.run([TIDY, "--version"], capture_output=True, check=True).stdout
    salt = version + b"".join(pathlib.Path(config).read_bytes() for config in CONFIGS)
    commands = commands_by_file(build)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(
            lambda item: check_file(build, salt, item[0], *item[1]), sorted(commands.items())))
    complaints = [r for r in results if r]
    for complaint in complaints:
        print(complaint)
    print(f"tidy: {len(commands)} files, {len(complaints)} with complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
