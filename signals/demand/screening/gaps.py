"""Missing counts: gaps, and the hour that the local clock skips in spring."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from signals.demand.screening.daygrid import DayGrid
from signals.demand.screening.findings import Book, Run
from signals.demand.screening.runs import runs_of
from signals.model.counts import CountTable, Reason

Flags = NDArray[np.bool_]

SKIPPED_SHARE = 0.5
"""Share of series that must miss the same hour for the clock to have skipped it; some feeds fill it in."""


def find_gaps(book: Book, grid: DayGrid) -> None:
    """Mark missing slots as gaps, or as skipped by the clock, and tell both."""
    table = book.table
    missing = np.isnan(table.values)
    skipped = _clock_skipped(table, grid, missing) | (book.reasons == Reason.CLOCK_SKIPPED)
    book.reasons[missing] = Reason.GAP
    book.reasons[skipped] = Reason.CLOCK_SKIPPED
    gaps = book.reasons == Reason.GAP
    hit = skipped.sum(axis=1)
    for _, first, last in runs_of((hit > 0)[:, None]):
        n = last - first + 1
        detail = (
            f"{n * table.step_min} min missing in {hit[first]} of {len(table.names)} series on a Sunday at night: "
            "the clock was put forward (daylight saving)"
        )
        book.tell("", Reason.CLOCK_SKIPPED, first, last, n, detail)
    everywhere = gaps.all(axis=1) & (len(table.names) > 1)
    for _, first, last in runs_of(everywhere[:, None]):
        n = last - first + 1
        book.tell("", Reason.GAP, first, last, n, f"no counts in any series, {n * table.step_min} min")
    # A gap of all series is told once, not by each.
    found = [
        Run(k, first, last, last - first + 1, f"no counts, {(last - first + 1) * table.step_min} min")
        for k, first, last in runs_of(gaps & ~everywhere[:, None])
    ]
    book.tell_runs(Reason.GAP, found, "gaps")


def _clock_skipped(table: CountTable, grid: DayGrid, missing: Flags) -> Flags:
    """Slots that the local clock skips in spring, bool[n_interval, n]; none where the timezone is known.

    That is one hour exactly, missing in most series, between 00:00 and 04:00 of a Sunday in March or April
    (northern) or September to November (southern hemisphere).
    """
    skipped = np.zeros_like(missing)
    if table.timezone or 60 % table.step_min:
        return skipped
    hour = 60 // table.step_min
    months = grid.dates.astype("datetime64[M]").astype(np.int64) % 12 + 1
    sundays = np.flatnonzero((grid.weekdays == 6) & np.isin(months, (3, 4, 9, 10, 11)))
    for day in sundays:
        rows = np.flatnonzero((grid.day == day) & (grid.slot < 5 * hour))
        if len(rows) < 5 * hour:
            continue
        night = missing[rows]
        # A series that is silent all night says nothing about the clock.
        awake = ~night.all(axis=0)
        if not awake.any():
            continue
        for begin in range(3 * hour + 1):
            inside = night[begin : begin + hour].all(axis=0)
            before = night[begin - 1] if begin else np.zeros_like(inside)
            exactly = inside & ~before & ~night[begin + hour]
            if (exactly & awake).sum() >= SKIPPED_SHARE * awake.sum():
                skipped[np.ix_(rows[begin : begin + hour], np.flatnonzero(exactly))] = True
    return skipped
