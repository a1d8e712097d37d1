"""Controllers on the street, and deployments of plans to them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from signals.model.controller import UnitClock
from signals.model.states import DeploymentState, StepState
from signals.wire.base import Given, Id, Moment, Number, Shown, Text, example

Host = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9-]{1,63}){0,10}$|^[0-9a-f:]{2,39}$"
    ),
]
"""A name or an IP address."""
Port = Annotated[int, Field(ge=1, le=65535), Number]
CredentialsName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,59}$")]
"""A name of a section in the file of credentials; keys and communities never go over this wire."""


class NewController(Given):
    """The unit of an intersection, which speaks NTCIP 1202 over SNMP."""

    model_config = example(intersection_id=7, host="10.20.0.7", port=161, credentials="street")
    intersection_id: Id
    host: Host
    port: Port = 161
    credentials: CredentialsName = "street"
    clock: UnitClock = Field(
        UnitClock.SYSTEM, description="`simulated` where the unit's clock is that of a simulation"
    )


class ControllerChange(Given):
    """What is to change of a unit; what isn't named stays."""

    model_config = example(host="10.20.0.8")
    host: Host | None = None
    port: Port | None = None
    credentials: CredentialsName | None = None
    clock: UnitClock | None = None


class ControllerShown(Shown):
    """A unit, and the pattern of ours that it is kept at; null where it runs its own plan."""

    model_config = example(
        id=3,
        intersection_id=7,
        signal="j1",
        area_id=4,
        host="10.20.0.7",
        port=161,
        credentials="street",
        clock="system",
        held_pattern=48,
        created_at="2026-11-25T08:00:00Z",
        version=1,
    )
    id: int
    intersection_id: int
    signal: str
    area_id: int
    host: str
    port: int
    credentials: str
    clock: UnitClock
    held_pattern: int | None
    created_at: Moment
    version: int


class NewDeployment(Given):
    """An approval to be brought to the street: the pilot first, then its corridor, then the rest.

    Without `intersections` all that the plan retimes are meant. A dry run looks at every unit, shows what would
    change, and writes nothing. Outside the window nothing begins, and what isn't through at its end goes back.
    """

    model_config = example(approval_id=1, pilot=7, watch_cycles=3)
    approval_id: Id
    intersections: Annotated[list[Id], Field(min_length=1, max_length=2000)] | None = None
    pilot: Id | None = Field(None, description="the intersection that goes first; the first one by default")
    dry_run: bool = False
    watch_cycles: Annotated[int, Field(ge=1, le=20), Number] = 3
    opens_at: Moment | None = Field(None, description="start of the change window")
    closes_at: Moment | None = Field(None, description="end of the change window")
    note: Text = ""


class StepShown(Shown):
    """One unit of a deployment. `slot` is pattern, split and sequence row; `previous` the command before.

    `facts` is what a dry run found: the differences between what the unit runs and is to run.
    """

    intersection_id: int
    signal: str
    wave: int
    state: StepState
    slot: list[int] | None
    previous: int
    pattern: dict[str, Any] | None
    facts: dict[str, Any]
    problem: str
    changed_at: Moment


_SUMMARY: dict[str, Any] = {
    "id": 5,
    "approval_id": 1,
    "plan": "3b" * 32,
    "network_id": 1,
    "area_id": 4,
    "state": "in force",
    "terms": {"watch_cycles": 3},
    "problem": "",
    "job_id": 21,
    "created_by": 6,
    "created_at": "2026-11-25T09:30:00Z",
    "ended_at": None,
}


class DeploymentSummary(Shown):
    """A plan on its way to the street, there, or back."""

    model_config = example(**_SUMMARY)
    id: int
    approval_id: int
    plan: str
    network_id: int
    area_id: int
    state: DeploymentState
    terms: dict[str, Any]
    problem: str
    job_id: int | None = Field(description="the latest job; null while the change window isn't open")
    created_by: int
    created_at: Moment
    ended_at: Moment | None


class DeploymentShown(DeploymentSummary):
    """A deployment with its units, in the order of the waves."""

    model_config = example(
        **_SUMMARY,
        steps=[
            {
                "intersection_id": 7,
                "signal": "j1",
                "wave": 0,
                "state": "running",
                "slot": [48, 48, 1],
                "previous": 0,
                "pattern": {"cycle_s": 90, "offset_s": 12},
                "facts": {},
                "problem": "",
                "changed_at": "2026-11-25T09:36:00Z",
            }
        ],
    )
    steps: list[StepShown]


class RollBack(Given):
    """Why a deployment is to be taken back."""

    model_config = example(reason="queue on Main Street backs up to the bridge")
    reason: Text = ""
