# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_netfault.py - pageferry-netfault: each fault is seen to act on real traffic, and to end.

Packets cross between two namespaces; what the kernel here lacks (netem) is skipped with its reason,
and may not be in tests/kernel's.
"""
import errno
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import time

import pytest

from netfault import Network, Refused, has_netem, netfault, run, two_hosts
from processes import DEADLINE, SLOWER

TOP = pathlib.Path(__file__).parents[2]
EXAMPLES = sorted((TOP / "tests" / "netfault" / "examples").glob("*.nf"))
PAGE = TOP / "tests" / "netfault" / "pageferry-netfault.1"
A, B = "192.0.2.1", "192.0.2.2"
QUIET = 0.3  # nothing came for so long: it will not come
NOBODY = 65534
SO_NO_CHECK = 11  # socket.h: a datagram goes without a checksum, so that a wrong byte arrives
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2


@pytest.fixture
def network(folder):
    it = Network(folder)
    yield it
    it.end()


@pytest.fixture
def hosts(network):
    two_hosts(network)
    return network


class Datagrams:
    """A socket in either host; sends numbered packets from a to b and says which came, in order."""

    def __init__(self, network, sender="a", receiver="b"):
        addresses = {"a": A, "b": B}
        self.here = network.socket(sender, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.there = network.socket(receiver, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.there.bind((addresses[receiver], 0))
        self.to = self.there.getsockname()
        self.poll = select.poll()
        self.poll.register(self.there, select.POLLIN)

    def send(self, number, size=16):
        self.here.sendto(number.to_bytes(size, "big"), self.to)

    def receive(self, seconds=QUIET * SLOWER):
        """The next packet's bytes; None: nothing came."""
        return self.there.recv(65536) if self.poll.poll(seconds * 1000) else None

    def through(self, seconds=DEADLINE):
        """Sends until one has come: the first wait for ARP, or for a link that is coming up."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.send(0)
            if self.receive() is not None:
                while self.receive() is not None:
                    pass
                return
        raise AssertionError("nothing comes through")

    def arrived(self, count):
        """Which of so many come."""
        came = []
        for number in range(count):
            self.send(number)
            while (data := self.receive(0)) is not None:
                came.append(int.from_bytes(data, "big"))
        while (data := self.receive()) is not None:
            came.append(int.from_bytes(data, "big"))
        return came


def connection(network, port=0):
    """TCP from a to b: (a's end, b's end)."""
    listener = network.socket("b", lambda: socket.create_server((B, port)))
    here = network.socket("a", lambda: socket.create_connection(listener.getsockname(), DEADLINE))
    there, _ = listener.accept()
    listener.close()
    return here, there


def comes(end, seconds=QUIET * SLOWER):
    return bool(select.select([end], [], [], seconds)[0])


def receive_all(end, size):
    data = b""
    while len(data) < size:
        more = end.recv(size - len(data))
        assert more, f"the connection ended after {len(data)} of {size} bytes"
        data += more
    return data


def transfer(ends, size):
    """The seconds that it takes, with somebody who reads meanwhile."""
    here, there = ends
    begin, sent, came = time.monotonic(), 0, 0
    here.setblocking(False)
    while came < size:
        readable, writable, _ = select.select([there], [here] if sent < size else [], [], DEADLINE)
        assert readable or writable, f"{came} of {size} bytes came, then nothing"
        if writable:
            sent += here.send(bytes(min(65536, size - sent)))
        if readable:
            more = len(there.recv(1 << 20))
            assert more, "the connection ended"
            came += more
    return time.monotonic() - begin


# ---- links


def test_a_link_that_is_down_passes_nothing_and_its_other_end_knows(hosts):
    packets = Datagrams(hosts)
    packets.through()
    hosts.tell("down a:eth0")
    with pytest.raises(OSError) as refused:
        packets.send(1)
    assert refused.value.errno == errno.ENETUNREACH
    carrier = ["sh", "-c", "mount -t sysfs none /sys && cat /sys/class/net/eth0/carrier"]
    there = [*hosts.prefix("b"), "unshare", "-m", *carrier]
    assert subprocess.run(there, capture_output=True, text=True, check=True).stdout == "0\n"
    hosts.tell("up a:eth0")
    packets.through()
    assert subprocess.run(there, capture_output=True, text=True, check=True).stdout == "1\n"


def test_addresses_of_both_families_survive_a_link_that_was_down(hosts):
    server = hosts.socket("b", lambda: socket.create_server(
        ("2001:db8::2", 0), family=socket.AF_INET6))
    for command in (None, "down b:eth0", "up b:eth0"):
        if command:
            hosts.tell(command)
    hosts.socket("a", lambda: socket.create_connection(server.getsockname()[:2], DEADLINE)).close()
    Datagrams(hosts).through()


def test_a_packet_longer_than_the_mtu_is_refused(hosts):
    packets = Datagrams(hosts)
    packets.through()
    packets.here.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    packets.send(7, 1400)
    assert len(packets.receive(DEADLINE)) == 1400
    hosts.tell("mtu a:eth0 1300")
    with pytest.raises(OSError) as refused:
        packets.send(7, 1300 - 27)
    assert refused.value.errno == errno.EMSGSIZE
    packets.send(7, 1300 - 28)
    assert len(packets.receive(DEADLINE)) == 1300 - 28


def test_a_bridge_joins_hosts_in_a_third_namespace(network):
    for command in (
        "namespace a", "namespace b", "namespace s", "link a:eth0 s:a", "link b:eth0 s:b",
        "bridge s:br0 s:a s:b", f"address a:eth0 {A}/24", f"address b:eth0 {B}/24",
    ):
        network.tell(command)
    packets = Datagrams(network)
    packets.through()
    network.tell("down s:br0")
    packets.send(1)
    assert packets.receive() is None
    network.tell("up s:br0")
    packets.through()


# ---- what is sent


def test_a_cut_is_silent_and_of_one_direction(hosts):
    there, back = Datagrams(hosts, "a", "b"), Datagrams(hosts, "b", "a")
    there.through()
    back.through()
    hosts.tell("cut a:eth0")
    for number in range(20):
        there.send(number)  # no error
        back.send(number)
    assert there.receive() is None
    assert [int.from_bytes(back.receive(DEADLINE), "big") for _ in range(20)] == list(range(20))
    hosts.tell("heal a:eth0")
    assert there.arrived(20) == list(range(20))


def test_a_rate_is_kept(hosts):
    ends, size = connection(hosts), 500_000
    free = transfer(ends, size)
    hosts.tell("rate a:eth0 8mbit burst 16K queue 200ms")
    limited = transfer(ends, size)
    # A million bytes a second, headers and what was lost in the queue beside.
    assert 0.9 * (size - 16384) / 1e6 < limited < 20 * SLOWER, limited
    hosts.tell("heal a:eth0 rate")
    assert max(free, transfer(ends, size)) < limited / 2


def fates(seed, ppm):
    """Which packets drop loses, one after the other; tests/netfault/drop.c."""
    state = seed
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        yield state >> 32 < (ppm << 32) // 1_000_000


@pytest.mark.parametrize("percent", [1, 30, 100])
def test_a_percentage_is_dropped_as_the_seed_says(hosts, percent):
    packets = Datagrams(hosts)
    packets.through()
    index = hosts.socket("a", lambda: socket.if_nametoindex("eth0"))
    hosts.tell(f"drop a:eth0 {percent}%")
    count = 1000
    came = set(packets.arrived(count))
    assert abs(len(came) - count * (100 - percent) / 100) <= 60
    # Neighbour discovery sends packets too, which draw their fate in between: but few.
    others, seen = 0, fates(1 + index, percent * 10_000)
    for number in range(count):
        while next(seen) != (number not in came):
            others += 1
            assert others < 20, f"packet {number} has another fate than its seed's"
    hosts.tell("heal a:eth0 drop")
    assert packets.arrived(200) == list(range(200))


def test_faults_of_one_interface_act_together_and_heal_apart(hosts):
    packets = Datagrams(hosts)
    packets.through()
    for command in ("rate a:eth0 8mbit", "drop a:eth0 50%", "cut a:eth0"):
        hosts.tell(command)
    assert packets.arrived(50) == []
    hosts.tell("heal a:eth0 cut")
    assert 0 < len(packets.arrived(50)) < 50
    hosts.tell("heal a:eth0 drop")
    assert packets.arrived(50) == list(range(50))
    assert transfer(connection(hosts), 300_000) > 0.2  # the rate has stayed


# ---- connections


def test_a_reset_reaches_both_ends_and_leaves_other_ports(hosts):
    one, two = connection(hosts), connection(hosts)
    port = one[1].getsockname()[1]
    assert hosts.tell(f"reset a port {port}") == "1 connections"
    assert comes(one[1], DEADLINE)
    with pytest.raises(ConnectionResetError):
        one[1].recv(1)
    with pytest.raises(ConnectionAbortedError):
        one[0].recv(1)
    two[0].sendall(b"!")
    assert receive_all(two[1], 1) == b"!"
    assert hosts.tell("reset b") == "1 connections"
    with pytest.raises(ConnectionResetError):
        two[0].recv(1)


@pytest.fixture
def relayed(hosts):
    """A relay beside a, in front of a server in b: (network, a function that connects)."""
    listener = hosts.socket("b", lambda: socket.create_server((B, 0)))
    hosts.tell(f"relay r a {A}:4444 {B}:{listener.getsockname()[1]}")

    def connect():
        here = hosts.socket("a", lambda: socket.create_connection((A, 4444), DEADLINE))
        there, _ = listener.accept()
        return here, there

    yield hosts, connect
    listener.close()


def test_a_relay_forwards_everything_both_ways_and_both_ends(relayed):
    _, connect = relayed
    here, there = connect()
    data = os.urandom(3_000_000)
    here.settimeout(DEADLINE)
    sent = 0
    received = b""
    while len(received) < len(data):
        readable, writable, _ = select.select([there], [here] if sent < len(data) else [], [], DEADLINE)
        assert readable or writable
        if writable:
            sent += here.send(data[sent:sent + 65536])
        if readable:
            received += there.recv(65536)
    assert received == data
    there.sendall(b"and back")
    assert receive_all(here, 8) == b"and back"
    here.shutdown(socket.SHUT_WR)
    assert there.recv(1) == b""
    there.sendall(b"still")
    assert receive_all(here, 5) == b"still"
    there.close()
    assert here.recv(1) == b""


@pytest.mark.parametrize("way", ["forward", "back", "both"])
def test_a_stalled_relay_forwards_nothing_that_way_and_loses_nothing(relayed, way):
    network, connect = relayed
    here, there = connect()
    network.tell(f"stall r {way}")
    here.sendall(b"forward")
    there.sendall(b"back")
    for name, end in (("forward", there), ("back", here)):
        if way in (name, "both"):
            assert not comes(end)
        else:
            assert receive_all(end, len(name)) == name.encode()
    network.tell("flow r")
    for name, end in (("forward", there), ("back", here)):
        if way in (name, "both"):
            assert receive_all(end, len(name)) == name.encode()


def test_a_garbled_byte_passes_tcp_where_the_seed_says(relayed):
    network, connect = relayed
    size, period = 200_000, 1000

    def changed(ends):
        ends[0].sendall(bytes(size))
        return [(at, byte) for at, byte in enumerate(receive_all(ends[1], size)) if byte]

    first = connect()
    assert changed(first) == []
    network.tell(f"garble r forward {period}")
    found = changed(first)
    assert size / period / 2 < len(found) < size / period * 2, len(found)
    assert {bin(byte).count("1") for _, byte in found} == {1}
    first[1].sendall(bytes(size))
    assert receive_all(first[0], size) == bytes(size)  # the other direction is as it was
    other = connect()
    assert changed(other) == []  # it is later than the garble
    network.tell(f"garble r forward {period}")
    second = changed(other)
    assert second and second != found
    network.tell("flow r")
    assert changed(first) == []
    # Another program with the same seed changes the same bits of its second connection.
    again = Network(network.log.parent)
    try:
        two_hosts(again)
        listener = again.socket("b", lambda: socket.create_server((B, 0)))
        again.tell(f"relay r a {A}:4444 {B}:{listener.getsockname()[1]}")
        ends = []
        for _ in range(2):
            here = again.socket("a", lambda: socket.create_connection((A, 4444), DEADLINE))
            ends.append((here, listener.accept()[0]))
        again.tell(f"garble r forward {period}")
        assert changed(ends[1]) == second
    finally:
        again.end()


def test_a_relay_without_a_target_resets_who_connects(hosts):
    hosts.tell(f"relay r a {A}:4444 {B}:1")
    with pytest.raises(ConnectionResetError):  # perhaps before connect(2) has returned
        here = hosts.socket("a", lambda: socket.create_connection((A, 4444), DEADLINE))
        here.recv(1)


# ---- netem


@pytest.fixture
def netem(hosts):
    if not has_netem(hosts, "a:eth0"):
        pytest.skip("this kernel has no netem: tests/kernel/run has one")
    packets = Datagrams(hosts)
    packets.through()
    return hosts, packets


def seconds_of(packets):
    begin = time.monotonic()
    packets.send(1)
    assert packets.receive(DEADLINE) is not None
    return time.monotonic() - begin


def test_a_kernel_without_netem_says_so_and_leaves_all_as_it_was(hosts):
    if has_netem(hosts, "a:eth0"):
        pytest.skip("this kernel has netem")
    hosts.tell("rate a:eth0 8mbit")
    with pytest.raises(Refused) as refused:
        hosts.tell("netem a:eth0 delay 10ms")
    assert "this kernel has no netem" in str(refused.value)
    assert "CONFIG_NET_SCH" in str(refused.value)
    assert transfer(connection(hosts), 300_000) > 0.2  # the rate is there again


@pytest.mark.netem
def test_netem_delays(netem):
    network, packets = netem
    network.tell("netem a:eth0 delay 300ms")
    assert seconds_of(packets) >= 0.3
    network.tell("netem a:eth0 delay 300ms jitter 200ms")
    spread = [seconds_of(packets) for _ in range(10)]
    assert min(spread) >= 0.1 and max(spread) - min(spread) > 0.03, spread
    network.tell("heal a:eth0 netem")
    assert min(seconds_of(packets) for _ in range(5)) < 0.1


@pytest.mark.netem
def test_netem_loses(netem):
    network, packets = netem
    network.tell("netem a:eth0 loss 30%")
    assert 550 < len(packets.arrived(1000)) < 850
    network.tell("heal a:eth0")
    assert packets.arrived(200) == list(range(200))


@pytest.mark.netem
def test_netem_duplicates(netem):
    network, packets = netem
    network.tell("netem a:eth0 duplicate 30%")
    came = packets.arrived(500)
    assert set(came) == set(range(500)) and 550 < len(came) < 800


@pytest.mark.netem
def test_netem_reorders(netem):
    network, packets = netem
    network.tell("netem a:eth0 delay 50ms reorder 30%")
    came = packets.arrived(300)
    assert sorted(came) == list(range(300)) and came != sorted(came)


@pytest.mark.netem
def test_netem_corrupts(netem):
    network, packets = netem
    packets.here.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    network.tell("netem a:eth0 corrupt 50%")
    for _ in range(200):
        packets.send(0, 1200)
    came = [packets.receive() for _ in range(200)]
    assert 10 < sum(data is not None and any(data) for data in came) < 190


@pytest.mark.netem
def test_netem_and_a_rate_act_together(netem):
    network, packets = netem
    network.tell("netem a:eth0 delay 300ms")
    network.tell("rate a:eth0 8mbit burst 16K queue 500ms")
    assert seconds_of(packets) >= 0.3
    assert transfer(connection(network), 500_000) > 0.4


# ---- programs, times, ends


def test_a_program_runs_inside(hosts):
    inside = subprocess.run([*hosts.prefix("b"), "cat", "/proc/net/dev"], capture_output=True,
                            text=True, check=True).stdout
    assert "eth0:" in inside and inside.count(":") == 2  # and lo
    hosts.tell("exec a true")
    with pytest.raises(Refused, match="false ended with status 1"):
        hosts.tell("exec a false")
    with pytest.raises(Refused, match="/nonexistent: No such file"):
        hosts.tell("start a /nonexistent")
    lost = run("exec", "/proc/self/fd/0", "true", stdin=subprocess.DEVNULL)
    assert lost.returncode == 71 and "entering the network namespace" in lost.stderr


def namespaces_in_use():
    """By everybody but this process."""
    found = set()
    others = [path for path in pathlib.Path("/proc").iterdir() if path.name.isdigit() and int(path.name) != os.getpid()]
    for process in others:
        for link in [*process.glob("ns/net"), *process.glob("fd/*")]:
            try:
                target = os.readlink(link)
            except OSError:  # it ended, or is not ours to see
                continue
            if target.startswith("net:"):
                found.add(target)
    return found


def host_state():
    runs = pathlib.Path("/var/run/netns")
    return socket.if_nameindex(), sorted(runs.iterdir()) if runs.exists() else []


@pytest.mark.parametrize("how", ["end", "end of input", signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_whatever_ends_it(folder, how):
    before = host_state()
    network = Network(folder)
    try:
        two_hosts(network)
        made = {os.readlink(path) for path in network.spaces.values()}
        # Kept here, or the kernel gives their numbers to the next ones, of a test beside this.
        kept = [os.open(path, os.O_RDONLY) for path in network.spaces.values()]
        assert len(made) == 2 and made <= namespaces_in_use()
        network.tell(f"relay r a {A}:4444 {B}:1")
        network.tell("drop a:eth0 10%")
        pid = int(network.tell("start a sleep 1000").split()[1])
        program = os.pidfd_open(pid)
        if how == "end":
            network.tell("end")
        elif how == "end of input":
            network.process.stdin.close()
        else:
            network.signal(how)
        expected = {signal.SIGTERM: 1, signal.SIGKILL: -signal.SIGKILL}
        assert network.wait() == expected.get(how, 0), network.log_text()
        assert comes(program, DEADLINE)
        os.close(program)
    finally:
        network.end()
    assert host_state() == before
    assert not made & namespaces_in_use()
    for descriptor in kept:
        os.close(descriptor)


def scenario(folder, text):
    path = pathlib.Path(folder, "test.nf")
    path.write_text(text)
    return path


def test_a_scenario_keeps_its_times(hosts, folder):
    ended = run(scenario(folder, "namespace a\nat 0.2s exec a true\nat 0.5s end\n"))
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert [line.split(" ", 1)[1].split(":")[0] for line in lines] == [
        "namespace a", "at 200ms exec a true", "at 500ms end"]
    times = [float(line.split()[0]) for line in lines]
    assert times[0] == 0 and 0.2 <= times[1] < 0.5 <= times[2] < 0.5 + DEADLINE


def test_what_is_wrong_is_said_with_its_line_before_anything_is_made(folder):
    path = scenario(folder, f"namespace a\nexec a touch {folder}/made\n\ndown a:eth0\n")
    ended = run(path)
    assert ended.returncode == 78
    assert f"{path}: line 4: down: there is no interface 'eth0' in namespace 'a'" in ended.stderr
    assert "make it first, by link or bridge" in ended.stderr
    assert not pathlib.Path(folder, "made").exists()
    assert run("/nonexistent").returncode == 78
    assert run("--sed", "1", path).returncode == 64
    assert run().returncode == 64


def test_a_scenario_ends_where_it_fails(hosts, folder):
    ended = run(scenario(folder, f"namespace a\nexec a false\nexec a touch {folder}/made\n"))
    assert ended.returncode == 1
    assert "line 2: exec: false ended with status 1" in ended.stderr
    assert not pathlib.Path(folder, "made").exists()


def test_a_refused_command_changes_nothing_and_ends_nothing(hosts):
    for command, why in (
        ("lnk a:eth1 b:eth1", "there is no statement"), ("at 1s end", "at: a command is done"),
        ("namespace a", "already"), (f"address a:eth0 {A}/24", "setting an address"),
    ):
        with pytest.raises(Refused, match=why):
            hosts.tell(command)
    Datagrams(hosts).through()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_understood_without_a_privilege(example):
    def nobody():
        if os.geteuid() == 0:
            os.setresuid(NOBODY, NOBODY, NOBODY)

    # The folders above may be closed to others: the descriptor is open already.
    with open(example, encoding="utf-8") as text, open(netfault(), "rb") as program:
        ended = subprocess.run(
            [f"/proc/self/fd/{program.fileno()}", "--seed", "3", "--dry-run",
             f"/proc/self/fd/{text.fileno()}"],
            capture_output=True, text=True, pass_fds=(program.fileno(), text.fileno()),
            preexec_fn=nobody, timeout=DEADLINE, check=False)
    assert ended.returncode == 0, ended.stderr
    statements = [line.split("#")[0].split() for line in example.read_text().splitlines()]
    assert len(ended.stdout.splitlines()) == 1 + sum(bool(words) for words in statements)


def test_the_page_is_well_formed_and_has_every_statement_and_option():
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", PAGE], capture_output=True,
                          text=True, timeout=DEADLINE, check=False)
    assert lint.stdout == "" and lint.returncode == 0, lint.stdout
    told = run("--help").stdout
    page = PAGE.read_text()
    options = set(re.findall(r"--[a-z-]+", told))
    assert options == {"-" + name for name in re.findall(r"^\.It Fl (-\S+)", page, re.MULTILINE)}
    statements = re.findall(r"^  ([a-z]+) .*\n      ", told.split("begins a comment:")[1],
                            re.MULTILINE)
    assert len(statements) == 21
    assert sorted(statements) == sorted(re.findall(r"^\.It Cm (\S+)", page, re.MULTILINE))
