# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_migration.py - the main job: a guest that keeps writing arrives with every byte."""
import os
import time

import pytest

PAGE = 4096
SIZES = {"64M": 64 << 20, "128M": 128 << 20, "256M": 256 << 20}
STATES = ["active", "postcopy-device", "postcopy-active", "completed"]


def check_events(control):
    """Numbered without a gap; each state once and in order; the final outcome last."""
    events = control.drain()
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    for event in events:
        assert event["timestamp"]["seconds"] > 0
        assert 0 <= event["timestamp"]["microseconds"] < 1000000
    states = [state for state in control.states() if state != "setup"]
    assert states == STATES
    final = events[-1]
    assert final["event"] == "OUTCOME", control.names()
    assert final["data"] == {"outcome": "completed", "owner": "destination", "final": True}


def check_ends(migration):
    check_events(migration.source.control)
    check_events(migration.destination.control)
    assert migration.source.wait() == 0
    assert migration.destination.wait() == 0
    assert migration.source.outcome()["outcome"] == "completed"
    assert migration.destination.outcome()["outcome"] == "completed"
    assert migration.destination.outcome()["migrate"]["faults"]["open"] == 0


def usable_backend():
    """What the guest must have run on here: threads only where KVM cannot be opened."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return "threads"
    return "kvm"


def check_post_copy(migration, report):
    """The guest ran before its memory had come: it waited for pages, and they came by request."""
    told = migration.destination.outcome()["migrate"]
    assert told["faults"]["count"] > 0, told
    assert told["pages"]["requested"] > 0, told
    assert int(report["pages-touched-here"]) > 0, report
    assert report["backend"] == usable_backend(), report


@pytest.mark.backing
@pytest.mark.parametrize(
    "vcpus, memory",
    [
        pytest.param(1, "64M", marks=pytest.mark.smoke),
        pytest.param(2, "64M", marks=[pytest.mark.smoke, pytest.mark.sanitizer]),
        (2, "128M"),
        (4, "256M"),
    ],
)
def test_guest_arrives_identical(migration, vcpus, memory, record_property):
    migration.start(memory, vcpus)
    migration.source.control.command("switchover")
    migration.source_guest.wait_word("paused")
    for word in ("accepted", "loading", "ready", "resumed", "complete"):
        migration.destination_guest.wait_word(word)
    migration.source_guest.wait_word("released")
    check_ends(migration)
    report = migration.destination_guest.finish()
    record_property("guest-backend", report["backend"])  # scripts/check shows it
    assert report["verdict"] == f"identical ({SIZES[memory]} bytes)", report
    assert report["status"] == 0
    check_post_copy(migration, report)


@pytest.mark.backing
def test_several_bulk_channels(migration):
    """Under a limit they take turns, each as often as the others: it is not the processor that is shared."""
    migration.start("64M", 2, source={"channels": 4, "max_bandwidth": "16M"})
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    check_ends(migration)
    bulk = migration.source.outcome()["migrate"]["bytes"]["bulk"]
    # An even share is a quarter.
    assert len(bulk) == 4 and min(bulk) > sum(bulk) / 10, bulk
    report = migration.destination_guest.finish()
    assert report["verdict"] == f"identical ({SIZES['64M']} bytes)", report
    check_post_copy(migration, report)


@pytest.mark.parametrize("spin_us", [0, 2000])
def test_a_guest_arrives_however_long_the_urgent_threads_look(migration, spin_us):
    migration.start("64M", 2)
    for agent in (migration.source, migration.destination):
        agent.control.command("set-parameters", {"spin-us": spin_us})
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    check_ends(migration)
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


@pytest.mark.smoke
def test_query_migrate_while_active(migration):
    migration.start("64M", 1)
    for agent, role in ((migration.source, "source"), (migration.destination, "destination")):
        status = agent.control.command("query-migrate")
        assert status["state"] == "active"
        assert status["role"] == role
        assert status["id"] == "vm7"
        assert status["record"] == "NONE"
        assert status["worker-pid"] == agent.worker()
        assert status["pages"]["total"] == SIZES["64M"] // PAGE


@pytest.mark.backing
@pytest.mark.smoke
def test_query_migrate_half_way(migration):
    migration.start_serving()
    # Repeating a command that is done already succeeds.
    assert migration.source.control.command("switchover") == {}
    here = migration.destination.control.command("query-migrate")
    there = migration.source.control.command("query-migrate")
    assert (here["state"], there["state"]) == ("postcopy-active", "postcopy-active")
    assert (here["record"], there["record"]) == ("RUN", "GONE")
    assert 0 < here["epoch"] == there["epoch"]
    assert here["pages"]["filled"] < here["pages"]["total"] == SIZES["64M"] // PAGE
    migration.relay.release()
    migration.destination_guest.wait_word("complete")
    check_ends(migration)
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


def bulk_rate(source, seconds):
    """Bytes a second on all bulk connections together, over the next seconds.

    From before the first answer to after the last: it may say too little, never too much."""

    def look():
        return sum(source.command("query-migrate")["bytes"]["bulk"])

    began = time.monotonic()
    first = last = look()
    while time.monotonic() < began + seconds:
        last = look()
    return (last - first) / (time.monotonic() - began)


def check_limit(source, limit):
    """Never more; less only while others have the machine, so not in every one of these windows."""
    for _ in range(12):
        rate = bulk_rate(source, 0.5)
        assert rate < limit * 1.04 + 2 * 65536, (rate, limit)
        if rate > limit * 0.9 - 2 * 65536:
            return
    raise AssertionError(f"{rate:.0f} bytes a second of {limit}")


@pytest.mark.parametrize("channels", [1, 4])
def test_max_bandwidth_limits_push(migration, channels):
    """What was asked for, within a few hundredths, and another limit from the moment it is set; so little that a
    machine on which others work can do it."""
    migration.start("256M", 1, source={"max_bandwidth": "8M", "channels": channels})
    source = migration.source.control
    source.command("switchover")
    migration.wait_state("postcopy-active")
    for limit in (8 << 20, 20 << 20, 4 << 20):
        source.command("set-parameters", {"max-bandwidth": limit})
        check_limit(source, limit)
    source.command("set-parameters", {"max-bandwidth": 0})
    migration.destination_guest.wait_word("complete")
    check_ends(migration)
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


@pytest.mark.backing
def test_parameters_change_while_it_runs(migration):
    """Push held back: what arrives is what the guest asks for; released, the rest comes."""
    migration.start("64M", 1)
    source = migration.source.control
    source.command("set-parameters", {"push": False, "max-bandwidth": 64 << 20})
    source.command("switchover")
    migration.destination_guest.wait_word("resumed")
    migration.destination_guest.wait_visits(2000)
    pages = migration.destination.control.command("query-migrate")["pages"]
    assert pages["pushed"] == 0
    assert pages["requested"] > 1000
    source.command("set-parameters", {"push": True, "max-bandwidth": 0})
    migration.destination_guest.wait_word("complete")
    check_ends(migration)
    assert migration.destination_guest.finish()["verdict"].startswith("identical")
