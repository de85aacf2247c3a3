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


@pytest.mark.parametrize(
    "source, destination",
    [
        ("memfd,memfd", "tmpfs,tmpfs"),
        pytest.param("memfd,memfd", "private,private", marks=pytest.mark.smoke),
        pytest.param(
            "tmpfs,memfd,memfd,tmpfs", "memfd,private,tmpfs,private",
            marks=[pytest.mark.smoke, pytest.mark.sanitizer],
        ),
    ],
)
def test_kinds_of_both_sides_are_independent(migration, source, destination):
    migration.start("64M", 2, guests=(("--kinds", source), ("--kinds", destination, "--mirror")))
    check_arrival(migration)


def test_private_memory_over_several_bulk_channels(migration):
    migration.start("128M", 4, source={"channels": 4}, guests=((), ("--kinds", "private,memfd")))
    check_arrival(migration, "128M")


def test_huge_tmpfs_never_shows_a_page_that_has_not_come(migration, huge_tmpfs):
    kinds = ("--kinds", "tmpfs,tmpfs", "--tmpfs", huge_tmpfs)
    migration.start("64M", 2, guests=((), kinds))
    check_arrival(migration)
    assert "UNEXPECTED_PAGE" not in migration.destination.control.names()


@pytest.mark.parametrize("prepared", ["allocated", pytest.param("listed", marks=pytest.mark.smoke)])
def test_what_a_destination_declares_to_be_populated_is_replaced(migration, prepared):
    kinds = ("--kinds", "memfd,tmpfs,private", "--mirror", "--prepared", prepared)
    migration.start("64M", 2, guests=(("--regions", "3"), kinds))
    check_arrival(migration)
    assert "UNEXPECTED_PAGE" not in migration.destination.control.names()


def open_memory(guest):
    """The memfd of a guest's memory, as nobody should use it."""
    for fd in os.listdir(f"/proc/{guest.pid}/fd"):
        path = f"/proc/{guest.pid}/fd/{fd}"
        if "memfd:guest-memory" in os.readlink(path):
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    raise AssertionError("the guest has no memfd")


def test_pages_that_appear_are_told_and_replaced(migration):
    """Written by nobody knows whom after stock was taken: told after the commit, never shown."""
    migration.start("64M", 1)
    migration.source.control.command("set-parameters", {"push": False})
    memory = open_memory(migration.destination_guest)
    os.pwrite(memory, b"\xa5" * (32 << 20), 16 << 20)
    os.close(memory)
    migration.source.control.command("switchover")
    event = migration.destination.control.wait_event("UNEXPECTED_PAGE")
    assert sorted(event["data"]) == ["page", "region"]
    migration.source.control.command("set-parameters", {"push": True})
    migration.destination_guest.wait_word("complete")
    assert migration.destination.wait() == 0
    report = migration.destination_guest.finish()
    assert report["verdict"] == f"identical ({SIZES['64M']} bytes)", report


def test_pages_that_appear_before_the_commit_end_the_migration(migration):
    """Loading device state touches one of them."""
    migration.start("64M", 1)
    memory = open_memory(migration.destination_guest)
    os.pwrite(memory, b"\xa5" * (2 << 20), 0)
    os.close(memory)
    migration.source.control.command("switchover")
    assert migration.destination.wait() == 76
    assert "was present before it came" in migration.destination.log_text()
    assert migration.source.wait() == 76
    assert migration.source.outcome()["outcome"] == "source-intact"
    migration.source_guest.wait_word("continued")
    migration.check_source_guest_runs()


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
