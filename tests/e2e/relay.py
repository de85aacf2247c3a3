# SPDX-License-Identifier: LGPL-2.1-or-later
"""relay.py - a TCP relay between source and destination: the network, with a tap and a pair of shears.

It forwards bytes unchanged.  With a budget it lets that many bytes pass towards the destination and
then stands still, so that a test can look at a migration that is half done for as long as it likes.
"""
import ctypes
import select
import socket
import struct
import threading
import time

import ports

CHUNK = 65536
TURN = 0.1  # seconds
SO_ATTACH_FILTER = 26
# socket(7): struct sock_fprog with a program of one instruction, BPF_RET | BPF_K: none of the packet is kept.
DROP = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
DROP_ALL = struct.pack("HxxxxxxP", 1, ctypes.addressof(DROP))


class Relay:
    def __init__(self, address, budget=None):
        host, port = address.rsplit(":", 1)
        self.target = (host, int(port))
        self.budget = budget  # bytes towards the destination; None: no limit
        self.most = None  # so many connections at a time, and who comes besides is closed; None: no limit
        self.back = True  # bytes pass towards the source
        self.share = None  # bytes towards the destination in a turn, shared by all connections; None: no limit
        self.turn = (0.0, {})  # when the next one begins, and what is left of this one by connection
        self.stalled = threading.Event()  # the budget is used up, down to its last byte
        self.pairs = []  # (from the source, to the destination)
        self.listener, self.address = ports.listen()
        self.wake, self.bell = socket.socketpair()
        self.order = None  # what the other thread wants: "release", "hold", "let", "hold back",
        # "let back", "snap", "shut", "open", "cut" or "stop"
        self.let_pass = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run, name="relay", daemon=True)
        self.thread.start()

    def obey(self, order):
        self.done.clear()
        self.order = order
        self.bell.send(b"!")
        if not self.done.wait(10):
            raise AssertionError(f"the relay did not {order}")

    def release(self):
        """From now on everything passes."""
        self.obey("release")

    def hold(self):
        """From now on nothing passes towards the destination."""
        self.obey("hold")

    def let(self, size):
        """After hold(): so many bytes pass towards the destination, and no more."""
        self.let_pass = size
        self.stalled.clear()
        self.obey("let")

    def wait_stalled(self, seconds=60):
        """Until all of the budget has passed."""
        if not self.stalled.wait(seconds):
            raise AssertionError(f"the relay still waits for {self.budget} bytes")

    def lose(self, number):
        """From now on the kernel drops whatever comes for that connection, the first being 0, from
        either end: nothing of it is acknowledged any more, while the others live."""
        for end in self.pairs[number]:
            end.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, DROP_ALL)

    def hold_back(self):
        """From now on nothing passes towards the source."""
        self.obey("hold back")

    def let_back(self):
        """After hold_back(): everything passes towards the source again."""
        self.obey("let back")

    def cut(self):
        """Every connection is reset, and nobody can connect again."""
        self.obey("cut")

    def snap(self):
        """Every connection is reset; others can be made."""
        self.obey("snap")

    def shut(self):
        """Every connection is reset, and others are refused until open()."""
        self.obey("shut")

    def open(self):
        """After shut(): at the same address again."""
        self.obey("open")

    def stop(self):
        if self.thread.is_alive():
            self.obey("stop")
            self.thread.join(10)
        for one in (self.wake, self.bell, self.listener):
            one.close()

    def close_pairs(self):
        for pair in self.pairs:
            for end in pair:
                # l_onoff 1, l_linger 0: close() sends a reset.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.close()
        self.pairs = []

    def accept(self):
        here, _ = self.listener.accept()
        if self.most is not None and len(self.pairs) >= self.most:
            here.close()
            return
        try:
            self.pairs.append((here, socket.create_connection(self.target, 10)))
        except OSError:
            here.close()

    def deal(self):
        """Begins a turn when it is time to, and says how long this one still is."""
        now = time.monotonic()
        if self.share is None:
            self.turn = (0.0, {})
            return None
        if now >= self.turn[0]:
            each = max(1, self.share // max(1, len(self.pairs)))
            self.turn = (now + TURN, dict.fromkeys(self.pairs, each))
        return self.turn[0] - now

    def room(self, pair):
        """So many bytes may pass towards the destination now."""
        limits = [CHUNK]
        if self.budget is not None:
            limits.append(self.budget)
        if self.share is not None:
            limits.append(self.turn[1].get(pair, 0))
        return min(limits)

    def forward(self, pair, readable):
        """Passes what came; False when one end is gone.  Blocks while the other end is full."""
        source, destination = pair
        try:
            if source in readable and self.room(pair) > 0:
                data = source.recv(self.room(pair))
                destination.sendall(data)
                if pair in self.turn[1]:
                    self.turn[1][pair] -= len(data)
                if self.budget is not None:
                    self.budget -= len(data)
                    if self.budget == 0:
                        self.stalled.set()
                if not data:
                    return False
            if destination in readable:
                data = destination.recv(CHUNK)
                source.sendall(data)
                if not data:
                    return False
        except OSError:
            return False
        return True

    def run(self):
        while True:
            inputs = [self.wake, self.listener] if self.listener.fileno() >= 0 else [self.wake]
            left = self.deal()
            for pair in self.pairs:
                if self.back:
                    inputs.append(pair[1])
                if self.room(pair) > 0:
                    inputs.append(pair[0])
            readable = select.select(inputs, [], [], left)[0]
            if self.wake in readable:
                self.wake.recv(1)
                order, self.order = self.order, None
                if order in ("release", "hold"):
                    self.budget = None if order == "release" else 0
                elif order == "let":
                    self.budget += self.let_pass
                elif order in ("hold back", "let back"):
                    self.back = order == "let back"
                elif order == "snap":
                    self.close_pairs()
                elif order == "open":
                    host, port = self.address.rsplit(":", 1)
                    self.listener = socket.create_server((host, int(port)))
                else:
                    self.close_pairs()
                    self.listener.close()
                self.done.set()
                if order == "stop":
                    return
                continue
            if self.listener in readable:
                self.accept()
            for pair in list(self.pairs):
                if not self.forward(pair, readable):
                    for end in pair:
                        end.close()
                    self.pairs.remove(pair)
