# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_keeper_points.py - a worker killed at a step of the switch-over; the VMMs notice nothing.

Up to the offer another worker begins the migration anew, by itself.  Behind it the guest is where the
records say, and its VMM is told what it may not have heard.
"""
import signal

import pytest

from control import Gone
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
    ("source", "pause"), ("source", "paused-sent"), ("source", "stands"), ("source", "device-sent"),
    ("source", "recording"),
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
    migration.source.wait_path(migration.source.vmm_socket)
    migration.start_guest("source", "16M", 1).wait_word("running")
    migration.start_guest("destination", "16M", 1)
    if migration.source.control is None or side == "destination":
        follow(getattr(migration, side))
    finish(migration)


@pytest.mark.parametrize("side, point", IN_SWITCH_OVER)
def test_killed_before_the_offer(migration, side, point):
    """The guest runs on at the source, and moves when it is asked to once more."""
    migration.start("16M", 1, **{side: {"fault": f"{point}=kill"}})
    order_switchover(migration)
    follow(getattr(migration, side))
    migration.source_guest.wait_visits(1000)
    finish(migration)


@pytest.mark.parametrize("point", ["run", "resume", "run-sent", "resumed"])
def test_killed_behind_the_commit_the_guest_runs_all_the_same(migration, point):
    """RUN is on record: the next worker tells the VMM, which may have heard it already."""
    migration.start("16M", 1, destination={"fault": f"{point}=kill"})
    order_switchover(migration)
    destination = migration.destination
    follow(destination)
    if point == "run":  # nobody was told: the source may not take the guest for its own
        migration.source.control.wait_event("IN_DOUBT")
        assert migration.source.record() == "OFFERED"
    migration.destination_guest.wait_word("resumed")
    migration.wait_status(destination, lambda status: status["state"] == "postcopy-paused")
    assert destination.record() == "RUN"
    assert "continued" not in migration.source_guest.lines
    assert migration.destination_guest.alive()
    destination.control.command("cancel", {"lose-guest": True})
    assert destination.wait() == 65
