# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_cancel_points.py - one side stands at a fault point before the commit; somebody cancels.

Either the other side is cancelled while it stands, or the order waits on its own control socket and is
the first thing that it reads when it is let go.  Then the guest works on at the source.  Once COMMIT
can be on its way, which of the two comes first decides: one side has the guest, and both know which.
"""
import contextlib
import dataclasses
import json
import socket

import pytest

from harness import GIVES_UP
from processes import DEADLINE

pytestmark = [pytest.mark.faults, pytest.mark.backing]

CANCELLED, UNREACHABLE = 130, 69

# How it ends.
BOTH = "both hear of it"
ALONE = "the link does not stand: the other side does not hear of it"
EITHER = "READY is written, or is about to be: COMMIT may be faster"


@dataclasses.dataclass
class Point:
    side: str  # that stands there
    name: str
    of_the_other: str  # cancelled at the other side
    of_its_own: str  # cancelled at this side
    switchover: bool = False  # it is reached by it

    @property
    def early(self):
        return self.of_its_own == ALONE

    @property
    def agreed(self):
        return self.switchover or "regions-ok" in self.name


POINTS = [
    Point("source", "connect", ALONE, ALONE),
    Point("source", "tls", ALONE, ALONE),
    Point("source", "hello-sent", ALONE, ALONE),
    Point("source", "welcome-heard", ALONE, ALONE),
    Point("source", "regions-sent", BOTH, BOTH),
    Point("source", "regions-ok-heard", BOTH, BOTH),
    Point("source", "pause", BOTH, BOTH, True),
    Point("source", "stands", BOTH, BOTH, True),
    # Where it has sent, another thread can go on to COMMIT before this one stands.
    Point("source", "paused-sent", EITHER, EITHER, True),
    Point("source", "device-sent", EITHER, EITHER, True),
    Point("source", "ready-heard", BOTH, EITHER, True),
    Point("source", "recording", BOTH, EITHER, True),
    Point("source", "offered", BOTH, EITHER, True),
    Point("destination", "connect", ALONE, ALONE),
    Point("destination", "tls", ALONE, ALONE),
    Point("destination", "hello-heard", ALONE, ALONE),
    Point("destination", "welcome-sent", ALONE, ALONE),
    Point("destination", "probed", BOTH, BOTH),
    Point("destination", "armed", BOTH, BOTH),
    Point("destination", "regions-heard", BOTH, BOTH),
    Point("destination", "regions-ok-sent", BOTH, BOTH),
    Point("destination", "paused-heard", BOTH, BOTH, True),
    Point("destination", "device-heard", BOTH, BOTH, True),
    Point("destination", "load", BOTH, BOTH, True),
    Point("destination", "loaded", BOTH, EITHER, True),
    Point("destination", "recording", BOTH, EITHER, True),
    Point("destination", "ready", BOTH, EITHER, True),
    Point("destination", "ready-sent", EITHER, EITHER, True),
    Point("destination", "commit-heard", EITHER, EITHER, True),
]


def other(side):
    return "destination" if side == "source" else "source"


@contextlib.contextmanager
def order(agent, command):
    """Sends a command, and does not wait for its answer: the agent may stand."""
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(DEADLINE)
        control.connect(str(agent.control_path))
        control.sendall(json.dumps({"execute": command}).encode() + b"\n")
        yield


def bring(migration, point, ends):
    """Until the side stands at the point."""
    standing = {"fault": f"{point.name}=stop"}
    # Who cannot be told finds nobody: soon, where that is how it ends.
    timeout = GIVES_UP if ends == ALONE else 30
    source = {"connect_timeout": timeout} | (standing if point.side == "source" else {})
    migration.start_destination(**(standing if point.side == "destination" else {}))
    migration.start_source(**source)
    if point.side == "source" and point.early:
        migration.source.wait_stopped()  # its sockets are there, and whoever comes waits
    else:
        migration.source.open()
    migration.start_guest("source", "16M", 1).wait_word("running")
    if point.name in ("probed", "armed"):
        migration.wait_link()
    migration.start_guest("destination", "16M", 1)
    if point.switchover:
        migration.wait_state("active")
    with order(migration.source, "switchover") if point.switchover else contextlib.nullcontext():
        standing = getattr(migration, point.side)
        standing.wait_stopped()
    return standing


def check_ends(migration, ends, cancelled, point):
    """cancelled: the side.  Nothing is claimed about a guest whose VMM has not been heard (outcome null),
    which before the agreement depends on who was faster."""
    claims = [("source-intact", "source")] + ([] if point.agreed else [(None, None)])
    codes = {"source": CANCELLED, "destination": CANCELLED}
    if ends == ALONE and cancelled == "source":
        destination = migration.destination
        assert destination.control.command("query-migrate")["state"] == "setup"
        destination.control.command("cancel", {})
    elif ends == ALONE:
        codes["source"] = UNREACHABLE
    found = {side: getattr(migration, side).wait() for side in codes}
    if ends == EITHER and found == {"source": 0, "destination": 0}:
        migration.destination_guest.wait_word("complete")
        assert migration.destination_guest.finish()["verdict"].startswith("identical")
        assert "continued" not in migration.source_guest.lines
        return
    assert found == codes
    for side in codes:
        outcome = getattr(migration, side).outcome()
        assert (outcome["outcome"], outcome["owner"]) in claims, (side, outcome)
    assert "resumed" not in migration.destination_guest.lines
    if point.switchover:
        migration.source_guest.wait_word("continued")
    migration.check_source_guest_runs()


def cases(smoke=("armed", "stands", "ready", "offered")):
    for point in POINTS:
        for by, ends in (("other", point.of_the_other), ("own", point.of_its_own)):
            quick = point.name in smoke or by == "other"
            yield pytest.param(
                point, by, ends, id=f"{point.side}-{point.name}-{by}",
                marks=[] if quick else [pytest.mark.long],
            )


@pytest.mark.parametrize("point, by, ends", cases())
def test_cancel_at_a_point(migration, point, by, ends):
    standing = bring(migration, point, ends)
    cancelled = point.side if by == "own" else other(point.side)
    agent = getattr(migration, cancelled)
    if by == "other":
        agent.control.command("cancel", {})
    with order(agent, "cancel") if by == "own" else contextlib.nullcontext():
        standing.resume()
        check_ends(migration, ends, cancelled, point)


@pytest.mark.parametrize(
    "point", [pytest.param(p, id=f"{p.side}-{p.name}") for p in POINTS if p.name in ("stands", "load")]
)
def test_sigterm_at_a_point(migration, point):
    """It waits as the order does."""
    standing = bring(migration, point, BOTH)
    standing.terminate()
    standing.resume()
    check_ends(migration, BOTH, point.side, point)
