# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_unwritable.py - a record that cannot be written: nothing is said or done that it would allow.

A folder stands where the state directory's next record would be written, so that no write succeeds
until it is removed; who is root is held up by it too.  What was heard meanwhile is not lost.
"""
import contextlib
import time

import pytest

import ports
import vmm_client as vmm
from control import Refused
from peer import Peer
from processes import DEADLINE
from records import ResumedVmm
from test_hostile_destination import reach
from test_hostile_source import Vmm, get_ready, scene


@contextlib.contextmanager
def unwritable(agent):
    obstacle = agent.state_dir / ".record.new"
    obstacle.mkdir()
    yield
    obstacle.rmdir()


def wait_said(agent, words):
    """On stderr; nothing else tells of a record that could not be written."""
    until = time.monotonic() + DEADLINE
    while words not in agent.log_text():
        assert time.monotonic() < until, agent.log_text()
        agent.control.command("query-migrate")


def wait_heard(agent, before, frames):
    """Until frames of 32 bytes at least have come and, behind them, main has dealt with a command."""
    until = time.monotonic() + DEADLINE
    while agent.control.command("query-migrate")["bytes"]["received"] < before + 32 * frames:
        assert time.monotonic() < until
    agent.control.command("query-migrate")


@pytest.fixture
def liar(migration):
    return migration.own(Peer("destination", ports.own_address(), migration.pki, migration.folder))


# ---- at the source


def hear_unwritten(source, liar, frames):
    """The destination says RUN, which cannot be written down, and goes on."""
    before = source.control.command("query-migrate")["bytes"]["received"]
    liar.do("frame 0 RUN verdict=RUN")
    wait_said(source, "writing the record GONE")
    for frame in frames:
        liar.do(f"frame 0 {frame}")
    wait_heard(source, before, 1 + len(frames))
    status = source.control.command("query-migrate")
    assert (status["state"], status["record"]) == ("postcopy-device", "OFFERED")
    assert source.record() == "OFFERED"


@pytest.mark.smoke
def test_what_comes_behind_run_waits_for_gone(migration, liar):
    """RESUMED and COMPLETE mean nothing without GONE, and must not be lost for that."""
    source = reach(migration, liar, "offered")
    with unwritable(source):
        hear_unwritten(source, liar, ["RESUMED", "COMPLETE"])
        assert "released" not in migration.source_guest.lines
    liar.do("expect 0 COMPLETE_ACK")
    migration.source_guest.wait_word("released")
    assert source.wait() == 0
    assert (source.record(), source.outcome()["outcome"]) == ("GONE", "completed")
    assert source.outcome()["migrate"]["downtime-us"] > 0


def test_refused_behind_run_gives_the_guest_back(migration, liar):
    source = reach(migration, liar, "offered")
    with unwritable(source):
        hear_unwritten(source, liar, ["REFUSED verdict=REFUSED"])
        assert "continued" not in migration.source_guest.lines
    migration.source_guest.wait_word("continued")
    assert source.wait() == 130
    assert (source.record(), source.outcome()["outcome"]) == ("KEPT", "source-intact")
    migration.check_source_guest_runs()


def test_what_came_behind_run_outlives_the_connection(migration, liar):
    """That the connection is gone is told at once; what had come on it still counts."""
    source = reach(migration, liar, "offered")
    with unwritable(source):
        hear_unwritten(source, liar, ["RESUMED", "COMPLETE"])
        liar.leave()
        source.control.wait_event("IN_DOUBT")
    assert source.wait() == 0
    assert (source.record(), source.outcome()["outcome"]) == ("GONE", "completed")


def test_offered_is_written_before_commit_is_said(migration):
    """It cannot be: so the destination never hears COMMIT, and the guest runs on here."""
    migration.start("16M", 1)
    with unwritable(migration.source):
        migration.source.control.command("switchover")
        assert migration.source.wait() == 71
    assert "writing the record OFFERED" in migration.source.log_text()
    assert migration.destination.wait() == 130
    assert (migration.source.record(), migration.destination.record()) == ("NONE", "ABORTED")
    for agent in (migration.source, migration.destination):
        assert agent.outcome()["outcome"] == "source-intact"
    assert "resumed" not in migration.destination_guest.lines
    migration.source_guest.wait_word("continued")
    migration.check_source_guest_runs()


def test_kept_is_written_before_the_guest_runs_on(migration, liar):
    source = reach(migration, liar, "offered")
    with unwritable(source):
        with pytest.raises(Refused, match="writing the record KEPT"):
            source.control.command("resolve", {"destination": "fenced"})
        liar.do("frame 0 ABORTED verdict=ABORTED")
        wait_said(source, "writing the record KEPT")
        assert "continued" not in migration.source_guest.lines
    migration.source_guest.wait_word("continued")
    assert source.wait() == 130
    migration.check_source_guest_runs()


# ---- at the destination


def test_ready_is_written_before_it_is_said(scene):
    destination, machine, peer = scene
    peer.connect()
    peer.agree(Vmm.regions)
    peer.pause()
    machine.client.wait("LOAD")
    with unwritable(destination):
        machine.client.say("READY")
        assert "writing the record READY" in peer.say("expect 0 READY")
        assert destination.wait() == 71
    assert destination.record() == "NONE"
    assert destination.outcome()["outcome"] == "source-intact"


def test_run_is_written_before_the_vmm_is_told(scene):
    """It cannot be, so the guest is given back; and that is said when it is on record, not before."""
    destination, machine, peer = scene
    get_ready(peer, machine)
    with unwritable(destination):
        peer.do("frame 0 COMMIT verdict=OFFERED")
        wait_said(destination, "writing the record ABORTED")
        peer.do("frame 0 COMMIT verdict=OFFERED")  # behind the word that takes it back
        assert peer.say("wait 0 200") == "ok stands"
        status = destination.control.command("query-migrate")
        assert (status["record"], destination.record()) == ("READY", "READY")
    peer.do("expect 0 ABORTED")
    assert machine.client.wait("ERROR")
    assert destination.wait() == 71
    assert (destination.record(), destination.outcome()["outcome"]) == ("ABORTED", "source-intact")


def test_aborted_is_written_before_it_is_said(scene):
    destination, machine, peer = scene
    get_ready(peer, machine)
    with unwritable(destination):
        with pytest.raises(Refused, match="writing the record ABORTED"):
            destination.control.command("cancel")
        peer.do("frame 0 ABORT verdict=OFFERED")
        wait_said(destination, "writing the record ABORTED")
        assert peer.say("wait 0 200") == "ok stands"
    peer.do("expect 0 ABORTED")
    assert destination.wait() == 130
    assert destination.record() == "ABORTED"


@pytest.mark.smoke
def test_a_refusal_outlives_the_vmm_that_said_it(migration):
    """It says that no vCPU entered, and goes before that could be written down: nothing is lost."""
    machine = ResumedVmm(migration)
    with unwritable(migration.destination):
        machine.client.say("RESUME_REFUSED", vmm.message(f1=b"no"))
        wait_said(migration.destination, "writing the record REFUSED")
        machine.client.close()
        migration.destination.control.wait_event("VMM_LOST")
        assert migration.destination.record() == "RUN"
    for agent in (migration.destination, migration.source):
        assert agent.wait() == 130
        assert agent.outcome()["outcome"] == "source-intact"
    assert (migration.source.record(), migration.destination.record()) == ("KEPT", "REFUSED")
    machine.close()
    migration.check_source_guest_runs()
