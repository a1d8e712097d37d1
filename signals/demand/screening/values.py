"""Counts that can't be: impossible ones, the same again and again, zeros where vehicles are due, spikes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from signals.demand.screening.daygrid import Batch, DayGrid
from signals.demand.screening.days import Network
from signals.demand.screening.expected import (
    EXPECTED_VEH,
    SIGMAS,
    known_or,
    median_first,
    part_ratios,
    smooth,
    zero_days_of,
)
from signals.demand.screening.findings import Run
from signals.demand.screening.runs import EqualRuns, equal_runs, runs_of
from signals.model.counts import Floats, Reason

Flags = NDArray[np.bool_]

PHYSICAL_VPH = 19_200.0
"""More than this in an hour can't pass one detector group: eight lanes at 2,400 veh/h, a headway of 1.5 s. What a
known number of lanes can carry is less; give it as `max_vph`."""

FRACTIONS_MAX = 0.02
"""Up to this share of fractions among whole counts they are faults. Above, the series is an average or an estimate."""

CHANCE = 1e-9
"""Chance of a run of equal counts below which it is a stuck detector: less than one in a year of 1,000 detectors (35
million quarter hours)."""

MOST_LIKELY = 0.37
"""Largest chance of one given count above zero: that of 1 when 1 is expected (Poisson)."""

BRIDGE_MIN = 60
"""A run of zeros or of equal counts goes on over a gap up to this long."""

SPIKE_Z, SPIKE_FACTOR, SPIKE_SLOTS = 10.0, 3.0, 2
"""A spike lies this many standard deviations and this factor from what is expected, for so many slots at most. Real
crowds and closures build up and go over more than two quarter hours; half a normal count is no spike."""


def find_impossible(batch: Batch, max_vph: float | None) -> None:
    """Mark negative and infinite counts, fractions among whole numbers, more than the road can carry."""
    counts = batch.counts
    per_hour = 60.0 / batch.grid.step_min
    largest = PHYSICAL_VPH if max_vph is None else max_vph
    part = (counts != np.rint(counts)) & ~np.isnan(counts)
    part &= part.sum(axis=0) <= FRACTIONS_MAX * np.isfinite(counts).sum(axis=0)
    where = np.isinf(counts) | (counts < 0) | part | (counts * per_hour > largest)
    found = []
    for k, first, last in runs_of(where):
        value = counts[first, k]
        if not np.isfinite(value):
            why = "not finite"
        elif value < 0:
            why = "negative"
        elif value * per_hour > largest:
            why = f"{value * per_hour:,.0f} veh/h, above {largest:,.0f}"
        else:
            why = "a fraction among whole numbers"
        found.append(Run(k, first, last, last - first + 1, f"count {value:g}: {why}"))
    batch.mark(Reason.IMPOSSIBLE, where, found, "impossible counts")


def find_stuck(batch: Batch) -> None:
    """Mark the same count above zero so often in a row that chance can't do it.

    The chance of one given count is at most about 1 / √(2 π count), that of a Poisson count at its mean.
    """
    runs = equal_runs(batch.sound, _bridge(batch.grid), at_least=2)
    chance = np.minimum(MOST_LIKELY, 1.0 / np.sqrt(2.0 * np.pi * np.maximum(runs.values, 1.0)))
    needed = 1.0 + np.log(CHANCE) / np.log(chance)
    stuck = runs.only((runs.values > 0) & (runs.lengths >= needed))
    details = [
        f"{value:g} counted {n} times in a row" for value, n in zip(stuck.values, stuck.lengths, strict=True)
    ]
    _mark_equal(batch, Reason.STUCK, stuck, details, "runs of one value")


def find_zero_days(batch: Batch, expected: Floats) -> None:
    """Mark days of zeros where at least EXPECTED_VEH are due, and series that never counted anything."""
    grid = batch.grid
    days = batch.by_day()
    zero = zero_days_of(days)
    if not zero.any():
        return
    ever = np.any(days > 0, axis=(0, 1))
    dead = zero.any(axis=0) & ~ever
    due = np.where(np.isnan(days), 0.0, known_or(expected, 0.0)).sum(axis=1)
    hit = zero & ((due >= EXPECTED_VEH) | dead)
    where = hit[grid.day] & ~np.isnan(batch.sound)
    found = []
    for k, first_day, last_day in runs_of(hit):
        rows = np.flatnonzero((grid.day >= first_day) & (grid.day <= last_day))
        n_days = last_day - first_day + 1
        wanted = f"{due[first_day : last_day + 1, k].sum():,.0f} expected"
        detail = f"{n_days} day(s) of zeros, {'it never counted anything' if dead[k] else wanted}"
        found.append(Run(k, int(rows[0]), int(rows[-1]), int(where[rows, k].sum()), detail))
    batch.mark(Reason.ZERO_DAY, where, found, "spells of zero days")


def find_zeros(batch: Batch, expected: Floats, network: Network) -> None:
    """Mark zeros in a row where EXPECTED_VEH vehicles are due in them, less where the whole network is quiet."""
    grid = batch.grid
    runs = equal_runs(batch.sound, _bridge(grid))
    zeros = runs.only(runs.values == 0)
    if not len(zeros.lengths):
        return
    quiet = np.minimum(1.0, np.exp(network.part_level))[:, grid.part_of_slot]
    day, slot = grid.day[zeros.rows], grid.slot[zeros.rows]
    due = np.add.reduceat(known_or(expected[day, slot, zeros.columns], 0.0) * quiet[day, slot], zeros.starts)
    hit = due >= EXPECTED_VEH
    details = [f"zeros where {total:,.0f} vehicles are expected" for total in due[hit]]
    _mark_equal(batch, Reason.ZEROS, zeros.only(hit), details, "runs of zeros")


def _bridge(grid: DayGrid) -> int:
    """Rows from one count to the next over a gap of BRIDGE_MIN."""
    return 1 + BRIDGE_MIN // grid.step_min


def _mark_equal(batch: Batch, reason: Reason, runs: EqualRuns, details: list[str], what: str) -> None:
    """Mark and tell runs of equal counts, with a detail for each."""
    first = runs.starts
    last = first + runs.lengths - 1
    found = [
        Run(int(runs.columns[i]), int(runs.rows[i]), int(runs.rows[j]), int(j - i + 1), detail)
        for i, j, detail in zip(first, last, details, strict=True)
    ]
    where = np.zeros(batch.sound.shape, dtype=np.bool_)
    where[runs.rows, runs.columns] = True
    batch.mark(reason, where, found, what)


def find_spikes(batch: Batch, expected: Floats) -> None:
    """Mark a count or two far from what is expected, and far by their own usual deviations."""
    grid = batch.grid
    days = batch.by_day()
    local = _at_its_level(expected, part_ratios(days, expected, grid), grid)
    counted, due = batch.sound, grid.on_rows(local)
    gap = counted - due
    far = np.abs(gap) >= EXPECTED_VEH
    far &= np.maximum(counted, due) + 1 >= SPIKE_FACTOR * (np.minimum(counted, due) + 1)
    rows, columns = np.nonzero(far)
    # Usual deviations take a while to find, and most series don't need them.
    some, place = np.unique(columns, return_inverse=True)
    spread = _spread(days[:, :, some], local[:, :, some], grid)[grid.slot[rows], place]
    z = np.zeros_like(gap)
    z[rows, columns] = gap[rows, columns] / (spread * np.sqrt(due[rows, columns] + 1.0))
    far &= np.abs(z) >= SPIKE_Z
    where = np.zeros_like(far)
    found = []
    for k, first, last in runs_of(far):
        if last - first + 1 > SPIKE_SLOTS:
            continue
        where[first : last + 1, k] = True
        detail = f"{counted[first, k]:g} counted, {due[first, k]:.0f} expected, {z[first, k]:+.0f} deviations"
        found.append(Run(k, first, last, last - first + 1, detail))
    batch.mark(Reason.SPIKE, where, found, "spikes")


def _at_its_level(expected: Floats, ratios: Floats, grid: DayGrid) -> Floats:
    """Expected counts at the level of the three parts of the day around, float64[n_day, slots, n]."""
    n_days, n_parts, n = ratios.shape
    level = ratios.reshape(n_days * n_parts, n)
    edge = np.full((1, n), np.nan)
    around = np.stack([np.vstack([edge, level[:-1]]), level, np.vstack([level[1:], edge])])
    factor = np.exp(known_or(median_first(around), 0.0)).reshape(n_days, n_parts, n)
    return expected * factor[:, grid.part_of_slot]


def _spread(days: Floats, local: Floats, grid: DayGrid) -> Floats:
    """Usual size of the deviations by slot, in units of √(expected + 1), float64[slots, n], at least 1."""
    size = smooth(median_first(np.abs(days - local) / np.sqrt(local + 1.0)), max(1, 30 // grid.step_min))
    return np.maximum(1.0, known_or(SIGMAS * size, 1.0))
