"""Delay of a dual ring whose left turns are protected-permitted: what greens of both rings do to each other.

      ring 1   1  2 | 3  4 |      indices 0 … 7 of every array are phases 1 … 8
      ring 2   5  6 | 7  8 |

Left turns lead. Left turn 1 has a green arrow in phase 1 and goes through gaps in the opposing through 2 while the
through of its own approach, 6, is green as well; likewise 5 beside 2 against 6, 3 beside 8 against 4, and 7 beside 4
against 8. Both throughs of a street end at the barrier. Times within a barrier of B seconds, left turn 1:

* arrow from 0 to g1; the opposing through from g1 + clearance 1, the own one from g5 + clearance 5, both until the
  longer of their clearances before B: displayed permitted green is what they share;
* effective green begins a start-up loss late and ends an extension late. The permitted green has no start-up loss
  where the own through begins before the arrow ends, and part of it shortly after (HCM Exhibit 31-12, lead-lead);
* it is blocked while the opposing queue discharges (start-up loss plus Q_r / (s − q), Exhibit 31-11), then serves
  through gaps, and sneakers at its end.

Delay is d1 of the queue accumulation polygon, the time between arrow and gaps where it is, plus d2 with k = 0.5 and
I = 1, as in `kernels.plan_delay`; through phases have `kernels.delay.movement_delay`. Equation and exhibit numbers are
those of the Highway Capacity Manual, 7th edition.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8
from kernels.delay import movement_delay
from kernels.plan_delay import left_turn_s
from kernels.queue_polygon import left_turn_area_veh_s, queue_service_s


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
def is_idle(ring: DualRing, left: int) -> bool:
    """Whether a ring has no phase on the side of the barrier where the left turn would be."""
    return bool(ring.most[left] <= 0 and ring.most[left + 1] <= 0)


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
    flow_vps, saturation_vps = ring.flow_vps[through], ring.saturation_vps[through]
    green = effective_s(ring, green_s, cycle_s)
    return float(flow_vps * movement_delay(green, float(cycle_s), flow_vps, saturation_vps, ring.period_h))


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
    spread = 8.0 * 0.5 * flow_vps / (3600.0 * period_h)
    per_arrival = 1.0 / (flow_vps * cycle)
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
        delay[j] = flow_vps * left_turn_s(area, served_veh, flow_vps, cycle, per_arrival, period_h, spread)


@kernel
def through_tables(ring: DualRing, cycle_s: int, through: F8, blocked_s: F8) -> None:
    """Fill both float64[8, n] by displayed green: delay of the throughs, and how long they block left turns."""
    for phase in range(1, 8, 2):
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
