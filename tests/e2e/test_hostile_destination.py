# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_hostile_destination.py - a destination with a valid certificate that lies to a source.

Before the offer the source ends with 76 and its guest runs on; from then on it keeps everything and
says so, until somebody who knows decides, and gets the guest back with every byte.
"""
import re

import pytest

import ports
from peer import Peer

GREETING = [
    ("welcome 0 protocol=2", "protocol 2"),
    ("welcome 0 features=4", "features"),
    ("welcome 0 epoch=0", "epoch"),
    ("welcome 0 record=RUN", "record is RUN"),
    ("welcome 0 record=ABORTED", "record is ABORTED"),
    ("welcome 0 proof=wrong", "does not prove"),
    ("frame 0 WELCOME hex=ff", "decode"),
    ("frame 0 WELCOME length=513 body=8", "513 bytes"),
    ("frame 0 HELLO body=8", "HELLO frame from the destination"),
    ("frame 0 READY body=8", "before the connection is set up"),
    ("frame 0 FAILURE failure=no", "refused: no"),
    ("frame 0 FAILURE hex=ff", "decode"),
]
AGREED = [  # the guest runs at the source
    ("welcome 0", "after the connection is set up"),
    ("frame 0 REGIONS_OK body=1", "1 bytes"),
    ("frame 0 COMMIT verdict=OFFERED", "from the destination"),
    ("frame 0 PAGES count=1 body=4096", "from the destination"),
    ("frame 0 REQUEST region=2 count=1", "region 2"),
    ("frame 0 REQUEST page=8192 count=1", "which has 8192"),
    ("frame 0 REQUEST count=0", "0 pages"),
    ("frame 0 REQUEST count=65", "65 pages"),
    ("frame 0 REQUEST count=1 epoch=0", "of epoch 0"),
    ("frame 1 REQUEST count=1", "on a bulk connection"),
    ("frame 0 READY verdict=RUN", "READY with record RUN"),
    ("frame 0 RUN verdict=RUN verdict-epoch=77", "of epoch 77"),
    ("frame 0 REQUEST count=1 times=4097 step=1", "more than 4096 requests"),
    ("frame 0 FAILURE failure=enough", "gave up: enough"),
]
IGNORED = [  # well-formed, and nothing is to be done about it (WIRE.md, section 4.1)
    "frame 0 REGIONS_OK",
    "frame 0 READY verdict=READY",
    "frame 0 RUN verdict=RUN",
    "frame 0 RESUMED",
    "frame 0 REFUSED verdict=REFUSED",
    "frame 0 COMPLETE",
    "frame 0 REQUEST count=64 times=100",
]
OFFERED = [  # COMMIT has arrived
    ("frame 0 FAILURE failure=no", "closed the connection"),  # counts as that alone
    ("frame 0 RUN verdict=READY", "RUN with record READY"),
    ("frame 0 ABORTED verdict=RUN", "ABORTED with record RUN"),
    ("frame 0 RUN cut=31", "in the middle of a frame"),
]
RUNNING = [  # RUN was said
    ("frame 0 REFUSED verdict=REFUSED", "REFUSED after RESUMED", ["frame 0 RESUMED"]),
    ("frame 0 255", "unknown type", ["frame 0 ABORTED verdict=ABORTED", "frame 0 RUN verdict=RUN"]),
    ("frame 0 REQUEST count=64 times=70000", "more than 4096 requests", ["frame 0 RESUMED"]),
]


@pytest.fixture
def liar(migration):
    return migration.own(Peer("destination", ports.own_address(), migration.pki, migration.folder))


def start_source(migration, liar, **options):
    source = migration.start_source(connect=liar.address, **options)
    source.open()
    return source


def reach(migration, liar, stage):
    """Up to `agreed`, `offered` or `running`, with the guest."""
    source = start_source(migration, liar)
    migration.start_guest("source", "64M", 1).wait_word("running")
    liar.accept()
    liar.do("expect 0 REGIONS")
    liar.do("frame 0 REGIONS_OK")
    source.control.wait_state("active")
    if stage == "agreed":
        return source
    source.control.command("switchover")
    liar.do("expect 1 PAUSED")
    liar.do("frame 0 READY verdict=READY")
    liar.do("expect 0 COMMIT")
    if stage == "running":
        liar.do("frame 0 RUN verdict=RUN")
        source.control.wait_state("postcopy-active")
    return source


def check_kept(migration, source, code, reason):
    assert source.wait() == code
    assert re.search(reason, source.log_text()), source.log_text()
    assert source.outcome()["outcome"] == "source-intact"


@pytest.mark.parametrize("command, reason", GREETING)
def test_a_lie_in_the_greeting_ends_the_source(migration, liar, command, reason):
    source = start_source(migration, liar)
    migration.start_guest("source", "16M", 1).wait_word("running")
    liar.do("open 0")
    liar.do("expect 0 HELLO")
    liar.say(command)
    check_kept(migration, source, 76, reason)


def test_a_lie_on_a_bulk_connection_is_tried_again_until_the_timeout(migration, liar):
    """As a destination that has lost the session would look."""
    source = start_source(migration, liar, connect_timeout="2")
    migration.start_guest("source", "16M", 1).wait_word("running")
    for proof in ("wrong", "old"):
        liar.do("open 0")
        liar.do("expect 0 HELLO")
        liar.do("welcome 0")
        liar.do("open 1")
        liar.do("expect 1 HELLO")
        liar.do(f"welcome 1 channel=1 proof={proof}")
        liar.check_gone(1)
    liar.leave()
    check_kept(migration, source, 69, "")


@pytest.mark.parametrize(
    "command, reason",
    [pytest.param(*AGREED[0], marks=pytest.mark.smoke), *AGREED[1:]],
)
def test_a_lie_before_the_offer_leaves_the_guest_here(migration, liar, command, reason):
    source = reach(migration, liar, "agreed")
    liar.say(command)
    check_kept(migration, source, 76, reason)
    migration.check_source_guest_runs()


def test_frames_that_mean_nothing_now_change_nothing(migration, liar):
    """And the next destination, a right one, gets the guest: what the liar said is forgotten."""
    migration.start_destination()
    source = migration.start_source(connect=[liar.address, migration.address])
    source.open()
    migration.start_guest("source", "64M", 1).wait_word("running")
    migration.start_guest("destination", "64M", 1)
    liar.accept()
    liar.do("expect 0 REGIONS")
    for command in IGNORED:
        liar.do(command)
    source.control.wait_state("active")
    assert liar.say("wait 0 50") == "ok stands"
    assert source.control.command("query-migrate")["record"] == "NONE"
    liar.leave()
    source.control.wait_state("setup")
    migration.wait_state("active")
    source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    assert source.wait() == 0
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


@pytest.mark.parametrize("command, reason", OFFERED)
def test_a_lie_after_the_offer_leaves_it_in_doubt(migration, liar, command, reason):
    source = reach(migration, liar, "offered")
    liar.say(command)
    liar.leave()
    told = source.control.wait_event("IN_DOUBT")["data"]
    assert re.search(reason, told["reason"]), told
    assert source.control.command("query-migrate")["record"] == "OFFERED"
    # Kept for the next connection; until then nothing but a person's word ends the doubt.
    source.control.command("cancel")
    assert source.control.command("query-migrate")["outcome"] == "in-doubt"
    source.control.command("resolve", {"destination": "fenced"})
    assert source.wait() == 130
    migration.check_source_guest_runs()


def end_in_outage(migration, source, reason):
    told = source.control.wait_event("OUTAGE")["data"]
    assert re.search(reason, told["reason"]), told
    source.control.command("resolve", {"destination": "fenced"})
    assert source.wait() == 130
    migration.check_source_guest_runs()


@pytest.mark.parametrize("command, reason, before", RUNNING)
def test_a_lie_after_run_is_an_outage(migration, liar, command, reason, before):
    """The source keeps every page."""
    source = reach(migration, liar, "running")
    fds = source.descriptors()
    for earlier in before:
        liar.do(earlier)
    liar.say(command)
    source.control.wait_state("postcopy-paused")
    # It connects again: 8 attempts at most, each with a socket and two eventfds, and two for all.
    assert source.descriptors() <= fds + 8 * 3 + 2
    end_in_outage(migration, source, reason)


@pytest.mark.shipped  # a sanitizer's own memory would be measured: TSan's is 1.4 MB more after any burst
def test_what_is_asked_for_costs_the_source_no_memory(migration, liar):
    """Nothing is kept, and nothing read, of 16 GiB that are asked for."""
    source = reach(migration, liar, "running")
    memory = source.own_memory()
    liar.do("frame 0 RESUMED")
    liar.say("frame 0 REQUEST count=64 times=70000")
    source.control.wait_state("postcopy-paused")
    assert source.own_memory() < memory + (1 << 20)
    end_in_outage(migration, source, "more than 4096 requests")


def test_parting_from_one_who_never_stops_talking_has_an_end(migration, liar):
    source = reach(migration, liar, "running")
    liar.do("frame 0 RESUMED")
    liar.do("frame 0 COMPLETE")
    liar.say("frame 0 COMPLETE times=100000000")
    assert source.wait(20) == 0
    assert source.outcome()["outcome"] == "completed"
