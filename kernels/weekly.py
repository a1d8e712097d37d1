"""Profiles of the week: what a detector counts on that weekday and at that time of day, and the network likewise.

A series is float64[n_interval], veh per interval; a missing count is NaN. Variances grow with the level, so residuals
(count less profile) are compared in units of √(level + 2): a count of Poisson's kind has a spread of about 1 in these.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F4, F8, I8

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
GROUP_PRIOR = 2.0
"""Days that the group's profile counts for against the weekday's own."""
ALL_PRIOR = 0.5
LEVEL_PRIOR = 0.5
SHAPE_PRIOR = 0.05
TEACH_LIMIT = 6.0
"""Residuals beyond so many spreads are cut before they are fed back, enter a ratio, or teach a profile."""
MEAN_TO_SPREAD = 1.2533
"""Standard deviation over mean absolute deviation, of a normal variable: √(π/2)."""


class Calendar(NamedTuple):
    """When the intervals of a history are.

    Fields
    ------
    fold : int64[n_interval], rising: the part of the history that an interval is left out with
    kind : int64[n_interval], kind of day
    slot : int64[n_interval], interval of the day
    n_slot : int, intervals of a day
    """

    fold: I8
    kind: I8
    slot: I8
    n_slot: int


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
    off = np.empty(counts.shape[0])
    n = 0
    for t in range(counts.shape[0]):
        if counts[t] == counts[t]:
            off[n] = abs(counts[t] - base[t]) / math.sqrt(base[t] + 2.0)
            n += 1
    cut = np.inf
    spread = 1.0
    for _ in range(3):
        total = 0.0
        for k in range(n):
            total += min(cut, off[k])
        if total <= 0.0:
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
