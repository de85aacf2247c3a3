# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_rows.py - guests whose memory is of every kind, and of several, arrive with every byte."""
import os
import subprocess

import pytest

from test_migration import PAGE, SIZES, check_ends, check_post_copy


def check_arrival(migration, memory="64M"):
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    check_ends(migration)
    report = migration.destination_guest.finish()
    assert report["verdict"] == f"identical ({SIZES[memory]} bytes)", report
    assert report["status"] == 0
    check_post_copy(migration, report)


@pytest.fixture
def huge_tmpfs(folder):
    """A tmpfs on which a write of 4 KiB makes its neighbours present."""
    path = os.path.join(folder, "huge")
    os.mkdir(path)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "huge=always,size=256M", "pageferry-test", path],
        capture_output=True, text=True, check=False,
    )
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs with huge=always: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.smoke
def test_kinds_of_both_sides_are_independent(migration):
    kinds = (("--kinds", "tmpfs,memfd,tmpfs"), ("--kinds", "memfd,tmpfs,tmpfs", "--mirror"))
    migration.start("64M", 2, guests=kinds)
    check_arrival(migration)


def test_huge_tmpfs_never_shows_a_page_that_has_not_come(migration, huge_tmpfs):
    kinds = ("--kinds", "tmpfs,tmpfs", "--tmpfs", huge_tmpfs)
    migration.start("64M", 2, guests=((), kinds))
    check_arrival(migration)
    assert "UNEXPECTED_PAGE" not in migration.destination.control.names()


def test_private_memory_at_the_source_is_refused_with_what_to_do(migration):
    migration.start_destination()
    migration.start_source()
    migration.source.open()
    guest = migration.start_guest("source", "16M", 1, ("--kinds", "memfd,private"))
    reason = guest.wait_line(lambda line: line.startswith("error:"))
    assert "private anonymous" in reason, reason
    assert migration.source.wait() == 76
    assert "memfd or a file on tmpfs" in migration.source.log_text()
    assert migration.source.outcome()["outcome"] == "source-intact"
    migration.check_source_guest_runs()
