# SPDX-License-Identifier: LGPL-2.1-or-later
"""matrix.py - reads tests/netfault/matrix, and has a migration fail as one of its cells says."""
import dataclasses
import os
import pathlib
import select
import signal
import time

from control import Gone, Refused
from netfault import Network, two_hosts
from pki import DESTINATION_NAME
from processes import DEADLINE, Late

MATRIX = pathlib.Path(__file__).parents[1] / "netfault" / "matrix"
SOURCE_ADDRESS, DESTINATION_ADDRESS = "192.0.2.1", "192.0.2.2"
RELAY_PORT = 4444
SLOW_PUSH = 4 << 20  # bytes a second, while a reset or a number of faults is to come in the middle


@dataclasses.dataclass
class Stage:
    side: str
    point: str
    when: str

    def pushes_slowly(self):
        """Pushed at full speed, the last page can be there before the stage is."""
        return self.when in ("reset", "faults")


@dataclasses.dataclass
class Fault:
    double: bool
    seconds: float
    relay: bool
    begin: list
    end: list

    def is_silent(self):
        """Nobody is told of it by a reset, or at once."""
        return self.seconds > 1 or "outage" in self.end


@dataclasses.dataclass
class End:
    sides: tuple  # (source's, destination's): outcome and exit status
    long: bool


def commands(text):
    return [part.strip() for part in text.split(",") if part.strip()]


def read_matrix(text):
    """({name: Stage}, {name: Fault}, {(stage, fault): End})."""
    stages, faults, cells = {}, {}, {}
    for line in text.splitlines():
        kind, *words = line.split("#")[0].split() or [""]
        if kind == "stage":
            name, *rest = words
            stages[name] = Stage(*rest)
        elif kind in ("fault", "double"):
            name, seconds, *rest = words
            begin, end = " ".join(rest).split(";")
            relay = begin.startswith("by relay ")
            faults[name] = Fault(
                kind == "double", float(seconds), relay, commands(begin.removeprefix("by relay ")),
                commands(end))
        elif kind == "cell":
            stage, fault, source, destination, *more = words
            assert (stage, fault) not in cells, f"{stage} {fault} stands twice"
            assert more in ([], ["long"]), line
            cells[stage, fault] = End(
                (tuple(source.split("/")), tuple(destination.split("/"))), bool(more))
        else:
            assert not kind, f"matrix: {line}"
    return stages, faults, cells


STAGES, FAULTS, CELLS = read_matrix(MATRIX.read_text())


class Cell:
    """One migration in two namespaces, held at its stage."""

    def __init__(self, migration, stage, fault):
        self.migration, self.stage, self.fault = migration, STAGES[stage], FAULTS[fault]
        self.ends = CELLS[stage, fault].sides
        self.network = migration.own(Network(migration.folder))
        two_hosts(self.network)
        self.struck = False

    @property
    def held(self):
        return getattr(self.migration, self.stage.side)

    @property
    def peer(self):
        other = {"source": "destination", "destination": "source"}[self.stage.side]
        return getattr(self.migration, other)

    def options(self, side):
        """A short silence is a fault of this matrix, and noticed as it is by default; that an agent
        is held is none."""
        options = {
            "prefix": self.network.prefix("a" if side == "source" else "b"),
            "link_timeout": None if self.fault.is_silent() else int(DEADLINE * 1000),
        }
        if side == self.stage.side:
            options["fault"] = self.stage.point + "=stop"
        return options

    def start(self):
        it = self.migration
        it.start_destination(listen=f"{DESTINATION_ADDRESS}:0", **self.options("destination"))
        connect = it.address
        if self.fault.relay:
            connect = f"{SOURCE_ADDRESS}:{RELAY_PORT}"
            self.network.tell(f"relay r a {connect} {it.address}")
        push = {"max_bandwidth": SLOW_PUSH} if self.stage.pushes_slowly() else {}
        it.start_source(connect=connect, peer_name=DESTINATION_NAME, **push,
                        **self.options("source"))
        self.strike("start")
        if not self.open_source():
            return
        it.start_guest("source", "64M", 1)
        it.start_guest("destination", "64M", 1)
        self.strike("guests")

    def pass_time(self, seconds):
        """The fault's own length; it is over sooner if the network's program is."""
        select.select([self.network.process.stdout], [], [], seconds)
        assert self.network.alive(), self.network.log_text()

    def wait_outage(self):
        for agent in (self.migration.source, self.migration.destination):
            self.migration.wait_status(
                agent, lambda status: status["state"] == "postcopy-paused")

    def do(self, command):
        if command.startswith("kill "):
            os.kill({"self": self.held, "peer": self.peer}[command.split()[1]].worker(),
                    signal.SIGKILL)
        elif command == "outage":
            self.wait_outage()
        else:
            told = self.network.tell(command)
            assert told != "0 connections", f"{command}: nothing was there to be reset"

    def strike(self, when):
        """If this is when the stage comes: waits for it, and has the fault come and go."""
        if when != self.stage.when:
            return
        self.held.wait_stopped()
        stopped = self.held.worker()
        for command in self.fault.begin:
            self.do(command)
        if "kill self" not in self.fault.begin:
            os.kill(stopped, signal.SIGCONT)
        if self.fault.end:
            self.pass_time(self.fault.seconds)
        for command in self.fault.end:
            self.do(command)
        self.struck = True

    def open_source(self):
        """A control connection to it, or to its next worker; False: it has ended."""
        source = self.migration.source
        try:
            source.open()
        except AssertionError:  # connect() says so of who has ended
            if source.alive():
                raise
            return False
        except (Gone, OSError):  # this worker ends too
            pass
        return True

    def status(self):
        """The source's; None: it has ended.  Of another worker, where one has died."""
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until:
            try:
                return self.migration.source.control.command("query-migrate")
            except (Gone, OSError):
                if not self.open_source():
                    return None
        raise Late("no worker of the source answers")

    def wait_source(self, state):
        """Until it is in that state; nobody tells of it over a connection to a worker that died."""
        until = time.monotonic() + DEADLINE
        while (status := self.status()) and status["state"] != state:
            assert time.monotonic() < until, f"{status['state']} for good, not {state}"
        return status

    def switch_over(self):
        if not self.wait_source("active"):
            return
        self.migration.source.control.command("switchover")
        if self.stage.when == "reset":
            self.wait_source("postcopy-active")
            self.do("reset a")
        for when in ("switchover", "faults", "reset"):
            self.strike(when)
        if self.stage.pushes_slowly():
            self.wait_source("postcopy-active")
            self.migration.source.control.command("set-parameters", {"max-bandwidth": 0})

    def follow(self):
        """Until both have ended: ((outcome, exit status), the destination's).  The orchestrator says
        switchover again where set-up began again."""
        until = time.monotonic() + DEADLINE
        while status := self.status():
            assert time.monotonic() < until, f"the source is {status['state']} for good"
            if status["state"] == "active":
                self.say_switchover()
        return self.end_of(self.migration.source), self.end_of(self.migration.destination)

    def let_go(self, agent):
        """The orchestrator's word for who has every page, and nobody to tell it to."""
        agent.reopen()
        self.migration.wait_status(
            agent, lambda status: status["pages"]["filled"] == status["pages"]["total"])
        assert agent.alive()
        agent.control.command("quit")

    def say_switchover(self):
        try:
            self.migration.source.control.command("switchover")
        except (Refused, Gone, OSError):  # it is active no more: the next status says what it is
            pass

    def end_of(self, agent):
        """(outcome, exit status or "quit"), as words."""
        lingers = agent is self.migration.destination and self.ends[1][1] == "quit"
        if lingers:
            self.let_go(agent)
        status = agent.wait()
        return agent.outcome()["outcome"], "quit" if lingers and status == 0 else str(status)
