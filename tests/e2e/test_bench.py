# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_bench.py - the measuring programs work; what they measure here, beside other tests, means nothing."""
import os
import pathlib
import subprocess
import sys

BENCH = pathlib.Path(__file__).resolve().parent.parent / "bench" / "bench-migrate"


def test_every_row_of_the_table_is_measured():
    build = pathlib.Path(os.environ["PAGEFERRY"]).resolve().parent.parent
    run = subprocess.run(
        [sys.executable, "-B", BENCH, "--smoke", "--build", build],
        capture_output=True, text=True, timeout=170)
    assert run.returncode == 0, run.stderr
    rows = [line for line in run.stdout.splitlines() if line.startswith("  ")]
    assert len(rows) == 9 + 21, run.stdout
    for word in ("smallest resolver", "TLS stream", "push, one channel", "private dirty"):
        assert any(word in row for row in rows), run.stdout
