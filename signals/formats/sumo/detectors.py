"""Counts from SUMO's outputs: induction loops (E1) and edge data."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from signals.errors import InputError
from signals.formats.counts import MOST_CELLS, check_timezone, to_utc
from signals.formats.sumo.config import parse_time
from signals.formats.sumo.xml import elements, root_tag
from signals.model.counts import MINUTES_A_DAY, CountTable

EPOCH = datetime(1970, 1, 1)
"""What second 0 of a simulation is where nobody says: a local midnight, so that 7 h of SUMO reads 07:00."""

LOOPS, EDGES = "detector", "meandata"
"""Outermost elements of the two outputs."""


def read_detectors(
    path: Path, *, start: datetime = EPOCH, timezone: str = "", step_min: int | None = None
) -> CountTable:
    """Vehicles per induction loop or edge and interval, as SUMO has written them.

    Loops (`inductionLoop`): `nVehContrib`, the vehicles that left the loop in the interval, so that nobody
    is counted in two. Edges (`edgeData`): `entered` + `departed`, everybody who came onto the edge, from
    another edge or by starting there: what wants to get to the edge's end, whether it got there or not.
    An edge that an interval leaves out (SUMO's excludeEmpty) had nobody on it: zero. A loop that it leaves
    out has a gap.

    Parameters
    ----------
    start
        The date and time of SUMO's second 0, on the local clock.
    timezone
        Whose clock that is; the table is then in UTC, from `start` on in elapsed time.
    step_min
        What the intervals have to be; None for what they are.

    Raises
    ------
    InputError
        Where the file is broken, holds another output, or its intervals are uneven, no whole minutes, or
        not `step_min`.
    """
    path = Path(path)
    check_timezone(timezone)
    if start.tzinfo is not None:
        raise InputError(f"start {start.isoformat()}: give it on the local clock, without an offset")
    root = root_tag(path)
    if root == LOOPS:
        found = _Found(path, _loop_counts(path))
    elif root == EDGES:
        found = _Found(path, _edge_counts(path))
    else:
        raise InputError(
            f"{path}: its outermost element is <{root}>; counts are in SUMO's output of induction loops "
            f"(<{LOOPS}>) and in edge data (<{EDGES}>)"
        )
    return found.table(start, timezone, step_min, absent=np.nan if root == LOOPS else 0.0)


Counted = tuple[str, str, str, float]
"""Begin and end of an interval as written, name of the series, vehicles. An empty name: an interval alone."""


def _loop_counts(path: Path) -> Iterator[Counted]:
    for element in elements(path, "interval"):
        if element.get("nVehContrib") is None:
            raise InputError(
                f"{path}: an interval of {element.get('id', '')!r} has no nVehContrib; it is the output of "
                "another kind of detector, counts come from inductionLoop"
            )
        yield (
            element.get("begin", ""),
            element.get("end", ""),
            element.get("id", ""),
            _vehicles(path, element, "nVehContrib"),
        )


def _edge_counts(path: Path) -> Iterator[Counted]:
    owner: str | None = None
    for interval in elements(path, "interval"):
        begin, end, data = interval.get("begin", ""), interval.get("end", ""), interval.get("id", "")
        if owner is not None and data != owner:
            raise InputError(
                f"{path}: holds the edge data {owner!r} and {data!r}; have SUMO write a file for each"
            )
        owner = data
        yield begin, end, "", 0.0
        for edge in interval.iter("edge"):
            name = edge.get("id", "")
            if edge.get("entered") is None:
                if edge.find("lane") is not None:
                    raise InputError(f"{path}: is laneData; have SUMO write edgeData")
                # Without anybody on it, SUMO may give an edge its name alone.
                yield begin, end, name, 0.0
                continue
            yield begin, end, name, _vehicles(path, edge, "entered") + _vehicles(path, edge, "departed")


def _vehicles(path: Path, element: Element, key: str) -> float:
    text = element.get(key, "0")
    try:
        count = float(text)
    except ValueError:
        count = np.nan
    if not 0 <= count < np.inf:
        raise InputError(f"{path}: {element.get('id', '')!r}: {key} is {text!r}, no number of vehicles")
    return count


class _Found:
    """Counts by interval and series, until the file's end says how many there are of each."""

    def __init__(self, path: Path, counted: Iterator[Counted]) -> None:
        self.path = path
        self.spans: dict[tuple[str, str], int] = {}
        self.series: dict[str, int] = {}
        self.cells: dict[tuple[int, int], float] = {}
        for begin, end, name, vehicles in counted:
            span = self.spans.setdefault((begin, end), len(self.spans))
            if not name:
                continue
            cell = span, self.series.setdefault(name, len(self.series))
            if cell in self.cells:
                raise InputError(
                    f"{path}: {name!r} has two counts for the interval from {begin} to {end}; "
                    "did two runs write into one file?"
                )
            self.cells[cell] = vehicles
        if not self.cells:
            raise InputError(
                f"{path}: holds no interval with counts; did the simulation end before one was over?"
            )

    def table(self, start: datetime, timezone: str, step_min: int | None, *, absent: float) -> CountTable:
        begins, ends = (
            np.array([parse_time(span[k], f"{self.path}: interval") for span in self.spans]) for k in (0, 1)
        )
        last = int(ends.argmax())
        lengths = (ends - begins)[np.arange(len(ends)) != last] if len(ends) > 1 else ends - begins
        length_s = float(lengths[0])
        if not (lengths == length_s).all():
            other = float(lengths[lengths != length_s][0])
            raise InputError(
                f"{self.path}: has intervals of {length_s:g} s and of {other:g} s; have SUMO write a file for "
                "each period"
            )
        step = round(length_s / 60)
        if step < 1 or step * 60 != length_s or MINUTES_A_DAY % step:
            raise InputError(
                f"{self.path}: intervals of {length_s:g} s; they have to be whole minutes that divide a day: "
                "set the period to 900"
            )
        if step_min is not None and step != step_min:
            raise InputError(
                f"{self.path}: intervals of {step} min, not {step_min}; set SUMO's period to {step_min * 60}, "
                "or merge to that step"
            )
        if (begins % length_s != begins[0] % length_s).any() or begins[0] % 60:
            odd = float(begins[(begins % length_s != begins[0] % length_s) | (begins % 60 != 0)][0])
            raise InputError(
                f"{self.path}: an interval begins at {odd:g} s, off the grid of {step} min; begin the "
                "simulation at a whole minute"
            )
        rows = np.round((begins - begins.min()) / length_s).astype(np.int64)
        n_interval = int(rows.max()) + 1
        if n_interval * len(self.series) > MOST_CELLS:
            raise InputError(f"{self.path}: {n_interval} intervals of {len(self.series)} series are too many")
        values = np.full((n_interval, len(self.series)), np.nan)
        values[rows] = absent
        for (span, series), vehicles in self.cells.items():
            values[rows[span], series] = vehicles
        remarks = []
        short_s = length_s - float(ends[last] - begins[last])
        if short_s < 0:
            raise InputError(
                f"{self.path}: its last interval is {-short_s:g} s longer than the {length_s:g} s of the others"
            )
        if short_s > 0:
            remarks.append(
                f"the simulation ended {short_s:g} s before the last interval: its counts are of a part"
            )
        filled = len(self.spans) * len(self.series) - len(self.cells)
        if filled and absent == 0:
            remarks.append(f"{filled} edges and intervals without an entry: nobody was there, zero")
        moment = np.array([np.datetime64(start, "m")])
        if timezone:
            moment, _ = to_utc(moment.astype("datetime64[ms]"), timezone)
        return CountTable(
            tuple(self.series),
            moment[0].astype("datetime64[m]") + np.timedelta64(round(float(begins.min()) / 60), "m"),
            step,
            values,
            timezone=timezone,
            remarks=tuple(remarks),
        )
