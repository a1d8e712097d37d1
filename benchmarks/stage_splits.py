"""Exact splits of a signal against the greedy ones before them and CP-SAT: `python -m benchmarks.stage_splits`.

Random signals of 2 to 8 stages and twice as many lanes, a third of them green in two or three stages, next to each
other or not, half of those permitted there (a share of saturation flow, in steps of 0.2), a tenth permitted
throughout, from empty to twice what a stage can carry; 120 s of cycle. Each is solved for least delay

* by `kernels.splits.best_splits`, at this cycle and at all of 60 to 180 s;
* by greedy seconds and pairwise swaps, as Greensplit did before: how far it ends from the optimum;
* by OR-Tools' CP-SAT with one worker: a table of each lane's cost by effective green, scaled to whole numbers.

Times are CPU time, the least of three repeats for the kernels, once for CP-SAT. Scenarios: the same signals with
eight demands each, mean and CVaR at 0.75.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8
from kernels.delay import movement_delay
from kernels.lane_cost import LEAST_EFFECTIVE_S, Goal
from kernels.split_bound import Scenarios, StageSignal
from kernels.splits import (
    BOX_LIMIT,
    NOT_PROVEN,
    best_splits,
    splits_by_cycle,
)

CYCLE_S = 120
CHANGE_S = 5
SHARE_STEPS = 5
PERIOD_H = 0.25
DELAY = Goal(1.0, 0.0, PERIOD_H)
SHORTEST_S, LONGEST_S = 60, 180
COST_STEPS = 1e7
"""CP-SAT counts in whole numbers of 1e-7 veh."""


@dataclass(frozen=True)
class Case:
    """One signal with its demands; the first of them is the one for a single demand."""

    signal: StageSignal
    demands: Scenarios

    @property
    def changes_s(self) -> int:
        """Seconds of a cycle that are no stage's green."""
        return CHANGE_S * len(self.signal.least)

    @property
    def single(self) -> Scenarios:
        """The first demand alone."""
        return Scenarios(self.demands.flow_vps[:1].copy(), np.ones(1), 0.0)


def draw(n: int, seed: int) -> Case:
    """A random signal of n stages."""
    rng = np.random.default_rng((n, seed))
    m = 2 * n
    share = np.zeros((n, m))
    for lane in range(m):
        share[rng.integers(n), lane] = 1.0 if rng.random() < 0.9 else rng.integers(1, 3) / SHARE_STEPS
        if rng.random() < 1 / 3:
            for k in rng.choice(n, min(n, int(rng.integers(1, 3))), replace=False):
                part = rng.integers(1, SHARE_STEPS) / SHARE_STEPS if rng.random() < 0.5 else 1.0
                share[k, lane] = max(share[k, lane], part)
    saturation = rng.uniform(0.35, 0.6, m)
    base = saturation * rng.uniform(0.0, 2.0 / n, m)
    flow = base * np.vstack([np.ones(m), rng.uniform(0.6, 1.4, (7, m))])
    least = rng.integers(4, 8, n)
    most = np.maximum(rng.integers(30, 100, n), (LONGEST_S - CHANGE_S * n) // n + 1)
    signal = StageSignal(share, rng.uniform(-1.0, 3.0, m), saturation, least, most)
    return Case(signal, Scenarios(flow, np.full(8, 0.125), 0.75))


@kernel
def total_delay(
    green: I8, share: F8, fixed: F8, flow_vps: F8, saturation_vps: F8, cycle_s: float, period_h: float
) -> float:
    """Delay of all lanes together, veh."""
    total = 0.0
    for lane in range(flow_vps.shape[0]):
        effective = fixed[lane]
        for k in range(green.shape[0]):
            effective += share[k, lane] * green[k]
        effective = min(max(effective, LEAST_EFFECTIVE_S), cycle_s)
        total += flow_vps[lane] * movement_delay(
            effective, cycle_s, flow_vps[lane], saturation_vps[lane], period_h
        )
    return total


@kernel
def greedy_splits(
    share: F8, fixed: F8, flow_vps: F8, saturation_vps: F8, least: I8, most: I8, free_s: int, cycle_s: float,
    period_h: float, green: I8,
) -> float:  # fmt: skip
    """Second by second to the stage that gains most, then swaps of single seconds while that helps."""
    green[:] = least
    for _ in range(free_s - least.sum()):
        best, lowest = -1, np.inf
        for k in range(green.shape[0]):
            if green[k] >= most[k]:
                continue
            green[k] += 1
            value = total_delay(green, share, fixed, flow_vps, saturation_vps, cycle_s, period_h)
            green[k] -= 1
            if value < lowest:
                best, lowest = k, value
        green[best] += 1
    value = total_delay(green, share, fixed, flow_vps, saturation_vps, cycle_s, period_h)
    improved = True
    while improved:
        improved = False
        for a in range(green.shape[0]):
            for b in range(green.shape[0]):
                if a == b or green[a] <= least[a] or green[b] >= most[b]:
                    continue
                green[a] -= 1
                green[b] += 1
                moved = total_delay(green, share, fixed, flow_vps, saturation_vps, cycle_s, period_h)
                if moved < value - 1e-12:
                    value = moved
                    improved = True
                else:
                    green[a] += 1
                    green[b] -= 1
    return value


def by_cp_sat(case: Case, limit_s: float) -> tuple[bool, float]:
    """Whether CP-SAT proves its optimum within a limit, and its cost."""
    from ortools.sat.python import cp_model

    signal, flow = case.signal, case.single.flow_vps[0]
    model = cp_model.CpModel()
    free_s, least = CYCLE_S - case.changes_s, signal.least
    most = np.minimum(signal.most, free_s - least.sum() + least)
    greens = [model.new_int_var(int(a), int(b), "") for a, b in zip(least, most)]
    model.add(sum(greens) == free_s)
    costs = []
    for lane in range(len(flow)):
        steps = [round(SHARE_STEPS * share) for share in signal.share[:, lane]]
        unit = math.gcd(*steps)
        used = sum(step // unit * green for step, green in zip(steps, greens))
        low, high = (sum(step // unit * int(g) for step, g in zip(steps, bound)) for bound in (least, most))
        table = []
        for i in range(low, high + 1):
            effective = min(max(signal.fixed[lane] + i * unit / SHARE_STEPS, LEAST_EFFECTIVE_S), CYCLE_S)
            delay = movement_delay(effective, CYCLE_S, flow[lane], signal.saturation_vps[lane], PERIOD_H)
            table.append(round(COST_STEPS * flow[lane] * delay))
        at = model.new_int_var(0, len(table) - 1, "")
        cost = model.new_int_var(min(table), max(table), "")
        model.add(at == used - low)
        model.add_element(at, table, cost)
        costs.append(cost)
    model.minimize(sum(costs))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    solver.parameters.max_time_in_seconds = limit_s
    status = solver.solve(model)
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    return status == cp_model.OPTIMAL, solver.objective_value / COST_STEPS if found else math.inf


def cpu_s(solve: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Least CPU time of repeats, and what came out."""
    least, result = float("inf"), None
    for _ in range(repeats):
        start = time.process_time()
        result = solve()
        least = min(least, time.process_time() - start)
    return least, result


def one_cycle(case: Case, demands: Scenarios) -> tuple[int, float, int]:
    """Code, cost and boxes at `CYCLE_S`."""
    free_s, green = CYCLE_S - case.changes_s, np.zeros(len(case.signal.least), np.int64)
    return best_splits(case.signal, demands, DELAY, free_s, float(CYCLE_S), BOX_LIMIT, green)


def all_cycles(case: Case, demands: Scenarios) -> np.ndarray:
    """Codes at each cycle."""
    n_cycle = LONGEST_S - SHORTEST_S + 1
    code, value = np.zeros(n_cycle, np.int64), np.zeros(n_cycle)
    green = np.zeros((n_cycle, len(case.signal.least)), np.int64)
    bounds = (case.changes_s, SHORTEST_S, LONGEST_S, BOX_LIMIT)
    splits_by_cycle(case.signal, demands, DELAY, *bounds, code, value, green)
    return code


def measure(n: int, cases: int, with_cp_sat: int, limit_s: float) -> Iterator[dict[str, float]]:
    """Figures of each case of n stages; the first ones against CP-SAT too."""
    for seed in range(cases):
        case = draw(n, seed)
        signal, flow, green = case.signal, case.single.flow_vps[0], np.zeros(n, np.int64)
        free_s = CYCLE_S - case.changes_s
        mean = Scenarios(case.demands.flow_vps, case.demands.weight, 0.0)
        lanes = (signal.share, signal.fixed, flow, signal.saturation_vps)
        rest = (*lanes, signal.least, signal.most, free_s, float(CYCLE_S), PERIOD_H, green)
        exact_s, (code, value, boxes) = cpu_s(partial(one_cycle, case, case.single))
        greedy_s, greedy = cpu_s(partial(greedy_splits, *rest))
        cycles_s, codes = cpu_s(partial(all_cycles, case, case.single))
        mean_s, (mean_code, _, _) = cpu_s(partial(one_cycle, case, mean))
        worst_s, (worst_code, _, _) = cpu_s(partial(one_cycle, case, case.demands))
        row = {
            "exact": exact_s,
            "boxes": boxes,
            "proven": NOT_PROVEN not in (code, mean_code, worst_code, *codes),
            "cycles": cycles_s,
            "mean": mean_s,
            "worst": worst_s,
            "greedy": greedy_s,
            "gap": greedy / value - 1,
        }
        if seed < with_cp_sat:
            cp_s, (cp_proven, cp_value) = cpu_s(partial(by_cp_sat, case, limit_s), 1)
            tolerance = 1e-6 * value + len(flow) / COST_STEPS
            row |= {"cp": cp_s, "cp_proven": cp_proven, "ratio": cp_s / exact_s}
            row["differs"] = cp_value < value - tolerance or (cp_proven and cp_value > value + tolerance)
        yield row


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200, help="signals by number of stages")
    parser.add_argument("--cp-sat", type=int, default=30, help="how many of them CP-SAT solves as well")
    parser.add_argument("--limit", type=float, default=10.0, help="s that CP-SAT may take for a signal")
    options = parser.parse_args()
    for _ in measure(2, 1, 1, options.limit):
        pass  # compiled, and imported
    tables: dict[int, dict[str, np.ndarray]] = {}
    for n in range(2, 9):
        rows = list(measure(n, options.cases, options.cp_sat, options.limit))
        tables[n] = {key: np.array([row[key] for row in rows if key in row], np.float64) for key in rows[0]}
    print("| stages | CP-SAT / exact, time | CP-SAT, ms | proves | costs differ "
          "| greedy / exact, time | greedy costs more: mean | largest | signals |\n" + "|---" * 9 + "|")  # fmt: skip
    for n, f in tables.items():
        print(
            f"| {n} | {np.median(f['ratio']):,.0f} | {1e3 * np.median(f['cp']):.0f} | {f['cp_proven'].mean():.0%} "
            f"| {f['differs'].sum():.0f} of {len(f['cp'])} | {np.median(f['greedy'] / f['exact']):.2f} "
            f"| {f['gap'].mean():.3%} | {f['gap'].max():.2%} | {(f['gap'] > 1e-9).mean():.1%} |"
        )
    print("\n| stages | proven | one cycle, µs: median | largest | boxes: median | largest "
          "| 121 cycles, ms: median | largest | 8 scenarios, µs: mean | CVaR |\n" + "|---" * 10 + "|")  # fmt: skip
    for n, f in tables.items():
        print(
            f"| {n} | {f['proven'].mean():.1%} | {1e6 * np.median(f['exact']):.0f} | {1e6 * f['exact'].max():.0f} "
            f"| {np.median(f['boxes']):.0f} | {f['boxes'].max():.0f} | {1e3 * np.median(f['cycles']):.1f} "
            f"| {1e3 * f['cycles'].max():.1f} | {1e6 * np.median(f['mean']):.0f} "
            f"| {1e6 * np.median(f['worst']):.0f} |"
        )


if __name__ == "__main__":
    main()
