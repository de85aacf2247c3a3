# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_lost_pages.py - a page that the source cannot read: an error for whoever touches it, and an end for all.

Both agents are the real ones, and the tests are both VMMs: their memory file at the source loses its last
page once the guest has left.
"""
import contextlib
import ctypes
import errno
import mmap
import os

import pytest

import vmm_client as vmm
from both_vmms import PAGES, SIZE, BothVmms, access, content
from processes import DEADLINE

LAST = PAGES - 1
HUGE = 2 << 20
MADV_COLLAPSE = 25
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


def map_aligned(size, fd):
    """The file's first bytes, mapped where a huge page of it could be: its address, for as long as the process lives."""
    room = mmap.mmap(-1, size + HUGE)
    map_aligned.rooms.append(room)
    start = ctypes.addressof(ctypes.c_char.from_buffer(room))
    address = (start + HUGE - 1) // HUGE * HUGE
    vmm.map_over(address, size, fd)
    return address


map_aligned.rooms = []


class AlignedMemory(vmm.Memory):
    """Only of a mapping that a huge page fits into, the kernel takes the page tables."""

    def __init__(self, size):
        super().__init__(size)
        self.address = map_aligned(size, self.fd)


def collapse(fd, first=0):
    """Another mapping has huge pages made of the file, from page `first` on; errno, 0."""
    address = map_aligned(SIZE, fd)
    for at in range(first * vmm.PAGE, SIZE, HUGE):
        if vmm.LIBC.madvise(ctypes.c_void_p(address + at), ctypes.c_size_t(HUGE), MADV_COLLAPSE):
            return ctypes.get_errno()
    return 0


def need_collapse():
    fd = os.memfd_create("whole", os.MFD_CLOEXEC)
    os.write(fd, bytes(b"x" * SIZE))
    failed = collapse(fd)
    os.close(fd)
    if failed:
        pytest.skip(f"MADV_COLLAPSE of a memfd: {os.strerror(failed)}")


def test_a_lost_page_is_no_zeros_when_the_kernel_makes_huge_pages_of_the_file(migration):
    """That takes the poison away.  The VMM has its traps until it knows what is lost, and bars that."""
    need_collapse()
    with bitmap() as lost, contextlib.closing(
            BothVmms(migration, memory=AlignedMemory, bitmaps=(None, lost))) as scene:
        scene.switch_over()
        os.ftruncate(scene.source_memory.fd, LAST * vmm.PAGE)
        scene.push()
        scene.client.wait("COMPLETE")
        assert scene.destination.wait() == 0 and scene.source.wait() == 0
        # Not the last one: the lost page is still trapped, and what traps keeps its holes.
        collapse(scene.memory.fd)
        assert access(scene.memory, LAST) == errno.EFAULT
        scene.memory.bar(lost_pages(lost))
        scene.memory.close_uffd()
        assert collapse(scene.memory.fd) == 0
        assert [access(scene.memory, page) for page in (0, LAST - 1, LAST)] == [
            content(0), content(LAST - 1), errno.EFAULT]
