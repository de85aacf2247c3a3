# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_refused_memory.py - what a VMM says or describes, and nobody can migrate from or into.

Each row: what is wrong, and the words by which all three hear of it: the VMM by ERROR, its agent's
stderr and outcome, and the other agent's.  The guest works on at the source.
"""
import dataclasses
import fcntl
import mmap
import os
import socket
import subprocess
import sys

import pytest

import vmm_client
from hugepages import need_pages
from processes import DEADLINE
from vmm_client import (
    DESTINATION, GUEST_MEMFD, HUGE_PAGE, HUGETLBFS, PAGE, PREALLOCATED, PRIVATE, SOURCE, Client, Memory, huge_memory,
)

SIZE = 16 << 20  # of the guest, in one region
EVENT_FORK = 1 << 1
FEATURE_SIGBUS = 1 << 7
F_SEAL_FUTURE_WRITE = 0x10


def plain(memory, **more):
    return [memory.region(**more)]


def reopened(memory, flags):
    """Another open file of the same memory."""
    return plain(memory, fd=os.open(f"/proc/self/fd/{memory.fd}", flags | os.O_CLOEXEC))


def shorter(memory):
    os.ftruncate(memory.fd, SIZE - PAGE)
    return plain(memory)


def touched(memory):
    """Three pages, and the first two of them in one piece."""
    for page in (5, 6, 9):
        os.pwrite(memory.fd, b"\1", page * PAGE)
    return plain(memory)


def listed(memory, ranges):
    touched(memory)
    return plain(memory, populated=vmm_client.POPULATED_LIST, populated_list=ranges)


def mapped(memory):
    """Written through the mapping, as by a VMM that preallocates by touching."""
    vmm_client.ctypes.memset(memory.address + 5 * PAGE, 1, 2 * PAGE)
    os.pwrite(memory.fd, b"\1", 9 * PAGE)  # not mapped by anybody
    return plain(memory, populated=PREALLOCATED)


def anonymous(memory):
    """Private memory where the file is said to be mapped."""
    view = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    LIVING.append(view)
    first = vmm_client.ctypes.c_char.from_buffer(view)
    return plain(memory, mapping=[(memory.uffd, vmm_client.ctypes.addressof(first))])


def mapped_private(memory):
    """The file's pages, and the mapping keeps what is written there to itself."""
    view = mmap.mmap(memory.fd, SIZE, flags=mmap.MAP_PRIVATE)
    LIVING.append(view)
    first = vmm_client.ctypes.c_char.from_buffer(view)
    return plain(memory, mapping=[(memory.uffd, vmm_client.ctypes.addressof(first))])


def other_file(memory):
    """The userfaultfd and the address are another memory's."""
    other = os.memfd_create("other", os.MFD_CLOEXEC)
    os.ftruncate(other, SIZE)
    return plain(memory, fd=other)


def sealed(memory):
    fcntl.fcntl(memory.fd, fcntl.F_ADD_SEALS, F_SEAL_FUTURE_WRITE)
    return plain(memory)


def unmapped(memory):
    """Nothing is mapped where it says."""
    return plain(memory, mapping=[(memory.uffd, PAGE)])


def cut_off(memory):
    """The mapping ends a page before the region does."""
    vmm_client.LIBC.munmap(
        vmm_client.ctypes.c_void_p(memory.address + SIZE - PAGE), vmm_client.ctypes.c_size_t(PAGE)
    )
    return plain(memory)


def trapped_already(memory):
    """By a userfaultfd that nobody handed over."""
    register(vmm_client.make_uffd(), memory)
    return plain(memory)


def register(uffd, memory):
    modes_missing_minor = 1 | 4
    argument = vmm_client.struct.pack("QQQQ", memory.address, SIZE, modes_missing_minor, 0)
    uffdio_register = 0xC020AA00
    fcntl.ioctl(uffd, uffdio_register, bytearray(argument))


def unwritable(memory):
    """Mapped shared and read-only, from a descriptor that cannot do otherwise."""
    reading = os.open(f"/proc/self/fd/{memory.fd}", os.O_RDONLY | os.O_CLOEXEC)
    view = mmap.mmap(reading, SIZE, prot=mmap.PROT_READ)
    os.close(reading)
    LIVING.append(view)
    return plain(memory, mapping=[(memory.uffd, address_of(view))])


LIVING = []  # what must outlast its test's VMM: mappings, sockets


def address_of(view):
    """Of a mapping that cannot be written, which ctypes does not look into; from proc(5)."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        spans = [line.split() for line in maps if "memfd:guest" in line and " r--s " in line]
    assert len(view) == SIZE and spans
    return int(spans[-1][0].split("-")[0], 16)


def halves(memory, **second):
    half = SIZE // 2
    first = memory.region(size=half)
    values = {
        "id": 1, "gpa": half, "size": half, "offset": half,
        "mapping": [(memory.uffd, memory.address + half)],
    }
    return [first, memory.region(**{**values, **second})]


def of_a_dead_process(memory):
    """A userfaultfd whose maker has ended; it came to us as to an agent, by SCM_RIGHTS."""
    here, there = vmm_client.socket.socketpair()
    folder = os.path.dirname(vmm_client.__file__)
    code = (
        f"import sys, socket; sys.path.insert(0, {folder!r}); import vmm_client\n"
        "uffd = vmm_client.make_uffd()\n"
        "socket.send_fds(socket.socket(fileno=int(sys.argv[1])), [b'.'], [uffd])\n"
    )
    with here, there:
        subprocess.run(
            [sys.executable, "-B", "-c", code, str(there.fileno())], pass_fds=[there.fileno()],
            check=True, timeout=DEADLINE,
        )
        _, (uffd,), _, _ = vmm_client.socket.recv_fds(here, 1, 1)
    return plain(memory, mapping=[(uffd, memory.address)])


def with_bitmap(memory):
    return plain(memory, kind=GUEST_MEMFD, bitmap_fd=os.memfd_create("bitmap"))


def unheard(bound):
    """A fault socket that listens, or that nobody was ever connected to."""
    fault_socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if bound:
        fault_socket.bind("")  # unix(7), autobind
        fault_socket.listen()
    LIVING.append(fault_socket)
    return fault_socket.fileno()


@dataclasses.dataclass
class Row:
    name: str
    describe: object  # a Memory -> what its VMM says
    words: str  # what is wrong, in the message of each of the three
    hint: str  # what to do, on the destination's stderr and in its outcome
    uffd: dict = dataclasses.field(default_factory=dict)  # how the userfaultfd is made
    other_mappings: bool = False
    fault_socket: object = lambda: None


RULES = "WIRE.md, section 8, has the rules"
ROWS = [
    Row("file_shorter_than_its_region", shorter, "16773120 bytes, too short for 16777216",
        "ftruncate"),
    Row("offset_beyond_the_file", lambda m: plain(m, offset=PAGE), "too short for", "ftruncate"),
    Row("file_that_is_read_only", lambda m: reopened(m, os.O_RDONLY),
        "not open for reading and writing", "opened with O_RDWR"),
    Row("file_that_appends", lambda m: reopened(m, os.O_RDWR | os.O_APPEND),
        "O_APPEND, which ignores where to write", "without O_APPEND"),
    Row("file_that_is_only_a_path", lambda m: reopened(m, os.O_PATH),
        "not open for reading and writing (O_PATH)", "opened with O_RDWR"),
    Row("file_sealed_against_writing", sealed, "sealed against writing", "do not set F_SEAL_WRITE"),
    Row("pipe_for_a_file", lambda m: plain(m, fd=os.pipe()[1]), "which is no file of tmpfs or",
        "a memfd without MFD_HUGETLB or a file on tmpfs"),
    Row("memory_that_nobody_declared", touched,
        "3 pages of its memory file are present already and nobody declared them; "
        "the first range is pages 5 to 6", "FALLOC_FL_PUNCH_HOLE"),
    Row("descriptor_that_is_no_userfaultfd", lambda m: plain(m, mapping=[(0, m.address)]),
        "is not a userfaultfd", "send the userfaultfd of each mapping"),
    Row("userfaultfd_without_api", plain, "UFFDIO_API was not called", "calls UFFDIO_API",
        uffd={"api": False}),
    Row("userfaultfd_with_sigbus", plain, "FEATURE_SIGBUS", "without UFFD_FEATURE_SIGBUS",
        uffd={"features": FEATURE_SIGBUS}),
    Row("userfaultfd_with_event_fork", plain, "EVENT_FORK", "without these features",
        uffd={"features": EVENT_FORK}),
    Row("userfaultfd_of_a_dead_process", of_a_dead_process, "registering traps",
        "may have ended"),
    Row("range_that_is_not_mapped", unmapped, "registering traps", "nothing suitable is mapped"),
    Row("range_that_ends_too_early", cut_off, "registering traps", "nothing suitable is mapped"),
    Row("range_of_another_userfaultfd", trapped_already, "Device or resource busy",
        "another userfaultfd is registered"),
    Row("range_that_cannot_be_written", unwritable, "registering traps", "PROT_WRITE"),
    Row("mapping_of_another_file", other_file,
        "mapping 0 does not show page 0, which its memory file has", "mapped shared"),
    Row("mapping_of_another_part", lambda m: plain(m, size=SIZE // 2, offset=SIZE // 2),
        "mapping 0 does not show page 0, which its memory file has", "from the region's offset on"),
    Row("region_without_a_mapping", lambda m: plain(m, mapping=[]), "it has no mapping",
        "address of every mapping"),
    Row("bitmap_of_lost_pages_that_is_the_memory", lambda m: plain(m, bitmap_fd=m.fd),
        "both the memory of region 0 and the bitmap", "a descriptor of its own"),
    Row("bitmap_of_lost_pages_that_is_the_memory_once_more",
        lambda m: plain(m, bitmap_fd=os.open(f"/proc/self/fd/{m.fd}", os.O_RDWR)),
        "its bitmap of lost pages is the memory of region 0", "in a memfd of its own"),
    Row("bitmap_of_lost_pages_that_is_too_short",
        lambda m: plain(m, bitmap_fd=os.memfd_create("short")),
        "its bitmap of lost pages has 0 bytes, too short", "that the guest arrived with"),
    Row("bitmap_of_lost_pages_that_is_no_memfd",
        lambda m: plain(m, bitmap_fd=os.open("/dev/null", os.O_RDWR)),
        "its bitmap of lost pages is not a memfd", "memfd_create"),
    Row("region_that_is_filled_atomically", lambda m: plain(m, fill_atomic=True), "fill_atomic",
        "leave it out"),
    Row("region_with_machine_checks", lambda m: plain(m, machine_checks=True), "machine_checks",
        "leave it out"),
    Row("memfd_said_to_be_a_guest_memfd", lambda m: plain(m, kind=GUEST_MEMFD),
        "is said to be a guest_memfd, but is /memfd:", "KVM_CREATE_GUEST_MEMFD"),
    Row("bitmap_without_a_fault_socket", with_bitmap, "there is no fault socket", "socketpair"),
    Row("fault_socket_that_listens", with_bitmap, "its fault socket is connected to nobody",
        "one end of it", fault_socket=lambda: unheard(True)),
    Row("fault_socket_without_another_end", with_bitmap, "its fault socket is connected to nobody",
        "one end of it", fault_socket=lambda: unheard(False)),
    Row("fault_socket_that_is_a_file", with_bitmap, "its fault socket is no AF_UNIX socket",
        "one end of it", fault_socket=lambda: os.memfd_create("no socket")),
    Row("bitmap_that_is_the_memory", lambda m: plain(m, kind=GUEST_MEMFD, bitmap_fd=m.fd),
        "both the memory of region 0 and the bitmap", "a descriptor of its own"),
    Row("private_memory_with_two_mappings", lambda m: plain(
        m, kind=PRIVATE, fd=None, mapping=[(m.uffd, m.address), (m.uffd, m.address + SIZE)]),
        "mapped once", "needs a memfd"),
    Row("private_memory_that_discards_untold", lambda m: plain(
        m, kind=PRIVATE, fd=None, discards=True), "no EVENT_REMOVE", "UFFD_FEATURE_EVENT_REMOVE"),
    Row("private_memory_that_is_populated", lambda m: plain(
        m, kind=PRIVATE, fd=None, populated=PREALLOCATED), "can empty private memory",
        "declare `none`"),
    Row("private_memory_said_to_be_a_memfd", anonymous,
        "it can trap MISSING there, but not MINOR", "no memory file is mapped there"),
    Row("mapped_private", mapped_private, "mapping 0 is private: what is written there would not reach its "
        "memory file", "map the memory file with MAP_SHARED"),
    Row("pages_outside_of_the_list", lambda m: listed(m, [(5, 2)]),
        "1 pages of its memory file are present already and nobody declared them; "
        "the first range is pages 9 to 9", "declare it populated"),
    Row("preallocated_pages_that_are_mapped", mapped, "2 of its preallocated pages are mapped, and "
        "would not trap; the first range is pages 5 to 6", "MADV_DONTNEED"),
    Row("mapping_that_nobody_listed", plain, "has no other mapping", "list every mapping",
        other_mappings=True),
    Row("two_regions_in_one_piece_of_file", lambda m: halves(m, offset=0),
        "regions with ids 0 and 1 share bytes of a memory file", RULES),
    Row("two_regions_at_one_address", lambda m: halves(m, mapping=[(m.uffd, m.address)]),
        "regions with ids 0 and 1 have mappings that overlap", RULES),
    Row("two_regions_at_one_gpa", lambda m: halves(m, gpa=PAGE),
        "it overlaps the region before it", RULES),
    Row("memory_and_userfaultfd_in_one", lambda m: plain(m, mapping=[(m.fd, m.address)]),
        "both the memory", "a descriptor of its own"),
    Row("no_region_at_all", lambda m: [], "a table of 0 regions; 1 to 64", RULES),
    Row("too_many_regions", lambda m: plain(m) * 65, "a table of 65 regions; 1 to 64", RULES),
]
assert len({row.name for row in ROWS}) == len(ROWS)


def start_up_to_the_vmm(migration):
    """Everything but the destination's VMM is there, and the source waits for it."""
    migration.start_destination()
    migration.start_source()
    migration.source.open()
    migration.start_guest("source", "16M", 1, ["--regions", "1"]).wait_word("running")
    migration.wait_link()


def words(text):
    """Without the line breaks between message and hint."""
    return " ".join(text.split())


def owner(agent):
    outcome = agent.outcome()
    return outcome["outcome"], outcome["owner"]


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_memory_that_is_refused(migration, row):
    start_up_to_the_vmm(migration)
    memory = Memory(SIZE, **row.uffd)
    client = Client(migration.destination.vmm_socket)
    client.hello(DESTINATION)
    client.regions(row.describe(memory), no_other_mappings=not row.other_mappings,
                   fault_socket=row.fault_socket())
    error = client.wait("ERROR")
    assert row.words in error.reason
    assert client.receive() is None
    assert migration.source.wait() == 76
    assert migration.destination.wait() == 76
    for agent in (migration.source, migration.destination):
        assert row.words in words(agent.log_text())
    assert owner(migration.source) == ("source-intact", "source")
    # REGIONS says that its VMM is a new one, whatever the memory is like; unless it cannot be read.
    unread = row.hint is RULES
    assert owner(migration.destination) == ((None, None) if unread else ("source-intact", "source"))
    assert row.hint in words(migration.destination.log_text())
    assert row.hint in migration.destination.outcome()["hint"]
    final = migration.destination.control.drain()[-1]["data"]
    assert final["final"] and row.words in final["reason"] and row.hint in final["hint"]
    client.close()
    memory.close()
    migration.check_source_guest_runs()


# ---- a VMM that greets, and goes before it has said how its guest is


@pytest.mark.smoke
@pytest.mark.parametrize("side, role, ends", [
    ("source", SOURCE, (71, 130)), ("destination", DESTINATION, (76, 71)),
])
def test_a_greeting_alone_is_no_evidence(migration, side, role, ends):
    """Both agents have new state directories: where a guest is, neither claims to know."""
    migration.start_destination()
    migration.start_source()
    migration.source.open()
    migration.wait_link()
    client = Client(getattr(migration, side).vmm_socket)
    client.hello(role)
    client.close()
    assert (migration.source.wait(), migration.destination.wait()) == ends
    agent = getattr(migration, side)
    assert agent.control.wait_event("VMM_LOST")["data"]["side"] == side
    assert "the VMM closed its connection" in agent.log_text()
    for agent in (migration.source, migration.destination):
        assert owner(agent) == (None, None)


# ---- memory that is right by itself, and not that of the source


DIFFERENT = [
    # name, regions of a VMM with 16 MiB, and what differs
    ("size", lambda m: [m.region(size=SIZE // 2)], "8388608 bytes, pages of 4096 here"),
    ("gpa", lambda m: [m.region(gpa=PAGE)], "region 0 is GPA 0x1000"),
    ("count", halves, "2 regions here, 1 at the peer"),
]


def describe_another_guest(migration, regions, text):
    start_up_to_the_vmm(migration)
    client = Client(migration.destination.vmm_socket)
    client.hello(DESTINATION)
    client.regions(regions)
    client.wait("REGIONS_ACCEPTED")
    assert "the guest stays at the source: the region tables differ" in client.wait("ERROR").reason
    for agent in (migration.source, migration.destination):
        assert agent.wait() == 76
        said = words(agent.log_text())
        assert "the region tables differ" in said and text in said
        assert "start the destination's VMM with the memory of the source's" in said
        assert agent.outcome()["outcome"] == "source-intact"
    client.close()
    migration.check_source_guest_runs()


@pytest.mark.parametrize("describe, text", [pytest.param(*row[1:], id=row[0]) for row in DIFFERENT])
def test_memory_that_differs(migration, describe, text):
    memory = Memory(SIZE)
    describe_another_guest(migration, describe(memory), text)
    memory.close()


def test_memory_of_larger_pages(migration):
    need_pages(SIZE // HUGE_PAGE)
    memory = huge_memory(SIZE)
    regions = plain(memory, kind=HUGETLBFS, page_size=HUGE_PAGE)
    describe_another_guest(migration, regions, f"pages of {HUGE_PAGE} here")
    memory.close()


# ---- a source's VMM


def start_source_vmm(migration, **options):
    """Agents whose VMMs are ours, up to the link."""
    migration.start_destination(**options)
    migration.start_source(**options)
    migration.source.open()
    migration.wait_link()
    client = Client(migration.source.vmm_socket)
    client.hello(SOURCE)
    return client


def with_mapping(memory):
    return [memory.region()]


def not_for_reading(memory):
    return [memory.region(trapped=False,
                          fd=os.open(f"/proc/self/fd/{memory.fd}", os.O_WRONLY | os.O_CLOEXEC))]


SOURCE_ROWS = [
    ("mapping_at_the_source", with_mapping, "nothing is trapped at the source", "name none at the source"),
    ("file_shorter_than_its_region", lambda m: [m.region(trapped=False, size=SIZE + PAGE)],
     "16777216 bytes, too short for 16781312", "ftruncate"),
    ("machine_checks_at_the_source", lambda m: [m.region(trapped=False, machine_checks=True)],
     "machine_checks, and at the source nobody waits", "at the destination"),
    ("fill_atomic_at_the_source", lambda m: [m.region(trapped=False, fill_atomic=True)],
     "fill_atomic, and at the source no page is filled", "at the destination"),
    ("bitmap_of_lost_pages_that_is_too_short_at_the_source",
     lambda m: [m.region(trapped=False, bitmap_fd=os.memfd_create("short"))],
     "its bitmap of lost pages has 0 bytes, too short", "that the guest arrived with"),
    ("file_that_cannot_be_read", not_for_reading, "not open for reading", "opened with O_RDWR"),
]


@pytest.mark.parametrize(
    "describe, text, hint", [pytest.param(*row[1:], id=row[0]) for row in SOURCE_ROWS]
)
def test_source_memory_that_is_refused(migration, describe, text, hint):
    client = start_source_vmm(migration)
    memory = Memory(SIZE)
    client.regions(describe(memory))
    error = client.wait("ERROR").reason
    assert text in error and hint in error
    check_source_fails(migration, text, hint)
    client.close()
    memory.close()


def check_source_fails(migration, text, hint, destination_knows=False):
    """And the destination hears that it is over."""
    assert migration.source.wait() == 76
    said = words(migration.source.log_text())
    assert text in said and hint in said
    assert migration.destination.wait() == 130
    assert migration.source.outcome()["outcome"] == "source-intact"
    # Where no VMM has come, nothing is known of a guest.
    expected = "source-intact" if destination_knows else None
    assert migration.destination.outcome()["outcome"] == expected


def unsealed(client):
    client.paused(vmm_client.device_state(seals=fcntl.F_SEAL_GROW), 12)


def beyond_its_end(client):
    client.paused(vmm_client.device_state(), 13)


def beyond_the_limit(client):
    client.paused(vmm_client.device_state(bytes(5000)), 5000)


BAD_STATES = [
    (unsealed, "sealed against writing and shrinking", "F_SEAL_WRITE"),
    (beyond_its_end, "its device state is shorter than it says", RULES),
    (beyond_the_limit, "a device state of 5000 bytes; --max-device-state allows 4096",
     "a larger --max-device-state"),
]


@pytest.mark.parametrize(
    "pause, text, hint", [pytest.param(*row, id=row[0].__name__) for row in BAD_STATES]
)
def test_device_state_that_is_refused(migration, pause, text, hint):
    """The guest stood, and goes on: CONTINUE_SOURCE comes, and before ERROR, the last word."""
    client = start_source_vmm(migration, max_device_state="4096")
    memory, other = Memory(SIZE), Memory(SIZE)
    client.regions([memory.region(trapped=False)])
    there = Client(migration.destination.vmm_socket)
    there.hello(DESTINATION)
    there.regions([other.region()])
    migration.wait_state("active")
    migration.source.control.command("switchover")
    client.wait("PAUSE")
    pause(client)
    client.wait("CONTINUE_SOURCE")
    error = client.wait("ERROR").reason
    assert error.startswith("the guest stays here: ") and text in error
    assert client.receive() is None
    check_source_fails(migration, text, hint, destination_knows=True)
    for one in (client, there, memory, other):
        one.close()


@pytest.mark.parametrize("size", ["4097", "16M"])
def test_device_state_beyond_the_destinations_limit_ends_the_source(migration, size):
    """It would be the same with each switch-over; of 16 MiB the source still sends when it is told."""
    migration.start_destination(max_device_state="4096")
    migration.start_source()
    migration.source.open()
    migration.wait_link()
    client, there = Client(migration.source.vmm_socket), Client(migration.destination.vmm_socket)
    memory, other = Memory(SIZE), Memory(SIZE)
    client.hello(SOURCE)
    client.regions([memory.region(trapped=False)])
    there.hello(DESTINATION)
    there.regions([other.region()])
    migration.wait_state("active")
    migration.source.control.command("switchover")
    client.wait("PAUSE")
    length = int(size.replace("M", "")) << (20 if "M" in size else 0)
    client.paused(vmm_client.device_state(bytes(length)), length)
    client.wait("CONTINUE_SOURCE")
    assert "--max-device-state allows 4096" in client.wait("ERROR").reason
    assert client.receive() is None
    assert migration.source.wait() == 76
    outcome = migration.source.outcome()
    assert outcome["outcome"] == "source-intact"
    assert f"a device state of {length} bytes; --max-device-state allows 4096" in outcome["reason"]
    assert "give both sides a larger --max-device-state" in outcome["reason"]
    refused = migration.destination.control.wait_event("PEER_REFUSED")["data"]
    assert "a device state of" in refused["reason"] and "larger --max-device-state" in refused["hint"]
    assert migration.destination.control.command("query-migrate")["state"] == "setup"
    for one in (client, there, memory, other):
        one.close()


def test_paused_without_pause_is_refused(migration):
    client = start_source_vmm(migration)
    memory = Memory(SIZE)
    client.regions([memory.region(trapped=False)])
    unpaused = "the VMM said PAUSED without PAUSE"
    client.paused(vmm_client.device_state(), 12)
    assert unpaused in client.wait("ERROR").reason
    check_source_fails(migration, unpaused, RULES)
    client.close()
    memory.close()


# ---- who is no VMM of this agent costs nothing


STRANGE_GREETINGS = [
    ("of_the_other_side", lambda c: c.hello(SOURCE), "the VMM says it is the source"),
    ("of_another_version", lambda c: c.hello(DESTINATION, version=2), "the VMM speaks version 2"),
    ("without_a_thread_id", lambda c: c.hello(DESTINATION, tids=[0]), "the thread id 0"),
    ("missing", lambda c: c.say("READY"), "the VMM said READY before HELLO"),
    ("of_the_agent", lambda c: c.say("RESUME"), "a RESUME message from the VMM"),
    ("an_answer_to_nobody", lambda c: c.hello(DESTINATION, f6=5), "a HELLO that answers ATTACH 5"),
    ("empty", lambda c: c.send(b""), "an empty message"),
    ("no_message", lambda c: c.send(b"\xff" * 40), ""),
    ("too_long", lambda c: c.send(bytes(70000)), "a message of more than 65536 bytes"),
]


def test_greetings_that_are_refused(migration):
    """One after the other; then the right VMM comes."""
    start_up_to_the_vmm(migration)
    for name, greet, text in STRANGE_GREETINGS:
        client = Client(migration.destination.vmm_socket)
        greet(client)
        assert text in client.wait("ERROR").reason, name
        assert client.receive() is None
        client.close()
    assert "VMM_LOST" not in migration.destination.control.names()
    migration.start_guest("destination", "16M", 1, ["--regions", "1"])
    migration.wait_state("active")
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == 0
    assert migration.destination.wait() == 0
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


# ---- a state directory that the guest does not fit into


def test_state_directory_that_is_too_small(migration):
    """Said when the VMM comes, before anything is trapped; the journal has half a byte a page."""
    if os.geteuid() != 0:
        pytest.skip("needs root, who may mount a small tmpfs")
    small = migration.folder / "small"
    small.mkdir(0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64K,mode=0700", "tmpfs", small],
                   check=True, timeout=DEADLINE)
    try:
        migration.start_destination(state_dir=small)
        migration.start_source()
        migration.source.open()
        migration.start_guest("source", "16M", 1).wait_word("running")
        migration.wait_link()
        migration.start_guest("destination", "1G", 1)
        assert migration.destination.wait() == 78
        said = words(migration.destination.log_text())
        assert "in the state directory: No space left on device" in said
        assert "make room for" in said and "or give another --state-dir" in said
        assert migration.source.wait() == 76
        assert "No space left on device" in migration.source.log_text()
        migration.check_source_guest_runs()
    finally:
        migration.destination.end()
        migration.children.remove(migration.destination)
        subprocess.run(["umount", small], check=True, timeout=DEADLINE)


def test_the_same_client_is_accepted_when_it_says_what_is_right(migration):
    """The refusals above are for what they say, and not for the client's own mistakes."""
    start_up_to_the_vmm(migration)
    memory = Memory(SIZE)
    client = Client(migration.destination.vmm_socket)
    client.hello(DESTINATION)
    client.regions(plain(memory))
    client.wait("REGIONS_ACCEPTED")
    migration.wait_state("active")
    migration.source.control.command("cancel", {})
    assert "cancelled" in client.wait("ERROR").reason
    assert migration.source.wait() == 130
    assert migration.destination.wait() == 130
    client.close()
    memory.close()
    migration.check_source_guest_runs()
