"""The terms of a forecast: where each stands, what is remembered for it, and how they sum up.

A count `lead` intervals after the last one seen is a sum of terms, each a coefficient times a term in vehicles:

    profile    the mean count of that weekday and time of day, finely and widely smoothed, and the same of its
               group of days; and where the whole network's profile departs from its own smoothed one
    feedback   the last residuals (count less profile), more than in proportion where they last or the level is
               high, the residual at the same time of an earlier day, and the profile at the origin
    ratio      profile times a discounted ratio of residuals to profile, with a prior in vehicles
    network    the network's common residuals (principal components)

Coefficients come from a weighted ridge regression per series, drawn to the one pooled over all series
(`kernels.regression`); what all series together show to differ by time of day is added to each.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from kernels._jit import kernel
from kernels.arrays import F4, F8
from kernels.weekly import N_PROFILE

N_LAG = 4
N_RATIO = 4
TERM_NETWORK_PROFILE = N_PROFILE
TERM_ORIGIN = TERM_NETWORK_PROFILE + 1
TERM_LAG = TERM_ORIGIN + 1
TERM_RATIO = TERM_LAG + N_LAG
TERM_DAILY = TERM_RATIO + N_RATIO
TERM_LASTING = TERM_DAILY + 1
N_LASTING = 3
TERM_FACTOR = TERM_LASTING + N_LASTING
"""Positions of the terms; as many factors follow as there are."""
RATIO_PRIOR_VEH = 20.0
"""Vehicles added to the expected ones of a ratio: near zero it would explode."""
RATIO_LIMIT = 10.0
N_BAND = 16
"""Parts of the day in which coefficients may differ, of one and a half hours each."""


class ForecastState(NamedTuple):
    """All that is remembered of every series between two intervals.

    Fields
    ------
    sums, weights : float32[n_series, N_ROW, n_slot]
        Discounted sums of counts, veh, and of how many they were; a profile is their quotient.
    spread : float64[n_series], of the residuals from the profile, in √(level + 2)
    loading : float64[n_series, n_factor]
    ratio_sums : float64[n_series, N_RATIO, 2], veh: residuals, expected
    recent : float32[n_series, n_recent], residuals of the last intervals, veh; a ring
    origin : float64[n_series], base profile of the last interval, veh
    last : float64[n_series], last count seen, veh
    level_sums : float64[n_series, 2]: counts in veh, and the network's level at the same times
    """

    sums: F4
    weights: F4
    spread: F8
    loading: F8
    ratio_sums: F8
    recent: F4
    origin: F8
    last: F8
    level_sums: F8


@kernel
def scale_terms(row: F8, network: float) -> None:
    """Make terms in vehicles of what `gather_*` laid into row float64[n_term], in place.

    network : how much the whole network's profile exceeds its smoothed one at the target, as a share

    The origin's base profile becomes its difference from the target's; ratios are multiplied by the base, and the
    network's scores, which count spreads, by the spread of a count of that size. Residuals that last (their mean is
    far from zero) count again, by how far, and the last one by the level.
    """
    base = row[0]
    root = math.sqrt(base + 2.0)
    row[TERM_NETWORK_PROFILE] = network * (base + row[5])
    row[TERM_ORIGIN] -= base
    for k in range(TERM_RATIO, TERM_DAILY):
        row[k] *= base
    lasting = 0.0
    for k in range(N_LAG):
        lasting += row[TERM_LAG + k] / N_LAG
    row[TERM_LASTING] = row[TERM_LAG] * abs(lasting) / root
    row[TERM_LASTING + 1] = lasting * abs(lasting) / root
    row[TERM_LASTING + 2] = row[TERM_LAG] * math.log(base + 2.0)
    for k in range(TERM_FACTOR, row.shape[0]):
        row[k] *= root


@kernel
def forecast_of(row: F8, coefficients: F8, by_time: F8) -> float:
    """Base profile plus the sum of coefficients (own and by time of day) times terms, not below zero, veh."""
    total = float(row[0])
    for k in range(row.shape[0]):
        total += (coefficients[k] + by_time[k]) * row[k]
    return max(0.0, total)


@kernel
def band_of(slot: int, n_slot: int) -> int:
    """Part of the day that a slot lies in."""
    return slot * N_BAND // n_slot


@kernel
def add_to_ratios(ratio_sums: F8, residual: float, base: float, ratio_keep: F8) -> None:
    """Discount the sums of every ratio by an interval and add one residual and what was expected."""
    for k in range(N_RATIO):
        ratio_sums[k, 0] = ratio_keep[k] * ratio_sums[k, 0] + residual
        ratio_sums[k, 1] = ratio_keep[k] * ratio_sums[k, 1] + base


@kernel
def ratio_of(ratio_sums: F8, k: int) -> float:
    """Discounted residuals over discounted expected vehicles, drawn to zero by a prior in vehicles."""
    return float(ratio_sums[k, 0] / (ratio_sums[k, 1] + RATIO_PRIOR_VEH))


@kernel
def daily_lag(lead: int, n_slot: int) -> int:
    """Intervals back from the target to the same time of the latest whole day that is known at the origin."""
    return (lead + n_slot - 1) // n_slot * n_slot
