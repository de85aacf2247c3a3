# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_keeper_points.py - a worker killed at a step of the switch-over; the VMMs notice nothing.

Up to the offer another worker begins the migration anew.  Behind it the next one takes the session up, tells its VMM
what that may not have heard, and the guest arrives with nobody's help, unless the other side had its last word.
"""
import signal
import time

import pytest

from control import Gone
from processes import DEADLINE
from test_keeper import finish

pytestmark = pytest.mark.faults

IN_SET_UP = [
    ("destination", "connect"), ("destination", "hello-heard"), ("destination", "armed"),
    ("destination", "regions-heard"), ("destination", "regions-ok-sent"),
    ("source", "connect"), ("source", "welcome-heard"), ("source", "regions-sent"),
    ("source", "regions-ok-heard"),
]
IN_SWITCH_OVER = [
    ("destination", "paused-heard"), ("destination", "device-heard"), ("destination", "load"),
    ("destination", "loaded"), ("destination", "recording"), ("destination", "ready"),
    ("source", "pause"), ("source", "stands"), ("source", "ready-heard"), ("source", "recording"),
]


def follow(agent):
    """The worker is about to be killed, or has been: to the next one."""
    while True:
        try:
            if not agent.control:
                agent.open()
            data = agent.control.wait_event("WORKER_RESTARTED")["data"]
            assert f"signal {signal.SIGKILL}" in data["reason"]
            return
        except Gone:
            agent.control = None


def follow_both(agent):
    """Two workers in a row are about to be killed, or have been: to the third."""
    until = time.monotonic() + DEADLINE
    while True:
        try:
            if not agent.control:
                agent.open()
            while agent.control.names().count("WORKER_RESTARTED") < 2:
                agent.control.receive(until)
            return
        except Gone:
            agent.control = None


def order_switchover(migration):
    """The answer dies with a source that is killed."""
    try:
        migration.source.control.command("switchover")
    except Gone:
        pass


@pytest.mark.parametrize("side, point", IN_SET_UP)
def test_killed_on_the_way_to_the_agreement(migration, side, point):
    faults = {side: {"fault": f"{point}=kill"}}
    migration.start_destination(**faults.get("destination", {}))
    migration.start_source(**faults.get("source", {}))
    if side == "destination":
        migration.source.open()
    elif point not in ("regions-sent", "regions-ok-heard"):
        follow(migration.source)  # for those it needs its VMM
    migration.source.wait_listening(migration.source.vmm_socket)
    migration.start_guest("source", "16M", 1).wait_word("running")
    migration.start_guest("destination", "16M", 1)
    if migration.source.control is None or side == "destination":
        follow(getattr(migration, side))
    finish(migration)


IN_ARMING = [
    ("described", "registered", ()), ("registered", "registered", ()), ("probed", "probed", ()),
    ("probed:2", "probed:2", ()), ("armed", "hello-heard", ()),
    ("registered", "registered", ("--kinds", "private,memfd")),
    ("probed", "probed:2", ("--prepared", "allocated")), ("probed:2", "probed", ("--prepared", "listed")),
]


@pytest.mark.parametrize("point, next_point, guest", IN_ARMING)
def test_killed_while_it_arms_the_memory(migration, point, next_point, guest):
    """Twice; the VMM would not come again, and need not: the next worker arms what it had described."""
    migration.start_destination(fault=f"{point}=kill;{next_point}=kill")
    migration.start_source()
    migration.source.open()
    migration.source.wait_listening(migration.source.vmm_socket)
    migration.start_guest("source", "16M", 1).wait_word("running")
    migration.start_guest("destination", "16M", 1, guest)
    follow_both(migration.destination)
    finish(migration)


@pytest.mark.parametrize("side, point", IN_SWITCH_OVER)
def test_killed_before_the_offer(migration, side, point):
    """The guest runs on at the source, and moves when it is asked to once more."""
    migration.start("16M", 1, **{side: {"fault": f"{point}=kill"}})
    order_switchover(migration)
    follow(getattr(migration, side))
    migration.source_guest.wait_visits(1000)
    finish(migration)


BEHIND_THE_OFFER = [
    ("destination", point) for point in (
        "ready-sent", "commit-heard", "recording:2", "run", "resume", "run-sent", "resumed", "resumed-sent",
        "request-sent:5", "claimed:9", "bulk-claimed:9", "drain", "disarmed",
    )
] + [
    ("source", point) for point in (
        "offered", "commit-sent", "run-heard", "gone", "resumed-heard", "push:3",
        "request-heard:5", "complete-heard",
    )
]


def arrive(migration):
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == 0
    assert migration.destination.wait() == 0
    assert "continued" not in migration.source_guest.lines
    report = migration.destination_guest.finish()
    assert report["verdict"].startswith("identical"), report
    assert migration.destination_guest.lines.count("resumed") == 1


@pytest.mark.parametrize("side, point", BEHIND_THE_OFFER)
def test_killed_behind_the_offer_the_guest_arrives(migration, side, point):
    """Nobody is asked, and no vCPU runs twice."""
    migration.start("16M", 2, **{side: {"fault": f"{point}=kill"}})
    order_switchover(migration)
    follow(getattr(migration, side))
    arrive(migration)


@pytest.mark.parametrize("point", ["paused-sent", "device-sent"])
def test_killed_where_the_offer_may_have_gone_out(migration, point):
    """The thread that has sent it dies, and another one has gone on meanwhile, or not: the record knows."""
    migration.start("16M", 2, source={"fault": f"{point}=kill"})
    order_switchover(migration)
    follow(migration.source)
    if migration.source.control.wait_event("STATE")["data"]["record"] == "NONE":
        migration.source_guest.wait_visits(1000)
        finish(migration)
    else:
        arrive(migration)


def test_killed_behind_its_last_word_the_destination_is_told_by_somebody(migration):
    """COMPLETE has gone out, and its answer finds nobody: the source has ended."""
    migration.start("16M", 1, destination={"fault": "complete-sent=kill"})
    order_switchover(migration)
    assert migration.source.wait() == 0
    follow(migration.destination)
    migration.destination_guest.wait_word("complete")
    migration.destination.control.command("quit")
    assert migration.destination.wait() == 0
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


@pytest.mark.parametrize("point", ["release", "complete-ack-sent"])
def test_killed_about_its_last_word_the_source_knows(migration, point):
    """That the destination has every page is on record before it hears that the source knows: nobody is asked here."""
    migration.start("16M", 1, source={"fault": f"{point}=kill"})
    order_switchover(migration)
    assert migration.source.wait() == 0
    outcome = migration.source.outcome()
    assert (outcome["outcome"], outcome["owner"]) == ("completed", "destination")
    if point == "release":  # it has told nobody: its orchestrator knows, and does
        migration.destination_guest.wait_word("complete")
        migration.destination.control.command("quit")
    assert migration.destination.wait() == 0
    assert migration.destination_guest.finish()["verdict"].startswith("identical")
