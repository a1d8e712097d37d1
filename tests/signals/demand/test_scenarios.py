"""Scenarios: each series keeps its forecast's quantiles, all together move as on days past, same seed same draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from signals.demand.forecast import forecast_counts
from signals.demand.scenarios import draw_scenarios
from signals.errors import InputError
from signals.model.counts import CountForecast, CountTable

START = np.datetime64("2026-03-02T00:00")


@pytest.fixture(scope="module")
def history() -> CountTable:
    """Six weeks by the hour: two series that share a shock that lasts for hours, a third one that doesn't."""
    rng = np.random.default_rng(2)
    n = 42 * 24
    hour = np.arange(n) % 24
    mean = 100 + 80 * np.exp(-(((hour - 8) / 2) ** 2)) + 90 * np.exp(-(((hour - 17) / 3) ** 2))
    shock = np.zeros(n)
    for k in range(1, n):
        shock[k] = 0.9 * shock[k - 1] + rng.normal(0, 0.08)
    level = np.stack([mean * np.exp(shock), 0.7 * mean * np.exp(shock), 0.5 * mean], axis=1)
    return CountTable(("a", "b", "alone"), START, 60, rng.poisson(level).astype(float))


@pytest.fixture(scope="module")
def forecast(history: CountTable) -> CountForecast:
    """The next twelve hours."""
    return forecast_counts(history, 12)[0]


def test_each_series_keeps_the_quantiles_of_its_forecast(
    forecast: CountForecast, history: CountTable
) -> None:
    drawn = draw_scenarios(forecast, history, 400, seed=1)
    assert drawn.shape == (400, 12, 3)
    assert drawn.min() >= 0
    for k, level in enumerate(forecast.levels):
        share = (drawn <= forecast.quantiles[..., k] + 1e-9).mean(axis=0)
        assert share == pytest.approx(level, abs=0.01)


def test_series_move_together_as_they_did(forecast: CountForecast, history: CountTable) -> None:
    drawn = draw_scenarios(forecast, history, 300, seed=1)
    together = np.corrcoef(drawn[:, 6].T)
    lasting = np.corrcoef(drawn[:, 5, 0], drawn[:, 7, 0])[0, 1]
    assert together[0, 1] > 0.5  # the shared shock
    assert abs(together[0, 2]) < 0.4  # thirty past days: chance alone gives 0.18
    assert lasting > 0.4
    # so the sum of two that move together spreads wider than if they were drawn each by itself
    apart = np.sqrt(drawn[:, 6, 0].var() + drawn[:, 6, 1].var())
    assert (drawn[:, 6, 0] + drawn[:, 6, 1]).std() > 1.15 * apart


def test_the_same_seed_gives_the_same_draws(forecast: CountForecast, history: CountTable) -> None:
    first = draw_scenarios(forecast, history, 50, seed=7)
    assert np.array_equal(first, draw_scenarios(forecast, history, 50, seed=7))
    assert not np.array_equal(first, draw_scenarios(forecast, history, 50, seed=8))


def test_gaps_in_the_past_leave_no_gap(forecast: CountForecast, history: CountTable) -> None:
    values = history.values.copy()
    values[np.random.default_rng(3).random(values.shape) < 0.2] = np.nan
    drawn = draw_scenarios(forecast, replace(history, values=values, reasons=np.empty((0, 0))), 40, seed=1)
    assert np.isfinite(drawn).all()


def test_what_makes_no_scenarios_is_said(forecast: CountForecast, history: CountTable) -> None:
    with pytest.raises(InputError, match="at least 2"):
        draw_scenarios(forecast, history, 1, seed=1)
    with pytest.raises(InputError, match="other series"):
        draw_scenarios(forecast, history.select(["a", "b"]), 10, seed=1)
    blank = replace(history, values=np.full_like(history.values, np.nan), reasons=np.empty((0, 0)))
    with pytest.raises(InputError, match="longer history"):
        draw_scenarios(forecast, blank, 10, seed=1)
    bare = forecast_counts(history, 2, levels=())[0]
    with pytest.raises(InputError, match="two quantiles"):
        draw_scenarios(bare, history, 10, seed=1)
