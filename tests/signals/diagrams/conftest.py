"""A junction and a road made by hand, whose figures can be worked out on paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from signals.model.network import (
    Approach,
    Connection,
    Corridor,
    Crossing,
    Edge,
    Intersection,
    Lane,
    Movement,
    Network,
    Turn,
)
from signals.model.phasing import ConflictTable, Interval, SignalProgram

# A leg lies this way from the middle (east, north); who comes from the south leg is north-bound.
LEGS = {
    "S": ((0, -1), "NB", 0.0),
    "W": ((-1, 0), "EB", 90.0),
    "N": ((0, 1), "SB", 180.0),
    "E": ((1, 0), "WB", 270.0),
}
LEFT_OF = {"S": "W", "W": "N", "N": "E", "E": "S"}
"""Leg that a left turn from a leg leads to: from the south, it is the west."""
ACROSS = {"S": "N", "W": "E", "N": "S", "E": "W"}
TURNS = ((Turn.LEFT, LEFT_OF), (Turn.THROUGH, ACROSS), (Turn.RIGHT, {a: b for b, a in LEFT_OF.items()}))
CAR = frozenset({"passenger", "bus", "bicycle"})
LENGTH_M = 200.0
HALF_JUNCTION_M = 10.0

# Links: 0-2 NB left, through, right; 3-5 EB; 6-8 SB; 9-11 WB; 12 pedestrians over the north leg.
# North-south lefts yield to through traffic; the main stage goes on over the cycle's end.
ROWS = (
    (10.0, "gGGrrrgGGrrrr"),
    (3.0, "yyyrrryyyrrrr"),
    (2.0, "rrrrrrrrrrrrr"),
    (24.0, "rrrGGsrrrGGsG"),
    (6.0, "rrrGGsrrrGGsr"),
    (4.0, "rrryysrrryysr"),
    (1.0, "rrruusrrruusr"),
    (20.0, "gGGrrrgGGrrrr"),
)


def make_program(
    signal: str = "J", offset_s: float = 0.0, rows: tuple[tuple[float, str], ...] = ROWS
) -> SignalProgram:
    return SignalProgram(signal, "p", "static", offset_s, tuple(Interval(s, state) for s, state in rows))


def make_network(
    signal: str = "J", middle: tuple[float, float] = (0.0, 0.0), source: str = "hand.net.xml"
) -> Network:
    """One signal with four legs; link 3 · leg + turn."""
    x, y = middle
    edges: dict[str, Edge] = {}
    for leg, ((east, north), _, heading) in LEGS.items():
        near = (x + HALF_JUNCTION_M * east, y + HALF_JUNCTION_M * north)
        far = (x + LENGTH_M * east, y + LENGTH_M * north)
        for way, start, end, course, a, b in (
            ("in", far, near, heading, f"{signal}-{leg}-far", f"{signal}-junction"),
            ("out", near, far, (heading + 180) % 360, f"{signal}-junction", f"{signal}-{leg}-far"),
        ):
            edge = f"{signal}-{leg}-{way}"
            lanes = (Lane(f"{edge}_0", LENGTH_M, 13.9, CAR),)
            edges[edge] = Edge(edge, a, b, lanes, LENGTH_M, 13.9, course, start, end)
    connections: list[Connection] = []
    movements: list[Movement] = []
    for leg in LEGS:
        for turn, target in TURNS:
            here, there = f"{signal}-{leg}-in", f"{signal}-{target[leg]}-out"
            link = len(connections)
            connections.append(
                Connection(
                    here, 0, there, 0, turn, f"{signal}-junction", signal, link, 20.0, 10.0, 0.0, True, (), ()
                )
            )
            movements.append(Movement(f"{here}->{there}", here, there, turn, (link,), (0,)))
    intersection = Intersection(
        signal,
        (f"{signal}-junction",),
        (*((k,) for k in range(12)), ()),
        tuple(
            Approach(f"{signal}-{leg}-in", bound, 1, 13.9, LENGTH_M) for leg, (_, bound, _) in LEGS.items()
        ),
        tuple(movements),
        (Crossing(f":{signal}_c0", 12, 7.0, (f"{signal}-N-in", f"{signal}-N-out")),),
        ConflictTable(13, frozenset(), frozenset()),
        make_program(signal),
    )
    return Network(source, edges, tuple(connections), {signal: intersection})


def join_networks(parts: list[Network]) -> Network:
    """Several networks side by side as one."""
    edges: dict[str, Edge] = {}
    connections: tuple[Connection, ...] = ()
    intersections: dict[str, Intersection] = {}
    for part in parts:
        shift = len(connections)
        edges |= part.edges
        connections += part.connections
        for signal, own in part.intersections.items():
            moved = tuple(tuple(p + shift for p in paths) for paths in own.connections)
            intersections[signal] = replace(own, connections=moved)
    return Network(parts[0].source, edges, connections, intersections)


@pytest.fixture
def network() -> Network:
    return make_network()


@pytest.fixture
def junction(network: Network) -> Intersection:
    return network.intersections["J"]


@pytest.fixture
def program_of() -> Callable[..., SignalProgram]:
    return make_program


@pytest.fixture
def network_of() -> Callable[..., Network]:
    return make_network


@pytest.fixture
def network_with() -> Callable[..., Network]:
    """Networks of several signals by their ids, one beside the other."""
    return lambda *ids: join_networks([make_network(s, (500.0 * k, 0.0)) for k, s in enumerate(ids)])


@pytest.fixture
def corridor_of() -> Callable[..., Corridor]:
    """A road through signals, forward EB through and backward WB through, at one speed."""

    def make(*ids: str, distance_m: float = 400.0, speed_mps: float = 12.5, name: str = "") -> Corridor:
        between: tuple[float | None, ...] = (speed_mps,) * (len(ids) - 1)
        return Corridor(
            name or f"{ids[0]} to {ids[-1]}",
            ids,
            tuple(distance_m * k for k in range(len(ids))),
            tuple(f"{s}-W-in->{s}-E-out" for s in ids),
            tuple(f"{s}-E-in->{s}-W-out" for s in ids),
            ((4,),) * len(ids),
            ((10,),) * len(ids),
            between,
            between,
        )

    return make
