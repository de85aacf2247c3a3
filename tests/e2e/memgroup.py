# SPDX-License-Identifier: LGPL-2.1-or-later
"""memgroup.py - control groups for a test: of memory, of cgroup v1 or v2, and of huge pages, of v2."""
import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
import time

import pytest

from processes import DEADLINE

V1, V2 = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")
HOLDER = """
import os, signal, sys
held = bytearray(int(sys.argv[1]))
for at in range(0, len(held), 4096):
    held[at] = 1
os.write(1, b"x")
signal.pause()
"""


class MemoryGroup:
    """Removed by close(), once the processes in it have ended."""

    def __init__(self):
        self.version = 1 if (V1 / "memory.limit_in_bytes").exists() else 2
        root = V1 if self.version == 1 else V2
        if self.version == 2 and "memory" not in self.words(root / "cgroup.subtree_control"):
            pytest.skip("no memory controller in the root of cgroup v2, and none of v1")
        if os.geteuid() != 0:
            pytest.skip("making a control group needs root")
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="pageferry-test-", dir=root))

    @staticmethod
    def words(path):
        return path.read_text().split() if path.exists() else []

    def add(self, pid):
        """What it has from here on is charged to the group; what it had is not."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def members(self):
        return {int(pid) for pid in self.words(self.path / "cgroup.procs")}

    def prefix(self, *command):
        """For Agent: begins in the group, and becomes what follows."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', self.path / "cgroup.procs", *command]

    def usage(self):
        name = "memory.usage_in_bytes" if self.version == 1 else "memory.current"
        return int((self.path / name).read_text())

    def limit(self, limit):
        """limit: bytes, or None for none."""
        name = "memory.limit_in_bytes" if self.version == 1 else "memory.max"
        none = "-1" if self.version == 1 else "max"
        (self.path / name).write_text(none if limit is None else str(limit))

    def tighten(self):
        """To what it has, less what the kernel can take back; v2 would kill for what it cannot."""
        self.limit(self.usage())
        with contextlib.suppress(OSError):
            while self.version == 1:
                self.limit(self.usage() - 4096)

    def refuse(self):
        """At the limit a system call gets less memory than it asked for, and nobody is killed: v1 alone."""
        if self.version != 1:
            pytest.skip("cgroup v2 kills at its limit; that is another test")
        (self.path / "memory.oom_control").write_text("1")

    def full(self):
        """Whether it is at its limit, and somebody has been refused more."""
        return (self.path / "memory.failcnt").read_text() != "0\n"

    def hold(self, size):
        """A process of its own that has so many bytes, all of them in the group, until it is killed."""
        holder = subprocess.Popen(
            ["sh", "-c", 'echo $$ > "$1" && exec /usr/bin/python3 -c "$2" "$3"', "holder",
             self.path / "cgroup.procs", HOLDER, str(size)], stdout=subprocess.PIPE)
        assert holder.stdout.read(1) == b"x"
        holder.stdout.close()
        return holder

    def fill(self):
        """A process of its own takes what the limit leaves, and holds it; its pid, to be killed.

        A call of it that is refused memory may leave it waiting for some, which does as well."""
        filler = os.fork()
        if filler == 0:
            try:
                self.add(os.getpid())
                fd = os.memfd_create("filler")
                while True:
                    os.write(fd, bytes(4096))
            finally:
                signal.pause()
        until = time.monotonic() + DEADLINE
        while not self.full():
            assert time.monotonic() < until, f"the group has {self.usage()} bytes"
            os.sched_yield()
        return filler

    def flood(self, file):
        """A process of its own writes into the file until the group's limit kills it; what it wrote stays."""
        flooder = os.fork()
        if flooder == 0:
            try:
                pathlib.Path("/proc/self/oom_score_adj").write_text("1000")
                self.add(os.getpid())
                while True:
                    os.write(file, bytes(4096))
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(flooder, 0)[1]) == -signal.SIGKILL

    def close(self):
        """A worker whose keeper was killed goes a moment later, and v1 tells nobody."""
        until = time.monotonic() + DEADLINE
        while self.members():
            assert time.monotonic() < until
            os.sched_yield()
        self.path.rmdir()


class HugePageGroup:
    """Of cgroup v2, wherever that is mounted: there it has this controller also where v1 has that of memory."""

    def __init__(self):
        mounts = [line.split() for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
        roots = [pathlib.Path(words[4]) for words in mounts if "cgroup2" in words[words.index("-"):]]
        if not roots:
            pytest.skip("cgroup v2 is not mounted")
        if "hugetlb" not in MemoryGroup.words(roots[0] / "cgroup.controllers"):
            pytest.skip(f"{roots[0]} has no hugetlb controller: CONFIG_CGROUP_HUGETLB, and not in use by v1")
        if os.geteuid() != 0:
            pytest.skip("making a control group needs root")
        # It stays on: another test may have a group of it, and to nobody else it makes a difference.
        (roots[0] / "cgroup.subtree_control").write_text("+hugetlb")
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="pageferry-test-", dir=roots[0]))

    def add(self, pid):
        (self.path / "cgroup.procs").write_text(str(pid))

    def limit(self, limit):
        (self.path / "hugetlb.2MB.max").write_text(str(limit))

    def close(self):
        until = time.monotonic() + DEADLINE
        while MemoryGroup.words(self.path / "cgroup.procs"):
            assert time.monotonic() < until
            os.sched_yield()
        self.path.rmdir()
