"""Levels that jump against the weeks before, and stay for hours or days: a lane lost, a detector counted twice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from signals.demand.screening.daygrid import Batch
from signals.demand.screening.days import Network
from signals.demand.screening.expected import (
    BASE_WEEKS,
    FIRST_DAYS,
    OWN_WEEKDAY_WEEKS,
    known_or,
    median_first,
    part_ratios,
    usual_step,
)
from signals.demand.screening.findings import Run
from signals.demand.screening.runs import runs_of, span_of_most
from signals.model.counts import Floats, Reason

Ints = NDArray[np.int64]

LEVEL_FACTOR, LEVEL_KEPT, LEVEL_Z, LEVEL_PARTS = 1.6, 1.25, 4.0, 2
"""A level has jumped where it is this factor from before, by so many of its usual deviations, in so many three-hour
parts; it lasts as long as the second factor holds. A lane lost of three gives 1.5, a detector counted twice 2."""


def find_levels(batch: Batch, expected: Floats, network: Network) -> None:
    """Mark spells in which the level is another than in the weeks before."""
    grid = batch.grid
    ratios = part_ratios(batch.by_day(), expected, grid)
    off = ratios - network.part_level[:, :, None]
    off[network.odd] = np.nan
    off -= _base(median_first(off.transpose(1, 0, 2)), grid.weekdays)[:, None, :]
    noise = 1.0 / np.sqrt(np.maximum(grid.by_part(known_or(expected, 0.0)), 1.0))
    z = off / np.maximum(usual_step(off)[None], noise)
    n_days, n_parts, n = off.shape
    off, z, ratios = (a.reshape(n_days * n_parts, n) for a in (off, z, ratios))
    known = ~np.isnan(off)
    # Clocks put back repeat slots, never whole parts of a day.
    part_of_row = np.maximum.accumulate(grid.day * n_parts + grid.part_of_slot[grid.slot])
    starts = np.searchsorted(part_of_row, np.arange(n_days * n_parts + 1))
    hit = np.zeros(batch.sound.shape, dtype=np.bool_)
    found = []
    for sign in (1.0, -1.0):
        strong = known & (sign * off >= np.log(LEVEL_FACTOR)) & (sign * z >= LEVEL_Z)
        kept = ~known | (sign * off >= np.log(LEVEL_KEPT))
        kept &= strong.any(axis=0)
        for k, begin, end in runs_of(kept):
            inside = begin + np.flatnonzero(strong[begin : end + 1, k])
            if len(inside) < LEVEL_PARTS:
                continue
            first, last = int(inside[0]), int(inside[-1])
            part = slice(first, last + 1)
            if 2 * len(inside) < known[part, k].sum():
                continue
            now, factor = (float(np.exp(np.nanmedian(a[part, k]))) for a in (ratios, off))
            counts, due = batch.sound[:, k], expected[grid.day, grid.slot, k]
            row, stop = span_of_most(
                np.abs(counts - due * now / factor) - np.abs(counts - due * now),
                (int(starts[max(first - 1, 0)]), int(starts[first + 1])),
                (int(starts[last]), int(starts[min(last + 2, n_days * n_parts)])),
            )
            there = ~np.isnan(counts[row:stop])
            hit[row:stop, k] |= there
            detail = f"{factor:.2g} times the level before, for {(stop - row) * grid.step_min / 60:.0f} h"
            found.append(Run(k, row, stop - 1, int(there.sum()), detail))
    batch.mark(Reason.LEVEL, hit, found, "jumps of level")


def _base(level: Floats, weekdays: Ints) -> Floats:
    """Level that each day is compared with, float64[n_day, n], from levels of days; 0 where there is none.

    In less than three weeks a weekday has no history, and all working days share theirs.
    """
    n_days = len(level)
    if n_days < 7 * OWN_WEEKDAY_WEEKS:
        base = np.empty_like(level)
        for work in (True, False):
            alike = (weekdays < 5) == work
            base[alike] = median_first(level[alike])
        return known_or(base, 0.0)
    days = np.arange(n_days)
    back = np.arange(1, BASE_WEEKS + 1)[:, None]
    # The first two weeks have little before them: they are compared with the first weeks of all.
    others = np.where(days < FIRST_DAYS, days % 7 + 7 * (back - 1), days - 7 * back)
    others = np.where(others < n_days, others, -1)
    before = level[np.maximum(others, 0)]
    before[others < 0] = np.nan
    return known_or(median_first(before), 0.0)
