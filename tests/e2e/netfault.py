# SPDX-License-Identifier: LGPL-2.1-or-later
"""netfault.py - drives pageferry-netfault by commands, and goes into the namespaces that it made."""
import contextlib
import ctypes
import os
import pathlib
import subprocess

import pytest

from processes import DEADLINE, Speaker

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """The answer was "error: ..."."""


def netfault():
    """PAGEFERRY_NETFAULT, or the one of the build tree that PAGEFERRY lies in."""
    path = os.environ.get("PAGEFERRY_NETFAULT") or pathlib.Path(
        os.environ["PAGEFERRY"]).parents[1] / "tests" / "netfault" / "pageferry-netfault"
    if not os.access(path, os.X_OK):
        raise RuntimeError(f"set PAGEFERRY_NETFAULT to the program in the build tree (not {path})")
    return str(path)


def run(*words, **more):
    """The program's end, with what it said."""
    return subprocess.run([netfault(), *map(str, words)], capture_output=True, text=True,
                          timeout=DEADLINE, check=False, **more)


@contextlib.contextmanager
def in_namespace(path):
    """This thread is in the network namespace; the sockets that it makes there stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(path, os.O_RDONLY)
    try:
        enter(there)
        yield
    finally:
        enter(home)
        os.close(there)
        os.close(home)


def enter(fd):
    if LIBC.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Network(Speaker):
    """pageferry-netfault --commands: a command a line, an answer a line."""

    def __init__(self, folder, *commands, seed=1):
        super().__init__("netfault", [netfault(), "--seed", seed, "--commands"], folder)
        self.spaces = {}  # name: path
        for command in commands:
            self.tell(command)

    def tell(self, command):
        """What the answer says beside "ok"."""
        self.say(command)
        answer = self.wait_line(lambda line: True)
        if answer.startswith("error: "):
            if "making a network namespace" in answer and os.geteuid() != 0:
                pytest.skip(f"network namespaces need root: {answer}")
            raise Refused(answer.removeprefix("error: "))
        assert answer == "ok" or answer.startswith("ok: "), answer
        detail = answer[4:]
        if command.split()[0] == "namespace":
            self.spaces[command.split()[1]] = detail
        return detail

    def inside(self, space):
        return in_namespace(self.spaces[space])

    def prefix(self, space):
        """In front of a command, which then runs there with the same pid."""
        return [netfault(), "exec", self.spaces[space]]

    def socket(self, space, make):
        with self.inside(space):
            return make()


def has_netem(network, port):
    """Whether the kernel has it: in the test kernel it must."""
    try:
        network.tell(f"netem {port} delay 1ms")
    except Refused as refused:
        if "no netem" not in str(refused) or os.environ.get("PAGEFERRY_KERNEL"):
            raise
        return False
    network.tell(f"heal {port}")
    return True


def two_hosts(network):
    """a and b, joined by one link: 192.0.2.1 and .2, and the same in IPv6."""
    for command in (
        "namespace a", "namespace b", "link a:eth0 b:eth0",
        "address a:eth0 192.0.2.1/24", "address b:eth0 192.0.2.2/24",
        "address a:eth0 2001:db8::1/64", "address b:eth0 2001:db8::2/64",
    ):
        network.tell(command)
