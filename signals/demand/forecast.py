"""Forecasts of counts: the next quarter hour and the next day of every detector, approach or movement.

`Forecaster` learns a history once, then gives forecasts for the leads it was made for, and takes in one row of
counts after the other at a cost that doesn't grow. `OnlineForecaster` is the same for a single lead. The equations
are in `kernels/terms.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kernels import forecast as service
from kernels import terms, weekly
from signals.demand.calendar import Calendar, slots_of, step_of
from signals.demand.learning import learn
from signals.errors import InputError
from signals.model.counts import (
    LEVELS,
    MINUTES_A_DAY,
    CountForecast,
    CountTable,
    Explanation,
    Floats,
    Times,
    local_clock,
)

Ints = NDArray[np.int64]

HALF_LIFE_WEEKS = 6.0
"""A count of so many weeks ago teaches the profile half as much as one of today."""
LONG_HISTORY_WEEKS = 13
"""From so many weeks on the profiles of a history are made of what came before them, as in service; below, of all
other days, since too few came before."""
RATIO_HALF_LIVES_MIN = (30.0, 120.0, 480.0, 1440.0)
CALIBRATION_RATE = 0.02
ERROR_HALF_LIFE_DAYS = 14.0
"""Errors of so many days ago count half as much as those of today; after a short history half its length."""
JUDGED_DAYS = 0.25
"""Forecasts of so many days must have come true before the profile or the last count may take their place."""
PRIOR_DAYS = 1.0
"""How all series have fared weighs as much as so many days of a series' own forecasts: chance moves none, and one whose
level has jumped misses so much that it is told in an hour or two."""
LEADS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 36, 48, 72, 96, 144, 192)
"""Leads that a forecast of a whole day is fitted for; coefficients in between are interpolated."""

_MINUTES = np.dtype("datetime64[m]")


class _OfLead(NamedTuple):
    """What a lead has of its own: coefficients, errors, and what is learned of them in service.

    Fields
    ------
    coefficients, by_time, error, table : as in `learning.Learned`, for one lead
    shift : float64[n_level], what calibration adds to the table
    own, misses : float64[n_series, N_CANDIDATE] and float64[N_CANDIDATE + 1], how the candidates have fared
    """

    coefficients: Floats
    by_time: Floats
    error: Floats
    table: Floats
    shift: Floats
    own: Floats
    misses: Floats


class Forecaster:
    """Forecasts of many series for several leads, learned from a history and kept up to date row by row.

    Parameters
    ----------
    times : datetime64[n_interval]
        Starts of the intervals on the local clock, evenly spaced but for days on which clocks change.
    counts : float[n_interval, n_series], veh per interval
        NaN where missing, as is taken what can't be a count; any real dtype, float32 saves memory.
    leads : intervals ahead, each 1 or more
    levels : quantiles to give, rising, each between 0 and 1
    calendar : holidays; without one every day is its weekday
    threads : blocks of series fitted at the same time

    Attributes
    ----------
    leads, levels, step_min, n_series : what it was made for

    Raises
    ------
    InputError
        Where there is no history, counts don't fit the times, or an option is out of range.
    """

    def __init__(
        self,
        times: Times,
        counts: ArrayLike,
        leads: Sequence[int],
        levels: Sequence[float] = LEVELS,
        *,
        calendar: Calendar | None = None,
        threads: int = 2,
    ) -> None:
        history = np.asarray(counts)
        when = np.asarray(times).astype("datetime64[m]")
        self.step_min = _step_of(when)
        self.leads = tuple(sorted(set(leads)))
        self.levels = tuple(levels)
        self._days = _Days(self.step_min, calendar or Calendar())
        _check(history, when, self.leads, self.levels)
        n = len(history)
        self._slots_a_day = MINUTES_A_DAY // self.step_min
        self._step = n - 1
        self._minute = int(when[-1].astype(np.int64))
        keep = 0.5 ** (1.0 / HALF_LIFE_WEEKS)
        long = n >= LONG_HISTORY_WEEKS * 7 * self._slots_a_day
        smooth = smoothing(self.step_min)
        self._rules = weekly.Rules(
            smooth=smooth,
            fine=np.ascontiguousarray(smooth[:, smooth[1] > 0.0]),
            keep=np.array([keep, keep**0.2, keep ** (1.0 / 7.0)]),
            ratio_keep=np.array([0.5 ** (self.step_min / m) for m in RATIO_HALF_LIVES_MIN]),
            leave_out=False,
        )
        self._level_keep = keep ** (1.0 / (7 * self._slots_a_day))
        days = min(ERROR_HALF_LIFE_DAYS, max(1.0, n / self._slots_a_day / 2.0))
        self._error_keep = 0.5 ** (1.0 / (days * self._slots_a_day))
        self._miss_keep = 0.5 ** (1.0 / self._slots_a_day)
        self._levels = np.array(self.levels)
        self._pending: dict[int, list[tuple[_OfLead, Floats, Floats, Floats]]] = {}
        learned = learn(history, self._days.arrays(when), self._rules, long, self.leads, self.levels, threads)
        self._state, self._network = learned.state, learned.network
        self.n_series = history.shape[1]
        self._exact = {
            lead: _OfLead(
                learned.coefficients[k],
                learned.by_time[k],
                learned.error[k],
                learned.tables[k],
                np.zeros(len(self.levels)),
                np.zeros((self.n_series, service.N_CANDIDATE)),
                np.zeros(service.N_CANDIDATE + 1),
            )
            for k, lead in enumerate(self.leads)
        }
        self._judged = np.array([PRIOR_DAYS, JUDGED_DAYS]) * self._slots_a_day

    def time_of(self, lead: int) -> np.datetime64:
        """Start of the interval `lead` steps after the last one seen, if the clock doesn't change until then."""
        return _moment(self._minute + lead * self.step_min)

    def predict(self, lead: int, time: np.datetime64 | None = None) -> tuple[Floats, Floats]:
        """Means float64[n_series] and quantiles float64[n_series, n_level], `lead` intervals ahead, veh.

        time : start of that interval on the local clock, where clocks change before it

        Raises
        ------
        InputError
            Where the lead is outside the ones that the forecaster was made for.
        """
        of_lead = self._exact.get(lead) or self._between(lead)
        kind, slot = self._days.of(self._target(lead, time))
        mean = np.empty(self.n_series)
        candidates = np.empty((self.n_series, service.N_CANDIDATE))
        quantiles = np.empty((self.n_series, len(self.levels)))
        service.predict(
            lead, kind, slot, self._step, of_lead.coefficients, of_lead.by_time, of_lead.error, of_lead.table,
            of_lead.shift, of_lead.own, of_lead.misses, self._judged, self._state, self._network, self._rules.smooth,
            candidates, mean, quantiles,
        )  # fmt: skip
        if lead in self._exact:
            due = self._pending.setdefault(self._step + lead, [])
            due.append((of_lead, candidates, mean, quantiles))
        return mean, quantiles

    def update(self, time: np.datetime64, counts: ArrayLike) -> None:
        """Take in the counts of the next interval: float[n_series], veh, NaN where missing.

        What can't be a count (negative, infinite) is taken as missing.

        Raises
        ------
        InputError
            Where the row has another number of series.
        """
        row = np.ascontiguousarray(counts, dtype=np.float64)
        if row.shape != (self.n_series,):
            raise InputError(
                f"row of {time}: {row.size} counts for {self.n_series} series; give one each, NaN where missing"
            )
        self._minute = _minute_of(time)
        self._step += 1
        for of_lead, candidates, mean, quantiles in self._pending.pop(self._step, ()):
            service.calibrate(
                row, candidates, mean, quantiles, self._levels, CALIBRATION_RATE, self._error_keep, of_lead.error,
                of_lead.shift, of_lead.own, of_lead.misses, self._miss_keep,
            )  # fmt: skip
        kind, slot = self._days.of(self._minute)
        service.observe(
            row, kind, slot, self._step, self._state, self._network, self._rules, self._level_keep
        )

    def explain(
        self, series: int, lead: int, name: str = "", time: np.datetime64 | None = None
    ) -> Explanation:
        """One forecast in parts that sum to what `predict` gives.

        series : its position; name : what the explanation calls it; lead, time : as of `predict`
        """
        of_lead = self._exact.get(lead) or self._between(lead)
        target = self._target(lead, time)
        kind, slot = self._days.of(target)
        row = np.empty(of_lead.coefficients.shape[1])
        service.terms_now(
            series, lead, kind, slot, self._step, self._state, self._network, self._rules.smooth, row
        )
        band = terms.band_of(slot, self._slots_a_day)
        parts = row * (of_lead.coefficients[series] + of_lead.by_time[band])
        profile = float(row[0] + parts[: terms.TERM_ORIGIN].sum())
        ratio = float(parts[terms.TERM_RATIO : terms.TERM_DAILY].sum())
        feedback = float(
            parts[terms.TERM_ORIGIN : terms.TERM_RATIO].sum()
            + parts[terms.TERM_DAILY : terms.TERM_FACTOR].sum()
        )
        network = float(parts[terms.TERM_FACTOR :].sum())
        total = profile + ratio + feedback + network
        candidates = np.empty(service.N_CANDIDATE)
        service.lay_candidates(total, row, self._state.last[series], candidates)
        mean = float(self._shares(of_lead, series) @ candidates)
        return Explanation(
            name or str(series),
            lead,
            _moment(target),
            profile,
            ratio,
            feedback,
            network,
            mean - total,
            mean,
        )

    def _shares(self, of_lead: _OfLead, series: int) -> Floats:
        """Shares of the candidates in the forecasts of one series."""
        shares = np.empty(service.N_CANDIDATE)
        prior, least = self._judged.tolist()
        service.shares_of(of_lead.own[series], of_lead.misses, prior, least, shares)
        return shares

    def _between(self, lead: int) -> _OfLead:
        """What stands between the fitted leads around this one."""
        if not self.leads[0] <= lead <= self.leads[-1]:
            raise InputError(
                f"lead of {lead} intervals: made for {self.leads[0]} to {self.leads[-1]}; ask for that lead at "
                "the start"
            )
        above = bisect_left(self.leads, lead)
        first, second = self.leads[above - 1], self.leads[above]
        before, after = self._exact[first], self._exact[second]
        share = (lead - first) / (second - first)
        coefficients, by_time, error, table, shift = (
            (1.0 - share) * x + share * y for x, y in zip(before[:5], after[:5], strict=True)
        )
        return _OfLead(coefficients, by_time, error, table, shift, before.own, before.misses)

    def _target(self, lead: int, time: np.datetime64 | None) -> int:
        """Minute of the target on the local clock, since 1970."""
        if time is None:
            return self._minute + lead * self.step_min
        return _minute_of(time)


class OnlineForecaster:
    """One forecast per interval and series, `horizon` intervals ahead: predict, update, predict, …

    times : datetime64[n_interval], local clock; counts : float[n_interval, n_series], veh, NaN where missing.
    """

    def __init__(
        self,
        times: Times,
        counts: ArrayLike,
        horizon: int = 1,
        quantiles: Sequence[float] | None = None,
        *,
        calendar: Calendar | None = None,
    ) -> None:
        self.horizon = horizon
        self.quantiles = tuple(quantiles or ())
        self.forecaster = Forecaster(times, counts, [horizon], self.quantiles, calendar=calendar)

    def predict(self) -> Floats | tuple[Floats, Floats]:
        """Forecast for the interval `horizon` steps after the last row seen: means, or means and quantiles."""
        mean, quantiles = self.forecaster.predict(self.horizon)
        return (mean, quantiles) if self.quantiles else mean

    def update(self, time: np.datetime64, row: ArrayLike) -> None:
        """Take in the counts of the interval that has just ended."""
        self.forecaster.update(time, row)


def forecast_counts(
    table: CountTable,
    horizon: int,
    *,
    levels: Sequence[float] = LEVELS,
    calendar: Calendar | None = None,
    explain: Sequence[str] = (),
) -> tuple[CountForecast, tuple[Explanation, ...]]:
    """Forecast of every series of a table for the `horizon` intervals after its end.

    Counts that are marked bad are left out. `explain` names series whose forecasts come in parts too, a row an
    interval ahead.

    Raises
    ------
    InputError
        Where a series to explain isn't in the table, or as `Forecaster`.
    """
    where = {name: k for k, name in enumerate(table.names)}
    for name in explain:
        if name not in where:
            near = ", ".join(get_close_matches(name, where, 3)) or ", ".join(table.names[:3])
            raise InputError(f"no series {name!r} to explain; did you mean one of {near}?")
    forecaster = Forecaster(table.local_times, table.usable, leads_up_to(horizon), levels, calendar=calendar)
    times = local_clock(table.times_after(table.n_intervals, horizon), table.timezone)
    made = [forecaster.predict(lead, time) for lead, time in enumerate(times, start=1)]
    explained = tuple(
        forecaster.explain(where[name], lead, name, time)
        for name in explain
        for lead, time in enumerate(times, start=1)
    )
    forecast = CountForecast(
        table.names,
        times,
        table.step_min,
        np.stack([m for m, _ in made]),
        tuple(levels),
        np.stack([q for _, q in made]),
    )
    return forecast, explained


# -------------------------------------------------------------------------------------------------- pieces


class _Days:
    """Kind of day and slot of every minute on the local clock; a day is looked up once."""

    def __init__(self, step_min: int, calendar: Calendar) -> None:
        self._step_min = step_min
        self._calendar = calendar
        self._kinds: dict[int, int] = {}

    def of(self, minute: int) -> tuple[int, int]:
        day, minutes = divmod(minute, MINUTES_A_DAY)
        kind = self._kinds.get(day)
        if kind is None:
            kind = self._kinds[day] = int(self._calendar.day_types(np.array([day], dtype="datetime64[D]"))[0])
        return kind, minutes // self._step_min

    def arrays(self, times: Times) -> weekly.Calendar:
        day = times.astype("datetime64[D]").astype(np.int64)
        n_days = len(np.unique(day))
        fold_days = 7 if n_days >= 14 else max(1, n_days // 4)
        return weekly.Calendar(
            fold=(day - day[0]) // fold_days,
            kind=self._calendar.day_types(times),
            slot=slots_of(times, self._step_min),
            n_slot=MINUTES_A_DAY // self._step_min,
        )


def smoothing(step_min: int) -> Floats:
    """Weights of neighbouring slots, float64[4, n_near]: none, and triangles of ±2, ±3 and a box of ±4 quarter hours.

    Intervals over a quarter hour are smoothed over as many slots.
    """
    quarter = max(1, round(15 / step_min))
    offset = np.arange(-4 * quarter, 4 * quarter + 1)
    weights = np.stack(
        [
            (offset == 0).astype(float),
            np.maximum(0.0, 1.0 - np.abs(offset) / (2.0 * quarter)),
            np.maximum(0.0, 1.0 - np.abs(offset) / (3.0 * quarter)),
            np.ones(len(offset)),
        ]
    )
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def leads_up_to(horizon: int) -> tuple[int, ...]:
    """Leads to fit so that every one up to `horizon` can be given."""
    return (*(lead for lead in LEADS if lead < horizon), horizon)


def _minute_of(time: np.datetime64) -> int:
    return int((time if time.dtype == _MINUTES else time.astype(_MINUTES)).view(np.int64))


def _moment(minute: int) -> np.datetime64:
    return np.datetime64("1970-01-01T00:00") + np.timedelta64(minute, "m")


def _step_of(times: Times) -> int:
    if len(times) < 2:
        raise InputError(
            f"history of {len(times)} intervals: nothing to learn from; a day is the least, weeks are better"
        )
    return step_of(times)


def _check(
    history: NDArray[np.floating], times: Times, leads: Sequence[int], levels: Sequence[float]
) -> None:
    if history.ndim != 2 or len(history) != len(times) or history.shape[1] == 0:
        raise InputError(f"counts of shape {history.shape} for {len(times)} intervals: a row each is needed")
    if not leads or leads[0] < 1:
        raise InputError(f"leads of {tuple(leads)} intervals: at least one, each 1 or more")
    if any(not 0 < q < 1 for q in levels):
        raise InputError(f"quantiles {tuple(levels)}: each must lie between 0 and 1")
    if list(levels) != sorted(levels):
        raise InputError(f"quantiles {tuple(levels)}: they must rise; give them in that order")


def _warm_up() -> None:
    """Load the compiled kernels, or compile them where they were changed: no forecast is to wait for that.

    Takes some tenths of a second, or half a minute once.
    """
    times = np.datetime64("2026-01-05T00:00") + np.arange(72) * np.timedelta64(60, "m")
    forecaster = Forecaster(times, np.full((72, 2), 9.0), [1], threads=1)
    forecaster.predict(1)
    forecaster.update(forecaster.time_of(1), np.full(2, 9.0))


_warm_up()
