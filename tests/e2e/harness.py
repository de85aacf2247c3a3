# SPDX-License-Identifier: LGPL-2.1-or-later
"""harness.py - a migration on this machine: two agents, two guests, two orchestrators."""
import json
import os
import pathlib
import re
import select
import signal
import time

import ports
from control import Control
from pki import SOURCE_NAME
from processes import DEADLINE, SLOWER, Child, Guest, Late
from relay import Relay

ID = "vm7"
# Milliseconds.  A process that is stopped, or a machine that stands still for a moment, is no outage in
# tests that are about something else; those that are about it say None: as it is shipped.
LINK_TIMEOUT = 60000
# Seconds.  --connect-timeout where a source is to find nobody, soon, and a handshake is to fit in before.
GIVES_UP = 3 if SLOWER == 1 else 30
# What guests are on whose test does not say: the tests marked "backing" hold for memory of any kind.
KINDS = os.environ.get("PAGEFERRY_KINDS")


def program(variable):
    path = os.environ.get(variable)
    if not path or not os.access(path, os.X_OK):
        raise RuntimeError(f"set {variable} to the program in the build tree (it is {path!r})")
    return path


def state_of(pid):
    """proc(5): R, S, T and so on; None: it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


class Ended(AssertionError):
    """An agent, before somebody could ask it something."""


class Agent(Child):
    """A keeper and its worker: `pid` is the keeper's, as an orchestrator knows it."""

    def __init__(self, side, folder, options):
        self.side = side
        self.control_path = pathlib.Path(folder, side + ".ctl")
        self.vmm_socket = pathlib.Path(folder, side + ".vmm")
        self.state_dir = pathlib.Path(folder, side + ".state")
        argv = [*options.pop("prefix", ()), program("PAGEFERRY"), side]
        fault, pass_fds = options.pop("fault", None), options.pop("pass_fds", ())
        environment = options.pop("env", {})
        for name, value in options.items():
            for one in value if isinstance(value, list) else [value]:
                argv += ["--" + name.replace("_", "-"), one]
        super().__init__(side, argv, folder, pass_fds=pass_fds,
                         env={**environment, **({"PAGEFERRY_FAULT": fault} if fault else {})})
        self.control = None

    def worker(self):
        """The pid of the keeper's only child; None before the first and between two of them."""
        children = pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(children[0]) if children else None

    @property
    def serving_pid(self):
        return self.worker()

    def wait_stopped(self, seconds=DEADLINE):
        """Until SIGSTOP has stopped the worker; nothing tells who is not its parent."""
        until, ended = time.monotonic() + seconds, select.poll()
        ended.register(self.pidfd, select.POLLIN)
        while (worker := self.worker()) is None or state_of(worker) != "T":
            assert not ended.poll(2), (self.name, self.log_text())
            assert time.monotonic() < until, f"{self.name} was not stopped"

    def terminate(self):
        """SIGTERM to the keeper; returns once a worker that is stopped has it waiting for it."""
        self.signal(signal.SIGTERM)
        status = pathlib.Path(f"/proc/{self.worker()}/status")
        until, ended = time.monotonic() + DEADLINE, select.poll()
        ended.register(self.pidfd, select.POLLIN)
        while not int(re.search(r"ShdPnd:\s*(\w+)", status.read_text())[1], 16) >> 14 & 1:
            assert not ended.poll(2) and time.monotonic() < until, f"{self.name} did not pass it on"

    def resume(self):
        """A worker that a fault point has stopped goes on."""
        os.kill(self.worker(), signal.SIGCONT)

    def connect(self, seconds=DEADLINE):
        """A control connection, as soon as the agent listens."""
        until = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        while True:
            try:
                return Control(self.control_path, seconds)
            except (FileNotFoundError, ConnectionRefusedError):
                # Nothing tells when somebody begins to listen; that the agent ends would be told.
                if poll.poll(10):
                    raise Ended(
                        f"{self.side} ended with {self.process.wait()}: {self.log_text()}"
                    ) from None
                if time.monotonic() > until:
                    raise Late(f"{self.side} does not listen on {self.control_path}") from None

    def open(self):
        self.control = self.connect()
        self.control.take_history()
        return self.control

    def reopen(self):
        """To the next worker, with the events of all of them; what was waited for stays taken."""
        before = self.control
        self.open()
        if before:
            before.close()
            self.control.taken = sum(1 for event in self.control.events
                                     if before.taken and event["seq"] <= before.last_taken)
        return self.control

    def kill_worker(self):
        """SIGKILL; returns when another one serves and has said so."""
        os.kill(self.worker(), signal.SIGKILL)
        self.control.drain()
        self.reopen()
        return self.control.wait_event("WORKER_RESTARTED")

    def listens(self, path):
        """proc_net(5): a socket is there from bind(2) on, and refuses until listen(2)."""
        sockets = pathlib.Path(f"/proc/{self.pid}/net/unix").read_text().splitlines()
        return any(line.endswith(f" {path}") and line.split()[3] == "00010000" for line in sockets)

    def wait_path(self, path, seconds=DEADLINE):
        """Until the agent has made it; it may not answer on --control."""
        self.wait_until(path.exists, seconds)

    def wait_listening(self, path, seconds=DEADLINE):
        """Until somebody can connect there; likewise."""
        self.wait_until(lambda: self.listens(path), seconds)

    def wait_until(self, reached, seconds):
        until = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        while not reached():
            assert not poll.poll(10), f"{self.side} ended: {self.log_text()}"
            assert time.monotonic() < until

    def record(self):
        """What is on disk; None before the first one."""
        path = self.state_dir / "record"
        return path.read_text().split()[0] if path.exists() else None

    def outcome(self):
        return json.loads((self.state_dir / "outcome.json").read_text())

    def end(self):
        if self.control:
            self.control.close()
        super().end()


class Migration:
    """Starts what a test asks for; ends all of it, by pid, whatever happened."""

    def __init__(self, folder, pki):
        self.folder = pathlib.Path(folder)
        self.pki = pki
        self.children = []
        self.relay = None

    def own(self, child):
        self.children.append(child)
        return child

    def options(self, side, more):
        options = {
            "vmm_socket": self.folder / (side + ".vmm"),
            "control": self.folder / (side + ".ctl"),
            "state_dir": self.folder / (side + ".state"),
            "tls_dir": self.pki.folder,
            "id": ID,
        }
        options.update({name: value for name, value in more.items() if value is not None})
        for name in [name for name, value in more.items() if value is None]:
            options.pop(name, None)
        return options

    def start_destination(self, **more):
        """Listens on a port that no other test has; `address` says which."""
        defaults = {"listen": ports.own_address(), "peer_name": SOURCE_NAME, "link_timeout": LINK_TIMEOUT}
        self.destination = self.own(
            Agent("destination", self.folder, self.options("destination", {**defaults, **more}))
        )
        self.destination.open()
        self.address = self.destination.control.wait_event("LISTENING")["data"]["address"]
        return self.destination

    def start_source(self, **more):
        defaults = {"connect": getattr(self, "address", None), "link_timeout": LINK_TIMEOUT}
        if SLOWER > 1:  # a handshake is to take 5 s at most, and may need another attempt
            defaults["connect_timeout"] = int(DEADLINE)
        self.source = self.own(
            Agent("source", self.folder, self.options("source", {**defaults, **more}))
        )
        return self.source

    def start_guest(self, side, memory, vcpus, more=()):
        if KINDS and not {"--kinds", "--regions"} & set(more):
            more = (*more, "--kinds", KINDS)
        name = side + "-guest"
        guest = Guest(
            name, program("PAGEFERRY_GUEST"), self.folder, side, memory, vcpus,
            self.folder / (side + ".vmm"), more,
        )
        setattr(self, name.replace("-", "_"), self.own(guest))
        return guest

    def start(self, memory="64M", vcpus=1, source=None, destination=None, budget=None, guests=((), ()),
              second=False):
        """Both sides, up to the point where the orchestrator may say switchover.

        budget: bytes that may pass towards the destination before the relay stands still.
        guests: more options for the guest programs, the source's and the destination's."""
        self.start_destination(**(destination or {}))
        if budget:
            self.relay, self.direct = Relay(self.address, budget), self.address
            self.address = [self.relay.address, self.direct] if second else self.relay.address
        self.start_source(**(source or {}))
        self.source.open()
        self.start_guest("source", memory, vcpus, guests[0]).wait_word("running")
        self.start_guest("destination", memory, vcpus, guests[1])
        self.wait_state("active")
        return self

    def wait_state(self, state):
        self.source.control.wait_state(state)
        self.destination.control.wait_state(state)

    def wait_status(self, agent, reached):
        """Until query-migrate's answer is as wanted; for what no event tells of."""
        until = time.monotonic() + DEADLINE
        while not reached(agent.control.command("query-migrate")):
            assert time.monotonic() < until

    def wait_link(self):
        """Until both sides have greeted each other on every connection."""
        self.wait_status(self.source, lambda status: status["peer"]["address"])

    def check_source_guest_runs(self):
        """It works on (its counters move) and every byte is what it must be."""
        report = self.source_guest.finish()
        assert report["status"] == 0, report
        assert report["verdict"].startswith("identical"), report
        return report

    @staticmethod
    def check_idle(agent):
        """While nothing happens but a second of questions to main, no other thread computes."""
        before, until = agent.busy_seconds(), time.monotonic() + 1
        while time.monotonic() < until:
            agent.control.command("query-migrate")
        for name, seconds in agent.busy_seconds().items():
            assert name == "pageferry" or seconds - before.get(name, 0) < 0.2, (name, seconds)

    @staticmethod
    def wait_thread(agent, name, there=True):
        """Until the agent has a thread of that name, or none; no event tells of one."""
        until = time.monotonic() + DEADLINE
        while (name in agent.busy_seconds()) != there:
            assert time.monotonic() < until, f"{agent.name}: a thread {name}: {not there}"

    def start_serving(self, vcpus=1, source=None, destination=None, second=False):
        """The guest runs at the destination, most of its 64 MiB are still at the source, and the
        network stands still until relay.release().  second: the source knows a way around it."""
        self.start("64M", vcpus, source=source, destination=destination, budget=8 << 20, second=second)
        self.source.control.command("switchover")
        self.wait_state("postcopy-active")

    def end(self):
        if self.relay:
            self.relay.stop()
        for child in reversed(self.children):
            child.end()

    def logs(self):
        """What every process said, the agents' events among it; for a test that failed."""
        parts = []
        for child in self.children:
            status = child.process.poll()
            parts.append(f"--- {child.name}, pid {child.pid}, "
                         + ("running" if status is None else f"status {status}"))
            parts.append(child.log_text()[-8000:])
            events = pathlib.Path(getattr(child, "state_dir", "/nonexistent"), "events")
            if events.exists():
                parts.append(events.read_text(errors="replace")[-8000:])
        return "\n".join(parts)
