"""Demand: who drives where and when, and the counts that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

INTERVAL_S = 900.0
"""Length of a counting interval [s]: the field counts by quarter hours."""


@dataclass(frozen=True, slots=True)
class VehicleType:
    """What matters of a SUMO vType for queues: its class, its size and how it accelerates and follows."""

    id: str = "DEFAULT_VEHTYPE"
    vehicle_class: str = "passenger"
    length_m: float = 5.0
    min_gap_m: float = 2.5
    accel_mps2: float = 2.6
    decel_mps2: float = 4.5
    headway_s: float = 1.0
    speed_factor: float = 1.0
    max_speed_mps: float = 55.56


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One vehicle due: when it wants to depart, over which edges, and as what type."""

    id: str
    depart_s: float
    edges: tuple[str, ...]
    type: str
    depart_lane: str = "first"
    stop_s: float = 0.0


@dataclass(frozen=True)
class Demand:
    """Everybody due in a window [begin_s, end_s), sorted by departure.

    `pedestrians` counts persons who walk at least once. `remarks` says how routes were found and what
    could not be used.
    """

    begin_s: float
    end_s: float
    vehicles: tuple[Vehicle, ...]
    types: Mapping[str, VehicleType]
    pedestrians: int = 0
    remarks: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class TurningCounts:
    """Vehicles per movement and 15-minute interval, at the time they reach the intersection.

    `counts[intersection][movement]` has one figure an interval, the first one starting at `begin_s`.
    `link_flows[(a, b)]` counts, per interval, vehicles that pass intersection a and then b next.
    """

    begin_s: float
    interval_s: float
    n_intervals: int
    counts: Mapping[str, Mapping[str, tuple[float, ...]]]
    link_flows: Mapping[tuple[str, str], tuple[float, ...]]

    def total(self, intersection: str) -> float:
        """Vehicles through an intersection over the whole window."""
        return sum(sum(row) for row in self.counts.get(intersection, {}).values())
