# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_keeper.py - the process that is started, and the one that does the work for it."""
import json
import os
import pathlib
import select
import shutil
import signal
import time

import pytest

from harness import state_of
from processes import DEADLINE


def wait_gone(pid):
    """Until a process that is not our child has ended, whoever is to reap it."""
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(DEADLINE * 1000), f"{pid} did not end"
    os.close(pidfd)


@pytest.mark.smoke
def test_the_pid_that_was_started_is_the_keepers(migration):
    agent = migration.start_destination()
    status = agent.control.command("query-migrate")
    assert status["keeper-pid"] == agent.pid
    assert status["worker-pid"] == agent.worker() != agent.pid


def test_what_ends_the_worker_ends_the_keeper_alike(migration):
    agent = migration.start_destination()
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 130
    assert agent.outcome()["exit-code"] == 130


def wait_state_of(pid, state):
    """Nothing tells who is not its parent."""
    until, gone = time.monotonic() + DEADLINE, select.poll()
    pidfd = os.pidfd_open(pid)
    while state_of(pid) != state:
        gone.poll(1)
        assert time.monotonic() < until, f"{pid} is {state_of(pid)}, not {state}"
    os.close(pidfd)


def test_sigterm_that_meets_the_death_of_a_worker_is_the_next_ones(migration):
    """Both are there when the keeper looks: its signals come in the order of their numbers."""
    migration.start("16M", 1)
    source, worker = migration.source, migration.source.worker()
    source.signal(signal.SIGSTOP)
    wait_state_of(source.pid, "T")
    os.kill(worker, signal.SIGKILL)
    wait_state_of(worker, "Z")
    source.signal(signal.SIGTERM)
    source.signal(signal.SIGCONT)
    assert source.wait() == 130
    assert source.outcome()["outcome"] == "source-intact"
    migration.check_source_guest_runs()


@pytest.mark.smoke
def test_a_worker_does_not_outlive_its_keeper(migration):
    """Or two would serve one guest once somebody starts another."""
    agent = migration.start_destination()
    worker = agent.worker()
    assert agent.kill() == -signal.SIGKILL
    wait_gone(worker)


def test_events_go_to_a_descriptor_of_the_keepers(migration):
    """Whatever number it has: the worker's numbers are others."""
    reader, writer = os.pipe()
    agent = migration.start_destination(events=f"fd:{writer}", pass_fds=(writer,))
    agent.control.command("cancel", {})
    assert agent.wait() == 130
    os.close(writer)
    with os.fdopen(reader) as lines:
        events = [json.loads(line)["event"] for line in lines]
    assert events[0] == "STATE" and "LISTENING" in events and "OUTCOME" in events


# ---- another worker


@pytest.mark.smoke
def test_another_worker_has_the_same_address(migration):
    agent = migration.start_destination()
    before, pid = migration.address, agent.worker()
    data = agent.kill_worker()["data"]
    assert data["pid"] == agent.worker() != pid
    assert "signal 9" in data["reason"]
    assert agent.control.wait_event("LISTENING")["data"]["address"] == before
    status = agent.control.command("query-migrate")
    assert (status["keeper-pid"], status["worker-pid"]) == (agent.pid, data["pid"])
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 130


def finish(migration):
    migration.wait_status(migration.source, lambda status: status["state"] == "active")
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == 0
    assert migration.destination.wait() == 0
    report = migration.destination_guest.finish()
    assert report["verdict"].startswith("identical"), report


@pytest.mark.backing
@pytest.mark.smoke
@pytest.mark.parametrize("side", ["source", "destination"])
def test_killed_in_set_up(migration, side):
    """Both VMMs have come, and notice nothing."""
    migration.start("64M", 2)
    getattr(migration, side).kill_worker()
    finish(migration)


@pytest.mark.backing
def test_killed_in_set_up_again_and_again(migration):
    migration.start("64M", 1)
    for _ in range(4):
        migration.destination.kill_worker()
        migration.source.kill_worker()
    finish(migration)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_worker_serves_without_certificates_until_they_are_back(migration, side):
    """One that has expired meanwhile: what has come is here, and what has not waits."""
    tls = pathlib.Path(migration.folder, "tls")
    shutil.copytree(migration.pki.folder, tls)
    options = {side: {"tls_dir": tls}}
    options.setdefault("source", {})["max_bandwidth"] = 4 << 20
    migration.start("64M", 1, **options)
    migration.source.control.command("switchover")
    migration.wait_state("postcopy-active")
    ca = tls / "ca-cert.pem"
    ca.rename(tls / "away")
    agent = getattr(migration, side)
    agent.kill_worker()
    agent.control.wait_state("postcopy-paused")
    assert agent.control.command("query-migrate")["state"] == "postcopy-paused"
    (tls / "away").rename(ca)
    agent.control.wait_state("postcopy-active")
    migration.source.connect().command("set-parameters", {"max-bandwidth": 0})
    migration.destination_guest.wait_word("complete")
    assert (migration.source.wait(), migration.destination.wait()) == (0, 0)
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


def test_parameters_that_were_set_hold_for_the_next_worker(migration):
    """push is off: not one page comes that nobody asked for."""
    migration.start("64M", 1)
    migration.source.control.command("set-parameters", {"push": False, "spin-us": 0})
    migration.source.kill_worker()
    migration.wait_status(migration.source, lambda status: status["state"] == "active")
    migration.source.control.command("switchover")
    migration.destination.control.wait_state("postcopy-active")
    migration.destination_guest.wait_visits(100)
    assert migration.source.control.command("query-migrate")["pages"]["pushed"] == 0
    migration.source.control.command("set-parameters", {"push": True})
    migration.destination_guest.wait_word("complete")
    assert (migration.source.wait(), migration.destination.wait()) == (0, 0)


def test_parameters_that_were_damaged_hold_nobody_up(migration):
    agent = migration.start_destination()
    agent.control.command("set-parameters", {"spin-us": 10})
    (agent.state_dir / "parameters").write_text('{"spin-us":"much"}')
    agent.kill_worker()
    assert "parameters" in agent.log_text()
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 130
