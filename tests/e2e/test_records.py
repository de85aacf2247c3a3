# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_records.py - one side stands at a stage of the switch-over: who runs, and what do the records say?

The other side goes on to where it can get alone.  Then both records are read from disk and both guests
are asked: never do both run, the source's only by NONE or KEPT, the destination's only by RUN.  Let go,
the migration ends as if nothing had been.  One that is cancelled is looked at in the same way.
What stands in the way of a page is in test_records_pages.py, cancel and failure in test_records_ends.py.
"""
import pytest

from records import (
    AT_REST, ENTERED, LOADS, MOVES, STANDS, ResumedVmm, Stop, begin, check_arrived, check_records, check_rules,
    check_stand, check_stop, each, order, wait_rest,
)

pytestmark = [pytest.mark.faults, pytest.mark.backing]

STOPS = [
    Stop("source", "pause", AT_REST, "NONE NONE", MOVES, STANDS),
    Stop("source", "stands", AT_REST, "NONE NONE", STANDS, STANDS),
    Stop("source", "paused-sent", "state postcopy-device", "NONE NONE", STANDS, STANDS),
    Stop("source", "device-sent", AT_REST, "NONE NONE | NONE READY | OFFERED READY | OFFERED RUN",
         STANDS, LOADS),
    Stop("source", "ready-heard", AT_REST, "NONE READY", STANDS, STANDS),
    Stop("source", "recording", AT_REST, "NONE READY", STANDS, STANDS),
    Stop("source", "offered", AT_REST, "OFFERED READY", STANDS, STANDS),
    Stop("source", "commit-sent", "word resumed", "OFFERED RUN", STANDS, ENTERED),
    Stop("source", "run-heard", "word resumed", "OFFERED RUN", STANDS, ENTERED),
    Stop("source", "recording:2", "word resumed", "OFFERED RUN", STANDS, ENTERED),
    Stop("source", "gone", "word resumed", "GONE RUN", STANDS, ENTERED),
    Stop("source", "resumed-heard", "word resumed", "OFFERED RUN | GONE RUN", STANDS, ENTERED),
    Stop("source", "push", "word resumed", "GONE RUN", STANDS, ENTERED),
    Stop("source", "complete-heard", "word complete", "GONE RUN", STANDS, MOVES),
    Stop("source", "release", "word complete", "GONE RUN", STANDS, MOVES),
    Stop("source", "acked", "word complete", "GONE RUN", STANDS, MOVES),
    Stop("source", "complete-ack-sent", "state completed", "GONE RUN", STANDS, MOVES),
    Stop("destination", "paused-heard", AT_REST, "NONE NONE", STANDS, STANDS),
    Stop("destination", "device-heard", AT_REST, "NONE NONE", STANDS, STANDS),
    Stop("destination", "load", AT_REST, "NONE NONE", STANDS, STANDS),
    Stop("destination", "loaded", AT_REST, "NONE NONE", STANDS, STANDS),
    Stop("destination", "recording", AT_REST, "NONE NONE", STANDS, STANDS),
    Stop("destination", "ready", AT_REST, "NONE READY", STANDS, STANDS),
    Stop("destination", "ready-sent", "record OFFERED", "OFFERED READY", STANDS, STANDS),
    Stop("destination", "commit-heard", AT_REST, "OFFERED READY", STANDS, STANDS),
    Stop("destination", "recording:2", AT_REST, "OFFERED READY", STANDS, STANDS),
    Stop("destination", "run", AT_REST, "OFFERED RUN", STANDS, STANDS),
    Stop("destination", "resume", AT_REST, "OFFERED RUN", STANDS, ENTERED),
    Stop("destination", "resumed", AT_REST, "OFFERED RUN | GONE RUN", STANDS, ENTERED),
    Stop("destination", "run-sent", "state postcopy-active", "GONE RUN", STANDS, ENTERED),
    Stop("destination", "resumed-sent", "state postcopy-active", "GONE RUN", STANDS, ENTERED),
    Stop("destination", "drain", "record GONE", "GONE RUN", STANDS, ENTERED),
    Stop("destination", "disarmed", "record GONE", "GONE RUN", STANDS, MOVES),
    Stop("destination", "complete-sent", "state completed", "GONE RUN", STANDS, MOVES),
    Stop("destination", "complete-ack-heard", "state completed", "GONE RUN", STANDS, MOVES),
]

# The last words, where the peer stands and so has not closed first.
GOODBYES = [
    ("goodbye", "complete-ack-heard"),
    ("complete-ack-sent", "goodbye"),
]

# Before the switch-over; where the source stands, the destination has nothing to do but to wait for it.
SET_UP = [
    Stop(side, point, AT_REST, "NONE NONE", MOVES, STANDS)
    for side, points in {
        "source": "connect tls hello-sent welcome-heard heartbeat-sent heartbeat-heard regions-sent "
        "regions-ok-heard",
        "destination": "connect tls hello-heard welcome-sent heartbeat-sent heartbeat-heard described "
        "registered probed armed regions-heard regions-ok-sent",
    }.items()
    for point in points.split()
]
# The destination's VMM refuses to resume, when GONE is on record.
REFUSED = [
    Stop("destination", "recording:3", AT_REST, "GONE RUN", STANDS, STANDS),
    Stop("destination", "refused", AT_REST, "GONE REFUSED", STANDS, STANDS),
    Stop("destination", "refused-sent", "word continued", "KEPT REFUSED", MOVES, STANDS),
    Stop("source", "refused-heard", AT_REST, "GONE REFUSED", STANDS, STANDS),
    Stop("source", "recording:3", AT_REST, "GONE REFUSED", STANDS, STANDS),
    Stop("source", "kept", AT_REST, "KEPT REFUSED", STANDS, STANDS),
]

@pytest.mark.parametrize("stop", each(STOPS))
def test_who_runs_while_one_side_stands(migration, stop):
    check_rules(stop)
    begin(migration, **{stop.side: {"fault": stop.point + "=stop"}})
    check_stop(migration, stop)


@pytest.mark.parametrize("stop", each(SET_UP))
def test_who_runs_while_one_side_stands_in_set_up(migration, stop):
    """The source's, whatever has been said; and then the migration goes its way."""
    check_rules(stop)
    fault = {stop.side: {"fault": stop.point + "=stop"}}
    migration.start_destination(**fault.get("destination", {}))
    migration.start_guest("destination", "16M", 1)
    # The source's VMM waits for nothing; its agent may stand before it answers anybody.
    source = migration.start_source(**fault.get("source", {}))
    source.wait_listening(source.vmm_socket)
    migration.start_guest("source", "16M", 1).wait_word("running")
    standing = getattr(migration, stop.side)
    standing.wait_stopped()
    check_stand(migration, stop.pairs, stop.source, stop.destination)
    standing.resume()
    source.open()
    migration.wait_state("active")
    source.control.command("switchover")
    check_arrived(migration)


@pytest.mark.parametrize("stop", each(REFUSED))
def test_who_runs_while_a_refusal_is_told(migration, stop):
    """No vCPU has entered there: the guest goes back, when that is on record on both sides."""
    check_rules(stop)
    machine = ResumedVmm(migration, **{stop.side: {"fault": stop.point + "=stop"}})
    migration.wait_status(migration.source, lambda status: status["record"] == "GONE")
    machine.client.say("RESUME_REFUSED")
    standing = getattr(migration, stop.side)
    standing.wait_stopped()
    other = "source" if stop.side == "destination" else "destination"
    if stop.rest:
        wait_rest(migration, None, getattr(migration, other + "_guest"), stop.rest)
    check_records(migration, stop.pairs, stop.source)
    standing.resume()
    assert (migration.source.wait(), migration.destination.wait()) == (130, 130)
    assert (migration.source.record(), migration.destination.record()) == ("KEPT", "REFUSED")
    machine.close()
    migration.check_source_guest_runs()


@pytest.mark.parametrize("source, destination", GOODBYES)
def test_who_runs_while_both_sides_part(migration, source, destination):
    begin(migration, source={"fault": source + "=stop"}, destination={"fault": destination + "=stop"})
    for agent in (migration.source, migration.destination):
        agent.wait_stopped()
    check_stand(migration, ["GONE RUN"], STANDS, MOVES)
    for agent in (migration.source, migration.destination):
        agent.resume()
    check_arrived(migration)
