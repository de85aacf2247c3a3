# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_hostile_resume.py - who takes up a session, and is not the one that he says he is, or says what cannot be.

A valid certificate and the right names are not enough: what counts is the proof of the session, and then
what the two records mean together.
"""
import re

import pytest

from test_hostile_destination import liar, reach  # noqa: F401 (a fixture)
from test_hostile_source import scene, serve  # noqa: F401 (a fixture)


REFUSED = [
    ("epoch=1 record=GONE proof=wrong", "does not prove", "WELCOME"),
    ("epoch=1 record=GONE proof=old", "does not prove", "WELCOME"),
    ("epoch=7 record=GONE", "epoch 7; the last one here is 1", "FAILURE"),
    ("epoch=1 record=NONE", "nothing was offered", "FAILURE"),
]


@pytest.mark.parametrize("words, reason, answer", REFUSED)
def test_a_session_is_not_taken_up_by_a_stranger(scene, words, reason, answer):  # noqa: F811
    """What stands is not touched; who proves nothing learns the record, and nothing proves to him."""
    destination, _, peer = scene
    serve(scene)
    peer.do("open 5")
    peer.do(f"hello 5 {words}")
    told = destination.control.wait_event("PEER_REFUSED")["data"]
    assert re.search(reason, told["reason"]), told
    heard = peer.say("expect 5 WELCOME")
    assert answer in heard, heard
    peer.check_gone(5)
    status = destination.control.command("query-migrate")
    assert (status["state"], status["epoch"]) == ("postcopy-active", 1)
    assert peer.say("wait 0 20") == "ok stands"


def test_who_proves_it_takes_it_from_the_link_that_stands(scene):  # noqa: F811
    destination, _, peer = scene
    serve(scene)
    peer.do("open 5")
    peer.do("hello 5 epoch=1 record=GONE")
    peer.do("expect 5 WELCOME")
    peer.check_gone(0)
    assert destination.control.wait_event("RECOVERED")["data"]["epoch"] == 2
    # The old epoch is over, also for a bulk connection; the new one's says what was received.
    peer.do("open 6")
    peer.do("hello 6 channel=1 epoch=1")
    assert "no such session" in peer.say("expect 6 WELCOME")
    peer.do("open 6")
    peer.do("hello 6 channel=1 epoch=2")
    peer.do("expect 6 WELCOME")
    assert "count=1024" in peer.do("expect 6 RECEIVED")


def test_a_source_that_has_kept_its_guest_is_a_conflict(scene):  # noqa: F811
    destination, _, peer = scene
    serve(scene)
    peer.do("open 5")
    peer.do("hello 5 epoch=1 record=KEPT")
    peer.do("expect 5 WELCOME")
    peer.check_gone(5)
    told = destination.control.wait_event("RECORD_CONFLICT")["data"]
    assert (told["record"], told["peer-record"]) == ("RUN", "KEPT")
    assert destination.record() == "RUN"
    assert destination.alive()


def answer(peer, words):
    """To the next hello of a source that takes its session up."""
    peer.do("open 2")
    peer.do("expect 2 HELLO")
    peer.do(f"welcome 2 {words}")


STRANGER = "proof=none epoch=0"


def test_a_destination_that_knows_nothing_leaves_the_doubt(migration, liar):  # noqa: F811
    source = reach(migration, liar, "offered")
    liar.do("close 0")
    source.control.wait_event("IN_DOUBT")
    answer(liar, STRANGER + " record=ABORTED")
    assert "does not know this session" in source.control.wait_event("IN_DOUBT")["data"]["reason"]
    assert source.record() == "OFFERED"
    migration.wait_status(
        source, lambda status: "does not know this session" in status["peer"].get("tried", ""))
    source.control.command("resolve", {"destination": "fenced"})
    assert source.wait() == 130
    migration.check_source_guest_runs()


@pytest.mark.parametrize(
    "words, peer_record", [(STRANGER + " record=NONE", None), ("resume=1 epoch=1 record=READY", "READY")]
)
def test_a_destination_whose_record_cannot_be_is_a_conflict(migration, liar, words, peer_record):  # noqa: F811
    source = reach(migration, liar, "running")
    liar.do("close 0")
    source.control.wait_event("OUTAGE")
    for _ in range(4):  # asked again each time, the last time when what was said before has been heard
        answer(liar, words)
    assert source.control.wait_event("RECORD_CONFLICT")["data"]["peer-record"] == peer_record
    assert source.record() == "GONE"
    assert source.control.command("query-migrate")["state"] == "postcopy-paused"
    assert source.control.names().count("RECORD_CONFLICT") == 1
    why = "does not know this session" if peer_record is None else "the destination's record is READY"
    migration.wait_status(source, lambda status: why in status["peer"].get("tried", ""))


@pytest.mark.parametrize(
    "stage, record", [("offered", "ABORTED"), ("offered", "REFUSED"), ("running", "REFUSED")]
)
def test_a_destination_that_has_let_go_gives_the_guest_back(migration, liar, stage, record):  # noqa: F811
    source = reach(migration, liar, stage)
    liar.do("close 0")
    source.control.wait_event("IN_DOUBT" if stage == "offered" else "OUTAGE")
    answer(liar, f"resume=1 epoch=1 record={record}")
    assert source.wait() == 130
    assert source.record() == "KEPT"
    migration.check_source_guest_runs()


def test_a_wrong_proof_is_told_and_changes_nothing(migration, liar):  # noqa: F811
    source = reach(migration, liar, "offered")
    liar.do("close 0")
    source.control.wait_event("IN_DOUBT")
    answer(liar, "resume=1 epoch=2 record=ABORTED proof=wrong")
    assert "does not prove" in source.control.wait_event("PEER_REFUSED")["data"]["reason"]
    assert source.record() == "OFFERED"


def test_an_epoch_that_is_over_is_refused(migration, liar):  # noqa: F811
    """By its state directory as it once was, perhaps: what it says of its record was true then."""
    source = reach(migration, liar, "running")
    liar.do("close 0")
    source.control.wait_event("OUTAGE")
    answer(liar, "resume=1 epoch=3 record=RUN")
    source.control.wait_event("RECOVERED")
    liar.do("open 3")
    liar.do("expect 3 HELLO")
    liar.do("close 2")
    liar.do("close 3")
    source.control.wait_event("OUTAGE")
    answer(liar, "resume=1 epoch=2 record=REFUSED")
    assert "epoch 2; it had assigned 3 before" in source.control.wait_event("PEER_REFUSED")["data"]["reason"]
    assert source.record() == "GONE"


RECEIVED = [
    ("frame 3 RECEIVED page=1 count=8191 hex=ff3f", "not the part that comes next"),
    ("frame 3 RECEIVED region=1 count=8192 hex=8040", "not the part that comes next"),
    ("frame 3 RECEIVED count=8192 hex=ff3f", "the lengths of its runs"),
    ("frame 3 RECEIVED count=8192 hex=80c000", "shortest form"),
    ("frame 3 RECEIVED count=8193 hex=8140", "which has 8192"),
    ("frame 3 RECEIVED count=1", "without a body"),
    ("frame 3 CREDIT page=0", "0 bytes"),
]


@pytest.mark.parametrize("command, reason", RECEIVED)
def test_a_lie_about_what_was_received_is_another_outage(migration, liar, command, reason):  # noqa: F811
    source = reach(migration, liar, "running")
    liar.do("close 0")
    source.control.wait_event("OUTAGE")
    answer(liar, "resume=1 epoch=2 record=RUN")
    source.control.wait_event("RECOVERED")
    liar.do("open 3")
    liar.do("expect 3 HELLO")
    liar.do("welcome 3 channel=1 epoch=2")
    liar.say(command)
    told = source.control.wait_event("OUTAGE")["data"]
    assert re.search(reason, told["reason"]), told
    assert source.record() == "GONE"
