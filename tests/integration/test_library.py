"""The library as other programs meet it: installed, found, linked."""

import os
import subprocess

from suite import on_cluster, skip

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLE = os.path.join(HERE, "..", "..", "tools", "library", "transfer.c")


def run(argv, **how):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, **how)
    assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@on_cluster(variants="one", timeout_s=180, needs=("cc", "cmake", "pkg-config"))
def an_example_builds_against_the_installed_library_and_runs(cluster):
    build = os.path.dirname(cluster.programs.directory)
    if not os.path.exists(os.path.join(build, "mooncake.pc")):
        skip("not beside a build folder")
    with open(os.path.join(build, "CMakeCache.txt"), encoding="utf-8") as cache:
        if any(line.startswith("MOONCAKE_SANITIZE:") and line.strip()[-1] != "="
               for line in cache):
            skip("the library has sanitizers, the example would need them too")
    prefix, home = cluster.directory("prefix"), cluster.directory("home")
    run(["cmake", "--install", build, "--prefix", prefix, "--component", "library"])
    found = {**os.environ, "PKG_CONFIG_PATH": ""}
    for root, _, files in os.walk(prefix):
        if "mooncake.pc" in files:
            found["PKG_CONFIG_PATH"] = root
    # The prefix in the file is where it would be installed to.
    flags = run(["pkg-config", f"--define-variable=prefix={prefix}", "--cflags", "--libs",
                 "mooncake"], env=found).split()
    program = os.path.join(home, "transfer")
    run(["cc", "-Wall", "-Wextra", "-Werror", EXAMPLE, "-o", program, *flags])
    said = run([program])
    assert "right" in said, said
