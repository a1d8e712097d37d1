"""A distribution of counts from its quantiles: probability and expected size of an excess, quantiles between.

Between quantiles, and beyond the outermost ones, the normal score z = Φ⁻¹(level) is linear in the count. That
is monotone, exact for normal counts, and gives normal tails with the spread of the outermost segment; Φ keeps
all probabilities within 0 and 1. Quantiles that coincide make a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from signals.errors import InputError
from signals.model.counts import Floats

DECIMALS = 9
"""Of a vehicle, to which quantiles are taken."""


def exceedance(levels: Sequence[float], quantiles: ArrayLike, limit: ArrayLike) -> Floats:
    """P(count > limit), float64[...], for quantiles [..., n_level] and limits [...] in vehicles.

    F(x) = Φ(z(x)), where z(x) runs straight through the points (quantile, Φ⁻¹(level)) and on beyond them: normal
    tails with the spread of the outermost two quantiles that differ. No count is negative, so that a limit
    below zero is exceeded for certain.

    Raises
    ------
    InputError
        Where there are fewer than two levels, they don't rise within (0, 1), or quantiles don't fit them.
    """
    z, q, c = _checked(levels, quantiles, limit)
    score = _score(z, q, c)
    above: Floats = np.where(c < 0.0, 1.0, special.ndtr(-score))
    return above


def expected_excess(levels: Sequence[float], quantiles: ArrayLike, limit: ArrayLike) -> Floats:
    """E (count − limit)⁺ [veh], float64[...], for the distribution of `exceedance`.

    ∫ P(count > x) dx from the limit on. Over a segment with z = a + b·x it is (g(z₁) − g(z₂))/b with
    g(z) = φ(z) − z·(1 − Φ(z)), and g(z₁)/b over the upper tail. A limit below zero adds itself to the mean.

    Raises
    ------
    InputError
        As `exceedance`.
    """
    z, q, c = _checked(levels, quantiles, limit)
    floor = np.maximum(c, 0.0)
    low, high = _tails(z, q)
    total = np.where(c < 0.0, -c, 0.0)
    # Below the lowest quantile: from the limit up to it.
    first = q[..., 0]
    below = floor < first
    from_z = z[0] - (first - floor) / np.where(low > 0.0, low, 1.0)
    lower = np.where(low > 0.0, low * (_g(from_z) - _g(z[0])), first - floor)
    total = total + np.where(below, lower, 0.0)
    for k in range(len(z) - 1):
        x1, x2 = q[..., k], q[..., k + 1]
        wide = x2 > x1
        per = np.where(wide, (x2 - x1) / (z[k + 1] - z[k]), 1.0)
        start = np.clip(floor, x1, x2)
        part = per * (_g(z[k] + (start - x1) / per) - _g(z[k + 1]))
        total = total + np.where(wide & (start < x2), part, 0.0)
    beyond = z[-1] + np.maximum(floor - q[..., -1], 0.0) / np.where(high > 0.0, high, 1.0)
    excess: Floats = np.maximum(total + np.where(high > 0.0, high * _g(beyond), 0.0), 0.0)
    return excess


def quantile_at(levels: Sequence[float], quantiles: ArrayLike, level: float) -> Floats:
    """The quantile at a level of its own [veh], float64[...], of the distribution of `exceedance`, at least 0."""
    z, q, _ = _checked(levels, quantiles, 0.0)
    wanted = float(special.ndtri(level))
    low, high = _tails(z, q)
    if wanted <= z[0]:
        found = q[..., 0] - low * (z[0] - wanted)
    elif wanted >= z[-1]:
        found = q[..., -1] + high * (wanted - z[-1])
    else:
        found = between(z, q, wanted)
    at_least_none: Floats = np.maximum(found, 0.0)
    return at_least_none


def between(z: Floats, quantiles: Floats, score: float) -> Floats:
    """The quantile at a normal score from z[0] to z[-1], straight between its neighbours, float64[...].

    `z` float64[n_level] rises; `quantiles` float64[..., n_level].
    """
    if score <= z[0]:
        lowest: Floats = quantiles[..., 0]
        return lowest
    k = int(np.searchsorted(z, score))
    share = (score - z[k - 1]) / (z[k] - z[k - 1])
    found: Floats = quantiles[..., k - 1] * (1.0 - share) + quantiles[..., k] * share
    return found


def _checked(
    levels: Sequence[float], quantiles: ArrayLike, limit: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    p = np.array(levels, dtype=np.float64)
    q = np.array(quantiles, dtype=np.float64)
    if len(p) < 2 or not np.all(np.diff(p) > 0.0) or not 0.0 < p[0] < p[-1] < 1.0:
        raise InputError(f"quantile levels {list(levels)}: need at least two, rising, between 0 and 1")
    if q.ndim < 1 or q.shape[-1] != len(p) or np.any(np.isnan(q)):
        raise InputError(
            f"quantiles of shape {q.shape} for {len(p)} levels: need one a level, and no gaps; leave series without "
            "forecast out"
        )
    # Quantiles that cross are an artefact of fitting each level by itself. Those that differ by less than
    # anyone can count are one, so that no segment is too steep to compute with.
    rising: Floats = np.maximum.accumulate(q, axis=-1).round(DECIMALS)
    at: Floats = np.array(limit, dtype=np.float64).round(DECIMALS)
    return special.ndtri(p), rising, at


def _tails(z: Floats, q: Floats) -> tuple[Floats, Floats]:
    """Vehicles per unit of z below and above the quantiles; 0 where all coincide, which is certainty."""
    per = np.diff(q, axis=-1) / np.diff(z)
    wide = per > 0.0
    first = np.argmax(wide, axis=-1)[..., None]
    last = (wide.shape[-1] - 1 - np.argmax(wide[..., ::-1], axis=-1))[..., None]
    return np.take_along_axis(per, first, axis=-1)[..., 0], np.take_along_axis(per, last, axis=-1)[..., 0]


def _score(z: Floats, q: Floats, x: Floats) -> Floats:
    """z at a count; at a step the upper end, since P(count ≤ x) takes the step in."""
    low, high = _tails(z, q)
    under = z[0] - (q[..., 0] - x) / np.where(low > 0.0, low, 1.0)
    over = z[-1] + (x - q[..., -1]) / np.where(high > 0.0, high, 1.0)
    score = np.where(low > 0.0, under, -np.inf)
    for k in range(len(z) - 1):
        width = q[..., k + 1] - q[..., k]
        inside = z[k] + (x - q[..., k]) / np.where(width > 0.0, width, 1.0) * (z[k + 1] - z[k])
        score = np.where((x >= q[..., k]) & (width > 0.0), inside, score)
    return np.where(x >= q[..., -1], np.where(high > 0.0, over, np.inf), score)


def _g(z: ArrayLike) -> Floats:
    value = np.asarray(z, dtype=np.float64)
    found: Floats = np.exp(-0.5 * value**2) / math.sqrt(2.0 * math.pi) - value * special.ndtr(-value)
    return found
