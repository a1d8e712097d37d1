"""What all series do together: the network's level, and days unlike their weekday."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signals.demand.calendar import Calendar
from signals.demand.screening.daygrid import DayGrid
from signals.demand.screening.expected import SIGMAS, Habit, known_or, median_first, smooth, weeks_before
from signals.demand.screening.findings import Book
from signals.model.counts import Floats, Reason

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

NETWORK_MIN = 5
"""Series that make a network: from here on the median over series says what everybody does."""

UNUSUAL_Z2, UNUSUAL_SHARE = 9.0, 0.5
"""A series departs from its weekday where the mean square of its deviations, part by part, reaches the first (1 is
usual); the day is unusual where more than this share of all series do."""

UNUSUAL_MIN_SERIES, UNUSUAL_MIN_DAYS = 3, 7
"""Series and days from which on a day can be unusual everywhere."""

LEAST_SPREAD = 0.05
"""Usual deviation of a part of the day from its weekday, at least; smaller ones come from few days by chance."""

_WEEKDAY = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, eq=False)
class Network:
    """What all series do together.

    Fields
    ------
    large : whether there are NETWORK_MIN series, and so a network
    holidays, odd : bool[n_day], holidays by the calendar; these and unusual days
    departing : float64[n_day], share of the series that depart from their weekday
    weekdays : int64[n_day], the weekday whose profile a day follows: on odd days Sunday's where it fits better
    part_level : float64[n_day, n_part], log of counted over expected, median over the series
    slot_level : float64[n_day, slots], counted over expected, likewise
    """

    large: bool
    holidays: Flags
    odd: Flags
    departing: Floats
    weekdays: Ints
    part_level: Floats
    slot_level: Floats


def network_of(grid: DayGrid, habits: Sequence[Habit], holidays: Flags) -> Network:
    """What all series do together, from the habits of each batch of them."""
    own = np.concatenate([h.parts for h in habits], axis=2)
    sunday = np.concatenate([h.sunday_parts for h in habits], axis=2)
    departing = _departing(own)
    odd = (departing > UNUSUAL_SHARE) | holidays
    weekdays = grid.weekdays.copy()
    for day in np.flatnonzero(odd):
        if np.nansum(np.abs(sunday[day])) < np.nansum(np.abs(own[day])):
            weekdays[day] = 6
            own[day] = sunday[day]
    n_days, n_parts, n = own.shape
    part_level = np.zeros((n_days, n_parts))
    slot_level = np.ones((n_days, grid.slots))
    if n >= NETWORK_MIN:
        part_level = known_or(median_first(own.transpose(2, 0, 1)), 0.0)
        ratios = [
            (days + 1.0) / (weeks_before(days, expected, grid, odd) + 1.0)
            for days, expected in (h.sample for h in habits)
        ]
        middle = median_first(np.concatenate(ratios, axis=2).transpose(2, 0, 1))
        slot_level = np.clip(known_or(smooth(middle, 15 // grid.step_min, axis=1), 1.0), 0.2, 5.0)
    return Network(n >= NETWORK_MIN, holidays, odd, departing, weekdays, part_level, slot_level)


def _departing(parts: Floats) -> Floats:
    """Share of series that spend each day unlike their weekday, float64[n_day]; 0 where too few series say."""
    n_days, n_parts, n = parts.shape
    if n < UNUSUAL_MIN_SERIES or n_days < UNUSUAL_MIN_DAYS:
        return np.zeros(n_days)
    usual = np.maximum(LEAST_SPREAD, known_or(SIGMAS * median_first(np.abs(parts)), 0.0))
    square = np.minimum((parts / usual) ** 2, 25.0)
    there = (~np.isnan(square)).sum(axis=1)
    mean = known_or(square, 0.0).sum(axis=1) / np.maximum(there, 1)
    judged = there >= max(1, n_parts // 2)
    departs = judged & (mean >= UNUSUAL_Z2)
    say = judged.sum(axis=1)
    return np.where(say >= UNUSUAL_MIN_SERIES, departs.sum(axis=1) / np.maximum(say, 1), 0.0)


def find_days(book: Book, grid: DayGrid, network: Network, calendar: Calendar) -> None:
    """Mark and tell unusual days and holidays."""
    for day in np.flatnonzero(network.odd):
        rows = np.flatnonzero(grid.day == day)
        if not len(rows):
            continue
        if network.holidays[day]:
            reason, detail = Reason.HOLIDAY, str(calendar.find_holiday(grid.dates[day]))
        else:
            reason = Reason.UNUSUAL_DAY
            alike = ", much like a Sunday" if network.weekdays[day] != grid.weekdays[day] else ""
            detail = (
                f"{100 * network.departing[day]:.0f} % of all series depart from their {_WEEKDAY[grid.weekdays[day]]}"
                f"{alike}; if it is a holiday or an event, add it to the calendar"
            )
        book.mark(reason, rows)
        book.tell("", reason, int(rows[0]), int(rows[-1]), len(rows), detail)
