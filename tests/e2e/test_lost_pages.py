# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_lost_pages.py - a page that the source cannot read: an error for whoever touches it, and an end for all.

Both agents are the real ones, and the tests are both VMMs: their memory file at the source loses its last
page once the guest has left.
"""
import concurrent.futures
import ctypes
import errno
import os

import pytest

import vmm_client as vmm
from processes import DEADLINE
from test_hostile_source import Vmm

PAGES = Vmm.size // vmm.PAGE
LAST = PAGES - 1


def content(page):
    return page.to_bytes(8, "little") * (vmm.PAGE // 8)


def access(memory, page):
    """What a thread of the VMM finds there: its bytes, or the errno that write(2) makes of SIGBUS."""
    out, into = os.pipe2(os.O_CLOEXEC)
    try:
        done = vmm.LIBC.write(into, ctypes.c_void_p(memory.address + page * vmm.PAGE), vmm.PAGE)
        return os.read(out, vmm.PAGE) if done == vmm.PAGE else ctypes.get_errno()
    finally:
        os.close(out)
        os.close(into)


@pytest.fixture
def scene(migration):
    """Up to RUN; nothing is pushed."""
    destination, source = migration.start_destination(), migration.start_source()
    machine = Vmm(destination)
    source.open()
    migration.wait_link()
    memory = vmm.Memory(Vmm.size)
    for page in range(PAGES):
        os.pwrite(memory.fd, content(page), page * vmm.PAGE)
    client = vmm.Client(source.vmm_socket)
    client.hello(vmm.SOURCE)
    client.regions([memory.region(trapped=False)])
    source.control.command("set-parameters", {"push": False})
    source.control.wait_state("active")
    source.control.command("switchover")
    client.wait("PAUSE")
    client.paused(vmm.device_state(), len(b"device state"))
    machine.load()
    machine.resume()
    destination.control.wait_state("postcopy-active")
    yield source, memory, destination, machine
    machine.close()
    client.close()
    memory.close()


def test_a_lost_page_is_an_error_and_the_migration_completes(scene):
    source, source_memory, destination, machine = scene
    os.ftruncate(source_memory.fd, LAST * vmm.PAGE)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for page, found in (LAST, errno.EFAULT), (3, content(3)):
            assert pool.submit(access, machine.memory, page).result(DEADLINE) == found
    event = destination.control.wait_event("PAGE_LOST")
    assert (event["data"]["page"], event["data"]["errno"]) == (LAST, errno.EIO)
    assert source.control.command("query-migrate")["pages"]["lost"] == 1
    source.control.command("set-parameters", {"push": True})
    machine.client.wait("COMPLETE")
    assert destination.wait() == 0 and source.wait() == 0
    outcome = destination.outcome()
    assert outcome["outcome"] == "completed"
    assert outcome["reason"].startswith("1 of its pages could not be read")
    pages = outcome["migrate"]["pages"]
    assert (pages["filled"], pages["lost"]) == (PAGES, 1)
    for page in range(LAST):
        assert machine.page(page) == content(page)
    assert access(machine.memory, LAST) == errno.EFAULT
