"""Tables of approach and exit counts, and what is wrong with some."""

from __future__ import annotations

import numpy as np
import pytest

from signals.demand.balance import balance_network
from signals.demand.fitting import estimate_intersections
from signals.demand.margins import movement_table
from signals.errors import InputError
from signals.model.counts import CountTable
from signals.model.demand import TurningCounts
from signals.planning import Case
from tests.signals.demand.hidden_turns import table


def test_tables_say_what_is_wrong(grid: Case, hidden: tuple[CountTable, CountTable, CountTable]) -> None:
    _, inflow, outflow = hidden
    shifted = table(outflow.names, outflow.values, start=outflow.start + np.timedelta64(15, "m"))
    with pytest.raises(InputError, match="bring both to one clock"):
        estimate_intersections(grid.network, inflow, shifted)
    stranger = table(("nowhere",), np.ones((inflow.n_intervals, 1)), start=inflow.start)
    for estimate in (estimate_intersections, balance_network):
        with pytest.raises(InputError, match="name series by edge"):
            estimate(grid.network, stranger, stranger)
    with pytest.raises(InputError, match="whole minutes"):
        movement_table(TurningCounts(0.0, 850.0, 1, {"a": {"m": (1.0,)}}, {}))
