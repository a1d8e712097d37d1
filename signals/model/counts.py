"""Counts of detectors, approaches or movements over time, what is known of their quality, and forecasts of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import IntEnum
from typing import ClassVar, Self
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.uint8]
Times = NDArray[np.datetime64]

MINUTES_A_DAY = 1440
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
"""Quantiles that a forecast gives unless others are asked for."""


class Mark(IntEnum):
    """What a count may be used for: everything, with care, nothing; or there is none."""

    GOOD = 0
    DOUBTFUL = 1
    BAD = 2
    MISSING = 3


class Reason(IntEnum):
    """Why a count has its mark."""

    NONE = 0
    GAP = 1
    CLOCK_SKIPPED = 2
    DUPLICATE = 3
    LATE = 4
    IMPOSSIBLE = 5
    ZERO_DAY = 6
    ZEROS = 7
    STUCK = 8
    SPIKE = 9
    LEVEL = 10
    SHIFTED = 11
    HOLIDAY = 12
    UNUSUAL_DAY = 13


MARK_OF: Mapping[Reason, Mark] = {
    Reason.NONE: Mark.GOOD,
    Reason.GAP: Mark.MISSING,
    Reason.CLOCK_SKIPPED: Mark.MISSING,
    Reason.DUPLICATE: Mark.DOUBTFUL,
    Reason.LATE: Mark.GOOD,
    Reason.IMPOSSIBLE: Mark.BAD,
    Reason.ZERO_DAY: Mark.BAD,
    Reason.ZEROS: Mark.BAD,
    Reason.STUCK: Mark.BAD,
    Reason.SPIKE: Mark.BAD,
    Reason.LEVEL: Mark.DOUBTFUL,
    Reason.SHIFTED: Mark.BAD,
    Reason.HOLIDAY: Mark.GOOD,
    Reason.UNUSUAL_DAY: Mark.DOUBTFUL,
}
"""The mark that each reason gives."""

REASON_TEXT: Mapping[Reason, str] = {
    Reason.NONE: "nothing odd",
    Reason.GAP: "no count",
    Reason.CLOCK_SKIPPED: "the clock skips this time",
    Reason.DUPLICATE: "several rows for one interval disagree; the first is kept",
    Reason.LATE: "arrived out of order",
    Reason.IMPOSSIBLE: "no possible count",
    Reason.ZERO_DAY: "zero all day",
    Reason.ZEROS: "zeros where traffic is expected",
    Reason.STUCK: "the same value again and again",
    Reason.SPIKE: "far from what is expected, for a slot or two",
    Reason.LEVEL: "the level has jumped",
    Reason.SHIFTED: "the detector's clock is off",
    Reason.HOLIDAY: "holiday",
    Reason.UNUSUAL_DAY: "a day unlike its weekday, everywhere",
}
"""Each reason in words."""


@dataclass(frozen=True, eq=False)
class CountTable:
    """Counts on one clock: a row an interval, a column a series (detector, approach or movement).

    Rows are evenly spaced. With a timezone they are so in elapsed time: `start` is UTC, and a day on which
    clocks change has 92 or 100 quarter hours. Without one, `start` and all rows are on the local clock, and
    every day has 96; what the clock skips in spring is then missing.

    Fields
    ------
    names : one distinct name a series
    start : datetime64[m], start of the first interval
    step_min : length of an interval in minutes, a divisor of a day
    values : float64[n_interval, n_series], veh per interval as they came; NaN where there is none
    reasons : uint8[n_interval, n_series], a `Reason` each; where not given, gaps are marked and nothing else
    timezone : IANA name, or empty for the local clock
    remarks : what the reader found odd about the file as a whole

    Raises
    ------
    ValueError
        Where shapes, names, step or timezone don't fit together.
    """

    names: tuple[str, ...]
    start: np.datetime64
    step_min: int
    values: Floats
    reasons: Codes = field(default_factory=lambda: np.empty((0, 0), dtype=np.uint8))
    timezone: str = ""
    remarks: tuple[str, ...] = ()

    _of_counts: ClassVar[tuple[str, ...]] = ("values", "reasons")
    """Fields that hold something for each count."""

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64, order="C")
        if values.ndim != 2 or values.shape[1] != len(self.names):
            raise ValueError(f"counts of shape {values.shape} for {len(self.names)} series")
        if len(set(self.names)) != len(self.names):
            twice = sorted({n for n in self.names if self.names.count(n) > 1})
            raise ValueError(f"series named twice: {', '.join(twice[:5])}")
        if self.step_min < 1 or MINUTES_A_DAY % self.step_min:
            raise ValueError(f"intervals of {self.step_min} min don't divide a day")
        if self.timezone:
            ZoneInfo(self.timezone)
        reasons = (
            np.where(np.isnan(values), Reason.GAP, Reason.NONE).astype(np.uint8)
            if self.reasons.shape == (0, 0)
            else np.array(self.reasons, dtype=np.uint8, order="C")
        )
        if reasons.shape != values.shape:
            raise ValueError(f"reasons of shape {reasons.shape} for counts of shape {values.shape}")
        values.flags.writeable = reasons.flags.writeable = False
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "reasons", reasons)
        object.__setattr__(self, "start", self.start.astype("datetime64[m]"))
        object.__setattr__(self, "names", tuple(self.names))

    @property
    def n_intervals(self) -> int:
        """Rows."""
        return int(self.values.shape[0])

    @property
    def slots_a_day(self) -> int:
        """Intervals of an ordinary day."""
        return MINUTES_A_DAY // self.step_min

    @property
    def times(self) -> Times:
        """Start of every interval, datetime64[m][n_interval]: UTC with a timezone, the local clock without."""
        return self.times_after(0, self.n_intervals)

    @property
    def local_times(self) -> Times:
        """Start of every interval on the local clock, datetime64[m][n_interval]."""
        return local_clock(self.times, self.timezone)

    def times_after(self, first: int, count: int) -> Times:
        """Start of `count` intervals from row `first` on, which may lie beyond the table's end."""
        return self.start + (first + np.arange(count)) * np.timedelta64(self.step_min, "m")

    @property
    def marks(self) -> Codes:
        """A `Mark` for each count, uint8[n_interval, n_series]."""
        return _MARKS[self.reasons]

    @property
    def usable(self) -> Floats:
        """The counts with NaN where they are bad or missing, float64[n_interval, n_series]."""
        return np.where(self.marks >= Mark.BAD, np.nan, self.values)

    def select(self, names: Sequence[str]) -> Self:
        """The table with these series only, in this order.

        Raises
        ------
        KeyError
            Where a series is not in the table.
        """
        where = {name: k for k, name in enumerate(self.names)}
        columns = [where[name] for name in names]
        of_counts = {name: getattr(self, name)[:, columns] for name in self._of_counts}
        return replace(self, names=tuple(names), **of_counts)


_MARKS = np.array([MARK_OF[reason] for reason in Reason], dtype=np.uint8)


def local_clock(times: Times, timezone: str) -> Times:
    """What the clocks on the wall say at these UTC times, datetime64[m]; the same where there is no timezone."""
    if not timezone or not len(times):
        return times
    zone = ZoneInfo(timezone)

    def offset_min(time: np.datetime64) -> int:
        instant = datetime.fromtimestamp(int(time.astype("datetime64[s]").astype(np.int64)), UTC)
        shift = instant.astimezone(zone).utcoffset()
        assert shift is not None
        return round(shift.total_seconds() / 60)

    # An offset holds for months, so it is looked up at both ends of a day and inside only if these differ.
    days, back = np.unique(times.astype("datetime64[D]"), return_inverse=True)
    begins = [offset_min(day) for day in days]
    ends = [offset_min(day + np.timedelta64(1, "D")) for day in days]
    shifts = np.array(begins, dtype=np.int64)[back]
    for k in np.flatnonzero(np.array(begins) != np.array(ends)):
        rows = np.flatnonzero(back == k)
        shifts[rows] = [offset_min(t) for t in times[rows]]
    return times + shifts * np.timedelta64(1, "m")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a series: from when to when (local clock), how many slots, and the figures."""

    series: str
    reason: Reason
    first: np.datetime64
    last: np.datetime64
    slots: int
    detail: str

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "series": self.series,
            "reason": self.reason.name.lower(),
            "mark": MARK_OF[self.reason].name.lower(),
            "first": str(self.first),
            "last": str(self.last),
            "slots": self.slots,
            "detail": self.detail,
        }


@dataclass(frozen=True, eq=False)
class CountForecast:
    """Counts to come, made at one moment: a row an interval ahead, a column a series.

    Fields
    ------
    names : one name a series
    times : datetime64[m][n_ahead], start of each interval on the local clock
    step_min : length of an interval in minutes
    mean : float64[n_ahead, n_series], veh per interval
    levels : the quantiles given, rising, each between 0 and 1
    quantiles : float64[n_ahead, n_series, n_level], veh per interval
    """

    names: tuple[str, ...]
    times: Times
    step_min: int
    mean: Floats
    levels: tuple[float, ...]
    quantiles: Floats

    def __post_init__(self) -> None:
        shape = (len(self.times), len(self.names))
        if self.mean.shape != shape or self.quantiles.shape != (*shape, len(self.levels)):
            raise ValueError(
                f"forecast of {shape[0]} intervals, {shape[1]} series and {len(self.levels)} levels has "
                f"means of shape {self.mean.shape} and quantiles of shape {self.quantiles.shape}"
            )

    def select(self, names: Sequence[str]) -> CountForecast:
        """The forecast of these series only, in this order.

        Raises
        ------
        KeyError
            Where a series is not in the forecast.
        """
        where = {name: k for k, name in enumerate(self.names)}
        columns = [where[name] for name in names]
        return replace(
            self, names=tuple(names), mean=self.mean[:, columns], quantiles=self.quantiles[:, columns]
        )


@dataclass(frozen=True, slots=True)
class Explanation:
    """One forecast in parts, veh per interval: they sum to the mean.

    `guard` is what keeps it from going below zero, and what the other candidates change where they take over.
    """

    series: str
    lead: int
    target: np.datetime64
    profile: float
    ratio: float
    feedback: float
    network: float
    guard: float
    mean: float

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {**asdict(self), "target": str(self.target)}
