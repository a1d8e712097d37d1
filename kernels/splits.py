"""Splits of one signal: whole seconds of green a stage that make delay, stops or an index of both smallest. Exact.

Any number of stages; a lane discharges share[k, lane] of its saturation flow in stage k, so it may be green in
several stages, next to each other or not, protected or permitted. A lane's cost depends on its effective green alone:
seconds won and lost in changes, and share × green summed over stages. More of it never costs more, and each second
gains less than the one before, but for one place: at v/c = 1 uniform delay begins to fall twice as fast.

How it is proven that no other splits cost less (branch and bound):

1. Take greens as real numbers. Every lane's cost lies above its tangent, where it is convex; so no splits cost less
   than the cheapest corner, within the bounds of the greens, of the plane that all tangents make together. At the
   real greens of least cost, which Newton's method finds in a few steps, this bound is that cost itself; elsewhere
   it is lower, but still right, so nothing hangs on how exact the steps are.
2. Round these greens to whole seconds: a plan. The first one is improved by moving seconds between stages.
3. If the bound isn't below the best plan's cost, this box of greens is done. Otherwise it is halved: a stage gets
   either no more whole seconds than the real green has, or at least one more, and both halves are looked at.

Demand may come in scenarios, whose mean or mean of the worst (CVaR) counts. `kernels.lane_cost` has the cost of a lane,
`kernels.split_bound` the bound.
"""

from __future__ import annotations

import math

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8
from kernels.lane_cost import Goal
from kernels.split_bound import (
    SAME,
    Scenarios,
    StageSignal,
    Work,
    bound,
    copy,
    new_work,
    set_lanes,
    total_cost,
)

TOO_SHORT = 1
"""The minimum greens don't fit the cycle."""
TOO_LONG = 2
"""The maximum greens don't fill the cycle."""
NOT_PROVEN = 3
"""These are the best greens found, but so many boxes were looked at that the proof was given up."""

BOX_LIMIT = 20_000
"""Boxes after which a proof is given up; most take fewer than 30."""


@kernel
def tighten(low: F8, high: F8, free_s: int) -> bool:
    """Take from a box what the sum of greens rules out; False where nothing is left."""
    least, most = low.sum(), high.sum()
    for k in range(low.shape[0]):
        low[k], high[k] = max(low[k], free_s - most + high[k]), min(high[k], free_s - least + low[k])
    return bool(least <= free_s <= most)


@kernel
def move_into(g: F8, low: F8, high: F8, free_s: int) -> None:
    """Move greens into a box, and share out what is then missing or too much."""
    rest = float(free_s)
    up, down = 0.0, 0.0
    for k in range(g.shape[0]):
        g[k] = min(max(g[k], low[k]), high[k])
        rest -= g[k]
        up += high[k] - g[k]
        down += g[k] - low[k]
    for k in range(g.shape[0]):
        if rest > 0.0 and up > 0.0:
            g[k] += rest * (high[k] - g[k]) / up
        elif rest < 0.0 and down > 0.0:
            g[k] += rest * (g[k] - low[k]) / down


@kernel
def round_off(g: F8, low: F8, high: F8, free_s: int, whole: I8) -> None:
    """Whole seconds next to g in the box: down first, then up where most was cut off."""
    rest = free_s
    for k in range(g.shape[0]):
        whole[k] = math.floor(g[k] + 1e-7)
        rest -= whole[k]
    while rest != 0:
        sign = 1 if rest > 0 else -1
        best = -1
        for k in range(g.shape[0]):
            if low[k] <= whole[k] + sign <= high[k] and (
                best < 0 or sign * (g[k] - whole[k]) > sign * (g[best] - whole[best])
            ):
                best = k
        whole[best] += sign
        rest -= sign


@kernel
def swap_seconds(green: I8, signal: StageSignal, scenarios: Scenarios, cycle_s: float, work: Work) -> float:
    """Move single seconds from stage to stage while that helps; return the cost."""
    value = total_cost(green, signal, scenarios, cycle_s, work)
    improved = True
    while improved:
        improved = False
        for a in range(green.shape[0]):
            for b in range(green.shape[0]):
                if a == b or green[a] <= signal.least[a] or green[b] >= signal.most[b]:
                    continue
                green[a] -= 1
                green[b] += 1
                moved = total_cost(green, signal, scenarios, cycle_s, work)
                if moved < value - SAME * abs(value):
                    value = moved
                    improved = True
                else:
                    green[a] += 1
                    green[b] -= 1
    return value


@kernel
def choose_cut(g: F8, low: F8, high: F8) -> tuple[int, float]:
    """Stage to halve a box at: furthest from a whole second, or else with most room; and where the lower half ends."""
    stage, widest, furthest = 0, 0, 1e-6
    for k in range(g.shape[0]):
        off = abs(g[k] - np.floor(g[k] + 0.5))
        if off > furthest:
            stage, furthest = k, off
        if high[k] - low[k] > high[widest] - low[widest]:
            widest = k
    if furthest > 1e-6:
        return stage, np.floor(g[stage])
    return widest, min(np.floor(g[widest] + 0.5), high[widest] - 1.0)


@kernel
def search(
    signal: StageSignal, scenarios: Scenarios, goal: Goal, free_s: int, cycle_s: float, box_limit: int,
    warm: bool, green: I8, work: Work,
) -> tuple[int, float, int]:  # fmt: skip
    """As `best_splits`; if `warm`, `green` holds splits to start from, which fit the bounds and the sum."""
    n = signal.least.shape[0]
    if signal.least.sum() > free_s:
        return TOO_SHORT, np.inf, 0
    if signal.most.sum() < free_s:
        return TOO_LONG, np.inf, 0
    low, high = np.empty(n), np.empty(n)
    for k in range(n):
        low[k], high[k] = signal.least[k], signal.most[k]
    tighten(low, high, free_s)
    depth = 2 + int(high.sum() - low.sum())  # every cut takes a second at least from a box
    boxes = 0
    set_lanes(signal, scenarios, goal, low, high, free_s, cycle_s, boxes == 0, work)
    lows, highs, points = np.empty((depth, n)), np.empty((depth, n)), np.empty((depth, n))
    bounds = np.empty(depth)
    bounds[0] = -np.inf
    copy(low, lows[0])
    copy(high, highs[0])
    copy(scenarios.weight, work.centre)
    for k in range(n):
        points[0, k] = green[k] if warm else 0.5 * (low[k] + high[k])
    value = np.inf
    if warm:
        value = swap_seconds(green, signal, scenarios, cycle_s, work)
    top = 0
    while top >= 0:
        low, high, g = lows[top], highs[top], points[top]
        limit = value - SAME * abs(value) if boxes > 0 or warm else np.inf
        if bounds[top] >= limit or not tighten(low, high, free_s):
            top -= 1
            continue
        if boxes == box_limit:
            return NOT_PROVEN, value, boxes
        boxes += 1
        move_into(g, low, high, free_s)
        set_lanes(signal, scenarios, goal, low, high, free_s, cycle_s, boxes == 0, work)
        least_cost = max(bounds[top], bound(g, low, high, signal, scenarios, cycle_s, limit, work))
        if least_cost < limit:
            round_off(g, low, high, free_s, work.whole)
            found = total_cost(work.whole, signal, scenarios, cycle_s, work)
            if found < value:
                value = found
                for k in range(n):
                    green[k] = work.whole[k]
                if boxes == 1:
                    value = swap_seconds(green, signal, scenarios, cycle_s, work)
        stage, cut = choose_cut(g, low, high)
        if least_cost >= value - SAME * abs(value) or high[stage] <= low[stage]:
            top -= 1
            continue
        # the half that is nearer is looked at first
        bounds[top], bounds[top + 1] = least_cost, least_cost
        copy(low, lows[top + 1])
        copy(high, highs[top + 1])
        copy(g, points[top + 1])
        below = top if g[stage] - cut > 0.5 else top + 1
        highs[below, stage] = cut
        lows[2 * top + 1 - below, stage] = cut + 1.0
        top += 1
    return 0, value, boxes


@kernel
def best_splits(
    signal: StageSignal,
    scenarios: Scenarios,
    goal: Goal,
    free_s: int,
    cycle_s: float,
    box_limit: int,
    green: I8,
) -> tuple[int, float, int]:
    """Fill `green` (int64[n], s) with the splits of least cost in one cycle.

    Parameters
    ----------
    free_s : int, s of green in the cycle, all stages together
    cycle_s : float, s
    box_limit : int, boxes after which the proof is given up

    Returns
    -------
    0, TOO_SHORT, TOO_LONG or NOT_PROVEN; the least cost; and how many boxes were looked at. Where nothing fits,
    `green` stays as it is and the cost is infinite.
    """
    work = new_work(signal.least.shape[0], signal.fixed.shape[0], scenarios.weight.shape[0])
    warm = green.shape[0] == 0  # false, but not a constant, for which numba would compile another version
    return search(signal, scenarios, goal, free_s, cycle_s, box_limit, warm, green, work)


@kernel
def splits_by_cycle(
    signal: StageSignal,
    scenarios: Scenarios,
    goal: Goal,
    changes_s: int,
    shortest_s: int,
    longest_s: int,
    box_limit: int,
    code: I8,
    value: F8,
    green: I8,
) -> int:
    """Fill in the best splits of every whole cycle, each started from those of the cycle before.

    Parameters
    ----------
    changes_s : int, s of a cycle that are no stage's green
    shortest_s, longest_s : int, s, first and last cycle
    box_limit : int, boxes a cycle after which a proof is given up
    code, value, green : int64[n_cycle], float64[n_cycle], int64[n_cycle, n], as `best_splits` returns and fills
        them; zeros where nothing fits

    Returns
    -------
    Boxes looked at in all
    """
    n = signal.least.shape[0]
    work = new_work(n, signal.fixed.shape[0], scenarios.weight.shape[0])
    total = 0
    for at in range(longest_s - shortest_s + 1):
        cycle_s = shortest_s + at
        now = green[at]
        now[:] = 0
        warm = at > 0 and code[at - 1] in (0, NOT_PROVEN) and green[at - 1].sum() < signal.most.sum()
        if warm:
            now[:] = green[at - 1]
            roomiest = 0
            for k in range(n):
                if signal.most[k] - now[k] > signal.most[roomiest] - now[roomiest]:
                    roomiest = k
            now[roomiest] += 1
        code[at], value[at], boxes = search(
            signal, scenarios, goal, cycle_s - changes_s, float(cycle_s), box_limit, warm, now, work
        )
        total += boxes
    return total
