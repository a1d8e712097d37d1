"""Counts on the wire: pushed a quarter hour at a time or delivered as files, and what is known of them."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict

from signals.wire.base import Given, Minute, Shown, example

MOST_PUSHED = 10_000
"""Counts of one push; more go as a file."""

Series = Annotated[str, StringConstraints(min_length=1, max_length=300)]
Count = Annotated[float, Field(ge=0, allow_inf_nan=False)]
STEPS = [step for step in range(1, 1441) if 1440 % step == 0]


def _divides_a_day(step: int) -> int:
    if step not in STEPS:
        raise ValueError(f"a day is no whole number of intervals of {step} min")
    return step


Step = Annotated[
    int,
    AfterValidator(_divides_a_day),
    Field(description="length of an interval, min; a divisor of a day", json_schema_extra={"enum": STEPS}),
]


class Existing(StrEnum):
    """What to do where a count differs from the one that is there: refuse all, replace it, or keep it."""

    REFUSE = "refuse"
    REPLACE = "replace"
    KEEP = "keep"


class CountLine(TypedDict):
    """One count as a line of JSON (application/x-ndjson): vehicles in the interval that begins at `time`, or null.

    `time` is ISO 8601; without an offset it is on the network's clock. A plain dictionary, since there may be
    millions of them.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]
    series: Series
    time: str
    count: Annotated[float, Field(strict=True, allow_inf_nan=False)] | None


class CountPush(Given):
    """Counts of one interval, a stream each. Sending the same again does no harm."""

    model_config = example(
        time="2026-11-25T07:15:00+01:00", step_min=15, counts={"north-through": 42, "north-left": 7}
    )
    time: Minute = Field(
        description="start of the interval, on a whole minute; without an offset it is on the network's clock"
    )
    step_min: Step = 15
    counts: dict[Series, Count] = Field(
        min_length=1, max_length=MOST_PUSHED, description="vehicles in the interval, by the stream's name"
    )
    existing: Existing = Existing.REFUSE


class Received(Shown):
    """What a delivery of counts has changed: `counts` is the sum of new, corrected, kept and unchanged."""

    model_config = example(
        batch_id=12,
        streams=2,
        counts=192,
        new=180,
        corrected=2,
        kept=0,
        unchanged=10,
        late=4,
        first_at="2026-11-25T00:00:00Z",
        last_at="2026-11-25T23:45:00Z",
        remarks=[],
    )
    batch_id: int
    streams: int = Field(description="streams with at least one count")
    counts: int
    new: int = Field(description="where there was none")
    corrected: int = Field(description="put in place of other ones (existing=replace)")
    kept: int = Field(description="other ones that were left in place (existing=keep)")
    unchanged: int = Field(description="the same as were there")
    late: int = Field(description="of the new: older than the last count that its stream had")
    first_at: datetime = Field(description="start of the first interval; no offset on a local clock")
    last_at: datetime = Field(description="start of the last interval")
    remarks: list[str] = Field(description="what was odd about the file")


class StreamShown(Shown):
    """A series of counts, and the days of which there are any (UTC days, local ones without a timezone)."""

    model_config = example(
        id=7, name="north-through", step_min=15, first_day="2026-10-01", last_day="2026-11-25", days=56
    )
    id: int
    name: str
    step_min: int
    first_day: date | None
    last_day: date | None
    days: int = Field(description="days with at least one count")


class CountsShown(Shown):
    """Counts of one stream: one an interval from `first_at` on, veh; null where there is none."""

    model_config = example(
        stream_id=7,
        name="north-through",
        step_min=15,
        timezone="Europe/Amsterdam",
        first_at="2026-11-25T06:00:00Z",
        counts=[31, 42, None, 40],
    )
    stream_id: int
    name: str
    step_min: int
    timezone: str = Field(description="IANA name; empty: times are on the local clock and have no offset")
    first_at: datetime
    counts: list[float | None]


class BatchShown(Shown):
    """A delivery: when it came, from whom, the SHA-256 of what was sent, and what it changed."""

    model_config = example(
        id=12,
        person_id=3,
        received_at="2026-11-26T00:05:00Z",
        sha256="0" * 64,
        streams=2,
        counts=192,
        new=180,
        corrected=2,
        late=4,
        first_at="2026-11-25T00:00:00Z",
        last_at="2026-11-25T23:45:00Z",
        remarks=[],
    )
    id: int
    person_id: int
    received_at: datetime
    sha256: str
    streams: int
    counts: int
    new: int
    corrected: int
    late: int
    first_at: datetime
    last_at: datetime
    remarks: list[str]


class StreamCoverage(Shown):
    """How complete a stream's counts are, a share of its intervals (0 to 1) for each day."""

    stream_id: int
    name: str
    share: list[float]


class ScreeningShown(Shown):
    """The latest look through a network's counts: a summary for each series, and what is wrong."""

    job_id: int
    made_at: datetime
    first_at: datetime
    last_at: datetime
    series: list[Any]
    findings: list[Any]


class Quality(Shown):
    """How good a network's counts are: the latest screening, if there is one, and how complete they are now."""

    model_config = example(
        screening=None,
        days=["2026-11-24", "2026-11-25"],
        share=[1.0, 0.31],
        streams=[{"stream_id": 7, "name": "north-through", "share": [1.0, 0.31]}],
        next_cursor=None,
    )
    screening: ScreeningShown | None
    days: list[date]
    share: list[float] = Field(description="of all intervals of all streams, for each day")
    streams: list[StreamCoverage]
    next_cursor: str | None = None
