# SPDX-License-Identifier: LGPL-2.1-or-later
"""control.py - a client of the control socket: newline-delimited JSON, events with deadlines."""
import fcntl
import json
import select
import socket
import struct
import termios
import time

from processes import DEADLINE, Late, left


class Refused(Exception):
    """The agent's {"error": ...}."""

    def __init__(self, error):
        super().__init__(f"{error['class']}: {error['desc']}")
        self.error_class = error["class"]
        self.desc = error["desc"]


class Gone(Exception):
    """The agent closed the connection."""


class Control:
    def __init__(self, path, seconds=DEADLINE):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(seconds)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self.socket.setblocking(False)
        self.buffer = b""
        self.events = []  # by seq, each once, from the agent's first event on
        self.taken = 0
        self.answers = {}
        self.others = []  # answers without an id
        self.last_id = 0
        self.greeting = self.next_message(time.monotonic() + seconds)["pageferry"]

    def close(self):
        self.socket.close()

    def next_message(self, until):
        while b"\n" not in self.buffer:
            poll = select.poll()
            poll.register(self.socket, select.POLLIN)
            if not poll.poll(left(until) * 1000):
                raise Late(f"the agent said nothing in time; events so far: {self.names()}")
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Gone(f"the agent closed the connection; events: {self.names()}")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def receive(self, until):
        message = self.next_message(until)
        if "event" in message:
            self.add_event(message)
        elif "id" in message:
            self.answers[message["id"]] = message
        else:
            self.others.append(message)

    @property
    def last_taken(self):
        return self.events[self.taken - 1]["seq"]

    def add_event(self, event):
        if not self.events or event["seq"] > self.events[-1]["seq"]:
            self.events.append(event)

    def send_line(self, line):
        """A raw line, however wrong; its answer has no id, or one that cannot be known."""
        try:
            self.socket.sendall(line + b"\n")
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Gone(f"the agent closed the connection; events: {self.names()}") from error

    def wait_heard(self, seconds=DEADLINE):
        """Until the agent has read all that was said: nothing tells, but the socket knows (unix(7), SIOCOUTQ)."""
        until, ended = time.monotonic() + seconds, select.poll()
        ended.register(self.socket, 0)
        while struct.unpack("i", fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4)))[0] > 0:
            assert not ended.poll(10) and time.monotonic() < until, "the agent does not read"

    def next_other(self, seconds=DEADLINE):
        until = time.monotonic() + seconds
        while not self.others:
            self.receive(until)
        return self.others.pop(0)

    def command(self, name, arguments=None, seconds=DEADLINE):
        until = time.monotonic() + seconds
        self.last_id += 1
        message = {"execute": name, "id": self.last_id}
        if arguments is not None:
            message["arguments"] = arguments
        self.send_line(json.dumps(message).encode())
        while self.last_id not in self.answers:
            self.receive(until)
        answer = self.answers.pop(self.last_id)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["return"]

    def take_history(self):
        """What happened before this connection: afterwards `events` is complete."""
        history = self.command("query-events", {"since": 0})["events"]
        seen = {event["seq"]: event for event in history + self.events}
        self.events = [seen[seq] for seq in sorted(seen)]

    def wait_event(self, name, seconds=DEADLINE, **data):
        """The next event, after the last one waited for, of that name with that data."""
        until = time.monotonic() + seconds
        while True:
            while self.taken < len(self.events):
                event = self.events[self.taken]
                self.taken += 1
                if event["event"] == name and data.items() <= event["data"].items():
                    return event
            self.receive(until)

    def wait_state(self, state, seconds=DEADLINE):
        return self.wait_event("STATE", seconds, state=state)

    def drain(self, seconds=DEADLINE):
        """Everything until the agent closes the connection."""
        until = time.monotonic() + seconds
        try:
            while True:
                self.receive(until)
        except Gone:
            return self.events

    def names(self):
        return [
            event["event"] + (":" + event["data"]["state"] if event["event"] == "STATE" else "")
            for event in self.events
        ]

    def states(self):
        return [event["data"]["state"] for event in self.events if event["event"] == "STATE"]
