"""How good forecasts of counts are: rolled over a test one row at a time, scored, and the worst week of it found.

`roll` knows any forecaster of the contract of `OnlineForecaster`: made from a history, then predict, update,
predict, … As it is handed one row after the other, it can't look ahead.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signals.demand.calendar import slots_of, step_of, weekdays_of
from signals.errors import InputError
from signals.model.counts import LEVELS, Floats, Times

GEH_LIMIT = 5.0
PEAKS_H = ((7.0, 9.0), (16.0, 18.5))
"""Hours of the morning's and the evening's peak, Monday to Friday."""
INTERVALS = {50: (0.25, 0.75), 80: (0.1, 0.9), 90: (0.05, 0.95)}
WEEK_DAYS = 7
LEAST_SEEN = 0.5
"""A week may be the worst if so many counts of the fullest week were seen."""
LEAST_VOLUME = 0.1
"""A series may be the worst from so much of a mean series' volume on: an empty street's WAPE says nothing."""


class RollingForecaster(Protocol):
    """What `roll` asks for: forecasts of one lead, brought up to date row by row."""

    def predict(self) -> Floats | tuple[Floats, Floats]:
        """Means float64[n_series], or means and quantiles float64[n_series, n_level], veh per interval."""

    def update(self, time: np.datetime64, row: Floats, /) -> None:
        """Take in the counts of the interval that has just ended, float64[n_series], NaN where missing."""


Maker = Callable[[Times, Floats, int, Sequence[float] | None], RollingForecaster]
"""Makes a forecaster: start of each interval of the history, its counts, horizon, and the quantiles to give."""


@dataclass(frozen=True, slots=True)
class Score:
    """How far forecasts are from the counts that came; percentages unless the name says otherwise.

    Fields
    ------
    n, n_series, absent : counts scored, series, and counts that no forecast was given for (taken as a forecast of 0)
    mean_veh : of the counts, veh per interval
    mae_veh, rmse_veh : mean absolute and root mean squared error, veh per interval
    wape, peak_wape : sum of absolute errors over the sum of counts; in the peak hours of Monday to Friday alone
    macro_wape : mean of the series' own WAPE
    bias_veh, bias : mean of forecast less count, and the same over the mean count; above 0 is too high
    geh5 : share of hourly volumes with GEH below 5
    wql : weighted quantile loss, twice the mean pinball loss over the mean count
    cover50, cover80, cover90 : share of counts in the interval of that name

    What there was nothing to compute from is NaN: peaks of a Sunday, quantiles that weren't asked for.
    """

    n: int
    n_series: int
    absent: int
    mean_veh: float
    mae_veh: float
    rmse_veh: float
    wape: float
    peak_wape: float
    macro_wape: float
    bias_veh: float
    bias: float
    geh5: float
    wql: float
    cover50: float
    cover80: float
    cover90: float

    def to_json(self) -> dict[str, object]:
        """Plain values, None in place of NaN."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in values.items()
        }


@dataclass(frozen=True, eq=False)
class Rolled:
    """Every forecast of a test beside what came.

    Fields
    ------
    times : datetime64[m][n_test], start of each interval that was forecast, local clock
    step_min : length of an interval in minutes
    counts, mean : float64[n_test, n_series], veh per interval; NaN where there is none
    levels, quantiles : the levels, and float64[n_test, n_series, n_level]; empty where none were given
    horizon : intervals from the last count seen to the one forecast
    fit_s, roll_s : seconds that the fit, and all forecasts and updates together, took
    """

    times: Times
    step_min: int
    counts: Floats
    mean: Floats
    levels: tuple[float, ...]
    quantiles: Floats
    horizon: int
    fit_s: float
    roll_s: float

    @property
    def us_per_forecast(self) -> float:
        """Microseconds that a forecast took with the update after it."""
        return 1e6 * self.roll_s / self.mean.size

    def score(self) -> Score:
        """The figures over the whole test."""
        return score(
            self.times, self.counts, self.mean, self.step_min, levels=self.levels, quantiles=self.quantiles
        )


@dataclass(frozen=True, slots=True)
class WorstWeek:
    """The seven days on which the network was forecast worst: rows of the test, and the series worst in them.

    first, last : row of the test that it begins with, and the one after its end
    wape : of the whole network, %; series, series_wape : position of the worst series and its WAPE, %
    """

    first: int
    last: int
    wape: float
    series: int
    series_wape: float


def roll(
    make: Maker,
    times: Times,
    counts: ArrayLike,
    first_test_row: int,
    horizon: int = 1,
    levels: Sequence[float] = LEVELS,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Rolled:
    """All forecasts of the rows from `first_test_row` on, each made `horizon` intervals before its own.

    The forecaster gets copies of what has been: the history up to the first origin, then a row at a time.

    times : datetime64[n_interval], start of each interval on the local clock (`CountTable.local_times`)
    counts : float[n_interval, n_series], veh, NaN where missing (`CountTable.usable`)
    levels : quantiles to ask for; may be empty
    on_progress(done, of) : called a hundred times at the most

    Raises
    ------
    InputError
        Where the test is empty, or leaves no history of two rows.
    ValueError
        Where a forecast has another shape than the contract says.
    """
    when = np.asarray(times).astype("datetime64[m]")
    table = np.array(counts, dtype=np.float64)
    if table.ndim != 2 or len(table) != len(when) or table.shape[1] == 0:
        raise InputError(
            f"counts of shape {table.shape} for {len(when)} intervals: a row each, one series or more"
        )
    if horizon < 1:
        raise InputError(f"horizon of {horizon} intervals: must be 1 or more")
    n, n_series = table.shape
    start = first_test_row - horizon + 1
    if not start >= 2:
        raise InputError(
            f"test from row {first_test_row} at a horizon of {horizon} leaves {max(0, start)} rows of history, "
            "2 are the least; begin the test later"
        )
    if first_test_row >= n:
        raise InputError(
            f"test from row {first_test_row}, but the counts end with row {n - 1}; begin it earlier"
        )
    wanted = tuple(levels)
    n_test = n - first_test_row
    mean = np.full((n_test, n_series), np.nan)
    quantiles = np.full((n_test, n_series, len(wanted)), np.nan)
    given = False

    clock = time.perf_counter
    began = clock()
    forecaster = make(when[:start].copy(), table[:start].copy(), horizon, list(wanted) or None)
    fit_s = clock() - began
    roll_s = 0.0
    for k in range(n_test):
        now, row = when[start + k], table[start + k].copy()
        began = clock()
        made = forecaster.predict()
        roll_s += clock() - began
        # Forecasts are copied before the update, which may write over them.
        if isinstance(made, tuple):
            mean[k], quantiles[k] = _fitting(made[0], mean[k]), _fitting(made[1], quantiles[k])
            given = True
        else:
            mean[k] = _fitting(made, mean[k])
        began = clock()
        forecaster.update(now, row)
        roll_s += clock() - began
        if on_progress and ((k + 1) * 100 // n_test > k * 100 // n_test):
            on_progress(k + 1, n_test)
    return Rolled(
        when[first_test_row:],
        step_of(when),
        table[first_test_row:],
        mean,
        wanted if given else (),
        quantiles if given else np.empty((n_test, n_series, 0)),
        horizon,
        fit_s,
        roll_s,
    )


def score(
    times: Times,
    counts: ArrayLike,
    mean: ArrayLike,
    step_min: int,
    *,
    levels: Sequence[float] = (),
    quantiles: ArrayLike | None = None,
) -> Score:
    """How far forecasts were from the counts. A missing count isn't scored, a missing forecast is one of zero.

    times : datetime64[n_interval], local clock; counts, mean : float[n_interval, n_series], veh per interval;
    quantiles : float[n_interval, n_series, n_level], in any order

    Raises
    ------
    InputError
        Where there is no count to score, or shapes don't fit.
    """
    y, f = np.asarray(counts, dtype=np.float64), np.asarray(mean, dtype=np.float64)
    if y.ndim != 2 or y.shape != f.shape or len(y) != len(times):
        raise InputError(
            f"forecasts of shape {f.shape} for counts of shape {y.shape} and {len(times)} intervals"
        )
    seen = np.isfinite(y)
    if not seen.any():
        raise InputError(
            f"none of {y.size} counts of the test was seen: nothing to score; choose another test"
        )
    absent = seen & ~np.isfinite(f)
    f = np.where(np.isfinite(f), f, 0.0)
    error = np.where(seen, f - y, 0.0)
    volume = np.where(seen, y, 0.0)
    off = np.abs(error)
    n = int(seen.sum())
    peak = _peaks(times)
    by_series, passed = off.sum(axis=0), volume.sum(axis=0)
    own = by_series[passed > 0] / passed[passed > 0]
    hours = 60.0 / step_min
    wql, covers = _of_quantiles(y, seen, levels, quantiles)
    return Score(
        n=n,
        n_series=y.shape[1],
        absent=int(absent.sum()),
        mean_veh=float(volume.sum() / n),
        mae_veh=float(off.sum() / n),
        rmse_veh=math.sqrt(float((error**2).sum()) / n),
        wape=_percent(off.sum(), volume.sum()),
        peak_wape=_percent(off[peak].sum(), volume[peak].sum()),
        macro_wape=100.0 * float(own.mean()) if len(own) else math.nan,
        bias_veh=float(error.sum() / n),
        bias=_percent(error.sum(), volume.sum()),
        geh5=100.0 * float((geh(hours * f[seen], hours * y[seen]) < GEH_LIMIT).mean()),
        wql=wql,
        cover50=covers[50],
        cover80=covers[80],
        cover90=covers[90],
    )


def geh(forecast: Floats, counted: Floats) -> Floats:
    """GEH of hourly volumes: √(2 (f − c)² / (f + c)), 0 where both are none; forecasts below zero are taken as zero.

    Source: UK Design Manual for Roads and Bridges, volume 12a (Geoffrey E. Havers).
    """
    f = np.maximum(forecast, 0.0)
    both = f + counted
    return np.sqrt(np.divide(2.0 * (f - counted) ** 2, both, out=np.zeros_like(both), where=both > 0))


def worst_week(rolled: Rolled) -> WorstWeek:
    """The seven days in a row with the largest WAPE of the whole network, and the series worst in them.

    Days are whole ones of the local clock; a test of fewer than seven is its own worst week. Weeks with under half of
    the counts of the fullest, and series with under a tenth of the volume of a mean one, are left aside.

    Raises
    ------
    InputError
        Where there is no traffic in the test.
    """
    seen = np.isfinite(rolled.counts)
    volume = np.where(seen, rolled.counts, 0.0)
    off = np.where(seen, np.abs(np.nan_to_num(rolled.mean) - volume), 0.0)
    if not volume.any():
        raise InputError(f"no vehicle in {len(volume)} intervals of the test: no week is worse than another")
    dates = rolled.times.astype("datetime64[D]").astype(np.int64)
    firsts = np.unique(np.maximum.accumulate(dates))
    begins = np.searchsorted(np.maximum.accumulate(dates), firsts)
    ends = np.searchsorted(np.maximum.accumulate(dates), firsts + WEEK_DAYS)
    whole = firsts + WEEK_DAYS <= firsts[-1] + 1
    if not whole.any():
        begins, ends = begins[:1], ends[:1]
    else:
        begins, ends = begins[whole], ends[whole]

    def sums(rows: NDArray[np.generic]) -> Floats:
        run = np.concatenate([[0.0], np.cumsum(rows.sum(axis=1, dtype=np.float64))])
        return np.asarray(run[ends] - run[begins])

    n, passed, missed = sums(seen), sums(volume), sums(off)
    fit = (n >= LEAST_SEEN * n.max()) & (passed > 0)
    wape = np.where(fit, missed / np.maximum(passed, 1e-9), -1.0)
    k = int(wape.argmax())
    rows = slice(int(begins[k]), int(ends[k]))
    own_volume, own_off = volume[rows].sum(axis=0), off[rows].sum(axis=0)
    busy = (own_volume > 0) & (own_volume >= LEAST_VOLUME * own_volume.mean())
    own = np.where(busy, own_off / np.maximum(own_volume, 1e-9), -1.0)
    series = int(own.argmax())
    return WorstWeek(rows.start, rows.stop, 100.0 * float(wape[k]), series, 100.0 * float(own[series]))


# -------------------------------------------------------------------------------------------------- pieces


def _of_quantiles(
    y: Floats, seen: NDArray[np.bool_], levels: Sequence[float], quantiles: ArrayLike | None
) -> tuple[float, dict[int, float]]:
    """Weighted quantile loss and coverage of each interval, %; NaN where the levels aren't there."""
    covers = dict.fromkeys(INTERVALS, math.nan)
    if quantiles is None or not levels:
        return math.nan, covers
    made = np.asarray(quantiles, dtype=np.float64)
    if made.shape != (*y.shape, len(levels)):
        raise InputError(
            f"quantiles of shape {made.shape} for counts of shape {y.shape} and {len(levels)} levels"
        )
    order = np.argsort(levels)
    rising = np.asarray(levels, dtype=np.float64)[order]
    made = np.where(np.isfinite(made), made, 0.0)[seen][:, order]
    made = np.sort(made, axis=1)  # quantiles that cross are read in the order that makes sense
    counted = y[seen]
    above = counted[:, None] - made
    loss = np.maximum(rising * above, (rising - 1.0) * above)
    for name, (low, high) in INTERVALS.items():
        at = [np.flatnonzero(np.isclose(rising, level)) for level in (low, high)]
        if all(len(a) for a in at):
            bottom, top = made[:, at[0][0]], made[:, at[1][0]]
            covers[name] = 100.0 * float(((counted >= bottom) & (counted <= top)).mean())
    return _percent(2.0 * loss.mean(), counted.mean()), covers


def _peaks(times: Times) -> NDArray[np.bool_]:
    """Which intervals begin in a peak hour: bool[n_interval]."""
    hour = slots_of(times, 1) / 60.0
    inside = np.logical_or.reduce([(hour >= low) & (hour < high) for low, high in PEAKS_H])
    return np.asarray(inside & (weekdays_of(times) < 5))


def _percent(part: float, whole: float) -> float:
    return 100.0 * float(part) / float(whole) if whole > 0 else math.nan


def _fitting(made: Floats, like: Floats) -> Floats:
    got = np.asarray(made, dtype=np.float64)
    if got.shape != like.shape:
        raise ValueError(f"forecast of shape {got.shape}, expected {like.shape}")
    return got
