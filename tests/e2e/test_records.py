# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_records.py - one side stands at a stage of the switch-over: who runs, and what do the records say?

The other side goes on to where it can get alone.  Then both records are read from disk and both guests
are asked: never do both run, the source's only by NONE or KEPT, the destination's only by RUN.  Let go,
the migration ends as if nothing had been.  One that is cancelled is looked at in the same way.

A guest's VMM reads what its agent wrote to it before it reads `status`, so its answer tells whether it
has been told to pause or to resume, however slow it is.
"""
import dataclasses
import json

import pytest

import vmm_client as vmm

pytestmark = [pytest.mark.faults, pytest.mark.backing]

# What a guest does.
MOVES = "it works: its counters move"
ENTERED = "its vCPUs were let in; where they touch a page that is not there they wait for it"
STANDS = "its vCPUs are out"

# For that the other side stands somewhere already, and has nothing to do.
AT_REST = ""


@dataclasses.dataclass
class Stop:
    side: str  # that stands
    point: str
    rest: str  # where the other side gets: "record R", "state S", or a "word" of its guest
    records: str  # the source's and the destination's
    source: str  # its guest
    destination: str

    @property
    def id(self):
        return f"{self.side}-{self.point}"


# Not in it, since another thread may be one step further or not: device-sent, before which PAUSED may be
# unsent; resumed, before which RUN may; resumed-heard, before which GONE may be unwritten; goodbye,
# which a peer that closed first makes needless.
STOPS = [
    Stop("source", "pause", AT_REST, "NONE NONE", MOVES, STANDS),
    Stop("source", "stands", AT_REST, "NONE NONE", STANDS, STANDS),
    Stop("source", "paused-sent", "state postcopy-device", "NONE NONE", STANDS, STANDS),
    Stop("source", "ready-heard", AT_REST, "NONE READY", STANDS, STANDS),
    Stop("source", "recording", AT_REST, "NONE READY", STANDS, STANDS),
    Stop("source", "offered", AT_REST, "OFFERED READY", STANDS, STANDS),
    Stop("source", "commit-sent", "word resumed", "OFFERED RUN", STANDS, ENTERED),
    Stop("source", "run-heard", "word resumed", "OFFERED RUN", STANDS, ENTERED),
    Stop("source", "recording:2", "word resumed", "OFFERED RUN", STANDS, ENTERED),
    Stop("source", "gone", "word resumed", "GONE RUN", STANDS, ENTERED),
    Stop("source", "push", "word resumed", "GONE RUN", STANDS, ENTERED),
    Stop("source", "complete-heard", "word complete", "GONE RUN", STANDS, MOVES),
    Stop("source", "release", "word complete", "GONE RUN", STANDS, MOVES),
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
    Stop("destination", "run-sent", "state postcopy-active", "GONE RUN", STANDS, ENTERED),
    Stop("destination", "resumed-sent", "state postcopy-active", "GONE RUN", STANDS, ENTERED),
    Stop("destination", "drain", "record GONE", "GONE RUN", STANDS, ENTERED),
    Stop("destination", "disarmed", "record GONE", "GONE RUN", STANDS, MOVES),
    Stop("destination", "complete-sent", "state completed", "GONE RUN", STANDS, MOVES),
    Stop("destination", "complete-ack-heard", "state completed", "GONE RUN", STANDS, MOVES),
]

# Before the switch-over; where the source stands, the destination has nothing to do but to wait for it.
SET_UP = [
    Stop(side, point, AT_REST, "NONE NONE", MOVES, STANDS)
    for side, points in {
        "source": "connect tls hello-sent welcome-heard regions-sent regions-ok-heard",
        "destination": "connect tls hello-heard welcome-sent armed regions-heard regions-ok-sent",
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

MAY_RUN = {"source": {"NONE", "KEPT"}, "destination": {"RUN"}}
# Where neither runs, whose it is: nobody else may have it.
OWNER = {
    "NONE NONE": "source", "NONE READY": "source",
    "OFFERED READY": "destination, unless it says no", "OFFERED RUN": "destination",
    "GONE RUN": "destination", "GONE REFUSED": "source", "KEPT REFUSED": "source",
}


def wait_rest(migration, agent, guest, rest):
    """The other side: until it gets no further."""
    kind, _, what = rest.partition(" ")
    if kind == "record":
        migration.wait_status(agent, lambda status: status["record"] == what)
    elif kind == "state":
        agent.control.wait_state(what)
    elif kind == "word":
        guest.wait_word(what)
    else:
        agent.control.command("query-migrate")  # it lives


def visits(guest):
    guest.say("status")
    return int(guest.wait_line(lambda line: line.startswith("visits: ")).split()[1])


def check_guest(guest, entered, left, does):
    """entered, left: the words by which its vCPUs were let in and came out again."""
    before = visits(guest)
    inside = sum(line in entered for line in guest.lines) - guest.lines.count(left)
    assert inside == (0 if does == STANDS else 1), (guest.name, guest.lines)
    if does == MOVES:
        guest.wait_visits(1)
    elif does == STANDS:
        assert visits(guest) == before, guest.name


def check_rules(stop):
    """The table itself: DESIGN.md section 4.1."""
    records = dict(zip(("source", "destination"), stop.records.split()))
    running = [side for side in records if getattr(stop, side) != STANDS]
    assert len(running) < 2
    for side in running:
        assert records[side] in MAY_RUN[side]
    assert running or stop.records in OWNER


def check_records(migration, records, source):
    found = " ".join(agent.record() or "NONE" for agent in (migration.source, migration.destination))
    check_guest(migration.source_guest, ("running", "continued"), "paused", source)
    assert found == records


def check_stand(migration, records, source, destination):
    check_records(migration, records, source)
    check_guest(migration.destination_guest, ("resumed",), None, destination)


def begin(migration, **sides):
    migration.start("16M", 1, **sides)
    # Not command(): the agent may stand before it answers.
    migration.source.control.send_line(json.dumps({"execute": "switchover"}).encode())


@pytest.mark.parametrize("stop", [pytest.param(stop, id=stop.id) for stop in STOPS])
def test_who_runs_while_one_side_stands(migration, stop):
    check_rules(stop)
    begin(migration, **{stop.side: {"fault": stop.point + "=stop"}})
    standing = getattr(migration, stop.side)
    standing.wait_stopped()
    other = "source" if stop.side == "destination" else "destination"
    wait_rest(migration, getattr(migration, other), getattr(migration, other + "_guest"), stop.rest)
    check_stand(migration, stop.records, stop.source, stop.destination)
    standing.resume()
    assert (migration.source.wait(), migration.destination.wait()) == (0, 0)
    report = migration.destination_guest.finish()
    assert (report["status"], report["verdict"][:9]) == (0, "identical"), report
    assert "continued" not in migration.source_guest.lines


@pytest.mark.parametrize("stop", [pytest.param(stop, id=stop.id) for stop in SET_UP])
def test_who_runs_while_one_side_stands_in_set_up(migration, stop):
    """The source's, whatever has been said; and then the migration goes its way."""
    check_rules(stop)
    fault = {stop.side: {"fault": stop.point + "=stop"}}
    migration.start_destination(**fault.get("destination", {}))
    migration.start_guest("destination", "16M", 1)
    # The source's VMM waits for nothing; its agent may stand before it answers anybody.
    source = migration.start_source(**fault.get("source", {}))
    source.wait_path(source.vmm_socket)
    migration.start_guest("source", "16M", 1).wait_word("running")
    standing = getattr(migration, stop.side)
    standing.wait_stopped()
    check_stand(migration, stop.records, stop.source, stop.destination)
    standing.resume()
    source.open()
    migration.wait_state("active")
    source.control.command("switchover")
    assert (source.wait(), migration.destination.wait()) == (0, 0)
    report = migration.destination_guest.finish()
    assert (report["status"], report["verdict"][:9]) == (0, "identical"), report


@pytest.mark.parametrize("stop", [pytest.param(stop, id=stop.id) for stop in REFUSED])
def test_who_runs_while_a_refusal_is_told(migration, stop):
    """No vCPU has entered there: the guest goes back, when that is on record on both sides."""
    check_rules(stop)
    fault = {stop.side: {"fault": stop.point + "=stop"}}
    migration.start_destination(**fault.get("destination", {}))
    migration.start_source(**fault.get("source", {}))
    migration.source.open()
    migration.start_guest("source", "16M", 1, ["--regions", "1"]).wait_word("running")
    memory, client = vmm.Memory(16 << 20), vmm.Client(migration.destination.vmm_socket)
    client.hello(vmm.DESTINATION)
    client.regions([memory.region()])
    client.wait("REGIONS_ACCEPTED")
    migration.wait_state("active")
    migration.source.control.command("switchover")
    client.wait("LOAD")
    client.say("READY")
    client.wait("RESUME")
    migration.wait_status(migration.source, lambda status: status["record"] == "GONE")
    client.say("RESUME_REFUSED")
    standing = getattr(migration, stop.side)
    standing.wait_stopped()
    other = "source" if stop.side == "destination" else "destination"
    if stop.rest:
        wait_rest(migration, None, getattr(migration, other + "_guest"), stop.rest)
    check_records(migration, stop.records, stop.source)
    standing.resume()
    assert (migration.source.wait(), migration.destination.wait()) == (130, 130)
    assert (migration.source.record(), migration.destination.record()) == ("KEPT", "REFUSED")
    client.close()
    memory.close()
    migration.check_source_guest_runs()


def test_nobody_runs_between_aborted_and_kept(migration):
    """The destination takes its READY back while the source stands with OFFERED: the guest is the
    source's again, and it runs when that is on record there, not before."""
    begin(migration, source={"fault": "offered=stop,kept=stop"}, destination={"fault": "aborted=stop"})
    source, destination = migration.source, migration.destination
    source.wait_stopped()
    destination.control.send_line(json.dumps({"execute": "cancel", "arguments": {}}).encode())
    destination.wait_stopped()
    check_stand(migration, "OFFERED ABORTED", STANDS, STANDS)
    source.resume()
    source.control.command("query-migrate")
    check_stand(migration, "OFFERED ABORTED", STANDS, STANDS)
    destination.resume()
    source.wait_stopped()
    check_stand(migration, "KEPT ABORTED", STANDS, STANDS)
    source.resume()
    migration.source_guest.wait_word("continued")
    check_stand(migration, "KEPT ABORTED", MOVES, STANDS)
    assert (source.wait(), destination.wait()) == (130, 130)
    migration.check_source_guest_runs()
