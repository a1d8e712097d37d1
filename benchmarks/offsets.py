"""Offsets on grids of thousands of signals: time, and how far from the best they can be at most.

    python -m benchmarks.offsets [--sizes 100 300 1000 4000] [--seeds 3] [--cap 60]

Grids are drawn at random: streets of 250 to 900 veh/h a direction, some of them one-way, signals 150 to 400 m
apart with four stages and splits about in proportion to demand, 5 % of them at half the cycle of 90 s. Tables by
link come from the profile model. Times are CPU seconds of this process, kernels warm.

Printed are, for each grid, what the offsets given (all 0), those found on the tables and those climbed to cost,
on the tables and with everybody's traffic in view, in vehicles waiting; the gap is (found - bound) / found. Then
the exponent of time over signals at fixed work, and grids of 4 x 5 beside CP-SAT, one worker, on the same tables
scaled to integers, with a cap on its time: it is asked for the best, and for a value as good as ours.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from kernels.arrays import F8, I8
from kernels.descent import descend
from kernels.link_graph import link_graph, short_circuits
from kernels.offset_bound import no_shares, pair_costs, pass_along
from kernels.offsets import best_offsets, total_cost
from kernels.profile import hcm_lag_steps, hcm_smoothing
from kernels.street import StreetArrays, climb, link_tables, run_street
from signals.timing.coordination import CLIMBS, ORDERS, PARTS, PASSES, STEPS, STOP_WEIGHT_S, SWEEPS, TURNS

N_BIN = 90
SPEED_MPS = 12.5
STEP = {0: (0, 1), 1: (-1, 0), 2: (0, -1), 3: (1, 0)}
"""Row and column that lie ahead, by heading: east, north, west, south."""
STAGES = {(1, 1): 0, (1, 0): 1, (0, 1): 2, (0, 0): 3}
"""Stage by axis (1 is north and south) and kind (1 is left turns)."""
SCALE = 10_000
FIXED_TURNS = 40

T = TypeVar("T")


@dataclass(frozen=True)
class Drawn:
    """A grid: its street, and how many offsets each signal has."""

    street: StreetArrays
    choices: I8


def draw_grid(rows: int, columns: int, seed: int, one_way: float = 0.15, half: float = 0.05) -> Drawn:
    """A random grid; `one_way` and `half` are shares of streets and of signals."""
    rng = np.random.default_rng(seed)
    spacing = {0: rng.uniform(150.0, 400.0, columns), 1: rng.uniform(150.0, 400.0, rows)}
    road_vph = {
        (axis, k): rng.uniform(250.0, 900.0, 2) * (1 - (rng.random() < one_way) * np.eye(2)[rng.integers(2)])
        for axis, n in ((0, rows), (1, columns))
        for k in range(n)
    }
    halves = rng.random(rows * columns) < half
    signal: list[int] = []
    green: list[F8] = []
    saturation: list[float] = []
    flow: list[float] = []
    server: dict[tuple[int, int, int], int] = {}
    for i in range(rows * columns):
        demand: dict[tuple[int, int], tuple[float, float]] = {}
        for heading in range(4):
            axis = heading % 2
            vph = road_vph[axis, i % columns if axis else i // columns][heading // 2] * rng.uniform(
                0.85, 1.15
            )
            left = rng.uniform(0.08, 0.2)
            if vph > 0.0:
                demand[heading, 0] = (vph * (1.0 - left), 1710.0 * (2 if vph > 450.0 else 1))
                demand[heading, 1] = (vph * left, 1700.0)
        cycle = N_BIN // 2 if halves[i] else N_BIN
        rows_of_green = _greens(demand, cycle, rng)
        for (heading, kind), (vph, most_vph) in demand.items():
            server[i, heading, kind] = len(signal)
            signal.append(i)
            green.append(rows_of_green[STAGES[heading % 2, kind]])
            saturation.append(most_vph / 3600.0)
            flow.append(vph / 3600.0)
    return Drawn(
        _joined(rows, columns, server, signal, green, saturation, flow, spacing),
        np.where(halves, N_BIN // 2, N_BIN),
    )


def _greens(demand: dict[tuple[int, int], tuple[float, float]], cycle: int, rng: np.random.Generator) -> F8:
    """Green of the four stages by bin, about in proportion to their critical flow ratios."""
    ratio = np.zeros(4)
    for (heading, kind), (vph, most_vph) in demand.items():
        stage = STAGES[heading % 2, kind]
        ratio[stage] = max(ratio[stage], vph / most_vph)
    ratio *= rng.uniform(0.85, 1.15, 4)
    lost, least = (4.0, 4.0) if cycle == N_BIN else (2.0, 2.0)
    green = np.where(ratio > 0.0, least, 0.0)
    green += (cycle - 4 * lost - green.sum()) * ratio / ratio.sum()
    begin = np.concatenate([[0.0], np.cumsum(green + lost)[:-1]])
    edges = np.arange(N_BIN + 1.0)
    served = sum(
        np.clip(edges - (begin[:, None] + turn * cycle), 0.0, green[:, None])
        for turn in range(N_BIN // cycle)
    )
    return np.diff(served, axis=1)


def _joined(
    rows: int,
    columns: int,
    server: dict[tuple[int, int, int], int],
    signal: list[int],
    green: list[F8],
    saturation: list[float],
    flow: list[float],
    spacing: dict[int, F8],
) -> StreetArrays:
    """Stretches between neighbours: 85 % of what goes through, 15 % that turn right, and the left turns."""
    ends: list[tuple[int, int]] = []
    times: list[float] = []
    feeds: list[list[tuple[int, float]]] = []
    taps: list[list[tuple[int, float]]] = [[] for _ in signal]
    for i in range(rows * columns):
        for heading, (down, right) in STEP.items():
            row, column = i // columns + down, i % columns + right
            j = row * columns + column
            if not (0 <= row < rows and 0 <= column < columns) or (j, heading, 0) not in server:
                continue
            sources = (((heading, 0), 0.85), (((heading + 1) % 4, 0), 0.15), (((heading - 1) % 4, 1), 1.0))
            own = [(server[i, *key], share) for key, share in sources if (i, *key) in server]
            if not own:
                continue
            here = [server[j, heading, kind] for kind in (0, 1)]
            arriving = min(1.0, 0.97 * sum(flow[s] * x for s, x in own) / sum(flow[s] for s in here))
            for s in here:
                taps[s].append((len(ends), flow[s] * arriving))
            ends.append((i, j))
            feeds.append(own)
            ahead = spacing[heading % 2][min(i // columns, row) if heading % 2 else min(i % columns, column)]
            times.append(1.1 * ahead / SPEED_MPS)
    return StreetArrays(
        np.array(signal),
        np.array(green),
        np.array(saturation),
        np.array(flow),
        np.cumsum([0, *map(len, taps)]),
        np.array([w for own in taps for w, _ in own]),
        np.array([x for own in taps for _, x in own]),
        np.arange(len(ends)),
        np.array([hcm_smoothing(t, 1.0) for t in times]),
        np.array([hcm_lag_steps(t, 1.0) for t in times]),
        np.cumsum([0, *map(len, feeds)]),
        np.array([s for own in feeds for s, _ in own]),
        np.array([np.full(N_BIN, x) for own in feeds for _, x in own]),
        np.array([a for a, _ in ends]),
        np.array([b for _, b in ends]),
    )


def timed(function: Callable[..., T], *arguments: object) -> tuple[T, float]:
    """What a call returns, and its CPU seconds."""
    begin = time.thread_time()
    result = function(*arguments)
    return result, time.thread_time() - begin


def tables_of(drawn: Drawn) -> F8:
    """Tables by link from even arrivals, all offsets at 0."""
    blank = np.zeros((len(drawn.street.server_signal), N_BIN))
    zero = np.zeros(len(drawn.choices), np.int64)
    run_street(drawn.street, zero, 0, STOP_WEIGHT_S, blank)
    return link_tables(drawn.street, blank, zero, STOP_WEIGHT_S)


def orders_of(n_signal: int, n_order: int) -> I8:
    """Random orders of the signals."""
    rng = np.random.default_rng(1)
    return np.array([rng.permutation(n_signal) for _ in range(n_order)])


def solve(drawn: Drawn, table: F8) -> tuple[float, float, I8, float]:
    """Value, bound, offsets and CPU seconds."""
    n_signal = len(drawn.choices)
    found = np.zeros(n_signal, np.int64)
    ends = drawn.street.link_from, drawn.street.link_to
    no_starts, orders = np.empty((0, n_signal), np.int64), orders_of(n_signal, ORDERS)
    n_part = max(1, PARTS // n_signal**2)
    best, spent = timed(
        best_offsets, table, *ends, drawn.choices, no_starts, orders, PASSES, TURNS, n_part, found
    )
    return best.value, best.bound, found, spent


def show_grid(name: str, drawn: Drawn) -> None:
    """A line of the first table."""
    street, n_signal = drawn.street, len(drawn.choices)
    table, for_tables = timed(tables_of, drawn)
    given = np.zeros(n_signal, np.int64)
    table_given = total_cost(table, street.link_from, street.link_to, given)
    value, bound, found, spent = solve(drawn, table)
    departures = np.zeros((len(street.server_signal), N_BIN))
    whole_given = run_street(street, given, SWEEPS, STOP_WEIGHT_S, departures)
    whole_found = run_street(street, found, SWEEPS, STOP_WEIGHT_S, departures)
    steps = np.array([sign * round(part * N_BIN) for part in STEPS for sign in (1, -1)])
    climbed, for_climb = timed(
        climb, street, drawn.choices, steps, CLIMBS, SWEEPS, STOP_WEIGHT_S, found, departures
    )
    figures = (table_given, value, bound)
    print(
        f"| {name} | {n_signal} | {len(street.link_from)} | {spent:.2f} | {100 * (value - bound) / value:.3f} % | "
        + " | ".join(f"{x:.1f}" for x in (*figures, whole_given, whole_found, climbed))
        + f" | {for_tables:.2f} | {for_climb:.2f} |",
        flush=True,
    )


def fixed_work(drawn: Drawn) -> float:
    """CPU seconds of the graph, PASSES passes and FIXED_TURNS trees, whatever they gain."""
    table = tables_of(drawn)
    n_signal = len(drawn.choices)
    orders = orders_of(n_signal, FIXED_TURNS)

    def work() -> None:
        graph = link_graph(table, drawn.street.link_from, drawn.street.link_to, n_signal)
        circuits = short_circuits(graph)
        shares = no_shares(circuits, pair_costs(graph))
        for turn in range(PASSES):
            pass_along(circuits, shares, turn % 2 == 0)
        descend(graph, drawn.choices, orders, FIXED_TURNS, np.zeros(n_signal, np.int64))

    work()
    return min(timed(work)[1] for _ in range(3))


def by_cp_sat(drawn: Drawn, table: F8, cap_s: float, enough: float | None) -> tuple[str, float, float, float]:
    """CP-SAT's status, value, bound and CPU seconds; it may stop at a value that is good `enough`."""
    from ortools.sat.python import cp_model

    n_signal = len(drawn.choices)
    graph = link_graph(table, drawn.street.link_from, drawn.street.link_to, n_signal)
    model = cp_model.CpModel()
    # only differences count, and any signal at the whole cycle may stay at 0
    fixed = int(drawn.choices.argmax())
    offset = [model.new_int_var(0, 0 if i == fixed else int(c) - 1, "") for i, c in enumerate(drawn.choices)]
    costs = []
    for entry in graph.pair_entry:
        a, b = graph.neighbour[graph.back[entry]], graph.neighbour[entry]
        row = [round(SCALE * x) for x in graph.costs[entry, :N_BIN]]
        difference, around = model.new_int_var(0, N_BIN - 1, ""), model.new_bool_var("")
        model.add(difference == offset[b] - offset[a] + N_BIN * around)
        cost = model.new_int_var(min(row), max(row), "")
        model.add_element(difference, row, cost)
        costs.append(cost)
    if enough is None:
        model.minimize(sum(costs))
    else:
        model.add(sum(costs) <= int(SCALE * enough))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    solver.parameters.max_time_in_seconds = cap_s
    begin = time.process_time()
    status = solver.solve(model)
    spent = time.process_time() - begin
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return solver.status_name(status), float("nan"), float("nan"), spent
    found = np.array([solver.value(v) for v in offset])
    value = total_cost(table, drawn.street.link_from, drawn.street.link_to, found)
    return solver.status_name(status), value, solver.best_objective_bound / SCALE, spent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 300, 1000, 4000])
    parser.add_argument("--seeds", type=int, default=3, help="grids of 1,000 and of 20 signals")
    parser.add_argument("--cap", type=float, default=60.0, help="seconds for CP-SAT")
    given = parser.parse_args()
    shapes = {n: max(d for d in range(1, int(n**0.5) + 1) if n % d == 0) for n in given.sizes}
    warm = draw_grid(3, 3, 0)
    solve(warm, tables_of(warm))
    steps = np.array([1, -1])
    blank = np.zeros((len(warm.street.server_signal), N_BIN))
    climb(warm.street, warm.choices, steps, 1, 1, 1.0, np.zeros(9, np.int64), blank)
    solve(draw_grid(4, 5, 3), tables_of(draw_grid(4, 5, 3)))
    print(
        "| grid | signals | links | offsets, s | gap | tables given | found | bound | street given | found | climbed "
        "| tables, s | climb, s |\n" + "|---" * 13 + "|"
    )
    for n, rows in shapes.items():
        for seed in range(1, given.seeds + 1 if n == 1000 else 2):
            show_grid(f"{rows} x {n // rows}, seed {seed}", draw_grid(rows, n // rows, seed))
        if n == 1000:
            mixed = draw_grid(rows, n // rows, 4, one_way=0.5, half=0.3)
            show_grid(f"{rows} x {n // rows}, half one-way, 30 % half cycles", mixed)
    spent = [fixed_work(draw_grid(rows, n // rows, 1)) for n, rows in shapes.items()]
    if len(spent) > 1:
        exponent = np.polyfit(np.log(list(shapes)), np.log(spent), 1)[0]
        print(f"\nexponent of time at fixed work: {exponent:.2f} ({', '.join(f'{t:.3f} s' for t in spent)})")
    print(
        "\n| 4 x 5 | value | bound | gap | s | CP-SAT | value | bound | s | ratio "
        "| CP-SAT to our value | s | ratio |\n" + "|---" * 13 + "|"
    )
    for seed in range(1, given.seeds + 1):
        drawn = draw_grid(4, 5, seed)
        table = tables_of(drawn)
        value, bound, _, ours = solve(drawn, table)
        status, theirs, below, spent_s = by_cp_sat(drawn, table, given.cap, None)
        reached, _, _, until_s = by_cp_sat(drawn, table, given.cap, value * (1.0 + 1e-4))
        print(
            f"| seed {seed} | {value:.3f} | {bound:.3f} | {100 * (value - bound) / value:.3f} % | {ours:.4f} "
            f"| {status} | {theirs:.3f} | {below:.3f} | {spent_s:.1f} | {spent_s / ours:.0f} "
            f"| {reached} | {until_s:.1f} | {until_s / ours:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
