"""Plans for an ambulance: the route, reports of its position, and what each signal on the way does."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from signals.wire.base import Given, Number, Shown, example

EdgeId = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Second = Annotated[float, Field(ge=0, le=10**7, allow_inf_nan=False), Number]
"""A second of the network's own clock, as in its scenario."""
State = Annotated[str, StringConstraints(pattern=r"^[GgyYrsuoO]+$", max_length=500)]

_HOLD = {
    "leaves_s": 25210.0,
    "begins_s": 25217.0,
    "ends_s": 25262.0,
    "back_s": 25269.0,
    "stage": "rrGG",
    "steps": [{"at_s": 25210.0, "state": "yyrr"}, {"at_s": 25217.0, "state": "rrGG"}],
}


class StepShown(Given):
    """A state, and the second from which it is shown."""

    at_s: Second
    state: State


class HoldShown(Given):
    """A time away from the program: it is left, the ambulance's stage begins and ends, and all is in step again."""

    model_config = example(**_HOLD)
    leaves_s: Second
    begins_s: Second
    ends_s: Second
    back_s: Second
    stage: State
    steps: Annotated[list[StepShown], Field(min_length=1, max_length=500)]


class Departure(Given):
    """A drive that is yet to begin; no signal leaves its program before the route is known."""

    model_config = example(kind="departure", departs_s=25200.0, known_at_s=25140.0)
    kind: Literal["departure"]
    departs_s: Second
    known_at_s: Second | None = Field(None, description="at departure by default")


class UnderWay(Given):
    """A drive under way: metres along an edge of its route, at a second of the clock, and the last plan's holds."""

    model_config = example(kind="under way", edge="c3_c4", along_m=120.0, at_s=25290.0, holds={})
    kind: Literal["under way"]
    edge: EdgeId
    along_m: Annotated[float, Field(ge=0, le=10**6, allow_inf_nan=False), Number]
    at_s: Second
    holds: dict[str, list[HoldShown]] = Field({}, description="by signal, as the last plan showed them")


class NewEmergencyPlan(Given):
    """A drive to be given way: before it begins, or from where it is."""

    model_config = example(
        route=["west_c1", "west_c1_pocket", "c1_c2"],
        drive={"kind": "departure", "departs_s": 25200.0, "known_at_s": 25140.0},
    )
    route: Annotated[list[EdgeId], Field(min_length=1, max_length=2000)]
    drive: Annotated[Departure | UnderWay, Field(discriminator="kind")]
    queues: dict[str, Annotated[float, Field(ge=0, le=10**4, allow_inf_nan=False), Number]] = Field(
        {}, description="vehicles seen on the route up to the stop line, by signal"
    )


class MovementCost(Shown):
    """What a hold costs a movement: seconds of red on top of its own, and delay [veh·s] by its flow."""

    movement: str
    red_added_s: float
    delay_added_s: float


class SignalHeldShown(Shown):
    """What one signal does for the ambulance. Without holds its program shows green by itself, or it has passed."""

    signal: str
    movement: str
    links: list[int]
    phases: list[int] = Field(description="NEMA numbers of the phases held, where the signal has rings")
    distance_m: float
    eta_early_s: float
    eta_late_s: float
    passed: bool
    queue_veh: float
    holds: list[HoldShown]
    longest_red_s: float = Field(description="of any link that the program serves, while away and around it")
    red_added_s: float
    cross_delay_s: float
    costs: list[MovementCost]


class EmergencyPlanShown(Shown):
    """A plan for a drive. Times saved and costs are predictions; every hold has passed the safety check."""

    route: list[str]
    planned_at_s: float
    driven_m: float
    length_m: float
    travel_s: float
    travel_without_s: float
    saved_s: float
    cross_delay_s: float
    signals: list[SignalHeldShown]
    skipped: dict[str, str] = Field(description="signals without priority, and why")
    computed_in_s: float
