# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_manager.py - an agent that a service manager started: what it is told, keeps, and does when one is silent."""
import os
import pathlib
import shutil
import signal
import subprocess

import pytest

from control import Refused
from harness import program, state_of
from manager import Manager
from test_keeper import finish, wait_gone

ROOM = 160  # descriptors at most (migrate/fdstore.h)
UNITS = pathlib.Path(__file__).parents[2] / "migrate/systemd"
ALWAYS = {"lock", "vmm-listen", "control-listen"}


@pytest.fixture
def manager(folder):
    it = Manager(folder)
    yield it
    it.close()


def test_it_is_told_when_the_agent_serves_and_when_it_ends(migration, manager):
    agent = migration.start_destination(env=manager.environment())
    manager.wait("READY=1")
    manager.wait_kept(ALWAYS | {"listen"})
    assert not [word for word in manager.said if "WATCHDOG" in word]
    agent.signal(signal.SIGTERM)
    manager.wait("STOPPING=1")
    assert agent.wait() == 130


@pytest.mark.backing
def test_what_it_keeps_is_all_that_the_next_keeper_needs(migration, manager):
    """The VMM notices nothing, though every process of its agent was killed."""
    migration.start("64M", 2, destination={"env": manager.environment()})
    manager.wait_kept(ALWAYS | {"listen", "vmm", "regions-0", "regions-1"})
    worker = migration.destination.worker()
    migration.destination.kill()
    wait_gone(worker)  # what its keeper had said is in the manager's hands
    before, environment, fds = manager.start_with_kept()
    migration.start_destination(prefix=before, env=environment, pass_fds=fds)
    data = migration.destination.control.wait_event("WORKER_RESTARTED")["data"]
    assert "keeper" in data["reason"]
    finish(migration)
    assert "agent gone" not in migration.destination_guest.lines


def start_paused(migration, manager, room):
    """The guest runs at the destination, which is paused by its orchestrator."""
    migration.start("64M", 1, source={"max_bandwidth": 4 << 20},
                    destination={"env": manager.environment(room=room)})
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("resumed")
    migration.destination.control.command("pause")


def test_quit_leaves_a_guest_to_a_manager_that_keeps_all(migration, manager):
    """75; and the next keeper goes on with what is kept, paused as it was."""
    start_paused(migration, manager, room=ROOM)
    migration.destination.control.command("quit")
    assert migration.destination.wait() == 75
    assert migration.destination.outcome()["outcome"] == "paused"
    manager.wait("STOPPING=1")
    before, environment, fds = manager.start_with_kept()
    migration.start_destination(prefix=before, env=environment, pass_fds=fds)
    migration.source.control.command("set-parameters", {"max-bandwidth": 0})
    migration.destination.control.command("recover")
    migration.destination_guest.wait_word("complete")
    assert (migration.source.wait(), migration.destination.wait()) == (0, 0)
    assert "agent gone" not in migration.destination_guest.lines
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


@pytest.mark.parametrize("room", [None, 0, ROOM - 1])
def test_quit_is_refused_where_nobody_would_keep_the_guest(migration, manager, room):
    start_paused(migration, manager, room)
    with pytest.raises(Refused) as refused:
        migration.destination.control.command("quit")
    assert refused.value.error_class == "WrongState"
    assert "no service manager keeps" in refused.value.desc
    assert migration.destination.alive()


def test_quit_is_refused_while_the_guest_is_served(migration, manager):
    start_paused(migration, manager, room=ROOM)
    migration.destination.control.command("recover")
    migration.destination.control.wait_event("RECOVERED")
    with pytest.raises(Refused) as refused:
        migration.destination.control.command("quit")
    assert "pause comes first" in refused.value.desc


def test_a_manager_that_has_not_taken_all_is_left_nothing(migration, manager):
    """It was gone when the VMM came: the worker that heard `quit` is followed by another, and the guest is served."""
    agent = migration.start_destination(env=manager.environment(room=ROOM))
    manager.wait("READY=1")
    manager.close()
    migration.start_source(max_bandwidth=4 << 20).open()
    migration.start_guest("source", "64M", 1).wait_word("running")
    migration.start_guest("destination", "64M", 1)
    migration.wait_state("active")
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("resumed")
    agent.control.command("pause")
    agent.control.command("quit")
    agent.control.drain()
    agent.reopen()
    assert "status 75" in agent.control.wait_event("WORKER_RESTARTED")["data"]["reason"]
    with pytest.raises(Refused):
        agent.control.command("quit")
    agent.control.command("recover")
    migration.source.control.command("set-parameters", {"max-bandwidth": 0})
    migration.destination_guest.wait_word("complete")
    assert (migration.source.wait(), migration.destination.wait()) == (0, 0)
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


def test_the_watchdog_is_fed_while_every_thread_answers(migration, manager):
    migration.start("16M", 1, destination={"env": manager.environment(watchdog_ms=4000)})
    manager.wait("WATCHDOG=1", times=3)
    assert "WORKER_RESTARTED" not in migration.destination.control.names()
    finish(migration)


def test_a_worker_that_does_not_answer_is_replaced(migration, manager):
    """And the manager hears from its keeper meanwhile."""
    agent = migration.start_destination(env=manager.environment(watchdog_ms=4000))
    manager.wait("WATCHDOG=1")
    stopped = agent.worker()
    os.kill(stopped, signal.SIGSTOP)
    wait_gone(stopped)
    agent.control.drain()
    agent.reopen()
    data = agent.control.wait_event("WORKER_RESTARTED")["data"]
    assert "did not answer" in data["reason"]
    assert state_of(data["pid"]) in ("S", "R")
    manager.forget_what_was_said()
    manager.wait("WATCHDOG=1", times=2)


@pytest.mark.faults
def test_a_thread_that_stands_starves_the_watchdog(migration, manager):
    """Main answers, and so does the worker's control socket; the urgent thread does not."""
    migration.start("64M", 1, destination={"env": manager.environment(watchdog_ms=4000),
                                           "fault": "request-sent=hang"})
    migration.source.control.command("switchover")
    agent = migration.destination
    agent.control.drain()
    agent.reopen()
    assert "did not answer" in agent.control.wait_event("WORKER_RESTARTED")["data"]["reason"]


@pytest.mark.faults
@pytest.mark.parametrize("side, point", [("source", "connect"), ("source", "tls"), ("destination", "connect"),
                                         ("destination", "tls")])
def test_a_thread_that_connects_and_stands_starves_the_watchdog(migration, manager, side, point):
    """One that takes no mail: it is late once its deadline has passed, while every other answers."""
    more = {side: {"env": manager.environment(watchdog_ms=4000), "fault": f"{point}=hang"}}
    migration.start_destination(**more.get("destination", {}))
    migration.start_source(**more.get("source", {}))
    agent = getattr(migration, side)
    agent.open()
    wait_gone(agent.worker())
    agent.control.drain()
    agent.reopen()
    assert "did not answer" in agent.control.wait_event("WORKER_RESTARTED")["data"]["reason"]


@pytest.mark.faults
def test_an_attempt_that_stands_starves_the_watchdog(migration, manager):
    """Of the race for a link that is lost: all the others go on, and one of them wins."""
    migration.start_serving(source={"env": manager.environment(watchdog_ms=4000), "fault": "tls:3=hang"})
    migration.relay.snap()
    migration.relay.release()
    worker = migration.source.worker()
    wait_gone(worker)
    migration.source.control.drain()
    migration.source.reopen()
    assert "did not answer" in migration.source.control.wait_event("WORKER_RESTARTED")["data"]["reason"]
    migration.destination_guest.wait_word("complete")
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


@pytest.mark.parametrize("side", ["source", "destination"])
def test_the_units_are_what_systemd_takes(folder, side):
    verify = shutil.which("systemd-analyze")
    if not verify:
        pytest.skip("no systemd-analyze here, which reads units")
    text = (UNITS / f"pageferry-{side}@.service.in").read_text()
    unit = pathlib.Path(folder, f"pageferry-{side}@vm7.service")
    unit.write_text(text.replace("@bindir@/pageferry", program("PAGEFERRY")))
    run = subprocess.run([verify, "verify", "--man=no", str(unit)], capture_output=True, text=True,
                         env={**os.environ, "SYSTEMD_LOG_TARGET": "console"}, timeout=60)
    ours = [line for line in run.stderr.splitlines() if unit.name in line]
    assert run.returncode == 0 and not ours, run.stderr
    assert "Type=notify" in text and "FileDescriptorStoreMax=" in text and "WatchdogSec=" in text
