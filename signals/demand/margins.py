"""Counts of approach and exit edges, and of the movements between them, as tables on one clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from signals.demand.calendar import means_by_place, slots_of
from signals.errors import InputError
from signals.model.counts import CountTable, Floats
from signals.model.demand import TurningCounts
from signals.model.network import Detector, Movement, Network


def movement_table(turning: TurningCounts, date: str = "2000-01-01") -> CountTable:
    """Turning counts of a scenario as a table: series are movement ids, the clock starts at `date`, 0:00.

    Raises
    ------
    InputError
        Where intervals aren't whole minutes that divide a day, or don't begin on one.
    """
    step_min, begin_min = turning.interval_s / 60.0, turning.begin_s / 60.0
    if abs(step_min - round(step_min)) > 1e-6 or abs(begin_min - round(begin_min)) > 1e-6:
        raise InputError(
            f"counts from {turning.begin_s:g} s by {turning.interval_s:g} s: a table needs whole minutes; "
            "count by 900 s"
        )
    rows = {m: row for of_signal in turning.counts.values() for m, row in of_signal.items()}
    values = np.array(list(rows.values()), dtype=np.float64).reshape(len(rows), turning.n_intervals).T
    start = np.datetime64(date, "m") + np.timedelta64(round(begin_min), "m")
    try:
        return CountTable(tuple(rows), start, round(step_min), values)
    except ValueError as error:
        raise InputError(f"turning counts: {error}") from None


def approaches_of(network: Network) -> dict[str, str]:
    """The approach edge of every movement of a network."""
    return {m.id: m.approach for m in movements_of(network)}


def movements_of(network: Network) -> list[Movement]:
    """All movements of a network, intersection by intersection."""
    return [m for i in network.intersections.values() for m in i.movements]


def margins(network: Network, movements: CountTable) -> tuple[CountTable, CountTable]:
    """Counts of approach edges and of exit edges that a table of movements adds up to.

    An edge is unknown in an interval in which any of its movements is.

    Raises
    ------
    KeyError
        Where a movement of the network isn't in the table.
    """
    of_network = movements_of(network)
    usable = movements.select([m.id for m in of_network]).usable

    def summed(edges: Iterable[str]) -> CountTable:
        sums = {edge: usable[:, columns].sum(axis=1) for edge, columns in positions_of(edges).items()}
        return table_of(movements, sums)

    return summed(m.approach for m in of_network), summed(m.to_edge for m in of_network)


def positions_of(edges: Iterable[str]) -> dict[str, list[int]]:
    """Where each edge stands among these."""
    found: dict[str, list[int]] = {}
    for position, edge in enumerate(edges):
        found.setdefault(edge, []).append(position)
    return found


def flows_at_places(network: Network, names: Sequence[str], counts: Floats) -> dict[str, Floats]:
    """Counts by edge and movement, float64[n_interval], out of series named after edges, movements or detectors.

    `counts` is float64[n_interval, n_series]. Detectors give their edge's count where every lane for cars has one
    that is counted; of several on a lane the one nearest to its end is taken. Other series are left out.
    """
    column = {name: k for k, name in enumerate(names)}
    places = [*network.edges, *(m.id for m in movements_of(network))]
    flows = {place: counts[:, column[place]] for place in places if place in column}
    last: dict[str, Detector] = {}
    for intersection in network.intersections.values():
        for detector in intersection.detectors:
            before = last.get(detector.lane)
            if detector.id in column and (before is None or detector.position_m > before.position_m):
                last[detector.lane] = detector
    for edge in network.edges.values():
        lanes = [lane.id for lane in edge.lanes if lane.allows("passenger")]
        if lanes and edge.id not in flows and all(lane in last for lane in lanes):
            flows[edge.id] = counts[:, [column[last[lane].id] for lane in lanes]].sum(axis=1)
    return flows


class UsableCounts:
    """Usable counts of a table by series, to look up one intersection after the other."""

    def __init__(self, table: CountTable) -> None:
        self._usable = table.usable
        self._column = {name: k for k, name in enumerate(table.names)}

    def of(self, names: Sequence[str]) -> Floats:
        """Counts of these series, float64[n_interval, n_name]; NaN throughout where the table has none."""
        known = [k for k, name in enumerate(names) if name in self._column]
        counts = np.full((len(self._usable), len(names)), np.nan)
        counts[:, known] = self._usable[:, [self._column[names[k]] for k in known]]
        return counts


def table_of(like: CountTable, columns: Mapping[str, Floats], remarks: tuple[str, ...] = ()) -> CountTable:
    """Counts by series, veh per interval, on the clock of another table."""
    return replace(
        like,
        names=tuple(columns),
        values=np.column_stack(list(columns.values())),
        reasons=np.empty((0, 0), dtype=np.uint8),
        remarks=remarks,
    )


def mean_day(counts: CountTable) -> CountTable:
    """The mean of all days, slot by slot of the local clock, of the counts that are usable."""
    times = counts.local_times
    mean = means_by_place(counts.usable, slots_of(times, counts.step_min), counts.slots_a_day)
    return CountTable(
        counts.names, times[0].astype("datetime64[D]").astype("datetime64[m]"), counts.step_min, mean
    )


def check_margins(inflow: CountTable, outflow: CountTable) -> None:
    """Nothing where approach and exit counts are on one clock, and none is negative.

    Raises
    ------
    InputError
        Where they aren't.
    """
    ours = (inflow.start, inflow.step_min, inflow.n_intervals, inflow.timezone)
    theirs = (outflow.start, outflow.step_min, outflow.n_intervals, outflow.timezone)
    if ours != theirs:
        raise InputError(
            f"approach counts of {ours[2]} intervals of {ours[1]} min from {ours[0]}, exit counts of {theirs[2]} "
            f"intervals of {theirs[1]} min from {theirs[0]}: bring both to one clock"
        )
    check_not_negative(inflow, "approach counts")
    check_not_negative(outflow, "exit counts")


def check_not_negative(table: CountTable, what: str) -> None:
    """Nothing where no usable count is negative.

    Raises
    ------
    InputError
        Where one is; `what` says in it what was counted.
    """
    usable = table.usable
    negative = np.argwhere(usable < 0.0)
    if not len(negative):
        return
    row, column = (int(k) for k in negative[0])
    raise InputError(
        f"{what}: series {table.names[column]!r} has {usable[row, column]:g} vehicles at {table.times[row]}; "
        "counts can't be negative, screen the table first"
    )
