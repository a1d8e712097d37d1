"""Plan requests, plans, comparisons and approvals."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from signals.model.plan import ClearancePolicy, ControllerPolicy, Objective, StagePolicy
from signals.model.states import Decision, PlanState
from signals.wire.base import Given, Id, Moment, Name, Shown, Text, example
from signals.wire.jobs import JobShown

Hash = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
"""SHA-256 of a plan."""
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
CycleS = Annotated[float, Field(ge=20, le=300)]


class WholeNetwork(Given):
    """Every signal of the network."""

    kind: Literal["network"]


class SomeIntersections(Given):
    """These signals; the others keep their plans."""

    kind: Literal["intersections"]
    intersections: Annotated[list[Id], Field(min_length=1, max_length=2000)]


class OneCorridor(Given):
    """The signals of a corridor."""

    kind: Literal["corridor"]
    corridor_id: Id


class OneArea(Given):
    """The network's signals that lie in an area, or in one below it."""

    kind: Literal["area"]
    area_id: Id


Scope = Annotated[WholeNetwork | SomeIntersections | OneCorridor | OneArea, Field(discriminator="kind")]


class ScenarioDemand(Given):
    """The traffic that was uploaded with the network."""

    kind: Literal["scenario"]


class ForecastDemand(Given):
    """The traffic that the counts make us expect in a period, of whole intervals and up to 6 hours.

    The routes are drawn from those of the uploaded traffic, so that they fit the forecast. Counts up to the
    period's start are used, as far as there are any when the request is made.
    """

    kind: Literal["forecast"]
    begins_at: Moment
    ends_at: Moment


DemandOf = Annotated[ScenarioDemand | ForecastDemand, Field(discriminator="kind")]


class Limits(Given):
    """What a plan must keep to."""

    min_cycle_s: CycleS = 30.0
    max_cycle_s: CycleS = 180.0
    min_green_s: Annotated[float, Field(ge=1, le=60)] = 5.0
    walk_s: Annotated[float, Field(ge=0, le=60)] = 7.0
    walking_speed_mps: Annotated[float, Field(ge=0.3, le=3)] = 1.07
    ignore_durations: bool = Field(False, description="override the field's minDur and maxDur")


class Validation(Given):
    """The comparison in SUMO that follows: so many seeds, the first one's number."""

    seeds: Annotated[int, Field(ge=2, le=50)] = 5
    first_seed: Annotated[int, Field(ge=0, le=10**9)] = 101


class NewPlanRequest(Given):
    """A plan to be made."""

    model_config = example(
        network_id=1,
        scope={"kind": "network"},
        demand={
            "kind": "forecast",
            "begins_at": "2026-11-26T07:00:00+01:00",
            "ends_at": "2026-11-26T08:00:00+01:00",
        },
        objective="delay",
        stages="keep",
        limits={"max_cycle_s": 120},
        validation={"seeds": 5},
    )
    network_id: Id
    scope: Scope = WholeNetwork(kind="network")
    demand: DemandOf = ScenarioDemand(kind="scenario")
    objective: Objective = Objective.DELAY
    stop_weight_s: Annotated[float, Field(ge=0, le=600)] = Field(
        20.0, description="what a stop counts for in the objective `index`, in seconds of delay"
    )
    stages: StagePolicy = StagePolicy.KEEP
    clearance: ClearancePolicy = ClearancePolicy.KEEP
    controllers: ControllerPolicy = Field(
        ControllerPolicy.ANY,
        description="`nema` where it is to be deployed: orders of stages that the rings of a controller can show",
    )
    limits: Limits = Limits()
    seed: Seed = 1
    validation: Validation | None = Validation()
    deadline_at: Moment | None = Field(None, description="the job fails where it isn't done by then")
    note: Text = ""


class PlanRequestShown(Shown):
    """A plan asked for: by whom, on which terms, the job that makes it, and the plan once there is one."""

    model_config = example(
        id=3,
        network_id=1,
        area_id=4,
        signals=["j1", "j2"],
        terms={"objective": "delay"},
        job=JobShown.model_config["json_schema_extra"]["examples"][0],  # type: ignore[index]
        plan=None,
        created_by=2,
        created_at="2026-11-25T08:00:00Z",
    )
    id: int
    network_id: int
    area_id: int
    signals: list[str]
    terms: dict[str, Any]
    job: JobShown
    plan: str | None
    created_by: int
    created_at: Moment


class DocumentShown(Shown):
    """A form of a plan, and where it is."""

    kind: str
    name: str
    media_type: str
    href: str


class NightShown(Shown):
    """The night that made a plan: for which day and kind of days, of which group of signals."""

    model_config = example(day="2026-11-26", day_type="weekday", group="j1", signals=["j1", "j2"])
    day: date
    day_type: str
    group: str
    signals: list[str]


class PlanShown(Shown):
    """A plan: how far it is, and where its forms are. It never changes; what is decided about it may."""

    model_config = example(
        hash="3b" * 32,
        digest="51c1f5fd03a90b04",
        state="compared",
        network_id=1,
        area_id=4,
        keeps_plan_in_place=False,
        night=None,
        requests=[3],
        comparisons=[2],
        documents=[
            {
                "kind": "sumo",
                "name": "plans.add.xml",
                "media_type": "application/xml",
                "href": "/v1/plans/" + "3b" * 32 + "/documents/sumo/plans.add.xml",
            }
        ],
        created_at="2026-11-25T08:01:00Z",
    )
    hash: str
    digest: str = Field(description="the plan set's own short hash, as `greensplit optimize` prints it")
    state: PlanState
    network_id: int
    area_id: int
    keeps_plan_in_place: bool
    night: NightShown | None = Field(
        None, description="of a plan that nobody asked for: the night that made it"
    )
    requests: list[int]
    comparisons: list[int]
    documents: list[DocumentShown]
    created_at: Moment


class NewComparison(Given):
    """A plan to be run in SUMO beside another one, or beside the plan in place where none is named."""

    model_config = example(plan="3b" * 32, seeds=5, first_seed=201)
    plan: Hash
    against: Hash | None = None
    seeds: Annotated[int, Field(ge=2, le=50)] = 5
    first_seed: Annotated[int, Field(ge=0, le=10**9)] = 101


class ComparisonShown(Shown):
    """Two plans with the same seeds. `figures` holds every measure with intervals, once the job is done."""

    model_config = example(
        id=2,
        plan="3b" * 32,
        against=None,
        area_id=4,
        seeds=[101, 102, 103, 104, 105],
        verdict="adopt",
        figures={"alternatives": [{"gain_percent": 21.4}]},
        job_id=13,
        created_by=2,
        created_at="2026-11-25T08:01:00Z",
    )
    id: int
    plan: str
    against: str | None
    area_id: int
    seeds: list[int]
    verdict: str | None
    figures: dict[str, Any] | None
    job_id: int
    created_by: int
    created_at: Moment


class NewApproval(Given):
    """A decision on a plan. Approving rests on a comparison; against its verdict it takes a reason."""

    model_config = example(decision="approve", comparison_id=2, note="agreed with the bus operator")
    decision: Decision
    comparison_id: Id | None = Field(None, description="the evidence; needed to approve")
    against_advice: bool = Field(
        False, description="approve although the verdict is to keep the current plan"
    )
    note: Text = ""


class ApprovalShown(Shown):
    """A decision on a plan, and who took it."""

    model_config = example(
        id=1,
        plan="3b" * 32,
        area_id=4,
        decision="approve",
        comparison_id=2,
        note="agreed with the bus operator",
        person_id=5,
        person="Cleo",
        created_at="2026-11-25T09:00:00Z",
    )
    id: int
    plan: str
    area_id: int
    decision: Decision
    comparison_id: int | None
    note: str
    person_id: int
    person: Name
    created_at: Moment
