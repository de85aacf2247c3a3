# SPDX-License-Identifier: LGPL-2.1-or-later
"""hugepages.py - is the pool of 2 MiB pages large enough for a test?"""
import fcntl
import os
import pathlib

import pytest

POOL = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB")


def free_pages():
    """What nobody has taken or reserved; 0 where the kernel has no such pages."""
    try:
        free, reserved = (int((POOL / name).read_text())
                          for name in ("free_hugepages", "resv_hugepages"))
    except FileNotFoundError:
        return 0
    return free - reserved


class Pool:
    """Tests run side by side, and the pool has enough for one of them: until it is over, nobody else takes any."""

    held = None

    @classmethod
    def take(cls):
        if cls.held is None and POOL.exists():
            cls.held = os.open(POOL / "free_hugepages", os.O_RDONLY)
            fcntl.flock(cls.held, fcntl.LOCK_EX)

    @classmethod
    def leave(cls):
        if cls.held is not None:
            os.close(cls.held)
        cls.held = None


def need_pages(count):
    """For both guests at once; scripts/check sees to them where it may."""
    Pool.take()
    if free_pages() < count:
        pytest.skip(f"{free_pages()} huge pages of 2 MiB are free, {count} are needed: "
                    "raise the sysctl vm.nr_hugepages")
