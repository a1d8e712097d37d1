"""Tables of approach and exit counts, and what is wrong with some."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from signals.demand.balance import balance_network
from signals.demand.fitting import estimate_intersections
from signals.demand.margins import UsableCounts, flows_at_places, movement_table
from signals.errors import InputError
from signals.model.counts import CountTable, Reason
from signals.model.demand import TurningCounts
from signals.model.network import Detector, Network
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


def with_detectors(network: Network, *detectors: Detector) -> Network:
    """The network with these detectors at its first intersection."""
    first = next(iter(network.intersections.values()))
    changed = {**network.intersections, first.id: replace(first, detectors=detectors)}
    return replace(network, intersections=changed)


def test_places_are_found_by_edge_movement_and_detectors_of_all_lanes(grid: Case) -> None:
    edge = next(
        e for e in grid.network.edges.values() if sum(lane.allows("passenger") for lane in e.lanes) > 1
    )
    lanes = [lane.id for lane in edge.lanes if lane.allows("passenger")]
    loops = [Detector(f"d{k}", "e1", lane, 10.0) for k, lane in enumerate(lanes)]
    upstream = Detector("far", "e1", lanes[0], 1.0)
    network = with_detectors(grid.network, *loops, upstream)
    movement = next(iter(network.intersections.values())).movements[0].id
    other = next(e for e in network.edges if e != edge.id)
    names = ("far", *(d.id for d in loops), movement, other, "rain")
    counts = np.arange(2.0 * len(names)).reshape(2, -1)
    found = flows_at_places(network, names, counts)
    assert set(found) == {edge.id, movement, other}
    np.testing.assert_array_equal(found[edge.id], counts[:, 1 : 1 + len(lanes)].sum(axis=1))
    np.testing.assert_array_equal(found[other], counts[:, -2])


def test_a_lane_without_a_detector_leaves_its_edge_unknown(grid: Case) -> None:
    edge = next(
        e for e in grid.network.edges.values() if sum(lane.allows("passenger") for lane in e.lanes) > 1
    )
    lane = next(lane.id for lane in edge.lanes if lane.allows("passenger"))
    network = with_detectors(grid.network, Detector("d", "e1", lane, 10.0))
    assert flows_at_places(network, ("d",), np.ones((2, 1))) == {}
