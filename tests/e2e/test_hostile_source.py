# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_hostile_source.py - a source with a valid certificate that lies to a destination.

Each row costs the liar its connection and nothing else: the destination tells of it, listens on, and
in the end a right source moves its guest there, with every byte.
"""
import os
import re

import pytest

import vmm_client as vmm
from peer import GUEST_REGIONS, MIB, Peer

STANDS = None  # what is well-formed and means nothing now is ignored (WIRE.md, section 2.3)

# What is tried, on a fresh link at the stage of its table; a part of the reason that is told, as a
# regular expression.
GREETING = [
    ("frame 0 HELLO length=513 body=513", "bytes"),
    ("frame 0 HELLO hex=ff", "decode"),
    ("frame 0 HELLO body=0", "protocol 0"),
    ("frame 0 WELCOME body=8", "WELCOME frame from the source"),
    ("frame 0 PAGES count=1 body=4096", "before the connection is set up"),
    ("frame 0 HELLO magic=0x4650 body=4", "begins with"),
    ("frame 0 HELLO version=2 body=4", "version 2"),
    ("frame 0 HELLO reserved=1 body=4", "reserved"),
    ("frame 0 HELLO epoch=7 body=4", "epoch 7"),
    ("frame 0 255 body=4", "unknown type"),
    ("frame 0 FAILURE failure=no", "FAILURE instead of HELLO"),
    ("hello 0 protocol=2", "protocol 2"),
    ("hello 0 features=1", "features"),
    ("hello 0 id=vm8", "another migration"),
    ("hello 0 record=OFFERED", "record OFFERED"),
    ("hello 0 record=GONE", "record GONE"),
    ("hello 0 channels=0", "channels"),
    ("hello 0 channels=9", "channels"),
    ("hello 0 channel=1", "without an epoch"),
]
# With a session whose only bulk connection is being made, on connection 1.
BULK_GREETING = [
    ("hello 1 channel=1 proof=none", "proof"),
    ("hello 1 channel=1 proof=wrong", "does not prove"),
    ("hello 1 channel=1 proof=old", "does not prove"),
    ("hello 1 channel=2 channels=8", "bulk 2"),
    ("hello 1 channel=1 epoch=1", "no such session"),
    ("hello 1 channel=1 epoch=0xffffffff", "no such session"),
]
LINKED = [  # before the regions are agreed on
    ("frame 0 HELLO body=4", "after the connection is set up"),
    ("hello 0", "after the connection is set up"),
    ("frame 0 REGIONS_OK", "from the source"),
    ("frame 0 READY verdict=READY", "from the source"),
    ("frame 0 REQUEST count=1", "from the source"),
    ("frame 0 REGIONS body=4097", "4096"),
    ("frame 0 REGIONS hex=0a00", "page size is neither"),
    (f"frame 0 REGIONS regions={GUEST_REGIONS} times=2", "REGIONS twice"),
    ("frame 0 PAGES count=1 body=4096", "before the regions are agreed"),
    ("frame 0 ZERO count=1", "before the regions are agreed"),
    ("frame 0 PAGE_ERROR count=1 extra=5", "before the regions are agreed"),
    ("frame 1 REGIONS regions=0:4096:4096", "on a bulk connection"),
    ("frame 1 PAUSED paused=64", "before the regions are agreed"),
    ("frame 1 DEVICE body=64", "no device state was announced"),
    ("frame 0 PAUSED paused=64", "on the urgent connection"),
    ("frame 0 COMMIT verdict=OFFERED epoch=1", "of epoch 1"),
    ("frame 0 COMMIT verdict=GONE", "COMMIT with record GONE"),
    ("frame 0 COMMIT hex=ff", "Verdict"),
    ("frame 0 COMMIT verdict=OFFERED", STANDS),
    ("frame 0 COMPLETE_ACK", STANDS),
    ("frame 0 COMPLETE_ACK page=1", "`page`"),
    ("frame 0 COMPLETE_ACK body=1", "bytes"),
]
AGREED = [  # the guest has 64 MiB, 8192 pages in each of its regions, 0 and 1
    ("frame 0 REGIONS regions=0:4096:4096", "REGIONS twice"),
    ("frame 0 PAGES count=1 body=4096", "nobody asked for"),
    ("frame 0 ZERO count=8192", "nobody asked for"),
    ("frame 0 PAGE_ERROR count=64 extra=5", "nobody asked for"),
    ("frame 0 PAGES region=2 count=1 body=4096", "region 2"),
    ("frame 0 PAGES page=8192 count=1 body=4096", "which has 8192"),
    ("frame 0 PAGES page=0xffffffffffffffff count=2 body=8192", "which has 8192"),
    ("frame 0 PAGES count=0", "0 pages"),
    ("frame 0 PAGES count=8 body=32768", "16384 are allowed here"),
    ("frame 0 PAGES count=2 body=4096", "4096 bytes for 2"),
    ("frame 0 PAGES count=1 extra=4096 body=4096", "which travels whole"),
    ("frame 0 ZERO count=8193", "which has 8192"),
    ("frame 0 PAGE_ERROR count=1 extra=0", "errno 0"),
    ("frame 0 PAGE_ERROR count=65 extra=5", "65 pages"),
    ("frame 1 PAGES count=1 body=4096", "before RUN"),
    ("frame 1 ZERO count=8192", "before RUN"),
    ("frame 1 PAGE_ERROR count=1 extra=5", "before RUN"),
    ("frame 1 PAGES count=17 body=65536", "17 pages"),
    ("frame 1 PAGES count=1 length=65537 body=4096", "65536 are allowed"),
    ("frame 1 PAGES count=1 length=0xffffffff body=4096", "65536 are allowed"),
    ("frame 1 PAUSED paused=0x4000001", "--max-device-state"),
    ("frame 1 PAUSED paused=0xffffffffffffffff", "--max-device-state"),
    ("frame 1 DEVICE body=64", "no device state was announced"),
]
PAUSED = [  # and a device state of 4096 bytes is announced
    ("frame 1 PAUSED paused=4096", "PAUSED twice"),
    ("frame 1 DEVICE page=64 body=64", "at byte 64 instead of 0"),
    ("frame 1 DEVICE page=0xffffffffffffffff body=64", "of a device state of 4096"),
    ("frame 1 DEVICE body=4097", "of a device state of 4096"),
    ("frame 1 DEVICE body=64 times=2", "at byte 0 instead of 64"),
    ("frame 1 DEVICE body=0", "without a body"),
    ("frame 1 DEVICE body=64 count=1", "`count`"),
    ("frame 0 DEVICE body=64", "on the urgent connection"),
]


def start_destination(migration):
    """With its guest, and the liar beside it."""
    destination = migration.start_destination()
    guest = migration.start_guest("destination", "64M", 1)
    guest.wait_word("accepted")
    peer = migration.own(Peer("source", migration.address, migration.pki, migration.folder))
    return destination, peer


def check_told(destination, reason):
    told = destination.control.wait_event("PEER_REFUSED")["data"]
    assert re.search(reason, told["reason"]), told
    assert told["address"].startswith("127.0.0.1")


def try_rows(destination, peer, rows, stage):
    """Each row on a link of its own, which is gone afterwards unless the row was ignored."""
    for command, reason in rows:
        stage(peer)
        answer = peer.say(command)
        connection = command.split()[1]
        if reason is STANDS:
            assert answer.startswith("ok"), (command, answer)
            assert peer.say(f"wait {connection} 20") == "ok stands", command
        else:
            try:
                peer.check_gone(connection)
                check_told(destination, reason)
            except AssertionError as error:
                raise AssertionError(f"{command}: {error}") from error
        assert destination.alive(), command


def check_right_source_arrives(migration):
    """All of it has cost the destination nothing: it serves the next who is right."""
    migration.start_source()
    migration.source.open()
    migration.start_guest("source", "64M", 1).wait_word("running")
    migration.source.control.wait_state("active")
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == 0
    assert migration.destination.wait() == 0
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


def open_only(peer):
    peer.do("open 0")


def first_hello(peer):
    """Two sessions, so that there is an old secret; and a connection that has said nothing."""
    for _ in range(2):
        peer.do("open 0")
        peer.do("hello 0")
        peer.do("expect 0 WELCOME")
    peer.do("open 1")


def agree(peer):
    peer.connect()
    peer.agree()


def pause(peer):
    agree(peer)
    peer.do("frame 1 PAUSED paused=4096")


@pytest.mark.parametrize(
    "rows, stage",
    [
        pytest.param(GREETING + BULK_GREETING, None, id="greeting"),
        pytest.param(LINKED, Peer.connect, id="linked"),
        pytest.param(AGREED, agree, id="agreed", marks=pytest.mark.smoke),
        pytest.param(PAUSED, pause, id="paused"),
    ],
)
def test_a_lie_costs_the_connection_and_nothing_else(migration, rows, stage):
    destination, peer = start_destination(migration)
    if stage:
        try_rows(destination, peer, rows, stage)
    else:
        try_rows(destination, peer, GREETING, open_only)
        try_rows(destination, peer, BULK_GREETING, first_hello)
    peer.leave()
    check_right_source_arrives(migration)


# ---- with a VMM that takes any device state


class Vmm:
    """A destination's VMM with 4 MiB, whose device state means nothing."""

    size = 4 * MIB
    regions = f"0:{size}:4096"

    def __init__(self, agent):
        self.memory = vmm.Memory(self.size)
        self.client = vmm.Client(agent.vmm_socket)
        self.client.hello(vmm.DESTINATION)
        self.client.regions([self.memory.region()])
        self.client.wait("REGIONS_ACCEPTED")

    def load(self):
        self.client.wait("LOAD")
        self.client.say("READY")

    def resume(self):
        self.client.wait("RESUME")
        self.client.say("RESUMED")

    def page(self, number):
        return os.pread(self.memory.fd, 4096, number * 4096)

    def close(self):
        self.client.close()
        self.memory.close()


@pytest.fixture
def scene(migration):
    """A destination, its VMM and the liar, who is up to READY or, by serve(), after RUN."""
    destination = migration.start_destination()
    machine = Vmm(destination)
    peer = migration.own(Peer("source", migration.address, migration.pki, migration.folder))
    yield destination, machine, peer
    machine.close()


def get_ready(peer, machine):
    peer.connect()
    peer.agree(Vmm.regions)
    peer.pause()
    machine.load()
    peer.do("expect 0 READY")


def begin_anew(peer):
    """Put off: closed without an answer."""
    peer.do("open 5")
    peer.do("hello 5")
    assert "FAILURE" not in peer.check_gone(5)


def serve(scene):
    destination, machine, peer = scene
    get_ready(peer, machine)
    peer.do("frame 0 COMMIT verdict=OFFERED")
    peer.do("expect 0 RUN")
    machine.resume()
    peer.do("expect 0 RESUMED")
    destination.control.wait_state("postcopy-active")


READY = [
    ("frame 0 COMMIT verdict=NONE", "COMMIT with record NONE"),
    ("frame 0 COMMIT verdict=OFFERED verdict-epoch=1", "of epoch 1"),
    ("frame 0 COMMIT body=512", "decode|shortest|know"),
    ("frame 0 ABORT verdict=GONE", "ABORT with record GONE"),
    ("frame 0 ABORT verdict=NONE verdict-epoch=1", "of epoch 1"),
    ("frame 0 ABORT body=512", "decode|shortest|know"),
    ("frame 0 FAILURE body=512", "decode|shortest|know"),
    ("frame 1 PAGES count=1 body=4096", "PAGES before RUN"),
    ("frame 1 PAUSED paused=64", "PAUSED twice"),
    ("frame 1 DEVICE body=64", "instead of 64"),
]


def test_lies_before_the_commit_leave_it_open(scene):
    """Whatever is said instead of COMMIT: nothing is committed, and a source may start again."""
    destination, machine, peer = scene
    for command, reason in READY:
        get_ready(peer, machine)
        peer.say(command)
        peer.check_gone(0)
        check_told(destination, reason)
        begin_anew(peer)
        status = destination.control.command("query-migrate")
        assert status["record"] in ("READY", "NONE"), (command, status)
    serve(scene)
    assert destination.control.command("query-migrate")["record"] == "RUN"


def test_a_first_hello_takes_nothing_from_a_session_that_is_ready(scene):
    """A source that died behind its HELLO, which was late, and the one that came after it has offered."""
    destination, machine, peer = scene
    get_ready(peer, machine)
    begin_anew(peer)
    assert peer.say("wait 0 20") == "ok stands"
    peer.do("frame 0 COMMIT verdict=OFFERED")
    peer.do("expect 0 RUN")
    machine.resume()


def test_a_first_hello_that_comes_again_takes_the_place_of_one_that_is_ready(scene):
    """That link stands no longer for its source, who comes again; it takes the next one at its word."""
    destination, machine, peer = scene
    get_ready(peer, machine)
    for _ in range(2):
        begin_anew(peer)
        peer.do("open 5")
        peer.do("hello 5")
        peer.do("expect 5 WELCOME")
        peer.check_gone(0)
        assert destination.control.command("query-migrate")["record"] == "NONE"
        peer.do("close 5")
        get_ready(peer, machine)


IGNORED_AFTER_RUN = [
    "frame 0 COMMIT verdict=OFFERED times=3",
    "frame 0 ABORT verdict=OFFERED",
    "frame 0 COMPLETE_ACK",
    "frame 1 ZERO page=7 count=1 times=3",
    "frame 1 PAGES page=7 count=1 body=4096",
]
AFTER_RUN = [
    ("frame 0 PAGES count=1 body=4096", "nobody asked for"),
    ("frame 0 ZERO count=1024", "nobody asked for"),
    ("frame 1 PAGES page=1024 count=1 body=4096", "which has 1024"),
    ("frame 1 PAGES page=1020 count=16 body=65536", "which has 1024"),
    ("frame 1 ZERO page=1 count=1024", "which has 1024"),
    ("frame 1 COMMIT verdict=OFFERED", "on a bulk connection"),
    ("frame 1 PAGES count=1 body=4096 cut=100", None),  # and then it hangs up
    ("frame 0 ABORT verdict=GONE", "ABORT with record GONE"),
]


@pytest.mark.parametrize("command, reason", AFTER_RUN)
def test_a_lie_after_run_is_an_outage(scene, command, reason):
    """The guest is the destination's: it keeps what has arrived, and waits."""
    destination, machine, peer = scene
    serve(scene)
    peer.do("frame 1 PAGES page=3 count=1 body=4096")
    for ignored in IGNORED_AFTER_RUN:
        peer.do(ignored)
    peer.say(command)
    if reason:
        peer.check_gone(command.split()[1])
    else:
        peer.do("close 1")
    destination.control.wait_state("postcopy-paused")
    told = destination.control.wait_event("OUTAGE")["data"]
    assert re.search(reason or "in the middle of a frame, PAGES", told["reason"]), told
    status = destination.control.command("query-migrate")
    assert (status["record"], status["outcome"]) == ("RUN", "paused")
    assert status["pages"]["filled"] == 2 and status["pages"]["duplicates"] == 3
    assert machine.page(3) == b"\x5a" * 4096 and machine.page(7) == bytes(4096)
    # A new HELLO cannot begin anew what is committed.
    peer.do("open 2")
    peer.do("hello 2")
    assert "record here is RUN" in peer.say("expect 2 WELCOME")
    assert destination.alive()
