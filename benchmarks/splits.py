"""Splits of a dual ring by kernel, by trying everything, and by CP-SAT: `python -m benchmarks.splits`.

Costs of phases are written down here once more, in numpy and straight from the HCM, and rounded to a millionth of a
vehicle; CP-SAT gets them as element constraints over greens and proves the least sum at a given cycle, on one
worker. The kernel's plan of that cycle is weighed with the same integers: it must come to CP-SAT's optimum, or to
as many millionths above it as eight roundings can make.

* *one scenario*: every instance is put to CP-SAT at one cycle, drawn among those that fit. The kernel's time is for
  all 121 cycles; CP-SAT's is its mean solving time (models built before the clock starts) × 121.
* *mean of scenarios*: likewise, CP-SAT with the mean tables.
* *worst share (CVaR)*: likewise, CP-SAT with tables for each scenario and the threshold form of Rockafellar and
  Uryasev (2000), in integers. It takes up to minutes an instance, hence few.
* *everything*: bounds so narrow that every plan can be tried, all cycles.

Times are processor seconds of one thread, so that other programs on the machine count little; what counts is the
ratio. The kernel's is the median over repeats of the mean over instances.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from ortools.sat.python import cp_model

from benchmarks.isolated import draw_intersections, rows_of
from kernels.dual_ring import Phases
from signals.timing.isolated import IntersectionArrays, IsolatedRequest, PlanArrays, plan_arrays

SCALE = 1_000_000
LOW, HIGH = 60, 180
PERIOD_H = 0.25
RINGS = ((0, 1, 2, 3), (4, 5, 6, 7))
ALPHA = 0.8


class Solved(NamedTuple):
    """What CP-SAT says of an instance at a cycle."""

    proven: bool
    objective: float
    seconds: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--instances", type=int, default=1000, help="one scenario")
    parser.add_argument("--mean", type=int, default=50, help="instances, mean of five scenarios")
    parser.add_argument("--cvar", type=int, default=20, help="instances, worst fifth of five scenarios")
    parser.add_argument("--small", type=int, default=200, help="instances whose every plan is tried")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds that CP-SAT gets for one of CVaR")
    options = parser.parse_args(arguments)
    print(
        "| compared | instances | kernel, ms for 121 cycles | other, s for 121 cycles | ratio | same optimum | off |"
    )
    print("|---|---|---|---|---|---|---|")
    compare("one scenario, CP-SAT", options.instances, 1, None, options)
    compare("mean of 5, CP-SAT", options.mean, 5, None, options)
    compare("worst fifth of 5, CP-SAT", options.cvar, 5, ALPHA, options)
    try_everything(options.small, options.seed)


def compare(name: str, n: int, n_scenario: int, alpha: float | None, options: argparse.Namespace) -> None:
    """A row of the table: kernel and CP-SAT."""
    if n == 0:
        return
    arrays = draw_intersections(n, options.seed, n_scenario)
    cycles = np.random.default_rng(options.seed).integers(LOW, HIGH + 1, n)
    kernel_s = time_kernel(arrays, alpha)
    solved, off = [], []
    for k, cycle in enumerate(cycles):
        one = rows_of(arrays, slice(k, k + 1))
        tables = scaled_tables(one, int(cycle))
        plan = plan_arrays(
            one, IsolatedRequest(min_cycle_s=int(cycle), max_cycle_s=int(cycle), cvar_alpha=alpha)
        )
        if plan.cycle_s[0] == 0:
            continue
        found = solve(one, tables, int(cycle), alpha, options.limit)
        solved.append(found)
        if found.proven:
            off.append(weigh(tables, plan, one.phases, alpha) - found.objective)
    other_s = float(np.mean([one.seconds for one in solved])) * (HIGH - LOW + 1)
    # eight roundings by a half; under CVaR as many a scenario of the tail, of which the shares sum to 1
    same = sum(abs(one) <= 8.5 for one in off)
    print(
        f"| {name} | {len(solved)} | {1000 * kernel_s:.3f} | {other_s:.2f} | {other_s / kernel_s:,.0f} "
        f"| {same} of {len(off)} proven | {max(map(abs, off), default=0.0):g} |",
        flush=True,
    )


def time_kernel(arrays: IntersectionArrays, alpha: float | None, repeats: int = 5) -> float:
    """Processor seconds for all cycles of one intersection."""
    request = IsolatedRequest(min_cycle_s=LOW, max_cycle_s=HIGH, cvar_alpha=alpha)
    plan_arrays(rows_of(arrays, slice(0, 1)), request)
    took = []
    for _ in range(repeats):
        began = time.process_time()
        plan_arrays(arrays, request)
        took.append((time.process_time() - began) / len(arrays.flow_vph))
    return float(np.median(took))


def scaled_tables(one: IntersectionArrays, cycle: int) -> list[list[np.ndarray]]:
    """Delay [veh / SCALE, rounded] of each scenario and phase, by seconds above the least green.

    q (d1 + d2) of HCM Eqs. 19-19 and 19-26, even arrivals, k = 0.5 and I = 1.
    """
    tables = []
    for flows in one.flow_vph[0]:
        row = []
        for p, flow in enumerate(flows):
            least, most = int(one.phases.least[0, p]), min(int(one.phases.most[0, p]), cycle)
            green = np.arange(least, most + 1.0)
            if flow <= 0.0:
                row.append(np.zeros(len(green), np.int64))
                continue
            u = green / cycle
            capacity = one.phases.saturation_vph[0, p] * u
            x = flow / capacity
            d1 = 0.5 * cycle * (1.0 - u) ** 2 / (1.0 - np.minimum(1.0, x) * u)
            d2 = 900.0 * PERIOD_H * (x - 1.0 + np.sqrt((x - 1.0) ** 2 + 4.0 * x / (capacity * PERIOD_H)))
            row.append(np.rint(SCALE * flow / 3600.0 * (d1 + d2)).astype(np.int64))
        tables.append(row)
    return tables


def weigh(tables: list[list[np.ndarray]], plan: PlanArrays, phases: Phases, alpha: float | None) -> float:
    """What the kernel's plan costs in these integers: mean, or mean of the worst share."""
    above = plan.green_s[0] - phases.least[0]
    totals = np.array([sum(int(table[above[p]]) for p, table in enumerate(row)) for row in tables], float)
    tail = 1.0 if alpha is None else 1.0 - alpha
    worst = -np.sort(-totals)
    share = np.clip(tail - np.arange(len(worst)) / len(worst), 0.0, 1.0 / len(worst)) / tail
    return float(share @ worst)


def solve(
    one: IntersectionArrays, tables: list[list[np.ndarray]], cycle: int, alpha: float | None, limit_s: float
) -> Solved:
    """Prove the least cost at a cycle with CP-SAT on one worker; the objective a scenario's, as of `weigh`."""
    model, phases, n = cp_model.CpModel(), one.phases, len(tables)
    above = [
        model.new_int_var(0, min(int(phases.most[0, p]), cycle) - int(phases.least[0, p]), "")
        for p in range(8)
    ]
    split = [above[p] + int(phases.least[0, p] + phases.clearance[0, p]) for p in range(8)]
    model.add(split[0] + split[1] == split[4] + split[5])
    for ring in RINGS:
        model.add(sum(split[p] for p in ring) == cycle)
    if alpha is None:
        rows = [[sum(table[p] for table in tables) for p in range(8)]]
    else:
        rows = tables
    totals = [sum(element(model, above[p], row[p]) for p in range(8)) for row in rows]
    if alpha is None:
        model.minimize(totals[0])
        per_unit = n
    else:
        highest = max(sum(int(table.max()) for table in row) for row in tables)
        threshold = model.new_int_var(0, highest, "")
        excess = [model.new_int_var(0, highest, "") for _ in rows]
        for total, over in zip(totals, excess):
            model.add(over >= total - threshold)
        # tail × n scenarios of one unit each: threshold + Σ excess / (tail n)
        per_unit = round((1.0 - alpha) * n)
        model.minimize(per_unit * threshold + sum(excess))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    solver.parameters.max_time_in_seconds = limit_s
    began = time.process_time()
    status = solver.solve(model)
    seconds = time.process_time() - began
    return Solved(status == cp_model.OPTIMAL, solver.objective_value / per_unit, seconds)


def element(model: Any, index: Any, table: np.ndarray) -> Any:
    """A variable that is the table's entry at the index."""
    value = model.new_int_var(int(table.min()), int(table.max()), "")
    model.add_element(index, table.tolist(), value)
    return value


def try_everything(n: int, seed: int) -> None:
    """A row of the table: kernel and every plan within narrow bounds, at every cycle that they allow."""
    arrays = draw_intersections(n, seed)
    phases = arrays.phases
    phases.most[:] = np.minimum(phases.most, phases.least + 3)
    for (a, b), (c, d) in (
        ((0, 1), (4, 5)),
        ((2, 3), (6, 7)),
    ):  # so that rings meet: the same least and clearance
        for field in (phases.least, phases.most, phases.clearance):
            field[:, c], field[:, d] = field[:, a], field[:, b]
        arrays.flow_vph[:, :, c] *= field[:, c, None] > 0
        arrays.flow_vph[:, :, d] *= field[:, d, None] > 0
    other_s, same, cycles = 0.0, 0, 0
    for k in range(n):
        one = rows_of(arrays, slice(k, k + 1))
        shortest = int((phases.least + phases.clearance)[k, :4].sum())
        longest = int((phases.most + phases.clearance)[k, :4].sum())
        request = IsolatedRequest(min_cycle_s=shortest, max_cycle_s=longest)
        plan = plan_arrays(one, request)
        began = time.process_time()
        least = {cycle: min(every_cost(one, cycle)) for cycle in range(shortest, longest + 1)}
        other_s += time.process_time() - began
        cycles += len(least)
        same += sum(
            abs(SCALE * plan.cost[0, cycle - shortest] - cost) <= 8.5 for cycle, cost in least.items()
        )
    each_s = other_s * (HIGH - LOW + 1) / cycles
    print(
        f"| everything tried, at most 4 greens a phase | {n} | | {each_s:.2f} | | {same} of {cycles} cycles | |"
    )


def every_cost(one: IntersectionArrays, cycle: int) -> Iterator[int]:
    """Costs of all plans of a cycle."""
    tables = scaled_tables(one, cycle)[0]
    least, clearance = one.phases.least[0], one.phases.clearance[0]
    by_ring = []
    for ring in RINGS:
        found: dict[int, list[int]] = {}
        for above in itertools.product(*(range(len(tables[p])) for p in ring)):
            split = [int(least[p] + clearance[p]) + more for p, more in zip(ring, above)]
            if sum(split) == cycle:
                cost = sum(int(tables[p][more]) for p, more in zip(ring, above))
                found.setdefault(split[0] + split[1], []).append(cost)
        by_ring.append(found)
    for barrier in by_ring[0].keys() & by_ring[1].keys():
        for one_cost, other_cost in itertools.product(by_ring[0][barrier], by_ring[1][barrier]):
            yield one_cost + other_cost


if __name__ == "__main__":
    main()
