"""Early warnings: when and where a forecast is likely to exceed what the plan in force can pass."""

from __future__ import annotations

from pydantic import Field

from signals.wire.base import Moment, Shown, example


class WarningFacts(Shown):
    """What is expected at an approach; times are on the network's own clock and have no offset."""

    approach: str
    movement: str = Field(
        description="the one to blame: the largest v/c weighted by its probability of excess"
    )
    start: str
    end: str
    slots: int = Field(description="intervals of the forecast from start to end")
    peak: str = Field(description="start of the slot in which excess is likeliest")
    peak_probability: float = Field(description="of excess in that slot, 0 to 1")
    peak_movement: str = Field(description="the movement that is likeliest to exceed there")
    excess_veh: float = Field(description="vehicles above capacity to be expected, from start to end")
    vc_mean: float = Field(description="v/c at the peak for the mean forecast")
    vc_q90: float = Field(description="v/c at the peak for the 90 % quantile")


class WarningShown(Shown):
    """An early warning, with the forecast and the intersection that it is of."""

    model_config = example(
        id=31,
        network_id=1,
        forecast_id=9,
        area_id=4,
        intersection_id=17,
        signal="A0",
        begins_at="2026-11-26T06:30:00Z",
        ends_at="2026-11-26T07:15:00Z",
        facts={
            "approach": "A0:top0A0",
            "movement": "A0:top0A0:left",
            "start": "2026-11-26T07:30",
            "end": "2026-11-26T08:15",
            "slots": 3,
            "peak": "2026-11-26T07:45",
            "peak_probability": 0.82,
            "peak_movement": "A0:top0A0:left",
            "excess_veh": 21.4,
            "vc_mean": 1.08,
            "vc_q90": 1.21,
        },
    )
    id: int
    network_id: int
    forecast_id: int
    area_id: int
    intersection_id: int
    signal: str
    begins_at: Moment
    ends_at: Moment
    facts: WarningFacts
