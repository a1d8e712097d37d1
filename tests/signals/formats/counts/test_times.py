"""Clocks: days of 92 and 100 quarter hours, the hours that are skipped or come twice, and UTC offsets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signals.errors import InputError
from signals.formats.counts import read_counts
from signals.model.counts import Reason
from tests.signals.formats.counts.examples import MELBOURNE, NAN, csv_file, day

SUNDAY = day("2007-03-25")  # clocks in Melbourne went from 03:00 back to 02:00
PASSES = SUNDAY[:12] + SUNDAY[8:]


def autumn(rows: list[str]) -> str:
    return "start,A\n" + "".join(f"{t},{k}\n" for k, t in enumerate(rows))


def test_a_day_of_a_hundred_slots(tmp_path: Path) -> None:
    table = read_counts(csv_file(tmp_path, autumn(PASSES)), timezone=MELBOURNE)
    assert table.start == np.datetime64("2007-03-24T13:00")  # UTC
    assert table.timezone == MELBOURNE
    assert table.values[:, 0].tolist() == list(range(100))
    assert [str(t) for t in table.local_times] == PASSES
    assert table.remarks == ()


def test_repeated_rows_side_by_side_and_backwards_are_told_apart_too(tmp_path: Path) -> None:
    twins = SUNDAY[:8] + [t for t in SUNDAY[8:12] for _ in range(2)] + SUNDAY[12:]
    table = read_counts(csv_file(tmp_path, autumn(twins)), timezone=MELBOURNE)
    assert table.values[8:16, 0].tolist() == [8, 10, 12, 14, 9, 11, 13, 15]
    table = read_counts(csv_file(tmp_path, autumn(PASSES[::-1])), timezone=MELBOURNE)
    assert table.values[:, 0].tolist() == list(range(99, -1, -1))


def test_of_a_first_pass_with_a_hole_the_second_stays_the_second(tmp_path: Path) -> None:
    rows = [t for k, t in enumerate(PASSES) if k != 10]  # 02:30 of the first pass
    table = read_counts(csv_file(tmp_path, autumn(rows)), timezone=MELBOURNE)
    assert np.array_equal(table.values[8:16, 0], [8, 9, NAN, 10, 11, 12, 13, 14], equal_nan=True)


def test_one_row_for_the_repeated_hour_is_its_first_pass(tmp_path: Path) -> None:
    table = read_counts(csv_file(tmp_path, autumn(SUNDAY)), timezone=MELBOURNE)
    assert table.n_intervals == 100
    expected = [*range(12), *[NAN] * 4, *range(12, 96)]
    assert np.array_equal(table.values[:, 0], expected, equal_nan=True)
    assert (table.reasons[12:16] == Reason.GAP).all()


def test_a_day_given_again_is_no_second_pass(tmp_path: Path) -> None:
    rows = [f"{t},{k}" for k, t in enumerate(SUNDAY)] * 2
    table = read_counts(csv_file(tmp_path, "\n".join(["start,A", *rows])), timezone=MELBOURNE)
    assert np.isnan(table.values[12:16, 0]).all()
    assert any(r.startswith("96 rows given twice with the same counts") for r in table.remarks)


def test_the_repeated_hour_of_a_long_table_by_time_or_by_series(tmp_path: Path) -> None:
    by_time = [f"{t},{s},{k}" for k, t in enumerate(PASSES) for s in "AB"]
    by_series = [f"{t},{s},{k}" for s in "AB" for k, t in enumerate(PASSES)]
    for rows in (by_time, by_series):
        path = csv_file(tmp_path, "\n".join(["time,series,count", *rows]))
        table = read_counts(path, timezone=MELBOURNE)
        assert table.values.tolist() == [[k, k] for k in range(100)]
        assert not (table.reasons != Reason.NONE).any()


def test_without_a_timezone_the_repeated_hour_is_given_twice(tmp_path: Path) -> None:
    table = read_counts(csv_file(tmp_path, autumn(PASSES)))
    assert table.n_intervals == 96
    assert table.timezone == ""
    assert (table.reasons[8:12] == Reason.DUPLICATE).all()
    assert any("give the timezone" in r for r in table.remarks)


@pytest.mark.parametrize(
    ("zone", "date", "at"),
    [
        ("America/Havana", "2024-11-03", 0),
        ("Europe/Dublin", "2024-10-27", 1),
        ("Asia/Beirut", "2024-10-26", 23),
    ],
)
def test_clocks_that_change_at_midnight_and_negative_summer_time(
    tmp_path: Path, zone: str, date: str, at: int
) -> None:
    times = day(date, 60)
    rows = times[: at + 1] + times[at:]
    table = read_counts(csv_file(tmp_path, autumn(rows)), timezone=zone)
    assert table.values[:, 0].tolist() == list(range(25))
    assert [str(t) for t in table.local_times] == rows


def test_blank_and_zero_rows_at_skipped_times_are_left_out(tmp_path: Path) -> None:
    spring = day("2006-10-29")  # clocks in Melbourne went from 02:00 on to 03:00
    rows = [f"{t},{k},{'' if 8 <= k < 12 else k}" for k, t in enumerate(spring)]
    rows[8:12] = [r.split(",")[0] + ",0," for r in rows[8:12]]
    path = csv_file(tmp_path, "\n".join(["start,A,B", *rows]))
    table = read_counts(path, timezone=MELBOURNE)
    assert table.n_intervals == 92
    assert table.values[:, 0].tolist() == [*range(8), *range(12, 96)]
    assert table.remarks == (f"4 blank or zero rows at times that {MELBOURNE} skips: left out",)


def test_offsets_that_change_with_the_clock(tmp_path: Path) -> None:
    rows = [
        f"{t}{'+11:00' if k < 12 else '+10:00'}" for k, t in enumerate(PASSES)
    ]  # the first pass of 02:00 to 03:00 is rows 8 to 11
    path = csv_file(tmp_path, autumn(rows))
    table = read_counts(path, timezone=MELBOURNE)
    assert table.start == np.datetime64("2007-03-24T13:00")
    assert table.values[:, 0].tolist() == list(range(100))
    assert table.remarks == ()
    with pytest.raises(InputError, match=r"UTC offsets change \(\+10:00, \+11:00\); give the timezone"):
        read_counts(path)


def test_one_offset_without_a_timezone_keeps_the_clock_that_is_shown(tmp_path: Path) -> None:
    rows = "start,A\n2006-10-01T00:00+09:30,1\n2006-10-01T00:15:00+0930,2\n"
    table = read_counts(csv_file(tmp_path, rows))
    assert (table.timezone, str(table.start)) == ("", "2006-10-01T00:00")
    assert table.remarks == (
        "all times have the UTC offset +09:30 and no timezone was given: kept on the clock that they show",
    )
    table = read_counts(csv_file(tmp_path, rows.replace("+09:30", "Z").replace("+0930", "Z")))
    assert (table.timezone, table.remarks) == ("UTC", ())
    table = read_counts(csv_file(tmp_path, rows), timezone="Asia/Kolkata")
    assert str(table.start) == "2006-09-30T14:30"
    assert table.remarks == (
        "2 rows have UTC offsets (+09:30) other than Asia/Kolkata's; their instants count",
    )
