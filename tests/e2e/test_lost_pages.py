# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_lost_pages.py - a page that the source cannot read: an error for whoever touches it, and an end for all.

Both agents are the real ones, and the tests are both VMMs: their memory file at the source loses its last
page once the guest has left.
"""
import errno
import os

import pytest

import vmm_client as vmm
from both_vmms import PAGES, BothVmms, access, content
from processes import DEADLINE

LAST = PAGES - 1


@pytest.fixture
def scene(migration):
    both = BothVmms(migration)
    both.switch_over()
    yield both
    both.close()


def test_a_lost_page_is_an_error_and_the_migration_completes(scene):
    source, destination = scene.source, scene.destination
    os.ftruncate(scene.source_memory.fd, LAST * vmm.PAGE)
    for page, found in (LAST, errno.EFAULT), (3, content(3)):
        assert scene.touch(page).result(DEADLINE) == found
    event = destination.control.wait_event("PAGE_LOST")
    assert (event["data"]["page"], event["data"]["errno"]) == (LAST, errno.EIO)
    assert source.control.command("query-migrate")["pages"]["lost"] == 1
    scene.push()
    scene.client.wait("COMPLETE")
    assert destination.wait() == 0 and source.wait() == 0
    outcome = destination.outcome()
    assert outcome["outcome"] == "completed"
    assert outcome["reason"].startswith("1 of its pages could not be read")
    pages = outcome["migrate"]["pages"]
    assert (pages["filled"], pages["lost"]) == (PAGES, 1)
    for page in range(LAST):
        assert os.pread(scene.memory.fd, vmm.PAGE, page * vmm.PAGE) == content(page)
    assert access(scene.memory, LAST) == errno.EFAULT
