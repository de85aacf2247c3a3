# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_outage_points.py - every connection ends at one step of the way, and the migration arrives all the same.

`cut` shuts the process's TCP connections down: what it had sent before still arrives.  From OFFERED on the
guest is never given back for that, and nothing that had been received is sent again; before, the guest
runs on at the source, and somebody says switchover once more.
"""
import pytest

from both_vmms import PAGES, BothVmms, content
from processes import DEADLINE
from test_outage import check_arrives, check_ends

pytestmark = [pytest.mark.faults, pytest.mark.backing]

AFTER_THE_OFFER = {
    "source": [
        "offered", "commit-sent", "run-heard", "recording:2", "gone", "resumed-heard", "request-heard:9",
        "page-read:5", "pages-sent:5", "push", "push:20", "bulk-page-read:9", "bulk-pages-sent:20",
        "bulk-zero-sent", "credit-heard",
    ],
    "destination": [
        "commit-heard", "recording:2", "run", "resume", "run-sent", "resumed", "resumed-sent",
        "request-sent:9", "pages-heard:5", "bulk-pages-heard:20", "bulk-zero-heard", "credit-sent",
        "fault:9", "claimed:5", "written:5", "filled:5", "mapped:5", "bulk-claimed:20", "bulk-written:20",
        "bulk-filled:20", "bulk-mapped:20", "drain", "disarmed",
    ],
}
POINTS = [(side, point) for side, points in AFTER_THE_OFFER.items() for point in points]


@pytest.mark.parametrize("side, point", POINTS, ids=[f"{side}-{point}" for side, point in POINTS])
def test_cut_after_the_offer(migration, side, point):
    migration.start("64M", 2, **{side: {"fault": point + "=cut"}})
    migration.source.control.send_line(b'{"execute": "switchover"}')
    check_arrives(migration)
    ends = [agent.outcome() for agent in (migration.source, migration.destination)]
    # Each point was reached: a connection has taken the place of the first.
    assert ends[0]["epoch"] == ends[1]["epoch"] >= 2, ends


@pytest.mark.parametrize("side, point", [("destination", "ready"), ("source", "ready-heard")])
def test_cut_before_the_offer(migration, side, point):
    """READY is on record at the destination and has not been heard, or has and nothing was offered."""
    migration.start("64M", 2, **{side: {"fault": point + "=cut"}})
    migration.source.control.command("switchover")
    if side == "destination":
        migration.source_guest.wait_word("continued")
        migration.wait_state("active")
        migration.source.control.command("switchover")
    check_arrives(migration)


@pytest.mark.parametrize("side, point", [("source", "complete-heard"), ("destination", "complete-sent")])
def test_cut_behind_complete(migration, side, point):
    """The source has heard COMPLETE and is gone; the destination lingers until somebody says so."""
    migration.start("64M", 1, **{side: {"fault": point + "=cut"}})
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == 0
    migration.wait_status(migration.destination, lambda status: status["peer"]["address"] is None)
    migration.destination.control.command("quit")
    assert migration.destination.wait() == 0
    check_ends(migration)


def test_the_last_word_goes_before_the_race_ends(migration):
    """COMPLETE finds the link of a new session: its urgent connection stands, and the thread that makes the bulk one
    stands still.  The bulk connection's end, before COMPLETE_ACK has gone, would be the end of the link."""
    both = BothVmms(migration, source={"fault": "pages-sent=cut,hello-sent:4=hang"},
                    destination={"fault": "hello-heard:4=stop,complete-sent=stop"})
    both.switch_over()
    assert both.touch(1).result(DEADLINE) == content(1)
    # The bulk connection's HELLO has come: its thread stands before there is a last word.
    both.destination.wait_stopped()
    both.destination.resume()
    for page in range(PAGES):
        assert both.touch(page).result(DEADLINE) == content(page)
    both.client.wait("COMPLETE")
    # To a destination that does not answer the source says goodbye, and then has to wait for the thread that stands.
    both.destination.wait_stopped()
    migration.wait_thread(both.source, "urgent", there=False)
    assert "race" in both.source.busy_seconds()
    both.destination.resume()
    assert both.destination.wait() == 0
    both.close()


# In the handshake of the second session: the third hello is its first, with one bulk connection.
IN_THE_HANDSHAKE = [
    ("source", "connect:3"), ("source", "tls:3"), ("source", "hello-sent:3"),
    ("source", "welcome-heard:3"), ("source", "connect:4"), ("source", "hello-sent:4"),
    ("source", "welcome-heard:4"), ("source", "received-heard"),
    ("destination", "connect:3"), ("destination", "tls:3"), ("destination", "hello-heard:3"),
    ("destination", "welcome-sent:3"), ("destination", "hello-heard:4"),
    ("destination", "welcome-sent:4"), ("destination", "received-sent"),
]


@pytest.mark.parametrize(
    "first", ["offered", "bulk-pages-sent:20"], ids=["in-doubt", "in-push"]
)
@pytest.mark.parametrize(
    "side, point", IN_THE_HANDSHAKE, ids=[f"{side}-{point}" for side, point in IN_THE_HANDSHAKE]
)
def test_cut_again_while_the_session_is_taken_up(migration, first, side, point):
    faults = {"source": [first + "=cut"], "destination": []}
    faults[side].append(point + "=cut")
    options = {name: {"fault": ",".join(faults[name])} for name in faults if faults[name]}
    migration.start("64M", 2, **options)
    migration.source.control.send_line(b'{"execute": "switchover"}')
    check_arrives(migration)
    assert migration.source.outcome()["epoch"] >= 2


@pytest.mark.parametrize("side, point", [("source", "received-heard"), ("destination", "received-sent")])
def test_stop_while_the_destination_says_what_it_has(migration, side, point):
    """One side stands in the middle of taking the session up: GONE and RUN are on record, and stay."""
    faults = {"source": ["gone=cut"], "destination": []}
    faults[side].append(point + "=stop")
    migration.start("64M", 2, **{name: {"fault": ",".join(faults[name])} for name in faults if faults[name]})
    migration.source.control.send_line(b'{"execute": "switchover"}')
    standing = getattr(migration, side)
    standing.wait_stopped()
    assert (migration.source.record(), migration.destination.record()) == ("GONE", "RUN")
    migration.source_guest.wait_word("paused")
    assert "continued" not in migration.source_guest.lines
    standing.resume()
    check_arrives(migration)
