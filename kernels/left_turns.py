"""Splits of a dual ring whose left turns are protected-permitted: the whole seconds that delay is smallest with.

The model is that of `kernels.left_turn_delay`. The result is the optimum, by bounds that are exact mostly:

Left turn 1 depends on g5 only through the beginning of its unblocked green: its arrow, the end of its green and the
cycle are given by g1, B and C. An earlier beginning adds service and takes none away, so delay doesn't grow: below
capacity the queue is shorter at every moment; above it, more vehicles are counted, whose mean wait grows by C/2 per
share of capacity added at most, but X falls by at least that share, and d2 with it by 900 T: no loss for C <= 1800 T.
So the delay with the least g5 is a lower bound of the left turn that knows nothing of the other ring, and exact where
the opposing queue lasts longer than that ring's left turn. In cycles longer than 1800 T the bound is the smallest of
the delays with every g5. Bounds add up ring by ring (a min-plus sum over rings and barriers); what is below the best
plan so far is evaluated, the rest can't be better.
"""

from __future__ import annotations

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8
from kernels.left_turn_delay import (
    DualRing,
    change_s,
    is_idle,
    left_turn_row,
    own_start_s,
    own_through,
    through_tables,
)

TOO_SHORT = 1
"""The minimum greens don't fit the longest cycle."""
TOO_LONG = 2
"""The maximum greens don't fill the shortest cycle, or those of one ring not the minimum greens of the other."""

MONOTONE_PER_HOUR = 1800.0
"""Longest cycle over the analysis period, s/h, up to which an earlier unblocked green never costs delay."""
SLACK = 1e-12
"""Relative rounding of sums of delays: what is so close to the best plan is evaluated too."""


@kernel
def ring_bounds(
    ring: DualRing,
    left: int,
    cycle_s: int,
    longest_s: int,
    through: F8,
    blocked_s: F8,
    delay: F8,
    best: F8,
) -> None:
    """Lower bounds of the delay of a left turn and the through after it, by green and by length of the barrier.

    Parameters
    ----------
    longest_s : int, longest the barrier can be
    through, blocked_s : float64[n], of the through phase by displayed green, see `through_tables`
    delay : float64[n, n], written where green of the left turn and length fit the bounds of both phases
    best : float64[n], written: the least of them by length, infinite where none fits
    """
    best[:] = np.inf
    phase, beside = left + 1, own_through(left) - 1
    if is_idle(ring, left):
        best[:] = 0.0 if ring.flow_vps[left] <= 0.0 and ring.flow_vps[phase] <= 0.0 else np.inf
        return
    changes_s = change_s(ring, left) + change_s(ring, phase)
    least_s = ring.least[phase]
    latest_s = ring.least[beside]
    if cycle_s > MONOTONE_PER_HOUR * ring.period_h:
        latest_s = min(ring.most[beside], longest_s)
    for green in range(ring.least[left], min(ring.most[left], longest_s - changes_s - least_s) + 1):
        most_s = min(ring.most[phase], longest_s - changes_s - green)
        first = green + changes_s + least_s
        row = delay[green, first : first + most_s - least_s + 1]
        blocked = blocked_s[least_s : most_s + 1]
        left_turn_row(
            ring, left, green, own_start_s(ring, left, ring.least[beside]), least_s, blocked, cycle_s, row
        )
        for other in range(ring.least[beside] + 1, latest_s + 1):
            later = np.empty(row.shape[0])
            left_turn_row(ring, left, green, own_start_s(ring, left, other), least_s, blocked, cycle_s, later)
            for j in range(row.shape[0]):
                row[j] = min(row[j], later[j])
        for j in range(row.shape[0]):
            bound = row[j] + through[least_s + j]
            row[j] = bound
            lower = best[first + j]
            best[first + j] = bound if bound < lower else lower


@kernel
def through_green_s(ring: DualRing, left: int, green_s: int, length_s: int) -> int:
    """Displayed green that a left turn leaves to the through phase after it, s; -1 where that doesn't fit."""
    phase = left + 1
    if is_idle(ring, left):
        return 0
    rest_s = length_s - change_s(ring, left) - green_s - change_s(ring, phase)
    return rest_s if ring.least[phase] <= rest_s <= ring.most[phase] else -1


@kernel
def bounds_by_green(
    ring: DualRing, left: int, length_s: int, delay: F8, best: F8, green: I8, bounds: F8
) -> int:
    """List greens of a left turn that fit a barrier of given length, with their bounds; return how many."""
    n = 0
    for seconds in range(ring.least[left], min(ring.most[left], length_s) + 1):
        if through_green_s(ring, left, seconds, length_s) >= 0:
            green[n] = seconds
            bounds[n] = best[length_s] if is_idle(ring, left) else delay[seconds, length_s]
            n += 1
    return n


@kernel
def ring_delay(
    ring: DualRing,
    left: int,
    green_s: int,
    other_green_s: int,
    length_s: int,
    cycle_s: int,
    through: F8,
    blocked_s: F8,
    one: F8,
) -> float:
    """Delay of a left turn and the through after it beside the other ring's left turn, veh-s per s."""
    seconds = through_green_s(ring, left, green_s, length_s)
    blocked = blocked_s[left + 1, seconds : seconds + 1]
    start_s = own_start_s(ring, left, other_green_s)
    left_turn_row(ring, left, green_s, start_s, seconds, blocked, cycle_s, one)
    return float(one[0] + through[left + 1, seconds])


@kernel
def barrier_optimum(
    ring: DualRing,
    left: int,
    length_s: int,
    cycle_s: int,
    limit: float,
    through: F8,
    blocked_s: F8,
    delay: F8,
    best: F8,
    green: I8,
) -> float:
    """Least delay of the four phases on one side of a barrier of given length, veh-s per s, if at most `limit`.

    Parameters
    ----------
    left : int, 0 or 2: the left turn of ring 1; that of ring 2 is left + 4
    limit : float; nothing above is looked for
    through, blocked_s : float64[8, n], see `through_tables`
    delay : float64[4, n, n], best : float64[4, n], of `ring_bounds`, by left // 2
    green : int64[8], the four phases are written where a delay is found

    Returns
    -------
    The delay, or infinity if it is above the limit
    """
    first, second = left, left + 4
    n = through.shape[1]
    greens_a, greens_b, one = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(1)
    bounds_a, bounds_b = np.empty(n), np.empty(n)
    n_a = bounds_by_green(ring, first, length_s, delay[first // 2], best[first // 2], greens_a, bounds_a)
    n_b = bounds_by_green(ring, second, length_s, delay[second // 2], best[second // 2], greens_b, bounds_b)
    found = np.inf
    for _ in range(n_a):
        a = int(np.argmin(bounds_a[:n_a]))
        bound = bounds_a[a]
        bounds_a[a] = np.inf
        if bound + best[second // 2, length_s] > limit:
            break
        for b in range(n_b):
            if bound + bounds_b[b] > limit:
                continue
            g_a, g_b = greens_a[a], greens_b[b]
            value = ring_delay(ring, first, g_a, g_b, length_s, cycle_s, through, blocked_s, one)
            value += ring_delay(ring, second, g_b, g_a, length_s, cycle_s, through, blocked_s, one)
            if value < found and value <= limit:
                found = value
                limit = min(limit, value + SLACK * value)
                green[first], green[first + 1] = g_a, through_green_s(ring, first, g_a, length_s)
                green[second], green[second + 1] = g_b, through_green_s(ring, second, g_b, length_s)
    return found


@kernel
def street_range_s(ring: DualRing, left: int) -> tuple[int, int]:
    """Shortest and longest that one side of a barrier can be, s."""
    shortest, longest, served = 0, 0, False
    for first in (left, left + 4):
        if is_idle(ring, first):
            continue
        changes_s = change_s(ring, first) + change_s(ring, first + 1)
        shortest = max(shortest, changes_s + ring.least[first] + ring.least[first + 1])
        most_s = changes_s + ring.most[first] + ring.most[first + 1]
        longest = min(longest, most_s) if served else most_s
        served = True
    return shortest, longest


@kernel
def cycle_optimum(
    ring: DualRing, cycle_s: int, through: F8, blocked_s: F8, delay: F8, best: F8, green: I8
) -> float:
    """Least delay of one cycle, veh-s per s, and its greens; infinite where no greens fit or carry the flow."""
    through_tables(ring, cycle_s, through, blocked_s)
    for left in range(0, 8, 2):
        longest_s = cycle_s - street_range_s(ring, 2 - left % 4)[0]
        ring_bounds(
            ring,
            left,
            cycle_s,
            longest_s,
            through[left + 1],
            blocked_s[left + 1],
            delay[left // 2],
            best[left // 2],
        )
    bounds = np.empty(cycle_s + 1)
    for length in range(cycle_s + 1):
        rest_s = cycle_s - length
        bounds[length] = (best[0, length] + best[2, length]) + (best[1, rest_s] + best[3, rest_s])
    trial = np.zeros(8, np.int64)
    least = np.inf
    for _ in range(cycle_s + 1):
        length = int(np.argmin(bounds))
        limit = least + SLACK * least
        if bounds[length] > limit or bounds[length] == np.inf or least <= 0.0:
            break
        bounds[length] = np.inf
        rest_s = cycle_s - length
        value, elsewhere = 0.0, best[1, rest_s] + best[3, rest_s]
        for street in range(2):
            value += barrier_optimum(
                ring,
                2 * street,
                length if street == 0 else rest_s,
                cycle_s,
                limit - value - elsewhere,
                through,
                blocked_s,
                delay,
                best,
                trial,
            )
            elsewhere = 0.0
        if value < least:
            least = value
            for phase in range(8):
                green[phase] = trial[phase]
    return least


@kernel
def permitted_splits(ring: DualRing, cycle_low: int, cycle_high: int, values: F8, green: I8) -> int:
    """The best splits of every cycle from `cycle_low` to `cycle_high` s.

    Parameters
    ----------
    values : float64[n_cycle], written: least delay of all movements, veh-s per s (vehicles in the system);
        infinite where no greens fit the cycle, or none carry a flow that has no other way
    green : int64[n_cycle, 8], written: displayed green of phases 1 … 8, s; 0 where the value is infinite

    Returns
    -------
    0, or TOO_SHORT or TOO_LONG if no cycle fits
    """
    values[:] = np.inf
    green[:] = 0
    shortest, longest, fit = 0, 0, True
    for street in range(2):
        low, high = street_range_s(ring, 2 * street)
        shortest += low
        longest += high
        fit = fit and low <= high
    if cycle_high < shortest:
        return TOO_SHORT
    if cycle_low > longest or not fit:
        return TOO_LONG
    n = cycle_high + 1
    through, blocked_s = np.zeros((8, n)), np.zeros((8, n))
    delay, best = np.empty((4, n, n)), np.empty((4, n))
    for cycle in range(max(cycle_low, shortest), min(cycle_high, longest) + 1):
        k = cycle - cycle_low
        values[k] = cycle_optimum(ring, cycle, through, blocked_s, delay, best, green[k])
    return 0
