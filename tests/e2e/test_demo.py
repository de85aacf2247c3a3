# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_demo.py - `pageferry demo`: its report, its verdict when a byte is wrong, what it leaves."""
import os
import pathlib
import re
import select
import signal
import subprocess
import time

import pytest

import gmem
from harness import program
from hugepages import free_pages, need_pages
from processes import DEADLINE, Late, left

PAGE = 4096
MEMORY = 64 << 20
WALKED = 0x10000  # the guest's own pages are below
COUNTS = (
    "memory-bytes vcpus visits visits-before visits-during visits-after downtime-guest-us "
    "downtime-us total-ms pages pages-by-request pages-by-push pages-zero duplicates faults faults-vcpu "
    "faults-kvm faults-vmm "
    "pages-touched worst-stall-us"
).split()
RATES = (
    "fault-latency-p50-us fault-latency-p99-us fault-latency-max-us remote-faults-per-page-touched "
    "throughput-mb-per-s"
).split()
MISHAPS = ["cut-healed-to-page-ms", "source-killed-to-page-ms", "destination-killed-to-page-ms"]
NAMES = ["backend", "memory", "network", "cipher", *COUNTS, *RATES, "verdict"]


class Demo:
    """The demo while it runs: its progress on stderr, and the processes that it started."""

    def __init__(self, folder, *options, fault=None):
        self.stdout = pathlib.Path(folder, "stdout")
        self.temporary = pathlib.Path(folder, "tmp")
        self.temporary.mkdir()
        environment = {**os.environ, "TMPDIR": str(self.temporary)}
        if fault:
            environment["PAGEFERRY_FAULT"] = fault
        with open(self.stdout, "wb") as out:
            self.process = subprocess.Popen(
                [program("PAGEFERRY"), "demo", "--memory", "64M", "--vcpus", "2", *options],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, env=environment,
            )
        self.said = b""
        self.children = {}  # pid: command line

    def read(self, until):
        poll = select.poll()
        poll.register(self.process.stderr, select.POLLIN)
        if not poll.poll(left(until) * 1000):
            raise Late(f"the demo said nothing more in time; it said {self.said}")
        data = os.read(self.process.stderr.fileno(), 65536)
        self.said += data
        return bool(data)

    def wait_said(self, pattern, seconds=DEADLINE):
        until = time.monotonic() + seconds
        while not re.search(pattern, self.said):
            assert self.read(until), f"the demo ended without {pattern}: {self.said}"

    def look_at_children(self):
        pid = self.process.pid
        for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            line = pathlib.Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
            self.children[int(child)] = line

    def pid_of(self, *words):
        found = [pid for pid, line in self.children.items() if set(words) <= set(line)]
        assert len(found) == 1, (words, self.children)
        return found[0]

    def guest(self, side):
        return self.pid_of("--role", side)

    def destination_agent(self):
        return self.pid_of("--listen")

    def wait(self, seconds=DEADLINE):
        """The exit status, and what it printed on stdout."""
        until = time.monotonic() + seconds
        while self.read(until):
            pass
        return self.process.wait(left(until)), self.stdout.read_text().splitlines()

    def check_nothing_is_left(self):
        """Only for a demo whose children were looked at while all of them were there."""
        assert len(self.children) == 4, self.children
        for pid, line in self.children.items():
            assert not pathlib.Path(f"/proc/{pid}").exists(), line
            if "--state-dir" in line:
                state = pathlib.Path(line[line.index("--state-dir") + 1])
                assert not state.parent.exists()
        assert not list(self.temporary.iterdir())

    def end(self):
        """After a test that failed: the demo tidies up, or else the kernel ends its children."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGCONT)  # it may be stopped
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stderr.close()


@pytest.fixture
def demo(folder):
    it = Demo(folder)
    yield it
    it.end()


def values(lines):
    return dict(line.split(": ", 1) for line in lines)


@pytest.mark.smoke
def test_demo_reports_and_leaves_nothing(demo):
    demo.wait_said(rb"source +active")
    demo.look_at_children()
    status, lines = demo.wait()
    assert status == 0, demo.said
    assert lines[-1] == f"verdict: identical ({MEMORY} bytes)"
    report = values(lines)
    # A machine that stands still for a second and a half has outages, which are told.
    assert [name for name in report if name != "outages"] == NAMES
    for name in COUNTS:
        assert re.fullmatch(r"\d+", report[name]), (name, report)
    for name in RATES:
        assert re.fullmatch(r"\d+\.\d+", report[name]), (name, report)
    # It was post-copy, and the guest worked all the time.
    for name in ("visits-before", "visits-during", "visits-after", "faults", "pages-by-request"):
        assert int(report[name]) > 0, (name, report)
    assert int(report["pages-touched"]) > 0, report
    assert int(report["memory-bytes"]) == int(report["pages"]) * PAGE == MEMORY
    assert int(report["vcpus"]) == 2
    demo.check_nothing_is_left()


@pytest.mark.smoke
def test_demo_on_huge_pages(folder):
    need_pages(32)
    demo = Demo(folder, "--backend", "hugetlb", "--memory", "32M")
    try:
        status, lines = demo.wait()
    finally:
        demo.end()
    assert status == 0, demo.said
    report = values(lines)
    assert report["memory"] == "hugetlb"
    assert report["pages"] == "16"
    assert report["verdict"] == f"identical ({32 << 20} bytes)"


@pytest.mark.gmem
def test_demo_on_guest_memfd(folder):
    """Each of the three who can wait for a page did: vCPUs, KVM in their stead, the VMM."""
    gmem.need()
    demo = Demo(folder, "--backend", "guest_memfd", "--memory", "32M")
    try:
        status, lines = demo.wait(4 * DEADLINE)
    finally:
        demo.end()
    assert status == 0, demo.said
    report = values(lines)
    assert report["memory"] == "guest_memfd"
    for name in ("faults-vcpu", "faults-kvm", "faults-vmm"):
        assert int(report[name]) > 0, (name, report)
    assert report["verdict"] == f"identical ({32 << 20} bytes)"


@pytest.mark.faults
def test_an_outage_that_nobody_made_is_told_and_no_failure(folder):
    """The source stands still in the middle of push, for as long as it takes the destination to notice."""
    demo = Demo(folder, fault="push=stop")
    try:
        demo.wait_said(rb"source +active")
        demo.look_at_children()
        keeper = demo.pid_of("--connect")
        worker, = pathlib.Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
        demo.wait_said(rb"destination +OUTAGE")
        os.kill(int(worker), signal.SIGCONT)
        status, lines = demo.wait()
    finally:
        demo.end()
    assert status == 0, demo.said
    assert b"nobody has made this outage" in demo.said
    assert re.search(rb"OUTAGE.*destination +RECOVERED.*destination +completed", demo.said, re.DOTALL)
    report = values(lines)
    assert int(report["outages"]) >= 1
    assert report["verdict"] == f"identical ({MEMORY} bytes)"
    demo.check_nothing_is_left()


@pytest.fixture
def outage(folder):
    if os.geteuid() != 0:
        pytest.skip("pageferry demo --outage needs root")
    it = Demo(folder, "--outage")
    yield it
    it.end()


def test_a_cut_and_two_dead_workers_change_no_byte(outage):
    """Each only when the one before is over, all of them in post-copy."""
    outage.wait_said(rb"source +active")
    outage.look_at_children()
    source = outage.children[outage.pid_of("--connect")]
    assert source[source.index("--max-bandwidth") + 1] == str(MEMORY // 128)
    status, lines = outage.wait()
    assert status == 0, outage.said
    names = [line.split(":")[0] for line in lines]
    assert [name for name in names if name != "outages"] == [
        *NAMES[:-1], "cut-ms", *MISHAPS, "resent-after-resume", "verdict"
    ]
    report = values(lines)
    assert report["verdict"] == f"identical ({MEMORY} bytes)"
    assert report["resent-after-resume"] == "0"
    cut = int(report["cut-ms"])
    assert 5000 <= cut < 10000
    # The guest waited for a page all that time, and had stopped long before it.
    assert int(report["worst-stall-us"]) > 4_000_000
    assert int(report["downtime-us"]) < 1000 * cut
    for name in MISHAPS:
        assert re.fullmatch(r"\d+\.\d \(goal (100|250)\)", report[name]), (name, report)
    # Every page came once, whichever worker has counted it: what one had counted in the last
    # moment before it was killed is lost.
    pages = int(report["pages-by-request"]) + int(report["pages-by-push"])
    assert 0.9 * MEMORY // PAGE < pages <= MEMORY // PAGE, report
    steps = (rb"postcopy-active.*the link is cut.*OUTAGE.*OUTAGE.*the link is up again.*RECOVERED.*RECOVERED"
             rb".*the source's worker is killed.*source +WORKER_RESTARTED.*RECOVERED.*RECOVERED"
             rb".*the destination's worker is killed.*destination +WORKER_RESTARTED.*RECOVERED.*RECOVERED"
             rb".*push has no limit any more.*completed")
    assert re.search(steps, outage.said, re.DOTALL), outage.said
    assert outage.said.count(b"WORKER_RESTARTED") == 2
    outage.check_nothing_is_left()


def test_an_agent_that_does_not_come_back_is_named(outage):
    """Its keeper is killed in the cut: nobody starts another worker."""
    outage.wait_said(rb"source +active")
    outage.look_at_children()
    outage.wait_said(rb"the link is cut")
    os.kill(outage.destination_agent(), signal.SIGKILL)
    status, lines = outage.wait()
    assert status == 1, outage.said
    assert lines == []
    assert re.search(
        rb"pageferry demo: when the link is cut for 5 s: the destination agent did not recover: "
        rb"the destination agent \(pid \d+\) ended too early or badly: signal 9", outage.said
    ), outage.said
    outage.check_nothing_is_left()


@pytest.mark.smoke
def test_an_outage_that_cannot_be_made_is_71():
    if os.geteuid() != 0:
        pytest.skip("only root can have everything but the right to make network namespaces")
    run = subprocess.run(
        ["setpriv", "--bounding-set", "-sys_admin", program("PAGEFERRY"), "demo", "--outage"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE, check=False,
    )
    assert run.returncode == 71
    assert b"--outage needs two network namespaces" in run.stderr, run.stderr
    assert b"run it as root" in run.stderr


def run_demo(*options):
    return subprocess.run(
        [program("PAGEFERRY"), "demo", *options], stdin=subprocess.DEVNULL, capture_output=True,
        timeout=DEADLINE, check=False,
    )


@pytest.mark.smoke
def test_what_the_machine_lacks_is_71_and_said(folder):
    if gmem.missing():
        run = run_demo("--backend", "guest_memfd")
        assert run.returncode == 71
        for feature in (b"write(2) on guest_memfd", b"userfaultfd on guest_memfd", b"KVM userfault"):
            assert feature in run.stderr, run.stderr
        assert run.stdout == b""
    if free_pages() < 3072:
        run = run_demo("--backend", "hugetlb", "--memory", "3G")
        assert run.returncode == 71
        assert b"3072 huge pages of 2 MiB in all, and " in run.stderr
        assert b"/proc/sys/vm/nr_hugepages" in run.stderr


@pytest.mark.smoke
@pytest.mark.parametrize(
    "options",
    [["--memory", "1"], ["--vcpus", "5"], ["--backend", "floppy"], ["--frobnicate"],
     ["stray"], ["--memory"]],
    ids=" ".join,
)
def test_usage_errors_are_64(options):
    run = run_demo(*options)
    assert run.returncode == 64
    assert run.stdout == b""
    assert options[0].encode() in run.stderr


def memory_of(guest):
    """The guest's memory file, opened anew."""
    for fd in pathlib.Path(f"/proc/{guest}/fd").iterdir():
        if os.readlink(fd).startswith("/memfd:guest-memory"):
            return os.open(fd, os.O_RDWR | os.O_CLOEXEC)
    raise AssertionError(f"{guest} has no memory file")


def flip(memory, address, length):
    data = os.pread(memory, length, address)
    assert len(data) == length
    assert os.pwrite(memory, bytes(byte ^ 0xFF for byte in data), address) == length


def wait_end(pid):
    """Of a process that is not our child; it stays a zombie while its parent is stopped."""
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(DEADLINE * 1000), f"{pid} did not end"
    finally:
        os.close(pidfd)


def check_different(demo):
    status, lines = demo.wait()
    assert status == 1, demo.said
    assert re.fullmatch(
        r"verdict: DIFFERENT at 0x[0-9a-f]+ expected 0x[0-9a-f]{2} found 0x[0-9a-f]{2}", lines[-1]
    ), lines
    demo.check_nothing_is_left()
    return values(lines)


def stop_after_the_move(demo):
    """Stops the demo while the agents do the rest by themselves: all pages have come then, and it
    asks the guest for nothing before it goes on."""
    demo.wait_said(rb"source +active")
    demo.look_at_children()
    demo.wait_said(rb"destination +postcopy-active")
    demo.process.send_signal(signal.SIGSTOP)
    wait_end(demo.destination_agent())
    return memory_of(demo.guest("destination"))


def test_one_wrong_byte_is_found_and_named(demo):
    memory = stop_after_the_move(demo)
    address = WALKED + 5000 * PAGE + 4  # in an odd word, which nobody rewrites
    flip(memory, address, 1)
    os.close(memory)
    demo.process.send_signal(signal.SIGCONT)
    report = check_different(demo)
    assert f"at {address:#x} " in report["verdict"]


def test_a_guest_that_finds_it_itself_has_the_last_word(demo):
    """It says so and ends before anybody asks."""
    memory = stop_after_the_move(demo)
    for address in range(WALKED, MEMORY, 1 << 16):
        flip(memory, address, 1 << 16)
    os.close(memory)
    wait_end(demo.guest("destination"))
    demo.process.send_signal(signal.SIGCONT)
    report = check_different(demo)
    # What the agents measured is known, what the guest would have reported is not.
    assert int(report["pages"]) == MEMORY // PAGE
    assert "worst-stall-us" not in report


def test_a_wrong_byte_before_the_move_is_told_too(demo):
    demo.wait_said(rb"(source|destination) +active")
    demo.process.send_signal(signal.SIGSTOP)
    demo.look_at_children()
    guest = demo.guest("source")
    memory = memory_of(guest)
    for address in range(WALKED, MEMORY, 1 << 16):
        flip(memory, address, 1 << 16)
    os.close(memory)
    wait_end(guest)
    demo.process.send_signal(signal.SIGCONT)
    report = check_different(demo)
    assert set(report) <= {"backend", "memory", "network", "cipher", "visits", "verdict"}, report
