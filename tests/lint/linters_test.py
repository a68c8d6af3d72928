#!/usr/bin/env python3
"""Check that the linters find what they are for, and nothing else."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
SUM = HERE.parent / "support" / "ctest_sum.py"


def lint(script, *arguments):
    done = subprocess.run([sys.executable, script, *map(str, arguments)],
                          capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = pathlib.Path(folder.name)

    def write(self, name, text):
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


class Layers(Folder):
    HEADERS = ["engine/base/log.h", "engine/rpc/wire.h", "engine/transport/transport.h",
               "engine/fabric/fabric.h", "engine/transfer.h", "engine/node/pool.h", "master/catalog.h", "fs/session.h",
               "include/mooncake/types.h"]

    def complaints(self, file, include):
        for header in self.HEADERS:
            self.write(header, "\n")
        self.write(file, f"/* about it */\n#include {include}\n")
        status, output = lint(HERE / "layers.py", self.top)
        lines = output.splitlines()[:-1]
        self.assertEqual(status, 1 if lines else 0)
        return lines

    def test_arrows_that_point_down_are_fine(self):
        for file, include in [
                ("engine/base/a.c", '"engine/base/log.h"'),
                ("engine/rpc/a.c", '"engine/base/log.h"'),
                ("engine/transport/tcp/a.c", '"engine/transport/transport.h"'),
                ("engine/transport/tcp/a.c", '"engine/rpc/wire.h"'),
                ("engine/segment.c", '"engine/fabric/fabric.h"'),
                ("engine/node/a.c", '"engine/transfer.h"'),
                ("master/a.c", '"engine/rpc/wire.h"'),
                ("fs/ops/a.c", '"engine/node/pool.h"'),
                ("fs/a.c", "<mooncake/types.h>"),
                ("tools/mooncake/a.c", '"engine/rpc/wire.h"'),
                ("tests/unit/a.c", '"master/catalog.h"')]:
            with self.subTest(file=file, include=include):
                self.assertEqual(self.complaints(file, include), [])

    def test_arrows_that_point_up_are_found(self):
        for file, include in [
                ("engine/base/b.c", '"engine/rpc/wire.h"'),
                ("engine/rpc/b.c", '"engine/transport/transport.h"'),
                ("engine/transport/b.c", '"engine/node/pool.h"'),
                ("engine/b.c", '"engine/node/pool.h"'),
                ("engine/node/b.c", '"master/catalog.h"'),
                ("engine/node/b.c", '"fs/session.h"'),
                ("master/b.c", '"fs/session.h"'),
                ("master/b.c", '"engine/node/pool.h"'),
                ("fs/b.c", '"master/catalog.h"'),
                ("tools/bench/b.c", '"fs/session.h"'),
                ("include/mooncake/b.h", '"engine/base/log.h"')]:
            with self.subTest(file=file, include=include):
                found = self.complaints(file, include)
                self.assertEqual(len(found), 1, found)
                self.assertTrue(found[0].startswith(f"{file}:2: "), found)
                (self.top / file).unlink()

    def test_paths_that_do_not_begin_at_the_root_are_found(self):
        self.assertEqual(len(self.complaints("engine/base/c.c", '"log.h"')), 1)

    def test_public_headers_that_do_not_exist_are_found(self):
        self.assertEqual(len(self.complaints("fs/c.c", "<mooncake/none.h>")), 1)


class Words(Folder):
    def complaints(self, text):
        _, output = lint(HERE / "words.py", self.write("file.c", text))
        return len(output.splitlines()) - 1

    def test_ordinary_text_is_fine(self):
        self.assertEqual(self.complaints("/* a library is shared, at work or at home */\n"), 0)
        self.assertEqual(self.complaints("build/work/x $top/work/ ${HOME}/root/x\n"), 0)

    def test_each_rule_finds_its_case(self):
        for text in ["/* TO" + "DO: later */\n", "see sha" + "red/DESIGN.md\n",
                     "see ../sha" + "red/x\n", "cd /wo" + "rk/main\n", "cat /ro" + "ot/x\n",
                     "<" * 7 + " ours\n", "int a; \n", "no newline"]:
            with self.subTest(text=text):
                self.assertEqual(self.complaints(text), 1)


class CtestSum(Folder):
    def test_cases_programs_and_skips_are_summed(self):
        log = self.write("log", """\
1: 100%: Checks: 15, Failures: 0, Errors: 0
1/5 Test #1: unit/a ...................   Passed    0.00 sec
2: 66%: Checks: 3, Failures: 1, Errors: 0
2/5 Test #2: unit/b ...................***Failed    0.03 sec
3/5 Test #3: unit/c ...................***Exception: SegFault  0.03 sec
4/5 Test #4: unit/d ...................***Skipped   0.03 sec
5/5 Test #5: unit/e ...................   Passed    0.00 sec
""")
        self.assertEqual(lint(SUM, log), (0, "18 2 1\n"))


if __name__ == "__main__":
    unittest.main()
