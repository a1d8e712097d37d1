"""The grid's demand, with turns and without."""

from __future__ import annotations

import pytest

from signals.demand.margins import margins, movement_table
from signals.formats.sumo.config import read_scenario
from signals.model.counts import CountTable
from signals.planning import Case, read_case
from sumo_nets import find_network


@pytest.fixture(scope="session")
def grid() -> Case:
    return read_case(read_scenario(find_network("grid")))


@pytest.fixture(scope="session")
def hidden(grid: Case) -> tuple[CountTable, CountTable, CountTable]:
    """True movements, and all that the estimates get to see: approach and exit counts."""
    truth = movement_table(grid.counts)
    return truth, *margins(grid.network, truth)
