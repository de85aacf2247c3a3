# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_hostile_vmm.py - a destination's VMM that changes what it has handed over, while its guest runs.

It harms its own guest at most: the agent tells what it found, serves on, and ends with the VMM.
"""
import errno
import fcntl
import os
import time

from processes import DEADLINE
from test_hostile_source import Vmm, scene, serve

F_SEAL_FUTURE_WRITE = 0x10


def wait_filled(destination, pages):
    until = time.monotonic() + DEADLINE
    while destination.control.command("query-migrate")["pages"]["filled"] < pages:
        assert time.monotonic() < until


def check_serves_on(destination, peer):
    """Main answers, and the urgent thread hears: it ends the connection at a lie."""
    assert destination.control.command("query-migrate")["record"] == "RUN"
    peer.say("frame 0 ABORT verdict=GONE")
    peer.check_gone(0)
    destination.control.wait_state("postcopy-paused")
    assert destination.alive()


def check_lost_with_its_vmm(destination, machine):
    machine.client.close()
    assert destination.wait() == 65


def test_a_file_that_is_sealed_later_is_no_want_of_memory(scene):
    destination, machine, peer = scene
    serve(scene)
    fcntl.fcntl(machine.memory.fd, fcntl.F_ADD_SEALS, F_SEAL_FUTURE_WRITE)
    peer.do("frame 1 PAGES page=3 count=1 body=4096")
    stuck = destination.control.wait_event("PAGE_STUCK")["data"]
    assert stuck == {
        "region": 0, "page": 3, "errno": errno.EPERM, "error": os.strerror(errno.EPERM),
    }
    assert "OUT_OF_MEMORY" not in destination.control.names()
    check_serves_on(destination, peer)
    check_lost_with_its_vmm(destination, machine)


def test_a_file_that_shrinks_grows_again_with_the_pages_that_come(scene):
    destination, machine, peer = scene
    serve(scene)
    os.ftruncate(machine.memory.fd, 0)
    peer.do("frame 1 PAGES page=3 count=1 body=4096")
    peer.do("frame 1 ZERO page=1023 count=1")
    wait_filled(destination, 2)
    assert os.fstat(machine.memory.fd).st_size == Vmm.size
    assert machine.page(3) == b"\x5a" * 4096
    check_serves_on(destination, peer)
    check_lost_with_its_vmm(destination, machine)


def test_a_userfaultfd_that_is_made_blocking_blocks_nobody(scene):
    destination, machine, peer = scene
    serve(scene)
    flags = fcntl.fcntl(machine.memory.uffd, fcntl.F_GETFL)
    fcntl.fcntl(machine.memory.uffd, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
    peer.do("frame 0 COMPLETE_ACK")
    check_serves_on(destination, peer)
    check_lost_with_its_vmm(destination, machine)
