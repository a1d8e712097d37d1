"""One group of signals cut out of a city's SUMO network, so that it can be simulated without the rest.

Junctions are kept whole or not at all: those of the group's signals, and unsignalised ones on the roads between
them and on the road up to them. Where a kept road meets any other junction, it begins or ends there. What is kept
is copied as it stands, so link indices, right of way and shapes are the city's own; netconvert would work out
junctions anew, and another version of it than the city's differently.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, tostring

from defusedxml.ElementTree import iterparse

from signals.errors import InputError
from signals.formats.files import open_unpacked, write_whole
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.network import read_network
from signals.formats.sumo.xml import elements
from signals.model.network import Connection, Intersection, Network, Turn

NET_NAME = "cut.net.xml"
ADDITIONAL_NAME = "cut.add.xml"

UPSTREAM_M = 500.0
"""The road up to a signal is kept so far from its stop line, where no other signal stands on it."""

BETWEEN_M = 2000.0
"""Signals further apart than this, along unsignalised road, are not joined by a road in the cut."""

_KEPT_AS_THEY_ARE = ("location", "type")


@dataclass(frozen=True)
class Roads:
    """The edges of a network, joined by the connections that no signal controls.

    `ahead[edge]` and `behind[edge]` hold the edges that follow and precede, the one that goes on best first: straight
    on, then by lanes and speed, then by name.
    """

    network: Network
    ahead: Mapping[str, tuple[str, ...]]
    behind: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, network: Network, barred: Collection[str] = ()) -> Roads:
        """The roads of a network that cars may take, without those through the junctions that are barred."""
        ahead: defaultdict[str, dict[str, bool]] = defaultdict(dict)
        behind: defaultdict[str, dict[str, bool]] = defaultdict(dict)
        for path in network.connections:
            free = path.signal is None and path.junction not in barred and path.turn is not Turn.U_TURN
            if free and drivable(network, path):
                straight = path.turn is Turn.THROUGH
                ahead[path.from_edge][path.to_edge] = straight or ahead[path.from_edge].get(
                    path.to_edge, False
                )
                behind[path.to_edge][path.from_edge] = straight or behind[path.to_edge].get(
                    path.from_edge, False
                )

        def best_first(near: Mapping[str, bool]) -> tuple[str, ...]:
            def rank(edge: str) -> tuple[bool, float, str]:
                road = network.edges[edge]
                return (not near[edge], -len(road.lanes) * road.speed_mps, edge)

            return tuple(sorted(near, key=rank))

        return cls(
            network,
            {edge: best_first(near) for edge, near in ahead.items()},
            {edge: best_first(near) for edge, near in behind.items()},
        )

    def ways(
        self, start: str, goals: Collection[str], most_m: float = BETWEEN_M
    ) -> dict[str, tuple[str, ...]]:
        """The shortest way from the begin of an edge to the end of each goal within reach, both edges included.

        A way ends at the first goal on it: none leads over another.
        """
        return self._ways(start, goals, self.ahead, most_m)

    def ways_back(
        self, start: str, goals: Collection[str], most_m: float = BETWEEN_M
    ) -> dict[str, tuple[str, ...]]:
        """As `ways`, against the traffic; each way is given in driving order."""
        found = self._ways(start, goals, self.behind, most_m)
        return {goal: way[::-1] for goal, way in found.items()}

    def trunk(self, approach: str, until: Collection[str], most_m: float) -> tuple[str, ...]:
        """The road up to an approach, in driving order, to where it is `most_m` long, a signal stands, or an edge of
        `until` leads into it."""
        way = [approach]
        length_m = self.network.edges[approach].length_m
        while length_m < most_m and way[-1] not in until:
            before = next((edge for edge in self.behind.get(way[-1], ()) if edge not in way), None)
            if before is None:
                break
            way.append(before)
            length_m += self.network.edges[before].length_m
        return tuple(reversed(way))

    def _ways(
        self, start: str, goals: Collection[str], near: Mapping[str, tuple[str, ...]], most_m: float
    ) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        done: set[str] = set()
        queue: list[tuple[float, str, tuple[str, ...]]] = [
            (self.network.edges[start].length_m, start, (start,))
        ]
        while queue:
            length_m, edge, way = heapq.heappop(queue)
            if edge in done:
                continue
            done.add(edge)
            if edge in goals:
                found[edge] = way
                continue
            for following in near.get(edge, ()):
                total_m = length_m + self.network.edges[following].length_m
                if following not in done and total_m <= most_m:
                    heapq.heappush(queue, (total_m, following, (*way, following)))
        return found


def drivable(network: Network, path: Connection) -> bool:
    """Whether cars may take a connection."""
    lanes = (
        network.edges[path.from_edge].lanes[path.from_lane],
        network.edges[path.to_edge].lanes[path.to_lane],
    )
    return all(lane.allows("passenger") for lane in lanes)


def cut_scenario(scenario: Scenario, network: Network, signals: Collection[str], folder: Path) -> Scenario:
    """The signals of a group with their roads, as a scenario of its own without traffic.

    Kept are all roads into and out of the group's signals, the unsignalised roads between them, and the road up to
    each for 500 m from its stop line, though never past another signal. Programs, those of additional files and the
    WAUTs that switch them included, stay as they are; other additional elements are left out. The window is the
    scenario's.

    Raises
    ------
    InputError
        Where a signal isn't in the network or has no movements, where the files are broken, and where a signal of the
        cut differs from the city's.
    """
    _check(network, signals)
    folder.mkdir(parents=True, exist_ok=True)
    junctions = _junctions(network, signals)
    _write_net(scenario.net, network, junctions, frozenset(signals), folder / NET_NAME)
    programs = _programs(scenario.additional, frozenset(signals))
    write_whole(folder / ADDITIONAL_NAME, _document("additional", {}, programs))
    cut = Scenario(
        None,
        (folder / NET_NAME).resolve(),
        (),
        ((folder / ADDITIONAL_NAME).resolve(),),
        scenario.begin_s,
        scenario.end_s,
        scenario.step_s,
        scenario.time_to_teleport_s,
    )
    _compare(network, read_network(cut), signals)
    return cut


def _check(network: Network, signals: Collection[str]) -> None:
    if not signals:
        raise InputError("no signals to be cut out; name at least one")
    for signal in sorted(signals):
        found = network.intersections.get(signal)
        if found is None:
            raise InputError(f"signal {signal!r} isn't in {network.source}; is it another network's?")
        if not found.movements:
            raise InputError(f"signal {signal} controls no vehicles; leave it out of the group")


def exits_of(network: Network, signals: Iterable[str]) -> tuple[str, ...]:
    """Edges by which vehicles leave the signals, sorted."""
    return tuple(sorted({m.to_edge for s in signals for m in network.intersections[s].movements}))


def approaches_of(network: Network, signals: Iterable[str]) -> tuple[str, ...]:
    """Edges by which vehicles reach the signals, sorted."""
    return tuple(sorted({m.approach for s in signals for m in network.intersections[s].movements}))


def _junctions(network: Network, signals: Collection[str]) -> frozenset[str]:
    """The junctions that are kept whole."""
    kept: set[str] = set()
    others: dict[str, str] = {}
    for signal, intersection in network.intersections.items():
        if signal in signals:
            kept.update(intersection.junctions)
        else:
            others.update(dict.fromkeys(intersection.junctions, signal))
    shared = sorted(kept & others.keys())
    if shared:
        raise InputError(
            f"junction {shared[0]}: signal {others[shared[0]]} controls a part of it, and isn't in the group; "
            "put both into one group"
        )
    roads = Roads.of(network, others)
    exits, approaches = exits_of(network, signals), approaches_of(network, signals)
    ways = [roads.trunk(approach, exits, UPSTREAM_M) for approach in approaches]
    for exit_edge in exits:
        ways += roads.ways(exit_edge, approaches).values()
    for way in ways:
        kept.update(network.edges[edge].to_junction for edge in way[:-1])
    return frozenset(kept)


# ------------------------------------------------------------------------------------------------- the files


@dataclass
class _Touched:
    """Lanes that end at junctions which aren't kept, by junction, in file order; and edges that were kept."""

    ending: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    edges: set[str] = field(default_factory=set)


def _write_net(
    source: Path, network: Network, junctions: frozenset[str], signals: frozenset[str], path: Path
) -> None:
    tags = (*_KEPT_AS_THEY_ARE, "edge", "tlLogic", "junction", "connection", "roundabout")
    touched = _Touched()
    rows: list[str] = []
    for element in elements(source, *tags):
        kept = _kept(element, network, junctions, signals, touched)
        if kept is not None:
            kept.tail = "\n"
            rows.append(tostring(kept, encoding="unicode"))
    write_whole(path, _document("net", _root_attributes(source), rows))


def _kept(
    element: Element, network: Network, junctions: frozenset[str], signals: frozenset[str], touched: _Touched
) -> Element | None:
    """What becomes of an element of the city's network; None where it is left out."""
    name = element.get("id", "")
    keep = True
    match element.tag:
        case "edge":
            keep = _keep_edge(element, network, junctions, touched)
        case "tlLogic":
            keep = name in signals
        case "connection":
            keep = _junction_behind(element.get("from", ""), network) in junctions
        case "roundabout":
            keep = touched.edges.issuperset(element.get("edges", "").split())
        case "junction" if element.get("type") == "internal":
            keep = name[1:].rsplit("_", 2)[0] in junctions
        case "junction" if name not in junctions:
            return _dead_end(element, touched) if name in touched.ending else None
    return element if keep else None


def _keep_edge(element: Element, network: Network, junctions: frozenset[str], touched: _Touched) -> bool:
    name = element.get("id", "")
    if name.startswith(":"):
        return name[1:].rsplit("_", 1)[0] in junctions
    ends = (element.get("from", ""), element.get("to", ""))
    if name not in network.edges or not junctions.intersection(ends):
        return False
    touched.edges.add(name)
    # the place is remembered for the begin of an edge too: a junction where roads only begin has no lanes into it
    touched.ending[ends[0]] += []
    touched.ending[ends[1]] += [lane.get("id", "") for lane in element.iter("lane")]
    return True


def _junction_behind(edge: str, network: Network) -> str:
    """The junction to which a connection from this edge belongs."""
    if edge.startswith(":"):
        return edge[1:].rsplit("_", 1)[0]
    return network.edges[edge].to_junction if edge in network.edges else ""


def _dead_end(element: Element, touched: _Touched) -> Element:
    name = element.get("id", "")
    attributes = {key: element.get(key, "") for key in ("id", "x", "y", "z", "shape") if element.get(key)}
    lanes = " ".join(touched.ending[name])
    return Element("junction", {**attributes, "type": "dead_end", "incLanes": lanes, "intLanes": ""})


def _programs(paths: Sequence[Path], signals: frozenset[str]) -> list[str]:
    """The elements of additional files that decide what the group's signals show."""
    rows = []
    for path in paths:
        named = {
            e.get("wautID", "") for e in elements(path, "wautJunction") if e.get("junctionID", "") in signals
        }
        for element in elements(path, "tlLogic", "WAUT", "wautJunction"):
            match element.tag:
                case "tlLogic":
                    keep = element.get("id", "") in signals
                case "WAUT":
                    keep = element.get("id", "") in named
                case _:
                    keep = element.get("junctionID", "") in signals
            if keep:
                element.tail = "\n"
                rows.append(tostring(element, encoding="unicode"))
    return rows


def _document(tag: str, attributes: Mapping[str, str], rows: Sequence[str]) -> str:
    opening = tostring(Element(tag, dict(attributes)), encoding="unicode").removesuffix(" />")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{opening}>\n{"".join(rows)}</{tag}>\n'


def _root_attributes(path: Path) -> dict[str, str]:
    """Attributes of the outermost element, without those of the schema."""
    with open_unpacked(path) as stream:
        _, root = next(iter(iterparse(stream, events=("start",), forbid_dtd=True)))
        return {key: value for key, value in root.attrib.items() if not key.startswith("{")}


# --------------------------------------------------------------------------------------------------- the check


def _compare(city: Network, cut: Network, signals: Collection[str]) -> None:
    for signal in sorted(signals):
        before, after = city.intersections[signal], cut.intersections.get(signal)
        differing = _difference(before, after) if after is not None else "it is missing"
        if differing:
            raise InputError(
                f"signal {signal} isn't the same in the cut as in {city.source}: {differing}; "
                "the network file contradicts itself there, or a program was given that doesn't fit"
            )


def _difference(before: Intersection, after: Intersection) -> str:
    if before.n_links != after.n_links:
        return f"{after.n_links} links instead of {before.n_links}"
    ways = [{(m.id, m.approach, m.to_edge, m.links, m.lanes) for m in i.movements} for i in (before, after)]
    if ways[0] != ways[1]:
        names = sorted(name for name, *_ in ways[0] ^ ways[1])
        return f"movements {', '.join(names[:6])} differ"
    if before.conflicts != after.conflicts:
        return "its conflicts and right of way differ"
    if before.program != after.program:
        return "its program differs"
    return ""
