# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_bench.py - the measuring programs work; the times that they measure here, beside other tests, mean nothing."""
import os
import pathlib
import subprocess
import sys

import pytest

BENCH = pathlib.Path(__file__).resolve().parent.parent / "bench" / "bench-migrate"

SMALL_MIB = 32  # the guest of --smoke
FIXED_KIB = 150  # beside the journal: 108, of which a frame that is being received is 64 and TLS's buffers 40


@pytest.fixture(scope="module")
def rows():
    build = pathlib.Path(os.environ["PAGEFERRY"]).resolve().parent.parent
    run = subprocess.run(
        [sys.executable, "-B", BENCH, "--smoke", "--build", build],
        capture_output=True, text=True, timeout=170)
    assert run.returncode == 0, run.stderr
    return [line for line in run.stdout.splitlines() if line.startswith("  ")]


def test_every_row_of_the_table_is_measured(rows):
    assert len(rows) == 9 + 25, rows
    for word in ("smallest resolver", "TLS stream", "push, one channel", "private dirty"):
        assert any(word in row for row in rows), rows


@pytest.mark.shipped  # a sanitizer's own memory would be measured
def test_connections_and_rings_touch_little_memory(rows):
    row = next(row for row in rows if "private dirty KiB per GiB" in row)
    fixed = float(row.split()[-1]) * SMALL_MIB / 1024
    assert fixed <= FIXED_KIB, row


def test_a_migration_that_does_not_begin_leaves_no_agent(tmp_path):
    """A tree without the VMMs: both agents are there when that is found."""
    build = pathlib.Path(os.environ["PAGEFERRY"]).resolve().parent.parent
    (tmp_path / "tests/bench").mkdir(parents=True)
    (tmp_path / "tests/bench/bench-raw").symlink_to(build / "tests/bench/bench-raw")
    agent = tmp_path / "agent"
    agent.write_text(f'#!/bin/sh\necho $$ >>{tmp_path}/pids\nexec {build}/migrate/pageferry "$@"\n')
    agent.chmod(0o700)
    run = subprocess.run(
        [sys.executable, "-B", BENCH, "--smoke", "--build", tmp_path, "--program", f"a={agent}"],
        capture_output=True, text=True, timeout=170)
    assert run.returncode != 0 and "bench-vmm" in run.stderr, run.stderr
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2
    left = [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    for pid in left:
        os.kill(int(pid), 9)
    assert left == []
