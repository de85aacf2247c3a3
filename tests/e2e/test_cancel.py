# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_cancel.py - cancelled before the commit, the guest works on at the source."""
import signal

import pytest

from control import Refused


def check_cancelled(migration):
    assert migration.source.wait() == 130
    assert migration.destination.wait() == 130
    for agent in (migration.source, migration.destination):
        assert agent.outcome()["outcome"] == "source-intact"
        assert agent.outcome()["owner"] == "source"
        assert agent.control.drain()[-1]["data"]["final"] is True
        assert agent.control.states()[-1] == "cancelled"
    migration.check_source_guest_runs()


@pytest.mark.smoke
def test_cancel_at_the_source(migration):
    migration.start("64M", 2)
    migration.source.control.command("cancel", {})
    check_cancelled(migration)


def test_cancel_at_the_destination(migration):
    migration.start("64M", 2)
    migration.destination.control.command("cancel", {})
    check_cancelled(migration)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_sigterm_cancels(migration, side):
    migration.start("64M", 1)
    getattr(migration, side).signal(signal.SIGTERM)
    check_cancelled(migration)


def test_sigterm_after_the_commit_is_told_and_ignored(migration):
    migration.start_serving()
    for agent in (migration.source, migration.destination):
        agent.signal(signal.SIGTERM)
        data = agent.control.wait_event("SIGNAL_IGNORED")["data"]
        assert data["signal"] == signal.SIGTERM
        assert agent.alive()
    migration.relay.release()
    migration.destination_guest.wait_word("complete")
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


def test_cancel_before_anybody_came(migration):
    destination = migration.start_destination()
    destination.control.command("cancel", {})
    assert destination.wait() == 130


def test_cancel_after_the_commit_is_refused(migration):
    migration.start_serving()
    for agent in (migration.source, migration.destination):
        with pytest.raises(Refused) as refusal:
            agent.control.command("cancel", {})
        assert refusal.value.error_class == "WrongState"
        assert "lose-guest" in refusal.value.desc
    migration.relay.release()
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == 0
    assert migration.destination.wait() == 0
    assert migration.destination_guest.finish()["verdict"].startswith("identical")
