# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_hostile_floods.py - too much of everything, from a peer, a VMM and an orchestrator.

What an agent takes of memory and descriptors is measured before and while it is flooded; it answers its
orchestrator all the while, and the migration that is asked for afterwards is right.
"""
import os
import re
import socket
import threading
import time

import pytest

import vmm_client as vmm
from peer import Peer
from processes import DEADLINE
from test_hostile_source import Vmm, check_right_source_arrives, serve, start_destination

pytestmark = pytest.mark.shipped  # a sanitizer's own memory would be measured

MORE = 4 << 20  # bytes that an agent may take beyond what it had: its bounded buffers and caches
ANSWER_S = 10.0  # on a machine that does other things too; without a flood it takes milliseconds


class Load:
    """What an agent took when this was made, and that it is not much more afterwards."""

    def __init__(self, agent):
        self.agent = agent
        self.agent.reset_peak()
        self.memory, self.peak = agent.own_memory(), agent.own_memory(peak=True)
        self.descriptors = agent.descriptors()

    def check(self, descriptors=0):
        """descriptors: so many more are explained."""
        assert self.agent.own_memory() <= self.memory + MORE
        assert self.agent.own_memory(peak=True) <= self.peak + MORE
        assert self.agent.descriptors() <= self.descriptors + descriptors

    def check_answers(self):
        began = time.monotonic()
        self.agent.control.command("query-migrate")
        assert time.monotonic() - began < ANSWER_S


class Background:
    """One command of the peer, while the test does something else."""

    def __init__(self, peer, command):
        self.answer = None
        self.thread = threading.Thread(target=self.run, args=(peer, command), daemon=True)
        self.thread.start()

    def run(self, peer, command):
        self.answer = peer.say(command)

    def join(self):
        self.thread.join(DEADLINE)
        assert self.answer is not None
        return self.answer


@pytest.mark.parametrize(
    "command",
    [
        "frame 0 COMPLETE_ACK times=300000",
        "frame 0 COMMIT verdict=OFFERED times=100000",
        "frame 1 FAILURE failure=no times=10000",
    ],
)
def test_a_flood_of_control_frames_at_a_destination(migration, command):
    """Ignored as fast as they come, or the end of the connection; nothing piles up."""
    destination, peer = start_destination(migration)
    peer.connect()
    peer.agree()
    load = Load(destination)
    flood = Background(peer, command)
    while flood.thread.is_alive():
        load.check_answers()
    flood.join()
    load.check()
    peer.leave()
    check_right_source_arrives(migration)


def test_sessions_that_come_and_go_leave_nothing_behind(migration):
    """Each takes threads, buffers and a half-sent device state with it when it goes."""
    destination, peer = start_destination(migration)
    load = None
    for i in range(20):
        peer.connect(channels=2)
        peer.agree()
        peer.do("frame 1 PAUSED paused=1000000")
        peer.do("frame 1 DEVICE body=65536")
        if i == 3:
            load = Load(destination)
    load.check(descriptors=2)
    peer.leave()
    check_right_source_arrives(migration)


def test_silence_and_single_bytes_cost_their_slot_for_seconds(migration):
    """Seven who say nothing and one who says a byte a second; and the half of a frame, in a session."""
    destination, peer = start_destination(migration)
    peer.connect()
    peer.do("frame 1 PAUSED paused=64 cut=20")
    load = Load(destination)
    for i in range(2, 9):
        peer.do(f"open {i}")
    peer.do("open 9")
    began = time.monotonic()
    assert peer.say("frame 9 HELLO body=64 drip=1000").startswith("gone")
    assert time.monotonic() - began < 15
    for i in range(2, 9):
        peer.check_gone(i)
    load.check(descriptors=2)
    # The session with half a frame stands still, and makes room for the next.
    check_right_source_arrives(migration)


def test_a_key_for_every_record_is_only_slow(migration):
    destination, peer = start_destination(migration)
    peer.connect(rekey=1)
    load = Load(destination)
    peer.say("frame 0 COMPLETE_ACK times=5000")  # all of them, unless main could not keep up
    load.check_answers()
    load.check()
    peer.leave()
    check_right_source_arrives(migration)


def test_page_errors_do_not_wash_the_events_away(migration):
    """After RUN a source may say of every page that it cannot be read, again and again."""
    destination = migration.start_destination()
    machine = Vmm(destination)
    peer = migration.own(Peer("source", migration.address, migration.pki, migration.folder))
    serve((destination, machine, peer))
    load = Load(destination)
    for first in range(0, 960, 64):
        peer.do(f"frame 1 PAGE_ERROR page={first} count=64 extra=5 times=200")
    peer.do("frame 1 ZERO page=1023 count=1")
    until = time.monotonic() + DEADLINE
    while destination.control.command("query-migrate")["pages"]["filled"] < 961:
        assert time.monotonic() < until
    load.check()
    lost = [event for event in destination.control.events if event["event"] == "PAGE_LOST"]
    assert 32 <= len(lost) <= 32 + DEADLINE
    assert "RUN_GRANTED" in destination.control.names()
    machine.close()


# ---- on the VMM socket


def strangers(agent, load):
    """Who comes to a VMM socket and is no VMM: each is closed, none is VMM_LOST."""
    memory, directory = vmm.Memory(1 << 20), os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    for data, fds in [
        (b"\x00", []),
        (b"\xff" * 60000, []),
        (vmm.envelope("REGIONS"), []),
        (vmm.envelope("READY"), [memory.fd] * 128),
        (vmm.envelope(99), [directory, memory.uffd]),
        (vmm.envelope("HELLO", vmm.message(f1=7, f2=1)), []),
        (vmm.envelope("RESUMED"), [memory.fd] * 200),
    ]:
        client = vmm.Client(agent.vmm_socket)
        client.send(data, fds)
        got = client.receive()
        assert got is None or got.name == "ERROR", got
        client.close()
    for _ in range(300):
        vmm.Client(agent.vmm_socket).close()
    load.check_answers()
    memory.close()
    os.close(directory)
    assert "VMM_LOST" not in agent.control.names()


def test_strangers_on_the_vmm_socket_cost_nothing(migration):
    migration.start_destination()
    migration.start_source()
    migration.source.open()
    for agent in (migration.source, migration.destination):
        load = Load(agent)
        strangers(agent, load)
        load.check(descriptors=8)  # of 300 clients; the two agents' connections may come meanwhile
    migration.start_guest("source", "64M", 1).wait_word("running")
    migration.start_guest("destination", "64M", 1).wait_word("accepted")
    migration.wait_state("active")
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == migration.destination.wait() == 0
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


VMM_LIES = [  # of a destination's VMM that has described its memory
    (lambda client, memory: client.regions([memory.region()]), "REGIONS twice"),
    (lambda client, memory: client.hello(vmm.DESTINATION), "HELLO twice"),
    (lambda client, memory: client.say("READY"), "READY without LOAD"),
    (lambda client, memory: client.say("RESUMED"), "RESUMED without RESUME"),
    (lambda client, memory: client.say("RESUME_REFUSED"), "RESUME_REFUSED without RESUME"),
    (lambda client, memory: client.paused(vmm.device_state(), 12), "said PAUSED"),
    (lambda client, memory: client.say("FAULT", vmm.message(f1=0, f2=4096)), "FAULT"),
    (lambda client, memory: client.send(b"x" * 65000), "decode|envelope|Envelope"),
    (lambda client, memory: client.say("RESUMED", b"", [memory.fd]), "descriptor"),
]


@pytest.mark.parametrize("lie, reason", VMM_LIES)
def test_a_vmm_that_lies_ends_its_own_migration(migration, lie, reason):
    """Nothing was committed, and it is told that and why."""
    destination = migration.start_destination()
    memory, client = vmm.Memory(1 << 20), vmm.Client(destination.vmm_socket)
    client.hello(vmm.DESTINATION)
    client.regions([memory.region()])
    client.wait("REGIONS_ACCEPTED")
    lie(client, memory)
    assert destination.wait() in (71, 76)
    assert re.search(reason, destination.log_text()), destination.log_text()
    assert destination.outcome()["outcome"] == "source-intact"
    got = client.receive()
    assert got.name == "ERROR" and re.search(reason, got.reason), got
    assert client.receive() is None
    client.close()
    memory.close()


# ---- on the control socket


def raw_client(agent):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(DEADLINE)
    client.connect(str(agent.control_path))
    return client


def never_reads(client):
    """Questions without end; until the agent has had enough, or takes no more."""
    client.settimeout(1)
    try:
        for _ in range(20000):
            client.sendall(b'{"execute":"query-events"}\n' * 50)
    except OSError:
        pass


def test_orchestrators_that_flood_do_not_touch_the_migration(migration):
    """Half lines, deep lines, long lines, nobody who reads; every place held, while a guest moves."""
    migration.start_serving()
    destination = migration.destination
    load = Load(destination)
    for line in (b"{" * 60000 + b"\n", b"[" * 3000 + b"\n", b"x" * 70000, b'{"execute":1}\n' * 1000):
        with raw_client(destination) as client:
            client.sendall(line)
            assert client.recv(100)
    held = [raw_client(destination) for _ in range(12)]
    for client in held:
        client.sendall(b'{"execute":"que')
    with raw_client(destination) as client:
        never_reads(client)
    load.check_answers()
    load.check(descriptors=14)
    migration.relay.release()
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == migration.destination.wait() == 0
    assert migration.destination_guest.finish()["verdict"].startswith("identical")
    for client in held:
        client.close()
