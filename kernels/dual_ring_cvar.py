"""Cycle and splits of one dual-ring intersection that make the mean of the worst demand scenarios least, proven.

The conditional value at risk of costs F_k with probabilities p_k, at a tail of so much probability, is

      max over w of Σ w_k F_k,   0 ≤ w_k ≤ p_k / tail,   Σ w_k = 1.

Under fixed weights w the scenarios add up to one table a phase, which `kernels.dual_ring` divides exactly, and what
it finds is a lower bound for every plan. Weights that raise the bound are found by steps along its subgradient, the
costs by scenario of the plan that has it; the plans on the way give the incumbent. A gap may remain, since greens
are whole seconds. Every plan whose weighted cost is below the incumbent is then looked at, pair by pair: there are
few, and none of the others can be better.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8
from kernels.dual_ring import (
    N_PAIR,
    N_PHASE,
    Phases,
    Scratch,
    add_costs,
    add_least,
    best_of_tables,
    new_scratch,
    place_barrier,
    set_up,
    take_best,
)
from kernels.lane_cost import Goal

MOST_STEPS = 15
"""Steps along the subgradient at a cycle; most of the way is done in a few, as weights carry over between cycles."""
CLOSE = 1e-3
"""A bound within this share of the incumbent is high enough: few plans are left to look at."""
MOST_LEAVES = 300_000
"""Plans that are looked at for one cycle before its proof is given up."""
ROUNDING = 1e-12
"""Plans that are better by less than this share are equal."""


class Tail(NamedTuple):
    """Room for scenarios beside `Scratch`.

    Fields
    ------
    table : float64[n_scenario, 8, width], cost of a phase in a scenario by seconds above its least green
    weight, best_weight : float64[n_scenario], weights of scenarios now, and those of the highest bound
    ceiling : float64[n_scenario], most weight that a scenario may have
    total : float64[n_scenario], cost of a plan in each scenario
    partial : float64[4, n_scenario], cost by scenario of the pairs up to one
    seconds, best : int64[8], seconds above least greens, of a plan and of the incumbent
    spare : int64[4], seconds that a pair has above its shortest length
    option : int64[4, width], seconds of a pair's first phase that may be part of a better plan, cheapest first
    excess : float64[4, width], what they cost above the pair's least
    n_option, at : int64[4], how many a pair has, and the one in hand
    """

    table: F8
    weight: F8
    best_weight: F8
    ceiling: F8
    total: F8
    partial: F8
    seconds: I8
    best: I8
    spare: I8
    option: I8
    excess: F8
    n_option: I8
    at: I8


@kernel
def new_tail(n_scenario: int, high: int) -> Tail:
    """Room for cycles up to `high` seconds."""
    width = high + 2
    return Tail(
        np.zeros((n_scenario, N_PHASE, width)),
        np.zeros(n_scenario),
        np.zeros(n_scenario),
        np.zeros(n_scenario),
        np.zeros(n_scenario),
        np.zeros((N_PAIR, n_scenario)),
        np.zeros(N_PHASE, np.int64),
        np.zeros(N_PHASE, np.int64),
        np.zeros(N_PAIR, np.int64),
        np.zeros((N_PAIR, width), np.int64),
        np.zeros((N_PAIR, width)),
        np.zeros(N_PAIR, np.int64),
        np.zeros(N_PAIR, np.int64),
    )


@kernel
def worst_share(total: F8, ceiling: F8, weight: F8) -> float:
    """Conditional value at risk of costs, and in `weight` the weights that have it: the dearest first, to the full."""
    left = 1.0
    value = 0.0
    for k in range(weight.shape[0]):
        weight[k] = -1.0
    while left > 0.0:
        worst = -1
        for k in range(total.shape[0]):
            if weight[k] < 0.0 and (worst < 0 or total[k] > total[worst]):
                worst = k
        if worst < 0:
            break
        weight[worst] = min(left, ceiling[worst])
        left -= weight[worst]
        value += weight[worst] * total[worst]
    for k in range(total.shape[0]):
        weight[k] = max(weight[k], 0.0)
    return value


@kernel
def copy_weights(weight: F8, to: F8) -> None:
    """Copy weights of scenarios."""
    for k in range(weight.shape[0]):
        to[k] = weight[k]


@kernel
def keep_plan(tail: Tail) -> None:
    """Make the plan in hand the incumbent."""
    for phase in range(N_PHASE):
        tail.best[phase] = tail.seconds[phase]


@kernel
def project(weight: F8, ceiling: F8) -> None:
    """Bring weights to the nearest that sum to 1 within 0 … ceiling, by halving the interval of their shift."""
    low = np.inf
    high = -np.inf
    for k in range(weight.shape[0]):
        low = min(low, weight[k] - ceiling[k])
        high = max(high, weight[k])
    for _ in range(60):
        shift = 0.5 * (low + high)
        total = 0.0
        for k in range(weight.shape[0]):
            total += min(max(weight[k] - shift, 0.0), ceiling[k])
        if total > 1.0:
            low = shift
        else:
            high = shift
    total = 0.0
    for k in range(weight.shape[0]):
        weight[k] = min(max(weight[k] - high, 0.0), ceiling[k])
        total += weight[k]
    # what rounding has left over goes where there is room
    for k in range(weight.shape[0]):
        more = min(1.0 - total, ceiling[k] - weight[k])
        weight[k] += more
        total += more


@kernel
def weigh_tables(tables: F8, weight: F8, entries: I8, table: F8) -> None:
    """Fill `table` with the weighted sum of the scenarios' tables."""
    for phase in range(N_PHASE):
        n = entries[phase]
        for i in range(n):
            table[phase, i] = 0.0
        for k in range(weight.shape[0]):
            w = weight[k]
            if w > 0.0:
                for i in range(n):
                    table[phase, i] += w * tables[k, phase, i]


@kernel
def plan_costs(tables: F8, seconds: I8, total: F8) -> None:
    """Fill `total` with the cost of a plan in each scenario."""
    for k in range(total.shape[0]):
        total[k] = 0.0
        for phase in range(N_PHASE):
            total[k] += tables[k, phase, seconds[phase]]


@kernel
def raise_bound(work: Scratch, tail: Tail, cycle: int, first: int, last: int) -> tuple[float, float]:
    """Bound and cost of an incumbent; `tail` keeps the weights that have the one and the plan that has the other.

    Starts from `tail.best_weight`: those of the cycle before.
    """
    n_scenario = tail.total.shape[0]
    best_bound = -np.inf
    incumbent = np.inf
    shrink = 1.0
    copy_weights(tail.best_weight, tail.weight)
    for step in range(MOST_STEPS):
        weigh_tables(tail.table, tail.weight, work.entries, work.table)
        bound = best_of_tables(work, cycle, first, last, tail.seconds)
        plan_costs(tail.table, tail.seconds, tail.total)
        if bound > best_bound:
            best_bound = bound
            copy_weights(tail.weight, tail.best_weight)
        else:
            shrink *= 0.7
            copy_weights(tail.best_weight, tail.weight)
        value = worst_share(tail.total, tail.ceiling, tail.partial[0])
        if value < incumbent:
            incumbent = value
            keep_plan(tail)
        gap = incumbent - best_bound
        mean = 0.0
        for k in range(n_scenario):
            mean += tail.total[k] / n_scenario
        spread = 0.0
        for k in range(n_scenario):
            spread += (tail.total[k] - mean) ** 2
        if gap <= CLOSE * abs(incumbent) or spread <= 0.0 or step == MOST_STEPS - 1:
            break
        for k in range(n_scenario):
            tail.weight[k] += shrink * gap / spread * (tail.total[k] - mean)
        project(tail.weight, tail.ceiling)
    return best_bound, incumbent


@kernel
def list_options(work: Scratch, tail: Tail, pair: int, slack: float) -> None:
    """Divisions of a pair's time that cost less than `slack` above the best one, cheapest first."""
    a, b = 2 * pair, 2 * pair + 1
    spare = tail.spare[pair]
    least = work.merged[pair, spare]
    n = 0
    for i in range(max(0, spare - work.entries[b] + 1), min(work.entries[a] - 1, spare) + 1):
        more = work.table[a, i] + work.table[b, spare - i] - least
        if more < slack:
            at = n
            while at > 0 and tail.excess[pair, at - 1] > more:
                tail.excess[pair, at] = tail.excess[pair, at - 1]
                tail.option[pair, at] = tail.option[pair, at - 1]
                at -= 1
            tail.excess[pair, at] = more
            tail.option[pair, at] = i
            n += 1
    tail.n_option[pair] = n


@kernel
def take_option(tail: Tail, pair: int) -> None:
    """Add the division in hand of a pair to the plan, and to the cost by scenario of the pairs before it."""
    a, b = 2 * pair, 2 * pair + 1
    tail.seconds[a] = tail.option[pair, tail.at[pair]]
    tail.seconds[b] = tail.spare[pair] - tail.seconds[a]
    for k in range(tail.total.shape[0]):
        own = tail.table[k, a, tail.seconds[a]] + tail.table[k, b, tail.seconds[b]]
        tail.partial[pair, k] = own + (tail.partial[pair - 1, k] if pair > 0 else 0.0)


@kernel
def look_at_all(
    work: Scratch, tail: Tail, cycle: int, first: int, last: int, incumbent: float
) -> tuple[float, bool]:
    """Value of the best plan, left in `tail.best`, and whether that is proven.

    Every plan is looked at that costs less than the incumbent under the weights that `work` was divided with.
    """
    leaves = 0
    for barrier in range(first, last + 1):
        below = 0.0
        for pair in range(N_PAIR):
            tail.spare[pair] = (barrier if pair % 2 == 0 else cycle - barrier) - work.shortest[pair]
            below += work.merged[pair, tail.spare[pair]]
        if below >= incumbent - ROUNDING * abs(incumbent):
            continue
        for pair in range(N_PAIR):
            list_options(work, tail, pair, incumbent - below)
        tail.at[0] = 0
        pair = 0
        while True:
            bound = below
            for p in range(pair + 1):
                bound += tail.excess[p, tail.at[p]] if tail.at[p] < tail.n_option[p] else np.inf
            if bound >= incumbent - ROUNDING * abs(incumbent):
                if pair == 0:
                    break
                pair -= 1  # what follows is dearer
                tail.at[pair] += 1
                continue
            take_option(tail, pair)
            if pair < N_PAIR - 1:
                pair += 1
                tail.at[pair] = 0
                continue
            leaves += 1
            if leaves > MOST_LEAVES:
                return incumbent, False
            value = worst_share(tail.partial[pair], tail.ceiling, tail.total)
            if value < incumbent:
                incumbent = value
                keep_plan(tail)
            tail.at[pair] += 1
    return incumbent, True


@kernel
def cycle_curve(
    flow_vph: F8, probability: F8, phases: Phases, at: int, tail_share: float, goal: Goal, low: int, high: int,
    work: Scratch, tail: Tail, cost: F8, bound: F8, green: I8,
) -> None:  # fmt: skip
    """Least conditional value at risk at every cycle low … high, with the greens that have it.

    Parameters
    ----------
    flow_vph : float64[n_scenario, 8], veh/h
    probability : float64[n_scenario], sums to 1
    at : int, row of the intersection in `phases`
    tail_share : float, probability of the worst share, above 0; 1 gives the mean
    cost : float64[high − low + 1], filled; infinite where a cycle fits no greens
    bound : float64[high − low + 1], filled: no plan of the cycle costs less; equal to the cost where that is proven
    green : int64[high − low + 1, 8], filled, s of green shown; 0 where nothing fits
    """
    set_up(phases, at, high, work)
    for k in range(probability.shape[0]):
        tail.ceiling[k] = min(probability[k] / tail_share, 1.0)
        tail.best_weight[k] = probability[k]
    for cycle in range(low, high + 1):
        row = cycle - low
        first, last = place_barrier(cycle, work.shortest, work.longest, work.span, work.entries)
        if first > last:
            cost[row] = np.inf
            bound[row] = np.inf
            for phase in range(N_PHASE):
                green[row, phase] = 0
            continue
        for k in range(flow_vph.shape[0]):
            for phase in range(N_PHASE):
                n = work.entries[phase]
                for i in range(n):
                    tail.table[k, phase, i] = 0.0
                if flow_vph[k, phase] > 0.0:
                    add_costs(
                        tail.table[k], work.reciprocal, phase, n, work.start_s[phase], float(cycle),
                        flow_vph[k, phase], phases.saturation_vph[at, phase], phases.filtering[at, phase],
                        goal.delay_weight, goal.stop_weight, goal.period_h,
                    )  # fmt: skip
        below, incumbent = raise_bound(work, tail, cycle, first, last)
        proven = True
        if below < incumbent - ROUNDING * abs(incumbent):
            weigh_tables(tail.table, tail.best_weight, work.entries, work.table)
            best_of_tables(work, cycle, first, last, tail.seconds)
            incumbent, proven = look_at_all(work, tail, cycle, first, last, incumbent)
        cost[row] = incumbent
        bound[row] = incumbent if proven else below
        for phase in range(N_PHASE):
            green[row, phase] = tail.best[phase]
        add_least(phases, at, green, row)


@kernel
def best_cycles(
    flow_vph: F8, probability: F8, phases: Phases, tail_share: float, goal: Goal, low: int, high: int,
    from_row: int, to_row: int, curve: F8, bound: F8, cycle: I8, green: I8,
) -> None:  # fmt: skip
    """As `kernels.dual_ring.best_cycles`, for the mean of the worst `tail_share` of the scenarios; bounds as curves."""
    work = new_scratch(high)
    tail = new_tail(flow_vph.shape[1], high)
    greens = np.zeros((high - low + 1, N_PHASE), np.int64)
    for at in range(from_row, to_row):
        cycle_curve(
            flow_vph[at], probability[at], phases, at, tail_share, goal, low, high,
            work, tail, curve[at], bound[at], greens,
        )  # fmt: skip
        cycle[at] = take_best(curve, at, low, greens, green)
