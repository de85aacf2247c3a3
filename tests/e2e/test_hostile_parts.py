# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_hostile_parts.py - a source that lies in the middle of a page of 2 MiB, or pushes past its credit.

The page under way is nobody's until it is whole: what a lie leaves of it is never placed, and it costs
the liar its link, and the destination no memory.
"""
import os
import re

import pytest

import vmm_client as vmm
from hugepages import need_pages
from peer import MIB, Peer
from test_hostile_floods import Background, Load

HUGE = 2 * MIB
PART, HEADER = 65536, 32
CREDIT_FIRST, CREDIT_LEFT = 262144, 131072  # WIRE.md, section 5.1


class Machine:
    """A destination's VMM whose device state means nothing: 2 MiB of small pages, and 8 MiB of large ones."""

    regions = f"0:{HUGE}:4096,{HUGE}:{4 * HUGE}:{HUGE}"

    def __init__(self, agent):
        self.small = vmm.Memory(HUGE)
        self.large = vmm.huge_memory(4 * HUGE)
        large = self.large.region(id=1, gpa=HUGE, page_size=HUGE, kind=vmm.HUGETLBFS)
        self.client = vmm.Client(agent.vmm_socket)
        self.client.hello(vmm.DESTINATION)
        self.client.regions([self.small.region(), large])
        self.client.wait("REGIONS_ACCEPTED")

    def page(self, number):
        return os.pread(self.large.fd, HUGE, number * HUGE)

    def placed(self):
        """How many large pages the file has."""
        return os.fstat(self.large.fd).st_blocks * 512 // HUGE

    def close(self):
        self.client.close()
        self.large.close()
        self.small.close()


@pytest.fixture
def scene(migration):
    """After RUN, with one large page placed."""
    need_pages(4)
    destination = migration.start_destination()
    machine = Machine(destination)
    peer = migration.own(Peer("source", migration.address, migration.pki, migration.folder))
    peer.connect()
    peer.spent, peer.limit = 0, CREDIT_FIRST
    peer.agree(Machine.regions)
    peer.pause()
    machine.client.wait("LOAD")
    machine.client.say("READY")
    peer.commit()
    machine.client.wait("RESUME")
    machine.client.say("RESUMED")
    peer.do("expect 0 RESUMED")
    send_parts(peer, 0, range(HUGE // PART))
    migration.wait_status(destination, lambda status: status["pages"]["filled"] == 1)
    yield destination, machine, peer
    machine.close()


def part(page, offset, length=PART, more=""):
    return f"frame 1 PAGES region=1 page={page} count=1 extra={offset} body={length}{more}"


def wait_credit(peer, size):
    """Until frames of so many bytes may be pushed; who does not wait is cut off."""
    while peer.limit < peer.spent + size:
        answer = peer.do("expect 1 CREDIT")
        peer.limit = int(re.search(r"page=(\d+)", answer)[1])


def send_parts(peer, page, numbers):
    for i in numbers:
        wait_credit(peer, PART + HEADER)
        peer.do(part(page, i * PART))
        peer.spent += PART + HEADER
    wait_credit(peer, CREDIT_LEFT)


BEGUN = part(1, 0)
LIES = [
    ("a_part_that_is_not_the_first", [], part(1, PART), "does not begin with its first part"),
    ("the_last_part_alone", [], part(1, HUGE - PART), "does not begin with its first part"),
    ("a_part_left_out", [BEGUN], part(1, 2 * PART), "byte 65536 of page 1 .* has to come next"),
    ("a_part_twice", [BEGUN], BEGUN, "byte 65536 of page 1 .* has to come next"),
    ("a_part_that_overlaps", [BEGUN], part(1, PART - 4096), "byte 65536 of page 1 .* has to come next"),
    ("another_page_between", [BEGUN], part(2, 0), "byte 65536 of page 1 .* has to come next"),
    ("two_pages_interleaved", [BEGUN], part(2, PART), "byte 65536 of page 1 .* has to come next"),
    ("a_part_beyond_the_page", [BEGUN], part(1, HUGE), "2097152"),
    ("a_part_across_the_end", [BEGUN], part(1, HUGE - 4096), "2097152"),
    ("an_offset_near_2_to_32", [BEGUN], part(1, 0xFFFFF000, 4096), "2097152"),
    ("an_offset_of_no_page", [BEGUN], part(1, PART + 1), "4096"),
    ("a_length_of_no_page", [BEGUN], part(1, PART, 4097), "4096"),
    ("a_part_of_nothing", [BEGUN], part(1, PART, 0), "0 bytes|empty"),
    ("parts_of_two_pages_in_one", [BEGUN], part(1, PART, PART, " count=2").replace("count=1 ", ""),
     "pages|count"),
    ("zero_for_the_page_under_way", [BEGUN], "frame 1 ZERO region=1 page=1 count=1", "ZERO for page 1"),
    ("zero_for_it_and_its_neighbours", [BEGUN], "frame 1 ZERO region=1 page=0 count=4", "ZERO for page 1"),
    ("zero_for_a_part", [BEGUN], f"frame 1 ZERO region=1 page=1 count=1 extra={PART}", "`extra`"),
]


@pytest.mark.parametrize("before, lie, reason", [pytest.param(*row[1:], id=row[0]) for row in LIES])
def test_a_lie_in_the_middle_of_a_page(scene, before, lie, reason):
    destination, machine, peer = scene
    load = Load(destination)
    for command in before:
        peer.do(command)
    peer.say(lie)
    peer.check_gone(1)
    check_outage(destination, machine, reason)
    load.check()


def check_outage(destination, machine, reason):
    """What was whole stays, what was under way is nowhere, and the guest waits for another source."""
    destination.control.wait_state("postcopy-paused")
    told = destination.control.wait_event("OUTAGE")["data"]
    assert re.search(reason, told["reason"]), told
    status = destination.control.command("query-migrate")
    assert (status["record"], status["pages"]["filled"]) == ("RUN", 1)
    assert machine.page(0) == b"\x5a" * HUGE
    assert machine.placed() == 1
    assert destination.alive()


SILENCES = [
    ("between_two_parts", [], "closed the connection"),
    ("in_the_middle_of_a_part", [part(1, HUGE - PART, PART, " cut=5000")], "in the middle of a frame, PAGES"),
    ("in_a_header", [part(1, HUGE - PART, PART, " cut=17")], "in the middle of a frame"),
]


@pytest.mark.smoke
@pytest.mark.shipped  # a sanitizer's own memory would be measured
@pytest.mark.parametrize("last, reason", [pytest.param(*row[1:], id=row[0]) for row in SILENCES])
def test_silence_in_the_middle_of_a_page_and_then_the_end(migration, scene, last, reason):
    """All parts but the last one; small pages go on arriving meanwhile."""
    destination, machine, peer = scene
    load = Load(destination)
    send_parts(peer, 1, range(HUGE // PART - 1))
    peer.do("frame 1 PAGES page=7 count=1 body=4096")
    migration.wait_status(destination, lambda status: status["pages"]["filled"] == 2)
    for command in last:
        peer.do(command)
    assert machine.placed() == 1 and peer.say("wait 1 100") == "ok stands"
    load.check_answers()
    peer.do("close 1")
    destination.control.wait_state("postcopy-paused")
    told = destination.control.wait_event("OUTAGE")["data"]
    assert re.search(reason, told["reason"]), told
    assert destination.control.command("query-migrate")["pages"]["filled"] == 2
    assert machine.placed() == 1
    load.check()


def test_a_source_that_waits_for_no_credit(migration, scene):
    """It pushes as fast as it can, which is more than was granted; no more of it is kept than a socket holds."""
    destination, machine, peer = scene
    load = Load(destination)
    flood = Background(peer, "frame 1 PAGES page=0 count=16 body=65536 times=100000")
    assert flood.join().startswith("gone")
    destination.control.wait_state("postcopy-paused")
    told = destination.control.wait_event("OUTAGE")["data"]
    assert "pages pushed beyond the credit" in told["reason"], told
    load.check()
    load.check_answers()
    status = destination.control.command("query-migrate")
    assert (status["record"], status["pages"]["filled"]) == ("RUN", 1 + 16)
    assert machine.placed() == 1


def test_a_page_error_in_the_middle_and_the_page_again(migration, scene):
    """It ends the page under way, which is lost: who comes with it later is late; the next one is placed."""
    destination, machine, peer = scene
    send_parts(peer, 1, range(5))
    peer.do("frame 1 PAGE_ERROR region=1 page=1 count=1 extra=5")
    peer.spent += HEADER
    destination.control.wait_event("PAGE_LOST")
    send_parts(peer, 1, range(HUGE // PART))
    send_parts(peer, 2, range(HUGE // PART))
    migration.wait_status(destination, lambda status: status["pages"]["filled"] == 3)
    pages = destination.control.command("query-migrate")["pages"]
    assert (pages["lost"], pages["duplicates"]) == (1, 1)
    assert machine.page(2) == b"\x5a" * HUGE
    assert machine.placed() == 2  # the one that came before, and this one
