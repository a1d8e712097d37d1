"""Objects become arrays: the only place where networks, demand and programs are laid out for kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kernels.arrays import (
    CLEARED,
    CLEARING,
    PERMITTED,
    PROTECTED,
    RED,
    STOP_THEN_GO,
    FlowRules,
    RoadArrays,
    SignalArrays,
    TrafficArrays,
)
from signals.model.demand import Demand, Vehicle, VehicleType
from signals.model.network import Network
from signals.model.phasing import SignalProgram

LANE_CHANGE_M = 120.0
"""On an edge at least this long a vehicle reaches any lane; on a shorter one it stays where it came in."""
WAITING_ROOM_M = 7.5
"""Room inside a junction that one waiting vehicle needs."""
SHORTEST_ROOM_M = 16.0
"""Room of lanes too short for the vehicles that move over them within one second: many real edges are."""
SLACK_M = 6.0
"""The last vehicle of a full lane stands with its tail in the junction behind, as SUMO's do."""
MAX_LANES = 62

FLOW_RULES = FlowRules(
    lost=1.93, spacing=0.4, gap=2.75, gap_inside=1.28, clear=1.01, wave=5.25, entry=1.6, dawdle=0.078
)
"""Discharge and gap acceptance as SUMO's default drivers show them; docs/decisions/0006."""

_STATES = {"G": PROTECTED, "g": PERMITTED, "O": PROTECTED, "o": PERMITTED, "s": STOP_THEN_GO}


@dataclass(frozen=True)
class RoadPack:
    """A road's arrays, and where each thing went: signals and edges by id, kept connections by position."""

    arrays: RoadArrays
    edges: Mapping[str, int]
    signals: tuple[str, ...]
    connections: tuple[int, ...]
    lane_indices: Mapping[str, tuple[int, ...]]


def pack_road(network: Network, classes: Iterable[str]) -> RoadPack:
    """Lanes and links that vehicles of these SUMO classes use.

    Raises
    ------
    ValueError
        Where an edge has more lanes than a lane mask holds.
    """
    wanted = frozenset(classes)
    edges = {e: i for i, e in enumerate(sorted(network.edges))}
    lane_indices = {
        e: tuple(k for k, lane in enumerate(network.edges[e].lanes) if lane.allowed & wanted) for e in edges
    }
    crowded = [e for e, kept in lane_indices.items() if len(kept) > MAX_LANES]
    if crowded:
        raise ValueError(f"edge {crowded[0]} has more than {MAX_LANES} lanes")
    lane_number: dict[tuple[str, int], int] = {}
    edge_lane = [0]
    for e in edges:
        for k in lane_indices[e]:
            lane_number[e, k] = len(lane_number)
        edge_lane.append(len(lane_number))
    lanes = [network.edges[e].lanes[k] for e, k in lane_number]

    kept = [
        p
        for p, c in enumerate(network.connections)
        if (c.from_edge, c.from_lane) in lane_number and (c.to_edge, c.to_lane) in lane_number
    ]
    kept.sort(key=lambda p: lane_number[network.connections[p].from_edge, network.connections[p].from_lane])
    link_of = {p: k for k, p in enumerate(kept)}
    links = [network.connections[p] for p in kept]
    signals = tuple(s for s, i in network.intersections.items() if i.program and i.program.intervals)
    signal_index = {s: k for k, s in enumerate(signals)}
    link_from = [lane_number[c.from_edge, c.from_lane] for c in links]
    lane_link = np.searchsorted(np.asarray(link_from, np.int64), np.arange(len(lanes) + 1))
    yields = [[link_of[p] for p in c.yields_to if p in link_of] for c in links]
    controlled = [c.signal in signal_index for c in links]
    arrays = RoadArrays(
        lane_length=_floats(lane.length_m for lane in lanes),
        lane_room=_floats(max(lane.length_m + SLACK_M, SHORTEST_ROOM_M) for lane in lanes),
        lane_speed=_floats(lane.speed_mps for lane in lanes),
        lane_edge=_ints(edges[e] for e, _ in lane_number),
        edge_lane=_ints(edge_lane),
        lane_link=_ints(lane_link),
        link_from=_ints(link_from),
        link_to=_ints(lane_number[c.to_edge, c.to_lane] for c in links),
        link_to_edge=_ints(edges[c.to_edge] for c in links),
        link_length=_floats(c.length_m for c in links),
        link_speed=_floats(c.speed_mps for c in links),
        link_waiting=_ints(int(c.waiting_m / WAITING_ROOM_M + 0.5) for c in links),
        link_signal=_ints(
            signal_index[c.signal or ""] if ok else -1 for c, ok in zip(links, controlled, strict=True)
        ),
        link_column=_ints(max(c.link_index, 0) for c in links),
        link_minor=np.array([not ok and bool(y) for ok, y in zip(controlled, yields, strict=True)], np.uint8),
        link_yield=_ints(np.cumsum([0, *(len(y) for y in yields)])),
        yield_to=_ints(k for y in yields for k in y),
    )
    return RoadPack(arrays, edges, signals, tuple(kept), lane_indices)


def pack_traffic(
    network: Network,
    road: RoadPack,
    demand: Demand,
    *,
    speed_spread: float,
    departure_spread_s: float = 0.0,
    seed: int,
) -> TrafficArrays:
    """Vehicles and their routes, with the lanes that lead on at each step.

    `speed_spread` is the standard deviation of desired speeds (SUMO's default is 0.1), `departure_spread_s`
    that of a shift of each departure within the window; `seed` draws both.
    """
    generator = np.random.default_rng(seed)
    demand = _shifted(demand, departure_spread_s, generator)
    reach = _reachable_lanes(network, road)
    routes: dict[tuple[tuple[str, ...], str], int] = {}
    default = VehicleType()
    types = [demand.types.get(v.type, default) for v in demand.vehicles]
    route_of = [
        routes.setdefault((v.edges, t.vehicle_class), len(routes))
        for v, t in zip(demand.vehicles, types, strict=True)
    ]
    steps: list[int] = []
    masks: list[int] = []
    ends = [0]
    for route, vehicle_class in routes:
        steps += [road.edges[e] for e in route]
        masks += _lane_masks(network, road, reach, route, vehicle_class)
        ends.append(len(steps))
    spread = np.clip(generator.normal(1.0, speed_spread, len(types)), 0.6, 1.4)
    return TrafficArrays(
        depart=_floats(v.depart_s for v in demand.vehicles),
        route=_ints(route_of),
        size=_floats(t.length_m + t.min_gap_m for t in types),
        headway=_floats(t.headway_s for t in types),
        accel=_floats(t.accel_mps2 for t in types),
        decel=_floats(t.decel_mps2 for t in types),
        speed_factor=_floats(t.speed_factor for t in types) * spread,
        max_speed=_floats(t.max_speed_mps for t in types),
        depart_lane=_ints(
            _departure_lane(network, road, v, t.vehicle_class)
            for v, t in zip(demand.vehicles, types, strict=True)
        ),
        route_edge=_ints(ends),
        edges=_ints(steps),
        lanes=_ints(masks),
    )


def _shifted(demand: Demand, spread_s: float, generator: np.random.Generator) -> Demand:
    if spread_s <= 0 or not demand.vehicles:
        return demand
    shifts = generator.normal(0.0, spread_s, len(demand.vehicles))
    latest = max(demand.begin_s, demand.end_s - 1.0)
    moved = [
        replace(v, depart_s=float(min(max(v.depart_s + d, demand.begin_s), latest)))
        for v, d in zip(demand.vehicles, shifts, strict=True)
    ]
    return replace(demand, vehicles=tuple(sorted(moved, key=lambda v: v.depart_s)))


def pack_signals(
    road: RoadPack, programs: Mapping[str, Sequence[tuple[float, SignalProgram]]]
) -> SignalArrays:
    """What each signal shows each second of its cycle; `programs[signal]` lists (start [s], program)."""
    pointer, starts, cycles, offsets, rows = [0], [], [], [], [0]
    tables = []
    width = max((p.n_links for choices in programs.values() for _, p in choices), default=1)
    for signal in road.signals:
        for start, program in programs[signal]:
            table = state_table(program)
            padded = np.zeros((table.shape[0], width), np.uint8)
            padded[:, : table.shape[1]] = table
            tables.append(padded)
            starts.append(start)
            cycles.append(program.cycle_s)
            offsets.append(program.offset_s)
            rows.append(rows[-1] + table.shape[0])
        pointer.append(len(starts))
    state = np.concatenate(tables) if tables else np.zeros((1, 1), np.uint8)
    return SignalArrays(
        _ints(pointer), _floats(starts), _floats(cycles), _floats(offsets), _ints(rows[:-1]), state
    )


def state_table(program: SignalProgram) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """States by second of the cycle and link: uint8[ceil(cycle), n_links], one of RED … CLEARED."""
    n_rows = max(1, int(np.ceil(program.cycle_s - 1e-9)))
    ends = np.cumsum([i.duration_s for i in program.intervals])
    # SUMO's step of second t shows what is due by its end: a yellow of 3.6 s is seen for 3
    which = np.minimum(
        np.searchsorted(ends, np.arange(n_rows) + 0.999, side="right"), len(program.intervals) - 1
    )
    letters = np.array([[_STATES.get(c, RED) for c in i.state] for i in program.intervals], np.uint8)
    yellow = np.array([[c in "yY" for c in i.state] for i in program.intervals], bool)
    table = letters[which]
    is_yellow = yellow[which]
    was_green = np.isin(table, (PERMITTED, PROTECTED))
    # only yellow that follows green: a vehicle that can't stop any more
    table[is_yellow & np.roll(was_green, 2, axis=0)] = CLEARED
    table[is_yellow & np.roll(was_green, 1, axis=0)] = CLEARING
    return table


def _reachable_lanes(network: Network, road: RoadPack) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Lane pairs (from, to), numbered within their edges, by pair of edges."""
    reach: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for p in road.connections:
        c = network.connections[p]
        pair = (
            road.lane_indices[c.from_edge].index(c.from_lane),
            road.lane_indices[c.to_edge].index(c.to_lane),
        )
        reach.setdefault((c.from_edge, c.to_edge), []).append(pair)
    return reach


def _lane_masks(
    network: Network,
    road: RoadPack,
    reach: Mapping[tuple[str, str], Sequence[tuple[int, int]]],
    route: tuple[str, ...],
    vehicle_class: str,
) -> list[int]:
    """For each edge of a route, the lanes that lead on, looked at from the route's end."""

    def usable(edge: str) -> int:
        lanes = network.edges[edge].lanes
        mask = sum(1 << n for n, k in enumerate(road.lane_indices[edge]) if lanes[k].allows(vehicle_class))
        return mask or (1 << len(road.lane_indices[edge])) - 1

    masks = [usable(route[-1])]
    for here, onward in zip(reversed(route[:-1]), reversed(route[1:]), strict=True):
        lanes = usable(here)
        pairs = reach.get((here, onward), ())
        long = network.edges[onward].length_m >= LANE_CHANGE_M
        target = usable(onward) if long else masks[-1]
        good = sum(1 << a for a in {a for a, b in pairs if target >> b & 1 and lanes >> a & 1})
        loose = sum(1 << a for a in {a for a, _ in pairs})
        masks.append(good or loose & lanes or loose or lanes)
    return masks[::-1]


def _departure_lane(network: Network, road: RoadPack, vehicle: Vehicle, vehicle_class: str) -> int:
    """Lane of departure within the edge, -1 for the emptiest that leads on."""
    edge = vehicle.edges[0]
    kept = road.lane_indices[edge]
    if vehicle.depart_lane == "first":
        lanes = network.edges[edge].lanes
        return next((n for n, k in enumerate(kept) if lanes[k].allows(vehicle_class)), 0)
    if vehicle.depart_lane.isdigit():
        wish = int(vehicle.depart_lane)
        return kept.index(wish) if wish in kept else 0
    return -1


def _floats(values: Iterable[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.ascontiguousarray(np.fromiter(values, np.float64))


def _ints(values: Iterable[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.ascontiguousarray(np.fromiter(values, np.int64))
