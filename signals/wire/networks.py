"""Networks, their intersections and corridors."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from signals.model.states import NetworkState
from signals.wire.base import Given, Id, Moment, Name, Shown, example

Timezone = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$", max_length=60)
]
"""An IANA name such as Europe/Vienna."""


class NetworkShown(Shown):
    """A network: a SUMO scenario as it was uploaded. Its files are read by the job `job_id`.

    `facts` holds, once it is ready: the scenario's window [s], how many vehicles, pedestrians and signals there
    are, and what was found odd.
    """

    model_config = example(
        id=1,
        area_id=4,
        name="Main Street",
        timezone="Europe/Vienna",
        state="ready",
        problem="",
        upload_sha256="9f" * 32,
        facts={"window_s": [0, 3600], "vehicles": 4120, "pedestrians": 80, "signals": 8, "remarks": []},
        job_id=1,
        created_at="2026-11-25T08:00:00Z",
        version=2,
    )
    id: int
    area_id: int
    name: str
    timezone: str
    state: NetworkState
    problem: str
    upload_sha256: str
    facts: dict[str, Any]
    job_id: int | None
    created_at: Moment
    version: int


class NetworkChange(Given):
    """What is to change of a network; what isn't named stays. The timezone is fixed by the first counts."""

    model_config = example(name="Main Street east")
    name: Name | None = None
    timezone: Timezone | None = None


class IntersectionShown(Shown):
    """A signal of a network. `facts` holds its approaches, movements, detectors, program and remarks."""

    model_config = example(
        id=7,
        network_id=1,
        area_id=4,
        signal="j1",
        name="Main Street and 1st Avenue",
        x_m=120.0,
        y_m=80.5,
        facts={
            "cycle_s": 110,
            "stages": 4,
            "approaches": [],
            "movements": [],
            "detectors": [],
            "remarks": [],
        },
        version=1,
    )
    id: int
    network_id: int
    area_id: int
    signal: str
    name: str
    x_m: float
    y_m: float
    facts: dict[str, Any]
    version: int


class IntersectionChange(Given):
    """What is to change of an intersection: its name, or the area that answers for it."""

    model_config = example(name="Main Street and 1st Avenue", area_id=4)
    name: Name | None = None
    area_id: Id | None = None


class CorridorShown(Shown):
    """Signals in a row along which traffic flows, in the order of travel."""

    model_config = example(id=1, network_id=1, name="j1 - j8", signals=["j1", "j2", "j3"])
    id: int
    network_id: int
    name: str
    signals: list[str] = Field(description="ids of signals")
