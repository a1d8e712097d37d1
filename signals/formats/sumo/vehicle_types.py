"""Vehicle types of SUMO files, with the defaults that SUMO gives each vehicle class."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from xml.etree.ElementTree import Element

from signals.errors import InputError
from signals.model.demand import VehicleType

_CAR = VehicleType()

# length, gap to the leader [m], acceleration, deceleration [m/s2], top speed [m/s]: what SUMO 1.28 answers
# through TraCI for a type of which only the class is given (tests/signals/formats/test_sumo_demand.py asks it
# again); also in its documentation, "Vehicle Type Parameter Defaults". Top speed of bicycles: the speed at
# which they like to go (20 km/h), not the one that they could reach.
_BY_CLASS: dict[str, tuple[float, float, float, float, float]] = {
    "aircraft": (72.7, 2.5, 2.6, 4.5, 55.56),
    "bicycle": (1.6, 0.5, 1.2, 3.0, 5.56),
    "bus": (12.0, 2.5, 1.2, 4.0, 27.78),
    "coach": (14.0, 2.5, 2.0, 4.0, 27.78),
    "container": (6.096, 2.5, 2.6, 4.5, 55.56),
    "delivery": (6.5, 2.5, 2.6, 4.5, 55.56),
    "drone": (0.5, 2.5, 2.6, 4.5, 55.56),
    "emergency": (6.5, 2.5, 2.6, 4.5, 55.56),
    "moped": (2.1, 2.5, 1.1, 7.0, 16.67),
    "motorcycle": (2.2, 2.5, 6.0, 10.0, 55.56),
    "pedestrian": (0.215, 0.25, 1.5, 2.0, 1.39),
    "rail": (135.0, 5.0, 0.25, 1.3, 44.44),
    "rail_electric": (200.0, 5.0, 0.5, 1.3, 61.11),
    "rail_fast": (200.0, 5.0, 0.5, 1.3, 91.67),
    "rail_urban": (109.5, 5.0, 1.0, 3.0, 27.78),
    "scooter": (1.2, 0.5, 1.2, 3.0, 6.94),
    "ship": (17.0, 2.5, 0.1, 0.15, 4.12),
    "subway": (109.5, 5.0, 2.6, 4.5, 27.78),
    "trailer": (16.5, 2.5, 1.1, 4.0, 36.11),
    "tram": (22.0, 2.5, 1.0, 3.0, 22.22),
    "truck": (7.1, 2.5, 1.3, 4.0, 36.11),
    "wheelchair": (1.2, 0.5, 1.5, 2.0, 8.33),
}

BUILT_IN = {
    "DEFAULT_VEHTYPE": "passenger",
    "DEFAULT_BIKETYPE": "bicycle",
    "DEFAULT_CONTAINERTYPE": "container",
    "DEFAULT_PEDTYPE": "pedestrian",
    "DEFAULT_RAILTYPE": "rail",
    "DEFAULT_TAXITYPE": "taxi",
}
"""Types that exist without being defined, and their classes."""

_DISTRIBUTION = re.compile(r"\s*(?:norm|normc|lognorm|lognormc)\s*\(\s*([^,)]+)", re.IGNORECASE)
_MOST_MPS = 1000.0


def default_type(type_id: str, vehicle_class: str = "passenger") -> VehicleType:
    """The type that SUMO assumes of a vehicle of which only the class is known."""
    if vehicle_class not in _BY_CLASS:
        return replace(_CAR, id=type_id, vehicle_class=vehicle_class)
    length, gap, accel, decel, top = _BY_CLASS[vehicle_class]
    return VehicleType(
        id=type_id,
        vehicle_class=vehicle_class,
        length_m=length,
        min_gap_m=gap,
        accel_mps2=accel,
        decel_mps2=decel,
        max_speed_mps=top,
    )


def type_of(element: Element, where: str) -> VehicleType:
    """The vehicle type of a <vType> element; `where` is the file it stands in, for messages.

    Where a distribution of speed factors is given, `speed_factor` is its mean.

    Raises
    ------
    InputError
        Where a number isn't one.
    """
    type_id = element.get("id", "")
    base = default_type(type_id, element.get("vClass") or BUILT_IN.get(type_id, "passenger"))
    # Parameters of a car-following model may stand in an element of their own, an older way.
    attributes = {**element.attrib}
    for inner in element:
        if inner.tag.startswith("carFollowing-"):
            attributes.update(inner.attrib)

    def number(key: str, default: float) -> float:
        text = attributes.get(key)
        if text is None:
            return default
        try:
            return float(text)
        except ValueError:
            raise InputError(f"{where}: vType {type_id!r}: {key}={text!r} is no number") from None

    top = number("maxSpeed", base.max_speed_mps)
    if "desiredMaxSpeed" in attributes:
        top = min(number("maxSpeed", _MOST_MPS), number("desiredMaxSpeed", top))
    return replace(
        base,
        length_m=number("length", base.length_m),
        min_gap_m=number("minGap", base.min_gap_m),
        accel_mps2=number("accel", base.accel_mps2),
        decel_mps2=number("decel", base.decel_mps2),
        headway_s=number("tau", base.headway_s),
        speed_factor=_mean_speed_factor(attributes, type_id, where),
        max_speed_mps=top,
    )


def _mean_speed_factor(attributes: Mapping[str, str], type_id: str, where: str) -> float:
    text = attributes.get("speedFactor")
    if text is None:
        return _CAR.speed_factor
    parameters = _DISTRIBUTION.match(text)
    try:
        return float(parameters.group(1) if parameters else text)
    except ValueError:
        raise InputError(
            f"{where}: vType {type_id!r}: speedFactor={text!r} is neither a number nor a normal distribution"
        ) from None
