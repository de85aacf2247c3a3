# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_guest_memfd_points.py - a worker killed at a step of a vCPU's exit; the next one answers the vCPU.

There is no WAKE for who has left KVM_RUN: what the worker that died knew of it is in its slot, or on the socket still.
Needs a build with fault points and the kernel of tests/kernel.
"""
import pytest

import gmem
from test_guest_memfd import ALONE, check_lost_end, kinds, until_a_vcpu_is_told
from test_keeper_points import follow, order_switchover

pytestmark = [pytest.mark.gmem, pytest.mark.faults]


@pytest.fixture(autouse=True)
def kernel():
    gmem.need()


@pytest.mark.parametrize("point", ["slot-set:5", "let-in:20", "resolved:5", "disarmed"])
def test_killed_at_a_step_of_an_exit_the_guest_arrives(migration, point):
    migration.start("16M", 2, guests=(kinds(ALONE), kinds(ALONE)),
                    destination={"fault": f"{point}=kill"})
    order_switchover(migration)
    follow(migration.destination)
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == 0
    assert migration.destination.wait() == 0
    report = migration.destination_guest.finish()
    assert report["verdict"].startswith("identical"), report
    assert int(report["userfault-exits"]) > 0, report
    assert migration.destination_guest.lines.count("resumed") == 1


def check_by_the_next_worker(migration, told):
    follow(migration.destination)
    check_lost_end(migration, told)


def test_killed_while_a_page_is_lost_the_next_worker_tells_the_vcpu(folder, pki):
    """LOST is in the journal, and nobody was told: the vCPU, who waits in its slot, hears it from another process."""
    until_a_vcpu_is_told(folder, pki, check_by_the_next_worker, destination={"fault": "lost=kill"})
