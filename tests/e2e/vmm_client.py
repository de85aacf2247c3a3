# SPDX-License-Identifier: LGPL-2.1-or-later
"""vmm_client.py - a VMM for tests, that can say what no good VMM would: proto/vmm.proto by hand.

`Client` sends and receives messages with descriptors on --vmm-socket; `Region` describes memory, right
or wrong; `Memory` is a memfd with its mapping and its userfaultfd.  Every wait has its deadline.
"""
import array
import ctypes
import dataclasses
import fcntl
import mmap
import os
import platform
import select
import socket
import struct

from processes import DEADLINE, Late

MESSAGE_MAX = 65536
FDS_MAX = 128  # WIRE.md, section 8.1; the kernel's own limit is 253
PAGE = 4096
SOURCE, DESTINATION = 1, 2
MEMFD, GUEST_MEMFD, HUGETLBFS, PRIVATE = 1, 2, 3, 4
POPULATED_NONE, PREALLOCATED, POPULATED_LIST = 1, 2, 3

NUMBERS = {
    "HELLO": 1, "REGIONS": 2, "PAUSED": 3, "READY": 4, "RESUMED": 5, "RESUME_REFUSED": 6,
    "FAULT": 7, "PAUSE": 16, "LOAD": 17, "RESUME": 18, "CONTINUE_SOURCE": 19, "RESOLVED": 20,
    "COMPLETE": 21, "RELEASE": 22, "ERROR": 23, "REGIONS_ACCEPTED": 24, "ATTACH": 25,
}
NAMES = {number: name for name, number in NUMBERS.items()}

SYS_USERFAULTFD = {"x86_64": 323, "aarch64": 282, "riscv64": 282}
UFFDIO_API = 0xC018AA3F
UFFD_API = 0xAA
UFFDIO_REGISTER = 0xC020AA00
REGISTER_MISSING, REGISTER_MINOR = 1, 4
MISSING_SHMEM, MINOR_SHMEM = 1 << 5, 1 << 10

# ctypes lets the interpreter run on while a call blocks: a fault that waits for its page, say.
LIBC = ctypes.CDLL(None, use_errno=True)
off_t = ctypes.c_int64
MAP_FIXED = 0x10  # which `mmap` does not have


# ---- protobuf, as much of it as vmm.proto uses


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, value):
    """A number, or bytes with their length; also where it is the default, which no encoder sends."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(int(value))


def message(**fields):
    """message(f1=5, f3=b"...", f9=[...]): fields in the order of their numbers, defaults left out.
    What comes in a list is sent whatever it is, each of it by itself."""
    out = b""
    for name, value in sorted(fields.items(), key=lambda item: int(item[0][1:])):
        number = int(name[1:])
        if isinstance(value, list):
            out += b"".join(field(number, one) for one in value)
        elif value:
            out += field(number, value)
    return out


def read_varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def fields_of(data):
    """{number: value}, the last one of each."""
    at, out = 0, {}
    while at < len(data):
        tag, at = read_varint(data, at)
        value, at = read_varint(data, at)
        if tag & 7 == 2:
            value, at = data[at : at + value], at + value
        out[tag >> 3] = value
    return out


def envelope(name, body=b""):
    """A message on the socket; "HELLO" and so on, or a number that nobody knows."""
    return message(**{f"f{NUMBERS.get(name, name)}": [body]})


# ---- memory


@dataclasses.dataclass
class Region:
    """As in vmm.proto, with descriptors instead of their indices; nothing is checked."""

    size: int
    fd: int | None  # None: the region has no memory file
    mapping: list = dataclasses.field(default_factory=list)  # (userfaultfd, address)
    id: int = 0
    gpa: int = 0
    page_size: int = PAGE
    kind: int = MEMFD
    offset: int = 0
    bitmap_fd: int | None = None
    populated: int = POPULATED_NONE
    populated_list: list = dataclasses.field(default_factory=list)  # (first page, count)
    discards: bool = False
    fill_atomic: bool = False
    machine_checks: bool = False

    def encode(self, index_of):
        """index_of: a descriptor's index among those that go with the message."""
        has_file, has_bitmap = self.fd is not None, self.bitmap_fd is not None
        return message(
            f1=self.id, f2=self.gpa, f3=self.size, f4=self.page_size, f5=self.kind,
            f6=has_file, f7=index_of(self.fd) if has_file else 0, f8=self.offset,
            f9=[message(f1=index_of(uffd), f2=address) for uffd, address in self.mapping],
            f10=has_bitmap, f11=index_of(self.bitmap_fd) if has_bitmap else 0,
            f12=self.populated,
            f13=[message(f1=first, f2=count) for first, count in self.populated_list],
            f14=self.discards, f15=self.fill_atomic, f16=self.machine_checks,
        )


def make_uffd(features=MISSING_SHMEM | MINOR_SHMEM, api=True):
    """A userfaultfd; with api=False it is handed over before UFFDIO_API."""
    number = SYS_USERFAULTFD[platform.machine()]
    fd = LIBC.syscall(number, os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "userfaultfd")
    if api:
        fcntl.ioctl(fd, UFFDIO_API, bytearray(struct.pack("QQQ", UFFD_API, features, 0)))
    return fd


def register(uffd, address, size):
    """What was mapped anew traps again, as the agent had it."""
    mode = REGISTER_MISSING | REGISTER_MINOR
    fcntl.ioctl(uffd, UFFDIO_REGISTER, bytearray(struct.pack("QQQQ", address, size, mode, 0)))


def map_over(address, size, fd, offset=0):
    """mmap(2), shared, with MAP_FIXED; what was there is gone."""
    LIBC.mmap.restype = ctypes.c_void_p
    at = LIBC.mmap(ctypes.c_void_p(address), ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_WRITE,
                   mmap.MAP_SHARED | MAP_FIXED, fd, off_t(offset))
    if at != address:
        raise OSError(ctypes.get_errno(), "mmap")


class Memory:
    """A memfd, mapped shared, and its userfaultfd: what a destination's VMM hands over; or another
    file, which is its own from here on."""

    def __init__(self, size, fd=None, **uffd):
        self.size = size
        self.fd = fd or os.memfd_create("guest", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, size)
        self.map = mmap.mmap(self.fd, size)
        self.bytes = ctypes.c_char.from_buffer(self.map)
        self.address = ctypes.addressof(self.bytes)
        self.uffd = make_uffd(**uffd)

    def region(self, trapped=True, **more):
        """The whole of it; trapped: with its mapping, as at a destination."""
        mapping = [(self.uffd, self.address)] if trapped else []
        return Region(**{"size": self.size, "fd": self.fd, "mapping": mapping, **more})

    def bar(self, pages):
        """After COMPLETE: nothing is in the place of pages that are lost.  What is poisoned only, a huge page would
        replace, with zeros (WIRE.md, section 8.2)."""
        fd = os.memfd_create("barred", os.MFD_CLOEXEC)
        for page in pages:
            map_over(self.address + page * PAGE, PAGE, fd)
        os.close(fd)

    def close_uffd(self):
        """Its last one: whoever is blocked in a fault goes on, and reads zeros."""
        if self.uffd is not None:
            os.close(self.uffd)
        self.uffd = None

    def close(self):
        self.close_uffd()
        del self.bytes
        self.map.close()
        if self.fd is not None:
            os.close(self.fd)


HUGE_PAGE = 2 << 20
MFD_HUGETLB, MFD_HUGE_2MB = 4, 21 << 26
MISSING_HUGETLBFS, MINOR_HUGETLBFS = 1 << 4, 1 << 9


def huge_memory(size):
    """Memory of pages of 2 MiB; hugepages.need_pages() first."""
    fd = os.memfd_create("huge", os.MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB)
    return Memory(size, fd, features=MISSING_HUGETLBFS | MINOR_HUGETLBFS)


def device_state(data=b"device state", seals=None):
    """A memfd as PAUSED wants it; seals: others than those."""
    fd = os.memfd_create("device-state", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    if seals is None:
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


# ---- the socket


@dataclasses.dataclass
class Message:
    name: str
    fields: dict
    fds: list

    @property
    def reason(self):
        return self.fields.get(1, b"").decode()


class Client:
    """One connection to an agent's --vmm-socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(str(path))
        self.fds = []  # that came beside messages, to be closed

    def close(self):
        self.socket.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def send(self, data, fds=()):
        """Raw bytes and descriptors, however wrong."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([data], rights)

    def say(self, name, body=b"", fds=()):
        self.send(envelope(name, body), fds)

    def hello(self, role, tids=(1,), version=1, **more):
        """more: what a VMM says that was served before, by the fields' numbers."""
        packed = b"".join(varint(tid) for tid in tids)
        self.say("HELLO", message(f1=version, f2=role, f3=packed, **more))

    def regions(self, regions, no_other_mappings=True, fault_socket=None):
        fds = []

        def index_of(fd):
            if fd not in fds:
                fds.append(fd)
            return fds.index(fd)

        encoded = [region.encode(index_of) for region in regions]
        body = message(f1=encoded, f2=no_other_mappings, f3=fault_socket is not None,
                       f4=index_of(fault_socket) if fault_socket is not None else 0)
        self.say("REGIONS", body, fds)

    def paused(self, state_fd, size):
        self.say("PAUSED", message(f1=0, f2=size), [state_fd])

    def receive(self, seconds=DEADLINE):
        """The next message; None when the agent has closed the connection."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        if not poll.poll(seconds * 1000):
            raise Late("the agent said nothing to its VMM in time")
        try:
            data, rights, _, _ = self.socket.recvmsg(
                MESSAGE_MAX, socket.CMSG_SPACE(4 * FDS_MAX), socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            return None
        fds = array.array("i")
        for _, _, packed in rights:
            fds.frombytes(packed[: len(packed) - len(packed) % fds.itemsize])
        self.fds += fds
        if not data:
            return None
        ((number, body),) = fields_of(data).items()
        return Message(NAMES[number], fields_of(body), list(fds))

    def wait(self, name, seconds=DEADLINE):
        """The next message, which must be this one."""
        got = self.receive(seconds)
        assert got and got.name == name, f"the agent said {got}, not {name}"
        return got
