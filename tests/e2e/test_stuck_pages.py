# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_stuck_pages.py - pages that the destination cannot write or map for now, and those that come behind them.

What makes a write fail is the destination agent's own limit on the size of files, which somebody raises
later: from that page on, pwrite(2) of the memory file is EFBIG.
"""
import errno
import os
import resource

import pytest

from both_vmms import PAGES, content
from processes import DEADLINE, Late
from test_hostile_vmm import wait_filled
from test_lost_pages import LAST, scene
from vmm_client import PAGE, map_over, register

FIRST_STUCK = PAGES // 2


def limit_files(agent, size):
    resource.prlimit(agent.serving_pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_what_is_behind_a_page_that_cannot_be_written_arrives_and_then_the_page(scene):
    source, destination = scene.source, scene.destination
    limit_files(destination, FIRST_STUCK * PAGE)
    touched = scene.touch(LAST)
    stuck = destination.control.wait_event("PAGE_STUCK")["data"]
    assert (stuck["page"], stuck["errno"]) == (LAST, errno.EFBIG)
    scene.push()  # which begins around the page that was touched, where nothing can be written
    wait_filled(destination, FIRST_STUCK)
    status = destination.control.command("query-migrate")
    assert (status["pages"]["filled"], status["faults"]["open"]) == (FIRST_STUCK, 1)
    assert not touched.done()
    limit_files(destination, resource.RLIM_INFINITY)
    assert touched.result(DEADLINE) == content(LAST)
    scene.client.wait("COMPLETE")
    assert destination.wait() == 0 and source.wait() == 0
    for page in range(PAGES):
        assert os.pread(scene.memory.fd, PAGE, page * PAGE) == content(page)


def test_what_a_mapping_does_not_show_holds_the_end_also_if_nobody_needs_it(scene):
    source, destination, memory = scene.source, scene.destination, scene.memory
    address, size = memory.address + FIRST_STUCK * PAGE, (LAST - FIRST_STUCK) * PAGE
    other = os.memfd_create("other", os.MFD_CLOEXEC)
    os.ftruncate(other, size)
    map_over(address, size, other)
    register(memory.uffd, address, size)
    scene.push()
    stuck = destination.control.wait_event("PAGE_STUCK")["data"]
    assert stuck["errno"] == errno.EFAULT and FIRST_STUCK <= stuck["page"] < LAST
    wait_filled(destination, PAGES)
    with pytest.raises(Late):
        scene.client.receive(1)
    assert destination.alive() and source.alive()
    map_over(address, size, memory.fd, FIRST_STUCK * PAGE)
    register(memory.uffd, address, size)
    scene.client.wait("COMPLETE")
    assert destination.wait() == 0 and source.wait() == 0
    for page in range(PAGES):
        assert os.pread(memory.fd, PAGE, page * PAGE) == content(page)
    os.close(other)
