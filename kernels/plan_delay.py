"""Control delay of n lane groups under m plans at once, even arrivals (HCM 7th edition, chapters 19 and 31).

The same d = d1 + d2 + d3 as `kernels.delay`, for optimisers and tables: what belongs to a lane group is read once
a row, divisions are folded into it, and the loops over plans have no branches, so that they compile to vector
instructions. Units and names as in `kernels.delay`. Delay is infinite with flow and without capacity.
"""

from __future__ import annotations

import math

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8
from kernels.queue_polygon import left_turn_area_veh_s


@kernel
def divisor(value: float) -> float:
    """The value, or 1 where there is none to divide by; what becomes of that is not used."""
    return value if value > 0.0 else 1.0


@kernel
def uniform_s(green_s: float, cycle_s: float, flow_ratio: float) -> float:
    """d1 of Eq. 19-19 with y = v/s: (C − g)² / 2 (C − min(X, 1) g), where X g is y C."""
    red_s = cycle_s - green_s
    over_capacity = flow_ratio * cycle_s > green_s
    not_served_s = red_s if over_capacity else cycle_s - flow_ratio * cycle_s
    return 0.5 * red_s * red_s / divisor(not_served_s)


@kernel
def overflow(x: float, spread: float) -> float:
    """(X − 1) + √((X − 1)² + spread), which times 900 T is d2 (Eq. 19-26)."""
    over = x - 1.0
    return over + math.sqrt(over * over + spread)


@kernel
def carried_queue_veh(initial_queue_veh: float, spare_veh: float) -> float:
    """d3 · c / 1800 of an initial queue Q (Eqs. 19-44 to 19-49); `spare_veh` is T (c − v).

    2 Q − max(spare, 0) where the queue lasts all period, Q² / spare where it doesn't; Q > 0.
    """
    rest_veh = 2.0 * initial_queue_veh - (spare_veh if spare_veh > 0.0 else 0.0)
    emptied_by_veh = spare_veh if spare_veh > initial_queue_veh else initial_queue_veh
    gone_veh = initial_queue_veh * initial_queue_veh / emptied_by_veh
    return gone_veh if spare_veh > initial_queue_veh else rest_veh


@kernel
def left_turn_s(
    area_veh_s: float,
    served_veh: float,
    flow_vps: float,
    cycle_s: float,
    per_arrival: float,
    period_h: float,
    spread: float,
) -> float:
    """d1 + d2 of a left turn from the area under its queue and what a cycle can serve, s/veh; flow > 0.

    X and capacity with gaps and sneakers (Eqs. 31-119, 31-124). `spread` is 8 k I q / 3600 T and `per_arrival`
    1 / q C.
    """
    per_vehicle_s = cycle_s / divisor(served_veh)
    x = flow_vps * per_vehicle_s
    random = overflow(x, spread * per_vehicle_s * per_vehicle_s)
    # Who arrives counts, at most those who are served: q C or X times less.
    per_cycle_s = area_veh_s * per_arrival
    value = (per_cycle_s * x if x > 1.0 else per_cycle_s) + 900.0 * period_h * random
    return value if served_veh > 0.0 else math.inf


@kernel
def plan_delay(
    flow_vph: F8,
    saturation_vph: F8,
    k: F8,
    upstream_filtering: F8,
    initial_queue_veh: F8,
    green_s: F8,
    cycle_s: F8,
    period_h: float,
    control_s: F8,
) -> None:
    """Fill `control_s` with the delay of lane groups that have one green a cycle (Eq. 19-18), s/veh.

    flow_vph, saturation_vph, k, upstream_filtering, initial_queue_veh : float64[n_group]
    green_s : float64[n_group, n_plan], effective, 0 to the cycle
    cycle_s : float64[n_plan]
    control_s : float64[n_group, n_plan], written
    """
    scale_s = 900.0 * period_h
    for i in range(green_s.shape[0]):
        green, control = green_s[i], control_s[i]
        if flow_vph[i] <= 0.0:
            for j in range(cycle_s.shape[0]):
                control[j] = uniform_s(green[j], cycle_s[j], 0.0)
            continue
        flow, saturation, queue_veh = flow_vph[i], saturation_vph[i], initial_queue_veh[i]
        if saturation <= 0.0:
            control[:] = math.inf
            continue
        y = flow / saturation
        # X = y C/g and 8kIX/(cT) = (8kI y / sT) (C/g)².
        spread = 8.0 * k[i] * upstream_filtering[i] * y / (saturation * period_h)
        if queue_veh <= 0.0:
            for j in range(cycle_s.shape[0]):
                inverse = cycle_s[j] / divisor(green[j])
                random = overflow(y * inverse, spread * inverse * inverse)
                value = uniform_s(green[j], cycle_s[j], y) + scale_s * random
                control[j] = value if green[j] > 0.0 else math.inf
            continue
        served_veh, wanted_veh = period_h * saturation, period_h * flow
        for j in range(cycle_s.shape[0]):
            per_green = 1.0 / divisor(green[j])
            inverse = cycle_s[j] * per_green
            random = overflow(y * inverse, spread * inverse * inverse)
            # T (c − v) and d3 times C, 1/c being C / s g.
            spare_veh = served_veh * green[j] - wanted_veh * cycle_s[j]
            carried = 1800.0 / saturation * per_green * carried_queue_veh(queue_veh * cycle_s[j], spare_veh)
            value = uniform_s(green[j], cycle_s[j], y) + scale_s * random + carried
            control[j] = value if green[j] > 0.0 else math.inf


@kernel
def left_turn_plan_delay(
    flow_vph: F8,
    protected_vph: F8,
    permitted_vph: F8,
    sneakers_veh: F8,
    k: F8,
    upstream_filtering: F8,
    initial_queue_veh: F8,
    protected_s: F8,
    waiting_s: F8,
    unblocked_s: F8,
    cycle_s: F8,
    period_h: float,
    control_s: F8,
) -> None:
    """Fill `control_s` with the delay of left turns with a leading arrow, gaps and sneakers, s/veh.

    d1 from the queue accumulation polygon, v/c and capacity with gaps and sneakers (Eqs. 31-119, 31-124).

    flow_vph, protected_vph, permitted_vph, sneakers_veh, k, upstream_filtering, initial_queue_veh : float64[n_group]
        Saturation flows with the arrow and through gaps, of all lanes, and sneakers of all lanes a cycle.
    protected_s, waiting_s, unblocked_s : float64[n_group, n_plan]
        Effective green with the arrow, time from its end until the opposing queue has gone, green through gaps;
        no more than the cycle together.
    cycle_s : float64[n_plan]
    control_s : float64[n_group, n_plan], written
    """
    per_cycle = np.empty(cycle_s.shape[0])
    for j in range(cycle_s.shape[0]):
        per_cycle[j] = 1.0 / cycle_s[j]
    for i in range(protected_s.shape[0]):
        protected, waiting, unblocked = protected_s[i], waiting_s[i], unblocked_s[i]
        control = control_s[i]
        flow_vps, queue_veh, slip_veh = flow_vph[i] / 3600.0, initial_queue_veh[i], sneakers_veh[i]
        protected_vps, permitted_vps = protected_vph[i] / 3600.0, permitted_vph[i] / 3600.0
        if flow_vps <= 0.0:
            control[:] = 0.0
            continue
        headway_s = 1.0 / flow_vps
        spread = 8.0 * k[i] * upstream_filtering[i] * flow_vps / (3600.0 * period_h)
        for j in range(cycle_s.shape[0]):
            served_veh = protected_vps * protected[j] + permitted_vps * unblocked[j] + slip_veh
            arrival_vps = served_veh * per_cycle[j]
            red_s = cycle_s[j] - protected[j] - waiting[j] - unblocked[j]
            area = left_turn_area_veh_s(
                flow_vps if flow_vps < arrival_vps else arrival_vps,
                protected[j],
                waiting[j],
                unblocked[j],
                red_s,
                protected_vps,
                permitted_vps,
                slip_veh,
            )
            per_arrival = headway_s * per_cycle[j]
            control[j] = left_turn_s(area, served_veh, flow_vps, cycle_s[j], per_arrival, period_h, spread)
        if queue_veh <= 0.0:
            continue
        for j in range(cycle_s.shape[0]):
            served_veh = protected_vps * protected[j] + permitted_vps * unblocked[j] + slip_veh
            # T (c − v) and d3 times C, 1/c being C / 3600 served.
            spare_veh = 3600.0 * period_h * (served_veh - flow_vps * cycle_s[j])
            carried = carried_queue_veh(queue_veh * cycle_s[j], spare_veh)
            control[j] += 0.5 * carried / divisor(served_veh)
