"""Cycle and splits of a dual ring: what the kernels find is what trying everything, and CP-SAT, find."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from kernels import delay, dual_ring, dual_ring_cvar
from kernels._jit import plain

PERIOD_H = 0.25
DELAY = dual_ring.Goal(1.0, 0.0, PERIOD_H)
STOPS = dual_ring.Goal(0.0, 1.0, PERIOD_H)
INDEX = dual_ring.Goal(1.0, 20.0, PERIOD_H)
GOALS = (DELAY, STOPS, INDEX)
SIDES = (((0, 1), (4, 5)), ((2, 3), (6, 7)))
"""Phases of both rings on either side of the barrier, counted from 0."""


@dataclass
class Crossing:
    """One intersection: demand scenarios and eight phases."""

    flow_vph: np.ndarray
    probability: np.ndarray
    saturation_vph: np.ndarray
    least: np.ndarray
    most: np.ndarray
    clearance: np.ndarray
    used_s: np.ndarray
    filtering: np.ndarray

    @property
    def phases(self) -> dual_ring.Phases:
        """As kernels read it: an intersection of one."""
        fields = (self.saturation_vph, self.least, self.most, self.clearance, self.used_s, self.filtering)
        return dual_ring.Phases(*(field[None].copy() for field in fields))

    def curve(
        self, low: int, high: int, goal: dual_ring.Goal = DELAY, version: str = "compiled"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cost and greens of each cycle as the kernel gives them."""
        solve: Any = dual_ring.cycle_curve if version == "compiled" else plain(dual_ring.cycle_curve)
        cost, green = np.full(high - low + 1, np.nan), np.full((high - low + 1, 8), -1, np.int64)
        work = dual_ring.new_scratch(high)
        solve(self.flow_vph, self.probability, self.phases, 0, goal, low, high, work, cost, green)
        return cost, green

    def phase_cost(self, k: int, phase: int, green: int, cycle: int, goal: dual_ring.Goal) -> float:
        """What a phase costs in a scenario, from the HCM's delays one by one and Akçelik's stops in words."""
        flow, saturation = float(self.flow_vph[k, phase]), float(self.saturation_vph[phase])
        if flow == 0.0:
            return 0.0
        effective = green + float(self.used_s[phase])
        capacity = delay.capacity_vph(saturation, effective, float(cycle))
        x = delay.vc_ratio(flow, capacity)
        d1 = delay.uniform_delay_s(effective, float(cycle), x, 1.0)
        d2 = delay.incremental_delay_s(x, capacity, PERIOD_H, 0.5, float(self.filtering[phase]))
        q, overflow = flow / 3600.0, capacity / 3600.0 * d2
        u = effective / cycle
        y = min(flow / saturation, u)
        stopped = (1.0 - u) / (1.0 - y) if u < 1.0 else 0.0
        stops = 0.9 * (stopped + overflow / (q * cycle))
        return goal.delay_weight * q * (d1 + d2) + goal.stop_weight * q * stops

    def costs(self, green: np.ndarray, cycle: int, goal: dual_ring.Goal) -> np.ndarray:
        """Cost of a plan in each scenario."""
        return np.array(
            [
                sum(self.phase_cost(k, phase, int(green[phase]), cycle, goal) for phase in range(8))
                for k in range(len(self.flow_vph))
            ]
        )

    def cost(self, green: np.ndarray, cycle: int, goal: dual_ring.Goal = DELAY) -> float:
        """Mean over the scenarios."""
        return float(self.probability @ self.costs(green, cycle, goal))

    def waits(self, ring: tuple[int, int]) -> bool:
        """Whether a ring has no phase on a side."""
        return bool(self.most[list(ring)].sum() == 0)

    def fits(self, green: np.ndarray, cycle: int) -> bool:
        """Whether greens keep their bounds and both rings reach both barriers together."""
        if (green < self.least).any() or (green > self.most).any():
            return False
        lengths = [
            {int((green + self.clearance)[list(ring)].sum()) for ring in side if not self.waits(ring)}
            for side in SIDES
        ]
        return all(len(side) <= 1 for side in lengths) and sum(sum(side) for side in lengths) == cycle

    def side(self, number: int) -> dict[int, np.ndarray]:
        """Every choice of greens of a side's four phases, by the time that it takes; other greens are 0."""
        rings = SIDES[number]
        phases = [phase for ring in rings for phase in ring]
        ranges = [range(int(self.least[p]), int(self.most[p]) + 1) for p in phases]
        found: dict[int, list[np.ndarray]] = {}
        for choice in itertools.product(*ranges):
            green = np.zeros(8, np.int64)
            green[phases] = choice
            lengths = {
                int((green + self.clearance)[list(ring)].sum()) for ring in rings if not self.waits(ring)
            } or {0}
            if len(lengths) == 1:
                found.setdefault(lengths.pop(), []).append(green)
        return {length: np.array(greens) for length, greens in found.items()}

    def every_cost(self, low: int, high: int, goal: dual_ring.Goal) -> dict[int, np.ndarray]:
        """Costs by scenario of every plan there is, float64[n_plan, n_scenario] by cycle."""
        first, then = self.side(0), self.side(1)
        found: dict[int, list[np.ndarray]] = {cycle: [] for cycle in range(low, high + 1)}
        for (length, greens), (rest, others) in itertools.product(first.items(), then.items()):
            cycle = length + rest
            if low <= cycle <= high:
                one, two = (self._side_costs(g, s, cycle, goal) for s, g in enumerate((greens, others)))
                found[cycle].append((one[:, None] + two[None]).reshape(-1, one.shape[1]))
        return {cycle: np.concatenate(costs) for cycle, costs in found.items() if costs}

    def _side_costs(self, greens: np.ndarray, side: int, cycle: int, goal: dual_ring.Goal) -> np.ndarray:
        total = np.zeros((len(greens), len(self.flow_vph)))
        for phase in [phase for ring in SIDES[side] for phase in ring]:
            for g in np.unique(greens[:, phase]):
                total[greens[:, phase] == g] += [
                    self.phase_cost(k, phase, int(g), cycle, goal) for k in range(len(self.flow_vph))
                ]
        return total


def draw(
    seed: int, *, span: int = 4, n_scenario: int = 1, busy: float = 1.3, absent: bool = True
) -> Crossing:
    """A random crossing, from quiet to over capacity; some phases are absent, now and then half a street."""
    rng = np.random.default_rng(seed)
    lanes = np.where(np.arange(8) % 2 == 1, rng.integers(1, 4, 8), rng.integers(1, 3, 8))
    saturation = rng.uniform(1500.0, 1900.0, 8) * lanes
    ratio = rng.uniform(0.02, 1.0, 8)
    ratio *= rng.uniform(0.3, busy) / np.array([ratio[:4].sum(), ratio[4:].sum()]).max()
    flow = saturation * ratio * rng.uniform(0.6, 1.5, (n_scenario, 8))
    flow[rng.random(flow.shape) < 0.05] = 0.0
    least, clearance = rng.integers(4, 16, 8), rng.integers(3, 8, 8)
    used = rng.uniform(-2.5, 2.5, 8)
    gone = rng.random(8) < (0.1 if absent else 0.0)
    if absent and seed % 10 == 0:
        gone[[6, 7]] = True
    for field in (flow.T, least, clearance, used):
        field[gone] = 0
    for one, two in SIDES:  # pairs of one side differ by a second at most
        shortest = {ring: int((least + clearance)[list(ring)].sum()) for ring in (one, two)}
        short = min(shortest, key=lambda ring: shortest[ring])
        there = [phase for phase in short if not gone[phase]]
        if there:
            least[there[-1]] += max(0, abs(shortest[one] - shortest[two]) - 1)
    most = np.where(gone, 0, least + rng.integers(1, span + 1, 8))
    probability = rng.uniform(0.2, 1.0, n_scenario)
    return Crossing(
        flow, probability / probability.sum(), saturation, least, most, clearance, used,
        rng.uniform(0.3, 1.0, 8),
    )  # fmt: skip


def bounds(crossing: Crossing) -> tuple[int, int]:
    """A range of cycles around those that fit, one second more on either side."""
    cycles = sorted(a + b for a in crossing.side(0) for b in crossing.side(1))
    return (cycles[0] - 1, cycles[-1] + 1) if cycles else (60, 61)


@pytest.mark.parametrize("first", range(0, 200, 40))
def test_every_cycle_is_what_trying_everything_finds(first: int) -> None:
    fitted = 0
    for seed in range(first, first + 40):
        crossing, goal = draw(seed, n_scenario=1 + seed % 3), GOALS[seed % 3]
        low, high = bounds(crossing)
        cost, green = crossing.curve(low, high, goal)
        every = crossing.every_cost(low, high, goal)
        for row, cycle in enumerate(range(low, high + 1)):
            if cycle not in every:
                assert np.isinf(cost[row]), (seed, cycle)
                assert not green[row].any()
                continue
            fitted += 1
            least = (every[cycle] @ crossing.probability).min()
            assert cost[row] == pytest.approx(least, rel=1e-9), (seed, cycle)
            assert crossing.fits(green[row], cycle), (seed, cycle)
            assert crossing.cost(green[row], cycle, goal) == pytest.approx(cost[row], rel=1e-9)
    assert fitted > 250


# -------------------------------------------------------------------------------- conditional value at risk


def value_at_risk(costs: np.ndarray, probability: np.ndarray, tail: float) -> np.ndarray:
    """Mean of the worst share of costs, float64[n_plan], of costs float64[n_plan, n_scenario]."""
    order = np.argsort(-costs, axis=1)
    own = probability[order]
    before = np.cumsum(own, axis=1) - own
    weight = np.clip(tail - before, 0.0, own) / tail
    return (weight * np.take_along_axis(costs, order, axis=1)).sum(axis=1)


def risk_curve(
    crossing: Crossing,
    tail_share: float,
    low: int,
    high: int,
    goal: dual_ring.Goal,
    version: str = "compiled",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cost, bound and greens of each cycle as the kernel gives them."""
    function = dual_ring_cvar.cycle_curve
    solve: Any = function if version == "compiled" else plain(function)
    n = high - low + 1
    cost, bound, green = np.full(n, np.nan), np.full(n, np.nan), np.full((n, 8), -1, np.int64)
    work, tail = dual_ring.new_scratch(high), dual_ring_cvar.new_tail(len(crossing.probability), high)
    solve(
        crossing.flow_vph, crossing.probability, crossing.phases, 0, tail_share, goal, low, high,
        work, tail, cost, bound, green,
    )  # fmt: skip
    return cost, bound, green


@pytest.mark.parametrize("first", range(1000, 1160, 40))
def test_the_worst_share_is_what_trying_everything_finds(first: int) -> None:
    for seed in range(first, first + 40):
        crossing, goal = draw(seed, span=3, n_scenario=2 + seed % 5), GOALS[seed % 3]
        tail = (1.0, 0.5, 0.2, 0.05)[seed % 4]
        low, high = bounds(crossing)
        cost, bound, green = risk_curve(crossing, tail, low, high, goal)
        every = crossing.every_cost(low, high, goal)
        assert np.array_equal(cost, bound)
        for row, cycle in enumerate(range(low, high + 1)):
            if cycle not in every:
                assert np.isinf(cost[row]), (seed, cycle)
                continue
            least = value_at_risk(every[cycle], crossing.probability, tail).min()
            assert cost[row] == pytest.approx(least, rel=1e-9), (seed, cycle)
            assert crossing.fits(green[row], cycle), (seed, cycle)
            own = crossing.costs(green[row], cycle, goal)[None]
            assert value_at_risk(own, crossing.probability, tail)[0] == pytest.approx(cost[row], rel=1e-9)
