"""What plans of one signal cost through a day: splits for parts of it, at several cycles, judged slot by slot.

A day is S slots with a demand each. `segment_costs` makes splits for the mean demand of many parts of the day, and
sums what they cost in each slot's own demand: the table that a time-of-day schedule is chosen from. `best_day_splits`
finds the splits of least cost over any set of slots, exactly: a lane in another slot is another lane to
`kernels.splits.search`, with a share, a saturation flow and a demand of its own. `best_sequence` says when to show
which of a few plans.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8
from kernels.lane_cost import N_CURVE, Goal, lane_cost, set_curve
from kernels.split_bound import SAME, Scenarios, StageSignal, new_work
from kernels.splits import search


class DaySignal(NamedTuple):
    """A signal of n stages and m lanes through S slots.

    Fields
    ------
    share : float64[S, n, m], part of saturation flow that a lane discharges in a stage, 0 … 1
    fixed : float64[S, m], s of effective green that a lane has in changes, net of start-up loss
    saturation_vps, flow_vps : float64[S, m], veh/s
    least, most : int64[n], s of green
    """

    share: F8
    fixed: F8
    saturation_vps: F8
    flow_vps: F8
    least: I8
    most: I8


@kernel
def set_day_curves(day: DaySignal, cycle_s: float, goal: Goal, curve: F8) -> None:
    """Set the cost of every lane in every slot at a cycle, float64[S, m, N_CURVE]."""
    for slot in range(curve.shape[0]):
        for lane in range(curve.shape[1]):
            set_curve(
                curve[slot, lane], day.flow_vps[slot, lane], day.saturation_vps[slot, lane], cycle_s, cycle_s,
                cycle_s, goal,
            )  # fmt: skip


@kernel
def slot_cost(day: DaySignal, curve: F8, slot: int, green: I8, cycle_s: float) -> float:
    """Cost of a plan in one slot [veh, stops weighed]."""
    total = 0.0
    for lane in range(curve.shape[1]):
        if day.flow_vps[slot, lane] > 0.0:
            effective = day.fixed[slot, lane]
            for k in range(green.shape[0]):
                effective += day.share[slot, k, lane] * green[k]
            total += lane_cost(curve[slot, lane], effective, cycle_s)
    return total


@kernel
def slot_costs(day: DaySignal, goal: Goal, green: I8, cycle_s: float, out: F8) -> None:
    """Fill `out` (float64[S]) with what a plan costs in each slot of the day [veh, stops weighed]."""
    curve = np.empty((day.fixed.shape[0], day.fixed.shape[1], N_CURVE))
    set_day_curves(day, cycle_s, goal, curve)
    for slot in range(out.shape[0]):
        out[slot] = slot_cost(day, curve, slot, green, cycle_s)


@kernel
def set_mean(day: DaySignal, first: int, last: int, signal: StageSignal, flow_vps: F8) -> None:
    """Set the mean of slots first … last − 1; what isn't flow is weighed by vehicles, where there are any."""
    for lane in range(flow_vps.shape[1]):
        vehicles = 0.0
        for slot in range(first, last):
            vehicles += day.flow_vps[slot, lane]
        flow_vps[0, lane] = vehicles / (last - first)
        signal.fixed[lane], signal.saturation_vps[lane] = 0.0, 0.0
        signal.share[:, lane] = 0.0
        for slot in range(first, last):
            weight = day.flow_vps[slot, lane] / vehicles if vehicles > 0.0 else 1.0 / (last - first)
            signal.fixed[lane] += weight * day.fixed[slot, lane]
            signal.saturation_vps[lane] += weight * day.saturation_vps[slot, lane]
            for k in range(signal.least.shape[0]):
                signal.share[k, lane] += weight * day.share[slot, k, lane]


@kernel
def segment_costs(
    day: DaySignal,
    goal: Goal,
    changes_s: int,
    cycles_s: I8,
    first: I8,
    last: I8,
    box_limit: int,
    cost: F8,
) -> None:
    """Fill in what splits for the mean demand of each part of the day cost, summed over its slots.

    Parameters
    ----------
    changes_s : int, s of a cycle that are no stage's green
    cycles_s : int64[n_cycle], s; the bounds of greens fit each
    first, last : int64[n_segment], slots first … last − 1; parts with the same first one stand together
    box_limit : int, boxes a solution after which a proof is given up
    cost : float64[n_segment, n_cycle], filled [veh, stops weighed, summed over slots]
    """
    n_slot, m = day.fixed.shape
    n = day.least.shape[0]
    signal = StageSignal(np.empty((n, m)), np.empty(m), np.empty(m), day.least, day.most)
    scenarios = Scenarios(np.empty((1, m)), np.ones(1), 0.0)
    work = new_work(n, signal.fixed.shape[0], scenarios.weight.shape[0])
    curve = np.empty((cycles_s.shape[0], n_slot, m, N_CURVE))
    green = np.zeros((cycles_s.shape[0], n), np.int64)
    for at in range(cycles_s.shape[0]):
        set_day_curves(day, float(cycles_s[at]), goal, curve[at])
    for segment in range(first.shape[0]):
        set_mean(day, first[segment], last[segment], signal, scenarios.flow_vps)
        for at in range(cycles_s.shape[0]):
            cycle_s = float(cycles_s[at])
            search(
                signal, scenarios, goal, cycles_s[at] - changes_s, cycle_s, box_limit, segment > 0, green[at], work
            )  # fmt: skip
            total = 0.0
            for slot in range(first[segment], last[segment]):
                total += slot_cost(day, curve[at], slot, green[at], cycle_s)
            cost[segment, at] = total


@kernel
def best_day_splits(
    day: DaySignal, goal: Goal, changes_s: int, cycle_s: int, slots: I8, box_limit: int, green: I8
) -> tuple[int, float]:
    """Fill `green` (int64[n], s) with the splits of least cost over the slots, int64[n_slots], all of them together.

    Returns
    -------
    0, TOO_SHORT, TOO_LONG or NOT_PROVEN of `kernels.splits`; and the cost [veh, stops weighed, summed over slots].
    """
    n, m = day.least.shape[0], 0
    for slot in slots:
        for lane in range(day.fixed.shape[1]):
            m += day.flow_vps[slot, lane] > 0.0
    signal = StageSignal(np.empty((n, m)), np.empty(m), np.empty(m), day.least, day.most)
    scenarios = Scenarios(np.empty((1, m)), np.ones(1), 0.0)
    at = 0
    for slot in slots:
        for lane in range(day.fixed.shape[1]):
            if day.flow_vps[slot, lane] > 0.0:
                signal.fixed[at] = day.fixed[slot, lane]
                signal.saturation_vps[at] = day.saturation_vps[slot, lane]
                scenarios.flow_vps[0, at] = day.flow_vps[slot, lane]
                for k in range(n):
                    signal.share[k, at] = day.share[slot, k, lane]
                at += 1
    warm = n == 0  # false, but not a constant, for which numba would compile another version
    code, value, _ = search(
        signal,
        scenarios,
        goal,
        cycle_s - changes_s,
        float(cycle_s),
        box_limit,
        warm,
        green,
        new_work(n, signal.fixed.shape[0], scenarios.weight.shape[0]),
    )
    return code, value


@kernel
def best_sequence(cost: F8, price: F8, shortest: int, most_periods: int, plan: I8) -> float:
    """Fill `plan` (int64[T]) with the plan to show in each cell of the day, for the least cost and price.

    Parameters
    ----------
    cost : float64[P, T], of each plan in each cell
    price : float64[T], of a change of plans at the start of a cell
    shortest : int, cells that a plan is shown for at least, up to T
    most_periods : int, how often a plan may be begun, at least 1

    Returns
    -------
    The least cost; among equals the sequence with the fewest changes
    """
    n_plan, n_cell = cost.shape
    total = np.zeros((n_plan, n_cell + 1))
    for p in range(n_plan):
        for t in range(n_cell):
            total[p, t + 1] = total[p, t] + cost[p, t]
    best = np.full((most_periods, n_cell + 1, n_plan), np.inf)
    begun = np.zeros((most_periods, n_cell + 1, n_plan), np.int64)
    before = np.zeros((most_periods, n_cell + 1, n_plan), np.int64)
    for j in range(most_periods):
        for p in range(n_plan):
            if j == 0:
                for t in range(shortest, n_cell + 1):
                    best[0, t, p] = total[p, t]
                continue
            cheapest, since, came = np.inf, 0, 0
            for t in range(shortest, n_cell + 1):
                s = t - shortest  # the latest start of a period that ends here
                for other in range(n_plan):
                    reached = best[j - 1, s, other]
                    if other != p and reached < np.inf:
                        value = reached + price[s] - total[p, s]
                        if value < cheapest:
                            cheapest, since, came = value, s, other
                best[j, t, p] = cheapest + total[p, t]
                begun[j, t, p], before[j, t, p] = since, came
    least: float = np.inf
    periods, p = 0, 0
    for j in range(most_periods):
        for q in range(n_plan):
            found = best[j, n_cell, q]
            if found < np.inf and (least == np.inf or found < least - SAME * abs(least)):
                least, periods, p = found, j, q
    t = n_cell
    for j in range(periods, -1, -1):
        s = begun[j, t, p]
        plan[s:t] = p
        t, p = s, before[j, t, p]
    return least
