"""What a series usually does: the median count by weekday and slot, and the usual size of what departs from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signals.demand.screening.daygrid import Batch, DayGrid
from signals.model.counts import Floats

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

EXPECTED_VEH = 25.0
"""Vehicles expected where zeros are a fault, and where a level can be told: e^-25 by chance, and a margin for closed
lanes and quiet weeks. The real data that this was tried on were cleaned with the same figure."""

DAY_SHARE = 0.5
"""Share of a day's slots that must be there to judge the day."""

WINDOW_DAYS, WINDOW_EVERY_DAYS = 63, 28
"""A profile is the median of nine weeks and is renewed every four; between two it is interpolated."""

OWN_WEEKDAY_WEEKS = 3
"""From so many weeks on each weekday has its own profile, before all working days share one."""

BASE_WEEKS = 4
"""A level and a clock are compared with so many weeks before: then what stays is the new normal."""

FIRST_DAYS = 14
"""Days at the start of a table that have no past yet and stand for it."""

FEWEST_DAYS = 6
"""Days of a kind that make a profile of the weeks before."""

NETWORK_SAMPLE = 200
"""About so many series, evenly picked, say what the network does slot by slot; a median needs no more."""

SIGMAS = 1.4826
"""Standard deviation over median absolute deviation of a normal distribution."""


def median_first(x: Floats) -> Floats:
    """Median along the first axis without NaN; NaN where there is nothing. numpy's own is slow on short axes."""
    if not len(x):
        return np.full(x.shape[1:], np.nan)
    ordered = np.sort(x, axis=0)
    n = len(x)
    if not np.isnan(ordered[-1]).any():
        middle: Floats = 0.5 * (ordered[(n - 1) // 2] + ordered[n // 2])
        return middle
    count = (~np.isnan(ordered)).sum(axis=0)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0)[None] // 2, axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, n - 1)[None], axis=0)[0]
    return np.where(count > 0, 0.5 * (low + high), np.nan)


def known_or(x: Floats, other: float) -> Floats:
    """The values, and `other` for NaN."""
    return np.where(np.isnan(x), other, x)


def smooth(x: Floats, reach: int, axis: int = 0) -> Floats:
    """Weighted mean with `reach` neighbours either side, weights falling evenly, round the clock; NaN left out."""
    n = x.shape[axis]
    if reach < 1 or n <= 2 * reach:
        return x
    there = ~np.isnan(x)
    whole = bool(there.all())

    def summed(of: Floats | Flags) -> Floats:
        laid = np.moveaxis(of, axis, 0)
        round_the_clock = np.concatenate([laid[n - reach :], laid, laid[:reach]])
        total = np.zeros(laid.shape)
        for shift in range(2 * reach, -1, -1):
            total += (reach + 1.0 - abs(shift - reach)) * round_the_clock[shift : shift + n]
        return np.moveaxis(total, 0, axis)

    if whole:
        mean: Floats = summed(x) / (reach + 1.0) ** 2
        return mean
    weight = summed(there)
    return np.divide(summed(np.where(there, x, 0.0)), weight, out=np.full_like(x, np.nan), where=weight > 0)


def usual_step(off: Floats) -> Floats:
    """Usual size (one standard deviation) of deviations float64[n_day, m, n] of days, float64[m, n]; 0 if unknown.

    From the steps between following days: a level or a clock that jumps once changes one step, but half of
    all deviations.
    """
    steps: Floats = np.abs(np.diff(off, axis=0))
    return known_or(SIGMAS / np.sqrt(2.0) * median_first(steps), 0.0)


def part_ratios(days: Floats, expected: Floats, grid: DayGrid) -> Floats:
    """Log of counted over expected by part of the day, float64[n_day, n_part, n]; NaN where too few are expected.

    Slots that are missing are missing in both.
    """
    missing = np.isnan(days) | np.isnan(expected)
    counted = grid.by_part(np.where(missing, 0.0, days))
    due = grid.by_part(np.where(missing, 0.0, expected))
    return np.where(due >= EXPECTED_VEH, np.log((counted + 1.0) / (due + 1.0)), np.nan)


def zero_days_of(days: Floats) -> Flags:
    """Days of zeros, where half of the day is there at least, bool[n_day, n], of float64[n_day, slots, n]."""
    enough = (~np.isnan(days)).sum(axis=1) >= DAY_SHARE * days.shape[1]
    zero: Flags = enough & ~(known_or(days, 0.0) != 0).any(axis=1)
    return zero


@dataclass(frozen=True, eq=False)
class Profile:
    """Expected counts by weekday and slot, renewed every few weeks.

    Fields
    ------
    centres : int64[n_centre], the day that each is made for
    weeks : float64[n_centre, 7, slots, n], veh per interval
    """

    centres: Ints
    weeks: Floats

    def on(self, weekdays: Ints) -> Floats:
        """Counts for every day and slot, float64[n_day, slots, n], each day as that weekday."""
        if len(self.centres) == 1:
            only: Floats = self.weeks[0][weekdays]
            return only
        days = np.arange(len(weekdays))
        upper = np.clip(np.searchsorted(self.centres, days), 1, len(self.centres) - 1)
        left, right = self.centres[upper - 1], self.centres[upper]
        share = np.clip((days - left) / (right - left), 0.0, 1.0)[:, None, None]
        between: Floats = (1.0 - share) * self.weeks[upper - 1, weekdays] + share * self.weeks[
            upper, weekdays
        ]
        return between


@dataclass(frozen=True, eq=False)
class Habit:
    """What some series usually do, and how their days were against it.

    Fields
    ------
    parts, sunday_parts : float64[n_day, n_part, n], log of counted over expected (`part_ratios`), each day against
        its own weekday, and against a Sunday
    sample : counted and expected of some of the series, float64[n_day, slots, n_sample] each
    """

    profile: Profile
    parts: Floats
    sunday_parts: Floats
    sample: tuple[Floats, Floats]


def learn(batch: Batch, holidays: Flags) -> Habit:
    """Profiles of the series, without holidays and days of zeros, and every day's level against them."""
    grid = batch.grid
    days = batch.by_day()
    days[np.broadcast_to(zero_days_of(days)[:, None, :], days.shape)] = np.nan
    ordinary = np.where(holidays[:, None, None], np.nan, days) if holidays.any() else days
    if grid.n_days <= WINDOW_DAYS:
        centres = np.array([grid.n_days // 2])
        reach = grid.n_days
    else:
        centres = np.arange(WINDOW_DAYS // 2, grid.n_days, WINDOW_EVERY_DAYS)
        reach = WINDOW_DAYS // 2
    weeks = []
    for centre in centres:
        window = slice(max(0, centre - reach), centre + reach + 1)
        weeks.append(_week_of(ordinary[window], grid.weekdays[window], grid.step_min))
    profile = Profile(centres, np.stack(weeks))
    expected = profile.on(grid.weekdays)
    of_sunday = profile.on(np.full(grid.n_days, 6))
    every = -(-batch.n_table // NETWORK_SAMPLE)
    # Evenly over the table, however it is cut up.
    picked = slice(-batch.columns.start % every, None, every)
    return Habit(
        profile,
        part_ratios(days, expected, grid),
        part_ratios(days, of_sunday, grid),
        # Copies: a view would keep all of the batch in memory.
        (days[:, :, picked].copy(), expected[:, :, picked].copy()),
    )


def _week_of(days: Floats, weekdays: Ints, step_min: int) -> Floats:
    """Expected counts by weekday and slot, float64[7, slots, n], from days float64[n_day, slots, n].

    Each working day is what all working days share, bent by a factor that changes slowly over the day: five
    times the days for the sharp flanks of the peaks, and one weekday's faulty days can't move them alone.
    """
    near, far = 15 // step_min, max(1, 60 // step_min)
    work = weekdays < 5
    shared = smooth(median_first(days[work]), near)
    rest = smooth(median_first(days[~work]), near)
    week = np.empty((7, *days.shape[1:]))
    for weekday in range(7):
        common = shared if weekday < 5 else rest
        mine = weekdays == weekday
        week[weekday] = common
        if mine.sum() >= OWN_WEEKDAY_WEEKS:
            own = median_first(days[mine])
            if weekday < 5:
                own = common * (smooth(own, far) + 0.5) / (smooth(common, far) + 0.5)
            else:
                own = smooth(own, near)
            week[weekday] = np.where(np.isnan(own), common, own)
    # With working days only, or weekends only, the other kind is the best guess for a day to come.
    for ours, other in ((slice(0, 5), rest), (slice(5, 7), shared)):
        week[ours] = np.where(np.isnan(week[ours]), other, week[ours])
    return week


def weeks_before(days: Floats, expected: Floats, grid: DayGrid, odd: Flags) -> Floats:
    """What each day should look like by the four weeks before it, float64[n_day, slots, n].

    A profile of all weeks lies between two clocks if one was shifted for half of the time; this one lags
    behind, and so says which came first. The first two weeks are compared with themselves. Sharp flanks come
    from the days before, what tells a Monday from a Friday from the profile `expected`, as does all where there
    are too few days.
    """
    pattern = expected.copy()
    n_days = len(days)
    if n_days <= FIRST_DAYS:
        return pattern
    # Two hours: the profile's own weekdays may hold a shift by an hour, which must not come in by this way.
    near, far = 15 // grid.step_min, max(1, 120 // grid.step_min)
    missing = np.isnan(days) | np.isnan(expected)
    level = np.where(missing, 0.0, days).sum(axis=1) + 1.0
    level /= np.where(missing, 0.0, expected).sum(axis=1) + 1.0
    work = grid.weekdays < 5
    for begin in range(0, n_days, 7):
        here = np.arange(begin, min(begin + 7, n_days))
        for kind in (True, False):
            # Three weekends hold as little as one would compare with: six days.
            last = max(begin, FIRST_DAYS if kind else FIRST_DAYS + 7)
            window = np.arange(max(0, last - 7 * BASE_WEEKS), min(last, n_days))
            before = window[~odd[window] & (work[window] == kind)]
            now = here[work[here] == kind]
            if len(before) < FEWEST_DAYS or not len(now):
                continue
            usual = smooth(median_first(days[before] / level[before, None]), near)
            base = smooth(expected[before].mean(axis=0), far)
            bend = (smooth(expected[now], far, axis=1) + 0.5) / (base + 0.5)
            pattern[now] = np.where(np.isnan(usual * bend), pattern[now], usual * bend)
    return pattern
