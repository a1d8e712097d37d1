"""Splits: what the kernel proves is what trying everything finds, and what CP-SAT proves; bounds and sums hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from kernels import delay, lane_cost, queue_length, split_bound, splits
from kernels._jit import JIT_ENABLED, plain
from kernels.lane_cost import Goal
from kernels.split_bound import Scenarios, StageSignal

GOALS = (Goal(1.0, 0.0, 0.25), Goal(0.0, 1.0, 0.25), Goal(1.0, 20.0, 1.0))
"""Delay, stops, and both weighed."""
CHANGE_S = 5


@dataclass
class Case:
    """One signal to split: which lane is green in which stage, and what it has to carry."""

    signal: StageSignal
    scenarios: Scenarios
    goal: Goal
    free_s: int

    @property
    def cycle_s(self) -> float:
        """Greens and changes."""
        return float(self.free_s + CHANGE_S * len(self.signal.least))

    def split(
        self, version: str = "compiled", box_limit: int = splits.BOX_LIMIT
    ) -> tuple[int, float, np.ndarray]:
        """Code, cost and greens as the kernel gives them."""
        green = np.full(len(self.signal.least), -1, np.int64)
        solve: Any = splits.best_splits if version == "compiled" else plain(splits.best_splits)
        code, value, _ = solve(
            self.signal, self.scenarios, self.goal, self.free_s, self.cycle_s, box_limit, green
        )
        return int(code), float(value), green

    def lane_costs(self, lane: int, effective_s: np.ndarray) -> np.ndarray:
        """Cost of a lane in each scenario at each of some effective greens, float64[K, …]: the HCM's formulas."""
        u = np.clip(effective_s, 0.5, self.cycle_s) / self.cycle_s
        capacity_vps = self.signal.saturation_vps[lane] * u
        costs = []
        for flow_vps in self.scenarios.flow_vps[:, lane]:
            x = flow_vps / capacity_vps
            served = np.minimum(1.0, x) * u
            d1 = np.where(u < 1, 0.5 * self.cycle_s * (1 - u) ** 2 / np.where(u < 1, 1 - served, 1.0), 0.0)
            period_h = self.goal.period_h
            d2 = 900 * period_h * (x - 1 + np.sqrt((x - 1) ** 2 + 4 * x / (3600 * capacity_vps * period_h)))
            stopped = np.where(u < 1, (1 - u) / np.where(u < 1, 1 - served, 1.0), 0.0)
            stops_ps = 0.9 * (flow_vps * stopped + capacity_vps * d2 / self.cycle_s)
            costs.append(self.goal.delay_weight * flow_vps * (d1 + d2) + self.goal.stop_weight * stops_ps)
        return np.array(costs)

    def costs(self, greens: np.ndarray) -> np.ndarray:
        """Cost of each of some plans, int64[…, n]: mean or CVaR, as Rockafellar and Uryasev write it."""
        effective = self.signal.fixed + greens @ self.signal.share
        total = sum(self.lane_costs(lane, effective[..., lane]) for lane in range(len(self.signal.fixed)))
        assert isinstance(total, np.ndarray)
        tails = [
            level
            + np.tensordot(self.scenarios.weight, np.maximum(total - level, 0), 1)
            / (1 - self.scenarios.alpha)
            for level in total
        ]
        return np.asarray(np.min(tails, axis=0))

    def everything(self) -> np.ndarray:
        """Every division of the free seconds within the bounds, int64[n_plan, n]."""
        ranges = [np.arange(a, b + 1) for a, b in zip(self.signal.least[:-1], self.signal.most[:-1])]
        first = np.stack([axis.ravel() for axis in np.meshgrid(*ranges, indexing="ij")], axis=1)
        plans = np.column_stack([first, self.free_s - first.sum(axis=1)])
        kept: np.ndarray = plans[
            (plans[:, -1] >= self.signal.least[-1]) & (plans[:, -1] <= self.signal.most[-1])
        ]
        return kept

    def is_kept_by(self, green: np.ndarray) -> bool:
        """Whether greens sum up and keep the bounds."""
        low, high = self.signal.least, self.signal.most
        return bool(green.sum() == self.free_s and (green >= low).all() and (green <= high).all())


def draw(seed: int, n: int | None = None, room: Sequence[int] = (150, 60, 24), steps: int = 0) -> Case:
    """A random signal of 2 to 4 stages, or n, from empty to twice what it can carry, at random goals.

    A third of the cases have lanes of one stage each, a third lanes of several, and a third permitted ones too;
    `room` is how many seconds at most are to share out by number of stages; shares are in `steps`, if given.
    """
    rng = np.random.default_rng(seed)
    n = n or int(rng.integers(2, 5))
    m, k = int(rng.integers(2, 9)), int(rng.choice([1, 1, 3, 5]))
    share = np.zeros((n, m))
    for lane in range(m):
        for _ in range(1 if seed % 3 == 0 else int(rng.integers(1, 4))):
            part = rng.uniform(0.05, 1.0) if seed % 3 == 2 and rng.random() < 0.5 else 1.0
            share[rng.integers(n), lane] = math.ceil(part * steps) / steps if steps else part
    least = rng.integers(1, 8, n)
    free_s = int(least.sum() + rng.integers(0, room[min(n, 4) - 2]))
    most = np.minimum(least + rng.integers(4, 90, n), free_s)
    while most.sum() < free_s:
        most[rng.integers(n)] += 5
    saturation = rng.uniform(0.1, 0.6, m)
    flow = saturation * rng.uniform(0.0, 2.0 / n, m) * rng.uniform(0.6, 1.4, (k, m))
    flow[:, rng.random(m) < 0.1] = 0.0
    return Case(
        StageSignal(share, rng.uniform(-3.0, 3.0, m), saturation, least, most),
        Scenarios(flow, rng.dirichlet(np.ones(k)), float(rng.choice([0.0, 0.5, 0.9])) if k > 1 else 0.0),
        GOALS[int(rng.integers(3))],
        free_s,
    )


@pytest.mark.parametrize("first", range(0, 360, 60))
def test_splits_are_what_trying_everything_finds(first: int) -> None:
    for seed in range(first, first + 60):
        case = draw(seed)
        code, value, green = case.split()
        assert code == 0, seed
        assert case.is_kept_by(green), seed
        assert value == pytest.approx(case.costs(green), rel=1e-9, abs=1e-12), seed
        assert value == pytest.approx(case.costs(case.everything()).min(), rel=3e-9, abs=1e-12), seed


@pytest.mark.parametrize("seed", range(18))
def test_compiled_plain_and_reference_say_the_same(seed: int) -> None:
    case = draw(2000 + seed, room=(60, 24, 12))
    code, value, green = case.split("plain")
    assert code == 0
    assert case.split("compiled")[:2] == (code, value)
    assert np.array_equal(case.split("compiled")[2], green)
    assert value == pytest.approx(case.costs(case.everything()).min(), rel=3e-9, abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_splits_are_what_cp_sat_proves(seed: int) -> None:
    """The same signal as tables of each lane's mean cost by effective green, solved to a proof by OR-Tools."""
    cp_model = pytest.importorskip("ortools.sat.python.cp_model", reason="OR-Tools isn't installed")
    steps, scale = 4, 1e7
    case = draw(500 + seed, n=3 + seed % 2, steps=steps)
    case = replace(case, scenarios=case.scenarios._replace(alpha=0.0))
    model = cp_model.CpModel()
    signal = case.signal
    greens = [model.new_int_var(int(a), int(b), "") for a, b in zip(signal.least, signal.most)]
    model.add(sum(greens) == case.free_s)
    costs = []
    for lane in range(len(signal.fixed)):
        parts = [round(steps * part) for part in signal.share[:, lane]]
        highest = sum(part * int(most) for part, most in zip(parts, signal.most))
        effective = signal.fixed[lane] + np.arange(highest + 1) / steps
        mean = case.scenarios.weight @ case.lane_costs(lane, effective)
        table = [round(scale * value) for value in mean]
        used, cost = model.new_int_var(0, highest, ""), model.new_int_var(0, max(table), "")
        model.add(used == sum(part * green for part, green in zip(parts, greens)))
        model.add_element(used, table, cost)
        costs.append(cost)
    model.minimize(sum(costs))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    assert solver.solve(model) == cp_model.OPTIMAL
    # each table entry is rounded to 1 / scale
    assert case.split()[1] == pytest.approx(solver.objective_value / scale, abs=len(costs) / scale)


def test_the_reference_is_the_hcm() -> None:
    case = replace(draw(7), goal=Goal(1.0, 20.0, 0.25))
    cycle_s, rng = case.cycle_s, np.random.default_rng(1)
    for lane, green_s in enumerate(rng.uniform(1.0, cycle_s, len(case.signal.fixed))):
        for k, flow_vps in enumerate(case.scenarios.flow_vps[:, lane]):
            saturation_vps = case.signal.saturation_vps[lane]
            capacity_vph = delay.capacity_vph(3600 * saturation_vps, green_s, cycle_s)
            x = delay.vc_ratio(3600 * flow_vps, capacity_vph)
            d1 = delay.uniform_delay_s(green_s, cycle_s, x, 1.0)
            d2 = delay.incremental_delay_s(x, capacity_vph, 0.25, 0.5, 1.0)
            red_ratio = 1 - green_s / cycle_s
            stopped = (
                min(1.0, red_ratio / (1 - flow_vps / saturation_vps)) if flow_vps < saturation_vps else 1.0
            )
            queue_veh = queue_length.second_back_of_queue_veh(capacity_vph, d2)
            expected = flow_vps * (d1 + d2) + 20 * 0.9 * (flow_vps * stopped + queue_veh / cycle_s)
            assert case.lane_costs(lane, np.array(green_s))[k] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_large_signals_keep_sums_and_bounds_and_no_exchange_of_seconds_helps(seed: int) -> None:
    """What can't be tried in full: no two stages, and no two pairs of them, do better with a second moved."""
    case = draw(3000 + seed, n=5 + seed % 4, room=(0, 0, 70))
    code, value, green = case.split()
    assert code == 0
    assert case.is_kept_by(green)
    n = len(green)
    moves = np.array(
        [np.eye(n, dtype=np.int64)[a] - np.eye(n, dtype=np.int64)[b] for a in range(n) for b in range(n)]
    )
    near = green + (moves[:, None] + moves[None]).reshape(-1, n)
    near = near[((near >= case.signal.least) & (near <= case.signal.most)).all(axis=1)]
    assert len(near) > 1
    assert case.costs(near).min() >= value * (1 - 3e-9)


def test_no_tangent_of_the_convex_function_is_above_the_cost_of_a_lane() -> None:
    """What every bound rests on, over each kind of correction that the cost may need."""
    corrections = dict.fromkeys(("none", "parabola", "line", "tail", "nothing but tail"), 0)
    rng = np.random.default_rng(5)
    for _ in range(150):
        cycle_s = float(rng.uniform(30, 200))
        low_s, high_s = np.sort(rng.uniform(-4.0, cycle_s + 5 if rng.random() < 0.8 else 2.0, 2))
        saturation_vps = float(rng.uniform(0.1, 0.6))
        flow_vps = float(rng.uniform(0.0, 1.2)) * saturation_vps
        c = np.empty(lane_cost.N_CURVE)
        goal = GOALS[int(rng.integers(3))]
        lane_cost.set_curve(c, flow_vps, saturation_vps, float(low_s), float(high_s), cycle_s, goal)
        kink = (
            float(c[lane_cost.KINK])
            if c[lane_cost.BEND]
            else math.inf
            if high_s <= c[lane_cost.KINK]
            else -math.inf
        )
        points = np.linspace(low_s, high_s, 41)
        cost = np.array([lane_cost.lane_cost(c, float(t), cycle_s) for t in points])
        for t in points:
            value, slope, curvature = lane_cost.convex_cost(c, float(t), cycle_s, kink)
            assert (value + slope * (points - t) <= cost + 1e-12 * cost.max()).all()
            assert curvature >= 0.0
        corrections["nothing but tail"] += high_s <= c[lane_cost.TAIL]
        corrections["tail"] += low_s < c[lane_cost.TAIL] < high_s
        corrections["parabola"] += c[lane_cost.BEND] > 0
        corrections["line"] += c[lane_cost.BEND] < 0
        corrections["none"] += not c[lane_cost.BEND] and low_s > c[lane_cost.TAIL]
    assert min(corrections.values()) > 2, corrections


@pytest.mark.parametrize("seed", range(6))
def test_every_cycle_is_split_as_if_it_were_the_only_one(seed: int) -> None:
    case = draw(4000 + seed, n=3 + seed % 3, room=(0, 30, 30))
    changes_s = CHANGE_S * len(case.signal.least)
    shortest, longest = (
        int(case.signal.least.sum()) + changes_s - 2,
        int(case.signal.most.sum()) + changes_s + 2,
    )
    longest = min(longest, shortest + 25)
    code = np.zeros(longest - shortest + 1, np.int64)
    value, green = np.zeros(len(code)), np.full((len(code), len(case.signal.least)), -1, np.int64)
    bounds = (changes_s, shortest, longest, splits.BOX_LIMIT)
    boxes = splits.splits_by_cycle(case.signal, case.scenarios, case.goal, *bounds, code, value, green)
    assert boxes >= (code == 0).sum() > 5
    assert list(code[:3]) == [splits.TOO_SHORT, splits.TOO_SHORT, 0]
    for at, cycle in enumerate(range(shortest, longest + 1)):
        one = replace(case, free_s=cycle - changes_s)
        expected = one.split()
        assert (code[at], value[at]) == (expected[0], pytest.approx(expected[1], rel=3e-9, abs=1e-12))
        if code[at] == 0:
            assert one.is_kept_by(green[at])
            assert one.costs(green[at]) == pytest.approx(value[at], rel=1e-9, abs=1e-12)
        else:
            assert not green[at].any()


def test_a_proof_that_is_given_up_is_said_so_and_leaves_a_plan() -> None:
    given_up = 0
    for seed in range(40):
        case = draw(seed)
        code, value, green = case.split(box_limit=1)
        assert case.is_kept_by(green)
        assert value == pytest.approx(case.costs(green), rel=1e-9, abs=1e-12)
        assert code in (0, splits.NOT_PROVEN)
        proven = case.split()[1]
        assert value >= proven * (1 - 1e-9)
        assert code == splits.NOT_PROVEN or value == pytest.approx(proven, rel=3e-9, abs=1e-12)
        given_up += code == splits.NOT_PROVEN
    assert 5 < given_up < 40


def test_worse_scenarios_count_for_more_with_alpha_and_equal_ones_for_nothing() -> None:
    case = replace(draw(29, n=4, room=(0, 0, 60)), goal=GOALS[0])
    flow = case.scenarios.flow_vps[:1]
    single = replace(case, scenarios=Scenarios(flow, np.ones(1), 0.0)).split()
    values = []
    for alpha in (0.0, 0.3, 0.6, 0.9):
        alike = Scenarios(np.repeat(flow, 3, axis=0), np.array([0.2, 0.3, 0.5]), alpha)
        assert replace(case, scenarios=alike).split()[1] == pytest.approx(single[1], rel=3e-9)
        apart = alike._replace(flow_vps=flow * np.array([[0.8], [1.0], [1.2]]))
        values.append(replace(case, scenarios=apart).split()[1])
    assert values == sorted(values)
    assert values[-1] > 1.05 * values[0]


def test_bounds_that_fit_no_cycle_give_codes_and_change_nothing() -> None:
    case = draw(3)
    for free_s, expected in (
        (int(case.signal.least.sum()) - 1, splits.TOO_SHORT),
        (int(case.signal.most.sum()) + 1, splits.TOO_LONG),
    ):
        code, value, green = replace(case, free_s=free_s).split()
        assert (code, value) == (expected, math.inf)
        assert (green == -1).all()
    for only in (case.signal.least, case.signal.most):
        code, _, green = replace(case, free_s=int(only.sum())).split()
        assert code == 0
        assert (green == only).all()


def simple_splits(share: np.ndarray, flow_vps: Sequence[float], free_s: int) -> list[int]:
    """Greens of least delay with saturation flows of 0.5 veh/s and greens of 5 to 60 s."""
    n, m = share.shape
    green = np.zeros(n, np.int64)
    signal = StageSignal(share, np.zeros(m), np.full(m, 0.5), np.full(n, 5), np.full(n, 60))
    demand = Scenarios(np.array([flow_vps]), np.ones(1), 0.0)
    goal = GOALS[0]
    code, _, _ = splits.best_splits(signal, demand, goal, free_s, free_s + 10.0, splits.BOX_LIMIT, green)
    assert code == 0
    return [int(g) for g in green]


def test_equal_streets_share_equally_and_a_busier_one_gets_more() -> None:
    assert simple_splits(np.eye(2), (0.2, 0.2), 50) == [25, 25]
    busy, quiet = simple_splits(np.eye(2), (0.25, 0.1), 50)
    assert busy > quiet


def test_a_lane_green_in_two_stages_leaves_their_seconds_to_whoever_has_only_one() -> None:
    """Of a lane in both stages neither needs more; the one who has the second stage alone gets all that it can."""
    share = np.array([[1.0, 0.0], [1.0, 1.0]])
    assert simple_splits(share, (0.2, 0.1), 50) == [5, 45]


def test_a_signal_without_demand_still_fills_its_cycle() -> None:
    for seed in (11, 12, 13):
        case = draw(seed)
        case.scenarios.flow_vps[:] = 0.0
        code, value, green = case.split()
        assert (code, value) == (0, 0.0)
        assert green.sum() == case.free_s


@pytest.mark.skipif(not JIT_ENABLED, reason="GREENSPLIT_JIT=0: there is no compiled kernel")
def test_one_signature_per_kernel() -> None:
    case = draw(1)
    case.split()
    simple_splits(np.eye(2), (0.2, 0.2), 50)
    room = np.zeros(1, np.int64), np.zeros(1), np.zeros((1, len(case.signal.least)), np.int64)
    splits.splits_by_cycle(case.signal, case.scenarios, case.goal, 5, 60, 60, 10, *room)
    modules = (lane_cost, split_bound, splits)
    kernels = {f for module in modules for f in vars(module).values() if hasattr(f, "signatures")}
    assert len(kernels) > 15
    for function in kernels:
        assert len(function.signatures) <= 1, function.__name__
