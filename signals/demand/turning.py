"""Turning movement counts: who reaches each intersection when, by movement and quarter hour."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signals.errors import InputError
from signals.model.demand import INTERVAL_S, Demand, TurningCounts
from signals.model.network import Network

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]

_SLOWEST_MPS = 0.1


def turning_counts(
    network: Network,
    demand: Demand,
    *,
    exit_times: Mapping[str, Sequence[float]] | None = None,
    interval_s: float = INTERVAL_S,
) -> TurningCounts:
    """Vehicles per movement and interval, at the time they would reach the stop line.

    Arrivals, not departures: how many want to pass in an interval, whatever the signal there lets through. A
    vehicle drives at the lesser of the speed limit times its speed factor and its own top speed, over edges
    and junctions alike. Arrivals outside the demand's window are not counted. Every movement of every
    intersection has a row, and every vehicle counts each time it passes a signalised stop line, so that a
    signal over two junctions may count it twice.

    Parameters
    ----------
    exit_times
        When vehicles left each edge of their routes [s], from a recorded run (`record_demand`): the first
        part of a route, or all of it. A vehicle then reaches a stop line a free-flow time after it left the
        edge before, so that delay further upstream shifts arrivals and the queue at the stop line itself
        doesn't. From the last recorded edge on, and for vehicles without a record, free flow is assumed.
    interval_s
        Wanted length of an interval. The window is cut into equal ones: where it is no multiple,
        `TurningCounts.interval_s` is the length nearest to the wanted one.

    Raises
    ------
    InputError
        Where the demand's window is empty, or a record has more times than the route has edges.
    """
    window_s = demand.end_s - demand.begin_s
    if not window_s > 0 or not interval_s > 0:
        raise InputError(
            f"counts from {demand.begin_s:g} s to {demand.end_s:g} s by {interval_s:g} s: nothing to "
            "count in; give a window that ends after it begins, and a positive interval"
        )
    n_intervals = max(1, round(window_s / interval_s))
    length_s = window_s / n_intervals
    index = _Index.of(network)
    passages = _passages(index, demand, exit_times or {})
    inside = (passages.time_s >= demand.begin_s) & (passages.time_s < demand.end_s)
    interval = np.minimum(
        ((passages.time_s - demand.begin_s) / length_s).astype(np.int64, copy=False), n_intervals - 1
    )
    table = _tally(passages.movement[inside], interval[inside], len(index.movements), n_intervals)
    counts: dict[str, dict[str, tuple[float, ...]]] = {name: {} for name in index.intersections}
    for (intersection, movement), row in zip(index.movements, table, strict=True):
        counts[intersection][movement] = tuple(row)
    return TurningCounts(
        demand.begin_s,
        length_s,
        n_intervals,
        counts,
        _link_flows(index, passages, inside, interval, n_intervals),
    )


def flows_vph(counts: TurningCounts, intersection: str, first: int, last: int) -> dict[str, float]:
    """Mean flow of each movement [veh/h] over the intervals `first` to `last`, both included.

    Raises
    ------
    InputError
        Where the intersection isn't counted, or the intervals are not in the counts.
    """
    _check_intervals(counts, first, last)
    hours = (last - first + 1) * counts.interval_s / 3600.0
    return {
        movement: sum(row[first : last + 1]) / hours for movement, row in _rows(counts, intersection).items()
    }


def peak_hour_factor(
    counts: TurningCounts, intersection: str, first: int = 0, last: int | None = None
) -> float:
    """Peak hour factor of an intersection: volume of the busiest hour over four times its busiest quarter.

    Between 1/n (all in one of the hour's n intervals) and 1 (even); 1 where nobody comes. The busiest hour
    is looked for among the intervals `first` to `last` (both included, to the end when None); a shorter
    span counts as a whole. Highway Capacity Manual, 6th edition, chapter 4 (PHF = V / 4 V15), all movements
    of the intersection taken together.

    Raises
    ------
    InputError
        Where the intersection isn't counted, or the intervals are not in the counts.
    """
    last = counts.n_intervals - 1 if last is None else last
    _check_intervals(counts, first, last)
    rows = _rows(counts, intersection)
    total = [sum(row[i] for row in rows.values()) for i in range(first, last + 1)]
    hour = max(1, min(len(total), round(3600.0 / counts.interval_s)))
    busiest = max((total[i : i + hour] for i in range(len(total) - hour + 1)), key=sum)
    return sum(busiest) / (hour * max(busiest)) if max(busiest) > 0 else 1.0


def _rows(counts: TurningCounts, intersection: str) -> Mapping[str, tuple[float, ...]]:
    try:
        return counts.counts[intersection]
    except KeyError:
        raise InputError(
            f"intersection {intersection!r} isn't counted; is it from another network?"
        ) from None


def _check_intervals(counts: TurningCounts, first: int, last: int) -> None:
    if not 0 <= first <= last < counts.n_intervals:
        raise InputError(
            f"intervals {first} to {last} asked for, but the counts hold 0 to {counts.n_intervals - 1}"
        )


# ------------------------------------------------------------------------------------- network as arrays


@dataclass(frozen=True)
class _Index:
    """A network by number: edges with length and speed, turns (edge → next edge) sorted by their code."""

    edges: dict[str, int]
    edge_m: _Floats
    edge_mps: _Floats
    turn_code: _Ints
    turn_m: _Floats
    turn_mps: _Floats
    turn_movement: _Ints
    movements: list[tuple[str, str]]
    movement_intersection: _Ints
    intersections: list[str]

    @classmethod
    def of(cls, network: Network) -> _Index:
        edges = {name: i for i, name in enumerate(network.edges)}
        n = len(edges)
        # The last edge stands for all that the network doesn't know: no length, no time.
        edge_m = np.array([*(e.length_m for e in network.edges.values()), 0.0])
        edge_mps = np.array([*(e.speed_mps for e in network.edges.values()), 1.0])
        paths: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
        for path in network.connections:
            if path.from_edge in edges and path.to_edge in edges:
                code = edges[path.from_edge] * (n + 1) + edges[path.to_edge]
                paths[code].append((path.length_m, max(path.speed_mps, _SLOWEST_MPS)))
        intersections = list(network.intersections)
        movements: list[tuple[str, str]] = []
        owner: list[int] = []
        movement_of: dict[int, int] = {}
        for k, intersection in enumerate(network.intersections.values()):
            for movement in intersection.movements:
                if movement.approach in edges and movement.to_edge in edges:
                    code = edges[movement.approach] * (n + 1) + edges[movement.to_edge]
                    movement_of.setdefault(code, len(movements))
                    paths.setdefault(code, [(0.0, 1.0)])
                movements.append((intersection.id, movement.id))
                owner.append(k)
        codes = np.array(sorted(paths), dtype=np.int64)
        lanes = [paths[code] for code in codes.tolist()]
        return cls(
            edges,
            edge_m,
            np.maximum(edge_mps, _SLOWEST_MPS),
            codes,
            np.array([sum(m for m, _ in lane) / len(lane) for lane in lanes]),
            np.array([sum(v for _, v in lane) / len(lane) for lane in lanes]),
            np.array([movement_of.get(code, -1) for code in codes.tolist()], dtype=np.int64),
            movements,
            np.array(owner, dtype=np.int64),
            intersections,
        )


# --------------------------------------------------------------------------------------------- passages


@dataclass(frozen=True)
class _Passages:
    """Every passage of a vehicle through a movement, in the order of vehicles and of their routes."""

    vehicle: _Ints
    movement: _Ints
    time_s: _Floats


def _passages(index: _Index, demand: Demand, exit_times: Mapping[str, Sequence[float]]) -> _Passages:
    vehicles = demand.vehicles
    n_edges = np.array([len(v.edges) for v in vehicles], dtype=np.int64)
    total = int(n_edges.sum())
    if total == 0:
        return _Passages(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    unknown = len(index.edges)
    number_of = index.edges.get
    edge: _Ints = np.fromiter(
        (number_of(name, unknown) for vehicle in vehicles for name in vehicle.edges), np.int64, total
    )
    vehicle_of = np.repeat(np.arange(len(vehicles)), n_edges)
    start = np.cumsum(n_edges) - n_edges
    factor = _per_vehicle((demand.types[v.type].speed_factor for v in vehicles), vehicle_of)
    top_mps = _per_vehicle((demand.types[v.type].max_speed_mps for v in vehicles), vehicle_of)
    depart_s = _per_vehicle((v.depart_s for v in vehicles), vehicle_of)

    # Position p turns from edge[p] to edge[p + 1]; the last edge of a route turns nowhere.
    last = np.zeros(total, dtype=bool)
    last[(start + n_edges - 1)[n_edges > 0]] = True
    following = np.append(edge[1:], unknown)
    turn = _find(index.turn_code, edge * (unknown + 1) + following)
    turn[last] = -1

    edge_s = index.edge_m[edge] / _driven(index.edge_mps[edge], factor, top_mps)
    turn_s = np.zeros(total)
    turns = turn >= 0
    turn_s[turns] = index.turn_m[turn[turns]] / _driven(
        index.turn_mps[turn[turns]], factor[turns], top_mps[turns]
    )

    # Free flow: the end of edge p is reached after the edges up to it and the junctions between them.
    spent_s = np.cumsum(edge_s + turn_s) - turn_s
    before_s = np.cumsum(edge_s + turn_s) - edge_s - turn_s
    end_s = depart_s + spent_s - before_s[np.repeat(start, n_edges)]
    if exit_times:
        end_s += _upstream_delay(_exits_by_vehicle(demand, exit_times), n_edges, start, end_s)

    movement = np.where(turns, index.turn_movement[turn], -1) if len(index.turn_code) else np.full(total, -1)
    signalised = movement >= 0
    return _Passages(vehicle_of[signalised], movement[signalised], end_s[signalised])


def _exits_by_vehicle(demand: Demand, exit_times: Mapping[str, Sequence[float]]) -> list[Sequence[float]]:
    """Recorded exit times of each vehicle of the demand, empty where there is no record.

    Raises
    ------
    InputError
        Where a record has more times than the route has edges: it belongs to another run.
    """
    recorded: list[Sequence[float]] = []
    for vehicle in demand.vehicles:
        exits = exit_times.get(vehicle.id, ())
        if len(exits) > len(vehicle.edges):
            raise InputError(
                f"vehicle {vehicle.id!r}: {len(exits)} exit times for a route of {len(vehicle.edges)} edges; "
                "take routes and times from the same recorded run"
            )
        recorded.append(exits)
    return recorded


def _upstream_delay(
    recorded: Sequence[Sequence[float]], n_edges: _Ints, start: _Ints, end_s: _Floats
) -> _Floats:
    """What the recorded run adds to the free-flow arrival at the end of each edge: delay before that edge."""
    n_recorded = np.array([len(exits) for exits in recorded], dtype=np.int64)
    exits = np.fromiter((t for times in recorded for t in times), np.float64, int(n_recorded.sum()))
    within = np.arange(len(exits)) - np.repeat(np.cumsum(n_recorded) - n_recorded, n_recorded)
    at = np.repeat(start, n_recorded) + within
    delay = np.zeros(len(end_s))
    delay[at] = exits - end_s[at]
    # Position p takes the delay from the nearest recorded edge upstream of it, if there is one.
    source = np.full(len(end_s), -1, dtype=np.int64)
    source[at] = at
    nearest = np.empty_like(source)
    nearest[0] = -1
    nearest[1:] = np.maximum.accumulate(source)[:-1]
    known = nearest >= np.repeat(start, n_edges)
    return np.where(known, delay[nearest], 0.0)


def _per_vehicle(values: Iterable[float], vehicle_of: _Ints) -> _Floats:
    return np.array(list(values), dtype=np.float64)[vehicle_of]


def _driven(limit_mps: _Floats, factor: _Floats, top_mps: _Floats) -> _Floats:
    return np.maximum(np.minimum(limit_mps * factor, top_mps), _SLOWEST_MPS)


def _find(sorted_codes: _Ints, wanted: _Ints) -> _Ints:
    """Positions of `wanted` in `sorted_codes`, -1 where absent."""
    if not len(sorted_codes):
        return np.full(len(wanted), -1, dtype=np.int64)
    position = np.minimum(np.searchsorted(sorted_codes, wanted), len(sorted_codes) - 1)
    return np.where(sorted_codes[position] == wanted, position, -1).astype(np.int64)


def _tally(row: _Ints, interval: _Ints, n_rows: int, n_intervals: int) -> list[list[float]]:
    flat = np.bincount(row * n_intervals + interval, minlength=n_rows * n_intervals)
    table: list[list[float]] = flat.reshape(n_rows, n_intervals).astype(np.float64).tolist()
    return table


def _link_flows(
    index: _Index, passages: _Passages, inside: NDArray[np.bool_], interval: _Ints, n_intervals: int
) -> dict[tuple[str, str], tuple[float, ...]]:
    """Vehicles that pass one intersection and then another one next, by when they reach the second."""
    if len(passages.movement) < 2:
        return {}
    at = index.movement_intersection[passages.movement]
    n = len(index.intersections)
    linked = (passages.vehicle[1:] == passages.vehicle[:-1]) & (at[1:] != at[:-1]) & inside[1:] & inside[:-1]
    codes, row = np.unique(at[:-1][linked] * n + at[1:][linked], return_inverse=True)
    table = _tally(row.astype(np.int64), interval[1:][linked], len(codes), n_intervals)
    return {
        (index.intersections[code // n], index.intersections[code % n]): tuple(flows)
        for code, flows in zip(codes.tolist(), table, strict=True)
    }
