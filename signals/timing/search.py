"""Search for the timing of a whole network: cycle, splits, stage order and omission, offsets, together.

Candidates start from HCM splits at each of a list of cycles, with offsets from platoon dispersion; the best
of them are improved move by move. A move may be taken although it is a little worse, ever less so as the search
cools down: local optima of one cycle or stage order are left that way. A candidate that is clearly worse on the first
demand seeds isn't tried on the others.

Where some signals stay as they are by request, a start at their cycle is tried as well, shifted against them.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from kernels.arrays import F8, SignalArrays
from signals.timing.moves import may_drop, move, with_order
from signals.timing.problem import (
    DEMAND_SEEDS,
    FRESH_SEEDS,
    Choice,
    Judged,
    Problem,
    Solution,
    at_cycle,
    judge,
    judged,
    run_day,
    signal_arrays,
)

CYCLES_S = (32, 36, 40, 45, 50, 56, 62, 70, 78, 88, 100, 114, 130, 150, 170)
"""Cycles tried first, about 12 % apart: delay is flat around its minimum."""
ROUNDS = ((6, 0.3), (3, 0.3), (1, 0.4))
"""How many of the best are improved in each round, and the part of the budget that they share."""
ORDERS_SHARE = 0.15
"""Part of the budget for starts with stages in other orders; enough for each order of a signal or two."""
SHIFTS = 8
"""Offsets tried against neighbours that stay as they are."""
AT_ONCE = 2
"""Moves tried side by side from one place; a constant, so that threads don't change what is found."""
DRAWS_PER_ROUND = 8
"""Moves that don't fit the bounds cost nothing, but a search must end where none fits."""
RECORDS = 6
"""The last so many improvements of a search that fresh days tell apart."""
HEAT = 0.012
"""Mean share by which a move that is taken may be worse at first, over the number of signals: a move changes one.

It falls to nothing over the budget.
"""
SLACK = (0.02, 0.01, 0.005)
"""Shares by which the mean of the first one, two, three days may exceed that of where the search stands.

Over the root of the number of signals, as a move's effect varies from day to day at one of them.
"""


def structures(problem: Problem) -> list[dict[str, tuple[int, ...]]]:
    """Sets of stages to start from: all of the field's, and, where allowed, without those that may be dropped."""
    full = {s: tuple(range(len(p.stages))) for s, p in problem.base.items()}
    if not any(problem.drops.values()):
        return [full]
    short = {}
    for signal, plan in problem.base.items():
        drop: list[int] = []
        for k in sorted(problem.drops.get(signal, ()), key=lambda k: (plan.stages[k].duration_s, k)):
            left = tuple(n for n in full[signal] if n not in (*drop, k))
            if may_drop(plan, [*drop, k]) and problem.accepts(signal, left):
                drop.append(k)
        short[signal] = tuple(k for k in full[signal] if k not in drop)
    return [full, short] if short != full else [full]


def beside_neighbours(problem: Problem, orders: Mapping[str, tuple[int, ...]]) -> list[dict[str, Choice]]:
    """Starts at the cycle of neighbours that stay as they are by request, shifted against them; none without any.

    Dispersion sets offsets among the signals that are retimed; where these stand together in the neighbours'
    cycle is tried out.
    """
    if not problem.request.signals:
        return []
    staying: Counter[float] = Counter()
    for group in problem.groups:
        for signal in group if any(s in problem.base for s in group) else ():
            program = problem.network.intersections[signal].program
            if signal not in problem.base and program is not None and program.cycle_s.is_integer():
                staying[program.cycle_s] += 1
    if not staying:
        return []
    common = int(min(staying, key=lambda cycle: (-staying[cycle], cycle)))
    together = at_cycle(problem, orders, common)
    return [
        {
            s: replace(c, offset_s=(c.offset_s + common * k // SHIFTS) % problem.cycle_s(s, c))
            for s, c in together.items()
        }
        for k in range(SHIFTS)
    ]


def search(
    problem: Problem,
    *,
    runs: int,
    near: Solution | None = None,
    on_progress: Callable[[int, int, float], None] | None = None,
) -> list[Judged]:
    """The best solutions found, best on fresh days first; the same seed finds the same ones.

    They are the last records of the longest walk, and the best of each other walk.

    Parameters
    ----------
    runs : how many hours to simulate in all, each one candidate on one day
    near : a solution to walk from, in place of the starts at a list of cycles
    on_progress : called with runs made, their planned number, and the best value so far
    """

    def told(best: float) -> None:
        if on_progress:
            on_progress(problem.runs, runs, best)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        rounds = ROUNDS if near is None else ((1, 1.0),)
        if near is None:
            firsts = _starts(problem, pool, told)
            firsts += _in_other_orders(problem, different(problem, firsts, 2), runs, pool, told)
            found = different(problem, sorted(firsts, key=lambda j: j.value), ROUNDS[0][0])
        else:
            found = [judge(problem, near, pool)]
        left = runs - problem.runs - FRESH_SEEDS * (len(found) + RECORDS)
        records: list[Judged] = []
        for turn, (walks, share) in enumerate(rounds):
            walks = min(walks, len(found))
            for number in range(walks):
                generator = np.random.default_rng((problem.request.seed, turn, number))
                records = _improve(problem, found[number], int(share * left / walks), generator, pool, told)
                found[number] = records[-1]
            found.sort(key=lambda j: j.value)
        # who is best on the days of the search owes it partly to them: fresh days decide
        rest = [f for f in found if f is not records[-1]]
        return sorted(
            (judge(problem, j.solution, pool, problem.fresh) for j in [*records, *rest]),
            key=lambda j: j.value,
        )


def _starts(problem: Problem, pool: ThreadPoolExecutor, told: Callable[[float], None]) -> list[Judged]:
    """Splits and offsets at each of a list of cycles, the best first."""
    firsts: list[Judged] = []
    for orders in structures(problem):
        for cycle in CYCLES_S:
            firsts.append(judge(problem, at_cycle(problem, orders, cycle), pool))
            told(min(f.value for f in firsts))
        firsts += [judge(problem, s, pool) for s in beside_neighbours(problem, orders)]
    return sorted(firsts, key=lambda j: j.value)


def _in_other_orders(
    problem: Problem,
    starts: Sequence[Judged],
    runs: int,
    pool: ThreadPoolExecutor,
    told: Callable[[float], None],
) -> list[Judged]:
    """Starts with the stages of one signal in another order, as far as ORDERS_SHARE of the runs goes.

    Moves change an order and little else at a time, so a walk seldom leaves one that is good for another that is
    better only at other greens.
    """
    found: list[Judged] = []
    most = int(ORDERS_SHARE * runs / DEMAND_SEEDS)
    for start in starts:
        for signal, choice in start.solution.items():
            for rest in itertools.permutations(choice.order[1:]):
                order = (choice.order[0], *rest)
                if len(found) == most:
                    return found
                changed = with_order(problem, start.solution, signal, order)
                if order != choice.order and changed is not None:
                    found.append(judge(problem, changed, pool))
                    told(min(j.value for j in (*starts, *found)))
    return found


def different(problem: Problem, ranked: Sequence[Judged], most: int) -> list[Judged]:
    """The best candidates that differ in stages or cycle by more than a neighbouring step."""
    chosen: list[Judged] = []
    seen: list[tuple[Mapping[str, tuple[int, ...]], float]] = []
    for candidate in ranked:
        orders = {s: c.order for s, c in candidate.solution.items()}
        cycle = float(np.mean([problem.cycle_s(s, c) for s, c in candidate.solution.items()]))
        if all(o != orders or abs(math.log(cycle / c)) > 0.15 for o, c in seen):
            chosen.append(candidate)
            seen.append((orders, cycle))
        if len(chosen) == most:
            break
    return chosen


def _improve(
    problem: Problem,
    start: Judged,
    runs: int,
    generator: np.random.Generator,
    pool: ThreadPoolExecutor,
    told: Callable[[float], None],
) -> list[Judged]:
    """Where a walk of small moves began and the last records that it set, the best at the end, RECORDS at most.

    Signals with more delay are moved more often.
    """
    records = [start]
    here = start
    weights = delay_by_signal(problem, here)
    first, last = problem.runs, problem.runs + runs
    while problem.runs + AT_ONCE * DEMAND_SEEDS <= last:
        candidates = _moves(problem, here.solution, weights, generator)
        if not candidates:
            break
        heat = HEAT / len(here.solution) * (1.0 - (problem.runs - first) / runs)
        limits = [heat * float(x) for x in generator.standard_exponential(len(candidates))]
        shown = [signal_arrays(problem, c) for c in candidates]

        results = list(pool.map(partial(_tried, problem, here), candidates, shown, limits))
        problem.runs += sum(made for _, made in results)
        passed = [r for r, _ in results if r is not None]
        if passed:
            here = min(passed, key=lambda r: r.value)
            weights = delay_by_signal(problem, here)
            if here.value < records[-1].value:
                records.append(here)
        told(records[-1].value)
    return [records[0], *records[1:][1 - RECORDS :]]


def _moves(
    problem: Problem, solution: Solution, weights: F8, generator: np.random.Generator
) -> list[dict[str, Choice]]:
    """Changes that fit the bounds, AT_ONCE of them where the draws find as many."""
    found: list[dict[str, Choice]] = []
    for _ in range(DRAWS_PER_ROUND):
        candidate = move(problem, solution, weights, generator)
        if candidate is not None:
            found.append(candidate)
        if len(found) == AT_ONCE:
            break
    return found


def _tried(
    problem: Problem, here: Judged, solution: Solution, signals: SignalArrays, worse: float
) -> tuple[Judged | None, int]:
    """A candidate tried seed by seed, None once it is too much worse than `here`; and how many runs it took."""
    values: list[float] = []
    lost: list[F8] = []
    for traffic in problem.traffic:
        value, before = run_day(problem, signals, traffic)
        values.append(value)
        lost.append(before)
        n = len(values)
        if n == DEMAND_SEEDS:
            break
        slack = SLACK[n - 1] / math.sqrt(len(solution))
        if sum(values) > sum(here.by_seed[:n]) * (1.0 + worse + slack):
            return None, n
    found = judged(solution, values, lost)
    return (found if found.value < here.value * (1.0 + worse) else None), DEMAND_SEEDS


def delay_by_signal(problem: Problem, found: Judged) -> F8:
    """Share of delay lost before each signal, with a floor so that none is forgotten; float64[n_signal]."""
    total = dict.fromkeys(found.solution, 0.0)
    for k, position in enumerate(problem.road.connections):
        signal = problem.network.connections[position].signal
        if signal in total:
            total[signal] += found.lost[k]
    weights = np.array(list(total.values()))
    n = max(1, len(total))
    weights = weights / weights.sum() if weights.sum() > 0 else np.ones(n) / n
    mixed: F8 = 0.7 * weights + 0.3 / n
    return mixed
