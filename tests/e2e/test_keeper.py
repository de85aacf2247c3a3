# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_keeper.py - the process that is started, and the one that does the work for it."""
import json
import os
import select
import signal

import pytest

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
