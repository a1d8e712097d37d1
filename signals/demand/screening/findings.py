"""What screening says: a reason for every slot, findings in words, and how good each series is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from signals.model.counts import MARK_OF, CountTable, Finding, Mark, Reason

Ints = NDArray[np.int64]

LISTED = 8
"""Findings of one reason and series told one by one; the rest are summed up in one line."""

MARKS = np.array([MARK_OF[reason] for reason in Reason], dtype=np.uint8)
"""The mark of each reason, by its number."""


@dataclass(frozen=True, eq=False)
class Screened:
    """Counts with a reason for each slot, and what was found, sorted by series and then by time.

    Findings that concern the whole network (holidays, unusual days, slots that the clock skips, gaps in all
    series) have the series "" and so come first.
    """

    table: CountTable
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """How good one series is: slots by mark, the local times of its first and last count, slots by main reason."""

    series: str
    slots: int
    good: int
    doubtful: int
    bad: int
    missing: int
    first: np.datetime64 | None
    last: np.datetime64 | None
    reasons: Mapping[Reason, int]

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "series": self.series,
            "slots": self.slots,
            "good": self.good,
            "doubtful": self.doubtful,
            "bad": self.bad,
            "missing": self.missing,
            "first": None if self.first is None else str(self.first),
            "last": None if self.last is None else str(self.last),
            "reasons": {reason.name.lower(): n for reason, n in self.reasons.items()},
        }


def summary(screened: Screened) -> tuple[SeriesFacts, ...]:
    """Quality of every series, in the table's order: a row of a table, or JSON, each.

    `reasons` holds the three most frequent reasons other than none, most frequent first.
    """
    table = screened.table
    times = table.local_times
    present = ~np.isnan(table.values)
    marks = np.stack([(table.marks == mark).sum(axis=0) for mark in Mark])
    reasons = np.stack([(table.reasons == reason).sum(axis=0) for reason in Reason])
    facts = []
    for k, name in enumerate(table.names):
        rows = np.flatnonzero(present[:, k])
        often = sorted((r for r in Reason if r and reasons[r, k]), key=lambda r: (-int(reasons[r, k]), r))
        good, doubtful, bad, missing = (int(n) for n in marks[:, k])
        facts.append(
            SeriesFacts(
                name,
                table.n_intervals,
                good,
                doubtful,
                bad,
                missing,
                times[rows[0]] if len(rows) else None,
                times[rows[-1]] if len(rows) else None,
                {r: int(reasons[r, k]) for r in often[:3]},
            )
        )
    return tuple(facts)


class Run(NamedTuple):
    """Something found in one column from a first to a last row: how many slots, and the figures."""

    column: int
    first: int
    last: int
    slots: int
    detail: str


class Book:
    """Reasons and findings as they come in. A reason gives way only to a worse mark."""

    def __init__(self, table: CountTable) -> None:
        self.table = table
        self.times = table.local_times
        self.reasons = table.reasons.copy()
        self.findings: list[Finding] = []

    def mark(self, reason: Reason, rows: Ints, columns: Ints | slice = slice(None)) -> None:
        """Give slots a reason where theirs is none or milder: rows and columns, or whole rows."""
        now = self.reasons[rows, columns]
        milder = (now == Reason.NONE) | (MARKS[now] < MARK_OF[reason])
        self.reasons[rows, columns] = np.where(milder, np.uint8(reason), now)

    def tell(self, series: str, reason: Reason, first: int, last: int, slots: int, detail: str) -> None:
        """Add a finding from row `first` to row `last`."""
        self.findings.append(Finding(series, reason, self.times[first], self.times[last], slots, detail))

    def tell_runs(self, reason: Reason, runs: Iterable[Run], what: str) -> None:
        """Tell the runs of each of the table's columns: the longest singly, the rest as one line."""
        by_column: defaultdict[int, list[Run]] = defaultdict(list)
        for run in runs:
            by_column[run.column].append(run)
        for column, of_column in by_column.items():
            name = self.table.names[column]
            by_length = sorted(of_column, key=lambda run: (-run.slots, run.first))
            # One left over is told as it is: a line that sums up one thing says less.
            listed = LISTED if len(by_length) > LISTED + 1 else len(by_length)
            for run in by_length[:listed]:
                self.tell(name, reason, run.first, run.last, run.slots, run.detail)
            rest = by_length[listed:]
            if rest:
                self.tell(
                    name,
                    reason,
                    min(run.first for run in rest),
                    max(run.last for run in rest),
                    sum(run.slots for run in rest),
                    f"{len(rest)} more {what}, none longer than {rest[0].slots} slot(s)",
                )

    def tell_as_read(self) -> None:
        """Findings for what the reader has marked already, one a series and reason."""
        for reason, text in (
            (Reason.DUPLICATE, "interval(s) with rows that disagree; the first is kept"),
            (Reason.LATE, "interval(s) whose rows came out of order"),
        ):
            hit = self.reasons == reason
            for k in np.flatnonzero(hit.any(axis=0)):
                rows = np.flatnonzero(hit[:, k])
                name = self.table.names[k]
                self.tell(name, reason, int(rows[0]), int(rows[-1]), len(rows), f"{len(rows)} {text}")

    def close(self) -> Screened:
        """The table with its reasons, and the findings in order."""
        # "" comes first by itself, whatever the names.
        found = sorted(self.findings, key=lambda f: (f.series, f.first, f.reason, f.last))
        return Screened(replace(self.table, reasons=self.reasons), tuple(found))
