#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""lint.py - the rules of the house as one test program; HACKING.md, "Style", has them in words.

First every check proves on small bad inputs that it can fail, then it is applied to the tree.
Prints one line a check: "ok: name", "not ok: name: how many and the first", "skip: name: reason",
and the size of the functions.  Status 1 if any check failed, 77 if none could be made.
"""
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import checks
import selftest
from source import Tree


def run(name, body):
    """Prints one check's line; returns "ok", "not ok" or "skip"."""
    try:
        problems = body()
    except checks.Skip as reason:
        print(f"skip: {name}: {reason}")
        return "skip"
    if not problems:
        print(f"ok: {name}")
        return "ok"
    print(f"not ok: {name}: {len(problems)}, the first: {problems[0]}")
    for problem in problems:
        print(f"    {problem}")
    return "not ok"


def print_sizes(tree):
    functions = tree.c_functions()
    for folder in sorted({str(pathlib.Path(f.path).parent) for f in functions}):
        sizes = [f.lines for f in functions if str(pathlib.Path(f.path).parent) == folder]
        print(f"    {folder}: {len(sizes)} functions, median {statistics.median(sizes):.0f} lines,"
              f" longest {max(sizes)}")
    sizes = [f.lines for f in functions]
    longest = max(functions, key=lambda f: f.lines)
    print(f"    all: {len(sizes)} functions, median {statistics.median(sizes):.0f} lines, longest"
          f" {longest.name} in {longest.path} with {longest.lines}")


def main():
    tree = Tree(pathlib.Path(__file__).resolve().parents[2])
    verdicts = []
    for check in checks.CHECKS:
        name = check.__name__
        verdicts.append(run(f"{name} can fail", lambda: selftest.wrong_verdicts(check)))
        verdicts.append(run(name, lambda: check(tree)))
    if checks.shutil.which("ctags"):
        print_sizes(tree)
    if "not ok" in verdicts:
        return 1
    return 0 if "ok" in verdicts else 77


if __name__ == "__main__":
    sys.exit(main())
