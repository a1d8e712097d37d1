"""Periods are cut where demand changes and nowhere else."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import minimize

from kernels.delay import incremental_delay_s
from signals.errors import InputError
from signals.model.demand import TurningCounts
from signals.timing import periods
from signals.timing.periods import find_periods

SLOT_S = 900.0
TYPICAL = (20, 150, 30, 15, 140, 25, 30, 60, 20, 25, 70, 15)
"""Vehicles per quarter of an hour: left, through, right of four approaches, about 2400 veh/h together."""


def counts_of(
    rates: np.ndarray, *, seed: int | None, signals: int = 1, begin_s: float = 0.0
) -> TurningCounts:
    """Counts with Poisson noise around rates[movement, slot], or the rates themselves without a seed."""
    generator = np.random.default_rng(seed)
    rows = {
        f"s{k}": {
            f"m{i}": tuple(float(n) for n in (rate if seed is None else generator.poisson(rate)))
            for i, rate in enumerate(rates)
        }
        for k in range(signals)
    }
    return TurningCounts(begin_s, SLOT_S, rates.shape[1], rows, {})


def even(slots: int, scale: float = 1.0) -> np.ndarray:
    """The same typical demand in every slot."""
    return np.repeat(np.array(TYPICAL, float)[:, None] * scale, slots, axis=1)


@pytest.mark.parametrize("scale", [0.1, 0.4, 1.0, 2.0])
@pytest.mark.parametrize(("slots", "signals"), [(4, 1), (12, 1), (12, 6), (32, 2)])
def test_noise_never_pays(scale: float, slots: int, signals: int) -> None:
    cut = [
        seed
        for seed in range(60)
        # without the price of the switch itself: noise alone must not be enough
        if find_periods(counts_of(even(slots, scale), seed=seed, signals=signals), switch_delay_s=0.0)
    ]
    assert cut == []


def test_a_false_alarm_rate_is_kept() -> None:
    # One cut in five is allowed; 200 seeds with the limit's own scatter of √(200·0.2·0.8) = 5.7, three times.
    alarms = sum(
        bool(find_periods(counts_of(even(8), seed=s), switch_delay_s=0.0, false_alarm=0.2))
        for s in range(200)
    )
    assert alarms <= 40 + 17


@pytest.mark.parametrize("step", [3, 5, 8])
@pytest.mark.parametrize("seed", range(5))
def test_a_tide_that_turns_is_found_at_its_slot(step: int, seed: int) -> None:
    rates = even(12)
    rates[1, step:] *= 0.5  # one through movement empties, the opposing one fills
    rates[4, step:] *= 1.5
    found = find_periods(counts_of(rates, seed=seed, begin_s=25200.0))
    assert found == (25200.0 + step * SLOT_S,)


@pytest.mark.parametrize("seed", range(5))
def test_a_peak_has_a_begin_and_an_end(seed: int) -> None:
    rates = even(16, 0.6)
    rates[[1, 2, 7], 6:10] *= 2.0
    assert find_periods(counts_of(rates, seed=seed)) == (6 * SLOT_S, 10 * SLOT_S)


def test_the_same_shape_pays_in_the_peak_and_not_at_night() -> None:
    tide = even(12)
    tide[1, 6:] *= 0.5
    assert find_periods(counts_of(tide, seed=1)) == (6 * SLOT_S,)
    assert find_periods(counts_of(tide * 0.1, seed=1)) == ()


def test_a_dear_switch_is_not_made() -> None:
    tide = even(12)
    tide[1, 6:] *= 0.5
    counts = counts_of(tide, seed=1)
    assert find_periods(counts, switch_delay_s=15.0) == (6 * SLOT_S,)
    assert find_periods(counts, switch_delay_s=1500.0) == ()


def test_an_intersection_with_room_needs_one_plan() -> None:
    rates = even(12)
    rates[1, 6:] *= 0.7
    rates[4, 6:] *= 1.25
    counts = counts_of(rates, seed=None)
    assert find_periods(counts, vc_ratios={"s0": 0.95}) == (6 * SLOT_S,)
    assert find_periods(counts, vc_ratios={"s0": 0.4}) == ()


@pytest.mark.parametrize("seed", range(8))
def test_limits_are_kept(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rates = even(14) * generator.uniform(0.2, 2.0, (12, 14))
    for most, least_s in itertools.product((1, 2, 3, 5), (900.0, 1800.0, 2000.0, 3600.0)):
        counts = counts_of(rates, seed=seed, begin_s=600.0)
        cuts = find_periods(counts, max_periods=most, min_duration_s=least_s, switch_delay_s=0.0)
        edges = [600.0, *cuts, 600.0 + 14 * SLOT_S]
        assert len(cuts) < most
        assert all(b - a >= least_s for a, b in itertools.pairwise(edges))
        assert all((cut - 600.0) % SLOT_S == 0 for cut in cuts)


def test_demand_that_changes_always_is_cut_somewhere() -> None:
    rates = even(14) * np.random.default_rng(3).uniform(0.2, 2.0, (12, 14))
    assert len(find_periods(counts_of(rates, seed=3), max_periods=5, switch_delay_s=0.0)) == 4


def test_one_plan_where_there_is_nothing_to_cut() -> None:
    assert find_periods(counts_of(even(12) * 0.0, seed=None)) == ()
    assert find_periods(TurningCounts(0.0, SLOT_S, 12, {}, {})) == ()
    assert find_periods(TurningCounts(0.0, SLOT_S, 12, {"s0": {}}, {})) == ()
    assert find_periods(counts_of(even(1), seed=None)) == ()
    assert find_periods(TurningCounts(0.0, SLOT_S, 0, {"s0": {"m": ()}}, {})) == ()


def test_bad_counts_and_options_are_refused() -> None:
    with pytest.raises(InputError, match="movement m: 2 counts for 4 intervals; give one each"):
        find_periods(TurningCounts(0.0, SLOT_S, 4, {"s0": {"m": (1.0, 2.0)}}, {}))
    with pytest.raises(InputError, match="a count of -1"):
        find_periods(TurningCounts(0.0, SLOT_S, 4, {"s0": {"m": (1.0, -1.0, 2.0, 2.0)}}, {}))
    counts = counts_of(even(4), seed=1)
    with pytest.raises(ValueError, match="at least 1"):
        find_periods(counts, max_periods=0)
    with pytest.raises(ValueError, match="false alarm"):
        find_periods(counts, false_alarm=0.0)
    with pytest.raises(ValueError, match="v/c ratio of 0"):
        find_periods(counts, vc_ratios={"s0": 0.0})


def _waiting_veh(capacity_vph: Sequence[float], flow_vph: Sequence[float]) -> float:
    """Vehicles waiting by HCM Eq. 19-26 over a quarter of an hour: flow times incremental delay."""
    return sum(
        q / 3600 * incremental_delay_s(q / c, c, 0.25, 0.5, 1.0) for c, q in zip(capacity_vph, flow_vph)
    )


@pytest.mark.parametrize(
    ("capacity", "flow"), [(500.0, 400.0), (300.0, 290.0), (900.0, 1000.0), (150.0, 20.0)]
)
def test_the_weight_is_the_second_derivative_of_hcm_delay(capacity: float, flow: float) -> None:
    h = capacity / 1000
    numeric = (
        _waiting_veh([capacity + h], [flow])
        - 2 * _waiting_veh([capacity], [flow])
        + _waiting_veh([capacity - h], [flow])
    ) / h**2
    closed = periods._curvature(np.array([capacity]), np.array([flow]), 0.25)[0]
    assert closed == pytest.approx(numeric, rel=1e-3)


@pytest.mark.parametrize("x", [0.85, 0.9, 0.95])
@pytest.mark.parametrize("flows", [(400.0, 400.0), (600.0, 300.0), (800.0, 300.0, 200.0, 400.0)])
@pytest.mark.parametrize("swing", [0.1, 0.25])
def test_the_cost_is_the_delay_that_a_plan_for_the_mean_adds(
    x: float, flows: tuple[float, ...], swing: float
) -> None:
    """Two slots that swing around their mean, capacity shared out for the least HCM delay, by search."""
    mean = np.array(flows)
    delta = np.zeros_like(mean)
    delta[:2] = swing * mean[:2].min() * np.array([1, -1])
    total = mean.sum() / x

    def best(flow: np.ndarray) -> np.ndarray:
        def shared(share: np.ndarray) -> np.ndarray:
            return np.abs(share) / np.abs(share).sum() * total

        options = {"xatol": 1e-6, "fatol": 1e-9, "maxiter": 4000}
        found = minimize(lambda s: _waiting_veh(shared(s), flow), flow, method="Nelder-Mead", options=options)
        return shared(found.x)

    slots = [mean + delta, mean - delta]
    added = sum(_waiting_veh(best(mean), q) - _waiting_veh(best(q), q) for q in slots)
    cost = sum((0.5 * periods._curvature(q / x, q, 0.25) * (mean / x - q / x) ** 2).sum() for q in slots)
    # equal v/c isn't quite the optimum, and the delay isn't quite a parabola: an upper bound, not far off
    assert added * 0.95 <= cost <= added * 1.5


def test_segment_costs_agree_with_their_definition() -> None:
    rates = even(6) * np.random.default_rng(5).uniform(0.3, 1.8, (12, 6))
    need = periods._needs(counts_of(rates, seed=None), "s0", 0.9)
    cost = periods._segment_costs(need, SLOT_S)
    for a, b in itertools.combinations(range(7), 2):
        volume = need.volume_vph[a:b].mean()
        y = need.load_h * volume
        vc = min(2 * y / (1 + y), periods.HIGHEST_VC_RATIO)
        expected = 0.0
        for i in range(12):
            given = max(need.flow_vph[i, a:b].mean() / vc, periods.LEAST_CAPACITY_VPH)
            for t in range(a, b):
                expected += need.weight[i, t] * (need.capacity_vph[i, t] - given) ** 2 * SLOT_S
        assert cost[a, b] == pytest.approx(expected, rel=1e-9, abs=1e-6)
    assert cost[2, 3] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_cuts_are_the_best_of_all(seed: int) -> None:
    generator = random.Random(seed)
    n, most, shortest, price = 9, 4, generator.choice([1, 2, 3]), generator.choice([0.0, 1.0, 4.0])
    cost = np.zeros((n + 1, n + 1))
    for a, b in itertools.combinations(range(n + 1), 2):
        cost[a, b] = (b - a) ** 1.5 * generator.random()

    def total(cuts: Sequence[int]) -> float:
        edges = [0, *cuts, n]
        if any(b - a < shortest for a, b in itertools.pairwise(edges)):
            return math.inf
        return sum(cost[a, b] for a, b in itertools.pairwise(edges)) + price * len(cuts)

    every = [cuts for k in range(most) for cuts in itertools.combinations(range(1, n), k)]
    found = periods._best_cuts(cost, price, most, shortest)
    assert total(found) == pytest.approx(min(map(total, every)))
