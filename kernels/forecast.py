"""Forecasts in service: all series at once, one interval after the other, at a cost that doesn't grow."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F4, F8, I8
from kernels.principal import LAG_LIMIT, carried, factors_at
from kernels.regression import LEAST_ERROR, level_bin
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
    band_of,
    daily_lag,
    forecast_of,
    ratio_of,
    scale_terms,
)
from kernels.weekly import (
    MEAN_TO_SPREAD,
    N_PROFILE,
    TEACH_LIMIT,
    Rules,
    cut_to,
    network_counts,
    network_excess,
    profile_at,
    teach,
)

N_LEVELLED = 2
N_CANDIDATE = 3 + N_LEVELLED
LEAST_NETWORK = 5
"""Series from which on what most of them do is what happens everywhere."""


class NetworkState(NamedTuple):
    """All series as one: the sum of their counts, scaled up where some are missing, and their common residuals.

    Fields
    ------
    sums, weights : float32[N_ROW, n_slot], as of a series
    scale : float64[2]
        Veh per interval of all series together on average, and the spread of their sum in √(level + 2).
    sample : int64[n_sample], series that stand for the network
    components : float64[n_factor, n_sample]
    factors : float64[n_factor], scores in the last interval
    """

    sums: F4
    weights: F4
    scale: F8
    sample: I8
    components: F8
    factors: F8


@kernel
def predict(
    lead: int,
    kind: int,
    slot: int,
    step: int,
    coefficients: F8,
    by_time: F8,
    error: F8,
    table: F8,
    shift: F8,
    own: F8,
    common: F8,
    judged: F8,
    state: ForecastState,
    network: NetworkState,
    smooth: F8,
    candidates: F8,
    mean: F8,
    quantiles: F8,
) -> None:
    """Forecast every series, `lead` intervals after the last one counted, which was number `step`.

    kind, slot : of the target
    coefficients : float64[n_series, n_term]
    by_time : float64[N_BAND, n_term], added to them by the target's part of the day
    error : float64[n_series], spread of the errors in √(forecast + 2)
    table : float64[N_LEVEL_BIN, n_level], quantiles of the errors in spreads, by level of the forecast
    shift : float64[n_level], what calibration adds to them
    own : float64[n_series, N_CANDIDATE], common : float64[N_CANDIDATE + 1]
        How the candidates have fared, see `calibrate`; judged : float64[2], prior and least of `shares_of`
    candidates : float64[n_series, N_CANDIDATE], written, veh: see `lay_candidates`
    mean : float64[n_series], written, veh
    quantiles : float64[n_series, n_level], written, veh; rising and not below zero
    """
    row = np.empty(coefficients.shape[1])
    shares = np.empty(N_CANDIDATE)
    profile_at(network.sums, network.weights, kind, slot, smooth, network.scale[0], row)
    level = row[0] / network.scale[0]
    excess = network_excess(row)
    band = band_of(slot, state.sums.shape[2])
    for series in range(mean.shape[0]):
        gather_now(series, lead, kind, slot, level, step, state, network.factors, smooth, row)
        scale_terms(row, excess)
        total = forecast_of(row, coefficients[series], by_time[band])
        lay_candidates(total, row, state.last[series], candidates[series])
        shares_of(own[series], common, judged[0], judged[1], shares)
        middle = 0.0
        for k in range(N_CANDIDATE):
            middle += shares[k] * candidates[series, k]
        mean[series] = middle
        unit = error[series] * math.sqrt(middle + 2.0)
        at = level_bin(middle)
        least = 0.0
        for q in range(table.shape[1]):
            least = max(least, middle + unit * (table[at, q] + shift[q]))
            quantiles[series, q] = least


@kernel
def terms_now(
    series: int,
    lead: int,
    kind: int,
    slot: int,
    step: int,
    state: ForecastState,
    network: NetworkState,
    smooth: F8,
    row: F8,
) -> None:
    """The terms of one series' forecast as `predict` uses them, veh, into row float64[n_term]."""
    profile_at(network.sums, network.weights, kind, slot, smooth, network.scale[0], row)
    level = row[0] / network.scale[0]
    excess = network_excess(row)
    gather_now(series, lead, kind, slot, level, step, state, network.factors, smooth, row)
    scale_terms(row, excess)


@kernel
def gather_now(
    series: int,
    lead: int,
    kind: int,
    slot: int,
    level: float,
    step: int,
    state: ForecastState,
    factors: F8,
    smooth: F8,
    row: F8,
) -> None:
    """Lay into row what the forecast of one series needs, `lead` intervals after the last one counted (`step`).

    kind, slot, level : of the target; the level is the network's, 1 on average
    """
    n_recent = state.recent.shape[1]
    prior = prior_of(state.level_sums[series], level)
    profile_at(state.sums[series], state.weights[series], kind, slot, smooth, prior, row)
    row[TERM_ORIGIN] = state.origin[series]
    for k in range(N_LAG):
        row[TERM_LAG + k] = state.recent[series, (step - k) % n_recent]
    for k in range(N_RATIO):
        row[TERM_RATIO + k] = ratio_of(state.ratio_sums[series], k)
    back = daily_lag(lead, state.sums.shape[2])
    row[TERM_DAILY] = state.recent[series, (step + lead - back) % n_recent]
    for k in range(factors.shape[0]):
        row[TERM_FACTOR + k] = factors[k]


@kernel
def prior_of(level_sums: F8, level: float) -> float:
    """Count that the network lets one expect of a series whose own profile is empty, veh."""
    return float(level * level_sums[0] / level_sums[1])


@kernel
def lay_candidates(total: float, row: F8, last: float, out: F8) -> None:
    """What a forecast is chosen from, into out float64[N_CANDIDATE], veh.

    The sum of terms, the base profile, the last count, and the profile at the level of the last eight hours, and of
    the last day: after a jump of level these two are right, and the regression, which has never seen one, is not.
    """
    out[0] = max(0.0, total)
    out[1] = row[0]
    out[2] = last
    for k in range(N_LEVELLED):
        out[3 + k] = max(0.0, row[0] + row[TERM_DAILY - N_LEVELLED + k])


@kernel
def shares_of(own: F8, common: F8, prior: float, least: float, shares: F8) -> None:
    """Shares of the candidates in a forecast, by how they have fared: float64[N_CANDIDATE], written.

    own : float64[N_CANDIDATE], discounted misses of the series
    common : float64[N_CANDIDATE + 1], of all series together, and of how many intervals they are
    prior : float
        Intervals that what all series say weighs against what the series says itself.

    The sum of terms has all, unless it has missed more than another candidate over the last day: the best of these
    takes over as it gets ahead, wholly at 10 %. Nothing is judged on less than `least` intervals.
    """
    shares[:] = 0.0
    shares[0] = 1.0
    if common[N_CANDIDATE] < least:
        return
    best = 1
    fewest = np.inf
    for c in range(1, N_CANDIDATE):
        # A level is a series' own: what all say together speaks against the last two, never for them.
        of_all = common[c] if c < N_CANDIDATE - N_LEVELLED else max(common[c], common[0])
        miss = own[c] + prior * of_all / common[N_CANDIDATE]
        if miss < fewest:
            fewest = miss
            best = c
    mine = own[0] + prior * common[0] / common[N_CANDIDATE]
    if mine > fewest:
        ahead = (mine / fewest - 1.0) / 0.1 if mine < 1.1 * fewest else 1.0
        shares[best] = ahead
        shares[0] = 1.0 - ahead


@kernel
def calibrate(
    counts: F8,
    candidates: F8,
    mean: F8,
    quantiles: F8,
    levels: F8,
    rate: float,
    error_keep: float,
    error: F8,
    shift: F8,
    own: F8,
    misses: F8,
    miss_keep: float,
) -> None:
    """Learn from forecasts whose counts have come: spread of each series, shift of each quantile, misses.

    own : float64[n_series, N_CANDIDATE], misses : float64[N_CANDIDATE + 1]
        Discounted sums of the candidates' absolute errors, in √(forecast + 2), cut at 6 spreads, and of how many they
        were: of each series, and of the mean over series.

    After Gibbs and Candès (2021, adaptive conformal inference): a quantile that is exceeded too often moves up, by
    the rate times the excess of the share of series above it, in proportion to how many are seen, up to 50.
    """
    seen = 0
    above = np.zeros(levels.shape[0])
    fresh = np.zeros(N_CANDIDATE)
    odd = 0.0
    for k in range(counts.shape[0]):
        if counts[k] >= 0.0 and counts[k] < np.inf:
            seen += 1
            unit = math.sqrt(mean[k] + 2.0)
            for c in range(N_CANDIDATE):
                fresh[c] += min(abs(counts[k] - candidates[k, c]) / unit, TEACH_LIMIT * error[k])
            z = MEAN_TO_SPREAD * abs(counts[k] - mean[k]) / unit
            z = min(z, TEACH_LIMIT * error[k])
            odd += z / error[k]
            error[k] = max(LEAST_ERROR, error_keep * error[k] + (1.0 - error_keep) * z)
            for q in range(levels.shape[0]):
                if counts[k] > quantiles[k, q]:
                    above[q] += 1.0
                elif counts[k] == quantiles[k, q]:
                    above[q] += 1.0 - levels[q]
    if seen > 0:
        # Where all series miss (a holiday that nobody told of), none says anything about its own level.
        trust = 1.0 / max(1.0, odd / seen) ** 2 if seen >= LEAST_NETWORK else 1.0
        for k in range(counts.shape[0]):
            if counts[k] >= 0.0 and counts[k] < np.inf:
                unit = math.sqrt(mean[k] + 2.0)
                for c in range(N_CANDIDATE):
                    miss = min(abs(counts[k] - candidates[k, c]) / unit, TEACH_LIMIT * error[k])
                    own[k, c] = miss_keep * own[k, c] + trust * miss
        for c in range(N_CANDIDATE):
            misses[c] = miss_keep * misses[c] + fresh[c] / seen
        misses[N_CANDIDATE] = miss_keep * misses[N_CANDIDATE] + 1.0
        weight = rate * min(1.0, seen / 50.0)
        for q in range(levels.shape[0]):
            shift[q] += weight * (above[q] / seen - (1.0 - levels[q]))


@kernel
def observe(
    counts: F8,
    kind: int,
    slot: int,
    step: int,
    state: ForecastState,
    network: NetworkState,
    rules: Rules,
    level_keep: float,
) -> None:
    """Take in the counts of interval number `step`: float64[n_series].

    What can't be a count (NaN, negative, infinite) is missing. The network's scores come first, because they stand
    in where a count is missing.
    """
    n_series = counts.shape[0]
    n_recent = state.recent.shape[1]
    profiles = np.empty(N_PROFILE)
    row = np.empty((1, n_series))
    profile_at(network.sums, network.weights, kind, slot, rules.smooth, network.scale[0], profiles)
    expected = float(profiles[0])
    level = expected / network.scale[0]
    for k in range(n_series):
        row[0, k] = counts[k] if counts[k] >= 0.0 and counts[k] < np.inf else np.nan
        prior = prior_of(state.level_sums[k], level)
        profile_at(state.sums[k], state.weights[k], kind, slot, rules.smooth, prior, profiles)
        state.origin[k] = profiles[0]
    z = np.empty(network.sample.shape[0])
    for i in range(network.sample.shape[0]):
        k = network.sample[i]
        base = state.origin[k]
        residual = (row[0, k] - base) / (state.spread[k] * math.sqrt(base + 2.0))
        z[i] = cut_to(residual, LAG_LIMIT) if residual == residual else np.nan
    factors_at(z, network.components, network.factors)
    whole = np.empty(1)
    network_counts(row, state.level_sums, network.scale, whole)
    if whole[0] == whole[0]:
        limit = TEACH_LIMIT * network.scale[1] * math.sqrt(expected + 2.0)
        learned = expected + cut_to(whole[0] - expected, limit)
        teach(network.sums, network.weights, kind, slot, learned, rules.keep)
    for k in range(n_series):
        base = state.origin[k]
        unit = state.spread[k] * math.sqrt(base + 2.0)
        residual = row[0, k] - base
        if residual == residual:
            state.last[k] = row[0, k]
            state.recent[k, step % n_recent] = cut_to(residual, LAG_LIMIT * unit)
            add_to_ratios(state.ratio_sums[k], cut_to(residual, RATIO_LIMIT * unit), base, rules.ratio_keep)
            learned = base + cut_to(residual, TEACH_LIMIT * unit)
            teach(state.sums[k], state.weights[k], kind, slot, learned, rules.keep)
            state.level_sums[k, 0] = level_keep * state.level_sums[k, 0] + row[0, k]
            state.level_sums[k, 1] = level_keep * state.level_sums[k, 1] + level
        else:
            state.recent[k, step % n_recent] = carried(network.factors, state.loading[k]) * unit
