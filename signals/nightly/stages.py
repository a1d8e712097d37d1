"""The steps of a night, each with its files: what is there already and was made from the same isn't made again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from signals.errors import GreensplitError, InputError
from signals.formats.files import write_whole
from signals.model.counts import Floats
from signals.model.network import Network
from signals.model.night import DayType, GroupNight, Subarea
from signals.model.night_notes import DataProblem
from signals.model.plan import PlanSet
from signals.nightly.city import City, CountPart
from signals.nightly.code import code_digest, digest_of
from signals.nightly.folder import (
    NightFolder,
    forecast_key,
    keyed,
    plain,
    read_forecast,
    read_group,
    read_subareas,
)
from signals.nightly.in_force import PlansInForce, set_in_place
from signals.nightly.options import NightOptions
from signals.nightly.pool import Done, Pool, Task
from signals.nightly.steps import (
    CityDemand,
    Eve,
    ForecastGiven,
    PlanGiven,
    Steps,
    do_forecast,
    do_plan,
    shares_of,
)

OnProgress = Callable[[str, int, int], None]
Tell = Callable[[str], None]


@dataclass
class Stage:
    """How a step went: what was on disk, what was made and how long that took, here and on workers [s]."""

    there: int = 0
    made: int = 0
    seconds: float = 0.0
    worker_s: float = 0.0


@dataclass
class Night:
    """A night that is being worked on."""

    city: City
    network: Network
    day: date
    day_type: DayType
    data: Path
    folder: NightFolder
    options: NightOptions
    steps: Steps
    pool: Pool
    progress: OnProgress
    tell: Tell
    stages: dict[str, Stage] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    unmade: dict[str, str] = field(default_factory=dict)
    """Groups without any result, by the reason, which may be gone tomorrow."""

    def work(
        self,
        step: str,
        do: Callable[[Any], Any],
        of: int,
        tasks: Iterator[Task],
        keep: Callable[[Done], None],
    ) -> None:
        """Do the tasks that are still to do of a step's `of`, and keep each as soon as it is done."""
        stage = self.stages[step]
        self.progress(step, stage.there, of)
        begin = time.perf_counter()
        with closing(self.pool.run(do, tasks)) as ended:  # type: ignore[type-var]
            for done in ended:
                keep(done)
                stage.made += 1
                stage.worker_s += done.seconds
                self.progress(step, stage.there + stage.made, of)
        stage.seconds += time.perf_counter() - begin


# ------------------------------------------------------------------------------------------------ forecast


@dataclass(frozen=True)
class Forecasts:
    """The demand of the city, why parts of it are missing, by approach, and series of counts that aren't sound."""

    demand: CityDemand
    missing: Mapping[str, str]
    unsound: tuple[DataProblem, ...]


def forecast_counts(night: Night) -> Forecasts:
    """Forecast every part of the counts; a part that fails is told, and the approaches in it have no demand.

    Raises
    ------
    InputError
        Where no part can be forecast.
    """
    parts = night.city.parts
    movements = [m for i in night.network.intersections.values() for m in i.movements]
    approach_of = {m.id: m.approach for m in movements}
    shares = shares_of(movements, night.city.turns())
    by_approach: dict[str, dict[str, float]] = {}
    for movement, share in shares.items():
        by_approach.setdefault(approach_of[movement], {})[movement] = share
    eve = Eve(night.day, night.city.calendar, frozenset(night.city.events))
    own = {p.id: _merged(by_approach, p) for p in parts}
    keys = {p.id: _forecast_key(p, own[p.id], eve) for p in parts}
    wanted = [p for p in parts if forecast_key(night.folder.demand(p.id)) != keys[p.id]]
    failed: dict[str, str] = {}
    stage = night.stages["forecast"] = Stage(there=len(parts) - len(wanted))

    def tasks() -> Iterator[Task]:
        for part in wanted:
            try:
                counts = part.pack()
            except (OSError, GreensplitError) as error:
                failed[part.id] = str(error)
                stage.made += 1
                continue
            of = {movement: approach_of[movement] for movement in own[part.id]}
            given = ForecastGiven(night.steps.forecast, keys[part.id], counts, own[part.id], of, eve)
            yield Task(part.id, given)

    def keep(done: Done) -> None:
        if done.failed:
            failed[done.id] = done.failed
        else:
            write_whole(night.folder.demand(done.id), done.value)

    night.work("forecast", do_forecast, len(parts), tasks(), keep)
    return _gathered(night, parts, failed)


def _merged(by_approach: Mapping[str, Mapping[str, float]], part: CountPart) -> dict[str, float]:
    found: dict[str, float] = {}
    for approach in part.series:
        found |= by_approach.get(approach, {})
    return found


def _forecast_key(part: CountPart, shares: Mapping[str, float], eve: Eve) -> str:
    calendar = eve.calendar
    known = (calendar.country, calendar.subdivision, sorted(calendar.own_days.items()))
    return digest_of(
        code_digest(), "forecast", part.digest(), sorted(shares.items()), eve.day, known, sorted(eve.events)
    )


def _gathered(night: Night, parts: Any, failed: Mapping[str, str]) -> Forecasts:
    demand = CityDemand(night.day, night.day_type)
    missing: dict[str, str] = {}
    unsound: list[DataProblem] = []
    for part in parts:
        if part.id in failed:
            reason = f"counts of {part.id}: {failed[part.id]}"
            night.problems.append(reason)
            missing |= dict.fromkeys(part.series, reason)
            continue
        forecast, remarks, problems = read_forecast(night.folder.demand(part.id))
        demand.add(forecast)
        unsound += problems
        night.problems.extend(f"counts of {part.id}: {remark}" for remark in remarks)
    if not len(demand):
        first = next(iter(failed.values()), "there are no counts")
        raise InputError(f"no forecast of {night.day} can be made for any part of the city: {first}")
    return Forecasts(demand, missing, tuple(unsound))


# ------------------------------------------------------------------------------------------------ subareas


def find_subareas(night: Night, forecasts: Forecasts) -> tuple[Subarea, ...]:
    """The groups of signals that are timed together."""
    stage = night.stages["subareas"] = Stage()
    night.progress("subareas", 0, 1)
    begin = time.perf_counter()
    demand = forecasts.demand.everything()
    made = demand.forecast
    key = digest_of(
        code_digest(),
        "subareas",
        night.city.network_digest(),
        made.names,
        made.mean.tobytes(),
        made.quantiles.tobytes(),
        night.options.request,
    )
    found = read_subareas(night.folder.subareas, key)
    if found is None:
        found = tuple(night.steps.subareas(night.network, demand, night.options.request))
        facts = plain(tuple[Subarea, ...], found)
        write_whole(night.folder.subareas, keyed(key, facts))
        stage.made = 1
        found = read_subareas(night.folder.subareas, key)
        assert found is not None
    else:
        stage.there = 1
    stage.seconds = time.perf_counter() - begin
    night.progress("subareas", 1, 1)
    return found


# --------------------------------------------------------------------------------------------------- plans


@dataclass(frozen=True, eq=False)
class Group:
    """A subarea with what it is planned from; `failed` is the reason where it can't be.

    `design_vph` is the demand that the plans in place were made for, by movement, where that is known.
    """

    subarea: Subarea
    movements: tuple[str, ...]
    in_place: PlanSet | None
    design_vph: Mapping[str, Floats]
    inputs_hash: str
    key: str
    failed: str


def group_of(night: Night, subarea: Subarea, forecasts: Forecasts, force: PlansInForce) -> Group:
    """What a group is planned from."""
    network = night.network
    of_group = [m for s in subarea.signals for m in network.intersections[s].movements]
    movements = tuple(m.id for m in of_group)
    in_place = set_in_place(network, subarea.signals, force.sets)
    design_vph = {m: force.design_vph[m] for m in movements if m in force.design_vph}
    made = forecasts.demand.of(movements).forecast
    failed = next((forecasts.missing[m.approach] for m in of_group if m.approach in forecasts.missing), "")
    inputs_hash = digest_of(
        night.city.network_digest(),
        subarea,
        night.day,
        night.day_type,
        made.names,
        made.levels,
        made.mean.tobytes(),
        made.quantiles.tobytes(),
        in_place.digest if in_place else "",
        [(m, flow.tobytes()) for m, flow in design_vph.items()],
        night.options.request,
        night.options.schedule,
    )
    key = digest_of(code_digest(), "group", inputs_hash, failed)
    return Group(subarea, movements, in_place, design_vph, inputs_hash, key, failed)


def plan_groups(night: Night, groups: Mapping[str, Group], forecasts: Forecasts) -> None:
    """Plan every group that isn't planned yet."""
    from signals.planning.day import GroupCase
    from signals.planning.parts import NetworkParts

    parts = NetworkParts(night.network)
    wanted = [g for g in groups.values() if read_group(night.folder.group(g.subarea.id), g.key) is None]
    night.stages["plans"] = Stage(there=len(groups) - len(wanted))

    def tasks() -> Iterator[Task]:
        for group in wanted:
            if group.failed:
                _keep_failure(night, group, f"no forecast of its demand; {group.failed}")
                night.stages["plans"].made += 1
                continue
            case = GroupCase(
                parts.part(group.subarea.signals),
                group.subarea,
                forecasts.demand.of(group.movements),
                night.options.request,
                night.options.schedule,
                group.inputs_hash,
                group.in_place,
                group.design_vph or None,
            )
            yield Task(group.subarea.id, PlanGiven(night.steps.plan, group.key, case))

    def keep(done: Done) -> None:
        if done.passing:
            night.unmade[done.id] = done.failed
        elif done.failed:
            _keep_failure(night, groups[done.id], done.failed)
        else:
            found, programs = done.value
            _write_programs(night, done.id, programs)
            write_whole(night.folder.group(done.id), found)

    night.work("plans", do_plan, len(groups), tasks(), keep)


def _keep_failure(night: Night, group: Group, reason: str) -> None:
    found = GroupNight(group.subarea, None, None, failed=reason)
    _write_programs(night, group.subarea.id, "")
    write_whole(night.folder.group(group.subarea.id), keyed(group.key, plain(GroupNight, found)))


def _write_programs(night: Night, group: str, text: str) -> None:
    """The programs come first: where the group's own file is there, they are too."""
    path = night.folder.programs(group)
    night.folder.group(group).unlink(missing_ok=True)
    if text:
        write_whole(path, text)
    else:
        path.unlink(missing_ok=True)
