"""How long a whole city takes to forecast: `python -m benchmarks.city --series 100000`.

Eight weeks of made-up quarter hours for so many series (ten a junction) are fitted, and one step is forecast and
taken in. Prints seconds, and the memory that the process held at its peak with the history in it.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence

import numpy as np

from signals.demand.forecast import Forecaster

WEEKS = 8
SLOTS = 96
START = np.datetime64("2026-01-05T00:00")
STEP = np.timedelta64(15, "m")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the city, fit it, forecast a step, print what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="steps to forecast; the median is printed")
    options = parser.parse_args(arguments)
    times = START + np.arange(WEEKS * 7 * SLOTS) * STEP
    counts = city_counts(len(times), options.series)
    few = slice(0, min(64, options.series))
    warm = Forecaster(times, counts[:, few], [1], threads=options.threads)
    warm.predict(1)
    warm.update(times[-1] + STEP, counts[0, few])

    began = time.perf_counter()
    forecaster = Forecaster(times, counts, [1], threads=options.threads)
    fit_s = time.perf_counter() - began
    predict_s, update_s = [], []
    for k in range(options.steps):
        began = time.perf_counter()
        mean, _ = forecaster.predict(1)
        predict_s.append(time.perf_counter() - began)
        began = time.perf_counter()
        forecaster.update(times[-1] + (k + 1) * STEP, np.rint(mean))
        update_s.append(time.perf_counter() - began)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print("| series | fit, s | one step ahead, s | update, s | peak memory, GB |\n|---|---|---|---|---|")
    print(
        f"| {options.series} | {fit_s:.1f} | {np.median(predict_s):.2f} | {np.median(update_s):.2f} | {peak_gb:.2f} |"
    )


def city_counts(n: int, n_series: int) -> np.ndarray:
    """Counts of a week's usual shape at many levels with noise: float32[n, n_series], veh per 15 min."""
    rng = np.random.default_rng(1)
    slot, weekday = np.arange(n) % SLOTS, np.arange(n) // SLOTS % 7
    shape = np.exp(-(((slot - 34) / 10) ** 2)) + np.exp(-(((slot - 70) / 12) ** 2)) + 0.3
    shape *= np.where(weekday < 5, 1.0, 0.7)
    level = rng.gamma(4.0, 15.0, n_series)
    counts = np.empty((n, n_series), dtype=np.float32)
    for day in range(0, n, SLOTS):  # a day at a time: the whole at once would hold it thrice
        mean = shape[day : day + SLOTS, None] * level
        noise = rng.standard_normal(mean.shape, dtype=np.float32)
        counts[day : day + SLOTS] = np.maximum(np.rint(mean + 1.3 * np.sqrt(mean + 1.0) * noise), 0.0)
    return counts


if __name__ == "__main__":
    main()
