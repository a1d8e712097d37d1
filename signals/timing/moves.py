"""Changes of a solution that a search may try: greens, offsets, cycles, stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from signals.model.phasing import StagePlan
from signals.timing.problem import Choice, Problem, Solution, splits


def may_drop(plan: StagePlan, drop: Sequence[int]) -> bool:
    """Whether every link still gets a green when these stages are left out, and two stages remain."""
    kept = [s for k, s in enumerate(plan.stages) if k not in drop]
    if len(kept) < 2:
        return False
    served = frozenset[int]().union(*(s.green for s in kept))
    return all(plan.stages[k].green <= served for k in drop)


def move(
    problem: Problem, solution: Solution, weights: np.ndarray, generator: np.random.Generator
) -> dict[str, Choice] | None:
    """One change of a solution, or None where the draw doesn't fit the bounds."""
    names = list(solution)
    signal = names[int(generator.choice(len(names), p=weights))]
    choice = solution[signal]
    kind = generator.random()
    group = next((g for g in problem.groups if signal in g), (signal,))
    members = [s for s in group if s in solution]
    if kind < 0.40:
        alike = [s for s in members if len(solution[s].order) == len(choice.order)]
        together = len(alike) > 1 and generator.random() < 0.25
        return _shift_green(problem, solution, alike if together else [signal], len(choice.order), generator)
    alone = len(names) == 1 and not (problem.request.signals and len(problem.network.intersections) > 1)
    if kind < 0.65 and not alone:
        size = int(generator.integers(1, max(2, problem.cycle_s(signal, choice) // 3)))
        step = size if generator.random() < 0.5 else -size
        return {
            **solution,
            signal: replace(choice, offset_s=(choice.offset_s + step) % problem.cycle_s(signal, choice)),
        }
    if kind < 0.85:
        step = int(generator.choice([-8, -4, -3, -2, -1, 1, 2, 3, 4, 8]))
        whole = members if generator.random() < 0.7 else [signal]
        return _change_cycle(problem, solution, whole, step, generator)
    return _restructure(problem, solution, signal, choice, generator)


def _shift_green(
    problem: Problem, solution: Solution, signals: Sequence[str], n_stage: int, generator: np.random.Generator
) -> dict[str, Choice] | None:
    """Move seconds from one stage to another, at one signal or at all alike; as far as bounds let each go."""
    a, b = (int(x) for x in generator.choice(n_stage, 2, replace=False))
    wish = int(generator.choice([1, 1, 2, 2, 3, 4, 6]))
    changed = dict(solution)
    for signal in signals:
        choice = solution[signal]
        least, most = problem.bounds(signal, choice.order)
        green = list(choice.green_s)
        step = min(wish, green[a] - int(least[a]), int(most[b]) - green[b])
        if step > 0:
            green[a] -= step
            green[b] += step
            changed[signal] = replace(choice, green_s=tuple(green))
    return changed if changed != solution else None


def _change_cycle(
    problem: Problem, solution: Solution, members: Sequence[str], step: int, generator: np.random.Generator
) -> dict[str, Choice] | None:
    """Lengthen or shorten the cycle of signals together; those at half or double of it move in proportion."""
    base = problem.cycle_s(members[0], solution[members[0]])
    changed = dict(solution)
    for signal in members:
        choice = solution[signal]
        cycle = problem.cycle_s(signal, choice)
        if cycle == 2 * base:
            part = 2 * step
        elif 2 * cycle == base:
            if step % 2:
                return None
            part = step // 2
        else:
            part = step
        if not problem.shortest_cycle_s(signal) <= cycle + part <= problem.longest_cycle_s(signal):
            return None
        least, most = problem.bounds(signal, choice.order)
        green = list(choice.green_s)
        for _ in range(abs(part)):
            sign = 1 if part > 0 else -1
            free = [k for k in range(len(green)) if least[k] <= green[k] + sign <= most[k]]
            if not free:
                return None
            odds = np.array([green[k] for k in free], np.float64)
            green[int(generator.choice(free, p=odds / odds.sum()))] += sign
        scaled = round(choice.offset_s * (cycle + part) / cycle) % (cycle + part)
        changed[signal] = replace(choice, green_s=tuple(green), offset_s=scaled)
    return changed


def _restructure(
    problem: Problem, solution: Solution, signal: str, choice: Choice, generator: np.random.Generator
) -> dict[str, Choice] | None:
    """Swap two stages, or leave one out or take one back where the request allows it; the cycle stays."""
    full = range(len(problem.base[signal].stages))
    order = list(choice.order)
    allowed = problem.drops.get(signal, ())
    if allowed and generator.random() < 0.6:
        missing = [k for k in full if k not in order]
        removable = [k for k in order if k in allowed and may_drop(problem.base[signal], [*missing, k])]
        options = [("add", k) for k in missing] + [("drop", k) for k in removable]
        if not options:
            return None
        what, k = options[int(generator.integers(len(options)))]
        if what == "add":
            order.insert(next((n for n, other in enumerate(order) if other > k), len(order)), k)
        else:
            order.remove(k)
    else:
        if len(order) < 3:
            return None
        a, b = (int(x) for x in generator.choice(len(order), 2, replace=False))
        order[a], order[b] = order[b], order[a]
        turn = order.index(min(order))
        order = order[turn:] + order[:turn]
    return None if tuple(order) == choice.order else with_order(problem, solution, signal, tuple(order))


def with_order(
    problem: Problem, solution: Solution, signal: str, order: tuple[int, ...]
) -> dict[str, Choice] | None:
    """A solution with other stages at one signal, its cycle kept; None where they aren't safe or don't fit it."""
    if not problem.accepts(signal, order):
        return None
    choice = solution[signal]
    least, most = problem.bounds(signal, order)
    fixed = problem.fixed_s(signal, order)
    cycle = problem.cycle_s(signal, choice)
    if not fixed + int(least.sum()) <= cycle <= fixed + int(most.sum()):
        return None
    return {**solution, signal: Choice(order, splits(problem, signal, order, cycle), choice.offset_s)}
