"""The steps of a night that are done by workers, and the functions that do the work, which tests may exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from signals.demand.calendar import Calendar
from signals.demand.proportions import DAY_PRIOR_VEHICLES, constant_proportions, default_shares
from signals.errors import InputError
from signals.formats.sumo.programs import plans_text
from signals.model.counts import CountForecast, Floats
from signals.model.network import Movement, Network
from signals.model.night import DayDemand, DayType, GroupNight, Subarea
from signals.model.night_notes import DataProblem
from signals.model.plan import PlanRequest
from signals.nightly.city import PackedCounts
from signals.nightly.folder import keyed, packed_forecast, plain, revived

if TYPE_CHECKING:
    from signals.planning.day import GroupCase


@dataclass(frozen=True)
class Eve:
    """What is known of a day before it, beside the counts: its date, the calendar, and the days unlike others."""

    day: date
    calendar: Calendar
    events: frozenset[date]


Forecaster = Callable[
    [PackedCounts, Mapping[str, float], Mapping[str, str], Eve],
    tuple[CountForecast, Sequence[str], Sequence[DataProblem]],
]
"""Forecasts movements, from counts by approach and the share of each movement; with remarks and problems."""


@dataclass(frozen=True)
class Steps:
    """The functions that a night calls. Those that workers call can be pickled."""

    forecast: Forecaster
    subareas: Callable[[Network, DayDemand, PlanRequest], Sequence[Subarea]]
    plan: Callable[[GroupCase], GroupNight]
    validate: Callable[[Any], Mapping[str, Any]]
    page: Callable[..., str]


# ----------------------------------------------------------------------------------------- done by workers


@dataclass(frozen=True)
class ForecastGiven:
    """What a worker forecasts from; its answer is the bytes of a file."""

    forecast: Forecaster
    key: str
    counts: PackedCounts
    shares: Mapping[str, float]
    approach_of: Mapping[str, str]
    eve: Eve


def do_forecast(given: ForecastGiven) -> bytes:
    """The file of the forecast of a part of the counts."""
    forecast, remarks, problems = given.forecast(given.counts, given.shares, given.approach_of, given.eve)
    return packed_forecast(given.key, forecast, remarks, problems)


@dataclass(frozen=True)
class PlanGiven:
    """What a worker plans; its answer is the texts of two files."""

    plan: Callable[[GroupCase], GroupNight]
    key: str
    case: GroupCase


def do_plan(given: PlanGiven) -> tuple[str, str]:
    """The file of what was found for a group, and that of its programs for SUMO, empty where it has none.

    Plans are taken as they read back from the first file, so that both name the same digest.
    """
    facts = plain(GroupNight, given.plan(given.case))
    night: GroupNight = revived(GroupNight, facts)
    return keyed(given.key, facts), plans_text(night.plans) if night.plans is not None else ""


# ------------------------------------------------------------------------------------------------- demand


def shares_of(movements: Sequence[Movement], turns: Mapping[str, float]) -> dict[str, float]:
    """Share of each movement in its approach: as surveyed, drawn towards what is usual where few were counted."""
    usual = default_shares(movements)
    total: dict[str, float] = {}
    for m in movements:
        total[m.approach] = total.get(m.approach, 0.0) + turns.get(m.id, 0.0)
    return {
        m.id: (turns.get(m.id, 0.0) + DAY_PRIOR_VEHICLES * usual[m.id])
        / (total[m.approach] + DAY_PRIOR_VEHICLES)
        for m in movements
    }


def forecast_part(
    counts: PackedCounts, shares: Mapping[str, float], approach_of: Mapping[str, str], eve: Eve
) -> tuple[CountForecast, Sequence[str], Sequence[DataProblem]]:
    """What the movements of the approaches in a part of the counts are expected to carry on a day.

    Movements that the table counts themselves need no share of their approach.
    """
    from signals.demand.day import forecast_day

    table = counts.table()
    counted = shares.keys() & set(table.names)
    shares = {m: 1.0 if m in counted else share for m, share in shares.items()}
    approach_of = {m: m if m in counted else approach for m, approach in approach_of.items()}
    proportions = constant_proportions(shares, approach_of, step_min=table.step_min)
    made = forecast_day(table, eve.day, proportions, calendar=eve.calendar, events=eve.events)
    return made.demand.forecast, [*table.remarks, *made.remarks], made.problems


def subareas_of_day(network: Network, demand: DayDemand, request: PlanRequest) -> Sequence[Subarea]:
    """The groups of a city that are worth timing together, by the hours that stand for the day."""
    from signals.demand.day import turning_of, windows_of_day
    from signals.demand.onward import Onward
    from signals.timing.subareas import subareas

    onward = Onward.of(network)
    windows = [
        turning_of(network, demand, None, first, last, onward=onward)
        for first, last in windows_of_day(demand)
    ]
    return subareas(network, windows, request=request)


def real_steps() -> Steps:
    """The functions of a real night."""
    from signals.nightly.page import report_page
    from signals.nightly.validation import validate_in_sumo
    from signals.planning.day import plan_day

    return Steps(forecast_part, subareas_of_day, plan_day, validate_in_sumo, report_page)


class CityDemand:
    """The forecast of a whole city, put together from those of its parts; gives that of any movements."""

    def __init__(self, day: date, day_type: DayType) -> None:
        self._day, self._day_type = day, day_type
        self._first: CountForecast | None = None
        self._column: dict[str, int] = {}
        self._mean: list[Floats] = []
        self._quantiles: list[Floats] = []

    def add(self, forecast: CountForecast) -> None:
        """Take in a part's forecast; a movement that another part has already stays as it is there.

        Raises
        ------
        InputError
            Where its intervals aren't those of the other parts.
        """
        self._first = self._first or forecast.select(())
        if forecast.step_min != self._first.step_min or len(forecast.times) != len(self._first.times):
            raise InputError(
                f"counts by {forecast.step_min} and by {self._first.step_min} min in one city; bring them to one step"
            )
        for k, name in enumerate(forecast.names):
            if name not in self._column:
                self._column[name] = len(self._mean)
                self._mean.append(forecast.mean[:, k].copy())
                self._quantiles.append(forecast.quantiles[:, k].copy())

    def of(self, movements: Sequence[str]) -> DayDemand:
        """The day's demand of those of these movements that are forecast."""
        assert self._first is not None
        first = self._first
        known = [name for name in movements if name in self._column]
        columns = [self._column[name] for name in known]
        mean = np.stack([first.mean.sum(axis=1), *(self._mean[k] for k in columns)], axis=1)[:, 1:]
        nothing = first.quantiles.sum(axis=1)
        quantiles = np.stack([nothing, *(self._quantiles[k] for k in columns)], axis=1)[:, 1:]
        forecast = replace(
            first,
            names=tuple(known),
            mean=np.ascontiguousarray(mean),
            quantiles=np.ascontiguousarray(quantiles),
        )
        return DayDemand(self._day, self._day_type, forecast)

    def everything(self) -> DayDemand:
        """The day's demand of all movements."""
        return self.of(list(self._column))

    def __len__(self) -> int:
        return len(self._column)
