"""Clocks that are off: spells of days that another clock explains far better than their own.

Every day is laid over what the weeks before make it look like, at every lag and at its own level. The likelihoods
of following days add up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from signals.demand.screening.daygrid import Batch, DayGrid
from signals.demand.screening.days import Network
from signals.demand.screening.expected import (
    DAY_SHARE,
    EXPECTED_VEH,
    known_or,
    smooth,
    usual_step,
    weeks_before,
)
from signals.demand.screening.findings import Run
from signals.demand.screening.runs import span_of_most
from signals.model.counts import Floats, Reason

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

SHIFT_SCORE, SHIFT_A_DAY = 12.0, 2.0
"""Log likelihood by which a shifted clock must explain a spell of days better, after so much is taken off each day. Of
4,190 sound days in Boroondara, beside the network, the most that one came to at one slot is 8.5; half of 282 working
days shifted by a slot come above 23."""

SHIFT_ROUNDS = 6
"""Spells of a shifted clock looked for in each series."""

SHIFT_BRIDGE_DAYS = 3
"""Two spells of the same shift so many days apart at most, a long weekend, are one."""

SHIFT_FAR = 6.0
"""What a lag of two slots must bring beyond one of one, and three or more beyond two: there are many far lags to fit by
chance, and a clock that is really that far off leaves four and nine times the evidence."""

SHIFT_ALONE = 20.0
"""What a shift must bring more where the network is not asked. Over four years in Melbourne, with school holidays
and changes of the clocks, all spells but one came to at most 31 in all."""

SHIFT_HOUR = 0.7
"""Share of the evidence for a shift that one hour of the day may bring: an early evening crowd is traffic, an early
rise and fall of every peak a clock."""

SHIFT_FIT = 2.5
"""Mean square deviation of a day at another lag, in units of the usual one, up to which it counts as explained."""

SHIFT_LEAST_MIN = 14 * 60
"""A shorter spell than about a day (the quiet of a night says nothing) is traffic, no clock."""

SHIFT_MIN_SLOTS = 12
"""Slots a day below which a shift can't be told: intervals longer than two hours."""

_NEVER = -1e9


class Spell(NamedTuple):
    """Rows of one series, up to `stop`, that a clock `lag` slots late explains better: by so much log likelihood."""

    row: int
    stop: int
    lag: int
    score: float


def find_shifted(batch: Batch, expected: Floats, network: Network) -> None:
    """Mark spells of days that another clock explains far better than their own.

    Once what the network does is taken out first: an early peak everywhere is weather or a holiday. Once it is
    not, and more evidence is asked for: where many detectors share a clock, they are the network.
    """
    grid = batch.grid
    if grid.slots < SHIFT_MIN_SLOTS:
        return
    days = batch.by_day()
    before = weeks_before(days, expected, grid, network.odd)
    sheets = [_lay_over(days, before, grid, network.odd, SHIFT_ALONE)]
    if network.large:
        sheets.append(_lay_over(days, before * network.slot_level[:, :, None], grid, network.odd, 0.0))
    hit = np.zeros(batch.sound.shape, dtype=np.bool_)
    found = []
    for k, spells in _spells(sheets, grid).items():
        for row, stop, lag, score in _joined(spells, SHIFT_BRIDGE_DAYS * grid.slots):
            there = ~np.isnan(batch.counts[row:stop, k])
            hit[row:stop, k] |= there
            detail = (
                f"{abs(lag)} slot(s), {abs(lag) * grid.step_min} min, too {'late' if lag > 0 else 'early'} "
                f"for {(stop - row) * grid.step_min / 60:.0f} h; log likelihood {score:.0f} in favour"
            )
            found.append(Run(k, row, stop - 1, int(there.sum()), detail))
    batch.mark(Reason.SHIFTED, hit, found, "shifts of the clock")


def _spells(sheets: list[Sheet], grid: DayGrid) -> dict[int, list[Spell]]:
    """Spells of each series at another lag, one found after the other, the most evident first."""
    n = sheets[0].seen.shape[2]
    used = np.zeros((grid.n_days, n), dtype=np.bool_)
    spells: defaultdict[int, list[Spell]] = defaultdict(list)
    columns = np.arange(n)
    for _ in range(SHIFT_ROUNDS):
        tried = [_best_shift(sheet, columns, used[:, columns]) for sheet in sheets]
        scores = np.array([shift.score for shift in tried])
        best = scores.argmax(axis=0)
        chosen = np.flatnonzero(scores.max(axis=0) >= SHIFT_SCORE)
        for j in chosen:
            k, sheet = int(columns[j]), sheets[best[j]]
            score, lag, begin, end = (a[j].item() for a in tried[best[j]])
            used[begin : end + 1, k] = True
            gain = sheet.gain(k, lag)
            by_slot = gain[begin : end + 1].sum(axis=0)
            by_hour = np.add.reduceat(by_slot, np.arange(0, grid.slots, max(1, 60 // grid.step_min)))
            if by_hour.max() > SHIFT_HOUR * by_hour.sum():
                continue
            better = np.append(grid.on_rows(gain[:, :, None])[:, 0], 0.0)
            rows = [int(row) for row in np.searchsorted(grid.day, [begin - 1, begin + 1, end, end + 2])]
            row, stop = span_of_most(better, (rows[0], rows[1]), (rows[2], rows[3]))
            if (stop - row) * grid.step_min >= SHIFT_LEAST_MIN:
                spells[k].append(Spell(row, stop, lag, score))
        columns = columns[chosen]
        if not len(columns):
            break
    return spells


def _joined(spells: Iterable[Spell], reach: int) -> Iterator[Spell]:
    """Spells in order, those of one lag and at most `reach` rows apart as one.

    A weekend is flat and says little of a clock, but nobody puts one right for a weekend.
    """
    held: Spell | None = None
    for spell in sorted(spells):
        if held and held.lag == spell.lag and spell.row - held.stop <= reach:
            held = Spell(held.row, max(spell.stop, held.stop), held.lag, held.score + spell.score)
            continue
        if held:
            yield held
        held = spell
    if held:
        yield held


class Sheet(NamedTuple):
    """Days laid over their patterns, in square roots, whose noise is even over the day.

    seen, pattern, weight : float64[n_day, slots, n]
    cost : float64[n_day, slots, n], weighted square distance of each day to its pattern at each lag
    slots_seen : int64[n_day, n]; handicap : what a score has to bring beyond SHIFT_SCORE
    """

    seen: Floats
    pattern: Floats
    weight: Floats
    cost: Floats
    slots_seen: Ints
    handicap: float

    def gain(self, column: int, lag: int) -> Floats:
        """Log likelihood that each slot of a series gives to a lag, float64[n_day, slots]."""
        seen, pattern = self.seen[:, :, column], self.pattern[:, :, column]
        other = np.roll(pattern, lag, axis=1)
        return 0.5 * self.weight[:, :, column] * ((seen - pattern) ** 2 - (seen - other) ** 2)


def _lay_over(days: Floats, due: Floats, grid: DayGrid, odd: Flags, handicap: float) -> Sheet:
    """Lay days over the counts due, each at its own level; odd and half-empty days say nothing."""
    there = ~(np.isnan(days) | np.isnan(due))
    there &= (there.sum(axis=1) >= DAY_SHARE * grid.slots)[:, None] & ~odd[:, None, None]
    day_sum, due_sum = (np.where(there, a, 0.0).sum(axis=1) for a in (days, due))
    level = np.where(due_sum >= EXPECTED_VEH, (day_sum + 1.0) / (due_sum + 1.0), 1.0)
    pattern = np.sqrt(known_or(due, 0.0) * level[:, None, :] + 0.375)
    seen = np.where(there, np.sqrt(np.where(there, days, 0.0) + 0.375), 0.0)
    off = np.where(there, seen - pattern, np.nan)
    spread = np.maximum(1.0, 2.0 * smooth(usual_step(off), max(1, 30 // grid.step_min)))
    weight = there * 4.0 / spread**2
    return Sheet(seen, pattern, weight, _cost_by_lag(seen, pattern, weight), there.sum(axis=1), handicap)


def _cost_by_lag(seen: Floats, pattern: Floats, weight: Floats) -> Floats:
    """Weighted square distance of each day to its pattern at each lag, float64[n_day, slots, n].

    cost[l] = Σ w[s] (seen[s] − pattern[s − l])², round the day: cost[1] is what is left if the clock is one slot late.
    """

    def turned(x: Floats) -> NDArray[np.complex128]:
        return np.fft.rfft(x, axis=1)

    crossed = turned(weight) * np.conj(turned(pattern**2))
    crossed -= 2.0 * turned(weight * seen) * np.conj(turned(pattern))
    cost: Floats = np.fft.irfft(crossed, n=seen.shape[1], axis=1)
    cost += (weight * seen**2).sum(axis=1, keepdims=True)
    return cost


class Shift(NamedTuple):
    """The spell that speaks most for another clock, of each of some series: score, lag, first and last day."""

    score: Floats
    lag: Ints
    begin: Ints
    end: Ints


def _best_shift(sheet: Sheet, columns: Ints, used: Flags) -> Shift:
    """The best shift of these series, without days used, bool[n_day, n]; its score is below zero if there is none."""
    n = len(columns)
    best = Shift(np.full(n, _NEVER), *(np.zeros(n, dtype=np.int64) for _ in range(3)))
    least = SHIFT_SCORE + sheet.handicap
    # Most series are out already if every day could choose its own lag.
    any_lag = 0.5 * (sheet.cost[:, 0] - sheet.cost[:, 1:].min(axis=1))[:, columns] - SHIFT_A_DAY
    open_to = np.flatnonzero(np.where(used, 0.0, np.maximum(any_lag, 0.0)).sum(axis=0) >= least)
    if not len(open_to):
        return best
    cost = sheet.cost[:, :, columns[open_to]]
    slots_seen, used = sheet.slots_seen[:, columns[open_to]], used[:, open_to]
    slots = cost.shape[1]
    for lag in range(-(slots // 2), slots // 2):
        if lag == 0:
            continue
        other = cost[:, lag % slots]
        # A broken day may fit another lag less badly; a shifted one fits it well.
        fits = other <= SHIFT_FIT * slots_seen
        gain = np.where(slots_seen > 0, np.where(fits, 0.5 * (cost[:, 0] - other), 0.0) - SHIFT_A_DAY, 0.0)
        gain[used] = _NEVER
        total = np.vstack([np.zeros((1, len(open_to))), np.cumsum(gain, axis=0)])
        rise = total[1:] - np.minimum.accumulate(total, axis=0)[:-1]
        score = rise.max(axis=0)
        for j in np.flatnonzero((score >= least) & (score > best.score[open_to])):
            k = open_to[j]
            end = int(np.argmax(rise[:, j]))
            best.score[k], best.lag[k] = score[j], lag
            best.begin[k], best.end[k] = np.argmin(total[: end + 1, j]), end
    far = SHIFT_FAR * (np.minimum(np.abs(best.lag), 3) - 1)
    return best._replace(score=best.score - far - sheet.handicap)
