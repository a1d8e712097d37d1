"""Travel along a signalised street, and what its signals cost people on foot and on bicycles.

HCM 7th edition: chapter 18 (segments), sections 5 and 6 of chapter 19 (pedestrians, bicycles), and arterial
bandwidth. Lengths in ft and speeds in mi/h, as the HCM's coefficients want them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kernels import delay

FT_PER_MILE = 5280.0
PEDESTRIAN_EXTRA_WALK_S = 4.0  # of the flashing interval, that pedestrians still start in (Eq. 19-51)

# Exhibit 18-1: travel speed [mi/h] above which a segment has level A to E, by base free-flow speed [mi/h].
_LOS_SPEEDS_MPH = {
    25.0: (20.0, 17.0, 13.0, 10.0, 8.0),
    30.0: (24.0, 20.0, 15.0, 12.0, 9.0),
    35.0: (28.0, 23.0, 18.0, 14.0, 11.0),
    40.0: (32.0, 27.0, 20.0, 16.0, 12.0),
    45.0: (36.0, 30.0, 23.0, 18.0, 14.0),
    50.0: (40.0, 34.0, 25.0, 20.0, 15.0),
    55.0: (44.0, 37.0, 28.0, 22.0, 17.0),
}


@dataclass(frozen=True)
class Segment:
    """One direction of a street between two signals."""

    length_ft: float
    upstream_width_ft: float  # of the intersection at its beginning
    through_lanes: int
    speed_limit_mph: float
    midsegment_flow_vph: float
    signal_spacing_ft: float
    restrictive_median_share: float = 0.0
    curb_share: float = 1.0
    parking_share: float = 0.0
    access_points: float = 0.0  # both sides together
    turn_delay_s: float = 0.0  # behind vehicles that turn at access points, whole segment

    def __post_init__(self) -> None:
        if not 0.0 <= self.upstream_width_ft < self.length_ft:
            raise ValueError(
                f"segment of {self.length_ft:g} ft: expected it longer than the intersection's "
                f"{self.upstream_width_ft:g} ft"
            )
        if self.through_lanes < 1 or self.speed_limit_mph <= 0.0 or self.midsegment_flow_vph < 0.0:
            raise ValueError(
                f"{self.through_lanes} lanes, {self.speed_limit_mph:g} mi/h, "
                f"{self.midsegment_flow_vph:g} veh/h: "
                "expected at least one lane, a positive speed and no negative flow"
            )
        for share in (self.restrictive_median_share, self.curb_share, self.parking_share):
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"share {share:g} of a segment: expected 0 to 1")


@dataclass(frozen=True)
class SegmentMeasures:
    """How a through vehicle fares on a segment, the signal at its end included."""

    base_free_flow_mph: float
    free_flow_mph: float
    running_time_s: float
    running_mph: float
    travel_mph: float
    spatial_stops_per_mile: float
    vc_ratio: float
    level_of_service: str


def measure_segment(
    segment: Segment, through_delay_s: float, stop_rate: float, through_vph: float, capacity_vph: float
) -> SegmentMeasures:
    """Return speeds, stops and level of service of a segment that ends at a signal (HCM 7 chapter 18).

    `through_delay_s` and `stop_rate` [stops/veh] belong to the through movement at the downstream signal,
    `through_vph` and `capacity_vph` to its demand and capacity.
    """
    base_mph = base_free_flow_mph(segment)
    free_mph = free_flow_mph(segment)
    running_s = running_time_s(segment)
    travel_s = running_s + through_delay_s
    x = delay.vc_ratio(float(through_vph), float(capacity_vph))
    travel = 3600.0 * segment.length_ft / (FT_PER_MILE * travel_s)  # Eq. 18-15
    return SegmentMeasures(
        base_free_flow_mph=base_mph,
        free_flow_mph=free_mph,
        running_time_s=running_s,
        running_mph=3600.0 * segment.length_ft / (FT_PER_MILE * running_s),
        travel_mph=travel,
        spatial_stops_per_mile=stop_rate * FT_PER_MILE / segment.length_ft,  # Eq. 18-16, no other stops
        vc_ratio=x,
        level_of_service=segment_level_of_service(travel, base_mph, x),
    )


def base_free_flow_mph(segment: Segment) -> float:
    """Return the speed of a lone vehicle on a long segment of this kind, mi/h (Eq. 18-3, Exhibit 18-11)."""
    constant = 25.6 + 0.47 * segment.speed_limit_mph
    median, curb = segment.restrictive_median_share, segment.curb_share
    cross_section = 1.5 * median - 0.47 * curb - 3.7 * curb * median
    density = FT_PER_MILE * segment.access_points / (segment.length_ft - segment.upstream_width_ft)
    access = -0.078 * density / segment.through_lanes
    return constant + cross_section + access - 3.0 * segment.parking_share


def free_flow_mph(segment: Segment) -> float:
    """Return the free-flow speed between signals, at least the speed limit, mi/h (Eqs. 18-4, 18-5)."""
    base = base_free_flow_mph(segment)
    spacing = min(1.0, 1.02 - 4.7 * (base - 19.5) / max(400.0, segment.signal_spacing_ft))
    return max(segment.speed_limit_mph, base * spacing)


def running_time_s(segment: Segment) -> float:
    """Return the running time of a through vehicle to a signal, its delay apart, s (Eqs. 18-6, 18-7)."""
    free = free_flow_mph(segment)
    density = segment.midsegment_flow_vph / (52.8 * segment.through_lanes * free)
    if density >= 1.0:
        raise ValueError(
            f"{segment.midsegment_flow_vph:g} veh/h on {segment.through_lanes} lanes: Eq. 18-6 holds below "
            f"{52.8 * segment.through_lanes * free:.0f} veh/h"
        )
    proximity = 2.0 / (1.0 + math.pow(1.0 - density, 0.21))
    start_s = (6.0 - 2.0) / (0.0025 * segment.length_ft)
    return start_s + 3600.0 * segment.length_ft / (FT_PER_MILE * free) * proximity + segment.turn_delay_s


def segment_level_of_service(travel_mph: float, base_free_flow_mph: float, vc_ratio: float) -> str:
    """Return the letter A to F of a segment; F when v/c exceeds 1 (Exhibit 18-1, interpolated)."""
    if vc_ratio > 1.0:
        return "F"
    base = min(max(base_free_flow_mph, 25.0), 55.0)
    low = min(50.0, 5.0 * math.floor(base / 5.0))
    part = (base - low) / 5.0
    for letter, slow, fast in zip("ABCDE", _LOS_SPEEDS_MPH[low], _LOS_SPEEDS_MPH[low + 5.0], strict=True):
        if travel_mph > slow + part * (fast - slow):
            return letter
    return "F"


def traveler_perception(spatial_stops_per_mile: float, left_turn_lane_share: float) -> float:
    """Return drivers' rating of a segment, 1 (best) to 6, by stops and left-turn lanes (Eq. 18-17)."""
    felt = -0.253 * spatial_stops_per_mile + 0.3434 * left_turn_lane_share
    cuts = (-1.1614, 0.6234, 1.7389, 2.7047, 3.8044)
    return 1.0 + sum(1.0 / (1.0 + math.exp(cut + felt)) for cut in cuts)


# ---------------------------------------------------------------------------------- people on foot and wheels


def effective_walk_s(walk_s: float) -> float:
    """Return the time a cycle in which pedestrians start: walk and 4 s of its clearance (Eq. 19-51)."""
    return walk_s + PEDESTRIAN_EXTRA_WALK_S


def pedestrian_delay_s(cycle_s: float, walk_s: float) -> float:
    """Return the mean wait of a pedestrian at a crossing, s (Eq. 19-54)."""
    red_s = max(0.0, cycle_s - effective_walk_s(walk_s))
    return red_s**2 / (2.0 * cycle_s)


@dataclass(frozen=True)
class TwoStageDelay:
    """The wait of a pedestrian who crosses in two stages, s; `median_*` is the wait at the refuge."""

    first_s: float
    median_after_waiting_s: float  # of those who left with the crowd at the start of walk
    median_after_walking_on_s: float  # of those who came during effective walk and left at once
    waiting_share: float
    total_s: float


def two_stage_pedestrian_delay(
    cycle_s: float,
    first_walk_s: float,
    second_walk_s: float,
    first_walk_start_s: float,
    second_walk_start_s: float,
    first_crossing_s: float,
) -> TwoStageDelay:
    """Return the wait of a pedestrian who crosses a leg with a refuge in two stages.

    People come evenly over the cycle. Those who come outside the effective walk leave together at its start,
    the others at once; all take `first_crossing_s` to the refuge and wait there for the second effective
    walk. The wait there is averaged over the moments of arrival, which is what Eqs. 19-78 to 19-88 come to.
    """
    first_s, second_s = effective_walk_s(first_walk_s), effective_walk_s(second_walk_s)
    if max(first_s, second_s) > cycle_s or first_crossing_s < 0.0:
        raise ValueError(
            f"effective walks of {first_s:g} and {second_s:g} s in a cycle of {cycle_s:g} s, crossing time "
            f"{first_crossing_s:g} s: expected walks within the cycle and a crossing time of 0 or more"
        )
    # Wait of somebody who is at the refuge u seconds after the second walk began: 0 within it, else C − u.
    at_refuge_s = (first_walk_start_s + first_crossing_s - second_walk_start_s) % cycle_s

    def waited_until(u_s: float) -> float:
        """Integral of that wait over u from 0 to u_s, s²; whole cycles included."""
        cycles, rest_s = divmod(u_s, cycle_s)
        red_s = cycle_s - second_s
        into_red_s = max(0.0, rest_s - second_s)
        return cycles * red_s**2 / 2.0 + into_red_s * (red_s - into_red_s / 2.0)

    after_waiting_s = cycle_s - at_refuge_s if at_refuge_s >= second_s else 0.0
    walking_on_s = (waited_until(at_refuge_s + first_s) - waited_until(at_refuge_s)) / first_s
    waiting_share = (cycle_s - first_s) / cycle_s
    first_wait_s = pedestrian_delay_s(cycle_s, first_walk_s)
    return TwoStageDelay(
        first_s=first_wait_s,
        median_after_waiting_s=after_waiting_s,
        median_after_walking_on_s=walking_on_s,
        waiting_share=waiting_share,
        total_s=first_wait_s + waiting_share * after_waiting_s + (1.0 - waiting_share) * walking_on_s,
    )


@dataclass(frozen=True)
class BicycleMeasures:
    """How bicycles fare on an approach with a bicycle lane."""

    capacity_ph: float
    delay_s: float
    cross_section: float  # F_w
    motor_traffic: float  # F_v
    score: float
    level_of_service: str


def measure_bicycles(
    bicycles_ph: float,
    green_s: float,
    cycle_s: float,
    cross_street_ft: float,
    outside_width_ft: float,
    motor_vph: float,
    through_lanes: int,
    saturation_flow_ph: float = 2000.0,
) -> BicycleMeasures:
    """Return capacity, delay and level of service of an approach's bicycle lane (Eqs. 19-106 to 19-110).

    `outside_width_ft` is the outside through lane, bicycle lane and paved shoulder together; `motor_vph`
    counts the approach's motor vehicles.
    """
    capacity = delay.capacity_vph(float(saturation_flow_ph), float(green_s), float(cycle_s))
    x = delay.vc_ratio(float(bicycles_ph), capacity)
    cross_section = 0.0153 * cross_street_ft - 0.2144 * outside_width_ft
    motor_traffic = 0.0066 * motor_vph / (4.0 * through_lanes)
    score = 4.1324 + cross_section + motor_traffic
    return BicycleMeasures(
        capacity_ph=capacity,
        delay_s=delay.uniform_delay_s(float(green_s), float(cycle_s), x, 1.0),
        cross_section=cross_section,
        motor_traffic=motor_traffic,
        score=score,
        level_of_service=score_level_of_service(score),
    )


def score_level_of_service(score: float) -> str:
    """Return the letter A to F for a pedestrian or bicycle score at an intersection (Exhibit 19-9)."""
    for letter, limit in zip("ABCDE", (1.5, 2.5, 3.5, 4.5, 5.5), strict=True):
        if score <= limit:
            return letter
    return "F"


# -------------------------------------------------------------------------------------------------- bandwidth


def bandwidth_efficiency(band_s: float, cycle_s: float) -> float:
    """Return the share of the cycle that the green band of a coordinated street covers, 0 to 1."""
    return band_s / cycle_s


def band_capacity_vph(band_s: float, cycle_s: float, headway_s: float) -> float:
    """Return the flow of one lane that a band carries through without a stop, veh/h."""
    return band_s / headway_s * 3600.0 / cycle_s
