# SPDX-License-Identifier: LGPL-2.1-or-later
"""processes.py - child processes whose every wait has a deadline and wakes on the event itself."""
import os
import pathlib
import select
import signal
import subprocess
import time

# In tests/kernel's, where a processor is emulated, everything takes some ten times as long.
SLOWER = 3 if os.environ.get("PAGEFERRY_KERNEL") else 1
DEADLINE = 60.0 * SLOWER  # seconds; for what takes one of them, on a slow machine with a sanitizer


class Late(AssertionError):
    """Something that was waited for did not happen in time."""


def left(until):
    return max(0.0, until - time.monotonic())


class Child:
    """A process with its stderr (and stdout, unless piped) in a log file."""

    def __init__(self, name, argv, folder, piped=False, pass_fds=(), env=None):
        self.name = name
        self.log = pathlib.Path(folder, name + ".log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(a) for a in argv],
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else log,
                stderr=log, pass_fds=pass_fds, env={**os.environ, **(env or {})},
            )
        self.pidfd = os.pidfd_open(self.process.pid)

    @property
    def pid(self):
        return self.process.pid

    @property
    def serving_pid(self):
        """Of the process that does the work: for an agent its worker."""
        return self.pid

    def alive(self):
        return self.process.poll() is None

    def wait(self, seconds=DEADLINE):
        """The exit status (minus the signal's number if one ended it)."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if not poll.poll(seconds * 1000):
            raise Late(f"{self.name} (pid {self.pid}) did not end within {seconds} s")
        return self.process.wait()

    def busy_seconds(self):
        """Processor time of each thread so far, by its name (proc(5), stat fields 14 and 15)."""
        busy = {}
        for task in pathlib.Path(f"/proc/{self.serving_pid}/task").iterdir():
            try:
                name = (task / "comm").read_text().strip()
                fields = (task / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # an attempt to connect that has just ended
            ticks = int(fields[11]) + int(fields[12])
            busy[name] = busy.get(name, 0) + ticks / os.sysconf("SC_CLK_TCK")
        return busy

    def own_memory(self, peak=False):
        """Bytes that this process alone takes (proc(5), RssAnon); peak: the most that was resident
        at once since reset_peak(), whatever kind."""
        name = "VmHWM:" if peak else "RssAnon:"
        for line in pathlib.Path(f"/proc/{self.serving_pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"{self.name} has no {name}")

    def reset_peak(self):
        pathlib.Path(f"/proc/{self.serving_pid}/clear_refs").write_text("5")  # proc(5): resets VmHWM

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.serving_pid}/fd"))

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.wait()

    def log_text(self):
        return self.log.read_text(errors="replace")

    def end(self):
        """For the clean-up: by the pid that we started, whatever state it is in."""
        if self.alive():
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()
        os.close(self.pidfd)


class Speaker(Child):
    """A process that reads commands and says lines."""

    def __init__(self, name, argv, folder):
        super().__init__(name, argv, folder, piped=True)
        self.lines = []
        self.taken = 0
        self.partial = b""

    def read(self, until):
        """Waits for more output; False at its end."""
        fd = self.process.stdout.fileno()
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(left(until) * 1000):
            raise Late(f"{self.name} said nothing more in time; the last of {len(self.lines)} lines: {self.lines[-8:]}")
        data = os.read(fd, 65536)
        with open(self.log, "ab") as log:
            log.write(data)
        self.partial += data
        *whole, self.partial = self.partial.split(b"\n")
        self.lines += [line.decode(errors="replace") for line in whole]
        return bool(data)

    def wait_line(self, matches, seconds=DEADLINE):
        """The next line, after the last one waited for, that matches."""
        until = time.monotonic() + seconds
        while True:
            while self.taken < len(self.lines):
                self.taken += 1
                if matches(self.lines[self.taken - 1]):
                    return self.lines[self.taken - 1]
            if not self.read(until):
                raise AssertionError(f"{self.name} ended; it said {self.lines}")

    def wait_word(self, word, seconds=DEADLINE):
        return self.wait_line(lambda line: line == word, seconds)

    def say(self, command):
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()


class Guest(Speaker):
    """pageferry-guest: says a word a line when something happens to it."""

    def __init__(self, name, program, folder, role, memory, vcpus, vmm_socket=None, more=()):
        argv = [program, "--role", role, "--memory", memory, "--vcpus", vcpus, *more]
        if vmm_socket:
            argv += ["--vmm-socket", vmm_socket]
        super().__init__(name, argv, folder)

    def wait_visits(self, count, seconds=DEADLINE):
        """Until the guest has made that many visits more than now."""
        goal = None
        until = time.monotonic() + seconds
        while True:
            self.say("status")
            line = self.wait_line(lambda text: text.startswith("visits: "), left(until))
            visits = int(line.split()[1])
            goal = visits + count if goal is None else goal
            if visits >= goal:
                return

    def finish(self, seconds=DEADLINE):
        """Stops the guest, compares every byte; its report as a dict.  That its agent has gone is
        an "error:" line too, and no reason to stop waiting."""
        self.say("finish")
        begin = self.taken
        self.wait_line(lambda line: line.startswith(("verdict:", "error: finish")), seconds)
        report = dict(line.split(": ", 1) for line in self.lines[begin : self.taken] if ": " in line)
        report["status"] = self.wait()
        return report
