"""A city of a few signals whose night takes moments, to see what the engine does around the work.

`CITY_FAULTS` and `SLOW_S` in the environment order faults, so that they reach workers too.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from signals.demand.calendar import Calendar
from signals.errors import InfeasiblePlan, InputError
from signals.formats.city import ApprovalBounds
from signals.formats.sumo.config import Scenario
from signals.model.counts import CountForecast, CountTable
from signals.model.network import Edge, Intersection, Lane, Movement, Network, Turn
from signals.model.night import (
    Change,
    DayDemand,
    DaySchedule,
    Expected,
    GroupNight,
    ScheduledPeriod,
    SignalPeriod,
    Subarea,
)
from signals.model.night_notes import DataProblem
from signals.model.phasing import ConflictTable, Interval, SignalProgram
from signals.model.plan import PlanRequest, PlanSet, TimingPlan
from signals.nightly.city import PackedCounts
from signals.nightly.options import Extent, NightOptions
from signals.nightly.steps import Eve, Steps
from signals.nightly.validation import ValidationGiven
from signals.planning.day import GroupCase
from signals.timing.schedule import ScheduleRequest

DAY = date(2026, 3, 2)
NOON_S = 43200.0
SLOTS = 96


def program(signal_: str, green_s: float, offset_s: float = 0.0) -> SignalProgram:
    """Two stages, the first of which is green for so long, in a cycle of a minute."""
    intervals = (
        Interval(green_s, "Gr"),
        Interval(3, "yr"),
        Interval(54 - green_s, "rG"),
        Interval(3, "ry"),
    )
    return SignalProgram(signal_, "0", "static", offset_s, intervals)


def made_network(signals: int) -> Network:
    """Signals with a movement each, which nothing joins."""
    edges, intersections = {}, {}
    for k in range(signals):
        name = f"s{k:02d}"
        for edge in (f"{name}:in", f"{name}:out"):
            lane = Lane(f"{edge}_0", 200.0, 13.9, frozenset({"passenger"}))
            edges[edge] = Edge(edge, "a", "b", (lane,), 200.0, 13.9, 0.0, (0.0, 0.0), (200.0, 0.0))
        movement = Movement(f"{name}:m", f"{name}:in", f"{name}:out", Turn.THROUGH, (0,), (0,))
        conflicts = ConflictTable(2, frozenset({(0, 1)}), frozenset())
        intersections[name] = Intersection(
            name, (name,), ((), ()), (), (movement,), (), conflicts, program(name, 20.0)
        )
    return Network("made", edges, (), intersections)


@dataclass(frozen=True)
class Counts:
    """Counts of some approaches, packed."""

    names: tuple[str, ...]
    level: float

    def table(self) -> CountTable:
        """The same count all the time."""
        values = np.full((SLOTS, len(self.names)), self.level)
        return CountTable(self.names, np.datetime64("2026-03-01T00:00"), 15, values)


@dataclass(frozen=True)
class Part:
    """A part of the counts."""

    id: str
    series: tuple[str, ...]
    level: float

    def digest(self) -> str:
        """What is in it."""
        return f"{self.level!r} {self.series!r}"

    def pack(self) -> Counts:
        """For a worker."""
        if self.level < 0:
            raise InputError(f"{self.id}: can't be read")
        return Counts(self.series, self.level)


@dataclass
class City:
    """A city with `signals` signals, four to a part of the counts."""

    folder: Path
    signals: int = 8
    bounds: ApprovalBounds = field(default_factory=ApprovalBounds)
    levels: Mapping[int, float] = field(default_factory=dict)
    name: str = "made"
    seed: int = 1
    calendar: Calendar = field(default_factory=Calendar)
    events: Mapping[date, str] = field(default_factory=dict)

    @property
    def parts(self) -> Sequence[Part]:
        """Four signals each."""
        names = [f"s{k:02d}:in" for k in range(self.signals)]
        return [
            Part(f"{k:03d}", tuple(names[4 * k : 4 * k + 4]), self.levels.get(k, 10.0 + k))
            for k in range(-(-self.signals // 4))
        ]

    @property
    def scenario(self) -> Scenario:
        """A file that nobody reads as a network."""
        net = self.folder / "made.net.xml"
        net.write_text("<net/>")
        return Scenario(None, net, (), (), 0.0, None)

    def network(self) -> Network:
        """Its network."""
        return made_network(self.signals)

    def network_digest(self) -> str:
        """Says how many signals there are."""
        return f"made of {self.signals}"

    def turns(self) -> Mapping[str, float]:
        """Nothing was surveyed."""
        return {}


def faults() -> dict[str, str]:
    """What is to go wrong, by group or part."""
    found: dict[str, str] = json.loads(os.environ.get("CITY_FAULTS", "{}"))
    return found


def go_wrong(what: str) -> None:
    """Do what was ordered for a group or part: fail, break, or die."""
    time.sleep(float(os.environ.get("SLOW_S", "0")))
    fault = faults().get(what, "")
    if fault == "fail":
        raise InfeasiblePlan(f"{what}: fits no cycle")
    if fault == "break":
        raise ZeroDivisionError(what)
    if fault == "full":
        raise OSError("no space left on device")
    if fault == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.startswith("die once "):
        mark = Path(fault.removeprefix("die once "))
        if not mark.exists():
            mark.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)


def forecast(
    counts: PackedCounts, shares: Mapping[str, float], approach_of: Mapping[str, str], eve: Eve
) -> tuple[CountForecast, Sequence[str], Sequence[DataProblem]]:
    """Tomorrow is as today."""
    table = counts.table()
    go_wrong(table.names[0])
    column = {name: k for k, name in enumerate(table.names)}
    movements = tuple(m for m in shares if approach_of[m] in column)
    mean = np.stack([table.values[:, column[approach_of[m]]] * shares[m] for m in movements], axis=1)
    times = np.datetime64(eve.day, "m") + 15 * np.arange(SLOTS).astype("timedelta64[m]")
    quantiles = mean[:, :, None] * np.array([0.8, 1.0, 1.2])
    return CountForecast(movements, times, 15, mean, (0.1, 0.5, 0.9), quantiles), ["a remark"], []


def subareas(network: Network, demand: DayDemand, request: PlanRequest) -> Sequence[Subarea]:
    """Two neighbours each, the last one alone where they are odd."""
    names = sorted(network.intersections)
    return [
        Subarea(names[k], tuple(names[k : k + 2]), (60,), 1.0 if len(names) > k + 1 else None)
        for k in range(0, len(names), 2)
    ]


def plan(case: GroupCase) -> GroupNight:
    """A second more of green for the first stage, two from noon on; the better, the more demand."""
    go_wrong(case.subarea.id)
    periods: list[dict[str, TimingPlan]] = [{}, {}]
    told: dict[str, tuple[SignalPeriod, ...]] = {}
    level = float(case.demand.forecast.mean.mean())
    after_s = 30.0 - 0.1 * level
    for name in case.subarea.signals:
        field_ = case.network.intersections[name].program
        assert field_ is not None
        before = case.in_place.periods[0][name].program if case.in_place else field_
        green_s = before.intervals[0].duration_s
        rows = []
        for k, gained_s in enumerate((1.0, 2.0)):
            offset_s = before.offset_s + gained_s
            periods[k][name] = TimingPlan(program(name, green_s + gained_s, offset_s))
            change = Change(1, (f"{name}:m",), green_s, green_s + gained_s, None)
            old, new = Expected(30.0, 29.0, 31.0), Expected(after_s, after_s - 1.0, after_s + 1.0)
            rows.append(SignalPeriod(60.0, offset_s, old, new, 0.5, 0.4, "C", "B", 100.0, (change,)))
        told[name] = tuple(rows)
    halves = (ScheduledPeriod(0, 720, 60, {}), ScheduledPeriod(720, 1440, 60, {}))
    schedule = DaySchedule(halves, 1.0, 0.1, 1.2, 0.9, (1.2, 1.1))
    switches = {name: (NOON_S + k,) for k, name in enumerate(case.subarea.signals)}
    plans = PlanSet(tuple(periods), switches, {}, case.request.seed, "0", case.inputs_hash)
    return GroupNight(case.subarea, plans, schedule, (), told)


def validate(given: ValidationGiven) -> Mapping[str, Any]:
    """Better, or what was ordered."""
    group = min(given.counts.counts)
    go_wrong(f"{group}:sumo")
    said = faults().get(f"{group}:says", "better")
    return {"outcome": said, "reason": "so it was ordered", "seeds": list(given.seeds)}


def page(*given: Any) -> str:
    """The figures of the night."""
    return json.dumps(given[-1], sort_keys=True)


STEPS = Steps(forecast, subareas, plan, validate, page)
OPTIONS = NightOptions(PlanRequest(), ScheduleRequest())
WITH_SUMO = replace(OPTIONS, validate=Extent.ALL)
