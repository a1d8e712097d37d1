"""Areas of the city, and who answers for them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from signals.wire.base import Given, Id, Moment, Name, Shown, example
from signals.wire.events import EventKind

Degrees = Annotated[float, Field(ge=-180, le=180)]
Bounds = Annotated[
    list[Annotated[list[Degrees], Field(min_length=2, max_length=2)]],
    Field(min_length=3, max_length=500, description="corners of the area: longitude and latitude of each"),
]

_CORNERS = [[5.10, 52.05], [5.15, 52.05], [5.15, 52.10], [5.10, 52.10]]


class NewArea(Given):
    """An area to be made inside another one; 1 is the whole city."""

    model_config = example(name="North", parent_id=1, bounds=_CORNERS)
    name: Name
    parent_id: Id = 1
    bounds: Bounds | None = None


class AreaChange(Given):
    """What is to change of an area; what isn't named stays."""

    model_config = example(name="North and harbour")
    name: Name | None = None
    bounds: Bounds | None = None


class AreaShown(Shown):
    """An area. `path` names all areas that it lies in, from the whole city down to itself."""

    model_config = example(
        id=4,
        name="North",
        parent_id=1,
        path="/1/4/",
        bounds=_CORNERS,
        created_at="2026-11-25T08:00:00Z",
        version=1,
    )
    id: int
    name: str
    parent_id: int | None
    path: str
    bounds: Bounds | None
    created_at: Moment
    version: int


class DutyGiven(Given):
    """Somebody who answers for events of some kinds; of all kinds where none is named."""

    person: Name
    kinds: Annotated[list[EventKind], Field(max_length=20, default_factory=list)]


class DutiesGiven(Given):
    """Everybody who answers for an area: replaces who did before."""

    model_config = example(duties=[{"person": "Ada", "kinds": ["signal-fault"]}, {"person": "Ben"}])
    duties: Annotated[list[DutyGiven], Field(max_length=200)]


class DutyShown(Shown):
    """Somebody who answers for an area, and how many events wait for them."""

    person_id: int
    person: str
    kinds: list[str]
    open_events: int


class DutiesShown(Shown):
    """Everybody who answers for an area."""

    model_config = example(
        duties=[{"person_id": 2, "person": "Ada", "kinds": ["signal-fault"], "open_events": 1}]
    )
    duties: list[DutyShown]
