# SPDX-License-Identifier: LGPL-2.1-or-later
"""storm.py - workers, and whole agents, are killed at random moments of as many migrations as that takes.

A blow waits until the one before it was survived, which the agents say, and then for a moment that the seed
gives: that moment is the load, and nobody's synchronisation.  Its guests walk and rewrite memory all the time;
each of them is compared, byte by byte, with one that never moved.
"""
import json
import os
import pathlib
import random
import select
import signal
import statistics
import time

import ports
from control import Gone, Refused
from pki import DESTINATION_NAME
from processes import DEADLINE, SLOWER, Late
from relay import Relay

SEED = int(os.environ.get("PAGEFERRY_SEED", 0)) or random.SystemRandom().randrange(1, 1 << 31)
SIDES = ("destination", "source")
# How often each blow falls in a round of them; Storm.strike_NAME is what it does.
DECK = {"push": 8, "blocked": 2, "both": 2, "again": 3, "outage": 3, "handshake": 4, "agents": 1}
# Bytes towards the destination in which the second session's handshakes lie, and the beginning of its push.
HANDSHAKE = (200, 1500, 3000, 4500, 6000, 20000, 60000)


class Over(Exception):
    """The agent has ended: the guest was complete."""


def wait_gone(pid):
    """Until a process that is not our child has ended, whoever is to reap it."""
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(DEADLINE * 1000), f"{pid} did not end"
    os.close(pidfd)


class Line:
    """A control connection to whichever worker the agent has."""

    def __init__(self, agent):
        self.agent = agent
        self.control = None

    def close(self):
        if self.control:
            self.control.close()
        self.control = None

    def connect(self):
        try:
            self.control = self.agent.connect()
        except Late:
            raise
        except AssertionError as ended:
            raise Over(str(ended)) from None

    def tell(self, name, arguments=None):
        """The answer, of a worker that lived to give it."""
        until = time.monotonic() + DEADLINE
        while True:
            try:
                if not self.control:
                    self.connect()
                return self.control.command(name, arguments)
            except (Gone, ConnectionError):
                self.close()
            if time.monotonic() > until:
                raise Late(f"no worker of the {self.agent.side} answers {name}")

    def query(self):
        status = self.tell("query-migrate")
        assert status["pages"]["resent-after-resume"] == 0, status
        return status

    def listen(self, seconds):
        """Until the worker says something, or is gone."""
        try:
            self.control.receive(time.monotonic() + seconds)
        except Gone:
            self.close()

    def wait(self, reached, seconds=DEADLINE):
        """Until query-migrate's answer is as wanted; looked at again with every event, and every next worker."""
        until = time.monotonic() + seconds
        while not reached(status := self.query()):
            if time.monotonic() > until:
                raise Late(f"{self.agent.side}: {status}")
            self.listen(max(0, until - time.monotonic()))
        return status

    def watch(self, reached):
        """The same of what no event tells: asked every millisecond."""
        until, poll = time.monotonic() + DEADLINE, select.poll()
        while not reached(status := self.query()):
            if time.monotonic() > until:
                raise Late(f"{self.agent.side}: {status}")
            poll.register(self.control.socket, select.POLLIN)
            poll.poll(1)
            poll.unregister(self.control.socket)
        return status


class Storm:
    def __init__(self, migration, memory, bandwidth, seed=SEED, more=()):
        self.migration, self.memory, self.bandwidth, self.more = migration, memory, bandwidth, more
        self.base, self.migrations = migration.folder, 0
        self.seed, self.dice = seed, random.Random(seed)
        self.deck = []
        self.killed = {}  # (blow, side): how many
        self.waits = {side: [] for side in SIDES}  # ms from a kill to the first page that was asked for
        self.lines = {}
        self.epoch = 0
        self.drained = None  # the side that was killed last
        self.let_gone = 0  # destinations that had to be told that the source is done
        self.listened = None  # where the destination is found again

    # ---- the storm

    def run(self, kills):
        while self.count() < kills:
            self.begin()
            try:
                while self.count() < kills and self.lasts():
                    self.strike()
                self.hurry()
            except Over:
                pass
            self.arrive()

    def count(self, side=None):
        return sum(number for (_, of), number in self.killed.items() if side in (None, of))

    def strike(self):
        if not self.deck:
            self.deck = [name for name, weight in DECK.items() for _ in range(weight)]
            self.dice.shuffle(self.deck)
        name = self.deck.pop()
        self.moment(0.25)
        self.epoch = max(line.query()["epoch"] for line in self.lines.values())
        getattr(self, "strike_" + name)()
        self.check_on()

    def check_on(self):
        """Both agents work on, and every vCPU."""
        for line in self.lines.values():
            line.wait(self.is_active)
        self.check_vcpus()

    def check_vcpus(self):
        """Each of them goes on, and is not only let go when the last page has come."""
        guest, before = self.migration.destination_guest, None
        until = time.monotonic() + DEADLINE
        while True:
            guest.say("status")
            line = guest.wait_line(lambda line: line.startswith("visits-of-each: "))
            now = [int(visits) for visits in line.split()[1:]]
            before = before or now
            if all(after > first for after, first in zip(now, before)):
                return
            assert "complete" not in guest.lines, f"a vCPU stood until the end: {before}, {now}"
            if time.monotonic() > until:
                raise Late(f"a vCPU stands: {before}, {now}")

    def is_active(self, status):
        return status["state"] == "postcopy-active" and status["epoch"] > self.epoch

    def moment(self, most):
        """Some time, at most so many seconds; shorter if the guest says something."""
        guest, poll = self.migration.destination_guest, select.poll()
        poll.register(guest.process.stdout, select.POLLIN)
        if poll.poll(self.dice.uniform(0, most * SLOWER) * 1000):
            guest.read(time.monotonic() + 1)

    # ---- a migration

    def begin(self):
        self.migrations += 1
        self.epoch, self.drained = 0, None
        self.migration.folder = pathlib.Path(self.base, str(self.migrations))
        self.migration.folder.mkdir()
        self.start_agents()
        for side in SIDES:
            self.migration.start_guest(side, self.memory, 2, (*self.more, "--reattach"))
        self.migration.wait_state("active")
        self.lines = {side: Line(getattr(self.migration, side)) for side in SIDES}
        self.switch_over(self.dice.choice(SIDES))

    def start_agents(self):
        self.start_destination(ports.own_address())
        self.listened = self.migration.address
        self.migration.relay = Relay(self.migration.address)
        self.start_source()

    def start_destination(self, listen):
        self.migration.start_destination(listen=listen, link_timeout=None)

    def start_source(self):
        self.migration.address = self.migration.relay.address
        self.migration.start_source(max_bandwidth=self.bandwidth, link_timeout=None).open()

    def switch_over(self, side):
        """One is killed on the way.  Before the offer the guest runs on, and somebody says so again."""
        source = self.lines["source"]
        source.query()
        source.control.send_line(b'{"execute": "switchover"}')
        self.moment(0.05)
        self.kill("switch-over", side)
        while source.wait(lambda status: status["state"] == "active" or status["record"] == "GONE")[
                "record"] != "GONE":
            try:
                source.tell("switchover")
            except Refused as refused:
                assert refused.error_class == "WrongState", refused
        self.migration.destination_guest.wait_word("resumed")
        for line in self.lines.values():
            line.wait(self.is_active)

    def lasts(self):
        pages = self.lines["destination"].query()["pages"]
        return pages["filled"] < pages["total"] * 0.7

    def hurry(self):
        """The last kill may fall into the end."""
        self.lines["source"].tell("set-parameters", {"max-bandwidth": 0})
        self.moment(1)
        self.drained = self.dice.choice(SIDES)
        if all(line.agent.alive() for line in self.lines.values()):
            self.kill("drain", self.drained)

    def arrive(self):
        migration = self.migration
        if "complete" not in migration.destination_guest.lines:  # else check_vcpus() has read it
            migration.destination_guest.wait_word("complete")
        assert migration.source.wait() == 0
        if self.acknowledgement_died():
            self.let_go()
        assert migration.destination.wait() == 0
        for line in self.lines.values():
            line.close()
        for agent in (migration.source, migration.destination):
            end = agent.outcome()
            assert end["outcome"] == "completed", end
            assert end["migrate"]["pages"]["resent-after-resume"] == 0, end
        pages = migration.destination.outcome()["migrate"]["pages"]
        assert pages["filled"] == pages["total"], pages
        report = migration.destination_guest.finish()
        assert report["verdict"].startswith("identical") and report["status"] == 0, report
        self.check_restarts()
        migration.end()
        migration.children, migration.relay = [], None

    def acknowledgement_died(self):
        """COMPLETE_ACK may have, with who had to say or to hear it: the last worker of the source had nothing
        to do but to end."""
        ends = [event for event in self.events("source")
                if event["event"] == "STATE" and event["data"]["state"] == "completed"]
        return self.drained == "destination" or ends[-1]["data"]["why"] == "started again"

    def let_go(self):
        """The source is done, and the destination may not know: that is the orchestrator's to say."""
        try:
            self.lines["destination"].watch(lambda status: status["peer"]["address"] is None)
            self.lines["destination"].tell("quit")
            self.let_gone += 1
        except Over:
            pass

    def events(self, side):
        path = getattr(self.migration, side).state_dir / "events"
        return [json.loads(line) for line in path.read_text().splitlines() if line]

    def check_restarts(self):
        """The agents tell of as many workers as were killed, but for those that had not lived to be told of."""
        for side in SIDES:
            told = [event["event"] for event in self.events(side)]
            assert told.count("WORKER_RESTARTED") <= self.count(side), (side, self.killed)

    # ---- the blows

    def worker(self, side):
        """Its pid, as soon as there is one."""
        agent, until = getattr(self.migration, side), time.monotonic() + DEADLINE
        poll = select.poll()
        poll.register(agent.pidfd, select.POLLIN)
        while (pid := agent.worker()) is None:
            if poll.poll(1):
                raise Over(side)
            if time.monotonic() > until:
                raise Late(f"the {side} has no worker")
        return pid

    def kill(self, blow, *sides):
        """At once; when that was."""
        workers = [(side, self.worker(side)) for side in sides]
        at = time.monotonic()
        for side, pid in workers:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # it had just ended, by itself
                continue
            self.killed[blow, side] = self.killed.get((blow, side), 0) + 1
        return at

    def some(self):
        """One side or both."""
        return self.dice.choice([SIDES, SIDES[:1], SIDES[1:]])

    def strike_push(self):
        """In the middle of it; how long it takes until a page comes that a vCPU waits for."""
        side = self.dice.choice(SIDES)
        at = self.kill("push", side)
        destination, before = self.lines["destination"], 0
        if side == "source":
            status = destination.wait(
                lambda status: status["state"] == "postcopy-paused" or status["epoch"] > self.epoch)
            before = status["pages"]["requested"]
        try:
            destination.watch(lambda status: status["pages"]["requested"] > before)
        except Over:
            raise AssertionError(f"nobody asked for a page when the {side} was back") from None
        self.waits[side].append((time.monotonic() - at) * 1000)

    def strike_blocked(self):
        """While a vCPU, or a device that one waits for, waits for a page that was asked for, and none is pushed:
        whom the next worker does not have ask again stands, and no page comes by that would let him go on."""
        self.lines["source"].tell("set-parameters", {"push": False})
        self.hold_back()
        self.lines["destination"].watch(lambda status: status["faults"]["open"] > 0)
        self.kill("blocked", "destination")
        self.let_back()
        self.check_on()
        self.lines["source"].tell("set-parameters", {"push": True})

    def strike_both(self):
        self.kill("both", *SIDES)

    def strike_again(self):
        """While another one begins, or takes the session up."""
        self.kill("again", self.dice.choice(SIDES))
        self.moment(0.06)
        self.kill("again", *self.some())

    def strike_outage(self):
        self.cut()
        for line in self.lines.values():
            line.wait(lambda status: status["state"] == "postcopy-paused")
        self.kill("outage", *self.some())
        self.moment(0.3)
        self.mend()

    def strike_handshake(self):
        """In the second session's handshakes, or as its push begins; some are cut there too."""
        self.cut()
        self.greet()
        self.kill("handshake", *self.some())
        if self.dice.random() < 0.5:
            self.snap()
        self.mend()

    def strike_agents(self):
        """Keepers and workers: somebody starts them again, as they were started."""
        for side in SIDES:
            agent, worker = getattr(self.migration, side), self.worker(side)
            agent.kill()
            wait_gone(worker)
            self.killed["agents", side] = self.killed.get(("agents", side), 0) + 1
            getattr(self.migration, side + "_guest").wait_word("agent gone")
        for side in self.dice.sample(SIDES, 2):
            self.start_again(side)

    def start_again(self, side):
        if side == "destination":
            self.start_destination(self.listened)
        else:
            self.start_source()
        getattr(self.migration, side + "_guest").wait_word("reattached")
        self.lines[side].close()
        self.lines[side] = Line(getattr(self.migration, side))

    # ---- the network between them

    def cut(self):
        """Connections are reset, and those that are made carry nothing."""
        self.migration.relay.hold()
        self.migration.relay.snap()

    def snap(self):
        """Connections are reset."""
        self.migration.relay.snap()

    def greet(self):
        """After a cut: some of what comes first on a connection passes."""
        self.migration.relay.let(self.dice.choice(HANDSHAKE))
        self.migration.relay.wait_stalled(DEADLINE)

    def mend(self):
        self.migration.relay.release()

    def hold_back(self):
        """What the destination says does not arrive."""
        self.migration.relay.hold_back()

    def let_back(self):
        self.migration.relay.let_back()

    # ---- the sum

    def properties(self):
        """What is to be told of it, by name."""
        told = {"seed": self.seed, "kills": self.count(), "migrations": self.migrations,
                "told-to-quit": self.let_gone}
        for (blow, side), number in sorted(self.killed.items()):
            told[f"kills-{blow}-{side}"] = number
        for side, waits in self.waits.items():
            if waits:
                told[f"{side}-killed-to-page-ms"] = (
                    f"median {statistics.median(waits):.0f}, worst {max(waits):.0f}, of {len(waits)}")
        return told


class LineStorm(Storm):
    """Over a long line that loses packets, between two hosts that are namespaces."""

    def __init__(self, migration, network, *arguments, **more):
        super().__init__(migration, *arguments, **more)
        self.network = network

    def start_agents(self):
        self.start_destination("[::]:0")
        self.listened = self.migration.address
        self.start_source()

    def start_destination(self, listen):
        self.migration.start_destination(listen=listen, link_timeout=None,
                                         prefix=self.network.prefix("b"))

    def start_source(self):
        port = self.listened.rpartition(":")[2]
        self.migration.start_source(
            max_bandwidth=self.bandwidth, link_timeout=None, prefix=self.network.prefix("a"),
            connect=f"192.0.2.2:{port}", peer_name=DESTINATION_NAME).open()

    def cut(self):
        self.network.tell("cut a:eth0")
        self.snap()

    def snap(self):
        for space in ("a", "b"):  # whose peers may not hear of it: packets are lost
            self.network.tell(f"reset {space}")

    def greet(self):
        self.network.tell("heal a:eth0 cut")
        self.moment(0.5)

    def mend(self):
        self.network.tell("heal a:eth0 cut")

    def hold_back(self):
        self.network.tell("cut b:eth0")

    def let_back(self):
        self.network.tell("heal b:eth0 cut")
