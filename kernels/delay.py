"""Delay, capacity and queue of a lane group (HCM 7th edition, chapters 19 and 31) and Webster's formulas.

Flows are in veh/h where a name ends in ``_vph`` and in veh/s where it ends in ``_vps``; times in s, analysis
periods in h. Equation numbers are those of the Highway Capacity Manual, 7th edition, unless another source is
named. A lane group without capacity has infinite delay when anybody wants to use it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel

FloatArray = NDArray[np.float64]

# Acceleration and deceleration of queued vehicles, and the speed under which a vehicle counts as stopped
# (HCM chapter 31, section 4).
QUEUE_ACCELERATION_FTPS2 = 3.5
QUEUE_DECELERATION_FTPS2 = 4.0
STOP_THRESHOLD_MPH = 5.0
FTPS_PER_MPH = 1.47  # as the HCM rounds it

# A queue that starts empty repeats itself from the second cycle on: either it empties somewhere in that
# cycle, and from there on both cycles are one, or it never does, and then it grows by arrivals less service,
# which is zero at most. The third round carries the full stops over the seam of the cycle, and a fourth sees
# that nothing moves.
POLYGON_ROUNDS = 4
NO_QUEUE_VEH = 1e-9


class LaneGroupDelays(NamedTuple):
    """Measures of n lane groups, every field float64[n]."""

    capacity_vph: FloatArray
    vc_ratio: FloatArray
    uniform_s: FloatArray
    incremental_s: FloatArray
    initial_queue_s: FloatArray
    control_s: FloatArray


class QueuePolygon(NamedTuple):
    """One cycle of a queue that repeats itself."""

    delay_veh_s: float  # vehicle-seconds of waiting a cycle
    max_queue_veh: float  # most vehicles present at one time
    full_stops_veh: (
        float  # vehicles of the longest queue that come to a full stop: the first-term back of queue
    )
    start_queue_veh: float  # queue at the start, equal to the one at the end
    repeats: bool  # False when arrivals exceed what the cycle serves, and no queue repeats itself


@kernel
def capacity_vph(saturation_vph: float, green_s: float, cycle_s: float) -> float:
    """Capacity of a lane group, veh/h: c = s·g/C, s of all its lanes together (Eq. 19-16)."""
    return saturation_vph * green_s / cycle_s


@kernel
def vc_ratio(flow_vph: float, capacity: float) -> float:
    """Volume-to-capacity ratio X (Eq. 19-17): 0 without flow, infinite with flow and no capacity."""
    if flow_vph <= 0.0:
        return 0.0
    if capacity <= 0.0:
        return math.inf
    return flow_vph / capacity


@kernel
def progression_factor(green_ratio: float, x: float, arrivals_on_green: float) -> float:
    """Factor on uniform delay for the share of vehicles that arrive on green (Eqs. 19-20, 19-21).

    1.0 when that share equals the green ratio, which is to say when arrivals are even over the cycle.
    """
    if green_ratio >= 1.0 or green_ratio <= 0.0:
        return 1.0
    served = min(1.0, x)
    y = served * green_ratio
    red_ratio = 1.0 - green_ratio
    clearing = 1.0 - served * arrivals_on_green
    if clearing <= 0.0:  # a full platoon at capacity: everybody arrives on green
        return 0.0
    return (
        (1.0 - arrivals_on_green)
        / red_ratio
        * ((1.0 - y) / clearing)
        * (1.0 + y * (1.0 - arrivals_on_green / green_ratio) / red_ratio)
    )


@kernel
def uniform_delay_s(green_s: float, cycle_s: float, x: float, progression: float) -> float:
    """Uniform delay d1, s/veh: even arrivals, one green a cycle (Eq. 19-19)."""
    green_ratio = green_s / cycle_s
    if green_ratio >= 1.0:
        return 0.0
    red_ratio = 1.0 - green_ratio
    return progression * 0.5 * cycle_s * red_ratio * red_ratio / (1.0 - min(1.0, x) * green_ratio)


@kernel
def incremental_delay_s(
    x: float, capacity: float, period_h: float, incremental_k: float, upstream_filtering: float
) -> float:
    """Incremental delay d2, s/veh: random arrivals and the overflow of the period (Eq. 19-26)."""
    if x <= 0.0:
        return 0.0
    if capacity <= 0.0:
        return math.inf
    over = x - 1.0
    spread = 8.0 * incremental_k * upstream_filtering * x / (capacity * period_h)
    return 900.0 * period_h * (over + math.sqrt(over * over + spread))


@kernel
def incremental_k(passage_time_s: float, flow_vph: float, available_capacity_vph: float) -> float:
    """Factor k of the incremental delay for an actuated phase (Eqs. 19-22, 19-23), 0.04 to 0.50.

    `available_capacity_vph` is the capacity that the phase would have at its maximum green.
    """
    pt = passage_time_s
    k_min = max(0.04, -0.375 + 0.354 * pt - 0.0910 * pt * pt + 0.00889 * pt * pt * pt)
    if available_capacity_vph <= 0.0:
        return 0.5
    k = (1.0 - 2.0 * k_min) * (flow_vph / available_capacity_vph - 0.5) + k_min
    return min(max(k, k_min), 0.5)


@kernel
def upstream_filtering_factor(upstream_vc_ratio: float) -> float:
    """Factor I for arrivals metered by an upstream signal (Eq. 19-6), 0.09 to 1.0."""
    x = min(max(upstream_vc_ratio, 0.0), 1.0)
    return max(0.09, 1.0 - 0.91 * math.pow(x, 2.68))


@kernel
def initial_queue_delay_s(
    initial_queue_veh: float, flow_vph: float, capacity: float, period_h: float
) -> float:
    """Delay d3 of an initial queue, s/veh, shared by all who arrive in the period (Eqs. 19-44 to 19-49)."""
    if initial_queue_veh <= 0.0 or flow_vph <= 0.0:
        return 0.0
    if capacity <= 0.0:
        return math.inf
    if flow_vph >= capacity:
        without_veh = period_h * (flow_vph - capacity)
        unmet_h = period_h
    else:
        without_veh = 0.0
        unmet_h = min(period_h, initial_queue_veh / (capacity - flow_vph))
    end_veh = initial_queue_veh + unmet_h * (flow_vph - capacity)
    waiting_veh_h = (
        unmet_h * (initial_queue_veh + end_veh - without_veh) / 2.0
        + (end_veh * end_veh - without_veh * without_veh) / (2.0 * capacity)
        - initial_queue_veh * initial_queue_veh / (2.0 * capacity)
    )
    return 3600.0 * waiting_veh_h / (flow_vph * period_h)


@kernel
def lane_group_delay(
    flow_vph: FloatArray,
    saturation_vph: FloatArray,
    green_s: FloatArray,
    cycle_s: FloatArray,
    period_h: FloatArray,
    initial_queue_veh: FloatArray,
    k: FloatArray,
    upstream_filtering: FloatArray,
    arrivals_on_green: FloatArray,
) -> LaneGroupDelays:
    """Capacity, v/c and control delay d = d1 + d2 + d3 of n lane groups with one green a cycle (Eq. 19-18).

    Every argument is float64[n], C-contiguous: demand and saturation flow of the whole group [veh/h],
    effective green and cycle [s], analysis period [h], initial queue [veh], k, I, and the share that arrives
    on green (g/C when arrivals are even). Every result is float64[n].
    """
    n = flow_vph.shape[0]
    out_capacity = np.empty(n)
    out_x = np.empty(n)
    out_uniform = np.empty(n)
    out_incremental = np.empty(n)
    out_initial = np.empty(n)
    out_control = np.empty(n)
    for i in range(n):
        c = capacity_vph(saturation_vph[i], green_s[i], cycle_s[i])
        x = vc_ratio(flow_vph[i], c)
        pf = progression_factor(green_s[i] / cycle_s[i], x, arrivals_on_green[i])
        d1 = uniform_delay_s(green_s[i], cycle_s[i], x, pf)
        d2 = incremental_delay_s(x, c, period_h[i], k[i], upstream_filtering[i])
        d3 = initial_queue_delay_s(initial_queue_veh[i], flow_vph[i], c, period_h[i])
        out_capacity[i] = c
        out_x[i] = x
        out_uniform[i] = d1
        out_incremental[i] = d2
        out_initial[i] = d3
        out_control[i] = d1 + d2 + d3
    return LaneGroupDelays(out_capacity, out_x, out_uniform, out_incremental, out_initial, out_control)


@kernel
def movement_delay(
    green_s: float, cycle_s: float, flow_vps: float, saturation_vps: float, period_h: float
) -> float:
    """Control delay d1 + d2 of one movement, s/veh, for optimisers: pretimed, isolated, even arrivals.

    Eqs. 19-19 and 19-26 with k = 0.5 and I = 1. Flows in veh/s. Infinite with flow and no capacity.
    """
    c = saturation_vps * green_s / cycle_s * 3600.0
    x = vc_ratio(flow_vps * 3600.0, c)
    return uniform_delay_s(green_s, cycle_s, x, 1.0) + incremental_delay_s(x, c, period_h, 0.5, 1.0)


@kernel
def queue_polygon(
    duration_s: FloatArray,
    service_vps: FloatArray,
    sneakers_veh: FloatArray,
    arrival_vps: float,
    full_stop_delay_s: float,
) -> QueuePolygon:
    """Walk a queue through a cycle of n intervals until it repeats: the queue accumulation polygon.

    duration_s, service_vps, sneakers_veh : float64[n]
        Length of each interval, the rate at which it serves a queue, and how many vehicles slip through at
        its end (left turns that wait inside the intersection).
    arrival_vps : float
        Even arrivals over the cycle.
    full_stop_delay_s : float
        Delay above which a vehicle has come to a full stop (Eq. 31-131).

    Delay is the area under the queue (Eqs. 19-34 to 19-36). With even arrivals the vehicle that leaves while
    Q are queued has waited Q/q, so the vehicles that fully stop are those that leave while Q > q·d_a; the
    largest count between two moments without a queue is the first-term back of queue (chapter 31 section 4,
    step 6).
    """
    n = duration_s.shape[0]
    stopped_above_veh = arrival_vps * full_stop_delay_s
    start_veh = 0.0
    queue_veh = 0.0
    stopped_veh = 0.0  # full stops of the present queue, carried from one round into the next
    delay_veh_s = 0.0
    max_queue_veh = 0.0
    full_stops_veh = 0.0
    for _ in range(POLYGON_ROUNDS):
        start_veh = queue_veh
        delay_veh_s = 0.0
        max_queue_veh = start_veh
        full_stops_veh = 0.0
        for i in range(n):
            growth_vps = arrival_vps - service_vps[i]
            length_s = duration_s[i]
            if growth_vps < 0.0:
                length_s = min(length_s, queue_veh / -growth_vps)
            end_veh = max(0.0, queue_veh + growth_vps * length_s)
            delay_veh_s += 0.5 * (queue_veh + end_veh) * length_s
            above_s = 0.0  # time that the queue spends above the full-stop threshold
            if growth_vps == 0.0:
                if queue_veh > stopped_above_veh:
                    above_s = length_s
            else:
                floor_veh = max(stopped_above_veh, min(queue_veh, end_veh))
                above_s = max(0.0, max(queue_veh, end_veh) - floor_veh) / abs(growth_vps)
            stopped_veh += service_vps[i] * above_s
            max_queue_veh = max(max_queue_veh, end_veh)
            slip_veh = min(sneakers_veh[i], end_veh)
            stopped_veh += min(slip_veh, max(0.0, end_veh - stopped_above_veh))
            queue_veh = end_veh - slip_veh
            full_stops_veh = max(full_stops_veh, stopped_veh)
            if queue_veh < NO_QUEUE_VEH:
                queue_veh = 0.0
                stopped_veh = 0.0
    repeats = abs(queue_veh - start_veh) < NO_QUEUE_VEH
    return QueuePolygon(delay_veh_s, max_queue_veh, full_stops_veh, start_veh, repeats)


@kernel
def queue_service_s(
    flow_vps: float, saturation_vps: float, arrivals_on_green: float, green_s: float, cycle_s: float
) -> float:
    """Time that a lane's queue needs to clear after the start of effective green, s, at most the green.

    Q_r / (s − q_g): the queue at the end of red over the rate at which green empties it (Exhibit 31-11).
    """
    if flow_vps <= 0.0 or green_s <= 0.0:
        return 0.0
    red_queue_veh = (1.0 - arrivals_on_green) * flow_vps * cycle_s
    emptying_vps = saturation_vps - arrivals_on_green * flow_vps * cycle_s / green_s
    if emptying_vps <= 0.0:
        return green_s
    return min(green_s, red_queue_veh / emptying_vps)


@kernel
def full_stop_delay_s(speed_limit_mph: float) -> float:
    """Acceleration and deceleration delay d_a of one full stop, s (Eqs. 31-131, 31-132)."""
    speed_mph = 0.90 * (25.6 + 0.47 * speed_limit_mph)
    lost_ftps = FTPS_PER_MPH * (speed_mph - STOP_THRESHOLD_MPH)
    return (
        lost_ftps
        * lost_ftps
        / (2.0 * FTPS_PER_MPH * speed_mph)
        * (1.0 / QUEUE_ACCELERATION_FTPS2 + 1.0 / QUEUE_DECELERATION_FTPS2)
    )


@kernel
def first_back_of_queue_veh(
    lane_flow_vph: float,
    lane_capacity_vph: float,
    lane_saturation_vph: float,
    arrivals_on_green: float,
    green_s: float,
    cycle_s: float,
    stop_delay_s: float,
) -> float:
    """First-term back of queue Q1 of one lane with one green a cycle, veh/ln (Eqs. 31-133 to 31-141).

    The part of the flow above capacity is left to the second term: q is capped at capacity.
    """
    if lane_flow_vph <= 0.0 or lane_capacity_vph <= 0.0 or green_s >= cycle_s:
        return 0.0
    p = arrivals_on_green
    x = min(1.0, lane_flow_vph / lane_capacity_vph)
    q_vps = min(lane_flow_vph, lane_capacity_vph) / 3600.0
    s_vps = lane_saturation_vph / 3600.0
    red_s = cycle_s - green_s
    red_vps = (1.0 - p) * q_vps * cycle_s / red_s
    green_vps = p * q_vps * cycle_s / green_s
    if red_vps >= s_vps:
        stops_veh = red_vps * red_s  # a platoon on red denser than the discharge: nobody in it is spared
    elif stop_delay_s <= (1.0 - p) * green_s * x:
        full_s = q_vps * cycle_s * (1.0 - p - p * stop_delay_s / green_s) / (s_vps * (1.0 - x * p))
        stops_veh = red_vps * red_s + green_vps * (full_s - stop_delay_s)
    else:
        full_s = (
            q_vps * cycle_s * (1.0 - p) * (red_s - stop_delay_s) / (s_vps * (red_s - x * (1.0 - p) * green_s))
        )
        stops_veh = red_vps * (red_s - stop_delay_s + full_s)
    return max(0.0, stops_veh)


@kernel
def second_back_of_queue_veh(lane_capacity_vph: float, incremental_s: float) -> float:
    """Second-term back of queue Q2, veh/ln: random and overflow queue (Eq. 31-142)."""
    if incremental_s <= 0.0:
        return 0.0
    return lane_capacity_vph / 3600.0 * incremental_s


@kernel
def third_back_of_queue_veh(
    initial_queue_veh: float, flow_vph: float, capacity: float, lanes: float, period_h: float
) -> float:
    """Third-term back of queue Q3, veh/ln: what is left of an initial queue (Eqs. 31-143 to 31-148)."""
    if initial_queue_veh <= 0.0:
        return 0.0
    if flow_vph >= capacity:
        without_veh = period_h * (flow_vph - capacity)
        unmet_h = period_h
    else:
        without_veh = 0.0
        unmet_h = min(period_h, initial_queue_veh / (capacity - flow_vph))
    end_veh = initial_queue_veh + unmet_h * (flow_vph - capacity)
    return unmet_h * (initial_queue_veh + end_veh - without_veh) / 2.0 / (lanes * period_h)


@kernel
def permitted_left_saturation_vph(
    opposing_flow_vph: float, critical_headway_s: float, follow_up_s: float
) -> float:
    """Saturation flow of a left turn through gaps in an opposing stream, veh/h/ln (Eq. 31-100).

    Tends to 3600 / follow_up_s as the opposing stream vanishes.
    """
    if opposing_flow_vph < 1e-9:
        return 3600.0 / follow_up_s
    v = opposing_flow_vph / 3600.0
    # expm1 keeps the digits of a small opposing flow, where 1 − exp(−x) loses them.
    return 3600.0 * v * math.exp(-v * critical_headway_s) / -math.expm1(-v * follow_up_s)


@kernel
def webster_cycle_s(critical_flow_ratio: float, lost_time_s: float) -> float:
    """Webster's cycle of least delay, s: (1.5 L + 5) / (1 − Y); infinite from Y = 1 on.

    F. V. Webster, Traffic Signal Settings, Road Research Technical Paper 39 (1958).
    """
    if critical_flow_ratio >= 1.0:
        return math.inf
    return (1.5 * lost_time_s + 5.0) / (1.0 - critical_flow_ratio)


@kernel
def webster_delay_s(green_s: float, cycle_s: float, flow_vps: float, saturation_vps: float) -> float:
    """Webster's two-term delay with his 10 % correction, s/veh; infinite from saturation on (Webster 1958).

    0.9 (C (1 − λ)² / (2 (1 − λx)) + x² / (2 q (1 − x))).
    """
    if flow_vps <= 0.0:
        return 0.9 * uniform_delay_s(green_s, cycle_s, 0.0, 1.0)
    capacity_vps = saturation_vps * green_s / cycle_s
    if flow_vps >= capacity_vps:
        return math.inf
    x = flow_vps / capacity_vps
    return 0.9 * (uniform_delay_s(green_s, cycle_s, x, 1.0) + x * x / (2.0 * flow_vps * (1.0 - x)))
