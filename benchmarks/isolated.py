"""How long ten thousand isolated intersections take: `python -m benchmarks.isolated --intersections 10000`.

Made-up crossings with eight protected phases (some without left turns), quiet to over capacity, are planned from
arrays at every cycle from 60 to 180 s, on one thread and on two, and some of them one by one. Plans must be the
same, bit for bit. With `--permitted 1`, the left turns of all of them go through gaps after their arrow as well
(try it with `--intersections 200`). Compilation is over before the clock starts. Seconds are wall-clock; the processor
time of all threads is printed beside them, since other programs may be running.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kernels.dual_ring import Phases
from signals.timing.isolated import IntersectionArrays, IsolatedRequest, PlanArrays, plan_arrays
from signals.timing.isolated_left_turns import LeftTurnArrays

LEFT = np.arange(8) % 2 == 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Plan them all, print what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--intersections", type=int, default=10_000)
    parser.add_argument("--scenarios", type=int, default=1)
    parser.add_argument("--cvar", type=float, help="alpha; without it the mean over scenarios")
    parser.add_argument("--permitted", type=float, default=0.0, help="share with left turns through gaps")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    request = IsolatedRequest(cvar_alpha=options.cvar)
    arrays = draw_intersections(options.intersections, options.seed, options.scenarios)
    if options.permitted > 0.0:
        arrays = with_gaps(arrays, options.permitted, options.seed)
    plan_arrays(rows_of(arrays, slice(0, 2)), request, threads=2)

    print("| intersections | scenarios | threads | wall, s | processor, s | plans/s | ms of a core a plan |")
    print("|---|---|---|---|---|---|---|")
    plans = {}
    for threads in (1, 2):
        wall, used = time.perf_counter(), time.process_time()
        plans[threads] = plan_arrays(arrays, request, threads=threads)
        wall, used = time.perf_counter() - wall, time.process_time() - used
        n = options.intersections
        print(
            f"| {n} | {options.scenarios} | {threads} | {wall:.2f} | {used:.2f} | {n / wall:.0f} "
            f"| {1000 * used / n:.3f} |"
        )
    few = range(0, options.intersections, max(1, options.intersections // 200))
    alone = [plan_arrays(rows_of(arrays, slice(k, k + 1)), request) for k in few]
    same = is_same(plans[1], plans[2], range(options.intersections)) and all(
        is_same(one, plans[2], [k]) for one, k in zip(alone, few)
    )
    fitting = np.isfinite(plans[2].cost)
    print(
        f"\n{len(few)} planned one by one, all planned on either number of threads: "
        f"{'the same bits' if same else 'NOT THE SAME'}. Cycles that fit: {fitting.sum(axis=1).mean():.1f} of "
        f"{fitting.shape[1]} on average; intersections without any: {(plans[2].cycle_s == 0).sum()}."
    )
    if not same:
        raise SystemExit(1)


def draw_intersections(n: int, seed: int, n_scenario: int = 1) -> IntersectionArrays:
    """Crossings with one left-turn lane and one to three through lanes an approach; a sixth of lefts are absent."""
    rng = np.random.default_rng(seed)
    lanes = np.where(LEFT, 1, rng.integers(1, 4, (n, 8)))
    saturation = lanes * np.where(
        LEFT, rng.uniform(1600.0, 1800.0, (n, 8)), rng.uniform(1700.0, 1900.0, (n, 8))
    )
    ratio = rng.uniform(0.05, 1.0, (n, 8)) * np.where(LEFT, 0.5, 1.0)
    critical = np.maximum(*(ratio[:, a : a + 2].sum(axis=1) for a in (0, 4))) + np.maximum(
        *(ratio[:, a : a + 2].sum(axis=1) for a in (2, 6))
    )
    ratio *= (rng.uniform(0.4, 1.05, n) / critical)[:, None]
    flow = (saturation * ratio)[:, None] * (
        1.0 if n_scenario == 1 else rng.uniform(0.7, 1.3, (n, n_scenario, 8))
    )
    least = np.where(LEFT, rng.integers(5, 8, (n, 8)), rng.integers(7, 16, (n, 8)))
    most = np.where(LEFT, rng.integers(30, 61, (n, 8)), rng.integers(60, 121, (n, 8)))
    clearance = rng.integers(4, 7, (n, 8))
    absent = LEFT & (rng.random((n, 8)) < 1 / 6)
    for field in (least, most, clearance):
        field[absent] = 0
    flow[np.broadcast_to(absent[:, None], flow.shape)] = 0.0
    return IntersectionArrays(
        np.ascontiguousarray(flow),
        np.full((n, n_scenario), 1.0 / n_scenario),
        Phases(saturation, least, most, clearance, np.zeros((n, 8)), np.ones((n, 8))),
    )


def rows_of(arrays: IntersectionArrays, rows: slice) -> IntersectionArrays:
    """Some of the intersections."""
    phases = Phases(*(np.ascontiguousarray(field[rows]) for field in arrays.phases))
    lefts = arrays.left_turns
    if lefts is not None:
        lefts = LeftTurnArrays(lefts.permitted[rows], lefts.startup_s[rows], lefts.extension_s[rows])
    return IntersectionArrays(arrays.flow_vph[rows].copy(), arrays.probability[rows].copy(), phases, lefts)


def with_gaps(arrays: IntersectionArrays, share: float, seed: int) -> IntersectionArrays:
    """The same, a share of them with left turns that go through gaps too."""
    n = len(arrays.flow_vph)
    chosen = np.random.default_rng(seed).random(n) < share
    permitted = chosen[:, None] & LEFT & (arrays.phases.most > 0)
    return replace(arrays, left_turns=LeftTurnArrays(permitted, np.full(n, 2.0), np.full(n, 2.0)))


def is_same(one: PlanArrays, other: PlanArrays, rows: Sequence[int]) -> bool:
    """Whether plans are the other ones' rows, bit for bit."""
    return all(np.array_equal(field, vars(other)[name][list(rows)]) for name, field in vars(one).items())


if __name__ == "__main__":
    main()
