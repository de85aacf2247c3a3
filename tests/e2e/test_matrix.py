# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_matrix.py - faults by matrix: stage x fault, each cell with its end on both sides and the oracle.

The cells are data, tests/netfault/matrix; matrix.py does one.  `python3 -m pytest -k "push and rst"`.
"""
import itertools

import pytest

from matrix import CELLS, FAULTS, STAGES, Cell

pytestmark = pytest.mark.faults


def test_every_stage_has_every_fault():
    single = [name for name, fault in FAULTS.items() if not fault.double]
    assert len(STAGES) == 13 and len(single) == 7 and len(FAULTS) == 11
    assert {cell for cell in CELLS if not FAULTS[cell[1]].double} == set(
        itertools.product(STAGES, single))


def test_every_double_fault_has_its_stages():
    """Both die at any but the last; the network is gone and then somebody dies once the guest runs at the
    destination."""
    doubles = {cell for cell in CELLS if FAULTS[cell[1]].double}
    in_outage = [name for name, fault in FAULTS.items() if "outage" in fault.end]
    assert doubles == set(itertools.product(set(STAGES) - {"goodbye"}, ["both-killed"])) | set(
        itertools.product(["first-fault", "push", "resume"], in_outage))


def test_every_check_has_each_fault_in_each_part_of_a_migration():
    parts = [("connect", "TLS", "hello", "regions"), ("device", "load", "READY", "COMMIT"),
             ("first-fault", "push", "resume"), ("drain", "goodbye")]
    assert sorted(sum(map(list, parts), [])) == sorted(STAGES)
    short = {cell for cell, end in CELLS.items() if not end.long}
    for part, (name, fault) in itertools.product(parts, FAULTS.items()):
        cells = set(itertools.product(part, [name]))
        if cells & set(CELLS) and not (name == "slow" and part[0] == "drain"):
            assert cells & short, (part, name, fault)


def cells():
    return [pytest.param(*cell, marks=[pytest.mark.long] if end.long else [])
            for cell, end in CELLS.items()]


@pytest.mark.parametrize("stage,fault", cells())
def test_cell(migration, stage, fault):
    cell = Cell(migration, stage, fault)
    cell.start()
    cell.switch_over()
    ends = cell.follow()
    assert cell.struck
    assert ends == CELLS[stage, fault].sides
    if ends[0][0] == "source-intact":
        migration.check_source_guest_runs()
    else:
        report = migration.destination_guest.finish()
        assert report["verdict"].startswith("identical"), report
