# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_records_all.py - every fault point has a stop at which records and guests are looked at, or a reason."""
import subprocess

import pytest

from harness import program
from test_records import GOODBYES, REFUSED, SET_UP, STOPS
from test_records_ends import CANCELLED, FAILED
from test_records_pages import EXITS, HUGE, LOADING, PUSHING, STEPS

pytestmark = pytest.mark.faults

ROWS = STOPS + SET_UP + REFUSED + CANCELLED + FAILED + LOADING + PUSHING + HUGE + EXITS + STEPS

# (side, point): why nothing stops there.
REASONS = {
    ("source", "failure-sent"): "a source says ABORT, with its reason",
    ("destination", "failure-heard"): "of a source that says FAILURE, which ours does not: "
    "test_hostile_source.py",
    ("source", "received-heard"): "behind an outage only: test_outage_points.py",
    ("destination", "received-sent"): "behind an outage only: test_outage_points.py",
}


def points():
    listed = subprocess.run([program("PAGEFERRY"), "fault-points"], capture_output=True, text=True,
                            timeout=60, check=True).stdout
    for line in listed.splitlines():
        name, where = line.split()[:2]
        for side in ("source", "destination") if where == "both" else (where,):
            yield side, name


def test_every_fault_point_has_a_stop_or_a_reason():
    stops = {(row.side, row.point.partition(":")[0]) for row in ROWS}
    stops |= {(side, point) for pair in GOODBYES for side, point in zip(("source", "destination"), pair)}
    there = set(points())
    assert len(there) > 80
    assert there - stops - set(REASONS) == set(), "a new point: give it a row in test_records*.py"
    assert stops - there == set(), "rows of points that do not exist"
    assert not stops & set(REASONS)
    assert set(REASONS) <= there
