"""Screening: faults put into sound counts are found where they are, sound counts are left alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import pytest

from signals.demand import screening
from signals.demand.calendar import Calendar
from signals.demand.screening import Screened, expected, screen, summary
from signals.demand.screening.findings import LISTED
from signals.model.counts import CountTable, Finding, Mark, Reason
from tests.signals.demand.city import boroondara

MONDAY = "2024-01-01T00:00"
DAYS = 31
SERIES = 24
FAULTY = (1, 9, 17)  # an eighth of the series, so that the network stays sound


def sound_counts(
    n: int = SERIES, days: int = DAYS, step_min: int = 15, seed: int = 3, first_weekday: int = 0
) -> np.ndarray:
    """Counts [days x slots, n] of two-peaked working days and flat weekends, with overdispersion and weather.

    Negative binomial (a Poisson count of a gamma rate with a deviation of 8 %), times a factor of each day
    that all series share. Volumes are those of Boroondara: some 100 vehicles in 15 minutes on average, 300 to 500
    in the peaks.
    """
    rng = np.random.default_rng(seed)
    slots = 1440 // step_min
    hour = (np.arange(slots) + 0.5) * step_min / 60

    def peak(at: float, width: float) -> np.ndarray:
        return np.exp(-0.5 * ((hour - at) / width) ** 2)[:, None]

    morning, evening = rng.uniform(0.3, 1.5, n), rng.uniform(0.3, 1.5, n)
    volume = rng.uniform(150.0, 350.0, n) * step_min / 15
    working = 0.05 + morning * peak(8.2, 0.9) + evening * peak(17.4, 1.3) + 0.5 * peak(13.0, 3.5)
    weekend = 0.06 + 0.7 * peak(13.5, 3.8) * np.ones(n)
    rows = []
    for day in range(days):
        shape = working if (day + first_weekday) % 7 < 5 else weekend
        rows.append(shape * volume * rng.normal(1.0, 0.03))
    mean = np.concatenate(rows)
    return rng.poisson(mean * rng.gamma(150.0, 1 / 150.0, mean.shape)).astype(np.float64)


def table_of(values: np.ndarray, start: str = MONDAY, step_min: int = 15, **more: str) -> CountTable:
    names = tuple(f"d{k:02}" for k in range(values.shape[1]))
    return CountTable(names, np.datetime64(start, "m"), step_min, values, **more)  # type: ignore[arg-type]


def of(screened: Screened, reason: Reason, series: str | None = None) -> list[Finding]:
    return [f for f in screened.findings if f.reason == reason and series in (None, f.series)]


def share(screened: Screened, reason: Reason, rows: slice, column: int) -> float:
    return float((screened.table.reasons[rows, column] == reason).mean())


def bad_elsewhere(screened: Screened, columns: tuple[int, ...]) -> float:
    """Share of the slots of the other series that are bad or doubtful."""
    others = np.delete(screened.table.marks, columns, axis=1)
    return float(np.isin(others, (Mark.DOUBTFUL, Mark.BAD)).mean())


# ------------------------------------------------------------------------------------------- nothing is wrong


@pytest.mark.parametrize(
    ("days", "step_min", "n"), [(2, 15, 3), (5, 15, 1), (31, 15, 24), (31, 5, 8), (31, 60, 24), (150, 15, 6)]
)
def test_sound_counts_are_left_alone(days: int, step_min: int, n: int) -> None:
    values = sound_counts(n, days, step_min)
    screened = screen(table_of(values, step_min=step_min))
    assert (screened.table.marks != Mark.GOOD).mean() < 0.0005
    np.testing.assert_array_equal(screened.table.values, values)


@pytest.mark.parametrize("step_min", [120, 180, 480, 1440])
def test_any_step_that_divides_a_day(step_min: int) -> None:
    screened = screen(table_of(sound_counts(4, 28, step_min), step_min=step_min))
    assert (screened.table.marks != Mark.GOOD).mean() < 0.01


def test_tables_of_nothing() -> None:
    assert screen(table_of(np.empty((0, 2)))).findings == ()
    assert screen(table_of(np.empty((96, 0)))).findings == ()
    silent = screen(table_of(np.full((96, 2), np.nan)))
    assert set(silent.table.reasons.flat) == {Reason.GAP}
    assert [(f.series, f.slots) for f in silent.findings] == [("", 96)]


def test_slow_change_is_no_fault() -> None:
    """A quarter more within two months, and a season, are what profiles follow."""
    values = sound_counts(6, 180)
    day = np.arange(len(values)) / 96
    drift = (1 + 0.3 * np.sin(2 * np.pi * day / 180))[:, None]
    screened = screen(table_of(np.rint(values * drift)))
    assert (screened.table.marks != Mark.GOOD).mean() < 0.002


# --------------------------------------------------------------------------------------------- injected faults


def test_random_gaps() -> None:
    values = sound_counts()
    gone = np.random.default_rng(5).random(values.shape) < 0.1
    values[gone] = np.nan
    screened = screen(table_of(values))
    assert (screened.table.reasons[gone] == Reason.GAP).all()
    assert (screened.table.marks[~gone] != Mark.GOOD).mean() < 0.0005
    gaps = of(screened, Reason.GAP)
    # Told in lines that one can read, and yet with every slot.
    assert sum(f.slots for f in gaps) == gone.sum()
    assert len(gaps) <= SERIES * (LISTED + 1)


def test_a_gap_of_all_series_is_told_once() -> None:
    values = sound_counts()
    values[1000:1010] = np.nan
    values[1005:1020, 3] = np.nan
    screened = screen(table_of(values))
    gaps = of(screened, Reason.GAP)
    assert [(f.series, f.slots) for f in gaps] == [("", 10), ("d03", 10)]
    assert gaps[0].first == np.datetime64(MONDAY) + np.timedelta64(15 * 1000, "m")


@pytest.mark.parametrize("length", [20, 96, 12 * 96])
def test_a_stuck_detector(length: int) -> None:
    values = sound_counts()
    rows = slice(10 * 96 + 32, 10 * 96 + 32 + length)
    for k in FAULTY:
        values[rows, k] = values[rows.start, k]
    screened = screen(table_of(values))
    for k in FAULTY:
        assert share(screened, Reason.STUCK, rows, k) == 1.0
        assert len(of(screened, Reason.STUCK, f"d{k:02}")) == 1
    assert bad_elsewhere(screened, FAULTY) < 0.0005


def test_stuck_over_gaps() -> None:
    values = sound_counts()
    rows = slice(960, 1100)
    values[rows, 2] = 37.0
    values[960:1100:7, 2] = np.nan
    screened = screen(table_of(values))
    assert len(of(screened, Reason.STUCK, "d02")) == 1
    assert of(screened, Reason.STUCK, "d02")[0].slots == 120


@pytest.mark.parametrize("hour", [7, 12, 18])
def test_a_dead_hour(hour: int) -> None:
    values = sound_counts()
    rows = slice(9 * 96 + 4 * hour, 9 * 96 + 4 * hour + 4)
    for k in FAULTY:
        values[rows, k] = 0.0
    screened = screen(table_of(values))
    for k in FAULTY:
        assert share(screened, Reason.ZEROS, rows, k) == 1.0
    assert (screened.table.marks != Mark.GOOD).sum() < 4 * len(FAULTY) + 10


def test_dead_days_and_a_dead_detector() -> None:
    values = sound_counts()
    values[9 * 96 : 11 * 96, 4] = 0.0
    values[:, 5] = 0.0
    screened = screen(table_of(values))
    assert share(screened, Reason.ZERO_DAY, slice(9 * 96, 11 * 96), 4) == 1.0
    assert share(screened, Reason.ZERO_DAY, slice(0, None), 5) == 1.0
    (never,) = of(screened, Reason.ZERO_DAY, "d05")
    assert "never counted" in never.detail


def test_quiet_roads_may_count_nothing() -> None:
    """Three vehicles a day: zero for days by chance, at night always."""
    values = np.random.default_rng(2).poisson(3 / 96, (31 * 96, 6)).astype(float)
    screened = screen(table_of(values))
    assert (screened.table.marks == Mark.GOOD).all()


@pytest.mark.parametrize("factor", [2.0, 0.5])
@pytest.mark.parametrize(
    ("begin", "end"), [(15 * 96, 31 * 96), (15 * 96 + 40, 18 * 96 + 40), (15 * 96, 16 * 96)]
)
def test_a_jump_of_level(factor: float, begin: int, end: int) -> None:
    values = sound_counts()
    for k in FAULTY:
        values[begin:end, k] = np.rint(factor * values[begin:end, k])
    screened = screen(table_of(values))
    for k in FAULTY:
        # After some two weeks the new level is the normal one.
        assert share(screened, Reason.LEVEL, slice(begin, min(end, begin + 12 * 96)), k) > 0.8
        # Twice the few vehicles of a night is chance: the edges are sharp by day only.
        assert share(screened, Reason.LEVEL, slice(begin + 28, min(end, begin + 80)), k) > 0.95
        assert share(screened, Reason.LEVEL, slice(0, begin - 24), k) < 0.005
    assert (screened.table.marks[begin:end, FAULTY] == Mark.BAD).mean() < 0.01
    assert bad_elsewhere(screened, FAULTY) < 0.0005


def test_a_level_doubled_for_an_afternoon() -> None:
    values = sound_counts()
    begin, end = 16 * 96 + 48, 16 * 96 + 76
    values[begin:end, 3] *= 2
    (jump,) = of(screen(table_of(values)), Reason.LEVEL, "d03")
    first = np.datetime64(MONDAY) + np.timedelta64(15 * begin, "m")
    assert abs(jump.first - first) <= np.timedelta64(60, "m")
    assert abs(jump.slots - (end - begin)) <= 6
    assert "2 times" in jump.detail or "1.9" in jump.detail or "2.1" in jump.detail


MIDDLE = (15 * 96, 31 * 96)
THREE_DAYS = (15 * 96 + 40, 18 * 96 + 40)
TWO_DAYS = (16 * 96, 18 * 96)
ONE_DAY = (16 * 96, 17 * 96)


@pytest.mark.parametrize(
    ("lag", "begin", "end"),
    [(lag, *spell) for lag in (1, -1, 2, 4, -4) for spell in (MIDDLE, THREE_DAYS, TWO_DAYS)]
    + [(lag, *ONE_DAY) for lag in (2, -2, 4, -4, 20)],
)
def test_a_shifted_clock(lag: int, begin: int, end: int) -> None:
    """By one slot, from the middle of the data on: the hardest that is asked."""
    values = sound_counts()
    for k in FAULTY:
        values[begin:end, k] = np.roll(values[:, k], lag)[begin:end]
    screened = screen(table_of(values))
    for k in FAULTY:
        found = max(of(screened, Reason.SHIFTED, f"d{k:02}"), key=lambda f: f.slots)
        slots = int(found.detail.split()[0])
        assert abs(slots - abs(lag)) <= (abs(lag) > 1)
        assert f"{15 * slots} min, too {'late' if lag > 0 else 'early'}" in found.detail
        assert share(screened, Reason.SHIFTED, slice(begin, min(end, begin + 12 * 96)), k) > 0.6
        # Nights and Sundays are flat, so that a spell may seem to begin before.
        assert share(screened, Reason.SHIFTED, slice(0, begin - 96), k) < 0.03
    assert bad_elsewhere(screened, FAULTY) < 0.0005


def test_a_clock_shifted_by_three_slots_of_five_minutes() -> None:
    values = sound_counts(10, 31, 5)
    begin, end = 15 * 288, 20 * 288
    values[begin:end, 3] = np.roll(values[:, 3], 3)[begin:end]
    screened = screen(table_of(values, step_min=5))
    assert share(screened, Reason.SHIFTED, slice(begin, end), 3) > 0.7  # the fifth day is a flat Saturday
    assert {f.series for f in of(screened, Reason.SHIFTED)} == {"d03"}


def test_spikes_and_what_is_none() -> None:
    values = sound_counts()
    for k in FAULTY:
        values[1200 + k, k] = 900.0
        values[1700 + k : 1702 + k, k] = 1500.0
    # A crowd of one hour, twice the usual count, is traffic.
    values[8 * 96 + 70 : 8 * 96 + 74, 2] = np.rint(1.8 * values[8 * 96 + 70 : 8 * 96 + 74, 2])
    screened = screen(table_of(values))
    spikes = of(screened, Reason.SPIKE)
    assert {f.series for f in spikes} == {f"d{k:02}" for k in FAULTY}
    assert sum(f.slots for f in spikes) == 3 * len(FAULTY)
    assert "900 counted" in next(f for f in spikes if f.slots == 1).detail


def test_impossible_counts() -> None:
    values = sound_counts()
    values[500, 0], values[600, 1], values[700, 2], values[800, 3] = -1.0, np.inf, 12.5, 6000.0
    values[:, 4] *= 0.7  # an estimate: fractions are its nature
    screened = screen(table_of(values))
    where = np.argwhere(screened.table.reasons == Reason.IMPOSSIBLE).tolist()
    assert where == [[500, 0], [600, 1], [700, 2], [800, 3]]
    assert [f.detail.split(": ")[1] for f in of(screened, Reason.IMPOSSIBLE)][:3] == [
        "negative",
        "not finite",
        "a fraction among whole numbers",
    ]
    assert np.isinf(screened.table.values[600, 1])
    low = screen(table_of(values), max_vph=100.0)
    assert (low.table.reasons[values * 4 > 100.0] == Reason.IMPOSSIBLE).all()


@pytest.mark.parametrize("day", [2, 9, 17, 24])
@pytest.mark.parametrize("n", [4, SERIES])
def test_a_holiday_that_nobody_listed(day: int, n: int) -> None:
    values = sound_counts(n)
    sunday = 6 + 7 * (day // 7) if day < 28 else 27
    values[day * 96 : (day + 1) * 96] = values[sunday * 96 : (sunday + 1) * 96]
    screened = screen(table_of(values))
    (unusual,) = of(screened, Reason.UNUSUAL_DAY)
    assert (unusual.series, unusual.slots) == ("", 96)
    assert unusual.first == np.datetime64(MONDAY) + np.timedelta64(day, "D")
    assert "much like a Sunday" in unusual.detail
    assert (screened.table.reasons[day * 96 : (day + 1) * 96] == Reason.UNUSUAL_DAY).mean() > 0.99
    assert (screened.table.marks == Mark.BAD).mean() < 0.0005

    listed = screen(table_of(values), Calendar(own_days={date(2024, 1, 1 + day): "town fair"}))
    assert of(listed, Reason.UNUSUAL_DAY) == []
    (holiday,) = of(listed, Reason.HOLIDAY)
    assert (holiday.series, holiday.detail, holiday.slots) == ("", "town fair", 96)
    assert (listed.table.marks[day * 96 : (day + 1) * 96] == Mark.GOOD).mean() > 0.99


def test_faults_are_found_on_holidays_too() -> None:
    values = sound_counts()
    values[10 * 96 : 11 * 96] = values[6 * 96 : 7 * 96]
    values[10 * 96 + 44 : 10 * 96 + 60, 3] = 0.0
    screened = screen(table_of(values), Calendar(own_days={date(2024, 1, 11): "town fair"}))
    assert share(screened, Reason.ZEROS, slice(10 * 96 + 44, 10 * 96 + 60), 3) == 1.0
    assert screened.table.reasons[10 * 96 + 30, 3] == Reason.HOLIDAY


# --------------------------------------------------------------------------------------------- clocks, readers


def test_days_of_92_and_100_slots() -> None:
    """Melbourne put its clocks back on 7 April 2024 and forward on 6 October 2024, both Sundays."""
    sunday = {"back": ("2024-03-24T13:00", 13, 100), "forward": ("2024-09-22T14:00", 13, 92)}
    for start, _, length in sunday.values():
        table = table_of(sound_counts(8, 28, first_weekday=0), start, timezone="Australia/Melbourne")
        local = table.local_times
        # Counts by the local clock, so that the day of another length is one like all others.
        of_slot = sound_counts(8, 29, first_weekday=0)
        day = (local.astype("datetime64[D]") - local[0].astype("datetime64[D]")).astype(int)
        slot = (local - local.astype("datetime64[D]")).astype(int) // 15
        table = table_of(of_slot[day * 96 + slot], start, timezone="Australia/Melbourne")
        assert length in np.bincount(day)
        screened = screen(table)
        assert (screened.table.marks == Mark.GOOD).all()
        assert of(screened, Reason.CLOCK_SKIPPED) == []


def test_a_fault_in_the_hour_that_comes_twice() -> None:
    start = "2024-03-24T13:00"
    table = table_of(sound_counts(8, 28), start, timezone="Australia/Melbourne")
    twice = np.flatnonzero(table.local_times == np.datetime64("2024-04-07T02:30"))
    assert len(twice) == 2
    for row in twice:
        values = table.values.copy()
        values[row, 3] = 700.0
        screened = screen(table_of(values, start, timezone="Australia/Melbourne"))
        assert screened.table.reasons[row, 3] == Reason.SPIKE


def test_the_hour_that_a_naive_clock_skips() -> None:
    values = sound_counts(12, 35)  # from Monday 2 September 2024: 29 September is a Sunday, as 6 October
    start = "2024-09-02T00:00"
    day = 27
    rows = slice(day * 96 + 8, day * 96 + 12)
    values[rows] = np.nan
    screened = screen(table_of(values, start))
    assert (screened.table.reasons[rows] == Reason.CLOCK_SKIPPED).all()
    (skipped,) = of(screened, Reason.CLOCK_SKIPPED)
    assert (skipped.series, skipped.slots) == ("", 4)
    assert "daylight saving" in skipped.detail
    assert of(screened, Reason.GAP) == []


@pytest.mark.parametrize(
    ("start", "first", "count"),
    [
        ("2024-09-02T00:00", 26 * 96 + 8, 4),  # a Saturday
        ("2024-09-02T00:00", 27 * 96 + 8, 6),  # an hour and a half
        ("2024-09-02T00:00", 27 * 96 + 40, 4),  # at ten in the morning
        ("2024-06-03T00:00", 27 * 96 + 8, 4),  # in June
    ],
)
def test_other_gaps_are_gaps(start: str, first: int, count: int) -> None:
    values = sound_counts(12, 35)
    values[first : first + count] = np.nan
    screened = screen(table_of(values, start))
    assert set(screened.table.reasons[first : first + count].flat) == {Reason.GAP}


def test_what_the_reader_marked_is_kept_and_told() -> None:
    values = sound_counts()
    reasons = np.zeros(values.shape, dtype=np.uint8)
    reasons[100:103, 2] = Reason.DUPLICATE
    reasons[200, 2] = Reason.LATE
    reasons[300, 3] = Reason.DUPLICATE
    reasons[400, 4] = Reason.LATE
    values[300, 3] = 2000.0
    table = CountTable(table_of(values).names, np.datetime64(MONDAY), 15, values, reasons)
    calendar = Calendar(own_days={date(2024, 1, 5): "town fair"})
    screened = screen(table, calendar)
    found = screened.table.reasons
    assert set(found[100:103, 2]) == {Reason.DUPLICATE}
    assert found[200, 2] == Reason.LATE
    assert found[300, 3] == Reason.SPIKE
    assert found[400, 4] == Reason.LATE  # a holiday is no worse
    assert found[401, 4] == Reason.HOLIDAY
    assert [f.slots for f in of(screened, Reason.DUPLICATE)] == [3, 1]
    assert len(of(screened, Reason.LATE)) == 2


def test_findings_are_sorted_and_fit_for_json() -> None:
    values = sound_counts()
    values[1000:1040, 9] = 11.0
    values[500:540, 9] = 13.0
    values[700:720] = np.nan
    values[900, 1] = -3
    screened = screen(table_of(values))
    keys = [(f.series, f.first) for f in screened.findings]
    assert keys == sorted(keys)
    assert keys[0][0] == ""
    assert {f.to_json()["mark"] for f in screened.findings} == {"missing", "bad"}


def test_facts_of_each_series() -> None:
    values = sound_counts()
    values[:5, 0] = np.nan
    values[1000:1040, 0] = 11.0
    values[:, 1] = np.nan
    facts = summary(screen(table_of(values)))
    assert [f.series for f in facts] == [f"d{k:02}" for k in range(SERIES)]
    first, silent = facts[0], facts[1]
    assert (first.missing, first.bad, first.slots) == (5, 40, DAYS * 96)
    assert first.good + first.doubtful + first.bad + first.missing == first.slots
    assert first.first == np.datetime64("2024-01-01T01:15")
    assert first.reasons == {Reason.STUCK: 40, Reason.GAP: 5}
    assert list(first.reasons) == [Reason.STUCK, Reason.GAP]
    assert silent.first is None
    assert silent.to_json()["reasons"] == {"gap": DAYS * 96}


@pytest.mark.parametrize("sample", [5, expected.NETWORK_SAMPLE])
def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch, sample: int) -> None:
    values = sound_counts()
    values[960:1056, 2] *= 2
    values[1500:1504, 7] = 0
    values[1900:2400, 11] = np.roll(values[:, 11], 2)[1900:2400]
    monkeypatch.setattr(expected, "NETWORK_SAMPLE", sample)
    whole = screen(table_of(values))
    assert {f.reason for f in whole.findings} >= {Reason.LEVEL, Reason.ZEROS, Reason.SHIFTED}
    monkeypatch.setattr(screening, "BATCH_CELLS", 7 * len(values))
    pieces = screen(table_of(values))
    np.testing.assert_array_equal(whole.table.reasons, pieces.table.reasons)
    assert whole.findings == pieces.findings


# -------------------------------------------------------------------------------------------------- real data


@pytest.fixture(scope="module", name="october")
def real_counts() -> CountTable:
    return boroondara()


def test_real_counts_are_mostly_good(october: CountTable) -> None:
    screened = screen(october, Calendar("AU", "VIC"))
    marks = screened.table.marks
    there = marks != Mark.MISSING
    assert (marks[there] == Mark.BAD).mean() < 0.0005
    assert (marks[there] == Mark.DOUBTFUL).mean() < 0.0005
    # Victoria put its clocks forward on 29 October 2006; the file has the skipped hour at 01:45 (its README).
    (skipped,) = of(screened, Reason.CLOCK_SKIPPED)
    assert skipped.first == np.datetime64("2006-10-29T01:45")
    assert skipped.slots == 4


Fault = Callable[[np.ndarray], np.ndarray]
BEGIN, END = 15 * 96 + 40, 19 * 96 + 40  # Monday to Friday


@pytest.mark.parametrize(
    ("reasons", "begin", "end", "fault"),
    [
        ((Reason.STUCK,), BEGIN, END, lambda x: np.full_like(x, x[np.isfinite(x)][0])),
        ((Reason.LEVEL,), BEGIN, END, lambda x: 2 * x),
        ((Reason.ZEROS,), 16 * 96 + 32, 16 * 96 + 36, np.zeros_like),
        ((Reason.ZEROS, Reason.ZERO_DAY), BEGIN, END, np.zeros_like),
        ((Reason.SHIFTED,), BEGIN, END, lambda x: np.roll(x, 1)),
    ],
    ids=["stuck", "doubled", "dead hour", "dead days", "clock"],
)
def test_faults_in_real_counts(
    october: CountTable, reasons: tuple[Reason, ...], begin: int, end: int, fault: Fault
) -> None:
    values = october.values.copy()
    # Every tenth series that counts all of that week, vehicles enough to tell.
    whole = ~np.isnan(values[14 * 96 : 21 * 96]).any(axis=0) & (np.nanmean(values, axis=0) > 40)
    columns = np.flatnonzero(whole)[::10]
    assert len(columns) >= 10
    for k in columns:
        values[begin:end, k] = fault(values[begin:end, k])
    before = screen(october).table.reasons
    after = screen(CountTable(october.names, october.start, 15, values)).table.reasons
    flagged = np.isin(after[begin:end, columns], reasons).mean(axis=0)
    assert (flagged > 0.5).mean() >= 0.9
    assert np.median(flagged) > 0.9
    others = np.delete(after != before, columns, axis=1)
    assert others.mean() < 0.0005


def test_gaps_and_a_holiday_in_real_counts(october: CountTable) -> None:
    values = october.values.copy()
    gone = np.random.default_rng(1).random(values.shape) < 0.1
    values[17 * 96 : 18 * 96] = values[14 * 96 : 15 * 96]  # Wednesday as Sunday
    values[gone] = np.nan
    screened = screen(CountTable(october.names, october.start, 15, values))
    assert (screened.table.marks[gone] == Mark.MISSING).all()
    (unusual,) = of(screened, Reason.UNUSUAL_DAY)
    assert unusual.first == np.datetime64("2006-10-18T00:00")
    assert (screened.table.marks == Mark.BAD).mean() < 0.0005
