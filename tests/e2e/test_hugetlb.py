# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_hugetlb.py - guests whose memory has pages of 2 MiB: they travel in parts, and arrive whole."""
import json
import os
import select
import signal
import time

import pytest

from hugepages import need_pages
from memgroup import HugePageGroup
from test_migration import check_ends, check_post_copy

HUGE = 2 << 20
ALONE = ("--kinds", "hugetlb,hugetlb", "--mirror")
MIXED = ("--kinds", "memfd,hugetlb,memfd,hugetlb")


def check_identical(migration, size):
    migration.destination_guest.wait_word("complete")
    check_ends(migration)
    report = migration.destination_guest.finish()
    assert report["verdict"] == f"identical ({size} bytes)", report
    told = migration.destination.outcome()["migrate"]
    assert told["pages"]["filled"] == told["pages"]["total"]
    return report, told


def check_arrival(migration, size):
    report, told = check_identical(migration, size)
    check_post_copy(migration, report)
    return told


@pytest.mark.smoke
@pytest.mark.sanitizer
def test_huge_pages_arrive_identical(migration):
    need_pages(32)
    migration.start("32M", 2, guests=[ALONE] * 2)
    migration.source.control.command("switchover")
    told = check_arrival(migration, 32 << 20)
    assert told["pages"]["total"] == 16
    # A page in parts is one page, however many frames it takes.
    assert told["pages"]["requested"] + told["pages"]["pushed"] == 16
    there = migration.source.outcome()["migrate"]["pages"]
    # A page both pushed and asked for is on its way twice, and its second copy, where the last page has
    # come meanwhile, is not heard of any more.
    sent, duplicates = there["requested"] + there["pushed"], told["pages"]["duplicates"]
    assert 16 + duplicates <= sent <= 16 + there["requested"]


@pytest.fixture
def group():
    """The migration's processes end before it does."""
    it = HugePageGroup()
    yield it
    it.close()


@pytest.mark.parametrize("room, told", [(8 << 20, True), (64 << 20, False)], ids=["too little", "enough"])
def test_a_limit_of_cgroup_v2_on_huge_pages_is_told_at_setup(group, migration, room, told):
    need_pages(32)
    migration.start_destination()
    group.add(migration.destination.worker())
    group.limit(room)
    migration.start_source()
    migration.source.open()
    migration.start_guest("source", "32M", 1, ALONE).wait_word("running")
    migration.start_guest("destination", "32M", 1, ALONE)
    migration.wait_state("active")
    events = [json.loads(line) for line in (migration.destination.state_dir / "events").read_text().splitlines()]
    limits = [event["data"] for event in events if event["event"] == "MEMORY_LIMIT"]
    assert len(limits) == told, limits
    for limit in limits:
        assert (limit["controller"], limit["group"]) == ("hugetlb", str(group.path))
        assert (limit["limit"], limit["room"], limit["needed"]) == (room, room, 32 << 20)


@pytest.mark.smoke
def test_regions_of_both_page_sizes(migration):
    """memfd, huge pages, memfd: small pages are asked for while large ones are on their way."""
    need_pages(48)
    migration.start("96M", 4, source={"channels": 2},
                    guests=[MIXED] * 2)
    migration.source.control.command("switchover")
    told = check_arrival(migration, 96 << 20)
    assert told["pages"]["total"] == 2 * 12 + 2 * (24 << 20) // 4096


def test_a_page_waits_half_way_in_its_parts(migration):
    """The network stands still in the middle of a page; nobody sees half of it."""
    need_pages(64)
    migration.start("64M", 2, budget=(8 << 20) + 12345, guests=[ALONE] * 2)
    migration.source.control.command("switchover")
    migration.wait_state("postcopy-active")
    pages = migration.destination.control.command("query-migrate")["pages"]
    assert pages["filled"] < pages["total"] == 32
    migration.relay.release()
    check_arrival(migration, 64 << 20)


@pytest.mark.smoke
@pytest.mark.parametrize("side", ["source", "destination"])
def test_another_worker_goes_on_half_way_in_a_page(migration, side):
    """What the one before had put together of a page is gone with it; the page comes whole."""
    need_pages(64)
    migration.start("64M", 2, budget=(8 << 20) + 12345, guests=[ALONE] * 2)
    migration.source.control.command("switchover")
    migration.wait_state("postcopy-active")
    getattr(migration, side).kill_worker()
    pages = migration.destination.control.command("query-migrate")["pages"]
    assert pages["filled"] < pages["total"] == 32
    migration.relay.release()
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == 0
    assert migration.destination.wait() == 0
    report = migration.destination_guest.finish()
    assert report["verdict"] == f"identical ({64 << 20} bytes)", report


def test_pushed_pages_are_paced_part_by_part(migration):
    """32 pages at 16 MiB a second, while no vCPU asks for one: its process stands still."""
    need_pages(64)
    migration.start("64M", 1, source={"max_bandwidth": "16M", "channels": 2},
                    guests=[ALONE] * 2)
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("ready")
    os.kill(migration.destination_guest.pid, signal.SIGSTOP)
    ended = select.poll()
    ended.register(migration.destination_guest.pidfd, select.POLLIN)
    began, seen = time.monotonic(), 0
    while seen < 32:
        pages = migration.destination.control.command("query-migrate")["pages"]
        if pages["filled"] > seen:
            seen = pages["filled"]
        assert not ended.poll(20)  # nothing tells how many pages are there; that it ends, this
        # Never more than what was paid for: what the kernel holds on its way, and a part a channel.
        assert pages["pushed"] * HUGE <= (time.monotonic() - began) * (16 << 20) + (4 << 20), pages
    os.kill(migration.destination_guest.pid, signal.SIGCONT)
    _, told = check_identical(migration, 64 << 20)  # on a busy host it has not run before all was there
    assert told["pages"]["pushed"] > 16


@pytest.mark.faults
def test_cut_in_the_middle_of_a_page_that_the_load_waits_for(migration):
    """Not offered yet: the guest runs on here, and the next switch-over brings every byte of what it wrote."""
    need_pages(32)
    migration.start("32M", 2, source={"fault": "pages-sent:50=cut"}, guests=[ALONE] * 2)
    migration.source.control.command("switchover")
    migration.source_guest.wait_word("continued")
    migration.wait_state("setup")
    migration.wait_state("active")
    migration.source_guest.wait_visits(100)
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    assert (migration.source.wait(), migration.destination.wait()) == (0, 0)
    report = migration.destination_guest.finish()
    assert report["verdict"] == f"identical ({32 << 20} bytes)", report


@pytest.mark.faults
@pytest.mark.parametrize("side, point", [
    ("source", "bulk-pages-sent:40"), ("destination", "bulk-pages-heard:40"),
    ("source", "bulk-pages-sent:33"), ("destination", "bulk-pages-heard:63"),
])
def test_cut_in_the_middle_of_a_pushed_page_pauses_both_sides(migration, side, point):
    """32 parts are a page, and half of one is nothing: both sides keep what they have, and who fences the
    destination gets the guest back with every byte."""
    need_pages(64)
    migration.start("64M", 1, guests=[ALONE] * 2, **{side: {"fault": point + "=cut"}})
    migration.source.control.command("switchover")
    migration.wait_state("postcopy-paused")
    migration.destination.control.wait_event("OUTAGE")
    pages = migration.destination.control.command("query-migrate")["pages"]
    assert 1 <= pages["filled"] <= pages["requested"] + pages["pushed"] < pages["total"] == 32, pages
    for child in (migration.source, migration.destination, migration.destination_guest):
        assert child.alive()
    migration.destination_guest.kill()
    assert migration.destination.wait() == 65
    migration.source.control.command("resolve", {"destination": "fenced"})
    assert migration.source.wait() == 130
    migration.check_source_guest_runs()
