"""Counts of a made-up city: two-peaked working days, flat weekends, chance, and hours in which all streets are busy."""

from __future__ import annotations

import csv
import gzip

import numpy as np
import pytest

from signals.model.counts import CountTable, Floats, Times
from tests.signals.stick import SHARED

BOROONDARA = SHARED / "data" / "boroondara_oct2006.csv.gz"
MONDAY = np.datetime64("2024-01-01T00:00", "m")


def clock(n: int, step_min: int = 15, start: np.datetime64 = MONDAY) -> Times:
    """Starts of `n` intervals."""
    return start + np.arange(n) * np.timedelta64(step_min, "m")


def city_means(n: int, days: int, step_min: int = 15, seed: int = 11) -> Floats:
    """Vehicles expected where nothing happens, float64[days x slots, n]; the first day is a Monday.

    Volumes as in Boroondara: up to 80 to 300 vehicles in the peak quarter hours, a tenth and less by night.
    """
    rng = np.random.default_rng(seed)
    slots = 1440 // step_min
    hour = (np.arange(slots) + 0.5) * step_min / 60

    def peak(at: float, width: float) -> Floats:
        return np.exp(-0.5 * ((hour - at) / width) ** 2)[:, None]

    morning, evening = rng.uniform(0.3, 1.4, n), rng.uniform(0.3, 1.4, n)
    volume = rng.uniform(60.0, 240.0, n) * step_min / 15
    working = 0.06 + morning * peak(8.2, 1.0) + evening * peak(17.4, 1.4) + 0.5 * peak(13.0, 3.5)
    weekend = 0.08 + 0.7 * peak(13.5, 3.8) * np.ones(n)
    return np.concatenate([(working if day % 7 < 5 else weekend) * volume for day in range(days)])


def city_moods(rows: int, step_min: int = 15, seed: int = 12, spread: float = 0.1) -> Floats:
    """How much busier than usual all streets are together, float64[rows], as a logarithm: half of it is gone in 3 h."""
    keep = 0.5 ** (step_min / 180.0)
    chance = np.random.default_rng(seed).normal(0.0, spread * np.sqrt(1.0 - keep**2), rows)
    moods = np.zeros(rows)
    for t in range(1, rows):
        moods[t] = keep * moods[t - 1] + chance[t]
    return moods


def counted(means: Floats, moods: Floats, seed: int = 13) -> Floats:
    """Counts of these means, float64[rows, n]: Poisson of a gamma rate with a deviation of 7 % (overdispersed).

    Streets follow the common mood by 0.6 to 1.4 times.
    """
    rng = np.random.default_rng(seed)
    follows = np.linspace(0.6, 1.4, means.shape[1])
    rates = means * np.exp(moods[:, None] * follows)
    return rng.poisson(rates * rng.gamma(200.0, 1.0 / 200.0, means.shape)).astype(np.float64)


def city_counts(n: int, days: int, step_min: int = 15, seed: int = 11) -> Floats:
    """Counts of `days` days from a Monday on, float64[days x slots, n]."""
    means = city_means(n, days, step_min, seed)
    return counted(means, city_moods(len(means), step_min, seed + 1), seed + 2)


def boroondara() -> CountTable:
    """The real counts of October 2006; without the file the test is skipped."""
    if not BOROONDARA.exists():
        pytest.skip(f"the real counts are not here: {BOROONDARA}")
    with gzip.open(BOROONDARA, "rt") as file:
        header, *rows = list(csv.reader(file))
    values = np.array([[float(cell) if cell else np.nan for cell in row[1:]] for row in rows])
    return CountTable(tuple(header[1:]), np.datetime64(rows[0][0], "m"), 15, values)


def wape(counts: Floats, mean: Floats) -> float:
    """Sum of absolute errors over the sum of counts, of the counts that are there, %."""
    seen = np.isfinite(counts)
    return 100.0 * float(np.abs(mean - counts)[seen].sum() / counts[seen].sum())
