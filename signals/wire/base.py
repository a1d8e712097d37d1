"""What all things on the wire have in common."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

Item = TypeVar("Item")

Name = Annotated[str, StringConstraints(pattern=r"^[!-~¡-퟿]([ -~¡-퟿]{0,198}[!-~¡-퟿])?$")]
"""One line of 1 to 200 letters without blanks at its ends."""
Text = Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[\n\t -~¡-퟿]*$")]
"""Up to 10,000 letters, in lines."""


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is expected, not true or false")
    return value


Number = BeforeValidator(_number)
"""For fields that are numbers: pydantic would take true for 1."""
Id = Annotated[int, Field(ge=1, le=2**53), Number]
"""A thing's number, exact in every language that reads JSON."""
EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2900, 1, 1, tzinfo=UTC)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_YEAR, _LEAP_YEAR = "(19|20|21)[0-9]{2}", "((19|20|21)(0[48]|[2468][048]|[13579][26])|2000)"
_DATE = (
    f"({_YEAR}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    f"|02-(0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_HOUR = "([01][0-9]|2[0-3]):[0-5][0-9]"
MINUTE = f"^{_DATE}T{_HOUR}(:00(\\.0{{1,6}})?)?(Z|[+-]{_HOUR})?$"


def _written(moment: object) -> object:
    if not isinstance(moment, datetime) and not (isinstance(moment, str) and _MOMENT.fullmatch(moment)):
        raise ValueError("a time with its offset from UTC is expected, such as 2026-11-25T07:30:00+01:00")
    return moment


def _clamped(moment: datetime) -> datetime:
    return min(max(moment, EARLIEST), LATEST)


def _written_day(day: object) -> object:
    if not isinstance(day, date) and not (isinstance(day, str) and _DAY.fullmatch(day)):
        raise ValueError("a day is expected, such as 2026-11-25")
    return day


def _written_minute(time: object) -> object:
    if not isinstance(time, datetime) and not (isinstance(time, str) and re.fullmatch(MINUTE, time)):
        raise ValueError("a whole minute from 1900 to 2199 is expected, such as 2026-11-25T07:15:00+01:00")
    return time


Moment = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_clamped)]
"""A time with its offset from UTC, such as 2026-11-25T07:30:00+01:00.

Before 1900 and after 2900 there is nothing, and not every zone can tell it: taken as the nearest that is left."""
Day = Annotated[date, BeforeValidator(_written_day)]
"""A day, such as 2026-11-25."""
Minute = Annotated[
    datetime,
    BeforeValidator(_written_minute),
    WithJsonSchema({"type": "string", "pattern": MINUTE, "examples": ["2026-11-25T07:15:00+01:00"]}),
]
"""A whole minute, as intervals of counting begin on; without an offset it is on the network's clock."""


class Given(BaseModel):
    """What a caller sends: a field that isn't known is refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Shown(BaseModel):
    """What is answered."""

    model_config = ConfigDict(frozen=True)


class Page(Shown, Generic[Item]):
    """Part of a list. `next_cursor` leads to what follows; it is null on the last page."""

    items: list[Item]
    next_cursor: str | None = None


class FieldProblem(Shown):
    """What is wrong with one part of a request."""

    where: str = Field(description="such as body.period.begin", examples=["body.name"])
    problem: str = Field(examples=["Field required"])


class Problem(Shown):
    """What went wrong, as RFC 9457 has it (application/problem+json)."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:greensplit:problem:not-found",
                    "title": "Not found",
                    "status": 404,
                    "detail": "there is no network 7",
                    "request_id": "0d6b4e2c9f1a",
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldProblem] | None = None


def example(**values: Any) -> ConfigDict:
    """A model's configuration with this example."""
    return ConfigDict(json_schema_extra={"examples": [values]})
