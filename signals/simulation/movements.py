"""Who pays: the delay of each vehicle, charged to the signalised movements that caused it.

Between two stop lines a vehicle loses time that the signal ahead is answerable for. So the delay gathered
since the last signal is charged to the movement (approach edge → next edge) by which the vehicle passes, or
will pass, the next one. Waiting outside for room belongs to the first signal of the trip: its queue is what
fills the entry. What is lost behind the last signal belongs to none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from signals.formats.sumo.config import Scenario
from signals.formats.sumo.xml import elements
from signals.model.network import Network
from signals.simulation.outputs import MovementDelay, Trip, TripSums

_Key = tuple[str, str]


def movement_delays(
    routes: Path, sums: TripSums, scenario: Scenario, network: Network
) -> tuple[MovementDelay, ...]:
    """Delay by signalised movement, in the network's order, movements that nobody used included.

    `routes` is SUMO's vehroute-output with exit times, the unfinished included; `sums` holds the trips.
    """
    movement_of: dict[_Key, tuple[str, str]] = {}
    for intersection in network.intersections.values():
        for movement in intersection.movements:
            movement_of[movement.approach, movement.to_edge] = (intersection.id, movement.id)
    free = _FreeFlow(network)
    vehicles: defaultdict[_Key, float] = defaultdict(float)
    delays: defaultdict[_Key, float] = defaultdict(float)
    first_passed: defaultdict[str, Counter[_Key]] = defaultdict(Counter)

    for vehicle, edges, exits in _driven(routes):
        trip = sums.trips.get(vehicle)
        if trip is None:
            continue
        gathered = trip.depart_delay_s
        pairs = [(a, b) if (a, b) in movement_of else None for a, b in pairwise(edges)]
        first = next((pair for pair in pairs if pair), None)
        if first:
            first_passed[edges[0]][first] += 1
        for k, lost in enumerate(free.lost_by_edge(trip, edges, exits)):
            gathered += lost
            pair = pairs[k] if k < len(exits) and k < len(pairs) else None
            if pair:
                vehicles[pair] += 1
                delays[pair] += gathered
                gathered = 0.0
        if not trip.arrived:
            ahead = next((pair for pair in pairs[len(exits) :] if pair), None)
            if ahead:
                vehicles[ahead] += 1
                delays[ahead] += gathered

    if sums.outside:
        # SUMO writes no route for who never came in. Those ahead in the same queue show where it leads.
        entries = _entry_edges(scenario)
        for vehicle, delay in sums.outside.items():
            ways = first_passed[entries.get(vehicle) or entries.get(vehicle.rpartition(".")[0], "")]
            for pair, n in ways.items():
                share = n / ways.total()
                vehicles[pair] += share
                delays[pair] += share * delay

    return tuple(
        MovementDelay(intersection, movement, pair[0], vehicles[pair], delays[pair])
        for pair, (intersection, movement) in movement_of.items()
    )


class _FreeFlow:
    """Time that edges and junctions take at the speed limit, scaled to each driver's own pace."""

    def __init__(self, network: Network) -> None:
        self._edges = {e.id: (e.length_m, max(e.speed_mps, 0.1)) for e in network.edges.values()}
        inside: defaultdict[_Key, list[tuple[float, float]]] = defaultdict(list)
        for path in network.connections:
            inside[path.from_edge, path.to_edge].append((path.length_m, max(path.speed_mps, 0.1)))
        self._inside: dict[_Key, tuple[float, float]] = {
            pair: (sum(m for m, _ in paths) / len(paths), sum(m / v for m, v in paths) / len(paths))
            for pair, paths in inside.items()
        }

    def lost_by_edge(self, trip: Trip, edges: list[str], exits: list[float]) -> Iterator[float]:
        """Seconds lost on each edge that was left, and on the one where the trip stands or ended.

        The trip's own free-flow time (duration − time loss) sets the driver's pace, so that the parts add
        up to SUMO's time loss, whatever the vehicle's speed factor and top speed.
        """
        metres: list[float] = []
        nominal: list[float] = []
        for k, edge in enumerate(edges[: len(exits) + 1]):
            length, speed = self._edges.get(edge, (0.0, 1.0))
            inner_m, inner_s = self._inside.get((edges[k - 1], edge), (0.0, 0.0)) if k else (0.0, 0.0)
            if k == 0:
                length = max(length - max(trip.depart_position_m, 0.0), 0.0)
            if k == len(exits) or (trip.arrived and k == len(edges) - 1):
                # it ended, or stands, somewhere along this edge (or in the junction before it)
                length = max(trip.distance_m - sum(metres) - inner_m, 0.0)
            metres.append(length + inner_m)
            nominal.append(length / speed + inner_s)
        total = sum(nominal)
        pace = (trip.duration_s - trip.time_loss_s) / total if total > 0 else 0.0
        before = trip.depart_s
        ends = [*exits, trip.depart_s + trip.duration_s]
        for end, seconds in zip(ends, nominal, strict=False):
            yield end - before - pace * seconds
            before = end


def _driven(path: Path) -> Iterator[tuple[str, list[str], list[float]]]:
    """Each vehicle's id, its edges, and when it left those that it has left."""
    for vehicle in elements(path, "vehicle"):
        route = next(vehicle.iter("route"), None)
        if route is None:
            continue
        times = [float(t) for t in route.get("exitTimes", "").split()]
        left = max((k + 1 for k, t in enumerate(times) if t >= 0), default=0)
        for k in range(left):
            # an edge that a teleport skipped took no time
            if times[k] < 0:
                times[k] = times[k - 1] if k else float(vehicle.get("depart", 0))
        yield vehicle.get("id", ""), route.get("edges", "").split(), times[:left]


def _entry_edges(scenario: Scenario) -> Mapping[str, str]:
    """First edge of every vehicle, trip and flow of a scenario, by id."""
    named: dict[str, str] = {}
    entries: dict[str, str] = {}
    pending: dict[str, str] = {}
    for path in (*scenario.additional, *scenario.routes):
        for element in elements(path, "vehicle", "trip", "flow", "route", "routeDistribution"):
            inner = next((r for r in element.iter("route") if r.get("edges")), None)
            first = inner.get("edges", "").split()[0] if inner is not None else element.get("from", "")
            if element.tag in ("route", "routeDistribution"):
                named[element.get("id", "")] = first
            elif first:
                entries[element.get("id", "")] = first
            else:
                pending[element.get("id", "")] = element.get("route", "")
    entries.update({vehicle: named.get(route, "") for vehicle, route in pending.items()})
    return entries
