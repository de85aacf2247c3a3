# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_comes_again.py - who comes to an agent that waits for its VMM: the same memory however it is described, and
nobody else's.

Filled into another file of the same size, a guest would read zeros; and a guest whose VMM has only been taken
for another one is not lost.
"""
import shutil

import pytest

import vmm_client as vmm
from both_vmms import PAGES, SIZE, BothVmms, access, content
from processes import DEADLINE
from test_exit_codes import check_ends
from test_keeper_gone import kill_both

FRESH, STANDS, LOADED, RESUMING, RUNS = 0, 1, 3, 4, 5  # vmm.proto, Stage
PAGE = 700


@pytest.fixture
def both(migration):
    it = BothVmms(migration)
    yield it
    it.close()


def come(agent, role, stage, region):
    client = vmm.Client(agent.vmm_socket)
    client.hello(role, f4=stage)
    client.regions([region])
    return client


def start_destination_again(migration, both):
    kill_both(both.destination)
    both.destination = migration.start_destination(listen=migration.address)
    both.client.close()


def start_source_again(migration, both):
    kill_both(both.source)
    both.source = migration.start_source()
    both.source.open()
    both.source.control.command("set-parameters", {"push": False})
    both.source_client.close()


def check_refused(agent, client, text):
    reason = client.wait("ERROR").reason
    assert text in reason
    assert client.receive() is None
    data = agent.control.wait_event("VMM_REFUSED")["data"]
    assert data["side"] == agent.side and text in data["reason"] and data["hint"]
    client.close()


def check_arrives(migration, both):
    assert both.touch(PAGE).result(DEADLINE) == content(PAGE)
    both.push()
    both.client.wait("COMPLETE")
    both.source_client.wait("RELEASE")
    assert [access(both.memory, page) for page in range(PAGES)] == [content(page) for page in range(PAGES)]
    check_ends(migration, (0, 0), ("GONE", "RUN"), ("completed", "completed"))


# ---- the destination


def test_descriptors_in_another_order_are_the_same_memory(migration, both):
    both.switch_over()
    start_destination_again(migration, both)
    both.client = vmm.Client(both.destination.vmm_socket)
    both.client.hello(vmm.DESTINATION, f4=RUNS)
    fds = [both.memory.uffd, both.memory.fd]  # Client.regions() begins with the file
    body = vmm.message(f1=[both.memory.region().encode(fds.index)], f2=True)
    both.client.say("REGIONS", body, fds)
    both.client.wait("REGIONS_ACCEPTED")
    check_arrives(migration, both)


@pytest.mark.parametrize("stage", [FRESH, RUNS])
@pytest.mark.parametrize("part", ["file", "userfaultfd", "place"])
def test_other_memory_is_refused_and_the_guest_waits_for_its_own(migration, both, part, stage):
    both.switch_over()
    start_destination_again(migration, both)
    other = vmm.Memory(SIZE)
    region = both.memory.region()
    if part == "file":
        region.fd = other.fd
    elif part == "userfaultfd":
        region.mapping = [(other.uffd, both.memory.address)]
    else:
        region.mapping = [(both.memory.uffd, other.address)]
    check_refused(both.destination, come(both.destination, vmm.DESTINATION, stage, region),
                  "other memory than before")
    both.client = come(both.destination, vmm.DESTINATION, RUNS, both.memory.region())
    both.client.wait("REGIONS_ACCEPTED")
    check_arrives(migration, both)
    other.close()


def test_a_guest_that_stands_waits_for_its_vmm_whoever_comes_and_goes(migration, both):
    """It was given back to the source, whose VMM is only slower than somebody else."""
    both.switch_over()
    start_source_again(migration, both)
    both.source.control.command("resolve", {"destination": "fenced"})
    other = vmm.Client(both.source.vmm_socket)
    other.hello(vmm.SOURCE)
    other.close()
    both.source_client = come(both.source, vmm.SOURCE, STANDS, both.source_memory.region(trapped=False))
    both.source_client.wait("CONTINUE_SOURCE")
    assert both.source.wait() == 130
    assert both.source.outcome()["outcome"] == "source-intact"


@pytest.mark.parametrize("stage", [LOADED, RESUMING])
def test_what_was_loaded_is_nothing_to_a_new_state_directory(migration, both, stage):
    """Where its guest is the source's record says; this agent must not."""
    both.reach_load()
    kill_both(both.destination)
    shutil.rmtree(both.destination.state_dir)
    destination = migration.start_destination(listen=migration.address)
    both.client.close()
    both.client = come(destination, vmm.DESTINATION, stage, both.memory.region())
    reason = both.client.wait("ERROR").reason
    assert "of a session not on record here" in reason and "the guest stays" not in reason
    assert destination.wait() == 76
    outcome = destination.outcome()
    assert (outcome["outcome"], outcome["owner"]) == (None, None)
    assert outcome["reason"] and outcome["hint"]


# ---- the source


@pytest.mark.parametrize("wrong", ["runs", "other file"])
def test_at_the_source_too(migration, both, wrong):
    """A guest that was given away does not run here; and another one's pages are not sent."""
    both.switch_over()
    start_source_again(migration, both)
    other = vmm.Memory(SIZE)
    if wrong == "runs":
        client = come(both.source, vmm.SOURCE, FRESH, both.source_memory.region(trapped=False))
        check_refused(both.source, client, "the VMM says that its guest runs, and the record is GONE")
    else:
        client = come(both.source, vmm.SOURCE, STANDS, other.region(trapped=False))
        check_refused(both.source, client, "other memory than before: the file of the region at 0x0")
    both.source_client = come(both.source, vmm.SOURCE, STANDS, both.source_memory.region(trapped=False))
    check_arrives(migration, both)
    other.close()


def test_a_new_state_directory_says_of_no_guest_that_it_is_here(migration, both):
    """It runs at the destination, and the source's agent has forgotten that: who is told that it stays here would
    let it go on."""
    both.switch_over()
    kill_both(both.source)
    shutil.rmtree(both.source.state_dir)
    both.source = migration.start_source()
    both.source.open()
    both.source_client.close()
    region = both.source_memory.region(trapped=False)
    region.size *= 2
    both.source_client = come(both.source, vmm.SOURCE, STANDS, region)
    reason = both.source_client.wait("ERROR").reason
    assert "the guest stays where it is" in reason and "stays here" not in reason
    assert both.source.wait() != 0
    assert both.source.outcome()["owner"] is None


def test_who_hung_up_on_a_source_that_lives_comes_again(migration, both):
    both.switch_over()
    both.source_client.close()
    both.source.control.wait_event("VMM_LOST")
    both.source_client = come(both.source, vmm.SOURCE, STANDS, both.source_memory.region(trapped=False))
    check_arrives(migration, both)


def test_who_comes_again_gets_its_guest_back(migration, both):
    """It had been lost while its guest stood, and is here when the destination gives that back."""
    both.reach_ready()
    both.client.wait("RESUME")
    both.source_client.close()
    both.source.control.wait_event("VMM_LOST")
    both.source_client = come(both.source, vmm.SOURCE, STANDS, both.source_memory.region(trapped=False))
    both.client.say("RESUME_REFUSED", vmm.message(f1=b"no room"))
    both.source_client.wait("CONTINUE_SOURCE")
    check_ends(migration, (130, 130), ("KEPT", "REFUSED"), ("source-intact", "source-intact"))
