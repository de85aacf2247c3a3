# SPDX-License-Identifier: LGPL-2.1-or-later
"""manager.py - a service manager's end of sd_notify(3): what it is told, and what it is given to keep."""
import array
import os
import socket
import sys
import threading

from processes import DEADLINE, Late

# Becomes the program, at the same pid, with the descriptors named by argv[2:] from 3 on.
HAND_ON = """
import os, sys
count = int(sys.argv[1])
fds = [os.dup(int(fd)) for fd in sys.argv[2:2 + count]]
high = [os.dup2(fd, 500 + at) for at, fd in enumerate(fds)]
for at, fd in enumerate(high):
    os.dup2(fd, 3 + at, inheritable=True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2 + count], sys.argv[2 + count:])
"""


class Manager:
    """Reads all the time, as a manager does."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.news = threading.Condition()
        self.kept = {}
        self.said = []
        self.closed = False
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def environment(self, watchdog_ms=None, room=None):
        """room: for how many descriptors; None: it does not say, as systemd before 254."""
        more = {"WATCHDOG_USEC": str(watchdog_ms * 1000)} if watchdog_ms else {}
        more.update({"FDSTORE": str(room)} if room is not None else {})
        return {"NOTIFY_SOCKET": self.path, **more}

    def read(self):
        while True:
            data, rights, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(4 * 16))
            if data == b"END":
                return
            fds = array.array("i")
            for _, _, packed in rights:
                fds.frombytes(packed)
            message = dict(line.split("=", 1) for line in data.decode().split("\n") if line)
            with self.news:
                self.take(message, data.decode(), fds)
                self.news.notify_all()

    def take(self, message, text, fds):
        if "FDSTOREREMOVE" in message:
            for fd in self.kept.pop(message["FDNAME"], []):
                os.close(fd)
        elif "FDSTORE" in message:
            self.kept.setdefault(message["FDNAME"], []).extend(fds)
        else:
            self.said.append(text)

    def wait_for(self, reached, seconds):
        with self.news:
            if not self.news.wait_for(reached, seconds):
                raise Late(f"the manager was told {self.said}, and keeps {sorted(self.kept)}")

    def wait(self, word, times=1, seconds=DEADLINE):
        self.wait_for(lambda: self.said.count(word) >= times, seconds)

    def wait_kept(self, names, seconds=DEADLINE):
        self.wait_for(lambda: set(names) <= set(self.kept), seconds)

    def forget_what_was_said(self):
        with self.news:
            self.said.clear()

    def start_with_kept(self):
        """For Agent: what to put before the command line, which environment, which descriptors."""
        pairs = [(name, fd) for name, fds in self.kept.items() for fd in fds]
        fds = [fd for _, fd in pairs]
        before = [sys.executable, "-c", HAND_ON, len(fds), *fds]
        environment = {"LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": ":".join(n for n, _ in pairs)}
        return before, {**self.environment(), **environment}, fds

    def close(self):
        """It is gone, with what it kept; once."""
        if self.closed:
            return
        self.closed = True
        end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        end.sendto(b"END", self.path)
        end.close()
        self.reader.join()
        self.socket.close()
        for fds in self.kept.values():
            for fd in fds:
                os.close(fd)
