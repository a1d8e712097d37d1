"""From approaches to movements: laws of shares and of thinning, against draws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from signals.demand.proportions import (
    LEAST_PRIOR_VEHICLES,
    MOST_PRIOR_VEHICLES,
    constant_proportions,
    default_shares,
    movement_forecast,
    turning_proportions,
)
from signals.errors import InputError
from signals.model.counts import CountForecast
from signals.model.network import Movement, Turn
from tests.signals.demand.hidden_turns import MONDAY, Floats, table

APPROACH = {"L": "A", "T": "A", "R": "A"}


# ---------------------------------------------------------------------------------- shares from turning counts


def drawn(days: int, shares: Floats, per_slot: Floats, seed: int) -> Floats:
    """Multinomial counts of one approach's movements; `shares` [n_slot, n_movement], `per_slot` [n_slot]."""
    rng = np.random.default_rng(seed)
    n = rng.poisson(np.tile(per_slot, days))
    return np.array([rng.multinomial(k, p) for k, p in zip(n, np.tile(shares, (days, 1)))], dtype=float)


def test_shares_are_those_of_the_day_where_slots_differ_by_chance_only() -> None:
    p = np.array([0.15, 0.7, 0.15])
    values = drawn(5, np.tile(p, (96, 1)), np.full(96, 40.0), seed=1)
    found = turning_proportions(table(("L", "T", "R"), values), APPROACH)
    assert found.prior_vehicles[0] > 1000
    np.testing.assert_allclose(found.day, p, atol=0.01)
    np.testing.assert_allclose(found.by_slot, np.tile(p, (96, 1)), atol=0.05)
    raw = values.reshape(5, 96, 3).sum(axis=0)
    raw /= raw.sum(axis=1, keepdims=True)
    assert np.abs(found.by_slot - p).mean() < 0.3 * np.abs(raw - p).mean()


def test_shares_follow_the_time_of_day_where_counts_suffice() -> None:
    slot = np.arange(96)
    left = 0.3 + 0.25 * np.sin(2 * np.pi * slot / 96)
    p = np.column_stack([left, 0.9 - left, np.full(96, 0.1)])
    busy = np.where((slot > 24) & (slot < 88), 150.0, 0.0)  # nobody at night
    found = turning_proportions(table(("L", "T", "R"), drawn(10, p, busy, seed=2)), APPROACH)
    assert LEAST_PRIOR_VEHICLES <= found.prior_vehicles[0] < 200
    assert np.abs(found.by_slot - p)[30:84].max() < 0.06
    np.testing.assert_allclose(found.by_slot[10], found.day)  # no vehicle: the day's share
    np.testing.assert_allclose(found.by_slot.sum(axis=1), 1.0)


def test_the_prior_weight_is_that_of_the_slots_own_law() -> None:
    # slots drawn from Dirichlet(60·p): the moment estimate of K finds 60
    rng = np.random.default_rng(8)
    p = np.array([0.2, 0.6, 0.2])
    found = [
        turning_proportions(
            table(("L", "T", "R"), drawn(1, rng.dirichlet(60 * p, 96), np.full(96, 200.0), seed=k)), APPROACH
        ).prior_vehicles[0]
        for k in range(10)
    ]
    assert np.mean(found) == pytest.approx(60, rel=0.15)


def test_shrinkage_is_the_dirichlet_mean() -> None:
    values = np.zeros((96, 2))
    values[40], values[50] = (30, 10), (10, 50)
    found = turning_proportions(
        table(("a", "b"), values), {"a": "A", "b": "A"}, prior_vehicles=50, neighbours=0
    )
    # day: 40 of 100, and half of one vehicle of an even division
    day = 40.5 / 101
    assert found.day[0] == pytest.approx(day)
    assert found.by_slot[40, 0] == pytest.approx((30 + 50 * day) / (40 + 50))
    # expected shares weigh 20 vehicles
    found = turning_proportions(
        table(("a", "b"), values), {"a": "A", "b": "A"}, expected={"a": 3.0, "b": 1.0}
    )
    assert found.day[0] == pytest.approx((40 + 20 * 0.75) / 120)


def test_incomplete_intervals_are_ignored() -> None:
    rng = np.random.default_rng(6)
    values = drawn(4, np.tile([0.2, 0.6, 0.2], (96, 1)), np.full(96, 60.0), seed=6)
    gone = values.copy()
    rows = rng.choice(len(values), 100, replace=False)
    gone[rows, 1] = np.nan  # the through movement isn't counted there; left and right alone would mislead
    kept = np.ones(len(values), dtype=bool)
    kept[rows] = False
    found = turning_proportions(table(("L", "T", "R"), gone), APPROACH)
    only = np.where(kept[:, None], values, 0.0)
    expected = turning_proportions(table(("L", "T", "R"), only), APPROACH)
    np.testing.assert_allclose(found.by_slot, expected.by_slot)
    assert found.day[1] == pytest.approx(0.6, abs=0.02)


def test_an_approach_is_counted_whole_or_not_at_all() -> None:
    with pytest.raises(InputError, match="'R' of approach 'A' isn't counted"):
        turning_proportions(table(("L", "T"), np.ones((4, 2))), APPROACH)
    with pytest.raises(InputError, match="'X' has no approach"):
        turning_proportions(table(("X",), np.ones((4, 1))), {})
    with pytest.raises(InputError, match="can't be negative"):
        turning_proportions(table(("L", "T", "R"), np.full((4, 3), -1.0)), APPROACH)


def test_default_shares_know_geometry() -> None:
    turns = {"l": Turn.LEFT, "t": Turn.THROUGH, "r1": Turn.RIGHT, "r2": Turn.RIGHT, "u": Turn.U_TURN}
    shares = default_shares(Movement(k, "A", k, t, (0,), (0,)) for k, t in turns.items())
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["t"] > shares["l"] > shares["r1"] == shares["r2"] > shares["u"] > 0
    stem = default_shares(
        [Movement("l", "B", "x", Turn.LEFT, (0,), (0,)), Movement("r", "B", "y", Turn.RIGHT, (0,), (0,))]
    )
    assert stem == {"l": pytest.approx(0.5), "r": pytest.approx(0.5)}


def test_prior_weights_are_bounded() -> None:
    assert LEAST_PRIOR_VEHICLES < MOST_PRIOR_VEHICLES
    one_slot = turning_proportions(table(("L", "T", "R"), np.array([[5.0, 30.0, 5.0]])), APPROACH)
    assert np.all(one_slot.prior_vehicles == MOST_PRIOR_VEHICLES)


# --------------------------------------------------------------------------------------------------- forecasts


LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


def forecast_of(name: str, draws: Floats, slots: int = 3) -> CountForecast:
    quantiles = np.quantile(draws, LEVELS)
    return CountForecast(
        (name,),
        MONDAY + np.arange(slots) * np.timedelta64(15, "m"),
        15,
        np.full((slots, 1), draws.mean()),
        LEVELS,
        np.tile(quantiles, (slots, 1, 1)),
    )


SHARES = constant_proportions({"L": 0.15, "T": 0.75, "R": 0.10}, APPROACH)


def test_movements_sum_to_their_approach() -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet([2, 5, 1], 96)
    shares = replace(SHARES, by_slot=p)
    times = MONDAY + np.arange(192) * np.timedelta64(15, "m")
    mean = rng.uniform(0, 200, (192, 1))
    found = movement_forecast(
        CountForecast(("A",), times, 15, mean, LEVELS, mean[..., None] + np.linspace(-20, 20, 7)), shares
    )
    assert found.names == ("L", "T", "R")
    np.testing.assert_allclose(found.mean.sum(axis=1), mean[:, 0], rtol=1e-13)
    np.testing.assert_allclose(found.mean[100], p[4] * mean[100])
    assert np.all(found.quantiles >= 0)
    assert np.all(np.diff(found.quantiles, axis=2) >= 0)


@pytest.mark.parametrize("variance_factor", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("name", ["L", "T"])
def test_spread_is_that_of_thinning(variance_factor: float, name: str) -> None:
    # simulate: N around 150 with variance 75, 150, 600, then each vehicle chooses
    rng = np.random.default_rng(11)
    n = np.maximum(rng.normal(150.0, math.sqrt(150.0 * variance_factor), 100_000), 0).round().astype(int)
    p = {"L": 0.15, "T": 0.75}[name]
    m = rng.binomial(n, p)
    # the law: p²·Var N + p(1 − p)·E N
    law = p**2 * n.var() + p * (1 - p) * n.mean()
    assert m.var() == pytest.approx(law, rel=0.02)
    found = movement_forecast(forecast_of("A", n.astype(float)), SHARES)
    k = found.names.index(name)
    q = found.quantiles[0, k]
    spread = (q[-1] - q[0]) / (stats.norm.ppf(LEVELS[-1]) - stats.norm.ppf(LEVELS[0]))
    assert spread**2 == pytest.approx(law, rel=0.06)
    for level, x in zip(LEVELS, q):  # half a vehicle of a count's step is not the forecast's fault
        assert np.mean(m < x - 0.5) - 0.02 <= level <= np.mean(m <= x + 0.5) + 0.02


def test_shares_that_vary_from_day_to_day_spread_more() -> None:
    rng = np.random.default_rng(12)
    n = rng.poisson(200, 60_000)
    shares = rng.dirichlet([80 * 0.15, 80 * 0.85], len(n))[:, 0]
    m = rng.binomial(n, shares)
    found = movement_forecast(forecast_of("A", n.astype(float)), SHARES, concentration=80.0)
    q = found.quantiles[0, found.names.index("L")]
    spread = (q[-1] - q[0]) / (stats.norm.ppf(LEVELS[-1]) - stats.norm.ppf(LEVELS[0]))
    assert spread**2 == pytest.approx(m.var(), rel=0.06)
    assert np.mean((m >= q[0]) & (m <= q[-1])) == pytest.approx(0.90, abs=0.015)


def test_skewed_forecasts_stay_skewed_and_sorted() -> None:
    draws = np.random.default_rng(3).gamma(2.0, 40.0, 50_000)
    one_sided = forecast_of("A", draws)
    found = movement_forecast(one_sided, SHARES)
    low, middle, high = found.quantiles[0, 1, [0, 3, 6]]
    assert high - middle > 1.5 * (middle - low)
    only_high = replace(one_sided, levels=LEVELS[4:], quantiles=one_sided.quantiles[:, :, 4:])
    assert np.all(np.diff(movement_forecast(only_high, SHARES).quantiles, axis=2) >= 0)


def test_an_approach_without_shares_is_named() -> None:
    with pytest.raises(InputError, match="'B' is forecast but has no turning proportions"):
        movement_forecast(forecast_of("B", np.array([1.0, 2.0])), SHARES)
    with pytest.raises(InputError, match="0 or more"):
        constant_proportions({"L": -1.0, "T": 1.0, "R": 1.0}, APPROACH)
