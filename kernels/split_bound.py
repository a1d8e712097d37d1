"""A lower bound on the cost of splits within a box of greens, and the real greens that it is taken at.

Demand may come in scenarios, whose mean or mean of the worst (CVaR) counts. The latter is the largest mean under any
weights that give no scenario more than weight / (1 − alpha). So every such mean is a bound; weights that give a good
one are found together with the greens, by the method of multipliers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8
from kernels.lane_cost import (
    BEND,
    KINK,
    LEAST_EFFECTIVE_S,
    N_CURVE,
    TAIL,
    Goal,
    convex_cost,
    lane_cost,
    set_curve,
)

SAME = 1e-9
"""Relative difference of cost within which splits count as equally good."""
MOST_STEPS = 25
"""Newton steps in a box."""
LEAN = 0.05
"""Spread of the scenarios' costs over this is how far the chances lean in one step."""
NEAR_ENOUGH = 0.05
"""Newton's steps end where what they can still gain is this part of what lacks to the cost to beat."""
AT_BOUND_S = 1e-9


class StageSignal(NamedTuple):
    """A signal of n stages and m lanes.

    Fields
    ------
    share : float64[n, m], part of saturation flow that a lane discharges in a stage, 0 … 1
    fixed : float64[m], s of effective green that a lane has in changes, net of start-up loss
    saturation_vps : float64[m], veh/s
    least, most : int64[n], s of green
    """

    share: F8
    fixed: F8
    saturation_vps: F8
    least: I8
    most: I8


class Scenarios(NamedTuple):
    """Demands to plan for: their mean, or the mean of the worst 1 − alpha of them (CVaR).

    Fields
    ------
    flow_vps : float64[K, m], veh/s
    weight : float64[K], above 0, sum 1
    alpha : float, 0 (the mean) … below 1
    """

    flow_vps: F8
    weight: F8
    alpha: float


class Work(NamedTuple):
    """Room to work in for n stages, m lanes and K scenarios; `new_work` makes it.

    Fields
    ------
    curve : float64[K, m, N_CURVE], cost of each lane, see `set_curve`
    bent : int64[K, m], 1 where a curve has straight lines that depend on the box
    kink : float64[K, m], s where the branches of a curve meet; infinite where a box is on one side of it
    slope, curvature : float64[K, m], of a lane's cost at a point
    cost, chance, centre : float64[K], of the scenarios; chances of this step and of the one before
    gradient, by_scenario : float64[n] and float64[K, n], by seconds of green
    hessian, factor : float64[n, n]
    step, across, trial, corner : float64[n]
    order, held, whole : int64[n]
    taken : int64[K]
    """

    curve: F8
    bent: I8
    kink: F8
    slope: F8
    curvature: F8
    cost: F8
    chance: F8
    centre: F8
    gradient: F8
    by_scenario: F8
    hessian: F8
    factor: F8
    step: F8
    across: F8
    trial: F8
    corner: F8
    order: I8
    held: I8
    whole: I8
    taken: I8


@kernel
def new_work(n: int, m: int, n_scenario: int) -> Work:
    """Room for a signal of that size."""
    lanes, square = (n_scenario, m), (n, n)
    return Work(
        np.empty((n_scenario, m, N_CURVE)),
        np.empty(lanes, np.int64), np.empty(lanes), np.empty(lanes), np.empty(lanes),
        np.empty(n_scenario), np.empty(n_scenario), np.empty(n_scenario),
        np.empty(n), np.empty((n_scenario, n)), np.empty(square), np.empty(square),
        np.empty(n), np.empty(n), np.empty(n), np.empty(n),
        np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n_scenario, np.int64),
    )  # fmt: skip


@kernel
def set_lanes(
    signal: StageSignal, scenarios: Scenarios, goal: Goal, low: F8, high: F8, free_s: int, cycle_s: float,
    root: bool, work: Work,
) -> None:  # fmt: skip
    """Set the range of every lane's effective green in a box of greens, and what of its curve depends on it."""
    for lane in range(signal.fixed.shape[0]):
        lowest, highest = signal.fixed[lane], signal.fixed[lane]
        # the same by what a lane misses of all the green, which is closer where it is green most of the time
        most_missed, least_missed = 0.0, 0.0
        for k in range(low.shape[0]):
            share = signal.share[k, lane]
            lowest += share * low[k]
            highest += share * high[k]
            most_missed += (1.0 - share) * high[k]
            least_missed += (1.0 - share) * low[k]
        lowest = max(lowest, signal.fixed[lane] + free_s - most_missed)
        highest = min(highest, signal.fixed[lane] + free_s - least_missed)
        for k in range(scenarios.weight.shape[0]):
            c = work.curve[k, lane]
            if root or work.bent[k, lane] == 1:
                flow_vps = scenarios.flow_vps[k, lane]
                set_curve(c, flow_vps, signal.saturation_vps[lane], lowest, highest, cycle_s, goal)
            if root:
                work.bent[k, lane] = c[BEND] < 0.0 or c[TAIL] > LEAST_EFFECTIVE_S
            if highest <= c[KINK]:
                work.kink[k, lane] = np.inf
            elif max(lowest, LEAST_EFFECTIVE_S) >= c[KINK]:
                work.kink[k, lane] = -np.inf
            else:
                work.kink[k, lane] = c[KINK]


@kernel
def copy(of: F8, to: F8) -> None:
    """Copy an array; numba takes half a second to compile what a slice may stand for."""
    for k in range(of.shape[0]):
        to[k] = of[k]


@kernel
def extremes(cost: F8) -> tuple[float, float]:
    """Least and largest of some costs."""
    low = high = cost[0]
    for k in range(cost.shape[0]):
        low = min(low, cost[k])
        high = max(high, cost[k])
    return low, high


@kernel
def worst_mean(cost: F8, weight: F8, alpha: float, taken: I8) -> float:
    """Mean of the costliest scenarios that make up 1 − alpha of all (CVaR)."""
    taken[:] = 0
    rest = 1.0
    total = 0.0
    for _ in range(cost.shape[0]):
        worst = -1
        for k in range(cost.shape[0]):
            if taken[k] == 0 and (worst < 0 or cost[k] > cost[worst]):
                worst = k
        taken[worst] = 1
        chance = min(rest, weight[worst] / (1.0 - alpha))
        total += chance * cost[worst]
        rest -= chance
    return total


@kernel
def lean(scenarios: Scenarios, spread: float, work: Work) -> float:
    """Set chances that lean from `centre` to the costlier scenarios; return the smoothed CVaR that they give.

    They make Σ chance × cost − spread / 2 × Σ (chance − centre)² / weight largest, none above weight /
    (1 − alpha): one step of the method of multipliers. Without alpha they are the weights.
    """
    cost, chance, weight, most = work.cost, work.chance, scenarios.weight, 1.0 / (1.0 - scenarios.alpha)
    value = 0.0
    if scenarios.alpha <= 0.0:
        for k in range(cost.shape[0]):
            chance[k] = weight[k]
            value += weight[k] * cost[k]
        return value
    low, high = extremes(cost)
    low, high = low - spread * most, high + spread * most
    level = 0.5 * (low + high)
    total = 1.0
    for _ in range(60):
        total, rate = 0.0, 0.0
        for k in range(cost.shape[0]):
            chance[k] = work.centre[k] + weight[k] * (cost[k] - level) / spread
            if chance[k] <= 0.0:
                chance[k] = 0.0
            elif chance[k] >= weight[k] * most:
                chance[k] = weight[k] * most
            else:
                rate += weight[k] / spread
            total += chance[k]
        if abs(total - 1.0) < 1e-14:
            break
        if total > 1.0:
            low = level
        else:
            high = level
        if rate > 0.0:
            level += (total - 1.0) / rate
        if rate <= 0.0 or not low < level < high:
            level = 0.5 * (low + high)
    for k in range(cost.shape[0]):
        chance[k] /= total
        away = chance[k] - work.centre[k]
        value += chance[k] * cost[k] - 0.5 * spread * away * away / weight[k]
    return value


@kernel
def total_cost(green: I8, signal: StageSignal, scenarios: Scenarios, cycle_s: float, work: Work) -> float:
    """Cost of a plan, over all lanes and scenarios."""
    work.cost[:] = 0.0
    for lane in range(signal.fixed.shape[0]):
        effective = signal.fixed[lane]
        for k in range(green.shape[0]):
            effective += signal.share[k, lane] * green[k]
        for k in range(scenarios.weight.shape[0]):
            work.cost[k] += lane_cost(work.curve[k, lane], effective, cycle_s)
    return worst_mean(work.cost, scenarios.weight, scenarios.alpha, work.taken)


@kernel
def evaluate(g: F8, signal: StageSignal, cycle_s: float, work: Work) -> None:
    """Set the convex cost of every scenario at real greens g, and each lane's slope and curvature."""
    work.cost[:] = 0.0
    for lane in range(signal.fixed.shape[0]):
        t = signal.fixed[lane]
        for k in range(g.shape[0]):
            t += signal.share[k, lane] * g[k]
        for k in range(work.cost.shape[0]):
            value, slope, curvature = convex_cost(work.curve[k, lane], t, cycle_s, work.kink[k, lane])
            work.cost[k] += value
            work.slope[k, lane] = slope
            work.curvature[k, lane] = curvature


@kernel
def set_derivatives(signal: StageSignal, scenarios: Scenarios, spread: float, work: Work) -> None:
    """Set gradient and second derivatives (lower half) of the smoothed cost by green of each stage."""
    n, m = signal.share.shape
    most = 1.0 / (1.0 - scenarios.alpha)
    work.gradient[:] = 0.0
    work.hessian[:] = 0.0
    for k in range(scenarios.weight.shape[0]):
        for i in range(n):
            total = 0.0
            for lane in range(m):
                total += signal.share[i, lane] * work.slope[k, lane]
            work.by_scenario[k, i] = total
            work.gradient[i] += work.chance[k] * total
    for lane in range(m):
        total = 0.0
        for k in range(scenarios.weight.shape[0]):
            total += work.chance[k] * work.curvature[k, lane]
        for i in range(n):
            row = total * signal.share[i, lane]
            if row != 0.0:
                for j in range(i + 1):
                    work.hessian[i, j] += row * signal.share[j, lane]
    if scenarios.alpha <= 0.0:
        return
    # scenarios whose chances move with their cost, about their own mean
    weights = 0.0
    work.trial[:] = 0.0
    for k in range(scenarios.weight.shape[0]):
        if 0.0 < work.chance[k] < scenarios.weight[k] * most:
            weights += scenarios.weight[k]
            for i in range(n):
                work.trial[i] += scenarios.weight[k] * work.by_scenario[k, i]
    for k in range(scenarios.weight.shape[0]):
        if 0.0 < work.chance[k] < scenarios.weight[k] * most:
            for i in range(n):
                row = scenarios.weight[k] / spread * (work.by_scenario[k, i] - work.trial[i] / weights)
                for j in range(i + 1):
                    work.hessian[i, j] += row * (work.by_scenario[k, j] - work.trial[j] / weights)


@kernel
def best_corner(g: F8, low: F8, high: F8, work: Work) -> tuple[float, float]:
    """Set the corner of the box that the tangent plane at g makes cheapest; its fall, and the marginal slope."""
    order = work.order
    rest = 0.0
    for k in range(g.shape[0]):
        j = k
        while j > 0 and work.gradient[order[j - 1]] > work.gradient[k]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = k
        rest += g[k] - low[k]
    fall = 0.0
    margin = work.gradient[order[0]]
    for j in range(g.shape[0]):
        k = order[j]
        more = min(rest, high[k] - low[k])
        if more > 0.0:
            margin = work.gradient[k]
        work.corner[k] = low[k] + more
        rest -= more
        fall += work.gradient[k] * (work.corner[k] - g[k])
    return fall, margin


@kernel
def newton_step(g: F8, low: F8, high: F8, margin: float, work: Work) -> bool:
    """Set Newton's step with an unchanged sum, of stages that no bound holds back; False where there is none.

    With the second derivatives H and multiplier ν: H step = −gradient + ν, Σ step = 0 (Cholesky).
    """
    n = g.shape[0]
    factor, order, step, across = work.factor, work.order, work.step, work.across
    tiny = 1e-300
    for k in range(n):
        at_low, at_high = g[k] <= low[k] + AT_BOUND_S, g[k] >= high[k] - AT_BOUND_S
        rising = work.gradient[k] > margin
        falling = work.gradient[k] < margin
        work.held[k] = (at_low and (at_high or rising)) or (at_high and falling)
        tiny = max(tiny, 1e-9 * work.hessian[k, k])
    outward = True
    while outward:
        m = 0
        for k in range(n):
            if work.held[k] == 0:
                order[m] = k
                m += 1
        if m < 2:
            return False
        for a in range(m):
            step[a], across[a] = -work.gradient[order[a]], 1.0
            for b in range(a):
                total = work.hessian[order[a], order[b]]
                for c in range(b):
                    total -= factor[a, c] * factor[b, c]
                factor[a, b] = total / factor[b, b]
            total = work.hessian[order[a], order[a]] + tiny
            for c in range(a):
                total -= factor[a, c] * factor[a, c]
                step[a] -= factor[a, c] * step[c]
                across[a] -= factor[a, c] * across[c]
            if total <= 0.0:
                return False
            factor[a, a] = math.sqrt(total)
            step[a] /= factor[a, a]
            across[a] /= factor[a, a]
        sum_step, sum_across = 0.0, 0.0
        for a in range(m - 1, -1, -1):
            for c in range(a + 1, m):
                step[a] -= factor[c, a] * step[c]
                across[a] -= factor[c, a] * across[c]
            step[a] /= factor[a, a]
            across[a] /= factor[a, a]
            sum_step += step[a]
            sum_across += across[a]
        outward = False
        for a in range(m):
            k = order[a]
            work.trial[k] = step[a] - sum_step / sum_across * across[a]
            at_low, at_high = g[k] <= low[k] + AT_BOUND_S, g[k] >= high[k] - AT_BOUND_S
            if (at_low and work.trial[k] < 0.0) or (at_high and work.trial[k] > 0.0):
                work.held[k] = 1
                outward = True
    for k in range(n):
        step[k] = work.trial[k] if work.held[k] == 0 else 0.0
    return True


@kernel
def room_for_step(g: F8, low: F8, high: F8, step: F8) -> float:
    """Part of a step that stays in the box, at most 1."""
    size = 1.0
    for k in range(g.shape[0]):
        if step[k] > 0.0 and g[k] + size * step[k] > high[k]:
            size = max(0.0, (high[k] - g[k]) / step[k])
        elif step[k] < 0.0 and g[k] + size * step[k] < low[k]:
            size = max(0.0, (low[k] - g[k]) / step[k])
    return size


@kernel
def bound(
    g: F8, low: F8, high: F8, signal: StageSignal, scenarios: Scenarios, cycle_s: float, limit: float, work: Work
) -> float:  # fmt: skip
    """Move g towards the least convex cost in a box; return what no splits in the box can undercut.

    It ends when the bound reaches `limit`, or when it is clear that it can't.
    """
    n = g.shape[0]
    evaluate(g, signal, cycle_s, work)
    spread = 1.0
    if scenarios.alpha > 0.0:
        reached = worst_mean(work.cost, scenarios.weight, scenarios.alpha, work.taken)
        cheapest, costliest = extremes(work.cost)
        spread = 1e-30 + max(SAME * abs(reached), LEAN * (costliest - cheapest))
    merit = lean(scenarios, spread, work)
    best = -np.inf
    for _ in range(MOST_STEPS):
        set_derivatives(signal, scenarios, spread, work)
        fall, margin = best_corner(g, low, high, work)
        value = 0.0
        for k in range(scenarios.weight.shape[0]):
            value += work.chance[k] * work.cost[k]
        best = max(best, value + fall)
        reached = worst_mean(work.cost, scenarios.weight, scenarios.alpha, work.taken)
        close = NEAR_ENOUGH * (limit - reached) if limit < np.inf else 0.0
        if best >= limit or reached - best <= max(0.1 * SAME * abs(reached), close):
            break
        descent = 0.0
        if newton_step(g, low, high, margin, work):
            for k in range(n):
                descent += work.gradient[k] * work.step[k]
        if descent >= 0.0:
            descent = fall
            for k in range(n):
                work.step[k] = work.corner[k] - g[k]
        if descent >= 0.0:
            break
        size = room_for_step(g, low, high, work.step)
        moved = np.inf
        for _ in range(20):
            for k in range(n):
                work.trial[k] = min(max(g[k] + size * work.step[k], low[k]), high[k])
            evaluate(work.trial, signal, cycle_s, work)
            moved = lean(scenarios, spread, work)
            if moved <= merit + 1e-4 * size * descent:
                break
            size *= 0.4
        if moved >= merit:
            break
        copy(work.trial, g)
        copy(work.chance, work.centre)
        merit = lean(scenarios, spread, work)
    return best
