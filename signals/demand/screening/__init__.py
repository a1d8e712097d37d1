"""Screening: what is wrong with counts, slot by slot, before anything is made of them.

Nothing is changed or filled in: every slot keeps its value and gets a reason (`signals.model.counts.Reason`), and each
thing found is told once, with its figures, as a `Finding`.

The yardstick is a profile: the median count by weekday and slot, of the weeks around, smoothed over neighbouring
slots. Medians make it blind to what they are to find as long as less than half of the days are faulty. What is left
after the profile is compared with its own usual size (robust, never below the Poisson noise of a count), with the
four weeks before, and with the rest of the network, which takes weather and school holidays out of it.

    findings.py   reasons and findings as they come in, and the quality of each series: `Screened`, `summary`
    daygrid.py    the table by local day and slot, and some of its series while they are judged
    runs.py       stretches of rows
    gaps.py       missing counts, and the hour that a clock skips
    expected.py   what a series usually does: medians by weekday and slot
    values.py     counts that can't be: impossible, stuck, zeros, spikes
    clocks.py     clocks that are off
    levels.py     levels that jump
    days.py       what all series do together; holidays and unusual days
"""

from __future__ import annotations

import numpy as np

from signals.demand.calendar import Calendar
from signals.demand.screening.clocks import find_shifted
from signals.demand.screening.daygrid import Batch, DayGrid
from signals.demand.screening.days import find_days, network_of
from signals.demand.screening.expected import learn
from signals.demand.screening.findings import Book, Screened, SeriesFacts, summary
from signals.demand.screening.gaps import find_gaps
from signals.demand.screening.levels import find_levels
from signals.demand.screening.values import (
    find_impossible,
    find_spikes,
    find_stuck,
    find_zero_days,
    find_zeros,
)
from signals.model.counts import CountTable

__all__ = ["Screened", "SeriesFacts", "screen", "summary"]

BATCH_CELLS = 1_000_000
"""Counts worked on at a time: 8 MB an array, about a dozen arrays."""


def screen(table: CountTable, calendar: Calendar | None = None, *, max_vph: float | None = None) -> Screened:
    """Say for every count whether it can be used, and why not; values stay as they are.

    Reasons that the reader has set (duplicates, late rows) stay unless something worse is found, and are told as
    findings too. If several things are wrong with a slot, it keeps the worst, in the order impossible, stuck,
    zero day, zeros, spike, shifted, level, unusual day, holiday.

    Parameters
    ----------
    calendar
        Holidays; without one, days that most series spend unlike their weekday are unusual days.
    max_vph
        Largest flow that any series can carry [veh/h]; without it eight lanes' worth.
    """
    calendar = calendar or Calendar()
    book = Book(table)
    book.tell_as_read()
    if not table.n_intervals or not table.names:
        return book.close()
    grid = DayGrid(table)
    find_gaps(book, grid)
    holidays = np.array([calendar.is_holiday(day) for day in grid.dates], dtype=np.bool_)
    width = max(1, BATCH_CELLS // table.n_intervals)
    batches = [slice(k, min(k + width, len(table.names))) for k in range(0, len(table.names), width)]
    habits = []
    for columns in batches:
        batch = Batch(book, grid, columns)
        find_impossible(batch, max_vph)
        find_stuck(batch)
        habits.append(learn(batch, holidays))
    network = network_of(grid, habits, holidays)
    for columns, habit in zip(batches, habits, strict=True):
        batch = Batch(book, grid, columns)
        expected = habit.profile.on(network.weekdays)
        find_zero_days(batch, expected)
        find_zeros(batch, expected, network)
        find_spikes(batch, expected)
        find_shifted(batch, expected, network)
        # What a spike or another clock explains is no change of level.
        find_levels(batch, expected, network)
    find_days(book, grid, network, calendar)
    return book.close()
