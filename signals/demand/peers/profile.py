"""What every site expects at this time of this weekday, and the peers that need no more than the counts.

`DayProfile` is the ground that the stronger peers stand on: they forecast what is left when it is taken away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signals.demand.calendar import slots_of, step_of, weekdays_of
from signals.errors import InputError
from signals.model.counts import MINUTES_A_DAY, Floats, Times

Ints = NDArray[np.int64]

HALF_LIFE_WEEKS = 6.0
LONG_HISTORY_WEEKS = 9
"""From so many weeks on old counts fade, and a history is judged by what came before; below, by its other days."""
PRIOR_GROUP, PRIOR_ALL, PRIOR_WEEKDAY, PRIOR_SHAPE = 0.1, 0.1, 1.0, 0.05
"""Counts that stand in for a mean with few of its own: of a group, of all days, of a weekday, of another smoothing."""
BASE = 1
"""The profile among the six that is the forecast; the others tell the gradient boosting where it may be wrong."""
N_PROFILE = 6
LEVEL_PRIOR = 2.0
"""Counts are about as spread as the root of their level and so many vehicles."""
JUDGED_WEEKS = 13
"""The errors that intervals are made of are the ones of so many weeks at the end of the history."""
SPREAD_PRIOR = 50.0
"""Errors of an average series that stand in for a series with few of its own."""
MOST_ERRORS = 200_000


class Clock:
    """Weekday and slot of times on an even clock, and the time of a row to come.

    Raises
    ------
    InputError
        Where there are fewer than two intervals, or their length doesn't divide a day.
    """

    def __init__(self, times: Times, counts: Floats, horizon: int) -> None:
        if counts.ndim != 2 or len(counts) != len(times) or counts.shape[1] == 0:
            raise InputError(
                f"counts of shape {counts.shape} for {len(times)} intervals: a row each and at least one series"
            )
        if len(times) < 2:
            raise InputError(
                f"history of {len(times)} intervals: too short to learn from; give a day or more"
            )
        if horizon < 1:
            raise InputError(f"horizon of {horizon} intervals: must be 1 or more")
        self.step_min = step_of(times)
        self.slots_a_day = MINUTES_A_DAY // self.step_min
        self.horizon = horizon
        self._last = int(times[-1].astype("datetime64[m]").astype(np.int64))

    @property
    def target(self) -> np.datetime64:
        """Start of the interval that is forecast now."""
        return np.datetime64(self._last + self.horizon * self.step_min, "m")

    def advance(self, time: np.datetime64) -> None:
        """The interval that began then is over."""
        self._last = int(time.astype("datetime64[m]").astype(np.int64))

    def place_of(self, time: np.datetime64) -> tuple[int, int]:
        """Weekday (Monday is 0) and slot of one time."""
        one = np.array([time], dtype="datetime64[m]")
        return int(weekdays_of(one)[0]), int(slots_of(one, self.step_min)[0])


class DayProfile:
    """Weekday-by-slot means, smoothed and shrunk, of all days that are over.

    The profile of a weekday weighs neighbouring slots 1/4, 1/2, 1/4. A weekday with few days leans on its group
    (Monday to Friday; Saturday and Sunday stand alone), a group on all days, and these on the series' mean. Five
    further profiles, with other smoothing or of the group, are kept for the gradient boosting.

    A day counts when it is over. So a forecast of the day knows as much of it as the history of a fit does, which
    is judged by the days before (long histories) or by all other days (short ones, where too few came before).

    Fields
    ------
    of_history : float64[n_interval, n_series], the profile that is the forecast, each row without its own day
    all_of_history : float64[6, n_interval, n_series], all six where they were asked for, otherwise that one
    """

    def __init__(self, clock: Clock, times: Times, counts: Floats, *, all_six: bool = False) -> None:
        self._clock = clock
        n, n_series = counts.shape
        slots = clock.slots_a_day
        self._sums = np.zeros((7, slots, n_series))
        self._weights = np.zeros((7, slots, n_series))
        self._today = np.full((slots, n_series), np.nan)
        self._date = times[0].astype("datetime64[D]")
        self._weekday = -1
        self._tables: dict[int, Floats] = {}
        long = n >= LONG_HISTORY_WEEKS * 7 * slots
        self._keep = 0.5 ** (1.0 / HALF_LIFE_WEEKS) if long else 1.0
        self.long = long

        days, first = np.unique(times.astype("datetime64[D]"), return_index=True)
        bounds = [*first.tolist(), n]
        slot = slots_of(times, clock.step_min)
        kept = slice(None) if all_six else slice(BASE, BASE + 1)
        self.all_of_history = np.empty((N_PROFILE if all_six else 1, n, n_series))
        if not long:
            for day, low, high in zip(days, bounds, bounds[1:], strict=False):
                self._learn(day, slot[low:high], counts[low:high])
        for day, low, high in zip(days, bounds, bounds[1:], strict=False):
            weekday = int(weekdays_of(np.array([day]))[0])
            own = np.full((slots, n_series), np.nan)
            own[slot[low:high]] = counts[low:high]
            without = None if long else own
            self.all_of_history[:, low:high] = self._profiles(weekday, without)[kept, slot[low:high]]
            if long:
                self._learn(day, slot[low:high], counts[low:high])
        self.of_history = self.all_of_history[BASE if all_six else 0]

    def at(self, time: np.datetime64) -> Floats:
        """The six profiles for the interval that starts at this time, float64[6, n_series], veh per interval."""
        weekday, slot = self._clock.place_of(time)
        if weekday not in self._tables:
            self._tables[weekday] = self._profiles(weekday)
        return np.asarray(self._tables[weekday][:, slot])

    def update(self, time: np.datetime64, row: Floats) -> None:
        """Take in the counts of an interval, float64[n_series], NaN where missing."""
        date = time.astype("datetime64[D]")
        if date != self._date:
            self._flush()
        self._date = date
        slot = self._clock.place_of(time)[1]
        self._today[slot] = np.where(np.isnan(row), self._today[slot], row)
        if slot == self._clock.slots_a_day - 1:
            self._flush()

    def _learn(self, day: np.datetime64, slots: Ints, rows: Floats) -> None:
        self._today[slots] = rows
        self._date = day
        self._flush()

    def _flush(self) -> None:
        """The day is over."""
        seen = ~np.isnan(self._today)
        k = int(weekdays_of(np.array([self._date]))[0])
        self._sums[k] = np.where(seen, self._sums[k] * self._keep + self._today, self._sums[k])
        self._weights[k] = np.where(seen, self._weights[k] * self._keep + 1.0, self._weights[k])
        self._today[:] = np.nan
        self._tables.clear()

    def _profiles(self, weekday: int, without: Floats | None = None) -> Floats:
        """The six profiles of a weekday, float64[6, n_slot, n_series], with one day of it left out."""
        group = slice(0, 5) if weekday < 5 else slice(weekday, weekday + 1)
        parts = [self._sums[weekday], self._weights[weekday]]
        parts += [self._sums[group].sum(axis=0), self._weights[group].sum(axis=0)]
        parts += [self._sums.sum(axis=0), self._weights.sum(axis=0)]
        if without is not None:
            own = [np.nan_to_num(without), (~np.isnan(without)).astype(np.float64)]
            parts = [p - own[k % 2] for k, p in enumerate(parts)]
        total, seen = parts[4].sum(axis=0), parts[5].sum(axis=0)
        level = np.divide(total, seen, out=np.zeros_like(total), where=seen > 0)
        near = [_triangle(p) for p in parts]
        every = _shrunk(near[4], near[5], level, PRIOR_ALL)
        common = _shrunk(near[2], near[3], every, PRIOR_GROUP)
        base = _shrunk(near[0], near[1], common, PRIOR_WEEKDAY)
        wide = [_box(p) for p in parts[:4]]
        return np.stack(
            [
                _shrunk(parts[0], parts[1], base, PRIOR_SHAPE),
                base,
                _shrunk(wide[0], wide[1], base, PRIOR_SHAPE),
                _shrunk(parts[2], parts[3], base, PRIOR_SHAPE),
                common,
                _shrunk(wide[2], wide[3], base, PRIOR_SHAPE),
            ]
        )


def _shrunk(total: Floats, seen: Floats, prior: Floats, weight: float) -> Floats:
    return np.asarray((total + weight * prior) / (seen + weight))


def _triangle(a: Floats) -> Floats:
    """Weights 1/4, 1/2, 1/4 over neighbouring slots, around midnight too."""
    return np.asarray(0.5 * a + 0.25 * np.roll(a, 1, axis=0) + 0.25 * np.roll(a, -1, axis=0))


def _box(a: Floats) -> Floats:
    """The mean of nine slots."""
    return np.asarray(sum(np.roll(a, k, axis=0) for k in range(-4, 5)) / 9.0)


def spread_of(expected: Floats) -> Floats:
    """How far counts of such a level are apart, to a factor: the root of the level and a few vehicles."""
    return np.asarray(np.sqrt(np.maximum(expected, 0.0) + LEVEL_PRIOR))


class ErrorQuantiles:
    """Quantiles of a forecast from the errors that the same forecaster would have made in its history.

    Errors are taken in spreads of their level. Each series has a width of its own, all share one shape.

    made, seen : float64[n_interval, n_series], veh: the history's forecasts and counts; NaN where there is none
    levels : quantiles, each between 0 and 1
    """

    def __init__(self, made: Floats, seen: Floats, levels: Sequence[float], slots_a_day: int) -> None:
        tail = slice(-JUDGED_WEEKS * 7 * slots_a_day, None)
        error = (seen[tail] - made[tail]) / spread_of(made[tail])
        ok = np.isfinite(error)
        squares, n = np.where(ok, error, 0.0) ** 2, ok.sum(axis=0)
        every = squares.sum() / n.sum() if n.sum() else 1.0
        self._width = np.sqrt((squares.sum(axis=0) + SPREAD_PRIOR * every) / (n + SPREAD_PRIOR))
        shape = (error / np.maximum(self._width, 1e-9))[ok]
        shape = shape[:: max(1, len(shape) // MOST_ERRORS)]
        self._shape = np.quantile(shape, np.asarray(levels)) if len(shape) else np.zeros(len(levels))

    def around(self, mean: Floats) -> Floats:
        """Quantiles of these forecasts, float64[n_series, n_level], veh: from means float64[n_series]."""
        wide = (self._width * spread_of(mean))[:, None] * self._shape
        return np.asarray(np.maximum(mean[:, None] + wide, 0.0))


class LastValue:
    """The last count of each series, whatever the horizon: what a controller without a memory would expect.

    times : datetime64[n_interval], local clock; counts : float[n_interval, n_series], veh, NaN where missing.
    """

    def __init__(
        self, times: Times, counts: ArrayLike, horizon: int = 1, quantiles: Sequence[float] | None = None
    ) -> None:
        history = np.array(counts, dtype=np.float64)
        clock = Clock(times, history, horizon)
        carried = _carried(history)
        self._last = carried[-1]
        self._errors = (
            ErrorQuantiles(carried[:-horizon], history[horizon:], quantiles, clock.slots_a_day)
            if quantiles
            else None
        )

    def predict(self) -> Floats | tuple[Floats, Floats]:
        """Means float64[n_series], and quantiles float64[n_series, n_level] where levels were asked for."""
        return _answer(np.nan_to_num(self._last), self._errors)

    def update(self, time: np.datetime64, row: ArrayLike) -> None:
        """Take in the counts of the interval that has just ended."""
        seen = np.asarray(row, dtype=np.float64)
        self._last = np.where(np.isnan(seen), self._last, seen)


class LastWeek:
    """The count at the same time a week ago; a day ago where there is none, and the last one where there is neither.

    For horizons over a week (a day) it is the last week (day) that is known. Arguments as for `LastValue`.
    """

    def __init__(
        self, times: Times, counts: ArrayLike, horizon: int = 1, quantiles: Sequence[float] | None = None
    ) -> None:
        history = np.array(counts, dtype=np.float64)
        clock = Clock(times, history, horizon)
        day, week = clock.slots_a_day, 7 * clock.slots_a_day
        self._lags = [-(-horizon // period) * period - horizon + 1 for period in (week, day)]
        n, most = len(history), max(self._lags)
        self._rows = deque(history[-most:], maxlen=most)
        carried = _carried(history)
        self._last = carried[-1].copy()
        self._errors = None
        if quantiles:
            made = carried[:-horizon]
            for lag in reversed(self._lags):
                older = history[: max(0, n - horizon - lag + 1)]
                made[lag - 1 :] = np.where(np.isnan(older), made[lag - 1 :], older)
            self._errors = ErrorQuantiles(made, history[horizon:], quantiles, day)

    def predict(self) -> Floats | tuple[Floats, Floats]:
        """Means float64[n_series], and quantiles float64[n_series, n_level] where levels were asked for."""
        mean = self._last
        for lag in reversed(self._lags):
            if lag <= len(self._rows):
                mean = np.where(np.isnan(self._rows[-lag]), mean, self._rows[-lag])
        return _answer(np.nan_to_num(mean), self._errors)

    def update(self, time: np.datetime64, row: ArrayLike) -> None:
        """Take in the counts of the interval that has just ended."""
        seen = np.array(row, dtype=np.float64)
        self._rows.append(seen)
        self._last = np.where(np.isnan(seen), self._last, seen)


class SmoothedProfile:
    """What the weekday and the time lead one to expect, see `DayProfile`; what just happened doesn't matter.

    Arguments as for `LastValue`.
    """

    def __init__(
        self, times: Times, counts: ArrayLike, horizon: int = 1, quantiles: Sequence[float] | None = None
    ) -> None:
        history = np.array(counts, dtype=np.float64)
        self._clock = Clock(times, history, horizon)
        self._profile = DayProfile(self._clock, times, history)
        made = self._profile.of_history
        self._errors = (
            ErrorQuantiles(made, history, quantiles, self._clock.slots_a_day) if quantiles else None
        )

    def predict(self) -> Floats | tuple[Floats, Floats]:
        """Means float64[n_series], and quantiles float64[n_series, n_level] where levels were asked for."""
        return _answer(self._profile.at(self._clock.target)[BASE], self._errors)

    def update(self, time: np.datetime64, row: ArrayLike) -> None:
        """Take in the counts of the interval that has just ended."""
        self._clock.advance(time)
        self._profile.update(time, np.asarray(row, dtype=np.float64))


def _answer(mean: Floats, errors: ErrorQuantiles | None) -> Floats | tuple[Floats, Floats]:
    return mean if errors is None else (mean, errors.around(mean))


def _carried(counts: Floats) -> Floats:
    """The last count of each series at each interval, NaN before the first: float64[n_interval, n_series]."""
    at = np.where(np.isnan(counts), 0, np.arange(len(counts))[:, None])
    return np.asarray(np.take_along_axis(counts, np.maximum.accumulate(at, axis=0), axis=0))
