# SPDX-License-Identifier: LGPL-2.1-or-later
"""ports.py - a port of its own for whoever listens on 127.0.0.1 in a test.

Tests run side by side, and many look for somebody who has gone, or start him again where he was.  What the kernel
chooses it may give to another test then.  These come in a row, for all sessions on this machine, from below
the kernel's own (ip_local_port_range in ip(7)).
"""
import fcntl
import os
import pathlib
import socket
import tempfile

FIRST, END = 16384, 32768
LAST = pathlib.Path(tempfile.gettempdir(), f"pageferry-e2e-port-{os.getuid()}")  # the last one that was given


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def own_address():
    """127.0.0.1:PORT; it has been nobody's for thousands of tests."""
    with open(LAST, "a+", encoding="ascii") as last:
        fcntl.flock(last, fcntl.LOCK_EX)
        last.seek(0)
        port = int(last.read() or FIRST)
        for _ in range(END - FIRST):
            port = port + 1 if port + 1 < END else FIRST
            if is_free(port):
                break
        else:
            raise AssertionError(f"no port from {FIRST} to {END} is free")
        last.truncate(0)
        last.write(str(port))
    return f"127.0.0.1:{port}"


def listen():
    """A listening socket there, and its address."""
    address = own_address()
    host, port = address.split(":")
    return socket.create_server((host, int(port))), address
