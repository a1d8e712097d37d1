"""A night's work: a day's demand, the groups of signals that are timed together, and their plans through the day.

Minutes are those of the local day, 0 at midnight; seconds of a day's plan set count from midnight too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from signals.model.counts import CountForecast
from signals.model.plan import PlanSet


class DayType(StrEnum):
    """What kind of day it is; days of a kind share their plans."""

    WEEKDAY = "weekday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"
    HOLIDAY = "holiday"
    EVENT = "event"


@dataclass(frozen=True, eq=False)
class DayDemand:
    """What is expected of a day: the series of `forecast` are ids of movements, its rows the slots from midnight on."""

    day: date
    day_type: DayType
    forecast: CountForecast


@dataclass(frozen=True, slots=True)
class Subarea:
    """Signals that are timed together, sorted, and the cycles worth trying for them [s], rising.

    `coupling` is the weakest link that holds it together, None where a signal stands alone.
    """

    id: str
    signals: tuple[str, ...]
    cycles_s: tuple[int, ...]
    coupling: float | None = None


@dataclass(frozen=True, slots=True)
class ScheduledPeriod:
    """A part of the day with one plan: the cycle of the group and the greens of each signal's stages, whole seconds.

    A signal's own cycle is the group's or half of it; one whose bounds fit neither has another.
    """

    begin_min: int
    end_min: int
    cycle_s: int
    green_s: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class DaySchedule:
    """When a group changes plans, and what that is worth by HCM delay [veh·h of the whole day].

    `delay_veh_h` is that of the periods, `transition_veh_h` what changing plans costs on top. `one_plan_veh_h` is the
    best that a single plan does; `wait_and_see_veh_h` what a plan of its own in every slot would do if changes cost
    nothing: no schedule is better. `by_plans[k]` is the least delay, transitions included, with at most k + 1 plans.
    """

    periods: tuple[ScheduledPeriod, ...]
    delay_veh_h: float
    transition_veh_h: float
    one_plan_veh_h: float
    wait_and_see_veh_h: float
    by_plans: tuple[float, ...]

    def __post_init__(self) -> None:
        ends = [p.end_min for p in self.periods]
        if [p.begin_min for p in self.periods] != [0, *ends[:-1]]:
            raise ValueError(f"periods that end at {ends} min: each must begin where the one before ends")


@dataclass(frozen=True, slots=True)
class Offsets:
    """How the signals of a group were set against each other in one period; costs are vehicles waiting, stops included.

    `gap` is the part of the cost by link that other offsets could save at most.
    """

    signals: int
    given: float
    found: float
    gap: float


@dataclass(frozen=True, slots=True)
class Expected:
    """Mean delay [s/veh] at the day's expected demand, and at its low and high quantiles."""

    mean_s: float
    low_s: float
    high_s: float


@dataclass(frozen=True, slots=True)
class Change:
    """What a stage of a signal gains or loses in a period, against the program in place, and what its demand did.

    `movements` are those that the stage lets go. `demand_percent` compares their forecast with the demand that the plan
    in place was made for, or, where that isn't known, with the mean of the counts; None where neither is.
    """

    stage: int
    movements: tuple[str, ...]
    from_s: float
    to_s: float
    demand_percent: float | None


@dataclass(frozen=True, slots=True)
class SignalPeriod:
    """One signal in one period: what it will show, and what HCM says of it before and after."""

    cycle_s: float
    offset_s: float
    before: Expected
    after: Expected
    vc_before: float
    vc_after: float
    los_before: str
    los_after: str
    vehicles: float
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class GroupNight:
    """What a night found for a group: plans through the day, or the reason why there are none.

    `plans` has a period of the schedule each, on the clock of the day. `signals[name]` has one row a period. `failed`
    is the reason where the group has no plans; signals without any are named in `plans.unplanned`. `findings` are
    what the safety check says; plans with any are never handed on, and `failed` says so.
    """

    subarea: Subarea
    plans: PlanSet | None
    schedule: DaySchedule | None
    offsets: tuple[tuple[Offsets, ...], ...] = ()
    signals: Mapping[str, tuple[SignalPeriod, ...]] | None = None
    before: tuple[Expected, ...] = ()
    after: tuple[Expected, ...] = ()
    findings: tuple[str, ...] = ()
    failed: str = ""
