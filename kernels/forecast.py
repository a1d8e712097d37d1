"""Forecasting counts: a profile of the week, and what the last counts say beyond it.

A count `lead` intervals after the last one seen is a sum of terms, each a coefficient times a term in vehicles:

    profile    the mean count of that weekday and time of day, finely and widely smoothed, and the same of its
               group of days; and where the whole network's profile departs from its own smoothed one
    feedback   the last residuals (count less profile), more than in proportion where they last or the level is
               high, the residual at the same time of an earlier day, and the profile at the origin
    ratio      profile times a discounted ratio of residuals to profile, with a prior in vehicles
    network    the network's common residuals (principal components)

Coefficients come from a weighted ridge regression per series, drawn to the one pooled over all series; what all
series together show to differ by time of day is added to each. A series is
float64[n_interval]; a missing count is NaN. Variances grow with the level, so residuals are compared in units of
√(level + 2): a count of Poisson's kind has a spread of about 1 in these.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]

HOLIDAY = 7
"""Kind of day: 0 … 6 Monday to Sunday, 7 a holiday."""
WORKDAYS = 8
REST_DAYS = 9
ALL_DAYS = 10
N_ROW = 11
"""Rows of a profile: one a kind of day, then the groups of days."""
SATURDAY = 5

N_PROFILE = 8
"""Profiles of one slot: base, and 7 that smooth less, more, or over the group of days."""
N_LEVELLED = 2
N_CANDIDATE = 3 + N_LEVELLED
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

GROUP_PRIOR = 2.0
"""Days that the group's profile counts for against the weekday's own."""
ALL_PRIOR = 0.5
LEVEL_PRIOR = 0.5
SHAPE_PRIOR = 0.05
RATIO_PRIOR_VEH = 20.0
"""Vehicles added to the expected ones of a ratio: near zero it would explode."""
LAG_LIMIT = 4.0
RATIO_LIMIT = 10.0
TEACH_LIMIT = 6.0
"""Residuals beyond so many spreads are cut before they are fed back, enter a ratio, or teach a profile."""
HUBER = 4.0
"""Residuals beyond so many spreads weigh in the regression by their size, not its square."""
MEAN_TO_SPREAD = 1.2533
"""Standard deviation over mean absolute deviation, of a normal variable: √(π/2)."""
LEAST_ERROR = 0.05
LEAST_NETWORK = 5
"""Series from which on what most of them do is what happens everywhere."""
LOADING_RIDGE = 20.0
FACTOR_RIDGE = 0.02

N_BAND = 16
"""Parts of the day in which coefficients may differ, of one and a half hours each."""
N_LEVEL_BIN = 6
N_CELL = 400
CELLS_A_SPREAD = 25.0
"""Residuals are counted in cells of 1/25 spread from -8 to 8 spreads, apart for each bin of the level."""


class Calendar(NamedTuple):
    """When the intervals of a history are.

    Fields
    ------
    fold : int64[n_interval], rising: the part of the history that an interval is left out with
    kind : int64[n_interval], kind of day
    slot : int64[n_interval], interval of the day
    """

    fold: I8
    kind: I8
    slot: I8


class Rules(NamedTuple):
    """How a history is learned.

    Fields
    ------
    smooth : float64[4, n_near]
        Weights of neighbouring slots, n_near odd, for no, fine, wide and flat smoothing.
    fine : float64[4, n_nearest]
        Of these the middle part, beyond which the fine one is zero: enough for the base profile.
    keep : float64[3]
        What is left of older counts of a slot when a new one comes: by kind of day, workday, any day.
    ratio_keep : float64[N_RATIO], what an interval leaves of a ratio's sums
    leave_out : bool
        Profiles of a history are made of every other fold, earlier or later, without discount; otherwise of what
        came before only.
    """

    smooth: F8
    fine: F8
    keep: F8
    ratio_keep: F8
    leave_out: bool


@kernel
def group_of(kind: int) -> int:
    """Row of the group that a kind of day belongs to; Saturdays are a group of their own."""
    if kind < SATURDAY:
        return WORKDAYS
    if kind == SATURDAY:
        return SATURDAY
    return REST_DAYS


@kernel
def level_bin(mean: float) -> int:
    """Bin of the level for which residuals are counted apart: up to 4, 12, 36, 108, 324 veh, and above."""
    edge = 4.0
    for k in range(N_LEVEL_BIN - 1):
        if mean < edge:
            return k
        edge *= 3.0
    return N_LEVEL_BIN - 1


@kernel
def profile_at(sums: F4, weights: F4, kind: int, slot: int, smooth: F8, prior: float, out: F8) -> None:
    """Profiles of one series at one slot, into out float64[N_PROFILE], veh.

    sums, weights : float32[N_ROW, n_slot]
    smooth : float64[4, n_near]
        Weights of the neighbouring slots, n_near odd, for no, fine, wide and flat smoothing.
    prior : float
        Expected where nothing is known, veh.

    out[0] is the base: the weekday's finely smoothed mean, drawn to its group's, drawn to that of all days, drawn
    to the prior. The others are differences from it: the weekday's unsmoothed, widely and flatly smoothed mean,
    then the group's unsmoothed, finely, widely and flatly smoothed mean.
    """
    n_slot = sums.shape[1]
    n_near = smooth.shape[1]
    half = n_near // 2
    group = group_of(kind)
    day_veh0 = day_veh1 = day_veh2 = day_veh3 = 0.0
    day_n0 = day_n1 = day_n2 = day_n3 = 0.0
    group_veh0 = group_veh1 = group_veh2 = group_veh3 = 0.0
    group_n0 = group_n1 = group_n2 = group_n3 = 0.0
    all_veh = all_n = 0.0
    for j in range(n_near):
        near = slot + j - half
        if near < 0:
            near += n_slot
        elif near >= n_slot:
            near -= n_slot
        a = float(sums[kind, near])
        b = float(weights[kind, near])
        c = float(sums[group, near])
        d = float(weights[group, near])
        e = float(sums[ALL_DAYS, near])
        f = float(weights[ALL_DAYS, near])
        w0, w1, w2, w3 = smooth[0, j], smooth[1, j], smooth[2, j], smooth[3, j]
        day_veh0 += w0 * a
        day_veh1 += w1 * a
        day_veh2 += w2 * a
        day_veh3 += w3 * a
        day_n0 += w0 * b
        day_n1 += w1 * b
        day_n2 += w2 * b
        day_n3 += w3 * b
        group_veh0 += w0 * c
        group_veh1 += w1 * c
        group_veh2 += w2 * c
        group_veh3 += w3 * c
        group_n0 += w0 * d
        group_n1 += w1 * d
        group_n2 += w2 * d
        group_n3 += w3 * d
        all_veh += w1 * e
        all_n += w1 * f
    of_all = (all_veh + LEVEL_PRIOR * prior) / (all_n + LEVEL_PRIOR)
    of_group = (group_veh1 + ALL_PRIOR * of_all) / (group_n1 + ALL_PRIOR)
    base: float = max(0.0, (day_veh1 + GROUP_PRIOR * of_group) / (day_n1 + GROUP_PRIOR))
    shared = SHAPE_PRIOR * base
    out[0] = base
    out[1] = (day_veh0 + shared) / (day_n0 + SHAPE_PRIOR) - base
    out[2] = (day_veh2 + shared) / (day_n2 + SHAPE_PRIOR) - base
    out[3] = (day_veh3 + shared) / (day_n3 + SHAPE_PRIOR) - base
    out[4] = (group_veh0 + shared) / (group_n0 + SHAPE_PRIOR) - base
    out[5] = (group_veh1 + shared) / (group_n1 + SHAPE_PRIOR) - base
    out[6] = (group_veh2 + shared) / (group_n2 + SHAPE_PRIOR) - base
    out[7] = (group_veh3 + shared) / (group_n3 + SHAPE_PRIOR) - base


@kernel
def teach(sums: F4, weights: F4, kind: int, slot: int, count: float, keep: F8) -> None:
    """Add one count to the rows of its kind of day, its group and all days.

    keep : float64[3]
        What is left of older counts of the same slot when a new one comes: by kind of day, workday, any day.
    """
    group = group_of(kind)
    sums[kind, slot] = sums[kind, slot] * keep[0] + count
    weights[kind, slot] = weights[kind, slot] * keep[0] + 1.0
    if group != kind:
        left = keep[1] if group == WORKDAYS else keep[0]
        sums[group, slot] = sums[group, slot] * left + count
        weights[group, slot] = weights[group, slot] * left + 1.0
    sums[ALL_DAYS, slot] = sums[ALL_DAYS, slot] * keep[2] + count
    weights[ALL_DAYS, slot] = weights[ALL_DAYS, slot] * keep[2] + 1.0


@kernel
def profile_history(
    taught: F8,
    calendar: Calendar,
    rules: Rules,
    smooth: F8,
    prior: F8,
    sums: F4,
    weights: F4,
    profiles: F8,
) -> None:
    """Profiles of one series over its history, each as it would be without the counts around it.

    taught : float64[n_interval], counts that the profile learns
    smooth : float64[4, n_near], weights of neighbouring slots
    prior : float64[n_interval], veh
    sums, weights : float32[N_ROW, n_slot], zero at the start; hold the whole history at the end
    profiles : float64[n_interval, N_PROFILE], written
    """
    n = taught.shape[0]
    if not rules.leave_out:
        for t in range(n):
            kind, slot = calendar.kind[t], calendar.slot[t]
            profile_at(sums, weights, kind, slot, smooth, prior[t], profiles[t])
            if taught[t] == taught[t]:
                teach(sums, weights, kind, slot, taught[t], rules.keep)
        return
    for t in range(n):
        if taught[t] == taught[t]:
            teach(sums, weights, calendar.kind[t], calendar.slot[t], taught[t], rules.keep)
    other_sums = np.empty_like(sums)
    other_weights = np.empty_like(weights)
    own_sums = np.empty_like(sums)
    own_weights = np.empty_like(weights)
    start = 0
    while start < n:
        end = start
        own_sums[:] = 0.0
        own_weights[:] = 0.0
        while end < n and calendar.fold[end] == calendar.fold[start]:
            if taught[end] == taught[end]:
                teach(own_sums, own_weights, calendar.kind[end], calendar.slot[end], taught[end], rules.keep)
            end += 1
        other_sums[:] = sums - own_sums
        other_weights[:] = weights - own_weights
        for t in range(start, end):
            profile_at(
                other_sums, other_weights, calendar.kind[t], calendar.slot[t], smooth, prior[t],
                profiles[t],
            )  # fmt: skip
        start = end


@kernel
def spread_of(counts: F8, base: F8) -> float:
    """Spread of the residuals of a series in units of √(level + 2), outliers cut; 1 where there are none."""
    cut = np.inf
    spread = 1.0
    for _ in range(3):
        total = 0.0
        n = 0
        for t in range(counts.shape[0]):
            if counts[t] == counts[t]:
                total += min(cut, abs(counts[t] - base[t]) / math.sqrt(base[t] + 2.0))
                n += 1
        if n == 0 or total <= 0.0:
            return 1.0
        spread = MEAN_TO_SPREAD * total / n
        cut = TEACH_LIMIT * spread
    return spread


@kernel
def cut_to(value: float, limit: float) -> float:
    """A value held between -limit and limit."""
    return min(max(value, -limit), limit)


@kernel
def clean_profiles(
    counts: F8, calendar: Calendar, rules: Rules, prior: F8, sums: F4, weights: F4, profiles: F8
) -> float:
    """`profile_history` twice, the second time taught by counts whose outliers are cut; the spread comes back."""
    sums[:] = 0.0
    weights[:] = 0.0
    profile_history(counts, calendar, rules, rules.fine, prior, sums, weights, profiles)
    spread = spread_of(counts, profiles[:, 0])
    taught = np.empty_like(counts)
    for t in range(counts.shape[0]):
        base = profiles[t, 0]
        limit = TEACH_LIMIT * spread * math.sqrt(base + 2.0)
        taught[t] = base + cut_to(counts[t] - base, limit) if counts[t] == counts[t] else np.nan
    sums[:] = 0.0
    weights[:] = 0.0
    profile_history(taught, calendar, rules, rules.smooth, prior, sums, weights, profiles)
    return spread_of(counts, profiles[:, 0])


@kernel
def standardised_residuals(counts: F8, calendar: Calendar, rules: Rules, prior: F8) -> F8:
    """Residuals of several series from their profiles in spreads, cut: float64[n_series, n_interval].

    counts, prior : float64[n_series, n_interval]
    """
    n_series, n = counts.shape
    n_slot = calendar.slot.max() + 1
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
def carried(factors: F8, loading: F8) -> float:
    """Residual that the network lets one expect of a series whose count is missing, in spreads."""
    total = 0.0
    for k in range(loading.shape[0]):
        total += factors[k] * loading[k]
    return cut_to(total, LAG_LIMIT)


@kernel
def daily_lag(lead: int, n_slot: int) -> int:
    """Intervals back from the target to the same time of the latest whole day that is known at the origin."""
    return (lead + n_slot - 1) // n_slot * n_slot


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
    n_slot = calendar.slot.max() + 1
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


class NetworkState(NamedTuple):
    """All series as one: the sum of their counts, scaled up where some are missing, and their common residuals.

    Fields
    ------
    sums, weights : float32[N_ROW, n_slot], as of a series
    scale : float64[1], veh per interval of all series together on average
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
    n_slot = calendar.slot.max() + 1
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
def network_counts(counts: F8, level_sums: F8, scale: F8, out: F8) -> None:
    """Counts of the whole network, float64[n_interval], veh, of counts float64[n_interval, n_series].

    Where series are missing, the others are scaled up by what they count on average; NaN where they make up less
    than a fifth.
    """
    for t in range(counts.shape[0]):
        seen = 0.0
        expected = 0.0
        for k in range(counts.shape[1]):
            if counts[t, k] == counts[t, k]:
                seen += counts[t, k]
                expected += level_sums[k, 0] / level_sums[k, 1]
        out[t] = seen / expected * scale[0] if expected > 0.2 * scale[0] else np.nan


@kernel
def network_excess(profiles: F8) -> float:
    """Share by which a network's unsmoothed profile of the weekday exceeds its group's smoothed one, within ±1."""
    group = profiles[0] + profiles[5]
    return cut_to((profiles[0] + profiles[1]) / group - 1.0, 1.0) if group > 0.0 else 0.0


@kernel
def network_excesses(profiles: F8) -> F8:
    """`network_excess` of every interval: float64[n_interval] of profiles float64[n_interval, N_PROFILE]."""
    out = np.empty(profiles.shape[0])
    for t in range(profiles.shape[0]):
        out[t] = network_excess(profiles[t])
    return out


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
    if fewest > 0.0:
        mine = own[0] + prior * common[0] / common[N_CANDIDATE]
        ahead = min(1.0, max(0.0, (mine / fewest - 1.0) / 0.1))
        shares[best] = ahead
        shares[0] = 1.0 - ahead


@kernel
def prior_of(level_sums: F8, level: float) -> float:
    """Count that the network lets one expect of a series whose own profile is empty, veh."""
    return float(level * level_sums[0] / level_sums[1])


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
    level = profiles[0] / network.scale[0]
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
        teach(network.sums, network.weights, kind, slot, whole[0], rules.keep)
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
