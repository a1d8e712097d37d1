"""A night's work as plain figures: the city, its groups and signals, what goes to whom, and what was wrong.

`night_report` is a function of what it is given: no clock, no files, so the same night gives the same report.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from types import MappingProxyType
from typing import Any

from signals.model.network import Network
from signals.model.night import DaySchedule, DayType, Expected, GroupNight, Offsets, SignalPeriod
from signals.model.night_notes import AgeingAlarm, ApprovalLine, ApprovalState, DataProblem
from signals.model.phasing import SignalProgram
from signals.model.plan import PlanSet
from signals.report.night_words import LEAST_CHANGE_S, change_text, movements_text

UNDECIDED = "not queued"
"""State of a group that has plans, and no line in the queue."""
TO_DECIDE = (ApprovalState.WAITING.value, UNDECIDED)
STAYS_IN_PLACE = tuple(
    s.value for s in (ApprovalState.FAILED, ApprovalState.REFUSED, ApprovalState.REJECTED, ApprovalState.KEPT)
)
"""States of groups whose plans in place go on: what they would save isn't counted."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a night was made from and with: the same again gives the same plans."""

    version: str
    seed: int
    inputs_hash: str


@dataclass(frozen=True, slots=True)
class VehicleHours:
    """Delay of a day [veh·h] at the expected demand, and at its low and high quantiles."""

    mean: float
    low: float
    high: float

    def plus(self, other: VehicleHours) -> VehicleHours:
        """Both together, low with low and high with high."""
        return VehicleHours(self.mean + other.mean, self.low + other.low, self.high + other.high)


NO_DELAY = VehicleHours(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class SignalRow:
    """A signal in a period: figures before and after, and in words what changes and why, the greatest change first."""

    period: int
    cycle_before_s: float | None
    figures: SignalPeriod
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SignalReport:
    """A signal through the day. It is `changed` where the street shows something else than today."""

    id: str
    changed: bool
    omitted: tuple[str, ...]
    rows: tuple[SignalRow, ...]


@dataclass(frozen=True, slots=True)
class PeriodReport:
    """A period of a group's schedule: delay before and after, and how well the offsets fit each other."""

    begin_min: int
    end_min: int
    cycle_s: int
    vehicles: float
    before: Expected | None
    after: Expected | None
    offsets: tuple[Offsets, ...]


@dataclass(frozen=True, slots=True)
class ScheduleFigures:
    """What a schedule of so many different plans is worth between its bounds [veh·h of the day]; see `DaySchedule`."""

    plans: int
    delay_veh_h: float
    transition_veh_h: float
    one_plan_veh_h: float
    wait_and_see_veh_h: float
    by_plans: tuple[float, ...]

    @property
    def whole_veh_h(self) -> float:
        """Periods and changes of plan together."""
        return self.delay_veh_h + self.transition_veh_h


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A group: what it would save a day, its state on the way to the street, and all there is to say of it.

    `state` is that of the approval or, without one, `failed` or `not queued`.
    """

    id: str
    signals: tuple[str, ...]
    coupling: float | None
    state: str
    approval: ApprovalLine | None
    vehicles: float
    before: VehicleHours
    after: VehicleHours
    schedule: ScheduleFigures | None
    periods: tuple[PeriodReport, ...]
    of_signals: tuple[SignalReport, ...]
    unplanned: Mapping[str, str]
    findings: tuple[str, ...]
    failed: str
    validation: Mapping[str, Any] | None
    alarms: tuple[AgeingAlarm, ...]

    @property
    def saved_veh_h(self) -> float:
        """What the plans save a day at the expected demand, if they go on the street."""
        return self.before.mean - self.after.mean

    @property
    def changed(self) -> int:
        """How many of its signals change."""
        return sum(s.changed for s in self.of_signals)

    @property
    def worst_vc(self) -> float | None:
        """The greatest v/c under the new plans; None without any."""
        return max((r.figures.vc_after for s in self.of_signals for r in s.rows), default=None)


@dataclass(frozen=True, slots=True)
class Totals:
    """The whole city. `after` counts groups whose plans stay in place as they are, all others with the new plans.

    `waiting_veh_h` is the part of what is saved that waits for a person.
    """

    groups: int
    signals: int
    planned: int
    changed: int
    vehicles: float
    before: VehicleHours
    after: VehicleHours
    waiting_veh_h: float
    by_state: Mapping[str, int]

    @property
    def saved_veh_h(self) -> float:
        """Saved a day at the expected demand, once all that waits is approved."""
        return self.before.mean - self.after.mean


@dataclass(frozen=True)
class NightReport:
    """All that a night has to say. `groups` are sorted by id, alarms by drift, problems by stream."""

    city: str
    day: date
    day_type: DayType
    made: Made
    totals: Totals
    groups: tuple[GroupReport, ...]
    data_problems: tuple[DataProblem, ...]
    alarms: tuple[AgeingAlarm, ...]
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; what isn't finite becomes null."""
        facts: dict[str, Any] = _plain(asdict(self))
        facts["totals"]["saved_veh_h"] = _plain(self.totals.saved_veh_h)
        for told, group in zip(facts["groups"], self.groups, strict=True):
            told["saved_veh_h"] = _plain(group.saved_veh_h)
        for told, alarm in zip(facts["alarms"], self.alarms, strict=True):
            told["drift_percent"] = _plain(alarm.drift_percent)
        return facts


def night_report(
    *,
    city: str,
    day: date,
    day_type: DayType,
    network: Network,
    groups: Sequence[GroupNight],
    approvals: Mapping[str, ApprovalLine],
    validations: Mapping[str, Mapping[str, Any]],
    data_problems: Sequence[DataProblem],
    alarms: Sequence[AgeingAlarm],
    remarks: Sequence[str],
    made: Made,
    in_place: Mapping[str, PlanSet] = MappingProxyType({}),
) -> NightReport:
    """The report of a night; `approvals` and `validations` are by group, of those that have any.

    A validation is what `signals.simulation.validation.Validation.to_json` gives.
    `in_place` are the day's plans in force, by group; where there are none, the programs of the network are in place.
    """
    sorted_alarms = tuple(sorted(alarms, key=lambda a: (-a.drift_percent, a.group)))
    reports = tuple(
        _group(
            network,
            group,
            in_place.get(group.subarea.id),
            approvals.get(group.subarea.id),
            validations.get(group.subarea.id),
            tuple(a for a in sorted_alarms if a.group == group.subarea.id),
        )
        for group in sorted(groups, key=lambda g: g.subarea.id)
    )
    return NightReport(
        city,
        day,
        day_type,
        made,
        _totals(reports),
        reports,
        tuple(sorted(data_problems, key=lambda p: (p.stream, p.reason))),
        sorted_alarms,
        tuple(remarks),
    )


def _group(
    network: Network,
    group: GroupNight,
    in_place: PlanSet | None,
    approval: ApprovalLine | None,
    validation: Mapping[str, Any] | None,
    alarms: tuple[AgeingAlarm, ...],
) -> GroupReport:
    signals = tuple(_signal(network, group, in_place, name) for name in sorted(group.signals or ()))
    failed = group.failed or ("" if group.plans else "no plans were found")
    if approval is not None:
        state = approval.state.value
    else:
        state = ApprovalState.FAILED.value if failed else UNDECIDED
    before = after = NO_DELAY
    for row in (r.figures for s in signals for r in s.rows):
        before = before.plus(_veh_h(row.before, row.vehicles))
        after = after.plus(_veh_h(row.after, row.vehicles))
    return GroupReport(
        id=group.subarea.id,
        signals=group.subarea.signals,
        coupling=group.subarea.coupling,
        state=state,
        approval=approval,
        vehicles=sum(r.figures.vehicles for s in signals for r in s.rows),
        before=before,
        after=after,
        schedule=_schedule(group.schedule),
        periods=_periods(group, signals),
        of_signals=signals,
        unplanned=dict(sorted(group.plans.unplanned.items())) if group.plans else {},
        findings=group.findings,
        failed=failed,
        validation=validation,
        alarms=alarms,
    )


def _schedule(schedule: DaySchedule | None) -> ScheduleFigures | None:
    if schedule is None:
        return None
    plans = {(p.cycle_s, tuple(sorted(p.green_s.items()))) for p in schedule.periods}
    return ScheduleFigures(
        len(plans),
        schedule.delay_veh_h,
        schedule.transition_veh_h,
        schedule.one_plan_veh_h,
        schedule.wait_and_see_veh_h,
        schedule.by_plans,
    )


def _periods(group: GroupNight, signals: Sequence[SignalReport]) -> tuple[PeriodReport, ...]:
    def at(values: Sequence[Any], k: int) -> Any:
        return values[k] if k < len(values) else None

    return tuple(
        PeriodReport(
            period.begin_min,
            period.end_min,
            period.cycle_s,
            sum(s.rows[k].figures.vehicles for s in signals if k < len(s.rows)),
            at(group.before, k),
            at(group.after, k),
            at(group.offsets, k) or (),
        )
        for k, period in enumerate(group.schedule.periods if group.schedule else ())
    )


def _signal(network: Network, group: GroupNight, in_place: PlanSet | None, name: str) -> SignalReport:
    rows = []
    periods = group.schedule.periods if group.schedule else ()
    for k, figures in enumerate((group.signals or {})[name]):
        middle_s = 30.0 * (periods[k].begin_min + periods[k].end_min) if k < len(periods) else 0.0
        old = program_in_place(network, in_place, name, middle_s)
        cycle_s = old.cycle_s if old else None
        longer_s = figures.cycle_s - cycle_s if cycle_s else None
        why = [_cycle_text(cycle_s, figures.cycle_s)]
        by_size = sorted(figures.changes, key=lambda c: (-abs(c.to_s - c.from_s), c.stage))
        why += [change_text(network, name, c, longer_s) for c in by_size]
        said = tuple(text for text in why if text)
        plan = group.plans.periods[k].get(name) if group.plans else None
        if not said and plan is not None and old is not None and _shown(plan.program) != _shown(old):
            said = ("the offset alone",)
        rows.append(SignalRow(k, cycle_s, figures, said))
    return SignalReport(name, any(r.why for r in rows), _omitted(network, group, name), tuple(rows))


def program_in_place(
    network: Network, in_place: PlanSet | None, signal: str, time_s: float
) -> SignalProgram | None:
    """What a signal shows today at a time of the day [s]: its plan in force, or else the network's program, if any."""
    if in_place is None or not in_place.periods or signal not in in_place.periods[0]:
        intersection = network.intersections.get(signal)
        program = intersection.program if intersection else None
        return program if program is not None and program.cycle_s > 0 else None
    period = sum(time_s >= switch_s for switch_s in in_place.switch_times.get(signal, ()))
    return in_place.periods[period][signal].program


def _shown(program: SignalProgram) -> frozenset[tuple[int, str]]:
    """What the street shows: each state with its start in the cycle [ms], whatever the program calls its begin."""
    cycle_ms = round(1000 * program.cycle_s)
    intervals = [i for i in program.intervals if i.duration_s > 0]
    at_ms = round(1000 * program.offset_s)
    starts = set()
    for before, interval in zip([intervals[-1], *intervals], intervals, strict=False):
        if interval.state != before.state or len(intervals) == 1:
            starts.add((at_ms % cycle_ms, interval.state))
        at_ms += round(1000 * interval.duration_s)
    return frozenset(starts)


def _cycle_text(before_s: float | None, after_s: float) -> str:
    if before_s is None or abs(after_s - before_s) < LEAST_CHANGE_S:
        return ""
    return f"cycle {before_s:.0f} → {after_s:.0f} s"


def _omitted(network: Network, group: GroupNight, name: str) -> tuple[str, ...]:
    """Stages that some plan of a signal leaves out, and who gives way from then on."""
    told: dict[str, None] = {}
    for period in group.plans.periods if group.plans else ():
        for stage in period[name].omitted if name in period else ():
            whom = movements_text(network, name, stage.becomes_permitted)
            told[f"leaves out stage {stage.state}" + (f": {whom} permitted from now on" if whom else "")] = (
                None
            )
    return tuple(told)


def _veh_h(delay: Expected, vehicles: float) -> VehicleHours:
    hours = vehicles / 3600.0
    return VehicleHours(delay.mean_s * hours, delay.low_s * hours, delay.high_s * hours)


def _totals(groups: Sequence[GroupReport]) -> Totals:
    before = after = NO_DELAY
    for group in groups:
        before = before.plus(group.before)
        after = after.plus(group.before if group.state in STAYS_IN_PLACE else group.after)
    return Totals(
        groups=len(groups),
        signals=sum(len(g.signals) for g in groups),
        planned=sum(len(g.of_signals) for g in groups if not g.failed),
        changed=sum(g.changed for g in groups if g.state not in STAYS_IN_PLACE),
        vehicles=sum(g.vehicles for g in groups),
        before=before,
        after=after,
        waiting_veh_h=sum(g.saved_veh_h for g in groups if g.state in TO_DECIDE),
        by_state=dict(sorted(Counter(g.state for g in groups).items())),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
