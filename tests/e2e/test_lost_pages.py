# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_lost_pages.py - a page that the source cannot read: an error for whoever touches it, and an end for all.

Both agents are the real ones, and the tests are both VMMs: their memory file at the source loses its last
page once the guest has left.
"""
import contextlib
import errno
import os

import pytest

import vmm_client as vmm
from both_vmms import PAGES, BothVmms, access, content
from processes import DEADLINE

LAST = PAGES - 1
BEFORE = 64  # lost on the way to the source; a run of pushed pages begins here
EHWPOISON = 133  # asm-generic/errno.h


@contextlib.contextmanager
def bitmap(*lost):
    """A memfd in which these pages' bits are set."""
    fd = os.memfd_create("lost", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, sum(1 << page for page in lost).to_bytes(PAGES // 8, "little"))
    try:
        yield fd
    finally:
        os.close(fd)


def lost_pages(fd):
    bits = int.from_bytes(os.pread(fd, 2 * PAGES // 8, 0), "little")
    return [page for page in range(2 * PAGES) if bits >> page & 1]


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


@pytest.mark.parametrize("asked", [True, False], ids=["asked_for", "pushed"])
def test_what_was_lost_before_is_lost_again_and_handed_on(migration, asked):
    """To the source's file such a page is a hole, and it is not sent as the zeros that holes are."""
    with bitmap(BEFORE) as before, bitmap() as after, contextlib.closing(
            BothVmms(migration, zeros=(BEFORE, BEFORE + 1), bitmaps=(before, after))) as scene:
        scene.switch_over()
        os.ftruncate(scene.source_memory.fd, LAST * vmm.PAGE)
        if asked:
            found = {page: scene.touch(page).result(DEADLINE) for page in (BEFORE, BEFORE + 1, LAST)}
            assert found == {BEFORE: errno.EFAULT, BEFORE + 1: bytes(vmm.PAGE), LAST: errno.EFAULT}
            event = scene.destination.control.wait_event("PAGE_LOST")
            assert (event["data"]["page"], event["data"]["errno"]) == (BEFORE, EHWPOISON)
        scene.push()
        scene.client.wait("COMPLETE")
        assert lost_pages(after) == [BEFORE, LAST]
        assert [access(scene.memory, page) for page in (BEFORE - 1, BEFORE, BEFORE + 1)] == [
            content(BEFORE - 1), errno.EFAULT, bytes(vmm.PAGE)]
        assert scene.destination.wait() == 0 and scene.source.wait() == 0
        assert scene.destination.outcome()["migrate"]["pages"]["lost"] == 2
