#!/usr/bin/env python3
"""Check which libfuse tools/setup.sh takes, on a machine that is played."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"

# What the machine has and could have; pkg-config tells of ours where that is.
PROGRAMS = {
    "apt-get": "exit 0",
    "apt-cache": "echo '  Candidate: 3.17.4-1'",
    "dpkg-query": "echo installed",
    "pkg-config": 'cat "$PKG_CONFIG_PATH/version" 2>/dev/null || echo 3.17.4',
}


class Libfuse(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = pathlib.Path(folder.name)
        (self.top / "tools").mkdir()
        for name in ("setup.sh", "mirror.sh", "libfuse"):
            copy = shutil.copytree if name == "libfuse" else shutil.copy
            copy(TOOLS / name, self.top / "tools" / name)
        (self.top / "programs").mkdir()
        for name, does in PROGRAMS.items():
            program = self.top / "programs" / name
            program.write_text(f"#!/bin/sh\n{does}\n", encoding="utf-8")
            program.chmod(0o755)
        self.deps = self.top / "build" / "deps"
        self.version = self.deps / "lib" / "pkgconfig" / "version"
        self.version.parent.mkdir(parents=True)
        self.version.write_text("3.18.3\n", encoding="utf-8")

    def recipe(self, suite):
        patches = sorted((TOOLS / "libfuse").glob("*.patch"))
        text = f"suite {suite}\n" + "".join(p.read_text(encoding="utf-8") for p in patches)
        (self.deps / "recipe").write_text(text, encoding="utf-8")

    def configured(self, folder, text):
        (self.top / folder).mkdir(exist_ok=True)
        for name in ("CMakeCache.txt", "build.ninja"):
            (self.top / folder / name).write_text(text, encoding="utf-8")

    def run_setup(self):
        path = f"{self.top}/programs:{os.environ['PATH']}"
        done = subprocess.run([self.top / "tools" / "setup.sh", "--deps-only"],
                              env={**os.environ, "PATH": path, "FUSE_SUITE": "forky"},
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_ours_is_kept_while_it_is_by_the_recipe_of_today(self):
        self.recipe("forky")
        self.configured("build", f"-I{self.deps}/include")
        self.assertIn("libfuse 3.18.3", self.run_setup())
        self.assertTrue((self.top / "build" / "build.ninja").exists())

    def test_a_good_one_of_the_system_takes_the_place_of_a_stale_one(self):
        self.recipe("older")
        self.configured("build", f"-I{self.deps}/include")
        self.configured("build/clang", f"-I{self.deps}/include")
        self.configured("build/other", f"DEPS={self.deps}\n")
        self.assertIn("libfuse 3.17.4", self.run_setup())
        self.assertFalse(self.deps.exists())
        self.assertFalse((self.top / "build" / "build.ninja").exists())
        self.assertFalse((self.top / "build" / "clang" / "CMakeCache.txt").exists())
        self.assertTrue((self.top / "build" / "other" / "CMakeCache.txt").exists())
        self.assertIn("libfuse 3.17.4", self.run_setup())


if __name__ == "__main__":
    unittest.main()
