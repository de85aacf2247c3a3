# SPDX-License-Identifier: LGPL-2.1-or-later
"""ports.py - a port of its own for whoever listens on 127.0.0.1 in a test.

Tests run side by side, and many look for somebody who has gone, or start him again where he was.  What the kernel
chooses it may give to another test then.  These come in a row, for all sessions of a user, from below the kernel's
own (ip_local_port_range in ip(7)).
"""
import fcntl
import os
import pathlib
import random
import socket
import tempfile

FIRST, END = 16384, 32768  # of five digits each
LAST = pathlib.Path(tempfile.gettempdir(), f"pageferry-e2e-port-{os.getuid()}")  # the last one that was given
KERNELS = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def next_free(port):
    for _ in range(END - FIRST):
        port = port + 1 if port + 1 < END else FIRST
        if is_free(port):
            return port
    raise AssertionError(f"no port from {FIRST} to {END} is free")


def own_address():
    """127.0.0.1:PORT; it has been nobody's for thousands of tests."""
    assert KERNELS >= END, f"the kernel gives ports to anybody from {KERNELS} on: set net.ipv4.ip_local_port_range"
    last = os.open(LAST, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(last, fcntl.LOCK_EX)
        known = os.pread(last, 5, 0)
        port = next_free(int(known) if known.isdigit() else random.randrange(FIRST, END))
        os.pwrite(last, b"%d" % port, 0)
    finally:
        os.close(last)
    return f"127.0.0.1:{port}"


def listen():
    """A listening socket there, and its address."""
    address = own_address()
    host, port = address.split(":")
    return socket.create_server((host, int(port))), address
