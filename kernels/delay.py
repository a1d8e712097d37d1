"""Delay and capacity of a lane group (HCM 7th edition, chapters 19 and 31) and Webster's formulas.

Flows are in veh/h where a name ends in ``_vph`` and in veh/s where it ends in ``_vps``; times in s, analysis
periods in h. Equation numbers are those of the Highway Capacity Manual, 7th edition, unless another source is
named. A lane group without capacity has infinite delay when anybody wants to use it. Many plans at once are the
business of `kernels.plan_delay`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel

FloatArray = NDArray[np.float64]


class LaneGroupDelays(NamedTuple):
    """Measures of n lane groups, every field float64[n]."""

    capacity_vph: FloatArray
    vc_ratio: FloatArray
    uniform_s: FloatArray
    incremental_s: FloatArray
    initial_queue_s: FloatArray
    control_s: FloatArray


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
def left_of_queue(
    initial_queue_veh: float, flow_vph: float, capacity: float, period_h: float
) -> tuple[float, float, float]:
    """What becomes of an initial queue: hours that it lasts, queue at its end, and the one without it, veh.

    t, Q_e and Q_eo of HCM Eqs. 19-45 to 19-49.
    """
    if flow_vph >= capacity:
        without_veh = period_h * (flow_vph - capacity)
        unmet_h = period_h
    else:
        without_veh = 0.0
        unmet_h = min(period_h, initial_queue_veh / (capacity - flow_vph))
    return unmet_h, initial_queue_veh + unmet_h * (flow_vph - capacity), without_veh


@kernel
def initial_queue_delay_s(
    initial_queue_veh: float, flow_vph: float, capacity: float, period_h: float
) -> float:
    """Delay d3 of an initial queue, s/veh, shared by all who arrive in the period (Eqs. 19-44 to 19-49)."""
    if initial_queue_veh <= 0.0 or flow_vph <= 0.0:
        return 0.0
    if capacity <= 0.0:
        return math.inf
    unmet_h, end_veh, without_veh = left_of_queue(initial_queue_veh, flow_vph, capacity, period_h)
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
