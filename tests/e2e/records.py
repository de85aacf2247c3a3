# SPDX-License-Identifier: LGPL-2.1-or-later
"""records.py - one side stands: who runs, by what both records on disk and both guests say.

A guest's VMM reads what its agent wrote to it before it reads `status`, so its answer tells whether it
has been told to pause or to resume, however slow it is.
"""
import dataclasses
import json

import pytest

import vmm_client as vmm

# What a guest does.
MOVES = "it works: its counters move"
ENTERED = "its vCPUs were let in; where they touch a page that is not there they wait for it"
STANDS = "its vCPUs are out"
PERHAPS = "its vCPUs may have been let in: RESUME is behind RUN, and another thread says it"
LOADS = "its VMM loads the device state, and hears nobody while it waits for a page"
DEAD = "its VMM has ended"

# For that the other side stands somewhere already, and has nothing to do.
AT_REST = ""


class Standing:
    """A row of a table: `side` stands at `point`, and `records` are what may be on disk then."""

    @property
    def id(self):
        return f"{self.side}-{self.point}"

    @property
    def pairs(self):
        return self.records.split(" | ")


@dataclasses.dataclass
class Stop(Standing):
    side: str  # that stands
    point: str
    rest: str  # where the other side gets: "record R", "state S", or a "word" of its guest
    records: str  # the source's and the destination's; A | B where another thread may be a step further
    source: str  # its guest
    destination: str


def each(stops, marks=()):
    return [pytest.param(stop, id=stop.id, marks=marks) for stop in stops]


MAY_RUN = {"source": {"NONE", "KEPT"}, "destination": {"RUN"}}
# Where neither runs, whose it is: nobody else may have it.
OWNER = {
    "NONE NONE": "source", "NONE READY": "source", "NONE ABORTED": "source",
    "OFFERED ABORTED": "source",
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


def inside(guest, entered, left):
    """entered, left: the words by which its vCPUs were let in and came out again."""
    return sum(line in entered for line in guest.lines) - guest.lines.count(left)


def check_guest(guest, entered, left, does):
    before = visits(guest)
    assert inside(guest, entered, left) in {STANDS: (0,), PERHAPS: (0, 1)}.get(does, (1,)), (
        guest.name, guest.lines)
    if does == MOVES:
        guest.wait_visits(1)
    elif does == STANDS:
        assert visits(guest) == before, guest.name


def check_rules(stop):
    """The table itself: DESIGN.md section 4.1."""
    for pair in stop.pairs:
        records = dict(zip(("source", "destination"), pair.split()))
        running = [side for side in records if getattr(stop, side) in (MOVES, ENTERED)]
        assert len(running) < 2
        for side in running:
            assert records[side] in MAY_RUN[side]
        assert running or pair in OWNER


def check_records(migration, pairs, source):
    if source != DEAD:
        check_guest(migration.source_guest, ("running", "continued"), "paused", source)
    agents = migration.source, migration.destination
    assert " ".join(agent.record() or "NONE" for agent in agents) in pairs


def check_stand(migration, pairs, source, destination):
    check_records(migration, pairs, source)
    if destination == DEAD:
        return
    if destination == LOADS:
        migration.destination_guest.wait_word("loading")
    else:
        check_guest(migration.destination_guest, ("resumed",), None, destination)
    if inside(migration.destination_guest, ("resumed",), None):
        assert migration.destination.record() in MAY_RUN["destination"]


def check_arrived(migration):
    assert (migration.source.wait(), migration.destination.wait()) == (0, 0)
    report = migration.destination_guest.finish()
    assert (report["status"], report["verdict"][:9]) == (0, "identical"), report
    assert "continued" not in migration.source_guest.lines


def check_stop(migration, stop):
    standing = getattr(migration, stop.side)
    standing.wait_stopped()
    other = "source" if stop.side == "destination" else "destination"
    wait_rest(migration, getattr(migration, other), getattr(migration, other + "_guest"), stop.rest)
    check_stand(migration, stop.pairs, stop.source, stop.destination)
    standing.resume()
    check_arrived(migration)


def order(agent, command):
    """Not command(): the agent may stand before it answers."""
    agent.control.send_line(json.dumps({"execute": command}).encode())


def begin(migration, memory="16M", **options):
    migration.start(memory, 1, **options)
    order(migration.source, "switchover")


class ResumedVmm:
    """The test is the destination's VMM, and has been told to resume; a guest stands at the source."""

    def __init__(self, migration, source=None, destination=None):
        migration.start_destination(**(destination or {}))
        migration.start_source(**(source or {}))
        migration.source.open()
        migration.start_guest("source", "16M", 1, ["--regions", "1"]).wait_word("running")
        self.memory = vmm.Memory(16 << 20)
        self.client = vmm.Client(migration.destination.vmm_socket)
        self.client.hello(vmm.DESTINATION)
        self.client.regions([self.memory.region()])
        self.client.wait("REGIONS_ACCEPTED")
        migration.wait_state("active")
        migration.source.control.command("switchover")
        self.client.wait("LOAD")
        self.client.say("READY")
        self.client.wait("RESUME")

    def close(self):
        self.client.close()
        self.memory.close()
