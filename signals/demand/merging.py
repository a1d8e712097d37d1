"""Several sources of counts for the same series, merged slot by slot into the best there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from signals.errors import InputError
from signals.model.counts import MARK_OF, MINUTES_A_DAY, CountTable, Mark, Reason, local_clock

NOBODY = -1
"""In `MergedTable.origins`: no source has a count."""

Origins = NDArray[np.int16]


@dataclass(frozen=True)
class Sourced:
    """A table and where it comes from.

    `priority` decides between counts of the same mark: the lower number wins, and of equal ones the table
    that is given first. `series` maps this source's names to the common ones; a name that isn't in it stays.
    """

    name: str
    table: CountTable
    priority: int = 0
    series: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class MergedTable(CountTable):
    """A table of counts that remembers where each came from.

    Fields
    ------
    sources : names of the sources, in the order in which they were given
    origins : int16[n_interval, n_series], position in `sources`; `NOBODY` where there is no count
    """

    sources: tuple[str, ...] = ()
    origins: Origins = field(default_factory=lambda: np.empty((0, 0), dtype=np.int16))

    _of_counts: ClassVar[tuple[str, ...]] = (*CountTable._of_counts, "origins")

    def __post_init__(self) -> None:
        super().__post_init__()
        origins = np.array(self.origins, dtype=np.int16)
        if origins.shape != self.values.shape:
            raise ValueError(f"origins of shape {origins.shape} for counts of shape {self.values.shape}")
        origins.flags.writeable = False
        object.__setattr__(self, "origins", origins)


def merge(tables: Sequence[Sourced], *, step_min: int | None = None) -> MergedTable:
    """One table over the time of all, with each count from the source that has the best mark for it.

    Counts are taken as they are, with their reasons; they are never averaged. Equal marks are decided by
    priority. Screen the tables first: unscreened, a stuck detector is as good as any. Series come in the
    order of the sources' priority.

    Parameters
    ----------
    step_min
        Length of an interval of the result; sources with shorter ones are summed up to it
        (`to_longer_step`). None: that of all sources, which have to agree.

    Raises
    ------
    InputError
        Where there is no table, two sources have a name in common, or steps, clocks or grids differ.
    """
    if not tables:
        raise InputError("nothing to merge: at least one source is needed")
    names = [source.name for source in tables]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"sources named twice: {', '.join(twice)}; each needs a name of its own")
    given = [_renamed(source) for source in tables]
    if step_min is not None:
        given = [replace(s, table=to_longer_step(s.table, step_min, s.name)) for s in given]
    _check_same_clock(given)

    priorities = [source.priority for source in given]
    ranked = sorted(range(len(given)), key=priorities.__getitem__)
    series = tuple(dict.fromkeys(name for k in ranked for name in given[k].table.names))
    column = {name: i for i, name in enumerate(series)}
    step = given[0].table.step_min
    begin = min(s.table.start for s in given)
    first: list[int] = [int((s.table.start - begin) // np.timedelta64(step, "m")) for s in given]
    n_interval = max(f + s.table.n_intervals for f, s in zip(first, given, strict=True))

    shape = (n_interval, len(series))
    values = np.full(shape, np.nan)
    reasons = np.full(shape, Reason.GAP, dtype=np.uint8)
    marks = np.full(shape, Mark.MISSING, dtype=np.uint8)
    origins = np.full(shape, NOBODY, dtype=np.int16)
    disputed = np.zeros(shape, dtype=bool)
    for k in ranked:
        table = given[k].table
        # A holiday's gap is a gap, whatever else is known of the slot.
        theirs = np.where(np.isnan(table.values), np.uint8(Mark.MISSING), table.marks)
        columns = np.array([column[name] for name in table.names])
        at = np.ix_(first[k] + np.arange(table.n_intervals), columns)
        # A gap that somebody can explain is worth more than one that nobody can.
        explained = (origins[at] == NOBODY) & (reasons[at] == Reason.GAP) & (table.marks == Mark.MISSING)
        reasons[at] = np.where(explained, table.reasons, reasons[at])
        both = (marks[at] == Mark.GOOD) & (theirs == Mark.GOOD)
        disputed[at] |= both & (values[at] != table.values)
        better = theirs < marks[at]
        values[at] = np.where(better, table.values, values[at])
        reasons[at] = np.where(better, table.reasons, reasons[at])
        marks[at] = np.where(better, theirs, marks[at])
        origins[at] = np.where(better, k, origins[at])

    remarks = [f"{s.name}: {remark}" for s in given for remark in s.table.remarks]
    for k in ranked:
        remarks.append(f"{given[k].name}: gives {int((origins == k).sum())} of {origins.size} counts")
    if disputed.any():
        remarks.append(
            f"{int(disputed.sum())} counts that sources agree are good, but not on the figure: that of the "
            "first by priority is kept"
        )
    return MergedTable(
        series,
        begin,
        step,
        values,
        reasons,
        given[0].table.timezone,
        tuple(remarks),
        tuple(names),
        origins,
    )


def to_longer_step(table: CountTable, step_min: int, name: str = "counts") -> CountTable:
    """The counts summed up to intervals of `step_min`, from the day's start on.

    A sum is there only if all of its parts are, else it is missing. Its reason is that of its worst part, so
    a sum with a bad part is bad.

    Raises
    ------
    InputError
        Where `step_min` is no multiple of the table's step or doesn't divide a day, or the table's intervals
        can't be parts of it.
    """
    if step_min == table.step_min:
        return table
    if step_min < 1 or step_min % table.step_min or MINUTES_A_DAY % step_min:
        raise InputError(
            f"{name}: intervals of {table.step_min} min can't be summed up to {step_min} min; give a multiple "
            "that divides a day, and is not below the longest of the sources"
        )
    if table.timezone and step_min > 60:
        raise InputError(
            f"{name}: intervals of {step_min} min don't fit a day on which clocks change; give at most 60 min"
        )
    parts = step_min // table.step_min
    start = table.times_after(0, 1)
    into = int(local_clock(start, table.timezone)[0].astype(np.int64)) % step_min
    if into % table.step_min:
        raise InputError(
            f"{name}: its intervals begin {into} min past the grid of {step_min} min, so none is a part of one"
        )
    before = into // table.step_min
    after = -(before + table.n_intervals) % parts
    shape = (-1, parts, len(table.names))
    padding = ((before, after), (0, 0))
    counted = np.where(table.marks == Mark.MISSING, np.nan, table.values)
    values = np.pad(counted, padding, constant_values=np.nan).reshape(shape)
    reasons = np.pad(table.reasons, padding, constant_values=Reason.GAP).reshape(shape)
    # Worse marks first, and of the same mark the reason that the enumeration has later.
    severity = np.array([MARK_OF[reason] * len(Reason) + reason for reason in Reason])
    worst = severity[reasons].argmax(axis=1)
    chosen = np.take_along_axis(reasons, worst[:, None, :], axis=1)[:, 0, :]
    missing = np.isnan(values).any(axis=1)
    is_missing = np.array([MARK_OF[reason] == Mark.MISSING for reason in Reason])
    chosen = np.where(missing & ~is_missing[chosen], Reason.GAP, chosen)
    remark = f"summed up from {table.step_min} to {step_min} min"
    return replace(
        table,
        start=table.start - np.timedelta64(into, "m"),
        step_min=step_min,
        values=np.asarray(values.sum(axis=1)),
        reasons=chosen,
        remarks=(*table.remarks, remark),
    )


def _renamed(source: Sourced) -> Sourced:
    unknown = sorted(set(source.series) - set(source.table.names))
    if unknown:
        raise InputError(f"{source.name}: has no series {', '.join(unknown[:5])}; correct the names to map")
    names = tuple(source.series.get(name, name) for name in source.table.names)
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"{source.name}: several of its series are mapped to {', '.join(twice[:5])}")
    return replace(source, table=replace(source.table, names=names), series={})


def _check_same_clock(given: Sequence[Sourced]) -> None:
    a = given[0]
    for b in given[1:]:
        if a.table.step_min != b.table.step_min:
            longest = max(s.table.step_min for s in given)
            raise InputError(
                f"{a.name} has intervals of {a.table.step_min} min, {b.name} of {b.table.step_min}; sum both up "
                f"to the same (step_min={longest})"
            )
        if a.table.timezone != b.table.timezone:
            raise InputError(
                f"{a.name} is on {_clock(a.table)}, {b.name} on {_clock(b.table)}; read both with the same "
                "timezone"
            )
        apart = int((b.table.start - a.table.start).astype(np.int64)) % a.table.step_min
        if apart:
            raise InputError(
                f"{b.name}: its intervals begin {apart} min after those of {a.name}; counts of such intervals "
                "can't stand for each other"
            )


def _clock(table: CountTable) -> str:
    return f"the clock of {table.timezone}" if table.timezone else "a local clock without a timezone"
