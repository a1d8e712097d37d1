"""A table of counts by local day and slot, and some of its series while they are judged."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from signals.demand.calendar import slots_of, weekdays_of
from signals.demand.screening.findings import MARKS, Book, Run
from signals.model.counts import MARK_OF, MINUTES_A_DAY, CountTable, Floats, Mark, Reason

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

PART_MIN = 180
"""Levels are compared in parts of the day this long: long enough for counts, short enough for an afternoon."""


class DayGrid:
    """Where each row lies in a grid of local days and slots, and how long the parts of a day are.

    In a day of 100 quarter hours an hour comes twice; the grid keeps its first pass and both are judged by it.

    Fields
    ------
    day, slot : int64[n_interval], of each row
    dates, weekdays : datetime64[D][n_day] and int64[n_day], 0 Monday to 6 Sunday
    part_of_slot : int64[slots], which of the `n_parts` parts of a day each slot belongs to
    """

    def __init__(self, table: CountTable) -> None:
        times = table.local_times
        self.n_rows = table.n_intervals
        self.step_min = table.step_min
        self.slots = table.slots_a_day
        days = times.astype("datetime64[D]")
        first = days.min()
        self.day = (days - first).astype(np.int64)
        self.slot = slots_of(times, table.step_min)
        self.n_days = int(self.day.max()) + 1
        self.dates = first + np.arange(self.n_days)
        self.weekdays = weekdays_of(self.dates)
        self.n_parts = min(self.slots, MINUTES_A_DAY // PART_MIN)
        self._part_starts = np.arange(self.n_parts) * self.slots // self.n_parts
        self.part_of_slot = np.searchsorted(self._part_starts, np.arange(self.slots), side="right") - 1
        self._row = np.full((self.n_days, self.slots), -1, dtype=np.int64)
        backwards = np.arange(self.n_rows)[::-1]
        self._row[self.day[backwards], self.slot[backwards]] = backwards

    def by_day(self, rows: Floats) -> Floats:
        """Values of the table's rows by local day and slot, float64[n_day, slots, n]; NaN where there is no row."""
        grid: Floats = rows[np.maximum(self._row, 0)]
        grid[self._row < 0] = np.nan
        return grid

    def on_rows(self, grid: Floats) -> Floats:
        """Values of a grid [n_day, slots, n] on the table's rows, float64[n_interval, n]."""
        rows: Floats = grid[self.day, self.slot]
        return rows

    def by_part(self, grid: Floats) -> Floats:
        """Sums of a grid without NaN over the parts of each day, float64[n_day, n_part, n]."""
        sums: Floats = np.add.reduceat(grid, self._part_starts, axis=1)
        return sums


class Batch:
    """Some series of a table while they are judged.

    Fields
    ------
    columns, n_table : which of the table's series they are, and how many it has
    counts : float64[n_interval, n], as they came
    sound : the same, NaN where they are missing or found bad
    """

    def __init__(self, book: Book, grid: DayGrid, columns: slice) -> None:
        self.grid, self.columns = grid, columns
        self.n_table = len(book.table.names)
        self._book = book
        self.counts: Floats = book.table.values[:, columns]
        self.sound = np.where(MARKS[book.reasons[:, columns]] >= Mark.BAD, np.nan, self.counts)

    def by_day(self) -> Floats:
        """Sound counts by local day and slot, float64[n_day, slots, n]."""
        return self.grid.by_day(self.sound)

    def mark(self, reason: Reason, where: Flags, runs: Iterable[Run], what: str) -> None:
        """Give slots bool[n_interval, n] a reason, and tell the runs of them; `what` names several of these."""
        begin = self.columns.start
        rows, columns = np.nonzero(where)
        self._book.mark(reason, rows, columns + begin)
        if MARK_OF[reason] >= Mark.BAD:
            self.sound[rows, columns] = np.nan
        self._book.tell_runs(reason, [run._replace(column=run.column + begin) for run in runs], what)
