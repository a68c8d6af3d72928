#!/usr/bin/env python3
"""Check that the arrows between the folders point down only.

Reads the #include lines of every C file.  A folder may include itself, what
stands in ALLOWED beside it, and include/mooncake; fs and master meet only
there.

usage: layers.py [TOP]
"""

import pathlib
import re
import sys

FLOOR = ["engine/base", "engine/loop", "engine/rpc"]

# Folder: the project's folders that its files may include.  The longest
# folder that a path starts with counts.
ALLOWED = {
    "include/mooncake": [],
    "engine/base": [],
    "engine/loop": ["engine/base"],
    "engine/rpc": ["engine/base", "engine/loop", "engine/etcd"],
    "engine/etcd": ["engine/base"],
    "engine/http": ["engine/base"],
    "engine/metadata": FLOOR + ["engine/etcd", "engine/http"],
    "engine/fabric": FLOOR + ["engine/metadata"],
    "engine": FLOOR + ["engine/metadata", "engine/fabric"],
    "engine/transport": FLOOR + ["engine", "engine/metadata", "engine/fabric"],
    "engine/node": FLOOR + ["engine", "engine/http", "engine/metadata", "engine/fabric",
                            "engine/transport"],
    "master": ["engine/*"],
    "fs": ["engine/*"],
    "tools": ["engine/*"],
    "tests": ["*"],
}

# The master moves no bytes and knows no pool: of the engine it takes the floor.
FORBIDDEN = {
    "master": ["engine/node", "engine/transport", "engine/fabric"],
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def folder_of(path):
    """Return the entry of ALLOWED that holds the path, or None."""
    fitting = [f for f in ALLOWED if path.startswith(f + "/")]
    return max(fitting, key=len, default=None)


def may_include(source, target):
    if target == source or target == "include/mooncake":
        return True
    if target in FORBIDDEN.get(source, []):
        return False
    for allowed in ALLOWED[source]:
        if allowed in ("*", target):
            return True
        if allowed == "engine/*" and (target + "/").startswith("engine/"):
            return True
    return False


def check_file(top, path):
    """Yield one complaint for each #include that points up or nowhere."""
    name = path.relative_to(top).as_posix()
    source = folder_of(name)
    if source is None:
        yield f"{name}: no folder of the tree, see ALLOWED in tests/lint/layers.py"
        return
    text = path.read_text(encoding="utf-8")
    for match in INCLUDE.finditer(text):
        quote, included = match.groups()
        line = text.count("\n", 0, match.start(1)) + 1
        if quote == "<":
            if included.startswith("mooncake/") and not (top / "include" / included).exists():
                yield f"{name}:{line}: <{included}> does not exist"
            continue
        if not (top / included).exists():
            yield f'{name}:{line}: "{included}" is not a path from the root'
            continue
        target = folder_of(included)
        if target is None or not may_include(source, target):
            yield f"{name}:{line}: {source} may not include {included}"


def main():
    top = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    count = 0
    complaints = []
    for folder in ("include", "engine", "master", "fs", "tools", "tests"):
        for path in sorted((top / folder).rglob("*.[ch]")):
            count += 1
            complaints += check_file(top, path)
    for complaint in complaints:
        print(complaint)
    print(f"layers: {count} files, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
