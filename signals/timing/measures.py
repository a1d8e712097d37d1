"""What a signal plan does to a lane group, an approach, an intersection: HCM measures.

Wrappers over `kernels.delay`, `queue_length` and `queue_polygon` with the trade's objects. Equation and exhibit
numbers are those of the Highway Capacity Manual, 7th edition: the motorised vehicle method of chapter 19 and its
supplements in chapter 31.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from kernels import delay, queue_length, queue_polygon

BASE_SATURATION_FLOW_VPH = 1900.0  # pc/h/ln, metropolitan area
CBD_FACTOR = 0.90  # f_a of a central business district
PROTECTED_LEFT_EQUIVALENT = 1.05  # E_L, through cars a protected left turn is worth (Eq. 19-14)
RIGHT_EQUIVALENT = 1.18  # E_R, through cars a right turn is worth (Eq. 19-13)
STARTUP_LOST_S = 2.0  # l_1
EXTENSION_S = 2.0  # e, yellow that drivers use
CRITICAL_HEADWAY_S = 4.5  # left turn through gaps (Eq. 31-100)
FOLLOW_UP_S = 2.5
MERGE_HEADWAY_S = 3.7  # lane changes between the lanes of an approach (Eq. 31-50)
LOS_THRESHOLDS_S = (("A", 10.0), ("B", 20.0), ("C", 35.0), ("D", 55.0), ("E", 80.0))  # Exhibit 19-8


@dataclass(frozen=True)
class PermittedLeft:
    """The part of a left turn's cycle in which it goes through gaps in the opposing stream.

    Without a protected phase (`effective_green_s` of the lane group is 0) the permitted green is all there
    is; otherwise it follows the protected one (leading left turn), with the yellow between them counted as
    red, as Exhibit 31-15 draws it.
    """

    saturation_flow_vph: float  # all lanes of the group, through gaps
    green_s: float  # effective permitted green g_p, blocked part included
    unblocked_green_s: float  # the end of it, when no opposing queue is discharging: g_u
    sneakers_veh: float = 2.0  # a lane, at the end of the permitted green

    def __post_init__(self) -> None:
        _as_floats(self)
        if not 0.0 <= self.unblocked_green_s <= self.green_s + 1e-9:
            raise ValueError(
                f"unblocked permitted green {self.unblocked_green_s:.1f} s: expected 0 to "
                f"{self.green_s:.1f} s, the permitted green"
            )
        _require(self.saturation_flow_vph >= 0, "permitted saturation flow", self.saturation_flow_vph, ">= 0")
        _require(self.sneakers_veh >= 0, "sneakers", self.sneakers_veh, ">= 0 vehicles a cycle")


@dataclass(frozen=True)
class LaneGroup:
    """One lane group: its demand, its lanes and the green it gets.

    `saturation_flow_vph` is that of all its lanes together. For a left turn with `permitted_left` it and
    `effective_green_s` describe the protected phase, which may be absent (green 0).
    """

    volume_vph: float
    saturation_flow_vph: float
    effective_green_s: float
    cycle_s: float
    lanes: int = 1
    analysis_period_h: float = 0.25
    initial_queue_veh: float = 0.0
    upstream_filtering: float = 1.0  # I; see upstream_filtering_factor
    incremental_k: float = 0.5  # pretimed; see actuated_k
    platoon_ratio: float = 1.0  # R_p: 1 for arrivals that don't know the signal (Exhibit 19-13)
    speed_limit_mph: float = 35.0  # sets the length of a stop in the back of queue
    permitted_left: PermittedLeft | None = None

    def __post_init__(self) -> None:
        _as_floats(self)
        _require(self.cycle_s > 0, "cycle", self.cycle_s, "more than 0 s")
        _require(0 <= self.effective_green_s <= self.cycle_s, "effective green", self.effective_green_s,
                 f"0 to the cycle, {self.cycle_s:g} s")  # fmt: skip
        _require(self.volume_vph >= 0, "volume", self.volume_vph, ">= 0 veh/h")
        _require(self.saturation_flow_vph >= 0, "saturation flow", self.saturation_flow_vph, ">= 0 veh/h")
        _require(self.lanes >= 1, "lanes", self.lanes, "at least 1")
        _require(self.analysis_period_h > 0, "analysis period", self.analysis_period_h, "more than 0 h")
        _require(self.initial_queue_veh >= 0, "initial queue", self.initial_queue_veh, ">= 0 vehicles")
        _require(0 < self.upstream_filtering <= 1, "upstream filtering I", self.upstream_filtering, "0 to 1")
        _require(0 < self.incremental_k <= 0.5, "incremental k", self.incremental_k, "0.04 to 0.50")
        _require(self.platoon_ratio > 0, "platoon ratio", self.platoon_ratio, "0.33 to 2.00")
        left = self.permitted_left
        if left is not None:
            used_s = self.effective_green_s + left.green_s
            _require(used_s <= self.cycle_s + 1e-9, "protected and permitted green together", used_s,
                     f"at most the cycle, {self.cycle_s:g} s")  # fmt: skip


@dataclass(frozen=True)
class LaneGroupMeasures:
    """How a lane group fares. Delays in s/veh; the queue is the 50th-percentile back of queue of one lane."""

    volume_vph: float
    capacity_vph: float
    vc_ratio: float
    uniform_s: float
    incremental_s: float
    initial_queue_s: float
    control_delay_s: float
    back_of_queue_veh: float
    level_of_service: str


@dataclass(frozen=True)
class DelayMeasures:
    """Control delay over several lane groups, each counted by its volume (Eqs. 19-28, 19-29)."""

    volume_vph: float
    control_delay_s: float
    level_of_service: str


def level_of_service(delay_s: float, vc_ratio: float = 0.0) -> str:
    """Return the letter A to F for a control delay [s/veh]; F whenever v/c exceeds 1 (Exhibit 19-8).

    Approaches and intersections are graded by delay alone: leave `vc_ratio` out.

    >>> level_of_service(19.9), level_of_service(19.9, vc_ratio=1.01)
    ('B', 'F')
    """
    if vc_ratio > 1.0:
        return "F"
    for letter, limit_s in LOS_THRESHOLDS_S:
        if delay_s <= limit_s:
            return letter
    return "F"


def measure_lane_group(group: LaneGroup) -> LaneGroupMeasures:
    """Return capacity, v/c, control delay, back of queue and level of service of a lane group.

    d = d1 + d2 + d3 (Eq. 19-18). A left turn with a permitted part takes d1 and the first-term back of queue
    from its queue accumulation polygon (Exhibits 31-13, 31-15), every other group from Eqs. 19-19 and 31-137
    to 31-141.
    """
    volume = group.volume_vph
    capacity = lane_group_capacity_vph(group)
    x = delay.vc_ratio(volume, capacity)
    stop_delay_s = queue_length.full_stop_delay_s(group.speed_limit_mph)
    if group.permitted_left is None:
        green_ratio = group.effective_green_s / group.cycle_s
        on_green = min(1.0, group.platoon_ratio * green_ratio)  # Eq. 19-15
        pf = delay.progression_factor(green_ratio, x, on_green)
        d1 = delay.uniform_delay_s(group.effective_green_s, group.cycle_s, x, pf)
        q1 = queue_length.first_back_of_queue_veh(
            volume / group.lanes,
            capacity / group.lanes,
            group.saturation_flow_vph / group.lanes,
            on_green,
            group.effective_green_s,
            group.cycle_s,
            stop_delay_s,
        )
    else:
        d1, q1 = _permitted_polygon(group, group.permitted_left, x, stop_delay_s)
    d2 = delay.incremental_delay_s(
        x, capacity, group.analysis_period_h, group.incremental_k, group.upstream_filtering
    )
    d3 = delay.initial_queue_delay_s(group.initial_queue_veh, volume, capacity, group.analysis_period_h)
    q2 = queue_length.second_back_of_queue_veh(capacity / group.lanes, d2)
    q3 = queue_length.third_back_of_queue_veh(
        group.initial_queue_veh, volume, capacity, float(group.lanes), group.analysis_period_h
    )
    control_s = d1 + d2 + d3
    return LaneGroupMeasures(
        volume_vph=volume,
        capacity_vph=capacity,
        vc_ratio=x,
        uniform_s=d1,
        incremental_s=d2,
        initial_queue_s=d3,
        control_delay_s=control_s,
        back_of_queue_veh=q1 + q2 + q3,
        level_of_service=level_of_service(control_s, x),
    )


def measure_approach(groups: Iterable[LaneGroupMeasures]) -> DelayMeasures:
    """Return the control delay of an approach, averaged over its lane groups by volume (Eq. 19-28)."""
    return _weigh([(group.volume_vph, group.control_delay_s) for group in groups])


def measure_intersection(approaches: Iterable[DelayMeasures]) -> DelayMeasures:
    """Return the control delay of an intersection, averaged over its approaches by volume (Eq. 19-29)."""
    return _weigh([(approach.volume_vph, approach.control_delay_s) for approach in approaches])


def lane_group_capacity_vph(group: LaneGroup) -> float:
    """Return the capacity of a lane group, veh/h.

    s·g/C (Eq. 19-16), and for left turns with a permitted part the gaps and the sneakers besides (Eqs.
    31-119, 31-124).
    """
    capacity = delay.capacity_vph(group.saturation_flow_vph, group.effective_green_s, group.cycle_s)
    left = group.permitted_left
    if left is not None:
        through_gaps_veh = left.saturation_flow_vph / 3600.0 * left.unblocked_green_s
        capacity += 3600.0 * (through_gaps_veh + left.sneakers_veh * group.lanes) / group.cycle_s
    return capacity


def available_capacity_vph(group: LaneGroup, max_green_s: float) -> float:
    """Return the capacity that a lane group would have if its phase ran to maximum green, veh/h.

    Eqs. 19-24, 31-120 and 31-125, never less than the capacity it has. For a permitted left turn the maximum
    green is that of its through phase, for a protected-permitted one that of the left-turn phase.
    """
    left = group.permitted_left
    if left is not None and group.effective_green_s == 0.0:
        more_s = max(0.0, max_green_s - left.green_s)
        return lane_group_capacity_vph(group) + delay.capacity_vph(
            left.saturation_flow_vph, more_s, group.cycle_s
        )
    more_s = max(0.0, max_green_s - group.effective_green_s)
    return lane_group_capacity_vph(group) + delay.capacity_vph(
        group.saturation_flow_vph, more_s, group.cycle_s
    )


def with_actuated_k(group: LaneGroup, passage_time_s: float, max_green_s: float) -> LaneGroup:
    """Return the lane group with the incremental-delay k of an actuated phase (Eqs. 19-22 to 19-25)."""
    available = available_capacity_vph(group, float(max_green_s))
    k = delay.incremental_k(float(passage_time_s), group.volume_vph, available)
    return replace(group, incremental_k=k)


def upstream_filtering_factor(upstream_vc_ratio: float) -> float:
    """Return I, by how much an upstream signal at this v/c evens out arrivals: 0.09 to 1.0 (Eq. 19-6)."""
    return delay.upstream_filtering_factor(float(upstream_vc_ratio))


def effective_green_s(phase_duration_s: float, yellow_s: float, red_clearance_s: float) -> float:
    """Return the effective green of a phase: duration less start-up and clearance loss (Eqs. 19-1, 19-3)."""
    clearance_lost_s = yellow_s + red_clearance_s - EXTENSION_S
    return max(0.0, phase_duration_s - STARTUP_LOST_S - clearance_lost_s)


# ------------------------------------------------------------------------------------------- saturation flow


def lane_width_factor(lane_width_ft: float) -> float:
    """Return f_w: 0.96 under 10 ft, 1.04 over 12.9 ft, 1 between (Exhibit 19-20)."""
    if lane_width_ft < 10.0:
        return 0.96
    return 1.0 if lane_width_ft <= 12.9 else 1.04


def heavy_vehicle_grade_factor(heavy_vehicles_pct: float, grade_pct: float = 0.0) -> float:
    """Return f_HVg for heavy vehicles on a grade, both in percent, uphill positive (Eqs. 19-9, 19-10).

    >>> round(heavy_vehicle_grade_factor(5.0), 3)
    0.961
    """
    if grade_pct < 0.0:
        return (100.0 - 0.79 * heavy_vehicles_pct - 2.07 * grade_pct) / 100.0
    return (100.0 - 0.78 * heavy_vehicles_pct - 0.31 * grade_pct**2) / 100.0


def parking_factor(lanes: int, maneuvers_ph: float) -> float:
    """Return f_p, 0.05 to 1, for a group next to parking; up to 180 maneuvers an hour count (Eq. 19-11)."""
    return max(0.05, (lanes - 0.1 - 18.0 * min(maneuvers_ph, 180.0) / 3600.0) / lanes)


def bus_blockage_factor(lanes: int, stops_ph: float) -> float:
    """Return f_bb, 0.05 to 1, for buses that stop near the stop line; up to 250 an hour count (Eq. 19-12)."""
    return max(0.05, (lanes - 14.4 * min(stops_ph, 250.0) / 3600.0) / lanes)


def pedestrian_occupancy(pedestrians_ph: float, service_s: float, cycle_s: float) -> float:
    """Return the share of service time with pedestrians in the conflict zone (Eqs. 31-74 to 31-76)."""
    if pedestrians_ph <= 0.0 or service_s <= 0.0:
        return 0.0
    during_service_ph = min(5000.0, pedestrians_ph * cycle_s / service_s)
    if during_service_ph <= 1000.0:
        return during_service_ph / 2000.0
    return min(0.90, 0.4 + during_service_ph / 10000.0)


def right_turn_pedestrian_factor(
    pedestrians_ph: float, service_s: float, green_s: float, cycle_s: float, evasive: bool
) -> float:
    """Return f_Rpb, what crossing pedestrians cost right turns; no bicycles (Eqs. 31-79 to 31-83).

    `service_s` is walk plus pedestrian clearance; `evasive` says that there are more receiving lanes than
    turn lanes, so that turning drivers can steer around.
    """
    service_s = min(service_s, green_s)
    occupied = service_s / green_s * pedestrian_occupancy(pedestrians_ph, service_s, cycle_s)
    return 1.0 - (0.6 if evasive else 1.0) * occupied


def left_turn_pedestrian_factor(
    pedestrians_ph: float,
    service_s: float,
    permitted_green_s: float,
    unblocked_green_s: float,
    opposing_flow_vph: float,
    cycle_s: float,
    evasive: bool,
) -> float:
    """Return f_Lpb, what crossing pedestrians cost permitted lefts, two-way street (Eqs. 31-85 to 31-88).

    Pedestrians count only after the opposing queue has cleared, and in the gaps of the opposing stream.
    """
    service_s = min(service_s, permitted_green_s)
    queue_s = permitted_green_s - unblocked_green_s
    if queue_s >= service_s or unblocked_green_s <= 0.0:
        return 1.0
    after_queue = pedestrian_occupancy(pedestrians_ph, service_s, cycle_s) * (1.0 - 0.5 * queue_s / service_s)
    relevant = (
        (service_s - queue_s) / unblocked_green_s * after_queue * math.exp(-5.0 * opposing_flow_vph / 3600.0)
    )
    return 1.0 - (0.6 if evasive else 1.0) * relevant


def shared_right_saturation_flow_vph(
    through_lane_vph: float, right_share: float, pedestrian_factor: float = 1.0
) -> float:
    """Return the saturation flow of a lane that through and right-turning vehicles share (Eq. 31-105).

    >>> round(shared_right_saturation_flow_vph(1683.0, 0.0))
    1683
    """
    return through_lane_vph / (1.0 + right_share * (RIGHT_EQUIVALENT / pedestrian_factor - 1.0))


def permitted_left_saturation_flow_vph(
    opposing_flow_vph: float,
    critical_headway_s: float = CRITICAL_HEADWAY_S,
    follow_up_s: float = FOLLOW_UP_S,
) -> float:
    """Return the saturation flow of a left turn through gaps, veh/h/ln, before adjustments (Eq. 31-100).

    >>> round(permitted_left_saturation_flow_vph(624.0))
    813
    """
    return delay.permitted_left_saturation_vph(
        float(opposing_flow_vph), float(critical_headway_s), float(follow_up_s)
    )


@dataclass(frozen=True)
class LaneSharing:
    """How an approach's through and right-turning vehicles spread over its lanes, veh/h."""

    through_vph: float  # all exclusive through lanes together
    shared_vph: float  # the through-and-right lane
    right_share: float  # of the shared lane's vehicles


def share_lanes(
    through_vph: float,
    right_vph: float,
    through_lanes: int,
    through_lane_vph: float,
    curb_lane_vph: float,
    pedestrian_factor: float = 1.0,
) -> LaneSharing:
    """Spread through vehicles over through lanes and one shared with right turns (Eqs. 31-46 to 31-66).

    Drivers choose lanes so that all have the same flow ratio. The chance of a lane change, which falls as the
    lanes fill, decides how much right turns weigh in that choice; left turns have a lane of their own and
    don't count. `through_lane_vph` and `curb_lane_vph` are the saturation flows of a through lane and of the
    shared lane as if all went straight.
    """
    lanes = through_lanes + 1
    per_lane_vph = (through_vph + right_vph) / lanes
    lane_change = max(0.0, 1.0 - (2.0 * per_lane_vph * MERGE_HEADWAY_S / 3600.0 - 1.0) ** 2)
    perceived = (RIGHT_EQUIVALENT / pedestrian_factor - 1.0) * lane_change
    # Equal flow ratios: v / (s / (1 + perceived · r/v)) = (through + r − v) / (n s_t) is linear in v, the
    # flow of the shared lane, because v (1 + perceived r/v) = v + perceived r.
    others_vph = through_lanes * through_lane_vph
    shared_vph = (curb_lane_vph * (through_vph + right_vph) - others_vph * perceived * right_vph) / (
        curb_lane_vph + others_vph
    )
    shared_vph = min(max(shared_vph, right_vph), through_vph + right_vph)
    return LaneSharing(
        through_vph=through_vph + right_vph - shared_vph,
        shared_vph=shared_vph,
        right_share=right_vph / shared_vph if shared_vph > 0.0 else 0.0,
    )


# ------------------------------------------------------------------------------------- permitted left turns


@dataclass(frozen=True)
class PermittedGreen:
    """When a left turn may go through gaps, effective times in s (Eqs. 31-94, 31-95)."""

    green_s: float  # g_p
    unblocked_s: float  # g_u, after the opposing queue


def opposing_queue_s(lanes: Iterable[LaneGroup]) -> float:
    """Return the time that the slowest opposing lane needs to clear its queue after its green begins, s.

    Start-up loss plus queue service time (Exhibit 31-12 note a); 0 without opposing lanes.
    """
    longest_s = 0.0
    for lane in lanes:
        on_green = min(1.0, lane.platoon_ratio * lane.effective_green_s / lane.cycle_s)
        longest_s = max(
            longest_s,
            queue_polygon.queue_service_s(
                lane.volume_vph / 3600.0,
                lane.saturation_flow_vph / 3600.0,
                on_green,
                lane.effective_green_s,
                lane.cycle_s,
            ),
        )
    return longest_s + STARTUP_LOST_S if longest_s > 0.0 else 0.0


def permitted_green(
    own_green: tuple[float, float],
    opposing_green: tuple[float, float],
    opposing_queue_s: float,
    arrow_end_s: float | None = None,
) -> PermittedGreen:
    """Return the effective permitted green of a left turn and the part that no opposing queue blocks.

    `own_green` and `opposing_green` are the beginning and end of the two through movements' displayed greens,
    s in the cycle, not wrapped; `opposing_queue_s` is the time that the opposing queue needs after its green
    begins; `arrow_end_s` is the end of a leading green arrow, if there is one. The displayed permitted green
    is what the two windows share, and start-up loss is charged as far as the queue has stopped since the
    arrow (the permitted-permitted and lead-lead rows of Exhibit 31-12, read as times). Lagging arrows are not
    covered.
    """
    start_s = max(own_green[0], opposing_green[0])
    end_s = min(own_green[1], opposing_green[1])
    displayed_s = max(0.0, end_s - start_s)
    startup_s = STARTUP_LOST_S
    if arrow_end_s is not None:
        stopped_s = own_green[0] - arrow_end_s - EXTENSION_S
        startup_s = min(STARTUP_LOST_S, max(0.0, stopped_s + STARTUP_LOST_S))
    green_s = max(0.0, displayed_s - startup_s + EXTENSION_S) if displayed_s > 0.0 else 0.0
    unblocked_s = min(displayed_s, end_s - (opposing_green[0] + opposing_queue_s))
    unblocked_s = min(green_s, unblocked_s + EXTENSION_S) if unblocked_s > 0.0 else 0.0
    return PermittedGreen(green_s=green_s, unblocked_s=unblocked_s)


def _permitted_polygon(
    group: LaneGroup, left: PermittedLeft, x: float, stop_delay_s: float
) -> tuple[float, float]:
    """Return d1 [s/veh] and the first-term back of queue [veh/ln] of a left turn with a permitted part.

    One lane of the group: protected green, permitted green behind the opposing queue, permitted
    green through gaps with sneakers at its end, red (Exhibits 31-13, 31-15).
    """
    if group.volume_vph <= 0.0 or not math.isfinite(x):
        return (0.0 if group.volume_vph <= 0.0 else math.inf), 0.0
    arrival_vps = group.volume_vph / max(1.0, x) / group.lanes / 3600.0  # capped at capacity
    blocked_s = left.green_s - left.unblocked_green_s
    red_s = group.cycle_s - group.effective_green_s - left.green_s
    per_lane = 3600.0 * group.lanes
    polygon = queue_polygon.queue_polygon(
        np.array(
            [
                group.effective_green_s,
                blocked_s,
                left.unblocked_green_s,
                max(0.0, red_s),
            ]
        ),
        np.array([group.saturation_flow_vph / per_lane, 0.0, left.saturation_flow_vph / per_lane, 0.0]),
        np.array([0.0, 0.0, left.sneakers_veh, 0.0]),
        arrival_vps,
        stop_delay_s,
    )
    return polygon.delay_veh_s / (arrival_vps * group.cycle_s), polygon.full_stops_veh


def _weigh(flows: Sequence[tuple[float, float]]) -> DelayMeasures:
    """Average delays by volume; without any volume nobody is delayed."""
    volume_vph = sum(volume for volume, _ in flows)
    # A group that nobody uses may have an infinite delay, which 0 · inf would spread.
    weighted = sum(volume * delay_s for volume, delay_s in flows if volume > 0.0)
    mean_s = weighted / volume_vph if volume_vph > 0.0 else 0.0
    return DelayMeasures(
        volume_vph=volume_vph, control_delay_s=mean_s, level_of_service=level_of_service(mean_s)
    )


def _as_floats(measured: PermittedLeft | LaneGroup) -> None:
    """Turn whole numbers into floats: each mixture of the two would compile a version of every kernel."""
    for field in fields(measured):
        value = getattr(measured, field.name)
        if field.name != "lanes" and isinstance(value, int):
            object.__setattr__(measured, field.name, float(value))


def _require(holds: bool, name: str, value: float, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name} {value:g}: expected {expected}")
