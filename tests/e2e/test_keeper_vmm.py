# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_keeper_vmm.py - a worker is killed, and the VMM of its side does not answer the next one.

It may stand in a page of its own memory: then it answers once that page has come, and not before.  Or it is
gone too, before there is another worker that could see it go.
"""
import os
import pathlib
import signal
import time

import pytest

import vmm_client as vmm
from both_vmms import SIZE, BothVmms, content
from processes import DEADLINE
from test_exit_codes import check_ends
from test_keeper import wait_gone

ACCEPTED, LOADED, RESUMING, RUNS = 2, 3, 4, 5  # vmm.proto, Stage
PAGE = 700


@pytest.fixture
def both(migration, request):
    it = BothVmms(migration, **getattr(request, "param", {}))
    yield it
    it.close()


def kill_worker(both):
    """The number of ATTACH, which is to be answered, and what a thread of the VMM finds in its page."""
    both.destination.kill_worker()
    attach = both.client.wait("ATTACH").fields[1]
    return attach, both.touch(PAGE)


def check_page_comes(touched):
    assert touched.result(DEADLINE) == content(PAGE)


def answer(both, attach, stage, owed=0):
    both.client.hello(vmm.DESTINATION, f4=stage, f5=owed, f6=attach)


def finish(both):
    both.client.say("RESUMED")
    both.push()
    both.client.wait("COMPLETE")
    both.source_client.wait("RELEASE")
    assert (both.source.wait(), both.destination.wait()) == (0, 0)


def reach_load(both):
    both.source.control.send_line(b'{"execute": "switchover"}')
    both.source_client.wait("PAUSE")
    both.source_client.paused(vmm.device_state(), len(b"device state"))
    both.client.wait("LOAD")


def test_while_it_loads(both):
    """Set-up begins again without it, its page comes with the next pause, and then it answers."""
    reach_load(both)
    attach, touched = kill_worker(both)
    both.source_client.wait("CONTINUE_SOURCE")
    both.source.control.wait_state("active")
    reach_load(both)
    check_page_comes(touched)
    answer(both, attach, ACCEPTED, owed=1)  # of the two, the one that had come before ATTACH
    both.client.wait("REGIONS_ACCEPTED")
    both.client.say("READY")
    both.client.say("READY")
    both.client.wait("RESUME")
    finish(both)


@pytest.mark.faults
@pytest.mark.parametrize("both", [{"source": {"fault": "offered=stop"}}], indirect=True)
def test_when_it_has_loaded(both):
    """The source has offered the guest, and is not answered until there is a VMM to resume."""
    both.reach_ready()
    both.source.wait_stopped()
    attach, touched = kill_worker(both)
    both.source.resume()
    check_page_comes(touched)
    answer(both, attach, LOADED)
    both.client.wait("RESUME")
    finish(both)


def test_while_it_resumes(both):
    """The guest is committed, and nobody knows whether a vCPU has entered."""
    both.reach_ready()
    both.client.wait("RESUME")
    attach, touched = kill_worker(both)
    check_page_comes(touched)
    answer(both, attach, RESUMING)
    both.client.wait("RESUME")
    finish(both)


# ---- it is gone


def lose_both(both, last_word=None):
    """The worker and its VMM, while the keeper does not start another."""
    agent, worker = both.destination, both.destination.worker()
    agent.signal(signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    wait_gone(worker)
    if last_word:
        both.client.say(last_word)
    both.client.close()
    agent.signal(signal.SIGCONT)
    agent.control.drain()


@pytest.mark.parametrize("answered", [False, True])
def test_its_guest_is_lost(migration, both, answered):
    """Whether a vCPU had entered or not, nobody knows."""
    both.reach_ready()
    both.client.wait("RESUME")
    if answered:
        both.client.say("RESUMED")
        migration.wait_status(both.source, lambda status: status["downtime-us"])
    migration.wait_status(both.source, lambda status: status["record"] == "GONE")
    lose_both(both)
    both.source.control.wait_state("postcopy-paused")
    assert both.destination.wait() == 65
    assert both.destination.outcome()["owner"] is None
    both.source.control.command("cancel", {"lose-guest": True})
    check_ends(migration, (65, 65), ("GONE", "RUN"), ("lost", "lost"))


def test_it_had_refused_to_run_the_guest(migration, both):
    """Which is its last word: the guest is the source's, who hears it from the record."""
    both.reach_ready()
    both.client.wait("RESUME")
    migration.wait_status(both.source, lambda status: status["record"] == "GONE")
    lose_both(both, last_word="RESUME_REFUSED")
    assert both.destination.wait() == 130
    destination = migration.start_destination(listen=migration.address)
    both.source_client.wait("CONTINUE_SOURCE")
    destination.control.command("quit")
    check_ends(migration, (130, 130), ("KEPT", "REFUSED"), ("source-intact", "source-intact"))


@pytest.mark.faults
@pytest.mark.parametrize("both", [{"destination": {"fault": "disarmed=stop"}}], indirect=True)
def test_it_needed_no_agent_any_more(migration, both):
    """Every page had come; whether it has heard so, nobody knows, and the source is told."""
    both.switch_over()
    both.push()
    both.destination.wait_stopped()
    lose_both(both)
    both.source_client.wait("RELEASE")
    check_ends(migration, (0, 0), ("GONE", "RUN"), ("completed", "completed"))


def is_accepted(path):
    """Somebody who has connected there; before accept(2) his socket has no inode (net/unix/af_unix.c)."""
    sockets = (line.split() for line in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:])
    return any(socket[5] == "03" and socket[6] != "0" for socket in sockets if socket[7:] == [path])


def connect_and_stop(both):
    """A client, which the worker has accepted and not heard yet: it is stopped there."""
    path, until = str(both.destination.vmm_socket), time.monotonic() + DEADLINE
    client = vmm.Client(path)
    while not is_accepted(path):
        assert time.monotonic() < until
    os.kill(both.destination.worker(), signal.SIGSTOP)
    return client


@pytest.mark.parametrize("at_once", [False, True])
def test_somebody_else_who_greets_and_goes_is_not_it(migration, both, at_once):
    """Keeper and worker are gone, and another VMM comes by mistake before the right one does: also when the agent
    comes to hear that one only when he has gone and the other is there."""
    both.switch_over()
    worker = both.destination.worker()
    both.destination.kill()
    wait_gone(worker)
    both.destination = migration.start_destination(listen=migration.address)
    other = connect_and_stop(both) if at_once else vmm.Client(both.destination.vmm_socket)
    other.hello(vmm.DESTINATION)
    other.close()
    both.client.close()
    both.client = vmm.Client(both.destination.vmm_socket)
    both.client.hello(vmm.DESTINATION, f4=RUNS)
    both.client.regions([both.memory.region()])
    os.kill(both.destination.worker(), signal.SIGCONT)
    both.client.wait("REGIONS_ACCEPTED")
    both.source.control.wait_event("RECOVERED")
    check_page_comes(both.touch(PAGE))
    both.push()
    both.client.wait("COMPLETE")
    check_ends(migration, (0, 0), ("GONE", "RUN"), ("completed", "completed"))


# ---- it had just come


def leave_unread(migration, agent, client, region):
    """REGIONS, which the worker that is killed has not taken off the socket."""
    migration.wait_status(agent, lambda _: (agent.state_dir / "vmm-hello").exists())
    agent.control.command("query-migrate")  # so it has done all that follows from HELLO
    os.kill(agent.worker(), signal.SIGSTOP)
    client.regions([region])
    agent.kill_worker()
    return client.wait("ATTACH").fields[1]


@pytest.mark.parametrize("side", ["source", "destination"])
def test_regions_that_nobody_had_read_are_the_next_ones(migration, side):
    agents = {"destination": migration.start_destination(), "source": migration.start_source()}
    agents["source"].open()
    memory = {name: vmm.Memory(SIZE) for name in agents}
    clients = {name: vmm.Client(agent.vmm_socket) for name, agent in agents.items()}
    for name, role in (("source", vmm.SOURCE), ("destination", vmm.DESTINATION)):
        region = memory[name].region(trapped=name == "destination")
        clients[name].hello(role)
        if name == side:
            attach = leave_unread(migration, agents[name], clients[name], region)
            clients[name].hello(role, f6=attach)
        else:
            clients[name].regions([region])
    clients["destination"].wait("REGIONS_ACCEPTED")
    migration.source.control.wait_state("active")
    for each in (*clients.values(), *memory.values()):
        each.close()
