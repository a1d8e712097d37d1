"""Splits of a dual ring whose left turns are protected-permitted: the whole seconds that delay is smallest with.

      ring 1   1  2 | 3  4 |      indices 0 … 7 of every array are phases 1 … 8
      ring 2   5  6 | 7  8 |

Left turns lead. Left turn 1 has a green arrow in phase 1 and goes through gaps in the opposing through 2 while the
through of its own approach, 6, is green as well; likewise 5 beside 2 against 6, 3 beside 8 against 4, and 7 beside 4
against 8. Both throughs of a street end at the barrier. Times within a barrier of B seconds, left turn 1:

* arrow from 0 to g1; the opposing through from g1 + clearance 1, the own one from g5 + clearance 5, both until the
  longer of their clearances before B: displayed permitted green is what they share;
* effective green begins a start-up loss late and ends an extension late. The permitted green has no start-up loss
  where the own through begins before the arrow ends, and part of it in between (HCM Exhibit 31-12, lead-lead);
* it is blocked while the opposing queue discharges (start-up loss plus Q_r / (s − q), Exhibit 31-11), then serves
  through gaps, and sneakers at its end.

Delay is d1 of the queue accumulation polygon plus d2 with k = 0.5 and I = 1, as in `kernels.plan_delay`; through
phases have `kernels.delay.movement_delay`.

Why it is exact
---------------
Left turn 1 depends on g5 only through the beginning of its unblocked green: its arrow, the end of its green and the
cycle are given by g1, B and C. An earlier beginning adds service and takes none away, so delay doesn't grow: below
capacity the queue is shorter at every moment; above it, more vehicles are counted, whose mean wait grows by C/2 per
share of capacity added at most, but X falls by at least that share, and d2 with it by 900 T: less for C <= 1800 T. So
the delay with the least g5 is a lower bound of the left turn that knows nothing of the other ring, and exact where the
opposing queue lasts longer than that ring's left turn. In cycles longer than 1800 T the bound is the smallest of the
delays with every g5. Bounds add up ring by ring (a min-plus sum over rings and barriers); what is below the best plan
so far is evaluated, the rest can't be better.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8
from kernels.delay import movement_delay
from kernels.plan_delay import left_turn_s
from kernels.queue_polygon import left_turn_area_veh_s, queue_service_s

TOO_SHORT = 1
"""The minimum greens don't fit the longest cycle."""
TOO_LONG = 2
"""The maximum greens don't fill the shortest cycle, or those of one ring not the minimum greens of the other."""

MONOTONE_PER_HOUR = 1800.0
"""Longest cycle over the analysis period, s/h, up to which an earlier unblocked green never costs delay."""
SLACK = 1e-12
"""Relative rounding of sums of delays: what is so close to the best plan is evaluated too."""


class DualRing(NamedTuple):
    """An intersection of 8 phases. A phase with most 0 is absent; its clearance doesn't count.

    Fields
    ------
    flow_vps, saturation_vps : float64[8], veh/s; of a left turn with the arrow
    permitted_vps : float64[8], veh/s, saturation flow through gaps (Eq. 31-100); 0 of throughs
    sneakers_veh : float64[8], vehicles of all lanes at the end of a permitted green; 0 of throughs
    clearance_s : int64[8], yellow and red clearance after each phase
    least, most : int64[8], s of displayed green
    startup_s, extension_s : float, s of green lost at its beginning and won at its end
    period_h : float, analysis period
    """

    flow_vps: F8
    saturation_vps: F8
    permitted_vps: F8
    sneakers_veh: F8
    clearance_s: I8
    least: I8
    most: I8
    startup_s: float
    extension_s: float
    period_h: float


@kernel
def change_s(ring: DualRing, phase: int) -> int:
    """Clearance after a phase, s; 0 of one that is absent."""
    return ring.clearance_s[phase] if ring.most[phase] > 0 else 0


@kernel
def own_through(left: int) -> int:
    """The through phase of a left turn's approach: 6 of 1, 8 of 3, 2 of 5, 4 of 7, as indices."""
    return (left + 5) % 8


@kernel
def effective_s(ring: DualRing, green_s: int, cycle_s: int) -> float:
    """Effective green of a displayed one, s; a phase that isn't shown has none."""
    if green_s <= 0:
        return 0.0
    return min(max(green_s - ring.startup_s + ring.extension_s, 0.0), float(cycle_s))


@kernel
def opposing_queue_s(ring: DualRing, through: int, green_s: int, cycle_s: int) -> float:
    """Time that the queue of a through phase blocks the left turn against it, from its green on, s."""
    effective = effective_s(ring, green_s, cycle_s)
    lasting_s = queue_service_s(
        ring.flow_vps[through], ring.saturation_vps[through], effective / cycle_s, effective, float(cycle_s)
    )
    return ring.startup_s + lasting_s if lasting_s > 0.0 else 0.0


@kernel
def through_delay(ring: DualRing, through: int, green_s: int, cycle_s: int) -> float:
    """Delay of a through phase, veh-s per s."""
    if ring.flow_vps[through] <= 0.0:
        return 0.0
    return ring.flow_vps[through] * movement_delay(
        effective_s(ring, green_s, cycle_s),
        float(cycle_s),
        ring.flow_vps[through],
        ring.saturation_vps[through],
        ring.period_h,
    )


@kernel
def permitted_startup_s(ring: DualRing, green_s: int, own_start_s: float) -> float:
    """Start-up loss of the permitted green: none of it where traffic didn't stop after the arrow, s."""
    if green_s <= 0:
        return ring.startup_s
    stopped_s = own_start_s - green_s - ring.extension_s
    return min(ring.startup_s, max(0.0, stopped_s + ring.startup_s))


@kernel
def left_turn_row(
    ring: DualRing,
    left: int,
    green_s: int,
    own_start_s: float,
    through_green_s: int,
    blocked_s: F8,
    cycle_s: int,
    delay: F8,
) -> None:
    """Delay of one left turn whose through phase, the one against it, has one second more each, veh-s per s.

    Parameters
    ----------
    green_s : int, displayed green of the left turn
    own_start_s : float, s after the barrier at which the through of its approach begins; infinite without one
    through_green_s : int, displayed green of the phase against it in the first entry
    blocked_s : float64[n], from its green on, s that the queue of the phase against it blocks the left turn
    delay : float64[n], written
    """
    flow_vps = ring.flow_vps[left]
    if flow_vps <= 0.0:
        delay[:] = 0.0
        return
    protected_vps, permitted_vps = ring.saturation_vps[left], ring.permitted_vps[left]
    sneakers_veh, extension_s, period_h = ring.sneakers_veh[left], ring.extension_s, ring.period_h
    cycle = float(cycle_s)
    spread = 8.0 * 0.5 * 3600.0 * flow_vps / period_h
    protected_s = effective_s(ring, green_s, cycle_s)
    arrow_end_s = green_s + extension_s if green_s > 0 else 0.0
    against_s = float(green_s + change_s(ring, left))
    start_s = max(own_start_s, against_s)
    earliest_s = max(start_s + permitted_startup_s(ring, green_s, own_start_s), arrow_end_s)
    both_s = max(change_s(ring, left + 1), change_s(ring, own_through(left)))
    first_end_s = against_s + through_green_s + change_s(ring, left + 1) - both_s
    for j in range(delay.shape[0]):
        end_s = first_end_s + j
        clear_s = against_s + blocked_s[j]
        shown, cleared = end_s > start_s, end_s > clear_s
        begin_s = clear_s if clear_s > earliest_s else earliest_s
        unblocked_s = end_s + extension_s - begin_s
        unblocked_s = unblocked_s if unblocked_s > 0.0 else 0.0
        unblocked_s = unblocked_s if cleared else 0.0
        unblocked_s = unblocked_s if shown else 0.0
        slip_veh = sneakers_veh if shown else 0.0
        waiting_s = end_s + extension_s - unblocked_s - arrow_end_s if shown else 0.0
        red_s = cycle - protected_s - waiting_s - unblocked_s
        served_veh = protected_vps * protected_s + permitted_vps * unblocked_s + slip_veh
        arrival_vps = served_veh / cycle
        area = left_turn_area_veh_s(
            flow_vps if flow_vps < arrival_vps else arrival_vps,
            protected_s,
            waiting_s,
            unblocked_s,
            red_s if red_s > 0.0 else 0.0,
            protected_vps,
            permitted_vps,
            slip_veh,
        )
        delay[j] = flow_vps * left_turn_s(area, served_veh, flow_vps, cycle, period_h, spread)


@kernel
def through_tables(ring: DualRing, cycle_s: int, through: F8, blocked_s: F8) -> None:
    """Fill both float64[8, n] by displayed green: delay of the throughs, and how long they block left turns."""
    for phase in (1, 3, 5, 7):
        for green in range(ring.least[phase], min(ring.most[phase], cycle_s) + 1):
            through[phase, green] = through_delay(ring, phase, green, cycle_s)
            blocked_s[phase, green] = opposing_queue_s(ring, phase, green, cycle_s)


@kernel
def own_start_s(ring: DualRing, left: int, other_green_s: int) -> float:
    """When the through of a left turn's approach begins, after `other_green_s` of the left turn before it."""
    own = own_through(left)
    if ring.most[own] <= 0:
        return np.inf
    return float(other_green_s + change_s(ring, own - 1))


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
    if ring.most[left] <= 0 and ring.most[phase] <= 0:
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
    if ring.most[left] <= 0 and ring.most[phase] <= 0:
        return 0
    rest_s = length_s - change_s(ring, left) - green_s - change_s(ring, phase)
    return rest_s if ring.least[phase] <= rest_s <= ring.most[phase] else -1


@kernel
def bounds_by_green(
    ring: DualRing, left: int, length_s: int, delay: F8, best: F8, green: I8, bounds: F8
) -> int:
    """List greens of a left turn that fit a barrier of given length, with their bounds; return how many."""
    n = 0
    idle = ring.most[left] <= 0 and ring.most[left + 1] <= 0
    for seconds in range(ring.least[left], min(ring.most[left], length_s) + 1):
        if through_green_s(ring, left, seconds, length_s) >= 0:
            green[n] = seconds
            bounds[n] = best[length_s] if idle else delay[seconds, length_s]
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
    return one[0] + through[left + 1, seconds]


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
        a = np.argmin(bounds_a[:n_a])
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
        if ring.most[first] <= 0 and ring.most[first + 1] <= 0:
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
    for left in (0, 2, 4, 6):
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
    low, high = street_range_s(ring, 0)
    bounds = np.full(cycle_s + 1, np.inf)
    for length in range(low, min(high, cycle_s) + 1):
        bounds[length] = (best[0, length] + best[2, length]) + (
            best[1, cycle_s - length] + best[3, cycle_s - length]
        )
    trial = np.zeros(8, np.int64)
    least = np.inf
    for _ in range(cycle_s + 1):
        length = np.argmin(bounds)
        limit = least + SLACK * least
        if bounds[length] > limit or bounds[length] == np.inf:
            break
        bounds[length] = np.inf
        rest_s = cycle_s - length
        elsewhere = best[1, rest_s] + best[3, rest_s]
        here = barrier_optimum(
            ring, 0, length, cycle_s, limit - elsewhere, through, blocked_s, delay, best, trial
        )
        if here == np.inf:
            continue
        value = here + barrier_optimum(
            ring, 2, rest_s, cycle_s, limit - here, through, blocked_s, delay, best, trial
        )
        if value < least:
            least = value
            green[:] = trial
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
    shortest_a, longest_a = street_range_s(ring, 0)
    shortest_b, longest_b = street_range_s(ring, 2)
    values[:] = np.inf
    green[:] = 0
    if cycle_high < shortest_a + shortest_b:
        return TOO_SHORT
    if longest_a < shortest_a or longest_b < shortest_b or cycle_low > longest_a + longest_b:
        return TOO_LONG
    n = cycle_high + 1
    through, blocked_s = np.zeros((8, n)), np.zeros((8, n))
    delay, best = np.empty((4, n, n)), np.empty((4, n))
    for cycle in range(max(cycle_low, shortest_a + shortest_b), min(cycle_high, longest_a + longest_b) + 1):
        k = cycle - cycle_low
        values[k] = cycle_optimum(ring, cycle, through, blocked_s, delay, best, green[k])
    return 0
