"""From rows to a table of even intervals: which interval each row is of, what is missing, double or late."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from signals.errors import InputError
from signals.formats.counts.sheet import MOST_CELLS, Sheet
from signals.formats.counts.times import Flags, Ints, Stamps
from signals.model.counts import (
    MINUTES_A_DAY,
    Codes,
    CountTable,
    Floats,
    Reason,
    Times,
    local_clock,
)


@dataclass
class Rows:
    """What a layout's reader has found.

    `series` is None in the wide layout, where `values` has a column a series; in the long one it is the
    series of each row and `values` has one column.
    """

    sheet: Sheet
    names: tuple[str, ...]
    values: Floats
    stamps: Stamps
    series: Ints | None = None
    remarks: list[str] = field(default_factory=list)
    number: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.number = np.arange(len(self.values))

    def keep(self, rows: Ints | Flags) -> None:
        """Only these rows, in this order."""
        self.values, self.number = self.values[rows], self.number[rows]
        self.stamps = replace(self.stamps, times=self.stamps.times[rows], skipped=self.stamps.skipped[rows])
        if self.series is not None:
            self.series = self.series[rows]

    def where(self, row: int) -> str:
        """Path and line of a row."""
        return self.sheet.where(int(self.number[row]))

    def shown(self, time: np.datetime64) -> str:
        """What the file shows for the time of a row."""
        minute: Times = np.array([time]).astype("datetime64[m]")
        return str(time + (local_clock(minute, self.stamps.timezone) - minute)[0])


def to_table(rows: Rows, step_min: int | None, most_cells: int | None = None) -> CountTable:
    """The rows on a grid of even intervals; `step_min` None for the median difference of their times.

    Raises
    ------
    InputError
        Where a row is off the grid, at a time that the clock skips, or the grid would be too large.
    """
    rows.remarks += rows.stamps.remarks
    _drop_skipped(rows)
    if rows.stamps.backwards:
        rows.keep(np.arange(len(rows.values))[::-1])
        rows.remarks.append("its rows run backwards: read from the end")
    times = _whole_minutes(rows)
    step = step_min or _step(rows, times)
    start, n_interval, slot = _grid(rows, times, step, most_cells)
    place = _place_wide if rows.series is None else _place_long
    values, reasons = place(rows, slot, n_interval)
    return CountTable(rows.names, start, step, values, reasons, rows.stamps.timezone, tuple(rows.remarks))


def _drop_skipped(rows: Rows) -> None:
    """Rows at times that the clock skips: they can hold nothing, and are refused if they do."""
    skipped, zone = rows.stamps.skipped, rows.stamps.timezone
    if not skipped.any():
        return
    held = skipped[:, None] & (np.nan_to_num(rows.values) != 0)
    if held.any():
        row, k = (int(x) for x in np.argwhere(held)[0])
        series = rows.names[k] if rows.series is None else rows.names[int(rows.series[row])]
        minute: Times = rows.stamps.times[row : row + 1].astype("datetime64[m]")
        # A skipped time went to UTC by the offset before the change, an hour after which it reads.
        before: Times = minute - np.timedelta64(1, "D")
        shown = minute + (local_clock(before, zone) - before)
        raise InputError(
            f"{rows.where(row)}: {shown[0]} is a time that clocks in {zone} skip, and series {series!r} has "
            f"{rows.values[row, k]:g} vehicles in it; so have {int(held.sum()) - 1} more counts. The file is "
            "on another clock: read it without a timezone, as a local clock, or correct these rows"
        )
    rows.remarks.append(f"{int(skipped.sum())} blank or zero rows at times that {zone} skips: left out")
    rows.keep(~skipped)
    if not len(rows.values):
        raise InputError(f"{rows.sheet.path}: all rows are at times that {zone} skips; is it the right zone?")


def _whole_minutes(rows: Rows) -> Times:
    times: Times = rows.stamps.times.astype("datetime64[m]")
    odd = np.flatnonzero(times != rows.stamps.times)
    if len(odd):
        time = rows.stamps.times[odd[0]].astype("datetime64[s]")
        raise InputError(
            f"{rows.where(int(odd[0]))}: {rows.shown(time)} isn't on a whole minute, as "
            "intervals are; correct or round it"
        )
    return times


def _step(rows: Rows, times: Times) -> int:
    apart = np.sort(np.diff(np.unique(times)))
    if not len(apart):
        raise InputError(
            f"{rows.sheet.path}: all rows are of one time, so the length of an interval can't be told; "
            "give it (step_min)"
        )
    # The lower of the two in the middle: the mean of 15 and 30 is no interval that any row has.
    step = int(apart[(len(apart) - 1) // 2].astype(np.int64))
    if MINUTES_A_DAY % step:
        raise InputError(
            f"{rows.sheet.path}: its rows are {step} min apart (median), which doesn't divide a day; correct "
            "the times, or give the length of an interval (step_min)"
        )
    return step


def _grid(rows: Rows, times: Times, step: int, most_cells: int | None) -> tuple[np.datetime64, int, Ints]:
    """Start of the first interval, number of intervals, and each row's interval."""
    minutes = times.astype(np.int64)
    phase = minutes % step
    usual = int(np.bincount(phase).argmax())
    off = np.flatnonzero(phase != usual)
    if len(off):
        on = np.flatnonzero(phase == usual)
        longer = (
            f" (with a timezone, intervals of {step} min can't follow its clock)"
            if rows.stamps.timezone and step > 60
            else ""
        )
        raise InputError(
            f"{rows.where(int(off[0]))}: {rows.shown(times[off[0]])} isn't on the grid of {step} min that "
            f"{rows.shown(times[on[0]])} is on, and so are {len(off) - 1} more rows{longer}; "
            "correct them, or give the length of an interval (step_min)"
        )
    past = int(np.datetime64(rows.shown(times[0]), "m").astype(np.int64)) % step
    if past:
        rows.remarks.append(f"intervals start {past} min past the {step}-minute grid of the day")
    slot = (minutes - minutes.min()) // step
    n_interval = int(slot.max()) + 1
    if n_interval * len(rows.names) > (most_cells or MOST_CELLS):
        raise InputError(
            f"{rows.sheet.path}: goes from {rows.shown(times.min())} to "
            f"{rows.shown(times.max())}, which is {n_interval} intervals of {step} min for "
            f"{len(rows.names)} series, too many; is one of the years wrong?"
        )
    return times.min(), n_interval, slot


def _place_wide(rows: Rows, slot: Ints, n_interval: int) -> tuple[Floats, Codes]:
    values = np.full((n_interval, len(rows.names)), np.nan)
    late = slot < np.maximum.accumulate(slot)
    _, first = np.unique(slot, return_index=True)
    values[slot[first]] = rows.values[first]
    came_late = np.zeros(values.shape, dtype=bool)
    came_late[slot[first]] = late[first, None]
    differ = np.zeros(values.shape, dtype=bool)
    same = 0
    again = np.ones(len(slot), dtype=bool)
    again[first] = False
    for row in np.flatnonzero(again):
        old, new = values[slot[row]], rows.values[row]
        blank = np.isnan(old) & ~np.isnan(new)
        clash = ~np.isnan(old) & ~np.isnan(new) & (old != new)
        same += not clash.any() and not blank.any()
        differ[slot[row]] |= clash
        came_late[slot[row], blank] = late[row]
        values[slot[row], blank] = new[blank]
    n_late = int((came_late & ~np.isnan(values)).any(axis=1).sum())
    _tell(rows, same, int(differ.sum()), n_late, n_interval - len(first))
    return values, _reasons(values, came_late, differ)


def _place_long(rows: Rows, slot: Ints, n_interval: int) -> tuple[Floats, Codes]:
    assert rows.series is not None
    n_series = len(rows.names)
    values = np.full(n_interval * n_series, np.nan)
    late = np.zeros(len(slot), dtype=bool)
    if (slot[1:] < slot[:-1]).any():
        # Late is what comes after a later row of its own series: each series is raised above the one before.
        order = np.argsort(rows.series, kind="stable")
        raised = slot[order] + rows.series[order] * np.int64(n_interval)
        late[order] = raised < np.maximum.accumulate(raised)
    counted = np.flatnonzero(~np.isnan(rows.values[:, 0]))
    cell = slot[counted] * n_series + rows.series[counted]
    cells, first, back = np.unique(cell, return_index=True, return_inverse=True)
    values[cells] = rows.values[counted[first], 0]
    came_late = np.zeros(len(values), dtype=bool)
    came_late[cells] = late[counted[first]]
    clash = rows.values[counted, 0] != values[cells][back]
    differ = np.zeros(len(values), dtype=bool)
    differ[cell[clash]] = True
    same = len(counted) - len(cells) - int(clash.sum())
    _tell(rows, same, int(differ.sum()), int(came_late.sum()), n_interval - len(np.unique(slot)))
    shape = (n_interval, n_series)
    return values.reshape(shape), _reasons(values, came_late, differ).reshape(shape)


def _reasons(values: Floats, late: Flags, differ: Flags) -> Codes:
    there = ~np.isnan(values)
    reasons = np.full(values.shape, Reason.GAP, dtype=np.uint8)
    reasons[there] = Reason.NONE
    reasons[there & late] = Reason.LATE
    reasons[there & differ] = Reason.DUPLICATE
    return reasons


def _tell(rows: Rows, same: int, differ: int, late: int, gaps: int) -> None:
    if same:
        rows.remarks.append(f"{same} rows given twice with the same counts: dropped")
    if differ:
        hint = (
            "" if rows.stamps.timezone else "; if they are of the hour that clocks repeat, give the timezone"
        )
        rows.remarks.append(f"{differ} counts given twice, and differently: the first is kept{hint}")
    if late:
        rows.remarks.append(f"{late} {'rows' if rows.series is None else 'counts'} out of order: sorted in")
    if gaps:
        rows.remarks.append(f"{gaps} intervals without a row: missing")
