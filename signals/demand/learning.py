"""Learning a history of counts: profiles, the network, and the coefficients of every series.

`learn` lays the history out for the kernels, a block of series at a time, and says what all series have in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import erf

import numpy as np
from numpy.typing import NDArray

from kernels import forecast as service
from kernels import principal, regression, terms, weekly
from signals.model.counts import Floats

Ints = NDArray[np.int64]

LEARNING_WEEKS = 4
"""The first weeks of a long history teach the profile and no coefficients."""
N_FACTOR = 4
SAMPLE = 256
"""The network's common residuals and the common coefficients come from at most so many series."""
LEAST_SEEN = 0.3
"""A series that is missing more often than the rest of this share says nothing about the network."""
PRIOR_ROWS = 600.0
"""The pooled coefficients weigh as much as so many intervals of an average series."""
POOL = 64
"""Series of the sample that the pooled coefficients come from, at the least."""
ITERATIONS = 40
BAND_ROWS = 2000.0
"""The coefficients of the whole day weigh as much as so many intervals against those of one part of it."""
POOL_RIDGE = 1e-4
FEW_DAYS = 3.0
"""The ridge of the common coefficients grows with the square of so many days over those of the history: all series
share each day's weather, so that many series don't make up for few days."""
DAY_AHEAD = 10.0
"""A day ahead that ridge is larger by so many times: what is learned there is a day's, not an interval's."""
LEAST_PART = 2 / 3
"""Of a short history at least this share must have its origin in the same part, or the forecast is the profile."""
LEAST_PENALTY = 8.0
"""What is known of a coefficient beforehand: it is about 0 ± 0.5, at a spread of √2."""
MOST_ROWS = 1e8
"""Where series, intervals and leads make more rows than this, the regression takes every second, third … one."""
BLOCK = 64
"""Series that are laid out for the kernels at a time."""
LEVEL_PRIOR = 2.0
"""A new series has the median level of the others until so many of its own counts have come."""
CELL_PRIOR = 500.0
"""Errors of all levels that stand in for a level with few of its own."""


@dataclass(frozen=True, eq=False)
class Learned:
    """What a history comes to: the state of its series and its network, and coefficients by lead.

    Fields
    ------
    state, network : as they are after the history; they change in service
    coefficients : float64[n_lead, n_series, n_term]
    by_time : float64[n_lead, N_BAND, n_term], added to them by part of the day
    error : float64[n_lead, n_series], spread of the forecast errors in √(forecast + 2)
    tables : float64[n_lead, N_LEVEL_BIN, n_level], quantiles of these errors in spreads, by level of the forecast
    """

    state: terms.ForecastState
    network: service.NetworkState
    coefficients: Floats
    by_time: Floats
    error: Floats
    tables: Floats


@dataclass(frozen=True, eq=False)
class _Common:
    """What all series have in common, by lead.

    pooled : float64[n_lead, n_term]; by_time : float64[n_lead, N_BAND, n_term], added to them by part of the day
    penalty : float64[n_lead, n_term], how strongly a series' own coefficients are drawn to the pooled ones
    """

    pooled: Floats
    by_time: Floats
    penalty: Floats


def learn(
    history: NDArray[np.floating],
    when: weekly.Calendar,
    rules: weekly.Rules,
    long: bool,
    leads: Sequence[int],
    levels: Sequence[float],
    threads: int,
) -> Learned:
    """Learn the counts of a history, float[n_interval, n_series] in veh, for these leads and quantiles.

    rules : of service; a short history (`long` is false) is learned without discount, each part of it from the others
    threads : blocks of series fitted at the same time, 1 or more
    """
    n, n_series = history.shape
    n_slot = when.n_slot
    if not long:
        rules = rules._replace(keep=np.ones(3), leave_out=True)
    seen, total = _observed(history)
    typical = float(np.median(total[seen > 0] / seen[seen > 0])) if seen.any() else 0.0
    level_sums = np.stack([total + LEVEL_PRIOR * typical, seen + LEVEL_PRIOR], axis=1)
    network, excess, level = _learn_network(history, when, rules, level_sums)

    def prior(series: slice | Ints) -> Floats:
        return np.outer(level_sums[series, 0] / level_sums[series, 1], level)

    sample = _sample(seen, n)
    sampled = _laid_out(history, sample)
    z = principal.standardised_residuals(sampled, when, rules, prior(sample))
    components = _components(z)
    factors = principal.factor_history(z, components)
    drivers = regression.Drivers(
        network=excess,
        factors=factors,
        leads=np.array(leads, dtype=np.int64),
        first=LEARNING_WEEKS * 7 * n_slot if long else 0,
        stride=1,
        band=when.slot * terms.N_BAND // n_slot,
        part=np.zeros(n, dtype=np.int64) if long else when.fold,
    )
    few = slice(0, None, max(1, len(sample) // POOL))
    common = _learn_common(np.ascontiguousarray(sampled[few]), when, rules, prior(sample[few]), drivers)

    table = (n_series, weekly.N_ROW, n_slot)
    state = terms.ForecastState(
        sums=np.zeros(table, dtype=np.float32),
        weights=np.zeros(table, dtype=np.float32),
        spread=np.ones(n_series),
        loading=np.zeros((n_series, len(components))),
        ratio_sums=np.zeros((n_series, terms.N_RATIO, 2)),
        recent=np.zeros((n_series, terms.daily_lag(max(leads), n_slot) + terms.N_LAG), dtype=np.float32),
        origin=np.zeros(n_series),
        last=np.zeros(n_series),
        level_sums=level_sums,
    )
    coefficients = np.zeros((len(leads), n_series, terms.TERM_FACTOR + len(components)))
    error = np.ones((len(leads), n_series))
    thinned = drivers._replace(stride=max(1, round(n * n_series * len(leads) / MOST_ROWS)))

    def fit_blocks(starts: Sequence[int]) -> Floats:
        cells = np.zeros((len(leads), regression.N_LEVEL_BIN, regression.N_CELL))
        for start in starts:
            block = slice(start, min(start + BLOCK, n_series))
            regression.fit_series(
                _laid_out(history, block), when, rules, prior(block), thinned, common.pooled, common.penalty,
                common.by_time, start, state, coefficients, error, cells,
            )  # fmt: skip
        return cells

    starts = range(0, n_series, BLOCK)
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(fit_blocks, [starts[k::threads] for k in range(threads)]))
    tables = np.stack([_error_quantiles(cells, levels) for cells in np.sum(parts, axis=0)])
    network = network._replace(sample=sample, components=components, factors=factors[-1].copy())
    return Learned(state, network, coefficients, common.by_time, error, tables)


def _learn_network(
    history: NDArray[np.floating], when: weekly.Calendar, rules: weekly.Rules, level_sums: Floats
) -> tuple[service.NetworkState, Floats, Floats]:
    """The network as one series; by interval, how its profile exceeds its smoothed self, and its level."""
    n = len(history)
    scale = np.array([max(float((level_sums[:, 0] / level_sums[:, 1]).sum()), 1e-9), 1.0])
    counts = np.empty(n)
    for rows in _chunks(n):
        weekly.network_counts(_valid(history[rows]), level_sums, scale, counts[rows])
    sums, weights = (np.zeros((weekly.N_ROW, when.n_slot), dtype=np.float32) for _ in range(2))
    profiles = np.empty((n, weekly.N_PROFILE))
    scale[1] = weekly.clean_profiles(counts, when, rules, np.full(n, scale[0]), sums, weights, profiles)
    nobody = np.empty(0, dtype=np.int64)
    network = service.NetworkState(sums, weights, scale, nobody, np.empty((0, 0)), np.empty(0))
    return network, weekly.network_excesses(profiles), profiles[:, 0] / scale[0]


def _learn_common(
    counts: Floats, when: weekly.Calendar, rules: weekly.Rules, prior: Floats, drivers: regression.Drivers
) -> _Common:
    """What these series have in common, by lead; a lead of which the history says too little gets nothing at all."""
    n = counts.shape[1]
    n_lead, n_slot = len(drivers.leads), when.n_slot
    n_term = terms.TERM_FACTOR + drivers.factors.shape[1]
    gram = np.zeros((n_lead, terms.N_BAND, n_term, n_term))
    right = np.zeros((n_lead, terms.N_BAND, n_term))
    regression.pooled_equations(counts, when, rules, prior, drivers, gram, right)
    part = drivers.part
    silent = [
        k
        for k, lead in enumerate(drivers.leads)
        if lead >= n or (part[lead:] == part[: n - lead]).mean() < LEAST_PART
    ]
    gram[silent], right[silent] = 0.0, 0.0
    rows = max(1.0, float(np.isfinite(counts[:, drivers.first :]).sum()))
    share = POOL_RIDGE + (FEW_DAYS * n_slot / n) ** 2 * (1.0 + DAY_AHEAD * drivers.leads / n_slot)
    common = _pool(gram, right, rows, share[:, None])
    common.penalty[silent] = 1e12  # which leaves the profile alone
    return common


def _chunks(n: int) -> Iterator[slice]:
    """Rows a thousand at a time, so that no copy of a whole history is made."""
    return (slice(k, min(k + 1024, n)) for k in range(0, n, 1024))


def _valid(rows: NDArray[np.floating]) -> Floats:
    """A copy as float64, contiguous, with NaN for what can't be a count."""
    counts = np.array(rows, dtype=np.float64, order="C")
    counts[~((counts >= 0) & (counts < np.inf))] = np.nan
    return counts


def _observed(history: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """How many counts each series has, and their sum: float64[n_series] both."""
    seen = np.zeros(history.shape[1])
    total = np.zeros(history.shape[1])
    for rows in _chunks(len(history)):
        counts = _valid(history[rows])
        seen += np.isfinite(counts).sum(axis=0)
        total += np.nansum(counts, axis=0)
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
    return _valid(history[:, series].T)


def _components(z: Floats) -> Floats:
    """Principal components of the sample's residuals, float64[n_factor, n_sample], rows of unit length.

    By orthogonal iteration: the few largest need no decomposition of the whole, and the same input gives the same
    figures whatever the threads of the linear algebra.
    """
    n_sample = z.shape[0]
    n_factor = min(N_FACTOR, n_sample - 1)
    filled = np.nan_to_num(z)
    covariance = filled @ filled.T
    basis = np.eye(n_sample, n_factor) + 1.0 / n_sample
    for _ in range(ITERATIONS):
        basis, _ = np.linalg.qr(covariance @ basis)
    return np.ascontiguousarray(basis.T)


def _pool(gram: Floats, right: Floats, rows: float, share: Floats) -> _Common:
    """Coefficients of all series together, what each part of the day adds, and a series' penalty, by lead.

    gram : float64[n_lead, n_band, n_term, n_term], lower; right : float64[n_lead, n_band, n_term]
    rows : intervals that they hold
    share : float64[n_lead, 1], ridge in shares of the diagonal
    """
    gram = np.tril(gram) + np.swapaxes(np.tril(gram, -1), -1, -2)
    size = np.einsum("lbii->lbi", gram)
    whole = size.sum(axis=1)
    eye = np.eye(gram.shape[-1])
    pooled = _solve(gram.sum(axis=1) + eye * (share * whole + LEAST_PENALTY)[..., None], right.sum(axis=1))
    ridge = (share[..., None] + BAND_ROWS * gram.shape[1] / rows) * size + LEAST_PENALTY
    more = right - np.einsum("lbij,lj->lbi", gram, pooled)
    by_time = _solve(gram + eye * ridge[..., None], more)
    return _Common(pooled, by_time, PRIOR_ROWS / rows * whole + LEAST_PENALTY)


def _solve(gram: Floats, right: Floats) -> Floats:
    return np.asarray(np.linalg.solve(gram, right[..., None])[..., 0], dtype=np.float64)


def _error_quantiles(cells: Floats, levels: Sequence[float]) -> Floats:
    """Quantiles of the errors in spreads by level of the forecast: float64[N_LEVEL_BIN, n_level]."""
    edges = (np.arange(regression.N_CELL + 1) - regression.N_CELL // 2) / regression.CELLS_A_SPREAD
    every = cells.sum(axis=0)
    if not every.sum():
        every = np.diff(_normal_cdf(edges))
    out = np.empty((regression.N_LEVEL_BIN, len(levels)))
    for k, own in enumerate(cells):
        mixed = np.concatenate([[0.0], np.cumsum(own + CELL_PRIOR * every / every.sum())])
        out[k] = np.interp(levels, mixed / mixed[-1], edges)
    return out


def _normal_cdf(x: Floats) -> Floats:
    return np.array([0.5 * (1.0 + erf(v / np.sqrt(2.0))) for v in x])
