"""A road network as a traffic engineer sees it: edges and lanes, intersections and their movements.

Everything here is frozen and refers to its neighbours by id or by position, so that a network can be
pickled to another process as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from signals.model.phasing import ConflictTable, SignalProgram


class Turn(StrEnum):
    """The turn of a movement, by the letter engineers write."""

    LEFT = "L"
    THROUGH = "T"
    RIGHT = "R"
    U_TURN = "U"


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane of an edge. `allowed` holds SUMO vehicle classes."""

    id: str
    length_m: float
    speed_mps: float
    allowed: frozenset[str]

    def allows(self, vehicle_class: str) -> bool:
        """Whether vehicles of this SUMO class may use the lane."""
        return vehicle_class in self.allowed


@dataclass(frozen=True, slots=True)
class Edge:
    """A directed road section between two junctions; lane 0 is the outermost (right-hand) one.

    `heading_deg` is the compass heading with which vehicles leave the edge's end (0 north, 90 east).
    """

    id: str
    from_junction: str
    to_junction: str
    lanes: tuple[Lane, ...]
    length_m: float
    speed_mps: float
    heading_deg: float
    start_xy: tuple[float, float]
    end_xy: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Connection:
    """One lane-to-lane path through a junction.

    `yields_to` and `foes` are positions in `Network.connections`: whom this path must let pass by the
    network's own right of way, and whose path it crosses or merges with. `waiting_m` is the room that a
    yielding vehicle has inside the junction before the point of conflict, 0 where it waits at the line.
    `link_index` is the position in the signal's state string, -1 where no signal controls the path.
    """

    from_edge: str
    from_lane: int
    to_edge: str
    to_lane: int
    turn: Turn
    junction: str
    signal: str | None
    link_index: int
    length_m: float
    speed_mps: float
    waiting_m: float
    priority: bool
    yields_to: tuple[int, ...]
    foes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Approach:
    """One road into an intersection.

    `bound` is the direction of travel (NB, NEB, EB, …). `storage_m` is the queue room per lane, walked
    upstream over edges without a junction that matters, since many real edges are shorter than a car.
    """

    edge: str
    bound: str
    lanes: int
    speed_mps: float
    storage_m: float


@dataclass(frozen=True, slots=True)
class Movement:
    """Vehicles that go from one edge to another through an intersection.

    `links` are the link indices that let them go; `lanes` the approach's lanes that they may use.
    """

    id: str
    approach: str
    to_edge: str
    turn: Turn
    links: tuple[int, ...]
    lanes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Crossing:
    """A signalised pedestrian crossing. `length_m` is the distance walked on the carriageway."""

    id: str
    link: int
    length_m: float
    crossed_edges: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Detector:
    """A detector on a lane; `position_m` is measured from the lane's start."""

    id: str
    kind: str
    lane: str
    position_m: float


@dataclass(frozen=True)
class Intersection:
    """Everything that one signal controller controls, one or several junctions.

    `connections[i]` lists the positions in `Network.connections` that link index i controls; it is empty
    for a pedestrian crossing and for an index that controls nothing. `remarks` says what was found odd.
    """

    id: str
    junctions: tuple[str, ...]
    connections: tuple[tuple[int, ...], ...]
    approaches: tuple[Approach, ...]
    movements: tuple[Movement, ...]
    crossings: tuple[Crossing, ...]
    conflicts: ConflictTable
    program: SignalProgram | None
    detectors: tuple[Detector, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def n_links(self) -> int:
        """Number of positions in the signal's state string."""
        return len(self.connections)

    @property
    def vehicle_links(self) -> tuple[int, ...]:
        """Link indices that control at least one vehicle path."""
        return tuple(i for i, paths in enumerate(self.connections) if paths)


@dataclass(frozen=True)
class Network:
    """A whole road network. `source` is the file it was read from."""

    source: str
    edges: Mapping[str, Edge]
    connections: tuple[Connection, ...]
    intersections: Mapping[str, Intersection]
    remarks: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Corridor:
    """Signals in a row along which through traffic flows, in the order of the forward direction.

    `distance_m[i]` is the distance of stop line i from the first, along the forward direction (or the
    backward one where the road is one-way the other way). `forward[i]` and `backward[i]` are the ids of the
    movements that continue along the corridor at signal i, None where there is none; `forward_links` and
    `backward_links` are their link indices. `forward_mps[i]` and `backward_mps[i]` are the free-flow speeds
    between signals i and i + 1, None where nobody drives that way.
    """

    name: str
    signals: tuple[str, ...]
    distance_m: tuple[float, ...]
    forward: tuple[str | None, ...]
    backward: tuple[str | None, ...]
    forward_links: tuple[tuple[int, ...], ...]
    backward_links: tuple[tuple[int, ...], ...]
    forward_mps: tuple[float | None, ...]
    backward_mps: tuple[float | None, ...]
