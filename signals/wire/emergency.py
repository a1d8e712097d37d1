"""Plans for an ambulance: the route, reports of its position, and what each signal on the way does."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from signals.wire.base import Given, Shown, example

EdgeId = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Second = Annotated[float, Field(ge=0, le=10**7, allow_inf_nan=False)]
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


class PositionGiven(Given):
    """Where the ambulance is: metres along an edge of its route, at a second of the clock."""

    model_config = example(edge="c3_c4", along_m=120.0, at_s=25290.0)
    edge: EdgeId
    along_m: Annotated[float, Field(ge=0, le=10**6, allow_inf_nan=False)]
    at_s: Second


class NewEmergencyPlan(Given):
    """A drive to be given way: `departs_s` before it begins, `position` and the last plan's holds on the way."""

    model_config = example(
        route=["west_c1", "west_c1_pocket", "c1_c2"], departs_s=25200.0, planned_at_s=25140.0
    )
    route: Annotated[list[EdgeId], Field(min_length=1, max_length=2000)]
    departs_s: Second | None = None
    planned_at_s: Second | None = Field(
        None, description="no signal leaves its program before; at departure by default"
    )
    position: PositionGiven | None = None
    holds: dict[str, list[HoldShown]] = Field({}, description="by signal, as the last plan showed them")
    queues: dict[str, Annotated[float, Field(ge=0, le=10**4, allow_inf_nan=False)]] = Field(
        {}, description="vehicles seen on the route up to the stop line, by signal"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> NewEmergencyPlan:
        if (self.departs_s is None) == (self.position is None):
            raise ValueError("give either departs_s or position")
        return self


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
