# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_shipped.py - the shipped build has no fault points, nor a trace of them.

It runs on the gcc build of scripts/check, which is configured as it is shipped.
"""
import pathlib
import subprocess

import pytest

from harness import program

pytestmark = pytest.mark.shipped


def run(*arguments, env):
    return subprocess.run(
        [program("PAGEFERRY"), *arguments], env=env, capture_output=True, text=True, timeout=60
    )


def test_the_variable_is_ignored():
    for value in ("connect=kill", "nonsense"):
        result = run("--version", env={"PAGEFERRY_FAULT": value})
        assert (result.returncode, result.stderr) == (0, "")
        assert "fault" not in result.stdout


def test_fault_points_says_that_there_are_none():
    result = run("fault-points", env={})
    assert (result.returncode, result.stdout) == (1, "")
    assert "this build has none" in result.stderr


def test_the_program_knows_neither_the_variable_nor_a_point():
    binary = pathlib.Path(program("PAGEFERRY")).read_bytes()
    assert b"this build has none" in binary
    for trace in (b"PAGEFERRY_FAULT", b"late-trap", b"bulk-claimed", b"pf_fault_arm"):
        assert trace not in binary


def test_a_migration_is_not_disturbed(migration):
    migration.start("16M", 1, source={"fault": "offered=kill"},
                    destination={"fault": "run=kill,claimed=stop"})
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == 0
    assert migration.destination.wait() == 0
    assert migration.destination_guest.finish()["verdict"].startswith("identical")
