# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_leaves_again.py - a guest moves more than once: the VMM where it has arrived is the source of the next migration.

What an agent has filled is then what another one reads, by the same process that had it trapped.
"""
import os

import pytest

from harness import Migration
from processes import DEADLINE
from test_migration import check_ends, check_post_copy

pytestmark = pytest.mark.backing
SIZE = 32 << 20
VCPUS = 2


class Hop(Migration):
    """From where `before` has brought the guest, to a host of its own."""

    def __init__(self, folder, pki, before):
        os.mkdir(folder)
        super().__init__(folder, pki)
        self.source_guest = before.destination_guest

    def begin(self, size=SIZE, vcpus=VCPUS, more=()):
        """Up to the point where the orchestrator may say switchover; the guest runs on meanwhile."""
        self.start_destination()
        self.start_source()
        self.source.open()
        self.source_guest.say(f"source {self.source.vmm_socket}")
        self.source_guest.wait_word("running")
        self.start_guest("destination", str(size), vcpus, more)
        self.wait_state("active")

    def arrive(self):
        self.source.control.command("switchover")
        self.source_guest.wait_word("paused")
        self.destination_guest.wait_word("complete", 2 * DEADLINE)
        self.source_guest.wait_word("released")
        check_ends(self)


@pytest.fixture
def hop(folder, pki):
    """Makes the next one; all of them end with the test."""
    hops = []

    def make(before):
        hops.append(Hop(f"{folder}/{len(hops) + 2}", pki, before))
        return hops[-1]

    yield make
    for each in reversed(hops):
        each.end()


def arrive_once(migration):
    migration.start(str(SIZE), VCPUS)
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    check_ends(migration)


def test_a_guest_that_has_arrived_leaves_again_and_again(migration, hop):
    arrive_once(migration)
    last = migration
    for _ in range(2):
        # It has written to what had come, and to what had not been written before.
        last.destination_guest.wait_visits(500)
        last = hop(last)
        last.begin()
        last.arrive()
    report = last.destination_guest.finish()
    assert report["verdict"] == f"identical ({SIZE} bytes)", report
    assert report["status"] == 0
    check_post_copy(last, report)


def test_where_it_has_arrived_a_guest_runs_on_if_it_does_not_leave(migration, hop):
    """The next migration is cancelled, and where it was to start is its owner still."""
    arrive_once(migration)
    onward = hop(migration)
    onward.begin()
    onward.source.control.command("cancel", {})
    assert (onward.source.wait(), onward.destination.wait()) == (130, 130)
    onward.check_source_guest_runs()
