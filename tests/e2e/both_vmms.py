# SPDX-License-Identifier: LGPL-2.1-or-later
"""both_vmms.py - a migration between two real agents where the test is both VMMs.

The guest has 4 MiB and no vCPU: what touches its memory is a thread of the test's, which waits in the
kernel while the page has not come.  Nothing is pushed until push().
"""
import concurrent.futures
import ctypes
import json
import mmap
import os
import select

import vmm_client as vmm

SIZE = 4 << 20
PAGES = SIZE // vmm.PAGE
EVENT_REMOVE = 1 << 3  # userfaultfd(2)


def content(page):
    return page.to_bytes(8, "little") * (vmm.PAGE // 8)


class PrivateMemory(vmm.Memory):
    """Private anonymous memory, of which pages may be discarded."""

    def __init__(self, size):
        self.size = size
        self.fd = None
        self.map = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.bytes = ctypes.c_char.from_buffer(self.map)
        self.address = ctypes.addressof(self.bytes)
        self.uffd = vmm.make_uffd(features=EVENT_REMOVE)

    def region(self, trapped=True, **more):
        return super().region(trapped, kind=vmm.PRIVATE, discards=True, **more)


def access(memory, page):
    """What a thread of the VMM finds there: its bytes, or the errno that write(2) makes of SIGBUS."""
    out, into = os.pipe2(os.O_CLOEXEC)
    try:
        done = vmm.LIBC.write(into, ctypes.c_void_p(memory.address + page * vmm.PAGE), vmm.PAGE)
        return os.read(out, vmm.PAGE) if done == vmm.PAGE else ctypes.get_errno()
    finally:
        os.close(out)
        os.close(into)


class BothVmms:
    """source_memory has content() in every page but those of `zeros`; the agents' options may be given.
    bitmaps: of lost pages, the source's and the destination's."""

    def __init__(self, migration, memory=vmm.Memory, zeros=(), source=None, destination=None,
                 bitmaps=(None, None)):
        self.pushed = False
        self.threads = concurrent.futures.ThreadPoolExecutor()
        self.destination = migration.start_destination(**(destination or {}))
        self.source = migration.start_source(**(source or {}))
        self.memory = memory(SIZE)
        self.client = vmm.Client(self.destination.vmm_socket)
        self.client.hello(vmm.DESTINATION)
        self.client.regions([self.memory.region(bitmap_fd=bitmaps[1])])
        self.client.wait("REGIONS_ACCEPTED")
        self.source.open()
        migration.wait_link()
        self.source_memory = vmm.Memory(SIZE)
        for page in set(range(PAGES)) - set(zeros):
            os.pwrite(self.source_memory.fd, content(page), page * vmm.PAGE)
        self.source_client = vmm.Client(self.source.vmm_socket)
        self.source_client.hello(vmm.SOURCE)
        self.source_client.regions([self.source_memory.region(trapped=False, bitmap_fd=bitmaps[0])])
        self.source.control.command("set-parameters", {"push": False})
        self.source.control.wait_state("active")

    def reach_load(self):
        """The device state is here; the source may stand before it answers the order."""
        self.source.control.send_line(b'{"execute": "switchover"}')
        self.source_client.wait("PAUSE")
        self.source_client.paused(vmm.device_state(), len(b"device state"))
        self.client.wait("LOAD")

    def reach_ready(self):
        """And is loaded."""
        self.reach_load()
        self.client.say("READY")

    def switch_over(self):
        """Up to RUN, and GONE."""
        self.reach_ready()
        self.client.wait("RESUME")
        self.client.say("RESUMED")
        for agent in (self.destination, self.source):
            agent.control.wait_state("postcopy-active")

    def touch(self, page):
        """In a thread: a future of what it finds."""
        return self.threads.submit(access, self.memory, page)

    def discard(self, page):
        """MADV_DONTNEED, in a thread: it may stand until the event is read."""
        at = ctypes.c_void_p(self.memory.address + page * vmm.PAGE)
        return self.threads.submit(vmm.LIBC.madvise, at, vmm.PAGE, mmap.MADV_DONTNEED)

    def push(self):
        """Once.  Not command(): the source may stand before it answers."""
        if self.pushed:
            return
        self.pushed = True
        order = {"execute": "set-parameters", "arguments": {"push": True}}
        self.source.control.send_line(json.dumps(order).encode())

    def first_absent_page(self):
        """Of a file that came from its beginning."""
        return os.lseek(self.memory.fd, 0, os.SEEK_HOLE) // vmm.PAGE

    def source_was_told(self):
        """Has the source's VMM a message that it has not read?"""
        poll = select.poll()
        poll.register(self.source_client.socket, select.POLLIN)
        return bool(poll.poll(0))

    def close(self):
        """Not waiting for a thread that is blocked in a fault: it goes on when the agent has ended."""
        self.threads.shutdown(wait=False)
        self.client.close()
        self.source_client.close()
        self.memory.close()
        self.source_memory.close()
