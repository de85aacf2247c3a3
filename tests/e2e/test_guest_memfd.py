# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_guest_memfd.py - guests on guest_memfd: three who fault, two traps, and every byte.

Needs a kernel that has what no released one has: here it is skipped, tests/kernel/run runs it.
"""
import signal

import pytest

import gmem
from test_migration import PAGE, SIZES, check_ends, check_post_copy

pytestmark = pytest.mark.gmem
GMEM = ("--kinds", "guest_memfd,guest_memfd")
UNWRITABLE = ("--kinds", "guest_memfd-unwritable,guest_memfd-unwritable")


@pytest.fixture(autouse=True)
def kernel():
    gmem.need()


def check_who_waited(told, report):
    """vCPUs left the guest for pages, and KVM and the VMM waited in userfaultfd, each at least once.

    The guest counts the exits itself: each was asked for, and nothing was asked for twice."""
    faults = told["faults"]
    assert faults["vcpu"] > 0 and faults["kvm"] > 0 and faults["vmm"] > 0, faults
    assert faults["vcpu"] == int(report["userfault-exits"]), (faults, report)
    assert faults["open"] == 0, faults


def check_arrival(migration, memory):
    migration.destination_guest.wait_word("complete")
    check_ends(migration)
    report = migration.destination_guest.finish()
    assert report["verdict"] == f"identical ({SIZES[memory]} bytes)", report
    assert report["status"] == 0
    assert report["backend"] == "kvm"
    check_post_copy(migration, report)
    told = migration.destination.outcome()["migrate"]
    assert told["pages"]["filled"] == told["pages"]["total"] == SIZES[memory] // PAGE
    check_who_waited(told, report)
    return told


def migrate(migration, memory="64M", vcpus=2, kinds=(GMEM, GMEM), **options):
    migration.start(memory, vcpus, guests=kinds, **options)
    migration.source.control.command("switchover")
    return check_arrival(migration, memory)


@pytest.mark.parametrize("vcpus", [pytest.param(1, marks=pytest.mark.smoke), 2, 4])
def test_a_guest_on_guest_memfd_arrives_identical(migration, vcpus):
    migrate(migration, vcpus=vcpus)
    assert "UNEXPECTED_PAGE" not in migration.destination.control.names()


def test_guest_memfd_that_cannot_be_written(migration):
    """Filled through a second mapping."""
    migrate(migration, kinds=(UNWRITABLE, UNWRITABLE))


@pytest.mark.parametrize(
    "source, destination",
    [
        ("memfd,memfd", "guest_memfd,guest_memfd"),
        ("guest_memfd,memfd,tmpfs,guest_memfd", "guest_memfd,private,guest_memfd,memfd"),
        ("guest_memfd,guest_memfd-unwritable", "guest_memfd-unwritable,guest_memfd"),
    ],
)
def test_kinds_of_both_sides_are_independent(migration, source, destination):
    migrate(migration, vcpus=4,
            kinds=(("--kinds", source), ("--kinds", destination, "--mirror")))


def test_the_source_may_be_on_guest_memfd_alone(migration):
    """Read through a mapping; at the destination nothing of it is left to see."""
    migration.start("64M", 2, guests=(GMEM, ("--kinds", "memfd,memfd")))
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    check_ends(migration)
    report = migration.destination_guest.finish()
    assert report["verdict"] == f"identical ({SIZES['64M']} bytes)", report
    assert report["userfault-exits"] == "0", report


@pytest.mark.parametrize("prepared", ["allocated", "listed"])
def test_what_a_destination_declares_to_be_populated_is_replaced(migration, prepared):
    migrate(migration, kinds=(GMEM, (*GMEM, "--prepared", prepared)))
    assert "UNEXPECTED_PAGE" not in migration.destination.control.names()


def test_vcpus_that_wait_while_nothing_is_pushed(migration):
    """Every page of the walk comes because somebody waits for it."""
    migration.start("64M", 4, guests=(GMEM, GMEM))
    source = migration.source.control
    source.command("set-parameters", {"push": False})
    source.command("switchover")
    migration.destination_guest.wait_word("resumed")
    migration.destination_guest.wait_visits(2000)
    told = migration.destination.control.command("query-migrate")
    assert told["pages"]["pushed"] == 0
    assert told["pages"]["requested"] > 1000
    # One in eight visits is begun by KVM or the device, in turn, and a page's first fault is theirs.
    assert told["faults"]["vcpu"] > 1000
    assert told["faults"]["kvm"] > 50 and told["faults"]["vmm"] > 25, told["faults"]
    source.command("set-parameters", {"push": True})
    check_arrival(migration, "64M")


def test_a_vcpu_waits_out_a_network_that_stands_still(migration):
    """Open faults are told of, and answered when the pages come."""
    migration.start("64M", 2, guests=(GMEM, GMEM), budget=8 << 20)
    migration.source.control.command("switchover")
    migration.wait_state("postcopy-active")
    migration.wait_status(migration.destination, lambda status: status["faults"]["open"] == 2)
    migration.relay.release()
    check_arrival(migration, "64M")


def test_a_stopped_vmm_finds_its_answers(migration):
    """Nobody reads the fault socket for a while; push goes on, and no answer is lost."""
    migration.start("64M", 4, guests=(GMEM, GMEM))
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("resumed")
    for _ in range(20):
        migration.destination_guest.signal(signal.SIGSTOP)
        migration.destination.control.command("query-migrate")
        migration.destination_guest.signal(signal.SIGCONT)
    check_arrival(migration, "64M")
