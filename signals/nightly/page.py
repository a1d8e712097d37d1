"""The night on one page: gathers what its report tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from signals.demand.day import turning_of
from signals.demand.onward import Onward
from signals.model.demand import TurningCounts
from signals.model.night import DayDemand, GroupNight
from signals.model.night_notes import AgeingAlarm, ApprovalLine, DataProblem
from signals.nightly.approvals import Approval
from signals.nightly.code import code_digest, digest_of
from signals.nightly.folder import read_group, revived
from signals.nightly.stages import Forecasts, Group, Night


def report_page(
    night: Night,
    groups: Mapping[str, Group],
    forecasts: Forecasts,
    approvals: Sequence[Approval],
    validations: Mapping[str, Mapping[str, Any]],
    facts: Mapping[str, Any],
) -> str:
    """The report of a night, whose `facts` are those of its summary, as HTML."""
    from signals.diagrams.city import subarea_map
    from signals.report.night import Made, night_report
    from signals.report.night_page import night_page
    from signals.report.night_pictures import NightPictures, Picture, draw_corridors

    nights = [_found(night, id_, group) for id_, group in groups.items()]
    in_place = {id_: group.in_place for id_, group in groups.items() if group.in_place is not None}
    report = night_report(
        city=night.city.name,
        day=night.day,
        day_type=night.day_type,
        network=night.network,
        groups=nights,
        approvals={a.group: ApprovalLine(a.state, a.reason, a.by, a.at, a.note) for a in approvals},
        validations={id_: found for id_, found in validations.items() if "failed" not in found},
        data_problems=_problems(night, forecasts),
        alarms=[revived(AgeingAlarm, one) for one in facts["aged"]],
        remarks=facts["problems"],
        made=Made(
            code_digest(),
            night.options.request.seed,
            digest_of(sorted(group.inputs_hash for group in groups.values())),
        ),
        in_place=in_place,
    )
    onward = Onward.of(night.network)
    demand = forecasts.demand.everything()

    def counts(group: str, period: int) -> TurningCounts:
        return _counts(night, demand, nights, group, period, onward)

    city_map = subarea_map(night.network, [found.subarea for found in nights], {}, night.city.name)
    pictures = NightPictures(
        Picture(f"{night.city.name}: groups of signals", city_map.svg()),
        draw_corridors(report, night.network, nights, counts, in_place),
    )
    return night_page(report, pictures)


def _problems(night: Night, forecasts: Forecasts) -> list[DataProblem]:
    """Counts that aren't sound, with the signals that they matter to."""
    signals: dict[str, set[str]] = {}
    for signal, intersection in night.network.intersections.items():
        for movement in intersection.movements:
            signals.setdefault(movement.approach, set()).add(signal)
    return [replace(p, signals=tuple(sorted(signals.get(p.stream, ())))) for p in forecasts.unsound]


def _found(night: Night, id_: str, group: Group) -> GroupNight:
    """What was found for a group, or why there is nothing."""
    found = read_group(night.folder.group(id_), group.key)
    return found or GroupNight(group.subarea, None, None, failed=night.unmade.get(id_, "not made"))


def _counts(
    night: Night,
    demand: DayDemand,
    nights: Sequence[GroupNight],
    group: str,
    period: int,
    onward: Onward,
) -> TurningCounts:
    """Turning counts of a group in a period of its plans."""
    found = next(n for n in nights if n.subarea.id == group)
    assert found.schedule is not None
    of_day = found.schedule.periods[period]
    step = demand.forecast.step_min
    first, last = of_day.begin_min // step, of_day.end_min // step
    return turning_of(night.network, demand, found.subarea.signals, first, last, onward=onward)
