"""Forecasts and screenings of counts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from signals.model.counts import LEVELS
from signals.wire.base import Day, Given, Id, Moment, Name, Shown, example

Country = Annotated[str, StringConstraints(pattern="^([A-Z]{2})?$")]
Subdivision = Annotated[str, StringConstraints(pattern="^[A-Z0-9]{0,6}$")]
Level = Annotated[float, Field(gt=0, lt=1)]


class DaysOff(Given):
    """The calendar that counts follow: holidays of a country (ISO 3166), and days of one's own."""

    country: Country = ""
    subdivision: Subdivision = ""
    own: Annotated[dict[Day, Name], Field(max_length=400)] = Field(default_factory=dict)


class NewScreening(Given):
    """Counts to be looked through: of all streams, in the last weeks."""

    model_config = example(calendar={"country": "AT"}, weeks=8)
    calendar: DaysOff = DaysOff()
    weeks: Annotated[int, Field(ge=1, le=104)] = 8
    max_flow_vph: Annotated[float, Field(gt=0, le=20_000)] | None = None


class NewForecast(Given):
    """Counts to come. Without `streams` of all; without `origin_at` from the last count on."""

    model_config = example(horizon=96, levels=[0.1, 0.5, 0.9], calendar={"country": "AT"})
    horizon: Annotated[int, Field(ge=1, le=4 * 96)] = Field(4, description="intervals ahead")
    levels: Annotated[list[Level], Field(max_length=19)] = Field(
        default=list(LEVELS), description="quantiles to give"
    )
    streams: Annotated[list[Id], Field(min_length=1, max_length=100_000)] | None = None
    origin_at: Moment | None = Field(None, description="end of the counts that are used")
    weeks: Annotated[int, Field(ge=1, le=104)] = Field(8, description="counts that are learned from")
    calendar: DaysOff = DaysOff()
    warn_above: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="probability of exceeding a capacity from which on a warning is written"
    )


class ForecastShown(Shown):
    """A forecast: made of which counts, how far, for how many streams. `wape` is its error [%], once known."""

    model_config = example(
        id=5,
        network_id=1,
        job_id=21,
        made_at="2026-11-25T08:00:00Z",
        origin_at="2026-11-25T08:00:00Z",
        step_min=15,
        horizon=96,
        levels=[0.1, 0.5, 0.9],
        streams=32,
        left_out=14,
        inputs_sha256="ab" * 32,
        wape=None,
    )
    id: int
    network_id: int
    job_id: int
    made_at: Moment
    origin_at: Moment
    step_min: int
    horizon: int
    levels: list[float]
    streams: int
    left_out: int = Field(description="counts that screening marked bad, which were not learned from")
    inputs_sha256: str
    wape: float | None


class ForecastSeriesShown(Shown):
    """One stream of a forecast, veh per interval: means, and for each level its quantiles."""

    model_config = example(
        id=9,
        stream="main_in",
        begins_at="2026-11-25T08:00:00Z",
        step_min=15,
        mean=[101.2, 98.5],
        quantiles={"0.9": [121.0, 119.4]},
    )
    id: int = Field(description="the stream's number")
    stream: str
    begins_at: Moment
    step_min: int
    mean: list[float]
    quantiles: dict[str, list[float]]
