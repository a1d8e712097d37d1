"""Forecasts of counts: the next quarter hour and the next day of every detector, approach or movement.

`Forecaster` learns a history once, then gives forecasts for the leads it was made for, and takes in one row of
counts after the other at a cost that doesn't grow. `OnlineForecaster` is the same for a single lead. The equations
are in `kernels/forecast.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kernels import forecast as kernels
from signals.demand.calendar import Calendar
from signals.errors import InputError
from signals.model.counts import MINUTES_A_DAY, CountForecast, CountTable, Floats, Times

Ints = NDArray[np.int64]

HALF_LIFE_WEEKS = 6.0
"""A count of so many weeks ago teaches the profile half as much as one of today."""
LONG_HISTORY_WEEKS = 9
"""From so many weeks on the profiles of a history are made of what came before them, as in service; below, of all
other days, since too few came before."""
LEARNING_WEEKS = 4
"""The first weeks of a long history teach the profile and no coefficients."""
RATIO_HALF_LIVES_MIN = (30.0, 120.0, 480.0, 1440.0)
N_FACTOR = 4
SAMPLE = 256
"""The network's common residuals and the pooled coefficients come from at most so many series."""
LEAST_SEEN = 0.3
"""A series that is missing more often than the rest of this share says nothing about the network."""
PRIOR_ROWS = 600.0
"""The pooled coefficients weigh as much as so many intervals of an average series."""
POOL_RIDGE = 1e-4
MOST_ROWS = 4e8
"""Where series, intervals and leads make more rows than this, the regression takes every second, third … one."""
BLOCK = 64
"""Series that are laid out for the kernels at a time."""
LEVEL_PRIOR = 2.0
"""A new series has the median level of the others until so many of its own counts have come."""
CALIBRATION_RATE = 0.02
ERROR_HALF_LIFE_DAYS = 14.0
CELL_PRIOR = 500.0
"""Errors of all levels that stand in for a level with few of its own."""
LEADS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 36, 48, 72, 96, 144, 192)
"""Leads that a forecast of a whole day is fitted for; coefficients in between are interpolated."""
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
MOST_NETWORK_EXCESS = 1.0


@dataclass(frozen=True)
class Explanation:
    """One forecast in parts, veh per interval: they sum to the mean.

    `floor` is what keeps the forecast from going below zero.
    """

    series: str
    lead: int
    target: np.datetime64
    profile: float
    ratio: float
    feedback: float
    network: float
    floor: float
    mean: float

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {**vars(self), "target": str(self.target)}


class Forecaster:
    """Forecasts of many series for several leads, learned from a history and kept up to date row by row.

    Parameters
    ----------
    times : datetime64[n_interval]
        Starts of the intervals on the local clock, evenly spaced but for days on which clocks change.
    counts : float[n_interval, n_series], veh per interval
        NaN where missing; any real dtype, float32 saves memory.
    leads : intervals ahead, each from 1 to 192 days' slots
    levels : quantiles to give, each between 0 and 1
    calendar : holidays; without one every day is its weekday
    threads : blocks of series fitted at the same time

    Raises
    ------
    InputError
        Where there is no history, times are uneven, counts are negative or infinite, or an option is out of range.
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
        self.times = np.asarray(times).astype("datetime64[m]")
        self.step_min = _step_of(self.times)
        self.leads = tuple(sorted(set(leads)))
        self.levels = tuple(levels)
        self.calendar = calendar
        _check(history, self.times, self.leads, self.levels)
        self._slots_a_day = MINUTES_A_DAY // self.step_min
        self._step = len(history) - 1
        self._last = self.times[-1]
        self._smooth = smoothing(self.step_min)
        self._ratio_keep = np.array([0.5 ** (self.step_min / m) for m in RATIO_HALF_LIVES_MIN])
        self._keep = 0.5 ** (1.0 / HALF_LIFE_WEEKS)
        self._level_keep = self._keep ** (1.0 / (7 * self._slots_a_day))
        self._error_keep = 0.5 ** (1.0 / (ERROR_HALF_LIFE_DAYS * self._slots_a_day))
        self._fit(history, max(1, threads))
        self._pending: deque[tuple[int, int, Floats, Floats]] = deque()

    @property
    def n_series(self) -> int:
        """Series of the history."""
        return int(self._state.spread.shape[0])

    # ------------------------------------------------------------------------------------------------ history

    def _calendar_of(self, times: Times) -> kernels.Calendar:
        days = times.astype("datetime64[D]")
        minutes = (times - days).astype(np.int64)
        kinds = self.calendar.day_types(times) if self.calendar else (days.astype(np.int64) + 3) % 7
        return kernels.Calendar(
            days.astype(np.int64), np.asarray(kinds, dtype=np.int64), minutes // self.step_min
        )

    def _fit(self, history: NDArray[np.floating], threads: int) -> None:
        n, n_series = history.shape
        when = self._calendar_of(self.times)
        week = 7 * self._slots_a_day
        long = n >= LONG_HISTORY_WEEKS * week
        keep = self._keep if long else 1.0
        first = LEARNING_WEEKS * week if long else 0
        leads = np.array(self.leads, dtype=np.int64)

        seen, total = _observed(history)
        mean = np.where(seen > 0, total / np.maximum(seen, 1), np.nan)
        self._network = _Network(history, when, mean, self._smooth, keep, not long)
        typical = float(np.nanmedian(mean)) if np.isfinite(mean).any() else 0.0
        level_sums = np.stack([total + LEVEL_PRIOR * typical, seen + LEVEL_PRIOR], axis=1)
        level = level_sums[:, 0] / level_sums[:, 1]

        def prior(series: slice | Ints) -> Floats:
            return np.outer(level[series], self._network.levels)

        self._sample = _sample(seen, n)
        sampled = _laid_out(history, self._sample)
        z = kernels.standardised_residuals(
            sampled, when, self._smooth, keep, not long, prior(self._sample), kernels.LAG_LIMIT
        )
        self._components = _components(z)
        factors = kernels.factor_history(z, self._components)
        n_factor = self._components.shape[0]
        n_term = kernels.TERM_FACTOR + n_factor
        gram = np.zeros((len(leads), n_term, n_term))
        right = np.zeros((len(leads), n_term))
        shared = (when, self._smooth, keep, not long)
        drivers = (self._network.excess, factors, self._ratio_keep, leads, first)
        kernels.pooled_equations(sampled, *shared, prior(self._sample), *drivers, gram, right)
        rows = max(1.0, float(np.isfinite(sampled[:, first:]).sum()))
        diagonal = np.einsum("kii->ki", gram)
        penalty = PRIOR_ROWS / rows * diagonal + 1e-9
        pooled = np.stack([_ridge(g, r, POOL_RIDGE) for g, r in zip(gram, right, strict=True)])

        most_back = kernels.daily_lag(self.leads[-1], self._slots_a_day)
        self._state = kernels.ForecastState(
            profiles=kernels.Profiles(
                np.zeros((n_series, kernels.N_ROW, self._slots_a_day), dtype=np.float32),
                np.zeros((n_series, kernels.N_ROW, self._slots_a_day), dtype=np.float32),
            ),
            spread=np.ones(n_series),
            loading=np.zeros((n_series, n_factor)),
            ratio_sums=np.zeros((n_series, kernels.N_RATIO, 2)),
            recent=np.zeros((n_series, most_back + kernels.N_LAG), dtype=np.float32),
            origin=np.zeros(n_series),
            level_sums=level_sums,
            coefficients=np.zeros((len(leads), n_series, n_term)),
            error=np.ones((len(leads), n_series)),
        )
        stride = max(1, round(n * n_series * len(leads) / MOST_ROWS))

        def fit_blocks(starts: Sequence[int]) -> Floats:
            cells = np.zeros((len(leads), kernels.N_LEVEL_BIN, kernels.N_CELL))
            for start in starts:
                block = slice(start, min(start + BLOCK, n_series))
                kernels.fit_series(
                    _laid_out(history, block), *shared, prior(block), *drivers,
                    stride, pooled, penalty, start, self._state, cells,
                )  # fmt: skip
            return cells

        starts = range(0, n_series, BLOCK)
        if len(starts) < 4 * threads:
            cells = fit_blocks(starts)
        else:
            with ThreadPoolExecutor(threads) as pool:
                cells = np.sum(
                    list(pool.map(fit_blocks, [starts[k::threads] for k in range(threads)])), axis=0
                )
        self._tables = np.stack([_error_quantiles(c, self.levels) for c in cells])
        self._shift = np.zeros((len(leads), len(self.levels)))
        self._factors = factors[-1].copy()

    # ------------------------------------------------------------------------------------------------ service

    def time_of(self, lead: int) -> np.datetime64:
        """Start of the interval `lead` steps after the last one seen, if the clock doesn't change until then."""
        return np.datetime64(self._last + lead * np.timedelta64(self.step_min, "m"), "m")

    def predict(self, lead: int, time: np.datetime64 | None = None) -> tuple[Floats, Floats]:
        """Means float64[n_series] and quantiles float64[n_series, n_level], `lead` intervals ahead, veh.

        time : start of that interval on the local clock, where clocks change before it

        Raises
        ------
        InputError
            Where the lead is outside the ones that the forecaster was made for.
        """
        below, above, share = self._between(lead)
        moment = self._moment(self.time_of(lead) if time is None else time)
        blend = _blend(self._state.coefficients, below, above, share)
        mean = np.empty(self.n_series)
        kernels.predict(lead, blend, moment, self._step, self._state, self._factors, self._smooth, mean)
        quantiles = np.empty((self.n_series, len(self.levels)))
        kernels.spread_out(
            mean,
            _blend(self._state.error, below, above, share),
            _blend(self._tables, below, above, share),
            _blend(self._shift, below, above, share),
            quantiles,
        )
        if below == above and self.levels:
            self._pending.append((self._step + lead, below, mean, quantiles))
        return mean, quantiles

    def update(self, time: np.datetime64, counts: ArrayLike) -> None:
        """Take in the counts of the next interval: float[n_series], veh, NaN where missing.

        What can't be a count (negative, infinite) is taken as missing.

        Raises
        ------
        InputError
            Where the row has another number of series.
        """
        row = np.asarray(counts, dtype=np.float64)
        if row.shape != (self.n_series,):
            raise InputError(
                f"row of {time}: {row.size} counts for {self.n_series} series; give one each, NaN where missing"
            )
        row = np.where((row >= 0) & np.isfinite(row), row, np.nan)
        self._last = np.datetime64(time, "m")
        self._step += 1
        while self._pending and self._pending[0][0] <= self._step:
            due, k, mean, quantiles = self._pending.popleft()
            if due == self._step:
                kernels.calibrate(
                    row, mean, quantiles, np.array(self.levels), CALIBRATION_RATE, self._error_keep,
                    self._state.error[k], self._shift[k],
                )  # fmt: skip
        moment = self._moment(self._last)
        kernels.observe(
            row, moment, self._step, self._state, self._smooth, self._keep, self._level_keep, self._ratio_keep,
            self._sample, self._components, self._factors,
        )  # fmt: skip
        self._network.learn(row, moment, self._state.level_sums, self._keep)

    def explain(
        self, series: int, lead: int, name: str = "", time: np.datetime64 | None = None
    ) -> Explanation:
        """One forecast in parts that sum to it."""
        below, above, share = self._between(lead)
        target = self.time_of(lead) if time is None else time
        row = np.empty(self._state.coefficients.shape[2])
        kernels.terms_of(
            series, lead, self._moment(target), self._step, self._state, self._factors, self._smooth, row
        )
        parts = row * _blend(self._state.coefficients, below, above, share)[series]
        k = kernels
        profile = float(row[0] + parts[: k.TERM_ORIGIN].sum())
        ratio = float(parts[k.TERM_RATIO : k.TERM_DAILY].sum())
        feedback = float(parts[k.TERM_ORIGIN : k.TERM_RATIO].sum() + parts[k.TERM_DAILY])
        network = float(parts[k.TERM_FACTOR :].sum())
        total = profile + ratio + feedback + network
        mean = max(0.0, total)
        return Explanation(
            name or str(series), lead, target, profile, ratio, feedback, network, mean - total, mean
        )

    def _between(self, lead: int) -> tuple[int, int, float]:
        """The fitted leads around this one, by position, and how far it is from the first to the second."""
        if not self.leads[0] <= lead <= self.leads[-1]:
            raise InputError(
                f"lead of {lead} intervals: made for {self.leads[0]} to {self.leads[-1]}; ask for that lead at "
                "the start"
            )
        above = int(np.searchsorted(self.leads, lead))
        if self.leads[above] == lead:
            return above, above, 0.0
        below = above - 1
        return below, above, (lead - self.leads[below]) / (self.leads[above] - self.leads[below])

    def _moment(self, time: np.datetime64) -> kernels.Moment:
        when = self._calendar_of(np.array([time], dtype="datetime64[m]"))
        return self._network.moment(int(when.kind[0]), int(when.slot[0]), self._smooth)


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
) -> CountForecast:
    """Forecast of every series of a table for the `horizon` intervals after its end.

    Counts that are marked bad are left out.
    """
    forecaster = Forecaster(table.local_times, table.usable, leads_up_to(horizon), levels, calendar=calendar)
    times = ahead(table, horizon)
    made = [forecaster.predict(lead, time) for lead, time in enumerate(times, start=1)]
    return CountForecast(
        table.names,
        times,
        table.step_min,
        np.stack([m for m, _ in made]),
        tuple(levels),
        np.stack([q for _, q in made]),
    )


# -------------------------------------------------------------------------------------------------- pieces


class _Network:
    """All series as one: its level by time (1 on average), and where its profile departs from its smoothed self."""

    def __init__(
        self,
        history: NDArray[np.floating],
        when: kernels.Calendar,
        mean: Floats,
        smooth: Floats,
        keep: float,
        leave_out: bool,
    ) -> None:
        n = len(history)
        n_slot = int(when.slot.max()) + 1
        self._sums = np.zeros((kernels.N_ROW, n_slot), dtype=np.float32)
        self._weights = np.zeros((kernels.N_ROW, n_slot), dtype=np.float32)
        profiles = np.empty((n, kernels.N_PROFILE))
        self._scale = max(float(np.nansum(mean)), 1e-9)
        index = np.array([self._index(row, mean) for row in _rows(history)])
        kernels.clean_profiles(
            index * self._scale, when, smooth, keep, leave_out, np.full(n, self._scale),
            self._sums, self._weights, profiles,
        )  # fmt: skip
        self.levels = profiles[:, 0] / self._scale
        self.excess = self._excess(profiles)

    def _index(self, row: Floats, mean: Floats) -> float:
        """Counts seen over what these series count on average; NaN where under a fifth is seen."""
        seen = np.isfinite(row) & np.isfinite(mean)
        expected = float(mean[seen].sum())
        return float(row[seen].sum()) / expected if expected > 0.2 * self._scale else np.nan

    @staticmethod
    def _excess(profiles: Floats) -> Floats:
        own, group = profiles[..., 0] + profiles[..., 1], profiles[..., 0] + profiles[..., 5]
        share = np.divide(own, group, out=np.ones_like(own), where=group > 0) - 1.0
        return np.clip(share, -MOST_NETWORK_EXCESS, MOST_NETWORK_EXCESS)

    def moment(self, kind: int, slot: int, smooth: Floats) -> kernels.Moment:
        profiles = np.empty(kernels.N_PROFILE)
        kernels.profile_at(self._sums, self._weights, kind, slot, smooth, np.empty(0), self._scale, profiles)
        return kernels.Moment(kind, slot, float(profiles[0] / self._scale), float(self._excess(profiles)))

    def learn(self, row: Floats, moment: kernels.Moment, level_sums: Floats, keep: float) -> None:
        index = self._index(row, level_sums[:, 0] / level_sums[:, 1])
        if np.isfinite(index):
            kernels.teach(self._sums, self._weights, moment.kind, moment.slot, index * self._scale, keep)


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
    return weights / weights.sum(axis=1, keepdims=True)


def leads_up_to(horizon: int) -> tuple[int, ...]:
    """Leads to fit so that every one up to `horizon` can be given."""
    return (*(lead for lead in LEADS if lead < horizon), horizon)


def ahead(table: CountTable, count: int) -> Times:
    """Starts of the `count` intervals after a table's end on the local clock."""
    from signals.model.counts import local_clock

    return local_clock(table.times_after(table.n_intervals, count), table.timezone)


def _step_of(times: Times) -> int:
    if len(times) < 2:
        raise InputError(
            f"history of {len(times)} intervals: nothing to learn from; a day is the least, weeks are better"
        )
    step = int(np.median(np.diff(times).astype(np.int64)))
    if step < 1 or MINUTES_A_DAY % step:
        raise InputError(f"intervals of {step} min: must divide a day; count in 5, 15 or 60 minutes")
    return step


def _check(
    history: NDArray[np.floating], times: Times, leads: Sequence[int], levels: Sequence[float]
) -> None:
    if history.ndim != 2 or len(history) != len(times) or history.shape[1] == 0:
        raise InputError(f"counts of shape {history.shape} for {len(times)} intervals: a row each is needed")
    if not leads or leads[0] < 1:
        raise InputError(f"leads of {tuple(leads)} intervals: at least one, each 1 or more")
    if any(not 0 < q < 1 for q in levels):
        raise InputError(f"quantiles {tuple(levels)}: each must lie between 0 and 1")


def _rows(history: NDArray[np.floating]) -> Iterator[Floats]:
    for row in history:
        yield row.astype(np.float64)


def _observed(history: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """How many counts each series has, and their sum: float64[n_series] both."""
    seen = np.zeros(history.shape[1])
    total = np.zeros(history.shape[1])
    for row in _rows(history):
        there = np.isfinite(row)
        seen += there
        total += np.where(there, row, 0.0)
    return seen, total


def _sample(seen: Floats, n: int) -> Ints:
    """Series that stand for the network: evenly spread over those that are seen often enough."""
    good = np.flatnonzero(seen >= LEAST_SEEN * n)
    if not len(good):
        good = np.argsort(-seen, kind="stable")[:1]
    picked = np.unique(np.linspace(0, len(good) - 1, min(SAMPLE, len(good))).round().astype(np.int64))
    return good[picked].astype(np.int64)


def _laid_out(history: NDArray[np.floating], series: slice | Ints) -> Floats:
    """Series as rows, float64 and contiguous, with NaN for what can't be a count."""
    block = np.ascontiguousarray(history[:, series].T, dtype=np.float64)
    block[~((block >= 0) & np.isfinite(block))] = np.nan
    return block


def _components(z: Floats) -> Floats:
    """Principal components of the sample's residuals, float64[n_factor, n_sample], rows of unit length."""
    n_factor = min(N_FACTOR, z.shape[0] - 1)
    filled = np.nan_to_num(z)
    _, vectors = np.linalg.eigh(filled @ filled.T)
    return np.ascontiguousarray(vectors[:, ::-1][:, :n_factor].T)


def _ridge(gram: Floats, right: Floats, share: float) -> Floats:
    lower = np.tril(gram)
    full = lower + np.tril(gram, -1).T
    size = np.maximum(np.diag(full), 1e-9)
    return np.linalg.solve(full + share * np.diag(size), right)


def _error_quantiles(cells: Floats, levels: Sequence[float]) -> Floats:
    """Quantiles of the errors in spreads by level of the forecast: float64[N_LEVEL_BIN, n_level]."""
    edges = (np.arange(kernels.N_CELL + 1) - kernels.N_CELL // 2) / kernels.CELLS_A_SPREAD
    every = cells.sum(axis=0)
    if not every.sum():
        every = np.diff(_normal_cdf(edges))
    out = np.empty((kernels.N_LEVEL_BIN, len(levels)))
    for k, own in enumerate(cells):
        mixed = np.concatenate([[0.0], np.cumsum(own + CELL_PRIOR * every / every.sum())])
        out[k] = np.interp(levels, mixed / mixed[-1], edges)
    return out


def _normal_cdf(x: Floats) -> Floats:
    from math import erf

    return np.array([0.5 * (1.0 + erf(v / np.sqrt(2.0))) for v in x])


def _blend(values: Floats, below: int, above: int, share: float) -> Floats:
    if below == above:
        return values[below]
    return (1.0 - share) * values[below] + share * values[above]
