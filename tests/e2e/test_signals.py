# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_signals.py - which signals end an agent, and that none but SIGKILL does when its guest needs it."""
import contextlib
import os
import signal

import pytest

HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
# A fault of the program's own, which the keeper mends with another worker; and those that no process survives
# or that stop it.
NOT_ASKED = {signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGILL,
             signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV, signal.SIGSYS}


@pytest.fixture(autouse=True)
def heard():
    """However these tests were started: nohup(1), or a shell's `&`, ignore some."""
    before = {number: signal.getsignal(number) for number in HEARD}
    for number, handler in before.items():
        if handler == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", HEARD)
def test_before_the_commit_it_cancels(migration, number):
    agent = migration.start_destination()
    agent.signal(number)
    assert agent.wait() == 130


@contextlib.contextmanager
def ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_what_was_ignored_at_the_start_is_not_heard(migration):
    """As nohup(1) has it: the terminal may go."""
    with ignored(signal.SIGHUP), ignored(signal.SIGQUIT):
        agent = migration.start_destination()
    worker = agent.worker()
    for pid in (agent.pid, worker):
        os.kill(pid, signal.SIGHUP)
        os.kill(pid, signal.SIGQUIT)
    assert agent.control.command("query-migrate")["worker-pid"] == worker
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 130


def test_after_the_commit_it_is_told_and_ignored(migration):
    migration.start_serving()
    for agent in (migration.source, migration.destination):
        for number in HEARD:
            agent.signal(number)
            data = agent.control.wait_event("SIGNAL_IGNORED")["data"]
            assert data["signal"] == number
            assert "cancel --lose-guest" in data["reason"]
        assert agent.alive()
    migration.relay.release()
    migration.destination_guest.wait_word("complete")
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


def test_no_other_signal_ends_an_agent(migration):
    """To the keeper and to the worker; one that is heard, behind them, shows that they have come."""
    migration.start_serving()
    for agent in (migration.source, migration.destination):
        worker = agent.worker()
        for number in signal.valid_signals() - NOT_ASKED - set(HEARD):
            os.kill(agent.pid, number)
            os.kill(worker, number)
        agent.signal(signal.SIGTERM)
        agent.control.wait_event("SIGNAL_IGNORED")
        assert agent.worker() == worker
    migration.relay.release()
    migration.destination_guest.wait_word("complete")
    assert migration.destination_guest.finish()["verdict"].startswith("identical")
