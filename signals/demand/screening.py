"""Screening: what is wrong with counts, slot by slot, before anything is made of them.

Nothing is changed or filled in: every slot keeps its value and gets a reason (`signals.model.counts.Reason`), and each
thing found is told once, with its figures, as a `Finding`.

The yardstick is a profile: the median count by weekday and slot, of the weeks around, smoothed over neighbouring
slots. Medians make it blind to what they are to find as long as less than half of the days are faulty. What is left
after the profile is compared with its own usual size (robust, never below the Poisson noise of a count), with the
four weeks before, and with the rest of the network, which takes weather and school holidays out of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from signals.demand.calendar import Calendar, weekdays_of
from signals.model.counts import MARK_OF, CountTable, Finding, Mark, Reason

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

# ------------------------------------------------------------------------------------------------ thresholds

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

EXPECTED_VEH = 25.0
"""Vehicles expected where zeros are a fault: e^-25 by chance, and a margin for closed lanes and quiet weeks. The real
data that this was tried on were cleaned with the same figure."""

BRIDGE_MIN = 60
"""A run of zeros or of equal counts goes on over a gap up to this long."""

SPIKE_Z, SPIKE_FACTOR, SPIKE_SLOTS = 10.0, 3.0, 2
"""A spike lies this many standard deviations and this factor from what is expected, for so many slots at most. Real
crowds and closures build up and go over more than two quarter hours; half a normal count is no spike."""

LEVEL_FACTOR, LEVEL_KEPT, LEVEL_Z, LEVEL_PARTS = 1.6, 1.25, 4.0, 2
"""A level has jumped where it is this factor from before, by so many of its usual deviations, in so many three-hour
parts; it lasts as long as the second factor holds. A lane lost of three gives 1.5, a detector counted twice 2."""

SHIFT_SCORE, SHIFT_A_DAY = 12.0, 2.0
"""Log likelihood by which a shifted clock must explain a spell of days better, after so much is taken off each day. Of
4,300 sound days in Boroondara none came above 9 at one slot; of working days shifted by one slot half come above 30."""

UNUSUAL_Z2, UNUSUAL_SHARE = 9.0, 0.5
"""A series departs from its weekday where the mean square of its deviations, part by part, reaches the first (1 is
usual); the day is unusual where more than this share of all series do."""

NETWORK_MIN = 5
"""Series that make a network: from here on the median over series says what everybody does."""

SKIPPED_SHARE = 0.5
"""Share of series that must miss the same hour for the clock to have skipped it; some feeds fill it in."""

DAY_SHARE = 0.5
"""Share of a day's slots that must be there to judge the day."""

# --------------------------------------------------------------------------------------------------- windows

PART_MIN = 180
"""Levels are compared in parts of the day this long: long enough for counts, short enough for an afternoon."""

WINDOW_DAYS, WINDOW_EVERY_DAYS = 63, 28
"""A profile is the median of nine weeks and is renewed every four; between two it is interpolated."""

BASE_WEEKS = 4
"""A level and a clock are compared with so many weeks before: then what stays is the new normal."""

FIRST_DAYS = 14
"""Days at the start of a table that have no past yet and stand for it."""

FEWEST_DAYS = 6
"""Days of a kind that make a profile of the weeks before."""

NETWORK_SAMPLE = 200
"""About so many series, evenly picked, say what the network does slot by slot; a median needs no more."""

OWN_WEEKDAY_WEEKS = 3
"""From so many weeks on each weekday has its own profile, before all working days share one."""

CHUNK_CELLS = 3_000_000
"""Counts worked on at a time: some 25 MB an array, about a dozen arrays."""

SHIFT_ROUNDS = 6
"""Spells of a shifted clock looked for in each series."""

SHIFT_BRIDGE_DAYS = 3
"""Two spells of the same shift so many days apart at most, a long weekend, are one."""

SHIFT_FAR = 6.0
"""What a lag of two slots must bring beyond one of one, and three or more beyond two: there are many far lags to fit by
chance, and a clock that is really that far off leaves four and nine times the evidence."""

SHIFT_ALONE = 20.0
"""What a shift must bring more where the network is not asked. Over four years in Melbourne, school holidays and the
days after a change of the clocks came to at most 32 in all."""

SHIFT_HOUR = 0.7
"""Share of the evidence for a shift that one hour of the day may bring: an early evening crowd is traffic, an early
rise and fall of every peak a clock."""

SHIFT_FIT = 2.5
"""Mean square deviation of a day at another lag, in units of the usual one, up to which it counts as explained."""

SHIFT_LEAST_MIN = 14 * 60
"""A shorter spell than about a day (the quiet of a night says nothing) is traffic, no clock."""

SHIFT_MIN_SLOTS = 12
"""Slots a day below which a shift can't be told: intervals longer than two hours."""

UNUSUAL_MIN_SERIES, UNUSUAL_MIN_DAYS = 3, 7
"""Series and days from which on a day can be unusual everywhere."""

LEAST_SPREAD = 0.05
"""Usual deviation of a part of the day from its weekday, at least; smaller ones come from few days by chance."""

LISTED = 8
"""Findings of one reason and series told one by one; the rest are summed up in one line."""

_MARKS = np.array([MARK_OF[reason] for reason in Reason], dtype=np.uint8)
_TINY = 1e-9
_WEEKDAY = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_RunsByColumn = dict[int, list[tuple[int, int, int, str]]]
"""By column: first and last row, slots and detail of each run."""


@dataclass(frozen=True, eq=False)
class Screened:
    """Counts with a reason for each slot, and what was found, sorted by series and then by time.

    Findings that concern the whole network (holidays, unusual days, slots that the clock skips, gaps in all
    series) have the series "" and so come first.
    """

    table: CountTable
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """How good one series is: slots by mark, the local times of its first and last count, slots by main reason."""

    series: str
    slots: int
    good: int
    doubtful: int
    bad: int
    missing: int
    first: np.datetime64 | None
    last: np.datetime64 | None
    reasons: Mapping[Reason, int]

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "series": self.series,
            "slots": self.slots,
            "good": self.good,
            "doubtful": self.doubtful,
            "bad": self.bad,
            "missing": self.missing,
            "first": None if self.first is None else str(self.first),
            "last": None if self.last is None else str(self.last),
            "reasons": {reason.name.lower(): n for reason, n in self.reasons.items()},
        }


def summary(screened: Screened, main_reasons: int = 3) -> tuple[SeriesFacts, ...]:
    """Quality of every series, in the table's order: a row of a table, or JSON, each.

    `reasons` holds the most frequent reasons other than none, at most `main_reasons`, most frequent first.
    """
    table = screened.table
    times = table.local_times
    present = ~np.isnan(table.values)
    marks = np.stack([(table.marks == mark).sum(axis=0) for mark in Mark])
    reasons = np.stack([(table.reasons == reason).sum(axis=0) for reason in Reason])
    facts = []
    for k, name in enumerate(table.names):
        rows = np.flatnonzero(present[:, k])
        often = sorted((r for r in Reason if r and reasons[r, k]), key=lambda r: (-int(reasons[r, k]), r))
        good, doubtful, bad, missing = (int(n) for n in marks[:, k])
        facts.append(
            SeriesFacts(
                name,
                table.n_intervals,
                good,
                doubtful,
                bad,
                missing,
                times[rows[0]] if len(rows) else None,
                times[rows[-1]] if len(rows) else None,
                {r: int(reasons[r, k]) for r in often[:main_reasons]},
            )
        )
    return tuple(facts)


def screen(table: CountTable, calendar: Calendar | None = None, *, max_vph: float | None = None) -> Screened:
    """Say for every count whether it can be used, and why not; values stay as they are.

    Reasons that the reader has set (duplicates, late rows) stay unless something worse is found, and are told as
    findings too. If several things are wrong with a slot, it keeps the worst, in the order impossible, zero day,
    stuck, zeros, spike, shifted, level, unusual day, holiday.

    Parameters
    ----------
    calendar
        Holidays; without one, days that most series spend unlike their weekday are unusual days.
    max_vph
        Largest flow that any series can carry [veh/h]; without it eight lanes' worth.
    """
    calendar = calendar or Calendar()
    book = _Book(table)
    book.tell_as_read()
    if not table.n_intervals or not table.names:
        return book.close()
    clock = _Clock(table)
    _find_gaps(book, clock)
    chunks = [_Chunk(book, clock, columns, max_vph) for columns in _column_chunks(table)]
    holidays = np.array([calendar.is_holiday(day) for day in clock.dates], dtype=np.bool_)
    for chunk in chunks:
        chunk.learn_profile(holidays)
    network = _Network(clock, chunks, holidays)
    for chunk in chunks:
        chunk.judge(network)
    _tell_days(book, clock, network, holidays, calendar)
    return book.close()


def _column_chunks(table: CountTable) -> Iterator[slice]:
    width = max(1, CHUNK_CELLS // max(1, table.n_intervals))
    for begin in range(0, len(table.names), width):
        yield slice(begin, min(begin + width, len(table.names)))


# -------------------------------------------------------------------------------------------- clock and book


class _Clock:
    """Where each row lies in a grid of local days and slots, and how long the parts of a day are.

    In a day of 100 quarter hours an hour comes twice; the grid keeps its first pass and both are judged by it.
    """

    def __init__(self, table: CountTable) -> None:
        self.times = table.local_times
        self.step_min = table.step_min
        self.slots = table.slots_a_day
        days = self.times.astype("datetime64[D]")
        first = days.min()
        self.day = (days - first).astype(np.int64)
        self.slot = (self.times - days).astype(np.int64) // table.step_min
        self.n_days = int(self.day.max()) + 1
        self.dates = first + np.arange(self.n_days)
        self.weekdays = weekdays_of(self.dates)
        self.row = np.full((self.n_days, self.slots), -1, dtype=np.int64)
        backwards = np.arange(table.n_intervals)[::-1]
        self.row[self.day[backwards], self.slot[backwards]] = backwards
        parts = min(self.slots, 1440 // PART_MIN)
        self.part_starts = np.arange(parts) * self.slots // parts
        self.part_of_slot = np.searchsorted(self.part_starts, np.arange(self.slots), side="right") - 1
        self.n_parts = parts

    def grid(self, rows: Floats) -> Floats:
        """Values by local day and slot, float64[n_day, slots, n]; NaN where there is no row."""
        grid = rows[np.maximum(self.row, 0)]
        grid[self.row < 0] = np.nan
        return grid

    def on_rows(self, grid: Floats) -> Floats:
        """Values of a grid [n_day, slots, n] on the table's rows, float64[n_interval, n]."""
        rows: Floats = grid[self.day, self.slot]
        return rows

    def by_part(self, grid: Floats) -> Floats:
        """Sums of a grid over the parts of each day, NaN as nothing, float64[n_day, n_part, n]."""
        return np.add.reduceat(np.nan_to_num(grid), self.part_starts, axis=1)


class _Book:
    """Reasons and findings as they come in. A reason gives way only to a worse mark."""

    def __init__(self, table: CountTable) -> None:
        self.table = table
        self.times = table.local_times
        self.reasons = table.reasons.copy()
        self.findings: list[Finding] = []

    def mark(self, reason: Reason, where: Flags, columns: slice = slice(None)) -> None:
        """Give slots a reason where theirs is none or milder."""
        now = self.reasons[:, columns]
        now[where & ((now == Reason.NONE) | (_MARKS[now] < MARK_OF[reason]))] = reason

    def tell(self, series: str, reason: Reason, first: int, last: int, slots: int, detail: str) -> None:
        """Add a finding from row `first` to row `last`."""
        self.findings.append(Finding(series, reason, self.times[first], self.times[last], slots, detail))

    def tell_runs(self, reason: Reason, runs: _RunsByColumn, what: str) -> None:
        """Tell the runs (first row, last row, slots, detail) of each column: the longest singly, the rest as one."""
        for column, of_column in runs.items():
            name = self.table.names[column]
            by_length = sorted(of_column, key=lambda run: (-run[2], run[0]))
            # One left over is told as it is: a line that sums up one thing says less.
            listed = LISTED if len(by_length) > LISTED + 1 else len(by_length)
            for first, last, slots, detail in by_length[:listed]:
                self.tell(name, reason, first, last, slots, detail)
            rest = by_length[listed:]
            if rest:
                self.tell(
                    name,
                    reason,
                    min(run[0] for run in rest),
                    max(run[1] for run in rest),
                    sum(run[2] for run in rest),
                    f"{len(rest)} more {what}, none longer than {rest[0][2]} slot(s)",
                )

    def tell_as_read(self) -> None:
        """Findings for what the reader has marked already, one a series and reason."""
        for reason, text in (
            (Reason.DUPLICATE, "interval(s) with rows that disagree; the first is kept"),
            (Reason.LATE, "interval(s) whose rows came out of order"),
        ):
            hit = self.reasons == reason
            for k in np.flatnonzero(hit.any(axis=0)):
                rows = np.flatnonzero(hit[:, k])
                name = self.table.names[k]
                self.tell(name, reason, int(rows[0]), int(rows[-1]), len(rows), f"{len(rows)} {text}")

    def close(self) -> Screened:
        """The table with its reasons, and the findings in order."""
        order = {name: k for k, name in enumerate(("", *sorted(set(self.table.names) - {""})))}
        found = sorted(self.findings, key=lambda f: (order[f.series], f.first, f.reason, f.last))
        return Screened(replace(self.table, reasons=self.reasons), tuple(found))


def _runs(where: Flags) -> Iterator[tuple[int, int, int]]:
    """Column, first and last row of every unbroken run down the columns of bool[n_row, n]."""
    padded = np.zeros((where.shape[1], where.shape[0] + 2), dtype=np.int8)
    padded[:, 1:-1] = where.T
    edges = np.diff(padded, axis=1)
    columns, first = np.nonzero(edges == 1)
    last = np.nonzero(edges == -1)[1] - 1
    return zip(columns.tolist(), first.tolist(), last.tolist(), strict=True)


def _find_gaps(book: _Book, clock: _Clock) -> None:
    """Mark missing slots as gaps, or as skipped by the clock, and tell both."""
    table = book.table
    missing = np.isnan(table.values)
    skipped = _clock_skipped(table, clock, missing)
    book.reasons[missing & (book.reasons != Reason.CLOCK_SKIPPED)] = Reason.GAP
    book.reasons[skipped] = Reason.CLOCK_SKIPPED
    by_clock = book.reasons == Reason.CLOCK_SKIPPED
    hit = by_clock.sum(axis=1)
    for _, first, last in _runs((hit > 0)[:, None]):
        book.tell(
            "",
            Reason.CLOCK_SKIPPED,
            first,
            last,
            int(last - first + 1),
            f"{(last - first + 1) * table.step_min} min missing in {hit[first]} of {len(table.names)} series on a "
            "Sunday at night: the clock was put forward (daylight saving)",
        )
    gaps = book.reasons == Reason.GAP
    everywhere = gaps.all(axis=1) if len(table.names) > 1 else np.zeros(table.n_intervals, np.bool_)
    for _, first, last in _runs(everywhere[:, None]):
        minutes = (last - first + 1) * table.step_min
        book.tell(
            "", Reason.GAP, first, last, int(last - first + 1), f"no counts in any series, {minutes} min"
        )
    runs: _RunsByColumn = {}
    # A gap of all series is told once, not by each.
    for k, first, last in _runs(gaps & ~everywhere[:, None]):
        n = last - first + 1
        runs.setdefault(k, []).append((first, last, n, f"no counts, {n * table.step_min} min"))
    book.tell_runs(Reason.GAP, runs, "gaps")


def _clock_skipped(table: CountTable, clock: _Clock, missing: Flags) -> Flags:
    """Slots that the local clock skips in spring, bool[n_interval, n]; none where the timezone is known.

    That is one hour exactly, missing in most series, between 00:00 and 04:00 of a Sunday in March or April
    (northern) or September to November (southern hemisphere).
    """
    skipped = np.zeros_like(missing)
    if table.timezone or 60 % table.step_min:
        return skipped
    hour = 60 // table.step_min
    months = clock.dates.astype("datetime64[M]").astype(np.int64) % 12 + 1
    sundays = np.flatnonzero((clock.weekdays == 6) & np.isin(months, (3, 4, 9, 10, 11)))
    for day in sundays:
        rows = np.flatnonzero((clock.day == day) & (clock.slot < 5 * hour))
        if len(rows) < 5 * hour:
            continue
        night = missing[rows]
        # A series that is silent all night says nothing about the clock.
        awake = ~night.all(axis=0)
        if not awake.any():
            continue
        for begin in range(3 * hour + 1):
            inside = night[begin : begin + hour].all(axis=0)
            before = night[begin - 1] if begin else np.zeros_like(inside)
            exactly = inside & ~before & ~night[begin + hour]
            if (exactly & awake).sum() >= SKIPPED_SHARE * awake.sum():
                skipped[np.ix_(rows[begin : begin + hour], np.flatnonzero(exactly))] = True
    return skipped


# --------------------------------------------------------------------------------------------------- profile


def _median_first(x: Floats) -> Floats:
    """Median along the first axis without NaN; NaN where there is nothing. numpy's own is slow on short axes."""
    if not len(x):
        return np.full(x.shape[1:], np.nan)
    ordered = np.sort(x, axis=0)
    count = (~np.isnan(ordered)).sum(axis=0)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0)[None] // 2, axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(x) - 1)[None], axis=0)[0]
    return np.where(count > 0, 0.5 * (low + high), np.nan)


def _smooth(x: Floats, reach: int, axis: int = 0) -> Floats:
    """Weighted mean with `reach` neighbours either side, weights falling evenly, round the clock; NaN left out."""
    if reach < 1 or x.shape[axis] <= 2 * reach:
        return x
    there = ~np.isnan(x)
    filled = np.where(there, x, 0.0)
    total, weight = np.zeros_like(x), np.zeros_like(x)
    for shift in range(-reach, reach + 1):
        share = reach + 1.0 - abs(shift)
        total += share * np.roll(filled, shift, axis)
        weight += share * np.roll(there, shift, axis)
    return np.divide(total, weight, out=np.full_like(x, np.nan), where=weight > 0)


def _profile_of(days: Floats, weekdays: Ints, step_min: int) -> Floats:
    """Expected counts by weekday and slot, float64[7, slots, n], from days float64[n_day, slots, n].

    Each working day is what all working days share, bent by a factor that changes slowly over the day: five
    times the days for the sharp flanks of the peaks, and one weekday's faulty days can't move them alone.
    """
    near, far = 15 // step_min, max(1, 60 // step_min)
    work = weekdays < 5
    shared = _smooth(_median_first(days[work]), near)
    rest = _smooth(_median_first(days[~work]), near)
    profile = np.empty((7, *days.shape[1:]))
    for weekday in range(7):
        common = shared if weekday < 5 else rest
        mine = weekdays == weekday
        profile[weekday] = common
        if mine.sum() >= OWN_WEEKDAY_WEEKS:
            own = _median_first(days[mine])
            if weekday < 5:
                own = common * (_smooth(own, far) + 0.5) / (_smooth(common, far) + 0.5)
            else:
                own = _smooth(own, near)
            profile[weekday] = np.where(np.isnan(own), common, own)
    # With working days only, or weekends only, the other kind is the best guess for a day to come.
    for ours, other in ((slice(0, 5), rest), (slice(5, 7), shared)):
        profile[ours] = np.where(np.isnan(profile[ours]), other, profile[ours])
    return profile


class _Chunk:
    """Some series of a table, from raw counts to marks."""

    def __init__(self, book: _Book, clock: _Clock, columns: slice, max_vph: float | None) -> None:
        self.book, self.clock, self.columns = book, clock, columns
        self.names = book.table.names[columns]
        self._find_impossible(max_vph)
        self._find_stuck()

    @property
    def clean(self) -> Floats:
        """Counts not yet found faulty, float64[n_interval, n]; NaN where they are, or missing."""
        reasons = self.book.reasons[:, self.columns]
        return np.where(_MARKS[reasons] >= Mark.BAD, np.nan, self.book.table.values[:, self.columns])

    def _tell(self, reason: Reason, runs: _RunsByColumn, what: str) -> None:
        self.book.tell_runs(reason, {k + self.columns.start: of for k, of in runs.items()}, what)

    def _find_impossible(self, max_vph: float | None) -> None:
        """Negative, infinite, fractions among whole numbers, more than the road can carry."""
        values = self.book.table.values[:, self.columns]
        per_hour = 60.0 / self.clock.step_min
        largest = PHYSICAL_VPH if max_vph is None else max_vph
        finite = np.isfinite(values)
        part = finite & (values != np.rint(np.where(finite, values, 0.0)))
        part &= part.sum(axis=0) <= FRACTIONS_MAX * finite.sum(axis=0)
        too_many = finite & (values * per_hour > largest)
        where = np.isinf(values) | (values < 0) | part | too_many
        self.book.mark(Reason.IMPOSSIBLE, where, self.columns)
        runs: _RunsByColumn = {}
        for k, first, last in _runs(where):
            value = values[first, k]
            if not np.isfinite(value):
                why = "not finite"
            elif value < 0:
                why = "negative"
            elif too_many[first, k]:
                why = f"{value * per_hour:,.0f} veh/h, above {largest:,.0f}"
            else:
                why = "a fraction among whole numbers"
            runs.setdefault(k, []).append((first, last, last - first + 1, f"count {value:g}: {why}"))
        self._tell(Reason.IMPOSSIBLE, runs, "impossible counts")

    def _equal_runs(self, values: Floats) -> tuple[Ints, Ints, Ints, Ints]:
        """Runs of equal counts, bridging short gaps: their first cell, length, and every cell's column and row."""
        columns, rows = np.nonzero(~np.isnan(values.T))
        flat = values[rows, columns]
        new = np.ones(len(flat), dtype=np.bool_)
        reach = 1 + BRIDGE_MIN // self.clock.step_min
        new[1:] = (flat[1:] != flat[:-1]) | (columns[1:] != columns[:-1]) | (np.diff(rows) > reach)
        starts = np.flatnonzero(new)
        return starts, np.diff(starts, append=len(flat)), columns, rows

    def _mark_runs(
        self, reason: Reason, hit: Flags, runs: tuple[Ints, Ints, Ints, Ints], details: list[str], what: str
    ) -> None:
        """Mark and tell the runs of `_equal_runs` that are hit, with a detail for each of them."""
        starts, lengths, columns, rows = runs
        cells = np.repeat(hit, lengths)
        where = np.zeros((len(self.clock.times), len(self.names)), dtype=np.bool_)
        where[rows[cells], columns[cells]] = True
        self.book.mark(reason, where, self.columns)
        found: _RunsByColumn = {}
        for run, detail in zip(np.flatnonzero(hit), details, strict=True):
            begin, n = starts[run], int(lengths[run])
            first, last = int(rows[begin]), int(rows[begin + n - 1])
            found.setdefault(int(columns[begin]), []).append((first, last, n, detail))
        self._tell(reason, found, what)

    def _find_stuck(self) -> None:
        """The same count above zero so often in a row that chance can't do it.

        The chance of one given count is at most about 1 / √(2 π count), that of a Poisson count at its mean.
        """
        values = self.clean
        runs = self._equal_runs(values)
        starts, lengths, columns, rows = runs
        value = values[rows[starts], columns[starts]]
        chance = np.minimum(MOST_LIKELY, 1.0 / np.sqrt(2.0 * np.pi * np.maximum(value, 1.0)))
        needed = 1.0 + np.log(CHANCE) / np.log(chance)
        hit = (value > 0) & (lengths >= needed)
        details = [f"{value[r]:g} counted {lengths[r]} times in a row" for r in np.flatnonzero(hit)]
        self._mark_runs(Reason.STUCK, hit, runs, details, "runs of one value")

    # ---- first pass: what each series usually does

    def learn_profile(self, holidays: Flags) -> None:
        """Set the profiles, and every day's level against them, without holidays and days of zeros."""
        clock = self.clock
        days = clock.grid(self.clean)
        present = ~np.isnan(days)
        enough = present.sum(axis=1) >= DAY_SHARE * clock.slots
        self.zero_days = enough & ~(np.nan_to_num(days) != 0).any(axis=1)
        days[np.broadcast_to(self.zero_days[:, None, :], days.shape)] = np.nan
        self.dead = self.zero_days.any(axis=0) & ~(np.nan_to_num(days) > 0).any(axis=(0, 1))
        ordinary = np.where(holidays[:, None, None], np.nan, days)
        if clock.n_days <= WINDOW_DAYS:
            self.centres = np.array([clock.n_days // 2])
        else:
            self.centres = np.arange(WINDOW_DAYS // 2, clock.n_days, WINDOW_EVERY_DAYS)
        reach = WINDOW_DAYS // 2 if len(self.centres) > 1 else clock.n_days
        self.profiles = []
        for centre in self.centres:
            window = slice(max(0, centre - reach), centre + reach + 1)
            self.profiles.append(_profile_of(ordinary[window], clock.weekdays[window], clock.step_min))
        expected = self.expected(clock.weekdays)
        self.parts = self.part_ratios(days, expected)
        self.sunday_parts = self.part_ratios(days, self.expected(np.full(clock.n_days, 6)))
        every = -(-len(self.book.table.names) // NETWORK_SAMPLE)
        # Copies: a view would keep all of the chunk in memory.
        self.sample = days[:, :, ::every].copy(), expected[:, :, ::every].copy()

    def expected(self, weekdays: Ints) -> Floats:
        """Counts of the profiles for every day and slot, float64[n_day, slots, n], each day as that weekday."""
        if len(self.profiles) == 1:
            return self.profiles[0][weekdays]
        days = np.arange(len(weekdays))
        upper = np.clip(np.searchsorted(self.centres, days), 1, len(self.centres) - 1)
        left, right = self.centres[upper - 1], self.centres[upper]
        share = np.clip((days - left) / (right - left), 0.0, 1.0)[:, None, None]
        stacked = np.stack(self.profiles)
        between: Floats = (1.0 - share) * stacked[upper - 1, weekdays] + share * stacked[upper, weekdays]
        return between

    def part_ratios(self, days: Floats, expected: Floats) -> Floats:
        """Log of counted over expected by part of the day, float64[n_day, n_part, n]; NaN where too few are expected.

        Slots that are missing are missing in both.
        """
        there = ~(np.isnan(days) | np.isnan(expected))
        counted = self.clock.by_part(np.where(there, days, 0.0))
        due = self.clock.by_part(np.where(there, expected, 0.0))
        return np.where(due >= EXPECTED_VEH, np.log((counted + 1.0) / (due + 1.0)), np.nan)

    # ---- second pass: what departs from it

    def judge(self, network: _Network) -> None:
        """Mark and tell everything that needs a profile."""
        clock = self.clock
        expected = self.expected(network.weekdays)
        self._find_zero_days(expected)
        self._find_zeros(expected, network)
        days = clock.grid(self.clean)
        ratios = self.part_ratios(days, expected)
        self._find_spikes(days, expected, ratios)
        self._find_shifted(clock.grid(self.clean), expected, network)
        # What a spike or another clock explains is no change of level.
        self._find_levels(self.part_ratios(clock.grid(self.clean), expected), expected, network)

    def _find_zero_days(self, expected: Floats) -> None:
        """Days of zeros where at least EXPECTED_VEH are due, and series that never counted anything."""
        clock = self.clock
        due = np.where(np.isnan(clock.grid(self.clean)), 0.0, np.nan_to_num(expected)).sum(axis=1)
        hit = self.zero_days & ((due >= EXPECTED_VEH) | self.dead)
        where = hit[clock.day] & ~np.isnan(self.clean)
        self.book.mark(Reason.ZERO_DAY, where, self.columns)
        found: _RunsByColumn = {}
        for k, first_day, last_day in _runs(hit):
            rows = np.flatnonzero((clock.day >= first_day) & (clock.day <= last_day))
            n_days = last_day - first_day + 1
            of = (
                "it never counted anything"
                if self.dead[k]
                else f"{due[first_day : last_day + 1, k].sum():,.0f} expected"
            )
            found.setdefault(k, []).append(
                (int(rows[0]), int(rows[-1]), int(where[rows, k].sum()), f"{n_days} day(s) of zeros, {of}")
            )
        self._tell(Reason.ZERO_DAY, found, "spells of zero days")

    def _find_zeros(self, expected: Floats, network: _Network) -> None:
        """Zeros in a row where EXPECTED_VEH vehicles are due in them, less where the whole network is quiet."""
        values = self.clean
        runs = self._equal_runs(values)
        starts, _, columns, rows = runs
        if not len(starts):
            return
        quiet = np.minimum(1.0, np.exp(network.part_level))[:, self.clock.part_of_slot]
        due = np.nan_to_num(self.clock.on_rows(expected)) * quiet[self.clock.day, self.clock.slot][:, None]
        total = np.add.reduceat(due[rows, columns], starts)
        hit = (values[rows[starts], columns[starts]] == 0) & (total >= EXPECTED_VEH)
        details = [f"zeros where {total[r]:,.0f} vehicles are expected" for r in np.flatnonzero(hit)]
        self._mark_runs(Reason.ZEROS, hit, runs, details, "runs of zeros")

    def _spread(self, residual: Floats, expected: Floats) -> Floats:
        """Usual size of the deviations by slot, in units of √(expected + 1), float64[slots, n], at least 1."""
        near = max(1, 30 // self.clock.step_min)
        size = _median_first(np.abs(residual) / np.sqrt(expected + 1.0))
        return np.maximum(1.0, np.nan_to_num(1.4826 * _smooth(size, near), nan=1.0))

    def _local(self, ratios: Floats, expected: Floats) -> Floats:
        """Expected counts at the level of the three parts of the day around, float64[n_day, slots, n]."""
        n_days, n_parts, n = ratios.shape
        level = ratios.reshape(n_days * n_parts, n)
        edge = np.full((1, n), np.nan)
        around = np.stack([np.vstack([edge, level[:-1]]), level, np.vstack([level[1:], edge])])
        factor = np.exp(np.nan_to_num(_median_first(around))).reshape(n_days, n_parts, n)
        return expected * factor[:, self.clock.part_of_slot]

    def _find_spikes(self, days: Floats, expected: Floats, ratios: Floats) -> None:
        """A count or two far from what is expected, and far by their own usual deviations."""
        clock = self.clock
        local = self._local(ratios, expected)
        spread = self._spread(days - local, local)
        counted, due = self.clean, clock.on_rows(local)
        z = (counted - due) / (spread[clock.slot] * np.sqrt(due + 1.0))
        far = (np.abs(z) >= SPIKE_Z) & (np.abs(counted - due) >= EXPECTED_VEH)
        far &= np.maximum(counted, due) + 1 >= SPIKE_FACTOR * (np.minimum(counted, due) + 1)
        where = np.zeros_like(far)
        found: _RunsByColumn = {}
        for k, first, last in _runs(far):
            if last - first + 1 > SPIKE_SLOTS:
                continue
            where[first : last + 1, k] = True
            detail = (
                f"{counted[first, k]:g} counted, {due[first, k]:.0f} expected, {z[first, k]:+.0f} deviations"
            )
            found.setdefault(k, []).append((first, last, last - first + 1, detail))
        self.book.mark(Reason.SPIKE, where, self.columns)
        self._tell(Reason.SPIKE, found, "spikes")

    def _find_levels(self, ratios: Floats, expected: Floats, network: _Network) -> None:
        """A level that jumps against the weeks before, and stays for hours or days."""
        clock = self.clock
        off = ratios - network.part_level[:, :, None]
        off[network.odd] = np.nan
        off -= _base(_day_level(off), clock.weekdays)[:, None, :]
        usual = _usual_step(off)
        z = off / np.maximum(usual[None], 1.0 / np.sqrt(np.maximum(clock.by_part(expected), 1.0)))
        n_days, n_parts, n = off.shape
        off, z, raw = (a.reshape(n_days * n_parts, n) for a in (off, z, ratios))
        known = ~np.isnan(off)
        # Clocks put back repeat slots, never whole parts of a day.
        part_of_row = np.maximum.accumulate(clock.day * n_parts + clock.part_of_slot[clock.slot])
        starts = np.searchsorted(part_of_row, np.arange(n_days * n_parts + 1))
        values, due = self.clean, clock.on_rows(expected)
        hit = np.zeros(values.shape, dtype=np.bool_)
        found: _RunsByColumn = {}
        for sign in (1.0, -1.0):
            strong = known & (sign * off >= np.log(LEVEL_FACTOR)) & (sign * z >= LEVEL_Z)
            kept = ~known | (sign * off >= np.log(LEVEL_KEPT))
            kept &= strong.any(axis=0)
            for k, begin, end in _runs(kept):
                inside = begin + np.flatnonzero(strong[begin : end + 1, k])
                if len(inside) < LEVEL_PARTS:
                    continue
                first, last = int(inside[0]), int(inside[-1])
                part = slice(first, last + 1)
                if 2 * len(inside) < known[part, k].sum():
                    continue
                now, factor = (float(np.exp(np.nanmedian(a[part, k]))) for a in (raw, off))
                better = np.abs(values[:, k] - due[:, k] * now / factor) - np.abs(
                    values[:, k] - due[:, k] * now
                )
                row, stop = _refined(
                    better,
                    (int(starts[max(first - 1, 0)]), int(starts[first + 1])),
                    (int(starts[last]), int(starts[min(last + 2, n_days * n_parts)])),
                )
                there = ~np.isnan(values[row:stop, k])
                hit[row:stop, k] |= there
                detail = (
                    f"{factor:.2g} times the level before, for {(stop - row) * clock.step_min / 60:.0f} h"
                )
                found.setdefault(k, []).append((row, stop - 1, int(there.sum()), detail))
        self.book.mark(Reason.LEVEL, hit, self.columns)
        self._tell(Reason.LEVEL, found, "jumps of level")

    def _find_shifted(self, days: Floats, expected: Floats, network: _Network) -> None:
        """Days that another clock explains far better than their own.

        Every day is laid over what the weeks before make it look like, at every lag and at its own level. The
        likelihoods of following days add up. Once what the network does is taken out first: an early peak
        everywhere is weather or a holiday. Once it is not, and more evidence is asked for: where many detectors
        share a clock, they are the network.
        """
        clock, n = self.clock, len(self.names)
        if clock.slots < SHIFT_MIN_SLOTS:
            return
        before = _weeks_before(days, expected, clock, network.odd)
        sheets = [_Laid.over(days, before, clock, network.odd, SHIFT_ALONE)]
        if network.large:
            sheets.append(_Laid.over(days, before * network.slot_level[:, :, None], clock, network.odd, 0.0))
        used = np.zeros((clock.n_days, n), dtype=np.bool_)
        hit = np.zeros((len(clock.times), n), dtype=np.bool_)
        found: _RunsByColumn = {}
        spells: dict[int, list[tuple[int, int, int, float]]] = {}
        columns = np.arange(n)
        for _ in range(SHIFT_ROUNDS):
            tried = [_best_shift(sheet, columns, used[:, columns]) for sheet in sheets]
            best = np.argmax([score for score, *_ in tried], axis=0)
            chosen = [j for j in range(len(columns)) if tried[best[j]][0][j] >= SHIFT_SCORE]
            for j in chosen:
                k, sheet = int(columns[j]), sheets[best[j]]
                score, lag, begin, end = (a[j].item() for a in tried[best[j]])
                used[begin : end + 1, k] = True
                gain = sheet.gain(k, lag)
                by_slot = gain[begin : end + 1].sum(axis=0)
                by_hour = np.add.reduceat(by_slot, np.arange(0, clock.slots, max(1, 60 // clock.step_min)))
                if by_hour.max() > SHIFT_HOUR * by_hour.sum():
                    continue
                flat = np.append(clock.on_rows(gain[:, :, None])[:, 0], 0.0)
                rows = np.searchsorted(clock.day, [begin - 1, begin + 1, end, end + 2])
                row, stop = _refined(flat, (int(rows[0]), int(rows[1])), (int(rows[2]), int(rows[3])))
                if (stop - row) * clock.step_min >= SHIFT_LEAST_MIN:
                    spells.setdefault(k, []).append((row, stop, lag, score))
            columns = columns[chosen]
            if not len(columns):
                break
        for k, of_series in spells.items():
            for row, stop, slots, favour in _joined(of_series, SHIFT_BRIDGE_DAYS * clock.slots):
                present = ~np.isnan(self.book.table.values[row:stop, self.columns.start + k])
                hit[row:stop, k] |= present
                detail = (
                    f"{abs(slots)} slot(s), {abs(slots) * clock.step_min} min, too {'late' if slots > 0 else 'early'} "
                    f"for {(stop - row) * clock.step_min / 60:.0f} h; log likelihood {favour:.0f} in favour"
                )
                found.setdefault(k, []).append((row, stop - 1, int(present.sum()), detail))
        self.book.mark(Reason.SHIFTED, hit, self.columns)
        self._tell(Reason.SHIFTED, found, "shifts of the clock")


def _joined(spells: list[tuple[int, int, int, float]], reach: int) -> Iterator[tuple[int, int, int, float]]:
    """Spells (first row, stop, lag, score) in order, those of one lag and at most `reach` rows apart as one.

    A weekend is flat and says little of a clock, but nobody puts one right for a weekend.
    """
    held: tuple[int, int, int, float] | None = None
    for row, stop, lag, score in sorted(spells):
        if held and held[2] == lag and row - held[1] <= reach:
            held = (held[0], max(stop, held[1]), lag, held[3] + score)
            continue
        if held:
            yield held
        held = (row, stop, lag, score)
    if held:
        yield held


def _refined(better: Floats, begins: tuple[int, int], ends: tuple[int, int]) -> tuple[int, int]:
    """First row, and the row after the last, between which `better` float64[n_row] adds up to the most.

    `begins` and `ends` bound the two, both inclusive.
    """
    total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(better))])
    first = begins[0] + int(np.argmin(total[begins[0] : begins[1] + 1]))
    low = max(ends[0], first + 1)
    return first, low + int(np.argmax(total[low : ends[1] + 1]))


def _usual_step(off: Floats) -> Floats:
    """Usual size (one standard deviation) of deviations float64[n_day, m, n] of days, float64[m, n]; 0 if unknown.

    From the steps between following days: a level or a clock that jumps once changes one step, but half of
    all deviations.
    """
    steps: Floats = np.abs(np.diff(off, axis=0))
    usual: Floats = np.nan_to_num(1.4826 / np.sqrt(2.0) * _median_first(steps))
    return usual


def _day_level(parts: Floats) -> Floats:
    """Median of a day's parts, float64[n_day, n]."""
    return _median_first(parts.transpose(1, 0, 2))


def _base(level: Floats, weekdays: Ints) -> Floats:
    """Level that each day is compared with, float64[n_day, n], from levels of days; 0 where there is none.

    In less than three weeks a weekday has no history, and all working days share theirs.
    """
    n_days = len(level)
    if n_days < 7 * OWN_WEEKDAY_WEEKS:
        base = np.empty_like(level)
        for work in (True, False):
            alike = (weekdays < 5) == work
            base[alike] = _median_first(level[alike])
        return np.nan_to_num(base)
    days = np.arange(n_days)
    back = np.arange(1, BASE_WEEKS + 1)[:, None]
    # The first two weeks have little before them: they are compared with the first weeks of all.
    others = np.where(days < FIRST_DAYS, days % 7 + 7 * (back - 1), days - 7 * back)
    others = np.where(others < n_days, others, -1)
    before = level[np.maximum(others, 0)]
    before[others < 0] = np.nan
    return np.nan_to_num(_median_first(before))


def _weeks_before(days: Floats, expected: Floats, clock: _Clock, odd: Flags) -> Floats:
    """What each day should look like by the four weeks before it, float64[n_day, slots, n].

    A profile of all weeks lies between two clocks if one was shifted for half of the time; this one lags
    behind, and so says which came first. The first two weeks are compared with themselves. Sharp flanks come
    from the days before, what tells a Monday from a Friday from the profile `expected`, as does all where there
    are too few days.
    """
    pattern = expected.copy()
    n_days = len(days)
    if n_days <= FIRST_DAYS:
        return pattern
    # Two hours: the profile's own weekdays may hold a shift by an hour, which must not come in by this way.
    near, far = 15 // clock.step_min, max(1, 120 // clock.step_min)
    level = np.nansum(np.where(np.isnan(expected), np.nan, days), axis=1) + 1.0
    level /= np.nansum(np.where(np.isnan(days), np.nan, expected), axis=1) + 1.0
    work = clock.weekdays < 5
    for begin in range(0, n_days, 7):
        here = np.arange(begin, min(begin + 7, n_days))
        for kind in (True, False):
            # Three weekends hold as little as one would compare with: six days.
            last = max(begin, FIRST_DAYS if kind else FIRST_DAYS + 7)
            window = np.arange(max(0, last - 7 * BASE_WEEKS), min(last, n_days))
            before = window[~odd[window] & (work[window] == kind)]
            now = here[work[here] == kind]
            if len(before) < FEWEST_DAYS or not len(now):
                continue
            usual = _smooth(_median_first(days[before] / level[before, None]), near)
            base = _smooth(expected[before].mean(axis=0), far)
            bend = (_smooth(expected[now], far, axis=1) + 0.5) / (base + 0.5)
            pattern[now] = np.where(np.isnan(usual * bend), pattern[now], usual * bend)
    return pattern


def _costs_by_lag(seen: Floats, pattern: Floats, weight: Floats) -> Floats:
    """Weighted square distance of each day to its pattern at each lag, float64[n_day, slots, n].

    cost[l] = Σ w[s] (seen[s] − pattern[s − l])², round the day: cost[1] is what is left if the clock is one slot late.
    """
    n = seen.shape[1]
    conj = np.conj(np.fft.rfft(pattern, axis=1))
    cross = np.fft.irfft(np.fft.rfft(weight * seen, axis=1) * conj, n=n, axis=1)
    conj = np.conj(np.fft.rfft(pattern**2, axis=1))
    square = np.fft.irfft(np.fft.rfft(weight, axis=1) * conj, n=n, axis=1)
    cost: Floats = (weight * seen**2).sum(axis=1, keepdims=True) - 2.0 * cross + square
    return cost


class _Laid(NamedTuple):
    """Days laid over their patterns, in square roots, whose noise is even over the day.

    seen, pattern, weight : float64[n_day, slots, n]; cost : the same, by lag (`_costs_by_lag`)
    slots_seen : int64[n_day, n]; handicap : what a score has to bring beyond SHIFT_SCORE
    """

    seen: Floats
    pattern: Floats
    weight: Floats
    cost: Floats
    slots_seen: Ints
    handicap: float

    @classmethod
    def over(cls, days: Floats, due: Floats, clock: _Clock, odd: Flags, handicap: float) -> _Laid:
        """Lay days over the counts due, each at its own level; odd and half-empty days say nothing."""
        there = ~(np.isnan(days) | np.isnan(due))
        there &= (there.sum(axis=1) >= DAY_SHARE * clock.slots)[:, None] & ~odd[:, None, None]
        day_sum, due_sum = (np.where(there, a, 0.0).sum(axis=1) for a in (days, due))
        level = np.where(due_sum >= EXPECTED_VEH, (day_sum + 1.0) / (due_sum + 1.0), 1.0)
        pattern = np.sqrt(np.nan_to_num(due) * level[:, None, :] + 0.375)
        seen = np.where(there, np.sqrt(np.nan_to_num(days) + 0.375), 0.0)
        off = np.where(there, seen - pattern, np.nan)
        spread = np.maximum(1.0, 2.0 * _smooth(_usual_step(off), max(1, 30 // clock.step_min)))
        weight = there * 4.0 / spread**2
        cost = _costs_by_lag(seen, pattern, weight)
        return cls(seen, pattern, weight, cost, there.sum(axis=1), handicap)

    def gain(self, column: int, lag: int) -> Floats:
        """Log likelihood that each slot of a series gives to a lag, float64[n_day, slots]."""
        seen, pattern = self.seen[:, :, column], self.pattern[:, :, column]
        other = np.roll(pattern, lag, axis=1)
        return 0.5 * self.weight[:, :, column] * ((seen - pattern) ** 2 - (seen - other) ** 2)


def _best_shift(sheet: _Laid, columns: Ints, used: Flags) -> tuple[Floats, Ints, Ints, Ints]:
    """Best score, lag, first and last day of a spell at another lag, one for each of these series."""
    cost, slots_seen = sheet.cost[:, :, columns], sheet.slots_seen[:, columns]
    _, slots, n = cost.shape
    best, best_lag = np.zeros(n), np.zeros(n, dtype=np.int64)
    best_begin, best_end = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    for lag in range(-(slots // 2), slots // 2):
        if lag == 0:
            continue
        other = cost[:, lag % slots]
        # A broken day may fit another lag less badly; a shifted one fits it well.
        fits = other <= SHIFT_FIT * slots_seen
        gain = np.where(slots_seen > 0, np.where(fits, 0.5 * (cost[:, 0] - other), 0.0) - SHIFT_A_DAY, 0.0)
        gain[used] = -1e9
        total = np.vstack([np.zeros((1, n)), np.cumsum(gain, axis=0)])
        rise = total[1:] - np.minimum.accumulate(total, axis=0)[:-1]
        score = rise.max(axis=0)
        for k in np.flatnonzero((score > best) & (score >= SHIFT_SCORE)):
            best[k], best_lag[k] = score[k], lag
            best_end[k] = np.argmax(rise[:, k])
            best_begin[k] = np.argmin(total[: best_end[k] + 1, k])
    far = SHIFT_FAR * (np.minimum(np.abs(best_lag), 3) - 1)
    return best - far - sheet.handicap, best_lag, best_begin, best_end


# --------------------------------------------------------------------------------------------------- network


class _Network:
    """What all series do together: levels by part and slot of the day, and days unlike their weekday.

    Fields
    ------
    large : whether there are NETWORK_MIN series, and so a network
    odd : bool[n_day], holidays and unusual days
    unusual : bool[n_day]; `departing` the share of series that depart
    weekdays : int64[n_day], the weekday whose profile a day follows: on odd days Sunday's where it fits better
    part_level : float64[n_day, n_part], log of counted over expected, median over the series
    slot_level : float64[n_day, slots], counted over expected, likewise
    """

    def __init__(self, clock: _Clock, chunks: list[_Chunk], holidays: Flags) -> None:
        own = np.concatenate([c.parts for c in chunks], axis=2)
        sunday = np.concatenate([c.sunday_parts for c in chunks], axis=2)
        self.departing = _departing(own, clock)
        self.unusual = (self.departing > UNUSUAL_SHARE) & ~holidays
        self.odd = self.unusual | holidays
        self.weekdays = clock.weekdays.copy()
        for day in np.flatnonzero(self.odd):
            if np.nansum(np.abs(sunday[day])) < np.nansum(np.abs(own[day])):
                self.weekdays[day] = 6
                own[day] = sunday[day]
        n_days, n_parts, n = own.shape
        self.large = n >= NETWORK_MIN
        self.part_level = np.zeros((n_days, n_parts))
        self.slot_level = np.ones((n_days, clock.slots))
        if self.large:
            self.part_level = np.nan_to_num(_median_first(own.transpose(2, 0, 1)))
            ratios = []
            for days, expected in (c.sample for c in chunks):
                ratios.append((days + 1.0) / (_weeks_before(days, expected, clock, self.odd) + 1.0))
            middle = _median_first(np.concatenate(ratios, axis=2).transpose(2, 0, 1))
            middle = _smooth(middle, 15 // clock.step_min, axis=1)
            self.slot_level = np.clip(np.nan_to_num(middle, nan=1.0), 0.2, 5.0)


def _departing(parts: Floats, clock: _Clock) -> Floats:
    """Share of series that spend each day unlike their weekday, float64[n_day]; 0 where too few series say."""
    n_days, n_parts, n = parts.shape
    if n < UNUSUAL_MIN_SERIES or n_days < UNUSUAL_MIN_DAYS:
        return np.zeros(n_days)
    usual = np.maximum(LEAST_SPREAD, 1.4826 * np.nan_to_num(_median_first(np.abs(parts))))
    square = np.minimum((parts / usual) ** 2, 25.0)
    known = ~np.isnan(square)
    there = known.sum(axis=1)
    mean = np.where(known, square, 0.0).sum(axis=1) / np.maximum(there, 1)
    judged = there >= max(1, n_parts // 2)
    departs = judged & (mean >= UNUSUAL_Z2)
    say = judged.sum(axis=1)
    return np.where(say >= UNUSUAL_MIN_SERIES, departs.sum(axis=1) / np.maximum(say, 1), 0.0)


def _tell_days(book: _Book, clock: _Clock, network: _Network, holidays: Flags, calendar: Calendar) -> None:
    """Mark and tell unusual days and holidays."""
    for day in np.flatnonzero(network.odd):
        rows = np.flatnonzero(clock.day == day)
        if not len(rows):
            continue
        where = np.zeros(book.reasons.shape, dtype=np.bool_)
        where[rows] = True
        if holidays[day]:
            reason, detail = Reason.HOLIDAY, str(calendar.find_holiday(clock.dates[day]))
        else:
            reason = Reason.UNUSUAL_DAY
            alike = ", much like a Sunday" if network.weekdays[day] != clock.weekdays[day] else ""
            detail = (
                f"{100 * network.departing[day]:.0f} % of all series depart from their {_WEEKDAY[clock.weekdays[day]]}"
                f"{alike}; if it is a holiday or an event, add it to the calendar"
            )
        book.mark(reason, where)
        book.tell("", reason, int(rows[0]), int(rows[-1]), len(rows), detail)
