"""The ambulance's way: which signals it passes on a route, how far along, and by which movement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from signals.errors import InputError
from signals.model.network import Connection, Network


@dataclass(frozen=True, slots=True)
class Passage:
    """One signal on the route: the movements that the ambulance makes there, their links and the first stop line.

    `distance_m` is measured from the start of the route's first edge, `free_s` is the time to there at the speed
    limits.
    """

    signal: str
    movements: tuple[str, ...]
    links: tuple[int, ...]
    distance_m: float
    free_s: float
    leaves_m: float


@dataclass(frozen=True)
class Route:
    """A drive over edges. `edge_starts` gives each edge's start along it: metres, and seconds at the speed limits."""

    edges: tuple[str, ...]
    edge_starts: tuple[tuple[float, float], ...]
    length_m: float
    free_s: float
    passages: tuple[Passage, ...]

    def free_at(self, distance_m: float, network: Network) -> float:
        """Seconds at the speed limits from the route's start to a point of it."""
        for edge, (start_m, start_s) in zip(reversed(self.edges), reversed(self.edge_starts), strict=True):
            if distance_m >= start_m:
                driven = min(distance_m - start_m, network.edges[edge].length_m)
                return start_s + driven / network.edges[edge].speed_mps
        return 0.0


def read_route(network: Network, edges: Sequence[str]) -> Route:
    """The route over these edges.

    Raises
    ------
    InputError
        Where an edge isn't in the network, one doesn't lead to the next, or no signal stands on the way.
    """
    if not edges:
        raise InputError("the route names no edges; give their ids in the order of driving")
    unknown = [e for e in edges if e not in network.edges]
    if unknown:
        raise InputError(
            f"route: {network.source} has no edge {', '.join(unknown[:5])}; give edges of the network by their ids"
        )
    paths: dict[tuple[str, str], list[Connection]] = {}
    for connection in network.connections:
        paths.setdefault((connection.from_edge, connection.to_edge), []).append(connection)
    starts: list[tuple[float, float]] = []
    passages: dict[str, Passage] = {}
    metres = seconds = 0.0
    for k, edge in enumerate(edges):
        starts.append((metres, seconds))
        metres += network.edges[edge].length_m
        seconds += network.edges[edge].length_m / network.edges[edge].speed_mps
        if k + 1 == len(edges):
            break
        through = paths.get((edge, edges[k + 1]), [])
        if not through:
            onward = sorted({b for a, b in paths if a == edge})
            raise InputError(
                f"route: edge {edge} doesn't lead to {edges[k + 1]}; from there one gets to "
                f"{', '.join(onward[:5]) or 'nowhere'}"
            )
        inside = max(through, key=lambda c: c.length_m)
        _pass(network, passages, through, metres, seconds, inside.length_m)
        metres += inside.length_m
        seconds += inside.length_m / max(inside.speed_mps, 1.0)
    if not passages:
        raise InputError(f"route {edges[0]} … {edges[-1]}: no signal stands on it, so there is none to plan")
    return Route(tuple(edges), tuple(starts), metres, seconds, tuple(passages.values()))


def position_m(route: Route, network: Network, edge: str, along_m: float) -> float:
    """Metres along the route of a point on one of its edges.

    Raises
    ------
    InputError
        Where the edge isn't on the route.
    """
    if edge not in route.edges:
        raise InputError(f"position: edge {edge} isn't on the route, which runs from {route.edges[0]}")
    start_m, _ = route.edge_starts[route.edges.index(edge)]
    return start_m + min(max(along_m, 0.0), network.edges[edge].length_m)


def describe(network: Network, passage: Passage) -> str:
    """The movements of a passage as an engineer says them: EB through."""
    intersection = network.intersections[passage.signal]
    bounds = {a.edge: a.bound for a in intersection.approaches}
    return ", ".join(
        f"{bounds.get(m.approach, m.approach)} {m.turn}"
        for m in intersection.movements
        if m.id in passage.movements
    )


def _pass(
    network: Network,
    passages: dict[str, Passage],
    through: Sequence[Connection],
    metres: float,
    seconds: float,
    inside_m: float,
) -> None:
    """Note the signal that controls a step of the route; a controller passed twice is held once for both."""
    signal = next((c.signal for c in through if c.signal is not None), None)
    if signal is None or signal not in network.intersections:
        return
    links = tuple(sorted({c.link_index for c in through if c.link_index >= 0}))
    edge, following = through[0].from_edge, through[0].to_edge
    movements = tuple(
        m.id
        for m in network.intersections[signal].movements
        if m.to_edge == following and set(m.links) & set(links) and m.approach == edge
    )
    known = passages.get(signal)
    if known is None:
        passages[signal] = Passage(signal, movements, links, metres, seconds, metres + inside_m)
        return
    passages[signal] = Passage(
        signal,
        (*known.movements, *movements),
        tuple(sorted({*known.links, *links})),
        known.distance_m,
        known.free_s,
        metres + inside_m,
    )
