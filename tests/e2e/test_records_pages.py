# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_records_pages.py - one side stands on a page's way: no step of that changes whose the guest is.

As in test_records.py.  What a guest's own accesses lead to is tried with guests; what needs a page that
is discarded, punched, zero, lost or mapped by somebody else, with the test as both VMMs.
"""
import dataclasses
import errno
import fcntl
import os
import struct
from collections.abc import Callable

import pytest

import gmem
import vmm_client as vmm
from both_vmms import PAGES, BothVmms, PrivateMemory, content
from hugepages import need_pages
from processes import DEADLINE
from records import (
    AT_REST, ENTERED, LOADS, STANDS, Stop, begin, check_rules, check_stop, each,
)

pytestmark = pytest.mark.faults

UFFDIO_CONTINUE = 0xC020AA07


def stops(side, points, rest, records, destination):
    return [Stop(side, point, rest, records, STANDS, destination) for point in points.split()]


# The first page that anybody waits for is one that loading the device state touches; then what is pushed.
# Behind RESUME vCPUs ask for pages, and GONE is on record when the source has heard of RUN.
LOADING = [
    *stops("source", "request-heard page-read", AT_REST, "NONE NONE", LOADS),
    # With that page the state may be loaded.
    Stop("source", "pages-sent", AT_REST, "NONE NONE | NONE READY", STANDS, LOADS),
    *stops("destination", "event-read fault request-sent pages-heard claimed written filled popped",
           AT_REST, "NONE NONE", LOADS),
    Stop("destination", "mapped", AT_REST, "NONE NONE | NONE READY", STANDS, LOADS),
]
PUSHING = [
    *stops("source", "bulk-page-read bulk-pages-sent credit-heard", "word resumed", "GONE RUN", ENTERED),
    *stops("destination", "bulk-pages-heard bulk-claimed bulk-written bulk-filled bulk-mapped credit-sent",
           "record GONE", "GONE RUN", ENTERED),
]
HUGE = [
    Stop("destination", "allocated", AT_REST, "NONE NONE", STANDS, LOADS),
    Stop("destination", "bulk-allocated", "record GONE", "GONE RUN", STANDS, ENTERED),
]
# Of vCPUs that trap outside of userfaultfd.
EXITS = [
    Stop("destination", "let-in", AT_REST, "NONE NONE", STANDS, LOADS),
    Stop("destination", "bulk-let-in", "record GONE", "GONE RUN", STANDS, ENTERED),
    Stop("destination", "slot-set", AT_REST, "OFFERED RUN | GONE RUN", STANDS, ENTERED),
    Stop("destination", "resolved", AT_REST, "OFFERED RUN | GONE RUN", STANDS, ENTERED),
]


@pytest.mark.backing
@pytest.mark.parametrize("stop", each(LOADING + PUSHING))
def test_who_runs_while_a_page_is_on_its_way(migration, stop):
    check_rules(stop)
    begin(migration, **{stop.side: {"fault": stop.point + "=stop"}})
    check_stop(migration, stop)


@pytest.mark.parametrize("stop", each(HUGE))
def test_who_runs_while_a_huge_page_is_made(migration, stop):
    """So many pages that some are pushed: of a few, each could be asked for before it came on bulk."""
    check_rules(stop)
    need_pages(64)
    guests = [("--kinds", "hugetlb,hugetlb", "--mirror")] * 2
    begin(migration, "64M", guests=guests, **{stop.side: {"fault": stop.point + "=stop"}})
    check_stop(migration, stop)


@pytest.mark.gmem
@pytest.mark.parametrize("stop", each(EXITS))
def test_who_runs_while_a_vcpu_waits_outside(migration, stop):
    check_rules(stop)
    gmem.need()
    guests = [("--kinds", "guest_memfd,guest_memfd")] * 2
    begin(migration, guests=guests, **{stop.side: {"fault": stop.point + "=stop"}})
    check_stop(migration, stop)


# ---- the test is both VMMs

TOUCHED, ZERO, LAST = 5, 7, PAGES - 1


def touch(both, page):
    assert both.touch(page).result(DEADLINE) == content(page)


def punch(memory, page):
    flags = 0x3  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, which os.posix_fallocate() has not
    done = vmm.LIBC.fallocate(memory.fd, flags, vmm.off_t(page * vmm.PAGE), vmm.off_t(vmm.PAGE))
    assert done == 0


def map_as_the_vmm(both, page):
    """UFFDIO_CONTINUE of a page that is in the file, by who is free to."""
    at = both.memory.address + page * vmm.PAGE
    fcntl.ioctl(both.memory.uffd, UFFDIO_CONTINUE, bytearray(struct.pack("QQQq", at, vmm.PAGE, 0, 0)))


def first_page(both):
    """The first one in the destination's file."""
    return os.lseek(both.memory.fd, 0, os.SEEK_DATA) // vmm.PAGE


def trap_late(both):
    """A page that is here and not mapped any more."""
    touch(both, TOUCHED)
    assert both.discard(TOUCHED).result(DEADLINE) == 0
    return both.touch(TOUCHED)


def lose(both):
    os.ftruncate(both.source_memory.fd, (LAST - 1) * vmm.PAGE)


def trap_hole(both):
    touch(both, TOUCHED)
    punch(both.memory, TOUCHED)
    return both.touch(TOUCHED)


def touch_lost(both):
    lose(both)
    return both.touch(LAST)


def push_lost(both):
    lose(both)
    both.push()


@dataclasses.dataclass
class Step:
    """A stop that one access or one push leads to.

    act(): leads there; what a thread finds that waits meanwhile is `found`.  In a first stop, `before`,
    something happens to the first page that has come."""

    side: str
    point: str
    act: Callable
    found: object = None
    before: str = ""
    happens: Callable = None
    memory: type = vmm.Memory

    @property
    def id(self):
        return f"{self.side}-{self.point}"


STEPS = [
    Step("destination", "late-trap", trap_late, content(TOUCHED)),
    Step("destination", "woken", lambda both: both.touch(TOUCHED), content(TOUCHED), "filled",
         map_as_the_vmm),
    Step("destination", "bulk-woken", BothVmms.push, None, "bulk-filled", map_as_the_vmm),
    Step("destination", "hole-filled", trap_hole, bytes(vmm.PAGE)),
    Step("destination", "bulk-hole-filled", BothVmms.push, None, "bulk-written",
         lambda both, page: punch(both.memory, page)),
    Step("source", "zero-sent", lambda both: both.touch(ZERO), bytes(vmm.PAGE)),
    Step("destination", "zero-heard", lambda both: both.touch(ZERO), bytes(vmm.PAGE)),
    Step("source", "bulk-zero-sent", BothVmms.push),
    Step("destination", "bulk-zero-heard", BothVmms.push),
    Step("source", "page-error-sent", touch_lost, errno.EFAULT),
    Step("destination", "page-error-heard", touch_lost, errno.EFAULT),
    Step("source", "bulk-page-error-sent", push_lost),
    Step("destination", "bulk-page-error-heard", push_lost),
    Step("destination", "poisoned", touch_lost, errno.EFAULT),
    Step("destination", "lost", touch_lost, errno.EFAULT),
    Step("destination", "bulk-poisoned", push_lost),
    Step("destination", "bulk-lost", push_lost),
    Step("destination", "discard-read", lambda both: both.discard(TOUCHED), 0, memory=PrivateMemory),
]


@pytest.mark.parametrize("step", each(STEPS))
def test_records_while_a_page_is_in_trouble(migration, step):
    faults = ",".join(point + "=stop" for point in (step.before, step.point) if point)
    both = BothVmms(migration, memory=step.memory, zeros=[ZERO], **{step.side: {"fault": faults}})
    both.switch_over()
    standing = getattr(migration, step.side)
    waits = step.act(both)
    if step.before:
        standing.wait_stopped()
        step.happens(both, first_page(both))
        standing.resume()
    standing.wait_stopped()
    assert (migration.source.record(), migration.destination.record()) == ("GONE", "RUN")
    assert not both.source_was_told()
    standing.resume()
    if waits:
        assert waits.result(DEADLINE) == step.found
    both.push()
    both.client.wait("COMPLETE")
    assert (migration.source.wait(), migration.destination.wait()) == (0, 0)
    both.close()
