# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_exit_codes.py - rows of the table at the head of ARCHITECTURE.md: how both sides end, and with what.

Those that no test of their subject ends with: doubt and outage that somebody quits or resolves, a VMM
that breaks the rules or dies when it matters most, and trouble with pages that nobody ends for.
"""
import contextlib
import errno
import fcntl
import mmap
import os
import struct
import subprocess

import pytest

import vmm_client as vmm
from both_vmms import PAGES, SIZE, BothVmms, PrivateMemory, content
from control import Gone
from harness import Ended
from processes import DEADLINE
from test_link_lost import offer

UFFDIO_REGISTER, MODE_MISSING = 0xC020AA00, 1


def check_ends(migration, codes, records, outcomes):
    """The source's and the destination's; None: a process that was killed said nothing."""
    agents = migration.source, migration.destination
    assert tuple(agent.wait() for agent in agents) == codes
    assert tuple(agent.record() for agent in agents) == records
    for agent, outcome in zip(agents, outcomes):
        assert outcome is None or agent.outcome()["outcome"] == outcome, agent.side


# ---- between OFFERED and RUN


def test_quit_in_doubt_is_72(migration):
    """The destination waits in READY, and COMMIT will not come: it has to be told."""
    offer(migration)
    migration.relay.cut()
    source, destination = migration.source, migration.destination
    source.control.wait_event("IN_DOUBT")
    migration.wait_status(destination, lambda status: not status["peer"]["address"])
    assert source.control.command("switchover") == {}  # done already
    source.control.command("quit")
    assert source.wait() == 72
    assert "continued" not in migration.source_guest.lines
    assert (destination.alive(), destination.record()) == (True, "READY")
    destination.control.command("cancel", {})
    check_ends(migration, (72, 130), ("OFFERED", "ABORTED"), ("in-doubt", "source-intact"))


@pytest.mark.faults
def test_the_source_killed_in_offered_leaves_the_destination_in_ready(migration):
    migration.start("16M", 1, source={"fault": "offered=stop"})
    migration.source.control.send_line(b'{"execute": "switchover"}')
    migration.source.wait_stopped()
    assert migration.source.kill() == -9
    destination = migration.destination
    migration.wait_status(destination, lambda status: not status["peer"]["address"])
    status = destination.control.command("query-migrate")
    assert (status["state"], status["record"]) == ("postcopy-device", "READY")
    destination.control.command("cancel", {})
    check_ends(migration, (-9, 130), ("OFFERED", "ABORTED"), (None, "source-intact"))
    assert "resumed" not in migration.destination_guest.lines


@pytest.mark.faults
def test_a_destination_vmm_that_breaks_the_rules_in_ready(migration):
    """The tombstone is written, and the source, which has offered, takes its guest back."""
    both = BothVmms(migration, source={"fault": "offered=stop"})
    both.reach_ready()
    both.source.wait_stopped()
    both.client.say("RESUMED")  # nobody has said RESUME
    assert "RESUMED" in both.client.wait("ERROR").reason
    assert both.destination.wait() == 76
    both.source.resume()
    both.source_client.wait("CONTINUE_SOURCE")
    assert both.source_client.wait("ERROR").reason.startswith("the guest stays here: its destination will not run it")
    check_ends(migration, (130, 76), ("KEPT", "ABORTED"), ("source-intact", "source-intact"))
    both.close()


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_source_vmm_whose_guest_never_stood_hears_of_a_cancel(migration, side):
    both = BothVmms(migration)
    getattr(both, side).control.command("cancel", {})
    assert "the guest stays here: cancelled" in both.source_client.wait("ERROR").reason
    assert both.source_client.receive() is None
    check_ends(migration, (130, 130), ("NONE", "ABORTED"), ("source-intact", "source-intact"))
    both.close()


# ---- after RUN


@pytest.fixture
def both(migration):
    """Up to RUN."""
    it = BothVmms(migration)
    it.switch_over()
    yield it
    it.close()


def kill_the_destination(both):
    both.destination.kill()
    both.source.control.wait_state("postcopy-paused")


def test_who_gives_the_guest_up_in_an_outage_ends_with_65(migration, both):
    kill_the_destination(both)
    both.source.control.command("cancel", {"lose-guest": True})
    check_ends(migration, (65, -9), ("GONE", "RUN"), ("lost", None))


@pytest.mark.parametrize("side", ["source", "destination"])
def test_who_has_given_the_guest_up_says_so_whenever_he_is_started(migration, both, side):
    """The record cannot: by that alone the guest would run there."""
    agent = getattr(both, side)
    agent.control.command("cancel", {"lose-guest": True})
    assert agent.wait() == 65
    before = agent.outcome()
    with contextlib.suppress(Ended, Gone):  # before somebody can ask it
        getattr(migration, "start_" + side)()
    again = getattr(migration, side)
    assert again.wait() == 65
    assert "this guest was lost" in again.log_text()
    assert again.outcome()["outcome"] == before["outcome"] == "lost"
    assert again.outcome()["owner"] is None and again.outcome()["final"] is True


def test_a_destination_that_is_said_to_be_complete_releases_the_source(migration, both):
    kill_the_destination(both)
    assert not both.source_was_told()
    both.source.control.command("resolve", {"destination": "completed"})
    both.source_client.wait("RELEASE")
    check_ends(migration, (0, -9), ("GONE", "RUN"), ("completed", None))


def test_a_destination_vmm_that_breaks_the_rules_while_its_guest_runs_loses_it(migration, both):
    both.client.say("READY")  # nobody has said LOAD again
    assert "READY" in both.client.wait("ERROR").reason
    assert both.destination.wait() == 65
    both.source.control.wait_state("postcopy-paused")
    both.source.control.command("cancel", {"lose-guest": True})
    both.source_client.wait("ERROR")
    check_ends(migration, (65, 65), ("GONE", "RUN"), ("lost", "lost"))


def test_a_source_vmm_that_breaks_the_rules_when_its_guest_is_gone_costs_nothing(migration, both):
    both.source_client.hello(vmm.SOURCE)
    assert "HELLO twice" in both.source_client.wait("ERROR").reason
    assert both.source_client.receive() is None
    both.push()
    both.client.wait("COMPLETE")
    check_ends(migration, (0, 0), ("GONE", "RUN"), ("completed", "completed"))


@pytest.mark.faults
def test_a_complete_destination_lingers_until_somebody_quits_it(migration):
    """Every page is there, the VMM knows, and the source died before it said that it knows too."""
    both = BothVmms(migration, source={"fault": "complete-heard=stop"})
    both.switch_over()
    both.push()
    both.client.wait("COMPLETE")
    both.source.wait_stopped()
    assert both.source.kill() == -9
    assert both.destination.alive()
    both.destination.control.command("quit")
    check_ends(migration, (-9, 0), ("GONE", "RUN"), (None, "completed"))
    both.close()


def test_a_guest_that_comes_back_to_a_dead_vmm_is_lost(migration):
    both = BothVmms(migration)
    both.reach_ready()
    both.client.wait("RESUME")
    migration.wait_status(both.source, lambda status: status["record"] == "GONE")
    both.source_client.close()
    both.source.control.wait_event("VMM_LOST")
    both.client.say("RESUME_REFUSED")
    check_ends(migration, (65, 130), ("KEPT", "REFUSED"), ("lost", "source-intact"))
    assert both.source.outcome()["owner"] is None
    both.close()


@pytest.mark.faults
def test_private_memory_cannot_begin_anew(migration):
    """What had come of it could only be emptied by its own process.  The destination gives up as the connection
    ends, so the source hears of it only if it is there again already."""
    both = BothVmms(migration, memory=PrivateMemory, source={"fault": "pages-sent=cut", "connect_timeout": "2"})
    both.reach_load()
    # The load wants a page, and nobody has said READY when the connection ends behind that.
    assert both.touch(3).result(DEADLINE) == content(3)
    assert migration.destination.wait() == 76
    assert "private" in migration.destination.outcome()["reason"]
    both.source_client.wait("CONTINUE_SOURCE")
    assert both.source_client.wait("ERROR").reason.startswith("the guest stays here: ")
    assert migration.source.wait() in (69, 76)
    assert migration.source.outcome()["outcome"] == "source-intact"
    both.close()


# ---- trouble with pages


def check_completes(migration, both):
    both.push()
    both.client.wait("COMPLETE")
    check_ends(migration, (0, 0), ("GONE", "RUN"), ("completed", "completed"))
    for page in range(PAGES):
        assert os.pread(both.memory.fd, vmm.PAGE, page * vmm.PAGE) == content(page)


def test_a_fault_outside_of_every_region_makes_its_thread_wait_alone(migration, both):
    """Memory that the VMM has registered itself, and described to nobody."""
    outside = mmap.mmap(-1, vmm.PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    where = vmm.ctypes.addressof(vmm.ctypes.c_char.from_buffer(outside))
    fcntl.ioctl(both.memory.uffd, UFFDIO_REGISTER,
                bytearray(struct.pack("QQQQ", where, vmm.PAGE, MODE_MISSING, 0)))
    reader = both.touch((where - both.memory.address) // vmm.PAGE)
    told = both.destination.control.wait_event("FAULT_OUTSIDE")["data"]
    assert int(str(told["address"]), 0) == where
    check_completes(migration, both)
    assert not reader.done()
    both.memory.close_uffd()
    assert reader.result(DEADLINE) == bytes(vmm.PAGE)


@contextlib.contextmanager
def small_tmpfs(folder, size):
    path = folder / "memory"
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "pageferry-test", path],
                          capture_output=True, text=True, timeout=DEADLINE, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True, timeout=DEADLINE)


def test_a_vcpu_waits_for_memory_until_there_is_some(migration):
    with small_tmpfs(migration.folder, SIZE // 2) as path:
        file = os.open(path / "guest", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        both = BothVmms(migration, memory=lambda size: vmm.Memory(size, fd=file))
        both.switch_over()
        both.push()
        told = both.destination.control.wait_event("OUT_OF_MEMORY")["data"]
        assert (told["region"], told["errno"]) == (0, errno.ENOSPC)
        absent = both.first_absent_page()
        reader = both.touch(absent)
        both.destination.control.command("query-migrate")
        assert not reader.done()
        subprocess.run(["mount", "-o", f"remount,size={2 * SIZE}", path], check=True, timeout=DEADLINE)
        assert reader.result(DEADLINE) == content(absent)
        check_completes(migration, both)
        both.close()
