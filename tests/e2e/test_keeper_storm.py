# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_keeper_storm.py - workers of both sides are killed at random moments of a post-copy; the guest is the oracle.

PAGEFERRY_SEED gives the moments again, as far as a machine has the same moments twice; PAGEFERRY_WORKER_KILLS is
how often (PAGEFERRY_KILLS is tests/kill's: a count a step, and smaller).
"""
import os
import random
import select
import signal
import time

import pytest

from control import Gone
from hugepages import need_pages

pytestmark = pytest.mark.backing

KILLS = int(os.environ.get("PAGEFERRY_WORKER_KILLS", 20))
SEED = int(os.environ.get("PAGEFERRY_SEED", 0)) or random.SystemRandom().randrange(1, 1 << 31)
SLOW = 8 << 20  # bytes of push a second: 64 MiB outlast the storm


def ended(child):
    poll = select.poll()
    poll.register(child.pidfd, select.POLLIN)
    return bool(poll.poll(0))


def wait_calm(guest, seconds):
    """A moment of the storm, unless the guest's memory is complete before."""
    poll = select.poll()
    poll.register(guest.process.stdout, select.POLLIN)
    if poll.poll(seconds * 1000):
        guest.read(time.monotonic() + 1)
    return "complete" not in guest.lines


def kill_one(agent):
    worker = agent.worker()
    if worker is None or ended(agent):
        return 0
    try:
        os.kill(worker, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def storm(migration, rng, kills):
    """How many workers were killed, of each side."""
    killed = {"source": 0, "destination": 0}
    while sum(killed.values()) < kills:
        if not wait_calm(migration.destination_guest, rng.uniform(0.0, 0.25)):
            break
        side = rng.choice(sorted(killed))
        killed[side] += kill_one(getattr(migration, side))
    return killed


def hurry(migration):
    """No limit any more; said to whichever worker there is."""
    while not ended(migration.source):
        try:
            migration.source.connect().command("set-parameters", {"max-bandwidth": 0})
            return
        except (Gone, AssertionError, OSError):
            continue


def check_killed(agent, killed):
    restarts = [line for line in (agent.state_dir / "events").read_text().splitlines()
                if '"WORKER_RESTARTED"' in line]
    # One that was killed before it could say so is not told of by the next.
    assert len(restarts) <= killed, (agent.side, killed, restarts)
    assert killed < 4 or restarts, (agent.side, killed)


@pytest.mark.parametrize("kinds, kills", [
    pytest.param(None, KILLS, id="memfd"),
    pytest.param("private,memfd", KILLS, id="private"),
    pytest.param("hugetlb,memfd", KILLS, id="hugetlb"),
    pytest.param(None, 10 * KILLS, id="many", marks=pytest.mark.long),
])
def test_workers_are_killed_and_the_guest_is_right(migration, kinds, kills):
    print(f"PAGEFERRY_SEED={SEED} PAGEFERRY_WORKER_KILLS={kills}")
    rng = random.Random(SEED)
    huge = kinds is not None and kinds.startswith("hugetlb")
    if huge:
        need_pages(64)
    there = ("--kinds", kinds) if kinds else ()
    # Only shapes are compared: private memory is a destination's, and a memfd at the source.
    here = there if huge else ()
    migration.start("64M", 2, source={"max_bandwidth": SLOW}, guests=(here, there))
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("resumed")
    address = migration.address
    killed = storm(migration, rng, kills)
    hurry(migration)
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == 0
    assert migration.destination.wait() == 0
    report = migration.destination_guest.finish()
    assert report["verdict"].startswith("identical"), (SEED, killed, report)
    assert sum(killed.values()) >= kills // 2, killed
    for side, count in killed.items():
        check_killed(getattr(migration, side), count)
    assert address in (migration.destination.state_dir / "events").read_text()
