"""What all things on the wire have in common."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

Item = TypeVar("Item")

Name = Annotated[str, StringConstraints(pattern=r"^[!-~¡-퟿]([ -~¡-퟿]{0,198}[!-~¡-퟿])?$")]
"""One line of 1 to 200 letters without blanks at its ends."""
Text = Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[\n\t -~¡-퟿]*$")]
"""Up to 10,000 letters, in lines."""
Id = Annotated[int, Field(ge=1, le=2**53)]
"""A thing's number, exact in every language that reads JSON."""
Moment = AwareDatetime
"""A time with its offset from UTC, such as 2026-11-25T07:30:00+01:00."""


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
