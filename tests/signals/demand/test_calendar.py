"""Day types: public holidays by law, days of one's own, weekdays by the calendar."""

from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import date, timedelta

import numpy as np
import pytest

from signals.demand.calendar import HOLIDAY_TYPE, Calendar
from signals.errors import InputError

MINUTES_15 = np.timedelta64(15, "m")


def quarter_hours(first: str, count: int) -> np.ndarray:
    return np.datetime64(first, "m") + np.arange(count) * MINUTES_15


def test_an_empty_calendar_knows_weekdays_only() -> None:
    times = quarter_hours("2006-10-01T00:00", 31 * 96)
    expected = [t.astype("datetime64[D]").item().weekday() for t in times]
    assert Calendar().day_types(times).tolist() == expected
    assert Calendar().find_holiday(date(2026, 12, 25)) is None


def test_weekdays_before_1970_too() -> None:
    days = [date(1968, 2, 27) + timedelta(days=k) for k in range(10)]
    assert Calendar().day_types(np.array(days, dtype="datetime64[m]")).tolist() == [d.weekday() for d in days]


@pytest.mark.parametrize(
    ("country", "subdivision", "day", "name"),
    [
        # Melbourne Cup Day is the first Tuesday of November, in Victoria alone (Public Holidays Act 1993, s. 6).
        ("AU", "VIC", date(2012, 11, 6), "Cup"),
        # German Unity Day is 3 October (Einigungsvertrag, Art. 2 Abs. 2).
        ("DE", "", date(2023, 10, 3), "Unity"),
        # Corpus Christi, 60 days from Easter Sunday (9 April 2023), is a holiday in Bavaria, not in Berlin.
        ("DE", "BY", date(2023, 6, 8), "Corpus Christi"),
        ("US", "", date(2024, 7, 4), "Independence"),
    ],
)
def test_public_holidays(country: str, subdivision: str, day: date, name: str) -> None:
    calendar = Calendar(country, subdivision)
    assert name in (calendar.find_holiday(day) or "")
    assert calendar.is_holiday(np.datetime64(day))
    assert not calendar.is_holiday(day + timedelta(days=1))
    times = quarter_hours(f"{day - timedelta(days=1)}T00:00", 3 * 96)
    types = calendar.day_types(times)
    assert types.dtype == np.int64
    assert set(types[96:192]) == {HOLIDAY_TYPE}
    assert types[0] == (day - timedelta(days=1)).weekday()
    assert types[-1] == (day + timedelta(days=1)).weekday()


def test_a_part_of_a_country_has_its_own() -> None:
    assert not Calendar("DE", "BE").is_holiday(date(2023, 6, 8))
    assert not Calendar("AU", "NSW").is_holiday(date(2012, 11, 6))


def test_own_days_come_first() -> None:
    match = date(2007, 9, 29)
    calendar = Calendar("AU", "VIC", {match: "Grand Final", date(2007, 12, 25): "works closed"})
    assert calendar.find_holiday(match) == "Grand Final"
    assert calendar.find_holiday(date(2007, 12, 25)) == "works closed"
    assert calendar.day_types(np.array([match], dtype="datetime64[m]")).tolist() == [HOLIDAY_TYPE]
    assert Calendar(own_days={match: "Grand Final"}).is_holiday(match)


@pytest.mark.parametrize(
    ("country", "subdivision", "said"),
    [("XX", "", "'XX'"), ("au", "", "AU"), ("AU", "VICC", "'VICC'"), ("", "VIC", "country")],
)
def test_what_is_unknown_is_named(country: str, subdivision: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Calendar(country, subdivision)


def test_an_own_day_that_is_no_date_is_refused() -> None:
    with pytest.raises(InputError, match="2026-12-24"):
        Calendar(own_days={"next Friday": "match"})  # type: ignore[dict-item]


def test_a_calendar_travels_to_other_processes() -> None:
    calendar = Calendar("AU", "VIC", {date(2007, 9, 29): "Grand Final"})
    again = pickle.loads(pickle.dumps(calendar))
    assert again == calendar
    assert hash(again) == hash(calendar)
    assert Calendar("AU") != calendar


def test_holidays_load_late() -> None:
    code = "import sys, signals.demand.calendar as c; c.Calendar(); print('holidays' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
