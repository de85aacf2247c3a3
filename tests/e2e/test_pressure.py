# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_pressure.py - too little of what an agent needs: each has its event or its exit, and no page is lost."""
import concurrent.futures
import ctypes
import errno
import os
import select
import signal
import time

import pytest

import vmm_client as vmm
from memgroup import MemoryGroup
from processes import DEADLINE, Late

MIB = 1 << 20
SIZE = 4 * MIB  # of a guest that is a test


@pytest.fixture
def group():
    """For agents; the migration's processes end before it does."""
    it = MemoryGroup()
    yield it
    it.close()


@pytest.fixture
def prepared(migration):
    """Up to RUN, with the tests as both VMMs; the destination's memory is allocated, nothing is pushed."""
    destination, source = migration.start_destination(), migration.start_source()
    here, there = vmm.Memory(SIZE), vmm.Memory(SIZE)
    os.posix_fallocate(here.fd, 0, SIZE)
    source.open()
    machine, client = vmm.Client(destination.vmm_socket), vmm.Client(source.vmm_socket)
    machine.hello(vmm.DESTINATION)
    machine.regions([here.region(populated=vmm.PREALLOCATED)])
    machine.wait("REGIONS_ACCEPTED")
    migration.wait_link()
    client.hello(vmm.SOURCE)
    client.regions([there.region(trapped=False)])
    source.control.command("set-parameters", {"push": False})
    source.control.wait_state("active")
    source.control.command("switchover")
    client.wait("PAUSE")
    client.paused(vmm.device_state(), len(b"device state"))
    machine.wait("LOAD")
    machine.say("READY")
    machine.wait("RESUME")
    machine.say("RESUMED")
    destination.control.wait_state("postcopy-active")
    yield destination, machine, here
    for one in machine, client, here, there:
        one.close()


def touch(memory, first, count):
    """As a vCPU would, which waits for each page."""
    for page in range(first, first + count):
        ctypes.c_char.from_address(memory.address + page * vmm.PAGE).value


def wait_kept(agent, event):
    """Until it is in the state directory: an agent that gets no memory cannot send either."""
    until, ended = time.monotonic() + DEADLINE, select.poll()
    ended.register(agent.pidfd, select.POLLIN)
    while f'"event":"{event}"' not in (agent.state_dir / "events").read_text():
        assert not ended.poll(10), agent.log_text()
        assert time.monotonic() < until, f"no {event}"


def test_a_limit_that_refuses_memory_is_told_and_raised_all_goes_on(group, migration):
    """Its clients and its VMM hear then what could not be sent, and in order."""
    group.refuse()
    migration.start_serving()
    destination = migration.destination
    group.add(destination.worker())
    group.limit(group.usage() + 16 * MIB)
    migration.relay.release()
    wait_kept(destination, "OUT_OF_MEMORY")
    assert migration.destination_guest.alive()
    group.limit(None)
    told = destination.control.wait_event("OUT_OF_MEMORY")["data"]
    assert told["errno"] == errno.ENOMEM
    migration.destination_guest.wait_word("complete")
    assert (migration.source.wait(), destination.wait()) == (0, 0)
    seqs = [event["seq"] for event in destination.control.events]
    assert seqs == list(range(1, seqs[-1] + 1))
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


def test_what_no_memory_was_there_to_say_is_said_later(group, prepared, migration):
    """COMPLETE to the VMM, and answers to the orchestrator; no connection ends for that."""
    destination, machine, memory = prepared
    last = SIZE // vmm.PAGE - 1
    group.refuse()
    with concurrent.futures.ThreadPoolExecutor(1) as vcpu:
        vcpu.submit(touch, memory, 0, last).result(DEADLINE)
        group.add(destination.worker())
        group.limit(group.usage() + 4 * MIB)
        filler = group.fill()
        try:
            vcpu.submit(touch, memory, last, 1).result(DEADLINE)
            for _ in range(20):
                destination.control.send_line(b'{"execute": "query-migrate"}')
            with pytest.raises(Late):
                machine.receive(seconds=1)
        finally:
            group.limit(None)
            os.kill(filler, signal.SIGKILL)
            os.waitpid(filler, 0)
    machine.wait("COMPLETE")
    for _ in range(20):
        assert "return" in destination.control.next_other()
    destination.control.wait_state("completed")
    assert (destination.wait(), migration.source.wait()) == (0, 0)
