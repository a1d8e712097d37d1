"""When people in a made-up city drive: purposes through the day, kinds of day, holidays, and the clock of counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TIMEZONE = "Europe/Vienna"
COUNTRY = "AT"
STEP_MIN = 15
PURPOSES = ("morning", "evening", "other")

HOLIDAY = 7  # kind of day; 0 to 6 are Monday to Sunday
WEEKDAY_LEVEL = (0.97, 1.0, 1.01, 1.02, 1.0)
HOLIDAY_OF_SUNDAY = 0.85  # roads are emptier than on a Sunday
TOWN_FAIR_BEFORE_END = 9  # days; a Friday where the counts end on a Sunday

EVENT_HOURS = (18, 23)
EVENT_SURGE = 0.5  # more traffic in the middle district
EVENT_WEEKS_BEFORE_END = 2


@dataclass(frozen=True, eq=False)
class Clock:
    """The intervals that are counted.

    Fields
    ------
    utc, local : datetime64[m][n_interval], start of each in UTC and on the clock on the wall
    days : the local dates, one after the other
    day : int64[n_interval], number of the local date
    """

    utc: NDArray[np.datetime64]
    local: NDArray[np.datetime64]
    days: tuple[date, ...]
    day: Ints

    @property
    def hour(self) -> Floats:
        """Middle of each interval, local hours since midnight."""
        minutes = (self.local - self.local.astype("datetime64[D]")).astype(np.int64)
        return np.asarray((minutes + STEP_MIN / 2) / 60.0)


def make_clock(until: date, weeks: int) -> Clock:
    """Quarter hours of whole weeks that end with a local day; a day on which clocks change has 92 or 100."""
    zone = ZoneInfo(TIMEZONE)
    days = tuple(until - timedelta(days=k) for k in reversed(range(7 * weeks)))
    begin, end = (
        np.datetime64(datetime(d.year, d.month, d.day, tzinfo=zone).astimezone(UTC).replace(tzinfo=None), "m")
        for d in (days[0], until + timedelta(days=1))
    )
    utc = np.arange(begin, end, np.timedelta64(STEP_MIN, "m"))
    shifts = [t.replace(tzinfo=UTC).astimezone(zone).utcoffset() for t in utc.astype(object)]
    local = utc + np.array(
        [s // timedelta(minutes=1) for s in shifts if s is not None], dtype="timedelta64[m]"
    )
    day = (local.astype("datetime64[D]") - np.datetime64(days[0], "D")).astype(np.int64)
    return Clock(utc, local, days, day)


def own_holidays(until: date) -> Mapping[date, str]:
    """The city's own holidays."""
    return {until - timedelta(days=TOWN_FAIR_BEFORE_END): "town fair"}


def events(until: date) -> Mapping[date, str]:
    """Evenings with a surge in the middle of the city: one in the counts, one still to come, both on a Saturday."""
    saturday = until - timedelta(days=(until.weekday() - 5) % 7)
    return {
        saturday - timedelta(weeks=EVENT_WEEKS_BEFORE_END): "match",
        saturday + timedelta(weeks=1): "concert",
    }


def kinds_of(days: Sequence[date], own: Mapping[date, str]) -> tuple[int, ...]:
    """Kind of each day: 0 Monday to 6 Sunday, `HOLIDAY` on a holiday of the country or the city."""
    import holidays  # slow to import

    public = holidays.country_holidays(COUNTRY, years=sorted({day.year for day in days}))
    return tuple(HOLIDAY if day in public or day in own else day.weekday() for day in days)


def _peak(hour: Floats, at: float, width: float) -> Floats:
    return np.asarray(np.exp(-0.5 * ((hour - at) / width) ** 2))


def _between(hour: Floats, begin: float, end: float) -> Floats:
    return np.asarray(1.0 / ((1.0 + np.exp((begin - hour) / 0.6)) * (1.0 + np.exp((hour - end) / 1.1))))


def purposes_at(hour: Floats, kind: int) -> Floats:
    """How much of each purpose is on the road, of its peak, float64[n, n_purpose], on one kind of day."""
    none = np.zeros_like(hour)
    if kind < 4:
        parts = (0.75 * _peak(hour, 7.75, 0.9), 0.8 * _peak(hour, 17.25, 1.2), _between(hour, 6.8, 20.0))
        return WEEKDAY_LEVEL[kind] * np.stack([parts[0], parts[1], 0.03 + 0.42 * parts[2]], axis=1)
    if kind == 4:  # home later, over a longer time, and out in the evening
        parts = (0.68 * _peak(hour, 7.75, 0.9), 0.68 * _peak(hour, 17.6, 1.5), _between(hour, 6.8, 20.5))
        return WEEKDAY_LEVEL[kind] * np.stack([parts[0], parts[1], 0.03 + 0.42 * parts[2]], axis=1)
    if kind == 5:
        return np.stack([none, 0.1 * _peak(hour, 18.0, 2.0), 0.05 + 0.6 * _between(hour, 9.5, 20.0)], axis=1)
    level = HOLIDAY_OF_SUNDAY if kind == HOLIDAY else 1.0
    return level * np.stack(
        [none, 0.12 * _peak(hour, 18.5, 2.0), 0.05 + 0.42 * _between(hour, 10.5, 20.5)], axis=1
    )


MORNING_H, EVENING_H = 7.75, 17.25
_THURSDAY = 3


def at_peaks() -> Floats:
    """How much of each purpose is on the road in the two peaks of a Thursday, float64[2, n_purpose]."""
    return purposes_at(np.array([MORNING_H, EVENING_H]), _THURSDAY)


def purposes_over(clock: Clock, kinds: Sequence[int]) -> Floats:
    """How much of each purpose is on the road in each interval, float64[n_interval, n_purpose]."""
    hour, kind = clock.hour, np.array(kinds)[clock.day]
    found = np.empty((len(hour), len(PURPOSES)))
    for one in sorted(set(kinds)):
        rows = kind == one
        found[rows] = purposes_at(hour[rows], one)
    return found
