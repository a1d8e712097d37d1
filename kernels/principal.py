"""The network's common residuals: principal components, their scores, and what they say of a series that is missing."""

from __future__ import annotations

import math

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8
from kernels.weekly import N_PROFILE, N_ROW, Calendar, Rules, clean_profiles, cut_to

LAG_LIMIT = 4.0
FACTOR_RIDGE = 0.02


@kernel
def standardised_residuals(counts: F8, calendar: Calendar, rules: Rules, prior: F8) -> F8:
    """Residuals of several series from their profiles in spreads, cut: float64[n_series, n_interval].

    counts, prior : float64[n_series, n_interval]
    """
    n_series, n = counts.shape
    n_slot = calendar.n_slot
    out = np.empty((n_series, n))
    sums = np.empty((N_ROW, n_slot), dtype=np.float32)
    weights = np.empty((N_ROW, n_slot), dtype=np.float32)
    profiles = np.empty((n, N_PROFILE))
    for k in range(n_series):
        spread = clean_profiles(counts[k], calendar, rules, prior[k], sums, weights, profiles)
        for t in range(n):
            base = profiles[t, 0]
            z = (counts[k, t] - base) / (spread * math.sqrt(base + 2.0))
            out[k, t] = cut_to(z, LAG_LIMIT) if z == z else np.nan
    return out


@kernel
def factors_at(z: F8, components: F8, out: F8) -> None:
    """Scores of the components that fit the residuals seen best, by least squares, into out float64[n_factor].

    z : float64[n_sample], in spreads, NaN where missing
    components : float64[n_factor, n_sample]
    A small ridge keeps scores near zero where few series are seen.
    """
    k = components.shape[0]
    gram = np.zeros((k, k))
    right = np.zeros(k)
    for s in range(z.shape[0]):
        if z[s] == z[s]:
            for i in range(k):
                right[i] += components[i, s] * z[s]
                for j in range(i + 1):
                    gram[i, j] += components[i, s] * components[j, s]
    for i in range(k):
        gram[i, i] += FACTOR_RIDGE
    solve_in_place(gram, right)
    for i in range(k):
        out[i] = right[i]


@kernel
def factor_history(z: F8, components: F8) -> F8:
    """`factors_at` for every interval: float64[n_interval, n_factor] of z float64[n_sample, n_interval]."""
    n = z.shape[1]
    out = np.zeros((n, components.shape[0]))
    row = np.empty(z.shape[0])
    for t in range(n):
        for s in range(z.shape[0]):
            row[s] = z[s, t]
        factors_at(row, components, out[t])
    return out


@kernel
def carried(factors: F8, loading: F8) -> float:
    """Residual that the network lets one expect of a series whose count is missing, in spreads."""
    total = 0.0
    for k in range(loading.shape[0]):
        total += factors[k] * loading[k]
    return cut_to(total, LAG_LIMIT)


@kernel
def solve_in_place(gram: F8, right: F8) -> None:
    """Solve gram x = right by Cholesky; x replaces right. gram: float64[n, n], lower triangle, is overwritten.

    A pivot that isn't positive (a term that is nothing but a sum of others) leaves its unknown at zero.
    """
    n = right.shape[0]
    for j in range(n):
        pivot = gram[j, j]
        floor = 1e-12 * pivot
        for k in range(j):
            pivot -= gram[j, k] * gram[j, k]
        root = math.sqrt(pivot) if pivot > floor and pivot > 0.0 else 0.0
        gram[j, j] = root
        for i in range(j + 1, n):
            value = gram[i, j]
            for k in range(j):
                value -= gram[i, k] * gram[j, k]
            gram[i, j] = value / root if root > 0.0 else 0.0
    for i in range(n):
        value = right[i]
        for k in range(i):
            value -= gram[i, k] * right[k]
        right[i] = value / gram[i, i] if gram[i, i] > 0.0 else 0.0
    for i in range(n - 1, -1, -1):
        value = right[i]
        for k in range(i + 1, n):
            value -= gram[k, i] * right[k]
        right[i] = value / gram[i, i] if gram[i, i] > 0.0 else 0.0
