# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_matrix.py - faults by matrix: stage x fault, each cell with its end on both sides and the oracle.

The cells are data, tests/netfault/matrix; matrix.py does one.  `python3 -m pytest -k "push and rst"`.
"""
import itertools

import pytest

from matrix import CELLS, FAULTS, STAGES, Cell

pytestmark = pytest.mark.faults


def test_every_stage_has_every_fault():
    assert len(STAGES) == 13 and len(FAULTS) == 7
    assert set(CELLS) == set(itertools.product(STAGES, FAULTS))


@pytest.mark.parametrize("stage,fault", CELLS)
def test_cell(migration, stage, fault):
    cell = Cell(migration, stage, fault)
    cell.start()
    cell.switch_over()
    ends = cell.follow()
    assert cell.struck
    assert ends == CELLS[stage, fault]
    if ends[0][0] == "source-intact":
        migration.check_source_guest_runs()
    else:
        report = migration.destination_guest.finish()
        assert report["verdict"].startswith("identical"), report
