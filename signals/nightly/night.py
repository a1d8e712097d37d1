"""One night of a city: forecast, subareas, plans, approvals, and what came of it.

What is on disk and was made from the same inputs by the same code isn't made again, so a night that was killed goes
on where it stopped. A group that fails is named with the reason; the others go on.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from signals.demand.day import day_type_of
from signals.errors import InputError
from signals.formats.files import write_whole
from signals.model.network import Network
from signals.model.night import DayType
from signals.model.night_notes import AgeingAlarm, ApprovalState
from signals.nightly.ageing import find_aged, read_measured
from signals.nightly.approvals import (
    Approval,
    Evidence,
    delay_veh_h,
    judge,
    read_decisions,
    with_decisions,
    write_approvals,
)
from signals.nightly.city import City
from signals.nightly.code import code_digest, digest_of
from signals.nightly.folder import NightFolder, night_folder, plain, read_group, read_json, write_json
from signals.nightly.in_force import PlanOrigin, PlansInForce, plans_in_force
from signals.nightly.options import NightOptions
from signals.nightly.pool import Pool
from signals.nightly.stages import (
    Group,
    Night,
    OnProgress,
    Stage,
    Tell,
    find_subareas,
    forecast_counts,
    group_of,
    plan_groups,
)
from signals.nightly.steps import Steps
from signals.nightly.validation import evidence_of, validate_groups

NAMED = 6
"""As many changed inputs as a message names."""
FindInForce = Callable[[Path, date, DayType, Network], PlansInForce]
"""Finds what is in force on a day of a type, given the folder of the nights and the network."""


def run_night(
    city: City,
    data: Path,
    day: date,
    options: NightOptions,
    steps: Steps,
    pool_in: Callable[[Path], AbstractContextManager[Pool]],
    *,
    on_progress: OnProgress = lambda _step, _done, _of: None,
    tell: Tell = lambda _text: None,
    in_force: FindInForce = plans_in_force,
) -> dict[str, Any]:
    """Plan a city for a day, and say how that went: the night's summary, where approvals stand, and timings.

    Parameters
    ----------
    data
        Folder that the night's own is made in.
    pool_in
        Makes the workers, given a folder for what they leave behind.
    in_force
        Says what the plans are compared with; by default the approvals of the nights in `data`.

    Raises
    ------
    Conflict
        Where another process works on the same night.
    InputError
        Where the city can't be read, or nothing can be forecast.
    Stopped
        Where the workers are lost; what was found until then is kept.
    """
    begin = time.perf_counter()
    folder = night_folder(data, day)
    day_type = day_type_of(day, city.calendar, city.events)
    with folder.locked():
        on_progress("network", 0, 1)
        network = city.network()
        if not network.intersections:
            raise InputError(f"{network.source}: has no signals, so there is nothing to time")
        on_progress("network", 1, 1)
        reading = Stage(made=1, seconds=time.perf_counter() - begin)
        _tell_changes(city, folder, options, tell)
        with pool_in(folder.dask) as pool:
            night = Night(city, network, day, day_type, data, folder, options, steps, pool, on_progress, tell)
            night.stages["network"] = reading
            facts, approvals = _through(night, in_force)
        timings = _timings(night, facts, time.perf_counter() - begin)
        write_json(folder.timings, timings)
    return {**facts, "approvals": tally(approvals), "timings": timings, "report": str(folder.report)}


def _through(night: Night, in_force: FindInForce) -> tuple[dict[str, Any], list[Approval]]:
    forecasts = forecast_counts(night)
    subareas = find_subareas(night, forecasts)
    force = in_force(night.data, night.day, night.day_type, night.network)
    groups = {subarea.id: group_of(night, subarea, forecasts, force) for subarea in subareas}
    night.folder.keep_only(set(groups))
    plan_groups(night, groups, forecasts)
    validations = validate_groups(night, groups, forecasts, night.steps.validate)
    evidence = {id_: evidence_of(found) for id_, found in validations.items()}
    judged = _judged(night, groups, evidence)
    facts = _summary(night, groups, judged, force.origin)
    members = {id_: group.subarea.signals for id_, group in groups.items()}
    aged = find_aged(night.data, night.day, members, force.origin, read_measured(night.data))
    facts["unsound_counts"] = len(forecasts.unsound)
    facts["aged"] = [plain(AgeingAlarm, alarm) for alarm in aged]
    facts["validation"] = dict(sorted(Counter(found.outcome for found in evidence.values()).items()))
    approvals = with_decisions(judged, read_decisions(night.folder))
    write_approvals(night.folder, night.day_type, approvals)
    write_json(night.folder.summary, facts)
    stage = night.stages["report"] = Stage(made=1)
    night.progress("report", 0, 1)
    begin = time.perf_counter()
    page = night.steps.page(night, groups, forecasts, approvals, validations, facts)
    write_whole(night.folder.report, page)
    stage.seconds = time.perf_counter() - begin
    night.progress("report", 1, 1)
    return facts, approvals


def _tell_changes(city: City, folder: NightFolder, options: NightOptions, tell: Tell) -> None:
    """Say what differs from what the night was begun with, and remember what it is now."""
    now: dict[str, str] = {
        "Greensplit": code_digest(),
        "the network": city.network_digest(),
        "the surveyed turns": digest_of(sorted(city.turns().items())),
        "the options": digest_of(options.request, options.schedule),
        **{f"counts of {part.id}": part.digest() for part in city.parts},
    }
    then = read_json(folder.inputs)
    if isinstance(then, dict):
        changed = sorted(name for name in {*now, *then} if now.get(name) != then.get(name))
        if changed:
            more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
            tell(
                f"changed since this night was begun: {', '.join(changed[:NAMED])}{more}; what depends on it is made "
                "anew"
            )
    write_json(folder.inputs, now)


def _judged(night: Night, groups: Mapping[str, Group], evidence: Mapping[str, Evidence]) -> list[Approval]:
    """Where each group's plans stand before anybody looks at them."""
    judged = []
    for id_, group in groups.items():
        found = read_group(night.folder.group(id_), group.key)
        if found is None:
            judged.append(Approval(id_, ApprovalState.FAILED, night.unmade.get(id_, "not made"), "", ()))
        else:
            judged.append(judge(night.network, found, group.in_place, evidence.get(id_), night.city.bounds))
    return judged


def _summary(
    night: Night, groups: Mapping[str, Group], judged: Sequence[Approval], origin: Mapping[str, PlanOrigin]
) -> dict[str, Any]:
    """The night in figures that are the same whenever and wherever it is run."""
    before = after = 0.0
    planned = 0
    unplanned: dict[str, str] = {}
    for id_, group in groups.items():
        found = read_group(night.folder.group(id_), group.key)
        if found is None or found.plans is None:
            continue
        planned += len(found.plans.periods[0]) if found.plans.periods else 0
        unplanned |= found.plans.unplanned
        old, new = delay_veh_h(found)
        before, after = before + old, after + new
    failed = {a.group: a.reason for a in judged if a.state in (ApprovalState.FAILED, ApprovalState.REFUSED)}
    return {
        "city": night.city.name,
        "day": night.day.isoformat(),
        "day_type": str(night.day_type),
        "greensplit": code_digest(),
        "signals": len(night.network.intersections),
        "signals_planned": planned,
        "signals_with_a_plan_in_force": len(origin),
        "groups": len(groups),
        "groups_planned": len(groups) - len(failed),
        "groups_kept": sum(a.state is ApprovalState.KEPT for a in judged),
        "groups_failed": len(failed),
        "delay_veh_h": {"before": before, "after": after},
        "failed": failed,
        "unplanned": unplanned,
        "problems": night.problems,
    }


def tally(approvals: Sequence[Approval]) -> dict[str, int]:
    """How many groups stand where."""
    found = Counter(str(a.state) for a in approvals)
    return {str(state): found[state] for state in ApprovalState}


def _timings(night: Night, facts: Mapping[str, Any], total_s: float) -> dict[str, Any]:
    """How long this run took, by step; signals per hour only where it planned every group, SUMO aside."""
    plans = night.stages["plans"]
    per_hour = (
        3600.0 * facts["signals_planned"] / total_s if not plans.there and facts["signals_planned"] else None
    )
    return {
        "seconds": total_s,
        "signals_per_hour": per_hour,
        "stages": {name: asdict(stage) for name, stage in night.stages.items()},
    }
