# SPDX-License-Identifier: LGPL-2.1-or-later
"""names.py - a name server for one name, which can fall silent, and agents that ask it."""
import os
import pathlib
import select
import socket
import struct
import threading

HEADER = 12  # RFC 1035, section 4.1.1
TYPE_A, CLASS_IN, TTL = 1, 1, 1
POINTER_TO_QUESTION = 0xC00C


def answer(query, addresses):
    """To one question: the addresses if it is for some of IPv4, else that there is none."""
    end = query.index(b"\0", HEADER) + 5  # the name's end, type and class
    kind, = struct.unpack(">H", query[end - 4:end - 2])
    records = [struct.pack(">HHHIH", POINTER_TO_QUESTION, TYPE_A, CLASS_IN, TTL, 4) + socket.inet_aton(address)
               for address in addresses if kind == TYPE_A]
    head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(records), 0, 0)
    return head + query[HEADER:end] + b"".join(records)


class NameServer:
    """Answers every name with the same addresses, in a namespace of pageferry-netfault's, where port 53 is nobody's."""

    def __init__(self, folder, network, space, at, *addresses):
        self.socket = network.socket(space, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with network.inside(space):
            self.socket.bind((at, 53))
        self.addresses, self.silent, self.asked = addresses, False, 0
        self.over, self.tell_over = os.pipe()
        self.config = pathlib.Path(folder, "resolv.conf")
        self.config.write_text(f"nameserver {at}\n")
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        poll.register(self.over, select.POLLIN)
        while not any(fd == self.over for fd, _ in poll.poll()):
            query, peer = self.socket.recvfrom(512)
            self.asked += 1
            if not self.silent:
                self.socket.sendto(answer(query, self.addresses), peer)

    def prefix(self):
        """In front of a command, whose /etc/resolv.conf then names this server alone; the pid stays."""
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, self.config]

    def end(self):
        os.write(self.tell_over, b"x")
        self.thread.join()
        self.socket.close()
        os.close(self.over)
        os.close(self.tell_over)
