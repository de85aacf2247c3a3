# SPDX-License-Identifier: LGPL-2.1-or-later
"""gmem.py - has this kernel what guests on guest_memfd need?  Asked of KVM, not of what is tested."""
import fcntl
import os
import pathlib

import pytest

CREATE_VM = 0xAE01
CHECK_EXTENSION = 0xAE03
CAP_GUEST_MEMFD_FLAGS = 244
CAP_USERFAULT = 245  # not upstream; src/base/kvm_abi.h
FLAG_WRITE = 8


def missing():
    """What is not there, in words; "" where everything is."""
    try:
        kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"KVM ({error})"
    try:
        machine = fcntl.ioctl(kvm, CREATE_VM, 0)
        flags, userfault = (fcntl.ioctl(machine, CHECK_EXTENSION, number)
                            for number in (CAP_GUEST_MEMFD_FLAGS, CAP_USERFAULT))
        os.close(machine)
    finally:
        os.close(kvm)
    lacks = [] if flags & FLAG_WRITE else ["write(2) on guest_memfd"]
    return " and ".join(lacks if userfault > 0 else lacks + ["KVM userfault"])


def need():
    """scripts/check runs what is skipped here in tests/kernel's, and there nothing may be."""
    lacks = missing()
    if lacks and os.environ.get("PAGEFERRY_KERNEL"):
        pytest.fail(f"the test kernel lacks {lacks}")
    if lacks:
        pytest.skip(f"this kernel lacks {lacks}: tests/kernel/run has a kernel that does not")


def set_parameter(name, value):
    """Of the test kernel's KVM (tests/kernel/README.md); what it was."""
    path = pathlib.Path("/sys/module/kvm/parameters", name)
    if not path.exists():
        pytest.skip(f"this kernel has no {path}: tests/kernel's has")
    before = path.read_text().strip()
    path.write_text(str(value))
    return before
