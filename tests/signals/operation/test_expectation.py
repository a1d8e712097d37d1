"""The typical day and its levels: counts move them, and nothing of the day ahead is needed."""

from __future__ import annotations

import numpy as np
import pytest

from signals.model.demand import Demand, Vehicle, VehicleType
from signals.operation.expectation import Expectation

NORTH, EAST, MIDDLE, OUT = "north", "east", "middle", "out"


def expectation(vehicles: int = 120) -> Expectation:
    """Each entry brings so many vehicles an hour, evenly; north's go by the middle."""
    day = tuple(
        Vehicle(f"{edge}{k}", 3600.0 * (k + 0.5) / vehicles, (edge, MIDDLE, OUT), "car")
        for k in range(vehicles)
        for edge in (NORTH, EAST)
    )
    demand = Demand(0.0, 3600.0, tuple(sorted(day, key=lambda v: v.depart_s)), {"car": VehicleType("car")})
    return Expectation((demand,), (NORTH, EAST), 900.0)


def test_without_counts_the_typical_day_is_expected() -> None:
    known = expectation()
    assert known.forecast(900.0, 1800.0) == {NORTH: 30.0, EAST: 30.0}


def test_counts_above_the_typical_ones_raise_their_entry_most() -> None:
    known = expectation()
    known.learn({NORTH: 60.0, EAST: 30.0}, 0.0, 900.0)
    found = known.forecast(900.0, 1800.0)
    assert 30.0 <= found[EAST] < 33.0
    assert found[EAST] < found[NORTH] < 60.0


def test_a_level_that_lasts_is_believed_and_one_that_is_over_is_forgotten() -> None:
    known = expectation(400)
    for k in range(3):
        known.learn({NORTH: 200.0, EAST: 100.0}, 900.0 * k, 900.0 * (k + 1))
    assert known.level(NORTH, 0.0) > 1.6
    assert 1.0 < known.level(NORTH, 4.0) < known.level(NORTH, 0.0)
    for _ in range(4):
        known.learn({NORTH: 100.0, EAST: 100.0}, 1800.0, 2700.0)
    assert known.level(NORTH, 0.0) < 1.15


def test_draws_have_the_expected_numbers_on_average_and_repeat_by_seed() -> None:
    known = expectation()
    known.learn({NORTH: 60.0, EAST: 30.0}, 0.0, 900.0)
    draws = [known.draw(900.0, 1800.0, np.random.default_rng(k)) for k in range(200)]
    north = np.mean([sum(v.edges[0] == NORTH for v in d) for d in draws])
    assert north == pytest.approx(known.forecast(900.0, 1800.0)[NORTH], rel=0.05)
    assert draws[0] == known.draw(900.0, 1800.0, np.random.default_rng(0))
    assert all(900.0 <= v.depart_s < 1800.0 for d in draws for v in d)
    assert all(a.depart_s <= b.depart_s for a, b in zip(draws[0], draws[0][1:], strict=False))


def test_who_is_on_the_road_has_the_rest_of_a_usual_way_before_him() -> None:
    known = expectation()
    found = known.draw_present({MIDDLE: 7.0, "nowhere": 3.0}, 1800.0, np.random.default_rng(1))
    assert [v.edges for v in found] == [(MIDDLE, OUT)] * 7
    assert {v.depart_s for v in found} == {1800.0}
