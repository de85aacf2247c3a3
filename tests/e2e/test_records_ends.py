# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_records_ends.py - somebody cancels, or a VMM dies, and one side or both stand in the middle of it.

As in test_records.py: who runs, and what do the records say?  A side that stands is told to cancel on its
control socket, and reads that when it is let go; then both end as they would have.
"""
import dataclasses

import pytest

from records import (
    DEAD, MOVES, PERHAPS, STANDS, Standing, begin, check_arrived, check_rules, check_stand, each, order,
)

pytestmark = [pytest.mark.faults, pytest.mark.backing]


@dataclasses.dataclass
class End(Standing):
    """One side stands on the way to an end that the other has begun, or it itself."""

    side: str  # that stands
    point: str
    by: str  # who is cancelled, or whose VMM dies
    records: str
    source: str = MOVES
    destination: str = STANDS


CANCELLED = [
    End("source", "abort-sent", "source", "NONE NONE | NONE ABORTED"),
    End("destination", "abort-heard", "source", "NONE NONE"),
    End("destination", "aborted", "source", "NONE ABORTED"),
    End("destination", "aborted-sent", "destination", "NONE ABORTED"),
    End("source", "aborted-heard", "destination", "NONE ABORTED"),
]
# The source says ABORT with its reason; FAILURE is the destination's word.
FAILED = [
    End("destination", "failure-sent", "destination", "NONE NONE", destination=DEAD),
    End("source", "failure-heard", "destination", "NONE NONE", destination=DEAD),
]


def start_and_stand(migration, end, act):
    check_rules(end)
    migration.start("16M", 1, **{end.side: {"fault": end.point + "=stop"}})
    act()
    standing = getattr(migration, end.side)
    standing.wait_stopped()
    check_stand(migration, end.pairs, end.source, end.destination)
    standing.resume()


@pytest.mark.parametrize("end", each(CANCELLED))
def test_who_runs_while_a_cancel_is_told(migration, end):
    start_and_stand(migration, end, lambda: order(getattr(migration, end.by), "cancel"))
    assert (migration.source.wait(), migration.destination.wait()) == (130, 130)
    migration.check_source_guest_runs()


@pytest.mark.parametrize("end", each(FAILED))
def test_who_runs_while_a_failure_is_told(migration, end):
    start_and_stand(migration, end, lambda: migration.destination_guest.kill())
    assert (migration.source.wait(), migration.destination.wait()) == (76, 71)
    migration.check_source_guest_runs()


def begin_and_stand(migration, source, destination):
    begin(migration, source={"fault": source}, destination={"fault": destination})
    return migration.source, migration.destination


def test_nobody_runs_between_aborted_and_kept(migration):
    """The destination takes its READY back while the source stands with OFFERED: the guest is the
    source's again, and it runs when that is on record there, not before."""
    source, destination = begin_and_stand(
        migration, "offered=stop,aborted-heard=stop,kept=stop", "aborted=stop")
    source.wait_stopped()
    order(destination, "cancel")
    destination.wait_stopped()
    check_stand(migration, ["OFFERED ABORTED"], STANDS, STANDS)
    source.resume()
    source.control.command("query-migrate")
    check_stand(migration, ["OFFERED ABORTED"], STANDS, STANDS)
    destination.resume()
    source.wait_stopped()
    check_stand(migration, ["OFFERED ABORTED"], STANDS, STANDS)
    source.resume()
    source.wait_stopped()
    check_stand(migration, ["KEPT ABORTED"], STANDS, STANDS)
    source.resume()
    migration.source_guest.wait_word("continued")
    check_stand(migration, ["KEPT ABORTED"], MOVES, STANDS)
    assert (source.wait(), destination.wait()) == (130, 130)
    migration.check_source_guest_runs()


def test_an_abort_behind_commit_leaves_the_guest_to_the_destination(migration):
    """Both stand, and COMMIT comes first: nobody runs until RUN is on record, and then it is too late."""
    source, destination = begin_and_stand(
        migration, "abort-sent=stop", "commit-heard=stop,abort-heard=stop")
    destination.wait_stopped()
    order(source, "cancel")
    source.wait_stopped()
    check_stand(migration, ["OFFERED READY"], STANDS, STANDS)
    destination.resume()
    destination.wait_stopped()
    # Main does what COMMIT asks for while the thread that hears ABORT is about to tell it of that.
    check_stand(migration, ["OFFERED READY", "OFFERED RUN"], STANDS, PERHAPS)
    for agent in (source, destination):
        agent.resume()
    check_arrived(migration)
