#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""copy_test.py - scripts/check's copy of a configured source tree: what is there now, and nothing that was built.

Prints "ok: name" or "not ok: name: what it said instead", as lint.py does.
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

LIB = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "lib.sh"
COPY = 'set -euo pipefail; top=$1 logs=$1; . "$2"; copy_sources "$3"'


def git(tree, *words):
    subprocess.run(["git", "-C", tree, *words], check=True, capture_output=True)


def copy(tree, target):
    run = subprocess.run(["bash", "-c", COPY, "copy", tree, LIB, target], capture_output=True)
    return run.returncode


def working_tree(tree):
    """Committed files, of which one was changed and one removed; a new one; and what a build left."""
    (tree / "src").mkdir(parents=True)
    for name in ("src/kept.c", "src/changed.c", "src/removed.c", "two words"):
        (tree / name).write_text("committed")
    (tree / ".gitignore").write_text("*.o\n/config.status\n")
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    (tree / "src/changed.c").write_text("changed")
    (tree / "src/removed.c").unlink()
    (tree / "src/new.c").write_text("new")
    (tree / "src/kept.o").write_text("built")
    (tree / "config.status").write_text("built")
    (tree / "out").mkdir()
    (tree / "out/log").write_text("of a check")


def what_is_there_now_is_copied(folder):
    tree, target = folder / "tree", folder / "tree/out/source"
    working_tree(tree)
    (target / "src").mkdir(parents=True)
    (target / "src/of-last-time.c").write_text("gone since")
    status = copy(tree, target)
    found = {str(p.relative_to(target)): p.read_text() for p in target.rglob("*") if p.is_file()}
    expected = {".gitignore": "*.o\n/config.status\n", "src/kept.c": "committed", "src/changed.c": "changed",
                "src/new.c": "new", "two words": "committed"}
    if status != 0 or found != expected:
        return f"status {status}, {found}"
    same = (tree / "src/kept.c").stat().st_mtime_ns == (target / "src/kept.c").stat().st_mtime_ns
    return "" if same else "a file that did not change is newer than what was built from it"


def without_git_nothing_is_touched(folder):
    tree, target = folder / "tree", folder / "copy"
    tree.mkdir()
    target.mkdir()
    (target / "mine").write_text("mine")
    status = copy(tree, target)
    return "" if status != 0 and (target / "mine").exists() else f"status {status}"


def main():
    if not shutil.which("git"):
        print("skip: copy_sources: no git")
        return 77
    bad = 0
    for test in (what_is_there_now_is_copied, without_git_nothing_is_touched):
        with tempfile.TemporaryDirectory() as folder:
            said = test(pathlib.Path(folder))
        bad += said != ""
        print(f"not ok: {test.__name__}: {said}" if said else f"ok: {test.__name__}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
