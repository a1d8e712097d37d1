"""The pictures of a night's page: time-space diagrams of the groups with most at stake."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from signals.model.demand import TurningCounts
from signals.model.network import Corridor, Network
from signals.model.night import GroupNight
from signals.model.phasing import SignalProgram
from signals.model.plan import PlanSet
from signals.report.night import GroupReport, NightReport, program_in_place
from signals.report.night_words import span

DRAWN_GROUPS = 10
"""Groups whose corridors are drawn: two sheets of some 100 kB each."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing with a title, as the bytes of an SVG file."""

    title: str
    svg: bytes


@dataclass(frozen=True)
class NightPictures:
    """What is drawn of a night: the map of its groups, and the corridors of some of them, by group."""

    city_map: Picture | None = None
    corridors: Mapping[str, tuple[Picture, ...]] = field(default_factory=dict)


def most_at_stake(report: NightReport, most: int = DRAWN_GROUPS) -> tuple[str, ...]:
    """The groups of several signals whose plans gain or lose most delay, those of most first."""
    candidates = [g for g in report.groups if len(g.of_signals) > 1 and g.periods and not g.failed]
    candidates.sort(key=lambda g: (-abs(g.saved_veh_h), g.id))
    return tuple(g.id for g in candidates[:most])


def busiest_period(group: GroupReport) -> int:
    """The period of most vehicles an hour."""
    periods = group.periods
    return max(
        range(len(periods)), key=lambda k: periods[k].vehicles / (periods[k].end_min - periods[k].begin_min)
    )


def draw_corridors(
    report: NightReport,
    network: Network,
    groups: Sequence[GroupNight],
    counts: Callable[[str, int], TurningCounts],
    in_place: Mapping[str, PlanSet] = MappingProxyType({}),
) -> dict[str, tuple[Picture, ...]]:
    """Time-space diagrams before and after of the busiest corridor of each group with most at stake.

    `in_place` is as in `night_report`. `counts(group, period)` gives turning counts of a group's signals; it is
    asked for the busiest period of each group that is drawn. A group without a corridor of its own, or without
    programs, is left out.
    """
    from signals.timing.corridors import find_corridors

    nights = {g.subarea.id: g for g in groups}
    by_id = {g.id: g for g in report.groups}
    drawn = {}
    for name in most_at_stake(report):
        period = busiest_period(by_id[name])
        members = set(by_id[name].signals)
        own = (c for c in find_corridors(network, counts(name, period)) if members.issuperset(c.signals))
        corridor = next(own, None)
        if corridor is not None:
            pictures = _before_and_after(
                network, nights[name], in_place.get(name), by_id[name], corridor, period
            )
            if pictures:
                drawn[name] = pictures
    return drawn


def _before_and_after(
    network: Network,
    night: GroupNight,
    in_place: PlanSet | None,
    group: GroupReport,
    corridor: Corridor,
    period: int,
) -> tuple[Picture, ...]:
    from signals.diagrams.timespace import time_space_sheet

    plans = night.plans.periods[period] if night.plans else {}
    of_day = group.periods[period]
    before: dict[str, SignalProgram] = {}
    after: dict[str, SignalProgram] = {}
    for signal in corridor.signals:
        old = program_in_place(network, in_place, signal, 30.0 * (of_day.begin_min + of_day.end_min))
        if old is not None:
            before[signal] = after[signal] = old
        if signal in plans:
            after[signal] = plans[signal].program
    when = span(of_day.begin_min, of_day.end_min)
    return tuple(
        Picture(
            f"Corridor {corridor.name}, {when}, {name}",
            time_space_sheet(corridor, programs, network, subtitle=f"{when}, {name}").svg(),
        )
        for name, programs in (("in place", before), ("plan", after))
        if programs
    )
