# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_keeper_vmm.py - a worker is killed, and the VMM of its side does not answer the next one.

It may stand in a page of its own memory: then it answers once that page has come, and not before.
"""
import pytest

import vmm_client as vmm
from both_vmms import BothVmms, content
from processes import DEADLINE

ACCEPTED, LOADED, RESUMING = 2, 3, 4  # vmm.proto, Stage
PAGE = 700


@pytest.fixture
def both(migration, request):
    it = BothVmms(migration, **getattr(request, "param", {}))
    yield it
    it.close()


def kill_worker(both):
    """The number of ATTACH, which is to be answered, and what a thread of the VMM finds in its page."""
    both.destination.kill_worker()
    attach = both.client.wait("ATTACH").fields[1]
    return attach, both.touch(PAGE)


def check_page_comes(touched):
    assert touched.result(DEADLINE) == content(PAGE)


def answer(both, attach, stage, owed=0):
    both.client.hello(vmm.DESTINATION, f4=stage, f5=owed, f6=attach)


def finish(both):
    both.client.say("RESUMED")
    both.push()
    both.client.wait("COMPLETE")
    both.source_client.wait("RELEASE")
    assert (both.source.wait(), both.destination.wait()) == (0, 0)


def reach_load(both):
    both.source.control.send_line(b'{"execute": "switchover"}')
    both.source_client.wait("PAUSE")
    both.source_client.paused(vmm.device_state(), len(b"device state"))
    both.client.wait("LOAD")


def test_while_it_loads(both):
    """Set-up begins again without it, its page comes with the next pause, and then it answers."""
    reach_load(both)
    attach, touched = kill_worker(both)
    both.source_client.wait("CONTINUE_SOURCE")
    both.source.control.wait_state("active")
    reach_load(both)
    check_page_comes(touched)
    answer(both, attach, ACCEPTED, owed=1)  # of the two, the one that had come before ATTACH
    both.client.wait("REGIONS_ACCEPTED")
    both.client.say("READY")
    both.client.say("READY")
    both.client.wait("RESUME")
    finish(both)


@pytest.mark.faults
@pytest.mark.parametrize("both", [{"source": {"fault": "offered=stop"}}], indirect=True)
def test_when_it_has_loaded(both):
    """The source has offered the guest, and is not answered until there is a VMM to resume."""
    both.reach_ready()
    both.source.wait_stopped()
    attach, touched = kill_worker(both)
    both.source.resume()
    check_page_comes(touched)
    answer(both, attach, LOADED)
    both.client.wait("RESUME")
    finish(both)


def test_while_it_resumes(both):
    """The guest is committed, and nobody knows whether a vCPU has entered."""
    both.reach_ready()
    both.client.wait("RESUME")
    attach, touched = kill_worker(both)
    check_page_comes(touched)
    answer(both, attach, RESUMING)
    both.client.wait("RESUME")
    finish(both)
