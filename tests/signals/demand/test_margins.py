"""Tables of approach and exit counts, and what is wrong with some."""

from __future__ import annotations

import numpy as np
import pytest

from signals.demand.balance import balance_network
from signals.demand.fitting import estimate_intersections
from signals.demand.margins import UsableCounts, movement_table
from signals.errors import InputError
from signals.model.counts import CountTable, Reason
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


def test_usable_counts_of_some_series() -> None:
    reasons = np.zeros((2, 3), dtype=np.uint8)
    reasons[0, 2], reasons[1, 2] = Reason.STUCK, Reason.HOLIDAY
    counts = CountTable(
        ("a", "b", "c"), np.datetime64("2024-01-01", "m"), 15, np.arange(6.0).reshape(2, 3), reasons
    )
    usable = UsableCounts(counts)
    nan = float("nan")
    np.testing.assert_array_equal(usable.of(["c", "nowhere", "a"]), [[nan, nan, 0.0], [5.0, nan, 3.0]])
    assert usable.of([]).shape == (2, 0)
