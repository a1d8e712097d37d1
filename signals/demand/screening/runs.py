"""Stretches of rows: runs of what is flagged, runs of equal counts, and the edges of what changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signals.model.counts import Floats

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def runs_of(where: Flags) -> Iterator[tuple[int, int, int]]:
    """Column, first and last row of every unbroken run down the columns of bool[n_row, n]."""
    some = np.flatnonzero(where.any(axis=0))
    padded = np.zeros((len(some), len(where) + 2), dtype=np.int8)
    padded[:, 1:-1] = where[:, some].T
    edges = np.diff(padded, axis=1)
    columns, first = np.nonzero(edges == 1)
    last = np.nonzero(edges == -1)[1] - 1
    return zip(some[columns].tolist(), first.tolist(), last.tolist(), strict=True)


@dataclass(frozen=True, eq=False)
class EqualRuns:
    """Runs of equal counts, column by column.

    Fields
    ------
    values, lengths : float64[n_run] and int64[n_run], the count, and how often it came
    columns, rows : int64[sum of lengths], of each count in turn
    """

    values: Floats
    lengths: Ints
    columns: Ints
    rows: Ints

    @property
    def starts(self) -> Ints:
        """Where each run's counts begin in `columns` and `rows`, int64[n_run]."""
        return np.cumsum(self.lengths) - self.lengths

    def only(self, which: Flags) -> EqualRuns:
        """These runs alone, bool[n_run]."""
        cells = np.repeat(which, self.lengths)
        return EqualRuns(self.values[which], self.lengths[which], self.columns[cells], self.rows[cells])


def equal_runs(counts: Floats, reach: int, at_least: int = 1) -> EqualRuns:
    """Runs of at least so many equal counts in float64[n_row, n], over gaps of less than `reach` rows."""
    n_rows, n = counts.shape
    # A gap after each column keeps runs from going on in the next.
    width = n_rows + reach
    by_column = np.full((n, width), np.nan)
    by_column[:, :n_rows] = counts.T
    flat = by_column.ravel()
    known = np.flatnonzero(~np.isnan(flat))
    values = flat[known]
    new = np.ones(len(known), dtype=np.bool_)
    new[1:] = (values[1:] != values[:-1]) | (np.diff(known) > reach)
    starts = np.flatnonzero(new)
    lengths = np.diff(starts, append=len(known))
    long = lengths >= at_least
    columns, rows = np.divmod(known[np.repeat(long, lengths)], width)
    return EqualRuns(values[starts[long]], lengths[long], columns, rows)


def span_of_most(better: Floats, begins: tuple[int, int], ends: tuple[int, int]) -> tuple[int, int]:
    """First row, and the row after the last, between which `better` float64[n_row] adds up to the most.

    `begins` and `ends` bound the two, both inclusive. NaN adds nothing.
    """
    total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(better))])
    first = begins[0] + int(np.argmin(total[begins[0] : begins[1] + 1]))
    low = max(ends[0], first + 1)
    return first, low + int(np.argmax(total[low : ends[1] + 1]))
