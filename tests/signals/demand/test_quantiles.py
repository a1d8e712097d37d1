"""A distribution from quantiles: against draws and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from signals.demand.quantiles import exceedance, expected_excess, quantile_at
from signals.errors import InputError

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
Z = stats.norm.ppf(LEVELS)


def test_normal_counts_are_exact() -> None:
    # quantiles of a normal: its own tail and partial expectation, within the levels and beyond
    limit = np.linspace(40, 160, 61)
    q = np.tile(100 + 15 * Z, (61, 1))
    z = (limit - 100) / 15
    np.testing.assert_allclose(exceedance(LEVELS, q, limit), stats.norm.sf(z), atol=1e-9)
    partial = 15 * (stats.norm.pdf(z) - z * stats.norm.sf(z))  # E (N − c)⁺ of a normal
    np.testing.assert_allclose(expected_excess(LEVELS, q, limit), partial, atol=1e-7)
    assert float(quantile_at(LEVELS, q[0], 0.9)) == pytest.approx(100 + 15 * stats.norm.ppf(0.9))
    assert float(quantile_at(LEVELS, q[0], 0.99)) == pytest.approx(100 + 15 * stats.norm.ppf(0.99))


def test_excess_is_the_area_under_the_probability() -> None:
    rng = np.random.default_rng(1)
    q = np.sort(rng.gamma(4.0, 20.0, (30, len(LEVELS))), axis=1)
    limit = rng.uniform(0, 200, 30)
    x = limit[:, None] + np.linspace(0, 3000, 200_001)
    sf = np.column_stack([exceedance(LEVELS, np.broadcast_to(q[k], (x.shape[1], 7)), x[k]) for k in range(5)])
    area = np.trapezoid(sf, dx=3000 / 200_000, axis=0)
    np.testing.assert_allclose(expected_excess(LEVELS, q, limit)[:5], area, rtol=1e-4, atol=1e-4)


sorted_quantiles = st.lists(st.floats(0, 300), min_size=7, max_size=7).map(sorted)


@settings(max_examples=200, deadline=None)
@given(sorted_quantiles, st.lists(st.floats(-50, 500), min_size=2, max_size=20).map(sorted))
def test_more_capacity_is_never_worse(q: list[float], limits: list[float]) -> None:
    tiled = np.tile(q, (len(limits), 1))
    p, e = exceedance(LEVELS, tiled, limits), expected_excess(LEVELS, tiled, limits)
    assert np.all((p >= 0) & (p <= 1))
    assert np.all(np.diff(p) <= 1e-12)
    assert np.all(e >= 0)
    assert np.all(np.diff(e) <= 1e-9 + 1e-9 * np.abs(e[:-1]))
    for level, x in zip(LEVELS, q):
        assert float(exceedance(LEVELS, q, x)) <= 1 - level + 1e-9


def test_boundaries() -> None:
    q = 20 + 4 * Z
    assert float(exceedance(LEVELS, q, -1e-9)) == 1  # a count is never negative
    assert float(exceedance(LEVELS, q, 1e9)) == 0
    assert float(expected_excess(LEVELS, q, -5.0)) == pytest.approx(25, abs=0.01)
    # a certain forecast is a step: exactly at capacity doesn't exceed it
    sure = np.full(7, 30.0)
    assert [float(exceedance(LEVELS, sure, c)) for c in (29.9, 30.0, 30.1)] == [1, 0, 0]
    assert [float(expected_excess(LEVELS, sure, c)) for c in (20.0, 30.0)] == [10, 0]
    # night: most quantiles are zero, and the chance of anyone at all is what the levels say
    night = np.array([0, 0, 0, 0, 1.0, 2.0, 3.0])
    assert float(exceedance(LEVELS, night, 0.0)) == pytest.approx(0.5)
    assert float(exceedance(LEVELS, night, 1.0)) == pytest.approx(0.25)


def test_crossing_quantiles_are_taken_in_order() -> None:
    crossed = np.array([10.0, 12.0, 20.0, 19.0, 30.0, 40.0, 50.0])
    rising = np.array([10.0, 12.0, 20.0, 20.0, 30.0, 40.0, 50.0])
    assert float(exceedance(LEVELS, crossed, 19.5)) == float(exceedance(LEVELS, rising, 19.5))


@pytest.mark.parametrize("levels", [(0.5,), (0.0, 0.5), (0.5, 0.5), (0.9, 0.1)])
def test_levels_that_make_no_distribution_are_refused(levels: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="rising, between 0 and 1"):
        exceedance(levels, np.zeros(len(levels)), 1.0)
    with pytest.raises(InputError, match="no gaps"):
        exceedance(LEVELS, np.full(7, np.nan), 1.0)


@pytest.mark.parametrize("law", ["normal", "gamma", "negative binomial"])
def test_probabilities_are_calibrated(law: str) -> None:
    """Among slots with a predicted probability about p, capacity is exceeded in a share p of them."""
    rng = np.random.default_rng(20261125)
    n = 60_000
    mean = rng.uniform(60, 400, n)
    # what a forecaster knows: the law of each slot's count, by seven quantiles
    if law == "normal":
        frozen = stats.norm(mean, 0.15 * mean)
    elif law == "gamma":
        frozen = stats.gamma(a=20.0, scale=mean / 20.0)
    else:
        frozen = stats.nbinom(30.0, 30.0 / (30.0 + mean))
    draws = frozen.rvs(random_state=rng)
    q = np.column_stack([frozen.ppf(level) for level in LEVELS])
    if law == "negative binomial":
        q = q - 0.5  # of integers the middle of the step, as a continuous forecast of them has it
    capacity = mean * rng.uniform(0.7, 1.5, n)
    p = exceedance(LEVELS, q, capacity)
    for low in np.arange(0.0, 1.0, 0.1):
        inside = (p >= low) & (p < low + 0.1)
        assert inside.sum() > 500
        happened, predicted = float((draws > capacity)[inside].mean()), float(p[inside].mean())
        error = np.sqrt(predicted * (1 - predicted) / inside.sum())
        assert happened == pytest.approx(predicted, abs=3.5 * error + 0.008)
    excess = expected_excess(LEVELS, q, capacity)
    assert excess.mean() == pytest.approx(np.maximum(draws - capacity, 0).mean(), rel=0.03)
