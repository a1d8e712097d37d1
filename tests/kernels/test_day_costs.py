"""Costs of a day: compiled, plain and straight from HCM; best splits as trying everything; sequences as well."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from kernels import day_costs
from kernels._jit import plain
from kernels.day_costs import DaySignal
from kernels.delay import movement_delay
from kernels.lane_cost import LEAST_EFFECTIVE_S, Goal
from kernels.splits import BOX_LIMIT

DELAY = Goal(1.0, 0.0, 0.25)
CHANGES_S = 10
VERSIONS = ("compiled", "plain")


def version_of(kernel: Any, version: str) -> Any:
    """The kernel itself, or the Python function under it."""
    return kernel if version == "compiled" else plain(kernel)


def draw(seed: int, slots: int = 6, n: int = 3, m: int = 5) -> DaySignal:
    """A random day: lanes of one or two stages, some permitted, from no demand at all in the first slot to too much."""
    rng = np.random.default_rng(seed)
    share = np.zeros((slots, n, m))
    for lane in range(m):
        share[:, rng.integers(n), lane] = 1.0
        if rng.random() < 0.4:
            share[:, rng.integers(n), lane] = rng.uniform(0.1, 0.9, slots)
    saturation = rng.uniform(0.3, 0.6, (slots, m))
    flow = saturation * rng.uniform(0.0, 0.45, (slots, m))
    flow[0] = 0.0
    least = rng.integers(4, 8, n)
    return DaySignal(share, rng.uniform(-2.0, 2.0, (slots, m)), saturation, flow, least, least + 25)


def hcm(day: DaySignal, slot: int, green: Any, cycle_s: float) -> float:
    """Delay of everybody in a slot [veh], lane by lane from HCM's d1 + d2."""
    total = 0.0
    for lane in range(day.fixed.shape[1]):
        effective = day.fixed[slot, lane] + float(np.dot(day.share[slot, :, lane], green))
        effective = min(max(effective, LEAST_EFFECTIVE_S), cycle_s)
        flow = day.flow_vps[slot, lane]
        total += flow * movement_delay(
            float(effective), float(cycle_s), flow, day.saturation_vps[slot, lane], 0.25
        )
    return total


def greens_of(day: DaySignal, free_s: int) -> list[tuple[int, ...]]:
    """Every division of the free seconds."""
    ranges = [range(int(a), int(b) + 1) for a, b in zip(day.least[:-1], day.most[:-1], strict=True)]
    divisions = [(*some, free_s - sum(some)) for some in product(*ranges)]
    return [g for g in divisions if day.least[-1] <= g[-1] <= day.most[-1]]


@pytest.mark.parametrize("version", VERSIONS)
def test_slot_costs_are_those_of_hcm(version: str) -> None:
    day, out = draw(1), np.zeros(6)
    green = np.array([12, 20, 9], np.int64)
    version_of(day_costs.slot_costs, version)(day, DELAY, green, 51.0, out)
    assert out == pytest.approx([hcm(day, slot, green, 51.0) for slot in range(6)])
    assert out[0] == 0.0
    assert (out[1:] > 0).all()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_part_of_one_slot_costs_what_the_best_splits_of_that_slot_cost(version: str) -> None:
    day, cycles = draw(2), np.array([45, 60], np.int64)
    first = np.arange(6)
    cost = np.zeros((6, 2))
    version_of(day_costs.segment_costs, version)(
        day, DELAY, CHANGES_S, cycles, first, first + 1, BOX_LIMIT, cost
    )
    for slot, (at, cycle) in product(range(6), enumerate((45, 60))):
        best = min(hcm(day, slot, g, cycle) for g in greens_of(day, cycle - CHANGES_S))
        assert cost[slot, at] == pytest.approx(best, rel=1e-8)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_part_of_the_day_costs_its_splits_in_the_demand_of_every_slot(version: str) -> None:
    """Splits for the mean demand are one division of all, so between the best for all slots and the best for each."""
    day, cycles = draw(3), np.array([45], np.int64)
    first, last = np.array([0, 0, 1], np.int64), np.array([3, 6, 5], np.int64)
    cost = np.zeros((3, 1))
    version_of(day_costs.segment_costs, version)(day, DELAY, CHANGES_S, cycles, first, last, BOX_LIMIT, cost)
    for k, (a, b) in enumerate(zip(first, last, strict=True)):
        sums = [sum(hcm(day, slot, g, 45.0) for slot in range(a, b)) for g in greens_of(day, 35)]
        assert np.isclose(sums, cost[k, 0]).any()
        assert min(sums) * (1 - 1e-9) <= cost[k, 0] <= 1.1 * min(sums)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("version", VERSIONS)
def test_best_day_splits_are_the_best_of_all_divisions(seed: int, version: str) -> None:
    day = draw(seed)
    slots = np.array([0, 1, 3, 5], np.int64)
    green = np.zeros(3, np.int64)
    code, value = version_of(day_costs.best_day_splits, version)(
        day, DELAY, CHANGES_S, 60, slots, BOX_LIMIT, green
    )
    sums = {g: sum(hcm(day, int(slot), g, 60.0) for slot in slots) for g in greens_of(day, 50)}
    assert code == 0
    assert value == pytest.approx(min(sums.values()), rel=1e-8)
    assert sums[tuple(int(g) for g in green)] == pytest.approx(value, rel=1e-8)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_day_without_anybody_has_splits_that_keep_the_bounds(version: str) -> None:
    day = draw(5)
    green, slots = np.zeros(3, np.int64), np.zeros(1, np.int64)
    code, value = version_of(day_costs.best_day_splits, version)(
        day, DELAY, CHANGES_S, 60, slots, BOX_LIMIT, green
    )
    assert (code, value, int(green.sum())) == (0, 0.0, 50)
    assert ((green >= day.least) & (green <= day.most)).all()


def worth(sequence: tuple[int, ...], cost: Any, price: Any) -> float:
    """Cost and price of a sequence."""
    changed = [t for t in range(1, len(sequence)) if sequence[t] != sequence[t - 1]]
    return float(sum(cost[p, t] for t, p in enumerate(sequence)) + sum(price[t] for t in changed))


def runs(sequence: tuple[int, ...]) -> list[int]:
    """Lengths of the pieces of a sequence."""
    cuts = [0, *(t for t in range(1, len(sequence)) if sequence[t] != sequence[t - 1]), len(sequence)]
    return list(np.diff(cuts))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("version", VERSIONS)
def test_the_best_sequence_is_the_best_of_all(seed: int, version: str) -> None:
    rng = np.random.default_rng(seed)
    n_plan, n_cell = (1, 6) if seed == 0 else (3, 8)
    shortest, most = int(rng.integers(1, 4)), int(rng.integers(1, 6))
    cost, price = rng.uniform(0.0, 3.0, (n_plan, n_cell)), rng.uniform(0.0, 1.5, n_cell)
    plan = np.zeros(n_cell, np.int64)
    value = version_of(day_costs.best_sequence, version)(cost, price, shortest, most, plan)
    possible = [
        s for s in product(range(n_plan), repeat=n_cell) if min(runs(s)) >= shortest and len(runs(s)) <= most
    ]
    best = min(possible, key=lambda s: worth(s, cost, price))
    assert value == pytest.approx(worth(best, cost, price))
    assert tuple(plan) == best


def test_plans_that_cost_the_same_are_not_changed() -> None:
    plan = np.ones(6, np.int64)
    assert day_costs.best_sequence(np.full((3, 6), 2.0), np.zeros(6), 1, 4, plan) == 12.0
    assert set(plan) == {0}
