"""The local clock: what kind of day an interval falls on, which dates are holidays, and its slot of the day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType
from typing import cast

import numpy as np
from numpy.typing import NDArray

from signals.errors import InputError
from signals.model.counts import MINUTES_A_DAY, Floats, Times

Ints = NDArray[np.int64]

HOLIDAY_TYPE = 7
"""The day type of a holiday; 0 to 6 are Monday to Sunday."""

_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday


def weekdays_of(dates: Times) -> Ints:
    """Weekday of each time, int64 of the same shape: 0 Monday to 6 Sunday."""
    days = dates.astype("datetime64[D]").astype(np.int64)
    return (days + _EPOCH_WEEKDAY) % 7


def slots_of(times: Times, step_min: int) -> Ints:
    """Slot of the day of each time, int64 of the same shape: how many intervals begin before it."""
    minutes = times.astype("datetime64[m]").astype(np.int64) % MINUTES_A_DAY
    return np.asarray(minutes // step_min)


def step_of(times: Times) -> int:
    """Length of the intervals that begin at these times, two or more, in minutes.

    Raises
    ------
    InputError
        Where it doesn't divide a day.
    """
    step = int(np.median(np.diff(times).astype("timedelta64[m]").astype(np.int64)))
    if step < 1 or MINUTES_A_DAY % step:
        raise InputError(f"intervals of {step} min: must divide a day; count in 5, 15 or 60 minutes")
    return step


def means_by_place(counts: Floats, place: Ints, n_place: int) -> Floats:
    """Mean count at each place of a day or a week, float64[n_place, n_series]; NaN where none was seen.

    counts : float64[n_interval, n_series], NaN where missing; place : int64[n_interval]
    """
    seen = np.isfinite(counts)
    total, number = np.zeros((2, n_place, counts.shape[1]))
    np.add.at(total, place, np.where(seen, counts, 0.0))
    np.add.at(number, place, seen)
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)


@dataclass(frozen=True)
class Calendar:
    """Holidays of a country or a part of it, and days of one's own; without either it knows none.

    Fields
    ------
    country : ISO 3166 code of a country that the `holidays` package knows, such as AU, DE or US; may be empty
    subdivision : code of a part of that country, such as VIC or BY; may be empty
    own_days : name of each further day, by local date: a match day, a closed bridge, a strike. They come
        before the country's, and count as holidays.

    Raises
    ------
    InputError
        Where the country or the subdivision is unknown, or a subdivision stands alone.
    """

    country: str = ""
    subdivision: str = ""
    own_days: Mapping[date, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            own = {_date_of(day): str(name) for day, name in self.own_days.items()}
        except ValueError as error:
            raise InputError(f"Holidays: own days need dates, such as 2026-12-24 ({error})") from None
        object.__setattr__(self, "own_days", MappingProxyType(own))
        if self.country:
            _check_place(self.country, self.subdivision)
        elif self.subdivision:
            raise InputError(
                f"Holidays: subdivision {self.subdivision!r} without a country; name the country too, such as AU"
            )

    # A mapping proxy can be neither hashed nor pickled, and a calendar goes to other processes.
    def __hash__(self) -> int:
        return hash((self.country, self.subdivision, tuple(sorted(self.own_days.items()))))

    def __reduce__(self) -> tuple[type[Calendar], tuple[str, str, dict[date, str]]]:
        return Calendar, (self.country, self.subdivision, dict(self.own_days))

    def find_holiday(self, day: date | np.datetime64) -> str | None:
        """Name of the holiday on this local date, None on any other day."""
        when = _date_of(day)
        if when in self.own_days:
            return self.own_days[when]
        if not self.country:
            return None
        return _holidays_of(self.country, self.subdivision, when.year).get(when)

    def is_holiday(self, day: date | np.datetime64) -> bool:
        """Whether this local date is a holiday."""
        return self.find_holiday(day) is not None

    def day_types(self, local_times: Times) -> Ints:
        """Type of the day of each local time, int64[n]: 0 Monday to 6 Sunday, 7 a holiday."""
        days, back = np.unique(local_times.astype("datetime64[D]"), return_inverse=True)
        types = weekdays_of(days)
        types[[self.is_holiday(day) for day in days]] = HOLIDAY_TYPE
        return types[back.reshape(local_times.shape)]


def _date_of(day: date | np.datetime64 | str) -> date:
    """The date of a day that may hold a time too."""
    return cast("date", np.datetime64(day).astype("datetime64[D]").item())


def _check_place(country: str, subdivision: str) -> None:
    """Raise an InputError that names what the `holidays` package doesn't know."""
    import holidays

    known = holidays.list_supported_countries(include_aliases=True)
    if country not in known:
        near = [code for code in known if code == country.upper()] or get_close_matches(country, known, 3)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise InputError(
            f"Holidays: country {country!r} is unknown{hint}; {len(known)} codes are known, "
            "use the ISO 3166 code, such as AU, DE or US, or list the days yourself"
        )
    if not subdivision:
        return
    try:
        holidays.country_holidays(country, subdiv=subdivision)
    except NotImplementedError:
        parts = sorted(known[country])
        there = f"known there: {', '.join(parts)}" if parts else "it has none; leave the subdivision out"
        raise InputError(f"Holidays: {country} has no subdivision {subdivision!r}; {there}") from None


@lru_cache(maxsize=1024)
def _holidays_of(country: str, subdivision: str, year: int) -> Mapping[date, str]:
    """Names of the public holidays of one year, by date; in English where the package has it."""
    import holidays

    return dict(
        holidays.country_holidays(country, subdiv=subdivision or None, years=year, language="en_US").items()
    )
