"""The widest bands of random arterials, proven: CPU seconds by number of signals and solver.

    python -m benchmarks.bandwidth
    python -m benchmarks.bandwidth --signals 10 20 --arterials 3 --solvers SCIP CBC

Arterials are drawn with sections of 150-600 m, greens of 40-60 %, cycles of 60-120 s and 50 km/h ± 15 %, both ways,
as MAXBAND without left turns, with the four orders of left turns at every signal, with speeds that may change by
little from section to section, and as MULTIBAND with weights. Every solver solves the same ones, one after the other
in this process; CPU seconds include building the program and computing the optimum exactly, not importing OR-Tools.
Little's ten signals of 1966 come last.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from signals.timing.bandwidth_model import (
    Arterial,
    Bands,
    BandSignal,
    Greens,
    Section,
    Solver,
    left_turn_greens,
)
from signals.timing.bandwidth_program import maxband, multiband

SPEED_MPS = 50.0 / 3.6
LITTLE_M = (168, 213, 335, 213, 244, 198, 122, 213, 137)
LITTLE_GREENS = (0.53, 0.6, 0.6, 0.53, 0.52, 0.58, 0.6, 0.6, 0.6, 0.58)
LITTLE_BAND = 0.281414

Solve = Callable[[Arterial, Solver, float], Bands]
"""Solves a street by a solver within a time."""


def draw_arterial(
    n: int, seed: int, *, lefts: bool = False, change_s_per_m: float = float("inf")
) -> Arterial:
    """A random arterial of n signals."""
    generator = np.random.default_rng((n, seed))
    signals = []
    for k in range(n):
        green, green_back = generator.uniform(0.4, 0.6, 2).tolist()
        greens: tuple[Greens, ...] = (Greens(green, green_back, 0.0, (green - green_back) / 2.0),)
        if lefts:
            left = float(generator.uniform(0.08, 0.16))
            cross = float(1.0 - generator.uniform(0.55, 0.65))
            left_back = float(generator.uniform(0.08, 0.16))
            greens = left_turn_greens(cross + left_back, cross + left, left, left_back)
        signals.append(BandSignal(f"{k + 1}", greens))
    speeds = (0.85 * SPEED_MPS, 1.15 * SPEED_MPS)
    sections = tuple(
        Section(
            float(generator.uniform(150.0, 600.0)),
            speeds,
            speeds,
            change_s_per_m,
            *generator.uniform(0.3, 1.0, 2).tolist(),
        )
        for _ in range(n - 1)
    )
    return Arterial(tuple(signals), sections, (60.0, 120.0))


def little() -> Arterial:
    """Little's ten signals (1966)."""
    signals = tuple(BandSignal(f"{k + 1}", (Greens(g, g),)) for k, g in enumerate(LITTLE_GREENS))
    sections = tuple(Section(d, (13.4, 17.9), (13.4, 17.9), 0.0121) for d in LITTLE_M)
    return Arterial(signals, sections, (55.0, 75.0))


KINDS: dict[str, tuple[Callable[[int, int], Arterial], Solve]] = {
    "MAXBAND": (lambda n, seed: draw_arterial(n, seed), lambda a, s, t: maxband(a, solver=s, time_limit_s=t)),
    "MAXBAND, ratio 0.6": (
        lambda n, seed: draw_arterial(n, seed),
        lambda a, s, t: maxband(a, ratio=0.6, solver=s, time_limit_s=t),
    ),
    "MAXBAND, speed changes ≤ 0.005 s/m": (
        lambda n, seed: draw_arterial(n, seed, change_s_per_m=0.005),
        lambda a, s, t: maxband(a, solver=s, time_limit_s=t),
    ),
    "MAXBAND, left turns free": (
        lambda n, seed: draw_arterial(n, seed, lefts=True),
        lambda a, s, t: maxband(a, solver=s, time_limit_s=t),
    ),
    "MULTIBAND": (
        lambda n, seed: draw_arterial(n, seed),
        lambda a, s, t: multiband(a, solver=s, time_limit_s=t),
    ),
}


def timed(solve: Solve, street: Arterial, solver: Solver, limit_s: float) -> tuple[float, Bands]:
    """CPU seconds of this process, all threads, and what came of them."""
    begin = time.process_time()
    found = solve(street, solver, limit_s)
    return time.process_time() - begin, found


def rows(options: argparse.Namespace) -> Iterator[str]:
    """Lines of the table."""
    for kind in options.kinds:
        draw, solve = KINDS[kind]
        for n in options.signals:
            streets = [draw(n, seed) for seed in range(options.arterials)]
            objectives: list[list[float]] = []
            cells = []
            proven = 0
            for solver in options.solvers:
                results = [timed(solve, street, solver, options.limit) for street in streets]
                spent = [cpu for cpu, _ in results]
                proven += sum(found.proven for _, found in results)
                objectives.append([found.objective for _, found in results])
                cells.append(f"{statistics.median(spent):.3f} / {max(spent):.3f}")
            apart = max(max(values) - min(values) for values in zip(*objectives, strict=True))
            cells += [f"{proven} of {len(streets) * len(options.solvers)}", f"{apart:.1e}"]
            yield f"| {kind} | {n} | " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--signals", type=int, nargs="+", default=[10, 20, 40], help="Numbers of signals.")
    parser.add_argument("--arterials", type=int, default=10, help="Arterials of each.")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="Problems.")
    parser.add_argument("--limit", type=float, default=30.0, help="Most seconds a solve.")
    parser.add_argument(
        "--solvers",
        type=Solver,
        nargs="+",
        choices=list(Solver),
        default=[Solver.SCIP, Solver.HIGHS],
        help="Solvers.",
    )
    options = parser.parse_args()
    # HiGHS writes to the standard output whatever it is told: the table keeps that to itself
    sys.stdout = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), 1)
    maxband(little())  # imports
    heads = [f"{s.value}, CPU s median / worst" for s in options.solvers]
    print("| problem | signals | " + " | ".join([*heads, "proven", "objectives apart"]) + " |")
    print("|---|---:|" + "---:|" * (len(heads) + 2))
    for line in rows(options):
        print(line, flush=True)
    print("\n| Little's ten signals | b | b̄ | b + b̄ | cycle, s | CPU s |\n|---|---:|---:|---:|---:|---:|")
    for solver in options.solvers:
        cpu_s, found = timed(KINDS["MAXBAND"][1], little(), solver, options.limit)
        figures = (found.bands[0], found.bands_back[0], found.objective, found.cycle_s, cpu_s)
        print(
            f"| {solver.value} | "
            + " | ".join(f"{x:.6f}" if k < 3 else f"{x:.4f}" for k, x in enumerate(figures))
            + " |"
        )


if __name__ == "__main__":
    main()
