# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_stuck_pages.py - pages that the destination cannot write for now, and those that come behind them.

What makes the write fail is the destination agent's own limit on the size of files, which somebody raises
later: from that page on, pwrite(2) of the memory file is EFBIG.
"""
import concurrent.futures
import errno
import resource

from processes import DEADLINE
from test_hostile_vmm import wait_filled
from test_lost_pages import LAST, PAGES, access, content, scene

FIRST_STUCK = PAGES // 2


def limit_files(agent, size):
    resource.prlimit(agent.serving_pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_what_is_behind_a_page_that_cannot_be_written_arrives_and_then_the_page(scene):
    source, _, destination, machine = scene
    limit_files(destination, FIRST_STUCK * 4096)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        touched = pool.submit(access, machine.memory, LAST)
        stuck = destination.control.wait_event("PAGE_STUCK")["data"]
        assert (stuck["page"], stuck["errno"]) == (LAST, errno.EFBIG)
        # Push begins around the page that was touched, where nothing can be written.
        source.control.command("set-parameters", {"push": True})
        wait_filled(destination, FIRST_STUCK)
        status = destination.control.command("query-migrate")
        assert (status["pages"]["filled"], status["faults"]["open"]) == (FIRST_STUCK, 1)
        assert not touched.done()
        limit_files(destination, resource.RLIM_INFINITY)
        assert touched.result(DEADLINE) == content(LAST)
    machine.client.wait("COMPLETE")
    assert destination.wait() == 0 and source.wait() == 0
    for page in range(PAGES):
        assert machine.page(page) == content(page)
