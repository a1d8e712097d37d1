"""Cycle and splits of a dual ring: what the kernels find is what trying everything, and CP-SAT, find."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from kernels import delay, dual_ring, dual_ring_cvar
from kernels._jit import JIT_ENABLED, plain
from kernels.lane_cost import Goal
from signals.timing.isolated import IntersectionArrays, IsolatedRequest, plan_arrays

PERIOD_H = 0.25
DELAY = Goal(1.0, 0.0, PERIOD_H)
STOPS = Goal(0.0, 1.0, PERIOD_H)
INDEX = Goal(1.0, 20.0, PERIOD_H)
GOALS = (DELAY, STOPS, INDEX)
SIDES = (((0, 1), (4, 5)), ((2, 3), (6, 7)))
"""Phases of both rings on either side of the barrier, counted from 0."""


@dataclass(eq=False)
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
        self, low: int, high: int, goal: Goal = DELAY, version: str = "compiled"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cost and greens of each cycle as the kernel gives them."""
        solve: Any = dual_ring.cycle_curve if version == "compiled" else plain(dual_ring.cycle_curve)
        cost, green = np.full(high - low + 1, np.nan), np.full((high - low + 1, 8), -1, np.int64)
        work = dual_ring.new_scratch(high)
        solve(self.flow_vph, self.probability, self.phases, 0, goal, low, high, work, cost, green)
        return cost, green

    def phase_cost(self, k: int, phase: int, green: int, cycle: int, goal: Goal) -> float:
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

    def costs(self, green: np.ndarray, cycle: int, goal: Goal) -> np.ndarray:
        """Cost of a plan in each scenario."""
        return np.array(
            [
                sum(self.phase_cost(k, phase, int(green[phase]), cycle, goal) for phase in range(8))
                for k in range(len(self.flow_vph))
            ]
        )

    def cost(self, green: np.ndarray, cycle: int, goal: Goal = DELAY) -> float:
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

    def every_cost(self, cycle: int, goal: Goal) -> np.ndarray:
        """Costs by scenario of every plan of a cycle, float64[n_plan, n_scenario]."""
        table = np.full((len(self.flow_vph), 8, int(self.most.max()) + 1), np.nan)
        for k, phase in np.ndindex(len(self.flow_vph), 8):
            for green in range(int(self.least[phase]), int(self.most[phase]) + 1):
                table[k, phase, green] = self.phase_cost(k, phase, green, cycle, goal)
        sides = []
        for number, rings in enumerate(SIDES):
            phases = [phase for ring in rings for phase in ring]
            sides.append(
                {
                    length: sum(table[:, phase, greens[:, phase]] for phase in phases).T
                    for length, greens in self.side(number).items()
                }
            )
        both = [
            (costs[:, None] + sides[1][cycle - length][None]).reshape(-1, len(self.flow_vph))
            for length, costs in sides[0].items()
            if cycle - length in sides[1]
        ]
        return np.concatenate([np.empty((0, len(self.flow_vph))), *both])


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
        for row, cycle in enumerate(range(low, high + 1)):
            every = crossing.every_cost(cycle, goal) @ crossing.probability
            if not every.size:
                assert np.isinf(cost[row]), (seed, cycle)
                assert not green[row].any()
                continue
            fitted += 1
            assert cost[row] == pytest.approx(every.min(), rel=1e-9), (seed, cycle)
            assert crossing.fits(green[row], cycle), (seed, cycle)
            assert crossing.cost(green[row], cycle, goal) == pytest.approx(cost[row], rel=1e-9)
    assert fitted > 250


def wide(seed: int, n_scenario: int = 1) -> Crossing:
    """A crossing with all phases and the freedom of a real one."""
    crossing = draw(seed, n_scenario=n_scenario, absent=False)
    crossing.least[:] = np.where(np.arange(8) % 2, 10, 5)
    crossing.most[:] = np.where(np.arange(8) % 2, 90, 45)
    return crossing


@pytest.mark.parametrize("seed", range(12))
def test_splits_are_what_cp_sat_proves(seed: int) -> None:
    """The same crossing as a model of tables of cost by green, solved to a proof by OR-Tools."""
    cp_model = pytest.importorskip("ortools.sat.python.cp_model", reason="OR-Tools isn't installed")
    crossing, goal, scale = wide(seed), GOALS[seed % 3], 1e7
    cycle = 60 + 10 * seed
    cost, green = crossing.curve(cycle, cycle, goal)
    model = cp_model.CpModel()
    split, tables = [], []
    for phase in range(8):
        greens = range(int(crossing.least[phase]), min(int(crossing.most[phase]), cycle) + 1)
        table = [round(scale * crossing.phase_cost(0, phase, g, cycle, goal)) for g in greens]
        above = model.new_int_var(0, len(table) - 1, "")
        value = model.new_int_var(min(table), max(table), "")
        model.add_element(above, table, value)
        split.append(above + int(crossing.least[phase] + crossing.clearance[phase]))
        tables.append(value)
    for ring in (0, 4):
        model.add(sum(split[ring : ring + 4]) == cycle)
    model.add(split[0] + split[1] == split[4] + split[5])
    model.minimize(sum(tables))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    assert solver.solve(model) == cp_model.OPTIMAL
    assert crossing.fits(green[0], cycle)
    # each table entry is rounded to 1 / scale
    assert cost[0] == pytest.approx(solver.objective_value / scale, abs=8 / scale)


@pytest.mark.parametrize("seed", range(40))
def test_tables_of_any_shape_are_divided_best(seed: int) -> None:
    """Convex, with kinks, and without any order."""
    rng = np.random.default_rng(seed)
    work = dual_ring.new_scratch(60)
    n_a, n_b = (int(n) for n in rng.integers(1, 31, 2))
    for phase, n in ((0, n_a), (1, n_b)):
        steps = np.sort(rng.normal(0.0, 1.0, n)) if seed % 4 else rng.normal(0.0, 1.0, n)
        for kink in range(seed % 3):
            steps[n * (kink + 1) // 3 :] -= 1.5
        work.table[phase, :n] = np.cumsum(steps)
        work.entries[phase] = n
    n = n_a + n_b - 1
    dual_ring.divide_pair(work.table, work.piece, work.entries, 0, n, work.merged, work.chosen)
    a, b = work.table[0, :n_a], work.table[1, :n_b]
    for k in range(n):
        i = np.arange(max(0, k - n_b + 1), min(n_a - 1, k) + 1)
        assert work.merged[0, k] == (a[i] + b[k - i]).min()
        first = work.chosen[0, k]
        assert a[first] + b[k - first] == work.merged[0, k]


def test_delay_has_a_concave_kink_where_a_busy_lane_is_just_saturated() -> None:
    """The reason why tables are cut: v/c passes 1 within the table of a long cycle."""
    crossing = wide(1)
    crossing.saturation_vph[1], crossing.flow_vph[0, 1] = 1800.0, 800.0
    crossing.filtering[1], crossing.used_s[1] = 1.0, 0.0
    table = np.array([crossing.phase_cost(0, 1, g, 180, DELAY) for g in range(40, 120)])
    bends = np.flatnonzero(np.diff(table, 2) < 0) + 41
    assert bends.tolist() == [180 * 800 / 1800]


@pytest.mark.parametrize("seed", range(6))
def test_seconds_change_hands_only_for_the_worse(seed: int) -> None:
    """At realistic size: no second moved within a pair, and no barrier moved by one, gains anything."""
    crossing, goal = wide(100 + seed, n_scenario=1 + seed % 2), GOALS[seed % 3]
    for cycle in (75, 120, 165):
        cost, green = crossing.curve(cycle, cycle, goal)
        assert crossing.fits(green[0], cycle)
        neighbours = [(p, -1, p + 1, 1) for p in (0, 2, 4, 6)] + [(p, 1, p + 1, -1) for p in (0, 2, 4, 6)]
        for one, two in itertools.product(
            itertools.product((0, 1), (2, 3)), itertools.product((4, 5), (6, 7))
        ):
            neighbours += [(*(one[0], s, one[1], -s), *(two[0], s, two[1], -s)) for s in (-1, 1)]
        for moves in neighbours:
            moved = green[0].copy()
            for phase, seconds in zip(moves[::2], moves[1::2]):
                moved[phase] += seconds
            if crossing.fits(moved, cycle):
                assert crossing.cost(moved, cycle, goal) >= cost[0] * (1 - 1e-9)


def test_longer_cycles_serve_a_crowd_and_shorter_ones_a_few() -> None:
    crossing = wide(3)
    crossing.clearance[:] = 5
    crossing.used_s[:] = 0.0
    shares = crossing.flow_vph / crossing.saturation_vph
    best = []
    for critical in (0.4, 0.6, 0.75):
        y = shares / shares.sum()
        crossing.flow_vph[:] = crossing.saturation_vph * y * 2 * critical
        best.append(40 + int(np.argmin(crossing.curve(50, 200)[0])))
    assert best == sorted(set(best))


@pytest.mark.parametrize("seed", range(4))
def test_measures_add_up_to_the_cost(seed: int) -> None:
    """Delay and stops of the phases, from the HCM's functions, against the fused tables."""
    crossing = draw(seed, n_scenario=1 + seed % 3)
    low, high = bounds(crossing)
    flow, weight = crossing.flow_vph[None].copy(), crossing.probability[None].copy()
    mean = crossing.probability @ crossing.flow_vph / 3600.0
    for goal in GOALS:
        curve, cycle, green = np.empty((1, high - low + 1)), np.zeros(1, np.int64), np.zeros((1, 8), np.int64)
        dual_ring.best_cycles(flow, weight, crossing.phases, goal, low, high, 0, 1, curve, cycle, green)
        x, delay_s, stops = (np.full((1, 8), np.nan) for _ in range(3))
        dual_ring.measure(flow, weight, crossing.phases, cycle, green, PERIOD_H, 0, 1, x, delay_s, stops)
        found = goal.delay_weight * (mean @ delay_s[0]) + goal.stop_weight * (mean @ stops[0])
        assert found == pytest.approx(curve.min(), rel=1e-9)
        assert cycle[0] == low + np.argmin(curve)
        served = crossing.saturation_vph * (green[0] + crossing.used_s) / cycle[0]
        assert x[0] == pytest.approx(
            crossing.flow_vph.max(axis=0) / np.where(served > 0, served, 1), rel=1e-9
        )


@pytest.mark.skipif(not JIT_ENABLED, reason="GREENSPLIT_JIT=0: there is no compiled kernel to compare with")
@pytest.mark.parametrize("seed", range(8))
def test_compiled_and_plain_say_the_same(seed: int) -> None:
    crossing, goal = draw(seed, n_scenario=1 + seed % 3), GOALS[seed % 3]
    low, high = bounds(crossing)
    for one, other in zip(crossing.curve(low, high, goal), crossing.curve(low, high, goal, "plain")):
        assert np.array_equal(one, other)
    worst = risk_curve(crossing, 0.4, low, high, goal)
    for one, other in zip(worst, risk_curve(crossing, 0.4, low, high, goal, "plain")):
        assert np.array_equal(one, other)


@pytest.mark.skipif(not JIT_ENABLED, reason="GREENSPLIT_JIT=0: nothing is compiled")
def test_one_compiled_version_serves_every_caller() -> None:
    crossing = wide(1, n_scenario=2)
    crossing.curve(80, 81)
    risk_curve(crossing, 0.5, 80, 81, STOPS)
    plan_arrays(
        IntersectionArrays(
            crossing.flow_vph[None].copy(), crossing.probability[None].copy(), crossing.phases
        ),
        IsolatedRequest(min_cycle_s=80, max_cycle_s=81, cvar_alpha=0.5),
    )
    for function in (
        dual_ring.cycle_curve, dual_ring.add_costs, dual_ring.divide_pair, dual_ring.measure,
        dual_ring_cvar.cycle_curve, dual_ring_cvar.best_cycles,
    ):  # fmt: skip
        assert len(getattr(function, "signatures")) == 1  # noqa: B009


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
    goal: Goal,
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


@pytest.mark.parametrize("first", range(1000, 1120, 40))
def test_the_worst_share_is_what_trying_everything_finds(first: int) -> None:
    for seed in range(first, first + 40):
        crossing, goal = draw(seed, span=3, n_scenario=2 + seed % 5), GOALS[seed % 3]
        tail = (1.0, 0.5, 0.2, 0.05)[seed % 4]
        low, high = bounds(crossing)
        cost, bound, green = risk_curve(crossing, tail, low, high, goal)
        assert np.array_equal(cost, bound)
        for row, cycle in enumerate(range(low, high + 1)):
            every = crossing.every_cost(cycle, goal)
            if not every.size:
                assert np.isinf(cost[row]), (seed, cycle)
                continue
            least = value_at_risk(every, crossing.probability, tail).min()
            assert cost[row] == pytest.approx(least, rel=1e-9), (seed, cycle)
            assert crossing.fits(green[row], cycle), (seed, cycle)
            own = crossing.costs(green[row], cycle, goal)[None]
            assert value_at_risk(own, crossing.probability, tail)[0] == pytest.approx(cost[row], rel=1e-9)


def test_a_proof_that_takes_too_long_leaves_an_honest_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    crossing = draw(1003, n_scenario=5, absent=False)
    low, high = bounds(crossing)
    best, _, _ = risk_curve(crossing, 0.2, low, high, DELAY)
    monkeypatch.setattr(dual_ring_cvar, "MOST_LEAVES", 0)
    monkeypatch.setattr(dual_ring_cvar, "look_at_all", plain(dual_ring_cvar.look_at_all))
    cost, bound, green = risk_curve(crossing, 0.2, low, high, DELAY, "plain")
    fitting = np.isfinite(best)
    assert (bound[fitting] < cost[fitting]).any()
    assert (bound <= best * (1 + 1e-9)).all()
    assert (cost >= best * (1 - 1e-9)).all()
    assert all(crossing.fits(green[row], low + int(row)) for row in np.flatnonzero(fitting))


def test_one_scenario_has_no_worst_share() -> None:
    crossing = wide(5)
    mean, _ = crossing.curve(60, 120)
    worst, bound, _ = risk_curve(crossing, 0.1, 60, 120, DELAY)
    assert worst == pytest.approx(mean, rel=1e-9)
    assert np.array_equal(worst, bound)


def test_weights_are_brought_to_the_nearest_that_are_allowed() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        ceiling = rng.uniform(0.15, 0.6, 8)
        given = rng.normal(0.2, 0.5, 8)
        weight = given.copy()
        dual_ring_cvar.project(weight, ceiling)
        assert weight.sum() == pytest.approx(1.0, abs=1e-12)
        assert (weight >= 0).all()
        assert (weight <= ceiling + 1e-12).all()
        for other in rng.dirichlet(np.ones(8), 200):
            if (other <= ceiling).all():
                assert ((weight - given) ** 2).sum() <= ((other - given) ** 2).sum() + 1e-9
