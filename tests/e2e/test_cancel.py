# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_cancel.py - cancelled before the commit, the guest works on at the source."""
import dataclasses
import signal

import pytest

from control import Refused
from harness import GIVES_UP
from relay import Relay
from vmm_client import SOURCE, Client, Memory

pytestmark = pytest.mark.backing

# On the wire, the guest's device state has 2.5 KB, and an answer with a page of it 4.1 KB.
PART_OF_STATE = 1000
STATE_AND_PART_OF_PAGE = 4000
CANCELLED, UNREACHABLE = 130, 69


def check_end(agent, code, vmm_came=True):
    """Of its own accord, with the guest at the source; a side without a VMM knows of no guest."""
    assert agent.wait() == code
    assert agent.outcome()["outcome"] == ("source-intact" if vmm_came else None)
    assert agent.outcome()["owner"] == ("source" if vmm_came else None)
    assert agent.control.drain()[-1]["data"]["final"] is True
    assert agent.control.states()[-1] == ("cancelled" if code == CANCELLED else "failed")


def check_cancelled(migration):
    check_end(migration.source, CANCELLED)
    check_end(migration.destination, CANCELLED)
    migration.check_source_guest_runs()


# ---- at each phase, and at either side


def alone(migration):
    """Nobody has come: no VMM, no peer."""
    migration.start_destination()
    with_relay(migration, budget=0)


def without_vmms(migration):
    """The link stands."""
    migration.start_destination()
    with_relay(migration)
    migration.wait_link()


def without_destination_vmm(migration):
    without_vmms(migration)
    migration.start_guest("source", "16M", 1).wait_word("running")


def without_source_vmm(migration):
    without_vmms(migration)
    migration.start_guest("destination", "16M", 1).wait_word("accepted")


def active(migration):
    without_destination_vmm(migration)
    migration.start_guest("destination", "16M", 1)
    migration.wait_state("active")


def with_relay(migration, budget=None):
    migration.relay = Relay(migration.address, budget)
    migration.start_source(connect=migration.relay.address, connect_timeout=GIVES_UP)
    migration.source.open()


def switch_over(migration, let):
    """So many bytes come through behind the order to switch over."""
    active(migration)
    migration.relay.hold()
    migration.relay.let(let)
    migration.source.control.command("switchover")
    migration.source_guest.wait_word("paused")


def state_on_its_way(migration):
    """PAUSED has arrived, and the device state has not."""
    switch_over(migration, PART_OF_STATE)
    migration.relay.wait_stalled()
    migration.destination.control.wait_state("postcopy-device")


def loading(migration):
    """The destination's VMM waits in its load for a page of which only the beginning has come."""
    switch_over(migration, STATE_AND_PART_OF_PAGE)
    migration.destination_guest.wait_word("loading")
    migration.relay.wait_stalled()


def ready_unheard(migration):
    """READY is on record at the destination, and the source does not hear of it."""
    loading(migration)
    migration.relay.hold_back()
    migration.relay.release()
    migration.destination_guest.wait_word("ready")
    migration.wait_status(migration.destination, lambda status: status["record"] == "READY")


@dataclasses.dataclass
class Phase:
    bring: object  # a Migration -> nothing
    # How each side ends when it is cancelled at the source, and at the destination; None: it stays,
    # since nobody can tell it, until its own orchestrator cancels it too.
    at_source: tuple = (CANCELLED, CANCELLED)
    at_destination: tuple = (CANCELLED, CANCELLED)
    cut_for: str = ""  # the side at whose cancel the network is cut; else all passes again
    signal: bool = False  # also by SIGTERM


PHASES = [
    Phase(alone, (CANCELLED, None), (UNREACHABLE, CANCELLED)),
    Phase(without_vmms),
    Phase(without_destination_vmm),
    Phase(without_source_vmm),
    Phase(active, signal=True),
    Phase(state_on_its_way, signal=True),
    Phase(loading),
    # The source hears of ABORTED as little, but that the connection is gone, and finds nobody.
    Phase(ready_unheard, at_destination=(UNREACHABLE, CANCELLED), cut_for="destination"),
]


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize(
    "phase, by",
    [
        pytest.param(phase, by, id=f"{phase.bring.__name__}-{by}")
        for phase in PHASES
        for by in (["command", "signal"] if phase.signal else ["command"])
    ],
)
def test_cancel_in_each_phase(migration, phase, by, side):
    phase.bring(migration)
    agent = getattr(migration, side)
    ends = phase.at_source if side == "source" else phase.at_destination
    if by == "command":
        agent.control.command("cancel", {})
    else:
        agent.signal(signal.SIGTERM)
    if phase.cut_for == side:
        migration.relay.cut()
    else:
        migration.relay.release()
    for name, code in zip(("source", "destination"), ends):
        one = getattr(migration, name)
        if code is None:
            assert one.control.command("query-migrate")["state"] == "setup"
            one.control.command("cancel", {})
        check_end(one, code or CANCELLED, vmm_came=hasattr(migration, name + "_guest"))
    if hasattr(migration, "source_guest"):
        migration.check_source_guest_runs()


# ---- a source's VMM that does not answer


def test_cancel_while_the_vmm_does_not_pause(migration):
    """It owns its guest until it says PAUSED: it is told to go on, and its late answer is dropped."""
    without_vmms(migration)
    memory = Memory(16 << 20)
    client = Client(migration.source.vmm_socket)
    client.hello(SOURCE)
    half = memory.size // 2  # as pageferry-guest has it
    client.regions([
        memory.region(trapped=False, size=half),
        memory.region(trapped=False, id=1, gpa=half, size=half, offset=half),
    ])
    migration.start_guest("destination", "16M", 1)
    migration.wait_state("active")
    migration.source.control.command("switchover")
    client.wait("PAUSE")
    migration.destination.control.command("cancel", {})
    client.wait("CONTINUE_SOURCE")
    assert client.wait("ERROR").reason.startswith("the guest stays here: ")
    assert client.receive() is None
    check_end(migration.source, CANCELLED)
    check_end(migration.destination, CANCELLED)
    client.close()
    memory.close()


# ---- from the commit on


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
