"""Back of queue of one lane with one green a cycle, first to third term (HCM 7th edition, chapter 31 section 4).

Units and names as in `kernels.delay`; equation numbers are those of the Highway Capacity Manual, 7th edition.
"""

from __future__ import annotations

from kernels._jit import kernel
from kernels.delay import left_of_queue

# Acceleration and deceleration of queued vehicles, and the speed under which a vehicle counts as stopped
# (HCM chapter 31, section 4).
QUEUE_ACCELERATION_FTPS2 = 3.5
QUEUE_DECELERATION_FTPS2 = 4.0
STOP_THRESHOLD_MPH = 5.0
FTPS_PER_MPH = 1.47  # as the HCM rounds it


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
    unmet_h, end_veh, without_veh = left_of_queue(initial_queue_veh, flow_vph, capacity, period_h)
    return unmet_h * (initial_queue_veh + end_veh - without_veh) / 2.0 / (lanes * period_h)
