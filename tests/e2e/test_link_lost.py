# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_link_lost.py - an agent dies or the link goes: before the offer nothing is lost, after the commit all is kept.

Who ends, with what code and outcome, and what is said; how it goes on is in test_outage.py and test_keeper.py.
"""
import time

import pytest

from control import Refused
from harness import GIVES_UP
from relay import Relay

pytestmark = pytest.mark.backing

# On the wire, the guest's device state has 2.5 KB, and an answer with a page of it 4.1 KB.
PART_OF_STATE = 1000
STATE_AND_PART_OF_PAGE = 4000


@pytest.mark.smoke
def test_destination_killed_after_run(migration):
    migration.start_serving()
    migration.destination.kill()
    source = migration.source
    source.control.wait_state("postcopy-paused")
    outage = source.control.wait_event("OUTAGE")["data"]
    assert {"vcpus", "since"} <= outage.keys()
    status = source.control.command("query-migrate")
    assert (status["state"], status["record"]) == ("postcopy-paused", "GONE")
    assert status["outcome"] == "paused"
    with pytest.raises(Refused):
        source.control.command("cancel", {})
    assert source.alive()
    source.control.command("quit")
    assert source.wait() == 75
    assert source.outcome()["outcome"] == "paused"


def test_source_killed_after_run(migration):
    migration.start_serving()
    migration.source.kill()
    destination = migration.destination
    destination.control.wait_state("postcopy-paused")
    destination.control.wait_event("OUTAGE")
    status = destination.control.command("query-migrate")
    assert (status["record"], status["outcome"]) == ("RUN", "paused")
    # After RUN a destination keeps the userfaultfd: were it closed, the guest would read zeros.
    for refused in ("quit", "cancel"):
        with pytest.raises(Refused):
            destination.control.command(refused, {})
    assert destination.alive()
    assert migration.destination_guest.alive()
    destination.control.command("cancel", {"lose-guest": True})
    assert destination.wait() == 65
    assert destination.outcome()["outcome"] == "lost"


@pytest.mark.smoke
def test_connection_cut_after_run_pauses_both_sides(migration):
    migration.start_serving()
    migration.relay.cut()
    for agent in (migration.source, migration.destination):
        agent.control.wait_state("postcopy-paused")
        agent.control.wait_event("OUTAGE")
        assert agent.control.command("query-migrate")["outcome"] == "paused"
        migration.check_idle(agent)
    migration.source.control.command("quit")
    assert migration.source.wait() == 75
    for process in (migration.destination, migration.destination_guest):
        assert process.alive()


def test_outage_deadline_is_told_and_ends_nothing(migration):
    migration.start_serving(source={"outage_deadline": 300})
    migration.destination.kill()
    data = migration.source.control.wait_event("OUTAGE_DEADLINE")["data"]
    assert 300 <= data["blocked-ms"] < 10000
    assert migration.source.control.command("query-migrate")["state"] == "postcopy-paused"
    assert migration.source.alive()


def test_outage_deadline_that_is_set_in_an_outage_counts_from_its_beginning(migration):
    migration.start_serving()
    migration.destination.kill()
    source = migration.source.control
    source.wait_event("OUTAGE")
    for limit in (100, 300):
        source.command("set-parameters", {"outage-deadline": limit})
        assert limit <= source.wait_event("OUTAGE_DEADLINE")["data"]["blocked-ms"] < 10000


def moment(stamp):
    return stamp["seconds"] + stamp["microseconds"] / 1e6


@pytest.mark.parametrize("side", ["source", "destination"])
def test_an_outage_is_no_shorter_because_a_worker_dies_in_it(migration, side):
    """Since when, how long it is, and the deadline are the guest's, and not of the process that tells it."""
    migration.start_serving(source={"max_bandwidth": 1 << 20})
    migration.relay.shut()
    agent = getattr(migration, side)
    since = agent.control.wait_event("OUTAGE")["data"]["since"]
    agent.kill_worker()
    assert agent.control.wait_event("OUTAGE")["data"]["since"] == since
    passed = time.time() - moment(since)
    agent.control.command("set-parameters", {"outage-deadline": 1})
    assert agent.control.wait_event("OUTAGE_DEADLINE")["data"]["blocked-ms"] >= int(passed * 1000)
    migration.relay.open()
    migration.relay.release()
    assert agent.control.wait_event("RECOVERED")["data"]["ms"] >= int(passed * 1000)
    # Another outage is another one.
    agent.kill_worker()
    assert agent.control.wait_event("OUTAGE")["data"]["since"] != since
    migration.source.connect().command("set-parameters", {"max-bandwidth": 0})
    migration.destination_guest.wait_word("complete")
    assert (migration.source.wait(), migration.destination.wait()) == (0, 0)
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


def test_what_was_lost_in_set_up_makes_no_later_outage_longer(migration):
    migration.start("64M", 1, budget=8 << 20)
    migration.relay.snap()
    migration.wait_status(migration.source, lambda status: status["epoch"] == 2 and status["state"] == "active")
    begin = time.time()
    migration.source.control.command("switchover")
    migration.wait_state("postcopy-active")
    migration.relay.shut()
    for agent in (migration.source, migration.destination):
        assert moment(agent.control.wait_event("OUTAGE")["data"]["since"]) >= begin
    migration.relay.open()
    migration.relay.release()
    migration.destination_guest.wait_word("complete")
    for agent in (migration.source, migration.destination):
        recovered = agent.control.wait_event("RECOVERED")
        assert recovered["data"]["ms"] <= (moment(recovered["timestamp"]) - begin) * 1000
        assert agent.wait() == 0


def start_with_second_address(migration):
    """Through a relay; when that is cut, the source has another address to go on with."""
    migration.start_destination()
    direct = migration.address
    migration.relay = Relay(direct)
    migration.start_source(connect=[migration.relay.address, direct])
    migration.source.open()
    migration.start_guest("source", "64M", 2).wait_word("running")
    migration.start_guest("destination", "64M", 2)
    migration.wait_state("active")


def check_guest_arrives(migration):
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == 0
    assert migration.destination.wait() == 0
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


def test_connection_cut_while_active_is_made_again(migration):
    start_with_second_address(migration)
    migration.relay.cut()
    migration.wait_state("setup")
    migration.wait_state("active")
    check_guest_arrives(migration)


def test_connection_cut_while_the_guest_stands_gives_it_back(migration):
    """Paused and not offered: it runs on at the source, and the next switch-over moves what it has
    written since."""
    start_with_second_address(migration)
    migration.relay.hold()
    migration.source.control.command("switchover")
    migration.source_guest.wait_word("paused")
    migration.relay.cut()
    migration.source_guest.wait_word("continued")
    migration.wait_state("setup")
    migration.wait_state("active")
    check_guest_arrives(migration)


def cut_and_arrive(migration, loads):
    """The guest runs on at the source, which connects again; a second switch-over moves it.  The
    destination's VMM has been asked to load so many device states in all."""
    migration.relay.cut()
    migration.source_guest.wait_word("continued")
    migration.wait_state("setup")
    migration.wait_state("active")
    assert migration.destination_guest.alive()
    check_guest_arrives(migration)
    for agent in (migration.source, migration.destination):
        assert agent.outcome()["outcome"] == "completed"
    events = migration.destination.control.drain()
    assert [event["event"] for event in events].count("NEED_DEVICE_LOAD") == loads


def test_connection_cut_in_the_device_state(migration):
    """PAUSED has arrived, and the device state has not."""
    start_with_second_address(migration)
    migration.relay.hold()
    migration.relay.let(PART_OF_STATE)
    migration.source.control.command("switchover")
    migration.source_guest.wait_word("paused")
    migration.relay.wait_stalled()
    migration.destination.control.wait_state("postcopy-device")
    cut_and_arrive(migration, loads=1)


def switch_over_up_to_the_load(migration):
    """The device state has arrived, and the destination's VMM is blocked in it: loading touches
    memory, and of the page that it waits for only the beginning has come."""
    start_with_second_address(migration)
    migration.relay.hold()
    migration.relay.let(STATE_AND_PART_OF_PAGE)
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("loading")
    migration.relay.wait_stalled()


def test_connection_cut_while_the_state_is_loaded(migration):
    """What the VMM waits for in the first load comes from the memory of the second switch-over."""
    switch_over_up_to_the_load(migration)
    cut_and_arrive(migration, loads=2)


def load_unheard(migration):
    """The VMM has loaded the state, and nothing passes towards the source."""
    switch_over_up_to_the_load(migration)
    migration.relay.hold_back()
    migration.relay.release()
    migration.destination_guest.wait_word("ready")


def test_connection_cut_when_ready_is_on_its_way(migration):
    """READY is on record at the destination, and the source does not hear of it."""
    load_unheard(migration)
    # The VMM has said it already; no event tells of a record.
    migration.wait_status(migration.destination, lambda status: status["record"] == "READY")
    cut_and_arrive(migration, loads=2)


def offer(migration):
    """The source hears READY; its COMMIT does not come through."""
    load_unheard(migration)
    migration.relay.hold()
    migration.relay.let_back()
    migration.wait_status(migration.source, lambda status: status["record"] == "OFFERED")


def abort(migration):
    """Cancelled behind the offer: ABORT does not come through either."""
    offer(migration)
    migration.source.control.command("cancel")


def serve(migration):
    """RUN has come, and most pages have not gone."""
    migration.start_serving()


@pytest.mark.parametrize(
    "bring, state, record",
    [
        (offer, "postcopy-device", "OFFERED"),
        (abort, "postcopy-device", "OFFERED"),
        (serve, "postcopy-active", "GONE"),
    ],
)
def test_fenced_behind_a_link_that_looks_up(migration, bring, state, record):
    """The destination's machine is gone without a word, and the source cannot know."""
    bring(migration)
    # Both ways: a byte that the relay cannot deliver would tell it, and so the source, of the end.
    migration.relay.hold()
    migration.relay.hold_back()
    migration.destination_guest.kill()
    migration.destination.kill()
    source = migration.source
    migration.check_idle(source)
    status = source.control.command("query-migrate")
    assert (status["state"], status["record"]) == (state, record)
    source.control.command("resolve", {"destination": "fenced"})
    assert source.wait() == 130
    told = [event["event"] for event in source.control.drain()]
    assert not {"OUTAGE", "IN_DOUBT"} & set(told), told
    assert source.record() == "KEPT"
    assert source.outcome()["outcome"] == "source-intact"
    migration.check_source_guest_runs()


@pytest.mark.smoke
def test_destination_killed_before_the_offer(migration):
    migration.start("64M", 2, source={"connect_timeout": GIVES_UP})
    migration.destination.kill()
    assert migration.source.wait() == 69
    assert migration.source.outcome()["outcome"] == "source-intact"
    migration.check_source_guest_runs()


def test_source_killed_before_the_offer_leaves_the_destination_listening(migration):
    migration.start("64M", 1)
    migration.source.kill()
    migration.destination.control.wait_state("setup")
    assert migration.destination.alive()
    migration.destination.control.command("cancel", {})
    assert migration.destination.wait() == 130


def test_destination_vmm_killed_after_run_is_lost(migration):
    migration.start_serving()
    migration.destination_guest.kill()
    destination = migration.destination
    destination.control.wait_event("VMM_LOST")
    assert destination.wait() == 65
    assert destination.outcome()["outcome"] == "lost"
    migration.source.control.wait_state("postcopy-paused")
    assert migration.source.alive()


def test_source_vmm_killed_before_the_switchover(migration):
    migration.start("64M", 1)
    migration.source_guest.kill()
    assert (migration.source.wait(), migration.destination.wait()) == (71, 130)


def test_destination_vmm_killed_before_it_has_loaded(migration):
    """The destination gives up: that is what the source hears."""
    migration.start("64M", 1)
    migration.destination_guest.kill()
    assert (migration.source.wait(), migration.destination.wait()) == (76, 71)
    migration.check_source_guest_runs()


@pytest.mark.faults
@pytest.mark.parametrize("point", ["ready-heard", "offered"])
def test_destination_vmm_killed_in_ready(migration, point):
    """ABORTED is on record there.  READY had been said before, so the source has offered when it hears of it:
    it ends as if it had been cancelled."""
    migration.start("64M", 1, source={"fault": point + "=stop"})
    # Not command(): the agent may stand before it answers.
    migration.source.control.send_line(b'{"execute": "switchover"}')
    migration.source.wait_stopped()
    migration.destination_guest.kill()
    assert migration.destination.wait() == 71
    assert migration.destination.record() == "ABORTED"
    migration.source.resume()
    assert migration.source.wait() == 130
    assert migration.source.record() == "KEPT"
    for agent in (migration.source, migration.destination):
        assert agent.outcome()["outcome"] == "source-intact"
    migration.check_source_guest_runs()


@pytest.mark.smoke
def test_source_vmm_killed_after_run_and_then_the_destination_is_lost(migration):
    """Both records leave the guest at the source, and the VMM that it stood in is dead: nobody has it."""
    migration.start_serving()
    source = migration.source
    migration.source_guest.kill()
    source.control.wait_event("VMM_LOST")
    migration.destination.kill()
    source.control.wait_state("postcopy-paused")
    source.control.command("resolve", {"destination": "fenced"})
    assert source.wait() == 65
    outcome = source.outcome()
    assert (outcome["outcome"], outcome["owner"], outcome["record"]) == ("lost", None, "KEPT")
    assert "nobody has the guest" in outcome["reason"]
