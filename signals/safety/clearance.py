"""Times that protect people: yellow change, red clearance, walk and pedestrian clearance.

Formulas of the Institute of Transportation Engineers as FHWA-HOP-08-024 chapter 5 and NCHRP report 600
(tutorial 4) give them, in metres; ``_us`` variants take feet and miles an hour with the constants printed
there. Nothing is rounded here: whoever writes a controller's tenths rounds up.
"""

from __future__ import annotations

REACTION_S = 1.0  # perception and reaction
DECELERATION_MPS2 = 3.05  # 10 ft/s²
GRAVITY_MPS2 = 9.81
VEHICLE_LENGTH_M = 6.1  # 20 ft
YELLOW_BOUNDS_S = (3.0, 6.0)  # MUTCD
MAX_RED_CLEARANCE_S = 6.0

WALKING_SPEED_MPS = 1.07  # 3.5 ft/s, most people
BUTTON_WALKING_SPEED_MPS = 0.91  # 3.0 ft/s, from the button to the far side: the slower ones
MIN_WALK_S = 7.0
SHORT_WALK_S = 4.0  # where few people cross, by exception
PEDESTRIAN_BUFFER_S = 3.0  # between the end of clearance and the first conflicting green

FTPS_PER_MPH = 1.467
DECELERATION_FTPS2 = 10.0
TWICE_GRAVITY_FTPS2 = 64.4
VEHICLE_LENGTH_FT = 20.0


def yellow_change_s(
    speed_mps: float,
    grade: float = 0.0,
    reaction_s: float = REACTION_S,
    deceleration_mps2: float = DECELERATION_MPS2,
) -> float:
    """Return the yellow that lets a driver at this speed stop or go, s: t + v / (2 (a + 9.81 G)).

    `speed_mps` is the 85th-percentile approach speed, `grade` rise over run, uphill positive. The result is
    not bounded; see `bounded_yellow_s`.

    >>> round(yellow_change_s(20.117), 2)
    4.3
    """
    _require(speed_mps >= 0.0, f"approach speed {speed_mps:g} m/s: expected 0 or more")
    braking_mps2 = deceleration_mps2 + GRAVITY_MPS2 * grade
    _require(
        braking_mps2 > 0.0, f"grade {grade:g} against braking at {deceleration_mps2:g} m/s²: nobody stops"
    )
    return reaction_s + speed_mps / (2.0 * braking_mps2)


def bounded_yellow_s(yellow_s: float) -> float:
    """Return a yellow within the 3 to 6 s that the MUTCD allows."""
    return min(max(yellow_s, YELLOW_BOUNDS_S[0]), YELLOW_BOUNDS_S[1])


def red_clearance_s(width_m: float, speed_mps: float, vehicle_length_m: float = VEHICLE_LENGTH_M) -> float:
    """Return the red that lets a vehicle leave the intersection behind it, s: (W + L) / v.

    `width_m` runs from the stop line to the far side of the last conflict.
    """
    _require(speed_mps > 0.0, f"speed {speed_mps:g} m/s: expected more than 0")
    _require(width_m >= 0.0, f"width {width_m:g} m: expected 0 or more")
    return (width_m + vehicle_length_m) / speed_mps


def yellow_change_us_s(speed_mph: float, grade: float = 0.0, reaction_s: float = REACTION_S) -> float:
    """Return the yellow change interval from miles an hour, s: t + 1.467 V / (2 a + 64.4 G), a = 10 ft/s²."""
    _require(speed_mph >= 0.0, f"approach speed {speed_mph:g} mi/h: expected 0 or more")
    braking = 2.0 * DECELERATION_FTPS2 + TWICE_GRAVITY_FTPS2 * grade
    _require(braking > 0.0, f"grade {grade:g} against braking at {DECELERATION_FTPS2:g} ft/s²: nobody stops")
    return reaction_s + FTPS_PER_MPH * speed_mph / braking


def red_clearance_us_s(
    width_ft: float, speed_mph: float, vehicle_length_ft: float = VEHICLE_LENGTH_FT
) -> float:
    """Return the red clearance interval from feet and miles an hour, s: (W + L) / (1.467 V)."""
    _require(speed_mph > 0.0, f"speed {speed_mph:g} mi/h: expected more than 0")
    _require(width_ft >= 0.0, f"width {width_ft:g} ft: expected 0 or more")
    return (width_ft + vehicle_length_ft) / (FTPS_PER_MPH * speed_mph)


def pedestrian_clearance_s(crossing_m: float, walking_speed_mps: float = WALKING_SPEED_MPS) -> float:
    """Return the time that a pedestrian who starts at the end of walk needs to the far side, s.

    Give a lower `walking_speed_mps` where older people, children or people with disabilities cross.

    >>> round(pedestrian_clearance_s(10.7), 2)
    10.0
    """
    _require(crossing_m >= 0.0, f"crossing of {crossing_m:g} m: expected 0 or more")
    _require(walking_speed_mps > 0.0, f"walking speed {walking_speed_mps:g} m/s: expected more than 0")
    return crossing_m / walking_speed_mps


def min_walk_s(
    crossing_m: float,
    button_to_far_side_m: float | None = None,
    walking_speed_mps: float = WALKING_SPEED_MPS,
    button_walking_speed_mps: float = BUTTON_WALKING_SPEED_MPS,
    short_walk: bool = False,
) -> float:
    """Return the least walk interval of a crossing, s.

    7 s, or 4 s where `short_walk` is allowed, and longer where walk and clearance together would not bring a
    slow walker from the button to the far side.
    """
    clearance_s = pedestrian_clearance_s(crossing_m, walking_speed_mps)
    least_s = SHORT_WALK_S if short_walk else MIN_WALK_S
    if button_to_far_side_m is None:
        return least_s
    _require(
        button_to_far_side_m >= crossing_m,
        f"{button_to_far_side_m:g} m from the button to the far side: expected at least the crossing, "
        f"{crossing_m:g} m",
    )
    slow_s = pedestrian_clearance_s(button_to_far_side_m, button_walking_speed_mps)
    return max(least_s, slow_s - clearance_s)


def min_pedestrian_service_s(
    crossing_m: float,
    button_to_far_side_m: float | None = None,
    walking_speed_mps: float = WALKING_SPEED_MPS,
    short_walk: bool = False,
) -> float:
    """Return the least time from walk's start to the first conflicting green, s: walk, clearance, buffer.

    The buffer of 3 s may lie in the yellow and red of the vehicles that run alongside.
    """
    walk_s = min_walk_s(
        crossing_m,
        button_to_far_side_m,
        walking_speed_mps,
        min(walking_speed_mps, BUTTON_WALKING_SPEED_MPS),
        short_walk,
    )
    return walk_s + pedestrian_clearance_s(crossing_m, walking_speed_mps) + PEDESTRIAN_BUFFER_S


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
