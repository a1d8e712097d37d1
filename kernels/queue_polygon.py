"""Queue accumulation polygon: one cycle of a queue served at several rates (HCM 7th edition, chapters 19, 31).

`queue_polygon` walks any sequence of intervals; `left_turn_area_veh_s` is the closed form of the one that a
protected-permitted left turn has (Exhibits 31-13, 31-15), for kernels that need it by the million.
"""

from __future__ import annotations

from typing import NamedTuple

from kernels._jit import kernel
from kernels.arrays import F8

# A queue that starts empty repeats itself from the second cycle on: either it empties somewhere in that
# cycle, and from there on both cycles are one, or it never does, and then it grows by arrivals less service,
# which is zero at most. The third round carries the full stops over the seam of the cycle, and a fourth sees
# that nothing moves.
POLYGON_ROUNDS = 4
NO_QUEUE_VEH = 1e-9


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
def queue_polygon(
    duration_s: F8,
    service_vps: F8,
    sneakers_veh: F8,
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
def left_turn_area_veh_s(
    arrival_vps: float,
    protected_s: float,
    waiting_s: float,
    unblocked_s: float,
    red_s: float,
    protected_vps: float,
    permitted_vps: float,
    sneakers_veh: float,
) -> float:
    """Vehicle-seconds a cycle of a left turn with a leading arrow, in closed form.

    The cycle is protected green, wait (change interval and opposing queue), green through gaps with sneakers at its
    end, red: what `queue_polygon` makes of these four intervals when arrivals don't exceed what the cycle serves.
    A queue that starts empty repeats from the second cycle on (see POLYGON_ROUNDS), so one round without areas
    gives the queue at the start. No branches, for loops over arrays.
    """
    arrow_emptying_vps = protected_vps - arrival_vps
    gap_emptying_vps = permitted_vps - arrival_vps
    # One division for the triangles of both; neither is used where the queue grows.
    arrow_divisor = arrow_emptying_vps if arrow_emptying_vps > 0.0 else 1.0
    gap_divisor = gap_emptying_vps if gap_emptying_vps > 0.0 else 1.0
    inverse = 1.0 / (arrow_divisor * gap_divisor)
    emptied_veh = arrow_emptying_vps * protected_s
    opened_veh = gap_emptying_vps * unblocked_s
    grown_veh = arrival_vps * waiting_s

    left_veh = (-emptied_veh if emptied_veh < 0.0 else 0.0) + grown_veh - opened_veh - sneakers_veh
    start_veh = (left_veh if left_veh > 0.0 else 0.0) + arrival_vps * red_s

    after_arrow_veh = start_veh - emptied_veh
    arrow_empties = after_arrow_veh < 0.0
    after_arrow_veh = 0.0 if arrow_empties else after_arrow_veh
    before_gaps_veh = after_arrow_veh + grown_veh
    after_gaps_veh = before_gaps_veh - opened_veh
    gaps_empty = after_gaps_veh < 0.0
    after_gaps_veh = 0.0 if gaps_empty else after_gaps_veh
    left_veh = after_gaps_veh - sneakers_veh

    # An interval that empties the queue leaves a triangle, any other a trapezium.
    triangle = start_veh * start_veh * (gap_divisor * inverse)
    arrow_area = triangle if arrow_empties else (start_veh + after_arrow_veh) * protected_s
    waiting_area = (after_arrow_veh + before_gaps_veh) * waiting_s
    triangle = before_gaps_veh * before_gaps_veh * (arrow_divisor * inverse)
    gap_area = triangle if gaps_empty else (before_gaps_veh + after_gaps_veh) * unblocked_s
    red_area = ((left_veh if left_veh > 0.0 else 0.0) + start_veh) * red_s
    return 0.5 * (arrow_area + waiting_area + (gap_area + red_area))
