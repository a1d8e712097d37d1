"""Counts of a made-up city: means by time of day and kind of day, good and bad days, growth, chance, and faults."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sumo_nets.city import days
from sumo_nets.city.days import Clock, Floats
from sumo_nets.city.streets import HEADINGS, City
from sumo_nets.city.traffic import Traffic

Counts = NDArray[np.int64]

DAY_KEEPS, DAY_SPREAD, DISTRICT_DAY_SPREAD = 0.6, 0.03, 0.025
SLOW_HALF_LIFE_H, SLOW_SPREAD, DISTRICT_SLOW_SPREAD = 3.0, 0.03, 0.05
GROWTH_A_YEAR, GROWTH_SPREAD, FAST_GROWTH_A_YEAR = 0.02, 0.01, 0.6
FAST_DISTRICT = 1  # counted in the order of building; in a city of one district nothing grows fast

MISSING = -1
FAULTY_SHARE = 0.015
FAULTS = ("stuck", "gap", "zeros", "spike", "clock")
CLOCK_OFF_SLOTS = 4  # an hour late
SIGNALS_A_FILE = 100


@dataclass(frozen=True)
class Fault:
    """What a detector did wrong: the local times of the first and the last interval that it concerns."""

    approach: str
    kind: str
    first: str
    last: str


@dataclass(frozen=True, eq=False)
class Expected:
    """What the counts are drawn from: means are `purposes @ flow_vph.T` / 4, times the level of the district.

    Fields
    ------
    clock : the intervals
    purposes : float64[n_interval, n_purpose]
    level : float64[n_interval, n_district]: mood of city and district, growth, events
    growth : float64[n_district], a year
    """

    clock: Clock
    purposes: Floats
    level: Floats
    growth: Floats


def expect(
    city: City, clock: Clock, own: Mapping[date, str], special: Mapping[date, str], seed: int
) -> Expected:
    """The course of all weeks: kinds of day, and the level of each district."""
    rng = np.random.default_rng([seed, 1])
    n_districts, n_days, n_rows = len(city.cycle_s), len(clock.days), len(clock.utc)
    by_day = _wander(rng, n_days, 1, DAY_KEEPS, DAY_SPREAD)
    by_day = by_day + _wander(rng, n_days, n_districts, DAY_KEEPS, DISTRICT_DAY_SPREAD)
    keeps = 0.5 ** (days.STEP_MIN / 60.0 / SLOW_HALF_LIFE_H)
    level = _wander(rng, n_rows, n_districts, keeps, DISTRICT_SLOW_SPREAD)
    level += _wander(rng, n_rows, 1, keeps, SLOW_SPREAD)
    level += by_day[clock.day]
    growth = rng.normal(GROWTH_A_YEAR, GROWTH_SPREAD, n_districts)
    growth[FAST_DISTRICT : FAST_DISTRICT + 1] = FAST_GROWTH_A_YEAR
    level += np.log1p(growth) * clock.day[:, None] / 365.0
    begin, end = days.EVENT_HOURS
    evening = (clock.hour >= begin) & (clock.hour < end)
    surge = evening & np.isin(clock.day, [k for k, day in enumerate(clock.days) if day in special])
    level[surge, 0] += np.log1p(days.EVENT_SURGE)
    return Expected(clock, days.purposes_over(clock, days.kinds_of(clock.days, own)), np.exp(level), growth)


def _wander(rng: np.random.Generator, rows: int, columns: int, keeps: float, spread: float) -> Floats:
    """Autoregressive noise of this standard deviation, float64[rows, columns]."""
    found = rng.normal(0.0, spread, (rows, columns))
    found[1:] *= np.sqrt(1.0 - keeps**2)
    for row in range(1, rows):
        found[row] += keeps * found[row - 1]
    return found


def means(expected: Expected, flow_vph: Floats) -> Floats:
    """Vehicles an interval, float64[n_interval, n], of flows by purpose, float64[n, n_purpose], on ordinary days."""
    return np.asarray(expected.purposes @ flow_vph.T * (days.STEP_MIN / 60.0))


def write_counts(
    city: City, traffic: Traffic, expected: Expected, names: Sequence[str], folder: Path, seed: int
) -> Iterator[tuple[Path, list[Fault]]]:
    """Write the counts of some hundred signals after the other, a Parquet file each; gives its faults with each.

    names : the edge of each approach, as `Traffic.flow_vph` has them
    """
    district = np.repeat(np.array(list(city.district.values())), len(HEADINGS))
    width = SIGNALS_A_FILE * len(HEADINGS)
    for number, first in enumerate(range(0, len(names), width)):
        rng = np.random.default_rng([seed, 2, number])
        these = slice(first, min(first + width, len(names)))
        mean = means(expected, traffic.flow_vph[these])
        mean *= expected.level[:, district[these]]
        counts = rng.poisson(mean)
        faults = spoil(counts, names[these], expected.clock, rng)
        path = folder / f"{number:03d}.parquet"
        _write_parquet(path, names[these], expected.clock, counts)
        yield path, faults


def spoil(counts: Counts, names: Sequence[str], clock: Clock, rng: np.random.Generator) -> list[Fault]:
    """Let some of the detectors be at fault, `counts` in place, at least one; what they did, by approach."""
    number = min(len(names), max(1, round(FAULTY_SHARE * len(names))))
    columns = sorted(rng.choice(len(names), number, replace=False).tolist())
    at = int(rng.integers(len(FAULTS)))
    found = []
    for k, column in enumerate(columns):
        kind = FAULTS[(at + k) % len(FAULTS)]
        first, last = _spoil_one(counts[:, column], kind, clock, rng)
        found.append(Fault(names[column], kind, str(clock.local[first]), str(clock.local[last])))
    return found


def _spoil_one(column: Counts, kind: str, clock: Clock, rng: np.random.Generator) -> tuple[int, int]:
    """Put one fault into a series; its first and last row."""
    day = int(rng.integers(1, len(clock.days) - 3))
    midnight = int(np.searchsorted(clock.day, day))
    first = midnight + 4 * int(rng.integers(6, 17))
    if kind == "stuck":
        rows = slice(first, first + 4 * int(rng.integers(12, 49)))
        column[rows] = max(1, column[first])
    elif kind == "gap":
        rows = slice(first, first + 4 * int(rng.integers(4, 49)))
        column[rows] = MISSING
    elif kind == "zeros":
        rows = slice(midnight, int(np.searchsorted(clock.day, day + int(rng.integers(1, 4)))))
        column[rows] = 0
    elif kind == "spike":
        rows = slice(first, first + int(rng.integers(1, 3)))
        column[rows] = 5 * column[rows] + 60
    else:
        rows = slice(midnight, min(len(column), midnight + 96 * int(rng.integers(6, 11))))
        column[rows] = column[rows.start - CLOCK_OFF_SLOTS : rows.stop - CLOCK_OFF_SLOTS].copy()
    return rows.start, rows.stop - 1


def _write_parquet(path: Path, names: Sequence[str], clock: Clock, counts: Counts) -> None:
    """A wide table of whole numbers, with instants on the city's clock."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    start = pa.array(clock.utc.astype("datetime64[s]"), pa.timestamp("s", tz=days.TIMEZONE))
    columns = np.ascontiguousarray(counts.T.astype(np.int16))
    arrays = [pa.array(column, mask=column == MISSING) for column in columns]
    table = pa.Table.from_arrays([start, *arrays], names=["start", *names])
    pq.write_table(table, path, compression="zstd", use_dictionary=False)


def survey(traffic: Traffic, rng: np.random.Generator) -> Counts:
    """Vehicles of each movement as counted on one working day, int64[n_approach, 3]."""
    hour = np.arange(days.STEP_MIN / 120.0, 24.0, days.STEP_MIN / 60.0, dtype=np.float64)
    hours_at_peak = days.purposes_at(hour, 1).sum(axis=0) * days.STEP_MIN / 60.0
    return np.asarray(rng.poisson(traffic.movement_vph @ hours_at_peak))
