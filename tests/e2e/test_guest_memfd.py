# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_guest_memfd.py - guests on guest_memfd: three who fault, two traps, and every byte.

Needs a kernel that has what no released one has: tests/kernel/run runs it in one.  There a processor
is emulated, so the guests are small.
"""
import os
import pathlib
import signal

import pytest

import gmem
from harness import Migration
from test_leaves_again import Hop
from test_migration import PAGE, check_ends, check_post_copy

pytestmark = pytest.mark.gmem
SMALL = 16 << 20
ALONE = "guest_memfd,guest_memfd"
LOST = 512  # pages at the end of the guest's memory


@pytest.fixture(autouse=True)
def kernel():
    gmem.need()


def kinds(names, *more):
    return ("--kinds", names, *more)


def check_who_waited(told, report, mixed):
    """vCPUs left the guest for pages, and KVM and the VMM waited in userfaultfd, each at least once.

    The guest counts its exits itself: what was asked for are those whose page had not come meanwhile.
    Of a vCPU too is what it waited for in memory of other kinds."""
    faults, exits = told["faults"], int(report["userfault-exits"])
    assert faults["vcpu"] > 0 and faults["kvm"] > 0 and faults["vmm"] > 0, faults
    assert exits * 0.7 < faults["vcpu"], (faults, report)
    assert mixed or faults["vcpu"] <= exits, (faults, report)


def check_arrival(migration, size=SMALL):
    migration.destination_guest.wait_word("complete")
    check_ends(migration)
    report = migration.destination_guest.finish()
    assert report["verdict"] == f"identical ({size} bytes)", report
    assert report["status"] == 0
    assert report["backend"] == "kvm"
    told = migration.destination.outcome()["migrate"]
    check_post_copy(migration, report)
    assert told["pages"]["filled"] == told["pages"]["total"] == size // PAGE
    return told, report


def start(migration, source=ALONE, destination=ALONE, vcpus=2, size=SMALL, more=(), **options):
    migration.start(str(size), vcpus, guests=(kinds(source), kinds(destination, *more)), **options)
    migration.source.control.command("switchover")


def check_migration(migration, **options):
    start(migration, **options)
    told, report = check_arrival(migration, options.get("size", SMALL))
    check_who_waited(told, report, mixed="memfd" in options.get("destination", ALONE).split(","))
    assert "UNEXPECTED_PAGE" not in migration.destination.control.names()
    return told


@pytest.mark.parametrize("vcpus, size", [(1, SMALL), (2, 2 * SMALL), (4, SMALL)])
def test_a_guest_on_guest_memfd_arrives_identical(migration, vcpus, size):
    check_migration(migration, vcpus=vcpus, size=size)


@pytest.mark.long
@pytest.mark.parametrize("vcpus", [1, 4])
def test_a_larger_guest_on_guest_memfd_arrives_identical(migration, vcpus):
    check_migration(migration, vcpus=vcpus, size=16 * SMALL)


@pytest.mark.parametrize(
    "source, destination, vcpus",
    [
        # Filled through a second mapping.
        ("guest_memfd-unwritable,guest_memfd", "guest_memfd-unwritable,guest_memfd-unwritable", 2),
        ("guest_memfd,memfd,tmpfs,guest_memfd", "guest_memfd,private,guest_memfd,memfd", 4),
        pytest.param("memfd,memfd", ALONE, 1, marks=pytest.mark.long),
    ],
)
def test_kinds_of_both_sides_are_independent(migration, source, destination, vcpus):
    check_migration(migration, source=source, destination=destination, vcpus=vcpus,
                    more=("--mirror",))


def test_the_source_alone_may_be_on_guest_memfd(migration):
    """Read through a mapping; at the destination nothing of it is left to see."""
    start(migration, destination="memfd,memfd")
    told, report = check_arrival(migration)
    assert report["userfault-exits"] == "0", report
    assert told["faults"]["count"] > 0


@pytest.mark.parametrize("prepared", ["allocated", "listed"])
def test_what_a_destination_declares_to_be_populated_is_replaced(migration, prepared):
    check_migration(migration, more=("--prepared", prepared))


def test_vcpus_that_wait_while_nothing_is_pushed(migration):
    """Every page of the walk comes because somebody waits for it."""
    migration.start(str(SMALL), 4, guests=(kinds(ALONE), kinds(ALONE)))
    source = migration.source.control
    source.command("set-parameters", {"push": False})
    source.command("switchover")
    migration.destination_guest.wait_word("resumed")
    migration.destination_guest.wait_visits(400)
    told = migration.destination.control.command("query-migrate")
    assert told["pages"]["pushed"] == 0
    assert told["pages"]["requested"] > 300
    # One in eight visits is begun by KVM, KVM and the device, in turn: that page's fault is theirs.
    assert told["faults"]["vcpu"] > 200
    assert told["faults"]["kvm"] > 16 and told["faults"]["vmm"] > 8, told["faults"]
    source.command("set-parameters", {"push": True})
    check_arrival(migration)


def test_a_vcpu_waits_out_a_network_that_stands_still(migration):
    """Open faults are told of, and answered when the pages come."""
    start(migration, budget=2 << 20)
    migration.wait_state("postcopy-active")
    migration.wait_status(migration.destination, lambda status: status["faults"]["open"] == 2)
    migration.relay.release()
    check_arrival(migration)


def test_a_stopped_vmm_finds_its_answers(migration):
    """Nobody reads the fault socket for a while; push goes on, and no answer is lost."""
    start(migration, vcpus=4)
    migration.destination_guest.wait_word("resumed")
    for _ in range(20):
        migration.destination_guest.signal(signal.SIGSTOP)
        migration.destination.control.command("query-migrate")
        migration.destination_guest.signal(signal.SIGCONT)
    check_arrival(migration)


def what_is_said_of_a_lost_page(guest):
    """Where its machine check is due, or how this VMM ends.  Who comes first depends on where the guest was paused:
    in seven visits of eight the vCPU itself, else KVM (poison: KVM_RUN ends as if there were no memory) or
    the device (SIGBUS)."""
    try:
        return guest.wait_line(lambda line: line.startswith("lost: vCPU 0 at ")
                               or line.endswith("or a page that is lost"))
    except AssertionError:
        assert guest.wait() == -signal.SIGBUS, guest.lines
        return "SIGBUS"


def lose_the_end(migration, **options):
    """A guest whose last pages the source cannot read: what its new VMM says of the first that is needed."""
    migration.start(str(SMALL), 1, guests=(kinds("tmpfs,tmpfs"), kinds(ALONE, "--machine-checks")), **options)
    source = migration.source.control
    source.command("set-parameters", {"push": False})
    source.command("switchover")
    migration.source_guest.wait_word("paused")
    fds = pathlib.Path(f"/proc/{migration.source_guest.pid}/fd")
    memory = next(fd for fd in fds.iterdir() if os.readlink(fd).startswith("/dev/shm/"))
    os.truncate(memory, SMALL - LOST * PAGE)
    return what_is_said_of_a_lost_page(migration.destination_guest)


def complete_with_losses(migration, told):
    """It was the vCPU who was told, of a page that is lost; all others come.  How many are lost."""
    assert SMALL - LOST * PAGE <= int(told.split()[-1], 16) < SMALL, told
    migration.source.control.command("set-parameters", {"push": True})
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == 0 and migration.destination.wait() == 0
    outcome = migration.destination.outcome()
    pages = outcome["migrate"]["pages"]
    assert outcome["outcome"] == "completed"
    assert outcome["reason"].startswith(f"{pages['lost']} of its pages could not be read"), outcome
    # What was asked for before it was cut off has come.
    assert pages["filled"] == pages["total"] and LOST / 2 < pages["lost"] <= LOST, pages
    return pages["lost"]


def check_lost_end(migration, told):
    """What is lost still traps."""
    complete_with_losses(migration, told)
    assert migration.destination_guest.alive()
    migration.destination_guest.say("quit")
    assert migration.destination_guest.wait() == 0


def check_lost_again(migration, told):
    """The guest leaves for another host, where its vCPU comes to the same page."""
    lost = complete_with_losses(migration, told)
    onward = Hop(f"{migration.folder}/onward", migration.pki, migration)
    try:
        onward.begin(SMALL, 1, kinds(ALONE, "--machine-checks"))
        onward.source.control.command("set-parameters", {"push": False})
        onward.source.control.command("switchover")
        assert onward.destination_guest.wait_line(lambda line: line.startswith("lost: ")) == told
        assert complete_with_losses(onward, told) == lost
    except AssertionError as error:
        raise AssertionError(f"{error}\n{onward.logs()}") from error
    finally:
        onward.end()


def check_told_lost(migration, told):
    lost = migration.destination.control.wait_event("PAGE_LOST")["data"]
    page = int(told.split()[-1], 16) // PAGE
    assert lost["page"] == page % (SMALL // PAGE // 2) and lost["region"] == 1, (lost, told)
    check_lost_end(migration, told)


def test_a_vcpu_is_told_that_its_page_is_lost(folder, pki):
    until_a_vcpu_is_told(folder, pki, check_told_lost)


def test_a_page_that_is_lost_is_lost_at_the_next_host_too(folder, pki):
    """In the file it is a hole, like a page of zeros: the userfault bitmap goes along, and says which."""
    until_a_vcpu_is_told(folder, pki, check_lost_again)


def until_a_vcpu_is_told(folder, pki, check, **options):
    """It stops there.  Nobody ever reads zeros: a guest in which somebody else came first has ended, and another
    is moved, until it was the vCPU (of six, one in 260000 runs has none)."""
    for attempt in "123456":
        os.mkdir(f"{folder}/{attempt}")
        migration = Migration(f"{folder}/{attempt}", pki)
        try:
            told = lose_the_end(migration, **options)
            if told.startswith("lost: vCPU 0 at "):
                check(migration, told)
                return
            assert migration.destination.wait() == 65, told
        except AssertionError as error:
            raise AssertionError(f"{error}\n{migration.logs()}") from error
        finally:
            migration.end()
    pytest.fail("in six guests no vCPU came first to a page that was lost")


def test_cancelled_while_its_vmm_waits_for_a_page(migration):
    """In the load of the device state; the guest works on at the source."""
    migration.start(str(SMALL), 2, guests=(kinds(ALONE), kinds(ALONE)), budget=64 << 10)
    migration.source.control.command("set-parameters", {"push": False})
    migration.relay.hold()
    migration.relay.let(4000)  # the device state, and a part of the page: test_cancel.py
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("loading")
    migration.relay.wait_stalled()
    migration.source.control.command("cancel", {})
    migration.relay.release()
    assert migration.source.wait() == 130
    assert migration.destination.wait() == 130
    migration.source_guest.wait_word("continued")
    migration.check_source_guest_runs()


# ---- kernels that offer less, or are stricter: parameters of the test kernel's KVM


@pytest.fixture
def parameter():
    """Sets one until the test is over."""
    before = []

    def change(name, value):
        before.append((name, gmem.set_parameter(name, value)))

    yield change
    for name, value in reversed(before):
        gmem.set_parameter(name, value)


def test_missing_alone_is_enough_where_pages_fill_atomically(migration, parameter):
    """A page that was written may be mapped without an event, and is whole then."""
    parameter("gmem_uffd_minor", 0)
    start(migration, more=("--fill-atomic",))
    told, _ = check_arrival(migration)
    assert told["faults"]["vcpu"] > 0
    # KVM's and the VMM's accesses that met a page between its being written and its being mapped; maybe none.
    assert 0 <= told["pages"]["mapped-unasked"] < told["pages"]["total"], told


def test_missing_alone_is_refused_where_nobody_declares_that(migration, parameter):
    parameter("gmem_uffd_minor", 0)
    migration.start_destination()
    migration.start_source()
    migration.source.open()
    migration.start_guest("source", str(SMALL), 1, kinds(ALONE)).wait_word("running")
    migration.wait_link()
    migration.start_guest("destination", str(SMALL), 1, kinds(ALONE))
    assert migration.destination.wait() == 76
    said = " ".join(migration.destination.log_text().split())
    assert "MINOR" in said and "fill_atomic" in said, said
    assert migration.source.wait() == 76
    assert migration.source.outcome()["outcome"] == "source-intact"
    migration.check_source_guest_runs()


@pytest.mark.parametrize("error", [17, 28], ids=["EEXIST", "ENOSPC"])
def test_pages_that_are_there_cannot_be_written_again(migration, parameter, error):
    parameter("gmem_write_populated", error)
    check_migration(migration, more=("--prepared", "allocated"))
