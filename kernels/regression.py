"""What the past teaches: the coefficients of every series, and how large its forecasts' errors are."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F4, F8, I8
from kernels.principal import LAG_LIMIT, carried, solve_in_place
from kernels.terms import (
    N_LAG,
    N_RATIO,
    RATIO_LIMIT,
    TERM_DAILY,
    TERM_FACTOR,
    TERM_LAG,
    TERM_ORIGIN,
    TERM_RATIO,
    ForecastState,
    add_to_ratios,
    daily_lag,
    forecast_of,
    ratio_of,
    scale_terms,
)
from kernels.weekly import (
    MEAN_TO_SPREAD,
    N_PROFILE,
    N_ROW,
    TEACH_LIMIT,
    Calendar,
    Rules,
    clean_profiles,
    cut_to,
)

HUBER = 4.0
"""Residuals beyond so many spreads weigh in the regression by their size, not its square."""
LEAST_ERROR = 0.05
LOADING_RIDGE = 20.0
N_LEVEL_BIN = 6
N_CELL = 400
CELLS_A_SPREAD = 25.0
"""Residuals are counted in cells of 1/25 spread from -8 to 8 spreads, apart for each bin of the level."""


class Drivers(NamedTuple):
    """What the network and the question bring to the terms of every series.

    Fields
    ------
    network : float64[n_interval], share by which the network's profile exceeds its smoothed self
    factors : float64[n_interval, n_factor], the network's scores
    leads : int64[n_lead], intervals ahead
    first, stride : int
        The regression takes every `stride`-th interval from `first` on.
    band : int64[n_interval], part of the day
    part : int64[n_interval]
        Only intervals whose origin is in the same part of the history are taken: where profiles are made of all
        other parts, the residual at an origin in another one would know the target.
    """

    network: F8
    factors: F8
    leads: I8
    first: int
    stride: int
    band: I8
    part: I8


class SeriesHistory(NamedTuple):
    """What the history of one series comes to; see `digest_series`.

    Fields
    ------
    profiles : float64[n_interval, N_PROFILE], veh
    residuals : float64[n_interval], veh; cut, and from the network where the count is missing
    ratios : float64[n_interval, N_RATIO], after the interval
    spread : float, in √(level + 2)
    """

    profiles: F8
    residuals: F8
    ratios: F8
    spread: float


@kernel
def digest_series(
    counts: F8,
    calendar: Calendar,
    rules: Rules,
    prior: F8,
    factors: F8,
    sums: F4,
    weights: F4,
    loading: F8,
    ratio_sums: F8,
) -> SeriesHistory:
    """Profiles, residuals and ratios of one series over its history.

    factors : float64[n_interval, n_factor], the network's scores
    sums, weights, loading float64[n_factor], ratio_sums float64[N_RATIO, 2] : written, as they are at the end
    """
    n = counts.shape[0]
    n_factor = factors.shape[1]
    profiles = np.empty((n, N_PROFILE))
    spread = clean_profiles(counts, calendar, rules, prior, sums, weights, profiles)
    residuals = np.empty(n)
    ratios = np.zeros((n, N_RATIO))
    gram = np.zeros((n_factor, n_factor))
    loading[:] = 0.0
    ratio_sums[:] = 0.0
    for t in range(n):
        base = profiles[t, 0]
        unit = spread * math.sqrt(base + 2.0)
        residual = counts[t] - base
        if residual == residual:
            residuals[t] = cut_to(residual, LAG_LIMIT * unit)
            for i in range(n_factor):
                loading[i] += factors[t, i] * residuals[t] / unit
                for j in range(i + 1):
                    gram[i, j] += factors[t, i] * factors[t, j]
            add_to_ratios(ratio_sums, cut_to(residual, RATIO_LIMIT * unit), base, rules.ratio_keep)
        else:
            residuals[t] = np.nan
        for k in range(N_RATIO):
            ratios[t, k] = ratio_of(ratio_sums, k)
    for i in range(n_factor):
        gram[i, i] += LOADING_RIDGE
    solve_in_place(gram, loading)
    for t in range(n):
        if residuals[t] != residuals[t]:
            residuals[t] = carried(factors[t], loading) * spread * math.sqrt(profiles[t, 0] + 2.0)
    return SeriesHistory(profiles, residuals, ratios, spread)


@kernel
def gather_history(history: SeriesHistory, drivers: Drivers, lead: int, n_slot: int) -> F8:
    """Terms of the forecasts for every interval made `lead` intervals before it: float64[n_interval, n_term].

    Intervals that the regression doesn't take have none: zeros.
    """
    n = history.residuals.shape[0]
    n_factor = drivers.factors.shape[1]
    rows = np.zeros((n, TERM_FACTOR + n_factor))
    back = daily_lag(lead, n_slot)
    for t in range(max(drivers.first, lead + N_LAG), n, drivers.stride):
        row = rows[t]
        origin = t - lead
        for k in range(N_PROFILE):
            row[k] = history.profiles[t, k]
        row[TERM_ORIGIN] = history.profiles[origin, 0]
        for k in range(N_LAG):
            row[TERM_LAG + k] = history.residuals[origin - k]
        for k in range(N_RATIO):
            row[TERM_RATIO + k] = history.ratios[origin, k]
        row[TERM_DAILY] = history.residuals[t - back] if t >= back else 0.0
        for k in range(n_factor):
            row[TERM_FACTOR + k] = drivers.factors[origin, k]
        scale_terms(row, drivers.network[t])
    return rows


@kernel
def accumulate(counts: F8, rows: F8, spread: float, drivers: Drivers, lead: int, gram: F8, right: F8) -> None:
    """Add the normal equations of one series to those of each part of the day.

    gram : float64[n_band, n_term, n_term], lower; right : float64[n_band, n_term]
        With one band only, all go there.

    Each interval weighs one over its variance, less where the count is far from its profile (Huber).
    """
    n_term = right.shape[1]
    for t in range(max(drivers.first, lead + N_LAG), counts.shape[0], drivers.stride):
        if counts[t] == counts[t] and drivers.part[t] == drivers.part[t - lead]:
            base = rows[t, 0]
            residual = counts[t] - base
            weight = 1.0 / (base + 2.0)
            far = abs(residual) * math.sqrt(weight) / (HUBER * spread)
            if far > 1.0:
                weight /= far
            band = drivers.band[t] if right.shape[0] > 1 else 0
            for i in range(n_term):
                value = weight * rows[t, i]
                right[band, i] += value * residual
                for j in range(i + 1):
                    gram[band, i, j] += value * rows[t, j]


@kernel
def pooled_equations(
    counts: F8, calendar: Calendar, rules: Rules, prior: F8, drivers: Drivers, gram: F8, right: F8
) -> None:
    """Normal equations summed over several series, by lead and part of the day.

    gram : float64[n_lead, N_BAND, n_term, n_term], right : float64[n_lead, N_BAND, n_term], added to
    counts, prior : float64[n_series, n_interval]
    """
    n_slot = calendar.n_slot
    sums = np.empty((N_ROW, n_slot), dtype=np.float32)
    weights = np.empty((N_ROW, n_slot), dtype=np.float32)
    loading = np.empty(drivers.factors.shape[1])
    ratio_sums = np.empty((N_RATIO, 2))
    for k in range(counts.shape[0]):
        history = digest_series(
            counts[k], calendar, rules, prior[k], drivers.factors, sums, weights, loading, ratio_sums
        )
        for i in range(drivers.leads.shape[0]):
            lead = drivers.leads[i]
            rows = gather_history(history, drivers, lead, n_slot)
            accumulate(counts[k], rows, history.spread, drivers, lead, gram[i], right[i])


@kernel
def fit_series(
    counts: F8,
    calendar: Calendar,
    rules: Rules,
    prior: F8,
    drivers: Drivers,
    pooled: F8,
    penalty: F8,
    by_time: F8,
    start: int,
    state: ForecastState,
    coefficients: F8,
    error: F8,
    cells: F8,
) -> None:
    """Fit a block of series and write their states to rows start … start + n_block - 1.

    counts, prior : float64[n_block, n_interval]
    pooled, penalty : float64[n_lead, n_term]
        Coefficients that each series is drawn to, and how strongly.
    by_time : float64[n_lead, N_BAND, n_term], added to the coefficients in each part of the day
    coefficients : float64[n_lead, n_series, n_term], written
    error : float64[n_lead, n_series], spread of the forecast errors in √(forecast + 2), written
    cells : float64[n_lead, N_LEVEL_BIN, N_CELL]
        Counts of forecast errors in spreads, added to.
    """
    n = counts.shape[1]
    n_slot = calendar.n_slot
    n_term = pooled.shape[1]
    n_recent = state.recent.shape[1]
    gram = np.empty((1, n_term, n_term))
    for k in range(counts.shape[0]):
        at = start + k
        history = digest_series(
            counts[k],
            calendar,
            rules,
            prior[k],
            drivers.factors,
            state.sums[at],
            state.weights[at],
            state.loading[at],
            state.ratio_sums[at],
        )
        state.spread[at] = history.spread
        state.origin[at] = history.profiles[n - 1, 0]
        for t in range(n):
            if counts[k, t] == counts[k, t]:
                state.last[at] = counts[k, t]
        for t in range(max(0, n - n_recent), n):
            state.recent[at, t % n_recent] = history.residuals[t]
        for i in range(drivers.leads.shape[0]):
            lead = drivers.leads[i]
            rows = gather_history(history, drivers, lead, n_slot)
            right = coefficients[i, at : at + 1]
            gram[:] = 0.0
            right[:] = 0.0
            accumulate(counts[k], rows, history.spread, drivers, lead, gram, right)
            for j in range(n_term):
                gram[0, j, j] += penalty[i, j]
                right[0, j] += penalty[i, j] * pooled[i, j]
            solve_in_place(gram[0], right[0])
            error[i, at] = count_errors(
                counts[k], rows, history.spread, drivers, lead, right[0], by_time[i], cells[i]
            )


@kernel
def count_errors(
    counts: F8,
    rows: F8,
    spread: float,
    drivers: Drivers,
    lead: int,
    coefficients: F8,
    by_time: F8,
    cells: F8,
) -> float:
    """Spread of one series' forecast errors in √(forecast + 2); adds them in spreads to cells by level.

    A series without errors has a spread of 1, a perfect one the least.
    """
    n = counts.shape[0]
    first = max(drivers.first, lead + N_LAG)
    error = np.full(n, np.nan)
    bins = np.zeros(n, dtype=np.int64)
    total = 0.0
    seen = 0
    for t in range(first, n, drivers.stride):
        if counts[t] == counts[t] and drivers.part[t] == drivers.part[t - lead]:
            mean = forecast_of(rows[t], coefficients, by_time[drivers.band[t]])
            error[t] = (counts[t] - mean) / math.sqrt(mean + 2.0)
            bins[t] = level_bin(mean)
            total += min(abs(error[t]), TEACH_LIMIT * spread)
            seen += 1
    if seen == 0:
        return 1.0
    of_errors = max(LEAST_ERROR, MEAN_TO_SPREAD * total / seen)
    for t in range(first, n, drivers.stride):
        if error[t] == error[t]:
            cell = math.floor(error[t] / of_errors * CELLS_A_SPREAD) + N_CELL // 2
            cells[bins[t], min(max(cell, 0), N_CELL - 1)] += 1.0
    return of_errors


@kernel
def level_bin(mean: float) -> int:
    """Bin of the level for which residuals are counted apart: up to 4, 12, 36, 108, 324 veh, and above."""
    edge = 4.0
    for k in range(N_LEVEL_BIN - 1):
        if mean < edge:
            return k
        edge *= 3.0
    return N_LEVEL_BIN - 1
