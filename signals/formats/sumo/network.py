"""A SUMO network becomes intersections with approaches, movements, conflicts and crossings."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from signals.errors import InputError
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.programs import read_programs
from signals.formats.sumo.xml import elements
from signals.model.network import (
    Approach,
    Connection,
    Crossing,
    Detector,
    Edge,
    Intersection,
    Lane,
    Movement,
    Network,
    Turn,
)
from signals.model.phasing import GREEN, ConflictTable, SignalProgram

_TURNS = {
    "l": Turn.LEFT,
    "L": Turn.LEFT,
    "r": Turn.RIGHT,
    "R": Turn.RIGHT,
    "s": Turn.THROUGH,
    "t": Turn.U_TURN,
}
_PRIORITY_STATES = frozenset("MO")
_BOUNDS = ("NB", "NEB", "EB", "SEB", "SB", "SWB", "WB", "NWB")
STORAGE_WALK_M = 300.0
"""Queue room is looked for no further upstream than this."""
SHORT_APPROACH_M = 30.0
_DETECTORS = {
    "inductionLoop": "loop",
    "e1Detector": "loop",
    "laneAreaDetector": "area",
    "e2Detector": "area",
}


def read_network(scenario: Scenario) -> Network:
    """The network of a scenario, with the program that SUMO would run at each signal.

    Raises
    ------
    InputError
        Where the network or an additional file is broken.
    """
    with _legible(scenario):
        net = _load(scenario)
        edges = {e.getID(): _edge(e) for e in net.getEdges() if e.getFunction() in ("", "normal")}
        paths = _paths(net, edges)
        crossings = _crossings(net)
    connections = tuple(p.connection for p in paths)
    programs, program_remarks = read_programs(scenario)
    controlled = _controlled(connections)
    detectors = _detectors(scenario, edges)
    upstream = _upstream_rooms(edges, connections)
    intersections = {}
    for signal in sorted({*controlled, *crossings, *programs}):
        intersections[signal] = _intersection(
            signal,
            edges,
            connections,
            controlled.get(signal, {}),
            crossings.get(signal, ()),
            _right_of_way(paths, controlled.get(signal, {}), crossings.get(signal, ())),
            programs.get(signal),
            detectors,
            upstream,
            program_remarks.get(signal, ()),
        )
    remarks = () if intersections else ("the network has no signals",)
    return Network(str(scenario.net), edges, connections, intersections, remarks)


def _load(scenario: Scenario) -> Any:
    import sumolib

    return sumolib.net.readNet(
        str(scenario.net), withInternal=True, withPedestrianConnections=True, withFoes=True, lxml=False
    )


@contextmanager
def _legible(scenario: Scenario) -> Iterator[None]:
    """Names the file where sumolib stumbles, at once or when it works out a shape later."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # sumolib raises whatever its attribute access meets; the user needs the file and the reason
        raise InputError(
            f"{scenario.net}: sumolib can't read this network ({type(error).__name__}: {error}); "
            "does netconvert load it?"
        ) from error


def _edge(edge: Any) -> Edge:
    shape = edge.getShape()
    (x0, y0), (x1, y1) = shape[-2][:2], shape[-1][:2]
    lanes = tuple(
        Lane(lane.getID(), lane.getLength(), lane.getSpeed(), frozenset(lane.getPermissions()))
        for lane in edge.getLanes()
    )
    return Edge(
        edge.getID(),
        edge.getFromNode().getID(),
        edge.getToNode().getID(),
        lanes,
        edge.getLength(),
        edge.getSpeed(),
        math.degrees(math.atan2(x1 - x0, y1 - y0)) % 360,
        (shape[0][0], shape[0][1]),
        (x1, y1),
    )


@dataclass(frozen=True, slots=True)
class _Path:
    """A connection and where the junction's request table knows it."""

    connection: Connection
    junction: Any
    request: int


def _paths(net: Any, edges: Mapping[str, Edge]) -> list[_Path]:
    """Every vehicle path through a junction, right of way filled in."""
    raw: list[tuple[Any, Any, int]] = []
    for edge_id in edges:
        edge = net.getEdge(edge_id)
        for targets in edge.getOutgoing().values():
            for connection in targets:
                if connection.getTo().getID() in edges:
                    node = edge.getToNode()
                    raw.append((connection, node, _request_index(node, connection)))
    by_request = {(node.getID(), index): i for i, (_, node, index) in enumerate(raw) if index >= 0}
    paths = []
    for connection, node, index in raw:
        length, speed, waiting = _inside(net, connection)
        foes, yields = _requests(node, index)
        paths.append(
            _Path(
                Connection(
                    connection.getFrom().getID(),
                    connection.getFromLane().getIndex(),
                    connection.getTo().getID(),
                    connection.getToLane().getIndex(),
                    _TURNS.get(connection.getDirection(), Turn.THROUGH),
                    node.getID(),
                    connection.getTLSID() or None,
                    connection.getTLLinkIndex() if connection.getTLSID() else -1,
                    length,
                    speed,
                    waiting,
                    connection.getState() in _PRIORITY_STATES,
                    tuple(by_request[node.getID(), j] for j in yields if (node.getID(), j) in by_request),
                    tuple(by_request[node.getID(), j] for j in foes if (node.getID(), j) in by_request),
                ),
                node,
                index,
            )
        )
    return paths


def _request_index(node: Any, connection: Any) -> int:
    """Row of a connection in its junction's request table; SUMO numbers them as intLanes are listed."""
    via = connection.getViaLaneID()
    internal = node.getInternal() or []
    if via and via in internal:
        return int(internal.index(via))
    return int(node.getLinkIndex(connection))


def _requests(node: Any, index: int) -> tuple[list[int], list[int]]:
    """Rows that are foes of a row, and rows that it gives way to."""
    foes, response = node._foes.get(index, ""), node._prohibits.get(index, "")
    return _ones(foes), _ones(response)


def _ones(bits: str) -> list[int]:
    return [k for k, bit in enumerate(reversed(bits)) if bit == "1"]


def _inside(net: Any, connection: Any) -> tuple[float, float, float]:
    """Length, speed and waiting room of a path inside its junction."""
    via = connection.getViaLaneID()
    if not via:
        return 0.0, connection.getToLane().getSpeed(), 0.0
    lane = net.getLane(via)
    length, speed, waiting = lane.getLength(), lane.getSpeed(), 0.0
    onward = [c for c in lane.getOutgoing() if c.getViaLaneID()]
    if onward:
        # a second internal lane follows: the first one is where a yielding vehicle waits
        waiting = length
        length += net.getLane(onward[0].getViaLaneID()).getLength()
    return length, speed, waiting


def _controlled(connections: tuple[Connection, ...]) -> dict[str, dict[int, tuple[int, ...]]]:
    """Connections by signal and link index."""
    table: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for position, connection in enumerate(connections):
        if connection.signal is not None and connection.link_index >= 0:
            table[connection.signal][connection.link_index].append(position)
    return {s: {i: tuple(p) for i, p in links.items()} for s, links in table.items()}


@dataclass(frozen=True, slots=True)
class _Walk:
    """A crossing with its row in a junction's request table."""

    crossing: Crossing
    junction: Any
    request: int


def _crossings(net: Any) -> dict[str, tuple[_Walk, ...]]:
    """Signalised pedestrian crossings by signal."""
    found: dict[str, dict[tuple[str, int], _Walk]] = defaultdict(dict)
    for edge in net.getEdges(withInternal=True):
        if edge.getFunction() != "crossing":
            continue
        lane = edge.getLanes()[0]
        node = edge.getFromNode()
        internal = node.getInternal() or []
        row = internal.index(lane.getID()) if lane.getID() in internal else -1
        entries = [c for source in edge.getIncoming().values() for c in source]
        exits = [c for target in edge.getOutgoing().values() for c in target]
        for connection in entries + exits:
            signal = connection.getTLSID()
            if signal:
                link = connection.getTLLinkIndex()
                crossed = tuple(sorted(e.getID() for e in edge.getCrossingEdges() or []))
                found[signal][edge.getID(), link] = _Walk(
                    Crossing(edge.getID(), link, lane.getLength(), crossed), node, row
                )
    return {s: tuple(walks[k] for k in sorted(walks)) for s, walks in found.items()}


def _right_of_way(
    paths: list[_Path], links: Mapping[int, tuple[int, ...]], walks: Iterable[_Walk]
) -> ConflictTable:
    """Conflicts and yielding between the links of one signal, from the junctions' request tables."""
    rows: dict[tuple[str, int], int] = {}
    nodes: dict[str, Any] = {}
    pairs: set[tuple[int, int]] = set()
    yields: set[tuple[int, int]] = set()
    unyielding: set[tuple[int, int]] = set()
    members: list[tuple[int, Any, int]] = []
    for link, positions in links.items():
        members += [(link, paths[p].junction, paths[p].request) for p in positions]
    members += [(w.crossing.link, w.junction, w.request) for w in walks]
    for link, node, row in members:
        if row >= 0:
            rows[node.getID(), row] = link
            nodes[node.getID()] = node
    for (node_id, row), link in rows.items():
        foes, response = _requests(nodes[node_id], row)
        for other_row in foes:
            other = rows.get((node_id, other_row))
            if other is None or other == link:
                continue
            pairs.add((min(link, other), max(link, other)))
            (yields if other_row in response else unyielding).add((link, other))
    highest = max((link for link, _, _ in members), default=-1)
    # where links share an index, the link yields only if each of its conflicting paths does
    return ConflictTable(highest + 1, frozenset(pairs), frozenset(yields - unyielding))


def _intersection(
    signal: str,
    edges: Mapping[str, Edge],
    connections: tuple[Connection, ...],
    links: Mapping[int, tuple[int, ...]],
    walks: tuple[_Walk, ...],
    conflicts: ConflictTable,
    program: SignalProgram | None,
    detectors: Mapping[str, tuple[Detector, ...]],
    upstream: Mapping[str, float],
    remarks: tuple[str, ...],
) -> Intersection:
    n_links = max(program.n_links if program else 0, conflicts.n_links)
    by_movement: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for link, positions in links.items():
        for p in positions:
            by_movement[connections[p].from_edge, connections[p].to_edge].append((link, p))
    approach_edges = sorted({from_edge for from_edge, _ in by_movement})
    approaches = tuple(
        Approach(
            e,
            _BOUNDS[round(edges[e].heading_deg / 45) % 8],
            len([lane for lane in edges[e].lanes if not lane.allowed <= {"pedestrian"}]),
            edges[e].speed_mps,
            upstream[e],
        )
        for e in approach_edges
    )
    movements = tuple(
        Movement(
            f"{from_edge}->{to_edge}",
            from_edge,
            to_edge,
            connections[members[0][1]].turn,
            tuple(sorted({link for link, _ in members})),
            tuple(sorted({connections[p].from_lane for _, p in members})),
        )
        for (from_edge, to_edge), members in sorted(by_movement.items())
    )
    junctions = sorted({connections[p].junction for positions in links.values() for p in positions})
    junctions = junctions or sorted({w.junction.getID() for w in walks})
    intersection = Intersection(
        signal,
        tuple(junctions),
        tuple(links.get(i, ()) for i in range(n_links)),
        approaches,
        movements,
        tuple(w.crossing for w in walks),
        ConflictTable(n_links, conflicts.conflicts, conflicts.yields),
        program,
        tuple(d for e in approach_edges for lane in edges[e].lanes for d in detectors.get(lane.id, ())),
    )
    odd = (*remarks, *_oddities(intersection, edges))
    return Intersection(**{**intersection.__dict__, "remarks": odd})


def _oddities(intersection: Intersection, edges: Mapping[str, Edge]) -> list[str]:
    """What an engineer should know before trusting a plan for this signal."""
    odd = []
    program = intersection.program
    crossing_links = {c.link for c in intersection.crossings}
    unused = [i for i, p in enumerate(intersection.connections) if not p and i not in crossing_links]
    if unused:
        odd.append(f"link indices that control nothing: {_some(unused)}")
    shared = [i for i, p in enumerate(intersection.connections) if len(p) > 1]
    if shared:
        odd.append(f"link indices shared by several paths: {_some(shared)}")
    if len(intersection.junctions) > 1:
        odd.append(f"one controller over {len(intersection.junctions)} junctions")
    short = [a.edge for a in intersection.approaches if edges[a.edge].length_m < SHORT_APPROACH_M]
    if short:
        odd.append(
            f"{len(short)} approach edge(s) shorter than {SHORT_APPROACH_M:g} m; queues looked for upstream"
        )
    if program is None or not program.intervals:
        odd.append("no program")
        return odd
    if program.n_links < intersection.n_links:
        odd.append(f"program has {program.n_links} links, the network needs {intersection.n_links}")
        return odd
    if program.kind != "static":
        odd.append(f"runs as {program.kind}; planned as fixed time")
    states = [i.state for i in program.intervals]
    links = intersection.vehicle_links
    always = [i for i in links if all(s[i] in GREEN for s in states)]
    if always:
        odd.append(f"always green: {_some(always)}")
    never = [i for i in links if not any(s[i] in GREEN for s in states)]
    if never:
        odd.append(f"never green: {_some(never)}")
    if not any(c in "yY" for s in states for c in s):
        odd.append("no yellow in the program")
    both = sorted(
        (i, j)
        for i, j in intersection.conflicts.conflicts
        if any(s[i] == "G" and s[j] == "G" for s in states)
    )
    if both:
        odd.append(f"{len(both)} conflicting pair(s) of links with protected green together, e.g. {both[0]}")
    return odd


def _some(items: list[int], most: int = 8) -> str:
    text = ", ".join(map(str, items[:most]))
    return text + (f" and {len(items) - most} more" if len(items) > most else "")


def _detectors(scenario: Scenario, edges: Mapping[str, Edge]) -> dict[str, tuple[Detector, ...]]:
    """Detectors of the additional files, by lane; an area over several lanes stands on its first one."""
    length_m = {lane.id: lane.length_m for edge in edges.values() for lane in edge.lanes}
    found: dict[str, list[Detector]] = defaultdict(list)
    for path in scenario.additional:
        for element in elements(path, *_DETECTORS):
            lane = element.get("lane") or element.get("lanes", "").partition(" ")[0]
            try:
                position = float(element.get("pos", "0"))
            except ValueError:
                raise InputError(f"{path}: detector {element.get('id')}: pos is no number") from None
            if position < 0:
                # SUMO counts it from the lane's end
                position += length_m.get(lane, 0.0)
            found[lane].append(Detector(element.get("id", ""), _DETECTORS[element.tag], lane, position))
    return {lane: tuple(items) for lane, items in found.items()}


def _upstream_rooms(edges: Mapping[str, Edge], connections: tuple[Connection, ...]) -> dict[str, float]:
    """Queue room per lane of each edge, walked upstream while there is only one way in and no signal."""
    feeders: dict[str, set[str]] = defaultdict(set)
    outlets: dict[str, set[str]] = defaultdict(set)
    signalled: set[str] = set()
    for c in connections:
        if c.turn is not Turn.U_TURN:
            feeders[c.to_edge].add(c.from_edge)
            outlets[c.from_edge].add(c.to_edge)
        if c.signal is not None:
            signalled.add(c.from_edge)
    rooms = {}
    for edge_id in edges:
        room, here, seen = edges[edge_id].length_m, edge_id, {edge_id}
        while room < STORAGE_WALK_M and len(feeders[here]) == 1:
            (above,) = feeders[here]
            if above in signalled or above in seen or len(outlets[above]) > 1:
                break
            room += edges[above].length_m
            seen.add(above)
            here = above
        rooms[edge_id] = room
    return rooms
