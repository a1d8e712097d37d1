"""How long the forecast takes: fit of a month, one step of 1, 139 and 5,000 series."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.city import SLOTS, START, STEP, city_counts
from signals.demand.forecast import OnlineForecaster

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


def made(n_series: int, weeks: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Starts and counts of some weeks."""
    times = START + np.arange(weeks * 7 * SLOTS) * STEP
    return times, city_counts(len(times), n_series)


@pytest.mark.parametrize("n_series", [1, 139])
def bench_fit_of_four_weeks(benchmark: Any, n_series: int) -> None:
    times, counts = made(n_series)
    benchmark.pedantic(OnlineForecaster, (times, counts, 1, QUANTILES), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("n_series", [1, 139, 5000])
def bench_one_step(benchmark: Any, n_series: int) -> None:
    times, counts = made(n_series, 2)
    forecaster = OnlineForecaster(times, counts, 1, QUANTILES)

    def step() -> None:
        mean, _ = forecaster.predict()
        forecaster.update(times[-1] + STEP, mean)

    benchmark.extra_info["forecasts"] = n_series
    benchmark.pedantic(step, rounds=50, warmup_rounds=3)
