#!/usr/bin/env python3
"""Check files for what must not be committed.

Notes for later, paths of one machine, conflict marks, white space at the end
of a line, a missing newline at the end of a file.

usage: words.py FILE...
"""

import re
import sys

# A letter in brackets keeps a rule from matching its own line.
RULES = [
    (r"\b(?:T[O]DO|F[I]XME|X[X]X|H[A]CK)\b", "a note for later: do it or drop it"),
    (r"(?<![\w.*-])(?:\.\./)*s[h]ared/", "a folder that no clone has"),
    (r"(?<![\w.$}-])/(?:w[o]rk/|h[o]me/\w+/|r[o]ot/)", "a path of one machine"),
    (r"^(?:<{7}|>{7}|={7})(?: |$)", "a conflict mark"),
    (r"[ \t]+$", "white space at the end of the line"),
]
COMPILED = [(re.compile(pattern), reason) for pattern, reason in RULES]
WHITE_SPACE_MATTERS_NOT = (".patch", ".svg", ".md", ".golden")


def check_file(path):
    """Yield one complaint for each line that breaks a rule."""
    with open(path, "rb") as file:
        content = file.read()
    if b"\0" in content or not content:
        return
    text = content.decode("utf-8", errors="replace")
    for number, line in enumerate(text.split("\n"), 1):
        for pattern, reason in COMPILED:
            if "white space" in reason and path.endswith(WHITE_SPACE_MATTERS_NOT):
                continue
            match = pattern.search(line)
            if match:
                yield f"{path}:{number}: {reason}: {match.group().strip() or '(space)'}"
    if not text.endswith("\n"):
        yield f"{path}: no newline at the end"


def main():
    complaints = [c for path in sys.argv[1:] for c in check_file(path)]
    for complaint in complaints:
        print(complaint)
    print(f"words: {len(sys.argv) - 1} files, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
