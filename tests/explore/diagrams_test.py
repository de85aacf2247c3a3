#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""diagrams_test.py - the diagrams in ARCHITECTURE.md are what print-tables prints.

With --write it puts them there."""
import os
import pathlib
import subprocess
import sys

BEGIN = "<!-- tests/explore/print-tables -->\n"
END = "<!-- end -->\n"


def main():
    page = pathlib.Path(os.environ.get("srcdir", "."), "ARCHITECTURE.md")
    before, begin, rest = page.read_text().partition(BEGIN)
    shown, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{page} has no place for the diagrams: {BEGIN.strip()} ... {END.strip()}")
    printed = subprocess.run(
        ["tests/explore/print-tables"], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    wanted = "\n" + printed + "\n"
    if "--write" in sys.argv:
        page.write_text(before + BEGIN + wanted + END + after)
    elif shown != wanted:
        sys.exit(f"the diagrams in {page} are not those of the tables; in the build tree run\n"
                 f"srcdir={page.parent} python3 -B {sys.argv[0]} --write")


main()
