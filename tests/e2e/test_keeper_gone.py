# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_keeper_gone.py - keeper and worker are both killed; somebody starts the agent again.

It is given what it was given before.  Its VMM has kept its descriptors, looks for an agent, and says how it
is and what memory it has: so nothing of the guest was in the agent.
"""
import shutil
import signal

import pytest

import vmm_client as vmm
from both_vmms import BothVmms, content
from processes import DEADLINE
from test_keeper import finish, wait_gone

pytestmark = pytest.mark.backing

STUBBORN = (("--reattach",), ("--reattach",))


ACCEPTED = 2  # proto/vmm.proto, Stage


def kill_both(agent):
    worker = agent.worker()
    agent.kill()
    wait_gone(worker)


def kill_agent(agent, guest):
    kill_both(agent)
    guest.wait_word("agent gone")


def start_again(migration, side):
    """By the same command line, but for a port of the kernel's choice, which is given now."""
    if side == "source":
        migration.start_source().open()
    else:
        migration.start_destination(listen=migration.address)
    getattr(migration, side + "_guest").wait_word("reattached")


@pytest.mark.smoke
@pytest.mark.parametrize("side", ["source", "destination"])
def test_in_set_up(migration, side):
    migration.start("64M", 2, guests=STUBBORN)
    kill_agent(getattr(migration, side), getattr(migration, side + "_guest"))
    start_again(migration, side)
    finish(migration)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_in_set_up_with_a_new_state_directory(migration, side):
    """What the agent had noted is lost: its VMM's memory is described, and trapped, as for the first time."""
    migration.start("64M", 2, guests=STUBBORN)
    agent = getattr(migration, side)
    kill_agent(agent, getattr(migration, side + "_guest"))
    shutil.rmtree(agent.state_dir)
    start_again(migration, side)
    finish(migration)


@pytest.fixture(name="both")
def both_vmms(migration):
    """Closed also where the test fails: a thread that is blocked would keep pytest from its end."""
    both = BothVmms(migration)
    yield both
    both.close()


def test_who_waited_for_an_agent_that_is_gone_with_its_state_directory(migration, both):
    """The event was read by the one that is gone, and a LOAD of it is still to be answered."""
    touched = both.touch(5)
    migration.wait_status(both.destination, lambda status: status["faults"]["open"] == 1)
    kill_both(both.destination)
    shutil.rmtree(both.destination.state_dir)
    both.client.close()
    both.destination = migration.start_destination(listen=migration.address)
    both.client = vmm.Client(both.destination.vmm_socket)
    both.client.say("HELLO", vmm.message(f1=1, f2=vmm.DESTINATION, f3=vmm.varint(1), f4=ACCEPTED, f5=1))
    both.client.regions([both.memory.region()])
    both.client.wait("REGIONS_ACCEPTED")
    both.client.say("READY")  # to that LOAD: it passes for no other
    both.destination.control.wait_state("active")
    both.source.control.wait_state("active")
    both.switch_over()
    assert touched.result(DEADLINE) == content(5)
    both.push()
    both.client.wait("COMPLETE")
    assert (both.source.wait(), both.destination.wait()) == (0, 0)


def test_both_in_set_up(migration):
    migration.start("64M", 1, guests=STUBBORN)
    for side in ("source", "destination"):
        kill_agent(getattr(migration, side), getattr(migration, side + "_guest"))
    for side in ("destination", "source"):
        start_again(migration, side)
    finish(migration)


def start_serving(migration):
    migration.start("64M", 1, budget=8 << 20, guests=STUBBORN)
    migration.source.control.command("switchover")
    migration.wait_state("postcopy-active")


def check_arrives(migration):
    migration.relay.release()
    migration.destination_guest.wait_word("complete")
    assert (migration.source.wait(), migration.destination.wait()) == (0, 0)
    assert "continued" not in migration.source_guest.lines
    assert migration.destination_guest.lines.count("resumed") == 1
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


def test_the_destination_behind_the_commit(migration):
    """The guest runs there; what it needs waits, and nothing reads zeros."""
    start_serving(migration)
    kill_agent(migration.destination, migration.destination_guest)
    migration.address = "%s:%d" % migration.relay.target
    start_again(migration, "destination")
    agent = migration.destination
    agent.control.wait_event("OUTAGE")
    migration.wait_status(agent, lambda status: status["pages"]["filled"] > 0)
    assert agent.control.command("query-migrate")["record"] == "RUN"
    check_arrives(migration)


def test_the_source_behind_the_commit(migration):
    """Its guest stands, and its memory is handed over again."""
    start_serving(migration)
    kill_agent(migration.source, migration.source_guest)
    start_again(migration, "source")
    migration.source.control.wait_event("OUTAGE")
    assert migration.source.record() == "GONE"
    check_arrives(migration)


def test_the_addresses_of_a_new_command_line_count(migration):
    """`recover` had others, in the place of those that the source was started with then."""
    start_serving(migration)
    migration.source.control.command("recover", {"connect": ["127.0.0.1:1"]})
    kill_agent(migration.source, migration.source_guest)
    migration.address = migration.direct
    start_again(migration, "source")
    check_arrives(migration)


def test_the_source_says_that_it_waits_for_its_vmm(migration):
    """Its memory died with its agent, and nothing is connected before it can be read again."""
    start_serving(migration)
    kill_agent(migration.source, migration.source_guest)
    migration.source_guest.signal(signal.SIGSTOP)
    source = migration.start_source(connect=migration.address)
    status = source.open().command("query-migrate")
    assert (status["state"], status["record"]) == ("postcopy-paused", "GONE")
    assert status["waits-for"].startswith("its VMM, which is to attach to --vmm-socket again")
    migration.source_guest.signal(signal.SIGCONT)
    source.control.wait_event("RECOVERED")
    check_arrives(migration)


def test_another_vmm_is_not_taken_for_the_one_that_ran(migration):
    """A new one comes to an agent whose guest runs already: that one's VMM may come yet, and only a person knows
    that it will not."""
    start_serving(migration)
    kill_agent(migration.destination, migration.destination_guest)
    migration.destination_guest.kill()
    migration.start_destination(listen="%s:%d" % migration.relay.target)
    migration.start_guest("destination", "64M", 1)
    assert "other memory" in migration.destination.control.wait_event("VMM_REFUSED")["data"]["reason"]
    assert migration.destination.control.command("query-migrate")["record"] == "RUN"
    migration.destination.control.command("cancel", {"lose-guest": True})
    assert migration.destination.wait() == 65
    assert migration.destination.outcome()["outcome"] == "lost"
