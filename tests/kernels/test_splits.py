"""Splits: the greedy kernel finds what trying everything finds, and what CP-SAT proves; bounds and sums hold."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from kernels import delay, splits
from kernels._jit import JIT_ENABLED, plain

PERIOD_H = 0.25
"""The HCM's analysis period."""


@dataclass
class Signal:
    """One signal to split: which lane is green in which stage, and how much it has to carry."""

    share: np.ndarray
    fixed: np.ndarray
    flow_vps: np.ndarray
    saturation_vps: np.ndarray
    least: np.ndarray
    most: np.ndarray
    free_s: int
    cycle_s: float

    def split(self, version: str = "compiled") -> tuple[int, np.ndarray]:
        """Code and greens as the kernel gives them."""
        green = np.full(len(self.least), -1, np.int64)
        solve: Any = splits.optimal_splits if version == "compiled" else plain(splits.optimal_splits)
        code = solve(
            self.share,
            self.fixed,
            self.flow_vps,
            self.saturation_vps,
            self.least,
            self.most,
            self.free_s,
            self.cycle_s,
            PERIOD_H,
            green,
        )
        return int(code), green

    def cost(self, green: np.ndarray) -> float:
        """Vehicles in the system, lane by lane in plain words."""
        total = 0.0
        for lane, flow in enumerate(self.flow_vps):
            if flow > 0:
                total += self.lane_cost(lane, float(self.share[:, lane] @ green))
        return total

    def lane_cost(self, lane: int, green_s: float) -> float:
        """Delay of a lane that gets so many seconds of green in all its stages [veh-s per s]."""
        effective = min(max(self.fixed[lane] + green_s, 0.5), self.cycle_s)
        flow = float(self.flow_vps[lane])
        one = delay.movement_delay(effective, self.cycle_s, flow, float(self.saturation_vps[lane]), PERIOD_H)
        return flow * float(one)

    def choices(self) -> Iterator[np.ndarray]:
        """Every division of the free seconds within the bounds."""
        ranges = [range(int(a), int(b) + 1) for a, b in zip(self.least, self.most)]
        for first in itertools.product(*ranges[:-1]):
            last = self.free_s - sum(first)
            if last in ranges[-1]:
                yield np.array([*first, last], np.int64)


def draw(seed: int, *, one_stage_each: bool = True) -> Signal:
    """A random small signal, from empty to twice what it can carry."""
    rng = np.random.default_rng(seed)
    n_stage, n_lane = int(rng.integers(2, 5)), int(rng.integers(2, 9))
    share = np.zeros((n_stage, n_lane))
    for lane in range(n_lane):
        share[int(rng.integers(n_stage)), lane] = 1.0
        if not one_stage_each and rng.random() < 0.5:
            share[int(rng.integers(n_stage)), lane] = float(rng.uniform(0.2, 1.0))
    least = rng.integers(3, 8, n_stage)
    free_s = int(least.sum() + rng.integers(0, 26))
    most = np.minimum(least + rng.integers(4, 40, n_stage), free_s)
    while most.sum() < free_s:
        most[int(rng.integers(n_stage))] += 5
    saturation = rng.uniform(0.35, 0.6, n_lane)
    flow = saturation * rng.uniform(0.0, 2.0 / n_stage, n_lane)
    flow[rng.random(n_lane) < 0.1] = 0.0
    return Signal(
        share,
        rng.uniform(-1.0, 3.0, n_lane),
        flow,
        saturation,
        least.astype(np.int64),
        most.astype(np.int64),
        free_s,
        float(free_s + 5 * n_stage),
    )


@pytest.mark.parametrize("first", range(0, 240, 40))
def test_splits_are_what_trying_everything_finds(first: int) -> None:
    for seed in range(first, first + 40):
        signal = draw(seed)
        code, green = signal.split()
        assert code == 0
        assert signal.cost(green) == pytest.approx(min(map(signal.cost, signal.choices())), rel=1e-9), seed


@pytest.mark.parametrize("seed", range(30))
def test_sums_are_exact_and_bounds_are_kept(seed: int) -> None:
    for one_stage_each in (True, False):
        signal = draw(seed, one_stage_each=one_stage_each)
        code, green = signal.split()
        assert code == 0
        assert green.sum() == signal.free_s
        assert (green >= signal.least).all()
        assert (green <= signal.most).all()


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_lanes_green_in_several_stages_come_close_to_the_best(first: int) -> None:
    """No second moved from one stage to another helps, and the best is not far away."""
    for seed in range(first, first + 20):
        signal = draw(1000 + seed, one_stage_each=False)
        _, green = signal.split()
        found = signal.cost(green)
        for a, b in itertools.permutations(range(len(green)), 2):
            moved = green.copy()
            moved[a] -= 1
            moved[b] += 1
            if moved[a] >= signal.least[a] and moved[b] <= signal.most[b]:
                assert signal.cost(moved) >= found - 1e-9
        assert found <= 1.02 * min(map(signal.cost, signal.choices())), seed


@pytest.mark.parametrize("seed", range(12))
def test_splits_are_what_cp_sat_proves(seed: int) -> None:
    """The same signal as a model of tables of cost by green, solved to a proof by OR-Tools."""
    cp_model = pytest.importorskip("ortools.sat.python.cp_model", reason="OR-Tools isn't installed")
    signal = draw(500 + seed)
    scale = 1e7
    model = cp_model.CpModel()
    greens, costs = [], []
    for k in range(len(signal.least)):
        lanes = [
            lane for lane in range(len(signal.flow_vps)) if signal.share[k, lane] and signal.flow_vps[lane]
        ]
        table = [
            round(scale * sum(signal.lane_cost(lane, float(g)) for lane in lanes))
            for g in range(int(signal.most[k]) + 1)
        ]
        green = model.new_int_var(int(signal.least[k]), int(signal.most[k]), f"green {k}")
        cost = model.new_int_var(0, max(table), f"cost {k}")
        model.add_element(green, table, cost)
        greens.append(green)
        costs.append(cost)
    model.add(sum(greens) == signal.free_s)
    model.minimize(sum(costs))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    assert solver.solve(model) == cp_model.OPTIMAL
    _, found = signal.split()
    # each table entry is rounded to 1 / scale
    assert signal.cost(found) == pytest.approx(solver.objective_value / scale, abs=len(costs) / scale)


def test_bounds_that_fit_no_cycle_give_codes_and_change_nothing() -> None:
    signal = draw(3)
    signal.free_s = int(signal.least.sum()) - 1
    code, green = signal.split()
    assert code == splits.TOO_SHORT
    assert (green == -1).all()
    signal.free_s = int(signal.most.sum()) + 1
    code, green = signal.split()
    assert code == splits.TOO_LONG
    assert (green == -1).all()
    for total, expected in ((signal.least, signal.least), (signal.most, signal.most)):
        signal.free_s = int(total.sum())
        code, green = signal.split()
        assert code == 0
        assert (green == expected).all()


def test_equal_streets_share_equally_and_a_busier_one_gets_more() -> None:
    def shared(*flows: float) -> list[int]:
        bounds = np.array([5, 5]), np.array([60, 60])
        signal = Signal(np.eye(2), np.zeros(2), np.array(flows), np.full(2, 0.5), *bounds, 50, 60.0)
        return [int(g) for g in signal.split()[1]]

    assert shared(0.2, 0.2) == [25, 25]
    busy, quiet = shared(0.25, 0.1)
    assert busy > quiet


def test_a_signal_without_demand_still_fills_its_cycle() -> None:
    signal = draw(11)
    signal.flow_vps[:] = 0.0
    code, green = signal.split()
    assert code == 0
    assert green.sum() == signal.free_s


@pytest.mark.skipif(not JIT_ENABLED, reason="GREENSPLIT_JIT=0: there is no compiled kernel to compare with")
@pytest.mark.parametrize("seed", range(20))
def test_compiled_and_plain_say_the_same(seed: int) -> None:
    signal = draw(seed, one_stage_each=bool(seed % 2))
    assert np.array_equal(signal.split("compiled")[1], signal.split("plain")[1])
    _, green = signal.split()
    arguments = (green, signal.share, signal.fixed, signal.flow_vps, signal.saturation_vps, signal.cycle_s)
    value = splits.total_delay(*arguments, PERIOD_H)
    assert value == plain(splits.total_delay)(*arguments, PERIOD_H)
    assert value == pytest.approx(signal.cost(green), rel=1e-12)
